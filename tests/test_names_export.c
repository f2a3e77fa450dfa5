/* test_names_export.c - weights for other programs: element types, descriptions, fields, and files
 * that are not replaced. */
#include <math.h>

#include "tests/names_run.h"

/* ---- element types ---- */
/* Written rounded, read back widened; a second pass changes nothing. */
static void test_dtypes(void **state)
{
    (void)state;
    static const char *const types[] = {"bf16", "f16"};
    char error[4096];
    bundle *b = openai_sae();
    for (int i = 0; i < 2; i++) {
        char *a = strdup(join(dir, "a.safetensors")), *z = strdup(join(dir, "z.safetensors"));
        char *one = strdup(join(dir, "one")), *two = strdup(join(dir, "two"));
        const char *k = "k=3";
        weft_convert_options o = {.names = "openai-sae", .dtype = types[i], .set = &k, .n_set = 1};
        save(b, a);
        assert_int_equal(export_as(a, one, &o, error), WEFT_OK);
        assert_int_equal(import(one, "openai-sae", z, error, NULL), WEFT_OK);
        assert_int_equal(export_as(z, two, &o, error), WEFT_OK);
        same_files(join(one, "model.safetensors"), join(two, "model.safetensors"));
        weft_ctx *c = weft_open(NULL);
        weft_tensor_file *f;
        float x[D];
        assert_int_equal(weft_tensor_file_open(c, z, &f), WEFT_OK);
        assert_int_equal(
            weft_tensor_file_read(f, weft_tensor_file_find(f, "pre_bias"), WEFT_F32, true, x),
            WEFT_OK);
        for (int e = 0; e < D; e++) /* half a unit in the last of 8 or 11 bits */
            assert_true(fabsf(x[e] - b->t[0].data[e]) <=
                        fabsf(b->t[0].data[e]) * (i ? 0x1p-11f : 0x1p-8f));
        weft_tensor_file_close(f);
        weft_close(c);
        remove_dir(one);
        remove_dir(two);
        free(a);
        free(z);
        free(one);
        free(two);
    }
    b->t[0].data[2] = 7e4f; /* finite in f32 and bf16, not in f16 */
    save(b, join(dir, "a.safetensors"));
    weft_convert_options o = {.names = "openai-sae", .dtype = "f16"};
    const char *k = "k=3";
    o.set = &k;
    o.n_set = 1;
    assert_int_equal(export_as(join(dir, "a.safetensors"), join(dir, "x"), &o, error),
                     WEFT_NUMERIC);
    assert_non_null(strstr(error, "tensor 'pre_bias': 70000 is beyond the range of F16"));
    assert_int_not_equal(access(join(dir, "x"), F_OK), 0); /* nor a folder, nor the shards before */
    o.max_shard = 1;
    b->t[0].data[2] = 1;
    b->t[3].data[2] = 7e4f; /* in the last shard */
    save(b, join(dir, "a.safetensors"));
    assert_int_equal(export_as(join(dir, "a.safetensors"), join(dir, "x"), &o, error),
                     WEFT_NUMERIC);
    assert_int_not_equal(access(join(dir, "x"), F_OK), 0);
    assert_int_equal(mkdir(join(dir, "x"), 0777), 0); /* but nothing that somebody else made */
    put_text(join(dir, "x/notes"), "");
    assert_int_equal(export_as(join(dir, "a.safetensors"), join(dir, "x"), &o, error),
                     WEFT_NUMERIC);
    assert_int_equal(access(join(dir, "x/notes"), F_OK), 0);
    assert_int_not_equal(access(join(dir, "x/model-00001-of-00004.safetensors"), F_OK), 0);
    remove_dir(join(dir, "x"));
    o.dtype = "f64";
    assert_int_equal(export_as(join(dir, "a.safetensors"), join(dir, "x"), &o, error), WEFT_USAGE);
    free_bundle(b);
}

