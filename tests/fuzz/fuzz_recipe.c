/* fuzz_recipe.c - recipes and settings: what is taken is written and read back as the same, and
 * measured against a small model.
 *
 * Parts: recipe.txtpb (or what stands before the first mark), set (a setting a line), model.txtpb
 * (absent: the one below). */
#include "tests/fuzz/fuzz.h"

static const char model[] =
    "main: \"m\"\n"
    "module { name: \"m\" param: \"B=1\" param: \"T=4\" param: \"d=4\" param: \"dropout=0.0\"\n"
    "  input { name: \"tokens\" type: \"i32[B,T]\" } input { name: \"targets\" type: "
    "\"i32[B,T]\" }\n"
    "  weight { name: \"wte.weight\" type: \"f32[8,d]\" init: \"normal(0.1)\" }\n"
    "  weight { name: \"bias\" type: \"f32[8]\" }\n"
    "  node { op: \"embedding\" in: [\"wte.weight\", \"tokens\"] out: \"x\" }\n"
    "  node { op: \"matmul\" in: [\"x\", \"wte.weight\"] out: \"y\" attr: \"tb=1\" }\n"
    "  node { op: \"add\" in: [\"y\", \"bias\"] out: \"logits\" }\n"
    "  node { op: \"cross_entropy\" in: [\"logits\", \"targets\"] out: \"loss\" }\n"
    "  output: \"loss\" output: \"logits\"\n"
    "}\n";

/* Saved and loaded it has the same settings. */
static void again(weft_ctx *c, weft_recipe *r)
{
    char *one = NULL, *two = NULL;
    weft_recipe *back = NULL;
    if (!fuzz_done(c, weft_recipe_settings(r, &one)))
        return;
    if (fuzz_done(c, weft_recipe_save(r, "r/saved.txtpb", "model.txtpb"))) {
        weft_status s = weft_recipe_load(c, "r/saved.txtpb", NULL, 0, &back);
        FUZZ_REQUIRE(!s || s == WEFT_NOMEM, "a saved recipe is refused: %s", weft_error(c));
        if (fuzz_done(c, s) && fuzz_done(c, weft_recipe_settings(back, &two))) {
            FUZZ_REQUIRE(!strcmp(weft_recipe_name(r), weft_recipe_name(back)), "another name");
            const char *a = strstr(one, "\ntrain.steps="), *b = strstr(two, "\ntrain.steps=");
            FUZZ_REQUIRE(a && b && !strcmp(a, b), "other settings:\n%s\ninstead of\n%s", two, one);
        }
        weft_recipe_free(back);
    }
    weft_text_free(c, one);
    weft_text_free(c, two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    char *set[16];
    weft_recipe *r;
    weft_model *m;
    weft_graph *g;
    weft_recipe_size size;
    int parts = fuzz_split(data, n, "recipe.txtpb", part);
    const fuzz_part *file = fuzz_find(part, parts, "recipe.txtpb"),
                    *own = fuzz_find(part, parts, "model.txtpb");
    int n_set = fuzz_lines(fuzz_find(part, parts, "set"), set, 16);
    weft_ctx *c = fuzz_open((size_t)256 << 20, false);
    fuzz_file("r/recipe.txtpb", file ? file->data : NULL, file ? file->n : 0);
    fuzz_file("r/model.txtpb", own ? (const char *)own->data : model,
              own ? own->n : sizeof model - 1);
    weft_file_kind kind;
    fuzz_done(c, weft_file_sniff(c, "r/recipe.txtpb", &kind));
    if (fuzz_done(c, weft_recipe_load(c, "r/recipe.txtpb", (const char *const *)set, n_set, &r))) {
        again(c, r);
        if (fuzz_done(c, weft_recipe_model(r, 1, 4, &m))) {
            if (fuzz_done(c, weft_graph_expand(m, &g))) {
                fuzz_done(c, weft_recipe_measure(r, g, &size));
                weft_graph_free(g);
            }
            weft_model_free(m);
        }
        weft_recipe_free(r);
    }
    if (n_set)
        free(set[0]);
    fuzz_close(c);
    return 0;
}
