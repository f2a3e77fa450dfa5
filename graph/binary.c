/* binary.c - packed messages: a thorough scan, then unpacking under a budget.
 *
 * protobuf_c_message_unpack recurses without limit, takes the last of two singular values, accepts
 * any enum number and any bytes as a string, allocates without bound, and reports errors as NULL.
 * So the scan below goes first, with an explicit stack, and says what is wrong at which byte.  Wire
 * format: protobuf.dev, "Encoding". */
#include <stdio.h>
#include <string.h>

#include "graph/reflect.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, GROUP = 3, GROUP_END = 4, FIXED32 = 5 };

#define MEMBER_BYTES 32 /* protobuf-c's note of each field while it unpacks */

typedef struct {
    weft_ctx *ctx;
    const uint8_t *data;
    const char *file;
    size_t at;     /* cursor */
    size_t memory; /* bytes that unpacking will take */
    size_t budget;
    bool quiet;
    weft_walk walk;
} scan;

/* Records "file@offset: path: ...", unless the scan is only a question. */
WEFT_PRINTF(3, 4) static weft_status bad(scan *s, size_t at, const char *fmt, ...)
{
    char what[1200], path[600];
    va_list ap;
    if (s->quiet)
        return WEFT_MALFORMED;
    va_start(ap, fmt);
    weft_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    weft_walk_path(&s->walk, path, sizeof path);
    return weft_fail(s->ctx, WEFT_MALFORMED, "%s@%zu: %s: %s", s->file, at, path, what);
}

/* A varint of at most 64 bits that ends before `end`. */
static weft_status varint(scan *s, size_t end, uint64_t *out)
{
    size_t from = s->at;
    *out = 0;
    for (int shift = 0; s->at < end; shift += 7) {
        uint8_t byte = s->data[s->at++];
        if (shift == 63 && byte > 1)
            return bad(s, from, "varint of more than 64 bits");
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return WEFT_OK;
    }
    return bad(s, from, "truncated: a varint goes on behind the end of its message at byte %zu",
               end);
}

/* How values of the type are stored one by one; repeated numbers may also come as BYTES, packed. */
static int wire_type(const weft_field *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return BYTES;
    default:
        return VARINT;
    }
}

static const char *wire_word(int wire)
{
    static const char *const word[] = {
        "a varint",           "8 bytes", "a length and bytes",   "the start of a group",
        "the end of a group", "4 bytes", "an unknown wire type", "an unknown wire type"};
    return word[wire & 7];
}

/* Numbers must fit their type: protobuf-c would cut them silently. */
static weft_status check_number(scan *s, const weft_field *f, size_t at, uint64_t v)
{
    int64_t i = (int64_t)v;
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
        return i == (int32_t)i
                   ? WEFT_OK
                   : bad(s, at, "found %lld, expected %s", (long long)i, weft_type_word(f->type));
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32: /* zigzag: as many bits */
        return v <= UINT32_MAX ? WEFT_OK : bad(s, at, "found a number of more than 32 bits");
    case PROTOBUF_C_TYPE_BOOL:
        return v <= 1 ? WEFT_OK : bad(s, at, "found %llu, expected 0 or 1", (unsigned long long)v);
    case PROTOBUF_C_TYPE_ENUM:
        if (i == (int32_t)i && protobuf_c_enum_descriptor_get_value(f->descriptor, (int)i))
            return WEFT_OK;
        return bad(s, at, "%s has no enumerator of value %lld",
                   ((const ProtobufCEnumDescriptor *)f->descriptor)->short_name, (long long)i);
    default:
        return WEFT_OK;
    }
}

/* One number of the field's own wire type. */
static weft_status number(scan *s, const weft_field *f, size_t end)
{
    size_t from = s->at, size = wire_type(f) == FIXED64 ? 8 : 4;
    uint64_t v;
    if (wire_type(f) == VARINT) {
        WEFT_TRY(varint(s, end, &v));
        return check_number(s, f, from, v);
    }
    if (end - s->at < size)
        return bad(s, from, "truncated: %zu bytes expected, %zu left", size, end - s->at);
    s->at += size;
    return WEFT_OK;
}

/* Numbers back to back. Their sizes in memory are counted: eight bytes for one is the worst. */
static weft_status packed(scan *s, const weft_field *f, size_t end)
{
    while (s->at < end) {
        s->memory += weft_field_size(f->type);
        WEFT_TRY(number(s, f, end));
    }
    return WEFT_OK;
}

