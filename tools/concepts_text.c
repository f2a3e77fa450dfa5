/* concepts_text.c - the concepts of a text: per token what the model predicts, what the extractor
 * finds, and how well they agree. */
#include <string.h>

#include "tools/concepts.h"

enum { N_RECALL = 3 };

typedef struct {
    concepts *m;
    const concept_scan *scan; /* names; NULL without a corpus */
    int show;
    bool colour, json;
    int64_t depth[N_RECALL], found[N_RECALL], labels;
    int64_t printed;
    concept_window w, lw; /* of the last size; lw: with labels */
} report;

/* ---- one token ---- */
static bool is_label(const concept_window *w, const concepts *m, int64_t t, int32_t id)
{
    for (int64_t j = 0; w && j < m->k_label; j++)
        if (w->label[t * m->k_label + j] == id)
            return true;
    return false;
}

static void count_found(report *r, const concept_window *w, int64_t t, const concept_value *top,
                        int n)
{
    for (int64_t j = 0; j < r->m->k_label; j++) {
        r->labels++;
        for (int i = 0; i < n; i++)
            for (int d = 0; top[i].id == w->label[t * r->m->k_label + j] && d < N_RECALL; d++)
                r->found[d] += i < r->depth[d];
    }
}

static void print_one(report *r, const char *form, int32_t id, double value, bool agreed)
{
    char name[CONCEPT_NAME];
    const char *on = !agreed     ? ""
                     : r->colour ? "\033[32;1m"
                                 : "*",
               *off = agreed && r->colour ? "\033[0m" : "";
    concepts_title(r->m, r->scan, id, name, sizeof name);
    printf("    %s ", form);
    printf("%s%d%s  %.3f  %s\n", on, id, off, value, name);
}

static void print_token(report *r, int32_t id)
{
    char word[160];
    concepts_word(r->m, id, word, sizeof word);
    printf(r->colour ? "\033[7m%s\033[0m\n" : "[%s]\n", word);
}

static void json_token(report *r, int32_t id)
{
    char word[160];
    printf("%s{\"token\":%d,\"text\":", r->printed ? "," : "", id);
    cli_json_text(stdout, concepts_word(r->m, id, word, sizeof word));
}

static void json_one(int i, int32_t id, const char *key, double value)
{
    printf("%s{\"id\":%d", i ? "," : "", id);
    cli_json_number(stdout, ",", key, value);
    printf("}");
}

/* Predictions of position t, and its labels, if `labels` reaches so far. */
static void report_token(report *r, const concept_window *w, const concept_window *labels,
                         int64_t t, concept_value *top)
{
    const concepts *m = r->m;
    int most = (int)r->depth[N_RECALL - 1], n;
    const concept_window *l = labels && labels->label && t < labels->length ? labels : NULL;
    n = concepts_top(w->value + t * m->n, m->n, most > r->show ? most : r->show, top);
    if (l)
        count_found(r, l, t, top, n);
    if (r->json)
        json_token(r, w->text[t]);
    else
        print_token(r, w->text[t]);
    printf("%s", r->json ? ",\"predicted\":[" : "");
    for (int i = 0; i < n && i < r->show; i++)
        if (r->json)
            json_one(i, top[i].id, "value", (double)top[i].value);
        else
            print_one(r, "predicted", top[i].id, (double)top[i].value,
                      is_label(l, m, t, top[i].id));
    printf("%s", r->json ? "],\"labels\":[" : "");
    for (int64_t j = 0; l && j < m->k_label; j++) {
        int32_t id = l->label[t * m->k_label + j];
        double score = (double)l->score[t * m->k_label + j];
        bool agreed = false;
        for (int i = 0; i < n && i < m->k; i++)
            agreed = agreed || top[i].id == id;
        if (r->json)
            json_one((int)j, id, "score", score);
        else
            print_one(r, "label    ", id, score, agreed);
    }
    printf("%s", r->json ? "]}" : "");
    r->printed++;
}

/* ---- the text ---- */
/* One window: predictions of all its tokens; labels of all but the last, whose next token is not
 * known. The label window ends with the text: what follows would have a say in the gradient. */
