/* verbs.h - the verbs of the tool, and the one way in which all of them read options, complain and
 * write numbers. */
#ifndef WEFT_TOOLS_VERBS_H
#define WEFT_TOOLS_VERBS_H

#include <stdio.h>

#include "graph/weft.h"

/* A verb gets argv with argv[0] = its own name; it returns the exit code, a weft_status. */
int verb_check(weft_ctx *c, int argc, char **argv);
int verb_pack(weft_ctx *c, int argc, char **argv);
int verb_show(weft_ctx *c, int argc, char **argv);
int verb_train(weft_ctx *c, int argc, char **argv);
int verb_eval(weft_ctx *c, int argc, char **argv);
int verb_generate(weft_ctx *c, int argc, char **argv);
int verb_gradcheck(weft_ctx *c, int argc, char **argv);
int verb_run(weft_ctx *c, int argc, char **argv);
int verb_bench(weft_ctx *c, int argc, char **argv);
int verb_labels(weft_ctx *c, int argc, char **argv);
int verb_ops(weft_ctx *c, int argc, char **argv);
int verb_compare(weft_ctx *c, int argc, char **argv);
int verb_steer(weft_ctx *c, int argc, char **argv);
int verb_import(weft_ctx *c, int argc, char **argv);
int verb_export(weft_ctx *c, int argc, char **argv);
int verb_concepts(weft_ctx *c, int argc, char **argv);
int verb_weights(weft_ctx *c, int argc, char **argv);
int verb_tokenize(weft_ctx *c, int argc, char **argv);

/* ---- options: one table gives the parser, --help, and the man page ---- */
typedef enum {
    CLI_FLAG,  /* bool */
    CLI_TEXT,  /* const char * */
    CLI_MAYBE, /* const char *, the argument may be left out: "--resume[=auto]"; then the text is ""
                */
    CLI_INT,   /* int64_t in min..max */
    CLI_FLOAT, /* double in min..max */
    CLI_LIST   /* cli_list: may be repeated */
} cli_kind;

enum { CLI_LIST_MAX = 256 };

typedef struct {
    const char *item[CLI_LIST_MAX];
    int n;
} cli_list;

typedef struct {
    const char *name; /* without dashes; NULL ends the table */
    cli_kind kind;
    void *to;        /* where the value goes; holds the default before parsing */
    const char *arg; /* what --help calls the argument: "N", "FILE" */
    const char *help;
    double min, max; /* INT, FLOAT: inclusive, when min < max */
} cli_option;

typedef struct {
    const char *verb;
    const char *args; /* "MODEL [OPTION]..." */
    const char *doc;  /* a paragraph for --help */
    const cli_option *option;
    int min_args, max_args; /* positional arguments */
} cli_spec;

/* Reads options (GNU style, anywhere on the line). On return argv[0..*argc-1] are the positional
 * arguments. Returns -1 to go on, or the exit code: 0 after --help, WEFT_USAGE after a complaint on
 * stderr. */
int cli_parse(const cli_spec *s, int *argc, char ***argv);
/* The first option of the line that cli_parse read last that is one of `names` (NULL ends them), or
 * NULL: to refuse what would be ignored. */
const char *cli_given(const char *const *names);

/* ---- talking ---- */
int cli_fail(weft_ctx *c); /* prints the error of c; returns its status */
int cli_usage(const char *verb, const char *fmt, ...)
    WEFT_PRINTF(2, 3);                   /* prints a complaint; returns WEFT_USAGE */
/* flushes stdout; one that is full is WEFT_IO with a message, a pipe without a reader 141 without */
int cli_finish(weft_ctx *c, int status);
/* Records WEFT_IO if standard output took no more; cli_fail says nothing then if its reader left. */
weft_status cli_written(weft_ctx *c);
int cli_print(weft_ctx *c, char *text);  /* prints text of the library and frees it; returns 0 */
/* May --OPTION=PATH be written? CANTCREATE if there is a file already that does not begin with one
 * of `begins` (NULL ends them): a file of another kind, named by a slip. An empty file may. */
weft_status cli_check_output(weft_ctx *c, const char *option, const char *path,
                             const char *const *begins);
/* Refuses text[0..n), all of the file `name`, if it cannot be meant as text: MALFORMED. */
weft_status cli_check_text(weft_ctx *c, const char *name, const void *text, size_t n);
/* printf to standard error and to standard output, where what %s inserts is visible (weft_format of
 * util.h): for lines with names of files and of what is in them. At most 4095 bytes. */
void cli_say(const char *fmt, ...) WEFT_PRINTF(1, 2);
void cli_put(const char *fmt, ...) WEFT_PRINTF(1, 2);
void cli_put_lines(const char *text); /* a text of many lines, whole */
/* "s" with escapes; bytes that are no UTF-8 become U+FFFD, since JSON cannot say them */
void cli_json_text(FILE *f, const char *s);
void cli_json_bytes(FILE *f, const char *s, size_t n); /* of n bytes, 0 among them */
/* A number of so many digits, or null when v is not finite. */
void cli_json_value(FILE *f, double v, int digits);
/* before"key":number, the key with escapes */
void cli_json_number(FILE *f, const char *before, const char *key, double v);
const char *cli_count(char *buf, size_t n, int64_t v);    /* 124,439,808 */
const char *cli_bytes(char *buf, size_t n, double bytes); /* "1.21 GiB" */

#endif
