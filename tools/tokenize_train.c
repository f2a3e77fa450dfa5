/* tokenize_train.c - `weft tokenize train` and `count`: what texts are made of. */
#include <stdlib.h>
#include <string.h>

#include <omp.h>

#include "tools/tokenize.h"

/* Calls work(worker, segment, arg) for every segment of the texts, on all threads and in no order.
 */
typedef void (*segment_fn)(tokenize_worker *w, int thread, const weft_segment *s, void *arg);

typedef struct {
    int64_t documents, bytes;
} totals;

static weft_status for_each_segment(tokenize_crew *k, const tokenize_texts *texts, const char *what,
                                    segment_fn work, void *arg, totals *sum)
{
    weft_documents *d;
    const weft_segment *s;
    int n;
    WEFT_TRY(tokenize_open(k->ctx, texts, &d));
    tokenize_progress p = tokenize_progress_start(k->ctx, what);
    weft_status r;
    while (!(r = weft_documents_next(d, &s, &n)) && n > 0) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(k->n)
        for (int i = 0; i < n; i++)
            work(&k->worker[omp_get_thread_num()], omp_get_thread_num(), &s[i], arg);
        for (int i = 0; i < n; i++) {
            sum->documents += s[i].last;
            sum->bytes += (int64_t)s[i].n;
        }
        if ((r = tokenize_crew_check(k)))
            break;
        tokenize_progress_bytes(&p, weft_documents_done(d), weft_documents_total(d));
    }
    weft_documents_close(d);
    return r;
}

/* ---- train ---- */
typedef struct {
    int64_t vocab, min_count;
    const char *out;
    tokenize_texts texts;
} train_options;

static void count_segment(tokenize_worker *w, int thread, const weft_segment *s, void *arg)
{
    (void)thread;
    (void)arg;
    weft_counts_add(w->counts, s->text, s->n); /* a failure stays with the worker */
}

static void train_progress(void *user, int64_t merges, int64_t of)
{
    tokenize_progress_items(user, "merges", merges, of);
}

/* The counts of all workers together; only this part runs on one thread. */
static weft_status learn(tokenize_crew *k, const train_options *o, weft_bpe **out)
{
    tokenize_progress p = tokenize_progress_start(k->ctx, "train");
    weft_counts **counts = weft_alloc(k->ctx, (size_t)k->n * sizeof *counts);
    if (!counts)
        return k->ctx->status;
    for (int i = 0; i < k->n; i++)
        counts[i] = k->worker[i].counts;
    const weft_bpe_options b = {o->vocab, o->min_count, train_progress, &p};
    weft_status s = weft_bpe_train(k->ctx, counts, k->n, &b, out);
    weft_free(k->ctx, counts);
    return s;
}

static weft_status train_run(tokenize_crew *k, const train_options *o, weft_bpe **bpe)
{
    totals sum = {0};
    WEFT_TRY(for_each_segment(k, &o->texts, "count", count_segment, NULL, &sum));
    if (!sum.bytes)
        return weft_fail(k->ctx, WEFT_MALFORMED, "the files hold no text");
    WEFT_TRY(learn(k, o, bpe));
    WEFT_TRY(weft_bpe_save(*bpe, o->out));
    char n[2][32];
    cli_put("%s: %s tokens learned from %s bytes\n", o->out,
            cli_count(n[0], sizeof n[0], weft_bpe_vocab(*bpe)),
            cli_count(n[1], sizeof n[1], sum.bytes));
    return WEFT_OK;
}

int tokenize_train(weft_ctx *c, int argc, char **argv)
{
    train_options o = {.min_count = 2};
    const cli_option options[] = {
        {"vocab", CLI_INT, &o.vocab, "N", "tokens: 256 bytes, the learned ones, and <|endoftext|>",
         257, 1 << 24},
        {"out", CLI_TEXT, &o.out, "FILE", "the tokenizer.json to write", 0, 0},
        {"min-count", CLI_INT, &o.min_count, "N",
         "a pair seen less often is not merged (default 2)", 1, 9e15},
        TOKENIZE_TEXT_OPTIONS(&o.texts),
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const cli_spec spec = {
        "tokenize train",
        "--vocab=N --out=FILE TEXT... [OPTION]...",
        "Learns a byte-level BPE and writes it as a Hugging Face tokenizer.json. Among pairs seen\n"
        "equally often the one of the lowest ids is merged: the result depends on the texts only.",
        options,
        1,
        INT32_MAX};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!o.vocab || !o.out)
        return cli_usage(spec.verb, "--vocab and --out are needed");
    o.texts.path = argv;
    o.texts.n_paths = argc;
    tokenize_crew k = {.ctx = c};
    weft_bpe *bpe = NULL;
    weft_status s = tokenize_crew_open(c, NULL, o.texts.threads, &k);
    if (!s)
        s = train_run(&k, &o, &bpe);
    weft_bpe_free(bpe);
    tokenize_crew_close(&k);
    return s ? cli_fail(c) : WEFT_OK;
}

/* ---- count ---- */
typedef struct {
    const char *tokenizer;
    int64_t top;
    bool json;
    tokenize_texts texts;
} count_options;

typedef struct {
    int64_t *uses; /* [threads * vocab], then summed into the first vocab */
    int32_t vocab;
    bool specials;                 /* special tokens in a text are found */
    int64_t tokens, used, spelled; /* used: different ones; spelled: tokens of one byte */
} census;

