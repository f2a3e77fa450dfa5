/* linear_cross_entropy_kernel.c - the kernel of linear_cross_entropy: logits chunk by chunk, turned
 * round.
 *
 * The rows are taken in chunks: logits of a chunk, log sum exp, and, if gradients are wanted, the
 * gradient of the logits in place and its two products, while the chunk is at hand (as Liger Kernel
 * does, Hsu et al., 2024).  That needs no dloss: the loss is a scalar, so backward only scales.
 * Memory: one chunk instead of two arrays [rows, V].
 *
 * A chunk is held as logits^T [V, rows]: then w, the one large operand, is read as it lies by the
 * product that gives the logits, dw = dlogits^T x takes its left operand as it lies, and the
 * maximum and the sum of a row are loops with rows in the lanes.  A task is a panel of classes: its
 * product stays in the cache of one core for what is done with it next.  For dx, panels that follow
 * each other form a group with a sum of its own; the sums of all groups are added at the end, in
 * order. */
#include <omp.h>

#include "graph/dnnl.h"
#include "ops/largest.h"
#include "ops/linear_cross_entropy.h"
#include "ops/simd.h"

/* LANES: rows in a cache line.  PANEL: classes of a task, at most; GROUPS: sums for dx. From 256
 * classes and 256 rows on oneDNN is at its full rate.  More rows read w and add to dw less often:
 * at 50257 x 512, 1024 rows take 0.95 of the time of 256 (0.92 to 0.96; other tenants share the
 * memory bus).  A chunk's logits are at most CHUNK_BYTES, if that gives ROWS_LEAST. */
enum { LANES = 16, PANEL = 256, GROUPS = 16, ROWS_LEAST = 256, ROWS_MOST = 1024 };
enum { CHUNK_BYTES = 256 << 20 };

/* Products of a panel; absent ones NULL. */
typedef struct {
    const weft_gemm *logits, *dw_first, *dw_more, *dx_first, *dx_more;
} panel_products;

/* Where things lie in the scratch, in floats. */
typedef struct {
    int64_t x_turned, x_rows, part, base, share, dx, thread, end;
    int64_t
        per_thread; /* from `thread` on: a panel of w, or rows for `largest` and its work space */
} layout;

typedef struct {
    int64_t rows, classes, width, chunk; /* N, V, C, rows of a chunk */
    int64_t panel, panels, groups;       /* classes of a panel; how many */
    int64_t ld, ld_width;    /* from class to class of logits^T, from row to row of x, w */
    panel_products of[2][2]; /* [last chunk][last panel] */
    bool dx, dw, db;
    weft_largest largest; /* k = 0: not asked for */
    layout at;
} plan;

/* Rows [from, from + n) of everything. */
typedef struct {
    const plan *p;
    const weft_run *r;
    weft_targets targets;
    float *scratch;
    int64_t from, n;
    float share; /* 1 / rows that count */
} chunk_run;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Rows an odd number of cache lines apart do not compete for the same ones. */
static int64_t odd_lines(int64_t n) { return ceil_div(n, 2 * LANES) * 2 * LANES + LANES; }

/* ---- passes over a panel --------------------------------------------------------------------- */
/* Adds the bias to logits z [n, rows], if there is one; then maximum and sum of exponentials of
 * each row over these classes. */
WEFT_CLONES static void sum_panel(float *z, const float *bias, int64_t n, int64_t ld, int64_t rows,
                                  float *max, float *sum)
{
    for (int64_t i = 0; i < rows; i++)
        max[i] = -INFINITY, sum[i] = 0;
    for (int64_t v = 0; v < n; v++) {
        float *x = z + v * ld, b = bias ? bias[v] : 0;
#pragma omp simd
        for (int64_t i = 0; i < rows; i++) {
            x[i] += b;
            max[i] = x[i] > max[i] ? x[i] : max[i];
        }
    }
    for (int64_t v = 0; v < n; v++) {
        const float *x = z + v * ld;
#pragma omp simd
        for (int64_t i = 0; i < rows; i++) { /* -inf - -inf would be NaN */
            float base = max[i] > -INFINITY ? max[i] : 0;
            sum[i] += weft_exp_nonpositive(x[i] - base);
        }
    }
}

