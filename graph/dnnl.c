/* dnnl.c - one-thread primitives of oneDNN; the only file that knows whether it is 2.6 or 3.x.
 *
 * In 2.x an operation descriptor makes a primitive descriptor and memory descriptors are structs;
 * in 3.x there are no operation descriptors and memory descriptors are owned pointers.  The
 * differences stay in the first section. */
#include <stdio.h>
#include <string.h>

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <oneapi/dnnl/dnnl_version.h>

#include "graph/prim.h"

#define V3 (DNNL_VERSION_MAJOR >= 3)

enum { MAX_ARG = 5 };

/* What is being made: memory descriptors by argument, and the primitive descriptor. */
typedef struct {
    struct weft_dnnl *d;
    dnnl_status_t status;
    dnnl_memory_desc_t md[MAX_ARG];
    int arg[MAX_ARG], n;
    dnnl_primitive_desc_t pd;
} maker;

struct weft_prim {
    weft_prim_key key;
    dnnl_primitive_t primitive;
    const char *impl;
    size_t scratch;
    int arg[MAX_ARG], n;   /* the last one is the scratchpad */
    dnnl_memory_t *memory; /* [threads][n] */
    struct weft_dnnl *d;
};

struct weft_dnnl {
    weft_ctx *ctx;
    weft_arena *arena;
    dnnl_engine_t engine;
    dnnl_stream_t *stream; /* one a thread */
    int threads;
    weft_prim **prim;
    int n_prim, cap_prim;
};

/* ---- version section ------------------------------------------------------------------------ */
#if V3
#define MD(m) (m)
#else
#define MD(m) (&(m))
#endif

static void md_make(maker *k, int arg, int rank, const int64_t *dim, const int64_t *stride,
                    dnnl_data_type_t t)
{
    dnnl_dims_t dims, strides;
    for (int i = 0; i < rank; i++) {
        dims[i] = dim[i];
        strides[i] = stride[i];
    }
    if (k->status)
        return;
#if V3
    k->status = dnnl_memory_desc_create_with_strides(&k->md[k->n], rank, dims, t, strides);
#else
    k->status = dnnl_memory_desc_init_by_strides(&k->md[k->n], rank, dims, t, strides);
#endif
    if (!k->status)
        k->arg[k->n++] = arg;
}

static void md_free_all(maker *k)
{
#if V3
    for (int i = 0; i < k->n; i++)
        dnnl_memory_desc_destroy(k->md[i]);
#endif
    k->n = 0;
}

static void append_sum(dnnl_post_ops_t ops)
{
#if V3
    dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
#else
    dnnl_post_ops_append_sum(ops, 1.0f);
#endif
}

static void append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg, float a, float b)
{
#if V3
    dnnl_post_ops_append_eltwise(ops, alg, a, b);
#else
    dnnl_post_ops_append_eltwise(ops, 1.0f, alg, a, b);
#endif
}

/* alpha before bias and sum: a scale folded into the product in 2.x, a post-op in 3.x. */
static void set_alpha(dnnl_primitive_attr_t attr, dnnl_post_ops_t ops, float alpha)
{
    if (alpha == 1.0f)
        return;
#if V3
    (void)attr;
    append_eltwise(ops, dnnl_eltwise_linear, alpha, 0.0f);
#else
    (void)ops;
    dnnl_primitive_attr_set_output_scales(attr, 1, 0, &alpha);
#endif
}

/* md: A, B, C and then the bias, if any. */
static void pd_matmul(maker *k, bool bias, dnnl_primitive_attr_t attr)
{
#if V3
    k->status = dnnl_matmul_primitive_desc_create(&k->pd, k->d->engine, k->md[0], k->md[1],
                                                  bias ? k->md[3] : NULL, k->md[2], attr);
#else
    dnnl_matmul_desc_t op;
    k->status =
        dnnl_matmul_desc_init(&op, &k->md[0], &k->md[1], bias ? &k->md[3] : NULL, &k->md[2]);
    if (!k->status)
        k->status = dnnl_primitive_desc_create(&k->pd, &op, attr, k->d->engine, NULL);
#endif
}

