/* weft.c - the tool: a table of verbs, and the choice of one. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "graph/util.h"
#include "tools/verbs.h"

typedef struct {
    const char *name, *help;
    int (*run)(weft_ctx *c, int argc, char **argv);
} verb;

static const verb verbs[] = {
    {"check", "load, expand, verify, differentiate and plan a model or recipe, without running it",
     verb_check},
    {"show", "print a model at any stage, or draw it", verb_show},
    {"train", "train a model by a recipe; resume, stop and go on", verb_train},
    {"eval", "loss, perplexity, bits per byte on a token file", verb_eval},
    {"generate", "continue a prompt", verb_generate},
    {"compare", "runs against each other: loss by tokens and by FLOPs, over seeds", verb_compare},
    {"steer", "save a model with some of its concepts turned up or down", verb_steer},
    {"concepts", "concepts of a text, contexts and effects of a concept, a page of all",
     verb_concepts},
    {"gradcheck", "compare the gradients of a model with central differences", verb_gradcheck},
    {"run", "run a model once on files or random inputs", verb_run},
    {"bench", "measure a training step: tokens/s, share of the machine, time by op", verb_bench},
    {"pack", "merge a model file and its imports into one file", verb_pack},
    {"labels", "compute the labels of a frozen extractor once, for training to read", verb_labels},
    {"ops", "list the ops, the schema of one, or the rewrite rules", verb_ops},
    {"import", "weights of another program: GPT-2, CoCoMix, sparse autoencoders", verb_import},
    {"export", "weights for another program", verb_export},
    {"weights", "list the tensors of files, their statistics, how two files differ", verb_weights},
    {"tokenize", "byte-level BPE: train a vocabulary, encode a corpus, decode ids", verb_tokenize},
};
enum { N_VERBS = (int)(sizeof verbs / sizeof *verbs) };

static void print_verbs(FILE *f)
{
    fprintf(f, "usage: weft VERB [ARGUMENT]... [OPTION]...\n\n");
    for (int i = 0; i < N_VERBS; i++)
        fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    fprintf(f, "\n'weft help VERB' tells more; 'weft --version' what it was built with.\n");
}

static const verb *find_verb(const char *name)
{
    for (int i = 0; i < N_VERBS; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[N_VERBS];
    for (int i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    char hint[300];
    return cli_usage(NULL, "unknown verb '%s'%s", name,
                     weft_suggest(hint, sizeof hint, name, "there are", names, N_VERBS));
}

/* `weft help VERB` is `weft VERB --help`. */
static int help(weft_ctx *c, int argc, char **argv)
{
    if (argc < 2) {
        print_verbs(stdout);
        return WEFT_OK;
    }
    const verb *v = find_verb(argv[1]);
    if (!v)
        return unknown_verb(argv[1]);
    char option[] = "--help";
    char *args[] = {argv[1], option, NULL};
    return v->run(c, 2, args);
}

static int print_build(weft_ctx *c)
{
    char *text = NULL;
    if (weft_build_text(c, &text))
        return cli_fail(c);
    return cli_print(c, text);
}

static int dispatch(weft_ctx *c, int argc, char **argv)
{
    if (argc < 2) {
        print_verbs(stdout);
        return WEFT_OK;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "version"))
        return print_build(c);
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(c, argc - 1, argv + 1);
    const verb *v = find_verb(name);
    return v ? v->run(c, argc - 1, argv + 1) : unknown_verb(name);
}

static void log_line(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "weft: %s\n", line);
}

/* Where standard input, output or error was closed, no file that is opened may get its number: what
 * is printed would go into it. The place is taken by something that cannot be used, so that
 * printing still fails. */
static void keep_standard_places(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            _exit(WEFT_IO); /* there is nobody to tell */
}

int main(int argc, char **argv)
{
    keep_standard_places();
    weft_waiting_bound(argv);
    /* A closed pipe or a file-size limit is an error of a write, not a death. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    const weft_options o = {.log = log_line};
    weft_ctx *c = weft_open(&o);
    if (!c) {
        fprintf(stderr, "weft: error: out of memory\n");
        return WEFT_NOMEM;
    }
    int status = cli_finish(c, dispatch(c, argc, argv));
    weft_close(c);
    return status;
}
