/* heads.c - attention heads: the packed projection cut into queries, keys and values by head, and
 * heads put side by side again.  split_heads and merge_heads stay nodes of their own, so that an
 * attention rule can match them. */
#include <string.h>

#include "ops/loops.h"

/* ---- split_heads: three views ---- */
static void infer_split_heads(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    int64_t heads = weft_attr_int(c, "n_head");
    if (x->rank != 3 || x->dim[2] % (3 * heads)) {
        weft_call_fail(c, "x must be [B,T,3*C] with C a multiple of n_head=%lld, but is %s",
                       (long long)heads, weft_type_text(c, x));
        return;
    }
    weft_type y = weft_type_make(x->dtype, 4,
                                 (int64_t[]){x->dim[0], heads, x->dim[1], x->dim[2] / (3 * heads)});
    for (int i = 0; i < 3; i++)
        weft_infer_out(c, i, y);
}

static void grad_split_heads(weft_grad *g)
{
    weft_dx(g, 0, weft_emit3(g, "split_heads_grad", weft_dy(g, 0), weft_dy(g, 1), weft_dy(g, 2)));
}

/* Each head reads its columns where they stand in x: strided views cost a few per cent in the
 * products, copies more. */
static bool view_split_heads(const weft_call *c, const weft_tensor *x, weft_tensor *y)
{
    (void)c;
    for (int i = 0; i < 3; i++) {
        int64_t stride[] = {x->stride[0], y[i].dim[3] * x->stride[2], x->stride[1], x->stride[2]};
        memcpy(y[i].stride, stride, sizeof stride);
        y[i].data = (void *)(intptr_t)(i * y[i].dim[1] * y[i].dim[3] * x->stride[2]);
    }
    return true;
}

static void incr_split_heads(weft_incr *c)
{
    weft_val x = weft_incr_new(c, 0);
    if (weft_incr_axis(c, 0) != 1) {
        weft_call_fail(c, "incremental decoding needs time on axis 1 of x, not %d",
                       weft_incr_axis(c, 0));
        return;
    }
    weft_val q = weft_emit(c, "split_heads", &x, 1, "%s", weft_attrs_text(c));
    for (int i = 0; i < 3; i++)
        weft_incr_out(c, i, weft_emit_nth(c, q, i), 2);
}

/* Where the part `i` of the packed projection x [B,T,3*H*hd] stands, as [B,H,T,hd]. */
static weft_tensor packed_part(const weft_tensor *x, int64_t heads, int i)
{
    int64_t hd = x->dim[2] / (3 * heads);
    weft_tensor p = {.dtype = x->dtype,
                     .rank = 4,
                     .count = x->count / 3,
                     .dim = {x->dim[0], heads, x->dim[1], hd},
                     .stride = {x->stride[0], hd * x->stride[2], x->stride[1], x->stride[2]}};
    p.data = (char *)x->data + i * heads * hd * x->stride[2] * (int64_t)weft_dtype_size(x->dtype);
    return p;
}

static void ref_split_heads(const weft_run *r)
{
    for (int k = 0; k < 3; k++) {
        weft_tensor part = packed_part(&r->in[0], weft_run_int(r, "n_head"), k);
        for (int64_t i = 0; i < part.count; i++)
            weft_ref_move(&r->out[k], i, &part, i);
    }
}

/* ---- split_heads_grad ---- */
static void infer_split_heads_grad(weft_infer *c)
{
    const weft_type *q = weft_call_in(c, 0);
    if (q->rank != 4)
        weft_call_fail(c, "dq must be [B,H,T,hd], but is %s", weft_type_text(c, q));
    if (weft_call_failed(c) || !weft_infer_same(c, 0, 1) || !weft_infer_same(c, 0, 2))
        return;
    int64_t dim[] = {q->dim[0], q->dim[2], 3 * q->dim[1] * q->dim[3]};
    weft_infer_out(c, 0, weft_type_make(q->dtype, 3, dim));
}

static void grad_split_heads_grad(weft_grad *g)
{
    weft_val dy = weft_dy(g, 0);
    weft_val q =
        weft_emit(g, "split_heads", &dy, 1, "n_head=%lld", (long long)weft_call_in(g, 0)->dim[1]);
    for (int i = 0; i < 3; i++)
        weft_dx(g, i, weft_emit_nth(g, q, i));
}

/* The three gradients are written straight to their columns: no zero-filled parts to be added up.
 */
static void run_split_heads_grad(const weft_run *r)
{
    for (int k = 0; k < 3; k++) {
        weft_tensor part = packed_part(&r->out[0], r->in[0].dim[1], k);
        weft_tensor_copy(r, &part, &r->in[k]);
    }
}

