/* ir.c - the graph builder: values, nodes, names.  Emit -> check -> infer -> append: no value
 * without a type. */
#include "graph/ir.h"

#include <stdio.h>
#include <string.h>

#include "graph/expr.h"

weft_graph *weft_graph_new(weft_ctx *c)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_graph *g = a ? weft_arena_alloc(a, sizeof *g) : NULL;
    if (!g) {
        weft_arena_free(a);
        return NULL;
    }
    g->ctx = c;
    g->arena = a;
    g->rng = WEFT_NONE;
    g->at_scope = g->entry = "";
    g->names = weft_map_new(a);
    g->output_index = weft_map_new(a);
    if (!g->names || !g->output_index) {
        weft_arena_free(a);
        return NULL;
    }
    return g;
}

void weft_graph_free(weft_graph *g)
{
    if (g)
        weft_arena_free(g->arena);
}

/* Strings of consecutive nodes are mostly equal (scope, file): keep one copy of a run. */
static const char *keep(weft_graph *g, const char *s, const char *last)
{
    if (!s || (last && !strcmp(s, last)))
        return s ? last : NULL;
    return weft_arena_strdup(g->arena, s);
}

static weft_val add_value(weft_graph *g, weft_value v)
{
    if (!WEFT_GROW(g->arena, g->value, g->n_value, g->cap_value))
        return WEFT_NONE;
    g->value[g->n_value] = v;
    return g->n_value++;
}

void weft_graph_name(weft_graph *g, weft_val v, const char *name)
{
    const char *kept = v < 0 || !name ? NULL : weft_arena_strdup(g->arena, name);
    if (!kept)
        return;
    if (weft_map_get(g->names, kept, WEFT_NONE) != WEFT_NONE) {
        weft_fail(g->ctx, WEFT_MALFORMED, "the name '%s' is used for two values", name);
        return;
    }
    g->value[v].name = kept;
    weft_map_set(g->names, kept, v);
}

static weft_val add_source(weft_graph *g, weft_value v, const char *name)
{
    char why[128], text[256];
    if (!weft_type_check(&v.type, why, sizeof why)) {
        weft_fail(g->ctx, WEFT_MALFORMED, "%s '%s' of type %s: %s",
                  v.kind == WEFT_VALUE_INPUT ? "input" : "weight", name,
                  weft_type_print(text, sizeof text, &v.type), why);
        return WEFT_NONE;
    }
    if (weft_graph_find(g, name) >= 0) {
        weft_fail(g->ctx, WEFT_MALFORMED, "the name '%s' is used for two values", name);
        return WEFT_NONE;
    }
    weft_val id = add_value(g, v);
    weft_graph_name(g, id, name);
    return id;
}

weft_val weft_graph_input(weft_graph *g, const char *name, const weft_type *t)
{
    weft_val v =
        add_source(g, (weft_value){.type = *t, .kind = WEFT_VALUE_INPUT, .node = -1}, name);
    if (v < 0 || !WEFT_GROW(g->arena, g->input, g->n_input, g->cap_input))
        return WEFT_NONE;
    g->input[g->n_input++] = v;
    return v;
}

weft_val weft_graph_state(weft_graph *g, const char *name, const weft_type *t, const char *init,
                          bool trainable)
{
    weft_value v = {.type = *t, .kind = WEFT_VALUE_STATE, .node = -1, .trainable = trainable};
    v.init = weft_arena_strdup(g->arena, init ? init : "zeros");
    return add_source(g, v, name);
}

weft_val weft_graph_made_state(weft_graph *g, const char *name, const weft_type *t, weft_role role,
                               const char *maker)
{
    if (!name)
        return WEFT_NONE;
    weft_val there = weft_graph_find(g, name);
    if (there >= 0) {
        weft_fail(g->ctx, WEFT_MALFORMED,
                  "%s needs the name '%s' for a state of its own, but the model has %s of this "
                  "name: give that another name",
                  maker, name,
                  g->value[there].kind == WEFT_VALUE_STATE   ? "a weight"
                  : g->value[there].kind == WEFT_VALUE_INPUT ? "an input"
                                                             : "a value");
        return WEFT_NONE;
    }
    weft_val v = weft_graph_state(g, name, t, "zeros", false);
    if (v >= 0)
        g->value[v].role = role;
    return v;
}

weft_val weft_graph_copy_source(weft_graph *g, const weft_value *x)
{
    if (x->kind == WEFT_VALUE_INPUT)
        return weft_graph_input(g, x->name, &x->type);
    weft_val v = weft_graph_state(g, x->name, &x->type, x->init, x->trainable);
    if (v < 0)
        return v;
    g->value[v].role = x->role;
    g->value[v].moves = x->moves;
    return v;
}

