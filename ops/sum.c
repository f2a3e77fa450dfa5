/* sum.c - sum and mean over axes, and the sum to the sizes of a broadcast operand.
 *
 * All three only say which axes go; the additions are in reduce.c. Gradients spread dy by
 * broadcast_to, a view, so a mean over a large tensor costs nothing in the backward pass until
 * somebody reads it. */
#include "ops/reduce.h"

/* ---- sum and mean over the axes named by an attribute ---- */
/* Marks the summed axes; an empty list means all. False if one is out of range or named twice. */
static bool mark_axes(const weft_attr *axis, int rank, bool *gone)
{
    for (int i = 0; i < rank; i++)
        gone[i] = axis->n == 0;
    for (int k = 0; k < axis->n; k++) {
        int64_t a = axis->v[k] < 0 ? axis->v[k] + rank : axis->v[k];
        if (a < 0 || a >= rank || gone[a])
            return false;
        gone[a] = true;
    }
    return true;
}

static void infer_sum(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    bool gone[WEFT_MAX_RANK], keep = weft_attr_int(c, "keep");
    weft_type y = {.dtype = x->dtype};
    if (!mark_axes(weft_attr_get(c, "axis"), x->rank, gone)) {
        weft_call_fail(c, "attribute axis must name axes of x: %s in [%d,%d), each once",
                       weft_type_text(c, x), -x->rank, x->rank);
        return;
    }
    for (int i = 0; i < x->rank; i++)
        if (!gone[i] || keep)
            y.dim[y.rank++] = gone[i] ? 1 : x->dim[i];
    weft_infer_out(c, 0, y);
}

/* x's type with size 1 on the summed axes. */
static weft_type kept_type(const weft_type *x, const weft_attr *axis)
{
    bool gone[WEFT_MAX_RANK];
    weft_type y = *x;
    mark_axes(axis, x->rank, gone);
    for (int i = 0; i < x->rank; i++)
        y.dim[i] = gone[i] ? 1 : x->dim[i];
    return y;
}

static weft_tensor kept_out(const weft_run *r)
{
    weft_type x = weft_type_make(r->in[0].dtype, r->in[0].rank, r->in[0].dim);
    weft_type y = kept_type(&x, weft_run_attr(r, "axis"));
    return weft_tensor_resize(&r->out[0], y.rank, y.dim);
}

/* dy, spread over the summed axes: dx = alpha dy. */
static void spread(weft_grad *g, weft_val dy)
{
    char dims[WEFT_DIMS_TEXT];
    const weft_type *x = weft_val_type(g, weft_x(g, 0));
    weft_type kept = kept_type(x, weft_attr_get(g, "axis"));
    weft_val v = weft_emit_reshape(g, dy, &kept);
    weft_dx(g, 0, weft_emit(g, "broadcast_to", &v, 1, "dims=%s", weft_dims_text(dims, x)));
}

static double terms(const weft_call *c)
{
    return (double)weft_type_count(weft_call_in(c, 0)) /
           (double)weft_type_count(weft_call_out(c, 0));
}

static void grad_sum(weft_grad *g) { spread(g, weft_dy(g, 0)); }

static void grad_mean(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    spread(g, weft_emit(g, "scale", &dy, 1, "alpha=%.17g", 1 / terms(g)));
}

/* Sums over other axes are computed position by position; one over time would need all of them. */
static void incr_reduce(weft_incr *c, const char *op)
{
    const weft_type *x = weft_incr_type(c, 0);
    bool gone[WEFT_MAX_RANK], keep = weft_attr_int(c, "keep");
    int t = weft_incr_axis(c, 0), later = weft_incr_later(c, 0), axis = 0, keys = 0;
    mark_axes(weft_attr_get(c, "axis"), x->rank, gone);
    if (gone[t]) {
        weft_call_fail(c, "incremental decoding cannot sum over the time axis %d of x: %s", t,
                       weft_type_text(c, x));
        return;
    }
    if (later >= 0 && gone[later] && weft_incr_blocked(c, 0, later, "sum over"))
        return;
    for (int i = 0; i < t; i++)
        axis += keep || !gone[i];
    for (int i = 0; i < later; i++)
        keys += keep || !gone[i];
    weft_val v = weft_incr_new(c, 0);
    weft_incr_out(c, 0, weft_emit(c, op, &v, 1, "%s", weft_attrs_text(c)), axis);
    weft_incr_keys(c, 0, later < 0 ? -1 : keys, -1);
}

static void incr_sum(weft_incr *c) { incr_reduce(c, "sum"); }
static void incr_mean(weft_incr *c) { incr_reduce(c, "mean"); }

/* Partial sums need scratch, which is part of the memory plan and so asked for at compile time. */
static void kernel_sum(weft_kernel *k)
{
    const weft_tensor *x = weft_kernel_in(k, 0);
    weft_type type = weft_type_make(x->dtype, x->rank, x->dim),
              kept = kept_type(&type, weft_attr_get(k, "axis"));
    weft_tensor y = weft_tensor_resize(weft_kernel_out(k, 0), kept.rank, kept.dim);
    weft_kernel_scratch(k, weft_reduce_scratch(&y, x));
}

