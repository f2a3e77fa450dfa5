/* loops.c - walks over tensors of any strides in long even rows, spread over threads in fixed
 * pieces.
 *
 * A walk first merges axes, then cuts the rows into pieces of at most WEFT_GRAIN positions; short
 * rows are grouped to tasks of about that size. Pieces depend on sizes alone, threads only share
 * them out: the bits of a result cannot depend on the number of threads. */
#include "ops/loops.h"

#include <stdio.h>
#include <string.h>

#include "ops/simd.h"

/* ---- nests ---- */
static int64_t broadcast_stride(const weft_tensor *shape, const weft_tensor *t, int axis)
{
    int k = axis - (shape->rank - t->rank);
    return k < 0 || t->dim[k] == 1 ? 0 : t->stride[k];
}

/* Can the axis with these strides be merged with the one before it, in every operand? */
static bool joins(const weft_nest *n, int64_t dim, const int64_t *stride)
{
    for (int k = 0; k < n->n_operand; k++)
        if (n->stride[k][n->rank - 1] != stride[k] * dim)
            return false;
    return true;
}

void weft_nest_make(weft_nest *n, const weft_tensor *const *operand, int n_operand)
{
    const weft_tensor *shape = operand[0];
    *n = (weft_nest){.n_operand = n_operand, .count = shape->count};
    for (int k = 0; k < n_operand; k++) {
        n->data[k] = operand[k]->data;
        n->size[k] = (int64_t)weft_dtype_size(operand[k]->dtype);
    }
    for (int axis = 0; axis < shape->rank; axis++) {
        int64_t dim = shape->dim[axis], stride[WEFT_WALK_MAX] = {0};
        if (dim == 1)
            continue;
        for (int k = 0; k < n_operand; k++)
            stride[k] = broadcast_stride(shape, operand[k], axis);
        if (n->rank && joins(n, dim, stride))
            n->dim[n->rank - 1] *= dim;
        else
            n->dim[n->rank++] = dim;
        for (int k = 0; k < n_operand; k++)
            n->stride[k][n->rank - 1] = stride[k];
    }
    if (!n->rank)
        n->dim[n->rank++] = 1;
}

/* The span at row `row` (all axes but the last), from position `from` of the last axis. */
static void place(const weft_nest *n, weft_span *s, int64_t row, int64_t from)
{
    int64_t offset[WEFT_WALK_MAX];
    for (int k = 0; k < n->n_operand; k++)
        offset[k] = from * n->stride[k][n->rank - 1];
    for (int axis = n->rank - 2; axis >= 0; axis--) {
        int64_t at = row % n->dim[axis];
        row /= n->dim[axis];
        for (int k = 0; k < n->n_operand; k++)
            offset[k] += at * n->stride[k][axis];
    }
    for (int k = 0; k < n->n_operand; k++)
        s->p[k] = n->data[k] + offset[k] * n->size[k];
}

void weft_nest_walk(const weft_run *r, const weft_nest *n, void (*span)(const weft_span *s),
                    const float *param)
{
    int64_t width = n->dim[n->rank - 1], rows = n->count / width;
    int64_t piece = width < WEFT_GRAIN ? width : WEFT_GRAIN; /* positions a span has at most */
    int64_t pieces = (width + piece - 1) / piece;            /* spans in a row */
    int64_t group = pieces > 1 ? 1 : (WEFT_GRAIN + width - 1) / width; /* rows of a task */
    int64_t tasks = (rows + group - 1) / group * pieces;
    (void)r; /* in a build without OpenMP */
#pragma omp parallel for num_threads(r->threads) schedule(static) if (n->count >= 2 * WEFT_GRAIN)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t from = task % pieces * piece, row = task / pieces * group;
        int64_t end = row + group < rows ? row + group : rows;
        weft_span s = {
            .n = width - from < piece ? width - from : piece, .param = param, .size = n->size[0]};
        for (int k = 0; k < n->n_operand; k++)
            s.stride[k] = n->stride[k][n->rank - 1];
        for (; row < end; row++) {
            place(n, &s, row, from);
            span(&s);
        }
    }
}

