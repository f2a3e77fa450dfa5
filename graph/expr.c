/* expr.c - arithmetic over module parameters, by operator precedence with explicit stacks (no
 * recursion on input). */
#include "graph/expr.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK = 64, MAX_BYTES = 4096 };

static void count(const weft_params *s, int64_t work)
{
    if (s->work)
        *s->work += work;
}

const weft_param *weft_params_find(const weft_params *s, const char *name, size_t len)
{
    count(s, s->n);
    for (int i = s->n - 1; i >= 0; i--)
        if (strlen(s->p[i].name) == len && !memcmp(s->p[i].name, name, len))
            return &s->p[i];
    return NULL;
}

bool weft_params_add(weft_arena *a, weft_params *s, const char *name, double value,
                     const char *origin)
{
    if (!WEFT_GROW(a, s->p, s->n, s->cap))
        return false;
    s->p[s->n++] = (weft_param){name, value, origin};
    return true;
}

bool weft_expr_is_name(const char *t, size_t n)
{
    if (!n || !(weft_is_alpha(*t) || *t == '_'))
        return false;
    for (size_t i = 1; i < n; i++)
        if (!weft_is_alnum(t[i]) && t[i] != '_')
            return false;
    return true;
}

/* Operators on the stack: + - * / are themselves, 'n' unary minus, '(' a group, 's' sqrt(, 'm'
 * min(, 'M' max(. */
typedef struct {
    const weft_params *params;
    const char *text, *end;
    double value[STACK];
    char op[STACK];
    int arity[STACK]; /* commas seen in the group opened by op[i] */
    int n_value, n_op;
    char *why;
    size_t why_size;
} parser;

enum { FUNCTIONS = 3 };
static const char *const function_name[FUNCTIONS] = {"sqrt", "min", "max"};
static const char function_op[] = "smM";

static bool fail(parser *p, const char *fmt, ...) WEFT_PRINTF(2, 3);
static bool fail(parser *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(p->why, p->why_size, fmt, ap);
    va_end(ap);
    return false;
}

static bool push_value(parser *p, double v)
{
    if (p->n_value == STACK)
        return fail(p, "the expression is nested too deeply (limit %d)", STACK);
    p->value[p->n_value++] = v;
    return true;
}

static bool push_op(parser *p, char op)
{
    if (p->n_op == STACK)
        return fail(p, "the expression is nested too deeply (limit %d)", STACK);
    p->arity[p->n_op] = 0;
    p->op[p->n_op++] = op;
    return true;
}

static bool is_group(char op) { return op == '(' || op == 's' || op == 'm' || op == 'M'; }
static int precedence(char op) { return op == 'n' ? 3 : op == '*' || op == '/' ? 2 : 1; }

static bool apply(parser *p)
{
    char op = p->op[--p->n_op];
    if (op == 'n') {
        p->value[p->n_value - 1] *= -1;
        return true;
    }
    double b = p->value[--p->n_value], *a = &p->value[p->n_value - 1];
    if (op == '/' && b == 0)
        return fail(p, "division by zero");
    *a = op == '+' ? *a + b : op == '-' ? *a - b : op == '*' ? *a * b : *a / b;
    return true;
}

static bool apply_group(parser *p)
{
    while (p->n_op && !is_group(p->op[p->n_op - 1]))
        if (!apply(p))
            return false;
    return p->n_op || fail(p, "')' or ',' without '('");
}

static bool close_group(parser *p)
{
    if (!apply_group(p))
        return false;
    char op = p->op[--p->n_op];
    int args = p->arity[p->n_op] + 1, want = op == 'm' || op == 'M' ? 2 : 1;
    if (args != want && op == '(')
        return fail(p, "',' in parentheses that belong to no function");
    if (args != want)
        return fail(p, "%s takes %d argument%s, but %d %s given",
                    function_name[strchr(function_op, op) - function_op], want,
                    want == 1 ? "" : "s", args, args == 1 ? "is" : "are");
    double *a = &p->value[p->n_value - want];
    if (op == 's' && *a < 0)
        return fail(p, "sqrt of the negative number %g", *a);
    if (op == 's')
        *a = sqrt(*a);
    if (want == 2) {
        *a = op == 'm' ? fmin(a[0], a[1]) : fmax(a[0], a[1]);
        p->n_value--;
    }
    return true;
}

