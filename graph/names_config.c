/* names_config.c - the file that describes weights (config.json, cfg.json, __metadata__): read into
 * parameters of a model, and written from them, both as the forms of a name map say. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/convert.h"

/* ---- values ---- */
/* A value found: the text of a string, or the word or number that it is. */
typedef struct {
    bool there, number;
    double f;
    const char *text;
} value;

static weft_status from_json(weft_arena *a, const weft_json *j, value *v)
{
    char buf[40];
    *v = (value){.there = j != NULL};
    if (!j || j->kind == WEFT_JSON_STRING) {
        v->text = j ? j->text : "absent";
        return WEFT_OK;
    }
    v->number = j->kind == WEFT_JSON_INT || j->kind == WEFT_JSON_REAL;
    if (v->number)
        v->f = j->kind == WEFT_JSON_INT ? (double)j->i : j->f;
    v->text = v->number                          ? weft_names_number(buf, sizeof buf, v->f)
              : j->kind == WEFT_JSON_NULL        ? "null"
              : weft_json_is(j, WEFT_JSON_TRUE)  ? "true"
              : weft_json_is(j, WEFT_JSON_FALSE) ? "false"
                                                 : weft_json_name(j);
    v->text = weft_arena_strdup(a, v->text);
    return v->text ? WEFT_OK : WEFT_NOMEM;
}

/* The value of a dotted key; *out NULL: there is none. */
static weft_status find_json(weft_arena *a, const weft_json *j, const char *key,
                             const weft_json **out)
{
    while (j && *key) {
        size_t n = strcspn(key, ".");
        const char *part = weft_arena_strndup(a, key, n);
        if (!part)
            return WEFT_NOMEM;
        j = weft_json_is(j, WEFT_JSON_OBJECT) ? weft_json_get(j, part) : NULL;
        key += n + (key[n] == '.');
    }
    *out = j;
    return WEFT_OK;
}

static weft_status look_up(weft_arena *a, const weft_description *d, const char *key, value *v)
{
    const weft_json *j;
    if (d->meta) {
        const char *text = weft_tensor_file_meta(d->meta, key);
        *v = (value){.there = text != NULL, .text = text ? text : "absent"};
        v->number = text && weft_parse_f64(text, &v->f);
        return WEFT_OK;
    }
    WEFT_TRY(find_json(a, d->json, key, &j));
    return from_json(a, j, v);
}

/* Numbers are compared as numbers, so that 1e-05 is 1e-5. */
static bool is_value(const value *v, const char *text)
{
    double f;
    if (v->number && weft_parse_f64(text, &f))
        return v->f == f;
    return !strcmp(v->text, text);
}

static bool accepts(const Weft__Field *f, const value *v)
{
    for (size_t i = 0; i < f->n_accept; i++)
        if (is_value(v, f->accept[i]))
            return true;
    return false;
}

/* ---- reading ---- */
static weft_status refuse(weft_match *m, const weft_description *d, const char *key, const value *v,
                          const char *why)
{
    char text[128];
    return weft_fail(m->ctx, WEFT_UNSUPPORTED, "%s: %s is %s%s%s", d->label, key,
                     v->there ? weft_printable(text, sizeof text, v->text) : "not there",
                     why ? ": " : "", why ? why : "");
}

/* Have all rows of the tensor that the field names length 1? */
static weft_status is_harmless(weft_match *m, const Weft__Field *f, bool *yes)
{
    *yes = false;
    for (int i = 0; f->unit && i < m->n; i++)
        if (!strcmp(m->item[i].rule->from, f->unit) && m->item[i].file)
            return weft_tensor_is_unit(m->arena, m->item[i].file, m->item[i].entry, yes);
    return WEFT_OK;
}

/* "null" is no number: it leaves the value to the other program's default. */
static weft_status check_number(weft_match *m, const weft_description *d, const Weft__Field *f,
                                const value *v)
{
    double want;
    char why[256], a[40], b[40];
    if (!f->number || !v->number ||
        !weft_expr_eval(&m->params, f->number, strlen(f->number), &want, why, sizeof why) ||
        want == v->f)
        return WEFT_OK;
    return weft_fail(m->ctx, WEFT_MISMATCH, "%s: %s is %s, expected %s = %s", d->label, f->key,
                     weft_names_number(a, sizeof a, v->f), f->number,
                     weft_names_number(b, sizeof b, want));
}

/* Where a field that stands for a token id keeps it, or NULL. */
static int64_t *token_of(weft_match *m, const Weft__Field *f)
{
    const char *v = f->value ? f->value : "";
    return !strcmp(v, "@bos") ? &m->bos : !strcmp(v, "@eos") ? &m->eos : NULL;
}

