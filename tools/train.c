/* train.c - weft train: a recipe to a trained model, with progress, signals and resuming. */
#include <math.h>
#include <string.h>

#include "graph/io.h"
#include "tools/signals.h"
#include "tools/tokens.h"
#include "tools/training.h"

typedef struct {
    cli_progress *progress;
    cli_tokens tokens;
    const volatile int *stop;
} train_user;

static void on_event(void *user, const weft_event *e)
{
    train_user *u = user;
    bool first = !*u->stop;
    cli_progress_event(u->progress, e);
    /* saving can take a while: the first signal must not look ignored */
    if (!first && e->kind == WEFT_EVENT_STEP && !u->progress->quiet) {
        cli_progress_end(u->progress);
        fprintf(stderr, "weft: stopping after step %lld; once more to leave at once\n",
                (long long)e->step);
    }
}

static int64_t count_bytes(void *user, const int32_t *ids, int64_t n)
{
    return cli_tokens_bytes(&((train_user *)user)->tokens, ids, n);
}

/* The tokenizer of the recipe. */
static weft_status open_tokens(weft_ctx *c, const weft_recipe *r, weft_train_options *o,
                               cli_tokens *out)
{
    if (cli_tokens_open(c, weft_recipe_file(r, WEFT_RECIPE_TOKENIZER), out))
        return weft_recipe_note(r, WEFT_RECIPE_TOKENIZER);
    o->vocab = out->n;
    return WEFT_OK;
}

weft_status cli_train_check(weft_ctx *c, weft_recipe *r, weft_train_options *o,
                            weft_train_info *info)
{
    cli_tokens tokens = {.ctx = c};
    weft_status s = open_tokens(c, r, o, &tokens);
    cli_tokens_close(&tokens);
    return s ? s : weft_train_check(r, o, info);
}

weft_status cli_train(weft_ctx *c, weft_recipe *r, weft_train_options *o, cli_progress *p)
{
    train_user u = {.progress = p, .tokens = {.ctx = c}, .stop = cli_signals()};
    weft_status s = open_tokens(c, r, o, &u.tokens);
    if (!s) {
        o->token_bytes = u.tokens.bpe ? count_bytes : NULL;
        o->event = on_event;
        o->user = &u;
        o->stop = u.stop;
        s = weft_train(r, o);
    }
    cli_progress_end(p);
    cli_tokens_close(&u.tokens);
    return s;
}

/* s: how training ended. */
static void print_result(const weft_event *e, weft_status s, const char *dir, bool json)
{
    if (!json) {
        cli_put("%s: step %lld", dir, (long long)e->step);
        if (isnan(e->loss)) /* what diverges ends with an error: no step was done */
            printf(s ? ", no step done" : ", nothing to do: the run had come as far already");
        else
            printf(", loss %.6g", e->loss);
        if (!isnan(e->val_loss))
            printf(", validation loss %.6g", e->val_loss);
        if (!isnan(e->val_bits))
            printf(", %.4f bits per byte", e->val_bits);
        for (int i = 0; i < e->n_val_log; i++)
            if (!isnan(e->val_log[i]))
                cli_put(", %s %.6g", e->val_log_name[i], e->val_log[i]);
        if (s && e->step < e->steps)
            cli_put("; stopped at %lld of %lld, weft train %s --resume goes on", (long long)e->step,
                    (long long)e->steps, dir);
        printf("\n");
        return;
    }
    printf("{\"dir\":");
    cli_json_text(stdout, dir);
    printf(",\"step\":%lld,\"tokens\":%lld", (long long)e->step, (long long)e->tokens);
    cli_json_number(stdout, ",", "loss", e->loss);
    cli_json_number(stdout, ",", "val_loss", e->val_loss);
    cli_json_number(stdout, ",", "val_bits_per_byte", e->val_bits);
    for (int i = 0; i < e->n_val_log; i++) {
        char name[256];
        snprintf(name, sizeof name, "val_%s", e->val_log_name[i]);
        cli_json_number(stdout, ",", name, e->val_log[i]);
    }
    cli_json_number(stdout, ",", "seconds", e->seconds);
    printf("}\n");
}

static int train(weft_ctx *c, weft_recipe *r, weft_train_options *o, cli_progress *p, bool json)
{
    weft_status s = cli_train(c, r, o, p);
    if (!s || weft_is_stopped(s))
        print_result(&p->last, s, p->dir, json);
    else
        cli_fail(c);
    return (int)s;
}

