/* tokenize_encode.c - `weft tokenize encode`: texts to train.bin and val.bin, on all cores.
 *
 * A batch of segments is shared out among the workers; what each gives goes to a place that depends
 * on the segment only, and is written in order.  So the output is the same for every number of
 * threads. */
#include <endian.h>
#include <string.h>

#include <omp.h>

#include "graph/io.h"
#include "tools/tokenize.h"

/* ---- a batch of segments as ids ---- */
typedef struct {
    uint16_t *id; /* of segment i from at[i], n[i] of them; the last of a document ends with
                     end-of-text */
    size_t *at, *n;
    size_t cap, cap_segments;
} batch;

static void batch_free(weft_ctx *c, batch *b)
{
    weft_free(c, b->id);
    weft_free(c, b->at);
    weft_free(c, b->n);
    *b = (batch){0};
}

/* Each segment gets as many places as it has bytes, and one for the end of its document. */
static weft_status batch_room(weft_ctx *c, batch *b, const weft_segment *s, size_t n)
{
    size_t need = (size_t)(s[n - 1].text - s[0].text) + s[n - 1].n + n;
    if (need > b->cap || n > b->cap_segments) {
        batch_free(c, b);
        b->id = weft_alloc(c, need * sizeof *b->id);
        b->at = weft_alloc(c, n * sizeof *b->at);
        b->n = weft_alloc(c, n * sizeof *b->n);
        if (!b->id || !b->at || !b->n)
            return c->status;
        b->cap = need;
        b->cap_segments = n;
    }
    for (size_t i = 0; i < n; i++)
        b->at[i] = (size_t)(s[i].text - s[0].text) + i;
    return WEFT_OK;
}

/* Ids of one segment into worker memory; a failure stays with the worker. */
static void encode_segment(tokenize_worker *w, const weft_segment *s, int32_t end, bool specials)
{
    w->ids.n = 0;
    if (weft_encoder_add(w->encoder, s->text, s->n, specials, &w->ids) ||
        weft_ids_reserve(&w->ids, 1))
        w->ids.n = 0;
    else if (s->last && end >= 0)
        w->ids.id[w->ids.n++] = end;
}

static weft_status encode_batch(tokenize_crew *k, batch *b, const weft_segment *s, int n,
                                int32_t end, bool specials)
{
    WEFT_TRY(batch_room(k->ctx, b, s, (size_t)n));
#pragma omp parallel for schedule(dynamic, 1) num_threads(k->n)
    for (int i = 0; i < n; i++) {
        tokenize_worker *w = &k->worker[omp_get_thread_num()];
        encode_segment(w, &s[i], end, specials);
        for (size_t j = 0; j < w->ids.n; j++)
            b->id[b->at[i] + j] = htole16((uint16_t)w->ids.id[j]);
        b->n[i] = w->ids.n;
    }
    return tokenize_crew_check(k);
}

/* ---- which documents are for validation ---- */
/* Exactly `want` of `of`, each choice equally likely: selection sampling (Knuth, TAOCP 2, 3.4.2 S),
 * where document i draws from its own random number, splitmix64 (Steele et al. 2014) of the seed
 * and i. */
typedef struct {
    uint64_t seed;
    int64_t document, of, want, chosen;
    bool current;
} splitter;

