/* import.c - weft import and weft export: weights of other programs, by name maps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/verbs.h"

typedef struct {
    weft_convert_options o;
    cli_list set, field;
    const char *out, *check, *as, *scope, *data, *shard, *show;
    const char *told[CLI_LIST_MAX]; /* of `set`: parameters; the rest is for the recipe */
    int64_t batches;
    bool list, json, set_wanted;
} settings;

/* Every line of `text` after `before`; blanks between them when `sep` says so. */
static void print_lines(FILE *f, const char *before, const char *text, const char *sep)
{
    const char *first = sep;
    for (const char *p = text; p && *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != 0)) {
        fprintf(f, "%s%s%.*s", p == text ? "" : first, before, (int)strcspn(p, "\n"), p);
    }
    if (text && *text)
        fprintf(f, "\n");
}

static void print_json(const settings *s, const weft_convert_result *r)
{
    const char *sep = "";
    printf("{\"out\":");
    cli_json_text(stdout, s->out);
    printf(",\"names\":");
    cli_json_text(stdout, s->o.names);
    printf(",\"tensors\":%d,\"parameters\":%lld,\"bytes\":%lld,\"files\":%d,\"ignored\":%d,"
           "\"copies\":%d,\"outside\":%d,\"set\":[",
           r->tensors, (long long)r->parameters, (long long)r->bytes, r->files, r->ignored, r->tied,
           r->outside);
    for (const char *p = r->set; *p; p += strcspn(p, "\n") + 1) {
        printf("%s\"%.*s\"", sep, (int)strcspn(p, "\n"), p);
        sep = ",";
    }
    printf("]}\n");
}

static void print_result(const settings *s, const weft_convert_result *r)
{
    char count[40], bytes[40];
    if (s->json) {
        print_json(s, r);
        return;
    }
    printf("written     %s: %d tensors, %s parameters, %s", s->out, r->tensors,
           cli_count(count, sizeof count, r->parameters),
           cli_bytes(bytes, sizeof bytes, (double)r->bytes));
    if (r->files > 1)
        printf(" in %d files", r->files);
    printf("\n");
    if (r->ignored || r->tied || r->outside)
        printf("left out    %d as no weights, %d as copies, %d as other parts\n", r->ignored,
               r->tied, r->outside);
    if (s->set_wanted && r->set && *r->set) {
        printf("parameters  ");
        print_lines(stdout, "--set ", r->set, " ");
    }
    print_lines(stdout, "note        ", r->notes, "\n");
}

/* "5GB" is 5e9 as Hugging Face counts, "5GiB" 5 * 2^30, a bare number bytes. */
static bool parse_bytes(const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        double factor;
    } units[] = {{"", 1},     {"B", 1},        {"KB", 1e3},     {"MB", 1e6},
                 {"GB", 1e9}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}};
    char *end;
    double v = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (end != text && !strcmp(end, units[i].unit) && v > 0 && v * units[i].factor < 9e18) {
            *out = (int64_t)(v * units[i].factor);
            return *out > 0;
        }
    return false;
}

/* ---- does a model take what was written? ---- */
static int split_lines(char *text, const char **line, int most)
{
    int n = 0;
    for (char *p = strtok(text, "\n"); p && n < most; p = strtok(NULL, "\n"))
        line[n++] = p;
    return n;
}

static weft_status load_into(weft_ctx *c, const settings *s, weft_model *m)
{
    weft_graph *g = NULL;
    weft_session *session = NULL;
    weft_status st = weft_graph_expand(m, &g);
    if (!st)
        st = weft_session_new(c, false, &session);
    if (!st)
        st = weft_session_add_states(session, g);
    if (!st)
        st = weft_weights_load(session, s->out, s->scope ? s->scope : "");
    weft_session_free(session);
    weft_graph_free(g);
    return st;
}

/* What was meant by the choice of a reading: the one that explains most. Outputs named
 * explained_variance_NAME are the other readings of the same weights. */