weft_val weft_graph_rng(weft_graph *g)
{
    const weft_type t = weft_type_make(WEFT_I64, 1, (int64_t[]){2});
    if (g->rng < 0 && weft_graph_find(g, "rng") >= 0)
        weft_fail(g->ctx, WEFT_MALFORMED,
                  "the name 'rng' belongs to the random numbers that this op draws, but the model "
                  "has a value of this name: give that another name");
    else if (g->rng < 0)
        g->rng = weft_graph_input(g, "rng", &t);
    return g->rng;
}

weft_status weft_graph_output(weft_graph *g, const char *name, weft_val v)
{
    if (v < 0)
        return g->ctx->status;
    if (weft_graph_find_output(g, name) >= 0)
        return weft_fail(g->ctx, WEFT_MALFORMED, "two outputs are called '%s'", name);
    const char *kept = weft_arena_strdup(g->arena, name);
    if (!kept || !WEFT_GROW(g->arena, g->output, g->n_output, g->cap_output) ||
        !weft_map_set(g->output_index, kept, g->n_output))
        return WEFT_NOMEM;
    g->output[g->n_output++] = (weft_named){kept, v};
    return WEFT_OK;
}

weft_val weft_graph_find_output(const weft_graph *g, const char *name)
{
    int i = weft_map_get(g->output_index, name, -1);
    if (i < 0)
        return WEFT_NONE;
    if (i < g->n_output && !strcmp(g->output[i].name, name))
        return g->output[i].value;
    for (i = 0; i < g->n_output; i++) /* a pass has dropped outputs */
        if (!strcmp(g->output[i].name, name))
            return g->output[i].value;
    return WEFT_NONE;
}

weft_val weft_graph_find(const weft_graph *g, const char *name)
{
    return weft_map_get(g->names, name, WEFT_NONE);
}

/* Room for what a copy of g needs: arrays that grow leave their old selves in the arena. */
static bool reserve(weft_graph *h, const weft_graph *g)
{
    h->value = weft_arena_array(h->arena, (size_t)g->n_value + 1, sizeof *h->value);
    h->node = weft_arena_array(h->arena, (size_t)g->n_node + 1, sizeof *h->node);
    h->cap_value = g->n_value + 1;
    h->cap_node = g->n_node + 1;
    return h->value && h->node;
}

weft_graph *weft_graph_like(const weft_graph *g, weft_val *map)
{
    weft_graph *h = weft_graph_new(g->ctx);
    if (!h)
        return NULL;
    if (!reserve(h, g)) {
        weft_graph_free(h);
        return NULL;
    }
    h->next_stream = g->next_stream;
    h->entry = weft_arena_strdup(h->arena, g->entry);
    for (weft_val v = 0; v < g->n_value; v++) {
        const weft_value *x = &g->value[v];
        weft_val id = WEFT_NONE;
        if (x->kind != WEFT_VALUE_NODE)
            id = weft_graph_copy_source(h, x);
        if (map)
            map[v] = id;
        if (x->kind != WEFT_VALUE_NODE && id < 0) {
            weft_graph_free(h);
            return NULL;
        }
        if (v == g->rng)
            h->rng = id;
    }
    return h;
}

/* ---- appending ---- */
/* The set that an element type is in. f64 is that of reference sessions: no graph has it. */
static int kind_of(weft_dtype t)
{
    static const int kind[] = {
        [WEFT_F32] = WEFT_FLOAT, [WEFT_BF16] = WEFT_HALF, [WEFT_I32] = WEFT_INT,
        [WEFT_I64] = WEFT_INT,   [WEFT_U16] = WEFT_SHORT, [WEFT_BOOL] = WEFT_BYTE,
    };
    return (size_t)t < sizeof kind / sizeof *kind ? kind[t] : 0;
}

const char *weft_kind_print(char *out, size_t n, int kind)
{
    static const char *const name[] = {"f32", "i32 or i64", "bool", "bf16", "u16"};
    size_t k = 0;
    *out = 0;
    if ((kind & WEFT_ANY) == WEFT_ANY)
        snprintf(out, n, "any element type");
    for (int i = 0; (kind & WEFT_ANY) != WEFT_ANY && i < 5; i++)
        if (kind & 1 << i && k < n)
            k += (size_t)snprintf(out + k, n - k, "%s%s", k ? " or " : "", name[i]);
    return out;
}

/* There is a cast to f32, i32, i64 and bool from everything. */
static weft_status refuse_type(const weft_graph *g, const weft_op *op, const weft_port *p,
                               const weft_type *t)
{
    char text[256], kind[64];
    const char *to = p->kind & WEFT_FLOAT ? "f32" : p->kind & WEFT_INT ? "i32" : "bool";
    return weft_fail(g->ctx, WEFT_MALFORMED,
                     "%s: input '%s' must be %s, but is %s; a node before it makes it so: cast "
                     "to=%s",
                     op->name, p->name, weft_kind_print(kind, sizeof kind, p->kind),
                     weft_type_print(text, sizeof text, t), to);
}

