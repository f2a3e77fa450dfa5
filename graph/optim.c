/* optim.c - the optimizer of a recipe as graph nodes: gradients, clipping, schedule, AdamW,
 * accumulation.
 *
 * Input: a lowered graph and a recipe.  Output: the same graph with nodes appended behind all
 * others, so that every reader of a weight comes before the node that overwrites it.  The updates
 * read the global norm, hence every gradient: none of them starts before the last gradient is
 * known. */
#include "graph/optim.h"

#include <string.h>

typedef struct {
    weft_graph *g;
    weft_optim *o;
    Weft__Train train;
    Weft__Optimizer opt;
    Weft__Schedule sched;
    weft_val loss;      /* of one run of the model */
    weft_val *w, *grad; /* trained weights; their gradients, then (accumulate > 1) the sums */
    int n;
    int *used;                 /* weights per group */
    const Weft__Group **group; /* of each weight, or NULL */
    weft_val step, lr, scale, first;
    int cap_micro, cap_update;
} builder;

/* ---- names ---- */

/* Names that the graph keeps live in its arena. */
static const char *text2(builder *b, const char *prefix, const char *name)
{
    return weft_arena_printf(b->g->arena, "%s%s", prefix, name);
}

static weft_status fetch(builder *b, bool micro, const char *name)
{
    weft_optim *o = b->o;
    if (!name)
        return WEFT_NOMEM;
    if (micro) {
        if (!WEFT_GROW(b->g->arena, o->micro, o->n_micro, b->cap_micro))
            return WEFT_NOMEM;
        o->micro[o->n_micro++] = name;
    } else {
        if (!WEFT_GROW(b->g->arena, o->update, o->n_update, b->cap_update))
            return WEFT_NOMEM;
        o->update[o->n_update++] = name;
    }
    return WEFT_OK;
}

static weft_status taken(builder *b, const char *name, const char *what)
{
    return weft_fail(b->g->ctx, WEFT_MALFORMED,
                     "the optimizer needs the name '%s' for itself, but the model has %s of this "
                     "name: give that another name",
                     name, what);
}

/* Makes `v` an output under `name` and fetches it. */
static weft_status hand_out(builder *b, bool micro, const char *name, weft_val v)
{
    if (v < 0 || !name)
        return b->g->ctx->status;
    if (weft_graph_find_output(b->g, name) >= 0)
        return taken(b, name, "an output");
    WEFT_TRY(weft_graph_output(b->g, name, v));
    return fetch(b, micro, name);
}

/* ---- what is trained ---- */

