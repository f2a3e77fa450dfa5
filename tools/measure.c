/* measure.c - weft steer --measure: what is asked for, the texts at every strength, and their
 * statistics.
 *
 * All strengths of a concept are drawn with the same prompts and random numbers by one compiled
 * generator, so a row differs from the unsteered one by the steering alone. */
#include "tools/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/data.h"
#include "graph/io.h"

#define FEED "strength=dose"

/* ---- the command line ---- */
/* The next of "a,b,c", or NULL with a complaint about an empty or overlong one. */
static const char *next_word(weft_ctx *c, const char *option, const char **rest, char *buf,
                             size_t n)
{
    size_t len = strcspn(*rest, ",");
    char shown[128];
    if (!len || len >= n) {
        weft_fail(c, WEFT_USAGE, "--%s=%s: expected numbers between commas", option,
                  weft_printable(shown, sizeof shown, *rest));
        return NULL;
    }
    snprintf(buf, n, "%.*s", (int)len, *rest);
    *rest = (*rest)[len] ? *rest + len + 1 : NULL;
    return buf;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorted, each once. */
static weft_status parse_strengths(measurement *m)
{
    char word[64], shown[128];
    int n = 0;
    for (const char *rest = m->o.strengths; rest;) {
        double v;
        if (!next_word(m->ctx, "strengths", &rest, word, sizeof word))
            return WEFT_USAGE;
        if (!weft_parse_f64(word, &v) || !isfinite((float)v))
            return weft_fail(m->ctx, WEFT_USAGE, "--strengths: '%s' is no finite number",
                             weft_printable(shown, sizeof shown, word));
        if (n == MEASURE_MAX)
            return weft_fail(m->ctx, WEFT_USAGE, "--strengths: at most %d", MEASURE_MAX);
        m->strength[n++] = v;
    }
    qsort(m->strength, (size_t)n, sizeof *m->strength, by_value);
    for (int i = 0; i < n; i++)
        if (!i || m->strength[i] != m->strength[m->n_strength - 1])
            m->strength[m->n_strength++] = m->strength[i];
    return WEFT_OK;
}

static weft_status parse_concepts(measurement *m)
{
    char word[64], shown[128];
    if (!m->o.concept)
        return weft_fail(m->ctx, WEFT_USAGE,
                         "--concept=ID[,ID...] is needed: the concepts whose steering is measured");
    for (const char *rest = m->o.concept; rest;) {
        int64_t id;
        if (!next_word(m->ctx, "concept", &rest, word, sizeof word))
            return WEFT_USAGE;
        if (!weft_parse_i64(word, &id) || id < 0 || id > INT32_MAX)
            return weft_fail(m->ctx, WEFT_USAGE, "--concept: '%s' is no number of a concept",
                             weft_printable(shown, sizeof shown, word));
        if (m->n_concept == MEASURE_MAX)
            return weft_fail(m->ctx, WEFT_USAGE, "--concept: at most %d", MEASURE_MAX);
        m->concept[m->n_concept++].id = id;
    }
    return WEFT_OK;
}

static weft_status parse_words(measurement *m)
{
    static const char *const how[] = {"add", "set", "scale"};
    static const char *const on[] = {"all", "prompt", "generated"};
    char shown[128];
    int h = 0, w = 0;
    while (h < 3 && strcmp(m->o.how, how[h]))
        h++;
    while (w < 3 && strcmp(m->o.on, on[w]))
        w++;
    if (h == 3)
        return weft_fail(m->ctx, WEFT_USAGE, "--how=%s: expected add, set or scale",
                         weft_printable(shown, sizeof shown, m->o.how));
    if (w == 3)
        return weft_fail(m->ctx, WEFT_USAGE, "--steer-on=%s: expected prompt, generated or all",
                         weft_printable(shown, sizeof shown, m->o.on));
    m->where = (weft_where)w;
    WEFT_TRY(parse_concepts(m));
    return parse_strengths(m);
}

/* ---- prompts ---- */
/* One text for all samples. */
static weft_status prompt_of_text(measurement *m)
{
    weft_ids ids = {.ctx = m->ctx};
    if (!m->tokens.bpe)
        return weft_fail(
            m->ctx, WEFT_USAGE,
            "--prompt needs a tokenizer, and the run names none: give --tokenizer=PATH, "
            "or prompts from --data=FILE");
    weft_status s =
        weft_bpe_encode(m->ctx, m->tokens.bpe, m->o.prompt, strlen(m->o.prompt), true, &ids);
    if (!s && !ids.n)
        s = weft_fail(m->ctx, WEFT_USAGE, "--prompt has no tokens; at least one is needed");
    m->first = (int64_t)ids.n;
    if (!s)
        m->prompt = weft_arena_array(m->arena, ids.n * (size_t)m->o.prompts, sizeof *m->prompt);
    for (int64_t i = 0; m->prompt && i < m->o.prompts; i++)
        memcpy(m->prompt + i * m->first, ids.id, sizeof *ids.id * ids.n);
    weft_ids_free(&ids);
    return s ? s : weft_error_status(m->ctx);
}

/* Windows spread evenly over the file. */
static weft_status prompts_of_data(measurement *m)
{
    weft_tokens *file = NULL;
    const char *path = m->o.data ? m->o.data : weft_trained_file(m->trained, WEFT_RECIPE_VAL);
    if (!path)
        return weft_fail(m->ctx, WEFT_USAGE,
                         "--data=FILE or --prompt=TEXT is needed: the recipe names no validation "
                         "data to take prompts from");
    int64_t vocab = weft_trained_vocab(m->trained), n = m->o.prompts;
    m->first = m->o.prompt_tokens;
    m->prompt = weft_arena_array(m->arena, (size_t)(n * m->first), sizeof *m->prompt);
    if (!m->prompt)
        return WEFT_NOMEM;
    if (weft_tokens_open(m->ctx, path, vocab ? vocab : 65536, &file))
        return weft_trained_note(m->trained, path);
    weft_tokens_limit(file, m->tokens.n);
    int64_t room = weft_tokens_count(file) - m->first;
    weft_status s = WEFT_OK;
    if (room < n - 1)
        s = weft_fail(m->ctx, WEFT_MISMATCH, "%s: %lld tokens are too few for %lld prompts of %lld",
                      path, (long long)weft_tokens_count(file), (long long)n, (long long)m->first);
    for (int64_t i = 0; !s && i < n; i++)
        s = weft_tokens_read(file, n > 1 ? room / (n - 1) * i : 0, m->first,
                             m->prompt + i * m->first);
    weft_tokens_close(file);
    return s;
}

/* Texts must fit the model's context: a window that slides would be judged without its beginning.
 */
static weft_status check_length(measurement *m)
{
    weft_graph *g = NULL;
    weft_type t = {.rank = 0};
    const char *name;
    int64_t context = 0;
    WEFT_TRY(weft_trained_graph(m->trained, 1, 0, &g));
    for (int i = 0; (name = weft_graph_input_at(g, i, &t)); i++)
        if (!strcmp(name, "tokens") && t.rank == 2)
            context = t.dim[1];
    weft_graph_free(g);
    m->length = m->first + m->o.tokens;
    if (m->length <= context)
        return WEFT_OK;
    return weft_fail(m->ctx, WEFT_USAGE,
                     "prompts of %lld and %lld new tokens do not fit the model's context of %lld: "
                     "give fewer --tokens or shorter prompts",
                     (long long)m->first, (long long)m->o.tokens, (long long)context);
}

static weft_status take_rows(measurement *m)
{
    const size_t prompts = (size_t)m->o.prompts, rows = (size_t)m->n_strength + 1;
    for (int i = 0; i < m->n_concept; i++) {
        measure_row *r = m->concept[i].row = weft_arena_array(m->arena, rows, sizeof *r);
        for (size_t k = 0; r && k < rows; k++) {
            r[k].plain = !k;
            r[k].strength = k ? m->strength[k - 1] : NAN;
            r[k].each = weft_arena_array(m->arena, prompts * MEASURES, sizeof *r[k].each);
            r[k].text = weft_arena_array(m->arena, prompts * (size_t)m->length, sizeof *r[k].text);
        }
    }
    return weft_error_status(m->ctx);
}

/* Before anything is computed for it. */
static weft_status check_svg(measurement *m)
{
    const char *dir = m->o.svg ? weft_parent_dir(m->arena, m->o.svg) : NULL;
    static const char *const begins[] = {"<svg", "<?xml", NULL};
    int kind;
    if (!dir)
        return weft_error_status(m->ctx);
    WEFT_TRY(weft_look_out(m->ctx, dir, &kind));
    if (kind == 2)
        return cli_check_output(m->ctx, "svg", m->o.svg, begins);
    return weft_fail(m->ctx, WEFT_CANTCREATE, "--svg=%s: there is no folder '%s'", m->o.svg, dir);
}

static weft_status prepare(measurement *m)
{
    const char *path =
        m->o.tokenizer ? m->o.tokenizer : weft_trained_file(m->trained, WEFT_RECIPE_TOKENIZER);
    WEFT_TRY(parse_words(m));
    WEFT_TRY(check_svg(m));
    if (cli_tokens_open(m->ctx, path, &m->tokens))
        return weft_trained_note(m->trained, path);
    WEFT_TRY(m->o.prompt ? prompt_of_text(m) : prompts_of_data(m));
    WEFT_TRY(check_length(m));
    return take_rows(m);
}

/* ---- texts ---- */
typedef struct {
    int32_t *to;
    int64_t n;
    const cli_tokens *tokens;
} writing;

static bool on_token(void *user, int32_t id)
{
    writing *w = user;
    w->to[w->n++] = id;
    return true;
}

static bool is_known(void *user, int32_t id)
{
    return cli_tokens_known(((const writing *)user)->tokens, id);
}

typedef struct {
    measurement *m;
    measure_judge *judge;
    weft_intervention how;
    char attrs[64];
    int64_t done, all, start, said;
    bool live;
} measuring;

static void show_progress(measuring *w, int64_t id, const measure_row *r)
{
    int64_t now = weft_now_ns(w->m->ctx);
    double left = (double)(now - w->start) * 1e-9 / (double)w->done * (double)(w->all - w->done);
    bool last = w->done == w->all;
    if (w->m->o.quiet || (!w->live && now - w->said < 2000000000 && !last))
        return;
    w->said = now;
    char strength[32] = "unsteered";
    if (!r->plain)
        snprintf(strength, sizeof strength, "strength %g", r->strength);
    fprintf(stderr, "%sconcept %lld, %s: text %lld of %lld, %lld:%02lld left%s",
            w->live ? "\r" : "", (long long)id, strength, (long long)w->done, (long long)w->all,
            (long long)left / 60, (long long)left % 60,
            !w->live ? "\n"
            : last   ? "\r\033[K"
                     : "\033[K");
}

/* A generator reads its prompt and writes its tokens through pointers, so that one serves all. */
static weft_status open_generator(measuring *w, writing *to, int32_t *prompt, bool steered,
                                  weft_generator **out)
{
    const measurement *m = w->m;
    weft_generate_options o = m->o.draw;
    o.prompt = prompt;
    o.n_prompt = m->first;
    o.n_new = m->o.tokens;
    o.seed = (uint64_t)m->o.seed;
    o.intervene = &w->how;
    o.n_intervene = steered;
    to->tokens = &m->tokens;
    o.token = on_token;
    o.known = is_known;
    o.user = to;
    return weft_generator_new(m->trained, &o, out);
}

/* All texts of a row; `copy`: they are there already. */
static weft_status fill_row(measuring *w, weft_generator *g, writing *to, int32_t *prompt,
                            int64_t id, measure_row *r)
{
    const measurement *m = w->m;
    if (!r->plain)
        WEFT_TRY(weft_generator_feed(g, "dose", (float)r->strength));
    for (int64_t i = 0; i < m->o.prompts; i++) {
        int32_t *text = r->text + i * m->length;
        const size_t bytes = sizeof *prompt * (size_t)m->first;
        memcpy(prompt, m->prompt + i * m->first, bytes);
        memcpy(text, prompt, bytes);
        *to = (writing){text + m->first, 0, &m->tokens};
        if (g)
            WEFT_TRY(weft_generator_run(g, (uint32_t)i));
        else
            memcpy(to->to, m->concept[0].row->text + i * m->length + m->first,
                   sizeof *text * (size_t)m->o.tokens);
        WEFT_TRY(
            measure_judge_text(w->judge, text, i, !r->plain, r->strength, r->each + i * MEASURES));
        w->done++;
        show_progress(w, id, r);
    }
    return WEFT_OK;
}

/* ---- statistics ---- */
/* Mean of x[0], x[MEASURES], ... (less those of `base`) and its standard error: NaN for one value.
 */
static void summarise(const double *x, const double *base, int64_t n, double *mean, double *error)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i * MEASURES] - (base ? base[i * MEASURES] : 0);
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += pow(x[i * MEASURES] - (base ? base[i * MEASURES] : 0) - *mean, 2);
    *error = n > 1 ? sqrt(square / (double)(n - 1) / (double)n) : NAN;
}

