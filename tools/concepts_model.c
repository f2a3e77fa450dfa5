/* concepts_model.c - a trained model as weft concepts needs it: programs over windows, decoders,
 * embeddings, and tokens as words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/concepts.h"

/* ---- opening ---- */
static bool has_output(const weft_graph *g, const char *name)
{
    const char *o;
    for (int i = 0; (o = weft_graph_output_at(g, i, NULL)); i++)
        if (!strcmp(o, name))
            return true;
    return false;
}

/* Labels are wanted where the model hands them out, or where they are asked for by name; "none":
 * nowhere. */
static void find_labels(concepts *m, const weft_graph *g)
{
    const weft_recipe *r = weft_trained_recipe(m->trained);
    if (!m->score_name)
        m->score_name = weft_recipe_score_value(r);
    m->bare = m->label_name && !strcmp(m->label_name, "none");
    if (m->bare)
        m->label_name = NULL;
    else if (m->label_name)
        m->need_labels = true;
    else if (has_output(g, weft_recipe_label_value(r)) && has_output(g, m->score_name))
        m->label_name = weft_recipe_label_value(r);
    m->label_ids = m->label_name ? weft_label_range(g, m->label_name) : 0;
}

static weft_status find_names(concepts *m, const weft_graph *g)
{
    double k = 32;
    weft_type t;
    const char *input;
    if (!m->concept_name)
        m->concept_name = "concept_logits";
    find_labels(m, g);
    for (int i = 0; (input = weft_graph_input_at(g, i, &t)); i++)
        if (!strcmp(input, "tokens") && t.rank == 2)
            m->length = t.dim[1];
    if (!m->length)
        return weft_fail(m->ctx, WEFT_MALFORMED, "%s: the model has no input 'tokens': i32[B,T]",
                         m->path);
    if (!m->k)
        m->k = weft_graph_parameter(g, "k", &k) && k >= 1 ? (int64_t)k : 32;
    return WEFT_OK;
}

/* ---- programs ---- */
static weft_status bad_value(concepts *m, const char *name, const weft_type *t, const char *want)
{
    char text[160];
    return weft_fail(m->ctx, WEFT_MISMATCH, "value '%s' is %s, expected %s", name,
                     weft_type_print(text, sizeof text, t), want);
}

/* `labels`: where the tokens that follow are known. */
static weft_status check_feeds(concepts *m, concept_window *w, bool labels)
{
    weft_type tokens;
    if (!weft_program_input(w->program, "tokens", &tokens))
        return weft_fail(m->ctx, WEFT_MISMATCH, "value '%s' does not depend on the tokens",
                         m->concept_name);
    w->batch = tokens.rank == 2 ? tokens.dim[0] : 0;
    w->length = tokens.rank == 2 ? tokens.dim[1] : 0;
    tokens = (weft_type){WEFT_I32, 2, {w->batch, w->length}};
    const weft_feed feed[] = {{"tokens", tokens, "texts"},
                              {"rng", {WEFT_I64, 1, {2}}, "seed and number of the window"},
                              {"targets", tokens, "the tokens that follow"}};
    return weft_program_check_feeds(w->program, "weft concepts", feed, labels ? 3 : 2);
}

static weft_status bind(concepts *m, concept_window *w, bool labels)
{
    WEFT_TRY(check_feeds(m, w, labels));
    weft_type t = {WEFT_I32, 2, {w->batch, w->length}};
    w->text = weft_arena_array(m->arena, (size_t)weft_type_count(&t), sizeof *w->text);
    if (!w->text)
        return WEFT_NOMEM;
    w->targets = weft_program_input(w->program, "targets", &t);
    w->value = weft_program_output(w->program, m->concept_name, &t);
    if (t.dtype != WEFT_F32 || t.rank != 3 || t.dim[0] != w->batch || t.dim[1] != w->length)
        return bad_value(m, m->concept_name, &t, "f32[B,T,n_concept]");
    m->n = t.dim[2];
    m->k = m->k < m->n ? m->k : m->n;
    if (!labels || !m->label_name)
        return WEFT_OK;
    w->score = weft_program_output(w->program, m->score_name, &t);
    if (t.dtype != WEFT_F32 || t.rank != 3 || t.dim[1] != w->length)
        return bad_value(m, m->score_name, &t, "f32[B,T,k_label]");
    m->k_label = t.dim[2];
    w->label = weft_program_output(w->program, m->label_name, &t);
    if (t.dtype != WEFT_I32 || t.rank != 3 || t.dim[1] != w->length || t.dim[2] != m->k_label)
        return bad_value(m, m->label_name, &t, "i32[B,T,k_label], as the scores");
    return WEFT_OK;
}

weft_status concepts_compile(concepts *m, int64_t batch, int64_t length, bool labels,
                             concept_window *out)
{
    weft_graph *g = NULL;
    const weft_compile_options o = {0};
    const char *fetch[3] = {m->concept_name, m->label_name, m->score_name};
    *out = (concept_window){0};
    WEFT_TRY(weft_trained_graph(m->trained, batch, length, &g));
    weft_status s = weft_program_compile(m->session, g, fetch, labels && m->label_name ? 3 : 1, &o,
                                         &out->program);
    if (s == WEFT_USAGE || s == WEFT_MALFORMED)
        weft_note(m->ctx, "--concept-value and --label-value name the values to look at");
    if (!s)
        s = bind(m, out, labels);
    weft_graph_free(g);
    return s;
}

