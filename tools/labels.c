/* labels.c - weft labels: runs the extractor of a model once over a token file and keeps its
 * labels; looks at label files. */
#include <math.h>
#include <unistd.h>

#include "tools/signals.h"
#include "tools/tokens.h"
#include "tools/verbs.h"

typedef struct {
    bool live, quiet;
    double last; /* seconds at the last line */
} view;

static double rate(const weft_label_result *r)
{
    double tokens = (double)((r->done - r->resumed) * r->length);
    return r->seconds > 0 ? tokens / r->seconds : NAN;
}

static void on_progress(void *user, const weft_label_result *r)
{
    view *v = user;
    bool last = r->done == r->windows;
    if (v->quiet || (!last && r->seconds - v->last < (v->live ? 0.1 : 5)))
        return;
    v->last = r->seconds;
    long left = lround((double)((r->windows - r->done) * r->length) / rate(r));
    fprintf(stderr, "%swindow %lld/%lld  %.0f tok/s  %ld:%02ld:%02ld left%s", v->live ? "\r" : "",
            (long long)r->done, (long long)r->windows, rate(r), left / 3600, left / 60 % 60,
            left % 60, !v->live || last ? "\n" : "\033[K");
}

static void print_json(const weft_label_result *r, const char *out)
{
    printf("{\"file\":");
    cli_json_text(stdout, out);
    printf(
        ",\"windows\":%lld,\"done\":%lld,\"resumed\":%lld,\"length\":%lld,\"labels\":%lld,"
        "\"concepts\":%lld,\"batch\":%lld,\"scores\":%s,\"bytes\":%lld,\"graph_hash\":\"%016llx\","
        "\"weight_hash\":\"%016llx\",\"data_hash\":\"%016llx\"",
        (long long)r->windows, (long long)r->done, (long long)r->resumed, (long long)r->length,
        (long long)r->labels, (long long)r->concepts, (long long)r->batch,
        r->scores ? "true" : "false", (long long)r->bytes, (unsigned long long)r->graph_hash,
        (unsigned long long)r->weight_hash, (unsigned long long)r->data_hash);
    cli_json_number(stdout, ",", "seconds", r->seconds);
    cli_json_number(stdout, ",", "tokens_per_s", rate(r));
    printf("}\n");
}

static void print_text(const weft_label_result *r, const char *out)
{
    char a[48], b[48], size[48];
    cli_put("%s: %s of %s windows of %lld tokens, %lld labels each of %lld concepts%s, %s\n", out,
            cli_count(a, sizeof a, r->done), cli_count(b, sizeof b, r->windows),
            (long long)r->length, (long long)r->labels, (long long)r->concepts,
            r->scores ? ", with scores" : "", cli_bytes(size, sizeof size, (double)r->bytes));
    printf("graph %016llx, weights %016llx, data %016llx, labelled %lld windows at a time\n",
           (unsigned long long)r->graph_hash, (unsigned long long)r->weight_hash,
           (unsigned long long)r->data_hash, (long long)r->batch);
}

static int finish(weft_ctx *c, weft_status s, const weft_label_result *r, const char *out,
                  bool json)
{
    bool stopped = weft_is_stopped(s);
    if (s && !stopped)
        return cli_fail(c);
    if (stopped)
        cli_say("weft: stopped after %lld of %lld windows; --resume goes on from %s.tmp\n",
                (long long)r->done, (long long)r->windows, out);
    if (json)
        print_json(r, out);
    else if (!stopped)
        print_text(r, out);
    return (int)s;
}

static int check(weft_ctx *c, const char *path, bool json)
{
    weft_label_result r;
    return finish(c, weft_labels_verify(c, path, &r), &r, path, json);
}

