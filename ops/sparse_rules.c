/* sparse_rules.c - rules that carry scatter(v, i), the dense meaning of k-sparse rows, through ops
 * on wide rows: what is done to n numbers is then done to k.
 *
 * All are exact for finite numbers (0 times infinity, which the dense form would compute, is NaN).
 * A scatter with other readers stays for them; the rules do not take more than they spare. */
#include <stdio.h>

#include "graph/rule.h"
#include "ops/sparse.h"

static int64_t last_size(const weft_type *t) { return t->dim[t->rank - 1]; }

/* The root is scatter(value, index). */
static void becomes_scatter(weft_match *m, weft_val value, weft_val index)
{
    weft_match_replace(m, 0, weft_emit_scatter(m, value, index, last_size(weft_call_out(m, 0))));
}

/* ---- functions of one tensor with f(0) = 0 ---- */
/* `additive`: f(a) + f(b) = f(a + b), so that equal positions may occur. */
static void sparse_unary(weft_match *m, const char *op, bool additive)
{
    weft_val value, index;
    if (!weft_match_scatter(m, weft_x(m, 0), &value, &index) ||
        !(additive || weft_match_distinct(m, index)))
        return;
    becomes_scatter(m, weft_emit(m, op, &value, 1, "%s", weft_attrs_text(m)), index);
}

static void rule_relu_sparse(weft_match *m) { sparse_unary(m, "relu", false); }
static void rule_abs_sparse(weft_match *m) { sparse_unary(m, "abs", false); }
static void rule_neg_sparse(weft_match *m) { sparse_unary(m, "neg", true); }
static void rule_stop_gradient_sparse(weft_match *m) { sparse_unary(m, "stop_gradient", true); }
static void rule_above_sparse(weft_match *m)
{
    if (weft_attr_float(m, "limit") >= 0)
        sparse_unary(m, "above", false);
}
static void rule_scale_sparse(weft_match *m)
{
    if (weft_attr_float(m, "beta") == 0)
        sparse_unary(m, "scale", true);
}

const weft_rule weft_rule_relu_sparse = {
    .name = "relu_sparse",
    .root = "relu",
    .doc = "relu(scatter(v, i)) -> scatter(relu(v), i) for different positions",
    .apply = rule_relu_sparse,
    .fuses = true,
};
const weft_rule weft_rule_abs_sparse = {
    .name = "abs_sparse",
    .root = "abs",
    .doc = "abs(scatter(v, i)) -> scatter(abs(v), i) for different positions",
    .apply = rule_abs_sparse,
    .fuses = true,
};
const weft_rule weft_rule_neg_sparse = {
    .name = "neg_sparse",
    .root = "neg",
    .doc = "neg(scatter(v, i)) -> scatter(neg(v), i)",
    .apply = rule_neg_sparse,
    .fuses = true,
};
const weft_rule weft_rule_stop_gradient_sparse = {
    .name = "stop_gradient_sparse",
    .root = "stop_gradient",
    .doc = "stop_gradient(scatter(v, i)) -> scatter(stop_gradient(v), i)",
    .apply = rule_stop_gradient_sparse,
    .fuses = true,
};
const weft_rule weft_rule_above_sparse = {
    .name = "above_sparse",
    .root = "above",
    .doc = "above(scatter(v, i), limit >= 0) -> scatter(above(v), i) for different positions",
    .apply = rule_above_sparse,
    .fuses = true,
};
const weft_rule weft_rule_scale_sparse = {
    .name = "scale_sparse",
    .root = "scale",
    .doc = "scale(scatter(v, i), beta=0) -> scatter(scale(v), i)",
    .apply = rule_scale_sparse,
    .fuses = true,
};

/* The gradient of relu, from an output that is sparse. */
static void rule_relu_grad_sparse(weft_match *m)
{
    weft_val value, index;
    if (!weft_match_scatter(m, weft_x(m, 0), &value, &index) || !weft_match_distinct(m, index))
        return;
    weft_val dy = weft_emit2(m, "gather", weft_x(m, 1), index);
    becomes_scatter(m, weft_emit2(m, "relu_grad", value, dy), index);
}

