/* matmul.c - matrix products: a shared matrix on the right, or batches of equal shape. */
#include <string.h>

#include "graph/dnnl.h"
#include "graph/op.h"
#include "ops/loops.h"

/* ---- shapes --------------------------------------------------------------------------------- */
/* op(x) is [lead..., M, K] and op(w) is [K, N] or [lead..., K, N]; sizes by role. */
typedef struct {
    int64_t m, n, k, kw; /* m without the leading axes; kw: the depth as w has it */
    int lead;            /* leading axes of x before M (and of w, if batched) */
    bool batched;        /* w has leading axes */
} sizes;

static bool flag(const weft_call *c, const char *name) { return weft_attr_int(c, name) != 0; }

static sizes get_sizes(const weft_call *c)
{
    const weft_type *x = weft_call_in(c, 0), *w = weft_call_in(c, 1);
    bool ta = flag(c, "ta"), tb = flag(c, "tb");
    int r = x->rank, s = w->rank;
    sizes z = {.batched = s > 2, .lead = r >= 2 ? r - 2 : 0};
    z.m = r >= 2 ? x->dim[ta ? r - 1 : r - 2] : 1;
    z.k = r ? x->dim[ta ? r - 2 : r - 1] : 1;
    z.kw = w->dim[tb ? s - 1 : s - 2];
    z.n = w->dim[tb ? s - 2 : s - 1];
    return z;
}

static bool check_ranks(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *w = weft_call_in(c, 1);
    bool ta = flag(c, "ta");
    if (x->rank < 1 || w->rank < 2)
        weft_call_fail(c, "x needs at least one axis and w two, but x is %s and w is %s",
                       weft_type_text(c, x), weft_type_text(c, w));
    else if (w->rank == 2 && ta && x->rank != 2)
        weft_call_fail(c, "with ta=1 and w of two axes, x must have two axes, but is %s",
                       weft_type_text(c, x));
    else if (w->rank > 2 &&
             (x->rank != w->rank || memcmp(x->dim, w->dim, sizeof *x->dim * (size_t)(w->rank - 2))))
        weft_call_fail(c, "leading axes of x: %s and w: %s must be equal (or w must have two axes)",
                       weft_type_text(c, x), weft_type_text(c, w));
    return !weft_call_failed(c);
}

static void infer_matmul(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, 0), *w = weft_call_in(c, 1), *bias = weft_call_in(c, 2);
    if (!check_ranks(c))
        return;
    sizes z = get_sizes(c);
    if (z.k != z.kw)
        weft_call_fail(c, "depths differ: x: %s has %lld%s, w: %s has %lld%s", weft_type_text(c, x),
                       (long long)z.k, flag(c, "ta") ? " (ta=1)" : "", weft_type_text(c, w),
                       (long long)z.kw, flag(c, "tb") ? " (tb=1)" : "");
    if (x->dtype != w->dtype)
        weft_call_fail(c, "element types of x: %s and w: %s differ", weft_type_text(c, x),
                       weft_type_text(c, w));
    if (weft_call_has(c, 2) && (bias->rank != 1 || bias->dim[0] != z.n))
        weft_call_fail(c, "bias must be [%lld], the columns of w: %s, but is %s", (long long)z.n,
                       weft_type_text(c, w), weft_type_text(c, bias));
    weft_type y = *x;
    if (x->rank >= 2)
        y.dim[x->rank - 2] = z.m;
    y.dim[x->rank - 1] = z.n;
    weft_infer_out(c, 0, y);
}

static double flops_matmul(const weft_call *c)
{
    sizes z = get_sizes(c);
    return 2.0 * (double)weft_type_count(weft_call_out(c, 0)) * (double)z.k;
}

/* ---- gradient ------------------------------------------------------------------------------- */
static weft_val product(weft_grad *g, weft_val a, weft_val b, bool ta, bool tb)
{
    return weft_emit(g, "matmul", (weft_val[]){a, b}, 2, "ta=%d tb=%d alpha=%.17g", ta, tb,
                     weft_attr_float(g, "alpha"));
}

