/* safetensors.h - one strict reader and one writer of safetensors files (Hugging Face, format as of
 * 2026).
 *
 * The file: u64 little-endian N, N bytes of JSON {"name": {"dtype", "shape", "data_offsets"},
 * "__metadata__": {...}}, then the tensors without a gap to the end of the file.  Accepted and
 * refused as by the reference implementation (huggingface/safetensors, safetensors/src/tensor.rs),
 * duplicate keys refused as its format text demands. */
#ifndef WEFT_SAFETENSORS_H
#define WEFT_SAFETENSORS_H

#include "graph/io.h"

/* An element type of the format; `kind` says how it converts. */
typedef struct {
    const char *name;
    int bits;
    enum { WEFT_FILE_FLOAT, WEFT_FILE_INT, WEFT_FILE_BOOL, WEFT_FILE_OTHER } kind;
    int rank;          /* place in the writer's order: larger first */
    weft_dtype native; /* 0: none of ours, readable only by conversion or not at all */
} weft_file_dtype;

typedef struct {
    const char *name;
    const char *dtype; /* "F32" */
    int rank;
    int64_t dim[WEFT_MAX_RANK];
    int64_t offset; /* from the start of the file */
    size_t bytes;
    const weft_file_dtype *type;
} weft_tensor_entry;

typedef struct {
    const char *key, *value;
} weft_meta;

/* An open file: read with the functions below; the fields are for safetensors*.c. */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path;
    int fd;
    weft_tensor_entry *entry; /* by offset */
    int n;
    weft_meta *meta;
    int n_meta;
    weft_map *names;
    void *chunk; /* scratch of conversions */
} weft_tensor_file;

/* Reads and validates the header only; errors name the file, the tensor, what was found and
 * expected. MISSING, IO, MALFORMED; UNSUPPORTED for more than WEFT_MAX_RANK axes. *out is NULL on
 * failure. */
weft_status weft_tensor_file_open(weft_ctx *c, const char *path, weft_tensor_file **out);
void weft_tensor_file_close(weft_tensor_file *f); /* NULL is fine */
int weft_tensor_file_count(const weft_tensor_file *f);
const weft_tensor_entry *weft_tensor_file_at(const weft_tensor_file *f, int i);
const weft_tensor_entry *weft_tensor_file_find(const weft_tensor_file *f,
                                               const char *name);              /* NULL: none */
const char *weft_tensor_file_meta(const weft_tensor_file *f, const char *key); /* NULL: none */
/* Reads one tensor into dst, converted to `dtype`: f32, f64 and bf16 from F16, BF16, F32, F64,
 * rounded to nearest even; i32, i64 and u16 exactly from any integer type (a value that does not
 * fit is MALFORMED); bool from BOOL. Other pairs: MISMATCH. dst holds the whole tensor. Also
 * refuses NaN and Inf (NUMERIC) when `finite`. */
weft_status weft_tensor_file_read(weft_tensor_file *f, const weft_tensor_entry *e, weft_dtype dtype,
                                  bool finite, void *dst);

/* Elements first .. first + n - 1 of it, the same way; dst holds n of them. */
weft_status weft_tensor_file_read_part(weft_tensor_file *f, const weft_tensor_entry *e,
                                       weft_dtype dtype, bool finite, size_t first, size_t n,
                                       void *dst);

typedef struct {
    const char *name;
    weft_type type;
    const void *data;
} weft_tensor_out;
/* Writes all tensors, in the reference writer's order (widest element type first, then by name),
 * atomically. Names are UTF-8 and unique (USAGE otherwise). *hash (may be NULL) is the XXH64 of the
 * file, *bytes (may be NULL) its size. Hugging Face's loader wants meta {"format": "pt"}. */
weft_status weft_tensor_file_write(weft_ctx *c, const char *path, const weft_tensor_out *t, int n,
                                   const weft_meta *meta, int n_meta, uint64_t *hash,
                                   int64_t *bytes);

/* Where the bytes of a tensor come from instead of memory: `put` hands exactly its bytes to the
 * writer. `dtype` names its element type in the file. */
typedef struct {
    const char *dtype;
    weft_status (*put)(void *user, weft_writer *w);
    void *user;
} weft_tensor_source;
/* The same with one source for each tensor; types give the shapes, data is not looked at. */
weft_status weft_tensor_file_stream(weft_ctx *c, const char *path, const weft_tensor_out *t,
                                    const weft_tensor_source *source, int n, const weft_meta *meta,
                                    int n_meta, int64_t *bytes);

/* The files behind one path: one, or the shards of an index. `arena` is given, the rest zero. */
typedef struct {
    weft_arena *arena;
    weft_tensor_file **file;
    const char **name; /* of the shards, in their folder */
    int n, cap, cap_name;
} weft_tensor_set;
/* A file, an index (*.json), or a folder that holds the file `weights` or its index
 * "<weights>.index.json". Shard names with a path in them are MALFORMED. Close it whatever comes
 * out. */
weft_status weft_tensor_set_open(weft_tensor_set *fs, const char *path, const char *weights);
void weft_tensor_set_close(weft_tensor_set *fs);

/* Float to binary16, rounded to nearest even; beyond the largest finite value infinity. */
uint16_t weft_f16_round(float x);
uint16_t weft_bf16_round(float x);

/* The format's element types, by its name and by ours; NULL if there is none. */
const weft_file_dtype *weft_file_dtype_find(const char *name);
const weft_file_dtype *weft_file_dtype_of(weft_dtype t);

#endif
