/* case.h - one text line = one test of one op: its syntax, its data, its graph.
 *
 *   add a=f32[4,5] b=f32[5]                    run against the reference, gradient against
 * differences embedding w=f32[7,4] tokens=i32[2,3]<7     integers below 7 log x=f32[9]:0.1..4
 * numbers from 0.1 to 4 (default -2..2) ! softmax x=f32[4] axis=5 -> out of range  must fail, with
 * this in the message
 *
 * Other words: `exact`: whole numbers go in and the result must be equal to the last bit; `plain`:
 * a constant or mostly zero result is what this op gives; `smooth=0`: no gradient check; `grad=y`:
 * gradients of output y only; k=N: a sum of N terms, for the error bound. An optional input is left
 * out by not naming it; a variadic one is repeated. */
#ifndef WEFT_TESTS_CASE_H
#define WEFT_TESTS_CASE_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/ir.h"

enum { CASE_IN = 32 };

typedef struct {
    weft_type type;
    int port;
    double low, high;
} case_input;

typedef struct {
    char line[512], expect[256], attrs[256];
    const char *file;
    int number;
    const weft_op *op;
    bool fails, exact, plain, smooth;
    int grad_output; /* -1: all */
    double k;
    case_input in[CASE_IN];
    int n_in;
} test_case;

static bool case_type(const char *s, weft_type *t, const char **end)
{
    static const char *const names[] = {"f32", "i32", "i64", "bool", "u16", "bf16"};
    static const weft_dtype dtypes[] = {WEFT_F32,  WEFT_I32, WEFT_I64,
                                        WEFT_BOOL, WEFT_U16, WEFT_BF16};
    size_t n = strcspn(s, "[");
    *t = (weft_type){0};
    for (int i = 0; i < 6; i++)
        if (strlen(names[i]) == n && !strncmp(names[i], s, n))
            t->dtype = dtypes[i];
    if (!t->dtype || !s[n])
        return false;
    for (s += n + 1; *s && *s != ']'; s += *s == ',')
        t->dim[t->rank++] = strtoll(s, (char **)&s, 10);
    *end = s + 1;
    return *s == ']';
}

static int case_find(const weft_port *port, int n_port, const char *name, size_t n)
{
    for (int i = 0; i < n_port; i++)
        if (strlen(port[i].name) == n && !strncmp(port[i].name, name, n))
            return i;
    return -1;
}

/* "0.1..4": cut before reading, as "0..4" would read as "0." and ".4". */
static bool case_range(const char *s, double *low, double *high)
{
    char text[64];
    const char *dots = strstr(s, "..");
    if (!dots || dots - s >= (int)sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(dots - s), s);
    *low = atof(text);
    *high = atof(dots + 2);
    return *low <= *high;
}

static bool case_word(test_case *c, const char *word)
{
    const char *value = strchr(word, '='), *end;
    weft_type t;
    int port;
    if (!strcmp(word, "exact"))
        return c->exact = true;
    if (!strcmp(word, "plain"))
        return c->plain = true;
    if (!strcmp(word, "smooth=0"))
        return !(c->smooth = false);
    if (!value)
        return false;
    if (!strncmp(word, "grad=", 5))
        return (c->grad_output =
                    case_find(c->op->out, weft_op_n_out(c->op), word + 5, strlen(word + 5))) >= 0;
    if (!strncmp(word, "k=", 2) && case_find(c->op->in, weft_op_n_in(c->op), "k", 1) < 0 &&
        weft_op_attr(c->op, "k") < 0)
        return (c->k = atof(word + 2)) > 0;
    port = case_find(c->op->in, weft_op_n_in(c->op), word, (size_t)(value - word));
    if (port < 0 || !case_type(value + 1, &t, &end)) {
        strncat(c->attrs, c->attrs[0] ? " " : "", sizeof c->attrs - strlen(c->attrs) - 1);
        strncat(c->attrs, word, sizeof c->attrs - strlen(c->attrs) - 1);
        return true;
    }
    case_input in = {.type = t, .port = port, .low = -2, .high = 2};
    if (!weft_dtype_is_float(t.dtype))
        in.low = 0;
    if (*end == '<')
        in.high = atof(end + 1);
    if (*end == ':' && !case_range(end + 1, &in.low, &in.high))
        return false;
    c->in[c->n_in++] = in;
    return c->n_in < CASE_IN;
}

