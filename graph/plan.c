/* plan.c - buffers of a program: lifetimes, reuse in place, offsets in the session's block.
 *
 * Input: a program with its layout and steps made.  Output: buffers with offsets, data pointers
 * once bound.
 * Invariants: buffers alive at one step do not overlap (checked by weft_memory_check on every
 * plan); a step overwrites its input only if nobody reads that storage later. */
#include <stdint.h>
#include <string.h>

#include "graph/plan.h"

enum {
    ALIGN = 64,
    GUARD = 64
}; /* GUARD: bytes after each buffer that the NaN check watches for overruns */

/* ---- lifetimes ------------------------------------------------------------------------------ */
typedef struct {
    weft_program *p;
    weft_val *merged;  /* [n_value] of roots: the root whose storage this one took over; itself
                          otherwise */
    int *first, *last; /* [n_value] of roots */
} lives;

static weft_val storage(const lives *l, weft_val v)
{
    weft_val r = l->p->place[v].root;
    while (l->merged[r] != r)
        r = l->merged[r];
    return r;
}

static void touch(lives *l, weft_val v, int step)
{
    weft_val r = l->p->place[v].root;
    l->first[r] = l->first[r] < 0 || step < l->first[r] ? step : l->first[r];
    l->last[r] = step > l->last[r] ? step : l->last[r];
}

/* Feeds are written before step 0; fetches are read after the last. A feed that nobody reads gets
 * no life. */
static void measure_lives(lives *l)
{
    const weft_graph *g = l->p->graph;
    for (int i = 0; i < g->n_node; i++) {
        const weft_node *n = &g->node[i];
        for (int j = 0; j < n->n_out; j++)
            touch(l, n->out[j], i);
        for (int j = 0; j < n->n_in; j++)
            if (n->in[j] >= 0)
                touch(l, n->in[j], i);
    }
    for (int i = 0; i < l->p->n_fetch; i++)
        touch(l, l->p->fetch[i], g->n_node);
    for (weft_val v = 0; v < g->n_value; v++)
        if (g->value[v].kind == WEFT_VALUE_INPUT && l->last[v] >= 0)
            l->first[v] = 0;
}

/* ---- in place ------------------------------------------------------------------------------- */
static bool same_tensor(const weft_tensor *a, const weft_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           !memcmp(a->dim, b->dim, sizeof *a->dim * (size_t)a->rank) &&
           !memcmp(a->stride, b->stride, sizeof *a->stride * (size_t)a->rank);
}

/* Another input on the same storage may be read after its elements were overwritten, unless the op
 * looks at the same position only and the two are one and the same tensor. */
static bool others_allow(const lives *l, const weft_node *n, weft_val root)
{
    const weft_program *p = l->p;
    for (int j = 1; j < n->n_in; j++) {
        weft_val v = n->in[j];
        if (v < 0 || storage(l, v) != root)
            continue;
        bool same = p->place[v].offset == p->place[n->in[0]].offset &&
                    same_tensor(&p->value[v], &p->value[n->in[0]]);
        if (!same || !(n->op->flags & WEFT_ELEMENTWISE))
            return false;
    }
    return true;
}

static bool may_overwrite(const lives *l, int step)
{
    const weft_program *p = l->p;
    const weft_node *n = &p->graph->node[step];
    if (!(n->op->flags & WEFT_INPLACE) || p->session->reference || n->op->out[0].alias ||
        n->n_in < 1 || n->in[0] < 0)
        return false;
    weft_val x = n->in[0], root = storage(l, x);
    return p->graph->value[root].kind != WEFT_VALUE_STATE && l->last[root] == step &&
           !p->place[x].offset && same_tensor(&p->value[x], &p->value[n->out[0]]) &&
           p->value[x].count == p->value[root].count && others_allow(l, n, root);
}

static void merge_in_place(lives *l)
{
    const weft_graph *g = l->p->graph;
    for (int i = 0; i < g->n_node; i++) {
        if (!may_overwrite(l, i))
            continue;
        weft_val root = storage(l, g->node[i].in[0]), y = g->node[i].out[0];
        l->merged[y] = root;
        l->last[root] = l->last[y];
    }
}

/* ---- buffers -------------------------------------------------------------------------------- */
static size_t tensor_bytes(const weft_tensor *t)
{
    return (size_t)t->count * weft_dtype_size(t->dtype);
}