static void run_sum(const weft_run *r)
{
    weft_tensor y = kept_out(r);
    weft_reduce_sum(r, &y, &r->in[0], 1);
}

static void run_mean(const weft_run *r)
{
    weft_tensor y = kept_out(r);
    weft_reduce_sum(r, &y, &r->in[0], (float)((double)y.count / (double)r->in[0].count));
}

static void ref_sum(const weft_run *r)
{
    weft_tensor y = kept_out(r);
    weft_reduce_ref(&y, &r->in[0], 1);
}

static void ref_mean(const weft_run *r)
{
    weft_tensor y = kept_out(r);
    weft_reduce_ref(&y, &r->in[0], (double)y.count / (double)r->in[0].count);
}

static double flops_sum(const weft_call *c) { return (double)weft_type_count(weft_call_in(c, 0)); }

/* ---- sum_to ---- */
/* The sizes of y with ones in front, up to x's rank. */
static weft_type padded(const weft_type *y, int rank)
{
    weft_type p = {.dtype = y->dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        p.dim[i] = i < rank - y->rank ? 1 : y->dim[i - (rank - y->rank)];
    return p;
}

static void infer_sum_to(weft_infer *c)
{
    const weft_attr *dims = weft_attr_get(c, "dims");
    const weft_type *x = weft_call_in(c, 0);
    weft_type y = weft_type_make(x->dtype, dims->n, dims->v);
    bool fits = y.rank <= x->rank;
    weft_type p = fits ? padded(&y, x->rank) : y;
    for (int i = 0; i < x->rank && fits; i++)
        fits = p.dim[i] == 1 || p.dim[i] == x->dim[i];
    if (!fits)
        weft_call_fail(c, "dims %s do not broadcast to x: %s", weft_type_text(c, &y),
                       weft_type_text(c, x));
    else
        weft_infer_out(c, 0, y);
}

static void grad_sum_to(weft_grad *g)
{
    char dims[WEFT_DIMS_TEXT];
    weft_val dy = weft_dy(g, 0);
    const weft_type *x = weft_val_type(g, weft_x(g, 0));
    weft_dx(g, 0, weft_emit(g, "broadcast_to", &dy, 1, "dims=%s", weft_dims_text(dims, x)));
}

static weft_tensor padded_out(const weft_tensor *y, int rank)
{
    weft_type t = weft_type_make(y->dtype, y->rank, y->dim), p = padded(&t, rank);
    return weft_tensor_resize(y, p.rank, p.dim);
}

static void kernel_sum_to(weft_kernel *k)
{
    weft_tensor y = padded_out(weft_kernel_out(k, 0), weft_kernel_in(k, 0)->rank);
    weft_kernel_scratch(k, weft_reduce_scratch(&y, weft_kernel_in(k, 0)));
}

static void run_sum_to(const weft_run *r)
{
    weft_tensor y = padded_out(&r->out[0], r->in[0].rank);
    weft_reduce_sum(r, &y, &r->in[0], 1);
}

static void ref_sum_to(const weft_run *r)
{
    weft_tensor y = padded_out(&r->out[0], r->in[0].rank);
    weft_reduce_ref(&y, &r->in[0], 1);
}

/* ---- schemas ---- */
#define SUM_PORTS                                                                                  \
    .in = {{"x", WEFT_FLOAT, "any shape"}},                                                        \
    .out = {{"y", WEFT_FLOAT, "x without the axes named, or with size 1 there if `keep`"}},        \
    .attr = {{"axis", WEFT_ATTR_INTS, 0, "axes, negative ones count from the last; empty: all"},   \
             {"keep", WEFT_ATTR_BOOL, 0, "keep the axes, with size 1"}},                           \
    .infer = infer_sum, .kernel = kernel_sum, .flops = flops_sum

const weft_op weft_op_sum = {
    .name = "sum",
    .doc = "Sum over axes: y[j] = sum_i x[i, j], i over the axes named.",
    SUM_PORTS,
    .grad = grad_sum,
    .incr = incr_sum,
    .run = run_sum,
    .ref = ref_sum,
};

const weft_op weft_op_mean = {
    .name = "mean",
    .doc =
        "Mean over axes: y[j] = (1 / n) sum_i x[i, j], i over the n positions of the axes named.",
    SUM_PORTS,
    .grad = grad_mean,
    .incr = incr_mean,
    .run = run_mean,
    .ref = ref_mean,
};

const weft_op weft_op_sum_to = {
    .name = "sum_to",
    .doc = "Sum to smaller sizes, the gradient of broadcasting: y[j] = sum of x[i] over all i that "
           "j broadcasts to.",
    .in = {{"x", WEFT_FLOAT, "any shape"}},
    .out = {{"y", WEFT_FLOAT, "sizes `dims`"}},
    .attr = {{"dims", WEFT_ATTR_INTS, 0, "sizes that broadcast to x's; empty: a scalar"}},
    .infer = infer_sum_to,
    .grad = grad_sum_to,
    .kernel = kernel_sum_to,
    .run = run_sum_to,
    .ref = ref_sum_to,
    .flops = flops_sum,
};