static weft_status read_ids(weft_match *m, const weft_description *d, const Weft__Field *f)
{
    int64_t *first = token_of(m, f);
    const char *list = NULL, *text = d->meta ? weft_tensor_file_meta(d->meta, f->key) : NULL;
    const weft_json *j = NULL;
    char why[256];
    double most;
    m->asked_ids = true;
    if (f->most && weft_expr_eval(&m->params, f->most, strlen(f->most), &most, why, sizeof why) &&
        most >= 0 && most < 0x1p53)
        m->n_ids = (int64_t)most + 1;
    WEFT_TRY(d->meta ? WEFT_OK : find_json(m->arena, d->json, f->key, &j));
    if (text)
        WEFT_TRY(weft_ids_parse(m->arena, d->label, f->key, text, m->n_ids, first, &list));
    else
        WEFT_TRY(weft_ids_read(m->arena, d->label, f->key, j, m->n_ids, first, &list));
    if (first == &m->eos)
        m->eos_list = list;
    return WEFT_OK;
}

static weft_status read_field(weft_match *m, const weft_description *all, const Weft__Field *f)
{
    const weft_description beside = {.label = all->settings_label, .json = all->settings};
    const weft_description *d = f->setting ? &beside : all;
    value v;
    bool good;
    char text[128], want[256] = "";
    if (token_of(m, f))
        return read_ids(m, d, f);
    WEFT_TRY(look_up(m->arena, d, f->key, &v));
    good = !f->n_accept || accepts(f, &v);
    if (!good)
        WEFT_TRY(is_harmless(m, f, &good));
    if (!good) {
        for (size_t i = 0; i < f->n_accept; i++) {
            size_t k = strlen(want);
            snprintf(want + k, sizeof want - k, "%s%s", i ? " or " : "expected ", f->accept[i]);
        }
        return refuse(m, d, f->key, &v, f->why ? f->why : want);
    }
    WEFT_TRY(check_number(m, d, f, &v));
    if (!f->param || !v.there || !strcmp(v.text, "null"))
        return WEFT_OK;
    if (!v.number)
        return weft_fail(m->ctx, WEFT_MALFORMED, "%s: %s is %s, expected a number", d->label,
                         f->key, weft_printable(text, sizeof text, v.text));
    const char *origin = weft_arena_printf(m->arena, "%s (%s)", d->label, f->key);
    return origin ? weft_match_bind(m, f->param, v.f, origin) : WEFT_NOMEM;
}

static weft_status holds(weft_match *m, const weft_description *d, const Weft__Form *form,
                         bool *yes)
{
    value v;
    *yes = true;
    for (size_t i = 0; *yes && i < form->n_when; i++) {
        WEFT_TRY(look_up(m->arena, d, form->when[i]->key, &v));
        *yes = accepts(form->when[i], &v);
    }
    return WEFT_OK;
}

/* "k=0" */
static weft_status parse_set(weft_match *m, const char *set, const char **name, double *v)
{
    size_t n = strcspn(set, "=");
    *name = weft_arena_strndup(m->arena, set, n);
    if (!*name)
        return WEFT_NOMEM;
    if (!set[n] || !weft_parse_f64(set + n + 1, v))
        return weft_fail(m->ctx, WEFT_MALFORMED, "%s: set '%s': expected name=number",
                         m->names->label, set);
    return WEFT_OK;
}

/* Are the parameters what the "name=value" texts say, as far as they are known? */
static weft_status agree(weft_match *m, char *const *set, size_t n, bool *yes)
{
    for (size_t i = 0; *yes && i < n; i++) {
        const char *name;
        double v;
        WEFT_TRY(parse_set(m, set[i], &name, &v));
        const weft_param *p = weft_params_find(&m->params, name, strlen(name));
        *yes = !p || p->value == v;
    }
    return WEFT_OK;
}

static weft_status suits(weft_match *m, const Weft__Form *form, bool *yes)
{
    *yes = !form->refuse;
    WEFT_TRY(agree(m, form->set, form->n_set, yes));
    return agree(m, form->assume, form->n_assume, yes);
}

static weft_status bind_set(weft_match *m, const char *set, const char *origin)
{
    const char *name;
    double v;
    WEFT_TRY(parse_set(m, set, &name, &v));
    return weft_match_bind(m, name, v, origin);
}

