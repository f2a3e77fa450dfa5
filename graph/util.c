/* util.c - arena, growing arrays, strings, words and the error chain. */
#include "graph/util.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"

/* ---- context ---- */
static void *system_alloc(void *user, size_t n)
{
    (void)user;
    return malloc(n);
}
static void *system_realloc(void *user, void *p, size_t n)
{
    (void)user;
    return realloc(p, n);
}
static void system_free(void *user, void *p)
{
    (void)user;
    free(p);
}

static const weft_allocator system_allocator = {system_alloc, system_realloc, system_free, NULL};

weft_ctx *weft_open(const weft_options *o)
{
    static const weft_options none;
    if (!o)
        o = &none;
    weft_allocator mem = o->allocator ? *o->allocator : system_allocator;
    weft_ctx *c = mem.alloc(mem.user, sizeof *c);
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    c->mem = mem;
    c->io = o->io ? o->io : &weft_io_system;
    weft_waiting_bound_runtime();
    c->log = o->log;
    c->log_user = o->log_user;
    int asked;
    c->threads = weft_threads_take(o->threads, &asked);
    if (c->threads < asked)
        weft_log(c, "warning: %d threads were asked for%s, %d are taken", asked,
                 o->threads > 0 ? "" : " (OMP_NUM_THREADS)", c->threads);
    return c;
}

void weft_close(weft_ctx *c)
{
    if (c)
        c->mem.free(c->mem.user, c);
}

const char *weft_version(void) { return WEFT_VERSION; }
const char *weft_error(const weft_ctx *c) { return c->error; }
weft_status weft_error_status(const weft_ctx *c) { return c->status; }
int weft_threads(const weft_ctx *c) { return c->threads; }

weft_status weft_stopped(int signal)
{
    return !signal            ? WEFT_OK
           : signal == SIGINT ? WEFT_INTERRUPTED
           : signal == SIGHUP ? WEFT_HANGUP
                              : WEFT_TERMINATED;
}

int weft_is_stopped(weft_status s)
{
    return s == WEFT_HANGUP || s == WEFT_INTERRUPTED || s == WEFT_TERMINATED;
}

void weft_error_clear(weft_ctx *c)
{
    c->status = WEFT_OK;
    c->error_len = 0;
    c->error[0] = 0;
}

const char *weft_error_flat(const weft_ctx *c, char *out, size_t n)
{
    size_t k = 0;
    for (const char *s = weft_error(c); *s && k + 3 < n; s++)
        if (*s != '\n')
            out[k++] = *s;
        else {
            k += (size_t)snprintf(out + k, n - k, "; ");
            s += strspn(s + 1, " ");
        }
    out[k] = 0;
    return out;
}

static void error_append(weft_ctx *c, const char *prefix, const char *fmt, va_list ap)
{
    size_t room = sizeof c->error - c->error_len;
    int n = snprintf(c->error + c->error_len, room, "%s", prefix);
    c->error_len += (size_t)n < room ? (size_t)n : room - 1;
    c->error_len += weft_format(c->error + c->error_len, sizeof c->error - c->error_len, fmt, ap);
}

weft_status weft_failv(weft_ctx *c, weft_status s, const char *fmt, va_list ap)
{
    if (!c->status) {
        c->status = s;
        c->error_len = 0;
        error_append(c, "", fmt, ap);
    }
    return c->status;
}

weft_status weft_fail(weft_ctx *c, weft_status s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    weft_failv(c, s, fmt, ap);
    va_end(ap);
    return c->status;
}

weft_status weft_note(weft_ctx *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    error_append(c, "\n  ", fmt, ap);
    va_end(ap);
    return c->status;
}

void weft_note_lines(weft_ctx *c, const char *text)
{
    for (size_t n; text && *text; text += n + (text[n] != 0)) {
        n = strcspn(text, "\n");
        if (n > strspn(text, " "))
            weft_note(c, "%.*s", (int)n, text);
    }
}

void weft_log(weft_ctx *c, const char *fmt, ...)
{
    if (!c->log)
        return;
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    weft_format(line, sizeof line, fmt, ap);
    va_end(ap);
    c->log(c->log_user, line);
}

/* ---- memory ---- */
static void *nomem(weft_ctx *c, size_t bytes)
{
    weft_fail(c, WEFT_NOMEM, "out of memory: %zu bytes were asked for", bytes);
    return NULL;
}

void *weft_alloc(weft_ctx *c, size_t bytes)
{
    void *p = c->mem.alloc(c->mem.user, bytes ? bytes : 1);
    return p ? memset(p, 0, bytes) : nomem(c, bytes);
}

void *weft_realloc(weft_ctx *c, void *old, size_t bytes)
{
    void *p = old ? c->mem.realloc(c->mem.user, old, bytes ? bytes : 1)
                  : c->mem.alloc(c->mem.user, bytes ? bytes : 1);
    return p ? p : nomem(c, bytes);
}

