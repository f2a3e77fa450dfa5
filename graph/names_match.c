/* names_match.c - which tensor of a source is which one of a name map, in either direction, and
 * what does not fit. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/names.h"

enum { MAX_LAYERS = 65536 };

/* ---- lists ---- */
void weft_name_list_add(weft_name_list *l, const char *name, const char *more)
{
    char shown[256];
    bool fits = l->shown == l->n && l->n < WEFT_NAMES_SHOWN && l->text.len < WEFT_NAMES_BYTES;
    l->n++;
    if (!fits)
        return;
    weft_string_printf(&l->text, "%s%s%s", l->shown ? ", " : "",
                       weft_printable(shown, sizeof shown, name), more);
    l->shown++;
}

void weft_name_list_note(weft_ctx *c, const char *what, const weft_name_list *l)
{
    char rest[64] = "";
    if (!l->n)
        return;
    if (l->n > l->shown)
        snprintf(rest, sizeof rest, " ... and %d more", l->n - l->shown);
    weft_note(c, "%d %s: %s%s", l->n, what, l->text.s, rest);
}

void weft_match_init(weft_match *m, weft_arena *a, const weft_names *names, bool reverse,
                     const char *prefix, const char *from)
{
    weft_ctx *c = weft_arena_ctx(a);
    *m = (weft_match){.ctx = c,
                      .arena = a,
                      .names = names,
                      .reverse = reverse,
                      .prefix = prefix ? prefix : "",
                      .from = from,
                      .bos = -1,
                      .eos = -1};
    m->seen = weft_map_new(a);
    weft_string_init(&m->missing.text, c);
    weft_string_init(&m->extra.text, c);
    weft_string_init(&m->misshapen.text, c);
}

void weft_match_free(weft_match *m)
{
    weft_string_free(&m->missing.text);
    weft_string_free(&m->extra.text);
    weft_string_free(&m->misshapen.text);
}

/* ---- names ---- */
static const char *read_name(const weft_match *m, const Weft__Rule *r)
{
    return m->reverse && r->to ? r->to : r->from;
}

static const char *written_name(const weft_match *m, const Weft__Rule *r)
{
    return !m->reverse && r->to ? r->to : r->from;
}

static bool is_kept(const Weft__Rule *r) { return !r->ignore && !r->tie; }

static int find_rule(const weft_match *m, const char *name, bool bare, const char **star, size_t *n)
{
    const Weft__Names *msg = m->names->msg;
    for (size_t i = 0; i < msg->n_rule; i++) {
        const Weft__Rule *r = msg->rule[i];
        if ((m->reverse && r->tie) || (!m->reverse && bare != (r->bare || !msg->n_prefix)))
            continue;
        if (weft_names_fit(read_name(m, r), name, star, n))
            return (int)i;
    }
    return -1;
}

/* Takes the prefix off that a name has; *rest is what rules speak of. */
static int strip_and_find(const weft_match *m, const char *name, const char **rest,
                          const char **star, size_t *n)
{
    const Weft__Names *msg = m->names->msg;
    *rest = name;
    if (m->reverse) {
        *rest = name + strlen(m->prefix);
        return find_rule(m, *rest, true, star, n);
    }
    int rule = -1;
    for (size_t i = 0; rule < 0 && i < msg->n_prefix; i++) {
        size_t k = strlen(msg->prefix[i]);
        if (strncmp(name, msg->prefix[i], k))
            continue;
        *rest = name + k;
        rule = find_rule(m, *rest, false, star, n);
    }
    if (rule >= 0)
        return rule;
    *rest = name;
    return find_rule(m, name, true, star, n);
}

static int64_t layer_of(const char *star)
{
    int64_t layer;
    if (!star || !weft_parse_i64(star, &layer) || layer < 0 || layer >= MAX_LAYERS)
        return -1;
    char again[32];
    snprintf(again, sizeof again, "%" PRId64, layer);
    return strcmp(again, star) ? -1 : layer; /* "01" is not 1 */
}