static void judge(const weft_eval_result *r)
{
    static const char name[] = "explained_variance";
    double own = NAN, best = -INFINITY;
    const char *reading = "";
    for (int i = 0; i < r->n_log; i++) {
        size_t n = sizeof name - 1;
        if (strncmp(r->log_name[i], name, n))
            continue;
        if (!r->log_name[i][n])
            own = r->log[i];
        else if (r->log[i] > best) {
            best = r->log[i];
            reading = r->log_name[i] + n + 1;
        }
    }
    if (best > own + 0.02) /* more than batches of a few thousand tokens differ by */
        fprintf(
            stderr,
            "weft: warning: read as %s these weights explain %.3f of the variance, as they were "
            "read %.3f: is the description right?\n",
            reading, best, own);
    else if (own < 0.3)
        fprintf(stderr,
                "weft: warning: only %.3f of the variance is explained: are these the activations "
                "that it was trained on (--set t_tap), and the tokens?\n",
                own);
}

/* Runs the recipe with the weights in the place that --as names. */
static weft_status check_recipe(weft_ctx *c, const settings *s, const char *const *set, int n)
{
    weft_trained *t = NULL;
    weft_eval_result r;
    const weft_eval_options o = {.batches = s->batches};
    weft_status st = weft_trained_open(c, s->check, NULL, set, n, &t);
    const char *data = s->data ? s->data : t ? weft_trained_file(t, WEFT_RECIPE_VAL) : NULL;
    if (!st && !data) {
        weft_trained_free(t);
        return (weft_status)cli_usage("import", "--check with a recipe needs --data=TOKENS");
    }
    if (!st)
        st = weft_evaluate(t, data, &o, &r);
    for (int i = 0; !st && i < r.n_log; i++)
        printf(s->json ? "%s{\"name\":\"%s\",\"value\":%.9g}%s" : "%s%-28s %.6f%s",
               s->json && !i ? "[" : "", r.log_name[i], r.log[i],
               !s->json          ? "\n"
               : i + 1 < r.n_log ? ","
                                 : "]\n");
    if (!st)
        judge(&r);
    weft_trained_free(t);
    return st;
}

/* Parameters that the files told come first, those of the command line last. */
static weft_status check_model(weft_ctx *c, const settings *s, char *known)
{
    const char *set[2 * CLI_LIST_MAX + 1];
    char own[512];
    weft_model *m = NULL;
    weft_file_kind kind;
    int n = split_lines(known, set, CLI_LIST_MAX);
    for (int i = 0; i < s->set.n; i++)
        set[n++] = s->set.item[i];
    weft_status st = weft_file_sniff(c, s->check, &kind);
    if (!st && kind == WEFT_FILE_RECIPE) {
        snprintf(own, sizeof own, "%s=%s", s->as, s->out);
        set[n++] = own;
        return check_recipe(c, s, set, n);
    }
    if (!st)
        st = weft_model_load(c, s->check, set, n, &m);
    if (!st)
        st = load_into(c, s, m);
    weft_model_free(m);
    return st;
}

/* ---- verbs ---- */
static int list_maps(weft_ctx *c, const char *name)
{
    char *text;
    return weft_names_text(c, name, &text) ? cli_fail(c) : cli_print(c, text);
}

static int parse(const cli_spec *spec, settings *s, int *argc, char ***argv)
{
    int code = cli_parse(spec, argc, argv);
    if (code >= 0 || s->list || s->show)
        return code;
    if (*argc < 1)
        return cli_usage(spec->verb, "%s takes %s", spec->verb, spec->args);
    if (!s->o.names)
        return cli_usage(spec->verb, "--names=MAP is needed; --list tells which there are");
    if (!s->out)
        return cli_usage(spec->verb, "--out is needed");
    if (s->shard && !parse_bytes(s->shard, &s->o.max_shard))
        return cli_usage(spec->verb, "--max-shard-size=%s: expected a size like 5GB or 500MiB",
                         s->shard);
    for (int i = 0; i < s->set.n; i++)
        if (!memchr(s->set.item[i], '.', strcspn(s->set.item[i], "=")))
            s->told[s->o.n_set++] = s->set.item[i];
    s->o.set = s->told;
    s->o.more_settings = s->check != NULL;
    s->o.field = s->field.item;
    s->o.n_field = s->field.n;
    return -1;
}

