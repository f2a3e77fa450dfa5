/* compare_svg.c - a comparison as a picture: loss against tokens and against FLOPs, the mean as a
 * line, the range over seeds as a band.
 *
 * Colours are those of Okabe and Ito (2008), the blue lighter, which people with any kind of colour
 * vision can tell apart; arms also differ by dashes. Text and lines follow the reader's light or
 * dark scheme. */
#include <math.h>
#include <string.h>

#include "tools/compare.h"
#include "tools/ticks.h"

enum { PANEL_W = 400, PANEL_H = 280, LEFT = 62, TOP = 16, GAP = 76, ROW = 20, N_COLOUR = 7 };

static const char *const colour[N_COLOUR] = {"#1a85c8", "#d55e00", "#009e73", "#cc79a7",
                                             "#e69f00", "#56b4e9", "#888888"};
static const char *const dashes[] = {"", "7 4", "2 3", "9 3 2 3"};

typedef struct {
    double x0, x1, y0, y1; /* what the panel shows, in the units of the data */
    double left;           /* of the panel, in pixels */
} view;

static double px(const view *v, double x)
{
    return v->left + (x - v->x0) / (v->x1 - v->x0) * PANEL_W;
}
static double py(const view *v, double y)
{
    return TOP + PANEL_H - (y - v->y0) / (v->y1 - v->y0) * PANEL_H;
}

static double factor_of(const cmp_arm *a, bool flops) { return flops ? a->per_token : 1; }

/* ---- what to show ---- */
/* The first steep fall would press everything else to the floor: losses of the first eighth of a
 * curve may run off the top. */
static void find_range(const comparison *k, bool flops, view *v)
{
    *v = (view){.y0 = INFINITY, .y1 = -INFINITY};
    for (int i = 0; i < k->n_arm; i++) {
        const cmp_curve *c = &k->arm[i].curve;
        double factor = factor_of(&k->arm[i], flops);
        for (int j = 0; j < c->n; j++) {
            v->x1 = fmax(v->x1, c->tokens[j] * factor);
            if (!isfinite(c->min[j]) || !isfinite(c->max[j]))
                continue;
            v->y0 = fmin(v->y0, c->min[j]);
            if (c->tokens[j] >= c->tokens[c->n - 1] / 8)
                v->y1 = fmax(v->y1, c->max[j]);
        }
    }
    if (!(v->x1 > 0) || !isfinite(v->x1) || !(v->y0 <= v->y1)) {
        *v = (view){.x1 = v->x1 > 0 && isfinite(v->x1) ? v->x1 : 1, .y1 = 1};
        return;
    }
    double margin = v->y1 > v->y0 ? 0.04 * (v->y1 - v->y0) : 0.01 * fabs(v->y0) + 1e-9;
    v->y0 -= margin;
    v->y1 += margin;
    v->x1 *= 1.02;
}

/* ---- pieces ---- */
static void put_escaped(FILE *f, const char *text)
{
    char c[WEFT_VISIBLE];
    for (size_t i = 0, n = strlen(text); i < n;) {
        i += weft_visible(c, text + i, n - i);
        fputs(*c == '<' ? "&lt;" : *c == '&' ? "&amp;" : c, f);
    }
}

static void put_text(FILE *f, double x, double y, const char *anchor, const char *text)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    put_escaped(f, text);
    fputs("</text>\n", f);
}

static void put_axes(const view *v, const char *title, double unit, FILE *f)
{
    char label[48];
    ticks t = ticks_in(0, v->x1 / unit, 5);
    for (int i = 0; i < t.n; i++) {
        double x = ticks_at(&t, i);
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %d v%d\"/>\n", px(v, x * unit), TOP, PANEL_H);
        snprintf(label, sizeof label, "%.*f", ticks_decimals(&t), x);
        put_text(f, px(v, x * unit), TOP + PANEL_H + 18, "middle", label);
    }
    t = ticks_in(v->y0, v->y1, 6);
    for (int i = 0; i < t.n; i++) {
        double y = ticks_at(&t, i);
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1f h%d\"/>\n", v->left, py(v, y), PANEL_W);
        snprintf(label, sizeof label, "%.*f", ticks_decimals(&t), y);
        put_text(f, v->left - 7, py(v, y) + 4, "end", label);
    }
    fprintf(f, "<path class=\"axis\" d=\"M%.1f %d v%d h%d\"/>\n", v->left, TOP, PANEL_H, PANEL_W);
    put_text(f, v->left + PANEL_W / 2.0, TOP + PANEL_H + 38, "middle", title);
}

