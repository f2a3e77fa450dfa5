/* compare_json.c - a comparison for machines: everything that the tables say, and the curves. */
#include <math.h>
#include <string.h>

#include "tools/compare.h"

static void put_list(FILE *f, const char *key, const double *x, int n, double factor)
{
    fprintf(f, "%s\"%s\":[", strcmp(key, "tokens") ? "," : "", key);
    for (int i = 0; i < n; i++) {
        fputs(i ? "," : "", f);
        cli_json_value(f, x[i] * factor, 9);
    }
    fputs("]", f);
}

static void put_spread(FILE *f, const char *key, const cmp_spread *s)
{
    fprintf(f, ",\"%s\":{\"n\":%d", key, s->n);
    cli_json_number(f, ",", "mean", s->mean);
    cli_json_number(f, ",", "sd", s->sd);
    cli_json_number(f, ",", "min", s->min);
    cli_json_number(f, ",", "max", s->max);
    fputs("}", f);
}

static void put_run(const cmp_run *r, FILE *f)
{
    static const char *const state[] = {"finished", "stopped", "no evaluation"};
    fputs("{\"dir\":", f);
    cli_json_text(f, r->dir);
    fprintf(f, ",\"seed\":%lld,\"state\":\"%s\",\"step\":%lld,\"steps\":%lld", (long long)r->seed,
            state[r->state], (long long)r->step, (long long)r->steps);
    fputs(",\"output\":", f);
    cli_json_text(f, r->measured ? r->measured : "");
    cli_json_number(f, ",", "final", r->final);
    cli_json_number(f, ",", "tokens_per_s", r->tokens_per_s);
    fputs(",\"curve\":{\"tokens\":[", f);
    for (int i = 0; i < r->n; i++)
        fprintf(f, "%s%lld", i ? "," : "", (long long)r->point[i].tokens);
    fputs("],\"loss\":[", f);
    for (int i = 0; i < r->n; i++) {
        fputs(i ? "," : "", f);
        cli_json_value(f, r->point[i].loss, 9);
    }
    fputs("]}}", f);
}

/* Tokens and FLOPs, and both as shares of what `of` spent for its final loss. */
static void put_crossing(FILE *f, const char *key, const cmp_crossing *x, const cmp_arm *who,
                         const cmp_arm *of)
{
    fprintf(f, ",\"%s\":{\"reached\":%s", key, !x->known ? "null" : x->reached ? "true" : "false");
    if (x->first)
        fputs(",\"at_first_evaluation\":true", f);
    cli_json_number(f, ",", "tokens", x->tokens);
    cli_json_number(f, ",", "tokens_share", x->tokens / of->budget);
    cli_json_number(f, ",", "flops", x->tokens * who->per_token);
    cli_json_number(f, ",", "flops_share",
                    x->tokens * who->per_token / (of->budget * of->per_token));
    cli_json_number(f, ",", "flops_computed", x->tokens * who->per_token_computed);
    cli_json_number(f, ",", "flops_cached", x->tokens * who->per_token_cached);
    fputs("}", f);
}

static void put_against(const cmp_arm *a, const cmp_arm *base, FILE *f)
{
    fputs(",\"against_baseline\":{\"pairs\":[", f);
    for (int i = 0; i < a->n_pair; i++) {
        fprintf(f, "%s{\"seed\":%lld", i ? "," : "", (long long)a->pair_seed[i]);
        cli_json_number(f, ",", "difference", a->pair[i]);
        fputs("}", f);
    }
    fputs("]", f);
    put_spread(f, "difference", &a->difference);
    cli_json_number(f, ",", "low", a->low);
    cli_json_number(f, ",", "high", a->high);
    put_crossing(f, "to_equal_loss", &a->equal, a, base);
    put_crossing(f, "baseline_to_equal_loss", &a->reverse, base, a);
    fputs("}", f);
}

static void put_arm(const comparison *k, const cmp_arm *a, FILE *f)
{
    const weft_recipe_size *z = &a->run[0]->size;
    const cmp_curve *c = &a->curve;
    fputs("{\"name\":", f);
    cli_json_text(f, a->name);
    fprintf(f, ",\"parameters\":%lld,\"trainable\":%lld,\"active\":%lld", (long long)z->parameters,
            (long long)z->trainable, (long long)z->active);
    cli_json_number(f, ",", "flops_per_token", a->per_token);
    cli_json_number(f, ",", "flops_per_token_computed", a->per_token_computed);
    cli_json_number(f, ",", "flops_per_token_cached", a->per_token_cached);
    cli_json_number(f, ",", "tokens", a->budget);
    cli_json_number(f, ",", "flops", a->budget * a->per_token);
    put_spread(f, "final", &a->final);
    put_spread(f, "tokens_per_s", &a->speed);
    fputs(",\"runs\":[", f);
    for (int i = 0; i < a->n_run; i++) {
        fputs(i ? "," : "", f);
        put_run(a->run[i], f);
    }
    fputs("],\"curve\":{", f);
    put_list(f, "tokens", c->tokens, c->n, 1);
    put_list(f, "flops", c->tokens, c->n, a->per_token);
    put_list(f, "mean", c->mean, c->n, 1);
    put_list(f, "min", c->min, c->n, 1);
    put_list(f, "max", c->max, c->n, 1);
    fputs("}", f);
    if (a != &k->arm[k->baseline])
        put_against(a, &k->arm[k->baseline], f);
    fputs("}", f);
}

void compare_json(const comparison *k, FILE *f)
{
    fputs("{\"metric\":", f);
    cli_json_text(f, k->metric);
    fputs(",\"baseline\":", f);
    cli_json_text(f, k->arm[k->baseline].name);
    fputs(",\"arms\":[", f);
    for (int i = 0; i < k->n_arm; i++) {
        fputs(i ? "," : "", f);
        put_arm(k, &k->arm[i], f);
    }
    fputs("],\"notes\":[", f);
    for (int i = 0; i < k->n_note; i++) {
        fputs(i ? "," : "", f);
        cli_json_text(f, k->note[i]);
    }
    fputs("]}\n", f);
}
