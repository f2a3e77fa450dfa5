/* concepts.c - weft concepts: which concepts a model sees in a text, and what a concept is. */
#include <string.h>
#include <unistd.h>

#include "graph/io.h"
#include "tools/concepts.h"

enum { TEXT_LIMIT = 1 << 20 };

typedef struct {
    const char *weights, *tokenizer, *text, *file, *html, *by_name, *from, *colour_name;
    int64_t concept, top, show, contexts, page;
    bool json, colour;
    concept_order by;
    cli_list set;
} concept_options;

/* A word of a list, or a complaint with what there is. */
static int choose(const char *option, const char *text, const char *const *name, int n, int *out)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, name[i])) {
            *out = i;
            return -1;
        }
    char all[160] = "";
    for (int i = 0; i < n; i++) {
        size_t k = strlen(all);
        snprintf(all + k, sizeof all - k, "%s%s", i ? ", " : "", name[i]);
    }
    return cli_usage("concepts", "--%s=%s: expected one of %s", option, text, all);
}

/* What an option is about must be asked for: else it would be ignored. */
static int check_needs(const concept_options *o, const concept_scan *s)
{
    static const char *const corpus[] = {"from", "contexts", "tokens", NULL};
    const char *name = NULL;
    bool text = o->text || o->file;
    if (text && !s->data && !o->html && (name = cli_given(corpus)))
        return cli_usage("concepts", "--%s needs a corpus: with --text and --file give --data=FILE",
                         name);
    if (!o->top && !o->html && cli_given((const char *const[]){"by", NULL}))
        return cli_usage("concepts", "--by needs --top or --html: there is nothing to sort");
    if (!o->html && cli_given((const char *const[]){"page", NULL}))
        return cli_usage("concepts", "--page needs --html");
    if (!text && cli_given((const char *const[]){"show", NULL}))
        return cli_usage("concepts", "--show needs --text or --file");
    return -1;
}

static int check_options(concept_options *o, concepts *m, concept_scan *s)
{
    static const char *const order[] = {"density", "mean", "max", "norm", "label"};
    static const char *const from[] = {"predicted", "label"};
    static const char *const when[] = {"auto", "always", "never"};
    int by = BY_DENSITY, source = 0, colour = 0, code;
    int asked = (o->text != NULL) + (o->file != NULL) + (o->concept >= 0) + (o->top > 0);
    if ((code = choose("by", o->by_name, order, N_ORDER, &by)) >= 0 ||
        (code = choose("from", o->from, from, 2, &source)) >= 0 ||
        (code = choose("color", o->colour_name, when, 3, &colour)) >= 0)
        return code;
    if (asked > 1)
        return cli_usage("concepts",
                         "--text, --file, --concept and --top ask for different things; "
                         "give one");
    if (!asked && !o->html)
        return cli_usage("concepts", "one of --text, --file, --concept, --top or --html is needed");
    if ((code = check_needs(o, s)) >= 0)
        return code;
    o->by = (concept_order)by;
    o->colour = colour == 1 || (colour == 0 && isatty(1));
    s->by_label = source == 1;
    m->need_labels = s->by_label || o->by == BY_LABELS;
    s->only = o->html ? -1 : o->concept;
    s->hits = (int)o->contexts;
    return -1;
}

/* Before anything is computed for it. */
static weft_status check_page(weft_ctx *c, const char *path)
{
    static const char *const begins[] = {"<!doctype html", NULL};
    return path ? cli_check_output(c, "html", path, begins) : WEFT_OK;
}

/* A corpus is looked through for everything but a text, which asks for one with --data. */
static weft_status scan(concepts *m, concept_options *o, concept_scan *s)
{
    bool text = o->text || o->file;
    if (text && !s->data && !o->html)
        return WEFT_OK;
    if (o->by == BY_LABELS && !m->k_label)
        return weft_fail(m->ctx, WEFT_USAGE, "--by=label: the model has no labels");
    s->data = s->data ? s->data : weft_trained_file(m->trained, WEFT_RECIPE_VAL);
    if (!s->data)
        return weft_fail(m->ctx, WEFT_USAGE,
                         "--data=FILE is needed: the recipe names no validation data");
    return concepts_scan(m, s);
}

static weft_status read_text(concepts *m, const concept_options *o, char **out, size_t *n)
{
    if (o->file) {
        WEFT_TRY(weft_read_file(m->arena, o->file, TEXT_LIMIT, out, n));
        return cli_check_text(m->ctx, o->file, *out, *n);
    }
    *out = weft_arena_strdup(m->arena, o->text);
    *n = strlen(o->text);
    return weft_error_status(m->ctx);
}

static weft_status answer(concepts *m, concept_options *o, concept_scan *s)
{
    char *text;
    size_t n;
    if (o->html)
        WEFT_TRY(concepts_html(m, s, o->by, o->page, o->html));
    if (o->concept >= m->n && s->stats) /* with --html the pass was over all */
        return weft_fail(m->ctx, WEFT_USAGE, "--concept=%lld: the model has concepts 0..%lld",
                         (long long)o->concept, (long long)m->n - 1);
    if (o->concept >= 0)
        return concepts_show(m, s, o->concept, o->colour, o->json);
    if (o->top > 0)
        return concepts_list(m, s, o->by, (int)o->top, o->json);
    if (!o->text && !o->file)
        return WEFT_OK;
    WEFT_TRY(read_text(m, o, &text, &n));
    return concepts_text(m, s->stats ? s : NULL, text, n, (int)o->show, o->colour, o->json);
}

