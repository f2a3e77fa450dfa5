/* run.c - weft run: a model once, on inputs from files or on random ones, and what comes out. */
#include <math.h>
#include <string.h>

#include "tools/profile.h"

typedef struct {
    cli_list set, input, feed, fetch;
    const char *weights, *output, *disable;
    int64_t seed, below, show, repeat;
    bool train, reference, check_nan, profile, json;
} settings;

typedef struct {
    weft_model *model;
    weft_graph *whole, *graph; /* as the file says; where --feed has made values inputs */
    weft_session *session;
    weft_program *program;
    const char *fetch[CLI_LIST_MAX];
    int n_fetch;
} objects;

/* The graph in which the values of --feed are inputs. */
static weft_status cut(const settings *o, objects *x)
{
    static char name[CLI_LIST_MAX][256];
    const char *feed[CLI_LIST_MAX];
    for (int i = 0; i < o->feed.n; i++) {
        snprintf(name[i], sizeof name[i], "%.*s", (int)strcspn(o->feed.item[i], "="),
                 o->feed.item[i]);
        feed[i] = name[i];
    }
    return weft_graph_feed(x->whole, feed, o->feed.n, x->fetch, x->n_fetch, &x->graph);
}

static weft_status load(weft_ctx *c, const char *path, const settings *o, objects *x)
{
    const weft_compile_options w = {.train = o->train,
                                    .check_nan = o->check_nan,
                                    .profile = o->profile,
                                    .no_rewrite = o->disable && !*o->disable,
                                    .disable_rules = o->disable && *o->disable ? o->disable : NULL};
    weft_status s = weft_model_load(c, path, o->set.item, o->set.n, &x->model);
    if (!s && o->weights)
        s = weft_weights_tell(x->model, o->weights, o->set.item, o->set.n);
    if (!s)
        s = weft_graph_expand(x->model, &x->whole);
    if (!s)
        s = weft_session_new(c, o->reference, &x->session);
    if (s)
        return s;
    for (; x->n_fetch < o->fetch.n; x->n_fetch++)
        x->fetch[x->n_fetch] = o->fetch.item[x->n_fetch];
    const char *name;
    for (int i = 0;
         !o->fetch.n && i < CLI_LIST_MAX && (name = weft_graph_output_at(x->whole, i, NULL)); i++)
        x->fetch[x->n_fetch++] = name;
    s = cut(o, x);
    if (!s)
        s = weft_program_compile(x->session, x->graph, x->fetch, x->n_fetch, &w, &x->program);
    if (!s)
        /* Also weights that a fed value made useless: a file that has them is not refused for it.
         */
        s = weft_session_add_states(x->session, x->whole);
    if (!s && o->weights)
        s = weft_weights_load(x->session, o->weights, "");
    return s ? s : weft_session_init(x->session, (uint64_t)o->seed);
}

/* File of NAME=FILE in a list, or NULL. */
static const char *find_file(const cli_list *l, const char *name)
{
    size_t n = strlen(name);
    /* the last one counts, as with --set */
    for (int i = l->n - 1; i >= 0; i--)
        if (!strncmp(l->item[i], name, n) && l->item[i][n] == '=')
            return l->item[i] + n + 1;
    return NULL;
}

static const char *file_of(const settings *o, const char *name)
{
    const char *path = find_file(&o->feed, name);
    return path ? path : find_file(&o->input, name);
}

static weft_status check_inputs(weft_ctx *c, const settings *o, const objects *x)
{
    for (int i = 0; i < o->input.n; i++) {
        char name[256];
        size_t n = strcspn(o->input.item[i], "=");
        const char *known = NULL;
        snprintf(name, sizeof name, "%.*s", (int)n, o->input.item[i]);
        for (int k = 0; (known = weft_graph_input_at(x->whole, k, NULL)) && strcmp(known, name);
             k++)
            ;
        if (!known || o->input.item[i][n] != '=')
            return weft_program_feed_file(x->program, name,
                                          ""); /* the library says what there is */
    }
    (void)c;
    return WEFT_OK;
}

static weft_status feed(const settings *o, const objects *x)
{
    weft_type t;
    const char *name;
    for (int i = 0; (name = weft_graph_input_at(x->graph, i, NULL)); i++) {
        int64_t *data = weft_program_input(x->program, name, &t);
        const char *path = file_of(o, name);
        weft_status s = WEFT_OK;
        if (!data)
            continue; /* not needed by what is fetched */
        if (path)
            s = weft_program_feed_file(x->program, name, path);
        else if (!strcmp(name, "rng") && t.dtype == WEFT_I64 && weft_type_count(&t) == 2) {
            data[0] = o->seed;
            data[1] = 0;
        } else
            s = weft_program_feed_random(x->program, name, (uint64_t)o->seed, o->below);
        if (s)
            return s;
    }
    return WEFT_OK;
}

