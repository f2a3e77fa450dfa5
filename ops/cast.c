/* cast.c - the same numbers as another element type.
 *
 * It has no gradient by definition: integers and bool are piecewise constant. Conversions that C
 * leaves undefined (NaN, beyond the range) are defined here, so that results are the same on every
 * machine. */
#include <math.h>

#include "ops/loops.h"

static const weft_dtype dtypes[] = {WEFT_F32, WEFT_I32, WEFT_I64,
                                    WEFT_BOOL}; /* in the order of the choices */

static void infer_cast(weft_infer *c)
{
    weft_type y = *weft_call_in(c, 0);
    y.dtype = dtypes[weft_attr_int(c, "to")];
    weft_infer_out(c, 0, y);
}

/* Toward zero; beyond the range its end, and 0 for NaN: C leaves these undefined. */
static double whole(double v, weft_dtype to)
{
    double top =
        to == WEFT_I32 ? 2147483647.0 : 9223372036854774784.0; /* the largest double below 2^63 */
    double bottom = to == WEFT_I32 ? -2147483648.0 : -9223372036854775808.0;
    return v != v ? 0 : v > top ? top : v < bottom ? bottom : trunc(v);
}

static void cast_one(const weft_tensor *y, const weft_tensor *x, int64_t i)
{
    double v = weft_get(x, i);
    if (y->dtype == WEFT_I64 && !weft_dtype_is_float(x->dtype))
        ((int64_t *)y->data)[weft_at(y, i)] = weft_get_int(x, i); /* a double holds only 53 bits */
    else
        weft_put(y, i, y->dtype == WEFT_I32 || y->dtype == WEFT_I64 ? whole(v, y->dtype) : v);
}

static void span_int_to_float(const weft_span *s)
{
    float *y = (float *)s->p[0];
    const int32_t *x = (const int32_t *)s->p[1];
    int64_t n = s->n, sx = s->stride[1];
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)x[i * sx];
}

static void ref_cast(const weft_run *r)
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        cast_one(&r->out[0], &r->in[0], i);
}

static void run_cast(const weft_run *r)
{
    const weft_tensor *x = &r->in[0], *y = &r->out[0];
    if (x->dtype == y->dtype)
        weft_tensor_copy(r, y, x);
    else if (x->dtype == WEFT_I32 && y->dtype == WEFT_F32)
        weft_run_walk(r, 1, span_int_to_float, NULL);
    else
        ref_cast(r);
}

const weft_op weft_op_cast = {
    .name = "cast",
    .doc = "The same numbers as another element type: y = x; to integers toward zero, to bool y = "
           "(x != 0).",
    .in = {{"x", WEFT_ANY, "any shape"}},
    .out = {{"y", WEFT_ANY, "as x, element type `to`"}},
    .attr = {{"to", WEFT_ATTR_ENUM, 0, "element type of y", 0, 0, "f32|i32|i64|bool", true}},
    .flags = WEFT_STRIDED | WEFT_ELEMENTWISE | WEFT_NO_GRADIENT | WEFT_KEEPS_ZERO,
    .infer = infer_cast,
    .run = run_cast,
    .ref = ref_cast,
};