static dnnl_status_t pd_eltwise_forward(maker *k, dnnl_primitive_desc_t *pd, dnnl_prop_kind_t prop,
                                        dnnl_alg_kind_t alg, dnnl_primitive_attr_t attr)
{
#if V3
    return dnnl_eltwise_forward_primitive_desc_create(pd, k->d->engine, prop, alg, k->md[0],
                                                      k->md[0], 0, 0, attr);
#else
    dnnl_eltwise_desc_t op;
    dnnl_status_t s = dnnl_eltwise_forward_desc_init(&op, prop, alg, &k->md[0], 0, 0);
    return s ? s : dnnl_primitive_desc_create(pd, &op, attr, k->d->engine, NULL);
#endif
}

static dnnl_status_t pd_eltwise_backward(maker *k, dnnl_alg_kind_t alg, dnnl_primitive_attr_t attr,
                                         const_dnnl_primitive_desc_t hint)
{
#if V3
    return dnnl_eltwise_backward_primitive_desc_create(&k->pd, k->d->engine, alg, k->md[0],
                                                       k->md[0], k->md[0], 0, 0, hint, attr);
#else
    dnnl_eltwise_desc_t op;
    dnnl_status_t s = dnnl_eltwise_backward_desc_init(&op, alg, &k->md[0], &k->md[0], 0, 0);
    return s ? s : dnnl_primitive_desc_create(&k->pd, &op, attr, k->d->engine, hint);
#endif
}

static void pd_softmax(maker *k, bool log, dnnl_primitive_attr_t attr)
{
#if V3
    k->status = dnnl_softmax_forward_primitive_desc_create(
        &k->pd, k->d->engine, dnnl_forward_inference,
        log ? dnnl_softmax_log : dnnl_softmax_accurate, k->md[0], k->md[0], 1, attr);
#else
    dnnl_softmax_desc_t op;
    k->status = (log ? dnnl_logsoftmax_forward_desc_init
                     : dnnl_softmax_forward_desc_init)(&op, dnnl_forward_inference, &k->md[0], 1);
    if (!k->status)
        k->status = dnnl_primitive_desc_create(&k->pd, &op, attr, k->d->engine, NULL);
#endif
}

static size_t scratch_bytes(const_dnnl_primitive_desc_t pd)
{
    return dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0));
}

static dnnl_status_t scratch_memory(dnnl_memory_t *m, const_dnnl_primitive_desc_t pd,
                                    dnnl_engine_t engine)
{
    return dnnl_memory_create(m, dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0),
                              engine, DNNL_MEMORY_NONE);
}

/* "avx2", "avx512_core_bf16", ...: the library's own name without what all of them begin with. */
static const char *isa_name(void)
{
    const char *name = dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa());
    return strncmp(name, "cpu_isa_", 8) ? name : name + 8;
}

int weft_vector_bytes(void)
{
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned avx2 = dnnl_cpu_isa_avx2, avx512 = dnnl_cpu_isa_avx512_core;
    return (isa & avx512) == avx512 ? 64 : (isa & avx2) == avx2 ? 32 : 16;
}

/* ---- kinds of primitives -------------------------------------------------------------------- */
static void make_matmul(maker *k, const weft_prim_key *key, dnnl_primitive_attr_t attr)
{
    dnnl_data_type_t t = key->dtype == WEFT_BF16 ? dnnl_bf16 : dnnl_f32;
    md_make(k, DNNL_ARG_SRC, 2, (int64_t[]){key->m, key->k}, (int64_t[]){key->a_row, key->a_col},
            t);
    md_make(k, DNNL_ARG_WEIGHTS, 2, (int64_t[]){key->k, key->n},
            (int64_t[]){key->b_row, key->b_col}, t);
    md_make(k, DNNL_ARG_DST, 2, (int64_t[]){key->m, key->n}, (int64_t[]){key->c_row, 1}, dnnl_f32);
    if (key->bias)
        md_make(k, DNNL_ARG_BIAS, 2, (int64_t[]){1, key->n}, (int64_t[]){key->n, 1}, dnnl_f32);
    float alpha;
    memcpy(&alpha, &key->alpha, sizeof alpha);
    dnnl_post_ops_t ops;
    if (k->status || (k->status = dnnl_post_ops_create(&ops)))
        return;
    set_alpha(attr, ops, alpha);
    if (key->accumulate)
        append_sum(ops);
    if (key->gelu)
        append_eltwise(ops, dnnl_eltwise_gelu_tanh, 0, 0);
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    pd_matmul(k, key->bias, attr);
}

