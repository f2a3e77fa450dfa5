/* steer.c - steering words to interventions, and weft steer: a steered model as a model of its own.
 */
#include "tools/steer.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/measure.h"

/* Digits only, below 2^31. */
static bool read_id(const char *s, size_t n, long *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i]) || *out > (INT32_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (s[i] - '0');
    }
    return n > 0;
}

static bool read_amount(const char *s, double *out)
{
    char *end = NULL;
    errno = 0;
    if (!*s || isspace((unsigned char)*s) || strpbrk(s, "xXnN"))
        return false;
    *out = strtod(s, &end);
    return !*end && !errno && isfinite((float)*out);
}

static weft_status parse(weft_ctx *c, const char *word, char *attrs, size_t n)
{
    size_t digits = strcspn(word, "*+-=");
    long id;
    double v;
    char shown[128];
    weft_printable(shown, sizeof shown, word);
    if (!word[digits])
        return weft_fail(c, WEFT_USAGE,
                         "--steer=%s: expected ID*F, ID+V, ID-V or ID=V, like 17*4 or 17=2.5",
                         shown);
    if (!read_id(word, digits, &id))
        return weft_fail(c, WEFT_USAGE,
                         "--steer=%s: expected the number of a concept before '%c', like 17%c4",
                         shown, word[digits], word[digits]);
    if (!read_amount(word + digits + 1, &v))
        return weft_fail(c, WEFT_USAGE, "--steer=%s: expected a finite number behind '%c'", shown,
                         word[digits]);
    const char *how = word[digits] == '*' ? "scale" : word[digits] == '=' ? "set" : "add";
    snprintf(attrs, n, "id=%ld how=%s amount=%.17g", id, how, word[digits] == '-' ? -v : v);
    return WEFT_OK;
}

