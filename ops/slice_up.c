/* slice_up.c - rules for rows that nobody reads: a slice goes up through what computes each row by
 * itself, so that the rows it drops are not computed.
 *
 * A slice goes past a node only when it is the node's one reader: then nothing is computed twice,
 * and less than before. What stops it is attention's keys and values, which need all rows. */
#include <stdio.h>

#include "graph/rule.h"

/* The root: positions from, from + step, ... on an axis of a value. */
typedef struct {
    int axis, rank;
    int64_t from, step, size;
} cut;

static cut cut_of(weft_match *m)
{
    int64_t axis = weft_attr_int(m, "axis");
    int rank = weft_call_in(m, 0)->rank;
    cut c = {.axis = (int)(axis < 0 ? axis + rank : axis), .rank = rank};
    c.from = weft_attr_int(m, "from");
    c.step = weft_attr_int(m, "step");
    c.size = weft_call_out(m, 0)->dim[c.axis];
    return c;
}

/* The same positions of v, whose axes are counted from the right; v itself where it has no such
 * axis. */
static weft_val cut_input(weft_match *m, const cut *c, weft_val v)
{
    const weft_type *t = weft_val_type(m, v);
    int axis = t->rank - (c->rank - c->axis);
    if (v < 0 || axis < 0 || t->dim[axis] == 1)
        return v;
    return weft_emit(m, "slice", &v, 1, "axis=%d from=%lld to=%lld step=%lld", axis,
                     (long long)c->from, (long long)(c->from + (c->size - 1) * c->step + 1),
                     (long long)c->step);
}

enum { MOST = 8 };

/* The node of x again, on a cut of its first `n_cut` inputs. */
static void push(weft_match *m, const cut *c, weft_val x, int n_cut)
{
    weft_val in[MOST];
    int n = weft_match_n_in(m, x);
    for (int i = 0; i < n; i++) {
        in[i] = weft_match_in(m, x, i);
        if (i < n_cut)
            in[i] = cut_input(m, c, in[i]);
    }
    weft_match_replace(m, 0, weft_match_again(m, x, in));
}

static void rule_elementwise(weft_match *m)
{
    weft_val x = weft_x(m, 0);
    cut c = cut_of(m);
    if (weft_match_flags(m, x) & WEFT_ELEMENTWISE && weft_match_n_in(m, x) <= MOST &&
        weft_match_alone(m, x))
        push(m, &c, x, MOST);
}

const weft_rule weft_rule_slice_elementwise = {
    .name = "slice_elementwise",
    .root = "slice",
    .doc = "slice(f(a, b)) with f element by element -> f(slice(a), slice(b)); not where f(a, b) "
           "has other readers or draws random numbers",
    .apply = rule_elementwise,
};

/* Nodes of which a row depends on the same row of their first input alone: the others are as they
 * are for every row. */
static void push_rows(weft_match *m, bool (*fits)(weft_match *, weft_val))
{
    weft_val x = weft_x(m, 0);
    cut c = cut_of(m);
    if (c.axis < c.rank - 1 && fits(m, x) && weft_match_alone(m, x))
        push(m, &c, x, 1);
}

static bool is_row_op(weft_match *m, weft_val x)
{
    return weft_match_flags(m, x) & WEFT_ROWS && weft_match_n_in(m, x) <= MOST;
}

static void rule_rows(weft_match *m) { push_rows(m, is_row_op); }

const weft_rule weft_rule_slice_rows = {
    .name = "slice_rows",
    .root = "slice",
    .doc = "slice(f(x, w)) of rows, f row by row (layer_norm) -> f(slice(x), w); not where f(x, w) "
           "has other readers",
    .apply = rule_rows,
};

/* One matrix for all rows; with ta the rows of the product are columns of x. */
static bool is_row_product(weft_match *m, weft_val x)
{
    return weft_match_is(m, x, "matmul") && weft_val_type(m, weft_match_in(m, x, 1))->rank == 2 &&
           !weft_match_attr(m, x, "ta")->i;
}

static void rule_matmul(weft_match *m) { push_rows(m, is_row_product); }

const weft_rule weft_rule_slice_matmul = {
    .name = "slice_matmul",
    .root = "slice",
    .doc = "slice(matmul(x, w)) of rows, w shared by all rows -> matmul(slice(x), w); not where "
           "matmul(x, w) has other readers",
    .apply = rule_matmul,
};

/* Rows of attention that are rows of attention already: positions of positions. */
static void rule_attention(weft_match *m)
{
    weft_val x = weft_x(m, 0), qkv = weft_match_in(m, x, 0);
    cut c = cut_of(m);
    bool drops = weft_match_is(m, x, "attention_dropout");
    if ((!drops && !weft_match_is(m, x, "attention")) || c.axis != 1 ||
        !weft_match_alone_drawn(m, x))
        return;
    int64_t from = weft_match_attr(m, x, "from")->i, step = weft_match_attr(m, x, "step")->i;
    long long heads = weft_match_attr(m, x, "n_head")->i, first = from + step * c.from;
    long long stride = step * c.step, rows = c.size;
    double scale = weft_match_attr(m, x, "scale")->f, p = weft_match_attr(m, x, "p")->f;
    weft_val y = drops ? weft_emit(m, "attention_dropout", &qkv, 1,
                                   "n_head=%lld scale=%.17g from=%lld step=%lld rows=%lld p=%.17g",
                                   heads, scale, first, stride, rows, p)
                       : weft_emit(m, "attention", &qkv, 1,
                                   "n_head=%lld scale=%.17g from=%lld step=%lld rows=%lld", heads,
                                   scale, first, stride, rows);
    if (drops)
        weft_match_draw_as(m, y, x);
    weft_match_replace(m, 0, y);
}

const weft_rule weft_rule_slice_attention = {
    .name = "slice_attention",
    .root = "slice",
    .doc = "slice(attention(x)) of positions -> attention(x) of the queries there, with dropout "
           "or without; not where attention(x) has other readers",
    .apply = rule_attention,
};

/* The zeros of the rows that are left stay those that all rows had. */
static void rule_dropout(weft_match *m)
{
    weft_val x = weft_x(m, 0);
    cut c = cut_of(m), of = {.step = 1};
    bool again = weft_match_is(m, x, "dropout_slice");
    if ((!again && !weft_match_is(m, x, "dropout")) || c.axis == c.rank - 1 ||
        !weft_match_alone_drawn(m, x) || (again && weft_match_attr(m, x, "axis")->i != c.axis))
        return;
    of.size = weft_val_type(m, x)->dim[c.axis];
    if (again) {
        of.from = weft_match_attr(m, x, "from")->i;
        of.step = weft_match_attr(m, x, "step")->i;
        of.size = weft_match_attr(m, x, "size")->i;
    }
    weft_val part = cut_input(m, &c, weft_match_in(m, x, 0));
    weft_val y =
        weft_emit(m, "dropout_slice", &part, 1, "axis=%d from=%lld step=%lld size=%lld p=%.17g",
                  c.axis, (long long)(of.from + of.step * c.from), (long long)(of.step * c.step),
                  (long long)of.size, weft_match_attr(m, x, "p")->f);
    weft_match_draw_as(m, y, x);
    weft_match_replace(m, 0, y);
}

const weft_rule weft_rule_slice_dropout = {
    .name = "slice_dropout",
    .root = "slice",
    .doc = "slice(dropout(x)) of rows -> dropout_slice(slice(x)) with the same zeros; not where "
           "dropout(x) has other readers",
    .apply = rule_dropout,
};
