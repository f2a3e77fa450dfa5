/* gradient.c - derivatives as values of the graph, and the op that keeps them out. */
#include <string.h>

#include "ops/loops.h"

/* ---- gradient: replaced by the nodes of the backward pass before anything runs ---- */
static void infer_gradient(weft_infer *c)
{
    if (weft_call_in(c, 0)->rank != 0)
        weft_call_fail(c, "loss must be a scalar, but is %s; sum or mean makes one",
                       weft_type_text(c, weft_call_in(c, 0)));
    else
        weft_infer_out(c, 0, *weft_call_in(c, 1));
}

static void lower_gradient(weft_lower *l)
{
    weft_val x = weft_x(l, 1), dx = WEFT_NONE;
    weft_lower_gradient(l, weft_x(l, 0), &x, 1, &dx);
    weft_lower_out(l, 0, dx);
}

const weft_op weft_op_gradient = {
    .name = "gradient",
    .doc = "Derivative of a scalar by any value it was computed from, weight or activation: dx = d "
           "loss / d x.",
    .in = {{"loss", WEFT_FLOAT, "a scalar"}, {"x", WEFT_FLOAT, "any shape"}},
    .out = {{"dx", WEFT_FLOAT, "as x; zeros if loss does not depend on x"}},
    .infer = infer_gradient,
    .lower = lower_gradient,
};

/* ---- stop_gradient ---- */
static bool view_same(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    (void)c;
    memcpy(y->stride, x->stride, sizeof y->stride);
    y->data = NULL;
    return true;
}

static void ref_same(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &r->in[0], i);
}

const weft_op weft_op_stop_gradient = {
    .name = "stop_gradient",
    .doc = "The same value as a constant for differentiation: y = x, dy/dx = 0.",
    .in = {{"x", WEFT_ANY, "any shape"}},
    .out = {{"y", WEFT_ANY, "as x"}},
    .flags = WEFT_ELEMENTWISE | WEFT_NO_GRADIENT | WEFT_KEEPS_ZERO,
    .infer = weft_infer_like_first,
    .view = view_same,
    .ref = ref_same,
};
