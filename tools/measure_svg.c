/* measure_svg.c - measured steering as a picture: for each concept a row with perplexity and with
 * presence against the strength; dashed lines are the unsteered model.
 *
 * Colours are those of Okabe and Ito (2008), the blue lighter; curves also differ by their marks.
 * Text and lines follow the reader's light or dark scheme. */
#include <math.h>

#include "tools/measure.h"
#include "tools/ticks.h"

enum { PANEL_W = 272, PANEL_H = 220, LEFT = 62, GAP = 68, HEAD = 48, FOOT = 76, N_CURVE = 5 };
enum { ROW_H = HEAD + PANEL_H + FOOT, WIDTH = LEFT + 3 * PANEL_W + 2 * GAP + 20 };

typedef enum { PERPLEXITY, PRESENCE, KEPT, PANELS } panel;
static const char *const panel_title[PANELS] = {"perplexity of the text by",
                                                "share of its tokens that have the concept",
                                                "share that keep it while steered"};
typedef struct {
    measure_kind kind;
    panel where;
    const char *name, *colour;
    char mark; /* o circle, s square, d diamond */
} curve;
static const curve curves[N_CURVE] = {
    {MEASURE_STUDENT, PERPLEXITY, "unsteered model", "#1a85c8", 'o'},
    {MEASURE_TEACHER, PERPLEXITY, "extractor", "#d55e00", 's'},
    {MEASURE_ACTIVE, PRESENCE, "active (extractor)", "#d55e00", 's'},
    {MEASURE_PREDICTED, PRESENCE, "predicted (model)", "#1a85c8", 'o'},
    {MEASURE_KEPT, KEPT, "kept (steered model)", "#009e73", 'd'}};

typedef struct {
    double x0, x1, y0, y1; /* what the panel shows; y of perplexities is their logarithm */
    double left, top;      /* of the panel, in pixels */
} view;

static double px(const view *v, double x)
{
    return v->left + (x - v->x0) / (v->x1 - v->x0) * PANEL_W;
}
static double py(const view *v, double y)
{
    return v->top + PANEL_H - (y - v->y0) / (v->y1 - v->y0) * PANEL_H;
}

/* ---- what to show ---- */
/* Room for all curves of a panel and their errors. */
static void find_heights(const measurement *m, const measure_concept *c, panel p, view *v)
{
    v->y0 = p ? 0 : INFINITY;
    v->y1 = p ? 0 : -INFINITY;
    for (int k = 0; k <= m->n_strength; k++)
        for (int i = 0; i < N_CURVE; i++) {
            double y = c->row[k].mean[curves[i].kind], e = c->row[k].error[curves[i].kind];
            if (curves[i].where != p || !isfinite(y))
                continue;
            v->y0 = fmin(v->y0, isfinite(e) ? y - e : y);
            v->y1 = fmax(v->y1, isfinite(e) ? y + e : y);
        }
    if (!isfinite(v->y0) || !isfinite(v->y1)) /* no number at all */
        v->y0 = v->y1 = 0;
    double margin = v->y1 > v->y0 ? 0.06 * (v->y1 - v->y0) : 0.05;
    v->y0 -= p ? v->y0 : margin; /* shares start at 0 */
    v->y1 += margin;
}

static view find_view(const measurement *m, const measure_concept *c, panel p, double top)
{
    view v = {.x0 = m->strength[0], .x1 = m->strength[m->n_strength - 1], .top = top};
    double margin = v.x1 > v.x0 ? 0.03 * (v.x1 - v.x0) : 1;
    v.x0 -= margin;
    v.x1 += margin;
    v.left = LEFT + p * (PANEL_W + GAP);
    find_heights(m, c, p, &v);
    return v;
}

/* ---- pieces ---- */
static void put_text(FILE *f, double x, double y, const char *anchor, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, text);
}

static void put_y(const view *v, double y, const char *label, FILE *f)
{
    fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1f h%d\"/>\n", v->left, py(v, y), PANEL_W);
    put_text(f, v->left - 7, py(v, y) + 4, "end", label);
}

/* Perplexities at 1, 2, 5 times powers of ten; evenly where these would be too few. */
static void put_perplexities(const view *v, FILE *f)
{
    double low = exp(v->y0), high = exp(v->y1);
    char label[32];
    if (high < 6 * low) {
        const ticks t = ticks_in(low, high, 5);
        for (int i = 0; i < t.n; i++) {
            snprintf(label, sizeof label, "%.4g", ticks_at(&t, i));
            put_y(v, log(ticks_at(&t, i)), label, f);
        }
        return;
    }
    for (int i = 0; i < 3 * 12; i++) {
        static const int part[] = {1, 2, 5};
        double y = part[i % 3] * pow(10, i / 3);
        snprintf(label, sizeof label, "%g", y);
        if (y >= low && y <= high)
            put_y(v, log(y), label, f);
    }
}

static void put_shares(const view *v, FILE *f)
{
    char label[32];
    const ticks t = ticks_in(0, 100 * v->y1, 5);
    for (int i = 0; i < t.n; i++) {
        snprintf(label, sizeof label, "%g%%", ticks_at(&t, i));
        put_y(v, ticks_at(&t, i) / 100, label, f);
    }
}