/* The output to be minimised, by the recipe's name for it. */
static weft_status find_loss(builder *b)
{
    weft_graph *g = b->g;
    const char *name = b->train.loss;
    b->loss = weft_graph_find_output(g, name);
    if (b->loss >= 0)
        return WEFT_OK;
    const char **names = weft_arena_array(g->arena, (size_t)g->n_output + 1, sizeof *names);
    if (!names)
        return WEFT_NOMEM;
    for (int i = 0; i < g->n_output; i++)
        names[i] = g->output[i].name;
    const char *near = weft_nearest(name, names, g->n_output);
    return weft_fail(g->ctx, WEFT_MALFORMED, "train.loss: the model has no output '%s'%s%s%s", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Says which of the three reasons it is. */
static weft_status nothing_to_train(const weft_graph *g, const char *loss, int weights,
                                    int trainable)
{
    if (!weights)
        return weft_fail(g->ctx, WEFT_MALFORMED, "nothing to train: the model has no weights");
    if (!trainable)
        return weft_fail(g->ctx, WEFT_MALFORMED, "nothing to train: all %d weights are frozen",
                         weights);
    return weft_fail(g->ctx, WEFT_MALFORMED,
                     "nothing to train: '%s' depends on none of the %d trainable weights", loss,
                     trainable);
}

/* Trainable states on which the loss depends.  A weight that gets no gradient must not be decayed
 * either, as in PyTorch, where its .grad is None. */
static weft_status find_weights(builder *b)
{
    weft_graph *g = b->g;
    int weights = 0, trainable = 0;
    bool *live = weft_graph_depends(g, b->loss);
    b->w = weft_arena_array(g->arena, (size_t)g->n_value + 1, sizeof *b->w);
    if (!live || !b->w)
        return WEFT_NOMEM;
    for (weft_val v = 0; v < g->n_value; v++) {
        if (g->value[v].kind != WEFT_VALUE_STATE)
            continue;
        weights++;
        trainable += g->value[v].trainable;
        if (g->value[v].trainable && live[v])
            b->w[b->n++] = v;
        else if (g->value[v].trainable)
            weft_log(g->ctx, "optimizer: '%s' does not depend on weight '%s', which stays as it is",
                     b->train.loss, g->value[v].name);
    }
    b->o->n_weight = b->n;
    return b->n ? WEFT_OK : nothing_to_train(g, b->train.loss, weights, trainable);
}

/* ---- groups ---- */

/* Does group p take a weight of this name and rank? */
static bool group_takes(const Weft__Group *p, const char *name, int rank)
{
    bool hit = p->n_match == 0; /* no pattern: the ranks alone decide */
    for (size_t i = 0; i < p->n_match; i++)
        hit = hit || weft_glob(p->match[i], name);
    return hit && (!p->has_min_rank || rank >= p->min_rank) &&
           (!p->has_max_rank || rank <= p->max_rank);
}

/* The first group that takes the weight, or NULL. */
static const Weft__Group *group_of(builder *b, const weft_value *w)
{
    for (size_t i = 0; i < b->opt.n_group; i++)
        if (group_takes(b->opt.group[i], w->name, w->type.rank)) {
            b->used[i]++;
            return b->opt.group[i];
        }
    return NULL;
}

/* A pattern that matches nothing is nearly always a typing error. */
static void report_unused(const builder *b)
{
    for (size_t i = 0; i < b->opt.n_group; i++) {
        const Weft__Group *p = b->opt.group[i];
        if (!b->used[i])
            weft_log(b->g->ctx, "optimizer: group %d (match \"%s\"%s) gets no weight", (int)i + 1,
                     p->n_match ? p->match[0] : "*", p->n_match > 1 ? ", ..." : "");
    }
}

/* ---- nodes ---- */

static weft_val scalar_state(builder *b, const char *name, weft_dtype t, weft_role role)
{
    const weft_type type = {.dtype = t};
    return weft_graph_made_state(b->g, name, &type, role, "the optimizer");
}

/* A state of the sizes of weight w, named after it. */
static weft_val state_like(builder *b, const char *prefix, weft_val w, weft_role role)
{
    const weft_type type = b->g->value[w].type;
    return weft_graph_made_state(b->g, text2(b, prefix, b->g->value[w].name), &type, role,
                                 "the optimizer");
}

static weft_val moment(builder *b, const char *prefix, weft_val w)
{
    return state_like(b, prefix, w, WEFT_ROLE_OPTIMIZER);
}

/* The model's own updates of states (counters) happen with every micro-batch, and so do the values
 * that the recipe logs. */
static weft_status fetch_model(builder *b)
{
    weft_graph *g = b->g;
    bool micro = b->o->accumulate > 1;
    for (int k = 0, n = g->n_node; k < n; k++)
        if (g->node[k].op->flags & WEFT_EFFECT)
            WEFT_TRY(
                hand_out(b, micro, weft_arena_printf(g->arena, "effect:%d", k), g->node[k].out[0]));
    for (size_t i = 0; i < b->train.n_log; i++) {
        if (weft_graph_find_output(g, b->train.log[i]) < 0)
            return weft_fail(g->ctx, WEFT_MALFORMED, "train.log: the model has no output '%s'",
                             b->train.log[i]);
        WEFT_TRY(fetch(b, micro, weft_arena_strdup(g->arena, b->train.log[i])));
    }
    return WEFT_OK;
}

/* Replaces the gradients by sums over micro-batches, each weighing one over their number. */
static weft_status accumulate(builder *b)
{
    weft_graph *g = b->g;
    const weft_type flag = {.dtype = WEFT_I32};
    double share = 1.0 / (double)b->o->accumulate;
    b->o->first = "first";
    if (weft_graph_find(g, b->o->first) >= 0)
        return taken(b, b->o->first, "a value");
    b->first = weft_graph_input(g, b->o->first, &flag);
    weft_val total = scalar_state(b, "acc.loss", WEFT_F32, WEFT_ROLE_SUM);
    if (b->first < 0 || total < 0)
        return g->ctx->status;
    b->o->micro_loss = b->train.loss;
    WEFT_TRY(fetch(b, true, b->o->micro_loss));
    weft_val sum = weft_graph_emit(g, "accumulate", (weft_val[]){total, b->loss, b->first}, 3,
                                   "scale=%.17g", share);
    WEFT_TRY(hand_out(b, true, "accumulate:loss", sum));
    b->loss = total;
    for (int i = 0; i < b->n; i++) {
        const char *name = g->value[b->w[i]].name;
        weft_val acc = state_like(b, "acc.", b->w[i], WEFT_ROLE_SUM);
        sum = weft_graph_emit(g, "accumulate", (weft_val[]){acc, b->grad[i], b->first}, 3,
                              "scale=%.17g", share);
        WEFT_TRY(hand_out(b, true, text2(b, "accumulate:", name), sum));
        b->grad[i] = acc;
    }
    return WEFT_OK;
}

/* The axis along which the vectors of weight i have length 1; -1: they have not. */
static weft_status unit_axis(builder *b, int i, int *axis)
{
    const weft_value *w = &b->g->value[b->w[i]];
    const Weft__Group *p = b->group[i];
    char text[160];
    *axis = -1;
    if (!p || !p->has_unit_norm)
        return WEFT_OK;
    *axis = p->unit_norm < 0 ? p->unit_norm + w->type.rank : p->unit_norm;
    if (w->type.rank >= 2 && *axis >= 0 && *axis < w->type.rank)
        return WEFT_OK;
    return weft_fail(b->g->ctx, WEFT_MALFORMED,
                     "optimizer: group with unit_norm=%d takes weight '%s', which is %s; expected "
                     "a weight of at least 2 axes, axis %d among them",
                     p->unit_norm, w->name, weft_type_print(text, sizeof text, &w->type),
                     p->unit_norm);
}

/* Takes out of each gradient its part along the unit vectors, g - w <g, w>: what would only change
 * their length (Bricken et al., 2023). Before clipping and moments, so that neither sees it. */
static weft_status project(builder *b)
{
    weft_graph *g = b->g;
    for (int i = 0; i < b->n; i++) {
        int axis;
        WEFT_TRY(unit_axis(b, i, &axis));
        if (axis < 0)
            continue;
        weft_val w = b->w[i], dw = b->grad[i];
        weft_val along = weft_graph_emit(g, "mul", (weft_val[]){dw, w}, 2, "%s", "");
        along = weft_graph_emit(g, "sum", &along, 1, "axis=%d keep=1", axis);
        along = weft_graph_emit(g, "mul", (weft_val[]){w, along}, 2, "%s", "");
        b->grad[i] = weft_graph_emit(g, "sub", (weft_val[]){dw, along}, 2, "%s", "");
    }
    return g->ctx->status;
}

/* The scalars that every update reads: step, learning rate, factor of the gradients. */
static weft_status add_scalars(builder *b)
{
    weft_graph *g = b->g;
    const Weft__Schedule *s = &b->sched;
    weft_val norm = weft_graph_emit(g, "global_norm", b->grad, b->n, "%s", "");
    b->scale =
        weft_graph_emit(g, "clip_scale", (weft_val[]){norm, b->loss}, 2, "max=%.17g", b->opt.clip);
    b->step = scalar_state(b, "adam.step", WEFT_I64, WEFT_ROLE_OPTIMIZER);
    b->lr = weft_graph_emit(g, "lr_schedule", &b->step, 1,
                            "shape=%s peak=%.17g floor=%.17g warmup=%lld total=%lld", s->shape,
                            s->lr, s->min_lr, (long long)s->warmup, (long long)b->train.steps);
    if (g->ctx->status)
        return g->ctx->status;
    if (b->o->accumulate > 1) {
        b->o->loss = "mean_loss";
        WEFT_TRY(hand_out(b, false, b->o->loss, b->loss));
    } else {
        b->o->loss = b->train.loss;
        WEFT_TRY(fetch(b, false, b->o->loss));
    }
    b->o->grad_norm = "grad_norm";
    b->o->lr = "lr";
    WEFT_TRY(hand_out(b, false, b->o->grad_norm, norm));
    return hand_out(b, false, b->o->lr, b->lr);
}

/* Moments are named after their weight, so that checkpoints are readable by name. */
static weft_status add_update(builder *b, int i)
{
    weft_graph *g = b->g;
    const weft_value w = g->value[b->w[i]]; /* by value: the array moves as values are added */
    const Weft__Group *p = b->group[i];
    int axis;
    double decay = p && p->has_weight_decay ? p->weight_decay : b->opt.weight_decay;
    weft_val m = moment(b, "adam.m.", b->w[i]), v = moment(b, "adam.v.", b->w[i]);
    weft_val in[] = {b->w[i], b->grad[i], m, v, b->step, b->lr, b->scale};
    weft_val out = weft_graph_emit(
        g, "adamw", in, 7, "beta1=%.17g beta2=%.17g eps=%.17g weight_decay=%.17g lr_scale=%.17g",
        b->opt.beta1, b->opt.beta2, b->opt.eps, decay, p ? p->lr_scale : 1.0);
    if (out < 0)
        return weft_note(g->ctx, "in the update of weight '%s'", w.name);
    WEFT_TRY(unit_axis(b, i, &axis));
    if (axis >= 0)
        out = weft_graph_emit(g, "unit_norm", (weft_val[]){out, b->scale}, 2, "axis=%d", axis);
    return hand_out(b, false, text2(b, "update:", w.name), out);
}

/* The order matters: what overwrites a state comes behind all its readers, the step counter last.
 */
static weft_status add_nodes(builder *b)
{
    weft_graph *g = b->g;
    b->grad = weft_arena_array(g->arena, (size_t)b->n, sizeof *b->grad);
    b->used = weft_arena_array(g->arena, b->opt.n_group + 1, sizeof *b->used);
    b->group = weft_arena_array(g->arena, (size_t)b->n, sizeof *b->group);
    if (!b->grad || !b->used || !b->group)
        return WEFT_NOMEM;
    for (int i = 0; i < b->n; i++)
        b->group[i] = group_of(b, &g->value[b->w[i]]);
    WEFT_TRY(fetch_model(b));
    WEFT_TRY(weft_graph_gradient(g, b->loss, b->w, b->n, b->grad));
    g->at_scope = "optimizer";
    g->at_file = NULL;
    g->at_line = 0;
    if (b->o->accumulate > 1)
        WEFT_TRY(accumulate(b));
    WEFT_TRY(project(b));
    WEFT_TRY(add_scalars(b));
    for (int i = 0; i < b->n; i++)
        WEFT_TRY(add_update(b, i));
    report_unused(b);
    weft_val next = weft_graph_emit(g, "increment", (weft_val[]){b->step, b->scale}, 2, "%s", "");
    WEFT_TRY(hand_out(b, false, "update:step", next));
    return weft_graph_check_updates(g);
}

weft_status weft_optim_append(weft_graph *g, const Weft__Recipe *r, weft_optim *out)
{
    builder b = {.g = g, .o = out, .train = WEFT__TRAIN__INIT, .opt = WEFT__OPTIMIZER__INIT};
    b.sched = (Weft__Schedule)WEFT__SCHEDULE__INIT;
    if (r->train)
        b.train = *r->train;
    if (r->optimizer)
        b.opt = *r->optimizer;
    if (r->schedule)
        b.sched = *r->schedule;
    *out = (weft_optim){.accumulate = b.train.accumulate};
    if (b.train.accumulate < 1)
        return weft_fail(g->ctx, WEFT_USAGE, "train.accumulate=%lld, expected at least 1",
                         (long long)b.train.accumulate);
    WEFT_TRY(find_loss(&b));
    WEFT_TRY(find_weights(&b));
    const char *scope = g->at_scope;
    weft_status s = add_nodes(&b);
    g->at_scope = scope;
    return s;
}
