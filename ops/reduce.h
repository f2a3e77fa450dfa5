/* reduce.h - sums over any axes, shared by sum, mean and sum_to. */
#ifndef WEFT_OPS_REDUCE_H
#define WEFT_OPS_REDUCE_H

#include "ops/loops.h"

/* y = alpha * sum of x over the axes that y lacks: y has x's rank, and size 1 where x is summed.
 * The order of the additions is a function of the sizes alone. */
void weft_reduce_sum(const weft_run *r, const weft_tensor *y, const weft_tensor *x, float alpha);
/* Bytes of run scratch that this needs; the kernel callback asks for them. */
size_t weft_reduce_scratch(const weft_tensor *y, const weft_tensor *x);
/* The same in double, in plain order. */
void weft_reduce_ref(const weft_tensor *y, const weft_tensor *x, double alpha);

#endif
