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

/* Names of either file that the other lacks, then tensors that differ. */
static int compare(weft_ctx *c, const char *pa, const char *pb, const settings *s)
{
    weft_tensors *a = NULL, *b = NULL;
    weft_tensor_info t, u;
    int differ = 0, equal = 0;
    double d;
    weft_status st = weft_tensors_open(c, pa, &a);
    if (!st)
        st = weft_tensors_open(c, pb, &b);
    for (int i = 0; !st && weft_tensors_at(a, i, &t); i++) {
        int k = weft_tensors_find(b, t.name);
        if (k < 0) {
            print_name(t.name);
            cli_put("only in %s\n", pa);
            differ++;
            continue;
        }
        weft_tensors_at(b, k, &u);
        /* a distance needs equal shapes; element types may differ (bf16 against f32) */
        if (t.rank != u.rank || memcmp(t.dim, u.dim, (size_t)t.rank * sizeof *t.dim)) {
            print_name(t.name);
            printf("of another shape\n");
            differ++;
            continue;
        }
        st = weft_tensors_distance(a, i, b, k, &d);
        if (st || d <= s->tolerance) {
            equal++;
            continue;
        }
        print_name(t.name);
        printf("differs by up to %.6g\n", d);
        differ++;
    }
    for (int i = 0; !st && weft_tensors_at(b, i, &t); i++)
        if (weft_tensors_find(a, t.name) < 0) {
            print_name(t.name);
            cli_put("only in %s\n", pb);
            differ++;
        }
    weft_tensors_close(a);
    weft_tensors_close(b);
    if (st)
        return cli_fail(c);
    printf("%d tensors equal, %d not\n", equal, differ);
    return differ ? WEFT_FAILED : WEFT_OK;
}

int verb_weights(weft_ctx *c, int argc, char **argv)
{
    settings s = {.stats = false};
    const cli_option option[] = {
        {"stats", CLI_FLAG, &s.stats, NULL, "smallest, largest, mean, standard deviation", 0, 0},
        {"tolerance", CLI_FLOAT, &s.tolerance, "X",
         "two files: differences up to X are none (default 0)", 0, 1e30},
        {"json", CLI_FLAG, &s.json, NULL, "one file: for machines", 0, 0},
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
    return argc == 2 ? compare(c, argv[0], argv[1], &s) : inspect(c, argv[0], &s);
}
