/* feed.c - what goes into a program from files or at random, and what comes out into files. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/plan.h"
#include "graph/rng.h"
#include "graph/safetensors.h"
#include "graph/sniff.h"

enum { TEXT_LIMIT = 1 << 30 };

double weft_element(const weft_type *t, const void *data, int64_t i)
{
    weft_tensor x = {
        .data = (void *)(uintptr_t)data, .dtype = t->dtype, .rank = 1, .count = weft_type_count(t)};
    x.dim[0] = x.count;
    x.stride[0] = 1;
    return weft_get(&x, i);
}

static void put(const weft_type *t, void *data, int64_t i, double v)
{
    weft_tensor x = {.data = data, .dtype = t->dtype, .rank = 1, .count = weft_type_count(t)};
    x.dim[0] = x.count;
    x.stride[0] = 1;
    weft_put(&x, i, v);
}

static weft_status find_input(weft_program *p, const char *name, weft_type *t, void **data)
{
    const char *names[64];
    int n = 0;
    *data = weft_program_input(p, name, t);
    if (*data)
        return WEFT_OK;
    for (int v = 0; v < p->graph->n_value && n < 64; v++)
        if (p->graph->value[v].kind == WEFT_VALUE_INPUT)
            names[n++] = p->graph->value[v].name;
    const char *near = weft_nearest(name, names, n);
    char word[128];
    return weft_fail(p->session->ctx, WEFT_USAGE, "the program has no input '%s'%s%s%s",
                     weft_printable(word, sizeof word, name), near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

/* ---- who feeds what ---- */
static weft_status unfed(const weft_program *p, const weft_value *x, const char *who,
                         const weft_feed *feed, int n)
{
    weft_ctx *c = p->session->ctx;
    const char *name[64];
    char type[160];
    weft_string given;
    weft_string_init(&given, c);
    for (int i = 0; i < n && i < 64; i++) {
        name[i] = feed[i].name;
        weft_string_printf(&given, "%s'%s'", !i ? "" : i < n - 1 ? ", " : " and ", name[i]);
    }
    const char *near = weft_nearest(x->name, name, n < 64 ? n : 64);
    weft_fail(c, WEFT_MALFORMED, "nothing feeds the input '%s': %s; %s feeds %s%s%s%s", x->name,
              weft_type_print(type, sizeof type, &x->type), who, n ? given.s : "nothing",
              near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    weft_string_free(&given);
    return weft_note(c,
                     "compute it from these or make it a weight; weft run --input %s=FILE feeds "
                     "anything",
                     x->name);
}

static weft_status fed_wrong(const weft_program *p, const weft_value *x, const char *who,
                             const weft_feed *f)
{
    char have[160], fed[160];
    return weft_fail(p->session->ctx, WEFT_MALFORMED, "input '%s' is %s, but %s feeds %s%s%s",
                     x->name, weft_type_print(have, sizeof have, &x->type), who,
                     weft_type_print(fed, sizeof fed, &f->type), f->what ? ": " : "",
                     f->what ? f->what : "");
}

weft_status weft_program_check_feeds(const weft_program *p, const char *who, const weft_feed *feed,
                                     int n)
{
    for (weft_val v = 0; v < p->graph->n_value; v++) {
        const weft_value *x = &p->graph->value[v];
        int i = 0;
        if (x->kind != WEFT_VALUE_INPUT || p->buffer[v] < 0) /* nobody reads it */
            continue;
        while (i < n && strcmp(feed[i].name, x->name))
            i++;
        if (i == n)
            return unfed(p, x, who, feed, n);
        if (!weft_type_equal(&x->type, &feed[i].type))
            return fed_wrong(p, x, who, &feed[i]);
    }
    return WEFT_OK;
}

/* ---- files ---- */
static weft_status wrong_size(weft_ctx *c, const char *path, const char *name, int64_t found,
                              const weft_type *t, const char *unit)
{
    char type[160];
    return weft_fail(c, WEFT_MISMATCH, "%s: %lld %s, but input '%s' is %s", path, (long long)found,
                     unit, name, weft_type_print(type, sizeof type, t));
}

static weft_status wrong_bytes(weft_ctx *c, const char *path, const char *name, const char *data,
                               size_t n, const weft_type *t)
{
    char type[160];
    const char *is = weft_kind_of(data, n);
    if (!is)
        return wrong_size(c, path, name, (int64_t)n, t, "bytes");
    return weft_fail(c, WEFT_MALFORMED,
                     "%s: this is %s; input '%s' is %s, fed as its bare elements, as numbers in a "
                     ".txt, or as safetensors",
                     path, is, name, weft_type_print(type, sizeof type, t));
}

/* A file of another shape says something else, if of as many elements: rows for columns. */
static weft_status wrong_type(weft_ctx *c, const char *path, const char *name,
                              const weft_tensor_entry *e, const weft_type *t)
{
    char type[160], file[512], tensor[256], shown[256] = "";
    for (int i = 0, k = 0; i < e->rank; i++)
        k += snprintf(shown + k, sizeof shown - (size_t)k, "%s%lld", i ? "," : "",
                      (long long)e->dim[i]);
    return weft_fail(c, WEFT_MISMATCH, "%s: tensor '%s' is %s[%s], but input '%s' is %s",
                     weft_printable(file, sizeof file, path),
                     weft_printable(tensor, sizeof tensor, e->name), e->dtype, shown, name,
                     weft_type_print(type, sizeof type, t));
}

static bool same_shape(const weft_tensor_entry *e, const weft_type *t)
{
    return e->rank == t->rank && !memcmp(e->dim, t->dim, sizeof *t->dim * (size_t)t->rank);
}

/* Reals of a wider type are taken where none is rounded; whole numbers were checked on reading. */
static weft_status check_exact(weft_tensor_file *f, const weft_tensor_entry *e, const char *name,
                               const weft_type *t, const void *data)
{
    weft_ctx *c = weft_arena_ctx(f->arena);
    double part[256];
    const int64_t n = weft_type_count(t), most = sizeof part / sizeof *part;
    if (e->type->native == t->dtype || !weft_dtype_is_float(t->dtype))
        return WEFT_OK;
    for (int64_t at = 0; at < n; at += most) {
        const int64_t k = n - at < most ? n - at : most;
        WEFT_TRY(weft_tensor_file_read_part(f, e, WEFT_F64, false, (size_t)at, (size_t)k, part));
        for (int64_t i = 0; i < k; i++) {
            const double v = weft_element(t, data, at + i);
            if (v == part[i] || (isnan(v) && isnan(part[i])))
                continue;
            wrong_type(c, f->path, name, e, t);
            return weft_note(c,
                             "element %lld is %.17g, which the input does not hold exactly: "
                             "save the tensor as %s",
                             (long long)(at + i), part[i], weft_dtype_name(t->dtype));
        }
    }
    return WEFT_OK;
}

static weft_status feed_tensor(weft_program *p, const char *name, const char *path,
                               const weft_type *t, void *data)
{
    weft_ctx *c = p->session->ctx;
    weft_tensor_file *f = NULL;
    WEFT_TRY(weft_tensor_file_open(c, path, &f));
    const weft_tensor_entry *e = weft_tensor_file_find(f, name);
    if (!e && weft_tensor_file_count(f) == 1)
        e = weft_tensor_file_at(f, 0);
    weft_status s;
    if (!e)
        s = weft_fail(c, WEFT_MISMATCH, "%s: no tensor '%s', and more than one to choose from",
                      path, name);
    else if (!same_shape(e, t))
        s = wrong_type(c, path, name, e, t);
    else
        s = weft_tensor_file_read(f, e, t->dtype, false, data);
    if (!s)
        s = check_exact(f, e, name, t, data);
    weft_tensor_file_close(f);
    return s;
}

static weft_status feed_text(weft_ctx *c, const char *text, const char *name, const char *path,
                             const weft_type *t, void *data)
{
    int64_t n = 0, want = weft_type_count(t);
    for (const char *s = text;;) {
        char *end;
        s += strspn(s, " \t\r\n,");
        if (!*s)
            break;
        double v = weft_strtod(s, &end);
        if (end == s || (*end && !strchr(" \t\r\n,", *end)))
            return weft_fail(c, WEFT_MALFORMED, "%s@%lld: expected a number", path,
                             (long long)(s - text));
        bool whole = weft_dtype_is_float(t->dtype) || v == trunc(v);
        if (!whole || !weft_dtype_holds(t->dtype, v))
            return weft_fail(c, WEFT_MALFORMED, "%s@%lld: %g, but input '%s' is %s", path,
                             (long long)(s - text), v, name,
                             whole ? "of a type that does not hold it" : "of whole numbers");
        if (n < want)
            put(t, data, n, v);
        n++;
        s = end;
    }
    return n == want ? WEFT_OK : wrong_size(c, path, name, n, t, "numbers");
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

weft_status weft_program_feed_file(weft_program *p, const char *name, const char *path)
{
    weft_ctx *c = p->session->ctx;
    weft_type t;
    void *data;
    char *bytes;
    size_t n;
    WEFT_TRY(find_input(p, name, &t, &data));
    if (ends_with(path, ".safetensors"))
        return feed_tensor(p, name, path, &t, data);
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? weft_read_bytes(a, path, TEXT_LIMIT, &bytes, &n) : weft_error_status(c);
    if (!s && ends_with(path, ".txt"))
        s = feed_text(c, bytes, name, path, &t, data);
    else if (!s && n != weft_type_bytes(&t))
        s = wrong_bytes(c, path, name, bytes, n, &t);
    else if (!s)
        memcpy(data, bytes, n);
    weft_arena_free(a);
    return s;
}

/* ---- random numbers ---- */
weft_status weft_program_feed_random(weft_program *p, const char *name, uint64_t seed,
                                     int64_t below)
{
    weft_type t;
    void *data;
    WEFT_TRY(find_input(p, name, &t, &data));
    uint64_t key = seed ^ weft_hash(name, strlen(name), 0);
    int64_t n = weft_type_count(&t);
    for (int64_t i = 0; i < n; i++) {
        uint32_t word[4];
        double normal[4];
        weft_random4(word, key, 0, 0x66656564, (uint64_t)i / 4); /* a stream of its own */
        weft_random_normal4(normal, word);
        put(&t, data, i,
            weft_dtype_is_float(t.dtype) ? normal[i % 4] : (double)(word[i % 4] % (uint64_t)below));
    }
    return WEFT_OK;
}

/* ---- out ---- */
weft_status weft_program_save(weft_program *p, const char *const *name, int n, const char *path)
{
    weft_ctx *c = p->session->ctx;
    weft_arena *a = weft_arena_new(c, 0);
    weft_tensor_out *t = a ? weft_arena_array(a, (size_t)n + 1, sizeof *t) : NULL;
    weft_status s = t ? WEFT_OK : weft_error_status(c);
    for (int i = 0; i < n && !s; i++) {
        t[i].name = name[i];
        t[i].data = weft_program_output(p, name[i], &t[i].type);
        if (!t[i].data)
            s = weft_fail(c, WEFT_USAGE, "output '%s' was not fetched", name[i]);
    }
    if (!s)
        s = weft_tensor_file_write(c, path, t, n, NULL, 0, NULL, NULL);
    weft_arena_free(a);
    return s;
}
