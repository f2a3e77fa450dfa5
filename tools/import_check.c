/* import_check.c - weft import --check: the weights in a model, or in a recipe that is evaluated
 * with them. */
#include "tools/import.h"
#include "tools/tokens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- where a recipe has such weights ---- */
typedef struct {
    char field[64];  /* "load[1].file"; "": they are the whole model's */
    char scope[256]; /* of that entry */
    bool part;       /* the map is for such parts */
} place;

/* The value of a "key=value" line, or NULL; it ends with the line. */
static const char *value_of(const char *lines, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = lines; *p; p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != 0))
        if (!strncmp(p, key, n) && p[n] == '=')
            return p + n + 1;
    return NULL;
}

static bool scope_of(const char *settings, int entry, char *out, size_t n)
{
    char key[64];
    snprintf(key, sizeof key, "load[%d].file", entry);
    bool there = value_of(settings, key) != NULL;
    snprintf(key, sizeof key, "load[%d].scope", entry);
    const char *v = value_of(settings, key);
    snprintf(out, n, "%.*s", v ? (int)strcspn(v, "\n") : 0, v ? v : "");
    return there;
}

/* The entry that --as names, else the first with the scope of the map. */
static void choose_place(const import_check *o, const char *settings, const char *scope, place *p)
{
    int entry = 0;
    *p = (place){.part = *scope != 0};
    if (o->as) {
        snprintf(p->field, sizeof p->field, "%s", o->as);
        if (sscanf(o->as, "load[%d].file", &entry) == 1)
            scope_of(settings, entry, p->scope, sizeof p->scope);
        return;
    }
    while (*scope && scope_of(settings, entry, p->scope, sizeof p->scope)) {
        if (!strcmp(p->scope, scope)) {
            snprintf(p->field, sizeof p->field, "load[%d].file", entry);
            return;
        }
        entry++;
    }
}

static weft_status find_place(weft_ctx *c, const import_check *o, place *p)
{
    weft_recipe *r = NULL;
    char *settings = NULL, *scope = NULL;
    weft_status st = weft_names_scope(c, o->names, &scope);
    if (!st)
        st = weft_recipe_load(c, o->model, o->set.item, o->set.n, &r);
    if (!st)
        st = weft_recipe_settings(r, &settings);
    if (!st)
        choose_place(o, settings, scope, p);
    weft_text_free(c, settings);
    weft_text_free(c, scope);
    weft_recipe_free(r);
    return st;
}

/* ---- what it says of them ---- */
static void print_value(const import_check *o, const char *before, const char *name, double v)
{
    if (!o->json) {
        cli_put("%-28s %.6f\n", name, v);
        return;
    }
    printf("%s{\"name\":", before);
    cli_json_text(stdout, name);
    cli_json_number(stdout, ",", "value", v);
    printf("}");
}

static void print_values(const import_check *o, const char *loss, const weft_eval_result *r)
{
    print_value(o, "[", loss, r->loss);
    for (int i = 0; i < r->n_log; i++)
        if (strcmp(r->log_name[i], loss))
            print_value(o, ",", r->log_name[i], r->log[i]);
    if (o->json) {
        printf("]");
        *o->told = true;
    }
}

/* explained_variance, and the best of the other readings of the same weights, whose names go on
 * behind it; NaN: not evaluated. */
static void find_readings(const weft_eval_result *r, double *own, double *best,
                          const char **reading)
{
    static const char name[] = "explained_variance";
    const size_t n = sizeof name - 1;
    *own = *best = NAN;
    *reading = "";
    for (int i = 0; i < r->n_log; i++) {
        if (strncmp(r->log_name[i], name, n))
            continue;
        if (!r->log_name[i][n])
            *own = r->log[i];
        else if (isnan(*best) || r->log[i] > *best) {
            *best = r->log[i];
            *reading = r->log_name[i] + n + 1;
        }
    }
}

/* What was meant by the choice of a reading: the one that explains most. `part`: the weights are an
 * autoencoder's or the like, of which the loss says nothing. */
static int judge(const import_check *o, bool part, const weft_eval_result *r)
{
    double own, best;
    const char *reading;
    find_readings(r, &own, &best, &reading);
    if (!isfinite(r->loss))
        fprintf(stderr, "weft: error: the loss is %g\n", r->loss);
    else if (isnan(own) && !part && isnan(best))
        return WEFT_OK;
    else if (!isfinite(own))
        fprintf(stderr,
                "weft: error: %s gives no explained_variance, by which these weights are judged: "
                "does it stand in eval.log, as in models/recipes/sae-check.txtpb?\n",
                o->model);
    else if (best > own + 0.02) /* more than batches of a few thousand tokens differ by */
        fprintf(stderr,
                "weft: error: read as %s these weights explain %.3f of the variance, as they were "
                "read %.3f: is the description right?\n",
                reading, best, own);
    else if (own < 0.3)
        fprintf(stderr,
                "weft: error: only %.3f of the variance is explained: are these the activations "
                "that it was trained on (--set t_tap), and the tokens?\n",
                own);
    else
        return WEFT_OK;
    return WEFT_MISMATCH;
}

/* ---- both kinds of check ---- */
/* Runs the recipe with the weights in their place: a whole model's are the evaluated model's own,
 * of which none may be missing; those of a part must be read by what is evaluated. */