/* Logits become share * softmax; rows with share 0 become 0 whatever they hold. */
WEFT_CLONES static void exp_panel(float *z, int64_t n, int64_t ld, int64_t rows, const float *base,
                                  const float *share)
{
    for (int64_t v = 0; v < n; v++) {
        float *x = z + v * ld;
#pragma omp simd
        for (int64_t i = 0; i < rows; i++) {
            float y = share[i] * weft_exp_nonpositive(x[i] - base[i]);
            x[i] = share[i] > 0 ? y : 0.0f;
        }
    }
}

/* db[v] += (or =, for the first chunk) the sum over rows. */
WEFT_CLONES static void bias_panel(float *db, const float *z, int64_t n, int64_t ld, int64_t rows,
                                   bool first)
{
    for (int64_t v = 0; v < n; v++) {
        double sum = weft_sum(z + v * ld, rows);
        db[v] = (float)(first ? sum : db[v] + sum);
    }
}

/* y[i] = part[0][i] + part[1][i] + ... of n parts `stride` apart. */
WEFT_CLONES static void add_parts(float *y, const float *part, int64_t n, int64_t stride,
                                  int64_t count)
{
    memcpy(y, part, sizeof *y * (size_t)count);
    for (int64_t g = 1; g < n; g++) {
        const float *x = part + g * stride;
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] += x[i];
    }
}

/* ---- the chunk's x --------------------------------------------------------------------------- */
/* [width, rows] for the logits, and [rows, width] with rows apart as the product for dw likes them.
 */
static void copy_x(const chunk_run *c)
{
    const plan *p = c->p;
    const float *x = (const float *)c->r->in[X].data + c->from * p->width;
    float *turned = c->scratch + p->at.x_turned, *rows = c->scratch + p->at.x_rows;
#pragma omp parallel for num_threads(c->r->threads) schedule(static)
    for (int64_t at = 0; at < c->n; at += LANES) {
        int64_t end = least(at + LANES, c->n);
        for (int64_t j = 0; j < p->width; j++)
            for (int64_t i = at; i < end; i++)
                turned[j * p->ld + i] = x[i * p->width + j];
        for (int64_t i = at; p->dw && i < end; i++)
            memcpy(rows + i * p->ld_width, x + i * p->width, sizeof *x * (size_t)p->width);
    }
}

/* ---- logits ---------------------------------------------------------------------------------- */
static const panel_products *products_of(const chunk_run *c, int64_t panel)
{
    return &c->p->of[c->n != c->p->chunk][panel == c->p->panels - 1];
}

static int64_t panel_size(const plan *p, int64_t panel)
{
    return least(p->panel, p->classes - panel * p->panel);
}

/* Maximum, then sum, of each row over a panel. */
static float *part_of(const chunk_run *c, int64_t panel)
{
    return c->scratch + c->p->at.part + 2 * c->p->ld * panel;
}

static void run_logits(const chunk_run *c, int64_t panel)
{
    const plan *p = c->p;
    const weft_run *r = c->r;
    int64_t v = panel * p->panel;
    float *z = c->scratch + v * p->ld, *part = part_of(c, panel);
    weft_gemm_run_here(products_of(c, panel)->logits, r, omp_get_thread_num(),
                       (const float *)r->in[W].data + v * p->width, c->scratch + p->at.x_turned,
                       NULL, z);
    sum_panel(z, r->n_in > BIAS && r->in[BIAS].data ? (const float *)r->in[BIAS].data + v : NULL,
              panel_size(p, panel), p->ld, c->n, part, part + p->ld);
}

/* ---- rows ------------------------------------------------------------------------------------ */
/* log sum exp of row i of the chunk out of its panels; sums in double, in the order of panels. */
static double row_lse(const chunk_run *c, int64_t i)
{
    const plan *p = c->p;
    float max = -INFINITY;
    double sum = 0;
    for (int64_t q = 0; q < p->panels; q++)
        max = part_of(c, q)[i] > max ? part_of(c, q)[i] : max;
    for (int64_t q = 0; q < p->panels; q++) {
        const float *part = part_of(c, q) + i;
        double gap = part[0] > -INFINITY ? (double)part[0] - max : 0;
        sum += (double)part[p->ld] * exp(gap);
    }
    return max + log(sum);
}

