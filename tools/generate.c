/* generate.c - weft generate: text that continues a prompt, streamed as it is drawn. */
#include <errno.h>
#include <string.h>

#include "graph/io.h"
#include "tools/columns.h"
#include "tools/signals.h"
#include "tools/steer.h"
#include "tools/tokens.h"
#include "tools/verbs.h"

enum { COLUMN = 58 };

typedef struct {
    cli_tokens tokens;
    weft_decoder decoder;
    weft_ids prompt, drawn;
    bool ids, json, to_end;   /* ids: print numbers; to_end: go on after the end of a text */
    bool compare;             /* nothing is printed before both texts are there */
    int64_t first, end;       /* ids of the tokens that begin and end a text, or -1 */
    bool spelled;             /* special tokens in the prompt */
    bool begun;               /* a line of the text is on standard output, not ended */
    weft_string text;         /* decoded so far (JSON, compare), or not yet printed */
    const volatile int *stop; /* a signal that asks for the end */
} speaker;

/* A whole stream, however long: a model goes on from its end. NULL with a message. */
static char *read_stream(weft_ctx *c, FILE *f, const char *name, size_t *n)
{
    weft_string s;
    char *out = NULL, buf[1 << 16];
    weft_string_init(&s, c);
    for (size_t k; !s.failed && (k = fread(buf, 1, sizeof buf, f)) > 0;)
        weft_string_add(&s, buf, k);
    if (ferror(f))
        weft_io_fail(c, WEFT_MISSING, "read", name);
    *n = s.len;
    if (!weft_error_status(c) && !cli_check_text(c, name, s.s ? s.s : "", s.len))
        weft_string_take(&s, &out);
    else
        weft_string_free(&s);
    return out;
}

/* TEXT, @FILE or - (standard input). The result is released with weft_text_free. */
static char *read_prompt(weft_ctx *c, const char *spec, size_t *n)
{
    char *text = NULL;
    if (!strcmp(spec, "-"))
        return read_stream(c, stdin, "standard input", n);
    if (!strcmp(spec, "@")) {
        weft_fail(c, WEFT_USAGE, "--prompt=@: expected the name of a file behind the @");
        return NULL;
    }
    if (*spec == '@') {
        FILE *f = fopen(spec + 1, "rb");
        if (!f)
            weft_io_fail(c, WEFT_MISSING, "open", spec + 1);
        else {
            text = read_stream(c, f, spec + 1, n);
            fclose(f);
        }
        return text;
    }
    weft_string s;
    weft_string_init(&s, c);
    *n = strlen(spec);
    weft_string_add(&s, spec, *n);
    weft_string_take(&s, &text);
    return text;
}

/* "12 5,7": ids between blanks and commas. */
static weft_status parse_ids(weft_ctx *c, char *text, weft_ids *out)
{
    char *save = NULL;
    for (char *w = strtok_r(text, " \t\r\n,", &save); w; w = strtok_r(NULL, " \t\r\n,", &save)) {
        int64_t id;
        char word[64];
        if (!weft_parse_i64(w, &id) || id < 0 || id > INT32_MAX)
            return weft_fail(c, WEFT_USAGE, "--prompt: '%s' is no token id",
                             weft_printable(word, sizeof word, w));
        WEFT_TRY(weft_ids_reserve(out, 1));
        out->id[out->n++] = (int32_t)id;
    }
    return WEFT_OK;
}

static weft_status encode_prompt(weft_ctx *c, speaker *s, const char *spec)
{
    size_t n = 0;
    char *text = read_prompt(c, spec, &n);
    if (!text)
        return weft_error_status(c);
    weft_status status;
    if (s->ids)
        status = parse_ids(c, text, &s->prompt);
    else
        status = weft_bpe_encode(c, s->tokens.bpe, text, n, !s->spelled, &s->prompt);
    weft_text_free(c, text);
    /* an empty text begins where every text begins: behind the end of another, if nothing else */
    const int64_t first = s->first >= 0 ? s->first : s->end;
    if (!status && !s->prompt.n && !s->ids && first >= 0) {
        status = weft_ids_reserve(&s->prompt, 1);
        if (!status)
            s->prompt.id[s->prompt.n++] = (int32_t)first;
    }
    return status;
}

