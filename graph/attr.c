/* attr.c - attributes of a node: text to values by the op's table, and back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/expr.h"
#include "graph/ir.h"

int weft_op_n_attr(const weft_op *op)
{
    int n = 0;
    while (n < (int)(sizeof op->attr / sizeof *op->attr) && op->attr[n].name)
        n++;
    return n;
}

int weft_op_n_in(const weft_op *op)
{
    int n = 0;
    while (n < (int)(sizeof op->in / sizeof *op->in) && op->in[n].name)
        n++;
    return n;
}

int weft_op_n_out(const weft_op *op)
{
    int n = 0;
    while (n < (int)(sizeof op->out / sizeof *op->out) && op->out[n].name)
        n++;
    return n;
}

int weft_op_attr(const weft_op *op, const char *name)
{
    for (int i = 0; i < weft_op_n_attr(op); i++)
        if (!strcmp(op->attr[i].name, name))
            return i;
    return -1;
}

static weft_attr default_attr(const weft_attr_def *d)
{
    weft_attr a = {.f = d->def, .i = (int64_t)d->def};
    return a;
}

static weft_status bad_attr(weft_ctx *c, const weft_op *op, const char *text, const char *why)
{
    char shown[200];
    return weft_fail(c, WEFT_MALFORMED, "%s: attribute '%s': %s", op->name,
                     weft_printable(shown, sizeof shown, text), why);
}

static weft_status unknown_attr(weft_ctx *c, const weft_op *op, const char *name)
{
    const char *known[sizeof op->attr / sizeof *op->attr];
    int n = weft_op_n_attr(op);
    char hint[300];
    for (int i = 0; i < n; i++)
        known[i] = op->attr[i].name;
    return weft_fail(c, WEFT_MALFORMED, "%s has no attribute '%s'%s", op->name, name,
                     n ? weft_suggest(hint, sizeof hint, name, "its attributes:", known, n)
                       : ": it takes none");
}

/* Index of a word in "sum|mean", -1 if it is none of them. */
static int choice_index(const char *choices, const char *word)
{
    size_t n = strlen(word);
    int index = 0;
    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL, index++) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, word, n))
            return index;
    }
    return -1;
}

static weft_status eval_ints(weft_ctx *c, const weft_op *op, const weft_params *params,
                             const char *text, const char *value, weft_attr *out)
{
    char why[256];
    out->n = 0;
    for (const char *p = value; *p;) {
        int depth = 0;
        size_t n = 0;
        for (; p[n] && (p[n] != ',' || depth); n++)
            depth += (p[n] == '(') - (p[n] == ')');
        if (out->n == WEFT_MAX_RANK)
            return bad_attr(c, op, text, "more than 8 numbers in the list");
        if (!weft_expr_eval_int(params, p, n, &out->v[out->n++], why, sizeof why))
            return bad_attr(c, op, text, why);
        p += n + (p[n] == ',');
    }
    return WEFT_OK;
}

static weft_status check_range(weft_ctx *c, const weft_op *op, const weft_attr_def *d,
                               const char *text, double v)
{
    char why[256];
    if (!(d->min < d->max) || (v >= d->min && v <= d->max))
        return WEFT_OK;
    weft_snprintf(why, sizeof why, "%.10g is not in %.10g..%.10g", v, d->min, d->max);
    return bad_attr(c, op, text, why);
}

static weft_status eval_one(weft_ctx *c, const weft_op *op, const weft_attr_def *d,
                            const weft_params *params, const char *text, const char *value,
                            weft_attr *out)
{
    char why[256];
    if (d->kind == WEFT_ATTR_INTS)
        return eval_ints(c, op, params, text, value, out);
    if (d->kind == WEFT_ATTR_ENUM) {
        out->i = choice_index(d->choices, value);
        snprintf(why, sizeof why, "expected one of %s", d->choices);
        return out->i < 0 ? bad_attr(c, op, text, why) : WEFT_OK;
    }
    if (d->kind == WEFT_ATTR_BOOL && (!strcmp(value, "true") || !strcmp(value, "false"))) {
        out->i = value[0] == 't';
        out->f = (double)out->i;
        return WEFT_OK;
    }
    bool ok = d->kind == WEFT_ATTR_FLOAT
                  ? weft_expr_eval(params, value, strlen(value), &out->f, why, sizeof why)
                  : weft_expr_eval_int(params, value, strlen(value), &out->i, why, sizeof why);
    if (!ok)
        return bad_attr(c, op, text, why);
    if (d->kind == WEFT_ATTR_FLOAT)
        out->i = fabs(out->f) < 9e15 ? (int64_t)out->f : 0;
    else
        out->f = (double)out->i;
    if (d->kind == WEFT_ATTR_BOOL && out->i != 0 && out->i != 1)
        return bad_attr(c, op, text, "expected 0, 1, true or false");
    return check_range(c, op, d, text, out->f);
}

