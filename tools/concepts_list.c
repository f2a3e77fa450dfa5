/* concepts_list.c - concepts as a table, and one concept with its contexts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/concepts.h"

enum { EFFECT = 10, BEFORE = 12, AFTER = 6 };

static double share(int64_t n, int64_t of) { return of ? (double)n / (double)of : 0; }

static double mean_of(const concept_stats *c) { return c->count ? c->sum / (double)c->count : 0; }

/* ---- order ---- */
typedef struct {
    double key;
    int32_t id;
} sort_item;

static int by_key(const void *a, const void *b)
{
    const sort_item *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* Never active ones go last, by whatever number. */
static double key_of(const concepts *m, const concept_scan *s, concept_order by, int64_t id)
{
    const concept_stats *c = &s->stats[id];
    if (by == BY_NORM)
        return m->n_effect ? concepts_norm(&m->effect[0], id) : 0;
    if (by == BY_LABELS)
        return (double)c->labels;
    if (!c->count)
        return -INFINITY;
    return by == BY_MEAN ? mean_of(c) : by == BY_MAX ? (double)c->max : (double)c->count;
}

int32_t *concepts_sorted(const concepts *m, const concept_scan *s, concept_order by)
{
    sort_item *item = weft_arena_array(m->arena, (size_t)m->n, sizeof *item);
    int32_t *out = weft_arena_array(m->arena, (size_t)m->n, sizeof *out);
    if (!item || !out)
        return NULL;
    for (int64_t i = 0; i < m->n; i++)
        item[i] = (sort_item){key_of(m, s, by, i), (int32_t)i};
    qsort(item, (size_t)m->n, sizeof *item, by_key);
    for (int64_t i = 0; i < m->n; i++)
        out[i] = item[i].id;
    return out;
}

/* ---- table ---- */
static void print_summary(const concepts *m, const concept_scan *s)
{
    int64_t dead = 0;
    for (int64_t i = 0; i < m->n; i++)
        dead += !s->stats[i].count;
    cli_put("%lld concepts over %lld tokens of %s; %lld never active\n", (long long)m->n,
            (long long)s->done, s->data, (long long)dead);
    if (s->labels)
        printf("labels predicted: %.1f %% among the best %lld, %.1f %% among the best %lld\n",
               100 * share(s->found, s->labels), (long long)m->k_label,
               100 * share(s->found_k, s->labels), (long long)m->k);
}

static void print_row(const concepts *m, const concept_scan *s, int64_t id)
{
    char name[CONCEPT_NAME];
    const concept_stats *c = &s->stats[id];
    printf("%6lld %9.4f %%", (long long)id, 100 * share(c->count, s->done));
    if (m->k_label)
        printf(" %9.4f %% %6.1f %%", 100 * share(c->labels, s->done),
               100 * share(c->both, c->labels));
    printf(" %9.4g %9.4g", mean_of(c), (double)c->max);
    if (m->n_effect)
        printf(" %8.4f", concepts_norm(&m->effect[0], id));
    printf("  %s\n", concepts_title(m, s, id, name, sizeof name));
}

static void json_stats(const concepts *m, const concept_scan *s, int64_t id)
{
    char name[CONCEPT_NAME];
    const concept_stats *c = &s->stats[id];
    printf("{\"id\":%lld,\"name\":", (long long)id);
    cli_json_text(stdout, concepts_title(m, s, id, name, sizeof name));
    cli_json_number(stdout, ",", "density", share(c->count, s->done));
    cli_json_number(stdout, ",", "label_density", m->k_label ? share(c->labels, s->done) : NAN);
    cli_json_number(stdout, ",", "recall", c->labels ? share(c->both, c->labels) : NAN);
    cli_json_number(stdout, ",", "mean", mean_of(c));
    cli_json_number(stdout, ",", "max", (double)c->max);
    cli_json_number(stdout, ",", "norm", m->n_effect ? concepts_norm(&m->effect[0], id) : NAN);
}

static void json_head(const concepts *m, const concept_scan *s)
{
    printf("{\"concepts\":%lld,\"tokens\":%lld,\"data\":", (long long)m->n, (long long)s->done);
    cli_json_text(stdout, s->data);
    cli_json_number(stdout, ",", "recall_labels", s->labels ? share(s->found, s->labels) : NAN);
    cli_json_number(stdout, ",", "recall_active", s->labels ? share(s->found_k, s->labels) : NAN);
}

weft_status concepts_list(const concepts *m, const concept_scan *s, concept_order by, int n,
                          bool json)
{
    const int32_t *order = concepts_sorted(m, s, by);
    if (!order)
        return WEFT_NOMEM;
    if (json) {
        json_head(m, s);
        printf(",\"list\":[");
    } else {
        print_summary(m, s);
        printf("\n%6s %11s%s %9s %9s%s  typical tokens\n", "id", "density",
               m->k_label ? "    as label   found" : "", "mean", "max",
               m->n_effect ? "     norm" : "");
    }
    for (int i = 0; i < n && i < m->n; i++) {
        if (!json) {
            print_row(m, s, order[i]);
            continue;
        }
        printf("%s", i ? "," : "");
        json_stats(m, s, order[i]);
        printf("}");
    }
    if (json)
        printf("]}\n");
    return weft_error_status(m->ctx);
}

/* ---- one concept ---- */
static void print_words(const concepts *m, const char *what, const concept_value *v, int n)
{
    char word[64];
    printf("%s", what);
    for (int i = 0; i < n; i++)
        printf(" \"%s\" %+.3f", concepts_word(m, v[i].id, word, sizeof word), (double)v[i].value);
    printf("\n");
}

static void json_words(const concepts *m, const char *key, const concept_value *v, int n)
{
    char word[64];
    printf(",\"%s\":[", key);
    for (int i = 0; i < n; i++) {
        printf("%s{\"token\":%d,\"text\":", i ? "," : "", v[i].id);
        cli_json_text(stdout, concepts_word(m, v[i].id, word, sizeof word));
        cli_json_number(stdout, ",", "logit", (double)v[i].value);
        printf("}");
    }
    printf("]");
}

static void show_effects(const concepts *m, int64_t id, bool json)
{
    concept_value v[EFFECT];
    printf("%s", json ? ",\"effects\":[" : "");
    for (int i = 0; i < m->n_effect; i++) {
        const concept_effect *e = &m->effect[i];
        if (json) {
            printf("%s{\"who\":", i ? "," : "");
            cli_json_text(stdout, e->who);
            cli_json_number(stdout, ",", "norm", concepts_norm(e, id));
        } else
            printf("\n%s: column norm %.4f\n", e->who, concepts_norm(e, id));
        int n = concepts_promoted(e, id, 1, EFFECT, v);
        (json ? json_words : print_words)(m, json ? "promotes" : "  promotes  ", v, n);
        n = concepts_promoted(e, id, -1, EFFECT, v);
        (json ? json_words : print_words)(m, json ? "suppresses" : "  suppresses", v, n);
        printf("%s", json ? "}" : "");
    }
    printf("%s", json ? "]" : "");
}

/* Activations as a line of blocks; the fullest bin is the highest. */
static void print_histogram(const concept_scan *s, const concept_stats *c)
{
    static const char *const block[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    uint32_t most = 1;
    for (int i = 0; i < CONCEPT_BINS; i++)
        most = c->bin[i] > most ? c->bin[i] : most;
    printf("histogram   %.3g |", s->low);
    for (int i = 0; i < CONCEPT_BINS; i++)
        printf("%s", block[(c->bin[i] * 8 + most - 1) / most]);
    printf("| %.3g\n", s->high);
}

static void print_context(const concept_hit *h, const char *left, const char *word,
                          const char *right, bool colour)
{
    printf(colour ? "%9.3f  %s\033[7m%s\033[0m%s\n" : "%9.3f  %s[%s]%s\n", (double)h->value, left,
           word, right);
}

static void json_context(const concept_hit *h, const char *left, const char *word,
                         const char *right, bool first)
{
    cli_json_number(stdout, first ? "{" : ",{", "value", (double)h->value);
    printf(",\"at\":%lld,\"token\":%d,\"left\":", (long long)h->at, h->token);
    cli_json_text(stdout, left);
    printf(",\"text\":");
    cli_json_text(stdout, word);
    printf(",\"right\":");
    cli_json_text(stdout, right);
    printf("}");
}

static weft_status show_contexts(const concepts *m, const concept_scan *s, int64_t id, bool colour,
                                 bool json)
{
    int n;
    char word[160];
    const concept_hit *h = concepts_hits(s, id, &n);
    weft_status status = WEFT_OK;
    printf("%s", json ? ",\"contexts\":[" : n ? "\n" : "");
    for (int i = 0; i < n && !status; i++) {
        weft_string left, right;
        weft_string_init(&left, m->ctx);
        weft_string_init(&right, m->ctx);
        status = concepts_context(m, s, &h[i], BEFORE, AFTER, &left, &right);
        concepts_word(m, h[i].token, word, sizeof word);
        if (!status && json)
            json_context(&h[i], left.s ? left.s : "", word, right.s ? right.s : "", !i);
        else if (!status)
            print_context(&h[i], left.s ? left.s : "", word, right.s ? right.s : "", colour);
        weft_string_free(&left);
        weft_string_free(&right);
    }
    printf("%s", json ? "]" : "");
    return status;
}

weft_status concepts_show(const concepts *m, const concept_scan *s, int64_t id, bool colour,
                          bool json)
{
    char name[CONCEPT_NAME];
    const concept_stats *c = &s->stats[id];
    if (json) {
        json_stats(m, s, id);
    } else {
        printf("concept %lld  %s\n", (long long)id, concepts_title(m, s, id, name, sizeof name));
        cli_put("%-11s %.4f %%: %lld of %lld tokens of %s\n", s->by_label ? "label" : "density",
                100 * share(c->count, s->done), (long long)c->count, (long long)s->done, s->data);
        if (m->k_label && !s->by_label)
            printf("label       %.4f %%, of which %.1f %% predicted\n",
                   100 * share(c->labels, s->done), 100 * share(c->both, c->labels));
        printf("activation  mean %.4g, max %.4g\n", mean_of(c), (double)c->max);
        print_histogram(s, c);
    }
    show_effects(m, id, json);
    weft_status status = show_contexts(m, s, id, colour, json);
    if (json) {
        cli_json_number(stdout, ",\"histogram\":{", "low", s->low);
        cli_json_number(stdout, ",", "high", s->high);
        printf(",\"count\":[");
    }
    for (int i = 0; json && i < CONCEPT_BINS; i++)
        printf("%s%u", i ? "," : "", c->bin[i]);
    printf("%s", json ? "]}}\n" : "");
    return status;
}
