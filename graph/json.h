/* json.h - JSON (RFC 8259) read strictly into arena memory, without recursion (weft_string_json of
 * util.h writes).
 *
 * A library of its own would do, but for three things: all memory is the arena's, so that running
 * out of it is never mistaken for damage and every site can be made to fail; it is bounded by the
 * input; errors know their byte. */
#ifndef WEFT_JSON_H
#define WEFT_JSON_H

#include "graph/util.h"

typedef enum {
    WEFT_JSON_NULL = 1,
    WEFT_JSON_FALSE,
    WEFT_JSON_TRUE,
    WEFT_JSON_INT,  /* without '.' and exponent; fits int64 */
    WEFT_JSON_REAL, /* finite */
    WEFT_JSON_STRING,
    WEFT_JSON_ARRAY,
    WEFT_JSON_OBJECT
} weft_json_kind;

typedef struct weft_json {
    const char *key; /* of a member of an object, else NULL */
    union {
        int64_t i;
        double f;
        const char *text;        /* UTF-8 without NUL, NUL-terminated */
        struct weft_json *child; /* first of n */
    };
    struct weft_json *next;
    uint32_t at; /* byte of the text where it starts */
    int32_t n;
    weft_json_kind kind;
} weft_json;

#define WEFT_JSON_DEPTH 64         /* of nesting */
#define WEFT_JSON_LIMIT 0x7fffffff /* bytes of text */

typedef struct {
    size_t at;        /* byte of the text */
    const char *what; /* what is wrong there; NULL: out of memory, recorded in the context */
} weft_json_error;

/* Parses text[0..n), which is overwritten (strings are decoded in place) and must live as long as
 * the tree; text[n] must be writable. Refuses duplicate keys, invalid UTF-8, \u0000, lone
 * surrogates, integers beyond int64. NULL on failure, with *e filled in. */
weft_json *weft_json_parse(weft_arena *a, char *text, size_t n, weft_json_error *e);
/* The same for a whole file that must be one object; errors are recorded as "FILE:line:col: ...",
 * MALFORMED (a "\n" escape before the place counts as a line). */
weft_status weft_json_parse_file(weft_arena *a, const char *path, char *text, size_t n,
                                 weft_json **out);
/* The same for files of others in which whole numbers can be of any size, like the 1e30 that
 * transformers writes for "no limit": those beyond int64 are REAL. */
weft_status weft_json_parse_wide(weft_arena *a, const char *path, char *text, size_t n,
                                 weft_json **out);
/* Member of an object; NULL if there is none, or if j is no object. */
const weft_json *weft_json_get(const weft_json *j, const char *key);
/* Does j exist and have this kind? */
bool weft_json_is(const weft_json *j, weft_json_kind kind);
/* "a string", "an object", ... for messages; NULL is "nothing". */
const char *weft_json_name(const weft_json *j);

#endif
