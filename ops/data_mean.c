/* data_mean.c - the mean over all batches of an evaluation.
 *
 * A ratio of two means is a number of the whole data only if both are taken over all of it first:
 * the mean of the batches' ratios is another number, and changes with the batch.  A model file says
 * where that is.  One batch is all there is in training and wherever else a program runs once;
 * there the graph forgets the node. */
#include "graph/op.h"

static void infer_data_mean(weft_infer *c) { weft_infer_out(c, 0, *weft_call_in(c, 0)); }

static void lower_data_mean(weft_lower *l) { weft_lower_out(l, 0, weft_x(l, 0)); }

const weft_op weft_op_data_mean = {
    .name = "data_mean",
    .doc = "The mean over the batches of an evaluation, each counted as often as it has sequences: "
           "y = sum n_b x_b / sum n_b; what is computed from y is of the whole data. In one batch, "
           "and so in training, y = x.",
    .in = {{"x", WEFT_FLOAT, "a mean over the batch, any shape that the batch is no part of"}},
    .out = {{"y", WEFT_FLOAT, "as x"}},
    .flags = WEFT_LOWER_FIRST | WEFT_POOLS,
    .infer = infer_data_mean,
    .lower = lower_data_mean,
};