/* What is followed by '(' was meant as a function. */
static bool unknown_name(parser *p, const char *name, size_t n)
{
    const char *known[256];
    char word[128], hint[160];
    int k = 0;
    snprintf(word, sizeof word, "%.*s", (int)n, name);
    if (p->text < p->end && *p->text == '(')
        return fail(p, "unknown function '%s'%s", word,
                    weft_suggest(hint, sizeof hint, word, "there are", function_name, FUNCTIONS));
    for (int i = 0; i < p->params->n && k < 256; i++)
        known[k++] = p->params->p[i].name;
    return fail(p, "unknown parameter '%s'%s", word,
                weft_suggest(hint, sizeof hint, word, "known here:", known, k));
}

/* A parameter, or a function name with its opening parenthesis. *operand: a value was read. */
static bool read_name(parser *p, bool *operand)
{
    const char *name = p->text;
    while (p->text < p->end && (weft_is_alnum(*p->text) || *p->text == '_'))
        p->text++;
    size_t n = (size_t)(p->text - name);
    for (int i = 0; i < FUNCTIONS; i++)
        if (strlen(function_name[i]) == n && !memcmp(name, function_name[i], n) &&
            p->text < p->end && *p->text == '(') {
            p->text++;
            *operand = false;
            return push_op(p, function_op[i]);
        }
    const weft_param *q = weft_params_find(p->params, name, n);
    *operand = true;
    return q ? push_value(p, q->value) : unknown_name(p, name, n);
}

static bool read_number(parser *p)
{
    char buf[64], *end;
    size_t n = 0;
    while (p->text + n < p->end && n + 1 < sizeof buf &&
           (weft_is_alnum(p->text[n]) || p->text[n] == '.' ||
            ((p->text[n] == '-' || p->text[n] == '+') && n && (p->text[n - 1] | 32) == 'e')))
        n++;
    memcpy(buf, p->text, n);
    buf[n] = 0;
    double v = weft_strtod(buf, &end);
    if (*end || !isfinite(v) || (buf[0] == '0' && (buf[1] | 32) == 'x'))
        return fail(p, "'%s' is not a number", buf);
    p->text += n;
    return push_value(p, v);
}

/* Something that starts a value: number, name, '-', '('. */
static bool read_operand(parser *p, bool *done)
{
    char ch = *p->text;
    *done = false;
    if (weft_is_digit(ch) || ch == '.') {
        *done = true;
        return read_number(p);
    }
    if (weft_is_alpha(ch) || ch == '_')
        return read_name(p, done);
    p->text++;
    if (ch == '-')
        return push_op(p, 'n');
    if (ch == '(')
        return push_op(p, '(');
    return fail(p, "a number, a parameter or '(' is expected at '%c'", ch);
}

/* Something that follows a value: operator, ',', ')'. */
static bool read_operator(parser *p, bool *operand)
{
    char ch = *p->text++;
    if (ch == ')')
        return close_group(p);
    *operand = false;
    if (ch == ',') {
        if (!apply_group(p))
            return false;
        p->arity[p->n_op - 1]++;
        return true;
    }
    if (!strchr("+-*/", ch))
        return fail(p, "an operator is expected at '%c'", ch);
    while (p->n_op && !is_group(p->op[p->n_op - 1]) &&
           precedence(p->op[p->n_op - 1]) >= precedence(ch))
        if (!apply(p))
            return false;
    return push_op(p, ch);
}

bool weft_expr_eval(const weft_params *s, const char *text, size_t n, double *out, char *why,
                    size_t why_size)
{
    parser p = {.params = s, .text = text, .end = text + n, .why = why, .why_size = why_size};
    bool have_value = false;
    count(s, (int64_t)n);
    if (n > MAX_BYTES)
        return fail(&p, "the expression has %zu bytes; at most %d are allowed", n, MAX_BYTES);
    while (p.text < p.end) {
        if (weft_is_space(*p.text))
            p.text++;
        else if (!(have_value ? read_operator(&p, &have_value) : read_operand(&p, &have_value)))
            return false;
    }
    if (!have_value)
        return fail(&p, n ? "the expression ends where a value is expected"
                          : "the expression is empty");
    while (p.n_op) {
        if (is_group(p.op[p.n_op - 1]))
            return fail(&p, "'(' without ')'");
        if (!apply(&p))
            return false;
    }
    *out = p.value[0];
    return isfinite(*out) || fail(&p, "the value is not finite");
}

bool weft_expr_eval_int(const weft_params *s, const char *text, size_t n, int64_t *out, char *why,
                        size_t why_size)
{
    double v;
    if (!weft_expr_eval(s, text, n, &v, why, why_size))
        return false;
    if (v != floor(v) || fabs(v) > 9007199254740992.0) {
        weft_snprintf(why, why_size, "'%.*s' is %.10g, not a whole number", (int)n, text, v);
        return false;
    }
    *out = (int64_t)v;
    return true;
}
