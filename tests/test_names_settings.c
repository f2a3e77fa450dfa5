/* test_names_settings.c - what real programs write and ask for beside the tensors, found by running
 * them (tests/golden/interop.py): the YAML settings of the official CoCoMix, SAELens' folded
 * decoder norms, and numbers that strict readers take only with a decimal point. */
#include <math.h>

#include "graph/names.h"
#include "tests/bundle.h"

static const char *dir, *run;
static const char config[] = "{\"n_head\": 2, \"n_layer\": 2}";

static void put_text(const char *path, const char *text) { put_file(path, text, strlen(text)); }

static weft_status import_in(weft_ctx *c, const char *names, char *set)
{
    weft_convert_options o = {.names = names};
    weft_convert_result r;
    weft_status s = weft_weights_import(c, run, join(dir, "w"), &o, &r);
    snprintf(set, 1024, "%s", s ? "" : r.set);
    weft_convert_result_free(c, &r);
    return s;
}

/* The parameters found, or the message. */
static weft_status import(const char *names, char *text)
{
    weft_ctx *c = weft_open(NULL);
    weft_status s = import_in(c, names, text);
    if (s)
        snprintf(text, 1024, "%s", weft_error(c));
    weft_close(c);
    return s;
}

static weft_status export(const char *names, const char *const *set, int n, const char *folder,
                          char *error)
{
    weft_ctx *c = weft_open(NULL);
    weft_convert_options o = {.names = names, .set = set, .n_set = n};
    weft_convert_result r;
    weft_status s = weft_weights_export(c, join(dir, "w"), folder, &o, &r);
    snprintf(error, 1024, "%s", weft_error(c));
    weft_convert_result_free(c, &r);
    weft_close(c);
    return s;
}

static void has_text(const char *path, const char *part)
{
    size_t n;
    char *text = (char *)get_file(path, &n);
    text = realloc(text, n + 1);
    text[n] = 0;
    if (!strstr(text, part))
        fail_msg("%s has no '%s': %s", path, part, text);
    free(text);
}

/* config.yaml as OmegaConf writes it, beside the checkpoint or above. */
static void test_yaml(void **state)
{
    (void)state;
    static const struct {
        const char *yaml;
        weft_status status;
        const char *part;
    } table[] = {
        {"mode: cocomix\nconcept_dim: 20\ninsert_layer_index: 1\nconcept_num: 3\n", WEFT_OK,
         "d=8\nctx=6\nn_concept=20\nn_head=2\ninsert=1\nk=3\nmix=1\nslot=1\n"},
        {"# run\r\nlist:\n- concept_num: 9\n  insert_layer_index: 8\nconcept_num: 3  # TopK\r\n"
         "insert_layer_index:   1",
         WEFT_OK, "insert=1\nk=3\n"},
        {"concept_num: '3'\ninsert_layer_index: 1\n", WEFT_OK, "insert=1\nk=3\n"},
        {"insert_layer_index: null\nconcept_num:\nother: [1, 2\nurl: http://a:b\n", WEFT_OK,
         "n_head=2\nmix=1\n"},
        {"", WEFT_OK, "n_head=2\nmix=1\n"},
        {"concept_num: many\n", WEFT_MALFORMED,
         "config.yaml: concept_num is many, expected a number"},
        {"concept_num: nan\n", WEFT_MALFORMED, "concept_num is nan, expected a number"},
        {"concept_num: 1\nconcept_num: 2\n", WEFT_MALFORMED, "config.yaml"},
        {"concept_dim: 21\n", WEFT_MISMATCH, "n_concept is 20 by "},
        {"concept_num: 21\n", WEFT_MISMATCH, "expected a whole number from 1 to n_concept = 20"},
        {"insert_layer_index: 2\n", WEFT_MISMATCH, "a whole number from 0 to n_layer-1 = 1"},
        {"insert_layer_index: 0\n", WEFT_OK, "insert=0\n"},
        {"mode: ntp\n", WEFT_UNSUPPORTED, "mode is ntp: expected cocomix or absent"},
    };
    char text[1024];
    bundle *b = cocomix();
    save(b, join(run, "model.safetensors"));
    put_text(join(run, "config.json"), config);
    for (int above = 0; above < 2; above++)
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            const char *path = join(above ? dir : run, "config.yaml");
            put_text(path, table[i].yaml);
            weft_status s = import("cocomix", text);
            if (s != table[i].status || !strstr(text, table[i].part))
                fail_msg("case %zu: %d, %s", i, (int)s, text);
            unlink(join(above ? dir : run, "config.yaml"));
        }
    free_bundle(b);
}

static void test_written(void **state)
{
    (void)state;
    char text[1024], *out = strdup(join(dir, "out"));
    const char *set[] = {"n_head=2", "insert=1", "k=3", "dropout=0", "mix=2"};
    bundle *b = cocomix();
    save(b, join(dir, "w"));
    assert_int_equal(export("cocomix", set, 1, out, text), WEFT_USAGE);
    assert_non_null(strstr(text, "'insert_layer_index' is not known: give --set insert=NUMBER"));
    assert_int_not_equal(access(out, F_OK), 0);
    assert_int_equal(export("cocomix", set, 5, out, text), WEFT_UNSUPPORTED); /* not theirs */
    assert_non_null(strstr(text, "for a model with these parameters: mix is 2, expected 1"));
    assert_int_equal(export("cocomix", set, 4, out, text), WEFT_OK);
    has_text(join(out, "config.yaml"), "mode: \"cocomix\"\nconcept_dim: 20\ninsert_layer_index: 1\n"
                                       "concept_num: 3\n");
    has_text(join(out, "config.json"), "\"resid_pdrop\": 0.0,");
    assert_int_equal(export("cocomix", set, 4, out, text), WEFT_CANTCREATE);
    set[3] = "dropout=0.25";
    assert_int_equal(export("cocomix", set, 4, join(dir, "out2"), text), WEFT_OK);
    has_text(join(dir, "out2/config.json"), "\"attn_pdrop\": 0.25,");
    free_bundle(b);
    free(out);
}