weft_status concepts_run(concepts *m, concept_window *w, int64_t number)
{
    weft_type t;
    int64_t *rng = weft_program_input(w->program, "rng", &t);
    int32_t *tokens = weft_program_input(w->program, "tokens", &t);
    memcpy(tokens, w->text, sizeof *tokens * (size_t)weft_type_count(&t));
    if (rng) { /* labels that are drawn at random: by window */
        rng[0] = 1;
        rng[1] = number;
    }
    WEFT_TRY(weft_program_run(w->program));
    w->value = weft_program_output(w->program, m->concept_name, &t);
    if (w->label) {
        w->label = weft_program_output(w->program, m->label_name, &t);
        w->score = weft_program_output(w->program, m->score_name, &t);
    }
    return WEFT_OK;
}

/* ---- decoders ---- */
/* A decoder and an embedding that fit together, or nothing. */
static bool add_effect(concepts *m, const char *who, const char *decoder, const char *embed)
{
    weft_type a, b;
    const float *w = weft_session_data(m->session, decoder, &a);
    const float *e = weft_session_data(m->session, embed, &b);
    if (!w || !e || a.dtype != WEFT_F32 || b.dtype != WEFT_F32 || a.rank != 2 || b.rank != 2 ||
        a.dim[1] != m->n || a.dim[0] != b.dim[1] || m->n_effect == MAX_EFFECTS)
        return false;
    concept_effect *x = &m->effect[m->n_effect];
    *x = (concept_effect){.who = who, .decoder = w, .embed = e, .d = a.dim[0], .n = m->n};
    x->vocab = b.dim[0];
    x->mean = weft_arena_array(m->arena, (size_t)x->d, sizeof *x->mean);
    if (!x->mean)
        return false;
    for (int64_t v = 0; v < x->vocab; v++)
        for (int64_t j = 0; j < x->d; j++)
            x->mean[j] += (double)e[v * x->d + j] / (double)x->vocab;
    m->n_effect++;
    return true;
}

/* Names of the official code, with and without their scopes; --decoder and --embedding go first. An
 * extractor without weights has start values, which say nothing. */
static weft_status fill(concepts *m, const concept_window *w)
{
    static const char *const student[] = {"transformer.", ""};
    static const char *const frozen[] = {"sae.", ""};
    char decoder[64], embed[64];
    weft_graph *g = NULL;
    WEFT_TRY(weft_trained_graph(m->trained, w->batch, w->length, &g));
    weft_status s = weft_trained_fill(m->trained, g, m->session);
    weft_graph_free(g);
    if (s)
        return s;
    if (m->decoder_name || m->embed_name) {
        const char *d = m->decoder_name ? m->decoder_name : "decoder.weight";
        const char *e = m->embed_name ? m->embed_name : "transformer.wte.weight";
        if (!add_effect(m, "model", d, e))
            return weft_fail(m->ctx, WEFT_USAGE,
                             "--decoder=%s, --embedding=%s: expected weights f32[d,%lld] and "
                             "f32[vocab,d] of the model",
                             d, e, (long long)m->n);
        return WEFT_OK;
    }
    for (int i = 0; i < 2 && !m->n_effect; i++) {
        snprintf(decoder, sizeof decoder, "%scompress_layer.weight", student[i]);
        snprintf(embed, sizeof embed, "%swte.weight", student[i]);
        add_effect(m, "model", decoder, embed);
    }
    for (int i = 0; i < 2 && !m->bare; i++) {
        snprintf(decoder, sizeof decoder, "%sdecoder.weight", frozen[i]);
        if (add_effect(m, "extractor", decoder, "teacher.wte.weight"))
            break;
    }
    return weft_error_status(m->ctx);
}

/* ---- all of it ---- */
static weft_status open_session(concepts *m, concept_window *w)
{
    WEFT_TRY(weft_session_new(m->ctx, false, &m->session));
    return concepts_compile(m, 1, 0, true, w);
}

static void drop_labels(concepts *m)
{
    weft_session_free(m->session);
    m->session = NULL;
    m->label_name = NULL;
    m->bare = true;
    m->k_label = 0;
}

/* Numbers of other things are no labels of the values that are looked at; who asks for them by name
 * may have them as far as there are values. */
static weft_status check_labels(concepts *m, concept_window *w)
{
    static const char form[] = "'%s' has ids of %lld concepts, but '%s' has %lld values";
    char text[512];
    if (!m->label_name || !m->label_ids || m->label_ids == m->n)
        return WEFT_OK;
    snprintf(text, sizeof text, form, m->label_name, (long long)m->label_ids, m->concept_name,
             (long long)m->n);
    if (m->need_labels)
        return m->label_ids < m->n ? WEFT_OK : weft_fail(m->ctx, WEFT_MISMATCH, "%s", text);
    weft_log(m->ctx, "labels are left out: %s", text);
    drop_labels(m);
    return open_session(m, w);
}