static void flush_text(speaker *s)
{
    if (s->json || s->compare || !s->text.len)
        return;
    fwrite(s->text.s, 1, s->text.len, stdout);
    fflush(stdout);
    s->begun = s->text.s[s->text.len - 1] != '\n';
    s->text.len = 0;
}

static bool on_token(void *user, int32_t id)
{
    speaker *s = user;
    /* the end of a text is a token: what follows it would be another text */
    if (!s->to_end && id == s->end)
        return false;
    if (weft_ids_reserve(&s->drawn, 1))
        return false;
    s->drawn.id[s->drawn.n++] = id;
    if (s->ids) {
        weft_string_printf(&s->text, "%s%d", s->drawn.n > 1 ? " " : "", id);
        flush_text(s);
        return !ferror(stdout) && !*s->stop;
    }
    if (weft_decoder_add(&s->decoder, id, &s->text))
        return false;
    flush_text(s);
    return !ferror(stdout) && !*s->stop;
}

/* Ids that no tokenizer can show are never drawn: a model may have more than there are tokens. */
static bool is_known(void *user, int32_t id)
{
    return cli_tokens_known(&((const speaker *)user)->tokens, id);
}

static void print_json_ids(const char *key, const weft_ids *ids)
{
    printf("\"%s\":[", key);
    for (size_t i = 0; i < ids->n; i++)
        printf("%s%d", i ? "," : "", ids->id[i]);
    printf("]");
}

/* One sample: its ids to s->drawn, its text to s->text or to standard output as it is made. All
 * that was drawn is there after an error, too. */
static weft_status draw(weft_ctx *c, weft_generator *g, speaker *s, int64_t number)
{
    s->drawn.n = 0;
    s->decoder = (weft_decoder){.bpe = s->tokens.bpe};
    weft_string_init(&s->text, c);
    for (size_t i = 0; !s->ids && i < s->prompt.n; i++)
        if (s->prompt.id[i] != s->first && s->prompt.id[i] != s->end)
            WEFT_TRY(weft_decoder_add(&s->decoder, s->prompt.id[i], &s->text));
    flush_text(s);
    weft_generator_run(g, (uint32_t)number); /* or the first error of on_token */
    if (!s->ids)
        weft_decoder_end(&s->decoder, &s->text);
    flush_text(s);
    return weft_error_status(c);
}

static void print_json_text(const char *key, const weft_string *text)
{
    printf(",\"%s\":", key);
    cli_json_bytes(stdout, text->s ? text->s : "", text->len);
}

/* For columns of a terminal, where byte 0 would end the text. */
static const char *shown(weft_string *text)
{
    for (size_t i = 0; i < text->len; i++)
        if (!text->s[i])
            text->s[i] = ' ';
    return text->s ? text->s : "";
}

/* The end of an object: why there is no more. */
static void print_json_end(weft_ctx *c, weft_status status)
{
    if (status) {
        const char *why = weft_error(c);
        printf(",\"error\":");
        cli_json_bytes(stdout, why, strlen(why));
    }
    printf("}\n");
}

static int speak(weft_ctx *c, weft_generator *g, speaker *s, int64_t number, int64_t of)
{
    weft_status status = draw(c, g, s, number);
    if (status && s->begun) /* the message has a line of its own */
        printf("\n");
    s->begun = false;
    if (s->json) {
        printf("{\"sample\":%lld,", (long long)number);
        print_json_ids("prompt", &s->prompt);
        printf(",");
        print_json_ids("tokens", &s->drawn);
        if (!s->ids)
            print_json_text("text", &s->text);
        print_json_end(c, status);
    } else if (!status)
        printf("\n%s", number + 1 < of && !*s->stop ? "---\n" : "");
    weft_string_free(&s->text);
    return status ? cli_fail(c) : WEFT_OK;
}