static void ref_split_heads_grad(const weft_run *r)
{
    for (int k = 0; k < 3; k++) {
        weft_tensor part = packed_part(&r->out[0], r->in[0].dim[1], k);
        for (int64_t i = 0; i < part.count; i++)
            weft_ref_move(&part, i, &r->in[k], i);
    }
}

/* ---- merge_heads ---- */
static void infer_merge_heads(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0);
    int64_t dim[] = {x->dim[0], x->dim[2], x->dim[1] * x->dim[3]};
    if (x->rank != 4)
        weft_call_fail(c, "x must be [B,H,T,hd], but is %s", weft_type_text(c, x));
    else
        weft_infer_out(c, 0, weft_type_make(x->dtype, 3, dim));
}

/* dx = dy seen as [B,T,H,hd], T and H exchanged: views only. */
static void grad_merge_heads(weft_grad *g)
{
    const weft_type *x = weft_call_in(g, 0);
    weft_type t =
        weft_type_make(x->dtype, 4, (int64_t[]){x->dim[0], x->dim[2], x->dim[1], x->dim[3]});
    weft_val v = weft_emit_reshape(g, weft_dy(g, 0), &t);
    weft_dx(g, 0, weft_emit(g, "transpose", &v, 1, "perm=0,2,1,3"));
}

static void incr_merge_heads(weft_incr *c)
{
    if (weft_incr_axis(c, 0) != 2)
        weft_call_fail(c, "incremental decoding needs time on axis 2 of x, not %d",
                       weft_incr_axis(c, 0));
    else
        weft_incr_out(c, 0, weft_emit1(c, "merge_heads", weft_incr_new(c, 0)), 1);
}

/* y [B,T,H*hd] seen as [B,H,T,hd]. */
static weft_tensor by_head(const weft_tensor *y, const weft_tensor *x)
{
    weft_tensor t =
        weft_tensor_resize(y, 4, (int64_t[]){x->dim[0], x->dim[2], x->dim[1], x->dim[3]});
    return weft_tensor_permute(&t, (const int[]){0, 2, 1, 3});
}

static void run_merge_heads(const weft_run *r)
{
    weft_tensor y = by_head(&r->out[0], &r->in[0]);
    weft_tensor_copy(r, &y, &r->in[0]);
}

static void ref_merge_heads(const weft_run *r)
{
    weft_tensor y = by_head(&r->out[0], &r->in[0]);
    for (int64_t i = 0; i < y.count; i++)
        weft_ref_move(&y, i, &r->in[0], i);
}

/* ---- schemas ---- */
const weft_op weft_op_split_heads = {
    .name = "split_heads",
    .doc = "The packed projection by head: (q, k, v)[b,h,t,i] = x[b, t, p * C + h * hd + i] with p "
           "= 0, 1, 2 and "
           "hd = C / n_head.",
    .in = {{"x", WEFT_ANY, "queries, keys and values side by side [B,T,3*C]"}},
    .out = {{"q", WEFT_ANY, "queries [B,n_head,T,hd]"},
            {"k", WEFT_ANY, "keys, as q"},
            {"v", WEFT_ANY, "values, as q"}},
    .attr = {{"n_head", WEFT_ATTR_INT, 1, "number of heads; divides C", 1, 1e6, NULL, true}},
    .infer = infer_split_heads,
    .grad = grad_split_heads,
    .incr = incr_split_heads,
    .view = view_split_heads,
    .ref = ref_split_heads,
};

const weft_op weft_op_split_heads_grad = {
    .name = "split_heads_grad",
    .doc = "Gradient of split_heads: dx[b, t, p * C + h * hd + i] = (dq, dk, dv)[b,h,t,i] with p = "
           "0, 1, 2.",
    .in = {{"dq", WEFT_ANY, "[B,H,T,hd]"}, {"dk", WEFT_ANY, "as dq"}, {"dv", WEFT_ANY, "as dq"}},
    .out = {{"dx", WEFT_ANY, "[B,T,3*H*hd]"}},
    .flags = WEFT_STRIDED,
    .infer = infer_split_heads_grad,
    .grad = grad_split_heads_grad,
    .run = run_split_heads_grad,
    .ref = ref_split_heads_grad,
};

const weft_op weft_op_merge_heads = {
    .name = "merge_heads",
    .doc = "Heads side by side: y[b, t, h * hd + i] = x[b,h,t,i].",
    .in = {{"x", WEFT_ANY, "[B,H,T,hd]"}},
    .out = {{"y", WEFT_ANY, "[B,T,H*hd]"}},
    .flags = WEFT_STRIDED,
    .infer = infer_merge_heads,
    .grad = grad_merge_heads,
    .incr = incr_merge_heads,
    .run = run_merge_heads,
    .ref = ref_merge_heads,
};
