/* tokenize_text.c - `weft tokenize ids` and `decode`: one text to ids, and ids back to text. */
#include <errno.h>
#include <string.h>

#include "graph/data.h"
#include "tools/tokenize.h"

enum { BLOCK = 1 << 12 };

void tokenize_print_token(FILE *f, const weft_bpe *t, int32_t id)
{
    size_t n;
    const char *p = weft_bpe_token(t, id, &n);
    fputc('"', f);
    for (size_t i = 0; p && i < n; i++) {
        unsigned char u = (unsigned char)p[i];
        if (u < 0x20 || u == 0x7F || u == '"' || u == '\\' || u >= 0x80)
            fprintf(f, "\\x%02x", u);
        else
            fputc(u, f);
    }
    fputc('"', f);
}

/* All of standard input. */
static weft_status read_input(weft_ctx *c, weft_string *out)
{
    char buf[BLOCK];
    for (;;) {
        int64_t n = c->io->read(c->io->user, 0, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weft_io_fail(c, WEFT_MISSING, "read", "standard input");
        if (!n)
            return out->failed ? c->status : WEFT_OK;
        weft_string_add(out, buf, (size_t)n);
    }
}

/* ---- ids ---- */
typedef struct {
    const char *tokenizer;
    bool special, spelled, as_text, show, json;
} ids_options;

/* One line of ids, a JSON array, or a line for each token. */
static void print_ids(const weft_bpe *t, const weft_ids *ids, const ids_options *o)
{
    if (o->json)
        printf("[");
    for (size_t i = 0; i < ids->n; i++) {
        const char *gap = o->show || !i ? "" : o->json ? ", " : " ";
        printf("%s%d", gap, ids->id[i]);
        if (o->show) {
            printf("\t");
            tokenize_print_token(stdout, t, ids->id[i]);
            printf("\n");
        }
    }
    printf(o->json ? "]\n" : o->show ? "" : "\n");
}

static weft_status ids_run(weft_ctx *c, const weft_bpe *t, const ids_options *o, const char *text)
{
    weft_string s;
    weft_ids ids = {.ctx = c};
    weft_string_init(&s, c);
    if (text)
        weft_string_add(&s, text, strlen(text));
    weft_status r = text ? c->status : read_input(c, &s);
    if (!r && !text && !o->as_text)
        r = tokenize_check_text(c, "standard input", s.s, s.len);
    if (!r)
        r = weft_bpe_encode(c, t, s.s, s.len, !o->spelled, &ids);
    if (!r)
        print_ids(t, &ids, o);
    weft_ids_free(&ids);
    weft_string_free(&s);
    return r;
}

int tokenize_ids(weft_ctx *c, int argc, char **argv)
{
    ids_options o = {0};
    const cli_option options[] = {
        {"tokenizer", CLI_TEXT, &o.tokenizer, "PATH",
         "tokenizer.json, vocab.json, or a folder with either", 0, 0},
        {"special", CLI_FLAG, &o.special, NULL,
         "<|endoftext|> in the text is its one id: the default", 0, 0},
        TOKENIZE_SPELLED_OPTION(&o.spelled),
        {"as-text", CLI_FLAG, &o.as_text, NULL,
         "take standard input as text that looks binary, like an archive, or like JSON", 0, 0},
        {"show", CLI_FLAG, &o.show, NULL, "one line a token: id, tab, token", 0, 0},
        {"json", CLI_FLAG, &o.json, NULL, "print a JSON array", 0, 0},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const cli_spec spec = {"tokenize ids",
                           "--tokenizer=PATH [TEXT] [OPTION]...",
                           "Prints the ids of a text; without one, of standard input.",
                           options,
                           0,
                           1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (o.special && o.spelled)
        return cli_usage(spec.verb, "--special and --split-special-tokens exclude each other");
    if (!o.tokenizer || (o.show && o.json))
        return cli_usage(spec.verb, o.tokenizer ? "--show and --json exclude each other"
                                                : "--tokenizer is needed");
    weft_bpe *t = NULL;
    weft_status s = weft_bpe_load(c, o.tokenizer, &t);
    if (!s)
        s = ids_run(c, t, &o, argc ? argv[0] : NULL);
    weft_bpe_free(t);
    return s ? cli_fail(c) : WEFT_OK;
}

/* ---- decode ---- */
typedef struct {
    const char *tokenizer, *file;
    int64_t from, count;
} decode_options;

static weft_status write_out(weft_ctx *c, weft_string *s)
{
    if (!s->failed && fwrite(s->s, 1, s->len, stdout) != s->len)
        return cli_written(c);
    s->len = 0;
    return s->failed ? c->status : WEFT_OK;
}

/* In blocks, so that a file of any length is decoded in little memory. */
static weft_status decode_file(weft_ctx *c, const weft_bpe *t, const decode_options *o,
                               weft_string *out)
{
    weft_tokens *f;
    int32_t id[BLOCK];
    weft_decoder d = {.bpe = t};
    WEFT_TRY(weft_tokens_open(c, o->file, weft_bpe_vocab(t), &f));
    int64_t total = weft_tokens_count(f), at = o->from < total ? o->from : total;
    int64_t end = o->count >= 0 && o->count < total - at ? at + o->count : total;
    weft_status s = c->status;
    for (int64_t n; !s && at < end; at += n) {
        n = end - at < BLOCK ? end - at : BLOCK;
        s = weft_tokens_read(f, at, n, id);
        for (int64_t i = 0; !s && i < n; i++)
            s = weft_decoder_add(&d, id[i], out);
        s = s ? s : write_out(c, out);
    }
    weft_tokens_close(f);
    weft_decoder_end(&d, out);
    return s ? s : write_out(c, out);
}

/* One word: an id. */
static weft_status decode_word(weft_ctx *c, weft_decoder *d, const char *word, weft_string *out)
{
    int64_t id;
    char shown[64];
    if (!weft_parse_i64(word, &id) || id < 0 || id > INT32_MAX)
        return weft_fail(c, WEFT_USAGE, "'%s': expected an id, an integer in 0..%d",
                         weft_printable(shown, sizeof shown, word), weft_bpe_vocab(d->bpe) - 1);
    return weft_decoder_add(d, (int32_t)id, out);
}

/* All or nothing: an id that is wrong leaves standard output empty. */
static weft_status decode_words(weft_ctx *c, const weft_bpe *t, char *text, weft_string *out)
{
    weft_decoder d = {.bpe = t};
    char *rest;
    for (char *w = strtok_r(text, " \t\r\n,", &rest); w; w = strtok_r(NULL, " \t\r\n,", &rest))
        WEFT_TRY(decode_word(c, &d, w, out));
    weft_decoder_end(&d, out);
    return write_out(c, out);
}

static weft_status decode_run(weft_ctx *c, const weft_bpe *t, const decode_options *o, int argc,
                              char **argv)
{
    weft_string in, out;
    weft_string_init(&in, c);
    weft_string_init(&out, c);
    weft_status s = c->status;
    for (int i = 0; i < argc; i++)
        weft_string_printf(&in, "%s ", argv[i]);
    if (!s && o->file)
        s = decode_file(c, t, o, &out);
    else if (!s && (argc || !(s = read_input(c, &in))))
        s = in.failed ? c->status : decode_words(c, t, in.s, &out);
    weft_string_free(&in);
    weft_string_free(&out);
    return s;
}

int tokenize_decode(weft_ctx *c, int argc, char **argv)
{
    decode_options o = {.count = -1};
    const cli_option options[] = {
        {"tokenizer", CLI_TEXT, &o.tokenizer, "PATH",
         "tokenizer.json, vocab.json, or a folder with either", 0, 0},
        {"file", CLI_TEXT, &o.file, "FILE.bin", "decode a token file", 0, 0},
        {"from", CLI_INT, &o.from, "N", "with --file: from this token on", 0, 9e15},
        {"count", CLI_INT, &o.count, "N", "with --file: so many tokens (default: all)", 0, 9e15},
        {NULL, CLI_FLAG, NULL, NULL, NULL, 0, 0},
    };
    const cli_spec spec = {
        "tokenize decode",
        "--tokenizer=PATH [--file=FILE.bin | ID...] [OPTION]...",
        "Prints the text of ids: of a token file, of the arguments, or of standard input.",
        options,
        0,
        INT32_MAX};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (!o.tokenizer || (o.file && argc))
        return cli_usage(spec.verb, o.tokenizer ? "either --file or ids" : "--tokenizer is needed");
    weft_bpe *t = NULL;
    weft_status s = weft_bpe_load(c, o.tokenizer, &t);
    if (!s)
        s = decode_run(c, t, &o, argc, argv);
    weft_bpe_free(t);
    return s ? cli_fail(c) : WEFT_OK;
}
