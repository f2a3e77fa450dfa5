/* golden.h - what the comparisons of CoCoMix with PyTorch share: the golden file
 * (tests/golden/cocomix.py) and measures of distance. */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/load.h"
#include "graph/optim.h"
#include "graph/plan.h"
#include "graph/safetensors.h"

static weft_ctx *ctx;
static weft_tensor_file *golden;

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) != WEFT_OK)                                                                     \
            fail_msg("%s", weft_error(ctx));                                                       \
    } while (0)

static inline int setup(void **state)
{
    (void)state;
    ctx = weft_open(NULL);
    OK(weft_tensor_file_open(ctx, "tests/golden/cocomix.safetensors", &golden));
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    weft_tensor_file_close(golden);
    weft_close(ctx);
    return 0;
}

/* ---- the golden file ---- */

static inline const weft_tensor_entry *entry(const char *prefix, const char *name)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return weft_tensor_file_find(golden, full);
}

static inline int64_t count_of(const weft_tensor_entry *e)
{
    int64_t n = 1;
    for (int i = 0; i < e->rank; i++)
        n *= e->dim[i];
    return n;
}

/* As doubles, whatever the file has; the caller frees. */
static inline double *golden_f64(const char *prefix, const char *name, int64_t *count)
{
    const weft_tensor_entry *e = entry(prefix, name);
    if (!e)
        fail_msg("no tensor '%s%s' in the golden file", prefix, name);
    *count = count_of(e);
    double *x = malloc((size_t)*count * sizeof *x);
    OK(weft_tensor_file_read(golden, e, WEFT_F64, true, x));
    return x;
}

static inline void golden_i32(const char *prefix, const char *name, void *dst)
{
    OK(weft_tensor_file_read(golden, entry(prefix, name), WEFT_I32, false, dst));
}

/* ---- numbers ---- */

static inline double at(const void *x, const weft_type *t, int64_t i)
{
    return t->dtype == WEFT_F64 ? ((const double *)x)[i] : ((const float *)x)[i];
}

/* The larger of two errors; NaN is larger than any. */
static inline double worse(double a, double b) { return isnan(a) || a >= b ? a : b; }

/* The largest difference, relative to the largest wanted value. */
static inline double off_by(const void *x, const weft_type *t, const double *want, int64_t n)
{
    double worst = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        worst = worse(worst, fabs(at(x, t, i) - want[i]));
        top = fmax(top, fabs(want[i]));
    }
    return worst / top;
}

static inline double relative_l2(const void *x, const weft_type *t, const double *want, int64_t n)
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) {
        d += (at(x, t, i) - want[i]) * (at(x, t, i) - want[i]);
        s += want[i] * want[i];
    }
    return s > 0 ? sqrt(d / s) : sqrt(d);
}

/* Norm, and product with cos(1), cos(2), ... (cocomix.py, projection), relative to the norm. */
static inline double projection_off(const void *x, const weft_type *t, const double *want)
{
    double norm = 0, dot = 0;
    int64_t n = weft_type_count(t);
    for (int64_t i = 0; i < n; i++) {
        norm += at(x, t, i) * at(x, t, i);
        dot += at(x, t, i) * cos((double)i + 1);
    }
    return worse(fabs(sqrt(norm) - want[0]), fabs(dot - want[1])) / want[0];
}

#endif