/* [..., C] as [rows, C]. */
static weft_val flat(weft_grad *g, weft_val v)
{
    const weft_type *t = weft_val_type(g, v);
    int64_t last = t->rank ? t->dim[t->rank - 1] : 1, n = last ? weft_type_count(t) / last : 0;
    weft_type two = weft_type_make(t->dtype, 2, (int64_t[]){n, last});
    return v < 0 ? v : weft_emit_reshape(g, v, &two);
}

/* With X = op(x), W = op(w), y = alpha X W + bias:  dX = alpha dy W^T,  dW = alpha X^T dy,  dbias =
 * sum of dy over rows. A transposed operand gets the transposed product.  A shared w sees all
 * leading axes as rows of one product. */
static void grad_matmul(weft_grad *g)
{
    bool ta = flag(g, "ta"), tb = flag(g, "tb"), shared = weft_call_in(g, 1)->rank == 2;
    weft_val x = weft_x(g, 0), w = weft_x(g, 1), dy = weft_dy(g, 0);
    if (weft_needs(g, 0))
        weft_dx(g, 0, ta ? product(g, w, dy, tb, true) : product(g, dy, w, false, !tb));
    if (weft_needs(g, 1)) {
        weft_val x2 = shared && !ta ? flat(g, x) : x, dy2 = shared ? flat(g, dy) : dy;
        weft_dx(g, 1, tb ? product(g, dy2, x2, true, ta) : product(g, x2, dy2, !ta, false));
    }
    if (weft_needs(g, 2))
        weft_dx(g, 2, dy);
}

/* ---- incremental ---------------------------------------------------------------------------- */
/* Where the axes of x and w are, of which y has the leading ones, rows and columns. */
typedef struct {
    int row, depth_x, depth_w, column, lead; /* lead: number of leading axes that both have */
    int rank;                                /* of y and x */
} places;

static places get_places(const weft_call *c)
{
    int r = weft_call_in(c, 0)->rank, s = weft_call_in(c, 1)->rank;
    bool ta = flag(c, "ta"), tb = flag(c, "tb");
    return (places){.row = ta ? r - 1 : r - 2,
                    .depth_x = ta ? r - 2 : r - 1,
                    .depth_w = tb ? s - 1 : s - 2,
                    .column = tb ? s - 2 : s - 1,
                    .lead = s > 2 ? s - 2 : 0,
                    .rank = r};
}

/* An axis of x (of w) in y, -1 for the depth. */
static int from_x(const places *p, int axis)
{
    return axis == p->depth_x ? -1 : axis == p->row && p->row >= 0 ? p->rank - 2 : axis;
}
static int from_w(const places *p, int axis)
{
    return axis == p->depth_w ? -1 : axis == p->column ? p->rank - 1 : axis;
}

/* The axis of y on which entries of later positions are undefined; false with the failure recorded
 * where such entries would be added up. `all`: w is at all positions. */
static bool product_keys(weft_incr *c, const places *p, bool all, int *later)
{
    int x = weft_incr_later(c, 0), w = weft_incr_later(c, 1);
    int t = all ? weft_incr_axis(c, 1) : -1; /* what is kept of w has no undefined keys */
    bool x_masked = weft_incr_zero(c, 0) == p->depth_x,
         w_masked = weft_incr_zero(c, 1) == p->depth_w;
    *later = -1;
    if (x == p->depth_x && !w_masked)
        return !weft_incr_blocked(c, 0, x, "add up along");
    if (w == p->depth_w && w >= 0 && !x_masked)
        return !weft_incr_blocked(c, 1, w, "add up along");
    if (t == p->depth_w && !x_masked) {
        weft_call_fail(
            c,
            "w: %s has time on axis %d, along which it is added up, but rows of x: %s are "
            "not known to be 0 for later positions, as causal_softmax makes them",
            weft_type_text(c, weft_incr_type(c, 1)), t, weft_type_text(c, weft_incr_type(c, 0)));
        return false;
    }
    int from[] = {x < 0 ? -1 : from_x(p, x), w < 0 ? -1 : from_w(p, w), t < 0 ? -1 : from_w(p, t)};
    for (int i = 0; i < 3; i++) {
        if (from[i] >= 0 && *later >= 0 && from[i] != *later)
            weft_call_fail(c, "x and w have keys on different axes");
        *later = from[i] >= 0 ? from[i] : *later;
    }
    return !weft_call_failed(c);
}