/* The cursor is on the first of n bytes. */
static weft_status string(scan *s, size_t n)
{
    const uint8_t *p = s->data + s->at;
    size_t valid = weft_utf8_prefix(p, n);
    const uint8_t *nul = memchr(p, 0, n);
    if (valid < n)
        return bad(s, s->at + valid, "string is not valid UTF-8 (byte 0x%02x)", p[valid]);
    if (nul)
        return bad(s, (size_t)(nul - s->data), "string holds a NUL byte, which would cut it short");
    return WEFT_OK;
}

/* A length and what it covers; a message is opened for the main loop to go on in. */
static weft_status delimited(scan *s, const weft_field *f, size_t end)
{
    size_t from = s->at;
    uint64_t n;
    WEFT_TRY(varint(s, end, &n));
    if (n > end - s->at)
        return bad(s, from, "length %llu goes beyond the end of its message: %zu byte%s left",
                   (unsigned long long)n, end - s->at, end - s->at == 1 ? " is" : "s are");
    size_t stop = s->at + (size_t)n;
    if (wire_type(f) != BYTES)
        return packed(s, f, stop);
    if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
        s->memory += n + 16;
        WEFT_TRY(f->type == PROTOBUF_C_TYPE_STRING ? string(s, n) : WEFT_OK);
        s->at = stop;
        return WEFT_OK;
    }
    const ProtobufCMessageDescriptor *d = f->descriptor;
    if (s->walk.depth == WEFT_MESSAGE_DEPTH)
        return bad(s, from, "messages are nested deeper than %d", WEFT_MESSAGE_DEPTH);
    weft_level *l = weft_walk_enter(&s->walk, d, NULL);
    if (!l)
        return s->ctx->status;
    l->end = stop;
    s->memory += d->sizeof_message;
    return WEFT_OK;
}

/* Counts the field; the level remembers in `rival` fields of the same oneof through their shared
 * case offset. */
static weft_status count_field(scan *s, size_t at)
{
    weft_level *l = weft_walk_top(&s->walk);
    const weft_field *f = l->field;
    weft_seen *seen = weft_walk_seen(&s->walk);
    if (f->label != PROTOBUF_C_LABEL_REPEATED && seen->n)
        return bad(s, at, "a second value; the first is at byte %u", seen->where);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        for (unsigned i = 0; i < l->d->n_fields; i++)
            if (l->seen[i].n && l->d->fields[i].quantifier_offset == f->quantifier_offset)
                return bad(s, at, "field excludes '%s', which was set at byte %u",
                           l->d->fields[i].name, l->seen[i].where);
    if (!seen->n++)
        seen->where = (uint32_t)at;
    s->memory += weft_field_size(f->type) + MEMBER_BYTES;
    if (s->memory > s->budget)
        return bad(s, at,
                   "unpacking would take more than %zu bytes of memory, the budget for this file",
                   s->budget);
    return WEFT_OK;
}

/* One tag and its value. */
static weft_status field(scan *s, weft_level *l)
{
    size_t from = s->at;
    uint64_t tag;
    l->field = NULL;
    WEFT_TRY(varint(s, l->end, &tag));
    int wire = (int)(tag & 7);
    if (tag > UINT32_MAX || tag < 8 || s->at - from > 5)
        return bad(s, from, "found field number %llu, expected 1 to 536870911: not a packed %s",
                   (unsigned long long)(tag >> 3), s->walk.level[0].d->short_name);
    const weft_field *f = protobuf_c_message_descriptor_get_field(l->d, (unsigned)(tag >> 3));
    if (!f)
        return bad(
            s, from,
            "unknown field number %llu of %s (%s); a file of another kind, or of a newer version",
            (unsigned long long)(tag >> 3), l->d->short_name, wire_word(wire));
    l->field = f;
    if (wire == GROUP || wire == GROUP_END)
        return bad(s, from, "found %s; groups are not supported", wire_word(wire));
    bool list = f->label == PROTOBUF_C_LABEL_REPEATED && wire == BYTES;
    if (wire != wire_type(f) && !list)
        return bad(s, from, "found %s, expected %s", wire_word(wire), wire_word(wire_type(f)));
    WEFT_TRY(count_field(s, from));
    return wire == BYTES ? delimited(s, f, l->end) : number(s, f, l->end);
}

/* Proto2's `required`: protobuf-c checks it too, but only says NULL. */
static weft_status end_message(scan *s, const weft_level *l)
{
    for (unsigned i = 0; i < l->d->n_fields; i++)
        if (l->d->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !l->seen[i].n)
            return bad(s, l->end, "required field '%s' of %s is missing", l->d->fields[i].name,
                       l->d->short_name);
    s->walk.depth--;
    return WEFT_OK;
}

