/* show.c - weft show: a model at any stage of its way, as text, as a model file, or as a drawing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/io.h"
#include "tools/verbs.h"

typedef enum {
    STAGE_LOADED,
    STAGE_EXPANDED,
    STAGE_GRAD,
    STAGE_OPTIMIZED,
    STAGE_PLAN,
    N_STAGES
} stage;
static const char *const stage_name[] = {"loaded", "expanded", "grad", "optimized", "plan"};
typedef enum { AS_TEXT, AS_TXTPB, AS_BINPB, AS_DOT, AS_SVG, N_FORMS } form;
static const char *const form_name[] = {"text", "txtpb", "binpb", "dot", "svg"};

typedef struct {
    stage stage;
    form form;
    const char *loss, *disable, *output;
    bool eval;
    weft_dot_options dot;
} settings;

typedef struct {
    weft_recipe *recipe;
    weft_model *model;
    weft_graph *forward, *graph; /* graph: at the stage */
    weft_session *session;
} objects;

static int choose(const char *option, const char *value, const char *const *names, int n, int *out)
{
    char all[160] = "";
    for (*out = 0; *out < n; ++*out)
        if (!strcmp(value, names[*out]))
            return -1;
    for (int i = 0; i < n; i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", names[i]);
    const char *near = weft_nearest(value, names, n);
    return cli_usage("show", "--%s=%s: expected one of %s%s%s%s", option, value, all,
                     near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool has_output(const weft_graph *g, const char *name)
{
    const char *o;
    for (int i = 0; (o = weft_graph_output_at(g, i, NULL)); i++)
        if (!strcmp(o, name))
            return true;
    return false;
}

static weft_status load(weft_ctx *c, const char *path, const cli_list *set, objects *x)
{
    weft_file_kind kind;
    weft_status s = weft_file_sniff(c, path, &kind);
    if (s)
        return s;
    if (kind == WEFT_FILE_MODEL)
        return weft_model_load(c, path, set->item, set->n, &x->model);
    s = weft_recipe_load(c, path, set->item, set->n, &x->recipe);
    return s ? s : weft_recipe_model(x->recipe, 0, 0, &x->model);
}

static weft_rewrite_options rewrites(const settings *o)
{
    return (weft_rewrite_options){.train = !o->eval,
                                  .no_rewrite = o->disable && !*o->disable,
                                  .disable = o->disable && *o->disable ? o->disable : NULL};
}

/* The expanded graph; x->graph: with gradients, or with an optimizer too when the stage is later
 * and there is a loss. A model without a recipe is trained by the default one. */
static weft_status build(weft_ctx *c, settings *o, objects *x)
{
    weft_status s = weft_graph_expand(x->model, &x->forward);
    if (s || o->stage < STAGE_GRAD)
        return s;
    if (o->eval && o->stage > STAGE_GRAD)
        return weft_graph_lower(x->forward, &x->graph);
    const char *loss = o->loss ? o->loss : x->recipe ? weft_recipe_loss(x->recipe) : "loss";
    if (!o->loss && !x->recipe && !has_output(x->forward, loss)) {
        o->eval = true; /* nothing to train */
        return weft_graph_lower(x->forward, &x->graph);
    }
    if (o->stage == STAGE_GRAD)
        return weft_graph_differentiate(x->forward, loss, &x->graph);
    if (!x->recipe && (s = weft_recipe_default(c, loss, &x->recipe)))
        return s;
    const weft_rewrite_options w = rewrites(o);
    return weft_recipe_graph(x->recipe, x->forward, &w, &x->graph);
}

static weft_status optimize(settings *o, objects *x)
{
    const weft_rewrite_options w = rewrites(o);
    weft_graph *g = NULL;
    weft_status s = weft_graph_optimize(x->graph ? x->graph : x->forward, &w, &g);
    weft_graph_free(x->graph);
    x->graph = g;
    return s;
}

/* ---- writing ---- */
/* A file is replaced as a whole, or not at all. */
static int write_bytes(weft_ctx *c, const settings *o, const char *text, size_t n)
{
    if (o->output)
        return weft_make_parent(c, o->output) || weft_write_file(c, o->output, text, n)
                   ? cli_fail(c)
                   : WEFT_OK;
    if (o->form == AS_TEXT) /* to be read, not to be read again */
        cli_put_lines(text);
    else
        fwrite(text, 1, n, stdout);
    return WEFT_OK;
}

static int write_text(weft_ctx *c, const settings *o, char *text)
{
    int code = write_bytes(c, o, text, strlen(text));
    weft_text_free(c, text);
    return code;
}

/* The steps and the memory plan of what would run: an optimizer step, or the forward graph. */
static int print_plan(weft_ctx *c, settings *o, objects *x)
{
    const weft_compile_options w = {.train = !o->eval,
                                    .plan_only = true,
                                    .no_rewrite = o->disable && !*o->disable,
                                    .disable_rules = o->disable && *o->disable ? o->disable : NULL};
    const weft_graph *g = x->graph ? x->graph : x->forward;
    const char *fetch[4096];
    int n = 0;
    while (n < 4096 && (fetch[n] = weft_graph_output_at(g, n, NULL)))
        n++;
    weft_program *p[2] = {NULL, NULL};
    weft_string all;
    weft_string_init(&all, c);
    weft_status s = weft_session_new(c, false, &x->session);
    if (!s && o->eval)
        s = weft_program_compile(x->session, g, fetch, n, &w, &p[1]);
    else if (!s)
        s = weft_recipe_compile(x->recipe, x->forward, x->session, &w, &p[0], &p[1]);
    for (int i = 0; i < 2 && !s; i++) {
        char *text = NULL;
        if (!p[i] || (s = weft_program_text(p[i], &text)))
            continue;
        weft_string_add(&all, text, strlen(text));
        weft_text_free(c, text);
    }
    s = s ? s : weft_error_status(c);
    int code = s ? cli_fail(c) : write_bytes(c, o, all.s ? all.s : "", all.len);
    weft_string_free(&all);
    return code;
}

/* `dot -Tsvg` between two pipes; `out` NULL: it writes to our standard output. */
static pid_t start_dot(int *in, int *out)
{
    int a[2], b[2] = {-1, -1};
    char *const args[] = {"dot", "-Tsvg", NULL};
    if (pipe2(a, O_CLOEXEC))
        return -1;
    if (out && pipe2(b, O_CLOEXEC)) {
        close(a[0]);
        close(a[1]);
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        if (dup2(a[0], 0) < 0 || (out && dup2(b[1], 1) < 0))
            _exit(WEFT_IO);
        execvp("dot", args);
        fprintf(stderr, "weft: error: cannot run 'dot' (%s); install graphviz, or use --as=dot\n",
                strerror(errno));
        _exit(WEFT_UNSUPPORTED);
    }
    close(a[0]);
    *in = a[1];
    if (out) {
        close(b[1]);
        *out = b[0];
    }
    return child;
}

/* dot reads all of its input before it writes, so one after the other does. False: not all came. */
static bool talk_to_dot(const char *text, int in, int out, weft_string *drawn)
{
    char buf[4096];
    size_t n;
    FILE *f = fdopen(in, "w");
    bool good = f && fputs(text, f) >= 0;
    good = f && !fclose(f) && good;
    FILE *g = out < 0 ? NULL : fdopen(out, "r");
    while (g && (n = fread(buf, 1, sizeof buf, g)) > 0)
        weft_string_add(drawn, buf, n);
    good = good && (out < 0 || (g && !ferror(g))) && !drawn->failed;
    if (g)
        fclose(g);
    return good;
}

static int draw(weft_ctx *c, const settings *o, const char *text, weft_string *drawn)
{
    int in = -1, out = -1, status = 0;
    fflush(stdout);
    pid_t child = start_dot(&in, o->output ? &out : NULL);
    if (child < 0) {
        fprintf(stderr, "weft: error: cannot start 'dot': %s\n", strerror(errno));
        return WEFT_IO;
    }
    bool good = talk_to_dot(text, in, out, drawn);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return WIFEXITED(status) ? WEXITSTATUS(status) : WEFT_IO;
    if (weft_error_status(c))
        return cli_fail(c);
    if (!good)
        fprintf(stderr, "weft: error: 'dot' did not take or give all of a drawing\n");
    return !good       ? WEFT_IO
           : o->output ? write_bytes(c, o, drawn->s ? drawn->s : "", drawn->len)
                       : WEFT_OK;
}

/* Feeds the text to `dot -Tsvg`, whose output goes to the file or to stdout. */
static int write_svg(weft_ctx *c, const settings *o, char *text)
{
    weft_string drawn;
    weft_string_init(&drawn, c);
    int code = draw(c, o, text, &drawn);
    weft_string_free(&drawn);
    weft_text_free(c, text);
    return code;
}

static int write_model(weft_ctx *c, const settings *o, weft_model *m)
{
    if (o->output)
        return weft_model_save(m, o->output) ? cli_fail(c) : WEFT_OK;
    if (o->form == AS_BINPB)
        return cli_usage("show", "--as=binpb needs --output=FILE");
    char *text = NULL;
    if (weft_model_text(m, &text))
        return cli_fail(c);
    return write_text(c, o, text);
}

static int write_graph(weft_ctx *c, const settings *o, const weft_graph *g)
{
    char *text = NULL;
    weft_model *m = NULL;
    weft_status s;
    if (o->form == AS_TXTPB || o->form == AS_BINPB) {
        s = weft_graph_to_model(g, &m);
        int code = s ? cli_fail(c) : write_model(c, o, m);
        weft_model_free(m);
        return code;
    }
    s = o->form == AS_TEXT ? weft_graph_text(g, &text) : weft_graph_dot(g, &o->dot, &text);
    if (s)
        return cli_fail(c);
    return o->form == AS_SVG ? write_svg(c, o, text) : write_text(c, o, text);
}

static int show(weft_ctx *c, settings *o, const char *path, const cli_list *set, objects *x)
{
    if (load(c, path, set, x))
        return cli_fail(c);
    if (o->stage == STAGE_LOADED && o->form <= AS_BINPB)
        return write_model(c, o, x->model);
    if (build(c, o, x))
        return cli_fail(c);
    if (o->stage == STAGE_PLAN && o->form == AS_TEXT)
        return print_plan(c, o, x);
    if (o->stage >= STAGE_OPTIMIZED && optimize(o, x))
        return cli_fail(c);
    return write_graph(c, o, x->graph ? x->graph : x->forward);
}

int verb_show(weft_ctx *c, int argc, char **argv)
{
    cli_list set = {{0}, 0};
    const char *at = "expanded", *as = "text";
    int64_t depth = 0;
    settings o = {0};
    const cli_option option[] = {
        {"stage", CLI_TEXT, &at, "STAGE", "loaded, expanded (default), grad, optimized or plan", 0,
         0},
        {"as", CLI_TEXT, &as, "FORM", "text (default), txtpb, binpb, dot or svg", 0, 0},
        {"output", CLI_TEXT, &o.output, "FILE", "write here instead of to standard output", 0, 0},
        {"set", CLI_LIST, &set, "NAME=VALUE",
         "parameter of the model, field of the recipe; may be repeated", 0, 0},
        {"loss", CLI_TEXT, &o.loss, "OUTPUT", "differentiate this output (default: loss)", 0, 0},
        {"eval", CLI_FLAG, &o.eval, NULL,
         "stages optimized and plan: the forward graph outside training", 0, 0},
        {"no-rewrite", CLI_MAYBE, &o.disable, "RULES", "without rewrite rules, or without these", 0,
         0},
        {"depth", CLI_INT, &depth, "N", "drawings: scopes nested deeper are one box", 0, 1000},
        {"unfold", CLI_FLAG, &o.dot.unfold, NULL, "drawings: every repetition of a repeated scope",
         0, 0},
        {"rankdir", CLI_TEXT, &o.dot.rankdir, "DIR", "drawings: TB (default), LR, BT or RL", 0, 0},
        {0}};
    const cli_spec spec = {
        "show",
        "MODEL|RECIPE [OPTION]...",
        "Prints a model at a stage: as loaded (imports merged), expanded to a flat typed graph, "
        "with\n"
        "gradients, after the rewrite rules, or as the memory plan and steps that would run.",
        option,
        1,
        1};
    int code = cli_parse(&spec, &argc, &argv), k = 0;
    if (code >= 0 || (code = choose("stage", at, stage_name, N_STAGES, &k)) >= 0)
        return code;
    o.stage = (stage)k;
    if ((code = choose("as", as, form_name, N_FORMS, &k)) >= 0)
        return code;
    o.form = (form)k;
    o.dot.depth = (int)depth;
    objects x = {0};
    code = show(c, &o, argv[0], &set, &x);
    weft_session_free(x.session);
    weft_graph_free(x.graph);
    weft_graph_free(x.forward);
    weft_model_free(x.model);
    weft_recipe_free(x.recipe);
    return code;
}