static void finish_row(const measurement *m, const measure_row *base, measure_row *r)
{
    for (int k = 0; k < MEASURES; k++) {
        summarise(r->each + k, NULL, m->o.prompts, &r->mean[k], &r->error[k]);
        summarise(r->each + k, base->each + k, m->o.prompts, &r->change[k], &r->change_error[k]);
    }
}

/* ---- all of it ---- */
/* Unsteered texts do not depend on the concept: they are drawn once. */
static weft_status measure_plain(measuring *w, int32_t *prompt)
{
    writing to;
    weft_generator *g = NULL;
    weft_status s = open_generator(w, &to, prompt, false, &g);
    for (int i = 0; i < w->m->n_concept && !s; i++) {
        measure_concept *c = &w->m->concept[i];
        s = measure_judge_concept(w->judge, c->id, NULL);
        if (!s)
            s = fill_row(w, i ? NULL : g, &to, prompt, c->id, c->row);
        finish_row(w->m, c->row, c->row);
    }
    weft_generator_free(g);
    return s;
}

static weft_status measure_one(measuring *w, measure_concept *c, int32_t *prompt)
{
    measurement *m = w->m;
    writing to;
    weft_generator *g = NULL;
    snprintf(w->attrs, sizeof w->attrs, "id=%lld how=%s amount=1", (long long)c->id, m->o.how);
    w->how = (weft_intervention){m->o.at, "steer", w->attrs, m->where, FEED};
    weft_status s = measure_judge_concept(w->judge, c->id, &w->how);
    if (!s)
        s = open_generator(w, &to, prompt, true, &g);
    for (int k = 1; k <= m->n_strength && !s; k++) {
        s = fill_row(w, g, &to, prompt, c->id, &c->row[k]);
        finish_row(m, c->row, &c->row[k]);
    }
    weft_generator_free(g);
    return s;
}

