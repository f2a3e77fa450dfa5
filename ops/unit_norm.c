/* unit_norm.c - a weight whose vectors keep length 1: after each update they are scaled back. */
#include <string.h>

#include "graph/op.h"
#include "ops/simd.h"

/* The state as [outer, len, inner]: a vector runs along the middle axis. */
typedef struct {
    int64_t outer, len, inner;
} vectors;

static vectors vectors_of(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    vectors v = {1, r->in[0].dim[axis], 1};
    for (int i = 0; i < r->in[0].rank; i++)
        if (i != axis)
            *(i < axis ? &v.outer : &v.inner) *= r->in[0].dim[i];
    return v;
}

/* One vector would be a whole tensor of rank 1: nothing that a layer has. */
static void infer_unit_norm(weft_infer *c)
{
    const weft_type *w = weft_call_in(c, 0), *scale = weft_call_in(c, 1);
    if (w->rank < 2)
        weft_call_fail(c, "w is %s, expected at least 2 axes", weft_type_text(c, w));
    else if (scale->rank != 0)
        weft_call_fail(c, "scale is %s, expected a scalar", weft_type_text(c, scale));
    else if (weft_attr_axis(c, "axis") >= 0)
        weft_infer_out(c, 0, *w);
}

enum { COLUMNS = 256 }; /* vectors of a task */

/* n vectors side by side, their elements `stride` apart. y may be w. A vector of zeros has no
 * direction and stays. */
WEFT_CLONES static void norm_columns(float *y, const float *w, int64_t len, int64_t stride,
                                     int64_t n)
{
    double sum[COLUMNS] = {0};
    for (int64_t i = 0; i < len; i++) {
        const float *a = w + i * stride;
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            sum[k] += (double)a[k] * a[k];
    }
    for (int64_t k = 0; k < n; k++)
        sum[k] = sum[k] > 0 ? 1 / sqrt(sum[k]) : 1;
    for (int64_t i = 0; i < len; i++) {
        const float *a = w + i * stride;
        float *b = y + i * stride;
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            b[k] = (float)(a[k] * sum[k]);
    }
}

WEFT_CLONES static void unit_norm_row(float *y, const float *w, int64_t len)
{
    double sum = weft_squares(w, len), f = sum > 0 ? 1 / sqrt(sum) : 1;
#pragma omp simd
    for (int64_t i = 0; i < len; i++)
        y[i] = (float)(w[i] * f);
}

/* Vectors do not see each other, so any thread may take any. */
static void run_unit_norm(const weft_run *r)
{
    const vectors v = vectors_of(r);
    const float *w = r->in[0].data;
    float *y = r->out[0].data;
    int64_t blocks = (v.inner + COLUMNS - 1) / COLUMNS, tasks = v.outer * blocks;
    if (!isfinite(weft_get(&r->in[1], 0))) {
        if (y != w)
            memcpy(y, w, sizeof *y * (size_t)r->out[0].count);
        return;
    }
#pragma omp parallel for num_threads(r->threads) if (r->out[0].count > WEFT_GRAIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t k = t % blocks * COLUMNS, at = t / blocks * v.len * v.inner + k;
        if (v.inner == 1)
            unit_norm_row(y + at, w + at, v.len);
        else
            norm_columns(y + at, w + at, v.len, v.inner,
                         v.inner - k < COLUMNS ? v.inner - k : COLUMNS);
    }
}

static void ref_unit_norm(const weft_run *r)
{
    const vectors v = vectors_of(r);
    bool go = isfinite(weft_get(&r->in[1], 0));
    for (int64_t o = 0; o < v.outer * v.inner; o++) {
        int64_t from = o / v.inner * v.len * v.inner + o % v.inner;
        double sum = 0;
        for (int64_t i = 0; i < v.len; i++)
            sum +=
                weft_get(&r->in[0], from + i * v.inner) * weft_get(&r->in[0], from + i * v.inner);
        double length = go && sum > 0 ? sqrt(sum) : 1;
        for (int64_t i = 0; i < v.len; i++)
            weft_put(&r->out[0], from + i * v.inner,
                     weft_get(&r->in[0], from + i * v.inner) / length);
    }
}

static double flops_unit_norm(const weft_call *c)
{
    return 3.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_unit_norm = {
    .name = "unit_norm",
    .doc = "Vectors of length 1: w1 = w / |w|, |w| the Euclidean length along an axis; vectors of "
           "zeros stay. Changes nothing when scale is not finite (no step was taken).",
    .in = {{"w", WEFT_FLOAT, "weight, a state"},
           {"scale", WEFT_FLOAT, "the optimizer's factor of gradients, scalar"}},
    .out = {{"w1", WEFT_FLOAT, "the weight after", 1}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "vectors run along this axis"}},
    .flags = WEFT_EFFECT,
    .infer = infer_unit_norm,
    .run = run_unit_norm,
    .ref = ref_unit_norm,
    .flops = flops_unit_norm,
};