static weft_status read_form(weft_match *m, const weft_description *d, const Weft__Form *form)
{
    value v = {.text = "this model"};
    m->form = form;
    if (form->refuse) {
        const char *key = form->n_when ? form->when[0]->key : "the model";
        WEFT_TRY(look_up(m->arena, d, key, &v));
        return refuse(m, d, key, &v, form->refuse);
    }
    for (size_t i = 0; i < form->n_field; i++)
        WEFT_TRY(read_field(m, d, form->field[i]));
    for (size_t i = 0; i < form->n_set; i++)
        WEFT_TRY(bind_set(m, form->set[i], d->label));
    return WEFT_OK;
}

/* No form holds: says what the keys are that the forms ask for. */
static weft_status no_form(weft_match *m, const weft_description *d)
{
    const Weft__Names *n = m->names->msg;
    weft_map *seen = weft_map_new(m->arena);
    char text[128];
    value v;
    weft_fail(m->ctx, WEFT_UNSUPPORTED, "%s: %s has no form for this model", d->label,
              m->names->label);
    for (size_t i = 0; seen && i < n->n_form; i++)
        for (size_t k = 0; k < n->form[i]->n_when; k++) {
            const char *key = n->form[i]->when[k]->key;
            if (weft_map_get(seen, key, -1) >= 0 || !weft_map_set(seen, key, 1) ||
                look_up(m->arena, d, key, &v))
                continue;
            weft_note(m->ctx, "%s is %s", key,
                      v.there ? weft_printable(text, sizeof text, v.text) : "not there");
        }
    return m->ctx->status;
}

weft_status weft_names_read(weft_match *m, const weft_description *d)
{
    const Weft__Names *n = m->names->msg;
    for (size_t i = 0; i < n->n_form; i++) {
        bool yes;
        WEFT_TRY(holds(m, d, n->form[i], &yes));
        if (yes)
            return read_form(m, d, n->form[i]);
    }
    return n->n_form ? no_form(m, d) : WEFT_OK;
}

weft_status weft_names_assume(weft_match *m, const char **note)
{
    const Weft__Names *n = m->names->msg;
    const Weft__Form *form = m->form;
    bool yes = true;
    int known = m->params.n;
    *note = NULL;
    if (!form || !form->n_assume)
        return WEFT_OK;
    WEFT_TRY(agree(m, form->assume, form->n_assume, &yes));
    for (size_t i = 0; yes && i < form->n_assume; i++)
        WEFT_TRY(bind_set(m, form->assume[i], m->names->label));
    if (m->params.n > known)
        *note = form->note;
    for (size_t i = 0; !yes && i < n->n_form; i++) {
        WEFT_TRY(suits(m, n->form[i], &yes));
        if (yes)
            m->form = n->form[i];
    }
    return WEFT_OK;
}

/* ---- bounds ---- */
/* A bound in words, "n_latent = 32"; false: there is none, or it needs what is not known. */
static bool eval_bound(const weft_match *m, const char *expr, double *v, char *text, size_t n)
{
    char why[256], number[40];
    if (!expr || !weft_expr_eval(&m->params, expr, strlen(expr), v, why, sizeof why))
        return false;
    weft_names_number(number, sizeof number, *v);
    if (strcmp(number, expr))
        snprintf(text, n, "%s = %s", expr, number);
    else
        snprintf(text, n, "%s", expr);
    return true;
}

static weft_status check_bounds(const weft_match *m, const Weft__Field *f)
{
    const weft_param *p = f->param ? weft_params_find(&m->params, f->param, strlen(f->param)) : 0;
    char least[128] = "", most[128] = "", of[128] = "", found[40];
    double lo = 1, hi = 0, whole = 0;
    if (!p || f->real)
        return WEFT_OK;
    bool low = eval_bound(m, f->least, &lo, least, sizeof least);
    bool high = eval_bound(m, f->most, &hi, most, sizeof most);
    bool part = eval_bound(m, f->divides, &whole, of, sizeof of);
    if (p->value == floor(p->value) && fabs(p->value) < 0x1p53 && (!low || p->value >= lo) &&
        (!high || p->value <= hi) && (!part || fmod(whole, p->value) == 0))
        return WEFT_OK;
    return weft_fail(m->ctx, WEFT_MISMATCH,
                     "%s: %s is %s by %s, expected a whole number from %s%s%s%s%s", m->from,
                     f->param, weft_names_number(found, sizeof found, p->value), p->origin, least,
                     high ? " to " : "", most, part ? " that divides " : "", of);
}

weft_status weft_names_bounds(const weft_match *m)
{
    const Weft__Names *n = m->names->msg;
    const Weft__Form *form = m->form ? m->form : n->n_form ? n->form[0] : NULL;
    for (size_t i = 0; form && i < form->n_field; i++)
        WEFT_TRY(check_bounds(m, form->field[i]));
    return WEFT_OK;
}

