/* test_trained.c - filling a session with the weights of a run, once and again. */
#include "tests/store.h"

#include "graph/recipe.h"
#include "graph/safetensors.h"

static const char model[] =
    "main: \"m\"\n"
    "module {\n"
    "  name: \"m\" param: \"B=1\" param: \"T=4\"\n"
    "  input { name: \"tokens\" type: \"i32[B,T]\" }\n"
    "  input { name: \"targets\" type: \"i32[B,T]\" }\n"
    "  weight { name: \"teacher.w\" type: \"f32[8,3]\" init: \"normal(1)\" trainable: false }\n"
    "  weight { name: \"other.w\" type: \"f32[8,3]\" init: \"normal(1)\" trainable: false }\n"
    "  weight { name: \"w\" type: \"f32[8,8]\" init: \"normal(1)\" }\n"
    "  node { op: \"embedding\" in: [\"teacher.w\", \"tokens\"] out: \"t\" }\n"
    "  node { op: \"embedding\" in: [\"other.w\", \"tokens\"] out: \"o\" }\n"
    "  node { op: \"embedding\" in: [\"w\", \"tokens\"] out: \"logits\" }\n"
    "  node { op: \"cross_entropy\" in: [\"logits\", \"targets\"] out: \"loss\" }\n"
    "  node { op: \"mean\" in: \"o\" out: \"o1\" attr: \"axis=0\" }\n"
    "  node { op: \"mean\" in: \"o1\" out: \"o2\" attr: \"axis=0\" }\n"
    "  node { op: \"mean\" in: \"o2\" out: \"o_mean\" attr: \"axis=0\" }\n"
    "  output: [\"loss\", \"logits\", \"t\", \"o\", \"o_mean\"]\n"
    "}\n";

static char folder[64];

/* A run that was trained for two steps; of its frozen weights it reads other.w only. */
static void write_run(weft_ctx *c)
{
    char text[1024];
    float w[24];
    unsigned short tokens[64];
    weft_recipe *r;
    for (int i = 0; i < 64; i++)
        tokens[i] = (unsigned short)(i * i % 8);
    for (int i = 0; i < 24; i++)
        w[i] = (float)i;
    put_file(join(folder, "tokens.bin"), tokens, sizeof tokens);
    put_file(join(folder, "m.txtpb"), model, sizeof model - 1);
    const weft_tensor_out t = {"w", weft_type_make(WEFT_F32, 2, (int64_t[]){8, 3}), w};
    assert_int_equal(
        weft_tensor_file_write(c, join(folder, "teacher.safetensors"), &t, 1, NULL, 0, NULL, NULL),
        WEFT_OK);
    int n = snprintf(text, sizeof text,
                     "model: \"m.txtpb\" data { train: \"%s/tokens.bin\" }\n"
                     "load { file: \"%s/teacher.safetensors\" scope: \"teacher.\" }\n"
                     "load { file: \"%s/teacher.safetensors\" scope: \"other.\" }\n"
                     "train { steps: 2 batch: 2 log: \"o_mean\" } eval { every: 0 }\n",
                     folder, folder, folder);
    put_file(join(folder, "r.txtpb"), text, (size_t)n);
    assert_int_equal(weft_recipe_load(c, join(folder, "r.txtpb"), NULL, 0, &r), WEFT_OK);
    const weft_train_options o = {.dir = join(folder, "run")};
    assert_int_equal(weft_train(r, &o), WEFT_OK);
    weft_recipe_free(r);
}

static const float *run_output(weft_program *p, const char *name)
{
    weft_type t;
    int32_t *tokens = weft_program_input(p, "tokens", &t);
    for (int64_t i = 0; i < weft_type_count(&t); i++)
        tokens[i] = (int32_t)i;
    assert_int_equal(weft_program_run(p), WEFT_OK);
    return weft_program_output(p, name, &t);
}

/* What is compiled after the first filling needs weights that the first programs did not. */
static void fill_twice(weft_ctx *c, const char *path, const char *weights)
{
    static const char *const name[] = {"logits", "t", "o"};
    const weft_compile_options w = {0};
    weft_trained *t;
    weft_graph *g;
    weft_session *s;
    weft_program *p[3];
    float before[8];
    assert_int_equal(weft_trained_open(c, path, weights, NULL, 0, &t), WEFT_OK);
    assert_int_equal(weft_trained_graph(t, 1, 4, &g), WEFT_OK);
    assert_int_equal(weft_session_new(c, false, &s), WEFT_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weft_program_compile(s, g, &name[i], 1, &w, &p[i]), WEFT_OK);
        assert_int_equal(weft_trained_fill(t, g, s), WEFT_OK);
        assert_int_equal(weft_trained_fill(t, g, s), WEFT_OK); /* with nothing new */
        if (!i)
            memcpy(before, run_output(p[0], "logits"), sizeof before);
        for (int k = 1; k <= i; k++)
            for (int n = 0; n < 12; n++)
                assert_true(run_output(p[k], name[k])[n] == (float)n);
    }
    assert_memory_equal(run_output(p[0], "logits"), before, sizeof before);
    weft_session_free(s);
    weft_graph_free(g);
    weft_trained_free(t);
}

static void test_fill_twice(void **state)
{
    (void)state;
    weft_ctx *c = weft_open(NULL);
    snprintf(folder, sizeof folder, "%s", fresh_dir());
    write_run(c);
    fill_twice(c, join(folder, "run"), NULL);
    fill_twice(c, join(folder, "r.txtpb"), NULL);
    fill_twice(c, join(folder, "r.txtpb"), join(folder, "run"));
    remove_dir(folder);
    weft_close(c);
}

/* A file that came to hold other weights in between is still found out. */
static void test_changed_between(void **state)
{
    (void)state;
    const char *const name[] = {"o"};
    const weft_compile_options w = {0};
    weft_ctx *c = weft_open(NULL);
    weft_trained *t;
    weft_graph *g;
    weft_session *s;
    weft_program *p;
    size_t n;
    snprintf(folder, sizeof folder, "%s", fresh_dir());
    write_run(c);
    assert_int_equal(weft_trained_open(c, join(folder, "run"), NULL, NULL, 0, &t), WEFT_OK);
    assert_int_equal(weft_trained_graph(t, 1, 4, &g), WEFT_OK);
    assert_int_equal(weft_session_new(c, false, &s), WEFT_OK);
    assert_int_equal(weft_program_compile(s, g, name, 1, &w, &p), WEFT_OK);
    assert_int_equal(weft_trained_fill(t, g, s), WEFT_OK);
    unsigned char *bytes = get_file(join(folder, "teacher.safetensors"), &n);
    bytes[n - 1] ^= 1;
    put_file(join(folder, "teacher.safetensors"), bytes, n);
    free(bytes);
    assert_int_equal(weft_trained_fill(t, g, s), WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "was trained with other weights 'other.*'"));
    weft_session_free(s);
    weft_graph_free(g);
    weft_trained_free(t);
    remove_dir(folder);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fill_twice),
                                       cmocka_unit_test(test_changed_between)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