static weft_status parse_where(weft_ctx *c, const char *on, weft_where *out)
{
    static const char *const names[] = {"all", "prompt", "generated"};
    char shown[128];
    for (int i = 0; i < 3; i++)
        if (!strcmp(on, names[i])) {
            *out = (weft_where)i;
            return WEFT_OK;
        }
    const char *near = weft_nearest(on, names, 3);
    return weft_fail(c, WEFT_USAGE, "--steer-on=%s: expected prompt, generated or all%s%s%s",
                     weft_printable(shown, sizeof shown, on), near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}

weft_status cli_steering_parse(weft_ctx *c, const cli_list *text, const char *at, const char *on,
                               cli_steering *out)
{
    weft_where where = WEFT_ON_ALL;
    out->n = 0;
    WEFT_TRY(parse_where(c, on, &where));
    for (int i = 0; i < text->n; i++) {
        WEFT_TRY(parse(c, text->item[i], out->attrs[i], sizeof out->attrs[i]));
        out->item[i] = (weft_intervention){at, "steer", out->attrs[i], where, NULL};
        out->n = i + 1;
    }
    return WEFT_OK;
}

int cli_steering_check(const char *verb, const cli_list *text)
{
    const char *name = cli_given((const char *const[]){"steer-at", "steer-on", "compare", NULL});
    return !name || text->n ? -1
                            : cli_usage(verb, "--%s needs --steer=ID*F: nothing is steered", name);
}

/* ---- the verb ---- */
typedef struct {
    cli_list set, steer;
    const char *weights, *dir;
    int64_t threads;
    bool measure;
    measure_options m;
} steer_options;

static int save(weft_ctx *c, const steer_options *o, const char *path)
{
    static cli_steering s;
    weft_trained *t = NULL;
    if (cli_steering_parse(c, &o->steer, o->m.at, "all", &s) ||
        weft_trained_open(c, path, o->weights, o->set.item, o->set.n, &t))
        return cli_fail(c);
    int code = weft_trained_save(t, s.item, s.n, o->dir) ? cli_fail(c) : WEFT_OK;
    if (!code)
        cli_put("saved %s: use it with 'weft generate %s' or 'weft eval %s'\n", o->dir, o->dir,
                o->dir);
    weft_trained_free(t);
    return code;
}

static int measure(weft_ctx *c, const steer_options *o, const char *path)
{
    weft_trained *t = NULL;
    if (weft_trained_open(c, path, o->weights, o->set.item, o->set.n, &t))
        return cli_fail(c);
    int code = measure_run(c, t, path, &o->m);
    weft_trained_free(t);
    return code;
}

/* Saving would ignore them. */
static int check_saving(const steer_options *o)
{
    static const char *const measured[] = {
        "concept", "how",       "strengths", "data",  "prompt-tokens", "prompt",
        "prompts", "tokens",    "top-k",     "top-p", "seed",          "k",
        "judge",   "active",    "show",      "svg",   "temperature",   "json",
        "quiet",   "tokenizer", "no-cache",  NULL};
    const char *name = cli_given(measured);
    if (cli_given((const char *const[]){"steer-on", NULL}))
        return cli_usage("steer", "--steer-on needs --measure: a saved model has no notion of a "
                                  "prompt, it is steered at all positions");
    if (name)
        return cli_usage("steer",
                         "--%s needs --measure: a model is saved by --steer, --steer-at "
                         "and --out",
                         name);
    if (!o->dir || !o->steer.n)
        return cli_usage("steer", "--steer=ID*F and --out=DIR are needed, or --measure");
    return -1;
}

static int check_use(const steer_options *o)
{
    if (o->measure && (o->dir || o->steer.n))
        return cli_usage("steer", "--measure saves nothing and takes --concept, --how and "
                                  "--strengths, not --steer and --out");
    return o->measure ? -1 : check_saving(o);
}

int verb_steer(weft_ctx *c, int argc, char **argv)
{
    static steer_options o;
    measure_options *m = &o.m;
    *m = (measure_options){.how = "add", .strengths = "-10,-5,0,5,10", .at = CLI_STEER_AT};
    m->on = "all";
    m->prompts = 8;
    m->prompt_tokens = 16;
    m->tokens = 64;
    m->seed = 1;
    m->draw = (weft_generate_options){.temperature = 0.8, .top_p = 1};
    const cli_option option[] = {
        {"steer", CLI_LIST, &o.steer, "ID*F", CLI_STEER_HELP, 0, 0},
        {"steer-at", CLI_TEXT, &m->at, "NAME", CLI_STEER_AT_HELP, 0, 0},
        {"out", CLI_TEXT, &o.dir, "DIR", "where the steered model goes", 0, 0},
        {"measure", CLI_FLAG, &o.measure, NULL, "measure instead; what follows is for this", 0, 0},
        {"concept", CLI_TEXT, &m->concept, "ID[,ID]", "concepts, each steered alone", 0, 0},
        {"how", CLI_TEXT, &m->how, "HOW", "add (default), set or scale", 0, 0},
        {"strengths", CLI_TEXT, &m->strengths, "X[,X]", "default -10,-5,0,5,10", 0, 0},
        {"steer-on", CLI_TEXT, &m->on, "WHERE", "prompt, generated or all (default) positions", 0,
         0},
        {"data", CLI_TEXT, &m->data, "FILE",
         "token file that prompts are taken from (default: the recipe's validation data)", 0, 0},
        {"prompt-tokens", CLI_INT, &m->prompt_tokens, "N", "length of these (default 16)", 1, 1e6},
        {"prompt", CLI_TEXT, &m->prompt, "TEXT", "one prompt for all texts instead", 0, 0},
        {"prompts", CLI_INT, &m->prompts, "N", "texts at each strength (default 8)", 1, 1e6},
        {"tokens", CLI_INT, &m->tokens, "N", "new tokens of a text (default 64)", 1, 1e6},
        {"temperature", CLI_FLOAT, &m->draw.temperature, "X", "default 0.8", 0, 1e3},
        {"top-k", CLI_INT, &m->draw.top_k, "K", "draw only from the K most probable", 0, 1e9},
        {"top-p", CLI_FLOAT, &m->draw.top_p, "P", "or from those that together have P", 1e-9, 1},
        {"seed", CLI_INT, &m->seed, "N", "of the random numbers (default 1)", 0, 9e18},
        {"no-cache", CLI_FLAG, &m->draw.no_cache, NULL, "compute the whole window for every token",
         0, 0},
        {"k", CLI_INT, &m->k, "K", "concepts kept at a token (default: the model's k)", 1, 1e9},
        {"judge", CLI_TEXT, &m->judge, "NAME",
         "logits of the extractor (default t_logits if there; none: without)", 0, 0},
        {"active", CLI_TEXT, &m->active, "NAME",
         "its latents, or ids of labels (default z if there; none: without)", 0, 0},
        {"show", CLI_INT, &m->show, "N", "print the first N texts of each strength", 0, 1e6},
        {"svg", CLI_TEXT, &m->svg, "FILE", "perplexity and presence against strength", 0, 0},
        {"json", CLI_FLAG, &m->json, NULL, "for machines, with the tokens of all texts", 0, 0},
        {"quiet", CLI_FLAG, &m->quiet, NULL, "no progress", 0, 0},
        {"tokenizer", CLI_TEXT, &m->tokenizer, "PATH", "default: the run's", 0, 0},
        {"threads", CLI_INT, &o.threads, "N", "threads (default: all cores)", 1, 1024},
        {"weights", CLI_TEXT, &o.weights, "PATH",
         "weights for a recipe or model file: safetensors, folder, checkpoint or run", 0, 0},
        {"set", CLI_LIST, &o.set, "NAME=VALUE", "parameter of the model, field of the recipe", 0,
         0},
        {0}};
    const cli_spec spec = {
        "steer",
        "RUN|CHECKPOINT|FOLDER|RECIPE|MODEL (--steer ID*F --out DIR | --measure --concept ID) "
        "[OPTION]...",
        "Saves a steered model: DIR/model.txtpb is the flat graph with the changes as nodes,\n"
        "DIR/model.safetensors its weights. 'weft generate DIR' and 'weft eval DIR' use it.\n"
        "With --measure: texts drawn at several strengths, and for each their perplexity, the\n"
        "presence of the concept in them and their repetition, judged by models that are not "
        "steered.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = check_use(&o)) >= 0)
        return code;
    if (o.threads && weft_threads_set(c, (int)o.threads))
        return cli_fail(c);
    return o.measure ? measure(c, &o, argv[0]) : save(c, &o, argv[0]);
}