/* One sample without and with steering, side by side. */
static void print_both(weft_ctx *c, speaker *s, const weft_ids *plain, weft_string *text,
                       int64_t number, int64_t of)
{
    static const char *const title[] = {"unsteered", "steered"};
    if (!s->json) {
        cli_columns(stdout, title, (const char *const[]){shown(text), shown(&s->text)}, COLUMN);
        printf("%s", number + 1 < of ? "---\n" : "");
        return;
    }
    printf("{\"sample\":%lld,", (long long)number);
    print_json_ids("prompt", &s->prompt);
    printf(",");
    print_json_ids(title[0], plain);
    printf(",");
    print_json_ids(title[1], &s->drawn);
    if (!s->ids) {
        print_json_text("unsteered_text", text);
        print_json_text("steered_text", &s->text);
    }
    print_json_end(c, weft_error_status(c));
}

static int compare(weft_ctx *c, weft_generator *plain, weft_generator *steered, speaker *s,
                   int64_t number, int64_t of)
{
    weft_ids first = {.ctx = c};
    weft_string text;
    weft_status status = draw(c, plain, s, number);
    text = s->text;
    weft_ids kept = s->drawn;
    s->drawn = first;
    if (!status && !*s->stop)
        status = draw(c, steered, s, number);
    else
        weft_string_init(&s->text, c);
    print_both(c, s, &kept, &text, number, of);
    weft_ids_free(&kept);
    weft_string_free(&text);
    weft_string_free(&s->text);
    return status ? cli_fail(c) : WEFT_OK;
}

/* Compiled once, whatever the number of samples. */
static int speak_all(weft_ctx *c, weft_trained *t, const weft_generate_options *o, speaker *s,
                     int64_t samples)
{
    weft_generator *g = NULL, *plain = NULL;
    weft_generate_options without = *o;
    without.n_intervene = 0;
    int code =
        weft_generator_new(t, o, &g) || (s->compare && weft_generator_new(t, &without, &plain))
            ? cli_fail(c)
            : WEFT_OK;
    for (int64_t i = 0; i < samples && !code && !*s->stop; i++)
        code = s->compare ? compare(c, plain, g, s, i, samples) : speak(c, g, s, i, samples);
    weft_generator_free(plain);
    weft_generator_free(g);
    return code ? code : *s->stop ? 128 + *s->stop : WEFT_OK;
}

static int generate(weft_ctx *c, weft_trained *t, const char *prompt, const char *tokenizer,
                    weft_generate_options *o, speaker *s, int64_t samples)
{
    const char *path = tokenizer ? tokenizer
                       : s->ids  ? NULL
                                 : weft_trained_file(t, WEFT_RECIPE_TOKENIZER);
    if (weft_error_status(c))
        return cli_fail(c);
    if (!s->ids && !path)
        return cli_usage(
            "generate",
            "the run names no tokenizer: give --tokenizer=PATH, or --ids for bare token ids");
    if (cli_tokens_open(c, path, &s->tokens)) {
        weft_trained_note(t, path);
        return cli_fail(c);
    }
    if (weft_trained_ids(t, path, &s->first, &s->end) || encode_prompt(c, s, prompt))
        return cli_fail(c);
    if (s->ids) /* bare numbers go on through ends of texts */
        s->end = -1;
    o->prompt = s->prompt.id;
    o->n_prompt = (int64_t)s->prompt.n;
    o->token = on_token;
    o->known = is_known;
    o->user = s;
    return speak_all(c, t, o, s, samples);
}

