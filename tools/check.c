/* check.c - weft check: everything that can be known of a model or a recipe before any run. */
#include <string.h>

#include "graph/io.h"
#include "tools/training.h"

typedef struct {
    const char *path;
    bool no_files;            /* the recipe and its model alone */
    weft_train_options train; /* where it would be trained */
    int64_t max_memory;
    weft_file_kind kind;
    weft_recipe *recipe;
    weft_model *model;
    weft_graph *forward;
    const char *loss; /* NULL: the model has no such output */
    weft_graph_size size;
    double training_flops;
    weft_recipe_size cost;
    weft_program_size plan;
    weft_train_info run; /* what training would take; state_bytes 0: it was not asked */
} report;

static bool has_output(const weft_graph *g, const char *name)
{
    const char *o;
    for (int i = 0; (o = weft_graph_output_at(g, i, NULL)); i++)
        if (!strcmp(o, name))
            return true;
    return false;
}

/* Without a loss: the forward graph. */
static weft_status plan_forward(report *r, weft_session *s, const weft_compile_options *o)
{
    weft_program *p;
    const char *fetch[4096];
    int n = 0;
    while (n < 4096 && (fetch[n] = weft_graph_output_at(r->forward, n, NULL)))
        n++;
    weft_status status = weft_program_compile(s, r->forward, fetch, n, o, &p);
    if (!status)
        weft_program_measure(p, &r->plan);
    return status;
}

/* One optimizer step, gradient accumulation included, by the recipe or by the default one. */
static weft_status plan_training(report *r, weft_session *s, const weft_compile_options *o)
{
    weft_program *micro, *step;
    weft_program_size z;
    weft_status status = weft_recipe_compile(r->recipe, r->forward, s, o, &micro, &step);
    /* else the pre-flight has looked */
    if (!status && r->kind == WEFT_FILE_RECIPE && r->no_files)
        status = weft_recipe_check_feeds(r->recipe, r->forward, micro, step);
    if (!status && r->no_files && weft_recipe_file(r->recipe, WEFT_RECIPE_VAL))
        status = weft_recipe_check_evaluation(r->recipe, r->forward);
    if (status)
        return status;
    weft_program_measure(step, &r->plan);
    r->training_flops = r->plan.flops;
    if (micro) {
        weft_program_measure(micro, &z);
        r->training_flops = z.flops;
        r->plan.n_step += z.n_step;
        r->plan.compile_ns += z.compile_ns;
        if (z.plan_bytes > r->plan.plan_bytes) {
            r->plan.plan_bytes = z.plan_bytes;
            r->plan.naive_bytes = z.naive_bytes;
        }
    }
    return WEFT_OK;
}

static weft_status plan(weft_ctx *c, report *r, const weft_compile_options *o)
{
    weft_session *s = NULL;
    weft_status status = weft_session_new(c, false, &s);
    if (!status)
        status = r->loss ? plan_training(r, s, o) : plan_forward(r, s, o);
    weft_session_free(s);
    if (!status && r->loss) /* it compiles, too: one program at a time */
        status = weft_recipe_measure(r->recipe, r->forward, &r->cost);
    if (r->run.state_bytes) { /* with the weights that no step reads, and the evaluation */
        r->plan.state_bytes = r->run.state_bytes;
        r->plan.plan_bytes = r->run.plan_bytes;
    }
    return status;
}

/* As it is written, and with its meta nodes (choose, gradient) replaced. */
static weft_status verify(const weft_graph *forward)
{
    weft_graph *lowered = NULL;
    weft_status s = weft_graph_verify(forward);
    if (!s)
        s = weft_graph_lower(forward, &lowered);
    if (!s)
        s = weft_graph_verify(lowered);
    weft_graph_free(lowered);
    return s;
}

/* A run directory is its recipe. */
static weft_status find_kind(weft_ctx *c, report *r)
{
    int kind;
    char recipe[4096];
    snprintf(recipe, sizeof recipe, "%s/recipe.txtpb", r->path);
    WEFT_TRY(weft_look(c, r->path, &kind));
    if (kind == 2)
        WEFT_TRY(weft_look(c, recipe, &kind));
    else
        kind = 0;
    r->kind = WEFT_FILE_RECIPE;
    return kind == 1 ? WEFT_OK : weft_file_sniff(c, r->path, &r->kind);
}

/* Would training begin? Not asked of a recipe that only evaluates. What planning has to say of the
 * recipe is said once. */
static weft_status preflight(weft_ctx *c, report *r)
{
    WEFT_TRY(weft_graph_measure(r->forward, &r->size));
    if (r->kind != WEFT_FILE_RECIPE || r->no_files ||
        (!r->size.trainable && !weft_recipe_file(r->recipe, WEFT_RECIPE_TRAIN)))
        return WEFT_OK;
    WEFT_TRY(cli_train_check(c, r->recipe, &r->train, &r->run));
    c->log = NULL;
    return WEFT_OK;
}