void weft_run_walk(const weft_run *r, int n_in, void (*span)(const weft_span *s),
                   const float *param)
{
    const weft_tensor *operand[WEFT_WALK_MAX] = {&r->out[0]};
    weft_nest n;
    for (int i = 0; i < n_in; i++)
        operand[i + 1] = &r->in[i];
    weft_nest_make(&n, operand, n_in + 1);
    weft_nest_walk(r, &n, span, param);
}

/* ---- copies ---- */
#define COPY_LOOP(type)                                                                            \
    for (int64_t i = 0; i < s->n; i++)                                                             \
    ((type *)s->p[0])[i * s->stride[0]] = ((const type *)s->p[1])[i * s->stride[1]]

static void span_copy(const weft_span *s)
{
    if (s->stride[0] == 1 && s->stride[1] == 1)
        memcpy(s->p[0], s->p[1], (size_t)(s->n * s->size));
    else if (s->size == 4)
        COPY_LOOP(uint32_t);
    else if (s->size == 8)
        COPY_LOOP(uint64_t);
    else if (s->size == 2)
        COPY_LOOP(uint16_t);
    else
        COPY_LOOP(uint8_t);
}

/* A copy whose two sides run along different axes is a transposition: done in tiles, or each
 * element would cost a cache line. A tile is read along x's unit axis and written along y's,
 * through a small buffer, since lines that lie a power of two apart would push each other out of
 * the cache. */
enum { TILE = 32, LENGTH = 128 }; /* long where x is read: fewer pages are touched */

static void copy_tile(weft_span *s, int64_t rows, int64_t y_row, int64_t x_row)
{
    uint32_t buffer[LENGTH][TILE + 1];
    const uint32_t *x = (const uint32_t *)s->p[1];
    uint32_t *y = (uint32_t *)s->p[0];
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t a = 0; a < rows; a++)
            buffer[a][i] = x[i * s->stride[1] + a * x_row];
    for (int64_t a = 0; a < rows; a++)
        for (int64_t i = 0; i < s->n; i++)
            y[a * y_row + i * s->stride[0]] = buffer[a][i];
}

static void copy_rows(weft_span *s, int64_t rows, int64_t y_row, int64_t x_row)
{
    for (int64_t a = 0; a < rows; a++) {
        span_copy(s);
        s->p[0] += y_row * s->size;
        s->p[1] += x_row * s->size;
    }
}

static void copy_tiled(const weft_run *r, const weft_nest *n, int axis)
{
    int last = n->rank - 1;
    int64_t a_tiles = (n->dim[axis] + LENGTH - 1) / LENGTH,
            l_tiles = (n->dim[last] + TILE - 1) / TILE;
    int64_t rest = n->count / n->dim[axis] / n->dim[last], tasks = rest * a_tiles * l_tiles;
    (void)r; /* in a build without OpenMP */
#pragma omp parallel for num_threads(r->threads) schedule(static) if (n->count >= 2 * WEFT_GRAIN)
    for (int64_t task = 0; task < tasks; task++) {
        int64_t l0 = task % l_tiles * TILE, a0 = task / l_tiles % a_tiles * LENGTH,
                at = task / l_tiles / a_tiles;
        int64_t l1 = l0 + TILE < n->dim[last] ? l0 + TILE : n->dim[last];
        int64_t a1 = a0 + LENGTH < n->dim[axis] ? a0 + LENGTH : n->dim[axis];
        int64_t y = l0 * n->stride[0][last], x = l0 * n->stride[1][last];
        for (int k = last - 1; k >= 0; k--)
            if (k != axis) {
                y += at % n->dim[k] * n->stride[0][k];
                x += at % n->dim[k] * n->stride[1][k];
                at /= n->dim[k];
            }
        int64_t y_row = n->stride[0][axis], x_row = n->stride[1][axis];
        weft_span s = {
            .n = l1 - l0, .size = n->size[0], .stride = {n->stride[0][last], n->stride[1][last]}};
        s.p[0] = n->data[0] + (y + a0 * y_row) * n->size[0];
        s.p[1] = n->data[1] + (x + a0 * x_row) * n->size[1];
        (s.size == 4 ? copy_tile : copy_rows)(&s, a1 - a0, y_row, x_row);
    }
}

