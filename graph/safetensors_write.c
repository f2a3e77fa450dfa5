/* safetensors_write.c - writing a safetensors file, byte for byte as the reference writer lays it
 * out. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "graph/op.h"
#include "graph/safetensors.h"

typedef struct {
    const weft_tensor_out *out;
    const weft_tensor_source *source; /* NULL: the data are in memory */
    const weft_file_dtype *type;
    size_t bytes;
} item;

/* Widest alignment first, so that every tensor is aligned to its element when the header is; then
 * by name. */
static int by_type_and_name(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    if (a->type->rank != b->type->rank)
        return a->type->rank > b->type->rank ? -1 : 1;
    return strcmp(a->out->name, b->out->name);
}

static void add_meta(weft_string *s, const weft_meta *meta, int n)
{
    if (!n)
        return;
    weft_string_printf(s, "\"__metadata__\":{");
    for (int i = 0; i < n; i++) {
        weft_string_printf(s, i ? "," : "");
        weft_string_json(s, meta[i].key);
        weft_string_printf(s, ":");
        weft_string_json(s, meta[i].value);
    }
    weft_string_printf(s, "}");
}

static void add_entry(weft_string *s, const item *t, int64_t begin)
{
    weft_string_json(s, t->out->name);
    weft_string_printf(s, ":{\"dtype\":\"%s\",\"shape\":[", t->type->name);
    for (int i = 0; i < t->out->type.rank; i++)
        weft_string_printf(s, i ? ",%" PRId64 : "%" PRId64, t->out->type.dim[i]);
    weft_string_printf(s, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", begin,
                       begin + (int64_t)t->bytes);
}

static void add_header(weft_string *s, const item *t, int n, const weft_meta *meta, int n_meta)
{
    weft_string_printf(s, "{");
    add_meta(s, meta, n_meta);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        weft_string_printf(s, i || n_meta ? "," : "");
        add_entry(s, &t[i], at);
        at += (int64_t)t[i].bytes;
    }
    weft_string_printf(s, "}");
    while (!s->failed && s->len % 8)
        weft_string_add(s, " ", 1);
}

static weft_status collect(weft_ctx *c, const char *path, const weft_tensor_out *t,
                           const weft_tensor_source *source, int n, item *out)
{
    char name[256];
    for (int i = 0; i < n; i++) {
        const weft_file_dtype *type =
            source ? weft_file_dtype_find(source[i].dtype) : weft_file_dtype_of(t[i].type.dtype);
        weft_printable(name, sizeof name, t[i].name);
        if (!type)
            return weft_fail(c, WEFT_INTERNAL, "%s: tensor '%s' has no element type of the format",
                             path, name);
        if (!strcmp(t[i].name, "__metadata__"))
            return weft_fail(c, WEFT_USAGE, "%s: the format reserves the tensor name '%s'", path,
                             name);
        out[i] = (item){&t[i], source ? &source[i] : NULL, type,
                        (size_t)weft_type_count(&t[i].type) * (size_t)type->bits / 8};
    }
    if (n)
        qsort(out, (size_t)n, sizeof *out, by_type_and_name);
    return WEFT_OK;
}

/* Equal names of different element types are not neighbours in the order of the file. */
static weft_status check_unique(weft_arena *a, const char *path, const weft_tensor_out *t, int n)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_map *seen = weft_map_new(a);
    char name[256];
    for (int i = 0; seen && i < n; i++) {
        if (weft_map_get(seen, t[i].name, -1) >= 0)
            return weft_fail(c, WEFT_USAGE, "%s: two tensors are named '%s'", path,
                             weft_printable(name, sizeof name, t[i].name));
        if (!weft_map_set(seen, t[i].name, i))
            return c->status;
    }
    return seen ? WEFT_OK : c->status;
}

/* Failures of the writer itself are sticky and left to its commit. */
static weft_status put_tensor(weft_ctx *c, weft_writer *w, const item *t)
{
    if (!t->source) {
        weft_writer_put(w, t->out->data, t->bytes);
        return WEFT_OK;
    }
    int64_t before = weft_writer_size(w);
    WEFT_TRY(t->source->put(t->source->user, w));
    if (weft_writer_size(w) - before == (int64_t)t->bytes)
        return WEFT_OK;
    return weft_fail(c, WEFT_INTERNAL, "tensor '%s': %" PRId64 " bytes written instead of %zu",
                     t->out->name, weft_writer_size(w) - before, t->bytes);
}

static weft_status write_items(weft_ctx *c, const char *path, const weft_string *header,
                               const item *t, int n, uint64_t *hash, int64_t *bytes)
{
    weft_writer *w;
    WEFT_TRY(weft_make_parent(c, path));
    WEFT_TRY(weft_writer_open(c, path, &w));
    uint64_t length = header->len;
    weft_writer_put(w, &length, sizeof length);
    weft_writer_put(w, header->s, header->len);
    for (int i = 0; i < n; i++)
        if (put_tensor(c, w, &t[i])) {
            weft_writer_abort(w);
            return weft_error_status(c);
        }
    if (hash)
        *hash = weft_writer_hash(w);
    if (bytes)
        *bytes = weft_writer_size(w);
    return weft_writer_commit(w); /* reports the first failure of all of these */
}

static weft_status write_file(weft_arena *a, const char *path, const weft_tensor_out *t,
                              const weft_tensor_source *source, int n, const weft_meta *meta,
                              int n_meta, uint64_t *hash, int64_t *bytes)
{
    weft_ctx *c = weft_arena_ctx(a);
    item *items = weft_arena_array(a, (size_t)n, sizeof *items);
    if (!items)
        return c->status;
    WEFT_TRY(check_unique(a, path, t, n));
    WEFT_TRY(collect(c, path, t, source, n, items));
    weft_string header;
    weft_string_init(&header, c);
    add_header(&header, items, n, meta, n_meta);
    weft_status s =
        header.failed ? c->status : write_items(c, path, &header, items, n, hash, bytes);
    weft_string_free(&header);
    return s;
}

static weft_status write_any(weft_ctx *c, const char *path, const weft_tensor_out *t,
                             const weft_tensor_source *source, int n, const weft_meta *meta,
                             int n_meta, uint64_t *hash, int64_t *bytes)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status s = write_file(a, path, t, source, n, meta, n_meta, hash, bytes);
    weft_arena_free(a);
    return s;
}

weft_status weft_tensor_file_write(weft_ctx *c, const char *path, const weft_tensor_out *t, int n,
                                   const weft_meta *meta, int n_meta, uint64_t *hash,
                                   int64_t *bytes)
{
    return write_any(c, path, t, NULL, n, meta, n_meta, hash, bytes);
}

weft_status weft_tensor_file_stream(weft_ctx *c, const char *path, const weft_tensor_out *t,
                                    const weft_tensor_source *source, int n, const weft_meta *meta,
                                    int n_meta, int64_t *bytes)
{
    return write_any(c, path, t, source, n, meta, n_meta, NULL, bytes);
}
