/* measure_judge.c - what models that are not steered say of a text: the model itself, and the
 * extractor that its concepts come from.
 *
 * All judges are programs of one session over texts of one length: the weights are read once, and
 * the steered model, which is asked what it keeps, is fed its strength. */
#include <math.h>
#include <string.h>

#include "tools/measure.h"

struct measure_judge {
    measurement *m;
    weft_session *session;
    weft_program *plain, *extractor, *steered;
    const char *judge, *active; /* values of the extractor that are fetched; NULL: not there */
    int64_t id;
};

/* ---- measures of one row ---- */
/* -log softmax(logit)[id] */
static double surprise(const float *logit, int64_t n, int32_t id)
{
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        max = fmax(max, logit[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(logit[i] - max);
    return max + log(sum) - logit[id];
}

/* Is it one of the k largest? Equal values: the lower index first, as the op topk has it. */
static bool is_kept(const float *x, int64_t n, int64_t id, int64_t k)
{
    int64_t before = 0;
    for (int64_t i = 0; i < n && before < k; i++)
        before += x[i] > x[id] || (x[i] == x[id] && i < id);
    return before < k;
}

/* Different pairs of neighbours among all of them; a text of one token repeats nothing. */
static double distinct(const int32_t *text, int64_t n)
{
    int64_t fresh = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        int64_t j = 0;
        while (j < i && (text[j] != text[i] || text[j + 1] != text[i + 1]))
            j++;
        fresh += j == i;
    }
    return n > 1 ? (double)fresh / (double)(n - 1) : 1;
}

/* ---- compiling ---- */
static weft_status check_value(measure_judge *j, weft_program *p, const char *name, bool ids,
                               const char *want)
{
    weft_type t;
    char text[160];
    weft_program_output(p, name, &t);
    if ((t.dtype == WEFT_F32 || (ids && t.dtype == WEFT_I32)) && t.rank == 3 && t.dim[0] == 1 &&
        t.dim[1] == j->m->length)
        return WEFT_OK;
    return weft_fail(j->m->ctx, WEFT_MISMATCH, "value '%s' is %s, expected %s of %lld tokens", name,
                     weft_type_print(text, sizeof text, &t), want, (long long)j->m->length);
}

static weft_status check_vocab(measure_judge *j, weft_program *p, const char *name)
{
    weft_type t;
    int64_t vocab = weft_trained_vocab(j->m->trained);
    WEFT_TRY(check_value(j, p, name, false, "f32[1,T,vocab]"));
    weft_program_output(p, name, &t);
    if (t.dim[2] >= vocab)
        return WEFT_OK;
    return weft_fail(j->m->ctx, WEFT_MISMATCH,
                     "value '%s' knows %lld tokens, but the model generates %lld", name,
                     (long long)t.dim[2], (long long)vocab);
}

/* What run() below feeds. */
static weft_status check_feeds(const measure_judge *j, const weft_program *p)
{
    const weft_type text = {WEFT_I32, 2, {1, j->m->length}}, span = {WEFT_I32, 1, {2}},
                    rng = {WEFT_I64, 1, {2}};
    const weft_feed feed[] = {{"tokens", text, "a text"},
                              {"targets", text, "the tokens that follow"},
                              {"span:prompt", span, "where the prompt is"},
                              {"span:generated", span, "where the drawn tokens are"},
                              {"rng", rng, "seed and number"},
                              {"dose", {.dtype = WEFT_F32}, "the strength"}};
    return weft_program_check_feeds(p, "measuring", feed, sizeof feed / sizeof *feed);
}

static weft_status compile(measure_judge *j, const weft_graph *g, const char *const *name,
                           weft_program **out)
{
    const weft_compile_options o = {0};
    const char *fetch[2];
    int n = 0;
    for (int i = 0; i < 2; i++)
        if (name[i] && (!n || strcmp(fetch[0], name[i])))
            fetch[n++] = name[i];
    weft_status s = n ? weft_program_compile(j->session, g, fetch, n, &o, out) : WEFT_OK;
    return s || !n ? s : check_feeds(j, *out);
}

static weft_status compile_plain(measure_judge *j, const weft_graph *g)
{
    const char *const name[] = {"logits", j->m->o.at};
    weft_status s = compile(j, g, name, &j->plain);
    if (s)
        return s == WEFT_USAGE ? weft_note(j->m->ctx, "--steer-at names the value that is steered")
                               : s;
    WEFT_TRY(check_vocab(j, j->plain, "logits"));
    return check_value(j, j->plain, j->m->o.at, false, "f32[1,T,n]");
}

/* A value that is there by default may be missing; one that was asked for may not. */
static weft_status has_value(measure_judge *j, const weft_graph *g, const char *asked,
                             const char *usual, const char *option, const char **out)
{
    const char *const name[] = {asked ? asked : usual};
    weft_graph *part = NULL;
    *out = NULL;
    if (asked && !strcmp(asked, "none"))
        return WEFT_OK;
    weft_status s = weft_graph_feed(g, NULL, 0, name, 1, &part);
    weft_graph_free(part);
    if (!s)
        *out = name[0];
    if (s != WEFT_USAGE || asked)
        return s ? weft_note(j->m->ctx, "--%s names a value of the extractor", option) : WEFT_OK;
    weft_error_clear(j->m->ctx);
    return WEFT_OK;
}

static weft_status compile_extractor(measure_judge *j, const weft_graph *g)
{
    const measurement *m = j->m;
    WEFT_TRY(has_value(j, g, m->o.judge, "t_logits", "judge", &j->judge));
    WEFT_TRY(has_value(j, g, m->o.active, "z", "active", &j->active));
    const char *const name[] = {j->judge, j->active};
    WEFT_TRY(compile(j, g, name, &j->extractor));
    if (j->judge)
        WEFT_TRY(check_vocab(j, j->extractor, j->judge));
    if (j->active)
        WEFT_TRY(check_value(j, j->extractor, j->active, true, "f32[1,T,n] or i32[1,T,k]"));
    return WEFT_OK;
}

/* Compiled and with weights; `extractor`: with it. */
static weft_status prepare(measure_judge *j, bool extractor)
{
    weft_graph *g = NULL;
    WEFT_TRY(weft_session_new(j->m->ctx, false, &j->session));
    WEFT_TRY(weft_trained_graph(j->m->trained, 1, j->m->length, &g));
    weft_status s = compile_plain(j, g);
    if (!s && extractor)
        s = compile_extractor(j, g);
    if (!s)
        s = weft_trained_fill(j->m->trained, g, j->session);
    weft_graph_free(g);
    return s;
}

/* The extractor's files may be gone: the model alone is still worth asking, unless the extractor
 * was asked for. */
static weft_status prepare_what_is_there(measure_judge *j)
{
    char why[1024];
    measurement *m = j->m;
    weft_status s = prepare(j, true);
    if (s != WEFT_MISSING || !j->extractor || m->o.judge || m->o.active)
        return s;
    weft_log(m->ctx, "the extractor's weights are not there, so only the model judges: %s",
             weft_error_flat(m->ctx, why, sizeof why));
    weft_error_clear(m->ctx);
    weft_session_free(j->session);
    *j = (measure_judge){.m = m};
    return prepare(j, false);
}

static weft_status settle(measure_judge *j)
{
    measurement *m = j->m;
    weft_graph *g = NULL;
    weft_type t;
    double k = 0;
    if (j->active) {
        weft_program_output(j->extractor, j->active, &t);
        m->has_active = true;
        m->has_activation = t.dtype == WEFT_F32;
    }
    m->has_teacher = j->judge != NULL;
    if (m->o.k)
        return WEFT_OK;
    WEFT_TRY(weft_trained_graph(m->trained, 1, m->length, &g));
    m->o.k = weft_graph_parameter(g, "k", &k) && k >= 1 ? (int64_t)k : 32;
    weft_graph_free(g);
    return WEFT_OK;
}

weft_status measure_judge_open(measurement *m, measure_judge **out)
{
    measure_judge *j = *out = weft_arena_alloc(m->arena, sizeof *j);
    if (!j)
        return WEFT_NOMEM;
    *j = (measure_judge){.m = m};
    WEFT_TRY(prepare_what_is_there(j));
    return settle(j);
}

void measure_judge_close(measure_judge *j)
{
    if (j)
        weft_session_free(j->session);
}

weft_status measure_judge_concept(measure_judge *j, int64_t id, const weft_intervention *how)
{
    measurement *m = j->m;
    weft_type t;
    weft_graph *g = NULL, *changed = NULL;
    const char *const name[] = {m->o.at, NULL};
    j->id = id;
    if (j->active) {
        weft_program_output(j->extractor, j->active, &t);
        if (t.dtype == WEFT_F32 && id >= t.dim[2])
            return weft_fail(m->ctx, WEFT_MISMATCH,
                             "concept %lld: value '%s' of the extractor has only %lld",
                             (long long)id, j->active, (long long)t.dim[2]);
    }
    if (!how)
        return WEFT_OK;
    WEFT_TRY(weft_trained_graph(m->trained, 1, m->length, &g));
    weft_status s = weft_graph_intervene(g, how, 1, &changed);
    weft_graph_free(g);
    if (!s)
        s = compile(j, changed, name, &j->steered);
    weft_graph_free(changed);
    return s;
}

/* ---- judging ---- */
/* Every input by its name; those that a program does not need are not there. */
static weft_status run(measure_judge *j, weft_program *p, const int32_t *text, int64_t number,
                       double strength)
{
    const measurement *m = j->m;
    const size_t bytes = sizeof *text * (size_t)m->length;
    weft_type t;
    int32_t *tokens = weft_program_input(p, "tokens", &t);
    int32_t *targets = weft_program_input(p, "targets", &t);
    int32_t *prompt = weft_program_input(p, "span:prompt", &t);
    int32_t *generated = weft_program_input(p, "span:generated", &t);
    int64_t *rng = weft_program_input(p, "rng", &t);
    float *dose = weft_program_input(p, "dose", &t);
    if (tokens)
        memcpy(tokens, text, bytes);
    if (targets) { /* nobody knows what follows the last token */
        memcpy(targets, text + 1, bytes - sizeof *text);
        targets[m->length - 1] = text[m->length - 1];
    }
    if (prompt)
        prompt[0] = 0, prompt[1] = (int32_t)m->first;
    if (generated)
        generated[0] = (int32_t)m->first, generated[1] = -1;
    if (rng)
        rng[0] = m->o.seed, rng[1] = number;
    if (dose)
        *dose = (float)strength;
    return weft_program_run(p);
}

/* Token t is predicted at t-1. */
static double mean_surprise(const measure_judge *j, weft_program *p, const char *name,
                            const int32_t *text)
{
    weft_type t;
    const float *logit = weft_program_output(p, name, &t);
    double sum = 0;
    for (int64_t i = j->m->first; i < j->m->length; i++)
        sum += surprise(logit + (i - 1) * t.dim[2], t.dim[2], text[i]);
    return sum / (double)(j->m->length - j->m->first);
}

static double share_kept(const measure_judge *j, weft_program *p)
{
    weft_type t;
    const float *x = weft_program_output(p, j->m->o.at, &t);
    int64_t n = 0;
    for (int64_t i = j->m->first; i < j->m->length; i++)
        n += is_kept(x + i * t.dim[2], t.dim[2], j->id, j->m->o.k);
    return (double)n / (double)(j->m->length - j->m->first);
}

/* Active: a value above 0, or (ids of labels) among the ids. */
static void find_active(const measure_judge *j, double out[MEASURES])
{
    weft_type t;
    const void *data = weft_program_output(j->extractor, j->active, &t);
    const int64_t n = t.dim[2];
    double active = 0, sum = 0, tokens = (double)(j->m->length - j->m->first);
    for (int64_t i = j->m->first; i < j->m->length; i++) {
        if (t.dtype == WEFT_F32) {
            float z = ((const float *)data)[i * n + j->id];
            active += z > 0;
            sum += z;
            continue;
        }
        const int32_t *label = (const int32_t *)data + i * n;
        for (int64_t k = 0; k < n; k++)
            if (label[k] == j->id) {
                active++;
                break;
            }
    }
    out[MEASURE_ACTIVE] = active / tokens;
    out[MEASURE_ACTIVATION] = t.dtype == WEFT_F32 ? sum / tokens : NAN;
}

weft_status measure_judge_text(measure_judge *j, const int32_t *text, int64_t number, bool steered,
                               double strength, double out[MEASURES])
{
    const measurement *m = j->m;
    for (int i = 0; i < MEASURES; i++)
        out[i] = NAN;
    WEFT_TRY(run(j, j->plain, text, number, 0));
    out[MEASURE_STUDENT] = mean_surprise(j, j->plain, "logits", text);
    out[MEASURE_PREDICTED] = out[MEASURE_KEPT] = share_kept(j, j->plain);
    out[MEASURE_DISTINCT] = distinct(text + m->first, m->length - m->first);
    if (j->extractor) {
        WEFT_TRY(run(j, j->extractor, text, number, 0));
        if (j->judge)
            out[MEASURE_TEACHER] = mean_surprise(j, j->extractor, j->judge, text);
        if (j->active)
            find_active(j, out);
    }
    if (steered) {
        WEFT_TRY(run(j, j->steered, text, number, strength));
        out[MEASURE_KEPT] = share_kept(j, j->steered);
    }
    return WEFT_OK;
}
