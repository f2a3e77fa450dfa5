/* reflect.h - any protobuf-c message by its descriptor; for text and binary files. */
#ifndef WEFT_REFLECT_H
#define WEFT_REFLECT_H

#include "graph/load.h"

/* Storage of one field value of any type, as protobuf-c lays it out. */
typedef union {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    float f32;
    double f64;
    protobuf_c_boolean boolean;
    char *string;
    ProtobufCBinaryData bytes;
    ProtobufCMessage *message;
} weft_slot;

typedef ProtobufCFieldDescriptor weft_field;

size_t
weft_field_size(ProtobufCType t); /* bytes of one value in a message or in a repeated array */
/* Number of values present: 0 or 1, or the length of a repeated field. Defaults do not count. */
size_t weft_field_count(const ProtobufCMessage *m, const weft_field *f);
const void *weft_field_at(const ProtobufCMessage *m, const weft_field *f, size_t i);
/* The member of f's oneof that is set in m, or NULL (also when f is in no oneof). */
const weft_field *weft_field_rival(const ProtobufCMessage *m, const weft_field *f);
/* Sets a singular field or appends to a repeated one. With `shared` the array may have no spare
 * room (a message that was not built by this function) and is copied. */
bool weft_field_put(weft_arena *a, ProtobufCMessage *m, const weft_field *f, const weft_slot *v,
                    bool shared);
/* One value of a scalar field as the text format has it (textprint.c). */
void weft_field_print(weft_string *out, const weft_field *f, const void *at);
ProtobufCMessage *weft_message_new(weft_arena *a, const ProtobufCMessageDescriptor *d);
/* "; did you mean 'x'?" or a list of what there is, for messages. */
const char *weft_field_hint(char *out, size_t n, const ProtobufCMessageDescriptor *d,
                            const char *name);
const char *weft_enum_hint(char *out, size_t n, const ProtobufCEnumDescriptor *d, const char *name);
/* The paths of two names, as settings write them, whose last part is `last`, or with `near` like
 * it: "'eval.every' or 'checkpoint.every'"; "" when there are none. Returns out. */
const char *weft_path_hint(char *out, size_t n, const ProtobufCMessageDescriptor *root,
                           const char *last, bool near);
const char *weft_type_word(ProtobufCType t); /* "a string", "a 64-bit integer", ... */

/* Length of the longest prefix that is valid UTF-8 (Unicode 15, table 3-7: no surrogates, no
 * overlong forms). */
size_t weft_utf8_prefix(const void *text, size_t n);
/* The text if it is valid UTF-8, else with escapes for what is not ASCII: what goes into a message
 * can be read back from its file. Arena memory or `text`; NULL without memory. */
const char *weft_utf8_text(weft_arena *a, const char *text);

/* Remembers where a message, or a string of one, stood. False: out of memory. */
bool weft_lines_add(weft_lines *l, const void *key, weft_pos pos);
/* "file:line:col", or "file" for a binary file. */
const char *weft_pos_print(char *out, size_t n, weft_pos p);

/* ---- the chain of open messages while a file is read; an explicit stack instead of recursion ----
 */
#define WEFT_MESSAGE_DEPTH 64
#define WEFT_MESSAGE_LIMIT ((size_t)64 << 20) /* bytes of one file */

typedef struct {
    uint32_t n;     /* occurrences of the field in this message */
    uint32_t where; /* line or offset of the first */
} weft_seen;

typedef struct {
    const ProtobufCMessageDescriptor *d;
    ProtobufCMessage *m;     /* NULL while scanning */
    const weft_field *field; /* being read, for the path; NULL between fields */
    const weft_field *last;  /* text: the one before */
    weft_seen *seen;         /* one per field of d */
    unsigned cap_seen;
    size_t end;   /* binary: offset of the end; text: offset of the name, for messages */
    int line;     /* text: where it was opened */
    char close;   /* text: '}' or '>'; 0 for the file itself */
    bool in_list; /* text: element of [ ... ] */
} weft_level;

typedef struct {
    weft_arena *arena;
    int depth; /* levels in use; the last is the innermost message */
    weft_level level[WEFT_MESSAGE_DEPTH];
} weft_walk;

/* Opens a level. The caller has checked depth < WEFT_MESSAGE_DEPTH. NULL: out of memory. */
weft_level *weft_walk_enter(weft_walk *w, const ProtobufCMessageDescriptor *d, ProtobufCMessage *m);
weft_level *weft_walk_top(weft_walk *w);
weft_seen *weft_walk_seen(weft_walk *w); /* of the innermost level's field */
/* "module[0].node[3].op"; the root's type name when no field is open. */
const char *weft_walk_path(const weft_walk *w, char *out, size_t n);

/* Bytes that the messages of an n-byte file may take in memory: a hand-written node needs about ten
 * times its text, so 64 leaves room, while a file of empty sub-messages (over a hundred times) is
 * refused. */
static inline size_t weft_message_budget(size_t n) { return ((size_t)16 << 20) + 64 * n; }

/* Structural check of a binary message without unpacking; with `quiet` no error is recorded. */
weft_status weft_binary_scan(weft_arena *a, const ProtobufCMessageDescriptor *d,
                             const uint8_t *data, size_t n, const char *file, bool quiet);

#endif
