/* global_norm.c - Euclidean norm of many gradients as one vector, and the clip factor made of it.
 */
#include "ops/simd.h"

#include "graph/op.h"

enum {
    CHUNK = 65536
}; /* elements summed by one thread; a constant, so threads do not change the bits */

/* Shapes do not matter: only the squares do. */
static void infer_global_norm(weft_infer *c)
{
    weft_infer_out(c, 0, weft_type_make(weft_call_in(c, 0)->dtype, 0, NULL));
}

typedef struct {
    int input;
    int64_t from;
} chunk;

typedef struct {
    int64_t n;
    chunk c[];
} chunk_list;

/* The list of chunks over all inputs, made once: one parallel loop instead of one per weight, most
 * of which are small. */
static void kernel_global_norm(weft_kernel *k)
{
    int64_t n = 0;
    for (int i = 0; i < weft_call_n_in(k); i++)
        n += (weft_kernel_in(k, i)->count + CHUNK - 1) / CHUNK;
    chunk_list *l = weft_kernel_data(k, sizeof *l + (size_t)n * sizeof *l->c);
    weft_kernel_scratch(k, (size_t)n * sizeof(double));
    for (int i = 0; l && i < weft_call_n_in(k); i++)
        for (int64_t at = 0; at < weft_kernel_in(k, i)->count; at += CHUNK)
            l->c[l->n++] = (chunk){i, at};
}

WEFT_CLONES static double squares(const float *x, int64_t n) { return weft_squares(x, n); }

/* Chunks in any order, their sums in the order of the list. */
static void run_global_norm(const weft_run *r)
{
    const chunk_list *l = r->data;
    double *part = r->scratch, sum = 0;
#pragma omp parallel for num_threads(r->threads) if (l->n > 1)
    for (int64_t k = 0; k < l->n; k++) {
        const weft_tensor *t = &r->in[l->c[k].input];
        int64_t from = l->c[k].from, n = t->count - from < CHUNK ? t->count - from : CHUNK;
        part[k] = squares((const float *)t->data + from, n);
    }
    for (int64_t k = 0; k < l->n; k++)
        sum += part[k];
    *(float *)r->out[0].data = (float)sqrt(sum);
}

static void ref_global_norm(const weft_run *r)
{
    double sum = 0;
    for (int k = 0; k < r->n_in; k++)
        for (int64_t i = 0; i < r->in[k].count; i++)
            sum += weft_get(&r->in[k], i) * weft_get(&r->in[k], i);
    weft_put(&r->out[0], 0, sqrt(sum));
}

static double flops_global_norm(const weft_call *c)
{
    double n = 0;
    for (int i = 0; i < weft_call_n_in(c); i++)
        n += 2.0 * (double)weft_type_count(weft_call_in(c, i));
    return n;
}

const weft_op weft_op_global_norm = {
    .name = "global_norm",
    .doc = "Euclidean norm of all inputs as one vector: y = sqrt(sum over inputs of sum x^2).",
    .in = {{"x", WEFT_FLOAT | WEFT_VARIADIC, "gradients, any shapes"}},
    .out = {{"y", WEFT_FLOAT, "norm, scalar"}},
    .infer = infer_global_norm,
    .kernel = kernel_global_norm,
    .run = run_global_norm,
    .ref = ref_global_norm,
    .flops = flops_global_norm,
};

/* ---- clip_scale ---- */

/* loss is only looked at, so that a step with a bad loss but finite gradients is left out as well.
 */
static void infer_clip_scale(weft_infer *c)
{
    const weft_type *norm = weft_call_in(c, 0);
    if (norm->rank != 0)
        weft_call_fail(c, "norm is %s, expected a scalar", weft_type_text(c, norm));
    else if (weft_call_has(c, 1) && weft_call_in(c, 1)->rank != 0)
        weft_call_fail(c, "loss is %s, expected a scalar", weft_type_text(c, weft_call_in(c, 1)));
    else
        weft_infer_out(c, 0, *norm);
}

/* The reference is the kernel: one number, in double. */
static void ref_clip_scale(const weft_run *r)
{
    double norm = weft_get(&r->in[0], 0), max = weft_run_float(r, "max"), scale = 1;
    bool sane =
        isfinite(norm) && (r->n_in < 2 || !r->in[1].data || isfinite(weft_get(&r->in[1], 0)));
    if (max > 0 && max / (norm + 1e-6) < 1)
        scale = max / (norm + 1e-6);
    weft_put(&r->out[0], 0, sane ? scale : (double)NAN);
}

const weft_op weft_op_clip_scale = {
    .name = "clip_scale",
    .doc =
        "Factor that clips gradients to a norm (torch.nn.utils.clip_grad_norm_): y = min(1, max / "
        "(norm + 1e-6)), 1 if max = 0, NaN if norm or loss is not finite (no step is taken then).",
    .in = {{"norm", WEFT_FLOAT, "norm of the gradients, scalar"},
           {"loss", WEFT_FLOAT | WEFT_OPTIONAL,
            "loss of the step, scalar, only looked at for NaN, Inf"}},
    .out = {{"y", WEFT_FLOAT, "factor, scalar"}},
    .attr = {{"max", WEFT_ATTR_FLOAT, 1, "largest norm let through; 0: no clipping", 0, 1e30}},
    .flags = WEFT_NO_GRADIENT,
    .infer = infer_clip_scale,
    .run = ref_clip_scale,
    .ref = ref_clip_scale,
};