static void make_eltwise(maker *k, const weft_prim_key *key, dnnl_primitive_attr_t attr)
{
    static const dnnl_alg_kind_t algs[] = {[WEFT_ELTWISE_GELU_TANH] = dnnl_eltwise_gelu_tanh,
                                           [WEFT_ELTWISE_GELU_ERF] = dnnl_eltwise_gelu_erf,
                                           [WEFT_ELTWISE_EXP] = dnnl_eltwise_exp,
                                           [WEFT_ELTWISE_TANH] = dnnl_eltwise_tanh,
                                           [WEFT_ELTWISE_LOG] = dnnl_eltwise_log};
    const int64_t one = 1;
    dnnl_primitive_desc_t hint;
    md_make(k, DNNL_ARG_SRC, 1, &key->n, &one, dnnl_f32);
    if (!key->backward) {
        md_make(k, DNNL_ARG_DST, 1, &key->n, &one, dnnl_f32);
        if (!k->status)
            k->status = pd_eltwise_forward(k, &k->pd, dnnl_forward_inference, algs[key->alg], attr);
        return;
    }
    md_make(k, DNNL_ARG_DIFF_DST, 1, &key->n, &one, dnnl_f32);
    md_make(k, DNNL_ARG_DIFF_SRC, 1, &key->n, &one, dnnl_f32);
    if (!k->status)
        k->status = pd_eltwise_forward(k, &hint, dnnl_forward_training, algs[key->alg], NULL);
    if (k->status)
        return;
    k->status = pd_eltwise_backward(k, algs[key->alg], attr, hint);
    dnnl_primitive_desc_destroy(hint);
}

static void make_softmax(maker *k, const weft_prim_key *key, dnnl_primitive_attr_t attr)
{
    const int64_t dim[] = {key->m, key->n}, stride[] = {key->n, 1};
    md_make(k, DNNL_ARG_SRC, 2, dim, stride, dnnl_f32);
    md_make(k, DNNL_ARG_DST, 2, dim, stride, dnnl_f32);
    if (!k->status)
        pd_softmax(k, key->log, attr);
}

/* ---- making and sharing --------------------------------------------------------------------- */
static void make_memories(maker *k, weft_prim *p)
{
    struct weft_dnnl *d = k->d;
    p->n = k->n + 1;
    p->memory =
        weft_arena_array(d->arena, (size_t)d->threads * (size_t)p->n, sizeof(dnnl_memory_t));
    if (!p->memory)
        k->status = dnnl_out_of_memory;
    memcpy(p->arg, k->arg, sizeof p->arg);
    p->arg[k->n] = DNNL_ARG_SCRATCHPAD;
    for (int t = 0; t < d->threads && !k->status; t++) {
        dnnl_memory_t *m = p->memory + t * p->n;
        for (int i = 0; i < k->n && !k->status; i++)
            k->status = dnnl_memory_create(&m[i], MD(k->md[i]), d->engine, DNNL_MEMORY_NONE);
        if (!k->status)
            k->status = scratch_memory(&m[k->n], k->pd, d->engine);
    }
}

static void make_primitive(maker *k, weft_prim *p)
{
    const char *impl = NULL;
    if (!k->status)
        k->status = dnnl_primitive_create(&p->primitive, k->pd);
    if (k->status)
        return;
    dnnl_primitive_desc_query(k->pd, dnnl_query_impl_info_str, 0, &impl);
    p->impl = weft_arena_strdup(k->d->arena, impl ? impl : "?");
    p->scratch = scratch_bytes(k->pd);
    make_memories(k, p);
}

static void free_prim(weft_prim *p)
{
    for (int i = 0; p->memory && i < p->d->threads * p->n; i++)
        if (p->memory[i])
            dnnl_memory_destroy(p->memory[i]);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
}