/* Number of inputs that a user writes: without the framework's own. */
static int written_inputs(const weft_op *op, int *required)
{
    int n = 0;
    *required = 0;
    for (int i = 0; i < weft_op_n_in(op); i++) {
        if (op->in[i].kind & WEFT_INPUT_RNG)
            continue;
        n++;
        if (!(op->in[i].kind & WEFT_OPTIONAL))
            *required = n;
    }
    return n;
}

/* "x, w and, if wanted, bias": the inputs that a file may write. */
static const char *inputs_text(const weft_op *op, char *out, size_t n)
{
    size_t k = 0;
    bool optional = false;
    out[0] = 0;
    for (int i = 0; i < weft_op_n_in(op) && k < n; i++) {
        const weft_port *p = &op->in[i];
        if (p->kind & WEFT_INPUT_RNG)
            continue;
        const char *before = !k                                       ? ""
                             : (p->kind & WEFT_OPTIONAL) && !optional ? " and, if wanted, "
                                                                      : ", ";
        optional |= (p->kind & WEFT_OPTIONAL) != 0;
        k += (size_t)snprintf(out + k, n - k, "%s%s%s", before, p->name,
                              p->kind & WEFT_VARIADIC ? ", once or more" : "");
    }
    return out;
}

static bool check_arity(weft_graph *g, const weft_op *op, const weft_val *in, int n_in)
{
    int required, most = written_inputs(op, &required), n_port = weft_op_n_in(op);
    bool variadic = n_port && (op->in[n_port - 1].kind & WEFT_VARIADIC);
    bool whole = n_in == n_port; /* copies of nodes carry the framework's inputs too */
    if (!whole && (n_in < required || (n_in > most && !variadic))) {
        char text[512];
        weft_fail(g->ctx, WEFT_MALFORMED, "%s takes %s%d input%s, but %d %s given%s%s", op->name,
                  variadic || required < most ? (n_in < required ? "at least " : "at most ") : "",
                  n_in < required ? required : most,
                  (n_in < required ? required : most) == 1 ? "" : "s", n_in,
                  n_in == 1 ? "is" : "are", most ? "; its inputs: " : "",
                  inputs_text(op, text, sizeof text));
        return false;
    }
    for (int i = 0; i < n_in; i++) {
        const weft_port *p = &op->in[i < n_port ? i : n_port - 1];
        if (in[i] < 0 && !(p->kind & (WEFT_OPTIONAL | WEFT_INPUT_RNG))) {
            weft_fail(g->ctx, WEFT_MALFORMED, "%s needs its input '%s'", op->name, p->name);
            return false;
        }
        if (in[i] >= 0 && !(p->kind & kind_of(g->value[in[i]].type.dtype)))
            return !refuse_type(g, op, p, &g->value[in[i]].type);
    }
    return true;
}

bool weft_graph_infer(weft_graph *g, const weft_op *op, const weft_attr *attr, const weft_val *in,
                      int n_in, weft_type *out_type)
{
    enum { FEW = 32 };
    weft_type few[FEW], *type = few;
    if (n_in > FEW && !(type = weft_arena_array(g->arena, (size_t)n_in, sizeof *type)))
        return false;
    for (int i = 0; i < n_in; i++)
        type[i] = in[i] < 0 ? (weft_type){0} : g->value[in[i]].type;
    weft_call c = {.ctx = g->ctx,
                   .graph = g,
                   .op = op,
                   .attr = attr,
                   .n_in = n_in,
                   .n_out = weft_op_n_out(op),
                   .in_type = type,
                   .out_type = out_type,
                   .in = in};
    op->infer(&c);
    for (int i = 0; i < c.n_out && !c.failed; i++)
        if (!out_type[i].dtype)
            c.failed = weft_fail(g->ctx, WEFT_MALFORMED, "%s: inference gave output '%s' no type",
                                 op->name, op->out[i].name) != WEFT_OK;
    return !c.failed;
}

