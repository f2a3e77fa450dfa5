/* reduce.c - sums over any axes at memory speed, in an order that depends on the sizes alone.
 *
 * Axes are merged until x is [outer, summed, inner] with the middle one summed (either end may be
 * 1): all reductions of training have this form.  The summed axis is cut into a fixed number of
 * parts whose sums land in scratch and are added in order; so the result does not know how many
 * threads worked.  Other forms take a plain loop. */
#include "ops/reduce.h"

#include <string.h>

#include "ops/simd.h"

enum {
    BLOCK =
        64, /* rows added in float before they join the running sum: bounds the rounding error */
    COLUMNS = 1024,   /* columns that a task adds up at once: stays in the first cache */
    PARTS = 64,       /* parts of the summed axis */
    SCRATCH = 1 << 20 /* floats of partial sums at most */
};

typedef struct {
    int64_t outer, summed, inner; /* x is dense [outer, summed, inner] */
    int64_t parts,
        rows; /* the summed axis is cut into `parts` runs of `rows` (the last may be shorter) */
} layout;

static int64_t part_count(int64_t outer, int64_t summed, int64_t inner)
{
    int64_t columns = (inner + COLUMNS - 1) / COLUMNS, parts = PARTS;
    if (inner == 1) /* rows of single numbers: a part is worth a task from 16384 of them on */
        parts = summed / WEFT_GRAIN < PARTS ? summed / WEFT_GRAIN : PARTS;
    else if (outer * columns >= PARTS)
        parts = 1;
    if (parts > summed)
        parts = summed;
    while (parts > 1 && parts > SCRATCH / (outer * inner))
        parts /= 2;
    return parts < 1 ? 1 : parts;
}

/* False if x is not dense or the summed axes are not neighbours. */
static bool find_layout(layout *l, const weft_tensor *y, const weft_tensor *x)
{
    int state = 0; /* 0: outer axes, 1: summed, 2: inner */
    *l = (layout){.outer = 1, .summed = 1, .inner = 1};
    if (!weft_tensor_dense(x))
        return false;
    for (int i = 0; i < x->rank; i++) {
        bool gone = y->dim[i] != x->dim[i];
        if (x->dim[i] == 1)
            continue;
        if (gone && state == 2)
            return false;
        state = gone ? 1 : state == 0 ? 0 : 2;
        int64_t *size = state == 0 ? &l->outer : state == 1 ? &l->summed : &l->inner;
        *size *= x->dim[i];
    }
    l->parts = part_count(l->outer, l->summed, l->inner);
    l->rows = (l->summed + l->parts - 1) / l->parts;
    l->parts = (l->summed + l->rows - 1) / l->rows;
    return true;
}

size_t weft_reduce_scratch(const weft_tensor *y, const weft_tensor *x)
{
    layout l;
    if (!find_layout(&l, y, x) || l.parts == 1)
        return 0;
    return (size_t)(l.outer * l.parts * l.inner) * (l.inner == 1 ? sizeof(double) : sizeof(float));
}

/* ---- inner == 1: each part is a run of numbers ---- */
WEFT_CLONES static double run_sum(const float *x, int64_t n) { return weft_sum(x, n); }

static void reduce_runs(const weft_run *r, const layout *l, float *y, const float *x, float alpha)
{
    double *part = r->scratch;
    int64_t tasks = l->outer * l->parts;
#pragma omp parallel for num_threads(r->threads)                                                   \
    schedule(static) if (tasks * l->rows >= 2 * WEFT_GRAIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t from = t % l->parts * l->rows,
                n = l->summed - from < l->rows ? l->summed - from : l->rows;
        double sum = run_sum(x + t / l->parts * l->summed + from, n);
        if (l->parts == 1)
            y[t] = (float)(alpha * sum);
        else
            part[t] = sum;
    }
    for (int64_t o = 0; o < l->outer && l->parts > 1; o++) {
        double sum = 0;
        for (int64_t p = 0; p < l->parts; p++)
            sum += part[o * l->parts + p];
        y[o] = (float)(alpha * sum);
    }
}

