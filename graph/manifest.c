/* manifest.c - writing, reading and checking manifest.json. */
#include "graph/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "graph/hash.h"
#include "graph/json.h"

#define MANIFEST_LIMIT ((size_t)64 << 20)

/* ---- writing ---- */
static void add_numbers(weft_string *s, const weft_progress *p)
{
    weft_string_printf(s, "  \"format\": %d,\n  \"step\": %" PRId64 ",\n  \"cursor\": %" PRId64,
                       WEFT_MANIFEST_FORMAT, p->step, p->cursor);
    weft_string_printf(s, ",\n  \"tokens\": %" PRId64 ",\n  \"seed\": \"%016" PRIx64 "\",\n",
                       p->tokens, p->seed);
    weft_string_printf(s, "  \"graph_hash\": \"%016" PRIx64 "\",\n", p->graph_hash);
    weft_string_printf(s, "  \"data_hash\": \"%016" PRIx64 "\",\n", p->data_hash);
    weft_string_printf(s, "  \"log_bytes\": %" PRId64 ",\n  \"vocab\": %" PRId64 ",\n",
                       p->log_bytes, p->vocab);
    weft_string_printf(s, "  \"ranks\": 1,\n");
}

static void add_files(weft_string *s, const weft_manifest *m)
{
    weft_string_printf(s, "  \"files\": {");
    for (int i = 0; i < m->n_file; i++) {
        weft_string_printf(s, i ? ",\n    " : "\n    ");
        weft_string_json(s, m->file[i].name);
        weft_string_printf(s, ": {\"bytes\": %" PRId64 ", \"hash\": \"%016" PRIx64 "\"}",
                           m->file[i].bytes, m->file[i].hash);
    }
    weft_string_printf(s, "\n  },\n");
}

static void add_tensors(weft_string *s, const weft_manifest *m)
{
    weft_string_printf(s, "  \"tensors\": {");
    for (int i = 0; i < m->n_tensor; i++) {
        weft_string_printf(s, i ? ",\n    " : "\n    ");
        weft_string_json(s, m->tensor[i].name);
        weft_string_printf(s, ": \"%016" PRIx64 "\"", m->tensor[i].hash);
    }
    weft_string_printf(s, "\n  },\n");
}

/* Only when there are any. */
static void add_frozen(weft_string *s, const weft_progress *p)
{
    if (!p->n_frozen)
        return;
    weft_string_printf(s, "  \"frozen\": [");
    for (int i = 0; i < p->n_frozen; i++) {
        weft_string_printf(s, i ? ",\n    {\"scope\": " : "\n    {\"scope\": ");
        weft_string_json(s, p->frozen[i].scope);
        weft_string_printf(s, ", \"file\": ");
        weft_string_json(s, p->frozen[i].file);
        weft_string_printf(s, ", \"hash\": \"%016" PRIx64 "\"}", p->frozen[i].hash);
    }
    weft_string_printf(s, "\n  ],\n");
}

/* The closing lines, whose bytes follow from everything before them. */
#define TAIL_BYTES 31
static void tail_text(char out[TAIL_BYTES + 1], const char *text, size_t n)
{
    snprintf(out, TAIL_BYTES + 1, "  \"hash\": \"%016" PRIx64 "\"\n}\n", weft_xxh64_of(text, n, 0));
}

weft_status weft_manifest_write(weft_ctx *c, const char *folder, const weft_manifest *m)
{
    weft_string s, path;
    char tail[TAIL_BYTES + 1];
    weft_string_init(&s, c);
    weft_string_init(&path, c);
    weft_string_printf(&path, "%s/manifest.json", folder);
    weft_string_printf(&s, "{\n");
    add_numbers(&s, &m->progress);
    add_files(&s, m);
    add_tensors(&s, m);
    add_frozen(&s, &m->progress);
    if (!s.failed) {
        tail_text(tail, s.s, s.len);
        weft_string_printf(&s, "%s", tail);
    }
    weft_status st = s.failed || path.failed ? c->status : weft_write_file(c, path.s, s.s, s.len);
    weft_string_free(&path);
    weft_string_free(&s);
    return st;
}

/* ---- reading ---- */
typedef struct {
    weft_arena *arena;
    const char *path;
    const weft_json *root;
    weft_manifest *m;
} reader;

static weft_status bad(reader *r, const char *field, const char *expected)
{
    char file[512];
    return weft_fail(weft_arena_ctx(r->arena), WEFT_CORRUPT, "%s: \"%s\" is %s, expected %s",
                     weft_printable(file, sizeof file, r->path), field,
                     weft_json_name(weft_json_get(r->root, field)), expected);
}

