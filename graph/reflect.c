/* reflect.c - any protobuf-c message by its descriptor; positions in files. */
#include "graph/reflect.h"

#include <stdio.h>
#include <string.h>

/* ---- values ---- */
size_t weft_field_size(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default: /* 32-bit numbers and enums */
        return 4;
    }
}

const char *weft_type_word(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return "an integer from -9223372036854775808 to 9223372036854775807";
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return "an integer from 0 to 18446744073709551615";
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return "an integer from 0 to 4294967295";
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return "a decimal number";
    case PROTOBUF_C_TYPE_BOOL:
        return "true or false";
    case PROTOBUF_C_TYPE_ENUM:
        return "the name of an enumerator";
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        return "a string in quotes";
    case PROTOBUF_C_TYPE_MESSAGE:
        return "'{'";
    default:
        return "an integer from -2147483648 to 2147483647";
    }
}

/* The generated structs are reached by offset, as protobuf-c's own code does. */
static void *at(const ProtobufCMessage *m, unsigned offset)
{
    return (char *)(uintptr_t)m + offset;
}

/* Strings and messages have no has_ flag: absent is NULL, and protobuf-c sets an absent string to
 * its default, which is known by its address. */
static bool pointer_set(const ProtobufCMessage *m, const weft_field *f)
{
    const void *p;
    memcpy(&p, at(m, f->offset), sizeof p);
    return p && p != f->default_value;
}

static bool is_pointer(const weft_field *f)
{
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

/* protobuf-c counts presence in four ways: a length, the case of a oneof, a pointer, a has_ flag.
 */
size_t weft_field_count(const ProtobufCMessage *m, const weft_field *f)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)at(m, f->quantifier_offset);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)at(m, f->quantifier_offset) == f->id;
    if (is_pointer(f))
        return pointer_set(m, f);
    if (f->label == PROTOBUF_C_LABEL_OPTIONAL)
        return *(const protobuf_c_boolean *)at(m, f->quantifier_offset) != 0;
    return 1; /* a required number */
}

const void *weft_field_at(const ProtobufCMessage *m, const weft_field *f, size_t i)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return at(m, f->offset);
    return *(char *const *)at(m, f->offset) + i * weft_field_size(f->type);
}

/* All members of a oneof share one case number, whose value is the id of the member that is set. */
const weft_field *weft_field_rival(const ProtobufCMessage *m, const weft_field *f)
{
    if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return NULL;
    uint32_t id = *(const uint32_t *)at(m, f->quantifier_offset);
    return id ? protobuf_c_message_descriptor_get_field(m->descriptor, id) : NULL;
}

/* Arrays hold a power of two of values, so the room left is known from the count alone. */
static bool append(weft_arena *a, ProtobufCMessage *m, const weft_field *f, const weft_slot *v,
                   bool shared)
{
    size_t *n = at(m, f->quantifier_offset), size = weft_field_size(f->type);
    char **array = at(m, f->offset);
    if (shared || *n == 0 || (*n >= 2 && !(*n & (*n - 1)))) {
        size_t cap = shared ? *n + 1 : *n ? *n * 2 : 2;
        char *grown = weft_arena_array(a, cap, size);
        if (!grown)
            return false;
        if (*n)
            memcpy(grown, *array, *n * size);
        *array = grown;
    }
    memcpy(*array + (*n)++ * size, v, size);
    return true;
}

bool weft_field_put(weft_arena *a, ProtobufCMessage *m, const weft_field *f, const weft_slot *v,
                    bool shared)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return append(a, m, f, v, shared);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)at(m, f->quantifier_offset) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer(f))
        *(protobuf_c_boolean *)at(m, f->quantifier_offset) = 1;
    memcpy(at(m, f->offset), v, weft_field_size(f->type));
    return true;
}

ProtobufCMessage *weft_message_new(weft_arena *a, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = weft_arena_alloc(a, d->sizeof_message);
    if (m)
        protobuf_c_message_init(d, m);
    return m;
}

/* ---- hints ---- */
#define HINT_NAMES 64