weft_status weft_match_add(weft_match *m, weft_tensor_file *file, const weft_tensor_entry *e)
{
    const char *rest, *star;
    size_t n;
    if (m->reverse && strncmp(e->name, m->prefix, strlen(m->prefix))) {
        m->outside++;
        return WEFT_OK;
    }
    int rule = strip_and_find(m, e->name, &rest, &star, &n);
    weft_match_item it = {.number = rule, .layer = -1, .file = file, .entry = e};
    if (rule >= 0 && star) {
        it.star = weft_arena_strndup(m->arena, star, n);
        it.layer = it.star ? layer_of(it.star) : -1;
    }
    if (rule < 0 || (star && it.layer < 0)) {
        weft_name_list_add(&m->extra, e->name, "");
        return m->ctx->status;
    }
    it.rule = m->names->msg->rule[rule];
    if (it.rule->ignore) {
        m->ignored++;
        return WEFT_OK;
    }
    const char *key = weft_arena_strdup(m->arena, rest);
    int twin = key ? weft_map_get(m->seen, key, -1) : -1;
    char a[256], b[256];
    if (twin >= 0)
        return weft_fail(m->ctx, WEFT_MISMATCH, "%s: '%s' and '%s' are both for '%s'", m->from,
                         weft_printable(a, sizeof a, m->item[twin].entry->name),
                         weft_printable(b, sizeof b, e->name), m->item[twin].name);
    it.name = weft_names_fill(m->arena, written_name(m, it.rule), it.star);
    if (!key || !it.name || !weft_map_set(m->seen, key, m->n) ||
        !WEFT_GROW(m->arena, m->item, m->n, m->cap))
        return m->ctx->status;
    m->item[m->n++] = it;
    return WEFT_OK;
}

/* ---- parameters ---- */
const char *weft_names_number(char *buf, size_t n, double v)
{
    for (int digits = 6; digits <= 17; digits++) {
        weft_snprintf(buf, n, "%.*g", digits, v);
        if (weft_strtod(buf, NULL) == v)
            break;
    }
    if (v == floor(v) && fabs(v) < 1e15)
        snprintf(buf, n, "%.0f", v);
    return buf;
}

weft_status weft_match_bind(weft_match *m, const char *name, double value, const char *origin)
{
    const weft_param *p = weft_params_find(&m->params, name, strlen(name));
    char a[40], b[40];
    if (p && p->value != value)
        return weft_fail(m->ctx, WEFT_MISMATCH, "%s: %s is %s by %s, but %s by %s", m->from, name,
                         weft_names_number(a, sizeof a, p->value), p->origin,
                         weft_names_number(b, sizeof b, value), origin);
    if (!p && !weft_params_add(m->arena, &m->params, name, value, origin))
        return m->ctx->status;
    return WEFT_OK;
}

/* ---- shapes ---- */
static size_t put_dims(char *out, size_t n, const int64_t *d, int rank)
{
    size_t k = (size_t)snprintf(out, n, "[");
    for (int i = 0; i < rank && k < n; i++)
        k += (size_t)snprintf(out + k, n - k, i ? ",%" PRId64 : "%" PRId64, d[i]);
    return k < n ? k + (size_t)snprintf(out + k, n - k, "]") : k;
}

static weft_status add_misshapen(weft_match *m, const weft_match_item *it, const int64_t *want,
                                 int rank)
{
    char text[400] = " ";
    size_t k = 1 + put_dims(text + 1, sizeof text - 1, it->entry->dim, it->entry->rank);
    const char *shape = it->rule->shape;
    if (k < sizeof text)
        k += (size_t)snprintf(text + k, sizeof text - k, ", expected [%s]%s", shape,
                              rank < 0 ? "" : " = ");
    if (rank >= 0 && k < sizeof text)
        put_dims(text + k, sizeof text - k, want, rank);
    if (m->reverse && it->rule->transpose)
        strncat(text, " transposed", sizeof text - strlen(text) - 1);
    weft_name_list_add(&m->misshapen, it->entry->name, text);
    return m->ctx->status;
}

/* The size that one piece of a shape asks for; a name not known yet takes the size found. */
static weft_status want_dim(weft_match *m, const weft_match_item *it, const char *piece, size_t n,
                            int64_t found, int64_t *want)
{
    char why[256];
    if (weft_expr_is_name(piece, n) && !weft_params_find(&m->params, piece, n)) {
        const char *name = weft_arena_strndup(m->arena, piece, n);
        *want = found;
        return name ? weft_match_bind(m, name, (double)found, it->entry->name) : WEFT_NOMEM;
    }
    if (!weft_expr_eval_int(&m->params, piece, n, want, why, sizeof why))
        return weft_fail(m->ctx, WEFT_MALFORMED, "%s: rule '%s': shape '%s': %s", m->names->label,
                         it->rule->from, it->rule->shape, why);
    return WEFT_OK;
}

