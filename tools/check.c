/* check.c - weft check: everything that can be known of a model or a recipe before any run. */
#include <string.h>

#include "tools/verbs.h"

typedef struct {
    const char *path;
    weft_file_kind kind;
    weft_recipe *recipe;
    weft_model *model;
    weft_graph *forward, *training;
    const char *loss; /* NULL: the model has no such output */
    weft_graph_size size, train_size;
    bool planned;
    weft_program_size plan;
} report;

static bool has_output(const weft_graph *g, const char *name)
{
    const char *o;
    for (int i = 0; (o = weft_graph_output_at(g, i, NULL)); i++)
        if (!strcmp(o, name))
            return true;
    return false;
}

static weft_status plan(weft_ctx *c, report *r, const weft_compile_options *o)
{
    weft_session *s = NULL;
    weft_program *p = NULL;
    const char *fetch[4096];
    int n = 0;
    const weft_graph *g = r->training ? r->training : r->forward;
    while (n < 4096 && (fetch[n] = weft_graph_output_at(g, n, NULL)))
        n++;
    weft_status status = weft_session_new(c, false, &s);
    if (!status)
        status = weft_program_compile(s, g, fetch, n, o, &p);
    if (!status) {
        weft_program_measure(p, &r->plan);
        r->planned = true;
    }
    weft_session_free(s);
    return status;
}

static weft_status examine(weft_ctx *c, report *r, const cli_list *set, const char *loss, weft_compile_options *o)
{
    weft_status s = weft_file_sniff(c, r->path, &r->kind);
    if (!s && r->kind == WEFT_FILE_RECIPE) {
        s = weft_recipe_load(c, r->path, set->item, set->n, &r->recipe);
        if (!s)
            s = weft_recipe_model(r->recipe, 0, 0, &r->model);
        if (!s && !loss)
            loss = weft_recipe_loss(r->recipe);
    } else if (!s)
        s = weft_model_load(c, r->path, set->item, set->n, &r->model);
    if (!s)
        s = weft_graph_expand(r->model, &r->forward);
    if (!s)
        s = weft_graph_verify(r->forward);
    if (!s)
        s = weft_graph_measure(r->forward, &r->size);
    if (s)
        return s;
    r->loss = loss ? loss : has_output(r->forward, "loss") ? "loss" : NULL;
    o->train = r->loss != NULL;
    if (r->recipe)
        s = weft_recipe_graph(r->recipe, r->forward, &r->training);
    else if (r->loss)
        s = weft_graph_differentiate(r->forward, r->loss, &r->training);
    if (!s && r->training)
        s = weft_graph_verify(r->training);
    if (!s && r->training)
        s = weft_graph_measure(r->training, &r->train_size);
    return s ? s : plan(c, r, o);
}

static void print_ports(const report *r)
{
    weft_type t;
    char type[160];
    const char *name;
    for (int i = 0; (name = weft_graph_input_at(r->forward, i, &t)); i++)
        printf("input        %-10s %s\n", name, weft_type_print(type, sizeof type, &t));
    for (int i = 0; (name = weft_graph_output_at(r->forward, i, &t)); i++)
        printf("output       %-10s %s\n", name, weft_type_print(type, sizeof type, &t));
}

static void print_text(const report *r)
{
    char a[48], b[48];
    const weft_graph_size *z = &r->size;
    printf("%-12s %s\n", r->kind == WEFT_FILE_RECIPE ? "recipe" : "model", r->path);
    print_ports(r);
    printf("parameters   %s stored, %s trainable, in %d weights\n", cli_count(a, sizeof a, z->parameters),
           cli_count(b, sizeof b, z->trainable), z->n_weight);
    printf("graph        %d values, %d nodes", z->n_value, z->n_node);
    if (r->training)
        printf("; %d values, %d nodes in training", r->train_size.n_value, r->train_size.n_node);
    printf("\nFLOPs/token  %.4g M forward", z->flops / (double)z->tokens * 1e-6);
    if (r->training)
        printf(", %.4g M in training", r->train_size.flops / (double)z->tokens * 1e-6);
    printf("\n");
    if (r->planned)
        printf("memory       %s state + %s planned for %s (%s without sharing)\n",
               cli_bytes(a, sizeof a, (double)r->plan.state_bytes),
               cli_bytes(b, sizeof b, (double)r->plan.plan_bytes),
               r->recipe ? "a training step" : r->training ? "loss and gradients" : "a run",
               cli_bytes((char[48]){0}, 48, (double)r->plan.naive_bytes));
    printf("ok\n");
}

static void print_json(const report *r)
{
    const weft_graph_size *z = &r->size;
    printf("{\"file\":");
    cli_json_text(stdout, r->path);
    printf(",\"kind\":\"%s\",\"parameters\":%lld,\"trainable\":%lld,\"weights\":%d,\"values\":%d,\"nodes\":%d,"
           "\"tokens\":%lld,\"flops_forward\":%.17g",
           r->kind == WEFT_FILE_RECIPE ? "recipe" : "model", (long long)z->parameters, (long long)z->trainable,
           z->n_weight, z->n_value, z->n_node, (long long)z->tokens, z->flops);
    if (r->training)
        printf(",\"training_nodes\":%d,\"flops_training\":%.17g", r->train_size.n_node, r->train_size.flops);
    if (r->planned)
        printf(",\"state_bytes\":%zu,\"plan_bytes\":%zu,\"naive_bytes\":%zu,\"steps\":%d,\"compile_ns\":%lld",
               r->plan.state_bytes, r->plan.plan_bytes, r->plan.naive_bytes, r->plan.n_step,
               (long long)r->plan.compile_ns);
    printf("}\n");
}

static void release(report *r)
{
    weft_graph_free(r->training);
    weft_graph_free(r->forward);
    weft_model_free(r->model);
    weft_recipe_free(r->recipe);
}

int verb_check(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    const char *loss = NULL, *disable = NULL;
    bool json = false;
    int64_t max_memory = 0;
    const cli_option option[] = {
        {"set", CLI_LIST, &set, "NAME=VALUE", "parameter of the model, field of the recipe; may be repeated", 0, 0},
        {"loss", CLI_TEXT, &loss, "OUTPUT", "differentiate this output (default: loss, if there is one)", 0, 0},
        {"max-memory", CLI_INT, &max_memory, "BYTES", "refuse a plan above this", 0, 9e18},
        {"no-rewrite", CLI_MAYBE, &disable, "RULES", "without rewrite rules, or without these (comma-separated)", 0, 0},
        {"json", CLI_FLAG, &json, NULL, "for machines", 0, 0},
        {0}};
    const cli_spec spec = {"check", "MODEL|RECIPE [OPTION]...",
                           "Loads, expands, verifies, differentiates and plans a model or a recipe, and prints its\n"
                           "parameters, floating-point operations and memory. Nothing is run.",
                           option, 1, 1};
    int code = cli_parse(&spec, &argc, &argv);
    if (code >= 0)
        return code;
    report r = {.path = argv[0]};
    weft_compile_options o = {.max_memory = (size_t)max_memory,
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