static weft_status get_i64(reader *r, const char *field, int64_t *out)
{
    const weft_json *j = weft_json_get(r->root, field);
    if (!weft_json_is(j, WEFT_JSON_INT) || j->i < 0)
        return bad(r, field, "a whole number from 0");
    *out = j->i;
    return WEFT_OK;
}

static bool parse_hex(const weft_json *j, uint64_t *out)
{
    const char *s = weft_json_is(j, WEFT_JSON_STRING) ? j->text : NULL;
    *out = 0;
    if (!s || strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16)
        return false;
    for (; *s; s++)
        *out = *out << 4 | (uint64_t)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
    return true;
}

static weft_status get_hex(reader *r, const char *field, uint64_t *out)
{
    return parse_hex(weft_json_get(r->root, field), out) ? WEFT_OK : bad(r, field, "16 hex digits");
}

static weft_status get_files(reader *r)
{
    const weft_json *files = weft_json_get(r->root, "files");
    if (!weft_json_is(files, WEFT_JSON_OBJECT) || files->n > WEFT_MANIFEST_FILES)
        return bad(r, "files", "an object of at most 8 files");
    for (const weft_json *v = files->child; v; v = v->next) {
        weft_manifest_file *f = &r->m->file[r->m->n_file++];
        const weft_json *bytes = weft_json_get(v, "bytes");
        if (!weft_json_is(bytes, WEFT_JSON_INT) || bytes->i < 0 || strchr(v->key, '/') ||
            !parse_hex(weft_json_get(v, "hash"), &f->hash))
            return bad(r, "files", "names without '/' with bytes and hash");
        f->bytes = bytes->i;
        f->name = v->key;
    }
    return WEFT_OK;
}

static weft_status get_tensors(reader *r)
{
    const weft_json *list = weft_json_get(r->root, "tensors");
    if (!weft_json_is(list, WEFT_JSON_OBJECT))
        return bad(r, "tensors", "an object of hashes");
    r->m->tensor = weft_arena_array(r->arena, (size_t)list->n, sizeof *r->m->tensor);
    if (!r->m->tensor)
        return weft_arena_ctx(r->arena)->status;
    for (const weft_json *v = list->child; v; v = v->next) {
        weft_manifest_tensor *t = &r->m->tensor[r->m->n_tensor++];
        t->name = v->key;
        if (!parse_hex(v, &t->hash))
            return bad(r, "tensors", "names with 16 hex digits each");
    }
    return WEFT_OK;
}

static weft_status get_frozen(reader *r)
{
    const weft_json *list = weft_json_get(r->root, "frozen");
    if (!list)
        return WEFT_OK;
    if (!weft_json_is(list, WEFT_JSON_ARRAY))
        return bad(r, "frozen", "a list of objects");
    weft_frozen *out = weft_arena_array(r->arena, (size_t)list->n + 1, sizeof *out);
    int n = 0;
    for (const weft_json *v = list->child; out && v; v = v->next, n++) {
        const weft_json *scope = weft_json_get(v, "scope"), *file = weft_json_get(v, "file");
        if (!weft_json_is(scope, WEFT_JSON_STRING) || !weft_json_is(file, WEFT_JSON_STRING) ||
            !parse_hex(weft_json_get(v, "hash"), &out[n].hash))
            return bad(r, "frozen", "objects with scope, file and hash");
        out[n].scope = scope->text;
        out[n].file = file->text;
    }
    r->m->progress.frozen = out;
    r->m->progress.n_frozen = n;
    return weft_error_status(weft_arena_ctx(r->arena));
}

static weft_status get_all(reader *r)
{
    weft_progress *p = &r->m->progress;
    int64_t format = 0, ranks = 0;
    char file[512];
    WEFT_TRY(get_i64(r, "format", &format));
    WEFT_TRY(get_i64(r, "ranks", &ranks));
    if (format != WEFT_MANIFEST_FORMAT || ranks != 1)
        return weft_fail(weft_arena_ctx(r->arena), WEFT_UNSUPPORTED,
                         "%s: format %" PRId64 " by %" PRId64
                         " processes, this build reads format %d by one: use a newer weft",
                         weft_printable(file, sizeof file, r->path), format, ranks,
                         WEFT_MANIFEST_FORMAT);
    WEFT_TRY(get_i64(r, "step", &p->step));
    WEFT_TRY(get_i64(r, "cursor", &p->cursor));
    WEFT_TRY(get_i64(r, "tokens", &p->tokens));
    WEFT_TRY(get_i64(r, "log_bytes", &p->log_bytes));
    WEFT_TRY(get_i64(r, "vocab", &p->vocab));
    WEFT_TRY(get_hex(r, "seed", &p->seed));
    WEFT_TRY(get_hex(r, "graph_hash", &p->graph_hash));
    WEFT_TRY(get_hex(r, "data_hash", &p->data_hash));
    WEFT_TRY(get_files(r));
    WEFT_TRY(get_frozen(r));
    return get_tensors(r);
}