/* Mean negative log-likelihood of the targets of row i that count, 0 without any. */
static float row_nll(const chunk_run *c, int64_t i, double lse)
{
    const weft_targets *t = &c->targets;
    int64_t row = c->from + i, n = weft_targets_count(t, row);
    double sum = 0;
    for (int64_t j = row * t->k; j < (row + 1) * t->k; j++)
        if (weft_id(t->id, j) != t->ignore)
            sum += lse - c->scratch[weft_id(t->id, j) * c->p->ld + i];
    return n ? (float)(sum / (double)n) : 0;
}

static void finish_row(const chunk_run *c, int64_t i)
{
    double lse = row_lse(c, i);
    ((float *)c->r->out[LSE].data)[c->from + i] = (float)lse;
    ((float *)c->r->out[NLL].data)[c->from + i] = row_nll(c, i, lse);
    c->scratch[c->p->at.base + i] = (float)lse;
    c->scratch[c->p->at.share + i] = weft_targets_count(&c->targets, c->from + i) ? c->share : 0;
}

static float *thread_space(const chunk_run *c)
{
    return c->scratch + c->p->at.thread + c->p->at.per_thread * omp_get_thread_num();
}

/* The largest logits of rows [at, at + n), n <= LANES, while they are logits. */
static void take_largest(const chunk_run *c, int64_t at, int64_t n)
{
    const plan *p = c->p;
    float *rows = thread_space(c), *work = rows + LANES * p->classes;
    for (int64_t v0 = 0; v0 < p->classes; v0 += 64) /* 64 cache lines */
        for (int64_t i = 0; i < n; i++)
            for (int64_t v = v0; v < least(v0 + 64, p->classes); v++)
                rows[i * p->classes + v] = c->scratch[v * p->ld + at + i];
    for (int64_t i = 0; i < n; i++) {
        const float *x = rows + i * p->classes;
        weft_heap h = weft_largest_row(&p->largest, (void *)work, x, NULL);
        weft_heap_sort(&h);
        for (int64_t j = 0, to = (c->from + at + i) * h.k; j < h.k; j++, to++) {
            int64_t v = weft_key_index(h.key[j]);
            ((int32_t *)c->r->out[INDEX].data)[to] = (int32_t)v;
            ((float *)c->r->out[VALUE].data)[to] = x[v];
        }
    }
}

static void run_rows(const chunk_run *c, int64_t at)
{
    int64_t n = least(LANES, c->n - at);
    if (c->p->largest.k)
        take_largest(c, at, n);
    for (int64_t i = at; i < at + n; i++)
        finish_row(c, i);
}

/* ---- gradients ------------------------------------------------------------------------------- */
/* dlogits[target] -= share / n for the n targets of a row that count, where they are in the panel.
 */
static void subtract_targets(const chunk_run *c, float *z, int64_t from, int64_t end)
{
    const weft_targets *t = &c->targets;
    for (int64_t j = c->from * t->k; j < (c->from + c->n) * t->k; j++) {
        int64_t v = weft_id(t->id, j), row = j / t->k;
        if (v >= from && v < end && v != t->ignore)
            z[(v - from) * c->p->ld + row - c->from] -=
                (float)((double)c->share / (double)weft_targets_count(t, row));
    }
}

/* The sum for dx of a group += (or =) dlogits w of a panel. */
static void add_dx(const chunk_run *c, const weft_gemm *g, const float *z, int64_t panel, float *dx)
{
    const plan *p = c->p;
    const float *w = (const float *)c->r->in[W].data + panel * p->panel * p->width;
    float *copy = thread_space(c);
    for (int64_t v = 0; v < panel_size(p, panel); v++)
        memcpy(copy + v * p->ld_width, w + v * p->width, sizeof *w * (size_t)p->width);
    weft_gemm_run_here(g, c->r, omp_get_thread_num(), z, copy, NULL, dx);
}

