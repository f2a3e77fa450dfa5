/* simplify.c - rules that drop nodes which compute their own input, and join views of views; all
 * exact. */
#include <stdio.h>

#include "graph/op.h"
#include "graph/rule.h"

/* Is v a constant equal to `value` everywhere? */
static bool is_constant(weft_match *m, weft_val v, double value)
{
    return weft_match_is(m, v, "fill") && weft_match_attr(m, v, "value")->f == value;
}

/* The root is v, if that changes neither sizes nor element type. */
static void becomes(weft_match *m, weft_val v)
{
    if (weft_type_equal(weft_val_type(m, v), weft_call_out(m, 0)))
        weft_match_replace(m, 0, v);
}

/* ---- arithmetic with constants ---- */
static void rule_add_zero(weft_match *m)
{
    for (int i = 0; i < 2; i++)
        if (is_constant(m, weft_x(m, i), 0))
            becomes(m, weft_x(m, !i));
}

const weft_rule weft_rule_add_zero = {
    .name = "add_zero", .root = "add", .doc = "add(x, 0) -> x", .apply = rule_add_zero};

static void rule_sub_zero(weft_match *m)
{
    if (is_constant(m, weft_x(m, 1), 0))
        becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_sub_zero = {
    .name = "sub_zero", .root = "sub", .doc = "sub(x, 0) -> x", .apply = rule_sub_zero};

static void rule_mul_one(weft_match *m)
{
    for (int i = 0; i < 2; i++)
        if (is_constant(m, weft_x(m, i), 1))
            becomes(m, weft_x(m, !i));
}

const weft_rule weft_rule_mul_one = {
    .name = "mul_one", .root = "mul", .doc = "mul(x, 1) -> x", .apply = rule_mul_one};

static void rule_div_one(weft_match *m)
{
    if (is_constant(m, weft_x(m, 1), 1))
        becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_div_one = {
    .name = "div_one", .root = "div", .doc = "div(x, 1) -> x", .apply = rule_div_one};

static void rule_scale_one(weft_match *m)
{
    if (weft_attr_float(m, "alpha") == 1 && weft_attr_float(m, "beta") == 0)
        becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_scale_one = {.name = "scale_one",
                                       .root = "scale",
                                       .doc = "scale(x, alpha=1, beta=0) -> x",
                                       .apply = rule_scale_one};

/* A factor 0 switches a part of a loss off: what it scales need not be computed, so it must be gone
 * before rules join it with what is. Numerically the same for finite x; where x is infinite or NaN
 * the product would be NaN, and now is 0. */
static void rule_scale_zero(weft_match *m)
{
    if (weft_attr_float(m, "alpha") == 0)
        weft_match_replace(m, 0,
                           weft_emit_fill(m, weft_attr_float(m, "beta"), weft_call_out(m, 0)));
}

const weft_rule weft_rule_scale_zero = {
    .name = "scale_zero",
    .root = "scale",
    .doc = "scale(x, alpha=0, beta) -> fill(beta), also where x is infinite or NaN",
    .apply = rule_scale_zero,
    .first = true};

static void rule_mul_zero(weft_match *m)
{
    for (int i = 0; i < 2; i++)
        if (is_constant(m, weft_x(m, i), 0)) {
            weft_match_replace(m, 0, weft_emit_fill(m, 0, weft_call_out(m, 0)));
            return;
        }
}

const weft_rule weft_rule_mul_zero = {.name = "mul_zero",
                                      .root = "mul",
                                      .doc = "mul(x, 0) -> 0, also where x is infinite or NaN",
                                      .apply = rule_mul_zero};

/* ---- the same sizes ---- */
static void rule_same(weft_match *m) { becomes(m, weft_x(m, 0)); }

const weft_rule weft_rule_reshape_same = {.name = "reshape_same",
                                          .root = "reshape",
                                          .doc = "reshape(x) to the sizes of x -> x",
                                          .apply = rule_same};
/* A slice of as many positions as there are takes all of them in order. */
const weft_rule weft_rule_slice_full = {.name = "slice_full",
                                        .root = "slice",
                                        .doc = "slice(x) of a whole axis -> x",
                                        .apply = rule_same};
const weft_rule weft_rule_slice_grad_full = {.name = "slice_grad_full",
                                             .root = "slice_grad",
                                             .doc = "slice_grad(x) that adds no zeros -> x",
                                             .apply = rule_same};
const weft_rule weft_rule_sum_to_same = {.name = "sum_to_same",
                                         .root = "sum_to",
                                         .doc = "sum_to(x) to the sizes of x -> x",
                                         .apply = rule_same};
const weft_rule weft_rule_broadcast_same = {.name = "broadcast_same",
                                            .root = "broadcast_to",
                                            .doc = "broadcast_to(x) to the sizes of x -> x",
                                            .apply = rule_same};

/* A cast stops gradients, so one of floats is not nothing, even to the same type. */
static void rule_cast_same(weft_match *m)
{
    if (!weft_dtype_is_float(weft_call_in(m, 0)->dtype))
        becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_cast_same = {.name = "cast_same",
                                       .root = "cast",
                                       .doc = "cast(x) of integers to their own type -> x",
                                       .apply = rule_cast_same};

static void rule_concat_one(weft_match *m)
{
    if (weft_call_n_in(m) == 1)
        becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_concat_one = {.name = "concat_one",
                                        .root = "concat",
                                        .doc = "concat(x) of one tensor -> x",
                                        .apply = rule_concat_one};

/* ---- views of views ---- */
static void rule_reshape_reshape(weft_match *m)
{
    weft_val x = weft_x(m, 0);
    if (weft_match_is(m, x, "reshape"))
        weft_match_replace(m, 0, weft_emit_reshape(m, weft_match_in(m, x, 0), weft_call_out(m, 0)));
}

const weft_rule weft_rule_reshape_reshape = {.name = "reshape_reshape",
                                             .root = "reshape",
                                             .doc = "reshape(reshape(x)) -> reshape(x)",
                                             .apply = rule_reshape_reshape};

/* Axis of the input that is axis i of the output. */
static int64_t perm_at(const weft_attr *perm, int rank, int i)
{
    int64_t axis = perm->n ? perm->v[i] : rank - 1 - i;
    return axis < 0 ? axis + rank : axis;
}

static void rule_transpose_none(weft_match *m)
{
    int rank = weft_call_out(m, 0)->rank;
    for (int i = 0; i < rank; i++)
        if (perm_at(weft_attr_get(m, "perm"), rank, i) != i)
            return;
    becomes(m, weft_x(m, 0));
}

const weft_rule weft_rule_transpose_none = {.name = "transpose_none",
                                            .root = "transpose",
                                            .doc = "transpose(x) with the axes in order -> x",
                                            .apply = rule_transpose_none};

static void rule_transpose_transpose(weft_match *m)
{
    weft_val x = weft_x(m, 0), from = weft_match_in(m, x, 0);
    int rank = weft_call_out(m, 0)->rank;
    char text[256] = "";
    if (!weft_match_is(m, x, "transpose"))
        return;
    const weft_attr *first = weft_match_attr(m, x, "perm"), *second = weft_attr_get(m, "perm");
    for (int i = 0, n = 0; i < rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%lld", i ? "," : "",
                      (long long)perm_at(first, rank, (int)perm_at(second, rank, i)));
    weft_match_replace(m, 0, weft_emit(m, "transpose", &from, 1, "perm=%s", text));
}

const weft_rule weft_rule_transpose_transpose = {.name = "transpose_transpose",
                                                 .root = "transpose",
                                                 .doc = "transpose(transpose(x)) -> transpose(x)",
                                                 .apply = rule_transpose_transpose};