static int check_recipe(weft_ctx *c, const import_check *o, const char *file, const char **set,
                        int n)
{
    place p;
    char own[4200];
    int code = WEFT_OK;
    weft_trained *t = NULL;
    weft_eval_result r;
    weft_eval_options eval = {.batches = o->batches};
    weft_status st = find_place(c, o, &p);
    snprintf(own, sizeof own, "%s=%s", p.field, file);
    if (!st && *p.field)
        set[n++] = own;
    if (!st)
        st = weft_trained_open(c, o->model, *p.field ? NULL : file, set, n, &t);
    if (!st && *p.field)
        st = weft_trained_reads(t, file, p.scope);
    if (!st)
        st = cli_tokens_count(c, t, &eval.vocab);
    if (!st)
        st = weft_evaluate(t, o->data ? o->data : weft_trained_file(t, WEFT_RECIPE_VAL), &eval, &r);
    if (!st) {
        print_values(o, weft_recipe_eval_loss(weft_trained_recipe(t)), &r);
        code = judge(o, p.part, &r);
    }
    weft_trained_free(t);
    return st ? cli_fail(c) : code;
}

/* Below the scope of the command line, or where a model has such weights. */
static weft_status load_into(weft_ctx *c, const import_check *o, const char *file, weft_model *m)
{
    weft_graph *g = NULL;
    weft_session *session = NULL;
    char *part = NULL;
    weft_status st = weft_graph_expand(m, &g);
    if (!st && !o->scope) {
        st = weft_names_scope(c, o->names, &part);
        if (!st)
            st = weft_weights_fit(g, file, part);
    } else if (!st) {
        st = weft_session_new(c, false, &session);
        if (!st)
            st = weft_session_add_states(session, g);
        if (!st)
            st = weft_weights_load(session, file, o->scope);
    }
    weft_text_free(c, part);
    weft_session_free(session);
    weft_graph_free(g);
    return st;
}

static int check_model(weft_ctx *c, const import_check *o, const char *file, const char **set,
                       int n)
{
    weft_model *m = NULL;
    weft_status st = weft_model_load(c, o->model, set, n, &m);
    if (!st)
        st = load_into(c, o, file, m);
    weft_model_free(m);
    return st ? cli_fail(c) : WEFT_OK;
}

/* Does the model know the parameter of this setting? Told by what loading it says. */
static bool knows(weft_ctx *c, const import_check *o, weft_file_kind kind, const char *setting)
{
    weft_recipe *r = NULL;
    weft_model *m = NULL;
    weft_status st = WEFT_OK;
    if (kind == WEFT_FILE_MODEL)
        st = weft_model_load(c, o->model, &setting, 1, &m);
    else if (!(st = weft_recipe_load(c, o->model, &setting, 1, &r)))
        st = weft_recipe_model(r, 0, 0, &m);
    weft_model_free(m);
    weft_recipe_free(r);
    if (st == WEFT_USAGE)
        weft_error_clear(c);
    return st != WEFT_USAGE;
}

/* What the files told, but for the parameters of another module that has the same weights. */
static int known_settings(weft_ctx *c, const import_check *o, weft_file_kind kind, char *known,
                          const char **set)
{
    const char *sep = "";
    int n = 0;
    for (char *p = strtok(known, "\n"); p && n < CLI_LIST_MAX; p = strtok(NULL, "\n")) {
        set[n] = p;
        if (knows(c, o, kind, p))
            n++;
        else if (!o->json) {
            cli_put("%s%.*s", *sep ? sep : "left out    ", (int)strcspn(p, "="), p);
            sep = ", ";
        }
    }
    if (*sep)
        cli_put(": no parameters of %s\n", o->model);
    return n;
}

int import_check_begin(weft_ctx *c, const import_check *o)
{
    weft_file_kind kind;
    weft_recipe *r = NULL;
    if (weft_file_sniff(c, o->model, &kind))
        return cli_fail(c);
    if (kind == WEFT_FILE_MODEL)
        return o->data || o->as ? cli_usage("import",
                                            "--data and --as are for a recipe, but %s is a "
                                            "model file",
                                            o->model)
                                : -1;
    if (weft_recipe_load(c, o->model, o->set.item, o->set.n, &r))
        return cli_fail(c);
    bool has_data = o->data || weft_recipe_file(r, WEFT_RECIPE_VAL);
    weft_recipe_free(r);
    return has_data ? -1 : cli_usage("import", "--check with a recipe needs --data=TOKENS");
}

/* Parameters that the files told come first, those of the command line last. */
int import_check_run(weft_ctx *c, const import_check *o, const char *file, char *known)
{
    const char *set[2 * CLI_LIST_MAX + 1]; /* one more for the field of a recipe */
    weft_file_kind kind;
    if (weft_file_sniff(c, o->model, &kind))
        return cli_fail(c);
    int n = known_settings(c, o, kind, known, set);
    for (int i = 0; i < o->set.n; i++)
        set[n++] = o->set.item[i];
    int code = kind == WEFT_FILE_RECIPE ? check_recipe(c, o, file, set, n)
                                        : check_model(c, o, file, set, n);
    if (!code && !o->json)
        cli_put("checked     %s takes it\n", o->model);
    return code;
}