int verb_generate(weft_ctx *c, int argc, char **argv)
{
    static cli_steering steering;
    cli_list set = {{0}, 0}, steer = {{0}, 0};
    const char *at = CLI_STEER_AT, *on = "all";
    const char *prompt = "", *weights = NULL, *tokenizer = NULL;
    int64_t threads = 0, samples = 1, seed = 1;
    speaker s = {.tokens = {.ctx = c}, .prompt = {.ctx = c}, .drawn = {.ctx = c}};
    weft_generate_options o = {.n_new = 100, .temperature = 0.8, .top_p = 1};
    const cli_option option[] = {
        {"prompt", CLI_TEXT, &prompt, "TEXT",
         "text to go on from; @FILE: a file; -: standard input", 0, 0},
        {"tokens", CLI_INT, &o.n_new, "N", "tokens to draw (default 100)", 0, 1e9},
        {"temperature", CLI_FLOAT, &o.temperature, "X", "0: always the most probable (default 0.8)",
         0, 1e3},
        {"top-k", CLI_INT, &o.top_k, "K", "only the K most probable; 0 (default): all", 0, 1e9},
        {"top-p", CLI_FLOAT, &o.top_p, "P",
         "only the most probable that together have P (default 1)", 1e-9, 1},
        {"seed", CLI_INT, &seed, "N", "of the random numbers (default 1)", 0, 9e18},
        {"n", CLI_INT, &samples, "N", "samples (default 1)", 1, 1e6},
        {"no-cache", CLI_FLAG, &o.no_cache, NULL, "compute the whole window for every token", 0, 0},
        {"to-end", CLI_FLAG, &s.to_end, NULL,
         "do not stop at the token that ends a text (<|endoftext|>, or what the tokenizer or "
         "config.json declares)",
         0, 0},
        {"steer", CLI_LIST, &steer, "ID*F", CLI_STEER_HELP, 0, 0},
        {"steer-at", CLI_TEXT, &at, "NAME", CLI_STEER_AT_HELP, 0, 0},
        {"steer-on", CLI_TEXT, &on, "WHERE", "prompt, generated or all (default) positions", 0, 0},
        {"compare", CLI_FLAG, &s.compare, NULL, "without and with steering, side by side", 0, 0},
        {"split-special-tokens", CLI_FLAG, &s.spelled, NULL,
         "spell <|endoftext|> and other special tokens in the prompt (default: their one id)", 0,
         0},
        {"ids", CLI_FLAG, &s.ids, NULL,
         "the prompt and the output are token ids; needs no tokenizer, and without --tokenizer all "
         "ids of the model may come",
         0, 0},
        {"weights", CLI_TEXT, &weights, "PATH",
         "weights for a recipe or model file: safetensors, folder, checkpoint or run", 0, 0},
        {"tokenizer", CLI_TEXT, &tokenizer, "PATH", "instead of the run's", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe", 0, 0},
        {"threads", CLI_INT, &threads, "N", "threads (default: all cores)", 1, 1024},
        {"json", CLI_FLAG, &s.json, NULL, "one object a sample", 0, 0},
        {0}};
    const cli_spec spec = {"generate",
                           "RUN|CHECKPOINT|FOLDER|RECIPE|MODEL [OPTION]...",
                           "Continues a prompt token by token. The same seed gives the same text, "
                           "whatever the threads.\n"
                           "FOLDER (or FILE.safetensors) is a model of another program, such as "
                           "Hugging Face's GPT-2 or the\n"
                           "official CoCoMix: its config.json says which, and its tokenizer is "
                           "used. What weights tell of\n"
                           "their model need not be set; a --set that says something else is "
                           "refused.",
                           option,
                           1,
                           1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = cli_steering_check("generate", &steer)) >= 0)
        return code;
    o.seed = (uint64_t)seed;
    weft_trained *t = NULL;
    if ((threads && weft_threads_set(c, (int)threads)) ||
        cli_steering_parse(c, &steer, at, on, &steering) ||
        weft_trained_open(c, argv[0], weights, set.item, set.n, &t))
        return cli_fail(c);
    s.stop = cli_signals();
    o.intervene = steering.item;
    o.n_intervene = steering.n;
    code = generate(c, t, prompt, tokenizer, &o, &s, samples);
    weft_ids_free(&s.prompt);
    weft_ids_free(&s.drawn);
    cli_tokens_close(&s.tokens);
    weft_trained_free(t);
    return code;
}
