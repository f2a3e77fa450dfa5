/* test_weights.c - weights under foreign names, in shards, of other shapes: what fits, and what is
 * said. */
#include "tests/store.h"

/* Twenty names of a kind, and how many more there are. */
static void test_long_lists(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    static char names[60][16];
    weft_tensor_out t[30];
    float x = 1;
    weft_ctx *c = weft_open(NULL);
    weft_session *s = make_session(c);
    for (int i = 0; i < 30; i++) {
        sprintf(names[i], "file.%d", i);
        sprintf(names[i + 30], "graph.%d", i);
        t[i] = (weft_tensor_out){names[i], weft_type_make(WEFT_F32, 0, NULL), &x};
        add_state(s, names[i + 30], WEFT_F32, 0, NULL, true);
        s->state[i].ready = false;
    }
    assert_int_equal(weft_tensor_file_write(c, join(dir, "w"), t, 30, NULL, 0, NULL, NULL),
                     WEFT_OK);
    assert_int_equal(weft_weights_load(s, join(dir, "w"), NULL), WEFT_MISMATCH);
    assert_non_null(strstr(weft_error(c), "30 missing: graph.0, graph.1,"));
    assert_non_null(strstr(weft_error(c), "graph.19 ... and 10 more\n"));
    assert_non_null(strstr(weft_error(c), "30 not in the graph: file.0, file.1, file.10,"));
    assert_null(strstr(weft_error(c), "graph.20"));
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

/* ---- weights under foreign names ---- */
typedef struct {
    const char *name;
    int rank;
    int64_t dim[2];
    float first;
} hf_tensor;

static void put_weights(const char *path, const hf_tensor *h, int n)
{
    float data[8][16];
    weft_tensor_out t[8];
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 16; k++)
            data[i][k] = h[i].first + (float)k;
        t[i] = (weft_tensor_out){h[i].name, weft_type_make(WEFT_F32, h[i].rank, h[i].dim), data[i]};
    }
    weft_ctx *c = weft_open(NULL);
    assert_int_equal(weft_tensor_file_write(c, path, t, n, NULL, 0, NULL, NULL), WEFT_OK);
    weft_close(c);
}

/* wte.weight [2,2] and h.0.b [3], at `scope`. */
static weft_session *hf_session(weft_ctx *c, const char *wte, const char *b)
{
    weft_session *s = make_session(c);
    add_state(s, wte, WEFT_F32, 2, (int64_t[]){2, 2}, true);
    add_state(s, b, WEFT_F32, 1, (int64_t[]){3}, true);
    s->state[0].ready = s->state[1].ready = false;
    return s;
}

static void expect_weights(weft_session *s, const char *path, const char *scope, weft_status want,
                           const char *part)
{
    for (int i = 0; i < s->n_state && !want; i++)
        memset(s->state[i].data, 0, weft_type_bytes(&s->state[i].type));
    weft_status st = weft_weights_load(s, path, scope);
    if (st != want)
        print_error("%s\n", weft_error(s->ctx));
    assert_int_equal(st, want);
    if (want) {
        assert_non_null(strstr(weft_error(s->ctx), part));
        weft_error_clear(s->ctx);
        return;
    }
    assert_true(((float *)s->state[0].data)[3] == 13 && ((float *)s->state[1].data)[2] == 22);
    assert_true(s->state[0].ready && s->state[1].ready);
    s->state[0].ready = s->state[1].ready = false;
}

