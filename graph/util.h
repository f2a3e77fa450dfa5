/* util.h - arena, growing arrays, checked sizes, strings and the error chain: the floor of the
 * library. */
#ifndef WEFT_UTIL_H
#define WEFT_UTIL_H

#include <stdarg.h>

#include "graph/weft.h"

/* ---- context ----------------------------------------------------------------------------- */
struct weft_ctx {
    weft_allocator mem;
    const struct weft_io *io;
    int threads;
    bool look_only; /* files are looked at, not read whole: a run is checked, not made */
    void (*log)(void *user, const char *line);
    void *log_user;
    weft_status status; /* of the first failure */
    size_t error_len;
    char error[8192]; /* fixed, so that running out of memory can be reported */
};

/* Records a failure: the first one wins, later ones are ignored until weft_error_clear. Returns
 * its status, so `return weft_fail(...)` is the idiom. One sentence: what was found, what was
 * expected, what to try. */
weft_status weft_fail(weft_ctx *c, weft_status s, const char *fmt, ...) WEFT_PRINTF(3, 4);
weft_status weft_failv(weft_ctx *c, weft_status s, const char *fmt, va_list ap);
/* Adds a line "  in ..." of context to the recorded failure while unwinding; returns its status. */
weft_status weft_note(weft_ctx *c, const char *fmt, ...) WEFT_PRINTF(2, 3);
void weft_note_lines(weft_ctx *c, const char *text); /* a note for each line; NULL: none */
/* One line to the log sink (progress, warnings). */
void weft_log(weft_ctx *c, const char *fmt, ...) WEFT_PRINTF(2, 3);

#define WEFT_TRY(call)                                                                             \
    do {                                                                                           \
        weft_status s_ = (call);                                                                   \
        if (s_)                                                                                    \
            return s_;                                                                             \
    } while (0)

/* ---- memory: the allocator seam ---------------------------------------------------------- */
/* NULL plus a recorded WEFT_NOMEM on failure. Memory is zeroed. Free with weft_free. */
void *weft_alloc(weft_ctx *c, size_t bytes);
void *weft_realloc(weft_ctx *c, void *old, size_t bytes); /* new part is not zeroed */
void weft_free(weft_ctx *c, void *p);

/* An arena: many allocations, one free. Everything of one model or graph lives in one, so that
 * error paths need no cleanup. `budget` bounds its total size (0: unlimited). */
typedef struct weft_arena weft_arena;
weft_arena *weft_arena_new(weft_ctx *c, size_t budget);
void weft_arena_free(weft_arena *a);
/* zeroed, 16-byte aligned; NULL + WEFT_NOMEM */
void *weft_arena_alloc(weft_arena *a, size_t bytes);
void *weft_arena_array(weft_arena *a, size_t count, size_t size); /* checked product */
char *weft_arena_strndup(weft_arena *a, const char *s, size_t n);
char *weft_arena_strdup(weft_arena *a, const char *s);
char *weft_arena_printf(weft_arena *a, const char *fmt, ...) WEFT_PRINTF(2, 3);
size_t weft_arena_used(const weft_arena *a);
weft_ctx *weft_arena_ctx(const weft_arena *a);

/* Makes room for one more element in an arena array: `p` (pointer), `n` (used), `cap` are lvalues.
 * Evaluates to true, or false when out of memory. */
#define WEFT_GROW(a, p, n, cap) weft_grow_((a), (void **)&(p), (n), &(cap), sizeof *(p))
bool weft_grow_(weft_arena *a, void **p, int n, int *cap, size_t size);

/* A growing string for printers; `s` is always NUL-terminated. Sticky failure: `failed` is set,
 * later calls no-ops. */
typedef struct {
    weft_ctx *ctx;
    char *s;
    size_t len, cap;
    bool failed;
} weft_string;
void weft_string_init(weft_string *b, weft_ctx *c);
void weft_string_free(weft_string *b);
void weft_string_add(weft_string *b, const char *data, size_t n);
void weft_string_printf(weft_string *b, const char *fmt, ...) WEFT_PRINTF(2, 3);

