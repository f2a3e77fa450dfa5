/* registry.c - the const tables of ops and rewrite rules, from all.def and rules.def (no static
 * constructors). */
#include <string.h>

#include "graph/op.h"
#include "graph/rule.h"

#define WEFT_OP(name) extern const weft_op weft_op_##name;
#include "ops/all.def"
#undef WEFT_OP
#define WEFT_RULE(name) extern const weft_rule weft_rule_##name;
#include "ops/rules.def"
#undef WEFT_RULE

static const weft_op *const op_table[] = {
#define WEFT_OP(name) &weft_op_##name,
#include "ops/all.def"
#undef WEFT_OP
    NULL};

static const weft_rule *const rule_table[] = {
#define WEFT_RULE(name) &weft_rule_##name,
#include "ops/rules.def"
#undef WEFT_RULE
    NULL};

int weft_op_count(void) { return (int)(sizeof op_table / sizeof *op_table) - 1; }

const weft_op *weft_op_at(int i) { return op_table[i]; }

const weft_op *weft_op_find(const char *name)
{
    for (int i = 0; i < weft_op_count(); i++)
        if (!strcmp(op_table[i]->name, name))
            return op_table[i];
    return NULL;
}

int weft_rule_count(void) { return (int)(sizeof rule_table / sizeof *rule_table) - 1; }

const weft_rule *weft_rule_at(int i) { return rule_table[i]; }
