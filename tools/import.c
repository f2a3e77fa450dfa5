/* import.c - weft import and weft export: weights of other programs, by name maps. */
#include <stdlib.h>
#include <string.h>

#include "tools/import.h"

typedef struct {
    weft_convert_options o;
    import_check check;
    cli_list set, field;
    const char *out, *shard, *show;
    const char *told[CLI_LIST_MAX]; /* of `set`: parameters; the rest is for the recipe */
    bool list, json, set_wanted;
} settings;

/* Every line of `text` after `before`; blanks between them when `sep` says so. */
static void print_lines(const char *before, const char *text, const char *sep)
{
    const char *first = sep;
    for (const char *p = text; p && *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != 0)) {
        fputs(p == text ? "" : first, stdout);
        cli_put("%s%.*s", before, (int)strcspn(p, "\n"), p);
    }
    if (text && *text)
        printf("\n");
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
        printf("%s", sep);
        cli_json_bytes(stdout, p, strcspn(p, "\n"));
        sep = ",";
    }
    printf("]%s", s->check.model ? ",\"check\":" : "}\n");
}

static void print_result(const settings *s, const weft_convert_result *r)
{
    char count[40], bytes[40];
    if (s->json) {
        print_json(s, r);
        return;
    }
    cli_put("written     %s: %d tensors, %s parameters, %s", s->out, r->tensors,
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
        print_lines("--set ", r->set, " ");
    }
    print_lines("note        ", r->notes, "\n");
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
    s->o.more_settings = s->check.model != NULL;
    s->o.field = s->field.item;
    s->o.n_field = s->field.n;
    return -1;
}

int verb_import(weft_ctx *c, int argc, char **argv)
{
    settings s = {.check = {.batches = 16}, .set_wanted = true};
    weft_convert_result r;
    const cli_option option[] = {
        {"names", CLI_TEXT, &s.o.names, "MAP", "a shipped name map, or the path of one", 0, 0},
        {"out", CLI_TEXT, &s.out, "FILE", "safetensors file to write", 0, 0},
        {"prefix", CLI_TEXT, &s.o.prefix, "TEXT", "put before every name written", 0, 0},
        {"set", CLI_LIST, &s.set, "NAME=VALUE", "parameter of the model that the files do not tell",
         0, 0},
        {"check", CLI_TEXT, &s.check.model, "MODEL",
         "load the result into this model file with these parameters, or run it in this recipe", 0,
         0},
        {"data", CLI_TEXT, &s.check.data, "FILE", "tokens for a recipe's --check", 0, 0},
        {"batches", CLI_INT, &s.check.batches, "N", "how many of them (default 16)", 1, 1e9},
        {"as", CLI_TEXT, &s.check.as, "FIELD",
         "field of the recipe that names the weights, like load[1].file (default: the load entry "
         "with "
         "the scope of the map, or the whole model)",
         0, 0},
        {"scope", CLI_TEXT, &s.check.scope, "TEXT",
         "with --check=MODEL: the weights whose names begin so, like sae. (default: found)", 0, 0},
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
    s.check.names = s.o.names;
    s.check.set = s.set;
    s.check.json = s.json;
    if (s.check.model && (code = import_check_begin(c, &s.check)) >= 0)
        return code;
    if (weft_weights_import(c, argv[0], s.out, &s.o, &r))
        return cli_fail(c);
    print_result(&s, &r);
    bool told = false;
    s.check.told = &told;
    code = s.check.model ? import_check_run(c, &s.check, s.out, r.set) : WEFT_OK;
    if (s.check.model && s.json)
        printf("%s}\n", told ? "" : "null");
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
        "RUN|CHECKPOINT|FOLDER|FILE --names=MAP --out=FOLDER [OPTION]...",
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