/* An option that --check has no use for; NULL: none was given. */
static const char *needless(const weft_label_options *o, const char *weights, const cli_list *set)
{
    const struct {
        const char *name;
        bool given;
    } option[] = {{"out", o->out},
                  {"data", o->data},
                  {"scores", o->scores},
                  {"label-value", o->label_value},
                  {"score-value", o->score_value},
                  {"resume", o->resume},
                  {"weights", weights},
                  {"set", set->n},
                  {"batch", o->batch},
                  {"length", o->length},
                  {"no-rewrite", o->no_rewrite}};
    for (size_t i = 0; i < sizeof option / sizeof *option; i++)
        if (option[i].given)
            return option[i].name;
    return NULL;
}

static int label(weft_ctx *c, const char *model, const char *weights, const cli_list *set,
                 weft_label_options *o, bool json)
{
    weft_trained *t = NULL;
    weft_label_result r;
    if (weft_trained_open(c, model, weights, set->item, set->n, &t))
        return cli_fail(c);
    const char *out = o->out ? o->out : weft_trained_file(t, WEFT_RECIPE_LABELS);
    char shown[4096];
    snprintf(shown, sizeof shown, "%s", out ? out : "");
    o->stop = cli_signals();
    o->progress = on_progress;
    weft_status s = cli_tokens_count(c, t, &o->vocab);
    if (!s)
        s = weft_label(t, o, &r);
    weft_trained_free(t);
    return finish(c, s, &r, shown, json);
}

int verb_labels(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    const char *weights = NULL;
    int64_t threads = 0;
    bool json = false, look = false;
    view v = {.live = isatty(2)};
    weft_label_options o = {.user = &v};
    const cli_option option[] = {
        {"out", CLI_TEXT, &o.out, "FILE",
         "label file (default: the recipe's data.labels); FILE.tmp until it is complete", 0, 0},
        {"data", CLI_TEXT, &o.data, "FILE", "token file (default: the recipe's training data)", 0,
         0},
        {"scores", CLI_FLAG, &o.scores, NULL, "keep the scores of the labels too", 0, 0},
        {"label-value", CLI_TEXT, &o.label_value, "NAME",
         "value that is kept: i32[B,T,k] (default: the recipe's data.label_value, label)", 0, 0},
        {"score-value", CLI_TEXT, &o.score_value, "NAME",
         "value of --scores: f32[B,T,k] (default: the recipe's data.score_value, score)", 0, 0},
        {"resume", CLI_FLAG, &o.resume, NULL,
         "go on after what an interrupted run left; a complete file is kept", 0, 0},
        {"weights", CLI_TEXT, &weights, "PATH",
         "weights for a recipe or model file: safetensors, checkpoint or run", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe", 0, 0},
        {"batch", CLI_INT, &o.batch, "N", "windows at once (default: the recipe's train.batch)", 1,
         1 << 20},
        {"length", CLI_INT, &o.length, "N", "tokens of a window (default: the recipe's)", 1,
         1 << 24},
        {"check", CLI_FLAG, &look, NULL, "the argument is a label file: read and check all of it",
         0, 0},
        {"threads", CLI_INT, &threads, "N",
         "threads (default: all cores); results do not depend on it", 1, 1024},
        {"no-rewrite", CLI_FLAG, &o.no_rewrite, NULL, "without rewrite rules", 0, 0},
        {"quiet", CLI_FLAG, &v.quiet, NULL, "no progress", 0, 0},
        {"json", CLI_FLAG, &json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "labels",
        "RECIPE|RUN|MODEL [OPTION]...\n       weft labels FILE --check",
        "Computes the labels of a model for every fixed window of a token file, once, and\n"
        "keeps them: training with data.labels=FILE reads them back instead of running the "
        "extractor.\n"
        "SIGINT, SIGTERM and SIGHUP stop after the batch (exit 130, 143 and 129); --resume goes "
        "on.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    const char *extra = look ? needless(&o, weights, &set) : NULL;
    if (extra)
        return cli_usage("labels", "--check only reads a label file: --%s has no use", extra);
    if (threads && weft_threads_set(c, (int)threads))
        return cli_fail(c);
    return look ? check(c, argv[0], json) : label(c, argv[0], weights, &set, &o, json);
}
