/* session.c - state values in memory (weights, moments, counters, caches), their initialisers, the
 * shared block. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <sys/mman.h>

#include "graph/dnnl.h"
#include "graph/hash.h"
#include "graph/init.h"
#include "graph/plan.h"
#include "graph/rng.h"

enum { PAGE = 4096, ALIGN = 64 };

/* ---- blocks: page-aligned memory ------------------------------------------------------------ */
/* Not touched here: two gigabytes of page faults cost half a second, and whoever writes first pays
 * them anyway.  Huge pages were tried: their first touch cost three times as much, and steps were
 * no faster. */
weft_status weft_block_new(weft_ctx *c, size_t bytes, weft_block *out)
{
    if (bytes > SIZE_MAX / 2)
        return weft_fail(c, WEFT_NOMEM, "out of memory: %zu bytes were asked for", bytes);
    out->raw = weft_realloc(c, NULL, bytes + PAGE); /* not weft_alloc, which would zero it */
    if (!out->raw)
        return c->status;
    out->data = (char *)(((uintptr_t)out->raw + PAGE - 1) / PAGE * PAGE);
    out->bytes = bytes;
    return WEFT_OK;
}

void weft_block_free(weft_ctx *c, weft_block *b)
{
    weft_free(c, b->raw);
    *b = (weft_block){0};
}

/* ---- session -------------------------------------------------------------------------------- */
weft_status weft_session_new(weft_ctx *c, bool reference, weft_session **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_session *s = a ? weft_arena_alloc(a, sizeof *s) : NULL;
    if (!s) {
        weft_arena_free(a);
        return c->status;
    }
    *s = (weft_session){.ctx = c, .arena = a, .reference = reference, .threads = c->threads};
    s->names = weft_map_new(a);
    s->dnnl = s->names ? weft_dnnl_new(c) : NULL;
    if (!s->dnnl) {
        weft_arena_free(a);
        return c->status;
    }
    *out = s;
    return WEFT_OK;
}

void weft_session_free(weft_session *s)
{
    if (!s)
        return;
    weft_ctx *c = s->ctx;
    for (int i = 0; i < s->n_program; i++)
        weft_program_free(s->program[i]);
    for (int i = 0; i < s->n_state_block; i++)
        weft_block_free(c, &s->state_block[i]);
    weft_block_free(c, &s->block);
    weft_dnnl_free(s->dnnl);
    weft_arena_free(s->arena);
}

/* ---- states --------------------------------------------------------------------------------- */
weft_dtype weft_session_dtype(const weft_session *s, weft_dtype t)
{
    return s->reference && weft_dtype_is_float(t) ? WEFT_F64 : t;
}

weft_state *weft_session_state(weft_session *s, const char *name)
{
    int i = weft_map_get(s->names, name, -1);
    return i < 0 ? NULL : &s->state[i];
}

void *weft_session_data(weft_session *s, const char *name, weft_type *t)
{
    weft_state *x = weft_session_state(s, name);
    if (t)
        *t = x ? x->type : (weft_type){0};
    return x ? x->data : NULL;
}

static size_t aligned_bytes(const weft_type *t)
{
    return (weft_type_bytes(t) + ALIGN - 1) / ALIGN * ALIGN;
}

static weft_type stored_type(const weft_session *s, const weft_type *t)
{
    weft_type x = *t;
    x.dtype = weft_session_dtype(s, t->dtype);
    return x;
}

static weft_status check_same(weft_session *s, const weft_value *v)
{
    const weft_state *have = weft_session_state(s, v->name);
    weft_type t = stored_type(s, &v->type);
    char a[256], b[256];
    if (!have || weft_type_equal(&have->type, &t))
        return WEFT_OK;
    return weft_fail(s->ctx, WEFT_MISMATCH,
                     "state '%s' is %s in this session, but %s in the graph to be compiled",
                     v->name, weft_type_print(a, sizeof a, &have->type),
                     weft_type_print(b, sizeof b, &t));
}

static bool add_state(weft_session *s, const weft_value *v, char *data)
{
    if (!WEFT_GROW(s->arena, s->state, s->n_state, s->cap_state))
        return false;
    weft_state x = {.type = stored_type(s, &v->type),
                    .trainable = v->trainable,
                    .role = v->role,
                    .moves = v->moves,
                    .data = data};
    x.name = weft_arena_strdup(s->arena, v->name);
    x.init = weft_arena_strdup(s->arena, v->init ? v->init : "zeros");
    if (!x.name || !x.init || !weft_map_set(s->names, x.name, s->n_state))
        return false;
    s->state[s->n_state++] = x;
    return true;
}

/* All new states of a graph share one block: weights and biases alternate in size, and a block each
 * would waste. */