static weft_status report_window(report *r, const int32_t *id, int64_t n)
{
    concepts *m = r->m;
    int64_t most = r->depth[N_RECALL - 1] > r->show ? r->depth[N_RECALL - 1] : r->show;
    concept_value *top = weft_arena_array(m->arena, (size_t)most, sizeof *top);
    if (!top)
        return WEFT_NOMEM;
    if (r->w.length != n) {
        WEFT_TRY(concepts_compile(m, 1, n, false, &r->w));
        if (n > 1)
            WEFT_TRY(concepts_compile(m, 1, n - 1, true, &r->lw));
    }
    concept_window w = r->w, labels = r->lw;
    memcpy(w.text, id, sizeof *id * (size_t)n);
    WEFT_TRY(concepts_run(m, &w, 0));
    /* programs of a session share memory: the values are kept over the other program's run */
    size_t bytes = sizeof *w.value * (size_t)(n * m->n);
    float *kept = weft_arena_alloc(m->arena, bytes);
    if (!kept)
        return WEFT_NOMEM;
    memcpy(kept, w.value, bytes);
    w.value = kept;
    if (n > 1) {
        memcpy(labels.text, id, sizeof *id * (size_t)(n - 1));
        if (labels.targets)
            memcpy(labels.targets, id + 1, sizeof *id * (size_t)(n - 1));
        WEFT_TRY(concepts_run(m, &labels, 0));
    }
    for (int64_t t = 0; t < n; t++) /* a copy of w: the next window runs the program again */
        report_token(r, &w, n > 1 ? &labels : NULL, t, top);
    return WEFT_OK;
}

static void report_recall(const report *r)
{
    bool first = true;
    char depth[32];
    if (r->json)
        printf("],\"recall\":{");
    else if (r->labels)
        printf("\nagreement: of %lld labels", (long long)r->labels);
    for (int d = 0; d < N_RECALL && r->labels; d++) {
        if (d && r->depth[d] == r->depth[d - 1])
            continue;
        double share = (double)r->found[d] / (double)r->labels;
        snprintf(depth, sizeof depth, "%lld", (long long)r->depth[d]);
        if (r->json)
            cli_json_number(stdout, first ? "" : ",", depth, share);
        else
            printf("%s %.1f %% among the %lld best predictions", first ? "" : ",", 100 * share,
                   (long long)r->depth[d]);
        first = false;
    }
    printf("%s", r->json ? "}}\n" : r->labels ? "\n" : "");
}

/* What the lines of a token say. */
static void print_legend(const report *r)
{
    const concepts *m = r->m;
    printf("predicted: largest values of %s", m->concept_name);
    if (m->label_name)
        printf("; label: the extractor's, with its %s, on a scale of its own; %s: a label that is "
               "one of the %lld best predictions",
               m->score_name, r->colour ? "\033[32;1mgreen\033[0m" : "*", (long long)m->k);
    printf("\n\n");
}

weft_status concepts_text(concepts *m, const concept_scan *s, const char *text, size_t n, int show,
                          bool colour, bool json)
{
    report r = {.m = m, .scan = s, .show = show, .colour = colour, .json = json};
    weft_ids ids = {.ctx = m->ctx};
    if (!m->tokens.bpe)
        return weft_fail(m->ctx, WEFT_USAGE,
                         "a text needs the model's tokenizer: --tokenizer=PATH");
    weft_status status = weft_bpe_encode(m->ctx, m->tokens.bpe, text, n, true, &ids);
    if (!status && !ids.n)
        status = weft_fail(m->ctx, WEFT_USAGE, "the text is empty");
    int64_t most = m->n < m->k ? m->n : m->k;
    r.depth[0] = m->k_label && m->k_label < most ? m->k_label : most;
    r.depth[1] = r.depth[0] < 10 && most > 10 ? 10 : r.depth[0];
    r.depth[2] = most;
    if (json && !status)
        printf("{\"tokens\":[");
    else if (!status)
        print_legend(&r);
    for (size_t at = 0; !status && at < ids.n; at += (size_t)m->length) {
        size_t left = ids.n - at;
        status =
            report_window(&r, ids.id + at, left < (size_t)m->length ? (int64_t)left : m->length);
    }
    if (!status)
        report_recall(&r);
    weft_ids_free(&ids);
    return status;
}
