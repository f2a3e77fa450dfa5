/* gemm.c - matrix products in tiles that depend on sizes alone, so bits do not depend on threads.
 *
 * A tile spans the whole depth K and is one call of a one-thread primitive; tiny products go to
 * plain loops. Own kernels for few rows (decoding) were tried: oneDNN's are as fast from one row
 * on. */
#include <string.h>

#include <omp.h>

#include "graph/pack.h"
#include "graph/plan.h"
#include "graph/prim.h"

/* Products of at most this many multiply-adds do not pay for a call of oneDNN. */
enum { TINY = 4096 };

#define TILE "a tile of a matrix product"

struct weft_gemm {
    weft_gemm_desc d;                 /* as the tiles see it: after packing */
    int64_t tile_m, tile_n, n_m, n_n; /* tile sizes and counts */
    const weft_prim
        *prim[2][2];          /* [last row of tiles][last column of tiles]; all NULL: own loops */
    bool bias_first;          /* oneDNN would scale the bias too: it is put into C before */
    weft_pack pack_a, pack_b; /* an operand that is turned round first; rows 0: it is not */
    size_t at_b;              /* where B goes in the shared scratch, after A */
};

/* ---- choosing ------------------------------------------------------------------------------- */
/* The numbers below are for oneDNN's AVX2 path (gemm:jit), measured with one thread on Zen 3, where
 * 95 GFLOP/s is what the best product reaches.  It reads small operands where they lie and copies
 * large ones into a layout of its own (if 1/m + 1/n < 0.0038).  Where they lie, with rows of B an
 * odd number of cache lines apart: 95 for every tile from 64 x 256 on.  With other rows of B: 85;
 * with rows that compete for the same cache lines (a multiple of 4096 bytes apart): 46.  With B
 * transposed: 80, with A transposed 35 to 65, and 80 in large tiles.  Packing an operand costs half
 * a nanosecond to one an element, so it pays if a few hundred rows or columns use it. */
enum { MANY_TILES = 16, PLENTY_TILES = 24, MOST_PACKED = 1 << 24 };

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* `size` in `parts` nearly equal parts, each a multiple of `unit`. */
static int64_t even_tile(int64_t size, int64_t parts, int64_t unit)
{
    int64_t tile = ceil_div(ceil_div(size, parts), unit) * unit;
    return tile < size ? tile : size;
}

static int64_t set_tiles(weft_gemm *g, int64_t parts_m, int64_t parts_n)
{
    g->tile_m = even_tile(g->d.m, parts_m, 16);
    g->tile_n = even_tile(g->d.n, parts_n, 16);
    g->n_m = ceil_div(g->d.m, g->tile_m);
    g->n_n = ceil_div(g->d.n, g->tile_n);
    return g->d.outer * g->d.batch * g->n_m * g->n_n;
}

/* Both operands as they lie: small tiles, enough of them to keep many threads busy to the end. */
static void small_tiles(weft_gemm *g)
{
    int64_t m = 256, n = 768;
    while (set_tiles(g, ceil_div(g->d.m, m), ceil_div(g->d.n, n)) < MANY_TILES &&
           (m > 128 || n > 192)) {
        if (m > 128 && (g->tile_m * 2 > g->tile_n || n <= 192))
            m /= 2;
        else
            n /= 2;
    }
}

/* Tiles large enough to be copied by oneDNN; returns how many there are. */
static int64_t large_tiles(weft_gemm *g)
{
    int64_t best = 0, best_m = 1, best_n = 1;
    for (int64_t most = 512; most <= 1024; most += 256) {
        int64_t parts_m = ceil_div(g->d.m, most), tile_m = even_tile(g->d.m, parts_m, 16);
        double left = 0.0037 - 1.0 / (double)tile_m;
        int64_t parts_n = left > 0 ? (int64_t)((double)g->d.n * left) : 0;
        if (parts_m * parts_n > best) {
            best = parts_m * parts_n;
            best_m = parts_m;
            best_n = parts_n;
        }
    }
    set_tiles(g, best_m, best_n);
    return best;
}

static bool same_cache_lines(int64_t stride) { return stride && stride % 1024 == 0; }

static bool may_pack(const weft_gemm_desc *d, int64_t elements)
{
    return d->dtype == WEFT_F32 && d->outer * d->batch == 1 && d->m >= 256 && d->n >= 256 &&
           elements <= MOST_PACKED;
}

static bool should_pack_b(const weft_gemm_desc *d)
{
    int64_t stride = d->b_col == 1 ? d->b_row : d->b_col;
    return may_pack(d, d->n * d->k) && (d->m >= 512 || same_cache_lines(stride));
}

/* Replaces A [m,k], which has its columns together, by a copy that has its rows together. */
static void pack_a(weft_gemm *g)
{
    weft_gemm_desc *d = &g->d;
    g->pack_a = weft_pack_make(d->m, d->k, d->a_col, true);
    d->a_row = g->pack_a.out_stride;
    d->a_col = 1;
}

/* The same for B [k,n], which may also have its rows together, but at a distance that makes them
 * compete. */
