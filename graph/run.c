/* run.c - what kernels and references use while they run: attributes, failures, element access. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph/plan.h"

/* ---- attributes ---- */
const weft_attr *weft_run_attr(const weft_run *r, const char *attr)
{
    static const weft_attr none;
    for (int i = 0; r->op->attr[i].name; i++)
        if (!strcmp(r->op->attr[i].name, attr))
            return &r->attr[i];
    weft_run_fail(r, "internal: op %s has no attribute '%s'", r->op->name, attr);
    return &none;
}

int64_t weft_run_int(const weft_run *r, const char *attr) { return weft_run_attr(r, attr)->i; }
double weft_run_float(const weft_run *r, const char *attr) { return weft_run_attr(r, attr)->f; }

int weft_run_axis(const weft_run *r, const char *attr)
{
    int64_t axis = weft_run_int(r, attr);
    return (int)(axis < 0 ? axis + r->in[0].rank : axis); /* the range was checked by inference */
}

void weft_run_fail(const weft_run *r, const char *fmt, ...)
{
    weft_fault *f = r->fault;
    if (!f || f->failed)
        return;
    f->failed = true;
    f->status = WEFT_MALFORMED;
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
}

void weft_run_fail_prim(const weft_run *r, weft_status s, const char *what)
{
    if (!r->fault || r->fault->failed)
        return;
    if (s == WEFT_NOMEM)
        weft_run_fail(r,
                      "oneDNN has not the memory for %s: give it more, or compute less at once "
                      "(batch, length, --threads)",
                      what);
    else
        weft_run_fail(r, "internal: oneDNN failed to run %s", what);
    r->fault->status = s;
}

/* ---- element access of the references: any strides, any element type ---- */
int64_t weft_at(const weft_tensor *t, int64_t linear)
{
    int64_t offset = 0;
    for (int i = t->rank; i-- > 0;) {
        offset += linear % t->dim[i] * t->stride[i];
        linear /= t->dim[i];
    }
    return offset;
}

static double from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Nearest, ties to even; a NaN keeps a set mantissa bit. */
static uint16_t to_bf16(double v)
{
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (f != f)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double weft_get(const weft_tensor *t, int64_t linear)
{
    int64_t i = weft_at(t, linear);
    switch (t->dtype) {
    case WEFT_F32:
        return ((const float *)t->data)[i];
    case WEFT_F64:
        return ((const double *)t->data)[i];
    case WEFT_BF16:
        return from_bf16(((const uint16_t *)t->data)[i]);
    case WEFT_I32:
        return ((const int32_t *)t->data)[i];
    case WEFT_I64:
        return (double)((const int64_t *)t->data)[i];
    case WEFT_U16:
        return ((const uint16_t *)t->data)[i];
    case WEFT_BOOL:
        return ((const uint8_t *)t->data)[i];
    }
    return 0;
}

void weft_put(const weft_tensor *t, int64_t linear, double v)
{
    int64_t i = weft_at(t, linear);
    switch (t->dtype) {
    case WEFT_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case WEFT_F64:
        ((double *)t->data)[i] = v;
        break;
    case WEFT_BF16:
        ((uint16_t *)t->data)[i] = to_bf16(v);
        break;
    case WEFT_I32:
        ((int32_t *)t->data)[i] = (int32_t)v;
        break;
    case WEFT_I64:
        ((int64_t *)t->data)[i] = (int64_t)v;
        break;
    case WEFT_U16:
        ((uint16_t *)t->data)[i] = (uint16_t)v;
        break;
    case WEFT_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    }
}

int64_t weft_get_int(const weft_tensor *t, int64_t linear)
{
    if (t->dtype == WEFT_I64) /* a double holds only 53 bits */
        return ((const int64_t *)t->data)[weft_at(t, linear)];
    return (int64_t)weft_get(t, linear);
}

int64_t weft_broadcast_index(const weft_tensor *y, const weft_tensor *b, int64_t i)
{
    int64_t linear = 0, step = 1;
    for (int d = b->rank, e = y->rank; d-- > 0;) {
        e--;
        int64_t at = i % y->dim[e];
        i /= y->dim[e];
        if (b->dim[d] != 1)
            linear += at * step;
        step *= b->dim[d];
    }
    return linear;
}
