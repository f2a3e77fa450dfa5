/* steer.c - one feature of a tensor changed at some positions: how a run of a model is intervened
 * on. */
#include "ops/loops.h"

enum { SCALE, ADD, SET };

static void infer_steer(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *span = weft_call_in(c, 1), *pos = weft_call_in(c, 2),
                    *strength = weft_call_in(c, 3);
    int64_t n = x->rank ? x->dim[x->rank - 1] : 0;
    if (weft_attr_int(c, "id") >= n)
        weft_call_fail(c, "id=%lld is none of the %lld ids on the last axis of x: %s (0..%lld)",
                       (long long)weft_attr_int(c, "id"), (long long)n, weft_type_text(c, x),
                       (long long)n - 1);
    else if (weft_call_has(c, 1) && weft_type_count(span) != 2)
        weft_call_fail(c, "span must be two positions, but is %s", weft_type_text(c, span));
    else if (weft_call_has(c, 2) && weft_type_count(pos) != 1)
        weft_call_fail(c, "pos must be a single number, but is %s", weft_type_text(c, pos));
    else if (weft_call_has(c, 3) && weft_type_count(strength) != 1)
        weft_call_fail(c, "strength must be a single number, but is %s",
                       weft_type_text(c, strength));
    else
        weft_infer_out(c, 0, *x);
}

/* dy with the feature scaled at the steered positions; by = NONE: scaled by `amount` alone. */
static weft_val scaled(weft_grad *g, double amount, weft_val by)
{
    const weft_val in[] = {weft_dy(g, 0), weft_x(g, 1), weft_x(g, 2), by};
    return weft_emit(g, "steer", in,
                     by >= 0                 ? 4
                     : weft_call_n_in(g) < 3 ? weft_call_n_in(g)
                                             : 3,
                     "id=%lld how=scale amount=%.17g from=%lld to=%lld",
                     (long long)weft_attr_int(g, "id"), amount, (long long)weft_attr_int(g, "from"),
                     (long long)weft_attr_int(g, "to"));
}

/* The derivative by the feature is amount * strength where it is scaled, 0 where it is set; the one
 * by the strength is the sum over the steered entries of dy * amount, times x where x is scaled. */
static void grad_steer(weft_grad *g)
{
    int64_t how = weft_attr_int(g, "how");
    double amount = weft_attr_float(g, "amount");
    weft_val dy = weft_dy(g, 0);
    if (weft_needs(g, 0))
        weft_dx(g, 0,
                how == ADD     ? dy
                : how == SCALE ? scaled(g, amount, weft_x(g, 3))
                               : scaled(g, 0, WEFT_NONE));
    if (!weft_call_has(g, 3) || !weft_needs(g, 3))
        return;
    /* dy at the steered entries, 0 elsewhere: what setting them to 0 takes away */
    weft_val there = weft_emit2(g, "sub", dy, scaled(g, 0, WEFT_NONE));
    if (how == SCALE)
        there = weft_emit2(g, "mul", there, weft_x(g, 0));
    weft_val sum = weft_emit(g, "sum", &there, 1, "%s", "");
    sum = weft_emit(g, "scale", &sum, 1, "alpha=%.17g", amount);
    weft_dx(g, 3, weft_emit_reshape(g, sum, weft_call_in(g, 3)));
}

/* Positions stay those of the whole sequence. */
static void incr_steer(weft_incr *c)
{
    int axis = weft_incr_axis(c, 0), rank = weft_incr_type(c, 0)->rank;
    bool everywhere =
        !weft_call_has(c, 1) && weft_attr_int(c, "from") == 0 && weft_attr_int(c, "to") == -1;
    weft_val in[4] = {weft_incr_new(c, 0)};
    for (int i = 1; i < 4; i++)
        in[i] = weft_call_has(c, i) ? weft_incr_new(c, i) : WEFT_NONE;
    if (axis == rank - 1 || (!everywhere && axis != rank - 2)) {
        weft_call_fail(c, "incremental decoding needs time on the axis before the last of x: %s",
                       weft_type_text(c, weft_incr_type(c, 0)));
        return;
    }
    if (!everywhere)
        /* row 0 of the new part is not position 0 of the text */
        in[2] = in[2] < 0 ? weft_incr_pos(c) : weft_emit2(c, "position", weft_incr_pos(c), in[2]);
    int n = in[3] >= 0 ? 4 : everywhere ? 1 : 3;
    weft_incr_out(c, 0, weft_emit(c, "steer", in, n, "%s", weft_attrs_text(c)), axis);
}

