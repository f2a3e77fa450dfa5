/* test_names.c - weights of other programs: every format there and back to the bit, prefixes,
 * shards, and what is said of files that do not fit. */
#include <math.h>

#include "tests/names_run.h"

static int cases;

/* ---- there and back ---- */
/* import, export, import again: the same file to the bit, and the tensors are where the model has
 * them. */
static void round_trip(bundle *b, const char *names, const char *weights, const char *config,
                       const char *text, int64_t shard)
{
    char error[4096], set[1024], again[1024];
    char *a = strdup(join(dir, "a.safetensors")), *z = strdup(join(dir, "z.safetensors"));
    char *folder = strdup(join(dir, "out"));
    weft_convert_options o = {.names = names, .max_shard = shard};
    save(b, join(dir, weights));
    if (config)
        put_text(join(dir, config), text);
    weft_status s = import(dir, names, a, error, set);
    if (!s)
        s = export_as(a, folder, &o, error);
    if (!s)
        s = import(folder, names, z, error, again);
    if (s)
        fail_msg("%s: %s", names, error);
    assert_string_equal(set, again);
    same_files(a, z);
    remove_dir(folder);
    free(folder);
    free(a);
    free(z);
    free_bundle(b);
    if (config)
        unlink(join(dir, config));
    unlink(join(dir, weights));
    cases++;
}

static void test_round_trips(void **state)
{
    (void)state;
    static const int64_t shards[] = {0, 1, 700, 3000, 1 << 30};
    cases = 0;
    put_text(join(dir, "config.yaml"), "insert_layer_index: 1\nconcept_num: 3\n"); /* of cocomix */
    for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
        const char *model = "model.safetensors";
        round_trip(gpt2("", 2), "hf-gpt2", model, "config.json", hf_config, shards[i]);
        round_trip(gpt2("transformer.", 2), "hf-gpt2", model, "config.json", hf_config, shards[i]);
        round_trip(cocomix(), "cocomix", model, "config.json", hf_config, shards[i]);
        round_trip(saelens(), "saelens", "sae_weights.safetensors", "cfg.json", lens_config,
                   shards[i]);
    }
    print_message("%d round trips, bit for bit\n", cases);
}

/* y[j][i] of the file is x[i][j] of the model, in both directions; one transposition needs more
 * than one block of the scratch. */
static void test_layout(void **state)
{
    (void)state;
    char error[4096], set[1024];
    bundle *b = saelens();
    save(b, join(dir, "sae_weights.safetensors"));
    put_text(join(dir, "cfg.json"), lens_config);
    char *out = strdup(join(dir, "sae.safetensors"));
    assert_int_equal(import(dir, "saelens", out, error, set), WEFT_OK);
    assert_string_equal(set, "d=8\nn_latent=20\nk=3\nrelu=0\n");
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    assert_int_equal(weft_tensor_file_open(c, out, &f), WEFT_OK);
    const weft_tensor_entry *e = weft_tensor_file_find(f, "encoder.weight");
    assert_true(e->dim[0] == N && e->dim[1] == D);
    float x[N * D];
    assert_int_equal(weft_tensor_file_read(f, e, WEFT_F32, true, x), WEFT_OK);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++)
            assert_true(x[i * D + k] == find(b, "W_enc")->data[k * N + i]);
    assert_string_equal(weft_tensor_file_meta(f, "param.k"), "3");
    weft_tensor_file_close(f);
    weft_close(c);
    free_bundle(b);
    free(out);
}

