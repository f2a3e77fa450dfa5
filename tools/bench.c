/* bench.c - weft bench: how fast a training step is, against what the machine's matrix products
 * could do. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/profile.h"

typedef struct {
    const char *path, *loss, *disable;
    int64_t steps, warmup;
    bool forward, json;
    double gemm_seconds;
} settings;

typedef struct {
    weft_file_kind kind;
    weft_recipe *recipe;
    weft_model *model;
    weft_graph *graph;
    weft_session *session;
    weft_program *micro, *step;
    weft_graph_size size;
    weft_program_size plan;
    double flops;    /* of one step */
    double *seconds; /* [steps], sorted after measuring */
    /* [steps + 1] FLOP/s of large products before the steps and after each of them, sorted then: on
     * a shared machine the rate of one moment says little about the next */
    double *rate;
    double resident_before, resident_after;
    int64_t pages, pages_resident; /* of the plan */
    profile_table profile;
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Bytes of the process that are in memory. */
static double resident(void)
{
    long size = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return NAN;
    int n = fscanf(f, "%ld %ld", &size, &pages);
    fclose(f);
    return n == 2 ? (double)pages * (double)sysconf(_SC_PAGESIZE) : NAN;
}

static weft_status load(weft_ctx *c, const settings *o, const cli_list *set, bench *b)
{
    weft_status s = weft_file_sniff(c, o->path, &b->kind);
    if (s)
        return s;
    if (b->kind == WEFT_FILE_RECIPE) {
        s = weft_recipe_load(c, o->path, set->item, set->n, &b->recipe);
        if (!s)
            s = weft_recipe_model(b->recipe, 0, 0, &b->model);
    } else {
        s = weft_model_load(c, o->path, set->item, set->n, &b->model);
        if (!s)
            s = weft_recipe_default(c, o->loss, &b->recipe);
    }
    if (!s)
        s = weft_graph_expand(b->model, &b->graph);
    return s ? s : weft_graph_measure(b->graph, &b->size);
}

static weft_status machine_rate(weft_ctx *c, const settings *o, double *out)
{
    return weft_gemm_rate(c, o->gemm_seconds / (double)(o->steps + 1), out);
}

static weft_status compile(weft_ctx *c, const settings *o, bench *b)
{
    const weft_compile_options w = {.train = !o->forward,
                                    .profile = true,
                                    .no_rewrite = o->disable && !*o->disable,
                                    .disable_rules = o->disable && *o->disable ? o->disable : NULL};
    weft_program_size z;
    b->seconds = calloc((size_t)o->steps, sizeof *b->seconds);
    b->rate = calloc((size_t)o->steps + 1, sizeof *b->rate);
    if (!b->seconds || !b->rate)
        return WEFT_NOMEM;
    weft_status s = machine_rate(c, o, &b->rate[0]);
    b->resident_before = resident(); /* with the library's code generated and its threads running */
    if (!s)
        s = weft_session_new(c, false, &b->session);
    if (!s && o->forward)
        s = weft_program_compile(b->session, b->graph, &o->loss, 1, &w, &b->step);
    else if (!s)
        s = weft_recipe_compile(b->recipe, b->graph, b->session, &w, &b->micro, &b->step);
    if (!s)
        s = weft_session_init(b->session, 1);
    if (s)
        return s;
    weft_program_measure(b->step, &b->plan);
    b->flops = b->plan.flops;
    if (b->micro) {
        weft_program_measure(b->micro, &z);
        b->flops += z.flops;
        b->plan.n_step += z.n_step;
        b->plan.compile_ns += z.compile_ns;
        b->plan.plan_bytes = z.plan_bytes > b->plan.plan_bytes ? z.plan_bytes : b->plan.plan_bytes;
    }
    return WEFT_OK;
}

/* Labels that a recipe has from a file are inputs of the step, though not of the model. */
static weft_status feed_labels(const bench *b, weft_program *p)
{
    weft_type t;
    const char *const cached[] = {weft_recipe_label_value(b->recipe),
                                  weft_recipe_score_value(b->recipe)};
    int64_t below = weft_label_range(b->graph, cached[0]);
    for (int i = 0; i < 2; i++)
        if (below && weft_program_input(p, cached[i], &t)) {
            weft_status s = weft_program_feed_random(p, cached[i], 1, below);
            if (s)
                return s;
        }
    return WEFT_OK;
}