/* The loop over tags; a message is left when the cursor reaches its end. */
weft_status weft_binary_scan(weft_arena *a, const ProtobufCMessageDescriptor *d,
                             const uint8_t *data, size_t n, const char *file, bool quiet)
{
    weft_ctx *c = weft_arena_ctx(a);
    scan *s = weft_arena_alloc(a, sizeof *s);
    if (!s)
        return c->status;
    *s = (scan){.ctx = c, .data = data, .file = file, .quiet = quiet, .walk = {.arena = a}};
    s->budget = weft_message_budget(n);
    weft_level *root = weft_walk_enter(&s->walk, d, NULL);
    if (!root)
        return c->status;
    root->end = n;
    while (s->walk.depth) {
        weft_level *l = weft_walk_top(&s->walk);
        if (s->at == l->end) {
            l->field = NULL;
            WEFT_TRY(end_message(s, l));
        } else {
            WEFT_TRY(field(s, l));
        }
    }
    return WEFT_OK;
}

/* ---- unpacking ---- */
typedef struct {
    weft_arena *arena;
    size_t limit; /* of weft_arena_used */
} budget;

/* protobuf-c's allocator: the arena, up to the budget; nothing is freed one by one. */
static void *unpack_alloc(void *data, size_t n)
{
    budget *b = data;
    return weft_arena_used(b->arena) + n > b->limit ? NULL : weft_arena_alloc(b->arena, n);
}

static void unpack_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

/* Binary files have no lines: every message is given its file's name only. */
static bool add_lines(weft_lines *lines, ProtobufCMessage *root, const char *file)
{
    struct {
        ProtobufCMessage *m;
        unsigned field;
        size_t value;
    } open[WEFT_MESSAGE_DEPTH] = {{.m = root}};
    int depth = 1;
    if (!weft_lines_add(lines, root, (weft_pos){file, 0, 0}))
        return false;
    while (depth) {
        ProtobufCMessage *m = open[depth - 1].m, *sub;
        if (open[depth - 1].field == m->descriptor->n_fields) {
            depth--;
            continue;
        }
        const weft_field *f = &m->descriptor->fields[open[depth - 1].field];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE || open[depth - 1].value == weft_field_count(m, f)) {
            open[depth - 1].field++;
            open[depth - 1].value = 0;
            continue;
        }
        memcpy(&sub, weft_field_at(m, f, open[depth - 1].value++), sizeof sub);
        if (!weft_lines_add(lines, sub, (weft_pos){file, 0, 0}))
            return false;
        open[depth].m = sub;
        open[depth].field = 0;
        open[depth++].value = 0;
    }
    return true;
}

weft_status weft_binary_parse(weft_arena *a, const ProtobufCMessageDescriptor *d,
                              const uint8_t *data, size_t n, const char *file, weft_lines *lines,
                              ProtobufCMessage **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    if (n == 0) /* to protobuf an empty message; to us a file that was never written */
        return weft_fail(c, WEFT_MALFORMED, "%s: the file is empty, expected a packed %s", file,
                         d->short_name);
    if (n > WEFT_MESSAGE_LIMIT)
        return weft_fail(c, WEFT_MALFORMED, "%s: %zu bytes, over the limit of %zu for a %s", file,
                         n, WEFT_MESSAGE_LIMIT, d->short_name);
    WEFT_TRY(weft_binary_scan(a, d, data, n, file, false));
    /* Twice the estimate of the scan: protobuf-c's own tables of fields come on top. */
    budget b = {.arena = a, .limit = weft_arena_used(a) + 2 * weft_message_budget(n)};
    ProtobufCAllocator alloc = {.alloc = unpack_alloc, .free = unpack_free, .allocator_data = &b};
    *out = protobuf_c_message_unpack(d, &alloc, n, data);
    if (!*out)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s: cannot be unpacked as a %s within %zu bytes of memory", file,
                         d->short_name, 2 * weft_message_budget(n));
    if (lines && !add_lines(lines, *out, file))
        return c->status;
    return WEFT_OK;
}

weft_status weft_binary_pack(weft_arena *a, const ProtobufCMessage *m, uint8_t **data, size_t *n)
{
    *n = protobuf_c_message_get_packed_size(m);
    *data = weft_arena_alloc(a, *n);
    if (!*data)
        return weft_arena_ctx(a)->status;
    protobuf_c_message_pack(m, *data);
    return WEFT_OK;
}
