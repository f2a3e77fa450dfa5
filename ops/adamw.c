/* adamw.c - one step of AdamW on one weight, in place. */
#include "ops/simd.h"

#include "graph/op.h"

/* Weight, gradient and moments alike; the rest are scalars that all weights share. */
static void infer_adamw(weft_infer *c)
{
    for (int i = 1; i < 4; i++)
        if (!weft_infer_same(c, 0, i))
            return;
    for (int i = 4; i < 7; i++)
        if (weft_call_in(c, i)->rank != 0) {
            weft_call_fail(c, "input %d is %s, expected a scalar", i,
                           weft_type_text(c, weft_call_in(c, i)));
            return;
        }
    for (int i = 0; i < 3; i++)
        weft_infer_out(c, i, *weft_call_in(c, 0));
}

/* The coefficients of one step, from attributes and scalars. */
typedef struct {
    double beta1, beta2, eps, scale;
    double decay;  /* w is multiplied by it first */
    double size;   /* lr / (1 - beta1^t) */
    double sqrt_c; /* sqrt(1 - beta2^t) */
} adamw_step;

/* False: the scale says that the step must not happen. */
static bool step_of(const weft_run *r, adamw_step *s)
{
    double t = (double)weft_get_int(&r->in[4], 0) + 1;
    double lr = weft_get(&r->in[5], 0) * weft_run_float(r, "lr_scale");
    s->beta1 = weft_run_float(r, "beta1");
    s->beta2 = weft_run_float(r, "beta2");
    s->eps = weft_run_float(r, "eps");
    s->scale = weft_get(&r->in[6], 0);
    s->decay = 1 - lr * weft_run_float(r, "weight_decay");
    s->size = lr / (1 - pow(s->beta1, t));
    s->sqrt_c = sqrt(1 - pow(s->beta2, t));
    return isfinite(s->scale);
}

static const int state_of[3] = {0, 2, 3}; /* outputs w, m, v continue these inputs */

/* Outputs usually are their inputs (states); in tests they may be elsewhere. */
static void keep_state(const weft_run *r)
{
    for (int i = 0; i < 3; i++)
        if (r->out[i].data != r->in[state_of[i]].data)
            for (int64_t k = 0; k < r->out[i].count; k++)
                weft_put(&r->out[i], k, weft_get(&r->in[state_of[i]], k));
}

typedef struct {
    const float *w, *g, *m, *v;
    float *w1, *m1, *v1;
} adamw_data;

/* One pass: 16 bytes read and 12 written per element, so memory decides the speed. */
WEFT_CLONES static void update(const adamw_data *a, const adamw_step *s, int64_t from, int64_t to)
{
    const float b1 = (float)s->beta1, b2 = (float)s->beta2, scale = (float)s->scale;
    const float c1 = (float)(1 - s->beta1), c2 = (float)(1 - s->beta2), eps = (float)s->eps;
    const float decay = (float)s->decay, size = (float)s->size, sqrt_c = (float)s->sqrt_c;
#pragma omp simd
    for (int64_t i = from; i < to; i++) {
        float g = a->g[i] * scale;
        float m = a->m[i] * b1 + g * c1;
        float v = a->v[i] * b2 + g * g * c2;
        float w = a->w[i] * decay - size * m / (__builtin_sqrtf(v) / sqrt_c + eps);
        a->m1[i] = m;
        a->v1[i] = v;
        a->w1[i] = w;
    }
}

/* Elements do not see each other, so blocks may go to any thread. */
static void run_adamw(const weft_run *r)
{
    enum { BLOCK = 16384 };
    adamw_data a = {r->in[0].data,  r->in[1].data,  r->in[2].data, r->in[3].data,
                    r->out[0].data, r->out[1].data, r->out[2].data};
    adamw_step s;
    int64_t n = r->in[0].count;
    if (!step_of(r, &s)) {
        keep_state(r);
        return;
    }
#pragma omp parallel for num_threads(r->threads) if (n > WEFT_GRAIN)
    for (int64_t at = 0; at < n; at += BLOCK)
        update(&a, &s, at, n - at < BLOCK ? n : at + BLOCK);
}

/* The same formulas in double. */
static void ref_adamw(const weft_run *r)
{
    adamw_step s;
    if (!step_of(r, &s)) {
        keep_state(r);
        return;
    }
    for (int64_t i = 0; i < r->in[0].count; i++) {
        double g = weft_get(&r->in[1], i) * s.scale;
        double m = weft_get(&r->in[2], i) * s.beta1 + g * (1 - s.beta1);
        double v = weft_get(&r->in[3], i) * s.beta2 + g * g * (1 - s.beta2);
        double w = weft_get(&r->in[0], i) * s.decay - s.size * m / (sqrt(v) / s.sqrt_c + s.eps);
        weft_put(&r->out[0], i, w);
        weft_put(&r->out[1], i, m);
        weft_put(&r->out[2], i, v);
    }
}

/* Products, sums, a root and two quotients, by convention one each. */
static double flops_adamw(const weft_call *c)
{
    return 14.0 * (double)weft_type_count(weft_call_in(c, 0));
}

const weft_op weft_op_adamw = {
    .name = "adamw",
    .doc =
        "One AdamW step (Loshchilov and Hutter, 2019, as torch.optim.AdamW) with t = step + 1, g = "
        "g * scale, rate = lr * lr_scale: m' = beta1 m + (1 - beta1) g, v' = beta2 v + "
        "(1 - beta2) g^2, w' = (1 - rate * weight_decay) w - rate * (m' / (1 - beta1^t)) / "
        "(sqrt(v' / (1 - beta2^t)) + eps). Changes nothing when scale is not finite.",
    .in = {{"w", WEFT_FLOAT, "weight, a state"},
           {"g", WEFT_FLOAT, "its gradient"},
           {"m", WEFT_FLOAT, "first moment, a state"},
           {"v", WEFT_FLOAT, "second moment, a state"},
           {"step", WEFT_INT, "steps done before this one, scalar"},
           {"lr", WEFT_FLOAT, "learning rate, scalar"},
           {"scale", WEFT_FLOAT, "factor of the gradient (clipping), scalar"}},
    .out = {{"w1", WEFT_FLOAT, "the weight after the step", 1},
            {"m1", WEFT_FLOAT, "the first moment after the step", 3},
            {"v1", WEFT_FLOAT, "the second moment after the step", 4}},
    .attr = {{"beta1", WEFT_ATTR_FLOAT, 0.9, "decay of the first moment", 0, 1},
             {"beta2", WEFT_ATTR_FLOAT, 0.95, "decay of the second moment", 0, 1},
             {"eps", WEFT_ATTR_FLOAT, 1e-8, "added to the denominator", 0, 1},
             {"weight_decay", WEFT_ATTR_FLOAT, 0.1, "decoupled weight decay", 0, 1e3},
             {"lr_scale", WEFT_ATTR_FLOAT, 1, "factor of the learning rate", 0, 1e6}},
    .flags = WEFT_EFFECT,
    .infer = infer_adamw,
    .run = run_adamw,
    .ref = ref_adamw,
    .flops = flops_adamw,
};