static void put_axes(const view *v, panel p, FILE *f)
{
    char label[32];
    const ticks t = ticks_in(v->x0, v->x1, 7);
    for (int i = 0; i < t.n; i++) {
        double x = px(v, ticks_at(&t, i));
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1f v%d\"/>\n", x, v->top, PANEL_H);
        snprintf(label, sizeof label, "%g", ticks_at(&t, i));
        put_text(f, x, v->top + PANEL_H + 17, "middle", label);
    }
    if (p)
        put_shares(v, f);
    else
        put_perplexities(v, f);
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %.1f v%d h%d\"/>\n", v->left, v->top, PANEL_H,
            PANEL_W);
    put_text(f, v->left + PANEL_W / 2.0, v->top + PANEL_H + 35, "middle", "strength");
    put_text(f, v->left, v->top - 10, "start", panel_title[p]);
}

static void put_mark(const curve *c, double x, double y, FILE *f)
{
    if (c->mark == 'o')
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x, y, c->colour);
    else
        fprintf(f, "<path d=\"M%.1f %.1f %s\" fill=\"%s\"/>\n", x, y,
                c->mark == 's' ? "m-4 -4h8v8h-8z" : "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
                c->colour);
}

/* The curve, its standard errors, and the unsteered model's value. */
static void put_curve(const measurement *m, const measure_concept *c, const curve *k, const view *v,
                      FILE *f)
{
    double plain = c->row[0].mean[k->kind];
    if (isfinite(plain))
        fprintf(f,
                "<path fill=\"none\" stroke=\"%s\" stroke-dasharray=\"5 4\" "
                "d=\"M%.1f %.1f h%d\"/>\n",
                k->colour, v->left, py(v, plain), PANEL_W);
    fprintf(f, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"", k->colour);
    bool down = false;
    for (int i = 1; i <= m->n_strength; i++) {
        double y = c->row[i].mean[k->kind];
        if (isfinite(y))
            fprintf(f, "%c%.1f %.1f", down ? 'L' : 'M', px(v, c->row[i].strength), py(v, y));
        down = isfinite(y);
    }
    fputs("\"/>\n", f);
    for (int i = 1; i <= m->n_strength; i++) {
        const measure_row *r = &c->row[i];
        double x = px(v, r->strength), y = r->mean[k->kind], e = r->error[k->kind];
        if (isfinite(y) && isfinite(e))
            fprintf(f, "<path stroke=\"%s\" d=\"M%.1f %.1fV%.1f\"/>\n", k->colour, x, py(v, y - e),
                    py(v, y + e));
        if (isfinite(y))
            put_mark(k, x, py(v, y), f);
    }
}

static void put_panel(const measurement *m, const measure_concept *c, panel p, double top,
                      int number, FILE *f)
{
    const view v = find_view(m, c, p, top);
    double x = v.left;
    put_axes(&v, p, f);
    fprintf(f,
            "<clipPath id=\"p%d\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\"/>"
            "</clipPath>\n<g clip-path=\"url(#p%d)\">\n",
            number, v.left - 6, v.top - 6, PANEL_W + 12, PANEL_H + 12, number);
    for (int i = 0; i < N_CURVE; i++)
        if (curves[i].where == p)
            put_curve(m, c, &curves[i], &v, f);
    fputs("</g>\n", f);
    for (int i = 0; i < N_CURVE; i++)
        if (curves[i].where == p && isfinite(c->row[0].mean[curves[i].kind])) {
            put_mark(&curves[i], x + 6, v.top + PANEL_H + 52, f);
            put_text(f, x + 15, v.top + PANEL_H + 56, "start", curves[i].name);
            x += 134;
        }
}

void measure_svg(const measurement *m, FILE *f)
{
    char title[160];
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" role=\"img\">\n<title>Steering strength against perplexity and against "
            "the presence of concepts</title>\n",
            WIDTH, ROW_H * m->n_concept, WIDTH, ROW_H * m->n_concept);
    fputs("<style>\n"
          "text{font:12px system-ui,sans-serif;fill:#222}.head text{font-weight:600}\n"
          ".bg{fill:#fff}.grid{stroke:#8884;fill:none}.axis{stroke:#222;fill:none}\n"
          "@media (prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#14171a}.axis{stroke:#ddd}}\n"
          "</style>\n",
          f);
    fprintf(f, "<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", WIDTH, ROW_H * m->n_concept);
    for (int i = 0; i < m->n_concept; i++) {
        const measure_concept *c = &m->concept[i];
        double top = (double)ROW_H * i;
        snprintf(
            title, sizeof title,
            "Concept %lld (%s): %lld texts of %lld tokens; dashed: not steered; bars: standard "
            "errors",
            (long long)c->id, m->o.how, (long long)m->o.prompts, (long long)m->o.tokens);
        fputs("<g class=\"head\">", f);
        put_text(f, LEFT, top + 18, "start", title);
        fputs("</g>\n", f);
        for (int p = 0; p < PANELS; p++)
            put_panel(m, c, (panel)p, top + HEAD, PANELS * i + p, f);
    }
    fputs("</svg>\n", f);
}