static void run_panel_gradients(const chunk_run *c, int64_t panel, bool first, float *dx)
{
    const plan *p = c->p;
    const weft_run *r = c->r;
    const panel_products *g = products_of(c, panel);
    int64_t v = panel * p->panel, n = panel_size(p, panel);
    float *z = c->scratch + v * p->ld;
    exp_panel(z, n, p->ld, c->n, c->scratch + p->at.base, c->scratch + p->at.share);
    subtract_targets(c, z, v, v + n);
    if (p->dw)
        weft_gemm_run_here(c->from ? g->dw_more : g->dw_first, r, omp_get_thread_num(), z,
                           c->scratch + p->at.x_rows, NULL,
                           (float *)r->out[DW].data + v * p->width);
    if (p->dx)
        add_dx(c, first ? g->dx_first : g->dx_more, z, panel, dx);
    if (p->db)
        bias_panel((float *)r->out[DB].data + v, z, n, p->ld, c->n, !c->from);
}

static void run_group(const chunk_run *c, int64_t group)
{
    const plan *p = c->p;
    int64_t from = p->panels * group / p->groups, end = p->panels * (group + 1) / p->groups;
    float *dx = c->scratch + p->at.dx + group * p->chunk * p->width;
    for (int64_t panel = from; panel < end; panel++)
        run_panel_gradients(c, panel, panel == from, dx);
}

static void run_gradients(const chunk_run *c)
{
    const plan *p = c->p;
    const weft_run *r = c->r;
#pragma omp parallel for num_threads(r->threads) schedule(dynamic, 1)
    for (int64_t group = 0; group < p->groups; group++)
        run_group(c, group);
    if (!p->dx)
        return;
#pragma omp parallel for num_threads(r->threads) schedule(static)
    for (int64_t i = 0; i < c->n; i++)
        add_parts((float *)r->out[DX].data + (c->from + i) * p->width,
                  c->scratch + p->at.dx + i * p->width, p->groups, p->chunk * p->width, p->width);
}

/* ---- running --------------------------------------------------------------------------------- */
static void run_chunk(const chunk_run *c)
{
    const plan *p = c->p;
    copy_x(c);
#pragma omp parallel for num_threads(c->r->threads) schedule(dynamic, 1)
    for (int64_t panel = 0; panel < p->panels; panel++)
        run_logits(c, panel);
#pragma omp parallel for num_threads(c->r->threads) schedule(static)
    for (int64_t at = 0; at < c->n; at += LANES)
        run_rows(c, at);
    if (p->dx || p->dw || p->db)
        run_gradients(c);
}

static void run_linear_cross_entropy(const weft_run *r)
{
    const plan *p = r->data;
    const weft_targets t = weft_linear_targets(r);
    if (!weft_targets_good(r, &t))
        return;
    double share = weft_targets_share(&t);
    chunk_run c = {.p = p, .r = r, .targets = t, .scratch = r->scratch, .share = (float)share};
    for (; c.from < p->rows; c.from += c.n) {
        c.n = least(p->chunk, p->rows - c.from);
        run_chunk(&c);
    }
    weft_linear_finish(r, share);
}

void weft_linear_finish(const weft_run *r, double share)
{
    static const char *const asked[] = {"dx", "dw", "db"};
    weft_put(&r->out[LOSS], 0, weft_targets_sum(&r->out[NLL]) * share);
    for (int i = 0; i < 3; i++)
        if (!weft_run_int(r, asked[i]))
            weft_put(&r->out[DX + i], 0, 0);
    for (int o = VALUE; o <= INDEX && !weft_run_int(r, "topk"); o++)
        weft_put(&r->out[o], 0, 0);
}

/* ---- compiling ------------------------------------------------------------------------------- */
/* Rows of a chunk: 64 MiB of logits, but so many that the products stay near full speed and so few
 * that a panel stays in the cache; even parts of N.  A function of sizes alone, because the order
 * of sums depends on it. */
static int64_t chunk_rows(int64_t rows, int64_t classes)
{
    int64_t limit = CHUNK_BYTES / (4 * classes);
    limit = limit < ROWS_LEAST ? ROWS_LEAST : least(limit, ROWS_MOST);
    int64_t even = ceil_div(rows, ceil_div(rows, limit));
    return least(ceil_div(even, LANES) * LANES, rows);
}

