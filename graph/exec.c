/* exec.c - running a program: the loop, what goes in and what comes out. */
#include <string.h>

#include "graph/plan.h"

static weft_status step_failed(weft_program *p, const weft_step *s)
{
    weft_fail(p->session->ctx, p->fault.status, "%s: %s", s->node->op->name, p->fault.message);
    return weft_program_note(p, s);
}

static weft_status check_states(weft_program *p)
{
    for (int i = 0; i < p->graph->n_value; i++) {
        const weft_value *v = &p->graph->value[i];
        if (v->kind == WEFT_VALUE_STATE && !weft_session_state(p->session, v->name)->ready)
            return weft_fail(p->session->ctx, WEFT_USAGE,
                             "state '%s' was neither initialised nor loaded", v->name);
    }
    p->states_ready = true;
    return WEFT_OK;
}

weft_status weft_program_run(weft_program *p)
{
    const bool watch = p->options.profile || p->options.check_nan;
    if (p->session->bare)
        return weft_fail(p->session->ctx, WEFT_USAGE, "the program is only a plan (plan_only)");
    p->fault.failed = false;
    if (!p->states_ready)
        WEFT_TRY(check_states(p));
    for (int i = 0; i < p->n_step; i++) {
        weft_step *s = &p->step[i];
        if (watch)
            weft_watch_before(p, s);
        s->fn(&s->run);
        if (p->fault.failed)
            return step_failed(p, s);
        if (watch && !weft_watch_after(p, s))
            return p->session->ctx->status;
    }
    return WEFT_OK;
}

static void *value_data(weft_program *p, weft_val v, weft_type *t)
{
    weft_type type = v < 0 ? (weft_type){0} : p->graph->value[v].type;
    if (v >= 0)
        type.dtype = p->value[v].dtype; /* f64 in a reference session */
    if (t)
        *t = type;
    return v < 0 ? NULL : p->value[v].data;
}

void *weft_program_input(weft_program *p, const char *name, weft_type *t)
{
    weft_val v = weft_graph_find(p->graph, name);
    bool used = v >= 0 && p->graph->value[v].kind == WEFT_VALUE_INPUT && p->value[v].data;
    return value_data(p, used ? v : WEFT_NONE, t);
}

const void *weft_program_output(weft_program *p, const char *name, weft_type *t)
{
    for (int i = 0; i < p->n_fetch; i++)
        if (!strcmp(p->fetch_name[i], name))
            return value_data(p, p->fetch[i], t);
    return value_data(p, WEFT_NONE, t);
}
