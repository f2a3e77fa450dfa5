/* compile.c - from a graph and the values wanted of it to a program that runs without allocating.
 *
 * Stages: prune, hold updates still outside training, lower meta nodes, rewrite, order updates, lay
 * out (views, copies), verify, make the steps, plan memory, bind. */
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "graph/plan.h"

/* ---- fetches -------------------------------------------------------------------------------- */
static weft_status find_fetches(weft_program *p, const weft_graph *g, const char *const *name,
                                int n)
{
    p->n_fetch = n;
    p->fetch = weft_arena_array(p->arena, (size_t)n + 1, sizeof *p->fetch);
    p->fetch_name = weft_arena_array(p->arena, (size_t)n + 1, sizeof *p->fetch_name);
    if (!p->fetch || !p->fetch_name)
        return g->ctx->status;
    for (int i = 0; i < n; i++) {
        p->fetch_name[i] = weft_arena_strdup(p->arena, name[i]);
        p->fetch[i] = weft_graph_need_value(g, name[i]);
        if (p->fetch[i] < 0)
            return g->ctx->status;
    }
    return p->fetch_name[0] || !n ? WEFT_OK : g->ctx->status;
}

/* ---- passes --------------------------------------------------------------------------------- */
/* Replaces p->graph, the result of the pass before (the caller's graph is not ours to free). */
static void replace(weft_program *p, weft_graph *g)
{
    weft_graph_free(p->graph);
    p->graph = g;
}

static weft_status map_fetches(weft_program *p, const weft_val *map)
{
    for (int i = 0; i < p->n_fetch; i++) {
        p->fetch[i] = map[p->fetch[i]];
        if (p->fetch[i] < 0)
            return weft_fail(p->session->ctx, WEFT_INTERNAL, "internal: a pass has lost '%s'",
                             p->fetch_name[i]);
    }
    return WEFT_OK;
}

/* Outputs of the graph are the fetches from here on, so that the rewriter keeps them. */
static weft_status name_outputs(weft_program *p)
{
    p->graph->n_output = 0;
    p->graph->output_index = weft_map_new(p->graph->arena);
    if (!p->graph->output_index)
        return p->session->ctx->status;
    for (int i = 0; i < p->n_fetch; i++)
        if (weft_graph_find_output(p->graph, p->fetch_name[i]) < 0)
            WEFT_TRY(weft_graph_output(p->graph, p->fetch_name[i], p->fetch[i]));
    return WEFT_OK;
}

static weft_status prune(weft_program *p, const weft_graph *g)
{
    weft_graph *h;
    weft_val *map = weft_arena_array(p->arena, (size_t)g->n_value + 1, sizeof *map);
    if (!map)
        return g->ctx->status;
    WEFT_TRY(weft_graph_prune(g, p->fetch, p->n_fetch, &h, map));
    replace(p, h);
    WEFT_TRY(map_fetches(p, map));
    return name_outputs(p);
}

/* Outside training updates stand still, whatever they are asked for. */
static weft_status hold_still(weft_program *p)
{
    weft_graph *h = NULL;
    weft_val *map = weft_arena_array(p->arena, (size_t)p->graph->n_value + 1, sizeof *map);
    if (!map)
        return p->session->ctx->status;
    WEFT_TRY(p->options.train ? WEFT_OK : weft_graph_still(p->graph, &h, map));
    if (!h)
        return WEFT_OK;
    replace(p, h);
    WEFT_TRY(map_fetches(p, map));
    return prune(p, h);
}

/* Updates behind all readers of the old value. */
static weft_status order_updates(weft_program *p)
{
    weft_graph *h;
    weft_val *map = weft_arena_array(p->arena, (size_t)p->graph->n_value + 1, sizeof *map);
    if (!map)
        return p->session->ctx->status;
    WEFT_TRY(weft_graph_order_updates(p->graph, p->fetch, p->n_fetch, &h, map));
    if (!h)
        return WEFT_OK;
    replace(p, h);
    WEFT_TRY(map_fetches(p, map));
    return name_outputs(p);
}

