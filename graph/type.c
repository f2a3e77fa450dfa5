/* type.c - element types and tensor types: sizes, names, equality. */
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

static const struct {
    const char *name;
    size_t size;
    bool is_float;
} dtype_table[] = {
    [WEFT_F32] = {"f32", 4, true},    [WEFT_F64] = {"f64", 8, true},
    [WEFT_BF16] = {"bf16", 2, true},  [WEFT_I32] = {"i32", 4, false},
    [WEFT_I64] = {"i64", 8, false},   [WEFT_U16] = {"u16", 2, false},
    [WEFT_BOOL] = {"bool", 1, false},
};

size_t weft_dtype_size(weft_dtype t) { return dtype_table[t].size; }
const char *weft_dtype_name(weft_dtype t) { return t ? dtype_table[t].name : "none"; }
bool weft_dtype_is_float(weft_dtype t) { return dtype_table[t].is_float; }

bool weft_dtype_holds(weft_dtype t, double v)
{
    if (t == WEFT_I32)
        return v > -2147483649.0 && v < 2147483648.0;
    if (t == WEFT_I64)
        return v >= -9223372036854775808.0 && v < 9223372036854775808.0;
    return t == WEFT_U16 ? v > -1 && v < 65536 : t == WEFT_BOOL ? v == v : true;
}

bool weft_dtype_parse(const char *s, size_t n, weft_dtype *out)
{
    for (int t = WEFT_F32; t <= WEFT_BOOL; t++)
        if (strlen(dtype_table[t].name) == n && !memcmp(dtype_table[t].name, s, n)) {
            *out = (weft_dtype)t;
            return true;
        }
    return false;
}

weft_type weft_type_make(weft_dtype t, int rank, const int64_t *dim)
{
    weft_type y = {.dtype = t, .rank = rank};
    for (int i = 0; i < rank && i < WEFT_MAX_RANK; i++)
        y.dim[i] = dim[i];
    return y;
}

bool weft_type_equal(const weft_type *a, const weft_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

int64_t weft_type_count(const weft_type *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

size_t weft_type_bytes(const weft_type *t)
{
    return t->dtype ? (size_t)weft_type_count(t) * weft_dtype_size(t->dtype) : 0;
}

/* Bytes of a tensor: what a 64-bit machine can address. So the few, small multiples of sizes that
 * kernels ask for as scratch stay far from overflow, too. */
#define MOST_BYTES ((int64_t)1 << 47)

bool weft_type_check(const weft_type *t, char *why, size_t n)
{
    int64_t bytes = 8; /* as if every element were f64: the reference mode must fit too */
    if (t->rank < 0 || t->rank > WEFT_MAX_RANK) {
        snprintf(why, n, "rank %d is not in 0..%d", t->rank, WEFT_MAX_RANK);
        return false;
    }
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] < 1) {
            snprintf(why, n, "size %lld of axis %d is not positive", (long long)t->dim[i], i);
            return false;
        }
        if (!weft_mul_ok(bytes, t->dim[i], &bytes) || bytes > MOST_BYTES) {
            snprintf(why, n, "more than %lld elements, which no machine can hold",
                     (long long)(MOST_BYTES / 8));
            return false;
        }
    }
    return true;
}

const char *weft_type_print(char *out, size_t n, const weft_type *t)
{
    size_t k = (size_t)snprintf(out, n, "%s[", weft_dtype_name(t->dtype));
    for (int i = 0; i < t->rank && k < n; i++)
        k += (size_t)snprintf(out + k, n - k, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    if (k < n)
        snprintf(out + k, n - k, "]");
    return out;
}
