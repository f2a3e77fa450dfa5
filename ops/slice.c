/* slice.c - a part of a tensor along one axis, and its gradient: the same part of a tensor of
 * zeros.
 *
 * slice is a view. slice_grad writes every element of its output once: the part is copied, and
 * zeros are written around and between it only. Each is the gradient of the other. */
#include <string.h>

#include "ops/loops.h"

typedef struct {
    int axis;
    int64_t from, size, step;
} part;

/* Positions from..to-1 of an axis with `whole` positions; false if they are not inside it. */
static bool part_of(part *p, int axis, int64_t from, int64_t to, int64_t step, int64_t whole)
{
    if (to == -1)
        to = whole;
    *p = (part){.axis = axis, .from = from, .step = step, .size = (to - from + step - 1) / step};
    return from >= 0 && from < to && to <= whole;
}

static bool call_part(const weft_call *c, int axis, int64_t whole, part *p)
{
    return part_of(p, axis, weft_attr_int(c, "from"), weft_attr_int(c, "to"),
                   weft_attr_int(c, "step"), whole);
}

static part run_part(const weft_run *r, int64_t whole, int axis)
{
    part p;
    part_of(&p, axis, weft_run_int(r, "from"), weft_run_int(r, "to"), weft_run_int(r, "step"),
            whole);
    return p;
}

static void out_of_range(weft_infer *c, int64_t whole)
{
    weft_call_fail(c, "from=%lld to=%lld is not a part of 0..%lld of axis %lld of x: %s",
                   (long long)weft_attr_int(c, "from"), (long long)weft_attr_int(c, "to"),
                   (long long)whole, (long long)weft_attr_int(c, "axis"),
                   weft_type_text(c, weft_call_in(c, 0)));
}

/* ---- slice ---- */
static void infer_slice(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    if (axis < 0)
        return;
    weft_type y = *weft_call_in(c, 0);
    part p;
    if (!call_part(c, axis, y.dim[axis], &p)) {
        out_of_range(c, y.dim[axis]);
        return;
    }
    y.dim[axis] = p.size;
    weft_infer_out(c, 0, y);
}

/* The attributes are handed on as they are; `size` tells what was cut away behind the part. */
static void grad_slice(weft_grad *g)
{
    int axis = weft_attr_axis(g, "axis");
    weft_val dy = weft_dy(g, 0);
    weft_dx(g, 0,
            weft_emit(g, "slice_grad", &dy, 1, "%s%ssize=%lld", weft_attrs_text(g),
                      *weft_attrs_text(g) ? " " : "", (long long)weft_call_in(g, 0)->dim[axis]));
}

static bool view_slice(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    int64_t a = weft_attr_int(c, "axis");
    int axis = (int)(a < 0 ? a + x->rank : a);
    part p;
    call_part(c, axis, x->dim[axis], &p);
    memcpy(y->stride, x->stride, sizeof y->stride);
    y->stride[axis] *= p.step;
    y->data = (void *)(intptr_t)(p.from * x->stride[axis]);
    return true;
}

/* Every step-th position of a finer time scale brings it back to a coarser one: each window of new
 * positions then gives whole steps. Any other cut along time has no such windows. */
static void incr_slice(weft_incr *c)
{
    int t = weft_incr_axis(c, 0), axis = weft_attr_axis(c, "axis");
    int64_t from = weft_attr_int(c, "from"), step = weft_attr_int(c, "step");
    weft_val x = weft_incr_new(c, 0);
    if (weft_incr_blocked(c, 0, axis, "cut along"))
        return;
    if (t != axis)
        weft_incr_out(c, 0, weft_emit(c, "slice", &x, 1, "%s", weft_attrs_text(c)), t);
    else if (from < step && weft_incr_scale(c, 0) % step == 0 &&
             weft_call_out(c, 0)->dim[t] * step == weft_incr_type(c, 0)->dim[t])
        weft_incr_out(c, 0,
                      weft_emit(c, "slice", &x, 1, "axis=%d from=%lld step=%lld", t,
                                (long long)from, (long long)step),
                      t);
    else
        weft_call_fail(c, "incremental decoding cannot cut along the time axis %d of x: %s", t,
                       weft_type_text(c, weft_incr_type(c, 0)));
    weft_incr_keys(c, 0, weft_incr_later(c, 0),
                   weft_incr_zero(c, 0) == axis ? -1 : weft_incr_zero(c, 0));
}

static void ref_slice(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    part p = run_part(r, r->in[0].dim[axis], axis);
    weft_tensor x = weft_tensor_slice(&r->in[0], axis, p.from, p.size, p.step);
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &x, i);
}