weft_status weft_session_add_states(weft_session *s, const weft_graph *g)
{
    size_t bytes = 0;
    for (int i = 0; i < g->n_value; i++) {
        const weft_value *v = &g->value[i];
        if (v->kind != WEFT_VALUE_STATE)
            continue;
        WEFT_TRY(check_same(s, v));
        weft_type t = stored_type(s, &v->type);
        if (!weft_session_state(s, v->name) &&
            __builtin_add_overflow(bytes, aligned_bytes(&t), &bytes))
            return weft_fail(s->ctx, WEFT_NOMEM, "the states do not fit into an address space");
    }
    weft_block block;
    if (!bytes)
        return WEFT_OK;
    if (!WEFT_GROW(s->arena, s->state_block, s->n_state_block, s->cap_state_block))
        return s->ctx->status;
    if (!s->bare) {
        WEFT_TRY(weft_block_new(s->ctx, bytes, &block));
        s->state_block[s->n_state_block++] = block;
    }
    if (__builtin_add_overflow(s->state_bytes, bytes, &s->state_bytes))
        return weft_fail(s->ctx, WEFT_NOMEM, "the states do not fit into an address space");
    char *data = s->bare ? NULL : block.data;
    for (int i = 0; i < g->n_value; i++) {
        const weft_value *v = &g->value[i];
        if (v->kind != WEFT_VALUE_STATE || weft_session_state(s, v->name))
            continue;
        weft_type t = stored_type(s, &v->type);
        if (!add_state(s, v, data))
            return s->ctx->status;
        if (data)
            data += aligned_bytes(&t);
    }
    return WEFT_OK;
}

/* ---- initialisers --------------------------------------------------------------------------- */
enum { BATCH = 256 }; /* values made at a time */

/* Values 'first'..., n of them at most BATCH; rounded to float, so that a reference session holds
 * the same numbers. */
static void draw(const weft_init *r, uint64_t seed, uint64_t id, int64_t first, float out[BATCH])
{
    /* Steps of training stay below 2^47: initialisers never share a counter with them. */
    uint64_t step = (uint64_t)1 << 47 | id >> 32;
    if (r->kind == WEFT_INIT_NORMAL)
        weft_random_normals(out, BATCH, r->a, seed, step, (uint32_t)id, (uint64_t)first / 4);
    else if (r->kind == WEFT_INIT_UNIFORM)
        weft_random_uniforms(out, BATCH, r->a, r->b, seed, step, (uint32_t)id, (uint64_t)first / 4);
    else
        for (int i = 0; i < BATCH; i++)
            out[i] = (float)r->a;
}

static void store(const weft_tensor *t, int64_t first, const float value[BATCH])
{
    int64_t n = t->count - first < BATCH ? t->count - first : BATCH;
    if (t->dtype == WEFT_F32) {
        memcpy((float *)t->data + first, value, sizeof *value * (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        weft_put(t, first + i, value[i]);
}

static void fill_state(weft_state *x, const weft_init *r, uint64_t seed, int threads)
{
    int64_t n = weft_type_count(&x->type);
    uint64_t id = weft_xxh64_of(x->name, strlen(x->name), 0);
    weft_tensor t = {
        .data = x->data, .dtype = x->type.dtype, .rank = 1, .count = n, .dim = {n}, .stride = {1}};
    (void)threads; /* clang with libgomp ignores the pragmas */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < n; i += BATCH) {
        float value[BATCH];
        draw(r, seed, id, i, value);
        store(&t, i, value);
    }
}

weft_status weft_session_init(weft_session *s, uint64_t seed)
{
    if (s->bare)
        return weft_fail(s->ctx, WEFT_USAGE, "the session has only plans (plan_only)");
    for (int i = 0; i < s->n_state; i++) {
        weft_state *x = &s->state[i];
        weft_init r;
        if (x->ready || x->external)
            continue;
        if (!weft_init_parse(x->init, &r))
            return weft_fail(s->ctx, WEFT_MALFORMED,
                             "weight '%s' has the initialiser '%s'; " WEFT_INIT_CHOICES, x->name,
                             x->init);
        fill_state(x, &r, seed, s->threads);
        x->ready = true;
    }
    return WEFT_OK;
}

/* ---- pages ---- */
static void count_pages(const weft_block *b, int64_t *planned, int64_t *resident)
{
    unsigned char in[1024];
    for (size_t at = 0; at < b->bytes; at += sizeof in * PAGE) {
        size_t left = b->bytes - at, n = (left + PAGE - 1) / PAGE;
        n = n < sizeof in ? n : sizeof in;
        *planned += (int64_t)n;
        if (mincore((char *)b->data + at, n * PAGE, in))
            continue; /* a kernel that does not tell: nothing is counted as resident */
        for (size_t i = 0; i < n; i++)
            *resident += in[i] & 1;
    }
}

void weft_session_pages(const weft_session *s, int64_t *planned, int64_t *resident)
{
    *planned = *resident = 0;
    count_pages(&s->block, planned, resident);
    for (int i = 0; i < s->n_state_block; i++)
        count_pages(&s->state_block[i], planned, resident);
}
