/* labeller.c - runs the part of a model that makes labels over a token file, window by window, into
 * a label file. */
#include <inttypes.h>
#include <string.h>

#include "graph/batch.h"
#include "graph/labels.h"
#include "graph/labels_part.h"
#include "graph/trained.h"

typedef struct {
    weft_ctx *ctx;
    weft_trained *t;
    const weft_label_options *o;
    weft_graph *g;
    weft_session *session;
    weft_program *program;
    weft_tokens *data;
    weft_sampler sampler;
    const char *label, *score; /* names of the values */
    weft_label_header h;
    const char *out;
    weft_label_writer *writer;
    int32_t *common; /* labels that all positions so far have; NULL: there was none yet */
    int64_t n_common;
} labeller;

static weft_status hash_graph(labeller *l)
{
    weft_graph *one = NULL;
    WEFT_TRY(weft_trained_graph(l->t, WEFT_BATCH_ONE, l->h.T, &one));
    weft_status s = weft_label_graph_hash(one, l->label, &l->h.graph_hash);
    weft_graph_free(one);
    return s;
}

static weft_status check_scores(labeller *l)
{
    char text[160];
    weft_val v = weft_graph_find(l->g, l->score);
    if (v < 0)
        v = weft_graph_find_output(l->g, l->score);
    if (v < 0)
        return weft_fail(l->ctx, WEFT_MALFORMED,
                         "the entry module '%s' has no value '%s'; recipes name the scores by "
                         "data.score_value",
                         l->g->entry, l->score);
    const weft_type *t = &l->g->value[v].type;
    const weft_type want = weft_type_make(WEFT_F32, 3, (int64_t[]){l->h.B, l->h.T, l->h.k});
    if (!weft_type_equal(t, &want))
        return weft_fail(l->ctx, WEFT_MALFORMED,
                         "value '%s' is %s, expected f32 in the shape of '%s'", l->score,
                         weft_type_print(text, sizeof text, t), l->label);
    return WEFT_OK;
}

static weft_status open_model(labeller *l)
{
    weft_label_shape shape;
    weft_type tokens;
    const char *fetch[] = {l->label, l->score};
    const weft_compile_options w = {.no_rewrite = l->o->no_rewrite};
    int64_t batch = l->o->batch ? l->o->batch : l->t->recipe ? 0 : WEFT_BATCH_ONE;
    WEFT_TRY(weft_trained_graph(l->t, batch, l->o->length, &l->g));
    WEFT_TRY(weft_tokens_type(l->g, &tokens));
    WEFT_TRY(weft_label_shape_of(l->g, l->label, &shape));
    if (tokens.dim[0] != shape.B || tokens.dim[1] != shape.T)
        return weft_fail(l->ctx, WEFT_MALFORMED,
                         "value '%s' has %" PRId64 " x %" PRId64
                         " positions, but there are %" PRId64 " x %" PRId64 " tokens",
                         l->label, shape.B, shape.T, tokens.dim[0], tokens.dim[1]);
    l->h = (weft_label_header){.B = shape.B,
                               .T = shape.T,
                               .k = shape.k,
                               .concepts = shape.concepts,
                               .scores = l->o->scores,
                               .seed = l->t->recipe ? l->t->recipe->msg->train->seed : 1};
    if (l->h.scores)
        WEFT_TRY(check_scores(l));
    WEFT_TRY(hash_graph(l));
    WEFT_TRY(weft_session_new(l->ctx, false, &l->session));
    WEFT_TRY(weft_program_compile(l->session, l->g, fetch, l->h.scores ? 2 : 1, &w, &l->program));
    weft_feed feed[WEFT_BATCH_FEEDS];
    const weft_sampler s = {.B = l->h.B, .T = l->h.T};
    WEFT_TRY(
        weft_program_check_feeds(l->program, "labelling", feed, weft_batch_feeds(&s, 0, feed)));
    WEFT_TRY(weft_trained_fill(l->t, l->g, l->session));
    return weft_label_weight_hash(l->session, l->g, l->label, &l->h.weight_hash);
}

static const char *data_path(const labeller *l)
{
    return l->o->data ? l->o->data : weft_trained_file(l->t, WEFT_RECIPE_TRAIN);
}