int verb_import(weft_ctx *c, int argc, char **argv)
{
    settings s = {.as = "load[1].file", .batches = 16, .set_wanted = true};
    weft_convert_result r;
    const cli_option option[] = {
        {"names", CLI_TEXT, &s.o.names, "MAP", "a shipped name map, or the path of one", 0, 0},
        {"out", CLI_TEXT, &s.out, "FILE", "safetensors file to write", 0, 0},
        {"prefix", CLI_TEXT, &s.o.prefix, "TEXT", "put before every name written", 0, 0},
        {"set", CLI_LIST, &s.set, "NAME=VALUE", "parameter of the model that the files do not tell",
         0, 0},
        {"check", CLI_TEXT, &s.check, "MODEL",
         "load the result into this model file with these parameters, or run it in this recipe", 0,
         0},
        {"data", CLI_TEXT, &s.data, "FILE", "tokens for a recipe's --check", 0, 0},
        {"batches", CLI_INT, &s.batches, "N", "how many of them (default 16)", 1, 1e9},
        {"as", CLI_TEXT, &s.as, "FIELD",
         "field of the recipe that names the weights (default load[1].file)", 0, 0},
        {"scope", CLI_TEXT, &s.scope, "TEXT",
         "with --check: the weights whose names begin so, like sae.", 0, 0},
        {"list", CLI_FLAG, &s.list, NULL, "list the shipped name maps", 0, 0},
        {"show", CLI_TEXT, &s.show, "MAP", "print a shipped name map", 0, 0},
        {"json", CLI_FLAG, &s.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "import",
        "FILE|FOLDER --names=MAP --out=FILE [OPTION]...",
        "Reads weights of another program (safetensors, shards with an index, or a folder) and\n"
        "writes them under the names and in the layout of a model file. Everything that is\n"
        "missing, extra or misshapen is listed. Prints the parameters that the files tell.",
        option,
        0,
        1};
    int code = parse(&spec, &s, &argc, &argv);
    if (code >= 0)
        return code;
    if (s.list || s.show)
        return list_maps(c, s.show);
    if (weft_weights_import(c, argv[0], s.out, &s.o, &r))
        return cli_fail(c);
    print_result(&s, &r);
    code = s.check ? (int)check_model(c, &s, r.set) : WEFT_OK;
    if (code && weft_error_status(c))
        code = cli_fail(c);
    if (s.check && !code && !s.json)
        printf("checked     %s takes it\n", s.check);
    weft_convert_result_free(c, &r);
    return code;
}

int verb_export(weft_ctx *c, int argc, char **argv)
{
    settings s = {.json = false};
    weft_convert_result r;
    const cli_option option[] = {
        {"names", CLI_TEXT, &s.o.names, "MAP", "a shipped name map, or the path of one", 0, 0},
        {"out", CLI_TEXT, &s.out, "FOLDER", "folder to write", 0, 0},
        {"prefix", CLI_TEXT, &s.o.prefix, "TEXT",
         "the part of the model whose names begin so (default: found)", 0, 0},
        {"set", CLI_LIST, &s.set, "NAME=VALUE",
         "parameter of the model that the checkpoint does not tell", 0, 0},
        {"field", CLI_LIST, &s.field, "KEY=VALUE", "set or add a key of the description", 0, 0},
        {"dtype", CLI_TEXT, &s.o.dtype, "TYPE", "f32 (default), bf16 or f16", 0, 0},
        {"max-shard-size", CLI_TEXT, &s.shard, "SIZE",
         "split into files of at most so much, like 5GB", 0, 0},
        {"list", CLI_FLAG, &s.list, NULL, "list the shipped name maps", 0, 0},
        {"json", CLI_FLAG, &s.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "export",
        "RUN|CHECKPOINT|FILE --names=MAP --out=FOLDER [OPTION]...",
        "Writes weights as another program reads them: its names, its layout, its file names,\n"
        "and the file that describes the model. Files that are there are not replaced.",
        option,
        0,
        1};
    int code = parse(&spec, &s, &argc, &argv);
    if (code >= 0)
        return code;
    if (s.list)
        return list_maps(c, NULL);
    if (weft_weights_export(c, argv[0], s.out, &s.o, &r))
        return cli_fail(c);
    print_result(&s, &r);
    weft_convert_result_free(c, &r);
    return WEFT_OK;
}
