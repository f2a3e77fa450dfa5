/* compare_math.c - curves over seeds, spreads, paired differences, and where one curve comes down
 * to another's end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/compare.h"

cmp_spread compare_spread(const double *x, int n)
{
    cmp_spread s = {.n = n, .mean = NAN, .sd = NAN, .min = NAN, .max = NAN};
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i];
        s.min = i && s.min < x[i] ? s.min : x[i];
        s.max = i && s.max > x[i] ? s.max : x[i];
    }
    if (n)
        s.mean = sum / n;
    for (int i = 0; i < n; i++)
        square += (x[i] - s.mean) * (x[i] - s.mean);
    if (n > 1)
        s.sd = sqrt(square / (n - 1));
    return s;
}

double compare_at(const cmp_run *r, double tokens)
{
    for (int i = 0; i < r->n; i++) {
        const cmp_point *b = &r->point[i], *a = b - 1;
        if ((double)b->tokens == tokens)
            return b->loss;
        if ((double)b->tokens > tokens)
            return i ? a->loss + (b->loss - a->loss) * (tokens - (double)a->tokens) /
                                     (double)(b->tokens - a->tokens)
                     : NAN;
    }
    return NAN;
}

/* ---- curves ---- */
static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* All places where a run with evaluations was evaluated, sorted, each once. */
static int collect_places(const cmp_arm *a, double *x)
{
    int n = 0, kept = 0;
    for (int i = 0; i < a->n_run; i++)
        for (int j = 0; j < a->run[i]->n; j++)
            x[n++] = (double)a->run[i]->point[j].tokens;
    if (n)
        qsort(x, (size_t)n, sizeof *x, by_size);
    for (int i = 0; i < n; i++)
        if (!kept || x[i] != x[kept - 1])
            x[kept++] = x[i];
    return kept;
}

/* Only where every run that counts has been: a mean over fewer would jump. Runs that count are
 * those in the final numbers, or all when there are none. */
static weft_status make_curve(comparison *k, cmp_arm *a)
{
    size_t all = 1;
    bool none = a->final.n == 0;
    cmp_curve *c = &a->curve;
    for (int i = 0; i < a->n_run; i++)
        all += (size_t)a->run[i]->n;
    double *place = weft_arena_array(k->arena, all, sizeof *place);
    double *y = weft_arena_array(k->arena, (size_t)a->n_run, sizeof *y);
    c->tokens = weft_arena_array(k->arena, all, sizeof *c->tokens);
    c->mean = weft_arena_array(k->arena, all, sizeof *c->mean);
    c->min = weft_arena_array(k->arena, all, sizeof *c->min);
    c->max = weft_arena_array(k->arena, all, sizeof *c->max);
    if (weft_error_status(k->ctx))
        return weft_error_status(k->ctx);
    int n_place = collect_places(a, place);
    for (int p = 0; p < n_place; p++) {
        int n = 0;
        bool whole = true, joined = false;
        for (int i = 0; i < a->n_run; i++) {
            const cmp_run *r = a->run[i];
            if (!r->n || (!r->used && !none))
                continue;
            y[n] = compare_at(r, place[p]);
            whole = whole && !isnan(y[n++]);
            bool own = false;
            for (int j = 0; j < r->n && !own; j++)
                own = (double)r->point[j].tokens == place[p];
            joined = joined || !own;
        }
        if (!whole || !n)
            continue;
        cmp_spread s = compare_spread(y, n);
        c->tokens[c->n] = place[p];
        c->mean[c->n] = s.mean;
        c->min[c->n] = s.min;
        c->max[c->n++] = s.max;
        c->interpolated = c->interpolated || joined;
    }
    return WEFT_OK;
}