static uint64_t random_of(uint64_t seed, uint64_t i)
{
    uint64_t z = seed * 0xD1B54A32D192ED03u + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Documents come in order; segments of one share its choice. */
static bool is_val(splitter *s, int64_t document)
{
    for (; s->document <= document; s->document++) {
        uint64_t left = (uint64_t)(s->of - s->document),
                 r = random_of(s->seed, (uint64_t)s->document);
        s->current = (int64_t)((unsigned __int128)r * left >> 64) < s->want - s->chosen;
        s->chosen += s->current;
    }
    return s->current;
}

/* The number is exact, unlike that of independent draws: a small corpus gets its share, too. */
static weft_status plan_split(weft_ctx *c, double fraction, int64_t seed, int64_t documents,
                              splitter *out)
{
    int64_t want = (int64_t)(fraction * (double)documents + 0.5);
    if (!documents)
        return weft_fail(c, WEFT_MALFORMED, "the files hold no text");
    if (fraction > 0 && documents == 1)
        return weft_fail(c, WEFT_USAGE,
                         "--val=%g: the files hold one document, which cannot be split; see "
                         "--documents, or use --val=0",
                         fraction);
    want = fraction > 0 && want < 1 ? 1 : want;
    want = fraction > 0 && want > documents - 1 ? documents - 1 : want;
    *out = (splitter){.seed = (uint64_t)seed, .of = documents, .want = want};
    return WEFT_OK;
}

/* Choosing an exact number of documents needs to know how many there are: the files are scanned
 * twice, which costs little beside encoding. */
static weft_status count_documents(weft_ctx *c, const tokenize_texts *texts, int64_t *out)
{
    weft_documents *d;
    const weft_segment *s;
    int n;
    *out = 0;
    WEFT_TRY(tokenize_open(c, texts, &d));
    weft_status r;
    while (!(r = weft_documents_next(d, &s, &n)) && n > 0)
        *out += s[n - 1].document + s[n - 1].last - s[0].document;
    weft_documents_close(d);
    return r;
}

/* ---- encode ---- */
typedef struct {
    const char *tokenizer, *out;
    double val;
    int64_t seed;
    bool json;
    tokenize_texts texts;
} encode_options;

typedef struct {
    int64_t documents, tokens, bytes;
} tally;

typedef struct {
    weft_ctx *ctx;
    weft_bpe *bpe;
    tokenize_crew crew;
    batch batch;
    splitter split;
    weft_writer *writer[2]; /* train, val */
    tally tally[2];
} encoding;

static const char *const part_name[2] = {"train", "val"};

/* In order of the segments; the choice of a document is drawn when its first one comes. */
static weft_status write_batch(encoding *e, const weft_segment *s, int n)
{
    for (int i = 0; i < n; i++) {
        if (s[i].document >= e->split.of)
            return weft_fail(e->ctx, WEFT_IO, "a text changed while it was read");
        int part = is_val(&e->split, s[i].document);
        WEFT_TRY(weft_writer_put(e->writer[part], e->batch.id + e->batch.at[i], e->batch.n[i] * 2));
        e->tally[part].documents += s[i].last;
        e->tally[part].tokens += (int64_t)e->batch.n[i];
        e->tally[part].bytes += (int64_t)s[i].n;
    }
    return WEFT_OK;
}

static weft_status encode_all(encoding *e, const tokenize_texts *texts)
{
    weft_documents *d;
    const weft_segment *s;
    int n;
    WEFT_TRY(tokenize_open(e->ctx, texts, &d));
    tokenize_progress p = tokenize_progress_start(e->ctx, "encode");
    weft_status r;
    while (!(r = weft_documents_next(d, &s, &n)) && n > 0) {
        if ((r = encode_batch(&e->crew, &e->batch, s, n, weft_bpe_end(e->bpe), !texts->spelled)) ||
            (r = write_batch(e, s, n)))
            break;
        tokenize_progress_bytes(&p, weft_documents_done(d), weft_documents_total(d));
    }
    weft_documents_close(d);
    return r;
}

/* A tokenizer whose ids fit the files. */
static weft_status load_for_bins(weft_ctx *c, const char *path, weft_bpe **out)
{
    WEFT_TRY(weft_bpe_load(c, path, out));
    if (weft_bpe_vocab(*out) > 65536)
        return weft_fail(c, WEFT_UNSUPPORTED,
                         "%s: %d tokens, but a .bin file holds 16-bit ids: at most 65536", path,
                         weft_bpe_vocab(*out));
    if (weft_bpe_end(*out) < 0)
        return weft_fail(c, WEFT_MISMATCH, "%s: no token %s, with which documents end", path,
                         WEFT_END_OF_TEXT);
    return WEFT_OK;
}

static weft_status open_writers(encoding *e, weft_arena *a, const char *dir)
{
    for (int i = 0; i < 2; i++) {
        const char *path = weft_arena_printf(a, "%s/%s.bin", dir, part_name[i]);
        if (!path)
            return e->ctx->status;
        WEFT_TRY(weft_writer_open(e->ctx, path, &e->writer[i]));
    }
    return WEFT_OK;
}

/* The folder gets the tokenizer too, unless it came from there. */
static weft_status keep_tokenizer(encoding *e, weft_arena *a, const char *from, const char *dir)
{
    bool same;
    const char *to = weft_arena_printf(a, "%s/tokenizer.json", dir);
    if (!to)
        return e->ctx->status;
    /* `from` may be the folder: the tokenizer in it */
    WEFT_TRY(weft_same_file(e->ctx, to, strcmp(from, dir) ? from : to, &same));
    return same ? WEFT_OK : weft_bpe_save(e->bpe, to);
}

static weft_status commit(encoding *e)
{
    for (int i = 0; i < 2; i++) {
        weft_writer *w = e->writer[i];
        e->writer[i] = NULL; /* commit frees it, whatever happens */
        WEFT_TRY(weft_writer_commit(w));
    }
    return WEFT_OK;
}

/* All that can be wrong with the input is found before the folder is made. */
static weft_status encode_run(encoding *e, weft_arena *a, encode_options *o)
{
    int64_t documents;
    WEFT_TRY(load_for_bins(e->ctx, o->tokenizer, &e->bpe));
    o->texts.bpe = e->bpe;
    WEFT_TRY(count_documents(e->ctx, &o->texts, &documents));
    WEFT_TRY(plan_split(e->ctx, o->val, o->seed, documents, &e->split));
    WEFT_TRY(weft_make_dirs(e->ctx, o->out));
    WEFT_TRY(open_writers(e, a, o->out));
    WEFT_TRY(tokenize_crew_open(e->ctx, e->bpe, o->texts.threads, &e->crew));
    WEFT_TRY(encode_all(e, &o->texts));
    WEFT_TRY(keep_tokenizer(e, a, o->tokenizer, o->out));
    return commit(e);
}

static void print_tally(const encoding *e, const encode_options *o)
{
    if (o->json) {
        printf("{\"vocab\": %d", weft_bpe_vocab(e->bpe));
        for (int i = 0; i < 2; i++)
            printf(", \"%s\": {\"documents\": %lld, \"tokens\": %lld, \"bytes\": %lld}",
                   part_name[i], (long long)e->tally[i].documents, (long long)e->tally[i].tokens,
                   (long long)e->tally[i].bytes);
        printf("}\n");
        return;
    }
    for (int i = 0; i < 2; i++) {
        char n[3][32];
        const tally *t = &e->tally[i];
        cli_put("%s/%s.bin: %s documents, %s tokens, %s bytes of text", o->out, part_name[i],
                cli_count(n[0], sizeof n[0], t->documents), cli_count(n[1], sizeof n[1], t->tokens),
                cli_count(n[2], sizeof n[2], t->bytes));
        printf(t->tokens ? ", %.3f bytes a token\n" : "\n", (double)t->bytes / (double)t->tokens);
    }
}

int tokenize_encode(weft_ctx *c, int argc, char **argv)
{
    encode_options o = {.val = 0.05, .seed = 1};
    const cli_option options[] = {
        {"tokenizer", CLI_TEXT, &o.tokenizer, "PATH",
         "tokenizer.json, vocab.json, or a folder with either", 0, 0},
        {"out", CLI_TEXT, &o.out, "DIR", "folder for train.bin, val.bin and the tokenizer.json", 0,
         0},
        {"val", CLI_FLOAT, &o.val, "FRACTION", "share of the documents for val.bin (default 0.05)",
         0, 0.99},
        {"seed", CLI_INT, &o.seed, "N", "which documents those are (default 1)", 0, 9e15},
        TOKENIZE_TEXT_OPTIONS(&o.texts),
        TOKENIZE_SPELLED_OPTION(&o.texts.spelled),
        {"json", CLI_FLAG, &o.json, NULL, "print the numbers as JSON", 0, 0},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const cli_spec spec = {"tokenize encode",
                           "--tokenizer=PATH --out=DIR FILE... [OPTION]...",
                           "Encodes texts as bare little-endian 16-bit ids (nanoGPT's layout), "
                           "each document followed\n"
                           "by <|endoftext|>. Added tokens are found as Hugging Face finds them. "
                           "Documents go to train.bin or val.bin by the seed.",
                           options,
                           1,
                           INT32_MAX};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!o.tokenizer || !o.out)
        return cli_usage(spec.verb, "--tokenizer and --out are needed");
    o.texts.path = argv;
    o.texts.n_paths = argc;
    encoding e = {.ctx = c};
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? encode_run(&e, a, &o) : c->status;
    if (!s)
        print_tally(&e, &o);
    weft_writer_abort(e.writer[0]);
    weft_writer_abort(e.writer[1]);
    tokenize_crew_close(&e.crew);
    batch_free(c, &e.batch);
    weft_bpe_free(e.bpe);
    weft_arena_free(a);
    return s ? cli_fail(c) : WEFT_OK;
}
