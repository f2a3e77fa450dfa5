/* gradcheck.c - gradients of a graph against central differences, in double, on the reference
 * kernels.
 *
 * Input: any graph.  The loss is the inner product of its float outputs with random numbers (inputs
 * of the checked graph, so that every output element counts).  Each trainable state and each float
 * input is varied, element by element if it is small, along random directions if not.  eps = 1e-5
 * and the bound of 1e-7 are measured: with right gradients the error of such graphs is near 1e-10.
 *
 * What stops gradients by definition (stop_gradient, above, casts, positions of topk) is a constant
 * for the derivative, so it must be one for the differences: it is computed once, at the point that
 * is tested, and fed to the runs beside it.  States that the model updates are put back after every
 * run. */
#include <math.h>
#include <string.h>

#include "graph/io.h"
#include "graph/plan.h"
#include "graph/rng.h"

typedef struct {
    const char *name;   /* as the caller knows it */
    const char *output; /* name of its gradient in the checked graph, NULL: not varied */
    weft_val value;     /* in the checked graph */
    bool is_state;
    weft_type type; /* element type as the session has it: f64 for floats */
    void *data;     /* inputs: what is fed; states: where the session has it */
    double *gradient;
} tensor;

/* A value that is held where it is, or a state that is put back. */
typedef struct {
    const char *name; /* of the output and input; of the state */
    size_t bytes;
    void *data;
} kept;

typedef struct {
    weft_ctx *ctx;
    weft_gradcheck_options o;
    weft_arena *arena;
    weft_graph *g; /* the checked graph: lowered, with loss and gradients */
    weft_session *session;
    weft_program *both, *loss_only; /* at the point, beside it */
    weft_program *point;            /* what is held; NULL: nothing is */
    tensor *t; /* all inputs, and the trainable states */
    int n;
    kept *held, *updated;
    int n_held, n_updated;
    weft_gradcheck_progress progress;
    int64_t start_ns;
} check;

/* ---- random numbers: of the tensor's name, so that one more tensor changes no other ---- */
static double normal(const check *k, const char *name, int64_t i)
{
    uint32_t word[4];
    double out[4];
    weft_random4(word, k->o.seed ^ weft_hash(name, strlen(name), 0), 0, 0x67726164,
                 (uint64_t)i / 4);
    weft_random_normal4(out, word);
    return out[i % 4];
}

static int64_t below(const check *k, const char *name, int64_t i, int64_t limit)
{
    uint32_t word[4];
    weft_random4(word, k->o.seed ^ weft_hash(name, strlen(name), 0), 0, 0x696e7473, (uint64_t)i);
    return (int64_t)(((uint64_t)word[1] << 32 | word[0]) % (uint64_t)limit);
}

/* ---- the checked graph ---- */
/* sum over i of cotangent[i] * output[i], the cotangent being a new input. */
static weft_val weighted(check *k, const char *name, weft_val y)
{
    weft_graph *g = k->g;
    const char *input = weft_arena_printf(k->arena, "gradcheck:%s", name);
    weft_val w = input ? weft_graph_input(g, input, &g->value[y].type) : WEFT_NONE;
    weft_val p = w < 0 ? WEFT_NONE : weft_graph_emit(g, "mul", (weft_val[]){y, w}, 2, "%s", "");
    return p < 0 ? WEFT_NONE : weft_graph_emit(g, "sum", &p, 1, "%s", "");
}

static weft_val make_loss(check *k)
{
    weft_val loss = WEFT_NONE;
    int n = k->g->n_output;
    for (int i = 0; i < n && !k->ctx->status; i++) {
        const weft_named *out = &k->g->output[i];
        if ((k->o.output && strcmp(k->o.output, out->name)) ||
            k->g->value[out->value].type.dtype != WEFT_F32)
            continue;
        weft_val term = weighted(k, out->name, out->value);
        loss =
            loss < 0 ? term : weft_graph_emit(k->g, "add", (weft_val[]){loss, term}, 2, "%s", "");
    }
    if (loss < 0 && !k->ctx->status)
        weft_fail(k->ctx, WEFT_USAGE, "gradcheck: the graph has no float output%s%s",
                  k->o.output ? " called " : "", k->o.output ? k->o.output : "");
    return loss;
}

static bool is_own(const char *name) { return !strncmp(name, "gradcheck:", 10); }

/* ---- what is held ---- */
static bool is_varied(const weft_value *x)
{
    return weft_dtype_is_float(x->type.dtype) &&
           (x->kind == WEFT_VALUE_STATE ? x->trainable
                                        : x->kind == WEFT_VALUE_INPUT && !is_own(x->name));
}

