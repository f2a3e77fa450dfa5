/* linear_cross_entropy_rules.c - rules that make the fused loss of a projection, and make one node
 * of several. */
#include <string.h>

#include "graph/rule.h"
#include "ops/linear_cross_entropy.h"

static void replace_all(weft_match *m, weft_val y, int n)
{
    for (int i = 0; i < n; i++)
        weft_match_replace(m, i, weft_emit_nth(m, y, i));
}

/* Are these logits = matmul(x, w[, bias], tb=1), as the op computes them?  in[X], in[W], in[BIAS].
 */
static bool match_logits(weft_match *m, weft_val z, weft_val *in)
{
    in[X] = weft_match_in(m, z, 0);
    in[W] = weft_match_in(m, z, 1);
    in[BIAS] = weft_match_in(m, z, 2);
    return weft_match_is(m, z, "matmul") && !weft_match_attr(m, z, "ta")->i &&
           weft_match_attr(m, z, "tb")->i && weft_match_attr(m, z, "alpha")->f == 1 &&
           weft_val_type(m, in[W])->rank == 2;
}

static void rule_linear_cross_entropy(weft_match *m)
{
    weft_val z = weft_x(m, 0), in[4];
    if (weft_match_uses(m, z) != 1 || !match_logits(m, z, in))
        return;
    in[TARGETS] = weft_x(m, 1);
    replace_all(m,
                weft_emit(m, "linear_cross_entropy", in, in[BIAS] >= 0 ? 4 : 3, "ignore=%lld",
                          (long long)weft_attr_int(m, "ignore")),
                3);
}

const weft_rule weft_rule_linear_cross_entropy = {
    .name = "linear_cross_entropy",
    .root = "cross_entropy",
    .doc = "cross_entropy(matmul(x, w[, bias], tb=1), targets) -> linear_cross_entropy(x, w, "
           "targets[, bias]) when nothing else reads the logits",
    .apply = rule_linear_cross_entropy,
    .fuses = true,
};

/* The cross-entropy is then the only reader of the logits, and becomes a node of the same inputs.
 */
static void rule_linear_topk(weft_match *m)
{
    const weft_attr *ignore;
    weft_val z = weft_x(m, 0), in[4];
    if (weft_x(m, 1) >= 0 || weft_match_uses(m, z) != 2 || !match_logits(m, z, in))
        return;
    in[TARGETS] = weft_match_beside(m, "cross_entropy", 1, "ignore", &ignore);
    if (in[TARGETS] < 0)
        return;
    weft_val y =
        weft_emit(m, "linear_cross_entropy", in, in[BIAS] >= 0 ? 4 : 3, "ignore=%lld topk=%lld",
                  (long long)ignore->i, (long long)weft_attr_int(m, "k"));
    weft_match_replace(m, 0, weft_emit_nth(m, y, VALUE));
    weft_match_replace(m, 1, weft_emit_nth(m, y, INDEX));
}

const weft_rule weft_rule_linear_topk = {
    .name = "linear_topk",
    .root = "topk",
    .doc =
        "topk(matmul(x, w[, bias], tb=1)) beside cross_entropy of the same logits -> value and "
        "index of linear_cross_entropy(x, w, targets[, bias], topk) when nothing else reads them",
    .apply = rule_linear_topk,
    .fuses = true,
};

/* What two nodes of equal inputs give; `topk` of at most one of them. */
typedef struct {
    int64_t dx, dw, db, topk;
} asked;

static asked asked_by_root(weft_match *m)
{
    return (asked){weft_attr_int(m, "dx"), weft_attr_int(m, "dw"), weft_attr_int(m, "db"),
                   weft_attr_int(m, "topk")};
}

/* All that the r-th twin gives, too; false past the last twin. */
static bool ask_twin(weft_match *m, int r, asked *all)
{
    if (!weft_match_twin(m, r, "ignore"))
        return false;
    int64_t topk = weft_match_twin(m, r, "topk")->i;
    if (weft_match_twin(m, r, "ignore")->i != weft_attr_int(m, "ignore") ||
        (topk && all->topk && topk != all->topk))
        return true;
    all->dx |= weft_match_twin(m, r, "dx")->i;
    all->dw |= weft_match_twin(m, r, "dw")->i;
    all->db |= weft_match_twin(m, r, "db")->i;
    all->topk |= topk;
    return true;
}

/* Where the new node gives something that the root did not, the root's output was a zero. */
static void replace_asked(weft_match *m, int i, weft_val y, bool same)
{
    const weft_type *t = weft_call_out(m, i);
    weft_val zero = WEFT_NONE;
    if (!weft_match_used(m, i))
        return;
    if (!same)
        zero = weft_emit_fill(m, 0, t);
    if (!same && !weft_dtype_is_float(t->dtype))
        zero = weft_emit(m, "cast", &zero, 1, "to=%s", weft_dtype_name(t->dtype));
    weft_match_replace(m, i, same ? weft_emit_nth(m, y, i) : zero);
}

/* One node gives what this one and its twins give. */
static void rule_linear_cross_entropy_once(weft_match *m)
{
    const asked own = asked_by_root(m);
    asked all = own;
    weft_val in[4];
    for (int r = 0; ask_twin(m, r, &all); r++)
        ;
    if (!memcmp(&own, &all, sizeof own))
        return;
    weft_val y =
        weft_emit(m, "linear_cross_entropy", in, weft_linear_inputs(m, in),
                  "ignore=%lld dx=%d dw=%d db=%d topk=%lld", (long long)weft_attr_int(m, "ignore"),
                  (int)all.dx, (int)all.dw, (int)all.db, (long long)all.topk);
    replace_all(m, y, 3);
    replace_asked(m, DX, y, own.dx == all.dx);
    replace_asked(m, DW, y, own.dw == all.dw);
    replace_asked(m, DB, y, own.db == all.db);
    replace_asked(m, VALUE, y, own.topk == all.topk);
    replace_asked(m, INDEX, y, own.topk == all.topk);
}

const weft_rule weft_rule_linear_cross_entropy_once = {
    .name = "linear_cross_entropy_once",
    .root = "linear_cross_entropy",
    .doc =
        "linear_cross_entropy(x, w, t) beside linear_cross_entropy(x, w, t, dx, dw, topk) -> the "
        "second alone",
    .apply = rule_linear_cross_entropy_once,
};