static void test_foreign_names(void **state)
{
    (void)state;
    const char *dir = fresh_dir(), *path = join(dir, "model.safetensors");
    weft_ctx *c = weft_open(NULL);
    weft_session *s = hf_session(c, "wte.weight", "h.0.b");
    weft_session *p = hf_session(c, "transformer.wte.weight", "transformer.h.0.b");
    weft_session *t = hf_session(c, "teacher.wte.weight", "teacher.h.0.b");
    weft_session *h = hf_session(c, "lm_head.weight", "h.0.b");
#define WTE(prefix) {prefix "wte.weight", 2, {2, 2}, 10}
#define BIAS(prefix)                                                                               \
    {                                                                                              \
        prefix "h.0.b", 1, {3}, 20                                                                 \
    }
#define PUT(...)                                                                                   \
    put_weights(path, (hf_tensor[]){__VA_ARGS__},                                                  \
                sizeof((hf_tensor[]){__VA_ARGS__}) / sizeof(hf_tensor))
    PUT(WTE(""), BIAS(""));
    expect_weights(s, path, "", WEFT_OK, NULL);
    expect_weights(s, dir, NULL, WEFT_OK, NULL);
    expect_weights(p, path, "", WEFT_OK, NULL); /* the graph has the prefix */
    expect_weights(t, path, "teacher.", WEFT_OK, NULL);
    expect_weights(t, path, "", WEFT_MISMATCH, "2 missing: teacher.wte.weight, teacher.h.0.b");
    PUT(WTE("transformer."), BIAS("transformer."));
    expect_weights(s, path, "", WEFT_OK, NULL); /* the file has it */
    expect_weights(p, path, "", WEFT_OK, NULL);
    expect_weights(t, path, "teacher.", WEFT_OK, NULL);
    PUT(WTE(""), BIAS(""), {"h.0.attn.bias", 2, {4, 4}, 0}, {"h.0.attn.masked_bias", 0, {0}, 0});
    expect_weights(s, path, "", WEFT_OK, NULL);
    PUT(WTE(""), BIAS(""), {"lm_head.weight", 2, {2, 2}, 10});
    expect_weights(s, path, "", WEFT_OK, NULL); /* a copy of wte */
    PUT(WTE("transformer."), BIAS("transformer."), {"lm_head.weight", 2, {2, 2}, 10});
    expect_weights(s, path, "", WEFT_OK, NULL);
    PUT(WTE(""), BIAS(""), {"lm_head.weight", 2, {2, 2}, 11});
    expect_weights(s, path, "", WEFT_MISMATCH, "lm_head.weight differs from wte.weight");
    PUT(BIAS(""), {"lm_head.weight", 2, {2, 2}, 10});
    expect_weights(s, path, "", WEFT_OK, NULL); /* the weight's other name alone */
    PUT(BIAS("transformer."), {"lm_head.weight", 2, {2, 2}, 10});
    expect_weights(s, path, "", WEFT_OK, NULL);
    expect_weights(p, path, "", WEFT_OK, NULL);
    expect_weights(t, path, "teacher.", WEFT_OK, NULL);
    PUT(BIAS(""), {"lm_head.weight", 2, {2, 3}, 10});
    expect_weights(s, path, "", WEFT_MISMATCH, "wte.weight [2,3] where the graph has [2,2]");
    PUT(BIAS(""), WTE("transformer.")); /* a graph that knows it by the other name */
    expect_weights(h, path, "", WEFT_OK, NULL);
    PUT(BIAS(""), WTE(""), {"lm_head.weight", 2, {2, 2}, 10});
    expect_weights(h, path, "", WEFT_OK, NULL);
    PUT(BIAS(""), WTE(""), {"lm_head.weight", 2, {2, 2}, 9});
    expect_weights(h, path, "", WEFT_MISMATCH, "wte.weight differs from lm_head.weight");
    PUT(WTE(""), BIAS(""), BIAS("transformer."));
    expect_weights(s, path, "", WEFT_MISMATCH, "are both for weight 'h.0.b'");
    PUT(WTE(""), {"h.0.b", 1, {4}, 20});
    expect_weights(s, path, "", WEFT_MISMATCH, "h.0.b [4] where the graph has [3]");
    PUT(WTE(""), {"h.0.b", 2, {3, 1}, 20});
    expect_weights(s, path, "", WEFT_MISMATCH, "h.0.b [3,1] where the graph has [3]");
    PUT(WTE(""), BIAS(""), {"extra", 0, {0}, 1});
    expect_weights(s, path, "", WEFT_MISMATCH, "1 not in the graph: extra");
    float nan = __builtin_nanf("");
    PUT(WTE(""), {"h.0.b", 1, {3}, nan});
    expect_weights(s, path, "", WEFT_NUMERIC, "tensor 'h.0.b': element 0 is NaN or infinite");
    /* what an earlier load has filled may be absent */
    PUT(WTE(""));
    s->state[1].ready = false;
    expect_weights(s, path, "", WEFT_MISMATCH, "1 missing: h.0.b");
    s->state[1].ready = true;
    assert_int_equal(weft_weights_load(s, path, ""), WEFT_OK);
    free_session(s);
    free_session(p);
    free_session(t);
    free_session(h);
    weft_close(c);
    remove_dir(dir);
}

