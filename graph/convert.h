/* convert.h - what is below the public interface (weft_weights_import, weft_weights_export): one
 * conversion, and tensors that stream from one file into another. */
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

/* One import or export. Everything but `scratch`, `known`, `notes` and what `match` and `set` hold
 * is in the arena. */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const weft_convert_options *o;
    weft_convert_result *r;
    weft_names names;
    weft_tensor_set set; /* what is read */
    weft_match match;
    weft_string known, notes; /* become r->set and r->notes */
    const weft_file_dtype *to;
    void *scratch;        /* WEFT_CONVERT_BYTES */
    const char **written; /* files so far */
    int n_written, cap_written;
    const char *made; /* the folder of the export, if it is new */
} weft_conversion;

/* Loads the name map and takes memory. After it, whatever it returned, weft_convert_end. */
weft_status weft_convert_begin(weft_conversion *j, weft_ctx *c, const weft_convert_options *o,
                               weft_convert_result *r);
/* Fills the result if `s` is OK, and frees what the conversion holds. Returns `s`, or NOMEM. */
weft_status weft_convert_end(weft_conversion *j, weft_status s);
/* Binds the options' settings, the last of a name. `strict`: a name that the map does not know is
 * USAGE, unless the options say that it may be for somebody else. */
weft_status weft_convert_bind(weft_conversion *j, bool strict);
/* Binds a parameter that nobody has given yet; `origin` is what messages call its source. */
weft_status weft_convert_bind_new(weft_conversion *j, const char *name, double v,
                                  const char *origin);
/* folder/name, parsed; *path is always set. *out stays NULL when there is no such file. */
weft_status weft_convert_json(weft_conversion *j, const char *folder, const char *name,
                              const char **path, weft_json **out);
/* `path` itself or the folder that it lies in; NULL without memory. */
const char *weft_convert_folder(weft_conversion *j, const char *path);
/* Matches every tensor of j->set. */
weft_status weft_convert_match(weft_conversion *j);
/* Shape of an item in the file that is written. */
weft_type weft_convert_type(const weft_match_item *it);
/* Items first .. first + n - 1 as one file; `prefix` is put before names that take one. */
weft_status weft_convert_write(weft_conversion *j, const char *path, const char *prefix, int first,
                               int n, const weft_meta *meta, int n_meta);
/* Remembers a file before it is written: a failed export takes it away. */
weft_status weft_convert_wrote(weft_conversion *j, const char *path);

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