static weft_status check_shape(weft_match *m, const weft_match_item *it)
{
    int64_t want[WEFT_MAX_RANK], found[WEFT_MAX_RANK];
    const char *shape = it->rule->shape;
    int rank = it->entry->rank, pieces = *shape ? 1 : 0;
    for (const char *p = shape; *p; p++)
        pieces += *p == ',';
    if (pieces != rank)
        return add_misshapen(m, it, NULL, -1);
    bool turned = m->reverse && it->rule->transpose;
    for (int i = 0; i < rank; i++)
        found[i] = it->entry->dim[turned ? rank - 1 - i : i];
    for (int i = 0; i < rank; i++) {
        size_t n = strcspn(shape, ",");
        WEFT_TRY(want_dim(m, it, shape, n, found[i], &want[i]));
        shape += n + 1;
    }
    return memcmp(want, found, (size_t)rank * sizeof *want) ? add_misshapen(m, it, want, rank)
                                                            : WEFT_OK;
}

/* ---- what is missing ---- */
static bool is_there(const weft_match *m, const char *name)
{
    return weft_map_get(m->seen, name, -1) >= 0;
}

/* A weight that a model uses twice has two names, of which a file may hold either: the copy alone
 * is what it is a copy of. */
static weft_status take_copies(weft_match *m)
{
    const Weft__Names *msg = m->names->msg;
    for (int i = 0; i < m->n; i++) {
        weft_match_item *it = &m->item[i];
        if (!it->rule->tie || is_there(m, it->rule->tie))
            continue;
        for (size_t k = 0; k < msg->n_rule; k++)
            if (!strcmp(msg->rule[k]->from, it->rule->tie)) {
                it->rule = msg->rule[k];
                it->number = (int)k;
                it->name = written_name(m, it->rule);
                break;
            }
        if (!it->rule->tie && !weft_map_set(m->seen, it->rule->from, i))
            return m->ctx->status;
    }
    return WEFT_OK;
}

/* A required tensor of one layer, or (layer < 0) of the whole model. */
static weft_status check_one(weft_match *m, const Weft__Rule *r, int64_t layer)
{
    char star[32];
    snprintf(star, sizeof star, "%" PRId64, layer);
    const char *name = weft_names_fill(m->arena, read_name(m, r), star);
    if (!name)
        return m->ctx->status;
    if (!is_there(m, name))
        weft_name_list_add(&m->missing, name, "");
    return m->ctx->status;
}

static weft_status find_missing(weft_match *m)
{
    const Weft__Names *msg = m->names->msg;
    int64_t layers = 0;
    for (int i = 0; i < m->n; i++)
        if (m->item[i].layer >= layers)
            layers = m->item[i].layer + 1;
    for (size_t i = 0; i < msg->n_rule; i++) {
        const Weft__Rule *r = msg->rule[i];
        if (!is_kept(r) || r->optional)
            continue;
        bool each = strchr(r->from, '*') != NULL;
        for (int64_t k = 0; k < (each && layers ? layers : 1); k++)
            WEFT_TRY(check_one(m, r, k));
    }
    return msg->count ? weft_match_bind(m, msg->count, (double)layers, "the layers found")
                      : WEFT_OK;
}

/* ---- all of it ---- */
/* Whole-model tensors, then layer by layer, each in the order of the rules. */
static int by_layer_and_rule(const void *pa, const void *pb)
{
    const weft_match_item *a = pa, *b = pb;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static weft_status report(weft_match *m)
{
    if (m->missing.text.failed || m->extra.text.failed || m->misshapen.text.failed)
        return m->ctx->status;
    if (!m->missing.n && !m->extra.n && !m->misshapen.n)
        return WEFT_OK;
    weft_fail(m->ctx, WEFT_MISMATCH, "%s does not fit %s", m->from, m->names->label);
    weft_name_list_note(m->ctx, "missing", &m->missing);
    weft_name_list_note(m->ctx, "not in the map", &m->extra);
    weft_name_list_note(m->ctx, "of another shape", &m->misshapen);
    return m->ctx->status;
}

weft_status weft_match_finish(weft_match *m)
{
    if (!m->seen)
        return m->ctx->status;
    WEFT_TRY(take_copies(m));
    WEFT_TRY(find_missing(m));
    if (m->n)
        qsort(m->item, (size_t)m->n, sizeof *m->item, by_layer_and_rule);
    for (int i = 0; i < m->n; i++)
        if (m->item[i].rule->shape)
            WEFT_TRY(check_shape(m, &m->item[i]));
    return report(m);
}