static weft_rewrite_options rewrites(const weft_program *p)
{
    return (weft_rewrite_options){.train = p->options.train,
                                  .no_rewrite = p->options.no_rewrite,
                                  .disable = p->options.disable_rules};
}

static weft_status lower(weft_program *p)
{
    const weft_rewrite_options o = rewrites(p);
    weft_graph *h;
    WEFT_TRY(weft_graph_lower_fused(p->graph, &o, &h));
    replace(p, h);
    for (int i = 0; i < p->n_fetch; i++)
        p->fetch[i] = weft_graph_find_output(h, p->fetch_name[i]);
    return WEFT_OK;
}

static weft_status rewrite(weft_program *p)
{
    const weft_rewrite_options o = rewrites(p);
    weft_graph *h;
    weft_val *map = weft_arena_array(p->arena, (size_t)p->graph->n_value + 1, sizeof *map);
    if (!map)
        return p->session->ctx->status;
    WEFT_TRY(weft_graph_rewrite(p->graph, &o, &h, map));
    replace(p, h);
    WEFT_TRY(map_fetches(p, map));
    return prune(p, h);
}

static weft_status lay_out(weft_program *p)
{
    weft_layout l;
    WEFT_TRY(weft_layout_make(p->session, p->arena, p->graph, p->fetch, p->n_fetch, &l));
    replace(p, l.graph);
    p->value = l.tensor;
    p->place = l.place;
    p->fetch = l.fetch;
    WEFT_TRY(name_outputs(p));
    return weft_graph_verify(p->graph);
}

/* ---- steps ---------------------------------------------------------------------------------- */
static void run_nothing(const weft_run *r) { (void)r; }

weft_status weft_program_note(weft_program *p, const weft_step *s)
{
    const weft_node *n = s->node;
    const weft_value *y = &p->graph->value[n->out[0]];
    char type[256];
    weft_note(p->session->ctx, "in step %d, %s of '%s' (%s%s%s)%s", (int)(s - p->step), n->op->name,
              n->scope, y->name ? y->name : "", y->name ? ": " : "",
              weft_type_print(type, sizeof type, &y->type), n->backward ? ", backward" : "");
    if (n->file)
        weft_note(p->session->ctx, "written at %s:%d", n->file, n->line);
    return p->session->ctx->status;
}

static weft_status no_function(weft_program *p, const weft_step *s)
{
    weft_fail(p->session->ctx, WEFT_UNSUPPORTED, "op '%s' has no %s", s->node->op->name,
              p->session->reference ? "double-precision reference" : "kernel");
    return weft_program_note(p, s);
}

/* Asks the op for a kernel. */
static weft_status choose_kernel(weft_program *p, weft_step *s, weft_call *c)
{
    weft_build b = {p->session, p->arena, s};
    c->pass = &b;
    c->in_tensor = s->run.in;
    c->out_tensor = s->run.out;
    if (s->node->op->kernel)
        s->node->op->kernel(c);
    if (c->failed || p->session->ctx->status) {
        weft_fail(p->session->ctx, WEFT_NOMEM, "out of memory for the kernel of %s",
                  s->node->op->name);
        return weft_program_note(p, s);
    }
    return WEFT_OK;
}