/* Ids are checked, by the op, and whether the value matters, before the first text is drawn. */
static weft_status check_concepts(measuring *w)
{
    const char *keep[] = {"logits"};
    for (int i = 0; i < w->m->n_concept; i++) {
        weft_graph *changed = NULL;
        snprintf(w->attrs, sizeof w->attrs, "id=%lld amount=1", (long long)w->m->concept[i].id);
        const weft_intervention x = {w->m->o.at, "steer", w->attrs, w->m->where, FEED};
        weft_status s =
            weft_trained_changed(w->m->trained, 1, w->m->length, &x, 1, keep, 1, &changed);
        weft_graph_free(changed);
        WEFT_TRY(s);
    }
    return WEFT_OK;
}

static weft_status measure_all(measurement *m)
{
    measuring w = {
        .m = m, .all = m->o.prompts * m->n_concept * (m->n_strength + 1), .live = isatty(2)};
    int32_t *prompt = weft_arena_array(m->arena, (size_t)m->first, sizeof *prompt);
    weft_status s = prompt ? check_concepts(&w) : WEFT_NOMEM;
    if (!s)
        s = measure_judge_open(m, &w.judge);
    w.start = w.said = weft_now_ns(m->ctx);
    if (!s)
        s = measure_plain(&w, prompt);
    for (int i = 0; i < m->n_concept && !s; i++)
        s = measure_one(&w, &m->concept[i], prompt);
    measure_judge_close(w.judge);
    return s;
}

static weft_status write_svg(const measurement *m)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (f)
        measure_svg(m, f);
    if (!f || fclose(f))
        return weft_fail(m->ctx, WEFT_NOMEM, "out of memory while writing %s", m->o.svg);
    weft_status s = weft_write_file(m->ctx, m->o.svg, text, n);
    free(text);
    return s;
}

int measure_run(weft_ctx *c, weft_trained *t, const char *path, const measure_options *o)
{
    static measurement m;
    m = (measurement){.ctx = c, .trained = t, .path = path, .o = *o, .tokens = {.ctx = c}};
    m.arena = weft_arena_new(c, 0);
    weft_status s = m.arena ? prepare(&m) : WEFT_NOMEM;
    if (!s)
        s = measure_all(&m);
    if (!s && o->svg)
        s = write_svg(&m);
    if (!s)
        s = o->json ? measure_json(&m, stdout) : measure_print(&m, stdout);
    cli_tokens_close(&m.tokens);
    weft_arena_free(m.arena);
    return s ? cli_fail(c) : WEFT_OK;
}