/* ---- inner > 1: rows are added up ---- */
/* y[0..n-1] = alpha * sum of `rows` rows of x that lie `stride` apart. */
WEFT_CLONES static void add_rows(float *y, const float *x, int64_t rows, int64_t stride, int64_t n,
                                 float alpha)
{
    float total[COLUMNS], block[COLUMNS];
    memset(total, 0, sizeof(float) * (size_t)n);
    for (int64_t from = 0; from < rows; from += BLOCK) {
        int64_t i = from, end = rows - from < BLOCK ? rows : from + BLOCK;
        memset(block, 0, sizeof(float) * (size_t)n);
        for (; i + 4 <= end; i += 4) {
            const float *a = x + i * stride, *b = a + stride, *c = b + stride, *d = c + stride;
#pragma omp simd
            for (int64_t k = 0; k < n; k++)
                block[k] += (a[k] + b[k]) + (c[k] + d[k]);
        }
        for (; i < end; i++) {
            const float *a = x + i * stride;
#pragma omp simd
            for (int64_t k = 0; k < n; k++)
                block[k] += a[k];
        }
#pragma omp simd
        for (int64_t k = 0; k < n; k++)
            total[k] += block[k];
    }
#pragma omp simd
    for (int64_t k = 0; k < n; k++)
        y[k] = alpha * total[k];
}

static void reduce_rows(const weft_run *r, const layout *l, float *y, const float *x, float alpha)
{
    int64_t columns = (l->inner + COLUMNS - 1) / COLUMNS, tasks = l->outer * l->parts * columns;
    float *part = l->parts > 1 ? r->scratch : y;
#pragma omp parallel for num_threads(r->threads)                                                   \
    schedule(static) if (tasks * l->rows * l->inner >= WEFT_GRAIN)
    for (int64_t t = 0; t < tasks; t++) {
        int64_t k = t % columns * COLUMNS, p = t / columns % l->parts, o = t / columns / l->parts;
        int64_t from = p * l->rows, rows = l->summed - from < l->rows ? l->summed - from : l->rows;
        int64_t n = l->inner - k < COLUMNS ? l->inner - k : COLUMNS;
        add_rows(part + (o * l->parts + p) * l->inner + k,
                 x + (o * l->summed + from) * l->inner + k, rows, l->inner, n,
                 l->parts > 1 ? 1 : alpha);
    }
    if (l->parts == 1)
        return;
#pragma omp parallel for num_threads(r->threads)                                                   \
    schedule(static) if (l->outer * l->parts * l->inner >= WEFT_GRAIN)
    for (int64_t t = 0; t < l->outer * columns; t++) {
        int64_t k = t % columns * COLUMNS, o = t / columns;
        int64_t n = l->inner - k < COLUMNS ? l->inner - k : COLUMNS;
        add_rows(y + o * l->inner + k, part + o * l->parts * l->inner + k, l->parts, l->inner, n,
                 alpha);
    }
}

/* ---- any strides, any axes ---- */
/* x as it looks from one element of y: only the summed axes are left. */
static weft_tensor summed_part(const weft_tensor *y, const weft_tensor *x)
{
    weft_tensor s = {.dtype = x->dtype, .count = 1};
    for (int i = 0; i < x->rank; i++)
        if (y->dim[i] != x->dim[i]) {
            s.dim[s.rank] = x->dim[i];
            s.stride[s.rank++] = x->stride[i];
            s.count *= x->dim[i];
        }
    return s;
}

/* Where x stands for element i of y, at 0 on the summed axes. */
static void *first_of(const weft_tensor *y, const weft_tensor *x, int64_t i)
{
    int64_t offset = 0;
    for (int d = x->rank; d-- > 0;) {
        offset += i % y->dim[d] * x->stride[d];
        i /= y->dim[d];
    }
    return (char *)x->data + offset * (int64_t)weft_dtype_size(x->dtype);
}

static void reduce_any(const weft_run *r, const weft_tensor *y, const weft_tensor *x, float alpha)
{
    const weft_tensor part = summed_part(y, x);
    (void)r; /* in a build without OpenMP */
#pragma omp parallel for num_threads(r->threads) schedule(static) if (x->count >= WEFT_GRAIN)
    for (int64_t i = 0; i < y->count; i++) {
        const float *from = first_of(y, x, i);
        double sum = 0;
        for (int64_t k = 0; k < part.count; k++)
            sum += from[weft_at(&part, k)];
        ((float *)y->data)[i] = (float)(alpha * sum);
    }
}

void weft_reduce_sum(const weft_run *r, const weft_tensor *y, const weft_tensor *x, float alpha)
{
    layout l;
    if (!find_layout(&l, y, x))
        reduce_any(r, y, x, alpha);
    else if (l.inner == 1)
        reduce_runs(r, &l, y->data, x->data, alpha);
    else
        reduce_rows(r, &l, y->data, x->data, alpha);
}

void weft_reduce_ref(const weft_tensor *y, const weft_tensor *x, double alpha)
{
    const weft_tensor part = summed_part(y, x);
    for (int64_t i = 0; i < y->count; i++) {
        weft_tensor t = part;
        double sum = 0;
        t.data = first_of(y, x, i);
        for (int64_t k = 0; k < part.count; k++)
            sum += weft_get(&t, k);
        weft_put(y, i, alpha * sum);
    }
}