/* ---- descriptions ---- */
static void test_export(void **state)
{
    (void)state;
    char error[4096];
    char *a = strdup(join(dir, "a.safetensors")), *folder = strdup(join(dir, "out"));
    bundle *b = gpt2("", 2);
    save(b, a);
    weft_convert_options o = {.names = "hf-gpt2"};
    assert_int_equal(export_as(a, folder, &o, error), WEFT_USAGE);
    assert_non_null(strstr(error, "'n_head' is not known: give --set n_head=NUMBER"));
    const char *set[] = {"n_head=2"}, *field[] = {"name=a \"b\"", "extra.x=1"};
    const char *three = "n_head=3";
    o = (weft_convert_options){.names = "hf-gpt2", .set = &three, .n_set = 1};
    assert_int_equal(export_as(a, folder, &o, error), WEFT_MISMATCH);
    assert_non_null(strstr(error, "n_head is 3 by --set, expected a whole number from 1 that"));
    o = (weft_convert_options){
        .names = "hf-gpt2", .set = set, .n_set = 1, .field = field, .n_field = 2, .dtype = "bf16"};
    assert_int_equal(export_as(a, folder, &o, error), WEFT_OK);
    size_t n;
    char *config = (char *)get_file(join(folder, "config.json"), &n);
    config[n] = 0;
    /* what GPT2Config reads (reference: ecosystem.md 2.3) */
    static const char *const keys[] = {"\"architectures\": [\"GPT2LMHeadModel\"]",
                                       "\"model_type\": \"gpt2\"",
                                       "\"vocab_size\": 12",
                                       "\"n_positions\": 6",
                                       "\"n_ctx\": 6",
                                       "\"n_embd\": 8",
                                       "\"n_layer\": 2",
                                       "\"n_head\": 2",
                                       "\"n_inner\": null",
                                       "\"activation_function\": \"gelu_new\"",
                                       "\"layer_norm_epsilon\": 1e-05",
                                       "\"tie_word_embeddings\": true",
                                       "\"torch_dtype\": \"bfloat16\"",
                                       "\"name\": \"a \\\"b\\\"\"",
                                       "\"extra\": {\n    \"x\": 1\n  }\n}"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strstr(config, keys[i]))
            fail_msg("no %s in %s", keys[i], config);
    assert_null(strstr(config, "token_id")); /* nobody said which they are */
    free(config);
    assert_int_equal(export_as(a, folder, &o, error), WEFT_CANTCREATE);
    assert_non_null(strstr(error, "model.safetensors: is there already"));
    remove_dir(folder);
    drop(b, "h.1.mlp.c_proj.weight");
    add(b, "adam", 1, 3, 0);
    save(b, a);
    assert_int_equal(export_as(a, folder, &o, error), WEFT_MISMATCH);
    assert_non_null(strstr(error, "1 missing: h.1.mlp.c_proj.weight"));
    assert_non_null(strstr(error, "1 not in the map: adam"));
    assert_int_not_equal(access(folder, F_OK), 0); /* nothing was begun */
    free_bundle(b);
    b = gpt2("student.", 1); /* a part of a larger model */
    add(b, "other", 1, 3, 0);
    save(b, a);
    assert_int_equal(export_as(a, folder, &o, error), WEFT_OK);
    remove_dir(folder);
    free_bundle(b);
    free(folder);
    free(a);
}

