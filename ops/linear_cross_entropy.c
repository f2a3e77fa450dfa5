/* linear_cross_entropy.c - a projection to classes and its cross-entropy without the logits in
 * memory; by a rule.  Its kernel is in linear_cross_entropy_kernel.c. */
#include "ops/linear_cross_entropy.h"

#include <math.h>

#include "graph/op.h"
#include "ops/sparse.h"

static const int input_of[] = {X, W, BIAS}; /* of DX, DW, DB */

static bool infer_sizes(weft_infer *c)
{
    const weft_type *x = weft_call_in(c, X), *w = weft_call_in(c, W), *b = weft_call_in(c, BIAS);
    if (x->rank < 1 || w->rank != 2 || w->dim[1] != x->dim[x->rank - 1])
        weft_call_fail(c, "x is %s and w %s, expected [...,C] and [V,C]", weft_type_text(c, x),
                       weft_type_text(c, w));
    else if (weft_call_has(c, BIAS) && (b->rank != 1 || b->dim[0] != w->dim[0]))
        weft_call_fail(c, "bias is %s, expected one number for each row of w %s",
                       weft_type_text(c, b), weft_type_text(c, w));
    else if (weft_attr_int(c, "db") && !weft_call_has(c, BIAS))
        weft_call_fail(c, "db=1 asks for the gradient of a bias, but there is none");
    else if (weft_attr_int(c, "topk") > w->dim[0])
        weft_call_fail(c, "topk=%lld is more than the classes of w: %s",
                       (long long)weft_attr_int(c, "topk"), weft_type_text(c, w));
    else
        weft_targets_infer(c, X, "x", TARGETS);
    return !weft_call_failed(c);
}

static void infer_linear_cross_entropy(weft_infer *c)
{
    static const char *const asked[] = {"dx", "dw", "db"};
    if (!infer_sizes(c))
        return;
    weft_type rows = *weft_call_in(c, X), scalar = weft_type_make(rows.dtype, 0, NULL);
    rows.rank--;
    weft_infer_out(c, LOSS, scalar);
    weft_infer_out(c, NLL, rows);
    weft_infer_out(c, LSE, rows);
    /* Every port needs a type: what nobody asked for is one number. */
    for (int i = 0; i < 3; i++)
        weft_infer_out(c, DX + i,
                       weft_attr_int(c, asked[i]) ? *weft_call_in(c, input_of[i]) : scalar);
    int64_t k = weft_attr_int(c, "topk");
    weft_type top = k ? weft_type_rows(weft_call_in(c, X), rows.dtype, k) : scalar;
    weft_infer_out(c, VALUE, top);
    top.dtype = WEFT_I32;
    weft_infer_out(c, INDEX, top);
}

/* Gradients of nll and lse differ from row to row: the unfused way. */
static void grad_by_logits(weft_grad *g)
{
    weft_val x = weft_x(g, X), w = weft_x(g, W);
    weft_val logits = weft_emit(g, "matmul", (weft_val[]){x, w, weft_x(g, BIAS)},
                                weft_call_has(g, BIAS) ? 3 : 2, "tb=1");
    weft_val in[] = {logits,
                     weft_x(g, TARGETS),
                     weft_y(g, LSE),
                     weft_dy(g, LOSS),
                     weft_has_dy(g, NLL) ? weft_dy(g, NLL) : WEFT_NONE,
                     weft_has_dy(g, LSE) ? weft_dy(g, LSE) : WEFT_NONE};
    weft_val d = weft_emit(g, "cross_entropy_grad", in, 6, "ignore=%lld",
                           (long long)weft_attr_int(g, "ignore"));
    weft_type flat_d = *weft_call_in(g, W), flat_x = flat_d; /* [rows,V] and [rows,C] */
    flat_d.dim[0] = flat_x.dim[0] = weft_type_count(weft_call_out(g, LSE));
    flat_d.dim[1] = weft_call_in(g, W)->dim[0];
    if (weft_needs(g, X))
        weft_dx(g, X, weft_emit2(g, "matmul", d, w));
    if (weft_needs(g, W)) {
        weft_val both[] = {weft_emit_reshape(g, d, &flat_d), weft_emit_reshape(g, x, &flat_x)};
        weft_dx(g, W, weft_emit(g, "matmul", both, 2, "ta=1"));
    }
    weft_dx(g, BIAS, d);
}