/* Fields of messages that are there once: the others have no path. */
static const ProtobufCMessageDescriptor *part_of(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED
               ? f->descriptor
               : NULL;
}

static size_t add_paths(char *out, size_t n, const ProtobufCMessageDescriptor *root,
                        const char *last)
{
    size_t k = 0;
    out[0] = 0;
    for (unsigned i = 0; i < root->n_fields && k < n; i++) {
        const ProtobufCMessageDescriptor *d = part_of(&root->fields[i]);
        const ProtobufCFieldDescriptor *f =
            d ? protobuf_c_message_descriptor_get_field_by_name(d, last) : NULL;
        if (f && f->type != PROTOBUF_C_TYPE_MESSAGE)
            k += (size_t)snprintf(out + k, n - k, "%s'%s.%s'", k ? " or " : "",
                                  root->fields[i].name, last);
    }
    return k;
}

const char *weft_path_hint(char *out, size_t n, const ProtobufCMessageDescriptor *root,
                           const char *last, bool near)
{
    const char *names[4 * HINT_NAMES];
    int count = 0;
    if (add_paths(out, n, root, last) || !near)
        return out;
    for (unsigned i = 0; i < root->n_fields; i++) {
        const ProtobufCMessageDescriptor *d = part_of(&root->fields[i]);
        for (unsigned j = 0; d && j < d->n_fields && count < 4 * HINT_NAMES; j++)
            if (d->fields[j].type != PROTOBUF_C_TYPE_MESSAGE)
                names[count++] = d->fields[j].name;
    }
    if ((last = weft_nearest(last, names, count)))
        add_paths(out, n, root, last);
    return out;
}

const char *weft_field_hint(char *out, size_t n, const ProtobufCMessageDescriptor *d,
                            const char *name)
{
    const char *names[HINT_NAMES];
    int count = 0;
    for (; count < HINT_NAMES && count < (int)d->n_fields; count++)
        names[count] = d->fields[count].name;
    return weft_suggest(out, n, name, "known:", names, count);
}

const char *weft_enum_hint(char *out, size_t n, const ProtobufCEnumDescriptor *d, const char *name)
{
    const char *names[HINT_NAMES];
    int count = 0;
    for (; count < HINT_NAMES && count < (int)d->n_value_names; count++)
        names[count] = d->values_by_name[count].name;
    return weft_suggest(out, n, name, "known:", names, count);
}

/* ---- UTF-8 ---- */
/* Bytes of the well-formed character at s (1 to 4), or 0. The second byte's range depends on the
 * first. */