/* --field adds keys, and replaces those that say nothing of the weights. */
static void test_fields(void **state)
{
    (void)state;
    char error[4096];
    char *a = strdup(join(dir, "a.safetensors")), *folder = strdup(join(dir, "out"));
    const char *set = "n_head=2";
    weft_convert_options o = {.names = "hf-gpt2", .set = &set, .n_set = 1};
    bundle *b = gpt2("", 2);
    save(b, a);
    static const char *const wrong[][2] = {
        {"n_embd=7", "field n_embd=7: d is 8 by wte.weight"},
        {"n_head=4", "field n_head=4: n_head is 2 by --set"},
        {"n_layer=two", "field n_layer=two: n_layer is 2 by the layers found"},
        {"n_inner=16", "n_inner is 16, expected 4*d = 32"},
        {"activation_function=relu", "activation_function is relu: gpt2.txtpb has the tanh form"},
        {"model_type=opt", "model_type is opt"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o.field = &wrong[i][0];
        o.n_field = 1;
        weft_status s = export_as(a, folder, &o, error);
        if (s == WEFT_OK || s == WEFT_USAGE || !strstr(error, wrong[i][1]))
            fail_msg("case %zu: %d, %s", i, (int)s, error);
        assert_int_not_equal(access(folder, F_OK), 0);
    }
    const char *right[] = {"n_embd=8", "resid_pdrop=0.3", "bos_token_id=3", "n_inner=32"};
    o.field = right;
    o.n_field = 4;
    assert_int_equal(export_as(a, folder, &o, error), WEFT_OK);
    remove_dir(folder);
    free_bundle(b);
    free(folder);
    free(a);
}

/* ---- files that are there ---- */
/* An import replaces an earlier one, but nothing else, and nothing that it reads. */
static void test_output(void **state)
{
    (void)state;
    static const struct {
        const char *out;
        weft_status status;
        const char *part;
    } table[] = {
        {"new", WEFT_OK, ""},
        {"new", WEFT_OK, ""},
        {"a.safetensors", WEFT_OK, ""},
        {"tokens.bin", WEFT_CANTCREATE, "tokens.bin: is there already, and no safetensors file"},
        {"out/config.json", WEFT_CANTCREATE, "is there already"},
        {"out/model.safetensors.index.json", WEFT_CANTCREATE, "is there already"},
        {"out/model-00002-of-00028.safetensors", WEFT_CANTCREATE, "a file of what is imported"},
        {"link/model-00028-of-00028.safetensors", WEFT_CANTCREATE, "a file of what is imported"},
    };
    char error[4096];
    char *a = strdup(join(dir, "a.safetensors")), *folder = strdup(join(dir, "out"));
    bundle *b = gpt2("", 2);
    save(b, a);
    const char *set[] = {"n_head=2"};
    weft_convert_options o = {.names = "hf-gpt2", .set = set, .n_set = 1, .max_shard = 1};
    assert_int_equal(export_as(a, folder, &o, error), WEFT_OK);
    put_text(join(dir, "tokens.bin"), "tokens of a text");
    assert_int_equal(symlink(folder, join(dir, "link")), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = 0, m = 0;
        char *out = strdup(join(dir, table[i].out));
        unsigned char *old = table[i].status ? get_file(out, &n) : NULL, *now;
        weft_status s = import(folder, "hf-gpt2", out, error, NULL);
        if (s != table[i].status || !strstr(error, table[i].part))
            fail_msg("case %zu: %d, %s", i, (int)s, error);
        now = get_file(out, &m);
        if (s && (n != m || memcmp(old, now, n)))
            fail_msg("case %zu: %s was changed", i, out);
        free(old);
        free(now);
        free(out);
    }
    assert_int_equal(import(folder, "hf-gpt2", folder, error, NULL), WEFT_CANTCREATE);
    free_bundle(b);
    free(a);
    free(folder);
}

/* ---- weights alone ---- */
/* A folder of another program, with its tokenizer, opened as a model, and an export of it. */
static weft_status use_folder(weft_ctx *c, const char *folder)
{
    weft_trained *t = NULL;
    weft_convert_options o = {.names = "hf-gpt2"};
    weft_convert_result r = {0};
    int64_t bos = 0, eos = 0;
    WEFT_TRY(weft_trained_open(c, folder, NULL, NULL, 0, &t));
    const char *tokenizer = weft_trained_file(t, WEFT_RECIPE_TOKENIZER);
    weft_status s = tokenizer ? weft_trained_ids(t, tokenizer, &bos, &eos) : weft_error_status(c);
    if (!s && (weft_trained_vocab(t) != VOCAB || bos != 2 || eos != 3))
        s = weft_fail(c, WEFT_INTERNAL, "vocabulary %d, ids %d and %d", (int)weft_trained_vocab(t),
                      (int)bos, (int)eos);
    weft_trained_free(t);
    if (!s)
        s = weft_weights_export(c, folder, join(dir, "new"), &o, &r);
    weft_convert_result_free(c, &r);
    if (!s)
        remove_dir(join(dir, "new"));
    return s;
}

/* Memory and disk fail at each place in turn: it is said, and never taken for "not there". */
static void test_folder(void **state)
{
    (void)state;
    bundle *b = gpt2("transformer.", 1);
    char *folder = strdup(join(dir, "hf"));
    mkdir(folder, 0777);
    save(b, join(folder, "model.safetensors"));
    put_text(join(folder, "config.json"), "{\"n_head\": 4, \"bos_token_id\": null}");
    put_text(join(folder, "vocab.json"), "{\"x\": 2, \"<|endoftext|>\": 3}");
    put_text(join(folder, "tokenizer_config.json"),
             "{\"bos_token\": \"x\", \"model_max_length\": 1000000000000000019884624838656}");
    fail_allocations(use_folder, folder);
    for (long at = 1, done = 0; !done; at++) {
        fault f = {.fail_at = at, .error = EIO, .reads = 1};
        weft_io io = fault_table(&f);
        weft_ctx *c = weft_open(&(weft_options){.io = &io});
        weft_status s = use_folder(c, folder);
        done = f.calls < at;
        if (done ? s : !s)
            fail_msg("call %ld: %d, %s", at, (int)s, weft_error(c));
        weft_close(c);
    }
    free_bundle(b);
    free(folder);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, clear_dir)
    const struct CMUnitTest tests[] = {
        CASE(test_dtypes),
        CASE(test_export),
        CASE(test_fields),
        CASE(test_output),
        CASE(test_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
