/* gradcheck.c - weft gradcheck: the gradients of a model against central differences. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "graph/util.h"
#include "tools/verbs.h"

typedef struct {
    bool json, live;
    int n;
    double worst, last; /* seconds of the last live line; 0: there is none */
} listing;

/* On a terminal: one line, drawn again and again, and gone before a result is printed. */
static void on_progress(void *user, const weft_gradcheck_progress *p)
{
    listing *l = user;
    if (!l->live || p->seconds - l->last < (l->last > 0 ? 0.1 : 0.5))
        return;
    l->last = p->seconds;
    double rate = (double)p->done / p->seconds;
    long left = lround((double)(p->all - p->done) / rate);
    char name[64];
    fprintf(stderr, "\rprobe %lld/%lld (%s)  %.3g a second  %ld:%02ld:%02ld left\033[K",
            (long long)p->done, (long long)p->all, weft_printable(name, sizeof name, p->name), rate,
            left / 3600, left / 60 % 60, left % 60);
}

static void print_result(void *user, const weft_gradcheck_result *r)
{
    listing *l = user;
    char count[48];
    if (l->live && l->last > 0)
        fprintf(stderr, "\r\033[K");
    if (l->json) {
        printf("%s{\"name\":", l->n ? ",\n " : "[\n ");
        cli_json_text(stdout, r->name);
        printf(",\"elements\":%lld,\"probes\":%lld,", (long long)r->count, (long long)r->probes);
        cli_json_number(stdout, "", "norm", r->norm);
        printf(",");
        cli_json_number(stdout, "", "error", r->error);
        printf("}");
    } else {
        if (!l->n)
            printf("%-32s %14s %8s %10s %10s\n", "tensor", "elements", "probes", "norm", "error");
        cli_put("%-32s %14s %8lld %10.3g %10.2g%s\n", r->name,
                cli_count(count, sizeof count, r->count), (long long)r->probes, r->norm, r->error,
                r->norm > 0 ? "" : "  zero: not tested");
    }
    l->n++;
    l->worst = r->error > l->worst ? r->error : l->worst;
    fflush(stdout);
}

static weft_status check(weft_ctx *c, const char *path, const cli_list *set,
                         const weft_gradcheck_options *o)
{
    weft_model *m = NULL;
    weft_graph *g = NULL;
    weft_status s = weft_model_load(c, path, set->item, set->n, &m);
    if (!s)
        s = weft_graph_expand(m, &g);
    if (!s)
        s = weft_graph_gradcheck(g, o);
    weft_graph_free(g);
    weft_model_free(m);
    return s;
}

int verb_gradcheck(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    weft_gradcheck_options o = {
        .eps = 1e-5, .tolerance = 1e-7, .elements = 1000, .directions = 64, .ints_below = 2};
    int64_t seed = 1;
    listing l = {0};
    const cli_option option[] = {
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model; may be repeated", 0, 0},
        {"output", CLI_TEXT, &o.output, "NAME", "check this output (default: all float outputs)", 0,
         0},
        {"ints-below", CLI_INT, &o.ints_below, "N", "integer inputs are drawn from 0..N-1", 1,
         2147483647},
        {"elements", CLI_INT, &o.elements, "N", "vary every element of tensors up to this size", 1,
         1e9},
        {"directions", CLI_INT, &o.directions, "N", "random directions for larger tensors", 1, 1e6},
        {"eps", CLI_FLOAT, &o.eps, "X", "step of the differences", 1e-12, 1},
        {"tolerance", CLI_FLOAT, &o.tolerance, "X", "largest relative error allowed", 1e-15, 1},
        {"seed", CLI_INT, &seed, "N", "of weights, inputs and the output's weights", 0, 9e15},
        {"eval", CLI_FLAG, &o.eval, NULL, "outside training: without dropout", 0, 0},
        {"rewrite", CLI_FLAG, &o.rewrite, NULL, "check the rewritten graph", 0, 0},
        {"json", CLI_FLAG, &l.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "gradcheck",
        "MODEL [OPTION]...",
        "Compares the gradients of a model, by every weight and every float input, with central\n"
        "differences in double. What stops gradients by definition (stop_gradient, above, casts,\n"
        "positions of topk) is held where it is. Every element costs two runs on the plain\n"
        "reference kernels: make the model small with --set. Exit code 1: a gradient is wrong.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    o.seed = (uint64_t)seed;
    o.report = print_result;
    o.progress = on_progress;
    l.live = isatty(2);
    o.user = &l;
    weft_status s = check(c, argv[0], &set, &o);
    if (l.json)
        printf("%s]\n", l.n ? "\n" : "[");
    else if (!s)
        printf("ok: %d tensors, largest error %.2g\n", l.n, l.worst);
    return s ? cli_fail(c) : WEFT_OK;
}
