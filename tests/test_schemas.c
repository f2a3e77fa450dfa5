/* test_schemas.c - what every registered op must have: order, formula, help for everything, code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "graph/ir.h"

static int n_bad;

static void require(bool good, const weft_op *op, const char *what, const char *name)
{
    if (good)
        return;
    fprintf(stderr, "op '%s': %s %s\n", op->name, what, name);
    n_bad++;
}

static bool some(const char *s) { return s && *s; }

static void check_ports(const weft_op *op, const weft_port *p, int n, bool output)
{
    for (int i = 0; i < n; i++) {
        require(some(p[i].help), op, "no help for port", p[i].name);
        require((p[i].kind & WEFT_KIND) != 0, op, "no kind for port", p[i].name);
        require(!p[i].alias || (output && p[i].alias <= weft_op_n_in(op)), op, "alias of",
                p[i].name);
        require(!(p[i].kind & WEFT_VARIADIC) || (!output && i == n - 1), op,
                "only the last input may be variadic:", p[i].name);
    }
}

static void check_attrs(const weft_op *op)
{
    for (int i = 0; i < weft_op_n_attr(op); i++) {
        const weft_attr_def *a = &op->attr[i];
        require(some(a->help), op, "no help for attribute", a->name);
        require(a->kind >= WEFT_ATTR_INT && a->kind <= WEFT_ATTR_INTS, op, "no kind for attribute",
                a->name);
        require(a->kind != WEFT_ATTR_ENUM || some(a->choices), op, "no choices for attribute",
                a->name);
        require(a->required || !(a->min < a->max) || (a->def >= a->min && a->def <= a->max), op,
                "default out of range for attribute", a->name);
    }
}

static void check_code(const weft_op *op)
{
    bool effect = false;
    for (int i = 0; i < weft_op_n_out(op); i++)
        effect = effect || op->out[i].alias;
    require(op->infer != NULL, op, "no", "infer");
    require(weft_op_n_out(op) > 0, op, "no", "output");
    require(op->lower || op->ref, op, "no", "double reference");
    require(op->lower || op->run || op->kernel || op->view, op, "no", "kernel");
    require(!op->grad || !(op->flags & WEFT_NO_GRADIENT), op, "both a gradient and",
            "WEFT_NO_GRADIENT");
    for (int i = 0; effect && i < weft_op_n_out(op); i++) /* outside training it is its input */
        require(op->out[i].alias, op, "updates state, but has an output without alias:",
                op->out[i].name);
    require(effect == !!(op->flags & WEFT_EFFECT), op, "aliases and flag disagree:", "WEFT_EFFECT");
}

static void test_every_schema(void **state)
{
    (void)state;
    for (int i = 0; i < weft_op_count(); i++) {
        const weft_op *op = weft_op_at(i);
        require(!i || strcmp(weft_op_at(i - 1)->name, op->name) < 0, op, "out of order in",
                "ops/all.def");
        require(some(op->doc) && strchr(op->doc, '='), op, "no formula in", "doc");
        require(some(op->doc) && op->doc[strlen(op->doc) - 1] == '.', op, "no full stop in", "doc");
        check_ports(op, op->in, weft_op_n_in(op), false);
        check_ports(op, op->out, weft_op_n_out(op), true);
        check_attrs(op);
        check_code(op);
    }
    assert_int_equal(n_bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_schema)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