void weft_tensor_copy(const weft_run *r, const weft_tensor *y, const weft_tensor *x)
{
    weft_nest n;
    weft_nest_make(&n, (const weft_tensor *const[]){y, x}, 2);
    int last = n.rank - 1;
    if (n.stride[1][last] > 1)
        for (int axis = 0; axis < last; axis++)
            if (n.stride[1][axis] == 1 && n.dim[axis] > 1) {
                copy_tiled(r, &n, axis);
                return;
            }
    weft_nest_walk(r, &n, span_copy, NULL);
}

/* ---- views ---- */
weft_tensor weft_tensor_slice(const weft_tensor *x, int axis, int64_t from, int64_t size,
                              int64_t step)
{
    weft_tensor y = *x;
    y.data = (char *)x->data + from * x->stride[axis] * (int64_t)weft_dtype_size(x->dtype);
    y.count = x->count / x->dim[axis] * size;
    y.dim[axis] = size;
    y.stride[axis] = x->stride[axis] * step;
    return y;
}

weft_tensor weft_tensor_permute(const weft_tensor *x, const int *perm)
{
    weft_tensor y = *x;
    for (int i = 0; i < x->rank; i++) {
        y.dim[i] = x->dim[perm[i]];
        y.stride[i] = x->stride[perm[i]];
    }
    return y;
}

weft_tensor weft_tensor_resize(const weft_tensor *x, int rank, const int64_t *dim)
{
    weft_tensor y = {.data = x->data, .dtype = x->dtype, .rank = rank, .count = x->count};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        y.dim[i] = dim[i];
        y.stride[i] = stride;
        stride *= dim[i];
    }
    return y;
}

bool weft_tensor_dense(const weft_tensor *x)
{
    int64_t stride = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        if (x->dim[i] != 1 && x->stride[i] != stride)
            return false;
        stride *= x->dim[i];
    }
    return true;
}

/* ---- references ---- */
void weft_ref_unary(const weft_run *r, double (*f)(double))
{
    for (int64_t i = 0; i < r->out[0].count; i++)
        weft_put(&r->out[0], i, f(weft_get(&r->in[0], i)));
}

void weft_ref_binary(const weft_run *r, double (*f)(double, double))
{
    const weft_tensor *y = &r->out[0], *a = &r->in[0], *b = &r->in[1];
    for (int64_t i = 0; i < y->count; i++)
        weft_put(y, i,
                 f(weft_get(a, weft_broadcast_index(y, a, i)),
                   weft_get(b, weft_broadcast_index(y, b, i))));
}

void weft_ref_move(const weft_tensor *y, int64_t i, const weft_tensor *x, int64_t j)
{
    size_t size = weft_dtype_size(y->dtype);
    memcpy((char *)y->data + (size_t)weft_at(y, i) * size,
           (const char *)x->data + (size_t)weft_at(x, j) * size, size);
}

/* ---- schema helpers ---- */
const char *weft_dims_text(char out[WEFT_DIMS_TEXT], const weft_type *t)
{
    out[0] = 0;
    for (int i = 0, k = 0; i < t->rank; i++)
        k += snprintf(out + k, (size_t)(WEFT_DIMS_TEXT - k), "%s%lld", i ? "," : "",
                      (long long)t->dim[i]);
    return out;
}

double weft_flops_elements(const weft_call *c)
{
    return (double)weft_type_count(weft_call_out(c, 0));
}

void weft_infer_like_first(weft_infer *c) { weft_infer_out(c, 0, *weft_call_in(c, 0)); }
