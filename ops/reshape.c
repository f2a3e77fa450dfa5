/* reshape.c - the same elements in row-major order under other sizes.
 *
 * It moves no data when the strides of x allow it; otherwise the compiler copies x first, and a
 * dense x always does. */
#include <string.h>

#include "ops/loops.h"

/* One size may be left open; products are kept below x's count, so they cannot overflow. */
static void infer_reshape(weft_infer *c)
{
    const weft_attr *dims = weft_attr_get(c, "dims");
    weft_type y = weft_type_make(weft_call_in(c, 0)->dtype, dims->n, dims->v);
    int64_t count = weft_type_count(weft_call_in(c, 0)), known = 1;
    int open = -1;
    for (int i = 0; i < y.rank; i++) {
        if (y.dim[i] == -1 && open < 0) {
            open = i;
        } else if (y.dim[i] < 1 || y.dim[i] > count) {
            weft_call_fail(c, "size %lld in dims is not in 1..%lld, and only one size may be -1",
                           (long long)y.dim[i], (long long)count);
            return;
        } else if (known <= count) { /* beyond, it can only be wrong, and might overflow */
            known *= y.dim[i];
        }
    }
    if (open >= 0 && count % known == 0)
        y.dim[open] = count / known;
    if (open < 0 ? known != count : count % known != 0)
        weft_call_fail(c, "x: %s has %lld elements, which do not fill dims with %s%lld",
                       weft_type_text(c, weft_call_in(c, 0)), (long long)count,
                       open < 0 ? "" : "a multiple of ", (long long)known);
    else
        weft_infer_out(c, 0, y);
}

static void grad_reshape(weft_grad *g)
{
    weft_dx(g, 0, weft_emit_reshape(g, weft_dy(g, 0), weft_val_type(g, weft_x(g, 0))));
}

/* Splits x and y into groups of axes with equal products; inside a group x must lie evenly.  Works
 * from the last axis, as y's strides follow from x's innermost ones. */
static bool view_reshape(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    (void)c;
    int i = x->rank - 1, k = y->rank - 1;
    y->data = NULL;
    while (i >= 0 || k >= 0) {
        while (i >= 0 && x->dim[i] == 1)
            i--;
        for (; k >= 0 && y->dim[k] == 1; k--)
            y->stride[k] = 1;
        if (i < 0 || k < 0)
            continue; /* only ones are left on the other side */
        int64_t stride = x->stride[i], have = x->dim[i--], used = 1;
        while (k >= 0 && used < have) {
            y->stride[k] = stride * used;
            used *= y->dim[k--];
            for (; used > have && i >= 0; have *= x->dim[i--])
                if (x->dim[i] != 1 && x->stride[i] != stride * have)
                    return false;
        }
        if (used != have)
            return false;
    }
    return true;
}

/* Axis t of x in y: it stays an axis of its own when as many elements stand before it in x as
 * before some axis of the same size in y. -1: it does not. */
static int same_axis(const weft_type *x, int t, const weft_type *y)
{
    int64_t before = 1, at = 1;
    int k = 0;
    for (int i = 0; i < t; i++)
        before *= x->dim[i];
    while (k < y->rank && (at < before || (at == before && y->dim[k] == 1 && x->dim[t] != 1)))
        at *= y->dim[k++];
    return t >= 0 && k < y->rank && at == before && y->dim[k] == x->dim[t] ? k : -1;
}

static void incr_reshape(weft_incr *c)
{
    const weft_type *x = weft_incr_type(c, 0);
    weft_type y = *weft_call_out(c, 0);
    int t = weft_incr_axis(c, 0), later = weft_incr_later(c, 0), k = same_axis(x, t, &y);
    if (k < 0) {
        weft_call_fail(
            c, "incremental decoding needs the time axis %d of x: %s to stay an axis of its own", t,
            weft_type_text(c, x));
        return;
    }
    int keys = same_axis(x, later, &y), zero = same_axis(x, weft_incr_zero(c, 0), &y);
    if (keys < 0 && weft_incr_blocked(c, 0, later, "divide or join"))
        return;
    weft_val v = weft_incr_new(c, 0);
    y.dim[k] = weft_val_type(c, v)->dim[t];
    weft_incr_out(c, 0, weft_emit_reshape(c, v, &y), k);
    weft_incr_keys(c, 0, keys, zero);
}

static void ref_reshape(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &r->in[0], i);
}

const weft_op weft_op_reshape = {
    .name = "reshape",
    .doc = "The same elements in row-major order under other sizes: y[i] = x[i] for the linear "
           "index i.",
    .in = {{"x", WEFT_ANY, "any shape"}},
    .out = {{"y", WEFT_ANY, "sizes `dims`"}},
    .attr = {{"dims", WEFT_ATTR_INTS, 0,
              "sizes of y; one of them may be -1: what is left. Empty: a scalar"}},
    .infer = infer_reshape,
    .grad = grad_reshape,
    .incr = incr_reshape,
    .view = view_reshape,
    .ref = ref_reshape,
};