static void pack_b(weft_gemm *g)
{
    weft_gemm_desc *d = &g->d;
    g->pack_b = weft_pack_make(d->k, d->n, d->b_col == 1 ? d->b_row : d->b_col, d->b_col != 1);
    d->b_row = g->pack_b.out_stride;
    d->b_col = 1;
}

static void choose_tiles(weft_gemm *g)
{
    const weft_gemm_desc *d = &g->d;
    bool ta = d->a_col != 1, single = d->outer * d->batch == 1;
    if (d->one_tile) {
        set_tiles(g, 1, 1);
        return;
    }
    if (ta && d->dtype == WEFT_F32 && single && large_tiles(g) >= PLENTY_TILES)
        return;
    if (ta && may_pack(d, d->m * d->k))
        pack_a(g);
    if (should_pack_b(d))
        pack_b(g);
    small_tiles(g);
}

static weft_prim_key tile_key(const weft_gemm *g, int64_t m, int64_t n)
{
    const weft_gemm_desc *d = &g->d;
    weft_prim_key key = {.kind = WEFT_PRIM_MATMUL,
                         .m = m,
                         .n = n,
                         .k = d->k,
                         .a_row = d->a_row,
                         .a_col = d->a_col,
                         .b_row = d->b_row,
                         .b_col = d->b_col,
                         .c_row = d->c_row,
                         .dtype = d->dtype,
                         .bias = d->bias && !g->bias_first,
                         .accumulate = d->accumulate || g->bias_first,
                         .gelu = d->gelu};
    memcpy(&key.alpha, &d->alpha, sizeof d->alpha);
    return key;
}

static bool get_prims(weft_kernel *k, weft_gemm *g)
{
    weft_build *b = k->pass;
    weft_step *step = b->step;
    int64_t edge_m = g->d.m - (g->n_m - 1) * g->tile_m, edge_n = g->d.n - (g->n_n - 1) * g->tile_n;
    for (int i = 0; i < 4; i++) {
        weft_prim_key key = tile_key(g, i / 2 ? edge_m : g->tile_m, i % 2 ? edge_n : g->tile_n);
        const weft_prim *p = weft_prim_get(b->session->dnnl, &key);
        if (!p)
            return false;
        g->prim[i / 2][i % 2] = p;
        size_t bytes = (weft_prim_scratch(p) + 63) / 64 * 64;
        if (bytes > step->run.lib_stride)
            step->run.lib_stride = bytes;
    }
    weft_kernel_impl(k, weft_prim_impl(g->prim[0][0]));
    return true;
}

/* Own loops walk A by any strides. */
static bool valid(const weft_gemm_desc *d, bool own)
{
    bool inner = (own || d->a_row == 1 || d->a_col == 1) && (d->b_row == 1 || d->b_col == 1);
    return inner && d->m >= 0 && d->n >= 0 && d->k >= 0 && d->batch >= 1 && d->outer >= 1;
}

/* A stride of an axis of one element may be anything; oneDNN wants it to be possible. */
static void tidy(weft_gemm_desc *d)
{
    d->outer = d->outer ? d->outer : 1;
    if (d->m == 1) {
        d->a_row = d->a_col == 1 ? d->k : 1;
        d->c_row = d->n;
    }
    if (d->k == 1) {
        d->a_col = d->a_row == 1 ? d->m : 1;
        d->b_row = d->b_col == 1 ? d->n : 1;
    }
    if (d->n == 1)
        d->b_col = d->b_row == 1 ? d->k : 1;
}

const weft_gemm *weft_kernel_gemm(weft_kernel *k, const weft_gemm_desc *desc)
{
    weft_build *b = k->pass;
    weft_gemm *g = weft_arena_alloc(b->arena, sizeof *g);
    k->failed = k->failed || !g;
    if (k->failed)
        return NULL;
    g->d = *desc;
    tidy(&g->d);
    bool own = g->d.dtype == WEFT_F32 && !g->d.gelu &&
               (double)g->d.m * (double)g->d.n * (double)g->d.k <= TINY;
    if (!valid(&g->d, own)) {
        weft_call_fail(
            k, "internal: a product of sizes %lld x %lld x %lld with strides that it cannot take",
            (long long)desc->m, (long long)desc->n, (long long)desc->k);
        return NULL;
    }
    if (own) {
        g->tile_m = g->d.m;
        g->tile_n = g->d.n;
        g->n_m = g->n_n = 1;
        weft_kernel_impl(k, "weft:tiny");
        return g;
    }
    g->bias_first = g->d.bias && g->d.alpha != 1.0f;
    choose_tiles(g);
    g->at_b = weft_pack_bytes(&g->pack_a);
    size_t shared = g->at_b + weft_pack_bytes(&g->pack_b);
    b->step->lib_shared = shared > b->step->lib_shared ? shared : b->step->lib_shared;
    k->failed = k->failed || !get_prims(k, g);
    return k->failed ? NULL : g;
}