/* Time on the rows of x, or on any axis of x with a w of two axes: new rows only, against all of w
 * (keys, values, weights).  Time on the columns of w alone: new columns.  Time on a leading axis of
 * both: new entries of both. */
static void incr_matmul(weft_incr *c)
{
    places p = get_places(c);
    int tx = weft_incr_axis(c, 0), tw = weft_incr_axis(c, 1), later;
    bool rows = tx >= 0 && (tx == p.row || (!p.lead && tx < p.rank - 1 && tx != p.depth_x));
    bool columns = tx < 0 && tw == p.column, both = tx >= 0 && tx == tw && tx < p.lead;
    if (weft_incr_axis(c, 2) >= 0 || !(rows || columns || both)) {
        weft_call_fail(c, "cannot be computed step by step: time is axis %d of x and axis %d of w",
                       tx, tw);
        return;
    }
    if (!product_keys(c, &p, rows, &later))
        return;
    weft_val in[3] = {weft_incr_new(c, 0), WEFT_NONE, WEFT_NONE};
    in[1] = rows && tw >= 0 ? weft_incr_full(c, 1) : weft_incr_new(c, 1);
    bool bias = weft_call_has(c, 2);
    if (bias)
        in[2] = weft_incr_new(c, 2);
    if (bias && columns && in[2] >= 0) /* a number for each column, of which there are new ones */
        in[2] = weft_incr_window(c, in[2], 0);
    weft_incr_out(c, 0, weft_emit(c, "matmul", in, bias ? 3 : 2, "%s", weft_attrs_text(c)),
                  rows      ? from_x(&p, tx)
                  : columns ? p.rank - 1
                            : tx);
    weft_incr_keys(c, 0, later, -1);
}

/* ---- kernel --------------------------------------------------------------------------------- */
typedef struct {
    const weft_gemm *gemm;
    bool copy[3]; /* x, w, bias have strides that no product takes: made dense first */
    size_t at[3]; /* where, in the scratch */
} plan;

static weft_tensor dense_of(const weft_tensor *t)
{
    weft_tensor d = *t;
    int64_t step = 1;
    for (int i = t->rank; i-- > 0;) {
        d.stride[i] = step;
        step *= t->dim[i];
    }
    return d;
}

/* Leading axes as at most `most` nested loops, outermost first: neighbours are joined where all
 * operands allow. */
typedef struct {
    int n;
    int64_t dim[WEFT_MAX_RANK], x[WEFT_MAX_RANK], w[WEFT_MAX_RANK], y[WEFT_MAX_RANK];
} levels;

static void add_level(levels *l, int64_t dim, int64_t x, int64_t w, int64_t y)
{
    int i = l->n - 1;
    if (dim == 1)
        return;
    if (i >= 0 && l->x[i] == x * dim && l->w[i] == w * dim && l->y[i] == y * dim) {
        l->dim[i] *= dim;
        l->x[i] = x;
        l->w[i] = w;
        l->y[i] = y;
        return;
    }
    l->dim[l->n] = dim;
    l->x[l->n] = x;
    l->w[l->n] = w;
    l->y[l->n++] = y;
}

/* One of the two inner axes is contiguous, and neither repeats elements. */
static bool inner_ok(int64_t rows, int64_t row, int64_t cols, int64_t col)
{
    return (row == 1 || col == 1 || rows == 1 || cols == 1) && (row || rows == 1) &&
           (col || cols == 1);
}

