/* max.c - largest element along an axis, its position, and the gradient.
 *
 * The order is defined for all numbers: the first of equals wins, and a NaN is larger than
 * everything, so that it is not hidden. The gradient goes to the one element that won. */
#include "ops/loops.h"

/* x as [outer, n, inner] around the axis. */
typedef struct {
    int64_t outer, n, inner;
} split;

/* Axes before and behind the one that is searched count as one each. */
static split split_at(const weft_tensor *x, int axis)
{
    split s = {1, x->dim[axis], 1};
    for (int i = 0; i < axis; i++)
        s.outer *= x->dim[i];
    for (int i = axis + 1; i < x->rank; i++)
        s.inner *= x->dim[i];
    return s;
}

static void infer_axis(weft_infer *c, weft_dtype dtype)
{
    int axis = weft_attr_axis(c, "axis");
    const weft_type *x = weft_call_in(c, 0);
    weft_type y = {.dtype = dtype};
    for (int i = 0; i < x->rank; i++)
        if (i != axis || weft_attr_int(c, "keep"))
            y.dim[y.rank++] = i == axis ? 1 : x->dim[i];
    if (axis >= 0)
        weft_infer_out(c, 0, y);
}

static void infer_max(weft_infer *c) { infer_axis(c, weft_call_in(c, 0)->dtype); }
static void infer_argmax(weft_infer *c) { infer_axis(c, WEFT_I32); }

/* Position of the largest of n numbers, the first of equals; a NaN counts as the largest. */
/* NaN is unequal to itself, which ends the search; !(a <= b) is true for larger numbers and for
 * NaN. */
static int64_t largest(const float *x, int64_t n, int64_t stride)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n && x[best * stride] == x[best * stride]; i++)
        if (!(x[i * stride] <= x[best * stride]))
            best = i;
    return best;
}

/* Calls for every line along the axis; y receives one number per line, or `position` does. */
static void each_line(const weft_run *r, float *y, int32_t *position, float *dx, const float *dy)
{
    const split s = split_at(&r->in[0], weft_run_axis(r, "axis"));
    const float *x = r->in[0].data;
#pragma omp parallel for num_threads(r->threads) schedule(static) if (r->in[0].count > 16384)
    for (int64_t line = 0; line < s.outer * s.inner; line++) {
        int64_t first = line / s.inner * s.n * s.inner + line % s.inner,
                best = largest(x + first, s.n, s.inner);
        if (y)
            y[line] = x[first + best * s.inner];
        if (position)
            position[line] = (int32_t)best;
        for (int64_t i = 0; i < s.n && dx; i++)
            dx[first + i * s.inner] = i == best ? dy[line] : 0;
    }
}

static void run_max(const weft_run *r) { each_line(r, r->out[0].data, NULL, NULL, NULL); }
static void run_argmax(const weft_run *r) { each_line(r, NULL, r->out[0].data, NULL, NULL); }
static void run_max_grad(const weft_run *r)
{
    each_line(r, NULL, NULL, r->out[0].data, r->in[1].data);
}

static int64_t largest_exact(const weft_tensor *x, const split *s, int64_t line)
{
    int64_t first = line / s->inner * s->n * s->inner + line % s->inner, best = 0;
    for (int64_t i = 1; i < s->n; i++) {
        double top = weft_get(x, first + best * s->inner);
        if (top == top && !(weft_get(x, first + i * s->inner) <= top))
            best = i;
    }
    return first + best * s->inner;
}

static void ref_max(const weft_run *r)
{
    const split s = split_at(&r->in[0], weft_run_axis(r, "axis"));
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, weft_get(&r->in[0], largest_exact(&r->in[0], &s, i)));
}

static void ref_argmax(const weft_run *r)
{
    const split s = split_at(&r->in[0], weft_run_axis(r, "axis"));
    for (int64_t i = 0; i < r->out[0].count; i++)
        /* of the element's place in [outer, n, inner] the middle part */
        weft_put(&r->out[0], i, (double)(largest_exact(&r->in[0], &s, i) / s.inner % s.n));
}

static void ref_max_grad(const weft_run *r)
{
    const split s = split_at(&r->in[0], weft_run_axis(r, "axis"));
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, 0);
    for (int64_t i = 0; i < r->in[1].count; i++)
        weft_put(&r->out[0], largest_exact(&r->in[0], &s, i), weft_get(&r->in[1], i));
}