static size_t utf8_char(const unsigned char *s, size_t n)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] > 0xf4)
        return 0;
    if (len < 2 || len > n)
        return len <= n ? len : 0;
    if (s[0] == 0xe0)
        lo = 0xa0; /* overlong below */
    else if (s[0] == 0xed)
        hi = 0x9f; /* surrogates above */
    else if (s[0] == 0xf0)
        lo = 0x90;
    else if (s[0] == 0xf4)
        hi = 0x8f; /* beyond U+10FFFF */
    if (s[1] < lo || s[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* Strict, because these strings become names in messages, files and other languages. */
size_t weft_utf8_prefix(const void *text, size_t n)
{
    const unsigned char *s = text;
    size_t i = 0;
    for (size_t k; i < n && (k = utf8_char(s + i, n - i)); i += k)
        ;
    return i;
}

const char *weft_utf8_text(weft_arena *a, const char *text)
{
    size_t n = strlen(text);
    if (weft_utf8_prefix(text, n) == n)
        return text;
    char *out = weft_arena_alloc(a, 4 * n + 6);
    return out ? weft_printable(out, 4 * n + 6, text) : NULL;
}

/* ---- positions: open addressing by pointer ---- */
typedef struct {
    const void *key;
    weft_pos pos;
} line_slot;

struct weft_lines {
    weft_arena *arena;
    line_slot *slot;
    size_t cap, n;
};

weft_lines *weft_lines_new(weft_arena *a)
{
    weft_lines *l = weft_arena_alloc(a, sizeof *l);
    if (!l)
        return NULL;
    l->arena = a;
    l->cap = 64;
    l->slot = weft_arena_array(a, l->cap, sizeof *l->slot);
    return l->slot ? l : NULL;
}

static line_slot *lines_find(const weft_lines *l, const void *key)
{
    /* Fibonacci hashing: arena pointers differ mostly in their middle bits. */
    size_t i = (size_t)(((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u) >> 20) & (l->cap - 1);
    while (l->slot[i].key && l->slot[i].key != key)
        i = (i + 1) & (l->cap - 1);
    return &l->slot[i];
}

/* The old table stays in the arena: doubling wastes at most as much as the last one takes. */
static bool lines_grow(weft_lines *l)
{
    line_slot *old = l->slot;
    size_t cap = l->cap;
    line_slot *grown = weft_arena_array(l->arena, cap * 2, sizeof *grown);
    if (!grown)
        return false;
    l->slot = grown;
    l->cap = cap * 2;
    for (size_t i = 0; i < cap; i++)
        if (old[i].key)
            *lines_find(l, old[i].key) = old[i];
    return true;
}

/* Without a table (l is NULL) positions are not wanted: fine. */
bool weft_lines_add(weft_lines *l, const void *key, weft_pos pos)
{
    if (!l)
        return true;
    if (l->n * 2 >= l->cap && !lines_grow(l))
        return false;
    line_slot *s = lines_find(l, key);
    l->n += !s->key;
    *s = (line_slot){key, pos};
    return true;
}

weft_pos weft_lines_get(const weft_lines *l, const void *message)
{
    const line_slot *s = l && message ? lines_find(l, message) : NULL;
    return s && s->key ? s->pos : (weft_pos){"?", 0, 0};
}

const char *weft_pos_print(char *out, size_t n, weft_pos p)
{
    if (p.line)
        snprintf(out, n, "%s:%d:%d", p.file, p.line, p.col);
    else
        snprintf(out, n, "%s", p.file);
    return out;
}

/* ---- the chain of open messages ---- */
weft_level *weft_walk_top(weft_walk *w) { return &w->level[w->depth - 1]; }

/* The counters of a depth are used again by its next message: a file of a million nodes needs 64
 * tables, not a million. */
weft_level *weft_walk_enter(weft_walk *w, const ProtobufCMessageDescriptor *d, ProtobufCMessage *m)
{
    weft_level *l = &w->level[w->depth];
    weft_seen *seen = l->seen; /* kept from earlier messages at this depth */
    unsigned cap = l->cap_seen;
    if (d->n_fields > cap) {
        cap = d->n_fields;
        seen = weft_arena_array(w->arena, cap, sizeof *seen);
        if (!seen)
            return NULL;
    } else if (d->n_fields) {
        memset(seen, 0, d->n_fields * sizeof *seen);
    }
    *l = (weft_level){.d = d, .m = m, .seen = seen, .cap_seen = cap};
    w->depth++;
    return l;
}

weft_seen *weft_walk_seen(weft_walk *w)
{
    weft_level *l = weft_walk_top(w);
    return &l->seen[l->field - l->d->fields];
}

/* Indices count from 0, as in `--set optimizer.group[0].lr_scale=2`. */
const char *weft_walk_path(const weft_walk *w, char *out, size_t n)
{
    size_t k = 0;
    out[0] = 0;
    for (int i = 0; i < w->depth && k + 1 < n; i++) {
        const weft_level *l = &w->level[i];
        if (!l->field)
            continue;
        k += (size_t)snprintf(out + k, n - k, "%s%s", k ? "." : "", l->field->name);
        uint32_t seen = l->seen[l->field - l->d->fields].n;
        if (l->field->label == PROTOBUF_C_LABEL_REPEATED && k < n)
            k += (size_t)snprintf(out + k, n - k, "[%u]", seen ? seen - 1 : 0);
    }
    if (!k)
        snprintf(out, n, "%s", w->level[0].d->short_name);
    return out;
}