/* Before hours of work: neither the tokens nor anything else of the user's may be lost. */
static weft_status check_out(labeller *l)
{
    char shown[512];
    const char *path[] = {l->out, weft_arena_printf(l->t->arena, "%s.tmp", l->out)};
    for (int i = 0; i < 2 && path[i]; i++) {
        bool same = false;
        if (data_path(l))
            WEFT_TRY(weft_same_file(l->ctx, path[i], data_path(l), &same));
        if (same)
            return weft_fail(l->ctx, WEFT_USAGE,
                             "%s is the token file: labels need a file of their own",
                             weft_printable(shown, sizeof shown, path[i]));
        WEFT_TRY(weft_label_replaceable(l->ctx, path[i]));
    }
    return weft_error_status(l->ctx);
}

static weft_status open_data(labeller *l)
{
    const char *path = data_path(l);
    if (!path)
        return weft_fail(l->ctx, WEFT_USAGE,
                         "no token file: the recipe names none, and none was given");
    if (weft_tokens_open(l->ctx, path, l->t->vocab ? l->t->vocab : 65536, &l->data))
        return l->o->data ? weft_error_status(l->ctx)
                          : weft_recipe_note(l->t->recipe, WEFT_RECIPE_TRAIN);
    weft_tokens_limit(l->data, l->o->vocab);
    l->sampler = (weft_sampler){.tokens = l->data, .B = l->h.B, .T = l->h.T, .seed = l->h.seed};
    WEFT_TRY(weft_sampler_check(&l->sampler));
    l->h.windows = weft_sampler_blocks(&l->sampler);
    l->h.data_tokens = weft_tokens_count(l->data);
    l->h.data_hash = weft_tokens_hash(l->data);
    return WEFT_OK;
}

/* Where fewer concepts are active than labels are asked for, the first ones of the others fill them
 * up, the same at every token. */
static weft_status keep_common(labeller *l, const int32_t *ids, int64_t positions)
{
    const int64_t k = l->h.k;
    if (!l->common) {
        l->common = weft_arena_array(l->t->arena, (size_t)k, sizeof *ids);
        if (!l->common)
            return weft_error_status(l->ctx);
        memcpy(l->common, ids, sizeof *ids * (size_t)k);
        l->n_common = k;
    }
    for (int64_t p = 0; p < positions && l->n_common; p++) {
        int64_t left = 0;
        for (int64_t i = 0; i < l->n_common; i++)
            for (int64_t j = 0; j < k; j++)
                if (ids[p * k + j] == l->common[i]) {
                    l->common[left++] = l->common[i];
                    break;
                }
        l->n_common = left;
    }
    return WEFT_OK;
}

static void warn_common(const labeller *l)
{
    if (l->n_common)
        weft_log(l->ctx,
                 "warning: %" PRId64 " of the %" PRId64 " labels are the same at every token, "
                 "concept %" PRId32 " for one: are fewer than %" PRId64 " concepts active?",
                 l->n_common, l->h.k, l->common[0], l->h.k);
}

/* One batch; the last one is filled up with windows from the beginning, whose labels are dropped.
 */
static weft_status label_batch(labeller *l, int64_t cursor, int64_t from)
{
    weft_type type;
    const int64_t n = l->h.T * l->h.k, first = cursor * l->h.B;
    weft_feed_rng(l->program, l->h.seed, cursor);
    WEFT_TRY(weft_feed_batch(l->program, &l->sampler, cursor));
    WEFT_TRY(weft_program_run(l->program));
    const int32_t *ids = weft_program_output(l->program, l->label, &type);
    const float *scores = weft_program_output(l->program, l->score, &type);
    for (int64_t r = from - first; r < l->h.B && first + r < l->h.windows; r++) {
        WEFT_TRY(weft_label_writer_put(l->writer, ids + r * n, scores ? scores + r * n : NULL));
        WEFT_TRY(keep_common(l, ids + r * n, l->h.T));
    }
    return WEFT_OK;
}