/* More elements than one block of the scratch holds, wide and tall. */
static void transposed_twice(int64_t rows, int64_t cols)
{
    char error[4096], path[512];
    bundle *b = new_bundle();
    add(b, "w", 2, rows, cols);
    snprintf(path, sizeof path, "%s/t.txtpb", dir);
    put_text(path, "rule { from: \"w\" to: \"v\" shape: \"a,b\" transpose: true }\n");
    save(b, join(dir, "w.safetensors"));
    char *v = strdup(join(dir, "v.safetensors"));
    assert_int_equal(import(join(dir, "w.safetensors"), path, v, error, NULL), WEFT_OK);
    char *folder = strdup(join(dir, "out"));
    weft_convert_options o = {.names = path};
    assert_int_equal(export_as(v, folder, &o, error), WEFT_OK);
    weft_ctx *c = weft_open(NULL);
    weft_tensor_file *f;
    float *x = malloc((size_t)(rows * cols) * sizeof *x);
    assert_int_equal(weft_tensor_file_open(c, join(folder, "model.safetensors"), &f), WEFT_OK);
    assert_int_equal(weft_tensor_file_read(f, weft_tensor_file_at(f, 0), WEFT_F32, true, x),
                     WEFT_OK);
    assert_memory_equal(x, b->t[0].data, (size_t)(rows * cols) * sizeof *x);
    weft_tensor_file_close(f);
    assert_int_equal(weft_tensor_file_open(c, v, &f), WEFT_OK);
    assert_int_equal(weft_tensor_file_read(f, weft_tensor_file_at(f, 0), WEFT_F32, true, x),
                     WEFT_OK);
    assert_true(x[rows] == b->t[0].data[1] && x[1] == b->t[0].data[cols]);
    weft_tensor_file_close(f);
    weft_close(c);
    free(x);
    remove_dir(folder);
    free(folder);
    free(v);
    free_bundle(b);
}

static void test_blocks(void **state)
{
    (void)state;
    transposed_twice(3, 1000001);
    transposed_twice(1000001, 3);
    transposed_twice(1500, 1999);
}

/* ---- element types ---- */
static void test_half_types(void **state)
{
    (void)state;
    /* every binary16 comes back, ties go to even, both neighbours of a tie to their side */
    for (uint32_t h = 0; h < 0x7c00; h++) {
        int e = (int)(h >> 10), m = (int)(h & 1023);
        double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        double step = e ? ldexp(1, e - 25) : ldexp(1, -24);
        float tie = (float)(v + step / 2);
        assert_int_equal(weft_f16_round((float)v), h);
        assert_int_equal(weft_f16_round(-(float)v), h | 0x8000);
        assert_int_equal(weft_f16_round(tie), h + (h & 1));
        assert_int_equal(weft_f16_round(nextafterf(tie, 0)), h);
        assert_int_equal(weft_f16_round(nextafterf(tie, INFINITY)), h + 1);
    }
    assert_int_equal(weft_f16_round(65504), 0x7bff);
    assert_int_equal(weft_f16_round(1e9f), 0x7c00);
    assert_int_equal(weft_f16_round(-INFINITY), 0xfc00);
    assert_int_equal(weft_f16_round(1e-10f), 0);
    assert_true((weft_f16_round(NAN) & 0x7fff) > 0x7c00);
}

/* ---- what does not fit ---- */
static void change_nothing(bundle *b) { (void)b; }
static void drop_layer_bias(bundle *b) { drop(b, "h.0.ln_2.bias"); }
static void drop_wte(bundle *b) { drop(b, "wte.weight"); }
static void add_extra(bundle *b) { add(b, "h.0.attn.extra", 1, 2, 0); }
static void add_masks(bundle *b)
{
    add(b, "h.0.attn.bias", 2, 4, 4);
    add(b, "h.1.attn.masked_bias", 0, 0, 0);
}
static void add_deep(bundle *b) { add(b, "h.3.ln_1.bias", 1, D, 0); }
static void add_odd_layer(bundle *b) { add(b, "h.01.ln_1.bias", 1, D, 0); }
static void add_words(bundle *b) { add(b, "h.x.ln_1.bias", 1, D, 0); }
static void add_twin(bundle *b) { add(b, "transformer.ln_f.bias", 1, D, 0); }
static void add_head(bundle *b)
{
    add(b, "lm_head.weight", 2, VOCAB, D);
    memcpy(b->t[b->n - 1].data, find(b, "wte.weight")->data, VOCAB * D * sizeof(float));
}
static void rename_to_head(bundle *b)
{
    snprintf(find(b, "wte.weight")->name, sizeof b->t[0].name, "lm_head.weight");
}
static void add_other_head(bundle *b) { add(b, "lm_head.weight", 2, VOCAB, D); }
static void turn_matrix(bundle *b)
{
    tensor *t = find(b, "h.1.mlp.c_fc.weight");
    t->dim[0] = 4 * D;
    t->dim[1] = D;
}
static void lose_axis(bundle *b)
{
    tensor *t = find(b, "h.1.mlp.c_fc.weight");
    t->rank = 1;
    t->dim[0] = 4 * D * D;
}
static void make_nan(bundle *b) { find(b, "ln_f.bias")->data[1] = NAN; }