/* Positions first..end-1 of x that are changed. */
static void positions(const weft_run *r, int64_t t, int64_t *first, int64_t *end)
{
    int64_t pos = r->n_in > 2 && r->in[2].data ? weft_get_int(&r->in[2], 0) : 0;
    int64_t from = weft_run_int(r, "from"), to = weft_run_int(r, "to");
    *first = from - pos;
    *end = to < 0 ? t : to - pos;
    if (r->n_in > 1 && r->in[1].data) {
        from = weft_get_int(&r->in[1], 0) - pos;
        to = weft_get_int(&r->in[1], 1);
        *first = from > *first ? from : *first;
        *end = to >= 0 && to - pos < *end ? to - pos : *end;
    }
    *first = *first < 0 ? 0 : *first;
    *end = *end > t ? t : *end;
}

static double amount_of(const weft_run *r)
{
    bool fed = r->n_in > 3 && r->in[3].data;
    return weft_run_float(r, "amount") * (fed ? weft_get(&r->in[3], 0) : 1);
}

/* One column of x: too little to share out among threads. */
static void run_steer(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    float *y = r->out[0].data, amount = (float)amount_of(r);
    int64_t n = x->dim[x->rank - 1], t = x->rank > 1 ? x->dim[x->rank - 2] : 1;
    int64_t how = weft_run_int(r, "how"), first, end;
    positions(r, t, &first, &end);
    if (y != x->data)
        weft_tensor_copy(r, &r->out[0], x);
    y += weft_run_int(r, "id");
    for (int64_t at = 0; at < x->count / n; at += t)
        for (int64_t i = first; i < end; i++) {
            float *v = y + (at + i) * n;
            *v = how == SCALE ? *v * amount : how == ADD ? *v + amount : amount;
        }
}

/* The definition, element by element. */
static void ref_steer(const weft_run *r)
{
    const weft_tensor *x = &r->in[0];
    double amount = amount_of(r);
    int64_t n = x->dim[x->rank - 1], t = x->rank > 1 ? x->dim[x->rank - 2] : 1;
    int64_t id = weft_run_int(r, "id"), how = weft_run_int(r, "how"), first, end;
    positions(r, t, &first, &end);
    for (int64_t i = 0; i < x->count; i++) {
        double v = weft_get(x, i);
        int64_t at = i / n % t;
        if (i % n == id && at >= first && at < end)
            v = how == SCALE ? v * amount : how == ADD ? v + amount : amount;
        weft_put(&r->out[0], i, v);
    }
}

const weft_op weft_op_steer = {
    .name = "steer",
    .doc =
        "One feature changed at some positions: y[.., t, id] = x * amount, x + amount or amount "
        "(as `how` says) while from <= t < to and t lies in span; y = x elsewhere. With a strength "
        "the amount is amount * strength.",
    .in = {{"x", WEFT_FLOAT, "features on the last axis, positions on the one before"},
           {"span", WEFT_INT | WEFT_OPTIONAL,
            "two numbers: first position, and the first after it (-1: the end); all when absent"},
           {"pos", WEFT_INT | WEFT_OPTIONAL,
            "scalar: the position that row 0 of x has; 0 when absent"},
           {"strength", WEFT_FLOAT | WEFT_OPTIONAL, "scalar; 1 when absent"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .attr = {{"id", WEFT_ATTR_INT, 0, "index of the feature", 0, 4e15, NULL, true},
             {"how", WEFT_ATTR_ENUM, 0, "what is done with it", .choices = "scale|add|set"},
             {"amount", WEFT_ATTR_FLOAT, 0, "factor, summand or new value", .required = true},
             {"from", WEFT_ATTR_INT, 0, "first position", 0, 4e15},
             {"to", WEFT_ATTR_INT, -1, "first position after the part; -1: the end", -1, 4e15}},
    .flags = WEFT_INPLACE | WEFT_INTERVENES,
    .infer = infer_steer,
    .grad = grad_steer,
    .incr = incr_steer,
    .run = run_steer,
    .ref = ref_steer,
};
