/* generate.c - drawing tokens one by one, with a key/value cache or by computing the whole window.
 *
 * With a cache two programs share the session's "cache:" states: one takes a piece of the prompt at
 * a time, one a single token.  Both come from the model file by weft_graph_incremental.  Random
 * numbers are a function of (seed, sample, number of the token), so the way of computing does not
 * change which number a token is drawn with. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/batch.h"
#include "graph/plan.h"
#include "graph/rng.h"
#include "graph/trained.h"

enum {
    PIECE = 32, /* tokens of the prompt that are computed at once */
    MAX_FED = 16
};
/* What the model itself draws has steps that the drawing of tokens never comes to. */
#define OWN_STEPS ((int64_t)1 << 46)

typedef struct {
    int32_t id;
    double p; /* first the logit, then the probability */
} candidate;

typedef struct {
    char name[64];
    float value;
} fed_value;

struct weft_generator {
    weft_trained *t;
    const weft_generate_options *o;
    weft_generate_options options; /* what o points to */
    uint32_t sample;
    weft_session *session;
    weft_program *window;      /* the whole context; NULL with a cache */
    weft_program *piece, *one; /* over PIECE and over one new position */
    int64_t context, vocab;
    int32_t *text;            /* [context] tokens in the window */
    int64_t n_text, n_cached; /* how many there are; how many of them the cache holds */
    int64_t n_prompt;         /* how many of them are the prompt's */
    candidate *c;             /* [vocab] */
    int32_t *id;              /* [n_id] those that may be drawn, ascending */
    int64_t n_id;
    int64_t n_drawn;
    fed_value fed[MAX_FED];
    int n_fed;
};
typedef struct weft_generator generator;