/* ---- writing ---- */
/* JSON text of a value: numbers and words as they stand, lists and objects too when they come from
 * a map (`raw`), the rest quoted. */
static const char *json_text(weft_arena *a, const char *text, bool raw)
{
    double f;
    weft_string s;
    if ((raw && (*text == '[' || *text == '{')) || !strcmp(text, "true") ||
        !strcmp(text, "false") || !strcmp(text, "null") || weft_parse_f64(text, &f))
        return text;
    weft_string_init(&s, weft_arena_ctx(a));
    weft_string_json(&s, text);
    const char *copy = s.failed ? NULL : weft_arena_strdup(a, s.s);
    weft_string_free(&s);
    return copy;
}

/* *text stays NULL when nothing is known and nothing stands in. */
static weft_status field_text(weft_match *m, const Weft__Field *f, const char **text)
{
    char why[256], buf[40];
    double v;
    const weft_param *p = f->param ? weft_params_find(&m->params, f->param, strlen(f->param)) : 0;
    bool known = p != NULL;
    const int64_t *id = token_of(m, f);
    *text = f->value && !strcmp(f->value, "@dtype") ? m->dtype : f->value;
    if (id) {
        *text = *id < 0 ? NULL : weft_ids_text(m->arena, *id, id == &m->eos ? m->eos_list : NULL);
        return *id < 0 || *text ? WEFT_OK : WEFT_NOMEM;
    }
    if (p)
        v = p->value;
    else if (f->expr)
        known = weft_expr_eval(&m->params, f->expr, strlen(f->expr), &v, why, sizeof why);
    WEFT_TRY(check_bounds(m, f));
    if (known) {
        weft_names_number(buf, sizeof buf, v);
        *text =
            weft_arena_printf(m->arena, "%s%s", buf, f->real && !strpbrk(buf, ".e") ? ".0" : "");
    }
    if (*text || !f->param)
        return *text || !known ? WEFT_OK : WEFT_NOMEM;
    return weft_fail(m->ctx, WEFT_USAGE, "%s: '%s' is not known: give --set %s=NUMBER",
                     m->names->label, f->key, f->param);
}

typedef struct {
    weft_key_value *kv;
    int n, cap;
} pairs;

static weft_status put(weft_arena *a, pairs *l, const char *key, const char *text, bool raw)
{
    const char *json = json_text(a, text, raw);
    if (!json)
        return WEFT_NOMEM;
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->kv[i].key, key)) {
            l->kv[i].value = json;
            return WEFT_OK;
        }
    if (!WEFT_GROW(a, l->kv, l->n, l->cap))
        return weft_error_status(weft_arena_ctx(a));
    l->kv[l->n++] = (weft_key_value){key, json};
    return WEFT_OK;
}

static weft_status put_form(weft_match *m, const Weft__Form *form, bool settings, pairs *l)
{
    for (size_t i = 0; i < form->n_field; i++) {
        const char *text;
        if (form->field[i]->setting != settings)
            continue;
        WEFT_TRY(field_text(m, form->field[i], &text));
        if (text)
            WEFT_TRY(put(m->arena, l, form->field[i]->key, text, true));
    }
    return WEFT_OK;
}

/* The field of the form that is written with this key, or NULL. */
static const Weft__Field *field_of(const Weft__Form *form, const char *key)
{
    for (size_t i = 0; form && i < form->n_field; i++)
        if (!strcmp(form->field[i]->key, key))
            return form->field[i];
    return NULL;
}

/* What the user says of a key may not be another model than the weights are. */
static weft_status check_extra(weft_match *m, const Weft__Form *form, const char *key,
                               const char *text)
{
    const Weft__Field *f = field_of(form, key);
    const weft_param *p =
        f && f->param ? weft_params_find(&m->params, f->param, strlen(f->param)) : NULL;
    value v = {.there = true, .text = text};
    const weft_description d = {.label = "--field"};
    char found[40], shown[128];
    v.number = weft_parse_f64(text, &v.f);
    if (p && !(v.number && v.f == p->value))
        return weft_fail(m->ctx, WEFT_MISMATCH, "field %s=%s: %s is %s by %s", key,
                         weft_printable(shown, sizeof shown, text), f->param,
                         weft_names_number(found, sizeof found, p->value), p->origin);
    if (f && f->n_accept && !accepts(f, &v))
        return refuse(m, &d, key, &v, f->why ? f->why : "an import would refuse it");
    return f ? check_number(m, &d, f, &v) : WEFT_OK;
}