/* Damage of any kind is CORRUPT here; only the device and our memory keep their own status. */
static weft_status as_damage(weft_ctx *c)
{
    if (c->status == WEFT_MALFORMED || c->status == WEFT_MISSING)
        c->status = WEFT_CORRUPT;
    return c->status;
}

static weft_status check_tail(weft_ctx *c, const char *path, const char *text, size_t n)
{
    char tail[TAIL_BYTES + 1], file[512];
    if (n >= TAIL_BYTES) {
        tail_text(tail, text, n - TAIL_BYTES);
        if (!memcmp(tail, text + n - TAIL_BYTES, TAIL_BYTES))
            return WEFT_OK;
    }
    return weft_fail(c, WEFT_CORRUPT, "%s: damaged: its %zu bytes do not match their own hash",
                     weft_printable(file, sizeof file, path), n);
}

weft_status weft_manifest_read(weft_arena *a, const char *folder, weft_manifest *m)
{
    weft_ctx *c = weft_arena_ctx(a);
    char *text, *path = weft_arena_printf(a, "%s/manifest.json", folder);
    size_t n;
    weft_json *root;
    if (!path)
        return c->status;
    if (weft_read_file(a, path, MANIFEST_LIMIT, &text, &n))
        return as_damage(c);
    WEFT_TRY(check_tail(c, path, text, n));
    if (weft_json_parse_file(a, path, text, n, &root))
        return as_damage(c);
    *m = (weft_manifest){0};
    reader r = {a, path, root, m};
    return get_all(&r);
}

/* ---- checking ---- */
/* Large enough to keep the disk busy, small enough for any machine. */
#define BLOCK 262144

static weft_status hash_fd(weft_ctx *c, int fd, const char *path, int64_t bytes, uint64_t *hash)
{
    char *buf = weft_alloc(c, BLOCK);
    if (!buf)
        return c->status;
    weft_xxh64 h;
    weft_xxh64_init(&h, 0);
    weft_status s = WEFT_OK;
    for (int64_t at = 0; at < bytes && !s;) {
        size_t n = bytes - at < BLOCK ? (size_t)(bytes - at) : BLOCK;
        s = weft_read_at(c, fd, path, buf, n, at);
        weft_xxh64_add(&h, buf, n);
        at += (int64_t)n;
    }
    weft_free(c, buf);
    *hash = weft_xxh64_value(&h);
    return s;
}

/* expect >= 0: another size is not worth hashing. */
static weft_status file_hash(weft_ctx *c, const char *path, int64_t expect, int64_t *bytes,
                             uint64_t *hash)
{
    int fd;
    WEFT_TRY(weft_open_read(c, path, &fd));
    *bytes = weft_size(c, fd);
    weft_status s = *bytes < 0 ? weft_io_fail(c, WEFT_MISSING, "read", path) : WEFT_OK;
    if (!s && hash && (expect < 0 || expect == *bytes))
        s = hash_fd(c, fd, path, *bytes, hash);
    weft_close_fd(c, fd);
    return s;
}

weft_status weft_file_hash(weft_ctx *c, const char *path, int64_t *bytes, uint64_t *hash)
{
    return file_hash(c, path, -1, bytes, hash);
}

static weft_status check_file(weft_ctx *c, const char *path, const weft_manifest_file *f,
                              bool contents)
{
    int64_t bytes;
    uint64_t hash = 0;
    char file[512];
    if (file_hash(c, path, f->bytes, &bytes, contents ? &hash : NULL))
        return as_damage(c);
    weft_printable(file, sizeof file, path);
    if (bytes != f->bytes)
        return weft_fail(c, WEFT_CORRUPT,
                         "%s: damaged: %" PRId64 " bytes, the manifest says %" PRId64, file, bytes,
                         f->bytes);
    if (contents && hash != f->hash)
        return weft_fail(c, WEFT_CORRUPT,
                         "%s: damaged: its hash is %016" PRIx64 ", the manifest says %016" PRIx64,
                         file, hash, f->hash);
    return WEFT_OK;
}

weft_status weft_manifest_check(weft_ctx *c, const char *folder, const weft_manifest *m,
                                bool contents)
{
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return c->status;
    weft_status s = WEFT_OK;
    for (int i = 0; i < m->n_file && !s; i++) {
        char *path = weft_arena_printf(a, "%s/%s", folder, m->file[i].name);
        s = path ? check_file(c, path, &m->file[i], contents) : c->status;
    }
    weft_arena_free(a);
    return s;
}
