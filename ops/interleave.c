/* interleave.c - two tensors taken turn by turn along an axis: concepts between tokens.
 *
 * Each input is copied into every second position of the output; the gradients are views of dy. */
#include "graph/rule.h"
#include "ops/loops.h"

static void infer_interleave(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    weft_type y = *weft_call_in(c, 0);
    if (axis < 0 || !weft_infer_same(c, 0, 1))
        return;
    y.dim[axis] *= 2;
    weft_infer_out(c, 0, y);
}

static void grad_interleave(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    for (int k = 0; k < 2; k++)
        if (weft_needs(g, k))
            weft_dx(g, k,
                    weft_emit(g, "slice", &dy, 1, "axis=%d from=%d step=2",
                              weft_attr_axis(g, "axis"), k));
}

/* New positions of both give twice as many; along the time axis the result has twice the scale. An
 * input without time is a table by position and is cut to the window. */
static void incr_interleave(weft_incr *c)
{
    int t = weft_incr_axis(c, 0) >= 0 ? weft_incr_axis(c, 0) : weft_incr_axis(c, 1);
    int later = weft_incr_later(c, 0), zero = weft_incr_zero(c, 0),
        axis = weft_attr_axis(c, "axis");
    if (later != weft_incr_later(c, 1))
        weft_call_fail(c, "inputs have keys on different axes");
    if (weft_incr_blocked(c, 0, axis, "interleave along"))
        return;
    weft_val in[2];
    for (int k = 0; k < 2; k++) {
        in[k] = weft_incr_new(c, k);
        if (weft_incr_axis(c, k) < 0)
            in[k] = weft_incr_window(c, in[k], t);
        else if (weft_incr_axis(c, k) != t)
            weft_call_fail(c, "inputs have time on different axes");
    }
    weft_incr_out(c, 0, weft_emit(c, "interleave", in, 2, "%s", weft_attrs_text(c)), t);
    weft_incr_keys(c, 0, later, zero == weft_incr_zero(c, 1) && zero != axis ? zero : -1);
}

static void run_interleave(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    for (int k = 0; k < 2; k++) {
        weft_tensor part = weft_tensor_slice(&r->out[0], axis, k, r->in[k].dim[axis], 2);
        weft_tensor_copy(r, &part, &r->in[k]);
    }
}

static void ref_interleave(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    for (int k = 0; k < 2; k++) {
        weft_tensor part = weft_tensor_slice(&r->out[0], axis, k, r->in[k].dim[axis], 2);
        for (int64_t i = 0; i < part.count; i++)
            weft_ref_move(&part, i, &r->in[k], i);
    }
}

const weft_op weft_op_interleave = {
    .name = "interleave",
    .doc = "Turn by turn along an axis: y[.., 2 * i, ..] = a[.., i, ..] and y[.., 2 * i + 1, ..] = "
           "b[.., i, ..].",
    .in = {{"a", WEFT_ANY, "rank >= 1"}, {"b", WEFT_ANY, "as a"}},
    .out = {{"y", WEFT_ANY, "as a, with twice the positions on `axis`"}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "the axis that grows; negative counts from the last"}},
    .flags = WEFT_STRIDED,
    .infer = infer_interleave,
    .grad = grad_interleave,
    .incr = incr_interleave,
    .run = run_interleave,
    .ref = ref_interleave,
};

/* ---- rules ---- */
static int64_t from_end(int64_t axis, int rank) { return axis < 0 ? axis + rank : axis; }

static void rule_slice_interleave(weft_match *m)
{
    weft_val y = weft_x(m, 0);
    int rank = weft_call_in(m, 0)->rank;
    int64_t axis = weft_attr_int(m, "axis"), from = weft_attr_int(m, "from"),
            step = weft_attr_int(m, "step");
    if (!weft_match_is(m, y, "interleave") || step % 2 ||
        from_end(axis, rank) != from_end(weft_match_attr(m, y, "axis")->i, rank))
        return;
    /* An even step stays on the input that its first position is of; position p of y is p / 2
     * there. */
    weft_val x = weft_match_in(m, y, (int)(from % 2));
    int64_t size = weft_call_out(m, 0)->dim[from_end(axis, rank)];
    weft_match_replace(m, 0,
                       weft_emit(m, "slice", &x, 1, "axis=%lld from=%lld to=%lld step=%lld",
                                 (long long)axis, (long long)(from / 2),
                                 (long long)(from / 2 + (size - 1) * (step / 2) + 1),
                                 (long long)(step / 2)));
}

const weft_rule weft_rule_slice_interleave = {
    .name = "slice_interleave",
    .root = "slice",
    .doc = "slice(interleave(a, b)) of every second position -> slice(a) or slice(b)",
    .apply = rule_slice_interleave,
};

/* Is v the gradient of a slice that took the positions of one parity, all of them? */
static bool is_half(weft_match *m, weft_val v, int64_t *axis, int64_t *from)
{
    int rank = weft_call_out(m, 0)->rank;
    if (!weft_match_is(m, v, "slice_grad") || weft_match_attr(m, v, "step")->i != 2)
        return false;
    *axis = from_end(weft_match_attr(m, v, "axis")->i, rank);
    *from = weft_match_attr(m, v, "from")->i;
    return *from < 2 && weft_call_out(m, 0)->dim[*axis] ==
                            2 * weft_val_type(m, weft_match_in(m, v, 0))->dim[*axis];
}

/* What backward makes of slices of both parities: two tensors that are half zeros, and their sum.
 */
static void rule_interleave_halves(weft_match *m)
{
    int64_t axis[2], from[2];
    weft_val in[2] = {WEFT_NONE, WEFT_NONE};
    for (int k = 0; k < 2; k++) {
        weft_val v = weft_x(m, k);
        if (!is_half(m, v, &axis[k], &from[k]))
            return;
        in[from[k]] = weft_match_in(m, v, 0);
    }
    if (axis[0] == axis[1] && from[0] != from[1])
        weft_match_replace(m, 0, weft_emit(m, "interleave", in, 2, "axis=%d", (int)axis[0]));
}

const weft_rule weft_rule_interleave_halves = {
    .name = "interleave_halves",
    .root = "add",
    .doc = "add(slice_grad(a, step=2), slice_grad(b, from=1, step=2)) -> interleave(a, b)",
    .apply = rule_interleave_halves,
};