/* What the loss needs. */
static void mark_needed(const weft_graph *g, weft_val loss, bool *need)
{
    need[loss] = true;
    for (int k = g->n_node - 1; k >= 0; k--) {
        const weft_node *n = &g->node[k];
        bool used = false;
        for (int i = 0; i < n->n_out; i++)
            used |= need[n->out[i]];
        for (int i = 0; used && i < n->n_in; i++)
            if (n->in[i] >= 0)
                need[n->in[i]] = true;
    }
}

/* Where the derivative by the varied values flows; `stop`: a value that depends on them, but not
 * for it. */
static void mark_stops(const weft_graph *g, bool *flows, bool *stop)
{
    for (weft_val v = 0; v < g->n_value; v++)
        flows[v] = is_varied(&g->value[v]);
    for (int k = 0; k < g->n_node; k++) {
        const weft_node *n = &g->node[k];
        bool on = false;
        for (int i = 0; i < n->n_in; i++)
            on |= n->in[i] >= 0 && flows[n->in[i]];
        for (int i = 0; on && i < n->n_out; i++) {
            weft_val y = n->out[i];
            bool stops =
                n->op->flags & WEFT_NO_GRADIENT || !weft_dtype_is_float(g->value[y].type.dtype);
            *(stops ? &stop[y] : &flows[y]) = true;
        }
    }
}

static weft_status find_held(check *k, weft_val loss)
{
    weft_graph *g = k->g;
    size_t n = (size_t)g->n_value + 1;
    bool *need = weft_arena_array(k->arena, n, sizeof *need);
    bool *flows = weft_arena_array(k->arena, n, sizeof *flows);
    bool *stop = weft_arena_array(k->arena, n, sizeof *stop);
    k->held = weft_arena_array(k->arena, n, sizeof *k->held);
    if (!need || !flows || !stop || !k->held)
        return WEFT_NOMEM;
    mark_needed(g, loss, need);
    mark_stops(g, flows, stop);
    for (weft_val v = 0; v < g->n_value; v++) {
        if (!need[v] || !stop[v])
            continue;
        const char *name = weft_arena_printf(k->arena, "gradcheck:held:%d", v);
        k->held[k->n_held++] = (kept){.name = name};
        WEFT_TRY(name ? weft_graph_output(g, name, v) : WEFT_NOMEM);
    }
    return k->ctx->status;
}

static weft_status find_updated(check *k)
{
    const weft_graph *g = k->g;
    bool *listed = weft_arena_array(k->arena, (size_t)g->n_value + 1, sizeof *listed);
    k->updated = weft_arena_array(k->arena, (size_t)g->n_value + 1, sizeof *k->updated);
    if (!listed || !k->updated)
        return WEFT_NOMEM;
    for (int i = 0; i < g->n_node; i++)
        for (int j = 0; j < g->node[i].n_out; j++) {
            weft_val v = weft_graph_updated(g, i, j);
            weft_state *s = v < 0 ? NULL : weft_session_state(k->session, g->value[v].name);
            if (!s || listed[v])
                continue;
            listed[v] = true;
            kept *u = &k->updated[k->n_updated++];
            *u = (kept){s->name, weft_type_bytes(&s->type), NULL};
            if (!(u->data = weft_arena_alloc(k->arena, u->bytes)))
                return WEFT_NOMEM;
        }
    return WEFT_OK;
}

/* Lists inputs and trainable states; those of float type are varied, but for the cotangents. */
static weft_status list_tensors(check *k, weft_val *xs, int *n_x)
{
    weft_graph *g = k->g;
    k->t = weft_arena_array(k->arena, (size_t)g->n_value, sizeof *k->t);
    for (weft_val v = 0; k->t && v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        if (x->kind == WEFT_VALUE_NODE || (x->kind == WEFT_VALUE_STATE && !x->trainable))
            continue;
        tensor *t = &k->t[k->n++];
        *t = (tensor){
            .name = x->name, .value = v, .is_state = x->kind == WEFT_VALUE_STATE, .type = x->type};
        if (x->type.dtype != WEFT_F32 || is_own(x->name))
            continue;
        t->output = weft_arena_printf(k->arena, "gradcheck:d:%s", x->name);
        if (!t->output)
            return WEFT_NOMEM;
        xs[(*n_x)++] = v;
    }
    return k->ctx->status;
}

