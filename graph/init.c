/* init.c - initialisers of weights: reading and evaluating. */
#include "graph/init.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

/* "name(a)" or "name(a,b)" with n numbers; arguments have been evaluated, so they are plain. */
static bool parse_call(const char *text, const char *name, int n, weft_init *r)
{
    char inner[128], *end, *comma;
    size_t len = strlen(name), whole = strlen(text);
    if (strncmp(text, name, len) || text[len] != '(' || text[whole - 1] != ')' ||
        whole - len - 2 >= sizeof inner)
        return false;
    memcpy(inner, text + len + 1, whole - len - 2);
    inner[whole - len - 2] = 0;
    comma = strchr(inner, ',');
    if ((comma != NULL) != (n == 2))
        return false;
    if (comma) {
        for (end = comma++; end > inner && end[-1] == ' ';)
            end--;
        *end = 0;
        comma += strspn(comma, " ");
    }
    return weft_parse_f64(inner, &r->a) && (!comma || weft_parse_f64(comma, &r->b));
}

bool weft_init_parse(const char *text, weft_init *r)
{
    *r = (weft_init){WEFT_INIT_CONSTANT, 0, 0};
    if (!strcmp(text, "zeros"))
        return true;
    if (!strcmp(text, "ones")) {
        r->a = 1;
        return true;
    }
    if (parse_call(text, "constant", 1, r))
        return true;
    r->kind = WEFT_INIT_NORMAL;
    if (parse_call(text, "normal", 1, r))
        return r->a >= 0;
    r->kind = WEFT_INIT_UNIFORM;
    return parse_call(text, "uniform", 2, r) && r->a <= r->b;
}

bool weft_init_fits(const char *text, weft_dtype t)
{
    weft_init r;
    if (weft_dtype_is_float(t) || !weft_init_parse(text, &r))
        return true;
    if (r.kind == WEFT_INIT_CONSTANT)
        return r.a == trunc(r.a) && fabs(r.a) <= 1 << 24 && weft_dtype_holds(t, r.a);
    bool normal = r.kind == WEFT_INIT_NORMAL;
    double most = normal ? 10 * r.a : r.b; /* ten deviations are never drawn */
    return weft_dtype_holds(t, most) && weft_dtype_holds(t, normal ? -most : r.a);
}

/* The arguments of `text` as numbers; NULL plus a recorded failure. */
static const char *eval_arguments(weft_ctx *c, weft_arena *a, const weft_params *params,
                                  const char *text)
{
    const char *open = strchr(text, '('), *p = open ? open + 1 : NULL;
    if (!open)
        return text;
    const char *out = weft_arena_strndup(a, text, (size_t)(p - text));
    size_t n = strlen(p);
    if (!n || p[n - 1] != ')') {
        weft_fail(c, WEFT_MALFORMED, "initialiser '%s' has no closing ')'", text);
        return NULL;
    }
    for (const char *end = p + n - 1; p < end && out;) {
        char why[256], number[64];
        double v;
        size_t len = 0;
        for (int depth = 0; p + len < end && (p[len] != ',' || depth); len++)
            depth += (p[len] == '(') - (p[len] == ')');
        if (!weft_expr_eval(params, p, len, &v, why, sizeof why)) {
            weft_fail(c, WEFT_MALFORMED, "initialiser '%s': %s", text, why);
            return NULL;
        }
        p += len + (p + len < end);
        out = weft_arena_printf(a, "%s%s%s", out, weft_number_print(number, sizeof number, v),
                                p < end ? "," : "");
    }
    return out ? weft_arena_printf(a, "%s)", out) : NULL;
}

const char *weft_init_eval(weft_ctx *c, weft_arena *a, const weft_params *params, const char *text)
{
    weft_init parsed;
    const char *out = eval_arguments(c, a, params, text);
    if (!out || weft_init_parse(out, &parsed))
        return out;
    weft_fail(c, WEFT_MALFORMED, "unknown initialiser '%s'; " WEFT_INIT_CHOICES, text);
    return NULL;
}