int cli_resume(const char *verb, const char *text, weft_resume *out)
{
    static const char *const name[] = {"never", "auto", "must"};
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, name[i])) {
            *out = (weft_resume)i;
            return -1;
        }
    if (text && *text)
        return cli_usage(verb, "--resume=%s: expected auto, never, or nothing", text);
    *out = text ? WEFT_RESUME_MUST : WEFT_RESUME_NEVER;
    return -1;
}

static int choose_progress(const char *text, cli_progress_mode *out)
{
    static const char *const name[] = {"auto", "always", "never"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, name[i])) {
            *out = (cli_progress_mode)i;
            return -1;
        }
    return cli_usage("train", "--progress=%s: expected auto, always or never", text);
}

weft_status cli_recipe_open(weft_ctx *c, const char *path, const cli_list *set,
                            weft_train_options *o, weft_recipe **out)
{
    int kind;
    char inside[4096];
    WEFT_TRY(weft_look(c, path, &kind));
    if (kind == 2 && snprintf(inside, sizeof inside, "%s/recipe.txtpb", path) < (int)sizeof inside)
        WEFT_TRY(weft_look(c, inside, &kind));
    else
        kind = 0;
    if (kind) { /* else the folder itself is what cannot be read as a recipe */
        o->dir = o->dir ? o->dir : path;
        path = inside;
    }
    return weft_recipe_load(c, path, set->item, set->n, out);
}

int verb_train(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    const char *resume = NULL, *progress = "auto";
    int64_t threads = 0, steps = -1;
    bool json = false, quiet = false;
    char steps_text[48];
    weft_train_options o = {0};
    const cli_option option[] = {
        {"out", CLI_TEXT, &o.dir, "DIR", "run directory (default: runs/NAME)", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE",
         "field of the recipe (train.steps=5) or parameter of the model", 0, 0},
        {"resume", CLI_MAYBE, &resume, "auto|never",
         "go on from the newest checkpoint; auto: if there is one", 0, 0},
        {"steps", CLI_INT, &steps, "N", "the same as --set train.steps=N", 0, 1e12},
        {"stop-at", CLI_INT, &o.stop_at, "N",
         "save and stop when N steps are done, as a signal would", 0, 1e12},
        {"threads", CLI_INT, &threads, "N",
         "threads (default: all cores); results do not depend on it", 1, 1024},
        {"no-rewrite", CLI_FLAG, &o.no_rewrite, NULL, "without rewrite rules", 0, 0},
        {"progress", CLI_TEXT, &progress, "WHEN",
         "one live line: auto (on a terminal), always or never", 0, 0},
        {"quiet", CLI_FLAG, &quiet, NULL, "no progress", 0, 0},
        {"json", CLI_FLAG, &json, NULL, "the outcome as JSON on standard output", 0, 0},
        {0}};
    const cli_spec spec = {
        "train",
        "RECIPE|RUN [OPTION]...",
        "Trains a model by a recipe. The run directory gets the recipe and the model as run, "
        "log.jsonl,\n"
        "timing.jsonl and checkpoints. SIGINT, SIGTERM and SIGHUP finish the step, save and stop "
        "(exit 130, 143\n"
        "and 129); a second SIGINT or SIGTERM leaves at once. --resume goes on with the same bits.",
        option,
        1,
        1};
    cli_progress p;
    cli_progress_mode mode = PROGRESS_AUTO;
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = cli_resume("train", resume, &o.resume)) >= 0 ||
        (code = choose_progress(progress, &mode)) >= 0)
        return code;
    cli_progress_init(&p, mode, quiet);
    /* behind all --set, as the last one counts */
    if (steps >= 0 && set.n < CLI_LIST_MAX) {
        snprintf(steps_text, sizeof steps_text, "train.steps=%lld", (long long)steps);
        set.item[set.n++] = steps_text;
    }
    weft_recipe *r = NULL;
    if (cli_recipe_open(c, argv[0], &set, &o, &r))
        return cli_fail(c);
    /* the recipe's own number would be taken when training begins */
    if (threads && (weft_recipe_set(r, "train.threads=0") || weft_threads_set(c, (int)threads))) {
        weft_recipe_free(r);
        return cli_fail(c);
    }
    code = train(c, r, &o, &p, json);
    weft_recipe_free(r);
    return code;
}