/* For a recipe it is the limit of all that training would plan. */
static weft_status limit_memory(report *r)
{
    char setting[64];
    snprintf(setting, sizeof setting, "train.max_memory=%lld", (long long)r->max_memory);
    return weft_recipe_set(r->recipe, setting);
}

static weft_status load(weft_ctx *c, report *r, const cli_list *set, const char *loss)
{
    weft_status s = find_kind(c, r);
    if (s)
        return s;
    if (r->kind == WEFT_FILE_RECIPE) {
        s = cli_recipe_open(c, r->path, set, &r->train, &r->recipe);
        if (!s && r->max_memory)
            s = limit_memory(r);
        if (!s)
            s = weft_recipe_model(r->recipe, 0, 0, &r->model);
    } else
        s = weft_model_load(c, r->path, set->item, set->n, &r->model);
    if (!s)
        s = weft_graph_expand(r->model, &r->forward);
    if (!s)
        s = preflight(c, r);
    if (!s)
        s = verify(r->forward);
    if (s)
        return s;
    r->loss = loss                             ? loss
              : r->recipe                      ? weft_recipe_loss(r->recipe)
              : has_output(r->forward, "loss") ? "loss"
                                               : NULL;
    return r->loss && !r->recipe ? weft_recipe_default(c, r->loss, &r->recipe) : WEFT_OK;
}

static weft_status examine(weft_ctx *c, report *r, const cli_list *set, const char *loss,
                           weft_compile_options *o)
{
    weft_graph *grad = NULL;
    weft_status s = load(c, r, set, loss);
    if (!s && !loss && r->kind == WEFT_FILE_RECIPE && !r->size.trainable)
        r->loss = NULL; /* a recipe that only evaluates */
    /* A loss that only the recipe names is left to plan(), whose error says that it is the
     * recipe's. */
    if (!s && r->loss && (loss || r->kind == WEFT_FILE_MODEL || has_output(r->forward, r->loss))) {
        s = weft_graph_differentiate(r->forward, r->loss, &grad);
        if (!s)
            s = weft_graph_verify(grad);
        weft_graph_free(grad);
    }
    return s ? s : plan(c, r, o);
}

static void print_ports(const report *r)
{
    weft_type t;
    char type[160];
    const char *name;
    for (int i = 0; (name = weft_graph_input_at(r->forward, i, &t)); i++)
        cli_put("input        %-10s %s\n", name, weft_type_print(type, sizeof type, &t));
    for (int i = 0; (name = weft_graph_output_at(r->forward, i, &t)); i++)
        cli_put("output       %-10s %s\n", name, weft_type_print(type, sizeof type, &t));
}

static bool has_tokens(const weft_graph *g)
{
    const char *name;
    for (int i = 0; (name = weft_graph_input_at(g, i, NULL)); i++)
        if (!strcmp(name, "tokens"))
            return true;
    return false;
}

static void print_amount(double flops, const char *what)
{
    printf(flops < 1e10 ? "%.4g M %s" : "%.4g G %s", flops * (flops < 1e10 ? 1e-6 : 1e-9), what);
}

/* Without an input `tokens` there is nothing to count by, and the size has 1 for it. */
static void print_flops(const report *r)
{
    double tokens = (double)r->size.tokens;
    const weft_recipe_size *c = &r->cost;
    bool cached = c->flops == c->flops_cached;
    printf("%-13s", has_tokens(r->forward) ? "FLOPs/token" : "FLOPs");
    print_amount(r->size.flops / tokens, "forward");
    if (r->loss) {
        printf(", ");
        print_amount(r->training_flops / tokens, "in training");
    }
    if (r->loss && c->flops_cached != c->flops_computed) {
        printf(", ");
        print_amount((cached ? c->flops_computed : c->flops_cached) / (double)c->tokens,
                     cached ? "with labels computed" : "with labels cached");
    }
    printf("\n");
}

