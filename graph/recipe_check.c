/* recipe_check.c - the values of a recipe against their ranges and choices.
 *
 * Input: a recipe with all parts present.  Output: WEFT_OK, or the first bad value with its place,
 * what was found and what is expected.  Only fields that were set are looked at: the defaults of
 * recipe.proto are in range. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/recipe.h"
#include "graph/reflect.h"

#define MANY 1e12 /* steps: far beyond any run, far below overflow */

static const struct {
    const ProtobufCMessageDescriptor *part;
    const char *field;
    double lo, hi; /* both included */
} ranges[] = {
    {&weft__train__descriptor, "steps", 0, MANY},
    {&weft__train__descriptor, "batch", 1, 1 << 20},
    {&weft__train__descriptor, "length", 1, 1 << 24},
    {&weft__train__descriptor, "accumulate", 1, 1 << 20},
    {&weft__train__descriptor, "threads", 0, 1024},
    {&weft__train__descriptor, "max_memory", 0, 0x1p62},
    {&weft__train__descriptor, "log_every", 1, MANY},
    {&weft__optimizer__descriptor, "beta1", 0, 0.9999999},
    {&weft__optimizer__descriptor, "beta2", 0, 0.9999999},
    {&weft__optimizer__descriptor, "eps", 1e-30, 1},
    {&weft__optimizer__descriptor, "weight_decay", 0, 1e6},
    {&weft__optimizer__descriptor, "clip", 0, 1e30},
    {&weft__group__descriptor, "min_rank", 0, WEFT_MAX_RANK},
    {&weft__group__descriptor, "max_rank", 0, WEFT_MAX_RANK},
    {&weft__group__descriptor, "weight_decay", 0, 1e6},
    {&weft__group__descriptor, "lr_scale", 0, 1e6},
    {&weft__group__descriptor, "unit_norm", -WEFT_MAX_RANK, WEFT_MAX_RANK - 1},
    {&weft__schedule__descriptor, "lr", 0, 1e6},
    {&weft__schedule__descriptor, "min_lr", 0, 1e6},
    {&weft__schedule__descriptor, "warmup", 0, MANY},
    {&weft__eval__descriptor, "every", 0, MANY},
    {&weft__eval__descriptor, "batches", 0, MANY},
    {&weft__checkpoint__descriptor, "every", 0, MANY},
    {&weft__checkpoint__descriptor, "keep", 1, 1 << 20},
};

/* The last setting that gave this field, or NULL: it is as the file has it. */
static const char *setting_of(const weft_recipe *r, const char *field)
{
    size_t n = strlen(field);
    for (int i = r->n_given - 1; i >= 0; i--)
        if (!strncmp(r->given[i], field, n) && r->given[i][n] == '=')
            return r->given[i];
    return NULL;
}

/* "file:line: part.field: found ..., expected ...", or "setting 'part.field=...': ...". */
static weft_status bad(const weft_recipe *r, const void *place, const char *what, const char *found,
                       const char *expected)
{
    weft_pos p = weft_lines_get(r->lines, place);
    char where[32] = "", shown[200];
    const char *setting = setting_of(r, what);
    if (setting)
        return weft_fail(r->ctx, WEFT_USAGE, "setting '%s': expected %s",
                         weft_printable(shown, sizeof shown, setting), expected);
    if (p.line)
        snprintf(where, sizeof where, ":%d", p.line);
    return weft_fail(r->ctx, WEFT_MALFORMED, "%s%s: %s: found %s, expected %s", r->path, where,
                     what, weft_printable(shown, sizeof shown, found), expected);
}

/* The range of one field, if it was set. */
static weft_status check_number(const weft_recipe *r, const char *part, const ProtobufCMessage *m,
                                const weft_field *f, double lo, double hi)
{
    weft_slot v = {0};
    char what[200], found[64], expected[96];
    if (!weft_field_count(m, f))
        return WEFT_OK;
    memcpy(&v, weft_field_at(m, f, 0), weft_field_size(f->type));
    bool real = f->type == PROTOBUF_C_TYPE_DOUBLE;
    int64_t i = f->type == PROTOBUF_C_TYPE_INT32 ? v.i32 : v.i64;
    double x = real ? v.f64 : (double)i;
    if (x >= lo && x <= hi) /* false for NaN */
        return WEFT_OK;
    snprintf(what, sizeof what, "%s.%s", part, f->name);
    weft_snprintf(found, sizeof found, real ? "%g" : "%.0f", x);
    weft_snprintf(expected, sizeof expected, "%s from %.15g to %.15g",
                  real ? "a number" : "an integer", lo, hi);
    return bad(r, m, what, found, expected);
}

/* All ranges of one part. */
static weft_status check_part(const weft_recipe *r, const char *part, const ProtobufCMessage *m)
{
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].part == m->descriptor)
            WEFT_TRY(check_number(
                r, part, m,
                protobuf_c_message_descriptor_get_field_by_name(m->descriptor, ranges[i].field),
                ranges[i].lo, ranges[i].hi));
    return WEFT_OK;
}