/* The first place where the curve is at or below `loss`; behind `limit` it does not count. */
static cmp_crossing cross(const cmp_curve *c, double loss)
{
    cmp_crossing x = {.known = c->n > 1 && !isnan(loss), .tokens = NAN};
    for (int i = 0; x.known && i < c->n; i++)
        if (c->mean[i] <= loss) {
            x.reached = true;
            x.first = i == 0;
            x.tokens = i ? c->tokens[i - 1] + (c->tokens[i] - c->tokens[i - 1]) *
                                                  (c->mean[i - 1] - loss) /
                                                  (c->mean[i - 1] - c->mean[i])
                         : c->tokens[0];
            break;
        }
    return x;
}

/* ---- the place of comparison ---- */
/* Tokens of the last evaluation of the run that came least far. */
static double common_end(const comparison *k)
{
    double end = INFINITY;
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++) {
            const cmp_run *r = k->arm[i].run[j];
            if (r->n)
                end = fmin(end, (double)r->point[r->n - 1].tokens);
        }
    return end;
}

weft_status compare_check_at(comparison *k)
{
    char *end = NULL;
    if (!k->at || !strcmp(k->at, "common"))
        return WEFT_OK;
    double at = strtod(k->at, &end);
    if (!*k->at || *end || !(at > 0) || !isfinite(at))
        return weft_fail(k->ctx, WEFT_USAGE, "--at=%s: expected a number of tokens, or 'common'",
                         k->at);
    return WEFT_OK;
}

static double find_place(const comparison *k)
{
    return !k->at ? NAN : !strcmp(k->at, "common") ? common_end(k) : strtod(k->at, NULL);
}

/* A place where nothing was evaluated is a mistake of the command: tables would be empty. */
static weft_status check_place(comparison *k, double at)
{
    const cmp_point *first = NULL, *last = NULL;
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++) {
            const cmp_run *r = k->arm[i].run[j];
            if (r->used)
                return WEFT_OK;
            for (int p = 0; p < r->n; p++) {
                first = first && first->tokens <= r->point[p].tokens ? first : &r->point[p];
                last = last && last->tokens >= r->point[p].tokens ? last : &r->point[p];
            }
        }
    if (isnan(at) || !first)
        return WEFT_OK;
    return weft_fail(k->ctx, WEFT_USAGE,
                     "--at=%s: no run has evaluations around so many tokens; the first is at %lld "
                     "tokens (step %lld), the last at %lld (step %lld)",
                     k->at, (long long)first->tokens, (long long)first->step,
                     (long long)last->tokens, (long long)last->step);
}

static weft_status note_place(comparison *k, const cmp_run *r, double at)
{
    bool before = (double)r->point[0].tokens > at;
    const cmp_point *p = &r->point[before ? 0 : r->n - 1];
    return compare_note(k, "%s: left out, its %s evaluation is at %lld tokens (step %lld)", r->dir,
                        before ? "first" : "last", (long long)p->tokens, (long long)p->step);
}

/* Final losses: at the end of finished runs, or of all runs at one number of tokens. */
static weft_status finish_runs(comparison *k, cmp_arm *a, double at)
{
    double *x = weft_arena_array(k->arena, (size_t)a->n_run, sizeof *x);
    double *rate = weft_arena_array(k->arena, (size_t)a->n_run, sizeof *rate);
    int n = 0, n_rate = 0;
    if (!x || !rate)
        return WEFT_NOMEM;
    a->budget = at;
    for (int i = 0; i < a->n_run; i++) {
        cmp_run *r = a->run[i];
        if (!isnan(r->tokens_per_s))
            rate[n_rate++] = r->tokens_per_s;
        if (!isnan(at))
            r->final = compare_at(r, at);
        else if (r->state == RUN_FINISHED)
            r->final = r->point[r->n - 1].loss;
        r->used = !isnan(r->final);
        if (r->used && isnan(at))
            a->budget = (double)r->point[r->n - 1].tokens;
        if (r->used)
            x[n++] = r->final;
        else if (!isnan(at) && r->n)
            WEFT_TRY(note_place(k, r, at));
    }
    a->final = compare_spread(x, n);
    a->speed = compare_spread(rate, n_rate);
    return WEFT_OK;
}

