/* chunk.c - element-wise functions and softmax of oneDNN, in chunks that depend on sizes alone. */
#include <omp.h>

#include "graph/plan.h"
#include "graph/prim.h"

enum { CHUNK = 16384 }; /* elements: 64 KB in, 64 KB out, within the second-level cache */

/* Rows of `width` elements cut into chunks of `step` rows. */
typedef struct {
    int64_t rows, width, step, n;
    const weft_prim *whole, *rest;
} chunks;

struct weft_eltwise {
    chunks c;
};
struct weft_softmax {
    chunks c;
};

static bool get_chunks(weft_kernel *k, chunks *c, weft_prim_key key)
{
    weft_build *b = k->pass;
    weft_step *s = b->step;
    int64_t *size = key.kind == WEFT_PRIM_SOFTMAX ? &key.m : &key.n;
    c->n = (c->rows + c->step - 1) / c->step;
    *size = c->rows < c->step ? c->rows : c->step;
    c->whole = weft_prim_get(b->session->dnnl, &key);
    *size = c->rows - (c->n - 1) * c->step;
    c->rest = c->whole ? weft_prim_get(b->session->dnnl, &key) : NULL;
    if (!c->rest) {
        k->failed = true;
        return false;
    }
    size_t bytes = weft_prim_scratch(c->whole) > weft_prim_scratch(c->rest)
                       ? weft_prim_scratch(c->whole)
                       : weft_prim_scratch(c->rest);
    bytes = (bytes + 63) / 64 * 64;
    s->run.lib_stride = bytes > s->run.lib_stride ? bytes : s->run.lib_stride;
    weft_kernel_impl(k, weft_prim_impl(c->whole));
    return true;
}

/* arg: up to three base pointers, advanced chunk by chunk. */
static void run_chunks(const chunks *c, const weft_run *r, const void *const *arg, int n_arg)
{
    int threads = c->n < r->threads ? (int)c->n : r->threads;
    weft_status failed = WEFT_OK;
    (void)threads; /* clang with libgomp ignores the pragmas and runs one thread */
#pragma omp parallel num_threads(threads)
    {
        int saved = weft_prim_enter(), me = omp_get_thread_num();
        void *scratch = (char *)r->lib_scratch + (size_t)me * r->lib_stride;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < c->n; i++) {
            void *at[3];
            for (int j = 0; j < n_arg; j++)
                at[j] =
                    (char *)(uintptr_t)arg[j] + sizeof(float) * (size_t)(i * c->step * c->width);
            weft_status s = weft_prim_run(i == c->n - 1 ? c->rest : c->whole, me, scratch, at);
            if (s) {
#pragma omp atomic write
                failed = s;
            }
        }
        weft_prim_leave(saved);
    }
    if (failed)
        weft_run_fail_prim(r, failed, "a chunk of an element-wise operation or softmax");
}

const weft_eltwise *weft_kernel_eltwise(weft_kernel *k, weft_eltwise_alg alg, bool backward,
                                        int64_t count)
{
    weft_eltwise *e = weft_arena_alloc(((weft_build *)k->pass)->arena, sizeof *e);
    if (!e)
        return NULL;
    e->c = (chunks){.rows = count, .width = 1, .step = CHUNK};
    return get_chunks(k, &e->c,
                      (weft_prim_key){.kind = WEFT_PRIM_ELTWISE, .alg = alg, .backward = backward})
               ? e
               : NULL;
}

void weft_eltwise_run(const weft_eltwise *e, const weft_run *r, const float *x, const float *dy,
                      float *y)
{
    if (dy)
        run_chunks(&e->c, r, (const void *[]){x, dy, y}, 3);
    else
        run_chunks(&e->c, r, (const void *[]){x, y}, 2);
}

const weft_softmax *weft_kernel_softmax(weft_kernel *k, int64_t rows, int64_t cols, bool log)
{
    weft_softmax *s = weft_arena_alloc(((weft_build *)k->pass)->arena, sizeof *s);
    if (!s)
        return NULL;
    s->c = (chunks){.rows = rows, .width = cols, .step = cols < CHUNK ? CHUNK / cols : 1};
    return get_chunks(k, &s->c, (weft_prim_key){.kind = WEFT_PRIM_SOFTMAX, .n = cols, .log = log})
               ? s
               : NULL;
}

void weft_softmax_run(const weft_softmax *s, const weft_run *r, const float *x, float *y)
{
    run_chunks(&s->c, r, (const void *[]){x, y}, 2);
}
