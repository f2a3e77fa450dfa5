/* concepts_html.c - a corpus' concepts as one page that needs no network: a table to search, a page
 * a concept.  What is on it stands as JSON in the page; concepts_page.c draws it. */
#include <math.h>
#include <string.h>

#include "graph/io.h"
#include "tools/concepts.h"

enum { EFFECT = 8, BEFORE = 10, AFTER = 5, PER_PAGE = 6, PAGE_LIMIT = 5000000 };

/* JSON that may stand inside <script>: no "<" in it. */
static void add_text(weft_string *out, const char *text)
{
    weft_string s;
    weft_string_init(&s, out->ctx);
    weft_string_json(&s, text);
    for (const char *c = s.s; c && *c; c++)
        if (*c == '<')
            weft_string_add(out, "\\u003c", 6);
        else
            weft_string_add(out, c, 1);
    out->failed = out->failed || s.failed;
    weft_string_free(&s);
}

static void add_number(weft_string *out, const char *before, double v)
{
    weft_string_printf(out, isfinite(v) ? "%s%.4g" : "%snull", before, v);
}

/* ---- a concept ---- */
static void add_effect(const concepts *m, const concept_effect *e, int64_t id, weft_string *out)
{
    concept_value v[EFFECT];
    char word[64];
    add_number(out, "[", concepts_norm(e, id));
    for (int sign = 1; sign >= -1; sign -= 2) {
        int n = concepts_promoted(e, id, sign, EFFECT, v);
        weft_string_printf(out, ",[");
        for (int i = 0; i < n; i++) {
            weft_string_printf(out, "%s[", i ? "," : "");
            add_text(out, concepts_word(m, v[i].id, word, sizeof word));
            add_number(out, ",", (double)v[i].value);
            weft_string_printf(out, "]");
        }
        weft_string_printf(out, "]");
    }
    weft_string_printf(out, "]");
}

static weft_status add_contexts(const concepts *m, const concept_scan *s, int64_t id,
                                weft_string *out)
{
    int n;
    char word[160];
    const concept_hit *h = concepts_hits(s, id, &n);
    for (int i = 0; i < n && i < PER_PAGE; i++) {
        weft_string left, right;
        weft_string_init(&left, m->ctx);
        weft_string_init(&right, m->ctx);
        weft_status status = concepts_context(m, s, &h[i], BEFORE, AFTER, &left, &right);
        add_number(out, i ? ",[" : "[", (double)h[i].value);
        weft_string_printf(out, ",");
        add_text(out, left.s ? left.s : "");
        weft_string_printf(out, ",");
        add_text(out, concepts_word(m, h[i].token, word, sizeof word));
        weft_string_printf(out, ",");
        add_text(out, right.s ? right.s : "");
        weft_string_printf(out, "]");
        weft_string_free(&left);
        weft_string_free(&right);
        WEFT_TRY(status);
    }
    return WEFT_OK;
}

static weft_status add_concept(const concepts *m, const concept_scan *s, int64_t id,
                               weft_string *out)
{
    char name[CONCEPT_NAME];
    const concept_stats *c = &s->stats[id];
    double tokens = (double)s->done;
    weft_string_printf(out, "{\"i\":%lld,\"n\":", (long long)id);
    add_text(out, concepts_title(m, s, id, name, sizeof name));
    add_number(out, ",\"d\":", (double)c->count / tokens);
    add_number(out, ",\"l\":", m->k_label ? (double)c->labels / tokens : NAN);
    add_number(out, ",\"r\":", c->labels ? (double)c->both / (double)c->labels : NAN);
    add_number(out, ",\"m\":", c->count ? c->sum / (double)c->count : NAN);
    add_number(out, ",\"x\":", c->count ? (double)c->max : NAN);
    weft_string_printf(out, ",\"h\":[");
    for (int i = 0; i < CONCEPT_BINS; i++)
        weft_string_printf(out, i ? ",%u" : "%u", c->bin[i]);
    weft_string_printf(out, "],\"e\":[");
    for (int i = 0; i < m->n_effect; i++) {
        weft_string_printf(out, i ? "," : "");
        add_effect(m, &m->effect[i], id, out);
    }
    weft_string_printf(out, "],\"c\":[");
    WEFT_TRY(add_contexts(m, s, id, out));
    weft_string_printf(out, "]}");
    return out->failed ? WEFT_NOMEM : WEFT_OK;
}

/* ---- the page ---- */
static void add_head(const concepts *m, const concept_scan *s, concept_order by, weft_string *out)
{
    /* the column by which the page is sorted at first, by its letter in concepts_page.c */
    static const char column[N_ORDER] = {
        [BY_DENSITY] = 'd', [BY_MEAN] = 'm', [BY_MAX] = 'x', [BY_NORM] = 'w', [BY_LABELS] = 'l'};
    const char *weights = weft_trained_weights(m->trained);
    int64_t dead = 0;
    for (int64_t i = 0; i < m->n; i++)
        dead += !s->stats[i].count;
    weft_string_printf(out, "{\"model\":");
    add_text(out, weights ? weights : m->path);
    weft_string_printf(out, ",\"data\":");
    add_text(out, s->data);
    weft_string_printf(out, ",\"from\":");
    add_text(out, s->by_label ? m->label_name : m->concept_name);
    weft_string_printf(out, ",\"by\":\"%c\"", column[by]);
    weft_string_printf(out, ",\"tokens\":%lld,\"n\":%lld,\"dead\":%lld,\"k\":%lld,\"kl\":%lld",
                       (long long)s->done, (long long)m->n, (long long)dead, (long long)m->k,
                       (long long)m->k_label);
    add_number(out, ",\"low\":", s->low);
    add_number(out, ",\"high\":", s->high);
    add_number(out, ",\"rl\":", s->labels ? (double)s->found / (double)s->labels : NAN);
    add_number(out, ",\"rk\":", s->labels ? (double)s->found_k / (double)s->labels : NAN);
    weft_string_printf(out, ",\"who\":[");
    for (int i = 0; i < m->n_effect; i++) {
        weft_string_printf(out, i ? "," : "");
        add_text(out, m->effect[i].who);
    }
    weft_string_printf(out, "],\"list\":[");
}

/* Never active concepts are left out, and so is what the page has no room for; it says how many it
 * shows. */
static weft_status fill(const concepts *m, const concept_scan *s, concept_order by,
                        const int32_t *order, int64_t limit, weft_string *out)
{
    int64_t shown = 0;
    weft_string_printf(out, "%s", concepts_page_head);
    add_head(m, s, by, out);
    for (int64_t i = 0; i < m->n && shown < limit && out->len < PAGE_LIMIT - 50000; i++) {
        if (!s->stats[order[i]].count)
            continue;
        weft_string_printf(out, shown++ ? ",\n" : "\n");
        WEFT_TRY(add_concept(m, s, order[i], out));
    }
    weft_string_printf(out, "]}");
    weft_string_printf(out, "%s", concepts_page_tail);
    return out->failed ? WEFT_NOMEM : WEFT_OK;
}

weft_status concepts_html(const concepts *m, const concept_scan *s, concept_order by, int64_t limit,
                          const char *path)
{
    weft_string out;
    const int32_t *order = concepts_sorted(m, s, by);
    if (!order)
        return WEFT_NOMEM;
    weft_string_init(&out, m->ctx);
    weft_status status = fill(m, s, by, order, limit, &out);
    if (!status)
        status = weft_write_file(m->ctx, path, out.s, out.len);
    weft_string_free(&out);
    return status;
}
