/* tensors.c - looking into files of weights: names, types, statistics, distances, in bounded
 * memory. */
#include <math.h>
#include <string.h>

#include "graph/checkpoint.h"
#include "graph/names.h"

enum { CHUNK = 65536 };

struct weft_tensors {
    weft_ctx *ctx;
    weft_tensor_set set;
    double *x, *y; /* of CHUNK elements */
};

weft_status weft_tensors_open(weft_ctx *c, const char *path, weft_tensors **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_tensors *f = a ? weft_arena_alloc(a, sizeof *f) : NULL;
    if (!f) {
        weft_arena_free(a);
        return weft_error_status(c);
    }
    *f = (weft_tensors){.ctx = c, .set = {.arena = a}};
    f->x = weft_arena_array(a, CHUNK, sizeof *f->x);
    f->y = weft_arena_array(a, CHUNK, sizeof *f->y);
    weft_status s = f->x && f->y ? weft_weights_find(a, path, &path) : weft_error_status(c);
    if (!s)
        s = weft_tensor_set_open(&f->set, path, "model.safetensors");
    if (s)
        weft_tensors_close(f);
    else
        *out = f;
    return s;
}

void weft_tensors_close(weft_tensors *f)
{
    if (!f)
        return;
    weft_tensor_set_close(&f->set);
    weft_arena_free(f->set.arena);
}

static const weft_tensor_entry *entry_at(const weft_tensors *f, int i, weft_tensor_file **file)
{
    *file = NULL;
    for (int k = 0; i >= 0 && k < f->set.n; k++) {
        *file = f->set.file[k];
        if (i < (*file)->n)
            return weft_tensor_file_at(*file, i);
        i -= (*file)->n;
    }
    return NULL;
}

bool weft_tensors_at(const weft_tensors *f, int i, weft_tensor_info *out)
{
    weft_tensor_file *file;
    const weft_tensor_entry *e = entry_at(f, i, &file);
    *out = (weft_tensor_info){0};
    if (!e)
        return false;
    out->name = e->name;
    out->dtype = e->dtype;
    out->rank = e->rank;
    memcpy(out->dim, e->dim, sizeof out->dim);
    out->bytes = (int64_t)e->bytes;
    out->count = 1;
    for (int k = 0; k < e->rank; k++)
        out->count *= e->dim[k];
    return true;
}

int weft_tensors_find(const weft_tensors *f, const char *name)
{
    weft_tensor_file *file;
    const weft_tensor_entry *e;
    for (int i = 0; (e = entry_at(f, i, &file)); i++)
        if (!strcmp(e->name, name))
            return i;
    return -1;
}

/* Elements as doubles: floats of any kind, bools, or whole numbers (exact up to 2^53). Narrow ones
 * are widened in place, from the last one down. */
static weft_status read_part(weft_tensor_file *file, const weft_tensor_entry *e, size_t at,
                             size_t n, double *x)
{
    if (e->type->kind == WEFT_FILE_BOOL) {
        unsigned char *b = (unsigned char *)x;
        WEFT_TRY(weft_tensor_file_read_part(file, e, WEFT_BOOL, false, at, n, b));
        for (size_t i = n; i--;) {
            double d = b[i];
            memcpy(&x[i], &d, sizeof d);
        }
        return WEFT_OK;
    }
    if (e->type->kind != WEFT_FILE_INT)
        return weft_tensor_file_read_part(file, e, WEFT_F64, false, at, n, x);
    int64_t *whole = (int64_t *)x; /* the same size, converted in place */
    WEFT_TRY(weft_tensor_file_read_part(file, e, WEFT_I64, false, at, n, whole));
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        memcpy(&v, &whole[i], sizeof v);
        double d = (double)v;
        memcpy(&x[i], &d, sizeof d);
    }
    return WEFT_OK;
}

weft_status weft_tensors_measure(weft_tensors *f, int i, weft_tensor_info *out)
{
    weft_tensor_file *file;
    const weft_tensor_entry *e = entry_at(f, i, &file);
    double sum = 0, squares = 0, min = INFINITY, max = -INFINITY;
    if (!e || !weft_tensors_at(f, i, out))
        return weft_fail(f->ctx, WEFT_USAGE, "there is no tensor %d", i);
    int64_t good = 0;
    for (int64_t at = 0; at < out->count; at += CHUNK) {
        int64_t n = out->count - at < CHUNK ? out->count - at : CHUNK;
        WEFT_TRY(read_part(file, e, (size_t)at, (size_t)n, f->x));
        for (int64_t k = 0; k < n; k++) {
            double v = f->x[k];
            out->not_finite += !isfinite(v);
            if (!isfinite(v))
                continue;
            good++;
            out->zeros += v == 0;
            sum += v;
            squares += v * v;
            min = v < min ? v : min;
            max = v > max ? v : max;
        }
    }
    double mean = good ? sum / (double)good : NAN;
    double variance = good ? squares / (double)good - mean * mean : NAN;
    out->min = good ? min : NAN;
    out->max = good ? max : NAN;
    out->mean = mean;
    out->std = variance > 0 ? sqrt(variance) : variance <= 0 ? 0 : NAN;
    return WEFT_OK;
}

weft_status weft_tensors_distance(weft_tensors *a, int i, weft_tensors *b, int k, double *out)
{
    weft_tensor_file *fa, *fb;
    const weft_tensor_entry *x = entry_at(a, i, &fa), *y = entry_at(b, k, &fb);
    weft_tensor_info info;
    *out = 0;
    if (!x || !y || !weft_tensors_at(a, i, &info))
        return weft_fail(a->ctx, WEFT_USAGE, "there is no such tensor");
    for (int64_t at = 0; at < info.count; at += CHUNK) {
        size_t n = (size_t)(info.count - at < CHUNK ? info.count - at : CHUNK);
        WEFT_TRY(read_part(fa, x, (size_t)at, n, a->x));
        WEFT_TRY(read_part(fb, y, (size_t)at, n, b->y));
        for (size_t e = 0; e < n; e++) {
            double d = fabs(a->x[e] - b->y[e]);
            if (a->x[e] == b->y[e] || (isnan(a->x[e]) && isnan(b->y[e])))
                continue;
            *out = isnan(d) ? INFINITY : d > *out ? d : *out;
        }
    }
    return WEFT_OK;
}
