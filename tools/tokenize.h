/* tokenize.h - what the files of `weft tokenize` share: text options, and workers that share out
 * segments. */
#ifndef WEFT_TOOLS_TOKENIZE_H
#define WEFT_TOOLS_TOKENIZE_H

#include "tools/bpe.h"
#include "tools/documents.h"
#include "tools/verbs.h"

/* ---- the texts to read, from options and arguments ---- */
typedef struct {
    const char *documents; /* --documents */
    const char *separator; /* --doc-separator */
    int64_t threads;       /* --threads, 0: all */
    bool spelled;          /* --split-special-tokens */
    bool as_text;          /* --as-text */
    const weft_bpe *bpe;   /* whose added tokens stay whole; NULL: there are none */
    char **path;
    int n_paths;
} tokenize_texts;

/* clang-format off */
#define TOKENIZE_TEXT_OPTIONS(t)                                                                   \
    {"documents", CLI_TEXT, &(t)->documents, "HOW",                                                \
     "mark (default): <|endoftext|> stands between documents; blank: blank lines do; file: one a " \
     "file", 0, 0},                                                                                \
    {"doc-separator", CLI_TEXT, &(t)->separator, "TEXT",                                           \
     "what stands between documents instead", 0, 0},                                               \
    {"threads", CLI_INT, &(t)->threads, "N",                                                       \
     "threads (default: all cores); the output is the same", 1, 1024},                             \
    {"as-text", CLI_FLAG, &(t)->as_text, NULL,                                                     \
     "take files as text that look binary, like an archive, or like JSON", 0, 0}
#define TOKENIZE_SPELLED_OPTION(to)                                                                \
    {"split-special-tokens", CLI_FLAG, to, NULL,                                                   \
     "spell <|endoftext|> and other special tokens in a text (default: their one id)", 0, 0}
/* clang-format on */

/* Opens them; WEFT_USAGE for options that make no sense, WEFT_MALFORMED for files that are no text.
 */
weft_status tokenize_open(weft_ctx *c, const tokenize_texts *t, weft_documents **out);

/* Refuses a file that is no text (MALFORMED): one of another format, binary, JSON lines, a
 * JSON array of objects. */
weft_status tokenize_check_file(weft_ctx *c, const char *path);
/* The same for n bytes that came from `name`. */
weft_status tokenize_check_text(weft_ctx *c, const char *name, const char *text, size_t n);

/* ---- workers: one per thread, each with a context of its own ---- */
typedef struct {
    weft_ctx *ctx;
    weft_encoder *encoder; /* when there is a tokenizer */
    weft_counts *counts;   /* when there is none */
    weft_ids ids;
} tokenize_worker;

typedef struct {
    weft_ctx *ctx;
    tokenize_worker *worker;
    int n;
} tokenize_crew;

/* `t` NULL: workers that count pieces. n 0: as many as the context has threads. */
weft_status tokenize_crew_open(weft_ctx *c, const weft_bpe *t, int64_t n, tokenize_crew *out);
void tokenize_crew_close(tokenize_crew *k);
weft_status tokenize_crew_check(tokenize_crew *k); /* passes on the failure of a worker */

/* ---- progress: a line a second with rate and time left ---- */
typedef struct {
    weft_ctx *ctx;
    const char *what;
    int64_t start, last; /* ns */
} tokenize_progress;
tokenize_progress tokenize_progress_start(weft_ctx *c, const char *what);
void tokenize_progress_bytes(tokenize_progress *p, int64_t done, int64_t total);
void tokenize_progress_items(tokenize_progress *p, const char *unit, int64_t done, int64_t total);

/* The bytes of a token in quotes, all but printable ASCII as \\xNN. */
void tokenize_print_token(FILE *f, const weft_bpe *t, int32_t id);

/* ---- subcommands: argv[0] is its name ---- */
int tokenize_train(weft_ctx *c, int argc, char **argv);
int tokenize_encode(weft_ctx *c, int argc, char **argv);
int tokenize_count(weft_ctx *c, int argc, char **argv);
int tokenize_ids(weft_ctx *c, int argc, char **argv);
int tokenize_decode(weft_ctx *c, int argc, char **argv);

#endif
