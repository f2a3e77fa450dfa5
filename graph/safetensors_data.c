/* safetensors_data.c - reading one tensor of a safetensors file, converted to the element type that
 * is wanted. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/op.h"
#include "graph/safetensors.h"

/* Elements converted at a time: source, and the wide form between, both fit into the second-level
 * cache. */
#define CHUNK 4096

typedef struct {
    unsigned char raw[CHUNK * 8];
    double real[CHUNK];
    int64_t whole[CHUNK];
} chunk;

/* IEEE 754 binary16, exact in double. */
static double from_f16(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return h & 0x8000 ? -x : x;
}

static float from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* Round to nearest even; NaN keeps its sign and stays NaN. */
uint16_t weft_bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (x != x)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* The 24-bit significand is shifted to where binary16 has its last bit, which is 2^-24 for
 * subnormals; what falls off decides the rounding, and a carry runs into the exponent as it should.
 */
uint16_t weft_f16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    int exponent = (int)(bits >> 23 & 255) - 127;
    if (exponent == 128)
        return sign | (bits & 0x7fffff ? 0x7e00 : 0x7c00);
    if (exponent > 15)
        return sign | 0x7c00;
    if (exponent < -25)
        return sign;
    uint32_t significand = (bits & 0x7fffff) | 0x800000;
    int shift = exponent < -14 ? -1 - exponent : 13;
    uint32_t kept = significand >> shift, rest = significand & ((1u << shift) - 1);
    uint32_t half = 1u << (shift - 1);
    if (exponent >= -14)
        kept += (uint32_t)(exponent + 14) << 10; /* its own leading bit is the other one */
    kept += rest > half || (rest == half && (kept & 1));
    return (uint16_t)(sign | kept);
}

#define EACH(type, to, expr)                                                                       \
    for (size_t i = 0; i < n; i++) {                                                               \
        type x;                                                                                    \
        memcpy(&x, raw + i * sizeof x, sizeof x);                                                  \
        (to)[i] = expr;                                                                            \
    }

static void widen_real(const weft_file_dtype *t, const unsigned char *raw, size_t n, double *out)
{
    if (t->native == WEFT_F32)
        EACH(float, out, x)
    else if (t->native == WEFT_F64)
        EACH(double, out, x)
    else if (t->native == WEFT_BF16)
        EACH(uint16_t, out, from_bf16(x))
    else
        EACH(uint16_t, out, from_f16(x))
}

/* U64 above the largest int64 comes out negative; the caller knows what it read. */
static void widen_whole(const weft_file_dtype *t, const unsigned char *raw, size_t n, int64_t *out)
{
    bool sign = t->name[0] == 'I';
    if (t->bits == 8 && sign)
        EACH(int8_t, out, x)
    else if (t->bits == 8)
        EACH(uint8_t, out, x)
    else if (t->bits == 16 && sign)
        EACH(int16_t, out, x)
    else if (t->bits == 16)
        EACH(uint16_t, out, x)
    else if (t->bits == 32 && sign)
        EACH(int32_t, out, x)
    else if (t->bits == 32)
        EACH(uint32_t, out, x)
    else
        EACH(int64_t, out, x)
}

static void narrow_real(const double *x, size_t n, weft_dtype to, void *dst)
{
    for (size_t i = 0; i < n; i++)
        if (to == WEFT_F32)
            ((float *)dst)[i] = (float)x[i];
        else if (to == WEFT_F64)
            ((double *)dst)[i] = x[i];
        else
            ((uint16_t *)dst)[i] = weft_bf16_round((float)x[i]);
}

static bool whole_fits(int64_t x, weft_dtype to, bool from_u64)
{
    if (from_u64 && x < 0)
        return false;
    return to == WEFT_I64 || (to == WEFT_I32 && x >= INT32_MIN && x <= INT32_MAX) ||
           (to == WEFT_U16 && x >= 0 && x <= UINT16_MAX);
}

static void narrow_whole(const int64_t *x, size_t n, weft_dtype to, void *dst)
{
    for (size_t i = 0; i < n; i++)
        if (to == WEFT_I64)
            ((int64_t *)dst)[i] = x[i];
        else if (to == WEFT_I32)
            ((int32_t *)dst)[i] = (int32_t)x[i];
        else
            ((uint16_t *)dst)[i] = (uint16_t)x[i];
}

static weft_status bad_element(weft_tensor_file *f, const weft_tensor_entry *e, weft_status s,
                               size_t at, const char *what)
{
    char file[512], name[256];
    return weft_fail(f->ctx, s, "%s: tensor '%s': element %zu %s",
                     weft_printable(file, sizeof file, f->path),
                     weft_printable(name, sizeof name, e->name), at, what);
}