weft_status weft_attrs_eval(weft_ctx *c, weft_arena *a, const weft_op *op,
                            const weft_params *params, const char *const *text, int n,
                            weft_attr **out)
{
    int n_attr = weft_op_n_attr(op);
    bool given[sizeof op->attr / sizeof *op->attr] = {false};
    weft_attr *attr = weft_arena_array(a, (size_t)n_attr + 1, sizeof *attr);
    if (!attr)
        return WEFT_NOMEM;
    for (int i = 0; i < n_attr; i++)
        attr[i] = default_attr(&op->attr[i]);
    for (int k = 0; k < n; k++) {
        const char *eq = strchr(text[k], '=');
        char name[64];
        if (!eq || eq == text[k] || eq - text[k] >= (int)sizeof name)
            return bad_attr(c, op, text[k], "expected name=value");
        memcpy(name, text[k], (size_t)(eq - text[k]));
        name[eq - text[k]] = 0;
        int i = weft_op_attr(op, name);
        if (i < 0)
            return unknown_attr(c, op, name);
        if (given[i])
            return bad_attr(c, op, text[k], "given twice");
        given[i] = true;
        WEFT_TRY(eval_one(c, op, &op->attr[i], params, text[k], eq + 1, &attr[i]));
    }
    for (int i = 0; i < n_attr; i++)
        if (op->attr[i].required && !given[i])
            return weft_fail(c, WEFT_MALFORMED, "%s needs the attribute '%s' (%s)", op->name,
                             op->attr[i].name, op->attr[i].help);
    *out = attr;
    return WEFT_OK;
}

weft_status weft_attrs_parse(weft_ctx *c, weft_arena *a, const weft_op *op, const char *const *text,
                             int n, weft_attr **out)
{
    static const weft_params none;
    return weft_attrs_eval(c, a, op, &none, text, n, out);
}

const char *weft_number_print(char *out, size_t n, double v)
{
    for (int digits = 1; digits <= 17; digits++) {
        weft_snprintf(out, n, "%.*g", digits, v);
        if (weft_strtod(out, NULL) == v)
            break;
    }
    return out;
}

static bool is_default(const weft_attr_def *d, const weft_attr *a)
{
    if (d->required || d->kind == WEFT_ATTR_INTS)
        return d->kind == WEFT_ATTR_INTS && !d->required && !a->n;
    return d->kind == WEFT_ATTR_FLOAT ? a->f == d->def : a->i == (int64_t)d->def;
}

static const char *print_one(weft_arena *arena, const weft_attr_def *d, const weft_attr *a)
{
    char number[64], list[WEFT_MAX_RANK * 24] = "";
    if (d->kind == WEFT_ATTR_FLOAT)
        return weft_arena_printf(arena, "%s=%s", d->name,
                                 weft_number_print(number, sizeof number, a->f));
    if (d->kind == WEFT_ATTR_ENUM) {
        const char *p = d->choices;
        for (int64_t i = 0; i < a->i && strchr(p, '|'); i++)
            p = strchr(p, '|') + 1;
        return weft_arena_printf(arena, "%s=%.*s", d->name, (int)strcspn(p, "|"), p);
    }
    if (d->kind == WEFT_ATTR_INTS) {
        for (int i = 0, k = 0; i < a->n; i++)
            k += snprintf(list + k, sizeof list - (size_t)k, "%s%lld", i ? "," : "",
                          (long long)a->v[i]);
        return weft_arena_printf(arena, "%s=%s", d->name, list);
    }
    return weft_arena_printf(arena, "%s=%lld", d->name, (long long)a->i);
}

int weft_attrs_print(weft_arena *a, const weft_node *n, const char **out, int max)
{
    int k = 0;
    for (int i = 0; i < weft_op_n_attr(n->op) && k < max; i++)
        if (!is_default(&n->op->attr[i], &n->attr[i]) &&
            !(out[k++] = print_one(a, &n->op->attr[i], &n->attr[i])))
            return -1;
    return k;
}
