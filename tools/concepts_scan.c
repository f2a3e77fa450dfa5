/* concepts_scan.c - one pass over a corpus: how often and how strongly each concept is active, and
 * where most.
 *
 * Memory is a function of the number of concepts and of contexts kept, not of the corpus. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "tools/concepts.h"

enum { MAX_ACTIVE = 1024 };

static weft_status make_room(concepts *m, concept_scan *s)
{
    size_t rows = s->only >= 0 ? 1 : (size_t)m->n;
    s->stats = weft_arena_array(m->arena, (size_t)m->n, sizeof *s->stats);
    s->hit = weft_arena_array(m->arena, rows * (size_t)s->hits, sizeof *s->hit);
    s->n_hit = weft_arena_array(m->arena, rows, sizeof *s->n_hit);
    return weft_error_status(m->ctx);
}

const concept_hit *concepts_hits(const concept_scan *s, int64_t id, int *n)
{
    *n = 0;
    if (s->only >= 0 && id != s->only)
        return NULL;
    size_t row = s->only >= 0 ? 0 : (size_t)id;
    *n = s->n_hit[row];
    return s->hit + row * (size_t)s->hits;
}

/* Strongest first; of equal ones the earlier. */
static void keep_hit(concept_scan *s, int64_t id, concept_hit h)
{
    if ((s->only >= 0 && id != s->only) || !s->hits)
        return;
    size_t row = s->only >= 0 ? 0 : (size_t)id;
    concept_hit *list = s->hit + row * (size_t)s->hits;
    int n = s->n_hit[row], i;
    if (n == s->hits && list[n - 1].value >= h.value)
        return;
    i = n < s->hits ? s->n_hit[row]++ : n - 1;
    for (; i > 0 && list[i - 1].value < h.value; i--)
        list[i] = list[i - 1];
    list[i] = h;
}

static void add_active(concept_scan *s, int32_t id, concept_hit h)
{
    concept_stats *c = &s->stats[id];
    double place = (h.value - s->low) / (s->high - s->low) * CONCEPT_BINS;
    int bin = !(place > 0) ? 0 : place >= CONCEPT_BINS ? CONCEPT_BINS - 1 : (int)place;
    c->max = c->count && c->max > h.value ? c->max : h.value;
    c->count++;
    c->sum += h.value;
    c->bin[bin]++;
    keep_hit(s, id, h);
}

/* One token: its active concepts, its labels, and how many of these were predicted. */
static void add_row(concepts *m, concept_scan *s, const concept_window *w, int64_t row,
                    const concept_value *active, int n, int64_t at)
{
    const int32_t *label = w->label ? w->label + row * m->k_label : NULL;
    const float *score = w->label ? w->score + row * m->k_label : NULL;
    concept_hit h = {.token = w->text[row], .at = at};
    for (int i = 0; i < n && !s->by_label; i++) {
        h.value = active[i].value;
        add_active(s, active[i].id, h);
    }
    for (int64_t j = 0; label && j < m->k_label; j++) {
        if (label[j] < 0 || label[j] >= m->n)
            continue;
        s->labels++;
        s->stats[label[j]].labels++;
        for (int i = 0; i < n; i++)
            if (active[i].id == label[j]) {
                s->found += i < m->k_label;
                s->found_k++;
                s->stats[label[j]].both++;
            }
        if (s->by_label) {
            h.value = score[j];
            add_active(s, label[j], h);
        }
    }
}

/* Range of the histograms, from the first batch and half as much again on both sides; zero is a
 * natural end. */
static void find_range(const concepts *m, concept_scan *s, const concept_window *w)
{
    concept_value active[MAX_ACTIVE];
    double low = INFINITY, high = -INFINITY;
    for (int64_t r = 0; r < w->batch * w->length; r++) {
        int n = s->by_label ? (int)m->k_label
                            : concepts_top(w->value + r * m->n, m->n, (int)m->k, active);
        for (int i = 0; i < n; i++) {
            double v = s->by_label ? w->score[r * m->k_label + i] : active[i].value;
            low = fmin(low, v);
            high = fmax(high, v);
        }
    }
    if (!(low <= high))
        low = high = 0;
    double margin = 0.5 * (high - low) + 1e-6;
    s->low = low >= 0 ? 0 : low - margin;
    s->high = high <= 0 && !s->by_label ? 0 : high + margin;
}

static weft_status scan_batch(concepts *m, concept_scan *s, concept_window *w, int64_t number)
{
    concept_value active[MAX_ACTIVE];
    int64_t first = number * w->batch * w->length;
    for (int64_t b = 0; b < w->batch; b++) {
        int64_t at = first + b * w->length;
        WEFT_TRY(weft_tokens_read(s->file, at, w->length, w->text + b * w->length));
        if (w->targets)
            WEFT_TRY(weft_tokens_read(s->file, at + 1, w->length, w->targets + b * w->length));
    }
    WEFT_TRY(concepts_run(m, w, number));
    if (number == 0)
        find_range(m, s, w);
    for (int64_t r = 0; r < w->batch * w->length; r++) {
        int n = concepts_top(w->value + r * m->n, m->n, (int)m->k, active);
        add_row(m, s, w, r, active, n, first + r);
    }
    s->done += w->batch * w->length;
    return WEFT_OK;
}

