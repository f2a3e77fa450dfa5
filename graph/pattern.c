/* pattern.c - type texts of graph files: evaluate, match, bind. */
#include "graph/pattern.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    weft_dtype dtype;
    int n;
    const char *dim[WEFT_MAX_RANK + 1];
    size_t len[WEFT_MAX_RANK + 1];
    int rest; /* index of "..." among dim, -1: none */
} pattern;

static bool fail(char *why, size_t n, const char *fmt, ...) WEFT_PRINTF(3, 4);
static bool fail(char *why, size_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(why, n, fmt, ap);
    va_end(ap);
    return false;
}

static const char *skip_space(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

static bool split_dims(const char *p, const char *text, pattern *out, char *why, size_t n)
{
    if (!strcmp(p, "]"))
        return true;
    for (;;) {
        int depth = 0;
        size_t len = 0;
        p = skip_space(p);
        while (p[len] && (depth || (p[len] != ',' && p[len] != ']'))) {
            depth += (p[len] == '(') - (p[len] == ')');
            len++;
        }
        if (!p[len] || !len)
            return fail(why, n, "'%.100s' is not a type: %s", text,
                        len ? "']' is missing" : "a size is missing");
        if (out->n > WEFT_MAX_RANK - (out->rest < 0))
            return fail(why, n, "'%.100s' has more than %d axes", text, WEFT_MAX_RANK);
        if (len == 3 && !memcmp(p, "...", 3)) {
            if (out->rest >= 0)
                return fail(why, n, "'%.100s' has '...' twice", text);
            out->rest = out->n;
        }
        out->dim[out->n] = p;
        out->len[out->n++] = len;
        p += len + 1;
        if (p[-1] == ']')
            return !*skip_space(p) ||
                   fail(why, n, "'%.100s' is not a type: something follows ']'", text);
    }
}

static bool split(const char *text, pattern *out, char *why, size_t n)
{
    const char *open = strchr(text, '[');
    *out = (pattern){.rest = -1};
    if (!open)
        return fail(why, n, "'%.100s' is not a type; expected something like f32[B,T,d]", text);
    if (!weft_dtype_parse(text, (size_t)(open - text), &out->dtype))
        return fail(why, n,
                    "'%.*s' is not an element type; expected f32, bf16, i32, i64, u16 or bool",
                    (int)(open - text > 100 ? 100 : open - text), text);
    if (out->dtype == WEFT_F64)
        return fail(why, n, "f64 is for reference runs, not for graph files; write f32");
    return split_dims(open + 1, text, out, why, n);
}

static bool append(weft_type *t, int64_t size, char *why, size_t n)
{
    if (t->rank == WEFT_MAX_RANK)
        return fail(why, n, "more than %d axes", WEFT_MAX_RANK);
    t->dim[t->rank++] = size;
    return true;
}

bool weft_pattern_eval(const weft_binding *b, const char *text, weft_type *out, char *why, size_t n)
{
    pattern p;
    if (!split(text, &p, why, n))
        return false;
    *out = (weft_type){.dtype = p.dtype};
    for (int i = 0; i < p.n; i++) {
        int64_t size;
        if (i == p.rest) {
            if (!b->has_rest)
                return fail(why, n, "'...' in '%.100s' stands for nothing here", text);
            for (int k = 0; k < b->rest_rank; k++)
                if (!append(out, b->rest[k], why, n))
                    return false;
        } else if (!weft_expr_eval_int(b->params, p.dim[i], p.len[i], &size, why, n) ||
                   !append(out, size, why, n)) {
            return false;
        }
    }
    return weft_type_check(out, why, n);
}

static bool match_dim(weft_binding *b, const pattern *p, int i, int64_t size, char *why, size_t n)
{
    int64_t want;
    bool is_name = weft_expr_is_name(p->dim[i], p->len[i]);
    if (is_name && !weft_params_find(b->params, p->dim[i], p->len[i])) {
        const char *name = weft_arena_strndup(b->arena, p->dim[i], p->len[i]);
        return name &&
               weft_params_add(b->arena, b->params, name, (double)size, "bound by an input");
    }
    if (!weft_expr_eval_int(b->params, p->dim[i], p->len[i], &want, why, n))
        return false;
    return want == size || fail(why, n, "%.*s is %lld here, but the size is %lld", (int)p->len[i],
                                p->dim[i], (long long)want, (long long)size);
}

static bool match_rest(weft_binding *b, const weft_type *t, int from, int count, char *why,
                       size_t n)
{
    if (!b->has_rest) {
        b->has_rest = true;
        b->rest_rank = count;
        memcpy(b->rest, t->dim + from, sizeof(int64_t) * (size_t)count);
        return true;
    }
    if (b->rest_rank != count || memcmp(b->rest, t->dim + from, sizeof(int64_t) * (size_t)count))
        return fail(why, n, "'...' stands for other axes than in an earlier input");
    return true;
}

bool weft_pattern_match(weft_binding *b, const char *text, const weft_type *t, char *why, size_t n)
{
    pattern p;
    if (!split(text, &p, why, n))
        return false;
    if (p.dtype != t->dtype)
        return fail(why, n, "element type %s is expected", weft_dtype_name(p.dtype));
    int fixed = p.n - (p.rest >= 0), extra = t->rank - fixed;
    if (p.rest < 0 ? extra != 0 : extra < 0)
        return fail(why, n, "%s%d axes are expected, not %d", p.rest < 0 ? "" : "at least ", fixed,
                    t->rank);
    for (int i = 0, axis = 0; i < p.n; i++) {
        if (i == p.rest) {
            if (!match_rest(b, t, axis, extra, why, n))
                return false;
            axis += extra;
        } else if (!match_dim(b, &p, i, t->dim[axis++], why, n)) {
            return false;
        }
    }
    return true;
}
