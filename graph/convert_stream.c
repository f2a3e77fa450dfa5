/* convert_stream.c - one tensor from a file to another: element type and order of axes change on
 * the way, in bounded memory. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "graph/convert.h"

/* Elements that fit the scratch as f32, with room for the same number in the written type. */
static size_t room(void) { return WEFT_CONVERT_BYTES / 8; }

static weft_status overflow(const weft_stream *s, float x)
{
    char name[256];
    return weft_fail(s->ctx, WEFT_NUMERIC, "%s: tensor '%s': %g is beyond the range of %s", s->path,
                     weft_printable(name, sizeof name, s->item->entry->name), (double)x,
                     s->to->name);
}

/* n values to the written type, and out. */
static weft_status put_values(const weft_stream *s, const float *x, size_t n, weft_writer *w)
{
    uint16_t *half = (uint16_t *)((float *)s->scratch + room());
    if (s->to->bits == 32) {
        weft_writer_put(w, x, n * sizeof *x);
        return WEFT_OK;
    }
    bool brain = s->to->native == WEFT_BF16;
    uint16_t top = brain ? 0x7f80 : 0x7c00;
    for (size_t i = 0; i < n; i++) {
        half[i] = brain ? weft_bf16_round(x[i]) : weft_f16_round(x[i]);
        if ((half[i] & top) == top)
            return overflow(s, x[i]);
    }
    weft_writer_put(w, half, n * sizeof *half);
    return WEFT_OK;
}

static weft_status put_straight(const weft_stream *s, weft_writer *w)
{
    const weft_tensor_entry *e = s->item->entry;
    size_t count = (size_t)weft_type_count(&s->type);
    for (size_t at = 0; at < count; at += room()) {
        size_t n = count - at < room() ? count - at : room();
        WEFT_TRY(weft_tensor_file_read_part(s->item->file, e, WEFT_F32, true, at, n, s->scratch));
        WEFT_TRY(put_values(s, s->scratch, n, w));
    }
    return WEFT_OK;
}

/* Rows of the result are columns of the source: of `width` columns at a time the piece of every
 * source row is read, and then handed out column by column. The scratch is cut in three: the block,
 * one column, and its written form; a source with more rows than a column has room for is taken in
 * pieces, one column at a time. */
static weft_status put_columns(const weft_stream *s, size_t first, size_t width, weft_writer *w)
{
    const weft_tensor_entry *e = s->item->entry;
    size_t rows = (size_t)e->dim[0], cols = (size_t)e->dim[1], half = room() / 2;
    float *block = s->scratch, *column = block + half;
    for (size_t from = 0; from < rows; from += half) {
        size_t n = rows - from < half ? rows - from : half;
        for (size_t r = 0; r < n; r++)
            WEFT_TRY(weft_tensor_file_read_part(s->item->file, e, WEFT_F32, true,
                                                (from + r) * cols + first, width,
                                                block + r * width));
        for (size_t k = 0; k < width; k++) {
            for (size_t r = 0; r < n; r++)
                column[r] = block[r * width + k];
            WEFT_TRY(put_values(s, column, n, w));
        }
    }
    return WEFT_OK;
}

static weft_status put_transposed(const weft_stream *s, weft_writer *w)
{
    size_t rows = (size_t)s->item->entry->dim[0], cols = (size_t)s->item->entry->dim[1];
    size_t width = rows ? room() / 2 / rows : cols;
    width = width < 1 ? 1 : width;
    for (size_t at = 0; rows && at < cols; at += width)
        WEFT_TRY(put_columns(s, at, cols - at < width ? cols - at : width, w));
    return WEFT_OK;
}

weft_status weft_stream_put(void *stream, weft_writer *w)
{
    const weft_stream *s = stream;
    return s->item->rule->transpose ? put_transposed(s, w) : put_straight(s, w);
}

weft_status weft_tensor_same(weft_tensor_file *fa, const weft_tensor_entry *a, weft_tensor_file *fb,
                             const weft_tensor_entry *b, bool *same)
{
    enum { BLOCK = 8192 };
    char x[BLOCK], y[BLOCK];
    *same = a->bytes == b->bytes && a->type == b->type;
    for (size_t at = 0; *same && at < a->bytes; at += BLOCK) {
        size_t n = a->bytes - at < BLOCK ? a->bytes - at : BLOCK;
        WEFT_TRY(weft_read_at(fa->ctx, fa->fd, fa->path, x, n, a->offset + (int64_t)at));
        WEFT_TRY(weft_read_at(fb->ctx, fb->fd, fb->path, y, n, b->offset + (int64_t)at));
        *same = !memcmp(x, y, n);
    }
    return WEFT_OK;
}

weft_status weft_tensor_is_unit(weft_arena *a, weft_tensor_file *f, const weft_tensor_entry *e,
                                bool *yes)
{
    size_t d = e->rank ? (size_t)e->dim[e->rank - 1] : 0, count = 1;
    for (int i = 0; i < e->rank; i++)
        count *= (size_t)e->dim[i];
    float *row = weft_arena_array(a, d + 1, sizeof *row);
    *yes = d > 0;
    if (!row)
        return WEFT_NOMEM;
    for (size_t at = 0; *yes && at < count; at += d) {
        double sum = 0;
        WEFT_TRY(weft_tensor_file_read_part(f, e, WEFT_F32, false, at, d, row));
        for (size_t i = 0; i < d; i++)
            sum += (double)row[i] * row[i];
        *yes = fabs(sqrt(sum) - 1) <= 1e-3;
    }
    return WEFT_OK;
}