static void test_misfits(void **state)
{
    (void)state;
    static const struct {
        void (*change)(bundle *b);
        const char *config;
        weft_status status;
        const char *part;
    } table[] = {
        {change_nothing, hf_config, WEFT_OK, ""},
        {add_masks, hf_config, WEFT_OK, ""},
        {add_head, hf_config, WEFT_OK, ""},
        {rename_to_head, hf_config, WEFT_OK, ""},
        {drop_layer_bias, hf_config, WEFT_MISMATCH, "1 missing: h.0.ln_2.bias"},
        {drop_wte, hf_config, WEFT_MISMATCH, "1 missing: wte.weight"},
        {add_extra, hf_config, WEFT_MISMATCH, "1 not in the map: h.0.attn.extra"},
        {add_deep, hf_config, WEFT_MISMATCH, "23 missing: h.2.ln_1.weight, h.3.ln_1.weight, "},
        {add_deep, hf_config, WEFT_MISMATCH, " ... and 3 more"},
        {add_odd_layer, hf_config, WEFT_MISMATCH, "1 not in the map: h.01.ln_1.bias"},
        {add_words, hf_config, WEFT_MISMATCH, "1 not in the map: h.x.ln_1.bias"},
        {add_twin, hf_config, WEFT_MISMATCH, "are both for 'ln_f.bias'"},
        {add_other_head, hf_config, WEFT_MISMATCH, "lm_head.weight is not a copy of wte.weight"},
        {turn_matrix, hf_config, WEFT_MISMATCH,
         "h.1.mlp.c_fc.weight [32,8], expected [d,4*d] = [8,32]"},
        {lose_axis, hf_config, WEFT_MISMATCH, "h.1.mlp.c_fc.weight [256], expected [d,4*d]"},
        {make_nan, hf_config, WEFT_NUMERIC, "tensor 'ln_f.bias': element 1 is NaN or infinite"},
        {change_nothing, "{\"n_embd\": 16}", WEFT_MISMATCH, "d is 8 by wte.weight, but 16 by "},
        {change_nothing, "{\"n_layer\": 3}", WEFT_MISMATCH,
         "n_layer is 2 by the layers found, but 3 by "},
        {change_nothing, "{\"n_head\": \"two\"}", WEFT_MALFORMED,
         "n_head is two, expected a number"},
        {change_nothing, "{\"n_head\": -2}", WEFT_MISMATCH,
         "(n_head), expected a whole number from 1 that divides d = 8"},
        {change_nothing, "{\"n_head\": 3}", WEFT_MISMATCH, "n_head is 3 by "},
        {change_nothing, "{\"n_head\": 2.5}", WEFT_MISMATCH, "n_head is 2.5 by "},
        {change_nothing, "{\"n_head\": 16}", WEFT_MISMATCH, "n_head is 16 by "},
        {change_nothing, "{\"n_head\": 8, \"n_inner\": null}", WEFT_OK, ""},
        {change_nothing, "{\"n_inner\": 32}", WEFT_OK, ""},
        {change_nothing, "{\"n_inner\": 16}", WEFT_MISMATCH,
         "config.json: n_inner is 16, expected 4*d = 32"},
        {change_nothing, "{\"model_type\": \"opt\"}", WEFT_UNSUPPORTED, "model_type is opt"},
        {change_nothing, "{\"activation_function\": \"relu\"}", WEFT_UNSUPPORTED,
         "activation_function is relu: gpt2.txtpb has the tanh form of GELU"},
        {change_nothing, "{\"layer_norm_epsilon\": 0.00001}", WEFT_OK, ""},
        {change_nothing, "{\"layer_norm_epsilon\": 1e-6}", WEFT_UNSUPPORTED,
         "layer_norm_epsilon is 1e-06: gpt2.txtpb has eps=1e-5"},
        {change_nothing, "{\"tie_word_embeddings\": false}", WEFT_UNSUPPORTED,
         "tie_word_embeddings is false"},
        {change_nothing, "{\"scale_attn_by_inverse_layer_idx\": true}", WEFT_UNSUPPORTED,
         "is true: expected false or absent"},
        {change_nothing, "{", WEFT_MALFORMED, "config.json:1:2"},
        {change_nothing, "[]", WEFT_MALFORMED, "expected an object"},
    };
    size_t n = sizeof table / sizeof *table;
    char error[4096];
    for (size_t i = 0; i < n; i++) {
        bundle *b = gpt2("", 2);
        table[i].change(b);
        save(b, join(dir, "model.safetensors"));
        put_text(join(dir, "config.json"), table[i].config);
        unlink(join(dir, "w"));
        weft_status s = import(dir, "hf-gpt2", join(dir, "w"), error, NULL);
        if (s != table[i].status || !strstr(error, table[i].part))
            fail_msg("case %zu: %d, %s", i, (int)s, error);
        assert_int_equal(access(join(dir, "w"), F_OK) == 0, s == WEFT_OK);
        free_bundle(b);
    }
    unlink(join(dir, "config.json"));
    print_message("%zu GPT-2 folders, right and wrong\n", n);
}