const weft_rule weft_rule_relu_grad_sparse = {
    .name = "relu_grad_sparse",
    .root = "relu_grad",
    .doc = "relu_grad(scatter(y, i), dy) -> scatter(relu_grad(y, gather(dy, i)), i) for different "
           "positions",
    .apply = rule_relu_grad_sparse,
};

/* ---- two tensors ---- */
/* Numbers of x, of the sizes of the rows or one row [n] for all of them, at the positions;
 * WEFT_NONE for other sizes. */
static weft_val numbers_at(weft_match *m, weft_val x, weft_val index)
{
    const weft_type *t = weft_val_type(m, x), *y = weft_call_out(m, 0);
    if (weft_type_equal(t, y))
        return weft_emit2(m, "gather", x, index);
    if (t->rank != 1 || t->dim[0] != last_size(y) || y->rank == WEFT_MAX_RANK)
        return WEFT_NONE;
    const weft_type *at = weft_val_type(m, index);
    weft_type table = weft_type_make(t->dtype, 2, (int64_t[]){t->dim[0], 1}),
              k = weft_type_rows(at, t->dtype, last_size(at));
    weft_val rows = weft_emit2(m, "embedding", weft_emit_reshape(m, x, &table), index);
    return weft_emit_reshape(m, rows, &k);
}

static void rule_mul_sparse(weft_match *m)
{
    for (int i = 0; i < 2; i++) {
        weft_val value, index, s = weft_x(m, i);
        if (!weft_match_scatter(m, s, &value, &index) ||
            !weft_type_equal(weft_val_type(m, s), weft_call_out(m, 0)))
            continue;
        weft_val x = numbers_at(m, weft_x(m, !i), index);
        if (x < 0)
            continue;
        becomes_scatter(m, i ? weft_emit2(m, "mul", x, value) : weft_emit2(m, "mul", value, x),
                        index);
        return;
    }
}

const weft_rule weft_rule_mul_sparse = {
    .name = "mul_sparse",
    .root = "mul",
    .doc = "mul(x, scatter(v, i)) -> scatter(mul(gather(x, i), v), i), also for a row x [n]",
    .apply = rule_mul_sparse,
    .fuses = true,
};

/* Lists of entries of one row after each other: equal positions add up. */
static void rule_add_sparse(weft_match *m)
{
    weft_val u, i, v, j;
    if (!weft_match_scatter(m, weft_x(m, 0), &u, &i) ||
        !weft_match_scatter(m, weft_x(m, 1), &v, &j) ||
        !weft_type_equal(weft_call_in(m, 0), weft_call_in(m, 1)))
        return;
    if (i == j) {
        becomes_scatter(m, weft_emit2(m, "add", u, v), i);
        return;
    }
    const weft_type *a = weft_val_type(m, i), *b = weft_val_type(m, j);
    if (a->dtype != b->dtype || last_size(a) + last_size(b) > last_size(weft_call_out(m, 0)))
        return;
    weft_val both = weft_emit(m, "concat", (weft_val[]){u, v}, 2, "axis=-1");
    becomes_scatter(m, both, weft_emit(m, "concat", (weft_val[]){i, j}, 2, "axis=-1"));
}

const weft_rule weft_rule_add_sparse = {
    .name = "add_sparse",
    .root = "add",
    .doc = "add(scatter(u, i), scatter(v, j)) -> scatter(add(u, v), i) if j = i, else "
           "scatter(concat(u, v), concat(i, j)) if that is not longer than a row",
    .apply = rule_add_sparse,
    .fuses = true,
};

/* ---- sums ---- */
/* Is the last axis of the input among those that are summed?  An empty list means all. */
static bool sums_last(weft_match *m)
{
    const weft_attr *axis = weft_attr_get(m, "axis");
    bool last = axis->n == 0;
    for (int i = 0; i < axis->n; i++)
        last = last || axis->v[i] == -1 || axis->v[i] == weft_call_in(m, 0)->rank - 1;
    return last;
}