/* 1: a case, 0: an empty or comment line, -1: cannot be read. */
static int case_parse(test_case *c, const char *line, const char *file, int number)
{
    char text[512], *save = NULL, *p = text;
    *c = (test_case){.file = file, .number = number, .smooth = true, .grad_output = -1};
    snprintf(c->line, sizeof c->line, "%.*s", (int)strcspn(line, "\r\n"), line);
    snprintf(text, sizeof text, "%s", c->line);
    text[strcspn(text, "#")] = 0;
    while (isspace((unsigned char)*p))
        p++;
    if (!*p)
        return 0;
    if (*p == '!') {
        char *arrow = strstr(p, "->");
        c->fails = true;
        p++;
        if (!arrow)
            return -1;
        *arrow = 0;
        snprintf(c->expect, sizeof c->expect, "%s", arrow + 2 + strspn(arrow + 2, " "));
    }
    char *name = strtok_r(p, " ", &save);
    c->op = name ? weft_op_find(name) : NULL;
    if (!c->op)
        return -1;
    for (char *w = strtok_r(NULL, " ", &save); w; w = strtok_r(NULL, " ", &save))
        if (!case_word(c, w))
            return -1;
    return 1;
}

/* ---- data: a function of the line and the input's number ---- */
static double case_unit(const test_case *c, int input, int64_t i)
{
    uint32_t word[4];
    weft_random4(word, weft_hash(c->line, strlen(c->line), 0), 1, (uint32_t)input, (uint64_t)i);
    return (word[0] + 0.5) / 4294967296.0;
}

/* Element i of input k as the f32 number that both sides see. */
static double case_number(const test_case *c, int k, int64_t i)
{
    const case_input *in = &c->in[k];
    double v = in->low + (in->high - in->low) * case_unit(c, k, i);
    if (!weft_dtype_is_float(in->type.dtype) || c->exact)
        return floor(v);
    return (float)v;
}

/* ---- the graph: inputs in0, in1, ...; outputs y0, y1, ... ---- */
/* An input whose storage has its last two axes exchanged: what the op sees is a view. */
static weft_val case_viewed(weft_graph *g, const char *name, const weft_type *t)
{
    char perm[64] = "";
    weft_type stored = *t;
    stored.dim[t->rank - 1] = t->dim[t->rank - 2];
    stored.dim[t->rank - 2] = t->dim[t->rank - 1];
    for (int i = 0, k = 0; i < t->rank; i++) {
        int from = i == t->rank - 1 ? t->rank - 2 : i == t->rank - 2 ? t->rank - 1 : i;
        k += snprintf(perm + k, sizeof perm - (size_t)k, "%s%d", i ? "," : "", from);
    }
    weft_val v = weft_graph_input(g, name, &stored);
    return weft_graph_emit(g, "transpose", &v, 1, "perm=%s", perm);
}

static bool case_is_state(const test_case *c, int port)
{
    for (int i = 0; i < weft_op_n_out(c->op); i++)
        if (c->op->out[i].alias == port + 1)
            return true;
    return false;
}

static bool case_can_view(const test_case *c, int k)
{
    return c->in[k].type.rank >= 2 && !case_is_state(c, c->in[k].port);
}

/* The node's values in order of ports; absent optional inputs are WEFT_NONE. */
static int case_graph(weft_graph *g, const test_case *c, bool viewed)
{
    weft_val in[CASE_IN];
    int n = 0;
    for (int k = 0; k < c->n_in; k++) {
        char name[32];
        const weft_type *t = &c->in[k].type;
        snprintf(name, sizeof name, "in%d", k);
        while (n < c->in[k].port)
            in[n++] = WEFT_NONE;
        if (case_is_state(c, c->in[k].port))
            in[n++] = weft_graph_state(g, name, t, "zeros", true);
        else
            in[n++] = viewed && case_can_view(c, k) ? case_viewed(g, name, t)
                                                    : weft_graph_input(g, name, t);
    }
    weft_val y = weft_graph_emit(g, c->op->name, in, n, "%s", c->attrs);
    if (y < 0)
        return -1;
    int node = g->value[y].node;
    for (int i = 0; i < g->node[node].n_out; i++) {
        char name[32];
        snprintf(name, sizeof name, "y%d", i);
        if (weft_graph_output(g, name, g->node[node].out[i]))
            return -1;
    }
    return node;
}

#endif
