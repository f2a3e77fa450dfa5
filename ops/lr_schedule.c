/* lr_schedule.c - learning rate as a function of the step: warm-up, then a decay to a floor. */
#include <math.h>

#include "graph/op.h"

enum { COSINE, LINEAR, CONSTANT }; /* in the order of the attribute's choices */

/* f32, though the step counts in i64: the optimizer multiplies floats with it. */
static void infer_lr_schedule(weft_infer *c)
{
    const weft_type *step = weft_call_in(c, 0);
    if (step->rank != 0)
        weft_call_fail(c, "step is %s, expected a scalar", weft_type_text(c, step));
    else
        weft_infer_out(c, 0, weft_type_make(WEFT_F32, 0, NULL));
}

/* Warm-up starts above zero, so the first step moves; the cosine is that of Loshchilov and Hutter,
 * 2017 (SGDR), without restarts. Kernel and reference in one: a single number. */
static void run_lr_schedule(const weft_run *r)
{
    double s = (double)weft_get_int(&r->in[0], 0), total = (double)weft_run_int(r, "total");
    double warmup = (double)weft_run_int(r, "warmup"), peak = weft_run_float(r, "peak");
    double floor = weft_run_float(r, "floor"), lr = peak;
    double p = total > warmup ? fmin(1, (s - warmup) / (total - warmup)) : 1;
    if (s < warmup)
        lr = peak * (s + 1) / warmup;
    else if (weft_run_int(r, "shape") == COSINE)
        lr = floor + (peak - floor) * 0.5 * (1 + cos(3.14159265358979323846 * p));
    else if (weft_run_int(r, "shape") == LINEAR)
        lr = peak + (floor - peak) * p;
    weft_put(&r->out[0], 0, lr);
}

const weft_op weft_op_lr_schedule = {
    .name = "lr_schedule",
    .doc =
        "Learning rate of a step: lr = peak * (step + 1) / warmup while step < warmup, then with p "
        "= "
        "min(1, (step - warmup) / (total - warmup)): floor + (peak - floor) * (1 + cos(pi p)) / 2 "
        "(cosine), peak + (floor - peak) * p (linear), peak (constant).",
    .in = {{"step", WEFT_INT, "steps done before this one, scalar"}},
    .out = {{"lr", WEFT_FLOAT, "learning rate, scalar"}},
    .attr = {{"shape", WEFT_ATTR_ENUM, COSINE, "of the decay", 0, 0, "cosine|linear|constant"},
             {"peak", WEFT_ATTR_FLOAT, 0, "largest rate", 0, 1e6, NULL, true},
             {"floor", WEFT_ATTR_FLOAT, 0, "rate at step `total` and later", 0, 1e6},
             {"warmup", WEFT_ATTR_INT, 0, "steps of linear increase", 0, 1e15},
             {"total", WEFT_ATTR_INT, 0, "step at which the floor is reached", 0, 1e15}},
    .flags = WEFT_NO_GRADIENT,
    .infer = infer_lr_schedule,
    .run = run_lr_schedule,
    .ref = run_lr_schedule,
};
