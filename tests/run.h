/* run.h - a training run of a toy model through the library, in a folder of its own, for the tests
 * of what a run leaves on disk. */
#ifndef WEFT_TESTS_RUN_H
#define WEFT_TESTS_RUN_H

#include "tests/store.h"

#include "graph/recipe.h"

static const char toy_model[] =
    "main: \"m\"\n"
    "module {\n"
    "  name: \"m\" param: \"B=1\" param: \"T=4\"\n"
    "  input { name: \"tokens\" type: \"i32[B,T]\" }\n"
    "  input { name: \"targets\" type: \"i32[B,T]\" }\n"
    "  weight { name: \"w\" type: \"f32[8,8]\" init: \"normal(1)\" }\n"
    "  node { op: \"embedding\" in: [\"w\", \"tokens\"] out: \"logits\" }\n"
    "  node { op: \"cross_entropy\" in: [\"logits\", \"targets\"] out: \"loss\" }\n"
    "  output: [\"loss\", \"logits\"]\n"
    "}\n";

/* Writes model, tokens, tokenizer and recipe: eight steps, a checkpoint every second. */
static UNUSED void toy_files(const char *dir)
{
    char text[1024];
    unsigned short tokens[64];
    for (int i = 0; i < 64; i++)
        tokens[i] = (unsigned short)(i * i % 8);
    put_file(join(dir, "tokens.bin"), tokens, sizeof tokens);
    put_file(join(dir, "m.txtpb"), toy_model, sizeof toy_model - 1);
    put_file(join(dir, "tokenizer.json"), "{}\n", 3);
    int n = snprintf(text, sizeof text,
                     "model: \"m.txtpb\"\n"
                     "data { train: \"%s/tokens.bin\" val: \"%s/tokens.bin\""
                     " tokenizer: \"%s/tokenizer.json\" }\n"
                     "train { steps: 8 batch: 2 } eval { every: 4 }\n"
                     "checkpoint { every: 2 keep: 2 }\n",
                     dir, dir, dir);
    put_file(join(dir, "r.txtpb"), text, (size_t)n);
}

/* Trains by the recipe in `files`, with `set` if not NULL, into `dir`. */
static UNUSED weft_status toy_train(weft_ctx *c, const char *files, const char *set,
                                    const weft_train_options *o)
{
    weft_recipe *r = NULL;
    weft_status s = weft_recipe_load(c, join(files, "r.txtpb"), &set, set != NULL, &r);
    if (!s)
        s = weft_train(r, o);
    weft_recipe_free(r);
    return s;
}

static UNUSED void same_content(const char *a, const char *b)
{
    size_t n, m;
    unsigned char *x = get_file(a, &n), *y = get_file(b, &m);
    if (n != m || memcmp(x, y, n))
        print_error("%s and %s differ\n", a, b);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

/* Two finished runs: the same log, weights and states. */
static UNUSED void same_runs(const char *a, const char *b)
{
    static const char *const file[] = {"log.jsonl", "checkpoints/step-000008/model.safetensors",
                                       "checkpoints/step-000008/optimizer.safetensors"};
    char x[256], y[256];
    for (int i = 0; i < 3; i++) {
        snprintf(x, sizeof x, "%s/%s", a, file[i]);
        snprintf(y, sizeof y, "%s/%s", b, file[i]);
        same_content(x, y);
    }
}

#endif