static weft_status make_step(weft_program *p, int i)
{
    weft_step *s = &p->step[i];
    const weft_node *n = &p->graph->node[i];
    const weft_op *op = n->op;
    weft_call c;
    *s = (weft_step){.node = n, .impl = "weft", .scratch = -1};
    s->run = (weft_run){.op = op,
                        .attr = n->attr,
                        .n_in = n->n_in,
                        .n_out = n->n_out,
                        .stream = n->stream,
                        .threads = p->session->threads,
                        .fault = &p->fault};
    s->run.in =
        weft_arena_array(p->arena, (size_t)n->n_in + (size_t)n->n_out + 1, sizeof *s->run.in);
    if (!s->run.in || !weft_call_node(&c, p->graph, n))
        return p->session->ctx->status;
    s->run.out = s->run.in + n->n_in;
    for (int j = 0; j < n->n_in; j++)
        if (n->in[j] >= 0)
            s->run.in[j] = p->value[n->in[j]];
    for (int j = 0; j < n->n_out; j++)
        s->run.out[j] = p->value[n->out[j]];
    s->flops = op->flops ? op->flops(&c) : 0;
    if (op->view) {
        s->fn = run_nothing;
        s->impl = "view";
    } else if (p->session->reference) {
        s->fn = op->ref;
        s->impl = "reference";
    } else {
        s->fn = op->run;
        WEFT_TRY(choose_kernel(p, s, &c));
    }
    return s->fn ? WEFT_OK : no_function(p, s);
}

static weft_status make_steps(weft_program *p)
{
    p->n_step = p->graph->n_node;
    p->step = weft_arena_array(p->arena, (size_t)p->n_step + 1, sizeof *p->step);
    if (!p->step)
        return p->session->ctx->status;
    for (int i = 0; i < p->n_step; i++)
        WEFT_TRY(make_step(p, i));
    return WEFT_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */
/* The block only grows. The old one goes first, or both would count to the peak. */
static weft_status grow_block(weft_session *s, size_t bytes)
{
    if (bytes <= s->block.bytes)
        return WEFT_OK;
    size_t old = s->block.bytes;
    weft_block_free(s->ctx, &s->block);
    weft_status status = weft_block_new(s->ctx, bytes, &s->block);
    if (status && old) { /* the programs that were there keep working */
        weft_block again;
        if (!weft_block_new(s->ctx, old, &again))
            s->block = again;
    }
    for (int i = 0; i < s->n_program; i++)
        weft_program_bind(s->program[i]);
    return status;
}

static weft_status compile(weft_program *p, const weft_graph *g, const char *const *fetch,
                           int n_fetch)
{
    weft_session *s = p->session;
    WEFT_TRY(find_fetches(p, g, fetch, n_fetch));
    WEFT_TRY(prune(p, g));
    WEFT_TRY(hold_still(p));
    WEFT_TRY(lower(p));
    WEFT_TRY(rewrite(p));
    WEFT_TRY(order_updates(p));
    WEFT_TRY(lay_out(p));
    WEFT_TRY(weft_session_add_states(s, p->graph));
    WEFT_TRY(make_steps(p));
    WEFT_TRY(weft_program_plan(p));
    if (!WEFT_GROW(s->arena, s->program, s->n_program, s->cap_program))
        return s->ctx->status;
    if (!s->bare) {
        WEFT_TRY(grow_block(s, p->plan_bytes));
        weft_program_bind(p);
    }
    s->program[s->n_program++] = p;
    return WEFT_OK;
}

weft_status weft_program_compile(weft_session *s, const weft_graph *g, const char *const *fetch,
                                 int n_fetch, const weft_compile_options *o, weft_program **out)
{
    static const weft_compile_options none;
    *out = NULL;
    int64_t start = weft_now_ns(s->ctx);
    weft_arena *a = weft_arena_new(s->ctx, 0);
    weft_program *p = a ? weft_arena_alloc(a, sizeof *p) : NULL;
    if (!p) {
        weft_arena_free(a);
        return s->ctx->status;
    }
    *p = (weft_program){.session = s, .arena = a, .options = o ? *o : none};
    p->options.reference = s->reference;
    s->bare |= p->options.plan_only;
    weft_status status = s->ctx->status ? s->ctx->status : compile(p, g, fetch, n_fetch);
    p->options.disable_rules = NULL; /* the caller's string: only needed now */
    if (status) {
        weft_program_free(p);
        return status;
    }
    p->compile_ns = weft_now_ns(s->ctx) - start;
    *out = p;
    return WEFT_OK;
}

void weft_program_free(weft_program *p)
{
    if (!p)
        return;
    weft_graph_free(p->graph);
    weft_arena_free(p->arena);
}
