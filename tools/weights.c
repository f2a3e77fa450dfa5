/* weights.c - weft weights: what is in safetensors files, and how two of them differ. */
#include <math.h>
#include <string.h>

#include "graph/util.h"
#include "tools/verbs.h"

typedef struct {
    bool stats, json;
    double tolerance;
} settings;

/* A name is whatever the file says: control characters do not reach the terminal. */
static void print_name(const char *name)
{
    char shown[512];
    printf("%-48s ", weft_printable(shown, sizeof shown, name));
}

static void print_type(const weft_tensor_info *t, char *buf, size_t n)
{
    size_t k = (size_t)snprintf(buf, n, "%s[", t->dtype);
    for (int i = 0; i < t->rank && k < n; i++)
        k += (size_t)snprintf(buf + k, n - k, i ? ",%lld" : "%lld", (long long)t->dim[i]);
    if (k < n)
        snprintf(buf + k, n - k, "]");
}

static void print_stats(const weft_tensor_info *t, bool json)
{
    if (json) {
        cli_json_number(stdout, ",", "min", t->min);
        cli_json_number(stdout, ",", "max", t->max);
        cli_json_number(stdout, ",", "mean", t->mean);
        cli_json_number(stdout, ",", "std", t->std);
        printf(",\"zeros\":%lld,\"not_finite\":%lld", (long long)t->zeros,
               (long long)t->not_finite);
        return;
    }
    printf("  min %-11.4g max %-11.4g mean %-11.4g std %-11.4g", t->min, t->max, t->mean, t->std);
    if (t->zeros)
        printf(" %lld zeros", (long long)t->zeros);
    if (t->not_finite)
        printf(" %lld not finite", (long long)t->not_finite);
}

static int inspect(weft_ctx *c, const char *path, const settings *s)
{
    weft_tensors *f;
    weft_tensor_info t;
    char type[160], count[40], bytes[40];
    int64_t parameters = 0, size = 0;
    int n = 0;
    if (weft_tensors_open(c, path, &f))
        return cli_fail(c);
    for (; weft_tensors_at(f, n, &t); n++) {
        if (s->stats && weft_tensors_measure(f, n, &t)) {
            weft_tensors_close(f);
            return cli_fail(c);
        }
        print_type(&t, type, sizeof type);
        if (s->json) {
            printf("%s{\"name\":", n ? ",\n" : "[");
            cli_json_text(stdout, t.name);
            printf(",\"type\":\"%s\"", type);
        } else {
            print_name(t.name);
            printf("%-20s", type);
        }
        if (s->stats)
            print_stats(&t, s->json);
        printf(s->json ? "}" : "\n");
        parameters += t.count;
        size += t.bytes;
    }
    if (s->json)
        printf("%s]\n", n ? "" : "[");
    else
        printf("%d tensors, %s elements, %s\n", n, cli_count(count, sizeof count, parameters),
               cli_bytes(bytes, sizeof bytes, (double)size));
    weft_tensors_close(f);
    return WEFT_OK;
}

/* ---- two files ---- */
typedef struct {
    const settings *s;
    weft_tensors *file[2];
    const char *path[2];
    int differ, equal;
} comparison;

/* One more that differs: a line, whose end the caller prints, or the begin of a JSON object. */
static void begin_difference(comparison *k, const char *name)
{
    if (k->s->json) {
        printf("%s\n{\"name\":", k->differ ? "," : "");
        cli_json_text(stdout, name);
    } else
        print_name(name);
    k->differ++;
}

static void put_alone(comparison *k, const char *name, int in)
{
    begin_difference(k, name);
    if (k->s->json)
        printf(",\"only_in\":%d}", in + 1);
    else
        cli_put("only in %s\n", k->path[in]);
}

static void put_shapes(comparison *k, const weft_tensor_info *t, const weft_tensor_info *u)
{
    char type[2][160];
    begin_difference(k, t->name);
    print_type(t, type[0], sizeof type[0]);
    print_type(u, type[1], sizeof type[1]);
    if (k->s->json)
        printf(",\"types\":[\"%s\",\"%s\"]}", type[0], type[1]);
    else
        printf("of another shape\n");
}

static void put_distance(comparison *k, const char *name, double d)
{
    begin_difference(k, name);
    if (k->s->json) {
        cli_json_number(stdout, ",", "distance", d);
        printf("}");
    } else
        printf("differs by up to %.6g\n", d);
}

/* Tensor i of the first file beside its namesake. */
static weft_status compare_one(comparison *k, int i, const weft_tensor_info *t)
{
    weft_tensor_info u;
    double d = 0;
    int at = weft_tensors_find(k->file[1], t->name);
    if (at < 0) {
        put_alone(k, t->name, 0);
        return WEFT_OK;
    }
    weft_tensors_at(k->file[1], at, &u);
    /* a distance needs equal shapes; element types may differ (bf16 against f32) */
    if (t->rank != u.rank || memcmp(t->dim, u.dim, (size_t)t->rank * sizeof *t->dim)) {
        put_shapes(k, t, &u);
        return WEFT_OK;
    }
    WEFT_TRY(weft_tensors_distance(k->file[0], i, k->file[1], at, &d));
    if (d <= k->s->tolerance)
        k->equal++;
    else
        put_distance(k, t->name, d);
    return WEFT_OK;
}

/* Names of either file that the other lacks, then tensors that differ. */
static weft_status compare_all(comparison *k)
{
    weft_tensor_info t;
    if (k->s->json)
        printf("{\"differences\":[");
    for (int i = 0; weft_tensors_at(k->file[0], i, &t); i++)
        WEFT_TRY(compare_one(k, i, &t));
    for (int i = 0; weft_tensors_at(k->file[1], i, &t); i++)
        if (weft_tensors_find(k->file[0], t.name) < 0)
            put_alone(k, t.name, 1);
    printf(k->s->json ? "],\n\"equal\":%d,\"not_equal\":%d}\n" : "%d tensors equal, %d not\n",
           k->equal, k->differ);
    return WEFT_OK;
}

static int compare(weft_ctx *c, char *const *path, const settings *s)
{
    comparison k = {.s = s, .path = {path[0], path[1]}};
    weft_status st = weft_tensors_open(c, path[0], &k.file[0]);
    if (!st)
        st = weft_tensors_open(c, path[1], &k.file[1]);
    if (!st)
        st = compare_all(&k);
    weft_tensors_close(k.file[0]);
    weft_tensors_close(k.file[1]);
    return st ? cli_fail(c) : k.differ ? WEFT_FAILED : WEFT_OK;
}

int verb_weights(weft_ctx *c, int argc, char **argv)
{
    settings s = {.stats = false};
    const cli_option option[] = {{"stats", CLI_FLAG, &s.stats, NULL,
                                  "one file: smallest, largest, mean, standard deviation", 0, 0},
                                 {"tolerance", CLI_FLOAT, &s.tolerance, "X",
                                  "two files: differences up to X are none (default 0)", 0, 1e30},
                                 {"json", CLI_FLAG, &s.json, NULL, "for machines", 0, 0},
                                 {0}};
    const cli_spec spec = {
        "weights",
        "PATH [PATH] [OPTION]...",
        "Lists the tensors of a safetensors file, an index, a folder, a checkpoint or a run; with\n"
        "two of them compares by name and ends with 1 where they differ.",
        option,
        1,
        2};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    if (argc == 2 && s.stats)
        return cli_usage("weights", "--stats is for one file: two are compared");
    return argc == 2 ? compare(c, argv, &s) : inspect(c, argv[0], &s);
}
