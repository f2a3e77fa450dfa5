/* compare.c - weft compare: several runs, grouped to arms, against a baseline. */
#include <stdlib.h>
#include <string.h>

#include "graph/io.h"
#include "tools/compare.h"

typedef struct {
    const char *baseline, *svg, *markdown;
    bool train, json;
    compare_training training;
} compare_options;

/* "DIR", or "NAME=DIR[,DIR]...": a name before '=' unless a '/' comes first. */
static weft_status add_word(comparison *k, const char *word)
{
    char *text = weft_arena_strdup(k->arena, word), *save = NULL;
    if (!text)
        return WEFT_NOMEM;
    char *equal = strchr(text, '=');
    int kind;
    WEFT_TRY(weft_look(k->ctx, word, &kind));
    if (!equal || memchr(text, '/', (size_t)(equal - text)) || kind == 2)
        return compare_add(k, NULL, word);
    *equal = 0;
    if (!*text || !equal[1])
        return weft_fail(k->ctx, WEFT_USAGE, "'%s': expected NAME=DIR[,DIR]...", word);
    for (char *dir = strtok_r(equal + 1, ",", &save); dir; dir = strtok_r(NULL, ",", &save))
        WEFT_TRY(compare_add(k, text, dir));
    return WEFT_OK;
}

static weft_status find_baseline(comparison *k, const char *name)
{
    const char **names = weft_arena_array(k->arena, (size_t)k->n_arm, sizeof *names);
    if (!names)
        return WEFT_NOMEM;
    for (int i = 0; i < k->n_arm; i++) {
        names[i] = k->arm[i].name;
        if (!name || !strcmp(names[i], name)) {
            k->baseline = i;
            return WEFT_OK;
        }
    }
    const char *near = weft_nearest(name, names, k->n_arm);
    return weft_fail(k->ctx, WEFT_USAGE, "--baseline=%s: no arm has that name%s%s%s", name,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Nothing at all to compare is a failure; a single arm that lacks something is a note. */
static weft_status check_any(comparison *k)
{
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < k->arm[i].n_run; j++)
            if (k->arm[i].run[j]->n)
                return WEFT_OK;
    return weft_fail(k->ctx, WEFT_MISMATCH,
                     "no run has an evaluation of %s: data.val and eval.every of the recipes make "
                     "them",
                     k->metric);
}

/* All that can be wrong with the command is found before hours of training. */
static weft_status train(comparison *k, const compare_options *o, int n, char **word)
{
    compare_plan plan = {0};
    WEFT_TRY(compare_plan_runs(k, &o->training, n, word, &plan));
    WEFT_TRY(find_baseline(k, o->baseline));
    return compare_train(k, &o->training, &plan);
}

/* Before hours of training, too: a folder that cannot be made, or a file that is something else. */
static weft_status check_file(comparison *k, const char *option, const char *path,
                              const char *begin)
{
    const char *const begins[] = {begin, NULL};
    return path ? cli_check_output(k->ctx, option, path, begins) : WEFT_OK;
}

static weft_status prepare(comparison *k, const compare_options *o, int n, char **word)
{
    WEFT_TRY(compare_check_at(k));
    WEFT_TRY(check_file(k, "svg", o->svg, "<svg"));
    WEFT_TRY(check_file(k, "md", o->markdown, "| arm"));
    if (o->train)
        WEFT_TRY(train(k, o, n, word));
    for (int i = 0; i < n && !o->train; i++)
        WEFT_TRY(add_word(k, word[i]));
    WEFT_TRY(compare_name_arms(k));
    WEFT_TRY(find_baseline(k, o->baseline));
    WEFT_TRY(check_any(k));
    WEFT_TRY(compare_check_data(k));
    return compare_compute(k);
}

static weft_status write_file(comparison *k, const char *path,
                              void (*print)(const comparison *k, FILE *f))
{
    char *text = NULL;
    size_t n = 0;
    if (!path)
        return WEFT_OK;
    FILE *f = open_memstream(&text, &n);
    if (f)
        print(k, f);
    if (!f || fclose(f))
        return weft_fail(k->ctx, WEFT_NOMEM, "out of memory while writing %s", path);
    weft_status s = weft_write_file(k->ctx, path, text, n);
    free(text);
    return s;
}

static int compare(weft_ctx *c, comparison *k, const compare_options *o, int n, char **word)
{
    weft_status s = prepare(k, o, n, word);
    if (weft_is_stopped(s)) {
        fprintf(stderr, "weft: stopped; the same command goes on\n");
        return (int)s;
    }
    if (!s)
        s = write_file(k, o->svg, compare_svg);
    if (!s)
        s = write_file(k, o->markdown, compare_markdown);
    if (s || weft_error_status(c))
        return cli_fail(c);
    if (o->json)
        compare_json(k, stdout);
    else
        compare_print(k, stdout);
    return weft_error_status(c) ? cli_fail(c) : WEFT_OK;
}

int verb_compare(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    comparison k = {.ctx = c, .metric = "val_loss"};
    compare_options o = {.training = {.out = "runs", .set = &set}};
    const cli_option option[] = {
        {"baseline", CLI_TEXT, &o.baseline, "ARM", "the arm to compare with (default: the first)",
         0, 0},
        {"metric", CLI_TEXT, &k.metric, "NAME",
         "number of the evaluation lines of log.jsonl (default: val_loss)", 0, 0},
        {"at", CLI_TEXT, &k.at, "TOKENS|common",
         "compare there, not at the end; common: as far as all runs came", 0, 0},
        {"svg", CLI_TEXT, &o.svg, "FILE", "curves by tokens and by FLOPs", 0, 0},
        {"md", CLI_TEXT, &o.markdown, "FILE", "the tables as Markdown", 0, 0},
        {"json", CLI_FLAG, &o.json, NULL, "everything, curves too, on standard output", 0, 0},
        {"force", CLI_FLAG, &k.force, NULL,
         "also when the validation data differ, or how much of them was evaluated", 0, 0},
        {"train", CLI_FLAG, &o.train, NULL,
         "arguments are recipes: train what is missing, then compare", 0, 0},
        {"seeds", CLI_TEXT, &o.training.seeds, "N,N...", "with --train: a run for each", 0, 0},
        {"out", CLI_TEXT, &o.training.out, "DIR",
         "with --train: runs in DIR/ARM-SEED (default: runs)", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE", "with --train: a setting of all arms", 0, 0},
        {"quiet", CLI_FLAG, &o.training.quiet, NULL, "no progress", 0, 0},
        {0}};
    const cli_spec spec = {
        "compare",
        "RUN|NAME=RUN[,RUN]... ... [OPTION]...",
        "Compares runs by the validation losses in their logs: final loss over seeds, paired\n"
        "differences, tokens and training FLOPs until the baseline's final loss is reached. Runs "
        "of\n"
        "one recipe, its settings and its model are seeds of one arm; NAME=RUN,RUN groups "
        "otherwise.\n"
        "With --train the arguments are [NAME=]RECIPE[,SETTING=VALUE]..., run once per seed.",
        option,
        1,
        4096};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!o.train && (o.training.seeds || set.n))
        return cli_usage("compare", "--seeds and --set need --train");
    o.training.seeds = o.training.seeds ? o.training.seeds : "1";
    k.arena = weft_arena_new(c, 0);
    code = k.arena ? compare(c, &k, &o, argc, argv) : cli_fail(c);
    compare_close(&k);
    weft_arena_free(k.arena);
    return code;
}