static weft_status add_gradients(check *k, weft_val loss)
{
    size_t most = (size_t)k->g->n_value + 1;
    weft_val *xs = weft_arena_array(k->arena, most, sizeof *xs),
             *dx = weft_arena_array(k->arena, most, sizeof *dx);
    int n = 0, next = 0;
    if (!xs || !dx)
        return WEFT_NOMEM;
    WEFT_TRY(list_tensors(k, xs, &n));
    WEFT_TRY(weft_graph_output(k->g, "gradcheck:loss", loss));
    WEFT_TRY(weft_graph_gradient(k->g, loss, xs, n, dx));
    for (int i = 0; i < k->n; i++)
        if (k->t[i].output)
            WEFT_TRY(weft_graph_output(k->g, k->t[i].output, dx[next++]));
    return WEFT_OK;
}

/* The loss of the runs beside the point, and what is held in them. What would be held keeps others
 * from being fused, so it has a program of its own. */
static weft_status compile_beside(check *k, const weft_compile_options *o)
{
    const char *loss = "gradcheck:loss";
    const char **held = weft_arena_array(k->arena, (size_t)k->n_held + 1, sizeof *held);
    weft_graph *beside = NULL;
    if (!held)
        return WEFT_NOMEM;
    for (int i = 0; i < k->n_held; i++)
        held[i] = k->held[i].name;
    if (k->n_held)
        WEFT_TRY(weft_program_compile(k->session, k->g, held, k->n_held, o, &k->point));
    WEFT_TRY(weft_graph_feed(k->g, held, k->n_held, &loss, 1, &beside));
    weft_status s = weft_program_compile(k->session, beside, &loss, 1, o, &k->loss_only);
    weft_graph_free(beside);
    return s;
}

static weft_status compile(check *k)
{
    const char **fetch = weft_arena_array(k->arena, (size_t)k->n + 1, sizeof *fetch);
    weft_compile_options o = {.train = !k->o.eval, .reference = true, .no_rewrite = !k->o.rewrite};
    int n = 1;
    if (!fetch)
        return WEFT_NOMEM;
    fetch[0] = "gradcheck:loss";
    for (int i = 0; i < k->n; i++)
        if (k->t[i].output)
            fetch[n++] = k->t[i].output;
    WEFT_TRY(weft_session_new(k->ctx, true, &k->session));
    WEFT_TRY(weft_session_add_states(k->session, k->g));
    WEFT_TRY(weft_session_init(k->session, k->o.seed));
    WEFT_TRY(weft_program_compile(k->session, k->g, fetch, n, &o, &k->both));
    WEFT_TRY(find_updated(k));
    return compile_beside(k, &o);
}

/* ---- data ---- */
static void fill_random(const check *k, tensor *t)
{
    int64_t n = weft_type_count(&t->type);
    for (int64_t i = 0; i < n; i++) {
        if (t->type.dtype == WEFT_F64)
            ((double *)t->data)[i] = normal(k, t->name, i);
        else if (t->type.dtype == WEFT_I32)
            ((int32_t *)t->data)[i] = (int32_t)below(k, t->name, i, k->o.ints_below);
        else if (t->type.dtype == WEFT_I64)
            ((int64_t *)t->data)[i] = below(k, t->name, i, k->o.ints_below);
        else if (t->type.dtype == WEFT_U16)
            ((uint16_t *)t->data)[i] = (uint16_t)below(k, t->name, i, k->o.ints_below);
        else if (t->type.dtype == WEFT_BOOL)
            ((uint8_t *)t->data)[i] = (uint8_t)below(k, t->name, i, 2);
    }
}

/* Weights as the model initialises them, and a little noise: a bias of zero would hide a missing
 * term. */
static weft_status fill_state(check *k, tensor *t)
{
    weft_state *s = weft_session_state(k->session, t->name);
    if (!s)
        return weft_fail(k->ctx, WEFT_INTERNAL, "gradcheck: the state '%s' is not in the session",
                         t->name);
    t->type = s->type;
    t->data = s->data;
    if (k->o.fill && k->o.fill(k->o.user, t->name, &t->type, t->data))
        return WEFT_OK;
    for (int64_t i = 0; t->type.dtype == WEFT_F64 && i < weft_type_count(&t->type); i++)
        ((double *)t->data)[i] += 0.1 * normal(k, t->name, i);
    return WEFT_OK;
}