/* Groups are a list: the path says which one. */
static weft_status check_groups(const weft_recipe *r)
{
    const Weft__Optimizer *o = r->msg->optimizer;
    char part[48];
    for (size_t i = 0; i < o->n_group; i++) {
        snprintf(part, sizeof part, "optimizer.group[%zu]", i);
        WEFT_TRY(check_part(r, part, &o->group[i]->base));
    }
    return WEFT_OK;
}

/* A field without which an entry of a list means nothing. */
static weft_status need(const weft_recipe *r, const void *entry, const char *list, size_t i,
                        const char *field, const char *value)
{
    char what[64];
    if (value && *value)
        return WEFT_OK;
    snprintf(what, sizeof what, "%s[%zu].%s", list, i, field);
    return bad(r, entry, what, "nothing", "a name");
}

/* Repeated names: not too many, none twice, none that the log has for itself. */
static weft_status check_log(const weft_recipe *r, const void *place, const char *what,
                             char *const *name, size_t n)
{
    static const char *const own[] = {"kind",      "step", "tokens",       "loss",
                                      "grad_norm", "lr",   "bits_per_byte"};
    char found[32], expected[48];
    snprintf(found, sizeof found, "%zu names", n);
    snprintf(expected, sizeof expected, "at most %d", WEFT_MAX_LOG);
    if (n > WEFT_MAX_LOG)
        return bad(r, place, what, found, expected);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof own / sizeof *own; k++)
            if (!strcmp(own[k], name[i]))
                return bad(r, place, what, name[i], "a name that the log does not have for itself");
        for (size_t k = 0; k < i; k++)
            if (!strcmp(name[k], name[i]))
                return bad(r, place, what, name[i], "every name once");
    }
    return WEFT_OK;
}

static weft_status check_lists(const weft_recipe *r)
{
    const Weft__Recipe *m = r->msg;
    WEFT_TRY(check_log(r, m->train, "train.log", m->train->log, m->train->n_log));
    WEFT_TRY(check_log(r, m->eval, "eval.log", m->eval->log, m->eval->n_log));
    for (size_t i = 0; i < m->n_load; i++)
        WEFT_TRY(need(r, m->load[i], "load", i, "file", m->load[i]->file));
    for (size_t i = 0; i < m->n_start; i++) {
        WEFT_TRY(need(r, m->start[i], "start", i, "weight", m->start[i]->weight));
        WEFT_TRY(need(r, m->start[i], "start", i, "value", m->start[i]->value));
    }
    return WEFT_OK;
}

/* Fields that hold one of a few words. */
static weft_status check_words(const weft_recipe *r)
{
    const Weft__Schedule *s = r->msg->schedule;
    const Weft__Data *d = r->msg->data;
    if (strcmp(s->shape, "cosine") && strcmp(s->shape, "linear") && strcmp(s->shape, "constant"))
        return bad(r, s->shape, "schedule.shape", s->shape, "cosine, linear or constant");
    if (strcmp(d->sampling, "shuffle") && strcmp(d->sampling, "windows") &&
        strcmp(d->sampling, "sequential"))
        return bad(r, d->sampling, "data.sampling", d->sampling, "shuffle, windows or sequential");
    if (d->labels && *d->labels && !strcmp(d->sampling, "shuffle"))
        return bad(r, d, "data.sampling", d->sampling,
                   "windows or sequential, since data.labels are of fixed windows");
    const char *name = *d->label_value ? d->score_value : d->label_value;
    if (!*name || !strcmp(d->label_value, d->score_value))
        return bad(r, d, *d->label_value ? "data.score_value" : "data.label_value",
                   *name ? name : "nothing", "the name of a value of its own");
    if (!strcmp(r->msg->train->precision, "f32"))
        return WEFT_OK;
    return weft_fail(r->ctx, WEFT_UNSUPPORTED, "%s: train.precision: this build trains in f32 only",
                     r->path);
}

/* Parts first, then what ties two of them together. */
weft_status weft_recipe_check(const weft_recipe *r, bool need_model)
{
    const Weft__Recipe *m = r->msg;
    const Weft__Schedule *s = m->schedule;
    char found[32], expected[64];
    if (need_model && (!m->model || !*m->model))
        return weft_fail(r->ctx, WEFT_MALFORMED, "%s: model: expected the path of a model file",
                         r->path);
    WEFT_TRY(check_part(r, "train", &m->train->base));
    WEFT_TRY(check_part(r, "optimizer", &m->optimizer->base));
    WEFT_TRY(check_groups(r));
    WEFT_TRY(check_part(r, "schedule", &s->base));
    WEFT_TRY(check_part(r, "eval", &m->eval->base));
    WEFT_TRY(check_part(r, "checkpoint", &m->checkpoint->base));
    WEFT_TRY(check_words(r));
    WEFT_TRY(check_lists(r));
    if (s->min_lr <= s->lr)
        return WEFT_OK;
    weft_snprintf(found, sizeof found, "%g", s->min_lr);
    weft_snprintf(expected, sizeof expected, "at most schedule.lr = %g", s->lr);
    return bad(r, s, "schedule.min_lr", found, expected);
}
