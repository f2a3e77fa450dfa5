/* choose.c - one of several values, by a parameter of the model.
 *
 * It lets one file hold the variants of a model.  The graph forgets it, and the variants that were
 * not chosen, before it is fused, differentiated or counted: `choose` costs nothing and only names
 * the chosen value once more. */
#include "graph/op.h"

static void infer_choose(weft_infer *c)
{
    int64_t which = weft_attr_int(c, "which");
    if (which < weft_call_n_in(c))
        weft_infer_out(c, 0, *weft_call_in(c, (int)which));
    else
        weft_call_fail(c, "which=%lld is none of the %d inputs 0..%d", (long long)which,
                       weft_call_n_in(c), weft_call_n_in(c) - 1);
}

static void lower_choose(weft_lower *l)
{
    weft_lower_out(l, 0, weft_x(l, (int)weft_attr_int(l, "which")));
}

const weft_op weft_op_choose = {
    .name = "choose",
    .doc = "One of its inputs: y = x_which. The others are not computed, and neither is what only "
           "they need; the derivative by y is that by x_which.",
    .in = {{"x", WEFT_ANY | WEFT_VARIADIC, "values of any types"}},
    .out = {{"y", WEFT_ANY, "as input `which`"}},
    .attr = {{.name = "which",
              .kind = WEFT_ATTR_INT,
              .help = "number of the input, from 0",
              .min = 0,
              .max = 1e6,
              .required = true}},
    .flags = WEFT_LOWER_FIRST,
    .infer = infer_choose,
    .lower = lower_choose,
};