static weft_status fill_all(check *k)
{
    for (int i = 0; i < k->n; i++) {
        tensor *t = &k->t[i];
        if (weft_dtype_is_float(t->type.dtype))
            t->type.dtype = WEFT_F64;
        int64_t n = weft_type_count(&t->type);
        if (t->output && !(t->gradient = weft_arena_array(k->arena, (size_t)n, sizeof(double))))
            return WEFT_NOMEM;
        if (t->is_state) {
            WEFT_TRY(fill_state(k, t));
            continue;
        }
        t->data = weft_arena_array(k->arena, (size_t)n, weft_dtype_size(t->type.dtype));
        if (!t->data)
            return WEFT_NOMEM;
        if (!k->o.fill || is_own(t->name) || !k->o.fill(k->o.user, t->name, &t->type, t->data))
            fill_random(k, t);
    }
    return WEFT_OK;
}

/* Puts the updated states into `updated`, or back. */
static void keep_states(check *k, bool back)
{
    for (int i = 0; i < k->n_updated; i++) {
        const kept *u = &k->updated[i];
        void *state = weft_session_data(k->session, u->name, NULL);
        memcpy(back ? state : u->data, back ? u->data : state, u->bytes);
    }
}

/* Programs of one session share their memory, so inputs are fed before every run. */
static weft_status run_program(check *k, weft_program *p)
{
    for (int i = 0; i < k->n_held; i++) {
        void *to = weft_program_input(p, k->held[i].name, NULL);
        if (to)
            memcpy(to, k->held[i].data, k->held[i].bytes);
    }
    for (int i = 0; i < k->n; i++) {
        void *to = k->t[i].is_state ? NULL : weft_program_input(p, k->t[i].name, NULL);
        if (to)
            memcpy(to, k->t[i].data, weft_type_bytes(&k->t[i].type));
    }
    keep_states(k, false);
    WEFT_TRY(weft_program_run(p));
    keep_states(k, true);
    return WEFT_OK;
}

static weft_status run(check *k, weft_program *p, double *loss)
{
    weft_type type;
    WEFT_TRY(run_program(k, p));
    const double *y = weft_program_output(p, "gradcheck:loss", &type);
    if (!y || type.dtype != WEFT_F64)
        return weft_fail(k->ctx, WEFT_INTERNAL, "gradcheck: the loss was not computed in double");
    *loss = *y;
    return WEFT_OK;
}

static weft_status take_held(check *k)
{
    weft_type type;
    if (k->point)
        WEFT_TRY(run_program(k, k->point));
    for (int i = 0; i < k->n_held; i++) {
        kept *h = &k->held[i];
        const void *y = weft_program_output(k->point, h->name, &type);
        h->bytes = y ? weft_type_bytes(&type) : 0;
        h->data = y ? weft_arena_alloc(k->arena, h->bytes) : NULL;
        if (!h->data)
            return k->ctx->status;
        memcpy(h->data, y, h->bytes);
    }
    return WEFT_OK;
}

static weft_status analytic(check *k)
{
    double loss;
    weft_type type;
    WEFT_TRY(run(k, k->both, &loss));
    if (!isfinite(loss))
        return weft_fail(k->ctx, WEFT_NUMERIC,
                         "gradcheck: the output is not finite at the point tested");
    for (int i = 0; i < k->n; i++) {
        if (!k->t[i].output)
            continue;
        const void *y = weft_program_output(k->both, k->t[i].output, &type);
        if (!y || type.dtype != WEFT_F64 ||
            weft_type_count(&type) != weft_type_count(&k->t[i].type))
            return weft_fail(k->ctx, WEFT_INTERNAL, "gradcheck: no gradient of '%s'", k->t[i].name);
        memcpy(k->t[i].gradient, y, weft_type_bytes(&type));
    }
    return take_held(k);
}

/* ---- differences ---- */
static weft_status central(check *k, double *out, double *x, const double *saved,
                           const double *direction, int64_t n, int64_t element)
{
    double loss[2];
    for (int side = 0; side < 2; side++) {
        double step = side ? k->o.eps : -k->o.eps;
        if (direction)
            for (int64_t i = 0; i < n; i++)
                x[i] = saved[i] + step * direction[i];
        else
            x[element] = saved[element] + step;
        WEFT_TRY(run(k, k->loss_only, &loss[side]));
    }
    if (direction)
        memcpy(x, saved, sizeof *x * (size_t)n);
    else
        x[element] = saved[element];
    *out = (loss[1] - loss[0]) / (2 * k->o.eps);
    return WEFT_OK;
}