/* ---- own loops for tiny products ------------------------------------------------------------ */
typedef struct {
    const float *a, *b, *bias;
    float *c;
    int64_t m, n; /* of this task */
} task;

static void tiny_product(const weft_gemm_desc *d, const task *t)
{
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++) {
            float sum = 0, *c = &t->c[i * d->c_row + j];
            for (int64_t p = 0; p < d->k; p++)
                sum += t->a[i * d->a_row + p * d->a_col] * t->b[p * d->b_row + j * d->b_col];
            float y = d->alpha * sum + (t->bias ? t->bias[j] : 0.0f);
            *c = d->accumulate ? *c + y : y;
        }
}

/* ---- running -------------------------------------------------------------------------------- */
static void put_bias(const weft_gemm_desc *d, const task *t)
{
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++)
            t->c[i * d->c_row + j] = t->bias[j] + (d->accumulate ? t->c[i * d->c_row + j] : 0.0f);
}

/* Operands of A and B by element offset, whatever the element size. */
static const void *at(const void *p, int64_t offset, weft_dtype t)
{
    return (const char *)p + offset * (t == WEFT_BF16 ? 2 : 4);
}

/* Task `index` of outer x batch x tiles, rows of tiles innermost: neighbours share a panel of B. */
static weft_status run_task(const weft_gemm *g, const weft_run *r, int thread, int64_t index,
                            const void *a, const void *b, const float *bias, float *c)
{
    const weft_gemm_desc *d = &g->d;
    int64_t tm = index % g->n_m, tn = index / g->n_m % g->n_n;
    int64_t batch = index / (g->n_m * g->n_n) % d->batch,
            outer = index / (g->n_m * g->n_n * d->batch);
    int64_t m0 = tm * g->tile_m, n0 = tn * g->tile_n;
    bool last_m = tm == g->n_m - 1, last_n = tn == g->n_n - 1;
    task t = {.a = at(a, outer * d->a_outer + batch * d->a_batch + m0 * d->a_row, d->dtype),
              .b = at(b, outer * d->b_outer + batch * d->b_batch + n0 * d->b_col, d->dtype),
              .bias = d->bias ? bias + n0 : NULL,
              .c = c + outer * d->c_outer + batch * d->c_batch + m0 * d->c_row + n0,
              .m = last_m ? d->m - m0 : g->tile_m,
              .n = last_n ? d->n - n0 : g->tile_n};
    const weft_prim *p = g->prim[last_m][last_n];
    if (!p) {
        tiny_product(d, &t);
        return WEFT_OK;
    }
    if (g->bias_first)
        put_bias(d, &t);
    void *arg[] = {(void *)(uintptr_t)t.a, (void *)(uintptr_t)t.b, t.c, (void *)(uintptr_t)t.bias};
    return weft_prim_run(p, thread, (char *)r->lib_scratch + (size_t)thread * r->lib_stride, arg);
}

static int64_t task_count(const weft_gemm *g) { return g->d.outer * g->d.batch * g->n_m * g->n_n; }

/* The operand, or its copy turned round, made now by all threads. */
static const void *packed(const weft_pack *p, const weft_run *r, size_t at_byte, const void *x)
{
    if (!p->rows)
        return x;
    float *y = (float *)((char *)r->lib_shared + at_byte);
    weft_pack_run(p, r->threads, y, x);
    return y;
}

void weft_gemm_run(const weft_gemm *g, const weft_run *r, const void *a, const void *b,
                   const float *bias, float *c)
{
    int64_t n = task_count(g);
    int threads = n < r->threads ? (int)n : r->threads;
    weft_status failed = WEFT_OK;
    (void)threads; /* clang with libgomp ignores the pragmas and runs one thread */
    if (!n)
        return;
    a = packed(&g->pack_a, r, 0, a);
    b = packed(&g->pack_b, r, g->at_b, b);
#pragma omp parallel num_threads(threads)
    {
        int saved = weft_prim_enter();
        int me = omp_get_thread_num();
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < n; i++) {
            weft_status s = run_task(g, r, me, i, a, b, bias, c);
            if (s) {
#pragma omp atomic write
                failed = s;
            }
        }
        weft_prim_leave(saved);
    }
    if (failed)
        weft_run_fail_prim(r, failed, TILE);
}

void weft_gemm_run_here(const weft_gemm *g, const weft_run *r, int thread, const void *a,
                        const void *b, const float *bias, float *c)
{
    int64_t n = task_count(g);
    if (g->pack_a.rows || g->pack_b.rows) { /* threads would share the one copy */
        weft_run_fail(r, "internal: a product of this size does not run on one thread of a region");
        return;
    }
    int saved = weft_prim_enter();
    weft_status failed = WEFT_OK;
    for (int64_t i = 0; i < n && !failed; i++)
        failed = run_task(g, r, thread, i, a, b, bias, c);
    weft_prim_leave(saved);
    if (!failed)
        return;
#pragma omp critical(weft_gemm_failed)
    weft_run_fail_prim(r, failed, TILE);
}

int64_t weft_gemm_tiles(const weft_gemm *g) { return task_count(g); }
