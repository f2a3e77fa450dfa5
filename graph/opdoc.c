/* opdoc.c - ops and rewrite rules as documents: all from the tables, so that help and docs/ops.md
 * cannot be wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/ir.h"
#include "graph/rule.h"
#include "graph/util.h"

enum { MAX_IN = 24, MAX_OUT = 8, MAX_ATTR = 10 };

static int count_ports(const weft_port *p, int max)
{
    int n = 0;
    while (n < max && p[n].name)
        n++;
    return n;
}

static int count_attrs(const weft_op *op)
{
    int n = 0;
    while (n < MAX_ATTR && op->attr[n].name)
        n++;
    return n;
}

enum { KIND_TEXT = 64 };

/* Element types of a port into buf. */
static const char *kind_name(char buf[KIND_TEXT], int kind)
{
    return (kind & WEFT_ANY) == WEFT_ANY ? "any" : weft_kind_print(buf, KIND_TEXT, kind);
}

static const char *kind_note(int kind)
{
    if (kind & WEFT_INPUT_RNG)
        return ", filled in by the framework";
    if (kind & WEFT_VARIADIC)
        return ", one or more";
    return kind & WEFT_OPTIONAL ? ", optional" : "";
}

/* The text of choice `i` of "sum|mean" into buf. */
static const char *choice_name(char *buf, size_t n, const char *choices, int i)
{
    const char *at = choices ? choices : "";
    for (; i > 0 && *at; i--) {
        at += strcspn(at, "|");
        at += *at == '|';
    }
    snprintf(buf, n, "%.*s", (int)strcspn(at, "|"), at);
    return buf;
}

static const char *attr_default(char *buf, size_t n, const weft_attr_def *a)
{
    if (a->required)
        snprintf(buf, n, "required");
    else if (a->kind == WEFT_ATTR_ENUM)
        choice_name(buf, n, a->choices, (int)a->def);
    else if (a->kind == WEFT_ATTR_INTS)
        snprintf(buf, n, "empty");
    else
        weft_snprintf(buf, n, "%.10g", a->def);
    return buf;
}

static const char *attr_type(char *buf, size_t n, const weft_attr_def *a)
{
    static const char *const name[] = {"", "integer", "float", "bool", "one of ", "integers"};
    if (a->kind == WEFT_ATTR_ENUM)
        snprintf(buf, n, "%s%s", name[a->kind], a->choices ? a->choices : "");
    else if (a->min < a->max && isfinite(a->max))
        weft_snprintf(buf, n, "%s in %.10g..%.10g", name[a->kind], a->min, a->max);
    else if (a->min < a->max)
        weft_snprintf(buf, n, "%s >= %.10g", name[a->kind], a->min);
    else
        snprintf(buf, n, "%s", name[a->kind]);
    return buf;
}

/* What the op is to the framework, in words. */
static void add_flags(weft_string *s, const weft_op *op)
{
    static const struct {
        unsigned flag;
        const char *text;
    } word[] = {{WEFT_INPLACE, "may work in place"},
                {WEFT_ELEMENTWISE, "element-wise with broadcasting"},
                {WEFT_TRAIN_ONLY, "the identity outside training"},
                {WEFT_DRAWS, "draws random numbers"},
                {WEFT_EFFECT, "updates state, in training"},
                {WEFT_LOWER_FIRST, "resolved before anything is fused or differentiated"},
                {WEFT_POOLS, "averaged over the batches of an evaluation"}};
    const char *between = "";
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (op->flags & word[i].flag) {
            weft_string_printf(s, "%s%s", between, word[i].text);
            between = ", ";
        }
    const char *g = op->flags & WEFT_NO_GRADIENT ? "no gradient by definition"
                    : op->grad                   ? "differentiable"
                    : op->lower                  ? "replaced by other nodes"
                                                 : "not differentiable";
    weft_string_printf(s, "%s%s", between, g);
}

