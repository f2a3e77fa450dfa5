/* fill.c - a tensor with the same value everywhere.
 *
 * It stands for constants: the seed of a backward pass, zeros for gradients that nothing reaches.
 * No data are stored in the graph. */
#include "ops/loops.h"

static const weft_dtype dtypes[] = {WEFT_F32, WEFT_I32, WEFT_I64,
                                    WEFT_BOOL}; /* in the order of the choices */

static void infer_fill(weft_infer *c)
{
    const weft_attr *dims = weft_attr_get(c, "dims");
    weft_dtype t = dtypes[weft_attr_int(c, "dtype")];
    double value = weft_attr_get(c, "value")->f;
    if (!weft_dtype_holds(t, value))
        weft_call_fail(c, "value=%g is beyond %s", value, weft_dtype_name(t));
    weft_infer_out(c, 0, weft_type_make(t, dims->n, dims->v));
}

static void span_fill4(const weft_span *s)
{
    uint32_t word = *(const uint32_t *)s->param, *y = (uint32_t *)s->p[0];
    for (int64_t i = 0; i < s->n; i++)
        y[i] = word;
}

static void ref_fill(const weft_run *r)
{
    double value = weft_run_float(r, "value");
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, value);
}

static void run_fill(const weft_run *r)
{
    union {
        float f;
        int32_t i;
    } word = {.f = (float)weft_run_float(r, "value")};
    if (r->out[0].dtype == WEFT_I32)
        word.i = (int32_t)weft_run_float(r, "value");
    if (weft_dtype_size(r->out[0].dtype) == 4)
        weft_run_walk(r, 0, span_fill4, &word.f);
    else
        ref_fill(r);
}

const weft_op weft_op_fill = {
    .name = "fill",
    .doc = "A constant tensor: y = value everywhere.",
    .out = {{"y", WEFT_ANY, "element type `dtype`, sizes `dims`"}},
    .attr = {{"value", WEFT_ATTR_FLOAT, 0,
              "the value of every element; cut to a whole number for integer types"},
             {"dims", WEFT_ATTR_INTS, 0, "sizes of y; empty: a scalar"},
             {"dtype", WEFT_ATTR_ENUM, 0, "element type of y", .choices = "f32|i32|i64|bool"}},
    .flags = WEFT_NO_GRADIENT,
    .infer = infer_fill,
    .run = run_fill,
    .ref = ref_fill,
};
