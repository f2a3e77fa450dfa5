/* safetensors.h - one strict reader and one writer of safetensors files (Hugging Face, format as of 2026). */
#ifndef WEFT_SAFETENSORS_H
#define WEFT_SAFETENSORS_H

#include "graph/io.h"

typedef struct {
    const char *name;
    const char *dtype;   /* "F32" */
    int rank;
    int64_t dim[WEFT_MAX_RANK];
    int64_t offset;      /* from the start of the file */
    size_t bytes;
} weft_tensor_entry;

typedef struct {
    const char *key, *value;
} weft_meta;

typedef struct weft_tensor_file weft_tensor_file;
/* Reads and validates the header only; errors name the file, the tensor, what was found and expected. */
weft_status weft_tensor_file_open(weft_ctx *c, const char *path, weft_tensor_file **out);
void weft_tensor_file_close(weft_tensor_file *f);
int weft_tensor_file_count(const weft_tensor_file *f);
const weft_tensor_entry *weft_tensor_file_at(const weft_tensor_file *f, int i);
const weft_tensor_entry *weft_tensor_file_find(const weft_tensor_file *f, const char *name);
const char *weft_tensor_file_meta(const weft_tensor_file *f, const char *key);
/* Reads one tensor into dst, converted to `dtype` (f32 from F32/F64/F16/BF16; integers exactly); dst holds
 * the whole tensor. Also checks for NaN and Inf when `finite`. */
weft_status weft_tensor_file_read(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype dtype, bool finite,
                                  void *dst);

typedef struct {
    const char *name;
    weft_type type;
    const void *data;
} weft_tensor_out;
/* Writes all tensors, in the reference writer's order, atomically. *hash (may be NULL) is the hash of the file. */
weft_status weft_tensor_file_write(weft_ctx *c, const char *path, const weft_tensor_out *t, int n,
                                   const weft_meta *meta, int n_meta, uint64_t *hash, int64_t *bytes);

#endif
