/* safetensors.c - reading the header of a safetensors file: every rule of the format is checked
 * before any data is. */
#include "graph/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/json.h"
#include "graph/sniff.h"

/* The reference's limit, and the reason why a file of another kind is refused at once. */
#define HEADER_LIMIT 100000000
/* Memory for a header of n bytes: 8 n and this. A real header takes 6 to 7 times its size. */
#define HEADER_ROOM ((size_t)16 << 20)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor files are little-endian");

/* `rank` follows the order of the reference's enum Dtype, which its writer sorts by. */
static const weft_file_dtype dtypes[] = {
    {"BOOL", 8, WEFT_FILE_BOOL, 0, WEFT_BOOL},
    {"F4", 4, WEFT_FILE_OTHER, 1, 0},
    {"F6_E2M3", 6, WEFT_FILE_OTHER, 2, 0},
    {"F6_E3M2", 6, WEFT_FILE_OTHER, 3, 0},
    {"U8", 8, WEFT_FILE_INT, 4, 0},
    {"I8", 8, WEFT_FILE_INT, 5, 0},
    {"F8_E5M2", 8, WEFT_FILE_OTHER, 6, 0},
    {"F8_E4M3", 8, WEFT_FILE_OTHER, 7, 0},
    {"F8_E8M0", 8, WEFT_FILE_OTHER, 8, 0},
    {"F8_E4M3FNUZ", 8, WEFT_FILE_OTHER, 9, 0},
    {"F8_E5M2FNUZ", 8, WEFT_FILE_OTHER, 10, 0},
    {"I16", 16, WEFT_FILE_INT, 11, 0},
    {"U16", 16, WEFT_FILE_INT, 12, WEFT_U16},
    {"F16", 16, WEFT_FILE_FLOAT, 13, 0},
    {"BF16", 16, WEFT_FILE_FLOAT, 14, WEFT_BF16},
    {"I32", 32, WEFT_FILE_INT, 15, WEFT_I32},
    {"U32", 32, WEFT_FILE_INT, 16, 0},
    {"F32", 32, WEFT_FILE_FLOAT, 17, WEFT_F32},
    {"C64", 64, WEFT_FILE_OTHER, 18, 0},
    {"F64", 64, WEFT_FILE_FLOAT, 19, WEFT_F64},
    {"I64", 64, WEFT_FILE_INT, 20, WEFT_I64},
    {"U64", 64, WEFT_FILE_INT, 21, 0},
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

const weft_file_dtype *weft_file_dtype_find(const char *name)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

const weft_file_dtype *weft_file_dtype_of(weft_dtype t)
{
    for (size_t i = 0; i < N_DTYPES; i++)
        if (t && dtypes[i].native == t)
            return &dtypes[i];
    return NULL;
}

/* "FILE: <what>", or "FILE: tensor 'NAME': <what>". */
static weft_status bad(weft_tensor_file *f, const char *tensor, const char *fmt, ...)
    WEFT_PRINTF(3, 4);
static weft_status bad(weft_tensor_file *f, const char *tensor, const char *fmt, ...)
{
    char what[512], file[512], name[256];
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft_printable(file, sizeof file, f->path);
    if (!tensor)
        return weft_fail(f->ctx, WEFT_MALFORMED, "%s: %s", file, what);
    return weft_fail(f->ctx, WEFT_MALFORMED, "%s: tensor '%s': %s", file,
                     weft_printable(name, sizeof name, tensor), what);
}

/* ---- one entry ---- */
static weft_status parse_dtype(weft_tensor_file *f, weft_tensor_entry *e, const weft_json *j)
{
    if (!weft_json_is(j, WEFT_JSON_STRING))
        return bad(f, e->name, "dtype is %s, expected a string like \"F32\"", weft_json_name(j));
    e->type = weft_file_dtype_find(j->text);
    char name[64];
    if (!e->type)
        return bad(f, e->name, "unknown dtype \"%s\", expected F32, F16, BF16, F64, I64, ...",
                   weft_printable(name, sizeof name, j->text));
    e->dtype = e->type->name;
    return WEFT_OK;
}

static weft_status parse_shape(weft_tensor_file *f, weft_tensor_entry *e, const weft_json *j)
{
    if (!weft_json_is(j, WEFT_JSON_ARRAY))
        return bad(f, e->name, "shape is %s, expected a list of sizes", weft_json_name(j));
    if (j->n > WEFT_MAX_RANK) {
        char file[512], name[256];
        return weft_fail(f->ctx, WEFT_UNSUPPORTED,
                         "%s: tensor '%s': has %d axes, at most %d are supported",
                         weft_printable(file, sizeof file, f->path),
                         weft_printable(name, sizeof name, e->name), j->n, WEFT_MAX_RANK);
    }
    e->rank = j->n;
    const weft_json *d = j->child;
    for (int i = 0; i < e->rank; i++, d = d->next) {
        if (!weft_json_is(d, WEFT_JSON_INT))
            return bad(f, e->name, "shape[%d] is %s, expected a whole number", i,
                       weft_json_name(d));
        e->dim[i] = d->i;
        if (e->dim[i] < 0)
            return bad(f, e->name, "shape[%d] is %" PRId64 ", expected 0 or more", i, e->dim[i]);
    }
    return WEFT_OK;
}

/* Leaves `begin` in offset, relative to the data; the base is added when all is checked. */
static weft_status parse_offsets(weft_tensor_file *f, weft_tensor_entry *e, const weft_json *j)
{
    if (!weft_json_is(j, WEFT_JSON_ARRAY) || j->n != 2)
        return bad(f, e->name, "data_offsets is %s, expected [begin, end]",
                   weft_json_is(j, WEFT_JSON_ARRAY) ? "a list of another length"
                                                    : weft_json_name(j));
    int64_t at[2];
    const weft_json *v = j->child;
    for (int i = 0; i < 2; i++, v = v->next) {
        if (!weft_json_is(v, WEFT_JSON_INT) || v->i < 0)
            return bad(f, e->name, "data_offsets[%d] is %s, expected a whole number from 0", i,
                       weft_json_is(v, WEFT_JSON_INT) ? "negative" : weft_json_name(v));
        at[i] = v->i;
    }
    if (at[0] > at[1])
        return bad(f, e->name, "data_offsets [%" PRId64 ", %" PRId64 "]: begin is after end", at[0],
                   at[1]);
    e->offset = at[0];
    e->bytes = (size_t)(at[1] - at[0]);
    return WEFT_OK;
}

static const char *shape_text(char *out, size_t n, const weft_tensor_entry *e)
{
    size_t k = (size_t)snprintf(out, n, "[");
    for (int i = 0; i < e->rank && k < n; i++)
        k += (size_t)snprintf(out + k, n - k, i ? ",%" PRId64 : "%" PRId64, e->dim[i]);
    if (k < n)
        snprintf(out + k, n - k, "]");
    return out;
}

/* The bytes that dtype and shape ask for must be those between the offsets. */
static weft_status check_size(weft_tensor_file *f, const weft_tensor_entry *e)
{
    int64_t bits = 1;
    char shape[256];
    bool fits = true;
    for (int i = 0; i < e->rank; i++)
        fits = fits && weft_mul_ok(bits, e->dim[i], &bits);
    if (!fits || !weft_mul_ok(bits, e->type->bits, &bits))
        return bad(f, e->name, "%s%s is too large for 64 bits", e->dtype,
                   shape_text(shape, sizeof shape, e));
    if (bits % 8)
        return bad(f, e->name, "%s%s is %" PRId64 " bits, expected whole bytes", e->dtype,
                   shape_text(shape, sizeof shape, e), bits);
    if ((size_t)(bits / 8) != e->bytes)
        return bad(f, e->name, "data_offsets span %zu bytes, expected %" PRId64 " for %s%s",
                   e->bytes, bits / 8, e->dtype, shape_text(shape, sizeof shape, e));
    return WEFT_OK;
}

static weft_status parse_entry(weft_tensor_file *f, const weft_json *j)
{
    weft_tensor_entry *e = &f->entry[f->n];
    e->name = weft_arena_strdup(f->arena, j->key);
    if (!e->name)
        return f->ctx->status;
    if (!weft_json_is(j, WEFT_JSON_OBJECT))
        return bad(f, e->name, "is %s, expected {\"dtype\", \"shape\", \"data_offsets\"}",
                   weft_json_name(j));
    WEFT_TRY(parse_dtype(f, e, weft_json_get(j, "dtype")));
    WEFT_TRY(parse_shape(f, e, weft_json_get(j, "shape")));
    WEFT_TRY(parse_offsets(f, e, weft_json_get(j, "data_offsets")));
    f->n++;
    return check_size(f, e);
}

static weft_status parse_meta(weft_tensor_file *f, const weft_json *j)
{
    char name[256];
    if (weft_json_is(j, WEFT_JSON_NULL))
        return WEFT_OK;
    if (!weft_json_is(j, WEFT_JSON_OBJECT))
        return bad(f, NULL, "__metadata__ is %s, expected an object of strings", weft_json_name(j));
    f->meta = weft_arena_array(f->arena, (size_t)j->n, sizeof *f->meta);
    if (!f->meta)
        return f->ctx->status;
    for (const weft_json *v = j->child; v; v = v->next) {
        if (!weft_json_is(v, WEFT_JSON_STRING))
            return bad(f, NULL, "__metadata__[\"%s\"] is %s, expected a string",
                       weft_printable(name, sizeof name, v->key), weft_json_name(v));
        weft_meta *m = &f->meta[f->n_meta++];
        m->key = weft_arena_strdup(f->arena, v->key);
        m->value = weft_arena_strdup(f->arena, v->text);
        if (!m->key || !m->value)
            return f->ctx->status;
    }
    return WEFT_OK;
}

/* ---- the header ---- */
static weft_status parse_tree(weft_tensor_file *f, const weft_json *root)
{
    f->entry = weft_arena_array(f->arena, (size_t)root->n, sizeof *f->entry);
    if (!f->entry)
        return f->ctx->status;
    for (const weft_json *v = root->child; v; v = v->next) {
        bool meta = !strcmp(v->key, "__metadata__");
        WEFT_TRY(meta ? parse_meta(f, v) : parse_entry(f, v));
    }
    return WEFT_OK;
}

/* The tree lives in an arena of its own, gone when the entries are made. */
static weft_status parse_header(weft_tensor_file *f, weft_arena *a, char *text, size_t n)
{
    if (!n || text[0] != '{')
        return bad(f, NULL, "header starts with byte 0x%02x, expected '{'",
                   n ? (unsigned char)text[0] : 0);
    weft_json_error e;
    const weft_json *root = weft_json_parse(a, text, n, &e);
    if (!root && !e.what)
        return f->ctx->status;
    return root ? parse_tree(f, root)
                : bad(f, NULL, "header is not valid JSON at byte %zu: %s", 8 + e.at, e.what);
}

static int by_offset(const void *pa, const void *pb)
{
    const weft_tensor_entry *a = pa, *b = pb;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Tensors cover the data from 0 to its end, without a gap or an overlap. */
static weft_status check_layout(weft_tensor_file *f, int64_t base, int64_t size)
{
    if (f->n)
        qsort(f->entry, (size_t)f->n, sizeof *f->entry, by_offset);
    int64_t end = 0;
    for (int i = 0; i < f->n; i++) {
        weft_tensor_entry *e = &f->entry[i];
        if (e->offset != end)
            return bad(f, e->name, "begins at %" PRId64 " of the data, expected %" PRId64 " (%s)",
                       e->offset, end, e->offset < end ? "overlaps the tensor before it" : "gap");
        if (e->bytes > (uint64_t)(size - base - end))
            return bad(f, e->name, "ends at byte %" PRIu64 " of the file, which has %" PRId64,
                       (uint64_t)base + (uint64_t)end + e->bytes, size);
        e->offset += base;
        end += (int64_t)e->bytes;
        if (!weft_map_set(f->names, e->name, i))
            return f->ctx->status;
    }
    if (base + end != size)
        return bad(f, NULL, "%" PRId64 " bytes after the last tensor, expected the end of the file",
                   size - base - end);
    return WEFT_OK;
}

/* What else people have weights in, by its first bytes. */
static weft_status refuse_other(weft_tensor_file *f, int64_t size)
{
    char head[512], file[512];
    size_t n = size < (int64_t)sizeof head ? (size_t)size : sizeof head;
    WEFT_TRY(weft_read_at(f->ctx, f->fd, f->path, head, n, 0));
    const char *is = n > 8 && head[8] == '{' ? NULL : weft_kind_of(head, n); /* cut off, but ours */
    if (!is && weft_surely_text(head, n))
        return weft_fail(f->ctx, WEFT_MALFORMED,
                         "%s: this is text; weights are read from safetensors, the folder of a run "
                         "or one of its checkpoints",
                         weft_printable(file, sizeof file, f->path));
    return is ? weft_fail(f->ctx, WEFT_UNSUPPORTED, "%s: this is %s, expected safetensors",
                          weft_printable(file, sizeof file, f->path), is)
              : WEFT_OK;
}

static weft_status read_header(weft_tensor_file *f)
{
    weft_ctx *c = f->ctx;
    int64_t size = weft_size(c, f->fd);
    if (size < 0)
        return weft_io_fail(c, WEFT_MISSING, "read", f->path);
    if (size < 8)
        return bad(f, NULL, "%" PRId64 " bytes, a safetensors file has at least 8", size);
    uint64_t n;
    WEFT_TRY(weft_read_at(c, f->fd, f->path, &n, sizeof n, 0));
    const bool fits = n <= HEADER_LIMIT && (int64_t)n <= size - 8;
    if (!fits)
        WEFT_TRY(refuse_other(f, size));
    if (n > HEADER_LIMIT)
        return bad(f, NULL,
                   "header of %" PRIu64 " bytes, the limit is %d (not a safetensors file?)", n,
                   HEADER_LIMIT);
    if (!fits)
        return bad(f, NULL, "header of %" PRIu64 " bytes in a file of %" PRId64 " (truncated?)", n,
                   size);
    weft_arena *a = weft_arena_new(c, (size_t)n * 8 + HEADER_ROOM);
    char *text = a ? weft_arena_alloc(a, (size_t)n + 1) : NULL;
    weft_status s = text ? weft_read_at(c, f->fd, f->path, text, (size_t)n, 8) : c->status;
    if (!s)
        s = parse_header(f, a, text, (size_t)n);
    weft_arena_free(a);
    return s ? s : check_layout(f, 8 + (int64_t)n, size);
}

weft_status weft_tensor_file_open(weft_ctx *c, const char *path, weft_tensor_file **out)
{
    *out = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    weft_tensor_file *f = a ? weft_arena_alloc(a, sizeof *f) : NULL;
    if (!f) {
        weft_arena_free(a);
        return c->status;
    }
    *f = (weft_tensor_file){.ctx = c, .arena = a, .fd = -1};
    f->path = weft_arena_strdup(a, path);
    f->names = weft_map_new(a);
    weft_status s = f->path && f->names ? weft_open_read(c, path, &f->fd) : c->status;
    if (!s)
        s = read_header(f);
    if (s)
        weft_tensor_file_close(f);
    else
        *out = f;
    return s;
}

void weft_tensor_file_close(weft_tensor_file *f)
{
    if (!f)
        return;
    weft_close_fd(f->ctx, f->fd);
    weft_arena_free(f->arena);
}

int weft_tensor_file_count(const weft_tensor_file *f) { return f->n; }
const weft_tensor_entry *weft_tensor_file_at(const weft_tensor_file *f, int i)
{
    return &f->entry[i];
}

const weft_tensor_entry *weft_tensor_file_find(const weft_tensor_file *f, const char *name)
{
    int i = weft_map_get(f->names, name, -1);
    return i < 0 ? NULL : &f->entry[i];
}

const char *weft_tensor_file_meta(const weft_tensor_file *f, const char *key)
{
    for (int i = 0; i < f->n_meta; i++)
        if (!strcmp(f->meta[i].key, key))
            return f->meta[i].value;
    return NULL;
}