/* cfg.json of SAELens, old and new. */
static void test_descriptions(void **state)
{
    (void)state;
#define KS(k) "\"architecture\":\"topk\",\"k\":" k ","
#define TOPK  "\"architecture\":\"topk\",\"k\":3,"
#define LN    "\"normalize_activations\":\"layer_norm\""
    static const struct {
        const char *config;
        weft_status status;
        const char *part; /* of the error, or of the parameters */
    } table[] = {
        {"{" TOPK LN "}", WEFT_OK, "k=3\nrelu=0\n"},
        {"{" TOPK LN ",\"d_in\":8,\"d_sae\":20}", WEFT_OK, "d=8\nn_latent=20\n"},
        {"{" KS("0") LN "}", WEFT_MISMATCH,
         "cfg.json (k), expected a whole number from 1 to n_latent = 20"},
        {"{" KS("-3") LN "}", WEFT_MISMATCH, "k is -3 by "},
        {"{" KS("4.5") LN "}", WEFT_MISMATCH, "k is 4.5 by "},
        {"{" KS("21") LN "}", WEFT_MISMATCH, "k is 21 by "},
        {"{" KS("20") LN "}", WEFT_OK, "k=20\n"},
        {"{" KS("1e300") LN "}", WEFT_MISMATCH, "k is 1e+300 by "},
        {"{" TOPK LN ",\"d_sae\":21}", WEFT_MISMATCH, "n_latent is 20 by W_enc, but 21 by"},
        {"{" TOPK "\"normalize_activations\":\"none\"}", WEFT_UNSUPPORTED,
         "normalize_activations is none: sae.txtpb standardises every row"},
        {"{" TOPK "\"k2\":1}", WEFT_UNSUPPORTED, "normalize_activations is not there"},
        {"{" TOPK LN ",\"apply_b_dec_to_input\":false}", WEFT_UNSUPPORTED,
         "apply_b_dec_to_input is false: sae.txtpb subtracts pre_bias"},
        {"{" TOPK LN ",\"rescale_acts_by_decoder_norm\":true}", WEFT_UNSUPPORTED,
         "the rows of W_dec are not of length 1"},
        {"{" TOPK LN ",\"reshape_activations\":\"hook_z\"}", WEFT_UNSUPPORTED,
         "reshape_activations is hook_z"},
        {"{\"architecture\":\"gated\"}", WEFT_UNSUPPORTED,
         "architecture is gated: sae.txtpb has no gate"},
        {"{\"architecture\":\"jumprelu\"}", WEFT_UNSUPPORTED, "has no threshold"},
        {"{\"architecture\":\"batchtopk\"}", WEFT_UNSUPPORTED, "of each row, not of a batch"},
        {"{\"architecture\":\"matryoshka\"}", WEFT_UNSUPPORTED, "architecture is matryoshka"},
        {"{}", WEFT_UNSUPPORTED, "architecture is not there"},
        {"{\"architecture\":\"standard\"}", WEFT_OK, "relu=1\n"},
        {"{\"architecture\":\"standard\"," LN "}", WEFT_UNSUPPORTED,
         "normalize_activations is layer_norm: with relu=1"},
        /* before 6.0 */
        {"{\"activation_fn_str\":\"topk\",\"activation_fn_kwargs\":{\"k\":5}," LN "}", WEFT_OK,
         "k=5\nrelu=0\n"},
        {"{\"architecture\":\"standard\",\"activation_fn_str\":\"topk\",\"activation_fn_kwargs\":{"
         "\"k\":5}," LN "}",
         WEFT_OK, "k=5\nrelu=0\n"},
        {"{\"activation_fn_str\":\"relu\",\"normalize_activations\":\"none\"}", WEFT_OK,
         "relu=1\n"},
        {"{\"activation_fn_str\":\"tanh-relu\"}", WEFT_UNSUPPORTED, "activation_fn_str is tanh"},
        {"{\"activation_fn_str\":\"topk\",\"activation_fn_kwargs\":{\"k\":\"5\"}," LN "}",
         WEFT_MALFORMED, "activation_fn_kwargs.k is 5, expected a number"},
    };
    size_t n = sizeof table / sizeof *table;
    char error[4096], set[1024];
    bundle *b = saelens();
    save(b, join(dir, "sae_weights.safetensors"));
    for (size_t i = 0; i < n; i++) {
        put_text(join(dir, "cfg.json"), table[i].config);
        weft_status s = import(dir, "saelens", join(dir, "w"), error, set);
        if (s != table[i].status || !strstr(s ? error : set, table[i].part))
            fail_msg("case %zu: %d, %s%s", i, (int)s, error, set);
    }
    unlink(join(dir, "cfg.json"));
    assert_int_equal(import(dir, "saelens", join(dir, "w"), error, set), WEFT_MISSING);
    assert_non_null(strstr(error, "cfg.json: no such file, and without it"));
    free_bundle(b);
    print_message("%zu descriptions of SAELens\n", n + 1);
}

