/* watch.c - around each step on request: time, the first NaN or Inf, memory written outside the
 * step's buffers. */
#include <math.h>
#include <string.h>

#include "graph/io.h"
#include "graph/plan.h"

enum { GUARD = 64, MARK = 0xA5 }; /* as the plan leaves behind each buffer */

/* ---- guards and poison ---------------------------------------------------------------------- */
static char *guard_of(const weft_program *p, int buffer)
{
    return (char *)p->session->block.data + p->offset[buffer] + p->life[buffer].bytes - GUARD;
}

static int buffer_of(const weft_program *p, weft_val v)
{
    weft_val root = p->place[v].root;
    return p->graph->value[root].kind == WEFT_VALUE_STATE ? -1 : p->buffer[root];
}

/* Is the output fresh storage, not a view, an update or an overwritten input? */
static bool is_fresh(const weft_program *p, const weft_step *s, weft_val y)
{
    const weft_node *n = s->node;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && p->place[n->in[i]].root == p->place[y].root)
            return false;
    return buffer_of(p, y) >= 0;
}

/* All bits set is NaN in every float type: what a kernel forgets to write, or reads unwritten,
 * shows. */
static void poison(weft_program *p, weft_step *s)
{
    for (int i = 0; i < s->run.n_out; i++) {
        const weft_tensor *y = &s->run.out[i];
        int b = buffer_of(p, s->node->out[i]);
        if (b < 0)
            continue;
        memset(guard_of(p, b), MARK, GUARD);
        if (is_fresh(p, s, s->node->out[i]))
            memset(y->data, 0xff, (size_t)y->count * weft_dtype_size(y->dtype));
    }
    if (s->scratch >= 0) {
        char *scratch = s->run.scratch;
        memset(scratch, 0xff, p->life[s->scratch].bytes - GUARD);
        memset(guard_of(p, s->scratch), MARK, GUARD);
    }
}

static bool guard_stands(const weft_program *p, int buffer)
{
    if (buffer < 0)
        return true;
    const char *g = guard_of(p, buffer);
    for (int i = 0; i < GUARD; i++)
        if ((unsigned char)g[i] != MARK)
            return false;
    return true;
}

static bool check_guards(weft_program *p, weft_step *s)
{
    bool ok = guard_stands(p, s->scratch);
    for (int i = 0; i < s->run.n_out; i++)
        ok = ok && guard_stands(p, buffer_of(p, s->node->out[i]));
    if (!ok) {
        weft_fail(p->session->ctx, WEFT_INTERNAL, "internal: %s wrote beyond its memory",
                  s->node->op->name);
        weft_program_note(p, s);
    }
    return ok;
}

/* ---- NaN and Inf ---------------------------------------------------------------------------- */
/* First element that is not finite, -1: none. */
static int64_t first_bad(const weft_tensor *t)
{
    if (!weft_dtype_is_float(t->dtype))
        return -1;
    for (int64_t i = 0; i < t->count; i++) {
        double v = t->dtype == WEFT_F32   ? ((const float *)t->data)[i]
                   : t->dtype == WEFT_F64 ? ((const double *)t->data)[i]
                                          : weft_get(t, i);
        if (!isfinite(v))
            return i;
    }
    return -1;
}

static int64_t count_bad(const weft_tensor *t)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->count; i++)
        n += !isfinite(weft_get(t, i));
    return n;
}

static bool check_values(weft_program *p, weft_step *s)
{
    for (int i = 0; i < s->run.n_out; i++) {
        const weft_tensor *y = &s->run.out[i];
        int64_t at = s->node->op->view ? -1 : first_bad(y);
        if (at < 0)
            continue;
        weft_fail(p->session->ctx, WEFT_NUMERIC,
                  "%s gave %s at element %lld of its output '%s' (%lld of %lld bad)",
                  s->node->op->name, isnan(weft_get(y, at)) ? "NaN" : "Inf", (long long)at,
                  s->node->op->out[i].name, (long long)count_bad(y), (long long)y->count);
        weft_program_note(p, s);
        return false;
    }
    return true;
}

/* ---- around a step -------------------------------------------------------------------------- */
void weft_watch_before(weft_program *p, weft_step *s)
{
    if (p->options.check_nan)
        poison(p, s);
    if (p->options.profile)
        s->ns -= weft_now_ns(p->session->ctx);
}

bool weft_watch_after(weft_program *p, weft_step *s)
{
    if (p->options.profile) {
        s->ns += weft_now_ns(p->session->ctx);
        s->calls++;
    }
    return !p->options.check_nan || (check_guards(p, s) && check_values(p, s));
}