static int inspect(concepts *m, const char *path, concept_options *o, concept_scan *s)
{
    weft_status status = check_page(m->ctx, o->html);
    if (!status)
        status = concepts_open(m, path, o->weights, &o->set, o->tokenizer);
    if (!status)
        status = scan(m, o, s);
    if (!status)
        status = answer(m, o, s);
    concepts_scan_close(s);
    if (status)
        status = (weft_status)cli_fail(m->ctx);
    concepts_close(m);
    return (int)status;
}

int verb_concepts(weft_ctx *c, int argc, char **argv)
{
    concepts m = {.ctx = c};
    concept_options o = {.concept = -1,
                         .show = 5,
                         .contexts = 10,
                         .page = 1500,
                         .by_name = "density",
                         .from = "predicted",
                         .colour_name = "auto"};
    concept_scan s = {.only = -1};
    int64_t threads = 0;
    const cli_option option[] = {
        {"text", CLI_TEXT, &o.text, "TEXT", "concepts of each token: predicted, and labels", 0, 0},
        {"file", CLI_TEXT, &o.file, "FILE", "the same for a text file", 0, 0},
        {"concept", CLI_INT, &o.concept, "ID", "one concept: numbers, tokens, contexts", 0, 1e9},
        {"top", CLI_INT, &o.top, "N", "a table of the first N concepts", 1, 1e9},
        {"html", CLI_TEXT, &o.html, "FILE", "all of it as one page for a browser", 0, 0},
        {"by", CLI_TEXT, &o.by_name, "WHAT", "order: density, mean, max, norm, label", 0, 0},
        {"from", CLI_TEXT, &o.from, "WHAT",
         "activations: predicted (default), or label with its score", 0, 0},
        {"data", CLI_TEXT, &s.data, "FILE",
         "token file to look through (default: the recipe's "
         "validation data; with --text none)",
         0, 0},
        {"tokens", CLI_INT, &s.limit, "N", "only about the first N tokens of it", 1, 1e15},
        {"contexts", CLI_INT, &o.contexts, "N", "kept of each concept (default 10)", 1, MAX_HITS},
        {"show", CLI_INT, &o.show, "N", "predictions shown of a token (default 5)", 1, 1024},
        {"page", CLI_INT, &o.page, "N", "concepts on the page (default 1500)", 1, 1e9},
        {"k", CLI_INT, &m.k, "K", "activations of a token that count (default: the model's k)", 1,
         1024},
        {"concept-value", CLI_TEXT, &m.concept_name, "NAME", "f32[B,T,n] (default: concept_logits)",
         0, 0},
        {"label-value", CLI_TEXT, &m.label_name, "NAME",
         "i32[B,T,k] (default: the recipe's; none: without)", 0, 0},
        {"score-value", CLI_TEXT, &m.score_name, "NAME", "f32[B,T,k] (default: the recipe's)", 0,
         0},
        {"decoder", CLI_TEXT, &m.decoder_name, "NAME", "weight f32[d,n], a column a concept", 0, 0},
        {"embedding", CLI_TEXT, &m.embed_name, "NAME", "weight f32[vocab,d] that it acts on", 0, 0},
        {"weights", CLI_TEXT, &o.weights, "PATH", "for a recipe or model file", 0, 0},
        {"tokenizer", CLI_TEXT, &o.tokenizer, "PATH", "default: the run's", 0, 0},
        {"set", CLI_LIST, &o.set, "NAME=VALUE", "parameter of the model, field of the recipe", 0,
         0},
        {"threads", CLI_INT, &threads, "N", "threads (default: all cores)", 1, 1024},
        {"color", CLI_TEXT, &o.colour_name, "WHEN", "auto (on a terminal), always or never", 0, 0},
        {"quiet", CLI_FLAG, &s.quiet, NULL, "no progress", 0, 0},
        {"json", CLI_FLAG, &o.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {"concepts",
                           "RUN|CHECKPOINT|FOLDER|RECIPE|MODEL [OPTION]...",
                           "What concepts are and where they are. A concept is active at a token "
                           "when its value is one\n"
                           "of the k largest there; it is named by the tokens at which it is "
                           "strongest in a corpus, or\n"
                           "without one by the tokens (->) whose logits its decoder column raises "
                           "most. Of a text, a\n"
                           "prediction stands with its value, a label with the extractor's score, "
                           "which has a scale of\n"
                           "its own, and * (on a terminal: green) marks labels among the k best "
                           "predictions. Memory\n"
                           "depends on the number of concepts, not on the corpus.",
                           option,
                           1,
                           1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = check_options(&o, &m, &s)) >= 0)
        return code;
    if (threads && weft_threads_set(c, (int)threads))
        return cli_fail(c);
    return inspect(&m, argv[0], &o, &s);
}