static weft_status refused(struct weft_dnnl *d, const weft_prim_key *key, dnnl_status_t s)
{
    static const char *const kinds[] = {"", "matmul", "eltwise", "softmax"};
    return weft_fail(d->ctx, s == dnnl_out_of_memory ? WEFT_NOMEM : WEFT_UNSUPPORTED,
                     "%s refuses %s of sizes m=%lld n=%lld k=%lld (A strides %lld,%lld B strides "
                     "%lld,%lld, %s): %s",
                     weft_dnnl_version(), kinds[key->kind], (long long)key->m, (long long)key->n,
                     (long long)key->k, (long long)key->a_row, (long long)key->a_col,
                     (long long)key->b_row, (long long)key->b_col,
                     key->dtype == WEFT_BF16 ? "bf16" : "f32", dnnl_status2str(s));
}

/* Threads of the machine are hidden while a primitive is made: oneDNN bakes their number in
 * (reference: one thread gives results that do not depend on it). */
static bool build(struct weft_dnnl *d, weft_prim *p)
{
    static void (*const make[])(maker *, const weft_prim_key *,
                                dnnl_primitive_attr_t) = {[WEFT_PRIM_MATMUL] = make_matmul,
                                                          [WEFT_PRIM_ELTWISE] = make_eltwise,
                                                          [WEFT_PRIM_SOFTMAX] = make_softmax};
    maker k = {.d = d};
    int saved = weft_prim_enter();
    dnnl_primitive_attr_t attr = NULL;
    k.status = dnnl_primitive_attr_create(&attr);
    if (!k.status)
        k.status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (!k.status)
        make[p->key.kind](&k, &p->key, attr);
    make_primitive(&k, p);
    if (k.pd)
        dnnl_primitive_desc_destroy(k.pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    md_free_all(&k);
    weft_prim_leave(saved);
    if (k.status) {
        free_prim(p);
        refused(d, &p->key, k.status);
    }
    return !k.status;
}

const weft_prim *weft_prim_get(struct weft_dnnl *d, const weft_prim_key *key)
{
    for (int i = 0; i < d->n_prim; i++)
        if (!memcmp(&d->prim[i]->key, key, sizeof *key))
            return d->prim[i];
    weft_prim *p = weft_arena_alloc(d->arena, sizeof *p);
    if (!p || !WEFT_GROW(d->arena, d->prim, d->n_prim, d->cap_prim))
        return NULL;
    p->key = *key;
    p->d = d;
    if (!build(d, p))
        return NULL;
    d->prim[d->n_prim++] = p;
    return p;
}

size_t weft_prim_scratch(const weft_prim *p) { return p->scratch; }
const char *weft_prim_impl(const weft_prim *p) { return p->impl; }

/* ---- running -------------------------------------------------------------------------------- */
/* Code that oneDNN generates at the first run fails as a runtime error where memory is limited. */
static weft_status run_status(dnnl_status_t s)
{
    return s == dnnl_success                                    ? WEFT_OK
           : s == dnnl_out_of_memory || s == dnnl_runtime_error ? WEFT_NOMEM
                                                                : WEFT_INTERNAL;
}

weft_status weft_prim_run(const weft_prim *p, int thread, void *scratch, void *const *arg)
{
    dnnl_memory_t *m = p->memory + thread * p->n;
    dnnl_exec_arg_t args[MAX_ARG];
    for (int i = 0; i < p->n; i++) {
        dnnl_memory_set_data_handle(m[i], i == p->n - 1 ? scratch : arg[i]);
        args[i] = (dnnl_exec_arg_t){p->arg[i], m[i]};
    }
    return run_status(dnnl_primitive_execute(p->primitive, p->d->stream[thread], p->n, args));
}

int weft_prim_enter(void)
{
    int saved = omp_get_max_threads();
    if (saved != 1)
        omp_set_num_threads(1);
    return saved;
}

void weft_prim_leave(int saved)
{
    if (saved != 1)
        omp_set_num_threads(saved);
}

/* ---- the session's part --------------------------------------------------------------------- */
struct weft_dnnl *weft_dnnl_new(weft_ctx *c)
{
    weft_arena *a = weft_arena_new(c, 0);
    struct weft_dnnl *d = a ? weft_arena_alloc(a, sizeof *d) : NULL;
    if (!d) {
        weft_arena_free(a);
        return NULL;
    }
    *d = (struct weft_dnnl){.ctx = c, .arena = a, .threads = c->threads};
    d->stream = weft_arena_array(a, (size_t)d->threads, sizeof *d->stream);
    dnnl_status_t s = d->stream ? dnnl_engine_create(&d->engine, dnnl_cpu, 0) : dnnl_out_of_memory;
    for (int t = 0; t < d->threads && !s; t++)
        s = dnnl_stream_create(&d->stream[t], d->engine, dnnl_stream_default_flags);
    int major = dnnl_version()->major;
    if (s || major != DNNL_VERSION_MAJOR) {
        weft_fail(c, WEFT_UNSUPPORTED, "oneDNN %d cannot be used: %s (built for %d.%d)", major,
                  dnnl_status2str(s), DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR);
        weft_dnnl_free(d);
        return NULL;
    }
    return d;
}

void weft_dnnl_free(struct weft_dnnl *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n_prim; i++)
        free_prim(d->prim[i]);
    for (int t = 0; d->stream && t < d->threads; t++)
        if (d->stream[t])
            dnnl_stream_destroy(d->stream[t]);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    weft_arena_free(d->arena);
}

