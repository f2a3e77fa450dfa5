/* tokenize.c - `weft tokenize`: its subcommands, and what they share. */
#include "tools/tokenize.h"

#include <limits.h>
#include <string.h>

#include "graph/io.h"

/* ---- the verb ---- */
typedef struct {
    const char *name, *help;
    int (*run)(weft_ctx *c, int argc, char **argv);
} subcommand;

static const subcommand subcommands[] = {
    {"train", "learn a vocabulary from texts and write a tokenizer.json", tokenize_train},
    {"encode", "texts to train.bin and val.bin", tokenize_encode},
    {"count", "how many tokens texts have, and which", tokenize_count},
    {"ids", "one text to ids on standard output", tokenize_ids},
    {"decode", "ids or a .bin file back to text", tokenize_decode},
};
enum { N_SUBCOMMANDS = (int)(sizeof subcommands / sizeof *subcommands) };

static void print_subcommands(FILE *f)
{
    fprintf(f, "usage: weft tokenize COMMAND [ARGUMENT]... [OPTION]...\n\n"
               "GPT-2's byte-level BPE: train a vocabulary, encode a corpus, decode ids.\n\n");
    for (int i = 0; i < N_SUBCOMMANDS; i++)
        fprintf(f, "  %-10s %s\n", subcommands[i].name, subcommands[i].help);
    fprintf(f, "\n'weft tokenize COMMAND --help' tells more.\n");
}

int verb_tokenize(weft_ctx *c, int argc, char **argv)
{
    const char *names[N_SUBCOMMANDS];
    if (argc < 2) {
        print_subcommands(stderr);
        return WEFT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_subcommands(stdout);
        return WEFT_OK;
    }
    for (int i = 0; i < N_SUBCOMMANDS; i++) {
        names[i] = subcommands[i].name;
        if (!strcmp(argv[1], names[i]))
            return subcommands[i].run(c, argc - 1, argv + 1);
    }
    char hint[200];
    return cli_usage("tokenize", "unknown command '%s'%s", argv[1],
                     weft_suggest(hint, sizeof hint, argv[1], "there are", names, N_SUBCOMMANDS));
}

/* ---- texts ---- */
weft_status tokenize_open(weft_ctx *c, const tokenize_texts *t, weft_documents **out)
{
    static const char *const names[] = {"mark", "blank", "file"};
    const char *how = t->documents ? t->documents : "mark";
    int mode = 0;
    while (mode < 3 && strcmp(how, names[mode]))
        mode++;
    if (mode == 3)
        return weft_fail(c, WEFT_USAGE, "--documents=%s: expected mark, blank or file", how);
    if (t->separator && (t->documents || !*t->separator))
        return weft_fail(c, WEFT_USAGE,
                         "--doc-separator: expected some text, and no --documents with it");
    const char *mark = t->separator ? t->separator : WEFT_END_OF_TEXT;
    for (int i = 0; !t->as_text && i < t->n_paths; i++)
        WEFT_TRY(tokenize_check_file(c, t->path[i]));
    WEFT_TRY(weft_documents_open(c, (const char *const *)t->path, t->n_paths, (weft_doc_mode)mode,
                                 mark, 0, out));
    weft_documents_keep_whole(*out, t->bpe);
    return WEFT_OK;
}

/* ---- workers ---- */
/* A context records failures and is not for two threads at once; the allocator is shared. */
static weft_status open_worker(weft_ctx *c, const weft_bpe *t, tokenize_worker *w)
{
    const weft_options o = {.allocator = &c->mem, .io = c->io, .threads = 1};
    if (!(w->ctx = weft_open(&o)))
        return weft_fail(c, WEFT_NOMEM, "out of memory: a context for a thread");
    w->ids.ctx = w->ctx;
    if (t)
        return weft_encoder_open(w->ctx, t, &w->encoder);
    return weft_counts_open(w->ctx, &w->counts);
}

weft_status tokenize_crew_open(weft_ctx *c, const weft_bpe *t, int64_t n, tokenize_crew *out)
{
    *out = (tokenize_crew){.ctx = c, .n = n > 0 && n < INT_MAX ? (int)n : weft_threads(c)};
    out->worker = weft_alloc(c, (size_t)out->n * sizeof *out->worker);
    if (!out->worker)
        return c->status;
    for (int i = 0; i < out->n; i++)
        if (open_worker(c, t, &out->worker[i])) {
            weft_status s = tokenize_crew_check(out);
            tokenize_crew_close(out);
            return s;
        }
    return WEFT_OK;
}

void tokenize_crew_close(tokenize_crew *k)
{
    for (int i = 0; k->worker && i < k->n; i++) {
        tokenize_worker *w = &k->worker[i];
        if (!w->ctx)
            continue;
        weft_encoder_close(w->encoder);
        weft_counts_close(w->counts);
        weft_ids_free(&w->ids);
        weft_close(w->ctx);
    }
    weft_free(k->ctx, k->worker);
    k->worker = NULL;
}

weft_status tokenize_crew_check(tokenize_crew *k)
{
    for (int i = 0; i < k->n; i++) {
        char why[1024];
        weft_ctx *w = k->worker[i].ctx;
        if (w && weft_error_status(w))
            return weft_fail(k->ctx, weft_error_status(w), "%s",
                             weft_error_flat(w, why, sizeof why));
    }
    return k->ctx->status;
}

/* ---- progress ----
 * To the log, which the tool sends to standard error: standard output is for results. */
static const int64_t second = 1000000000;

tokenize_progress tokenize_progress_start(weft_ctx *c, const char *what)
{
    int64_t now = weft_now_ns(c);
    return (tokenize_progress){c, what, now, now};
}

/* Seconds since the start; 0 if it is too early for another line. */
static double due(tokenize_progress *p)
{
    int64_t now = weft_now_ns(p->ctx);
    if (now - p->last < second)
        return 0;
    p->last = now;
    return (double)(now - p->start) / (double)second;
}

void tokenize_progress_bytes(tokenize_progress *p, int64_t done, int64_t total)
{
    double s = due(p), rate = s > 0 ? (double)done / s : 0;
    if (rate > 0)
        weft_log(p->ctx, "%s: %.1f of %.1f MB, %.1f MB/s, %.0f s left", p->what, (double)done / 1e6,
                 (double)total / 1e6, rate / 1e6, (double)(total - done) / rate);
}

void tokenize_progress_items(tokenize_progress *p, const char *unit, int64_t done, int64_t total)
{
    double s = due(p), rate = s > 0 ? (double)done / s : 0;
    if (rate > 0)
        weft_log(p->ctx, "%s: %lld of %lld %s, %.0f a second, %.0f s left", p->what,
                 (long long)done, (long long)total, unit, rate, (double)(total - done) / rate);
}
