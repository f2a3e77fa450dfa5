/* concat.c - tensors put one after the other along an axis.
 *
 * Each input is copied into its part of the output; the gradient is a view of dy for each. */
#include "ops/loops.h"

static void infer_concat(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    weft_type y = *weft_call_in(c, 0);
    for (int k = 1; k < weft_call_n_in(c) && axis >= 0; k++) {
        weft_type x = *weft_call_in(c, k);
        int64_t more = x.rank == y.rank ? x.dim[axis] : 0;
        /* sizes on the axis may differ: made equal, the rest can be compared as types */
        x.dim[axis] = y.dim[axis];
        if (!weft_type_equal(&x, &y)) {
            weft_call_fail(c, "input %d: %s does not match input 0: %s on every axis but %d", k,
                           weft_type_text(c, weft_call_in(c, k)),
                           weft_type_text(c, weft_call_in(c, 0)), axis);
            return;
        }
        y.dim[axis] += more;
    }
    if (axis >= 0)
        weft_infer_out(c, 0, y);
}

static void grad_concat(weft_grad *g)
{
    int axis = weft_attr_axis(g, "axis");
    weft_val dy = weft_dy(g, 0);
    int64_t from = 0;
    for (int k = 0; k < weft_call_n_in(g); k++) {
        int64_t to = from + weft_call_in(g, k)->dim[axis];
        if (weft_needs(g, k))
            weft_dx(g, k,
                    weft_emit(g, "slice", &dy, 1, "axis=%d from=%lld to=%lld", axis,
                              (long long)from, (long long)to));
        from = to;
    }
}

/* Inputs without time are tables by position here, and are cut to the window. */
static void incr_concat(weft_incr *c)
{
    enum { MOST = 64 };
    int axis = weft_attr_axis(c, "axis"), n = weft_call_n_in(c), t = -1;
    weft_val in[MOST];
    for (int k = 0; k < n; k++)
        t = weft_incr_axis(c, k) >= 0 ? weft_incr_axis(c, k) : t;
    /* Along time, new positions of one input would come before old ones of the next. */
    if (t == axis || n > MOST) {
        weft_call_fail(c,
                       "incremental decoding cannot concatenate along the time axis %d, nor more "
                       "than 64 inputs",
                       t);
        return;
    }
    int later = -1, zero = weft_incr_zero(c, 0);
    for (int k = 0; k < n; k++) {
        in[k] = weft_incr_new(c, k);
        if (weft_incr_axis(c, k) < 0)
            in[k] = weft_incr_window(c, in[k], t);
        else if (weft_incr_axis(c, k) != t)
            weft_call_fail(c, "inputs have time on different axes");
        if (weft_incr_blocked(c, k, axis, "concatenate along"))
            return;
        if (later >= 0 && weft_incr_later(c, k) >= 0 && weft_incr_later(c, k) != later)
            weft_call_fail(c, "inputs have keys on different axes");
        later = weft_incr_later(c, k) >= 0 ? weft_incr_later(c, k) : later;
        zero = weft_incr_zero(c, k) == zero ? zero : -1;
    }
    weft_incr_out(c, 0, weft_emit(c, "concat", in, n, "%s", weft_attrs_text(c)), t);
    weft_incr_keys(c, 0, later, zero == axis ? -1 : zero);
}

static void run_concat(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    int64_t from = 0;
    for (int k = 0; k < r->n_in; k++) {
        int64_t size = r->in[k].dim[axis];
        weft_tensor part = weft_tensor_slice(&r->out[0], axis, from, size, 1);
        weft_tensor_copy(r, &part, &r->in[k]);
        from += size;
    }
}

static void ref_concat(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    int64_t from = 0;
    for (int k = 0; k < r->n_in; k++) {
        weft_tensor part = weft_tensor_slice(&r->out[0], axis, from, r->in[k].dim[axis], 1);
        for (int64_t i = 0; i < part.count; i++)
            weft_ref_move(&part, i, &r->in[k], i);
        from += r->in[k].dim[axis];
    }
}

const weft_op weft_op_concat = {
    .name = "concat",
    .doc = "One after the other along an axis: y[.., o_k + i, ..] = x_k[.., i, ..] with o_k the "
           "sizes before x_k.",
    .in = {{"x", WEFT_ANY | WEFT_VARIADIC, "tensors with the same sizes on every other axis"}},
    .out = {{"y", WEFT_ANY, "as x, with the sum of the sizes on `axis`"}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "the axis that grows; negative counts from the last"}},
    .flags = WEFT_STRIDED,
    .infer = infer_concat,
    .grad = grad_concat,
    .incr = incr_concat,
    .run = run_concat,
    .ref = ref_concat,
};
