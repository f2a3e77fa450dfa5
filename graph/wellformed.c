/* wellformed.c - what a model file must have where proto2 cannot demand it: names, types, outputs.
 */
#include <string.h>

#include "graph/load.h"

static weft_status lacks(const weft_model *m, const void *message, const char *what,
                         const char *field, const Weft__Module *module)
{
    weft_pos p = weft_lines_get(m->lines, message);
    return weft_fail(m->ctx, WEFT_MALFORMED, "%s:%d: %s has no %s (in module '%s')", p.file, p.line,
                     what, field, module && module->name ? module->name : "?");
}

static bool empty(const char *s) { return !s || !*s; }

static weft_status check_strings(const weft_model *m, const void *at, char **s, size_t n,
                                 const char *what, const Weft__Module *module)
{
    for (size_t i = 0; i < n; i++)
        if (empty(s[i]))
            return lacks(m, at, what, "text", module);
    return WEFT_OK;
}

static weft_status check_module(const weft_model *m, const Weft__Module *x)
{
    if (empty(x->name))
        return lacks(m, x, "a module", "name", x);
    for (size_t i = 0; i < x->n_input; i++) {
        if (empty(x->input[i]->name))
            return lacks(m, x->input[i], "an input", "name", x);
        if (empty(x->input[i]->type))
            return lacks(m, x->input[i], "an input", "type", x);
    }
    for (size_t i = 0; i < x->n_weight; i++) {
        if (empty(x->weight[i]->name))
            return lacks(m, x->weight[i], "a weight", "name", x);
        if (empty(x->weight[i]->type))
            return lacks(m, x->weight[i], "a weight", "type", x);
    }
    WEFT_TRY(check_strings(m, x, x->param, x->n_param, "a param", x));
    WEFT_TRY(check_strings(m, x, x->output, x->n_output, "an output", x));
    for (size_t i = 0; i < x->n_node; i++) {
        WEFT_TRY(check_strings(m, x->node[i], x->node[i]->out, x->node[i]->n_out, "an out", x));
        WEFT_TRY(check_strings(m, x->node[i], x->node[i]->attr, x->node[i]->n_attr, "an attr", x));
    }
    return WEFT_OK;
}

weft_status weft_model_check(const weft_model *m)
{
    for (int i = 0; i < m->n_module; i++)
        WEFT_TRY(check_module(m, m->module[i]));
    return WEFT_OK;
}
