/* copy.c - a dense copy of a tensor of any strides.
 *
 * The compiler puts one in front of ops that need dense inputs; model files rarely do. */
#include "ops/loops.h"

static void grad_copy(weft_grad *g) { weft_dx(g, 0, weft_dy(g, 0)); }

static void run_copy(const weft_run *r) { weft_tensor_copy(r, &r->out[0], &r->in[0]); }

static void ref_copy(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_ref_move(&r->out[0], i, &r->in[0], i);
}

const weft_op weft_op_copy = {
    .name = "copy",
    .doc = "The same elements in dense storage: y = x.",
    .in = {{"x", WEFT_ANY, "any shape and strides"}},
    .out = {{"y", WEFT_ANY, "as x, row-major"}},
    .flags = WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_KEEPS_ZERO,
    .infer = weft_infer_like_first,
    .grad = grad_copy,
    .run = run_copy,
    .ref = ref_copy,
};
