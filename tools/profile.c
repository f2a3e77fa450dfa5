/* profile.c - where the time of a program goes, by op. */
#include "tools/profile.h"

#include <stdlib.h>
#include <string.h>

static profile_line *find(profile_table *t, const weft_step_info *s)
{
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->line[i].op, s->op) && !strcmp(t->line[i].impl, s->impl))
            return &t->line[i];
    /* more kinds than lines: times must still add up, so the last line takes the rest */
    if (t->n == PROFILE_MAX)
        return &t->line[PROFILE_MAX - 1];
    t->line[t->n] = (profile_line){.op = s->op, .impl = s->impl};
    return &t->line[t->n++];
}

void profile_add(profile_table *t, const weft_program *p, int64_t runs)
{
    weft_step_info s;
    for (int i = 0; weft_program_step_at(p, i, &s); i++) {
        profile_line *l = find(t, &s);
        /* steps add up their times over all runs, those of warming up too */
        double ns = (double)s.ns / (double)(runs > 0 ? runs : 1);
        l->calls++;
        l->ns += ns;
        l->flops += s.flops;
        t->ns += ns;
    }
}

static int slower(const void *a, const void *b)
{
    const profile_line *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : strcmp(x->op, y->op);
}

void profile_sort(profile_table *t) { qsort(t->line, (size_t)t->n, sizeof *t->line, slower); }

void profile_print(const profile_table *t, FILE *f)
{
    fprintf(f, "%-28s %-18s %6s %10s %7s %9s\n", "op", "implementation", "calls", "ms", "share",
            "GFLOP/s");
    for (int i = 0; i < t->n; i++) {
        const profile_line *l = &t->line[i];
        fprintf(f, "%-28s %-18s %6lld %10.3f %6.2f%% ", l->op, l->impl, (long long)l->calls,
                l->ns * 1e-6, t->ns > 0 ? 100 * l->ns / t->ns : 0);
        if (l->flops > 0 && l->ns > 0)
            /* FLOP per nanosecond are GFLOP/s */
            fprintf(f, "%9.1f\n", l->flops / l->ns);
        else
            fprintf(f, "%9s\n", "-");
    }
}

void profile_json(const profile_table *t, FILE *f)
{
    fprintf(f, "[");
    for (int i = 0; i < t->n; i++) {
        const profile_line *l = &t->line[i];
        fprintf(f, "%s{\"op\":", i ? "," : "");
        cli_json_text(f, l->op);
        fprintf(f, ",\"impl\":");
        cli_json_text(f, l->impl);
        fprintf(f, ",\"calls\":%lld", (long long)l->calls);
        cli_json_number(f, ",", "ms", l->ns * 1e-6);
        cli_json_number(f, ",", "share", t->ns > 0 ? l->ns / t->ns : 0);
        fputs(",\"flops\":", f);
        cli_json_value(f, l->flops, 17);
        fputs("}", f);
    }
    fprintf(f, "]");
}