static void add_text(weft_string *s, const weft_op *op)
{
    char t[160], d[64], k[KIND_TEXT];
    weft_string_printf(s, "%s - %s\n\n", op->name, op->doc);
    for (int i = 0; i < count_ports(op->in, MAX_IN); i++)
        weft_string_printf(s, "  in   %-12s %s%s: %s\n", op->in[i].name,
                           kind_name(k, op->in[i].kind), kind_note(op->in[i].kind),
                           op->in[i].help ? op->in[i].help : "");
    for (int i = 0; i < count_ports(op->out, MAX_OUT); i++)
        weft_string_printf(s, "  out  %-12s %s: %s\n", op->out[i].name,
                           kind_name(k, op->out[i].kind), op->out[i].help ? op->out[i].help : "");
    for (int i = 0; i < count_attrs(op); i++)
        weft_string_printf(
            s, "  attr %-12s %s, %s: %s\n", op->attr[i].name, attr_type(t, sizeof t, &op->attr[i]),
            attr_default(d, sizeof d, &op->attr[i]), op->attr[i].help ? op->attr[i].help : "");
    weft_string_printf(s, "  ");
    add_flags(s, op);
    weft_string_printf(s, "\n");
}

static void add_markdown(weft_string *s, const weft_op *op)
{
    char t[160], d[64], k[KIND_TEXT];
    weft_string_printf(s,
                       "\n## %s\n\n%s\n\n| | name | type | meaning |\n| --- | --- | --- | --- |\n",
                       op->name, op->doc);
    for (int i = 0; i < count_ports(op->in, MAX_IN); i++)
        weft_string_printf(s, "| in | `%s` | %s%s | %s |\n", op->in[i].name,
                           kind_name(k, op->in[i].kind), kind_note(op->in[i].kind),
                           op->in[i].help ? op->in[i].help : "");
    for (int i = 0; i < count_ports(op->out, MAX_OUT); i++)
        weft_string_printf(s, "| out | `%s` | %s | %s |\n", op->out[i].name,
                           kind_name(k, op->out[i].kind), op->out[i].help ? op->out[i].help : "");
    for (int i = 0; i < count_attrs(op); i++) {
        attr_type(t, sizeof t, &op->attr[i]);
        for (char *bar; (bar = strchr(t, '|')) != NULL;)
            *bar = ','; /* a bar would end the table cell */
        weft_string_printf(s, "| attr | `%s` | %s, default %s | %s |\n", op->attr[i].name, t,
                           attr_default(d, sizeof d, &op->attr[i]),
                           op->attr[i].help ? op->attr[i].help : "");
    }
    weft_string_printf(s, "\n*");
    add_flags(s, op);
    weft_string_printf(s, "*\n");
}

static void add_json_field(weft_string *s, const char *before, const char *key, const char *value)
{
    weft_string_printf(s, "%s\"%s\":", before, key);
    weft_string_json(s, value);
}

static void add_json_ports(weft_string *s, const char *key, const weft_port *p, int n)
{
    char k[KIND_TEXT];
    weft_string_printf(s, ",\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        add_json_field(s, i ? ",{" : "{", "name", p[i].name);
        add_json_field(s, ",", "kind", kind_name(k, p[i].kind));
        add_json_field(s, ",", "help", p[i].help);
        weft_string_printf(s, ",\"optional\":%s,\"variadic\":%s}",
                           p[i].kind & WEFT_OPTIONAL ? "true" : "false",
                           p[i].kind & WEFT_VARIADIC ? "true" : "false");
    }
    weft_string_printf(s, "]");
}

static void add_json(weft_string *s, const weft_op *op)
{
    char t[160], d[64];
    add_json_field(s, "{", "name", op->name);
    add_json_field(s, ",", "doc", op->doc);
    add_json_ports(s, "in", op->in, count_ports(op->in, MAX_IN));
    add_json_ports(s, "out", op->out, count_ports(op->out, MAX_OUT));
    weft_string_printf(s, ",\"attr\":[");
    for (int i = 0; i < count_attrs(op); i++) {
        add_json_field(s, i ? ",{" : "{", "name", op->attr[i].name);
        add_json_field(s, ",", "type", attr_type(t, sizeof t, &op->attr[i]));
        add_json_field(s, ",", "default", attr_default(d, sizeof d, &op->attr[i]));
        add_json_field(s, ",", "help", op->attr[i].help);
        weft_string_printf(s, "}");
    }
    weft_string_printf(s, "],\"differentiable\":%s}", op->grad ? "true" : "false");
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const weft_op *const *)a)->name, (*(const weft_op *const *)b)->name);
}