static void rule_sum_sparse(weft_match *m)
{
    weft_val value, index;
    if (sums_last(m) && weft_match_scatter(m, weft_x(m, 0), &value, &index))
        weft_match_replace(m, 0, weft_emit(m, "sum", &value, 1, "%s", weft_attrs_text(m)));
}

/* The mean of k values is over k: the zeros count, too. */
static void rule_mean_sparse(weft_match *m)
{
    weft_val value, index;
    if (!sums_last(m) || !weft_match_scatter(m, weft_x(m, 0), &value, &index))
        return;
    double share =
        (double)last_size(weft_val_type(m, value)) / (double)last_size(weft_call_in(m, 0));
    weft_val mean = weft_emit(m, "mean", &value, 1, "%s", weft_attrs_text(m));
    weft_match_replace(m, 0, weft_emit(m, "scale", &mean, 1, "alpha=%.17g", share));
}

const weft_rule weft_rule_sum_sparse = {
    .name = "sum_sparse",
    .root = "sum",
    .doc = "sum(scatter(v, i)) -> sum(v) over axes with the last one",
    .apply = rule_sum_sparse,
    .fuses = true,
};
const weft_rule weft_rule_mean_sparse = {
    .name = "mean_sparse",
    .root = "mean",
    .doc = "mean(scatter(v, i)) -> scale(mean(v), k / n) over axes with the last one",
    .apply = rule_mean_sparse,
    .fuses = true,
};

static void rule_idle_count_sparse(weft_match *m)
{
    weft_val value, index;
    if (weft_x(m, 2) >= 0 || weft_attr_float(m, "above") < 0 ||
        !weft_match_scatter(m, weft_x(m, 1), &value, &index) || !weft_match_distinct(m, index))
        return;
    weft_val in[] = {weft_x(m, 0), value, index};
    weft_match_replace(m, 0, weft_emit(m, "idle_count", in, 3, "%s", weft_attrs_text(m)));
}

const weft_rule weft_rule_idle_count_sparse = {
    .name = "idle_count_sparse",
    .root = "idle_count",
    .doc =
        "idle_count(c, scatter(v, i), above >= 0) -> idle_count(c, v, i) for different positions",
    .apply = rule_idle_count_sparse,
};

/* ---- shapes ---- */
static void rule_slice_sparse(weft_match *m)
{
    weft_val value, index;
    int axis = weft_attr_axis(m, "axis");
    if (axis == weft_call_out(m, 0)->rank - 1 ||
        !weft_match_scatter(m, weft_x(m, 0), &value, &index))
        return;
    const char *attrs = weft_attrs_text(m);
    weft_val v = weft_emit(m, "slice", &value, 1, "%s", attrs);
    becomes_scatter(m, v, weft_emit(m, "slice", &index, 1, "%s", attrs));
}

const weft_rule weft_rule_slice_sparse = {
    .name = "slice_sparse",
    .root = "slice",
    .doc = "slice(scatter(v, i)) of rows -> scatter(slice(v), slice(i))",
    .apply = rule_slice_sparse,
    .fuses = true,
};

/* The gradient of a bias: all rows are one list of entries. */
static void rule_sum_to_sparse(weft_match *m)
{
    weft_val value, index;
    const weft_type *y = weft_call_out(m, 0);
    if (y->rank != 1 || !weft_match_scatter(m, weft_x(m, 0), &value, &index) ||
        last_size(weft_call_in(m, 0)) != y->dim[0])
        return;
    const weft_type *v = weft_val_type(m, value), *i = weft_val_type(m, index);
    int64_t entries = weft_type_count(v);
    weft_type flat_v = weft_type_make(v->dtype, 1, &entries),
              flat_i = weft_type_make(i->dtype, 1, &entries);
    becomes_scatter(m, weft_emit_reshape(m, value, &flat_v), weft_emit_reshape(m, index, &flat_i));
}

const weft_rule weft_rule_sum_to_sparse = {
    .name = "sum_to_sparse",
    .root = "sum_to",
    .doc = "sum_to(scatter(v, i)) of all rows -> scatter(reshape(v), reshape(i)) in one row",
    .apply = rule_sum_to_sparse,
};
