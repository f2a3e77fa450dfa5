/* report.c - what a compiled program looks like: sizes, one line a step, the largest values at the
 * peak. */
#include <string.h>

#include "graph/plan.h"

void weft_program_measure(const weft_program *p, weft_program_size *out)
{
    *out = (weft_program_size){.n_step = p->n_step,
                               .state_bytes = p->session->state_bytes,
                               .plan_bytes = p->plan_bytes,
                               .naive_bytes = p->naive_bytes,
                               .compile_ns = p->compile_ns};
    for (int i = 0; i < p->n_step; i++)
        out->flops += p->step[i].flops;
}

bool weft_program_step_at(const weft_program *p, int i, weft_step_info *out)
{
    *out = (weft_step_info){0};
    if (i < 0 || i >= p->n_step)
        return false;
    const weft_step *s = &p->step[i];
    const weft_value *y = &p->graph->value[s->node->out[0]];
    *out = (weft_step_info){.op = s->node->op->name,
                            .name = y->name ? y->name : "",
                            .scope = s->node->scope,
                            .impl = s->impl,
                            .file = s->node->file,
                            .line = s->node->line,
                            .backward = s->node->backward,
                            .type = y->type,
                            .flops = s->flops,
                            .scratch_bytes = s->scratch < 0 ? 0 : p->life[s->scratch].bytes,
                            .ns = s->ns,
                            .calls = s->calls};
    return true;
}

/* ---- the peak ------------------------------------------------------------------------------- */
static bool alive(const weft_life *l, int step) { return l->first <= step && step <= l->last; }

/* The step at which the sum of living buffers is largest, by adding and removing at the ends of
 * lives. */
static int peak_step(const weft_program *p)
{
    int n = p->n_step + 2, best = 0;
    int64_t *change = weft_alloc(p->session->ctx, sizeof *change * (size_t)(n + 1)), sum = 0,
            most = -1;
    if (!change)
        return 0;
    for (int i = 0; i < p->n_buffer; i++) {
        change[p->life[i].first] += (int64_t)p->life[i].bytes;
        change[p->life[i].last + 1] -= (int64_t)p->life[i].bytes;
    }
    for (int i = 0; i < n; i++) {
        sum += change[i];
        if (sum > most) {
            most = sum;
            best = i;
        }
    }
    weft_free(p->session->ctx, change);
    return best;
}

/* A value, or the scratch of a step, as a user knows it. */
static void describe(const weft_program *p, int buffer, weft_string *out)
{
    char type[256];
    weft_val v = p->buffer_value[buffer];
    const weft_value *x = v < 0 ? NULL : &p->graph->value[v];
    const weft_node *n = v < 0                        ? &p->graph->node[p->buffer_step[buffer]]
                         : x->kind == WEFT_VALUE_NODE ? &p->graph->node[x->node]
                                                      : NULL;
    weft_string_printf(out, "\n  %12zu bytes  ", p->life[buffer].bytes);
    if (!x)
        weft_string_printf(out, "scratch of %s in '%s'", n->op->name, n->scope);
    else if (x->name)
        weft_string_printf(out, "%s %s", x->name, weft_type_print(type, sizeof type, &x->type));
    else
        weft_string_printf(out, "%%%d %s", v, weft_type_print(type, sizeof type, &x->type));
    if (x && n)
        weft_string_printf(out, " = %s in '%s'%s", n->op->name, n->scope,
                           n->backward ? " (backward)" : "");
    if (n && n->file)
        weft_string_printf(out, "  %s:%d", n->file, n->line);
}

weft_status weft_program_largest(const weft_program *p, int most, weft_string *out)
{
    int step = peak_step(p);
    char *listed = weft_alloc(p->session->ctx, (size_t)p->n_buffer + 1);
    if (!listed)
        return p->session->ctx->status;
    for (int k = 0; k < most; k++) {
        int best = -1;
        for (int i = 0; i < p->n_buffer; i++)
            if (!listed[i] && alive(&p->life[i], step) &&
                (best < 0 || p->life[i].bytes > p->life[best].bytes))
                best = i;
        if (best < 0)
            break;
        listed[best] = 1;
        describe(p, best, out);
    }
    weft_free(p->session->ctx, listed);
    return out->failed ? p->session->ctx->status : WEFT_OK;
}

/* ---- the plan as text ----------------------------------------------------------------------- */
static void print_value(const weft_program *p, weft_val v, weft_string *out)
{
    const weft_value *x = &p->graph->value[v];
    weft_val root = p->place[v].root;
    char type[256];
    weft_string_printf(out, "%%%d %s%s%s", v, x->name ? x->name : "", x->name ? " " : "",
                       weft_type_print(type, sizeof type, &x->type));
    if (p->graph->value[root].kind == WEFT_VALUE_STATE)
        weft_string_printf(out, " @%s", p->graph->value[root].name);
    else if (p->buffer[root] >= 0)
        weft_string_printf(out, " @0x%08zx",
                           p->offset[p->buffer[root]] +
                               (size_t)p->place[v].offset * weft_dtype_size(p->value[v].dtype));
}

static bool overwrites_input(const weft_program *p, const weft_node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && p->place[n->in[i]].root == p->place[n->out[0]].root)
            return !n->op->view;
    return false;
}

/* What a step reads: states and inputs, which no step makes, by their names. */
static void print_read(const weft_program *p, weft_val v, weft_string *out)
{
    const weft_value *x = &p->graph->value[v];
    if (x->kind != WEFT_VALUE_NODE && x->name)
        weft_string_printf(out, " %s", x->name);
    else
        weft_string_printf(out, " %%%d", v);
}

static void print_step(const weft_program *p, int i, weft_string *out)
{
    const weft_step *s = &p->step[i];
    const weft_node *n = s->node;
    for (int j = 0; j < n->n_out; j++) {
        weft_string_printf(out, "%s", j ? ", " : "");
        print_value(p, n->out[j], out);
    }
    weft_string_printf(out, " = %s", n->op->name);
    for (int j = 0; j < n->n_in; j++)
        if (n->in[j] >= 0)
            print_read(p, n->in[j], out);
    weft_string_printf(out, "  [%s%s]", s->impl, overwrites_input(p, n) ? ", in place" : "");
    if (s->scratch >= 0)
        weft_string_printf(out, " scratch %zu", p->life[s->scratch].bytes);
    if (n->file)
        weft_string_printf(out, "  %s:%d", n->file, n->line);
    weft_string_printf(out, "%s\n", n->backward ? " backward" : "");
}

weft_status weft_program_text(const weft_program *p, char **out)
{
    weft_string s;
    weft_string_init(&s, p->session->ctx);
    weft_string_printf(
        &s, "# %d steps, %zu bytes of state, %zu bytes of activations (%zu without reuse)\n",
        p->n_step, p->session->state_bytes, p->plan_bytes, p->naive_bytes);
    for (int i = 0; i < p->n_step; i++)
        print_step(p, i, &s);
    weft_string_printf(&s, "# largest at the peak:");
    weft_program_largest(p, 10, &s);
    weft_string_printf(&s, "\n");
    return weft_string_take(&s, out);
}