/* ---- choosing ---- */
/* Larger first; equal ones by id, so that the order is total. */
static int by_size(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Uniform in [0,1) with 53 bits. */
static double uniform(const generator *g)
{
    uint32_t r[4];
    weft_random4(r, g->o->seed, (uint64_t)g->n_drawn, g->sample, 0);
    uint64_t bits = ((uint64_t)r[0] << 32 | r[1]) >> 11;
    return (double)bits * 0x1p-53;
}

/* Logits in c[0..n-1], sorted -> probabilities at a temperature, cut by top-k and top-p; returns
 * how many are left. */
static int64_t shape(const generator *g, int64_t n)
{
    double max = g->c[0].p, sum = 0, kept = 0;
    if (g->o->top_k > 0 && g->o->top_k < n)
        n = g->o->top_k;
    for (int64_t i = 0; i < n; i++)
        sum += g->c[i].p = exp((g->c[i].p - max) / g->o->temperature);
    for (int64_t i = 0; i < n; i++) {
        kept += g->c[i].p / sum;
        if (kept >= g->o->top_p)
            return i + 1;
    }
    return n;
}

static weft_status choose(generator *g, const float *logit, int32_t *out)
{
    int32_t best = g->id[0];
    for (int64_t k = 0; k < g->n_id; k++) {
        int32_t i = g->id[k];
        if (!isfinite(logit[i]))
            return weft_fail(g->t->ctx, WEFT_NUMERIC, "the logit of token %d is %g", i,
                             (double)logit[i]);
        if (logit[i] > logit[best])
            best = i;
        g->c[k] = (candidate){i, logit[i]};
    }
    *out = best;
    if (g->o->temperature > 0) {
        qsort(g->c, (size_t)g->n_id, sizeof *g->c, by_size);
        int64_t n = shape(g, g->n_id), i = 0;
        double total = 0, at = 0;
        for (int64_t k = 0; k < n; k++)
            total += g->c[k].p;
        double aim = uniform(g) * total;
        for (; i < n - 1; i++)
            if ((at += g->c[i].p) > aim)
                break;
        *out = g->c[i].id;
    }
    g->n_drawn++;
    return WEFT_OK;
}

/* ---- computing ---- */
/* Random numbers, and where interventions act that tell the prompt from what was generated, and how
 * strongly. */
static void feed_interventions(const generator *g, weft_program *p)
{
    weft_type t;
    for (int i = 0; i < g->n_fed; i++) {
        float *value = weft_program_input(p, g->fed[i].name, &t);
        if (value)
            *value = g->fed[i].value;
    }
    /* a position has the same numbers however often it is computed: once with a cache, or again */
    weft_feed_rng(p, g->o->seed, OWN_STEPS + g->sample);
    int32_t *prompt = weft_program_input(p, "span:prompt", &t);
    if (prompt)
        prompt[0] = 0, prompt[1] = (int32_t)g->n_prompt;
    int32_t *generated = weft_program_input(p, "span:generated", &t);
    if (generated)
        generated[0] = (int32_t)g->n_prompt, generated[1] = -1;
}

static weft_status run_window(generator *g, const float **logit)
{
    weft_type t;
    int32_t *in = weft_program_input(g->window, "tokens", &t);
    if (in) {                                           /* logits may be made of positions alone */
        memset(in, 0, sizeof *in * (size_t)g->context); /* a causal model does not see these */
        memcpy(in, g->text, sizeof *in * (size_t)g->n_text);
    }
    feed_interventions(g, g->window);
    WEFT_TRY(weft_program_run(g->window));
    *logit =
        (const float *)weft_program_output(g->window, "logits", &t) + (g->n_text - 1) * g->vocab;
    return WEFT_OK;
}

/* Brings the cache up to the text; the logits of its last position. */
static weft_status run_cached(generator *g, const float **logit)
{
    weft_type t;
    while (g->n_cached < g->n_text) {
        int64_t left = g->n_text - g->n_cached;
        bool whole = g->piece && left >= PIECE;
        weft_program *p = whole ? g->piece : g->one;
        int64_t n = whole ? PIECE : 1;
        int32_t *in = weft_program_input(p, "tokens", &t);
        memcpy(in, g->text + g->n_cached, sizeof *in * (size_t)n);
        int32_t *pos = weft_program_input(p, WEFT_POS, &t);
        if (pos)
            *pos = (int32_t)g->n_cached;
        feed_interventions(g, p);
        WEFT_TRY(weft_program_run(p));
        g->n_cached += n;
        *logit = (const float *)weft_program_output(p, "logits", &t) + (n - 1) * g->vocab;
    }
    return WEFT_OK;
}

/* Makes room by forgetting the older half. Positions start at 0 again, so the cache is made anew.
 */
static void append(generator *g, int32_t id)
{
    if (g->n_text == g->context) {
        int64_t keep = g->context / 2, gone = g->n_text - keep;
        g->n_prompt = g->n_prompt > gone ? g->n_prompt - gone : 0;
        memmove(g->text, g->text + g->n_text - keep, sizeof *g->text * (size_t)keep);
        g->n_text = keep;
        g->n_cached = 0;
    }
    g->text[g->n_text++] = id;
}

static weft_status draw_all(generator *g)
{
    for (int64_t i = 0; i < g->o->n_new; i++) {
        const float *logit = NULL;
        int32_t id = 0;
        WEFT_TRY(g->window ? run_window(g, &logit) : run_cached(g, &logit));
        WEFT_TRY(choose(g, logit, &id));
        append(g, id);
        if (g->o->token && !g->o->token(g->o->user, id))
            break;
    }
    return WEFT_OK;
}

/* ---- building ---- */
/* What is fed to a program over n positions: the names that interventions feed are the caller's. */
static weft_status check_feeds(const generator *g, const weft_program *p, int64_t n)
{
    const weft_type span = weft_type_make(WEFT_I32, 1, (int64_t[]){2});
    weft_feed feed[5 + MAX_FED] = {
        {"tokens", weft_type_make(WEFT_I32, 2, (int64_t[]){1, n}), "the text"},
        {WEFT_POS, {.dtype = WEFT_I32}, "the first new position"},
        {"rng", weft_type_make(WEFT_I64, 1, (int64_t[]){2}), "seed and number of the sample"},
        {"span:prompt", span, "where the prompt is"},
        {"span:generated", span, "where the drawn tokens are"}};
    int k = 5;
    for (int i = 0; i < g->o->n_intervene && k < 5 + MAX_FED; i++)
        if (g->o->intervene[i].feed)
            feed[k++] = (weft_feed){
                strchr(g->o->intervene[i].feed, '=') + 1, {.dtype = WEFT_F32}, "a strength"};
    return weft_program_check_feeds(p, "generation", feed, k);
}

static weft_status compile_increment(generator *g, const weft_graph *full, int64_t n,
                                     weft_program **out)
{
    static const char *const time[] = {"tokens", "targets"};
    const char *fetch[] = {"logits"}, *inputs[2];
    const weft_type want = weft_type_make(WEFT_F32, 3, (int64_t[]){1, n, g->vocab});
    int n_inputs = 0;
    for (int i = 0; i < 2; i++)
        if (weft_graph_find(full, time[i]) != WEFT_NONE)
            inputs[n_inputs++] = time[i];
    weft_graph *h = NULL;
    const weft_compile_options o = {0};
    WEFT_TRY(weft_graph_incremental(full, n, inputs, n_inputs, &h));
    weft_status s = WEFT_OK;
    if (!weft_type_equal(&h->value[weft_graph_find_output(h, "logits")].type, &want))
        s = weft_fail(
            g->t->ctx, WEFT_UNSUPPORTED,
            "output 'logits' has its positions on another axis than 1, so the model cannot "
            "be decoded step by step; --no-cache computes the whole window for every token");
    if (!s)
        s = weft_program_compile(g->session, h, fetch, 1, &o, out);
    weft_graph_free(h);
    return s ? s : check_feeds(g, *out, n);
}

static weft_status check_logits(generator *g, const weft_graph *full)
{
    weft_type tokens, t;
    char text[160];
    weft_val v = weft_graph_need_output(full, "logits");
    if (v == WEFT_NONE)
        return weft_error_status(g->t->ctx);
    WEFT_TRY(weft_tokens_type(full, &tokens));
    t = full->value[v].type;
    if (t.dtype != WEFT_F32 || t.rank != 3 || t.dim[0] != 1 || t.dim[1] != tokens.dim[1])
        return weft_fail(g->t->ctx, WEFT_MALFORMED,
                         "output 'logits' is %s, expected f32[1,%lld,vocab]",
                         weft_type_print(text, sizeof text, &t), (long long)tokens.dim[1]);
    g->context = tokens.dim[1];
    g->vocab = t.dim[2];
    return WEFT_OK;
}

/* Only what the logits need: labels and losses do not decode step by step, and neither do updates
 * of states, which stand still here. */
static weft_status forward_part(const weft_graph *g, weft_graph **out)
{
    weft_graph *still = NULL;
    WEFT_TRY(weft_graph_still(g, &still, NULL));
    const weft_graph *from = still ? still : g;
    weft_val keep = weft_graph_find_output(from, "logits");
    weft_status s = weft_graph_prune(from, &keep, 1, out, NULL);
    weft_graph_free(still);
    return s;
}

/* Of logits that do not depend on the text there is nothing to keep. */
static bool reads_text(const weft_graph *forward)
{
    bool reads = weft_graph_find(forward, "tokens") != WEFT_NONE;
    if (!reads)
        weft_log(forward->ctx, "warning: output 'logits' does not depend on the input 'tokens': "
                               "whatever the prompt is, it changes nothing");
    return reads;
}

static weft_status build(generator *g, const weft_graph *expanded)
{
    weft_graph *full = NULL, *lowered = NULL;
    const char *fetch[] = {"logits"};
    const weft_compile_options o = {0};
    WEFT_TRY(weft_session_new(g->t->ctx, false, &g->session));
    WEFT_TRY(weft_graph_lower(expanded, &lowered));
    weft_status s = forward_part(lowered, &full);
    weft_graph_free(lowered);
    bool whole = (!s && !reads_text(full)) || g->o->no_cache;
    if (!s && whole)
        s = weft_program_compile(g->session, full, fetch, 1, &o, &g->window);
    if (!s && g->window)
        s = check_feeds(g, g->window, g->context);
    if (!s && !whole)
        s = compile_increment(g, full, 1, &g->one);
    if (!s && !whole && g->context > PIECE)
        s = compile_increment(g, full, PIECE, &g->piece);
    weft_graph_free(full);
    return s ? s : weft_trained_fill(g->t, expanded, g->session);
}

static weft_status check_options(generator *g)
{
    const weft_generate_options *o = g->o;
    weft_ctx *c = g->t->ctx;
    if (o->n_prompt < 1)
        return weft_fail(c, WEFT_USAGE, "the prompt has no tokens; at least one is needed");
    if (!(o->temperature >= 0) || !isfinite(o->temperature) || o->top_k < 0 ||
        !(o->top_p > 0 && o->top_p <= 1) || o->n_new < 0)
        return weft_fail(c, WEFT_USAGE,
                         "expected temperature >= 0, top_k >= 0, top_p in (0,1] and n_new >= 0");
    for (int64_t i = 0; i < o->n_prompt; i++)
        if (o->prompt[i] < 0 || o->prompt[i] >= g->vocab)
            return weft_fail(c, WEFT_MISMATCH,
                             "token %lld of the prompt is %d, but the model knows ids 0..%lld",
                             (long long)i, o->prompt[i], (long long)g->vocab - 1);
    return WEFT_OK;
}

static weft_status take_memory(generator *g)
{
    g->text = weft_alloc(g->t->ctx, sizeof *g->text * (size_t)g->context);
    g->c = weft_alloc(g->t->ctx, sizeof *g->c * (size_t)g->vocab);
    g->id = weft_alloc(g->t->ctx, sizeof *g->id * (size_t)g->vocab);
    for (int64_t i = 0; g->id && i < g->vocab; i++)
        if (!g->o->known || g->o->known(g->o->user, (int32_t)i))
            g->id[g->n_id++] = (int32_t)i;
    if (g->id && !g->n_id)
        return weft_fail(g->t->ctx, WEFT_MISMATCH, "none of the model's ids 0..%lld may be drawn",
                         (long long)g->vocab - 1);
    return weft_error_status(g->t->ctx);
}

/* The end of a prompt that is longer than the context. */
static void take_prompt(generator *g)
{
    g->n_text = g->o->n_prompt < g->context ? g->o->n_prompt : g->context;
    memcpy(g->text, g->o->prompt + g->o->n_prompt - g->n_text, sizeof *g->text * (size_t)g->n_text);
    g->n_prompt = g->n_text;
    g->n_cached = g->n_drawn = 0;
}

static weft_status start(generator *g)
{
    weft_graph *full = NULL;
    const char *keep[] = {"logits"};
    weft_status s =
        weft_trained_changed(g->t, 1, 0, g->o->intervene, g->o->n_intervene, keep, 1, &full);
    if (!s)
        s = check_logits(g, full);
    if (!s)
        s = check_options(g);
    if (!s)
        s = take_memory(g);
    if (!s)
        s = build(g, full);
    weft_graph_free(full);
    return s;
}

weft_status weft_generator_new(weft_trained *t, const weft_generate_options *o,
                               weft_generator **out)
{
    *out = NULL;
    generator *g = weft_alloc(t->ctx, sizeof *g);
    if (!g)
        return weft_error_status(t->ctx);
    *g = (generator){.t = t, .options = *o};
    g->o = &g->options;
    weft_status s = start(g);
    if (s)
        weft_generator_free(g);
    else
        *out = g;
    return s;
}

void weft_generator_free(weft_generator *g)
{
    if (!g)
        return;
    weft_ctx *c = g->t->ctx;
    weft_session_free(g->session);
    weft_free(c, g->text);
    weft_free(c, g->c);
    weft_free(c, g->id);
    weft_free(c, g);
}

/* A strength that nobody gave would be what memory holds. */
static weft_status check_strengths(const generator *g)
{
    for (int i = 0; i < g->o->n_intervene; i++) {
        const weft_intervention *x = &g->o->intervene[i];
        int k = 0;
        while (x->feed && k < g->n_fed && strcmp(g->fed[k].name, strchr(x->feed, '=') + 1))
            k++;
        if (x->feed && k == g->n_fed)
            return weft_fail(g->t->ctx, WEFT_USAGE,
                             "the intervention on '%s' reads '%s', which nobody has fed", x->value,
                             strchr(x->feed, '=') + 1);
    }
    return WEFT_OK;
}

weft_status weft_generator_run(weft_generator *g, uint32_t sample)
{
    WEFT_TRY(check_strengths(g));
    g->sample = sample;
    take_prompt(g);
    return draw_all(g);
}

weft_status weft_generator_feed(weft_generator *g, const char *name, float value)
{
    weft_type t;
    weft_program *p = g->window ? g->window : g->one;
    fed_value *f = g->fed;
    char shown[96];
    if (!weft_program_input(p, name, &t) || t.dtype != WEFT_F32 || t.rank ||
        strlen(name) >= sizeof f->name)
        return weft_fail(g->t->ctx, WEFT_USAGE, "no intervention reads a scalar input '%s'",
                         weft_printable(shown, sizeof shown, name));
    while (f < g->fed + g->n_fed && strcmp(f->name, name))
        f++;
    if (f == g->fed + MAX_FED)
        return weft_fail(g->t->ctx, WEFT_USAGE, "at most %d inputs can be fed", MAX_FED);
    snprintf(f->name, sizeof f->name, "%s", name);
    f->value = value;
    g->n_fed += f == g->fed + g->n_fed;
    return WEFT_OK;
}

weft_status weft_generate(weft_trained *t, const weft_generate_options *o)
{
    generator *g;
    WEFT_TRY(weft_generator_new(t, o, &g));
    weft_status s = weft_generator_run(g, o->sample);
    weft_generator_free(g);
    return s;
}
