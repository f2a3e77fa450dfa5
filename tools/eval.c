/* eval.c - weft eval: loss, perplexity and bits per byte of a trained model on a token file. */
#include <math.h>
#include <unistd.h>

#include "tools/steer.h"
#include "tools/tokens.h"
#include "tools/verbs.h"

typedef struct {
    cli_tokens tokens;
    bool live;
} eval_user;

static void on_progress(void *user, int64_t done, int64_t all)
{
    const eval_user *u = user;
    if (u->live)
        fprintf(stderr, "\rbatch %lld/%lld\033[K%s", (long long)done, (long long)all,
                done == all ? "\r\033[K" : "");
}

static int64_t count_bytes(void *user, const int32_t *ids, int64_t n)
{
    return cli_tokens_bytes(&((eval_user *)user)->tokens, ids, n);
}

static void print_result(const weft_eval_result *r, const char *weights, bool json)
{
    double bits = r->bytes > 0 ? r->loss * (double)r->tokens / (log(2) * (double)r->bytes) : NAN;
    if (json) {
        printf("{\"weights\":");
        cli_json_text(stdout, weights ? weights : "");
        printf(",\"tokens\":%lld,\"bytes\":%lld", (long long)r->tokens, (long long)r->bytes);
        cli_json_number(stdout, ",", "loss", r->loss);
        cli_json_number(stdout, ",", "perplexity", exp(r->loss));
        cli_json_number(stdout, ",", "bits_per_byte", bits);
        for (int i = 0; i < r->n_log; i++)
            cli_json_number(stdout, ",", r->log_name[i], r->log[i]);
        cli_json_number(stdout, ",", "tokens_per_s", (double)r->tokens / r->seconds);
        printf("}\n");
        return;
    }
    cli_put("weights        %s\n", weights ? weights : "start values");
    printf("tokens         %lld\nloss           %.6f\nperplexity     %.4f\n", (long long)r->tokens,
           r->loss, exp(r->loss));
    if (r->bytes > 0)
        printf("bits per byte  %.4f over %lld bytes\n", bits, (long long)r->bytes);
    for (int i = 0; i < r->n_log; i++)
        cli_put("%-14s %.6g\n", r->log_name[i], r->log[i]);
}

static int evaluate(weft_ctx *c, weft_trained *t, const char *data, const char *tokenizer,
                    weft_eval_options *o, eval_user *u, bool json)
{
    weft_eval_result r;
    data = data ? data : weft_trained_file(t, WEFT_RECIPE_VAL);
    if (!data)
        return cli_usage("eval", "--data=FILE is needed: the recipe names no validation data");
    tokenizer = tokenizer ? tokenizer : weft_trained_file(t, WEFT_RECIPE_TOKENIZER);
    if (cli_tokens_open(c, tokenizer, &u->tokens)) {
        weft_trained_note(t, tokenizer);
        return cli_fail(c);
    }
    o->token_bytes = u->tokens.bpe ? count_bytes : NULL;
    o->progress = on_progress;
    o->user = u;
    o->vocab = u->tokens.n;
    u->live = isatty(2);
    if (weft_trained_vocab(t) && u->tokens.n > weft_trained_vocab(t)) {
        fprintf(stderr, "weft: error: the tokenizer has %d tokens, but the model knows only %lld\n",
                u->tokens.n, (long long)weft_trained_vocab(t));
        return WEFT_MISMATCH;
    }
    if (weft_evaluate(t, data, o, &r))
        return cli_fail(c);
    print_result(&r, weft_trained_weights(t), json);
    return WEFT_OK;
}

int verb_eval(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0}, steer = {{0}, 0};
    const char *at = CLI_STEER_AT;
    static cli_steering steering;
    const char *data = NULL, *weights = NULL, *tokenizer = NULL;
    int64_t threads = 0;
    bool json = false;
    weft_eval_options o = {0};
    const cli_option option[] = {
        {"data", CLI_TEXT, &data, "FILE", "token file (default: the recipe's validation data)", 0,
         0},
        {"weights", CLI_TEXT, &weights, "PATH",
         "weights for a recipe or model file: safetensors, folder, checkpoint or run", 0, 0},
        {"tokenizer", CLI_TEXT, &tokenizer, "PATH", "for bits per byte (default: the run's)", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe", 0, 0},
        {"batch", CLI_INT, &o.batch, "N", "sequences at once", 1, 1 << 20},
        {"length", CLI_INT, &o.length, "N", "tokens of a sequence", 1, 1 << 24},
        {"batches", CLI_INT, &o.batches, "N",
         "only the first N whole batches, if there are as many", 1, 1e12},
        {"threads", CLI_INT, &threads, "N", "threads (default: all cores)", 1, 1024},
        {"reference", CLI_FLAG, &o.reference, NULL,
         "in double precision, with the plain reference kernels (slow)", 0, 0},
        {"no-rewrite", CLI_FLAG, &o.no_rewrite, NULL, "without rewrite rules", 0, 0},
        {"steer", CLI_LIST, &steer, "ID*F", CLI_STEER_HELP, 0, 0},
        {"steer-at", CLI_TEXT, &at, "NAME", CLI_STEER_AT_HELP, 0, 0},
        {"json", CLI_FLAG, &json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "eval",
        "RUN|CHECKPOINT|FOLDER|RECIPE|MODEL [OPTION]...",
        "Mean next-token loss, perplexity and bits per byte over consecutive "
        "blocks of a token file.\n"
        "Tokens after the last whole sequence are left out. Labels are read from "
        "data.val_labels if\n"
        "the recipe has them and its own validation data is evaluated.\n"
        "FOLDER (or FILE.safetensors) is a model of another program, such as Hugging Face's GPT-2 "
        "or the\n"
        "official CoCoMix: its config.json says which, and its tokenizer is used. What weights "
        "tell of\n"
        "their model need not be set; a --set that says something else is refused.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = cli_steering_check("eval", &steer)) >= 0)
        return code;
    weft_trained *t = NULL;
    eval_user u = {.tokens = {.ctx = c}};
    if ((threads && weft_threads_set(c, (int)threads)) ||
        cli_steering_parse(c, &steer, at, "all", &steering) ||
        weft_trained_open(c, argv[0], weights, set.item, set.n, &t))
        return cli_fail(c);
    o.intervene = steering.item;
    o.n_intervene = steering.n;
    code = evaluate(c, t, data, tokenizer, &o, &u, json);
    cli_tokens_close(&u.tokens);
    weft_trained_free(t);
    return code;
}
