/* transpose.c - the axes of a tensor in another order.
 *
 * It moves no data: the strides change places. Who needs a dense tensor gets a copy from the
 * compiler. */
#include <stdio.h>

#include "ops/loops.h"

/* The attribute perm as axes 0..rank-1; empty means all axes reversed. False if it is no
 * permutation. */
static bool axes(const weft_call *c, int rank, int *perm)
{
    const weft_attr *a = weft_attr_get(c, "perm");
    bool seen[WEFT_MAX_RANK] = {false};
    if (a->n && a->n != rank)
        return false;
    for (int i = 0; i < rank; i++) {
        int64_t p = a->n ? a->v[i] : rank - 1 - i;
        if (p < -rank || p >= rank)
            return false;
        perm[i] = (int)(p < 0 ? p + rank : p);
        if (seen[perm[i]])
            return false;
        seen[perm[i]] = true;
    }
    return true;
}

static void infer_transpose(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    weft_type y = *x;
    int perm[WEFT_MAX_RANK];
    if (!axes(c, x->rank, perm)) {
        weft_call_fail(c, "perm must name each of the %d axes of x: %s once", x->rank,
                       weft_type_text(c, x));
        return;
    }
    for (int i = 0; i < x->rank; i++)
        y.dim[i] = x->dim[perm[i]];
    weft_infer_out(c, 0, y);
}

/* y[..] moved back: the inverse permutation. */
static void grad_transpose(weft_grad *g)
{
    int rank = weft_call_in(g, 0)->rank, perm[WEFT_MAX_RANK], back[WEFT_MAX_RANK] = {0};
    char text[64] = "";
    axes(g, rank, perm);
    for (int i = 0; i < rank; i++)
        back[perm[i]] = i;
    for (int i = 0, k = 0; i < rank; i++)
        k += snprintf(text + k, sizeof text - (size_t)k, "%s%d", i ? "," : "", back[i]);
    weft_val dy = weft_dy(g, 0);
    weft_dx(g, 0, weft_emit(g, "transpose", &dy, 1, "perm=%s", text));
}

static bool view_transpose(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    int perm[WEFT_MAX_RANK];
    axes(c, x->rank, perm);
    for (int i = 0; i < x->rank; i++)
        y->stride[i] = x->stride[perm[i]];
    y->data = NULL;
    return true;
}

/* Time moves with its axis. */
static void incr_transpose(weft_incr *c)
{
    int rank = weft_incr_type(c, 0)->rank, perm[WEFT_MAX_RANK], axis = -1, later = -1, zero = -1;
    axes(c, rank, perm);
    for (int i = 0; i < rank; i++) {
        axis = perm[i] == weft_incr_axis(c, 0) ? i : axis;
        later = perm[i] == weft_incr_later(c, 0) ? i : later;
        zero = perm[i] == weft_incr_zero(c, 0) ? i : zero;
    }
    weft_val x = weft_incr_new(c, 0);
    weft_incr_out(c, 0, weft_emit(c, "transpose", &x, 1, "%s", weft_attrs_text(c)), axis);
    weft_incr_keys(c, 0, later, zero);
}

static void ref_transpose(const weft_run *r)
{
    const weft_attr *a = weft_run_attr(r, "perm");
    int rank = r->in[0].rank, perm[WEFT_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = (int)(!a->n ? rank - 1 - i : a->v[i] < 0 ? a->v[i] + rank : a->v[i]);
    weft_tensor x = weft_tensor_permute(&r->in[0], perm);
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &x, i);
}

const weft_op weft_op_transpose = {
    .name = "transpose",
    .doc = "Axes in another order: y[i_perm(0), i_perm(1), ...] = x[i_0, i_1, ...]; y's axis k is "
           "x's axis perm(k).",
    .in = {{"x", WEFT_ANY, "any shape"}},
    .out = {{"y", WEFT_ANY, "the sizes of x, permuted"}},
    .attr = {{"perm", WEFT_ATTR_INTS, 0,
              "for each axis of y, the axis of x; empty: all axes reversed"}},
    .infer = infer_transpose,
    .grad = grad_transpose,
    .incr = incr_transpose,
    .view = view_transpose,
    .ref = ref_transpose,
};