static void put_points(const view *v, const cmp_curve *c, const double *y, double factor, bool back,
                       FILE *f)
{
    for (int j = 0; j < c->n; j++) {
        int i = back ? c->n - 1 - j : j;
        if (isfinite(y[i]))
            fprintf(f, "%.1f,%.1f ", px(v, c->tokens[i] * factor), py(v, y[i]));
    }
}

static void put_curve(const view *v, const cmp_arm *a, int i, bool flops, FILE *f)
{
    const cmp_curve *c = &a->curve;
    double factor = factor_of(a, flops);
    const char *ink = colour[i % N_COLOUR];
    if (a->final.n > 1) {
        fprintf(f, "<polygon fill=\"%s\" fill-opacity=\".22\" points=\"", ink);
        put_points(v, c, c->max, factor, false, f);
        put_points(v, c, c->min, factor, true, f);
        fputs("\"/>\n", f);
    }
    fprintf(f,
            "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" "
            "points=\"",
            ink, dashes[i % 4]);
    put_points(v, c, c->mean, factor, false, f);
    fputs("\"/>\n", f);
    for (int j = 0; j < c->n && c->n <= 12; j++) /* few evaluations: show where they are */
        if (isfinite(c->mean[j]))
            fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" fill=\"%s\"/>\n",
                    px(v, c->tokens[j] * factor), py(v, c->mean[j]), ink);
}

/* "training FLOPs (T)": ticks stay short. */
static double unit_of(double most, const char **name)
{
    static const char *const unit[] = {"", " (k)", " (M)", " (G)", " (T)", " (P)", " (E)", " (Z)"};
    int u = 0;
    double size = 1;
    for (; most / size >= 2000 && u < 7; u++)
        size *= 1000;
    *name = unit[u];
    return size;
}

static void put_panel(const comparison *k, bool flops, FILE *f)
{
    view v;
    char title[64];
    const char *unit;
    find_range(k, flops, &v);
    v.left = LEFT + (flops ? PANEL_W + GAP : 0);
    double size = unit_of(v.x1, &unit);
    snprintf(title, sizeof title, "%s%s", flops ? "training FLOPs" : "training tokens", unit);
    put_axes(&v, title, size, f);
    fprintf(
        f,
        "<clipPath id=\"p%d\"><rect x=\"%.1f\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n",
        flops, v.left, TOP, PANEL_W, PANEL_H);
    fprintf(f, "<g clip-path=\"url(#p%d)\">\n", flops);
    for (int i = 0; i < k->n_arm; i++)
        put_curve(&v, &k->arm[i], i, flops, f);
    fputs("</g>\n", f);
}

static void put_legend(const comparison *k, double y, FILE *f)
{
    char text[256];
    for (int i = 0; i < k->n_arm; i++, y += ROW) {
        const cmp_arm *a = &k->arm[i];
        fprintf(f,
                "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" "
                "d=\"M%d %.1f h34\"/>\n",
                colour[i % N_COLOUR], dashes[i % 4], LEFT, y - 4);
        int n = snprintf(text, sizeof text, "%s: %d run%s", a->name, a->final.n,
                         a->final.n == 1 ? "" : "s");
        if (a->final.n && n < (int)sizeof text)
            snprintf(text + n, sizeof text - (size_t)n,
                     a->final.n > 1 ? ", %.4f, range %.4f to %.4f" : ", %.4f", a->final.mean,
                     a->final.min, a->final.max);
        put_text(f, LEFT + 44, y, "start", text);
    }
}

void compare_svg(const comparison *k, FILE *f)
{
    int width = LEFT + 2 * PANEL_W + GAP + 20, height = TOP + PANEL_H + 62 + ROW * k->n_arm;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" role=\"img\">\n<title>",
            width, height, width, height);
    put_escaped(f, k->metric);
    fputs(" against training tokens and FLOPs</title>\n", f);
    fputs("<style>\n"
          "text{font:12px system-ui,sans-serif;fill:#222}\n"
          ".bg{fill:#fff}.grid{stroke:#8884;fill:none}.axis{stroke:#222;fill:none}\n"
          "@media (prefers-color-scheme:dark){text{fill:#ddd}.bg{fill:#14171a}.axis{stroke:#ddd}}\n"
          "</style>\n",
          f);
    fprintf(f, "<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", width, height);
    fprintf(f, "<g transform=\"rotate(-90)\">");
    put_text(f, -TOP - PANEL_H / 2.0, 14, "middle", k->metric);
    fputs("</g>\n", f);
    put_panel(k, false, f);
    put_panel(k, true, f);
    put_legend(k, TOP + PANEL_H + 68, f);
    fputs("</svg>\n", f);
}