static void print_output(const char *name, const weft_type *t, const void *data, int64_t show,
                         bool json, bool first)
{
    char type[160];
    int64_t n = weft_type_count(t);
    double min = INFINITY, max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = weft_element(t, data, i);
        min = v < min ? v : min;
        max = v > max ? v : max;
        sum += v;
    }
    weft_type_print(type, sizeof type, t);
    if (json) {
        printf("%s\n ", first ? "{" : ",");
        cli_json_text(stdout, name);
        printf(":{\"type\":\"%s\"", type);
        cli_json_number(stdout, ",", "min", min);
        cli_json_number(stdout, ",", "max", max);
        cli_json_number(stdout, ",", "mean", sum / (double)n);
        printf(",\"values\":[");
    } else
        cli_put("%-12s %-22s min %.9g  max %.9g  mean %.9g\n", name, type, min, max,
                sum / (double)n);
    for (int64_t i = 0; i < n && i < show; i++) {
        double v = weft_element(t, data, i);
        fputs(i ? json ? "," : " " : json ? "" : "  ", stdout);
        if (json)
            cli_json_value(stdout, v, 17);
        else
            printf("%.9g", v);
    }
    printf(json ? "]}" : show > 0 ? "\n" : "");
}

static void print_results(const settings *o, const objects *x)
{
    weft_type t;
    for (int i = 0; i < x->n_fetch; i++) {
        const void *data = weft_program_output(x->program, x->fetch[i], &t);
        if (data)
            print_output(x->fetch[i], &t, data, o->show, o->json, i == 0);
    }
    if (o->json)
        printf("\n}\n");
    if (o->profile) {
        profile_table table = {.n = 0};
        profile_add(&table, x->program, o->repeat);
        profile_sort(&table);
        profile_print(&table, stderr);
    }
}

static weft_status run(weft_ctx *c, const char *path, const settings *o, objects *x)
{
    weft_status s = load(c, path, o, x);
    if (!s)
        s = check_inputs(c, o, x);
    for (int64_t i = 0; i < o->repeat && !s; i++) {
        s = feed(o, x);
        if (!s)
            s = weft_program_run(x->program);
    }
    if (s)
        return s;
    print_results(o, x);
    return o->output ? weft_program_save(x->program, x->fetch, x->n_fetch, o->output) : WEFT_OK;
}

int verb_run(weft_ctx *c, int argc, char **argv)
{
    settings o = {.seed = 1, .below = 2, .show = 8, .repeat = 1};
    int64_t threads = 0;
    const cli_option option[] = {
        {"input", CLI_LIST, &o.input, "NAME=FILE",
         "an input: .safetensors, .txt (numbers) or raw bytes", 0, 0},
        {"feed", CLI_LIST, &o.feed, "NAME=FILE",
         "any value by name: becomes an input, what computed it is left out (without =FILE: "
         "random)",
         0, 0},
        {"fetch", CLI_LIST, &o.fetch, "NAME",
         "an output or any value by name (default: all outputs)", 0, 0},
        {"set", CLI_LIST, &o.set, "NAME=VALUE", "parameter of the model", 0, 0},
        {"weights", CLI_TEXT, &o.weights, "PATH",
         "safetensors file or checkpoint folder (default: start values)", 0, 0},
        {"output", CLI_TEXT, &o.output, "FILE", "write what was fetched as safetensors", 0, 0},
        {"seed", CLI_INT, &o.seed, "N", "of start values, random inputs and dropout (default 1)", 0,
         9e18},
        {"below", CLI_INT, &o.below, "N", "random integers are in 0..N-1 (default 2)", 1, 1e15},
        {"show", CLI_INT, &o.show, "N", "print the first N elements (default 8)", 0, 1e15},
        {"repeat", CLI_INT, &o.repeat, "N", "run N times (for profiles)", 1, 1e9},
        {"train", CLI_FLAG, &o.train, NULL,
         "as in training: with dropout, and with updates of states", 0, 0},
        {"reference", CLI_FLAG, &o.reference, NULL,
         "in double precision, with the plain reference kernels", 0, 0},
        {"check-nan", CLI_FLAG, &o.check_nan, NULL,
         "stop at the first value that is NaN or Inf (exit 80)", 0, 0},
        {"profile", CLI_FLAG, &o.profile, NULL, "time by op, on standard error", 0, 0},
        {"no-rewrite", CLI_MAYBE, &o.disable, "RULES", "without rewrite rules, or without these", 0,
         0},
        {"threads", CLI_INT, &threads, "N", "threads (default: all cores)", 1, 1024},
        {"json", CLI_FLAG, &o.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "run",
        "MODEL [OPTION]...",
        "Runs a model once and prints what it gives. Inputs without a file are random.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (threads && weft_threads_set(c, (int)threads))
        return cli_fail(c);
    objects x = {.n_fetch = 0};
    code = run(c, argv[0], &o, &x) ? cli_fail(c) : WEFT_OK;
    weft_session_free(x.session);
    weft_graph_free(x.graph);
    weft_graph_free(x.whole);
    weft_model_free(x.model);
    return code;
}