/* ---- failures of memory and disk ---- */
static weft_status run_once(weft_ctx *c)
{
    weft_convert_options o = {.names = "saelens"};
    weft_convert_result r;
    weft_status s = weft_weights_import(c, dir, join(dir, "w"), &o, &r);
    weft_convert_result_free(c, &r);
    return s;
}

static void test_failures(void **state)
{
    (void)state;
    bundle *b = saelens();
    save(b, join(dir, "sae_weights.safetensors"));
    put_text(join(dir, "cfg.json"), lens_config);
    int memory = 0, disk = 0;
    for (long at = 1, done = 0; !done; at++, memory++) {
        counter m = {.fail_at = at};
        weft_allocator alloc = {counted_alloc, counted_realloc, counted_free, &m};
        weft_options o = {.allocator = &alloc};
        weft_ctx *c = weft_open(&o);
        if (c) {
            done = m.calls < at;
            weft_status s = run_once(c);
            done = m.calls < at;
            assert_int_equal(s, done ? WEFT_OK : WEFT_NOMEM);
            weft_close(c);
        }
        assert_int_equal(m.live, 0);
    }
    for (long at = 1, done = 0; !done; at++, disk++) {
        fault f = {.fail_at = at, .error = EIO};
        weft_io io = fault_table(&f);
        weft_options o = {.io = &io};
        weft_ctx *c = weft_open(&o);
        weft_status s = run_once(c);
        done = f.calls < at;
        if (s && done)
            fail_msg("call %ld: %s", at, weft_error(c));
        weft_close(c);
    }
    free_bundle(b);
    print_message("%d allocations and %d file operations failed in turn\n", memory - 1, disk - 1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, clear_dir)
    const struct CMUnitTest tests[] = {
        CASE(test_round_trips), CASE(test_layout),       CASE(test_blocks),   CASE(test_half_types),
        CASE(test_misfits),     CASE(test_descriptions), CASE(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