/* Fills d; false if the strides of x or w do not fit. */
static bool describe(const sizes *z, bool ta, bool tb, const weft_tensor *x, const weft_tensor *w,
                     const weft_tensor *y, weft_gemm_desc *d)
{
    int r = x->rank, s = w->rank;
    levels l = {0};
    d->n = z->n;
    d->k = z->k;
    d->a_col = x->stride[ta ? r - 2 : r - 1];
    d->b_row = w->stride[tb ? s - 1 : s - 2];
    d->b_col = w->stride[tb ? s - 2 : s - 1];
    for (int i = 0; i < z->lead; i++)
        add_level(&l, x->dim[i], x->stride[i], z->batched ? w->stride[i] : 0, y->stride[i]);
    int64_t m = z->m, a_row = r >= 2 ? x->stride[ta ? r - 1 : r - 2] : d->a_col,
            c_row = r >= 2 ? y->stride[r - 2] : 0;
    if (!z->batched && !ta) { /* the rows are one more level, and the innermost level is the rows */
        add_level(&l, m, a_row, 0, c_row);
        m = 1;
        if (l.n) {
            m = l.dim[--l.n];
            a_row = l.x[l.n];
            c_row = l.y[l.n];
        }
    }
    d->m = m;
    d->a_row = m == 1 ? d->a_col * d->k : a_row;
    d->c_row = m == 1 ? d->n : c_row;
    d->batch = d->outer = 1;
    if (l.n > 2)
        return false;
    if (l.n > 0) {
        d->batch = l.dim[l.n - 1];
        d->a_batch = l.x[l.n - 1];
        d->b_batch = l.w[l.n - 1];
        d->c_batch = l.y[l.n - 1];
    }
    if (l.n > 1) {
        d->outer = l.dim[0];
        d->a_outer = l.x[0];
        d->b_outer = l.w[0];
        d->c_outer = l.y[0];
    }
    return true;
}

static void run_matmul(const weft_run *r)
{
    const plan *p = r->data;
    const void *in[3] = {NULL, NULL, NULL};
    for (int i = 0; i < r->n_in; i++) {
        in[i] = r->in[i].data;
        if (p->copy[i]) {
            weft_tensor dense = dense_of(&r->in[i]);
            dense.data = (char *)r->scratch + p->at[i];
            weft_tensor_copy(r, &dense, &r->in[i]);
            in[i] = dense.data;
        }
    }
    weft_gemm_run(p->gemm, r, in[0], in[1], in[2], r->out[0].data);
}

/* Which operands must be copied, and the product of what then lies there. */
static void choose(weft_kernel *k, const sizes *z, plan *p, weft_tensor in[2], weft_gemm_desc *d)
{
    bool ta = flag(k, "ta"), tb = flag(k, "tb");
    const weft_tensor *y = weft_kernel_out(k, 0);
    weft_gemm_desc kept = *d;
    describe(z, ta, tb, &in[0], &in[1], y, d);
    p->copy[0] = !inner_ok(d->m, d->a_row, d->k, d->a_col);
    p->copy[1] = !inner_ok(d->k, d->b_row, d->n, d->b_col);
    for (int attempt = 0; attempt < 3;
         attempt++) { /* leading axes that do not nest: x is copied, then w too */
        for (int i = 0; i < 2; i++)
            in[i] = p->copy[i] ? dense_of(weft_kernel_in(k, i)) : *weft_kernel_in(k, i);
        *d = kept;
        if (describe(z, ta, tb, &in[0], &in[1], y, d))
            return;
        p->copy[p->copy[0]] = true;
    }
}

static void kernel_matmul(weft_kernel *k)
{
    sizes z = get_sizes(k);
    plan *p = weft_kernel_data(k, sizeof *p);
    weft_tensor in[2] = {*weft_kernel_in(k, 0), *weft_kernel_in(k, 1)};
    if (!p)
        return;
    weft_gemm_desc d = {.dtype = in[0].dtype,
                        .alpha = (float)weft_attr_float(k, "alpha"),
                        .bias = weft_call_has(k, 2)};
    choose(k, &z, p, in, &d);
    const weft_tensor *bias = weft_kernel_in(k, 2);
    p->copy[2] = d.bias && bias->dim[0] > 1 && bias->stride[0] != 1;
    size_t bytes = 0;
    for (int i = 0; i < 3; i++)
        if (p->copy[i]) {
            const weft_tensor *t = weft_kernel_in(k, i);
            p->at[i] = bytes;
            bytes += ((size_t)t->count * weft_dtype_size(t->dtype) + 63) / 64 * 64;
        }
    weft_kernel_scratch(k, bytes);
    p->gemm = weft_kernel_gemm(k, &d);
    weft_kernel_run(k, run_matmul);
}