static weft_status label_all(labeller *l, weft_label_result *out)
{
    int64_t start = weft_now_ns(l->ctx), done = out->resumed;
    while (done < l->h.windows) {
        if (l->o->stop && *l->o->stop) {
            out->done = done;
            return weft_stopped(*l->o->stop);
        }
        int64_t cursor = done / l->h.B, end = (cursor + 1) * l->h.B;
        WEFT_TRY(label_batch(l, cursor, done));
        done = end < l->h.windows ? end : l->h.windows;
        out->done = done;
        out->seconds = (double)(weft_now_ns(l->ctx) - start) * 1e-9;
        if (l->o->progress)
            l->o->progress(l->o->user, out);
    }
    WEFT_TRY(weft_tokens_check(l->data));
    warn_common(l);
    weft_label_writer *w = l->writer;
    l->writer = NULL;
    return weft_label_writer_commit(w);
}

/* Is the file complete already? A damaged or foreign one is an error for who wants to go on. */
static weft_status find_complete(labeller *l, bool *complete)
{
    weft_labels *there = NULL;
    int kind = 0;
    *complete = false;
    if (l->o->resume)
        WEFT_TRY(weft_look(l->ctx, l->out, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_labels_open(l->ctx, l->out, &there));
    weft_status s = weft_label_match(l->ctx, l->out, weft_labels_header(there), &l->h, true);
    weft_labels_close(there);
    *complete = !s;
    return s;
}

static void fill_result(const labeller *l, weft_label_result *out)
{
    const weft_label_header *h = &l->h;
    *out = (weft_label_result){.windows = h->windows,
                               .length = h->T,
                               .labels = h->k,
                               .concepts = h->concepts,
                               .batch = h->B,
                               .scores = h->scores,
                               .graph_hash = h->graph_hash,
                               .weight_hash = h->weight_hash,
                               .data_hash = h->data_hash};
    weft_label_bytes(h, &out->bytes);
}

static weft_status run(labeller *l, weft_label_result *out)
{
    bool complete;
    l->out = l->o->out      ? l->o->out
             : l->t->recipe ? weft_recipe_file(l->t->recipe, WEFT_RECIPE_LABELS)
                            : NULL;
    if (!l->out)
        return weft_fail(l->ctx, WEFT_USAGE,
                         "no file for the labels: none was given (weft labels --out FILE), and no "
                         "data.labels of a recipe names one");
    WEFT_TRY(check_out(l));
    WEFT_TRY(open_model(l));
    WEFT_TRY(open_data(l));
    fill_result(l, out);
    WEFT_TRY(find_complete(l, &complete));
    if (complete) {
        out->resumed = out->done = l->h.windows;
        return WEFT_OK;
    }
    WEFT_TRY(
        weft_label_writer_open(l->ctx, l->out, &l->h, l->o->resume, &l->writer, &out->resumed));
    return label_all(l, out);
}

weft_status weft_label(weft_trained *t, const weft_label_options *o, weft_label_result *out)
{
    labeller l = {.ctx = t->ctx, .t = t, .o = o};
    l.label = o->label_value ? o->label_value : weft_recipe_label_value(t->recipe);
    l.score = o->score_value ? o->score_value : weft_recipe_score_value(t->recipe);
    *out = (weft_label_result){0};
    weft_status s = run(&l, out);
    if (weft_is_stopped(s)) /* --resume is promised a file */
        weft_label_writer_close(l.writer);
    else
        weft_label_writer_drop(l.writer);
    weft_session_free(l.session);
    weft_tokens_close(l.data);
    weft_graph_free(l.g);
    return s;
}

/* ---- looking at a label file ---- */
static weft_status check_windows(weft_ctx *c, weft_labels *f, const weft_label_header *h)
{
    int32_t *ids = weft_alloc(c, sizeof *ids * (size_t)(h->T * h->k));
    weft_status s = ids ? WEFT_OK : c->status;
    for (int64_t w = 0; w < h->windows && !s; w++)
        s = weft_labels_read(f, w, ids, NULL);
    weft_free(c, ids);
    return s;
}

weft_status weft_labels_verify(weft_ctx *c, const char *path, weft_label_result *out)
{
    weft_labels *f = NULL;
    *out = (weft_label_result){0};
    WEFT_TRY(weft_labels_open(c, path, &f));
    const labeller l = {.h = *weft_labels_header(f)};
    fill_result(&l, out);
    weft_status s = check_windows(c, f, &l.h);
    out->done = s ? 0 : out->windows;
    weft_labels_close(f);
    return s;
}