static void print_text(const report *r)
{
    char a[48], b[48];
    const weft_graph_size *z = &r->size;
    cli_put("%-12s %s\n", r->kind == WEFT_FILE_RECIPE ? "recipe" : "model", r->path);
    print_ports(r);
    printf("parameters   %s stored, %s trainable, in %d weights\n",
           cli_count(a, sizeof a, z->parameters), cli_count(b, sizeof b, z->trainable),
           z->n_weight);
    if (!z->trainable && z->n_weight)
        printf("training     none: all weights are frozen\n");
    if (r->loss && r->cost.active != z->trainable)
        printf("active       %s of the trainable ones for a token\n",
               cli_count(a, sizeof a, r->cost.active));
    printf("graph        %d values, %d nodes; %d steps %s\n", z->n_value, z->n_node, r->plan.n_step,
           r->loss ? "in training" : "to run");
    print_flops(r);
    printf("memory       %s state + %s planned for %s (%s without sharing)\n",
           cli_bytes(a, sizeof a, (double)r->plan.state_bytes),
           cli_bytes(b, sizeof b, (double)r->plan.plan_bytes),
           r->run.state_bytes ? "training"
           : r->loss          ? "a training step"
                              : "a run",
           cli_bytes((char[48]){0}, 48, (double)r->plan.naive_bytes));
    printf("ok\n");
}

/* The cost is of a whole step, which may accumulate; all numbers of the report are of z->tokens. */
static double of_tokens(const report *r, double flops)
{
    return flops / (double)r->cost.tokens * (double)r->size.tokens;
}

static void put_flops(const char *which, double flops)
{
    printf(",\"flops_%s\":", which);
    cli_json_value(stdout, flops, 17);
}

static void print_json(const report *r)
{
    const weft_graph_size *z = &r->size;
    printf("{\"file\":");
    cli_json_text(stdout, r->path);
    printf(",\"kind\":\"%s\",\"parameters\":%lld,\"trainable\":%lld,\"weights\":%d,\"values\":%d,"
           "\"nodes\":%d,"
           "\"tokens\":%lld",
           r->kind == WEFT_FILE_RECIPE ? "recipe" : "model", (long long)z->parameters,
           (long long)z->trainable, z->n_weight, z->n_value, z->n_node, (long long)z->tokens);
    put_flops("forward", z->flops);
    if (r->loss) {
        printf(",\"active\":%lld", (long long)r->cost.active);
        put_flops("training", r->training_flops);
        put_flops("computed", of_tokens(r, r->cost.flops_computed));
        put_flops("cached", of_tokens(r, r->cost.flops_cached));
    }
    printf(",\"state_bytes\":%zu,\"plan_bytes\":%zu,\"naive_bytes\":%zu,\"steps\":%d,\"compile_"
           "ns\":%lld",
           r->plan.state_bytes, r->plan.plan_bytes, r->plan.naive_bytes, r->plan.n_step,
           (long long)r->plan.compile_ns);
    printf("}\n");
}

static void release(report *r)
{
    weft_graph_free(r->forward);
    weft_model_free(r->model);
    weft_recipe_free(r->recipe);
}

int verb_check(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    const char *loss = NULL, *disable = NULL, *resume = NULL;
    bool json = false;
    report r = {0};
    const cli_option option[] = {
        {"set", CLI_LIST, &set, "NAME=VALUE",
         "parameter of the model, field of the recipe; may be repeated", 0, 0},
        {"loss", CLI_TEXT, &loss, "OUTPUT",
         "differentiate this output (default: loss, if there is one)", 0, 0},
        {"max-memory", CLI_INT, &r.max_memory, "BYTES", "refuse a plan above this", 0, 9e18},
        {"no-rewrite", CLI_MAYBE, &disable, "RULES",
         "without rewrite rules, or without these (comma-separated)", 0, 0},
        {"out", CLI_TEXT, &r.train.dir, "DIR",
         "of a recipe: the run directory of weft train (default: runs/NAME)", 0, 0},
        {"resume", CLI_MAYBE, &resume, "auto|never", "of a recipe: as weft train would go on", 0,
         0},
        {"no-files", CLI_FLAG, &r.no_files, NULL,
         "of a recipe: without its data, weights and run directory", 0, 0},
        {"json", CLI_FLAG, &json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {
        "check",
        "MODEL|RECIPE|RUN [OPTION]...",
        "Loads, expands, verifies, differentiates and plans a model or a recipe, and prints its\n"
        "parameters, floating-point operations and memory. Nothing is run or written. A recipe is\n"
        "refused as weft train would refuse it before its first step: data, labels, weights that\n"
        "are loaded, memory, run directory (contents of large files are not read whole).",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0 || (code = cli_resume("check", resume, &r.train.resume)) >= 0)
        return code;
    r.path = argv[0];
    r.train.no_rewrite = disable && !*disable;
    weft_compile_options o = {.max_memory = (size_t)r.max_memory,
                              .plan_only = true,
                              .no_rewrite = disable && !*disable,
                              .disable_rules = disable && *disable ? disable : NULL};
    weft_status status = examine(c, &r, &set, loss, &o);
    if (status)
        code = cli_fail(c);
    else if (json)
        print_json(&r);
    else
        print_text(&r);
    release(&r);
    return status ? code : WEFT_OK;
}