/* Few classes are cut into smaller panels, so that there are tasks for many threads. */
static void set_panels(plan *p)
{
    int64_t even = ceil_div(p->classes, GROUPS);
    p->panel = least(ceil_div(even, 8) * 8, PANEL);
    p->panels = ceil_div(p->classes, p->panel);
    p->groups = least(p->panels, GROUPS);
}

static panel_products products(weft_kernel *k, const plan *p, int64_t rows, int64_t classes)
{
    panel_products g = {0};
    weft_gemm_desc d = {.batch = 1, .dtype = WEFT_F32, .alpha = 1, .one_tile = true};
    d.m = classes, d.n = rows, d.k = p->width; /* w x^T */
    d.a_row = p->width, d.a_col = 1, d.b_row = p->ld, d.b_col = 1, d.c_row = p->ld;
    g.logits = weft_kernel_gemm(k, &d);
    d.m = classes, d.n = p->width, d.k = rows; /* dlogits^T x */
    d.a_row = p->ld, d.a_col = 1, d.b_row = p->ld_width, d.b_col = 1, d.c_row = p->width;
    g.dw_first = p->dw ? weft_kernel_gemm(k, &d) : NULL;
    d.accumulate = true;
    g.dw_more = p->dw ? weft_kernel_gemm(k, &d) : NULL;
    d.m = rows, d.n = p->width, d.k = classes; /* dlogits w */
    d.a_row = 1, d.a_col = p->ld;
    g.dx_more = p->dx ? weft_kernel_gemm(k, &d) : NULL;
    d.accumulate = false;
    g.dx_first = p->dx ? weft_kernel_gemm(k, &d) : NULL;
    return g;
}

static void get_products(weft_kernel *k, plan *p)
{
    int64_t last_chunk = p->rows % p->chunk ? p->rows % p->chunk : p->chunk;
    for (int i = 0; i < 4; i++)
        p->of[i / 2][i % 2] =
            products(k, p, i / 2 ? last_chunk : p->chunk, panel_size(p, i % 2 ? p->panels - 1 : 0));
}

/* `n` floats of scratch, aligned as the scratch itself. */
static int64_t take(int64_t *end, int64_t n)
{
    int64_t at = *end;
    *end += ceil_div(n, LANES) * LANES;
    return at;
}

static void lay_out(plan *p, int threads)
{
    layout *l = &p->at;
    int64_t panel = p->dx ? p->panel * p->ld_width : 0, rows = 0;
    if (p->largest.k)
        take(&rows, LANES * p->classes + ceil_div((int64_t)p->largest.bytes, 4));
    take(&l->end, p->classes * p->ld);
    l->x_turned = take(&l->end, p->width * p->ld);
    l->x_rows = take(&l->end, p->dw ? p->chunk * p->ld_width : 0);
    l->part = take(&l->end, 2 * p->panels * p->ld);
    l->base = take(&l->end, p->ld);
    l->share = take(&l->end, p->ld);
    l->dx = take(&l->end, p->dx ? p->groups * p->chunk * p->width : 0);
    take(&l->per_thread, panel > rows ? panel : rows);
    l->thread = take(&l->end, l->per_thread * threads);
}

void weft_linear_kernel(weft_kernel *k)
{
    const weft_tensor *w = weft_kernel_in(k, W);
    plan *p = weft_kernel_data(k, sizeof *p);
    if (!p)
        return;
    p->rows = weft_kernel_out(k, LSE)->count;
    p->classes = w->dim[0];
    p->width = w->dim[1];
    p->chunk = chunk_rows(p->rows, p->classes);
    p->ld = odd_lines(p->chunk);
    p->ld_width = odd_lines(p->width);
    p->dx = weft_attr_int(k, "dx");
    p->dw = weft_attr_int(k, "dw");
    p->db = weft_attr_int(k, "db");
    set_panels(p);
    get_products(k, p);
    if (weft_attr_int(k, "topk"))
        p->largest = weft_largest_of(p->classes, weft_attr_int(k, "topk"));
    lay_out(p, weft_kernel_threads(k));
    weft_kernel_scratch(k, sizeof(float) * (size_t)p->at.end);
    weft_kernel_run(k, run_linear_cross_entropy);
}