static void grad_max(weft_grad *g)
{
    weft_dx(g, 0,
            weft_emit(g, "max_grad", (weft_val[]){weft_x(g, 0), weft_dy(g, 0)}, 2, "axis=%d",
                      weft_attr_axis(g, "axis")));
}

static void incr_axis(weft_incr *c, const char *op)
{
    int axis = weft_attr_axis(c, "axis"), t = weft_incr_axis(c, 0);
    weft_val x = weft_incr_new(c, 0);
    /* along time it would depend on all earlier positions, which are not there any more */
    if (t == axis)
        weft_call_fail(c, "incremental decoding cannot look for the largest along the time axis %d",
                       t);
    if (t == axis || weft_incr_blocked(c, 0, axis, "look for the largest along"))
        return;
    bool keep = weft_attr_int(c, "keep");
    weft_incr_out(c, 0, weft_emit(c, op, &x, 1, "%s", weft_attrs_text(c)),
                  t > axis && !keep ? t - 1 : t);
    int later = weft_incr_later(c, 0);
    weft_incr_keys(c, 0, later > axis && !keep ? later - 1 : later, -1);
}

static void incr_max(weft_incr *c) { incr_axis(c, "max"); }
static void incr_argmax(weft_incr *c) { incr_axis(c, "argmax"); }

static void infer_max_grad(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    if (axis < 0)
        return;
    if (weft_type_count(weft_call_in(c, 1)) * weft_call_in(c, 0)->dim[axis] !=
        weft_type_count(weft_call_in(c, 0)))
        weft_call_fail(c, "dy: %s is not the result of max over axis %d of x: %s",
                       weft_type_text(c, weft_call_in(c, 1)), axis,
                       weft_type_text(c, weft_call_in(c, 0)));
    else
        weft_infer_like_first(c);
}

static double flops_max(const weft_call *c) { return (double)weft_type_count(weft_call_in(c, 0)); }

#define AXIS_ATTR                                                                                  \
    {                                                                                              \
        "axis", WEFT_ATTR_INT, -1, "the axis that is searched; negative counts from the last"      \
    }
#define MAX_ATTRS                                                                                  \
    {                                                                                              \
        AXIS_ATTR, { "keep", WEFT_ATTR_BOOL, 0, "keep the axis, with size 1" }                     \
    }

const weft_op weft_op_max = {
    .name = "max",
    .doc = "Largest along an axis: y[j] = max_i x[i, j]; NaN if there is one.",
    .in = {{"x", WEFT_FLOAT, "rank >= 1"}},
    .out = {{"y", WEFT_FLOAT, "x without the axis, or with size 1 there if `keep`"}},
    .attr = MAX_ATTRS,
    .infer = infer_max,
    .grad = grad_max,
    .incr = incr_max,
    .run = run_max,
    .ref = ref_max,
    .flops = flops_max,
};

const weft_op weft_op_argmax = {
    .name = "argmax",
    .doc =
        "Position of the largest along an axis: y[j] = argmax_i x[i, j], the first among equals.",
    .in = {{"x", WEFT_FLOAT, "rank >= 1"}},
    .out = {{"y", WEFT_INT, "i32 positions; x without the axis, or with size 1 there if `keep`"}},
    .attr = MAX_ATTRS,
    .flags = WEFT_NO_GRADIENT,
    .infer = infer_argmax,
    .incr = incr_argmax,
    .run = run_argmax,
    .ref = ref_argmax,
    .flops = flops_max,
};

const weft_op weft_op_max_grad = {
    .name = "max_grad",
    .doc = "Gradient of max, all to the first largest: dx[i, j] = dy[j] where i = argmax_i x[i, "
           "j], else 0.",
    .in = {{"x", WEFT_FLOAT, "input of max"}, {"dy", WEFT_FLOAT, "gradient of its output"}},
    .out = {{"dx", WEFT_FLOAT, "as x"}},
    .attr = {AXIS_ATTR},
    .infer = infer_max_grad,
    .run = run_max_grad,
    .ref = ref_max_grad,
    .flops = flops_max,
};