static void census_segment(tokenize_worker *w, int thread, const weft_segment *s, void *arg)
{
    census *n = arg;
    w->ids.n = 0;
    if (weft_encoder_add(w->encoder, s->text, s->n, n->specials, &w->ids))
        return;
    for (size_t i = 0; i < w->ids.n; i++)
        n->uses[(int64_t)thread * n->vocab + w->ids.id[i]]++;
}

/* Integer sums: the order of the threads does not matter. */
static void sum_census(census *n, int threads, const weft_bpe *t)
{
    for (int32_t id = 0; id < n->vocab; id++) {
        size_t len;
        for (int k = 1; k < threads; k++)
            n->uses[id] += n->uses[(int64_t)k * n->vocab + id];
        weft_bpe_token(t, id, &len);
        n->tokens += n->uses[id];
        n->used += n->uses[id] > 0;
        n->spelled += len == 1 ? n->uses[id] : 0;
    }
}

/* The ids by falling number of uses, the lowest first among equals. */
typedef struct {
    int64_t uses;
    int32_t id;
} entry;

static int by_uses(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->uses != y->uses ? (x->uses < y->uses) - (x->uses > y->uses)
                              : (x->id > y->id) - (x->id < y->id);
}

/* Ties by id, so that the list is always the same. */
static weft_status print_top(weft_ctx *c, const census *n, const weft_bpe *t, int64_t top)
{
    entry *e = weft_alloc(c, (size_t)n->vocab * sizeof *e);
    if (!e)
        return c->status;
    for (int32_t i = 0; i < n->vocab; i++)
        e[i] = (entry){n->uses[i], i};
    qsort(e, (size_t)n->vocab, sizeof *e, by_uses);
    for (int64_t i = 0; i < top && i < n->vocab && e[i].uses; i++) {
        printf("%12lld %6d ", (long long)e[i].uses, e[i].id);
        tokenize_print_token(stdout, t, e[i].id);
        printf("\n");
    }
    weft_free(c, e);
    return WEFT_OK;
}

static void print_census(const census *n, const totals *sum, bool json)
{
    double tokens = n->tokens ? (double)n->tokens : 1;
    if (json) {
        printf("{\"documents\": %lld, \"bytes\": %lld, \"tokens\": %lld, \"used\": %lld, "
               "\"vocab\": %d}\n",
               (long long)sum->documents, (long long)sum->bytes, (long long)n->tokens,
               (long long)n->used, n->vocab);
        return;
    }
    char b[4][32];
    printf("%s documents, %s bytes, %s tokens without ends of documents\n",
           cli_count(b[0], sizeof b[0], sum->documents), cli_count(b[1], sizeof b[1], sum->bytes),
           cli_count(b[2], sizeof b[2], n->tokens));
    printf("%.3f bytes a token; %.1f %% of the tokens are single bytes\n",
           (double)sum->bytes / tokens, 100.0 * (double)n->spelled / tokens);
    printf("%s of %d ids are used\n", cli_count(b[3], sizeof b[3], n->used), n->vocab);
}

static weft_status count_run(tokenize_crew *k, const weft_bpe *t, const count_options *o)
{
    totals sum = {0};
    census n = {.vocab = weft_bpe_vocab(t), .specials = !o->texts.spelled};
    n.uses = weft_alloc(k->ctx, (size_t)k->n * (size_t)n.vocab * sizeof *n.uses);
    if (!n.uses)
        return k->ctx->status;
    weft_status s = for_each_segment(k, &o->texts, "count", census_segment, &n, &sum);
    if (!s) {
        sum_census(&n, k->n, t);
        print_census(&n, &sum, o->json);
        if (o->top && !o->json)
            s = print_top(k->ctx, &n, t, o->top);
    }
    weft_free(k->ctx, n.uses);
    return s;
}

int tokenize_count(weft_ctx *c, int argc, char **argv)
{
    count_options o = {0};
    const cli_option options[] = {
        {"tokenizer", CLI_TEXT, &o.tokenizer, "PATH",
         "tokenizer.json, vocab.json, or a folder with either", 0, 0},
        {"top", CLI_INT, &o.top, "N", "list the N tokens used most: uses, id, token", 0, 1 << 24},
        TOKENIZE_TEXT_OPTIONS(&o.texts),
        TOKENIZE_SPELLED_OPTION(&o.texts.spelled),
        {"json", CLI_FLAG, &o.json, NULL, "print the numbers as JSON", 0, 0},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const cli_spec spec = {"tokenize count",
                           "--tokenizer=PATH TEXT... [OPTION]...",
                           "Counts documents, bytes, tokens and the ids that are used.",
                           options,
                           1,
                           INT32_MAX};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!o.tokenizer)
        return cli_usage(spec.verb, "--tokenizer is needed");
    o.texts.path = argv;
    o.texts.n_paths = argc;
    tokenize_crew k = {.ctx = c};
    weft_bpe *t = NULL;
    weft_status s = weft_bpe_load(c, o.tokenizer, &t);
    o.texts.bpe = t;
    if (!s)
        s = tokenize_crew_open(c, t, o.texts.threads, &k);
    if (!s)
        s = count_run(&k, t, &o);
    tokenize_crew_close(&k);
    weft_bpe_free(t);
    return s ? cli_fail(c) : WEFT_OK;
}
