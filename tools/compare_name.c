/* compare_name.c - names of arms that came without one: the recipe's, and all that is set otherwise
 * than in another arm of that recipe. */
#include <limits.h>
#include <string.h>

#include "tools/compare.h"

/* Bytes of a name and of a value in it: the tables have ten numbers more, the picture a line. */
enum { MOST_NAME = 64, MOST_VALUE = 28 };

/* What tells an arm apart, each "name=value": as in its name, and in full. */
typedef struct {
    const char *name, *brief, *full;
    int rank;   /* the larger, the more it tells */
    bool shown; /* in the name */
} part;
typedef struct {
    part *item;
    int n, cap;
} parts;

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The file of a path, unless the other one has that name too; of what is long the end, where paths
 * differ. Bytes that go on a character are no place to cut. */
static const char *brief_value(weft_arena *a, const char *value, const char *other)
{
    bool whole = other && !strcmp(last_part(value), last_part(other));
    const char *s = whole ? value : last_part(value);
    size_t n = strlen(s);
    if (n <= MOST_VALUE)
        return s;
    for (s += n - MOST_VALUE + 3; ((unsigned char)*s & 0xc0) == 0x80;)
        s++;
    return weft_arena_printf(a, "...%s", s);
}

static part *find_part(comparison *k, parts *p, const char *name)
{
    for (int i = 0; i < p->n; i++)
        if (!strcmp(p->item[i].name, name))
            return &p->item[i];
    if (!WEFT_GROW(k->arena, p->item, p->n, p->cap))
        return NULL;
    part *x = &p->item[p->n++];
    *x = (part){.name = name, .brief = ""};
    return x;
}

static weft_status add_part(comparison *k, parts *p, const cmp_difference *d)
{
    part *x = find_part(k, p, d->name);
    const char *value = brief_value(k->arena, d->own, d->other);
    if (!x || !value)
        return WEFT_NOMEM;
    const char *brief = weft_arena_printf(k->arena, "%s=%s", d->name, value);
    if (brief && strlen(brief) > strlen(x->brief)) /* one of the others needs the whole path */
        x->brief = brief;
    x->full = weft_arena_printf(k->arena, "%s=%s", d->name, d->own);
    /* what few others have tells most; parameters of the model are what is most often tried, and
     * short, other fields (those with a dot) often follow from them: three to one */
    x->rank += strchr(d->name, '.') ? 2 : x->rank ? 6 : 7;
    return weft_error_status(k->ctx);
}

/* Only against the first arm of that recipe, which stands for the others of its model. */
static weft_status add_model(comparison *k, const cmp_run *own, const cmp_run *other, parts *p)
{
    bool same;
    WEFT_TRY(compare_models(k, &own->setup, &other->setup, &same));
    part *x = same ? NULL : find_part(k, p, "");
    const char *dir = brief_value(k->arena, own->dir, NULL);
    if (!x || !dir)
        return weft_error_status(k->ctx);
    x->brief = weft_arena_printf(k->arena, "model of %s", dir);
    x->full = weft_arena_printf(k->arena, "model of %s", own->dir);
    x->rank = INT_MAX;
    return weft_error_status(k->ctx);
}

static weft_status find_parts(comparison *k, int i, parts *p)
{
    const cmp_run *own = k->arm[i].run[0];
    bool first = true;
    for (int j = 0; j < k->n_arm; j++) {
        cmp_differences d;
        const cmp_run *other = k->arm[j].run[0];
        if (strcmp(other->name, own->name))
            continue;
        if (first && j < i)
            WEFT_TRY(add_model(k, own, other, p));
        first = false;
        WEFT_TRY(compare_settings(k, &own->setup, &other->setup, "train.seed", &d));
        for (int x = 0; x < d.n; x++)
            if (d.item[x].said)
                WEFT_TRY(add_part(k, p, &d.item[x]));
    }
    return WEFT_OK;
}

static void sort_parts(parts *p)
{
    for (int i = 1; i < p->n; i++)
        for (int j = i; j && p->item[j - 1].rank < p->item[j].rank; j--) {
            part swap = p->item[j];
            p->item[j] = p->item[j - 1];
            p->item[j - 1] = swap;
        }
}

/* As many as there is room for. */
static weft_status join(comparison *k, const char *base, parts *p, const char **out)
{
    bool all = true;
    *out = base;
    sort_parts(p);
    for (int i = 0; i < p->n && *out; i++) {
        part *x = &p->item[i];
        x->shown = i == 0 || strlen(*out) + 1 + strlen(x->brief) <= MOST_NAME;
        all = all && x->shown;
        if (x->shown)
            *out = weft_arena_printf(k->arena, "%s %s", *out, x->brief);
    }
    if (*out && !all)
        *out = weft_arena_printf(k->arena, "%s ...", *out);
    return weft_error_status(k->ctx);
}

static weft_status note_parts(comparison *k, const cmp_arm *a, const parts *p)
{
    const char *rest = NULL;
    for (int i = 0; i < p->n; i++)
        if (!p->item[i].shown)
            rest = weft_arena_printf(k->arena, "%s%s%s", rest ? rest : "", rest ? ", " : "",
                                     p->item[i].full);
    return rest ? compare_note(k, "arm %s also has %s", a->name, rest) : weft_error_status(k->ctx);
}

/* Seeds of one arm may have been given as several by hand: a number tells them apart. */
static weft_status make_unique(comparison *k)
{
    for (int i = 0; i < k->n_arm; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(k->arm[i].name, k->arm[j].name)) {
                k->arm[i].name = weft_arena_printf(k->arena, "%s #%d", k->arm[i].name, i + 1);
                if (!k->arm[i].name)
                    return WEFT_NOMEM;
            }
    return WEFT_OK;
}

weft_status compare_name_arms(comparison *k)
{
    parts *p = weft_arena_array(k->arena, (size_t)k->n_arm + 1, sizeof *p);
    if (!p)
        return WEFT_NOMEM;
    for (int i = 0; i < k->n_arm; i++)
        if (!k->arm[i].name) {
            WEFT_TRY(find_parts(k, i, &p[i]));
            WEFT_TRY(join(k, k->arm[i].run[0]->name, &p[i], &k->arm[i].name));
        }
    WEFT_TRY(make_unique(k));
    for (int i = 0; i < k->n_arm; i++)
        WEFT_TRY(note_parts(k, &k->arm[i], &p[i]));
    return WEFT_OK;
}