/* SIZE_MAX when it overflows: more than any plan can hold. */
static size_t sum(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

static void add_buffer(weft_program *p, size_t bytes, int first, int last, weft_val v, int step)
{
    size_t guard = p->options.check_nan ? GUARD : 0;
    p->life[p->n_buffer] = (weft_life){sum(bytes, guard), first, last};
    p->buffer_value[p->n_buffer] = v;
    p->buffer_step[p->n_buffer++] = step;
}

static void list_buffers(lives *l)
{
    weft_program *p = l->p;
    for (weft_val v = 0; v < p->graph->n_value; v++) {
        bool owns = p->place[v].root == v && l->merged[v] == v &&
                    p->graph->value[v].kind != WEFT_VALUE_STATE;
        p->buffer[v] = owns && l->last[v] >= 0 ? p->n_buffer : -1;
        if (p->buffer[v] >= 0)
            add_buffer(p, tensor_bytes(&p->value[v]), l->first[v], l->last[v], v, -1);
    }
    for (int i = 0; i < p->n_step; i++) {
        weft_step *s = &p->step[i];
        size_t bytes = (size_t)s->run.threads * s->run.lib_stride;
        bytes = sum(sum(bytes, s->lib_shared), s->scratch_bytes);
        s->scratch = bytes ? p->n_buffer : -1;
        if (bytes)
            add_buffer(p, bytes, i, i, WEFT_NONE, i);
    }
    /* Those that took over storage, and their views, are found through the final root from now on.
     */
    for (weft_val v = 0; v < p->graph->n_value; v++)
        p->place[v].root = storage(l, v);
}

static bool allocate(weft_program *p, lives *l)
{
    size_t n = (size_t)p->graph->n_value + 1, most = n + (size_t)p->n_step;
    l->merged = weft_arena_array(p->arena, n, sizeof *l->merged);
    l->first = weft_arena_array(p->arena, n, sizeof *l->first);
    l->last = weft_arena_array(p->arena, n, sizeof *l->last);
    p->buffer = weft_arena_array(p->arena, n, sizeof *p->buffer);
    p->life = weft_arena_array(p->arena, most, sizeof *p->life);
    p->offset = weft_arena_array(p->arena, most, sizeof *p->offset);
    p->buffer_value = weft_arena_array(p->arena, most, sizeof *p->buffer_value);
    p->buffer_step = weft_arena_array(p->arena, most, sizeof *p->buffer_step);
    if (!l->merged || !l->first || !l->last || !p->buffer || !p->life || !p->offset ||
        !p->buffer_value || !p->buffer_step)
        return false;
    for (size_t v = 0; v < n; v++) {
        l->merged[v] = (weft_val)v;
        l->first[v] = l->last[v] = -1;
    }
    return true;
}

/* ---- limits --------------------------------------------------------------------------------- */
static weft_status check_limit(weft_program *p)
{
    size_t most = p->options.max_memory, need = sum(p->plan_bytes, p->session->state_bytes);
    if (p->plan_bytes == SIZE_MAX) {
        p->plan_bytes = 0;
        return weft_fail(p->session->ctx, WEFT_NOMEM,
                         "the values of the run together do not fit into an address space");
    }
    if (!most || need <= most)
        return WEFT_OK;
    weft_string s;
    weft_string_init(&s, p->session->ctx);
    weft_program_largest(p, 10, &s);
    weft_fail(p->session->ctx, WEFT_NOMEM,
              "the run needs %zu bytes (%zu of state, %zu of activations), over the limit of %zu; "
              "largest values at the peak:",
              need, p->session->state_bytes, p->plan_bytes, most);
    weft_note_lines(p->session->ctx, s.s);
    weft_string_free(&s);
    return p->session->ctx->status;
}

static weft_status check_overlap(weft_program *p, int *work)
{
    int a, b;
    if (weft_memory_check(p->life, p->n_buffer, p->offset, p->plan_bytes, work, &a, &b))
        return WEFT_OK;
    return weft_fail(p->session->ctx, WEFT_INTERNAL,
                     "internal: buffers %d and %d overlap in the memory plan", a, b);
}

static weft_status place_buffers(weft_program *p, void *work)
{
    p->plan_bytes = weft_memory_plan(p->life, p->n_buffer, ALIGN, p->offset, work);
    for (int i = 0; i < p->n_buffer; i++)
        p->naive_bytes = sum(p->naive_bytes, sum(p->life[i].bytes, ALIGN - 1) / ALIGN * ALIGN);
    WEFT_TRY(check_limit(p));
    return check_overlap(p, work);
}

weft_status weft_program_plan(weft_program *p)
{
    weft_ctx *c = p->session->ctx;
    lives l = {.p = p};
    if (!allocate(p, &l))
        return c->status;
    measure_lives(&l);
    merge_in_place(&l);
    list_buffers(&l);
    void *work = weft_realloc(c, NULL, weft_memory_work(p->n_buffer));
    weft_status status = work ? place_buffers(p, work) : c->status;
    weft_free(c, work);
    return status;
}

/* ---- binding -------------------------------------------------------------------------------- */
static char *root_data(const weft_program *p, weft_val root)
{
    const weft_value *v = &p->graph->value[root];
    if (v->kind == WEFT_VALUE_STATE)
        return weft_session_state(p->session, v->name)->data;
    return p->buffer[root] < 0 ? NULL : (char *)p->session->block.data + p->offset[p->buffer[root]];
}

static void bind_step(weft_program *p, weft_step *s)
{
    for (int i = 0; i < s->run.n_in; i++)
        if (s->node->in[i] >= 0)
            s->run.in[i] = p->value[s->node->in[i]];
    for (int i = 0; i < s->run.n_out; i++)
        s->run.out[i] = p->value[s->node->out[i]];
    char *scratch = s->scratch < 0 ? NULL : (char *)p->session->block.data + p->offset[s->scratch];
    s->run.scratch = scratch;
    s->run.lib_shared = scratch ? scratch + s->scratch_bytes : NULL;
    s->run.lib_scratch = scratch ? scratch + s->scratch_bytes + s->lib_shared : NULL;
}

void weft_program_bind(weft_program *p)
{
    for (weft_val v = 0; v < p->graph->n_value; v++) {
        char *data = root_data(p, p->place[v].root);
        p->value[v].data =
            data ? data + p->place[v].offset * (int64_t)weft_dtype_size(p->value[v].dtype) : NULL;
    }
    for (int i = 0; i < p->n_step; i++)
        bind_step(p, &p->step[i]);
}