static weft_status scan_all(concepts *m, concept_scan *s, concept_window *w)
{
    bool live = isatty(2) && !s->quiet;
    int64_t each = w->batch * w->length, all = (weft_tokens_count(s->file) - 1) / each;
    int64_t want = s->limit ? (s->limit + each - 1) / each : all;
    want = want < all ? want : all;
    if (all < 1)
        return weft_fail(m->ctx, WEFT_MALFORMED,
                         "%s: %lld tokens are too few for one batch of %lld "
                         "sequences of %lld",
                         s->data, (long long)weft_tokens_count(s->file), (long long)w->batch,
                         (long long)w->length);
    for (int64_t i = 0; i < want; i++) {
        WEFT_TRY(scan_batch(m, s, w, i));
        if (live)
            fprintf(stderr, "\rbatch %lld/%lld\033[K%s", (long long)i + 1, (long long)want,
                    i + 1 == want ? "\r\033[K" : "");
    }
    return WEFT_OK;
}

weft_status concepts_scan(concepts *m, concept_scan *s)
{
    concept_window w;
    if (m->k > MAX_ACTIVE)
        return weft_fail(m->ctx, WEFT_USAGE, "--k=%lld: expected 1..%d", (long long)m->k,
                         MAX_ACTIVE);
    if (weft_tokens_open(m->ctx, s->data, m->vocab ? m->vocab : 65536, &s->file))
        return weft_trained_note(m->trained, s->data);
    weft_tokens_limit(s->file, m->tokens.n);
    WEFT_TRY(concepts_compile(m, 0, 0, true, &w));
    if (s->by_label && !w.label)
        return weft_fail(m->ctx, WEFT_USAGE,
                         "--from=label: the model has no value 'label'; "
                         "--label-value names it");
    if (s->only >= m->n)
        return weft_fail(m->ctx, WEFT_USAGE, "--concept=%lld: the model has concepts 0..%lld",
                         (long long)s->only, (long long)m->n - 1);
    s->length = w.length;
    WEFT_TRY(make_room(m, s));
    return scan_all(m, s, &w);
}

void concepts_scan_close(concept_scan *s) { weft_tokens_close(s->file); }

/* ---- in words ---- */
/* "the" "of": up to three, each once. */
static size_t add_word(const concepts *m, int32_t id, char *buf, size_t at, size_t n)
{
    char word[40];
    concepts_word(m, id, word, sizeof word);
    int k = snprintf(buf + at, n - at, "%s\"%s\"", at ? " " : "", word);
    return k > 0 && at + (size_t)k < n ? at + (size_t)k : at;
}

/* The tokens with the largest summed activation among the contexts that were kept. */
static size_t typical(const concepts *m, const concept_hit *h, int n, char *buf, size_t size)
{
    bool used[MAX_HITS] = {false};
    size_t at = 0;
    for (int k = 0; k < 3; k++) {
        int best = -1;
        double most = -INFINITY;
        for (int i = 0; i < n; i++) {
            double sum = 0;
            for (int j = 0; j < n && !used[i]; j++)
                sum += h[j].token == h[i].token ? fabs((double)h[j].value) : 0;
            if (!used[i] && sum > most) {
                most = sum;
                best = i;
            }
        }
        if (best < 0)
            break;
        at = add_word(m, h[best].token, buf, at, size);
        for (int i = 0; i < n; i++)
            used[i] = used[i] || h[i].token == h[best].token;
    }
    return at;
}

const char *concepts_title(const concepts *m, const concept_scan *s, int64_t id, char *buf,
                           size_t n)
{
    int hits = 0;
    concept_value top[3];
    const concept_hit *h = s && s->n_hit ? concepts_hits(s, id, &hits) : NULL;
    *buf = 0;
    if (hits) {
        typical(m, h, hits < MAX_HITS ? hits : MAX_HITS, buf, n);
        return buf;
    }
    if (s && s->stats && !s->stats[id].count) {
        snprintf(buf, n, "(never active)");
        return buf;
    }
    int found = m->n_effect ? concepts_promoted(&m->effect[0], id, 1, 3, top) : 0;
    size_t at = (size_t)snprintf(buf, n, found ? "->" : "-");
    for (int i = 0; i < found; i++)
        at = add_word(m, top[i].id, buf, at, n);
    return buf;
}

/* ---- contexts ---- */
static weft_status add_text(const concepts *m, weft_tokens *file, int64_t from, int64_t to,
                            weft_string *out)
{
    int32_t id[64];
    char c[WEFT_VISIBLE];
    int64_t n = to - from;
    weft_string raw;
    if (n <= 0)
        return WEFT_OK;
    WEFT_TRY(weft_tokens_read(file, from, n, id));
    weft_string_init(&raw, out->ctx);
    for (int64_t i = 0; i < n; i++) {
        size_t length;
        const char *s = m->tokens.bpe ? weft_bpe_token(m->tokens.bpe, id[i], &length) : NULL;
        if (s)
            weft_string_add(&raw, s, length);
        else
            weft_string_printf(&raw, i ? " #%d" : "#%d", id[i]);
    }
    for (size_t i = 0; !raw.failed && i < raw.len;) {
        i += weft_visible(c, raw.s + i, raw.len - i);
        weft_string_printf(out, "%s", c);
    }
    weft_string_free(&raw);
    return out->failed || raw.failed ? WEFT_NOMEM : WEFT_OK;
}

weft_status concepts_context(const concepts *m, const concept_scan *s, const concept_hit *h,
                             int before, int after, weft_string *left, weft_string *right)
{
    int64_t start = h->at - h->at % s->length, end = weft_tokens_count(s->file);
    int64_t from = h->at - before > start ? h->at - before : start;
    int64_t to = h->at + 1 + after < end ? h->at + 1 + after : end;
    WEFT_TRY(add_text(m, s->file, from, h->at, left));
    return add_text(m, s->file, h->at + 1, to, right);
}
