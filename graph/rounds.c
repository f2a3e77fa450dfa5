/* rounds.c - cuts a graph where it takes means over a whole data set.
 *
 * Input: an expanded graph and the values wanted of it.  Output: one graph a round.  Round 0
 * computes from each batch what needs no mean; behind it the means are known, and are inputs of the
 * next round.  A value belongs to the earliest round that has all it needs. */
#include "graph/rounds.h"

#include <string.h>

typedef struct {
    weft_arena *arena;
    weft_graph *part; /* what is wanted, `choose` resolved */
    int *level;       /* [n_value] round of each value */
    weft_val *want;   /* [n] in part */
    int n;
} rounds;

static bool has_pools(const weft_graph *g)
{
    for (int k = 0; k < g->n_node; k++)
        if (g->node[k].op->flags & WEFT_POOLS)
            return true;
    return false;
}

/* What the wanted values need. A variant that was not chosen takes no means. */
static weft_status cut_part(rounds *x, const weft_graph *g, const char *const *want, int n)
{
    weft_graph *chosen = NULL;
    WEFT_TRY(weft_graph_choose_but(g, WEFT_POOLS, &chosen));
    g = chosen ? chosen : g;
    weft_val *map = weft_arena_array(x->arena, (size_t)g->n_value + 1, sizeof *map);
    x->want = weft_arena_array(x->arena, (size_t)n + 1, sizeof *x->want);
    weft_status s = map && x->want ? WEFT_OK : g->ctx->status;
    for (int i = 0; i < n && !s; i++)
        if ((x->want[i] = weft_graph_need_value(g, want[i])) < 0)
            s = g->ctx->status;
    if (!s)
        s = weft_graph_prune(g, x->want, n, &x->part, map);
    for (int i = 0; i < n && !s; i++)
        x->want[i] = map[x->want[i]];
    x->n = n;
    weft_graph_free(chosen);
    return s;
}

static weft_status find_levels(rounds *x)
{
    const weft_graph *g = x->part;
    x->level = weft_arena_array(x->arena, (size_t)g->n_value + 1, sizeof *x->level);
    for (int k = 0; x->level && k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        int level = 0;
        for (int i = 0; i < n->n_in; i++)
            if (n->in[i] >= 0 && x->level[n->in[i]] > level)
                level = x->level[n->in[i]];
        level += (n->op->flags & WEFT_POOLS) != 0;
        if (level == WEFT_MAX_ROUNDS)
            return weft_fail(g->ctx, WEFT_MALFORMED,
                             "means over the data of values that depend on such means, %d times",
                             WEFT_MAX_ROUNDS);
        for (int i = 0; i < n->n_out; i++)
            x->level[n->out[i]] = level;
    }
    return g->ctx->status;
}

/* Values are fetched and fed by name, and a value may have the name of another one's output: so
 * these are outputs with names of their own. */
static const char *hand_out(rounds *x, const char *prefix, int number, weft_val v)
{
    const char *name = weft_arena_printf(x->arena, "data_mean:%s%d", prefix, number);
    return name && !weft_graph_output(x->part, name, v) ? name : NULL;
}

static weft_status list_pools(rounds *x, weft_rounds *out)
{
    weft_graph *g = x->part;
    out->pool = weft_arena_array(x->arena, (size_t)g->n_value + 1, sizeof *out->pool);
    for (int k = 0; out->pool && k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        for (int i = 0; n->op->flags & WEFT_POOLS && i < n->n_out; i++) {
            const weft_value *from = &g->value[n->in[i]];
            weft_pool *p = &out->pool[out->n_pool];
            *p = (weft_pool){.type = from->type, .round = x->level[n->out[i]] - 1};
            p->name = weft_arena_strdup(x->arena, from->name ? from->name : "");
            p->from = hand_out(x, "of:", out->n_pool, n->in[i]);
            p->to = hand_out(x, "", out->n_pool++, n->out[i]);
        }
    }
    return g->ctx->status;
}

static void add_fetch(weft_rounds *out, int round, const char *name)
{
    for (int i = 0; i < out->n_fetch[round]; i++)
        if (!strcmp(out->fetch[round][i], name))
            return;
    out->fetch[round][out->n_fetch[round]++] = name;
}

static weft_status list_fetches(rounds *x, const char *const *want, weft_rounds *out)
{
    size_t most = (size_t)x->n + (size_t)out->n_pool + 1;
    out->at = weft_arena_array(x->arena, most, sizeof *out->at);
    for (int k = 0; out->at && k < WEFT_MAX_ROUNDS; k++)
        if (!(out->fetch[k] = weft_arena_array(x->arena, most, sizeof *out->fetch[k])))
            return x->part->ctx->status;
    for (int i = 0; out->at && i < x->n; i++) {
        out->at[i] = x->level[x->want[i]];
        add_fetch(out, out->at[i], want[i]);
        out->n_round = out->at[i] >= out->n_round ? out->at[i] + 1 : out->n_round;
    }
    for (int i = 0; out->at && i < out->n_pool; i++)
        add_fetch(out, out->pool[i].round, out->pool[i].from);
    return x->part->ctx->status;
}

/* The means of earlier rounds are inputs. */
static weft_status cut_round(rounds *x, int round, weft_rounds *out)
{
    const char **feed = weft_arena_array(x->arena, (size_t)out->n_pool + 1, sizeof *feed);
    int n = 0;
    for (int i = 0; feed && i < out->n_pool; i++)
        if (out->pool[i].round < round)
            feed[n++] = out->pool[i].to;
    return feed ? weft_graph_feed(x->part, feed, n, out->fetch[round], out->n_fetch[round],
                                  &out->graph[round])
                : x->part->ctx->status;
}

static weft_status make(rounds *x, const weft_graph *g, const char *const *want, int n,
                        weft_rounds *out)
{
    WEFT_TRY(cut_part(x, g, want, n));
    WEFT_TRY(find_levels(x));
    WEFT_TRY(list_pools(x, out));
    WEFT_TRY(list_fetches(x, want, out));
    for (int k = 0; k < out->n_round && out->n_pool; k++)
        WEFT_TRY(cut_round(x, k, out));
    return WEFT_OK;
}

weft_status weft_rounds_make(weft_arena *a, const weft_graph *g, const char *const *want, int n,
                             weft_rounds *out)
{
    rounds x = {.arena = a};
    *out = (weft_rounds){.n_round = 1};
    if (!has_pools(g)) { /* as it is: nothing to cut */
        out->at = weft_arena_array(a, (size_t)n + 1, sizeof *out->at);
        out->fetch[0] = weft_arena_array(a, (size_t)n + 1, sizeof *out->fetch[0]);
        for (int i = 0; out->at && out->fetch[0] && i < n; i++)
            add_fetch(out, 0, want[i]);
        return g->ctx->status;
    }
    weft_status s = make(&x, g, want, n, out);
    weft_graph_free(x.part);
    if (s)
        weft_rounds_free(out);
    return s;
}

void weft_rounds_free(weft_rounds *r)
{
    for (int k = 0; k < WEFT_MAX_ROUNDS; k++) {
        weft_graph_free(r->graph[k]);
        r->graph[k] = NULL;
    }
}
