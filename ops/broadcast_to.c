/* broadcast_to.c - a tensor repeated along axes of size 1 and new leading axes, without moving
 * data.
 *
 * The repeated axes get stride 0. An in-place op never overwrites such a view, since the compiler
 * compares the number of elements with that of the storage. */
#include "ops/loops.h"

static void infer_broadcast_to(weft_infer *c)
{
    const weft_attr *dims = weft_attr_get(c, "dims");
    const weft_type *x = weft_call_in(c, 0);
    weft_type y = weft_type_make(x->dtype, dims->n, dims->v);
    bool fits = x->rank <= y.rank;
    for (int i = 0; i < x->rank && fits; i++)
        fits = x->dim[i] == 1 || x->dim[i] == y.dim[i + y.rank - x->rank];
    if (!fits)
        weft_call_fail(c, "x: %s does not broadcast to dims %s", weft_type_text(c, x),
                       weft_type_text(c, &y));
    else
        weft_infer_out(c, 0, y);
}

/* dx = dy summed over the repeated axes: weft_dx does that for every op. */
static void grad_broadcast_to(weft_grad *g) { weft_dx(g, 0, weft_dy(g, 0)); }

/* New positions are repeated as all of them are; the axis of time itself cannot be. */
static void incr_broadcast_to(weft_incr *c)
{
    char dims[WEFT_DIMS_TEXT];
    const weft_type *x = weft_incr_type(c, 0);
    weft_type y = *weft_call_out(c, 0);
    int more = y.rank - x->rank, t = weft_incr_axis(c, 0), later = weft_incr_later(c, 0);
    weft_val v = weft_incr_new(c, 0);
    if (x->dim[t] != y.dim[t + more] || (later >= 0 && x->dim[later] != y.dim[later + more])) {
        weft_call_fail(c, "repeats positions");
        return;
    }
    y.dim[t + more] = weft_val_type(c, v)->dim[t];
    v = weft_emit(c, "broadcast_to", &v, 1, "dims=%s", weft_dims_text(dims, &y));
    weft_incr_out(c, 0, v, t + more);
    weft_incr_keys(c, 0, later < 0 ? -1 : later + more, weft_incr_zero_at(c, 0));
}

static bool view_broadcast_to(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    (void)c;
    for (int i = 0; i < y->rank; i++) {
        int k = i - (y->rank - x->rank);
        y->stride[i] = k < 0 || x->dim[k] == 1 ? 0 : x->stride[k];
    }
    y->data = NULL;
    return true;
}

static void ref_broadcast_to(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &r->in[0], weft_broadcast_index(&r->out[0], &r->in[0], i));
}

const weft_op weft_op_broadcast_to = {
    .name = "broadcast_to",
    .doc = "Repeated to larger sizes by NumPy's rules: y[j] = x[i] where i is j on x's axes, 0 "
           "where x has size 1.",
    .in = {{"x", WEFT_ANY, "sizes that broadcast to `dims`"}},
    .out = {{"y", WEFT_ANY, "sizes `dims`"}},
    .attr = {{"dims", WEFT_ATTR_INTS, 0, "sizes of y"}},
    .infer = infer_broadcast_to,
    .grad = grad_broadcast_to,
    .incr = incr_broadcast_to,
    .view = view_broadcast_to,
    .ref = ref_broadcast_to,
};