/* Random inputs: integers below the smallest vocabulary that a model has are always valid ids. */
static weft_status feed(const bench *b, weft_program *p, int64_t below)
{
    weft_type t;
    const char *name;
    for (int i = 0; (name = weft_graph_input_at(b->graph, i, NULL)); i++) {
        if (!weft_program_input(p, name, &t))
            continue;
        weft_status s = weft_program_feed_random(p, name, 1, below);
        if (s)
            return s;
    }
    weft_status s = feed_labels(b, p);
    if (s)
        return s;
    int32_t *first = weft_program_input(p, "first", &t);
    if (first && t.dtype == WEFT_I32)
        *first = 1;
    return WEFT_OK;
}

static weft_status step(const bench *b, int64_t below)
{
    if (b->micro) {
        weft_status s = feed(b, b->micro, below);
        if (!s)
            s = weft_program_run(b->micro);
        return s ? s : weft_program_run(b->step);
    }
    weft_status s = feed(b, b->step, below);
    return s ? s : weft_program_run(b->step);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int64_t vocabulary(const bench *b)
{
    weft_type t;
    const char *name;
    for (int i = 0; (name = weft_graph_output_at(b->graph, i, &t)); i++)
        if (!strcmp(name, "logits") && t.rank > 0)
            return t.dim[t.rank - 1];
    return 2;
}

static weft_status measure(weft_ctx *c, const settings *o, bench *b)
{
    int64_t below = vocabulary(b);
    weft_status s = WEFT_OK;
    for (int64_t i = -o->warmup; i < o->steps && !s; i++) {
        double start = now();
        s = step(b, below);
        if (i < 0)
            continue;
        b->seconds[i] = now() - start;
        b->resident_after = resident();
        if (!s)
            s = machine_rate(c, o, &b->rate[i + 1]);
    }
    if (s)
        return s;
    weft_session_pages(b->session, &b->pages, &b->pages_resident);
    qsort(b->seconds, (size_t)o->steps, sizeof *b->seconds, by_size);
    qsort(b->rate, (size_t)o->steps + 1, sizeof *b->rate, by_size);
    if (b->micro)
        profile_add(&b->profile, b->micro, o->warmup + o->steps);
    profile_add(&b->profile, b->step, o->warmup + o->steps);
    profile_sort(&b->profile);
    return WEFT_OK;
}

/* Other processes make single steps slower, never faster: a mean would follow the worst of them. */
static double median(const double *sorted, int64_t n)
{
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static void print_text(weft_ctx *c, const settings *o, const bench *b)
{
    char x[48], y[48];
    double m = median(b->seconds, o->steps), rate = median(b->rate, o->steps + 1);
    cli_put("model        %s, %s parameters, %s\n", o->path,
            cli_count(x, sizeof x, b->size.parameters),
            o->forward ? "forward only" : "training step");
    printf("speed        %.1f tokens/s: %lld tokens in %.4f s (median of %lld; %.4f to %.4f)\n",
           (double)b->size.tokens / m, (long long)b->size.tokens, m, (long long)o->steps,
           b->seconds[0], b->seconds[o->steps - 1]);
    printf("work         %.1f GFLOP a step, %.1f GFLOP/s with %d threads\n", b->flops * 1e-9,
           b->flops / m * 1e-9, weft_threads(c));
    printf("machine      %.1f GFLOP/s for a large matrix product between the steps (%.1f to %.1f): "
           "the step reaches %.1f %%\n",
           rate * 1e-9, b->rate[0] * 1e-9, b->rate[o->steps] * 1e-9, 100 * b->flops / (m * rate));
    printf("compile      %.3f s, %d steps\n", (double)b->plan.compile_ns * 1e-9, b->plan.n_step);
    printf(
        "memory       %s state + %s planned: %lld pages, of which %lld are in memory; the process "
        "grew by %s\n\n",
        cli_bytes(x, sizeof x, (double)b->plan.state_bytes),
        cli_bytes(y, sizeof y, (double)b->plan.plan_bytes), (long long)b->pages,
        (long long)b->pages_resident,
        cli_bytes((char[48]){0}, 48, b->resident_after - b->resident_before));
    profile_print(&b->profile, stdout);
}

static void print_json(weft_ctx *c, const settings *o, const bench *b)
{
    double m = median(b->seconds, o->steps), rate = median(b->rate, o->steps + 1);
    printf("{\"model\":");
    cli_json_text(stdout, o->path);
    printf(",\"tokens\":%lld,\"threads\":%d,\"steps\":%lld", (long long)b->size.tokens,
           weft_threads(c), (long long)o->steps);
    cli_json_number(stdout, ",", "tokens_per_s", (double)b->size.tokens / m);
    cli_json_number(stdout, ",", "seconds", m);
    cli_json_number(stdout, ",", "flops", b->flops);
    cli_json_number(stdout, ",", "gemm_flops_per_s", rate);
    cli_json_number(stdout, ",", "share_of_gemm", b->flops / (m * rate));
    cli_json_number(stdout, ",", "compile_seconds", (double)b->plan.compile_ns * 1e-9);
    printf(",\"state_bytes\":%zu,\"plan_bytes\":%zu", b->plan.state_bytes, b->plan.plan_bytes);
    printf(",\"pages_planned\":%lld,\"pages_resident\":%lld", (long long)b->pages,
           (long long)b->pages_resident);
    cli_json_number(stdout, ",", "resident_growth", b->resident_after - b->resident_before);
    printf(",\"ops\":");
    profile_json(&b->profile, stdout);
    printf("}\n");
}

static void release(bench *b)
{
    weft_session_free(b->session);
    weft_graph_free(b->graph);
    weft_model_free(b->model);
    weft_recipe_free(b->recipe);
    free(b->seconds);
    free(b->rate);
}

int verb_bench(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    /* the list of settings keeps pointers, so these last as long as it */
    char batch_text[32], length_text[32];
    int64_t threads = 0, batch = 4, length = 256;
    settings o = {
        .path = "models/gpt2.txtpb", .loss = "loss", .steps = 5, .warmup = 2, .gemm_seconds = 2};
    const cli_option option[] = {
        {"batch", CLI_INT, &batch, "B", "sequences (default 4); model files only", 1, 1 << 20},
        {"length", CLI_INT, &length, "T", "tokens of a sequence (default 256); model files only", 1,
         1 << 24},
        {"steps", CLI_INT, &o.steps, "N", "steps that are measured (default 5)", 1, 1e6},
        {"warmup", CLI_INT, &o.warmup, "N", "steps before (default 2)", 0, 1e6},
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe", 0, 0},
        {"loss", CLI_TEXT, &o.loss, "OUTPUT", "output that is minimised (default: loss)", 0, 0},
        {"forward", CLI_FLAG, &o.forward, NULL, "only the loss, outside training", 0, 0},
        {"threads", CLI_INT, &threads, "N", "threads (default: all cores)", 1, 1024},
        {"no-rewrite", CLI_MAYBE, &o.disable, "RULES", "without rewrite rules, or without these", 0,
         0},
        {"gemm-seconds", CLI_FLOAT, &o.gemm_seconds, "S",
         "how long to measure the machine, in slots between the steps (default 2)", 0, 1e4},
        {"json", CLI_FLAG, &o.json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "bench",
        "[MODEL|RECIPE] [OPTION]...",
        "Runs training steps on random tokens and prints tokens/s, the share of the machine's "
        "matrix\n"
        "product rate, memory, and the time by op. The default model is models/gpt2.txtpb,\n"
        "for one who stands in the folder of the sources.",
        option,
        0,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    o.path = argc ? argv[0] : o.path;
    weft_file_kind kind;
    bench b = {.graph = NULL};
    if ((threads && weft_threads_set(c, (int)threads)) || weft_file_sniff(c, o.path, &kind))
        return cli_fail(c);
    if (kind == WEFT_FILE_MODEL && set.n + 2 <= CLI_LIST_MAX) {
        snprintf(batch_text, sizeof batch_text, "B=%lld", (long long)batch);
        snprintf(length_text, sizeof length_text, "T=%lld", (long long)length);
        set.item[set.n++] = batch_text;
        set.item[set.n++] = length_text;
    }
    weft_status s = load(c, &o, &set, &b);
    if (!s)
        s = compile(c, &o, &b);
    if (!s)
        s = measure(c, &o, &b);
    if (s)
        code = cli_fail(c);
    else if (o.json)
        print_json(c, &o, &b);
    else
        print_text(c, &o, &b);
    release(&b);
    return s ? code : WEFT_OK;
}