/* ---- a batched product as oneDNN would do it alone, for a test ------------------------------- */
static dnnl_status_t execute_raw(maker *k, dnnl_primitive_t primitive, float *const *data)
{
    dnnl_memory_t memory[3] = {NULL};
    dnnl_exec_arg_t args[3];
    dnnl_status_t s = dnnl_success;
    for (int i = 0; i < 3 && !s; i++) {
        s = dnnl_memory_create(&memory[i], MD(k->md[i]), k->d->engine, data[i]);
        args[i] = (dnnl_exec_arg_t){k->arg[i], memory[i]};
    }
    if (!s)
        s = dnnl_primitive_execute(primitive, k->d->stream[0], 3, args);
    if (!s)
        s = dnnl_stream_wait(k->d->stream[0]);
    for (int i = 0; i < 3; i++)
        if (memory[i])
            dnnl_memory_destroy(memory[i]);
    return s;
}

weft_status weft_dnnl_batched_raw(weft_ctx *c, int threads, int64_t batch, int64_t m, int64_t n,
                                  int64_t k, const float *a, const float *w, float *y,
                                  char impl[64])
{
    maker x = {.d = weft_dnnl_new(c)};
    dnnl_primitive_t primitive = NULL;
    const char *name = "?";
    int saved = omp_get_max_threads();
    if (!x.d)
        return weft_error_status(c);
    omp_set_num_threads(threads);
    md_make(&x, DNNL_ARG_SRC, 3, (int64_t[]){batch, m, k}, (int64_t[]){m * k, 1, m}, dnnl_f32);
    md_make(&x, DNNL_ARG_WEIGHTS, 3, (int64_t[]){batch, k, n}, (int64_t[]){k * n, n, 1}, dnnl_f32);
    md_make(&x, DNNL_ARG_DST, 3, (int64_t[]){batch, m, n}, (int64_t[]){m * n, n, 1}, dnnl_f32);
    if (!x.status)
        pd_matmul(&x, false, NULL);
    if (!x.status)
        x.status = dnnl_primitive_create(&primitive, x.pd);
    if (!x.status)
        x.status = execute_raw(&x, primitive, (float *[]){(float *)a, (float *)w, y});
    if (!x.status)
        dnnl_primitive_desc_query(x.pd, dnnl_query_impl_info_str, 0, &name);
    snprintf(impl, 64, "%s", name);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (x.pd)
        dnnl_primitive_desc_destroy(x.pd);
    md_free_all(&x);
    omp_set_num_threads(saved);
    weft_dnnl_free(x.d);
    return x.status
               ? weft_fail(c, WEFT_UNSUPPORTED, "a batched product: %s", dnnl_status2str(x.status))
               : WEFT_OK;
}

const char *weft_dnnl_version(void)
{
    static char text[96]; /* same text whoever writes it */
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d, cpu isa %s", v->major, v->minor, v->patch,
             isa_name());
    return text;
}