/* ---- against the baseline ---- */
/* 97.5 % quantile of Student's t by degrees of freedom: the half-width of a 95 % interval in
 * standard errors (any table of the distribution). */
static double student(int freedom)
{
    static const double t[] = {NAN,   12.706, 4.303, 3.182, 2.776, 2.571, 2.447,
                               2.365, 2.306,  2.262, 2.228, 2.201, 2.179, 2.160,
                               2.145, 2.131,  2.120, 2.110, 2.101, 2.093, 2.086};
    int n = (int)(sizeof t / sizeof *t);
    return freedom < n ? t[freedom] : 1.96 + 2.5 / freedom;
}

static weft_status pair_seeds(comparison *k, cmp_arm *a, const cmp_arm *base)
{
    a->pair = weft_arena_array(k->arena, (size_t)a->n_run, sizeof *a->pair);
    a->pair_seed = weft_arena_array(k->arena, (size_t)a->n_run, sizeof *a->pair_seed);
    if (!a->pair || !a->pair_seed)
        return WEFT_NOMEM;
    for (int i = 0; i < a->n_run; i++)
        for (int j = 0; j < base->n_run; j++) {
            const cmp_run *r = a->run[i], *b = base->run[j];
            if (!r->used || !b->used || r->seed != b->seed)
                continue;
            a->pair_seed[a->n_pair] = r->seed;
            a->pair[a->n_pair++] = r->final - b->final;
            break;
        }
    a->difference = compare_spread(a->pair, a->n_pair);
    a->low = a->high = NAN;
    if (a->n_pair > 1) {
        double half = student(a->n_pair - 1) * a->difference.sd / sqrt(a->n_pair);
        a->low = a->difference.mean - half;
        a->high = a->difference.mean + half;
    }
    return WEFT_OK;
}

static weft_status note_budgets(comparison *k, const cmp_arm *a, const cmp_arm *base)
{
    if (!a->final.n && !isnan(a->budget)) /* of --at: said of its runs */
        return WEFT_OK;
    if (!a->final.n && a->n_run)
        return compare_note(k,
                            "arm %s has no finished run; --at=common compares as far as all runs "
                            "came",
                            a->name);
    if (a->budget != base->budget && base->final.n)
        return compare_note(k,
                            "arm %s ends at %.0f tokens, %s at %.0f: final losses are not at "
                            "equal tokens",
                            a->name, a->budget, base->name, base->budget);
    return WEFT_OK;
}

/* Seeds change no FLOP; runs of one arm with different models have been told apart or noted. */
static void count_flops(cmp_arm *a)
{
    const weft_recipe_size *z = &a->run[0]->size;
    double tokens = (double)z->tokens;
    a->per_token = z->flops / tokens;
    a->per_token_computed = z->flops_computed / tokens;
    a->per_token_cached = z->flops_cached / tokens;
}

weft_status compare_compute(comparison *k)
{
    double at = find_place(k);
    for (int i = 0; i < k->n_arm; i++)
        WEFT_TRY(finish_runs(k, &k->arm[i], at));
    WEFT_TRY(check_place(k, at));
    for (int i = 0; i < k->n_arm; i++) {
        cmp_arm *a = &k->arm[i];
        WEFT_TRY(make_curve(k, a));
        count_flops(a);
        if (a->curve.interpolated)
            WEFT_TRY(compare_note(k,
                                  "arm %s: its runs were evaluated at different steps; between "
                                  "evaluations the curve is a straight line",
                                  a->name));
    }
    const cmp_arm *base = &k->arm[k->baseline];
    for (int i = 0; i < k->n_arm; i++) {
        cmp_arm *a = &k->arm[i];
        WEFT_TRY(note_budgets(k, a, base));
        if (a == base)
            continue;
        WEFT_TRY(pair_seeds(k, a, base));
        a->equal = cross(&a->curve, base->final.mean);
        a->reverse = cross(&base->curve, a->final.mean);
    }
    return WEFT_OK;
}
