/* bundle.h - small sets of named tensors as other programs write them, for test_names*.c. */
#ifndef TESTS_BUNDLE_H
#define TESTS_BUNDLE_H

#include "tests/store.h"

enum { D = 8, VOCAB = 12, CTX = 6, N = 20 };

typedef struct {
    char name[64];
    int rank;
    int64_t dim[4];
    float *data;
} tensor;

typedef struct {
    tensor t[64];
    int n;
} bundle;

static bundle *new_bundle(void) { return calloc(1, sizeof(bundle)); }

static void free_bundle(bundle *b)
{
    for (int i = 0; i < b->n; i++)
        free(b->t[i].data);
    free(b);
}

/* Values that differ in every element and have 24 significant bits. */
static void add(bundle *b, const char *name, int rank, int64_t d0, int64_t d1)
{
    tensor *t = &b->t[b->n];
    int64_t count = (rank > 0 ? d0 : 1) * (rank > 1 ? d1 : 1);
    *t = (tensor){.rank = rank, .dim = {d0, d1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->data = malloc((size_t)count * sizeof *t->data);
    for (int64_t i = 0; i < count; i++)
        t->data[i] = sinf((float)(i * 7 + b->n * 1001)) * 3;
    b->n++;
}

static tensor *find(bundle *b, const char *name)
{
    for (int i = 0; i < b->n; i++)
        if (!strcmp(b->t[i].name, name))
            return &b->t[i];
    return NULL;
}

static inline void drop(bundle *b, const char *name)
{
    tensor *t = find(b, name);
    assert_non_null(t);
    free(t->data);
    *t = b->t[--b->n];
}

/* With one more pair in __metadata__, unless `value` is NULL. */
static void save_with(const bundle *b, const char *path, const char *key, const char *value)
{
    weft_ctx *c = weft_open(NULL);
    weft_tensor_out out[64];
    const weft_meta meta[] = {{"format", "pt"}, {key, value}};
    for (int i = 0; i < b->n; i++)
        out[i] = (weft_tensor_out){
            b->t[i].name, weft_type_make(WEFT_F32, b->t[i].rank, b->t[i].dim), b->t[i].data};
    assert_int_equal(weft_tensor_file_write(c, path, out, b->n, meta, value ? 2 : 1, NULL, NULL),
                     WEFT_OK);
    weft_close(c);
}

static void save(const bundle *b, const char *path) { save_with(b, path, NULL, NULL); }

static bundle *gpt2(const char *prefix, int layers)
{
    static const struct {
        const char *name;
        int rank, d0, d1;
    } of_layer[] = {{"ln_1.weight", 1, D, 0},
                    {"ln_1.bias", 1, D, 0},
                    {"attn.c_attn.weight", 2, D, 3 * D},
                    {"attn.c_attn.bias", 1, 3 * D, 0},
                    {"attn.c_proj.weight", 2, D, D},
                    {"attn.c_proj.bias", 1, D, 0},
                    {"ln_2.weight", 1, D, 0},
                    {"ln_2.bias", 1, D, 0},
                    {"mlp.c_fc.weight", 2, D, 4 * D},
                    {"mlp.c_fc.bias", 1, 4 * D, 0},
                    {"mlp.c_proj.weight", 2, 4 * D, D},
                    {"mlp.c_proj.bias", 1, D, 0}};
    bundle *b = new_bundle();
    char name[64];
#define NAME(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
    add(b, NAME("%swte.weight", prefix), 2, VOCAB, D);
    add(b, NAME("%swpe.weight", prefix), 2, CTX, D);
    for (int i = 0; i < layers; i++)
        for (size_t k = 0; k < sizeof of_layer / sizeof *of_layer; k++)
            add(b, NAME("%sh.%d.%s", prefix, i, of_layer[k].name), of_layer[k].rank, of_layer[k].d0,
                of_layer[k].d1);
    add(b, NAME("%sln_f.weight", prefix), 1, D, 0);
    add(b, NAME("%sln_f.bias", prefix), 1, D, 0);
    return b;
}

static inline bundle *cocomix(void)
{
    bundle *b = gpt2("transformer.", 2);
    add(b, "transformer.pre_bias", 1, D, 0);
    add(b, "transformer.concept_predictor.weight", 2, N, D);
    add(b, "transformer.concept_predictor.bias", 1, N, 0);
    add(b, "transformer.compress_layer.weight", 2, D, N);
    add(b, "transformer.compress_layer.bias", 1, D, 0);
    return b;
}

static inline bundle *openai_sae(void)
{
    bundle *b = new_bundle();
    add(b, "pre_bias", 1, D, 0);
    add(b, "encoder.weight", 2, N, D);
    add(b, "latent_bias", 1, N, 0);
    add(b, "decoder.weight", 2, D, N);
    return b;
}

static inline bundle *saelens(void)
{
    bundle *b = new_bundle();
    add(b, "b_dec", 1, D, 0);
    add(b, "W_enc", 2, D, N);
    add(b, "b_enc", 1, N, 0);
    add(b, "W_dec", 2, N, D);
    return b;
}

#endif