static bool fill_node(weft_graph *g, weft_node *n, const weft_val *in, int n_in,
                      const weft_attr *attr)
{
    int n_attr = weft_op_n_attr(n->op), n_port = weft_op_n_in(n->op), want = n_in;
    for (int i = 0; i < n_port; i++)
        if ((n->op->in[i].kind & WEFT_INPUT_RNG) && want <= i)
            want = i + 1;
    weft_attr *kept = weft_arena_array(g->arena, (size_t)n_attr + 1, sizeof *kept);
    n->in = weft_arena_array(g->arena, (size_t)want + 1, sizeof *n->in);
    n->out = weft_arena_array(g->arena, (size_t)n->n_out + 1, sizeof *n->out);
    if (!kept || !n->in || !n->out)
        return false;
    if (n_attr)
        memcpy(kept, attr, sizeof *kept * (size_t)n_attr);
    n->attr = kept;
    for (int i = 0; i < want; i++) {
        n->in[i] = i < n_in ? in[i] : WEFT_NONE;
        if (n->in[i] < 0 && i < n_port && (n->op->in[i].kind & WEFT_INPUT_RNG))
            n->in[i] = weft_graph_rng(g);
    }
    n->n_in = want;
    return !g->ctx->status;
}

static void stamp(weft_graph *g, weft_node *n)
{
    const weft_node *last = g->n_node ? &g->node[g->n_node - 1] : NULL;
    n->scope = keep(g, g->at_scope, last ? last->scope : NULL);
    n->file = keep(g, g->at_file, last ? last->file : NULL);
    n->line = g->at_line;
    n->backward = g->at_backward;
    n->segment = g->at_segment;
    if (n->op->flags & WEFT_DRAWS)
        n->stream = g->next_stream++;
}

int weft_graph_append(weft_graph *g, const weft_op *op, const weft_val *in, int n_in,
                      const weft_attr *attr, weft_val *out)
{
    weft_node n = {.op = op, .n_out = weft_op_n_out(op)};
    weft_type type[sizeof op->out / sizeof *op->out] = {{0}};
    if (g->ctx->status || !check_arity(g, op, in, n_in) || !fill_node(g, &n, in, n_in, attr) ||
        !weft_graph_infer(g, op, n.attr, n.in, n.n_in, type) ||
        !WEFT_GROW(g->arena, g->node, g->n_node, g->cap_node))
        return -1;
    stamp(g, &n);
    for (int i = 0; i < n.n_out; i++) {
        n.out[i] = add_value(
            g,
            (weft_value){.type = type[i], .kind = WEFT_VALUE_NODE, .node = g->n_node, .port = i});
        if (n.out[i] < 0)
            return -1;
        if (out)
            out[i] = n.out[i];
    }
    g->node[g->n_node] = n;
    return g->n_node++;
}

int weft_graph_copy_node(weft_graph *g, const weft_graph *from, int index, weft_val *map)
{
    const weft_node *n = &from->node[index];
    weft_val few[32], *in = few;
    if (n->n_in > 32 && !(in = weft_arena_array(g->arena, (size_t)n->n_in, sizeof *in)))
        return -1;
    for (int i = 0; i < n->n_in; i++)
        in[i] = n->in[i] < 0 ? WEFT_NONE : map[n->in[i]];
    g->at_scope = n->scope;
    g->at_file = n->file;
    g->at_line = n->line;
    g->at_backward = n->backward;
    g->at_segment = n->segment;
    weft_val out[sizeof n->op->out / sizeof *n->op->out];
    uint32_t stream = g->next_stream;
    int k = weft_graph_append(g, n->op, in, n->n_in, n->attr, out);
    if (k < 0)
        return -1;
    g->next_stream = stream;
    g->node[k].stream = n->stream;
    g->at_scope = g->node[k].scope; /* `from` may be gone when the next node is emitted */
    g->at_file = g->node[k].file;
    g->node[k].again = n->again;
    for (int i = 0; i < n->n_out; i++) {
        map[n->out[i]] = out[i];
        if (from->value[n->out[i]].name && weft_graph_find(g, from->value[n->out[i]].name) < 0)
            weft_graph_name(g, out[i], from->value[n->out[i]].name);
    }
    return k;
}

weft_val weft_graph_emit(weft_graph *g, const char *name, const weft_val *in, int n_in,
                         const char *attrs, ...)
{
    char text[1024];
    const char *part[16];
    int n = 0;
    va_list ap;
    va_start(ap, attrs);
    weft_vsnprintf(text, sizeof text, attrs, ap);
    va_end(ap);
    for (char *save = NULL, *p = strtok_r(text, " ", &save); p && n < 16;
         p = strtok_r(NULL, " ", &save))
        part[n++] = p;
    const weft_op *op = weft_op_find(name);
    weft_attr *attr;
    weft_val out[sizeof op->out / sizeof *op->out];
    if (!op) {
        weft_fail(g->ctx, WEFT_INTERNAL, "a pass emits the unknown op '%s'", name);
        return WEFT_NONE;
    }
    if (weft_attrs_parse(g->ctx, g->arena, op, part, n, &attr) ||
        weft_graph_append(g, op, in, n_in, attr, out) < 0)
        return WEFT_NONE;
    return out[0];
}