/* Appends text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void weft_string_json(weft_string *b, const char *text);
void weft_string_json2(weft_string *b, const char *text, const char *more); /* both in one */
/* Hands the string to the caller (weft_text_free), or WEFT_NOMEM when it failed while growing. */
weft_status weft_string_take(weft_string *b, char **out);

/* A map from strings to ints (names to indices) inside an arena. Keys are borrowed and must
 * outlive the map. */
typedef struct weft_map weft_map;
weft_map *weft_map_new(weft_arena *a);
bool weft_map_set(weft_map *m, const char *key, int value); /* false: out of memory */
int weft_map_get(const weft_map *m, const char *key, int missing);

/* ---- number.c: text that does not depend on the program's locale -------------------------- */
/* strtod, vsnprintf and snprintf with a decimal point, whatever the locale. Everything in util.h
 * that formats does so with them. */
double weft_strtod(const char *s, char **end);
int weft_vsnprintf(char *out, size_t n, const char *fmt, va_list ap);
int weft_snprintf(char *out, size_t n, const char *fmt, ...) WEFT_PRINTF(3, 4);
/* Equal but for the case of ASCII letters. */
bool weft_same_word(const char *a, const char *b);
/* ASCII alone: bytes of UTF-8 are none of these. */
static inline bool weft_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool weft_is_alpha(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static inline bool weft_is_alnum(char c) { return weft_is_digit(c) || weft_is_alpha(c); }
static inline bool weft_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* ---- checked sizes ----------------------------------------------------------------------- */
static inline bool weft_mul_ok(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool weft_add_ok(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* ---- words ------------------------------------------------------------------------------- */
/* What follows "unknown thing 'word'" in a message: "; did you mean 'x'?" for the nearest of
 * `count` names, else "; LABEL a, b, c" with as many as have room, or "" when there are none or
 * `label` is NULL. Returns out, of n > 0 bytes. */
const char *weft_suggest(char *out, size_t n, const char *word, const char *label,
                         const char *const *names, int count);
/* Strict numbers: the whole string, in range, no leading space; false otherwise. */
bool weft_parse_i64(const char *s, int64_t *out);
bool weft_parse_f64(const char *s, double *out); /* finite only */
/* Glob with * and ?. */
bool weft_glob(const char *pattern, const char *text);
/* XXH64-like 64-bit hash of a byte range, the same on every machine (FNV-1a 64). */
uint64_t weft_hash(const void *data, size_t n, uint64_t seed);

/* ---- text of others in messages (visible.c) ------------------------------------------------ */
/* The first character of n > 0 bytes as a terminal may have it: UTF-8 as it is, a new line as \n,
 * and what would move, turn or hide text, or is no UTF-8, as \xNN for each byte. Returns how many
 * bytes it has in s. */
enum { WEFT_VISIBLE = 17 };
size_t weft_visible(char out[WEFT_VISIBLE], const char *s, size_t n);
/* All of s so, in n > 0 bytes. */
const char *weft_printable(char *out, size_t n, const char *s);
/* vsnprintf with what %s and %c insert made visible, so that a name may hold anything; `fmt` is
 * taken as it is. Returns the length in out, at most n - 1. All messages are made with it. */
size_t weft_format(char *out, size_t n, const char *fmt, va_list ap);
/* The error and its notes on one line, to be told by another message. */
const char *weft_error_flat(const weft_ctx *c, char *out, size_t n);

/* threads.c: OpenMP's runtimes crash or end the process where they cannot start as many threads as
 * they are told to. */
#define WEFT_MOST_THREADS 1024
int weft_cores(void); /* that are online, at least 1 */
/* Can n threads run at once, as far as the system is asked now? More than there are cores are
 * tried, up to WEFT_MOST_THREADS. */
bool weft_threads_start(int n);
/* `wanted`, or what comes nearest: at most WEFT_MOST_THREADS, and one a core where not as many
 * start. */
int weft_threads_bound(int wanted);
/* weft_threads_bound of `wanted`, or of what OpenMP's environment says (0): *asked. */
int weft_threads_take(int wanted, int *asked);
/* waiting.c: bounds waiting where the OpenMP runtime has a call for it. */
void weft_waiting_bound_runtime(void);

#endif
