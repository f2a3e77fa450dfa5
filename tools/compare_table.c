/* compare_table.c - a comparison as aligned text and as Markdown: the same cells, drawn twice. */
#include <math.h>
#include <string.h>

#include "tools/compare.h"

enum { MAX_COLUMNS = 12, CELL = 80 };

typedef struct {
    FILE *f;
    bool markdown;
    unsigned words; /* columns of words, to the left */
    int n_column, n_row, cap_row;
    char (*cell)[CELL]; /* [n_row][n_column], the heading first */
    weft_arena *arena;
} table;

const char *compare_short(char *buf, size_t n, double v)
{
    static const char *const unit[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
    int u = 0;
    if (!isfinite(v)) {
        snprintf(buf, n, "-");
        return buf;
    }
    for (; fabs(v) >= 999.5 && u < 7; u++)
        v /= 1000;
    snprintf(buf, n, "%.3g%s", v, unit[u]);
    return buf;
}

static const char *number(char *buf, size_t n, const char *form, double v)
{
    if (isfinite(v))
        snprintf(buf, n, form, v);
    else
        snprintf(buf, n, "-");
    return buf;
}

/* "62 %" of the baseline. */
static const char *share(char *buf, size_t n, double v)
{
    if (isfinite(v))
        snprintf(buf, n, "%.1f %%", 100 * v);
    else
        snprintf(buf, n, "-");
    return buf;
}

/* ---- drawing ---- */
/* Rows of n_column strings, the heading first; cells beyond an out-of-memory are not shown. */
static void add_row(table *t, const char *const *cell)
{
    for (int i = 0; i < t->n_column; i++) {
        int at = t->n_row * t->n_column + i;
        if (!WEFT_GROW(t->arena, t->cell, at, t->cap_row))
            return;
        weft_printable(t->cell[at], CELL, cell[i]);
    }
    t->n_row++;
}

/* Characters, not bytes: names may be any UTF-8. */
static int width_of(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void draw_rule(const table *t, const int *width)
{
    for (int i = 0; i < t->n_column; i++) {
        bool left = t->words >> i & 1;
        fputs(i ? " " : "| ", t->f);
        for (int j = 0; j < width[i] - !left; j++)
            fputc('-', t->f);
        fputs(left ? " |" : ": |", t->f);
    }
    fputc('\n', t->f);
}

static void draw(const table *t)
{
    int width[MAX_COLUMNS] = {0};
    for (int r = 0; r < t->n_row; r++)
        for (int i = 0; i < t->n_column; i++) {
            int w = width_of(t->cell[r * t->n_column + i]);
            width[i] = w > width[i] ? w : width[i];
        }
    for (int r = 0; r < t->n_row; r++) {
        for (int i = 0; i < t->n_column; i++) {
            const char *s = t->cell[r * t->n_column + i];
            int gap = width[i] - width_of(s);
            fputs(t->markdown ? i ? " " : "| " : i ? "  " : "", t->f);
            if (!(t->words >> i & 1))
                fprintf(t->f, "%*s%s", gap, "", s);
            else /* nothing behind the last cell of a line */
                fprintf(t->f, "%s%*s", s, t->markdown || i < t->n_column - 1 ? gap : 0, "");
            if (t->markdown)
                fputs(" |", t->f);
        }
        fputc('\n', t->f);
        if (r == 0 && t->markdown)
            draw_rule(t, width);
    }
    fputc('\n', t->f);
}

static table begin(const comparison *k, FILE *f, bool markdown, const char *const *heading, int n)
{
    table t = {.f = f, .markdown = markdown, .n_column = n, .words = 1, .arena = k->arena};
    add_row(&t, heading);
    return t;
}

/* ---- the tables ---- */
static void draw_arms(const comparison *k, FILE *f, bool markdown)
{
    const char *const heading[] = {"arm",    "runs",        "tokens", k->metric,
                                   "sd",     "min",         "max",    "parameters",
                                   "active", "FLOPs/token", "FLOPs",  "tokens/s"};
    table t = begin(k, f, markdown, heading, 12);
    for (int i = 0; i < k->n_arm; i++) {
        const cmp_arm *a = &k->arm[i];
        const cmp_spread *s = &a->final;
        char b[11][CELL];
        snprintf(b[0], CELL, s->n == a->n_run ? "%d" : "%d of %d", s->n, a->n_run);
        const char *const cell[] = {a->name,
                                    b[0],
                                    compare_short(b[1], CELL, a->budget),
                                    number(b[2], CELL, "%.4f", s->mean),
                                    number(b[3], CELL, "%.4f", s->sd),
                                    number(b[4], CELL, "%.4f", s->min),
                                    number(b[5], CELL, "%.4f", s->max),
                                    compare_short(b[6], CELL, (double)a->run[0]->size.trainable),
                                    compare_short(b[7], CELL, (double)a->run[0]->size.active),
                                    compare_short(b[8], CELL, a->per_token),
                                    compare_short(b[9], CELL, a->per_token * a->budget),
                                    compare_short(b[10], CELL, a->speed.mean)};
        add_row(&t, cell);
    }
    draw(&t);
}

/* Tokens or FLOPs (each token times `factor`) at a crossing, or why there are none. */
static const char *crossing(char *buf, size_t n, const cmp_crossing *x, double factor)
{
    if (!x->reached)
        return x->known ? "not reached" : "not known";
    snprintf(buf, n, "%s", x->first ? "<= " : "");
    compare_short(buf + strlen(buf), n - strlen(buf), x->tokens * factor);
    return buf;
}

static void draw_against(const comparison *k, FILE *f, bool markdown)
{
    const char *const heading[] = {"arm",           "pairs",         "difference",  "sd",
                                   "95 % interval", "tokens",        "of baseline", "FLOPs",
                                   "of baseline",   "baseline needs"};
    const cmp_arm *base = &k->arm[k->baseline];
    table t = begin(k, f, markdown, heading, 10);
    for (int i = 0; i < k->n_arm; i++) {
        const cmp_arm *a = &k->arm[i];
        char b[9][CELL], low[32], high[32];
        if (a == base)
            continue;
        double flops = a->equal.tokens * a->per_token;
        snprintf(b[0], CELL, "%d", a->n_pair);
        snprintf(b[3], CELL, "%s .. %s", number(low, sizeof low, "%+.4f", a->low),
                 number(high, sizeof high, "%+.4f", a->high));
        const char *const cell[] = {a->name,
                                    b[0],
                                    number(b[1], CELL, "%+.4f", a->difference.mean),
                                    number(b[2], CELL, "%.4f", a->difference.sd),
                                    a->n_pair > 1 ? b[3] : "-",
                                    crossing(b[4], CELL, &a->equal, 1),
                                    share(b[5], CELL, a->equal.tokens / base->budget),
                                    crossing(b[6], CELL, &a->equal, a->per_token),
                                    share(b[7], CELL, flops / (base->budget * base->per_token)),
                                    crossing(b[8], CELL, &a->reverse, 1)};
        add_row(&t, cell);
    }
    draw(&t);
}

static const char *state_word(const cmp_run *r, char *buf, size_t n)
{
    if (r->state == RUN_FINISHED)
        return "finished";
    if (r->state == RUN_NO_EVALUATION)
        return "no evaluation";
    snprintf(buf, n, "stopped at %lld of %lld", (long long)r->step, (long long)r->steps);
    return buf;
}

static void draw_runs(const comparison *k, FILE *f, bool markdown)
{
    const char *const heading[] = {"arm", "seed", k->metric, "output", "state", "run"};
    table t = begin(k, f, markdown, heading, 6);
    t.words = 1 | 1 << 3 | 1 << 4 | 1 << 5;
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++) {
            const cmp_run *r = k->arm[i].run[j];
            char b[3][CELL];
            snprintf(b[0], CELL, "%lld", (long long)r->seed);
            const char *const cell[] = {k->arm[i].name,
                                        b[0],
                                        number(b[1], CELL, "%.4f", r->final),
                                        r->measured ? r->measured : "-",
                                        state_word(r, b[2], CELL),
                                        r->dir};
            add_row(&t, cell);
        }
    draw(&t);
}

/* Label caches move work out of training; the whole cost is told beside it. */
static void draw_labels(const comparison *k, FILE *f, bool markdown)
{
    const char *const heading[] = {"arm", "FLOPs/token", "labels computed", "labels cached"};
    table t = begin(k, f, markdown, heading, 4);
    bool any = false;
    for (int i = 0; i < k->n_arm; i++) {
        const cmp_arm *a = &k->arm[i];
        char b[3][CELL];
        const char *const cell[] = {a->name, compare_short(b[0], CELL, a->per_token),
                                    compare_short(b[1], CELL, a->per_token_computed),
                                    compare_short(b[2], CELL, a->per_token_cached)};
        any = any || a->per_token_computed != a->per_token_cached;
        add_row(&t, cell);
    }
    if (any)
        draw(&t);
}

/* ---- the whole ---- */
static void heading(FILE *f, bool markdown, const char *text)
{
    char shown[1024];
    fprintf(f, markdown ? "**%s**\n\n" : "%s\n", weft_printable(shown, sizeof shown, text));
}

static void print_all(const comparison *k, FILE *f, bool markdown)
{
    const cmp_arm *base = &k->arm[k->baseline];
    char text[512], loss[32], shown[2048];
    draw_arms(k, f, markdown);
    if (k->n_arm > 1) {
        snprintf(
            text, sizeof text,
            "Against %s: paired differences of %s by seed; tokens and FLOPs until its final %s; "
            "tokens the baseline needs for the arm's final loss",
            base->name, k->metric, number(loss, sizeof loss, "%.4f", base->final.mean));
        heading(f, markdown, text);
        draw_against(k, f, markdown);
    }
    draw_labels(k, f, markdown);
    draw_runs(k, f, markdown);
    for (int i = 0; i < k->n_note; i++)
        fprintf(f, markdown ? "- %s\n" : "note: %s\n",
                weft_printable(shown, sizeof shown, k->note[i]));
}

void compare_print(const comparison *k, FILE *f) { print_all(k, f, false); }
void compare_markdown(const comparison *k, FILE *f) { print_all(k, f, true); }