/* ---- slice_grad ---- */
static void infer_slice_grad(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    int64_t size = weft_attr_int(c, "size");
    if (axis < 0)
        return;
    weft_type y = *weft_call_in(c, 0);
    part p;
    if (!call_part(c, axis, size, &p) || p.size != y.dim[axis]) {
        out_of_range(c, size);
        return;
    }
    y.dim[axis] = size;
    weft_infer_out(c, 0, y);
}

static void grad_slice_grad(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    weft_dx(g, 0,
            weft_emit(g, "slice", &dy, 1, "axis=%lld from=%lld to=%lld step=%lld",
                      (long long)weft_attr_int(g, "axis"), (long long)weft_attr_int(g, "from"),
                      (long long)weft_attr_int(g, "to"), (long long)weft_attr_int(g, "step")));
}

static void span_zero(const weft_span *s)
{
    if (s->stride[0] == 1)
        memset(s->p[0], 0, (size_t)(s->n * s->size));
    else
        for (int64_t i = 0; i < s->n; i++)
            memset(s->p[0] + i * s->stride[0] * s->size, 0, (size_t)s->size);
}

static void zero(const weft_run *r, const weft_tensor *y)
{
    weft_nest n;
    if (y->count == 0)
        return;
    weft_nest_make(&n, &y, 1);
    weft_nest_walk(r, &n, span_zero, NULL);
}

/* Zeros at positions first, first + step, ... below end. */
static void zero_positions(const weft_run *r, const weft_tensor *y, int axis, int64_t first,
                           int64_t end, int64_t step)
{
    weft_tensor gap =
        weft_tensor_slice(y, axis, first, first < end ? (end - first + step - 1) / step : 0, step);
    zero(r, &gap);
}

/* Zeros where the part is not: every element is written once. */
static void run_slice_grad(const weft_run *r)
{
    weft_tensor *y = &r->out[0];
    int axis = weft_run_axis(r, "axis");
    int64_t whole = y->dim[axis];
    part p = run_part(r, whole, axis);
    for (int64_t k = 0; k < p.step && k < whole; k++) {
        bool kept = k == p.from % p.step;
        zero_positions(r, y, axis, k, kept ? p.from : whole, p.step);
        if (kept)
            zero_positions(r, y, axis, p.from + p.size * p.step, whole, p.step);
    }
    weft_tensor to = weft_tensor_slice(y, axis, p.from, p.size, p.step);
    weft_tensor_copy(r, &to, &r->in[0]);
}

static void ref_slice_grad(const weft_run *r)
{
    weft_tensor *y = &r->out[0];
    int axis = weft_run_axis(r, "axis");
    part p = run_part(r, y->dim[axis], axis);
    weft_tensor to = weft_tensor_slice(y, axis, p.from, p.size, p.step);
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i, 0);
    for (int64_t i = 0; i < to.count; i++)
        weft_ref_move(&to, i, &r->in[0], i);
}

#define PART_ATTRS                                                                                 \
    {"axis", WEFT_ATTR_INT, 0, "the axis that is cut; negative counts from the last"},             \
        {"from", WEFT_ATTR_INT, 0, "first position", 0, 4e15},                                     \
        {"to", WEFT_ATTR_INT, -1, "first position after the part; -1: the end", -1, 4e15},         \
    {                                                                                              \
        "step", WEFT_ATTR_INT, 1, "distance of the positions taken", 1, 4e15                       \
    }

const weft_op weft_op_slice = {
    .name = "slice",
    .doc =
        "A part of one axis: y[.., i, ..] = x[.., from + step * i, ..] while from + step * i < to.",
    .in = {{"x", WEFT_ANY, "rank >= 1"}},
    .out = {{"y", WEFT_ANY, "as x, but ceil((to - from) / step) positions on `axis`"}},
    .attr = {PART_ATTRS},
    .infer = infer_slice,
    .grad = grad_slice,
    .incr = incr_slice,
    .view = view_slice,
    .ref = ref_slice,
};

const weft_op weft_op_slice_grad = {
    .name = "slice_grad",
    .doc = "Gradient of slice, x put into zeros: y[.., from + step * i, ..] = x[.., i, ..], and y "
           "= 0 elsewhere.",
    .in = {{"x", WEFT_ANY, "rank >= 1"}},
    .out = {{"y", WEFT_ANY, "as x, but `size` positions on `axis`"}},
    .attr = {PART_ATTRS,
             {"size", WEFT_ATTR_INT, 0, "positions of y on `axis`", 1, 4e15, NULL, true}},
    .flags = WEFT_STRIDED,
    .infer = infer_slice_grad,
    .grad = grad_slice_grad,
    .run = run_slice_grad,
    .ref = ref_slice_grad,
};
