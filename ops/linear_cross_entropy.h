/* linear_cross_entropy.h - ports of the op linear_cross_entropy, for it, its kernel and its
 * rules. */
#ifndef WEFT_OPS_LINEAR_CROSS_ENTROPY_H
#define WEFT_OPS_LINEAR_CROSS_ENTROPY_H

#include "graph/op.h"
#include "ops/targets.h"

/* inputs */
enum { X, W, TARGETS, BIAS };
/* outputs: DX..DB are gradients of LOSS; VALUE and INDEX the largest logits */
enum { LOSS, NLL, LSE, DX, DW, DB, VALUE, INDEX };

/* The node's inputs into in[4]; returns how many. */
static inline int weft_linear_inputs(weft_call *c, weft_val *in)
{
    int n = weft_call_has(c, BIAS) ? 4 : 3;
    for (int i = 0; i < n; i++)
        in[i] = weft_x(c, i);
    return n;
}

static inline weft_targets weft_linear_targets(const weft_run *r)
{
    return weft_targets_of(r, TARGETS, r->out[LSE].count, r->in[W].dim[0]);
}

/* loss = mean of nll, share = 1 / rows that count; outputs that were not asked for become zero
 * scalars. */
void weft_linear_finish(const weft_run *r, double share);
void weft_linear_kernel(weft_kernel *k);

#endif