/* The largest logits: k columns of the product for each row. */
static void grad_by_largest(weft_grad *g)
{
    weft_val d = weft_dy(g, VALUE), index = weft_y(g, INDEX);
    const weft_type *t = weft_val_type(g, d);
    int64_t classes = weft_call_in(g, W)->dim[0], entries = weft_type_count(t);
    weft_type flat = weft_type_make(t->dtype, 1, &entries), flat_index = flat;
    flat_index.dtype = WEFT_I32;
    if (weft_needs(g, X))
        weft_dx(g, X, weft_emit3(g, "sparse_matmul", d, index, weft_x(g, W)));
    if (weft_needs(g, W))
        weft_dx(g, W,
                weft_emit(g, "sparse_outer", (weft_val[]){d, index, weft_x(g, X)}, 3, "n=%lld",
                          (long long)classes));
    if (weft_needs(g, BIAS))
        weft_dx(g, BIAS,
                weft_emit_scatter(g, weft_emit_reshape(g, d, &flat),
                                  weft_emit_reshape(g, index, &flat_index), classes));
}

/* A second node that gives gradients as well; the rule below makes one of the two. */
static void grad_linear_cross_entropy(weft_grad *g)
{
    weft_val in[4];
    if (weft_has_dy(g, DX) || weft_has_dy(g, DW) || weft_has_dy(g, DB)) {
        weft_call_fail(g, "second derivatives are not available");
        return;
    }
    if (weft_has_dy(g, VALUE))
        grad_by_largest(g);
    if (weft_has_dy(g, NLL) || weft_has_dy(g, LSE)) {
        grad_by_logits(g);
        return;
    }
    if (!weft_has_dy(g, LOSS))
        return;
    weft_val y = weft_emit(g, "linear_cross_entropy", in, weft_linear_inputs(g, in),
                           "ignore=%lld dx=%d dw=%d db=%d", (long long)weft_attr_int(g, "ignore"),
                           weft_needs(g, X), weft_needs(g, W), weft_needs(g, BIAS));
    for (int i = 0; i < 3; i++)
        if (weft_needs(g, input_of[i]))
            weft_dx(g, input_of[i],
                    weft_emit2(g, "mul", weft_emit_nth(g, y, DX + i), weft_dy(g, LOSS)));
}

/* ---- reference ---- */
static double ref_logit(const weft_run *r, int64_t row, int64_t class)
{
    int64_t c = r->in[W].dim[1];
    double sum = r->n_in > BIAS && r->in[BIAS].data ? weft_get(&r->in[BIAS], class) : 0;
    for (int64_t i = 0; i < c; i++)
        sum += weft_get(&r->in[X], row * c + i) * weft_get(&r->in[W], class * c + i);
    return sum;
}

static void add_to(const weft_tensor *t, int64_t i, double v)
{
    weft_put(t, i, weft_get(t, i) + v);
}

/* dx += d w[class], dw[class] += d x, db[class] += d for one logit's gradient d. */
static void ref_add(const weft_run *r, int64_t row, int64_t class, double d)
{
    int64_t c = r->in[W].dim[1];
    for (int64_t i = 0; i < c; i++) {
        if (weft_run_int(r, "dx"))
            add_to(&r->out[DX], row * c + i, d * weft_get(&r->in[W], class * c + i));
        if (weft_run_int(r, "dw"))
            add_to(&r->out[DW], class * c + i, d * weft_get(&r->in[X], row * c + i));
    }
    if (weft_run_int(r, "db"))
        add_to(&r->out[DB], class, d);
}

/* d loss / d logits = share (softmax - target), the target being spread evenly over the ids that
 * count. The largest logit is subtracted before exp, which would overflow for logits above 709. */
static void ref_row(const weft_run *r, const weft_targets *t, int64_t row, double share)
{
    double max = -INFINITY, sum = 0, nll = 0, n = (double)weft_targets_count(t, row);
    for (int64_t i = 0; i < t->classes; i++)
        max = fmax(max, ref_logit(r, row, i));
    for (int64_t i = 0; i < t->classes; i++)
        sum += exp(ref_logit(r, row, i) - max);
    double l = max + log(sum);
    for (int64_t i = 0; n > 0 && i < t->classes; i++)
        ref_add(r, row, i, share * exp(ref_logit(r, row, i) - l));
    for (int64_t j = 0; j < t->k; j++) {
        int64_t id = weft_get_int(t->id, row * t->k + j);
        if (id == t->ignore)
            continue;
        nll += (l - ref_logit(r, row, id)) / n;
        ref_add(r, row, id, -share / n);
    }
    weft_put(&r->out[LSE], row, l);
    weft_put(&r->out[NLL], row, nll);
}