/* Tensors without a word on the activation: a guess that is told, and that --set may overrule. */
static void test_guess(void **state)
{
    (void)state;
    static const struct {
        const char *activation, *set;
        weft_status status;
        const char *part; /* of the parameters and the notes, or of the error */
    } table[] = {
        {NULL, "k=3", WEFT_OK, "k=3\nrelu=0\n|activation is not told; taken for TopK"},
        {NULL, "relu=1", WEFT_OK, "relu=1\n|"},
        {NULL, "relu=0", WEFT_OK, "relu=0\n|k is not told by these files: give --set k=NUMBER\n"},
        {"TopK", "relu=1", WEFT_MISMATCH, "relu is 0 by "},
        {"TopK", "k=21", WEFT_MISMATCH, "k is 21 by --set, expected a whole number from 1 to"},
        {"ReLU", "relu=0", WEFT_MISMATCH, "relu is 1 by "},
        {"ReLU", "relu=1", WEFT_OK, "relu=1\n|"},
        {"Tanh", "relu=1", WEFT_UNSUPPORTED, "activation is Tanh"},
    };
    bundle *b = openai_sae();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[1024];
        weft_convert_options o = {.names = "openai-sae", .set = &table[i].set, .n_set = 1};
        weft_convert_result r;
        save_with(b, join(run, "model.safetensors"), "activation", table[i].activation);
        weft_ctx *c = weft_open(NULL);
        weft_status s = weft_weights_import(c, run, join(dir, "w"), &o, &r);
        snprintf(text, sizeof text, "%s%s%s", s ? weft_error(c) : r.set, s ? "" : "|",
                 !s && r.notes ? r.notes : "");
        size_t n = strlen(table[i].part);
        bool ends = n < 2 || table[i].part[n - 1] != '|' || text[strlen(text) - 1] == '|';
        if (s != table[i].status || !strstr(text, table[i].part) || !ends)
            fail_msg("case %zu: %d, %s", i, (int)s, text);
        weft_convert_result_free(c, &r);
        weft_close(c);
    }
    free_bundle(b);
}

/* Scaling by the norms of the decoder is nothing where they are 1. */
static void test_unit_rows(void **state)
{
    (void)state;
    static const float stretch[] = {1, 1.0005f, 1.01f, 0};
    char text[1024];
    put_text(join(run, "cfg.json"),
             "{\"architecture\": \"topk\", \"k\": 3, \"normalize_activations\": "
             "\"layer_norm\", \"rescale_acts_by_decoder_norm\": true}");
    for (int k = 0; k < 4; k++) {
        bundle *b = saelens();
        float *w = find(b, "W_dec")->data;
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int j = 0; j < D; j++)
                sum += (double)w[i * D + j] * w[i * D + j];
            for (int j = 0; j < D; j++) /* the last row alone is another */
                w[i * D + j] *= (float)((i == N - 1 ? stretch[k] : 1) / sqrt(sum));
        }
        save(b, join(run, "sae_weights.safetensors"));
        assert_int_equal(import("saelens", text), k < 2 ? WEFT_OK : WEFT_UNSUPPORTED);
        assert_non_null(strstr(text, k < 2 ? "relu=0" : "are not of length 1"));
        free_bundle(b);
    }
}

static void test_memory(void **state)
{
    (void)state;
    char text[1024];
    bundle *b = cocomix();
    save(b, join(run, "model.safetensors"));
    put_text(join(run, "config.json"), config);
    put_text(join(dir, "config.yaml"), "concept_num: 3\nmode: cocomix\n");
    for (long at = 1, done = 0; !done; at++) {
        counter m = {.fail_at = at};
        weft_allocator alloc = {counted_alloc, counted_realloc, counted_free, &m};
        weft_options o = {.allocator = &alloc};
        weft_ctx *c = weft_open(&o);
        if (c) {
            weft_status s = import_in(c, "cocomix", text);
            done = m.calls < at;
            assert_int_equal(s, done ? WEFT_OK : WEFT_NOMEM);
            weft_close(c);
        }
        assert_int_equal(m.live, 0);
    }
    free_bundle(b);
}

static int make_dir(void **state)
{
    (void)state;
    dir = strdup(fresh_dir());
    run = strdup(join(dir, "step"));
    return mkdir(run, 0777);
}

static int clear_dir(void **state)
{
    (void)state;
    remove_dir(dir);
    free((void *)dir);
    free((void *)run);
    return 0;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, clear_dir)
    const struct CMUnitTest tests[] = {CASE(test_yaml), CASE(test_written), CASE(test_guess),
                                       CASE(test_unit_rows), CASE(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