static weft_status unknown_op(weft_ctx *c, const weft_op *const *op, int n, const char *name)
{
    const char **names = weft_alloc(c, sizeof *names * (size_t)(n + 1));
    if (!names)
        return weft_error_status(c);
    for (int i = 0; i < n; i++)
        names[i] = op[i]->name;
    const char *near = weft_nearest(name, names, n);
    weft_free(c, names);
    char word[128];
    weft_printable(word, sizeof word, name);
    if (near)
        return weft_fail(c, WEFT_USAGE, "unknown op '%s'; did you mean '%s'?", word, near);
    return weft_fail(c, WEFT_USAGE, "unknown op '%s'; 'weft ops' lists all", word);
}

static void add_op(weft_string *s, const weft_op *op, weft_doc_format f, bool first)
{
    if (f == WEFT_DOC_LIST)
        weft_string_printf(s, "%-24s %s\n", op->name, op->doc);
    else if (f == WEFT_DOC_TEXT)
        add_text(s, op);
    else if (f == WEFT_DOC_MARKDOWN)
        add_markdown(s, op);
    else {
        weft_string_printf(s, first ? "\n " : ",\n ");
        add_json(s, op);
    }
}

/* Hands the string over, or reports that memory ran out while it grew. */
weft_status weft_string_take(weft_string *s, char **out)
{
    *out = NULL;
    if (s->failed) {
        weft_string_free(s);
        return weft_fail(s->ctx, WEFT_NOMEM, "out of memory");
    }
    if (!s->s)
        weft_string_add(s, "", 0);
    *out = s->s;
    return s->s ? WEFT_OK : WEFT_NOMEM;
}

weft_status weft_ops_text(weft_ctx *c, const char *name, weft_doc_format f, char **out)
{
    *out = NULL;
    int n = weft_op_count(), shown = 0;
    const weft_op **op = weft_alloc(c, sizeof *op * (size_t)(n + 1));
    if (!op)
        return weft_error_status(c);
    for (int i = 0; i < n; i++)
        op[i] = weft_op_at(i);
    qsort(op, (size_t)n, sizeof *op, by_name);
    weft_string s;
    weft_string_init(&s, c);
    if (f == WEFT_DOC_MARKDOWN && !name)
        weft_string_printf(
            &s,
            "# Ops\n\nMade by `weft ops --markdown` from the schemas in `ops/`; do not edit.\n");
    if (f == WEFT_DOC_JSON)
        weft_string_printf(&s, "[");
    for (int i = 0; i < n; i++)
        if (!name || !strcmp(op[i]->name, name))
            add_op(&s, op[i], f, !shown++);
    if (f == WEFT_DOC_JSON)
        weft_string_printf(&s, "\n]\n");
    weft_status status = name && !shown ? unknown_op(c, op, n, name) : WEFT_OK;
    weft_free(c, op);
    if (status) {
        weft_string_free(&s);
        return status;
    }
    return weft_string_take(&s, out);
}

static void add_rule(weft_string *s, const weft_rule *r, weft_doc_format f, bool first)
{
    const char *when = r->train_only  ? "training only"
                       : r->eval_only ? "outside training"
                                      : "always";
    if (f == WEFT_DOC_JSON) {
        add_json_field(s, first ? "\n {" : ",\n {", "name", r->name);
        add_json_field(s, ",", "root", r->root);
        add_json_field(s, ",", "when", when);
        add_json_field(s, ",", "doc", r->doc);
        weft_string_printf(s, "}");
    } else if (f == WEFT_DOC_MARKDOWN)
        weft_string_printf(s, "| `%s` | %s | %s |\n", r->name, when, r->doc);
    else
        weft_string_printf(s, "%-24s %-16s %s\n", r->name, when, r->doc);
}

weft_status weft_rules_text(weft_ctx *c, weft_doc_format f, char **out)
{
    weft_string s;
    weft_string_init(&s, c);
    if (f == WEFT_DOC_MARKDOWN)
        weft_string_printf(
            &s, "# Rewrite rules\n\n| rule | when | before -> after |\n| --- | --- | --- |\n");
    if (f == WEFT_DOC_JSON)
        weft_string_printf(&s, "[");
    for (int i = 0; i < weft_rule_count(); i++)
        add_rule(&s, weft_rule_at(i), f, i == 0);
    if (f == WEFT_DOC_JSON)
        weft_string_printf(&s, "\n]\n");
    return weft_string_take(&s, out);
}