/* All-ones exponent: NaN or Inf. Written over bits, so that it vectorises and no flag of the
 * compiler changes it. */
static int64_t first_non_finite(weft_dtype t, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t mask = 0x7ff0000000000000u, x = 0;
        if (t == WEFT_F32) {
            mask = 0x7f800000u;
            x = ((const uint32_t *)data)[i];
        } else if (t == WEFT_F64) {
            x = ((const uint64_t *)data)[i];
        } else {
            mask = 0x7f80u;
            x = ((const uint16_t *)data)[i];
        }
        if ((x & mask) == mask)
            return (int64_t)i;
    }
    return -1;
}

static bool is_float(weft_dtype t) { return t == WEFT_F32 || t == WEFT_F64 || t == WEFT_BF16; }
static bool is_whole(weft_dtype t) { return t == WEFT_I32 || t == WEFT_I64 || t == WEFT_U16; }

static weft_status check_values(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype t,
                                bool finite, const void *data, size_t first, size_t n)
{
    if (t == WEFT_BOOL)
        for (size_t i = 0; i < n; i++)
            if (((const unsigned char *)data)[i] > 1)
                return bad_element(f, e, WEFT_MALFORMED, first + i, "is no bool, expected 0 or 1");
    if (!finite || !is_float(t))
        return WEFT_OK;
    int64_t at = first_non_finite(t, data, n);
    return at < 0 ? WEFT_OK
                  : bad_element(f, e, WEFT_NUMERIC, first + (size_t)at,
                                "is NaN or infinite, expected a finite weight");
}

static weft_status convert(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype to,
                           size_t first, size_t n, void *dst)
{
    chunk *k = f->chunk;
    if (e->type->kind == WEFT_FILE_FLOAT) {
        widen_real(e->type, k->raw, n, k->real);
        narrow_real(k->real, n, to, dst);
        return WEFT_OK;
    }
    widen_whole(e->type, k->raw, n, k->whole);
    bool u64 = !strcmp(e->dtype, "U64");
    for (size_t i = 0; i < n; i++)
        if (!whole_fits(k->whole[i], to, u64)) {
            char what[96];
            snprintf(what, sizeof what, "is %s, which does not fit %s",
                     u64 && k->whole[i] < 0 ? "above 2^63" : "out of range", weft_dtype_name(to));
            return bad_element(f, e, WEFT_MALFORMED, first + i, what);
        }
    narrow_whole(k->whole, n, to, dst);
    return WEFT_OK;
}

static weft_status read_converted(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype to,
                                  bool finite, size_t first, size_t count, char *dst)
{
    if (!f->chunk && !(f->chunk = weft_arena_alloc(f->arena, sizeof(chunk))))
        return f->ctx->status;
    size_t size = (size_t)e->type->bits / 8;
    for (size_t at = 0; at < count; at += CHUNK) {
        size_t n = count - at < CHUNK ? count - at : CHUNK;
        char *out = dst + at * weft_dtype_size(to);
        WEFT_TRY(weft_read_at(f->ctx, f->fd, f->path, ((chunk *)f->chunk)->raw, n * size,
                              e->offset + (int64_t)((first + at) * size)));
        WEFT_TRY(convert(f, e, to, first + at, n, out));
        WEFT_TRY(check_values(f, e, to, finite, out, first + at, n));
    }
    return WEFT_OK;
}

weft_status weft_tensor_file_read_part(weft_tensor_file *f, const weft_tensor_entry *e,
                                       weft_dtype dtype, bool finite, size_t first, size_t n,
                                       void *dst)
{
    char file[512], name[256];
    size_t size = weft_dtype_size(dtype);
    if (e->type->native == dtype) {
        WEFT_TRY(weft_read_at(f->ctx, f->fd, f->path, dst, n * size,
                              e->offset + (int64_t)(first * size)));
        return check_values(f, e, dtype, finite, dst, first, n);
    }
    if ((e->type->kind == WEFT_FILE_FLOAT && is_float(dtype)) ||
        (e->type->kind == WEFT_FILE_INT && is_whole(dtype)))
        return read_converted(f, e, dtype, finite, first, n, dst);
    return weft_fail(f->ctx, WEFT_MISMATCH, "%s: tensor '%s' is %s, which does not convert to %s",
                     weft_printable(file, sizeof file, f->path),
                     weft_printable(name, sizeof name, e->name), e->dtype, weft_dtype_name(dtype));
}

weft_status weft_tensor_file_read(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype dtype,
                                  bool finite, void *dst)
{
    size_t n = e->type->bits < 8 ? 0 : e->bytes / ((size_t)e->type->bits / 8);
    return weft_tensor_file_read_part(f, e, dtype, finite, 0, n, dst);
}