/* Sizes, weights and decoders, by a program over one window with everything that is looked at. */
static weft_status prepare(concepts *m)
{
    concept_window w;
    WEFT_TRY(open_session(m, &w));
    WEFT_TRY(check_labels(m, &w));
    return fill(m, &w);
}

/* The extractor's files may be gone, or those of a run that was copied: what the model predicts is
 * still there, unless labels were asked for. */
static weft_status prepare_what_is_there(concepts *m)
{
    char why[1024];
    weft_status s = prepare(m);
    if (s != WEFT_MISSING || !m->label_name || m->need_labels)
        return s;
    weft_log(m->ctx, "warning: the extractor's weights are not there, so labels are left out: %s",
             weft_error_flat(m->ctx, why, sizeof why));
    weft_error_clear(m->ctx);
    drop_labels(m);
    return prepare(m);
}

weft_status concepts_open(concepts *m, const char *path, const char *weights, const cli_list *set,
                          const char *tokenizer)
{
    weft_graph *g = NULL;
    m->path = path;
    m->tokens.ctx = m->ctx;
    m->arena = weft_arena_new(m->ctx, 0);
    if (!m->arena)
        return weft_error_status(m->ctx);
    WEFT_TRY(weft_trained_open(m->ctx, path, weights, set->item, set->n, &m->trained));
    tokenizer = tokenizer ? tokenizer : weft_trained_file(m->trained, WEFT_RECIPE_TOKENIZER);
    if (cli_tokens_open(m->ctx, tokenizer, &m->tokens))
        return weft_trained_note(m->trained, tokenizer);
    m->vocab = weft_trained_vocab(m->trained);
    if (m->vocab && m->tokens.n > m->vocab)
        return weft_fail(m->ctx, WEFT_MISMATCH,
                         "the tokenizer has %d tokens, but the model knows only %lld", m->tokens.n,
                         (long long)m->vocab);
    WEFT_TRY(weft_trained_graph(m->trained, 1, 0, &g));
    weft_status s = find_names(m, g);
    weft_graph_free(g);
    return s ? s : prepare_what_is_there(m);
}

void concepts_close(concepts *m)
{
    weft_session_free(m->session);
    cli_tokens_close(&m->tokens);
    weft_trained_free(m->trained);
    weft_arena_free(m->arena);
}

/* ---- concepts ---- */
double concepts_norm(const concept_effect *e, int64_t id)
{
    double sum = 0;
    for (int64_t j = 0; j < e->d; j++)
        sum += (double)e->decoder[j * e->n + id] * (double)e->decoder[j * e->n + id];
    return sqrt(sum);
}

/* Does a come before b in a list of the largest? */
static bool before(concept_value a, concept_value b)
{
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

/* Keeps a list of the k best sorted; most candidates are turned away by one comparison. */
static int insert(concept_value *list, int n, int k, concept_value c)
{
    if (n == k && !before(c, list[n - 1]))
        return n;
    int i = n < k ? n++ : n - 1;
    for (; i > 0 && before(c, list[i - 1]); i--)
        list[i] = list[i - 1];
    list[i] = c;
    return n;
}

int concepts_top(const float *row, int64_t n, int k, concept_value *out)
{
    int found = 0;
    for (int64_t i = 0; i < n; i++)
        if (row[i] != 0)
            found = insert(out, found, k, (concept_value){(int32_t)i, row[i]});
    return found;
}

/* logit_v = sum_j W[j,id] (E[v,j] - mean_j): through the tied head, without the final norm. */
int concepts_promoted(const concept_effect *e, int64_t id, int sign, int k, concept_value *out)
{
    int found = 0;
    double base = 0;
    for (int64_t j = 0; j < e->d; j++)
        base += (double)e->decoder[j * e->n + id] * e->mean[j];
    for (int64_t v = 0; v < e->vocab; v++) {
        double sum = 0;
        for (int64_t j = 0; j < e->d; j++)
            sum += (double)e->decoder[j * e->n + id] * (double)e->embed[v * e->d + j];
        found = insert(out, found, k, (concept_value){(int32_t)v, (float)(sign * (sum - base))});
    }
    for (int i = 0; i < found; i++)
        out[i].value *= (float)sign;
    return found;
}

const char *concepts_word(const concepts *m, int32_t id, char *buf, size_t n)
{
    size_t length, k = 0;
    char c[WEFT_VISIBLE];
    const char *s = m->tokens.bpe ? weft_bpe_token(m->tokens.bpe, id, &length) : NULL;
    if (!s) {
        snprintf(buf, n, "#%d", id);
        return buf;
    }
    for (size_t i = 0; i < length;) {
        i += weft_visible(c, s + i, length - i);
        if (k + strlen(c) >= n)
            break;
        k += (size_t)snprintf(buf + k, n - k, "%s", c);
    }
    buf[k] = 0;
    return buf;
}