/* Does logit a of a row come before logit b, in the order of topk? */
static bool comes_before(const weft_run *r, int64_t row, int64_t a, int64_t b)
{
    double x = ref_logit(r, row, a), y = ref_logit(r, row, b);
    if (x == y || (isnan(x) && isnan(y)))
        return a < b;
    return x > y || isnan(y);
}

/* The k largest by walking down the order, each the first behind the one before: no sort that could
 * share a fault with the kernel's. */
static void ref_largest(const weft_run *r, const weft_targets *t)
{
    int64_t k = weft_run_int(r, "topk"), last = -1;
    for (int64_t i = 0; i < t->rows * k; i++) {
        int64_t row = i / k, best = -1;
        for (int64_t at = 0; at < t->classes; at++)
            if ((i % k == 0 || comes_before(r, row, last, at)) &&
                (best < 0 || comes_before(r, row, at, best)))
                best = at;
        weft_put(&r->out[VALUE], i, ref_logit(r, row, best));
        weft_put(&r->out[INDEX], i, (double)best);
        last = best;
    }
}

static void ref_linear_cross_entropy(const weft_run *r)
{
    const weft_targets t = weft_linear_targets(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = weft_targets_share(&t);
    for (int o = DX; o <= DB; o++)
        for (int64_t i = 0; i < r->out[o].count; i++)
            weft_put(&r->out[o], i, 0);
    for (int64_t row = 0; row < t.rows; row++)
        ref_row(r, &t, row, share);
    ref_largest(r, &t);
    weft_linear_finish(r, share);
}

/* ---- schema ---- */
/* For each logit 2 C in the product and in each gradient of a matrix; about 10 for exponential and
 * sums. */
static double flops_linear_cross_entropy(const weft_call *c)
{
    double products = 1 + (double)weft_attr_int(c, "dx") + (double)weft_attr_int(c, "dw");
    const weft_type *w = weft_call_in(c, W);
    return (2 * products * (double)w->dim[1] + 10) * (double)w->dim[0] *
           (double)weft_type_count(weft_call_out(c, LSE));
}

const weft_op weft_op_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .doc =
        "Cross-entropy of logits = x w^T + bias that are never stored: loss = mean of nll over "
        "rows with a target != ignore (0 if none), nll = mean of lse - logits[...,target] over "
        "the targets of the row that are not ignore, lse = log sum exp(logits), and on demand "
        "dx, dw, db = gradients of loss and value, index = topk(logits). Made by a rewrite rule.",
    .in = {{"x", WEFT_FLOAT, "rows [...,C]"},
           {"w", WEFT_FLOAT, "class vectors [V,C]"},
           {"targets", WEFT_INT,
            "class of each row [...], 0..V-1 or `ignore`; or [...,k]: k classes"},
           {"bias", WEFT_FLOAT | WEFT_OPTIONAL, "[V]"}},
    .out = {{"loss", WEFT_FLOAT, "mean over the rows that count, scalar"},
            {"nll", WEFT_FLOAT, "negative log-likelihood of each row [...]; 0 where ignored"},
            {"lse", WEFT_FLOAT, "log of the sum of exponentials of each row [...]"},
            {"dx", WEFT_FLOAT, "gradient of loss for x, or a scalar 0 if dx=0"},
            {"dw", WEFT_FLOAT, "gradient of loss for w, or a scalar 0 if dw=0"},
            {"db", WEFT_FLOAT, "gradient of loss for bias, or a scalar 0 if db=0"},
            {"value", WEFT_FLOAT, "the largest logits [...,topk], or a scalar 0 if topk=0"},
            {"index", WEFT_INT, "their classes i32[...,topk], or a scalar 0 if topk=0"}},
    .attr = {{.name = "ignore",
              .kind = WEFT_ATTR_INT,
              .def = -1,
              .help = "target of rows that do not count",
              .min = -2147483648.0,
              .max = 2147483647.0},
             {.name = "dx", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for x"},
             {.name = "dw", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for w"},
             {.name = "db", .kind = WEFT_ATTR_BOOL, .help = "compute the gradient for bias"},
             {.name = "topk",
              .kind = WEFT_ATTR_INT,
              .min = 0,
              .max = 1e9,
              .help = "how many of the largest logits to give"}},
    .infer = infer_linear_cross_entropy,
    .grad = grad_linear_cross_entropy,
    .kernel = weft_linear_kernel,
    .ref = ref_linear_cross_entropy,
    .flops = flops_linear_cross_entropy,
};