/* A random direction of length 1, and the analytic derivative along it. */
static double make_direction(const check *k, const tensor *t, int64_t probe, double *d, int64_t n)
{
    double length = 0, slope = 0;
    for (int64_t i = 0; i < n; i++) {
        d[i] = normal(k, t->output, probe * n + i);
        length += d[i] * d[i];
    }
    length = sqrt(length);
    for (int64_t i = 0; i < n; i++) {
        d[i] /= length;
        slope += d[i] * t->gradient[i];
    }
    return slope;
}

/* How many times a tensor is varied: every element, or along directions. */
static int64_t probes(const check *k, const tensor *t)
{
    int64_t n = weft_type_count(&t->type);
    return n <= k->o.elements ? n : k->o.directions;
}

static void tell(check *k, const char *name)
{
    k->progress.name = name;
    k->progress.done++;
    k->progress.seconds = (double)(weft_now_ns(k->ctx) - k->start_ns) * 1e-9;
    if (k->o.progress)
        k->o.progress(k->o.user, &k->progress);
}

static weft_status compare(check *k, tensor *t, weft_gradcheck_result *r)
{
    int64_t n = weft_type_count(&t->type);
    bool each = n <= k->o.elements;
    double *saved = weft_arena_array(k->arena, (size_t)n, sizeof *saved);
    double *direction = each ? NULL : weft_arena_array(k->arena, (size_t)n, sizeof *direction);
    double difference = 0, a = 0, b = 0, slope;
    *r = (weft_gradcheck_result){.name = t->name, .count = n, .probes = probes(k, t)};
    if (!saved || (!each && !direction))
        return WEFT_NOMEM;
    memcpy(saved, t->data, sizeof *saved * (size_t)n);
    for (int64_t i = 0; i < r->probes; i++) {
        double exact = each ? t->gradient[i] : make_direction(k, t, i, direction, n);
        WEFT_TRY(central(k, &slope, t->data, saved, direction, n, i));
        tell(k, t->name);
        difference += (exact - slope) * (exact - slope);
        a += exact * exact;
        b += slope * slope;
    }
    r->norm = sqrt(a > b ? a : b);
    r->error = r->norm > 0 ? sqrt(difference) / r->norm : 0;
    return WEFT_OK;
}

static weft_status check_all(check *k)
{
    weft_gradcheck_result r, worst = {.name = "", .error = -1};
    k->start_ns = weft_now_ns(k->ctx);
    for (int i = 0; i < k->n; i++)
        k->progress.all += k->t[i].output ? probes(k, &k->t[i]) : 0;
    for (int i = 0; i < k->n; i++) {
        if (!k->t[i].output)
            continue;
        WEFT_TRY(compare(k, &k->t[i], &r));
        if (k->o.report)
            k->o.report(k->o.user, &r);
        if (!(r.error <= worst.error)) /* a NaN is the worst */
            worst = r;
    }
    if (worst.error <= k->o.tolerance)
        return WEFT_OK;
    return weft_fail(k->ctx, WEFT_FAILED,
                     "gradcheck: the gradient by '%s' differs from central differences by %.3g of "
                     "its norm %.3g; at "
                     "most %.3g is expected",
                     worst.name, worst.error, worst.norm, k->o.tolerance);
}

static weft_status check_graph(check *k, const weft_graph *g)
{
    WEFT_TRY(weft_graph_lower(g, &k->g));
    weft_val loss = make_loss(k);
    if (loss < 0)
        return k->ctx->status;
    WEFT_TRY(find_held(k, loss));
    WEFT_TRY(add_gradients(k, loss));
    WEFT_TRY(weft_graph_verify(k->g));
    WEFT_TRY(compile(k));
    WEFT_TRY(fill_all(k));
    WEFT_TRY(analytic(k));
    return check_all(k);
}

weft_status weft_graph_gradcheck(const weft_graph *g, const weft_gradcheck_options *o)
{
    check k = {.ctx = g->ctx,
               .o = o ? *o : (weft_gradcheck_options){0},
               .arena = weft_arena_new(g->ctx, 0)};
    k.o.eps = k.o.eps > 0 ? k.o.eps : 1e-5;
    k.o.tolerance = k.o.tolerance > 0 ? k.o.tolerance : 1e-7;
    k.o.elements = k.o.elements > 0 ? k.o.elements : 10000;
    k.o.directions = k.o.directions > 0 ? k.o.directions : 64;
    k.o.ints_below = k.o.ints_below > 0 ? k.o.ints_below : 2;
    weft_status s = k.arena ? check_graph(&k, g) : g->ctx->status;
    if (k.session)
        weft_session_free(k.session);
    weft_graph_free(k.g);
    weft_arena_free(k.arena);
    return s;
}