void weft_free(weft_ctx *c, void *p)
{
    if (p)
        c->mem.free(c->mem.user, p);
}

typedef struct chunk {
    struct chunk *next;
    size_t size, used;
    _Alignas(16) char data[];
} chunk;

struct weft_arena {
    weft_ctx *ctx;
    chunk *first;
    size_t used, budget, next_size;
};

weft_arena *weft_arena_new(weft_ctx *c, size_t budget)
{
    weft_arena *a = weft_alloc(c, sizeof *a);
    if (!a)
        return NULL;
    a->ctx = c;
    a->budget = budget;
    a->next_size = 4096;
    return a;
}

void weft_arena_free(weft_arena *a)
{
    if (!a)
        return;
    for (chunk *k = a->first; k;) {
        chunk *next = k->next;
        weft_free(a->ctx, k);
        k = next;
    }
    weft_free(a->ctx, a);
}

static bool arena_add_chunk(weft_arena *a, size_t need)
{
    size_t size = a->next_size > need ? a->next_size : need;
    chunk *k = weft_alloc(a->ctx, sizeof *k + size);
    if (!k)
        return false;
    if (a->next_size < (1u << 20))
        a->next_size *= 2;
    k->size = size;
    k->next = a->first;
    a->first = k;
    return true;
}

void *weft_arena_alloc(weft_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return nomem(a->ctx, bytes);
    size_t n = (bytes + 15) & ~(size_t)15;
    if (a->budget && n > a->budget - (a->used < a->budget ? a->used : a->budget)) {
        weft_fail(a->ctx, WEFT_NOMEM, "over the memory budget of %zu bytes for this input",
                  a->budget);
        return NULL;
    }
    if ((!a->first || a->first->size - a->first->used < n) && !arena_add_chunk(a, n))
        return NULL;
    void *p = a->first->data + a->first->used;
    a->first->used += n;
    a->used += n;
    return p;
}

void *weft_arena_array(weft_arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return nomem(a->ctx, SIZE_MAX);
    return weft_arena_alloc(a, bytes);
}

char *weft_arena_strndup(weft_arena *a, const char *s, size_t n)
{
    char *p = weft_arena_alloc(a, n + 1);
    if (p)
        memcpy(p, s, n); /* the arena is zeroed: terminated */
    return p;
}

char *weft_arena_strdup(weft_arena *a, const char *s)
{
    return weft_arena_strndup(a, s, strlen(s));
}