static weft_status put_extra(weft_match *m, const Weft__Form *form, const char *text, pairs *l)
{
    size_t n = strcspn(text, "=");
    const char *key = weft_arena_strndup(m->arena, text, n);
    if (!n || !text[n] || !text[n + 1])
        return weft_fail(m->ctx, WEFT_USAGE, "field '%s': expected KEY=VALUE", text);
    WEFT_TRY(key ? check_extra(m, form, key, text + n + 1) : WEFT_NOMEM);
    return put(m->arena, l, key, text + n + 1, false);
}

/* Says of each form the first parameter for which it is not made. */
static weft_status no_form_suits(weft_match *m)
{
    const Weft__Names *msg = m->names->msg;
    char list[512] = "", is[40], want[40];
    for (size_t i = 0; i < msg->n_form; i++) {
        const Weft__Form *f = msg->form[i];
        for (size_t k = 0; k < f->n_set + f->n_assume && !f->refuse; k++) {
            const char *name;
            double v;
            WEFT_TRY(parse_set(m, k < f->n_set ? f->set[k] : f->assume[k - f->n_set], &name, &v));
            const weft_param *p = weft_params_find(&m->params, name, strlen(name));
            if (!p || p->value == v)
                continue;
            size_t at = strlen(list);
            snprintf(list + at, sizeof list - at, "%s%s is %s, expected %s", at ? "; or " : "",
                     name, weft_names_number(is, sizeof is, p->value),
                     weft_names_number(want, sizeof want, v));
            break;
        }
    }
    return weft_fail(m->ctx, WEFT_UNSUPPORTED,
                     "%s has no form for a model with these parameters: %s", m->names->label, list);
}

/* The first form that suits, if the map has any. */
static weft_status put_fields(weft_match *m, bool settings, pairs *l, const Weft__Form **form)
{
    const Weft__Names *msg = m->names->msg;
    bool yes = msg->n_form == 0;
    *form = NULL;
    for (size_t i = 0; !yes && i < msg->n_form; i++) {
        WEFT_TRY(suits(m, msg->form[i], &yes));
        if (yes)
            WEFT_TRY(put_form(m, *form = msg->form[i], settings, l));
    }
    return yes ? WEFT_OK : no_form_suits(m);
}

weft_status weft_names_write_settings(weft_match *m, weft_key_value **out, int *n)
{
    pairs l = {0};
    const Weft__Form *form;
    WEFT_TRY(put_fields(m, true, &l, &form));
    *out = l.kv;
    *n = l.n;
    return WEFT_OK;
}

weft_status weft_names_write(weft_match *m, const char *const *extra, int n_extra,
                             weft_key_value **out, int *n)
{
    pairs l = {0};
    const Weft__Form *form;
    WEFT_TRY(put_fields(m, false, &l, &form));
    for (int i = 0; i < n_extra; i++)
        WEFT_TRY(put_extra(m, form, extra[i], &l));
    *out = l.kv;
    *n = l.n;
    return WEFT_OK;
}

/* Length of the part of a key before its first dot, 0 without one. */
static size_t head_of(const char *key)
{
    const char *dot = strchr(key, '.');
    return dot ? (size_t)(dot - key) : 0;
}

static bool same_head(const char *a, const char *b)
{
    size_t n = head_of(a);
    return n && n == head_of(b) && !strncmp(a, b, n);
}

static void put_object(weft_string *s, const weft_key_value *kv, int n, int first)
{
    const char *key = kv[first].key, *sep = "";
    weft_string_printf(s, "  \"%.*s\": {", (int)head_of(key), key);
    for (int i = first; i < n; i++)
        if (same_head(key, kv[i].key)) {
            weft_string_printf(s, "%s\n    ", sep);
            weft_string_json(s, kv[i].key + head_of(key) + 1);
            weft_string_printf(s, ": %s", kv[i].value);
            sep = ",";
        }
    weft_string_printf(s, "\n  }");
}

void weft_names_json(weft_string *s, const weft_key_value *kv, int n)
{
    const char *sep = "";
    weft_string_printf(s, "{\n");
    for (int i = 0; i < n; i++) {
        bool done = false;
        for (int k = 0; k < i && !done; k++)
            done = same_head(kv[i].key, kv[k].key);
        if (done)
            continue;
        weft_string_printf(s, "%s", sep);
        sep = ",\n";
        if (head_of(kv[i].key)) {
            put_object(s, kv, n, i);
            continue;
        }
        weft_string_printf(s, "  ");
        weft_string_json(s, kv[i].key);
        weft_string_printf(s, ": %s", kv[i].value);
    }
    weft_string_printf(s, "\n}\n");
}