/* ---- reference ------------------------------------------------------------------------------ */
static double load(const weft_tensor *t, int64_t offset)
{
    return t->dtype == WEFT_F64 ? ((const double *)t->data)[offset]
                                : ((const float *)t->data)[offset];
}

/* Element offset of the leading axes of y's row in operand t. */
static int64_t lead_offset(const weft_tensor *y, const weft_tensor *t, int lead, int64_t linear)
{
    int64_t offset = 0;
    for (int i = lead; i-- > 0;) {
        offset += linear % y->dim[i] * t->stride[i];
        linear /= y->dim[i];
    }
    return offset;
}

static void ref_row(const weft_run *r, int64_t row)
{
    const weft_tensor *x = &r->in[0], *w = &r->in[1], *y = &r->out[0];
    bool ta = weft_run_int(r, "ta"), tb = weft_run_int(r, "tb"),
         bias = r->n_in > 2 && r->in[2].data;
    double alpha = weft_run_float(r, "alpha");
    int a = x->rank, b = w->rank, lead = a >= 2 ? a - 2 : 0;
    int64_t m = a >= 2 ? y->dim[a - 2] : 1, n = y->dim[a - 1], depth = w->dim[tb ? b - 1 : b - 2];
    int64_t a_row = a >= 2 ? x->stride[ta ? a - 1 : a - 2] : 0,
            a_col = x->stride[ta ? a - 2 : a - 1];
    int64_t b_row = w->stride[tb ? b - 1 : b - 2], b_col = w->stride[tb ? b - 2 : b - 1];
    int64_t x0 = lead_offset(y, x, lead, row / m) + row % m * a_row;
    int64_t w0 = b > 2 ? lead_offset(y, w, lead, row / m) : 0;
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < depth; i++)
            sum += load(x, x0 + i * a_col) * load(w, w0 + i * b_row + j * b_col);
        weft_put(y, row * n + j, alpha * sum + (bias ? weft_get(&r->in[2], j) : 0));
    }
}

static void ref_matmul(const weft_run *r)
{
    int64_t rows = r->out[0].count / r->out[0].dim[r->out[0].rank - 1];
#pragma omp parallel for num_threads(r->threads) schedule(static)
    for (int64_t i = 0; i < rows; i++)
        ref_row(r, i);
}

const weft_op weft_op_matmul = {
    .name = "matmul",
    .doc = "Matrix product: y[...,m,n] = alpha * sum_k x[...,m,k] w[k,n] + bias[n].",
    .in = {{"x", WEFT_FLOAT, "[...,M,K] (with ta: [...,K,M]), or [K]"},
           {"w", WEFT_FLOAT,
            "[K,N], shared by all rows of x, or [...,K,N] with x's leading axes (with tb: [N,K])"},
           {"bias", WEFT_FLOAT | WEFT_OPTIONAL, "[N]"}},
    .out = {{"y", WEFT_FLOAT, "[...,M,N]"}},
    .attr = {{"ta", WEFT_ATTR_BOOL, 0, "the last two axes of x are swapped"},
             {"tb", WEFT_ATTR_BOOL, 0, "the last two axes of w are swapped"},
             {"alpha", WEFT_ATTR_FLOAT, 1, "factor of the product, not of the bias"}},
    .flags = WEFT_STRIDED,
    .infer = infer_matmul,
    .grad = grad_matmul,
    .incr = incr_matmul,
    .kernel = kernel_matmul,
    .ref = ref_matmul,
    .flops = flops_matmul,
};
