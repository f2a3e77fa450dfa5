/* convert.h - between the public interface (weft_weights_import, weft_weights_export) and its
 * parts: tensors that stream from one file into another. */
#ifndef WEFT_CONVERT_H
#define WEFT_CONVERT_H

#include "graph/names.h"

/* How one item gets into a file. */
typedef struct {
    const weft_match_item *item;
    weft_ctx *ctx;
    const weft_file_dtype *to; /* F32, BF16 or F16 */
    weft_type type;            /* shape as written */
    void *scratch;             /* WEFT_CONVERT_BYTES, shared by all streams */
    const char *path;          /* of the source, for messages */
} weft_stream;

/* Bounds the memory of a conversion, whatever the tensors' sizes. */
#define WEFT_CONVERT_BYTES ((size_t)32 << 20)

/* put of a weft_tensor_source: converts and, where the rule says so, transposes block by block.
 * NUMERIC for NaN, infinities, and values beyond the element type. */
weft_status weft_stream_put(void *stream, weft_writer *w);
/* Refuses (UNSUPPORTED) to export the weights at `path` where their model, which lies beside them,
 * intervenes on what it computes. */
weft_status weft_convert_check_model(weft_arena *a, const char *path);
/* Do two tensors of the source hold the same bytes? */
weft_status weft_tensor_same(weft_tensor_file *fa, const weft_tensor_entry *a, weft_tensor_file *fb,
                             const weft_tensor_entry *b, bool *same);
/* Have all rows (last axis) length 1, to one in a thousand? Unit vectors rounded to bf16 stay
 * within. */
weft_status weft_tensor_is_unit(weft_arena *a, weft_tensor_file *f, const weft_tensor_entry *e,
                                bool *yes);

#endif