char *weft_arena_printf(weft_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = weft_vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : weft_arena_alloc(a, (size_t)n + 1);
    if (p)
        weft_vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t weft_arena_used(const weft_arena *a) { return a->used; }
weft_ctx *weft_arena_ctx(const weft_arena *a) { return a->ctx; }

bool weft_grow_(weft_arena *a, void **p, int n, int *cap, size_t size)
{
    if (n < *cap)
        return true;
    int64_t want = *cap ? (int64_t)*cap * 2 : 16;
    if (want > INT32_MAX)
        return nomem(a->ctx, SIZE_MAX) != NULL;
    void *grown = weft_arena_array(a, (size_t)want, size);
    if (!grown)
        return false;
    if (n)
        memcpy(grown, *p, (size_t)n * size);
    *p = grown;
    *cap = (int)want;
    return true;
}

/* ---- strings ---- */
void weft_string_init(weft_string *b, weft_ctx *c)
{
    *b = (weft_string){.ctx = c};
    b->s = weft_alloc(c, b->cap = 256);
    b->failed = !b->s;
}

void weft_string_free(weft_string *b)
{
    weft_free(b->ctx, b->s);
    b->s = NULL;
}

static bool string_room(weft_string *b, size_t n)
{
    if (b->failed)
        return false;
    if (b->cap - b->len > n)
        return true;
    size_t cap = (b->len + n + 1) * 2;
    char *s = weft_realloc(b->ctx, b->s, cap);
    if (!s)
        return !(b->failed = true);
    b->s = s;
    b->cap = cap;
    return true;
}

void weft_string_add(weft_string *b, const char *data, size_t n)
{
    if (!string_room(b, n))
        return;
    memcpy(b->s + b->len, data, n);
    b->len += n;
    b->s[b->len] = 0;
}

void weft_string_printf(weft_string *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = weft_vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && string_room(b, (size_t)n + 1)) {
        weft_vsnprintf(b->s + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

/* ---- map: open addressing, powers of two ---- */
typedef struct {
    const char *key;
    int value;
} map_slot;

struct weft_map {
    weft_arena *arena;
    map_slot *slot;
    size_t cap, n;
};

weft_map *weft_map_new(weft_arena *a)
{
    weft_map *m = weft_arena_alloc(a, sizeof *m);
    if (!m)
        return NULL;
    m->arena = a;
    m->cap = 64;
    m->slot = weft_arena_array(a, m->cap, sizeof *m->slot);
    return m->slot ? m : NULL;
}

static map_slot *map_find(const weft_map *m, const char *key)
{
    size_t i = weft_hash(key, strlen(key), 0) & (m->cap - 1);
    while (m->slot[i].key && strcmp(m->slot[i].key, key))
        i = (i + 1) & (m->cap - 1);
    return &m->slot[i];
}

static bool map_grow(weft_map *m)
{
    map_slot *old = m->slot;
    size_t cap = m->cap;
    map_slot *grown = weft_arena_array(m->arena, cap * 2, sizeof *grown);
    if (!grown)
        return false;
    m->slot = grown;
    m->cap = cap * 2;
    for (size_t i = 0; i < cap; i++)
        if (old[i].key)
            *map_find(m, old[i].key) = old[i];
    return true;
}

bool weft_map_set(weft_map *m, const char *key, int value)
{
    if (m->n * 2 >= m->cap && !map_grow(m))
        return false;
    map_slot *s = map_find(m, key);
    m->n += !s->key;
    *s = (map_slot){key, value};
    return true;
}

int weft_map_get(const weft_map *m, const char *key, int missing)
{
    const map_slot *s = map_find(m, key);
    return s->key ? s->value : missing;
}

/* ---- words ---- */
static int edit_distance(const char *a, const char *b)
{
    int na = (int)strlen(a), nb = (int)strlen(b), row[65];
    if (na > 64 || nb > 64)
        return 99;
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diag = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int up = row[j], best = diag + (a[i - 1] != b[j - 1]);
            best = up + 1 < best ? up + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diag = up;
            row[j] = best;
        }
    }
    return row[nb];
}

/* Is `part` of three letters or more the beginning of `whole`, or what follows an underscore in it?
 * "soft" of "softmax", "steps" of "max_steps". */
static bool is_part(const char *part, const char *whole)
{
    size_t n = strlen(part), m = strlen(whole);
    return n >= 3 && n < m &&
           (!strncmp(whole, part, n) || (whole[m - n - 1] == '_' && !strcmp(whole + m - n, part)));
}

const char *weft_nearest(const char *word, const char *const *candidates, int n)
{
    const char *best = NULL;
    int letters = (int)strlen(word), limit = 1 + letters / 3, best_d = limit + 1;
    for (int i = 0; i < n; i++) {
        int d = edit_distance(word, candidates[i]);
        if (d > 1 && (is_part(word, candidates[i]) || is_part(candidates[i], word)))
            d = 1;
        if (d < best_d && d < letters) { /* a letter at least is the same */
            best_d = d;
            best = candidates[i];
        }
    }
    return best;
}

const char *weft_suggest(char *out, size_t n, const char *word, const char *label,
                         const char *const *names, int count)
{
    const char *near = *word ? weft_nearest(word, names, count) : NULL;
    size_t k = 0;
    out[0] = 0;
    if (near)
        snprintf(out, n, "; did you mean '%s'?", near);
    for (int i = 0; !near && label && i < count; i++) {
        const char *before = i ? ", " : " ";
        size_t more = strlen(before) + strlen(names[i]) + (i ? 0 : 2 + strlen(label));
        if (k + more + sizeof ", ..." > n) {
            snprintf(out + k, n - k, i ? ", ..." : "");
            break;
        }
        k += (size_t)snprintf(out + k, n - k, "%s%s%s%s", i ? "" : "; ", i ? "" : label, before,
                              names[i]);
    }
    return out;
}

bool weft_parse_i64(const char *s, int64_t *out)
{
    char *end;
    if (!(*s == '-' ? s[1] >= '0' && s[1] <= '9' : *s >= '0' && *s <= '9'))
        return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    *out = v;
    return !errno && !*end;
}

bool weft_parse_f64(const char *s, double *out)
{
    char *end;
    const char *d = *s == '-' ? s + 1 : s;
    if (!((*d >= '0' && *d <= '9') || *d == '.') || (d[0] == '0' && (d[1] | 32) == 'x'))
        return false;
    *out = weft_strtod(s, &end);
    return !*end && isfinite(*out);
}

bool weft_glob(const char *p, const char *t)
{
    const char *star = NULL, *from = NULL;
    while (*t) {
        if (*p == '*') {
            star = p++;
            from = t;
        } else if (*p == '?' || *p == *t) {
            p++;
            t++;
        } else if (star) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

/* FNV-1a, public domain (Fowler, Noll, Vo). */
uint64_t weft_hash(const void *data, size_t n, uint64_t seed)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (const unsigned char *p = data, *e = p + n; p < e; p++)
        h = (h ^ *p) * 0x100000001b3u;
    return h;
}