static void test_shards(void **state)
{
    (void)state;
    const char *dir = fresh_dir();
    char *index = strdup(join(dir, "model.safetensors.index.json"));
    weft_ctx *c = weft_open(NULL);
    weft_session *s = hf_session(c, "wte.weight", "h.0.b");
    put_weights(join(dir, "model-00001-of-00002.safetensors"), (hf_tensor[]){WTE("")}, 1);
    put_weights(join(dir, "model-00002-of-00002.safetensors"), (hf_tensor[]){BIAS("")}, 1);
    static const struct {
        const char *map;
        weft_status status;
        const char *part;
    } table[] = {
        {"{\"metadata\":{\"total_size\":28},\"weight_map\":{\"wte.weight\":\"model-00001-of-00002."
         "safetensors\","
         "\"h.0.b\":\"model-00002-of-00002.safetensors\"}}",
         WEFT_OK, NULL},
        {"{\"weight_map\":{\"wte.weight\":\"model-00001-of-00002.safetensors\"}}", WEFT_MISMATCH,
         "1 missing: h.0.b"},
        {"{\"weight_map\":{\"h.0.b\":\"model-00001-of-00002.safetensors\"}}", WEFT_MALFORMED,
         "weight_map: 'h.0.b' is not in model-00001-of-00002.safetensors"},
        {"{\"weight_map\":{\"h.0.b\":\"../x.safetensors\"}}", WEFT_MALFORMED,
         "'h.0.b' is in '../x.safetensors', expected a file of the same folder"},
        {"{\"weight_map\":{\"h.0.b\":\"/etc/passwd\"}}", WEFT_MALFORMED,
         "expected a file of the same folder"},
        {"{\"weight_map\":{\"h.0.b\":\"\"}}", WEFT_MALFORMED, "expected a file of the same folder"},
        {"{\"weight_map\":{\"h.0.b\":7}}", WEFT_MALFORMED,
         "'h.0.b' is a whole number, expected a file name"},
        {"{\"weight_map\":{\"h.0.b\":\"gone.safetensors\"}}", WEFT_MISSING, "gone.safetensors"},
        {"{\"weight_map\":[]}", WEFT_MALFORMED, "weight_map is a list, expected an object"},
        {"{}", WEFT_MALFORMED, "has no weight_map, so it is no index"},
        {"[]", WEFT_MALFORMED, "the file is a list, expected an object"},
        {"{\"weight_map\":\n{\"a\":}}", WEFT_MALFORMED, "index.json:2:6: expected a value"},
        /* the second shard holds "c" as well from here on */
        {"{\"weight_map\":{\"wte.weight\":\"model-00001-of-00002.safetensors\","
         "\"h.0.b\":\"model-00002-of-00002.safetensors\"}}",
         WEFT_MALFORMED, "weight_map: 'c' of model-00002-of-00002.safetensors is not in it"},
        {"{\"weight_map\":{}}", WEFT_MISMATCH, "2 missing: wte.weight, h.0.b"},
        /* and from here on a copy of wte.weight that lies in the other shard */
        {"{\"weight_map\":{\"wte.weight\":\"model-00001-of-00002.safetensors\","
         "\"h.0.b\":\"model-00002-of-00002.safetensors\","
         "\"lm_head.weight\":\"model-00002-of-00002.safetensors\"}}",
         WEFT_OK, NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strstr(table[i].part ? table[i].part : "", "'c' of"))
            put_weights(join(dir, "model-00002-of-00002.safetensors"),
                        (hf_tensor[]){BIAS(""), {"c", 1, {3}, 5}}, 2);
        if (strstr(table[i].map, "lm_head"))
            put_weights(join(dir, "model-00002-of-00002.safetensors"),
                        (hf_tensor[]){BIAS(""), {"lm_head.weight", 2, {2, 2}, 10}}, 2);
        put_file(index, table[i].map, strlen(table[i].map));
        expect_weights(s, i % 2 ? index : dir, "", table[i].status, table[i].part);
    }
    free(index);
    free_session(s);
    weft_close(c);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_foreign_names),
        cmocka_unit_test(test_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
