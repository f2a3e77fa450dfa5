/* bpe_count.c - how often each piece occurs in a text: a hash table of pieces, one per thread. */
#include <stdlib.h>
#include <string.h>

#include "tools/bpe_impl.h"

/* Longer pieces are counted in parts of this size, so that no word is slow to scan again and again
 * in training. */
enum { PART_BYTES = 4096 };

weft_status weft_counts_open(weft_ctx *c, weft_counts **out)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_counts *w = a ? weft_arena_alloc(a, sizeof *w) : NULL;
    if (w)
        *w = (weft_counts){.ctx = c, .arena = a, .cap = 1 << 12};
    if (!w || !(w->slot = weft_alloc(c, w->cap * sizeof *w->slot))) {
        weft_arena_free(a);
        return c->status;
    }
    *out = w;
    return WEFT_OK;
}

void weft_counts_close(weft_counts *w)
{
    if (!w)
        return;
    weft_free(w->ctx, w->slot);
    weft_arena_free(w->arena);
}

static weft_status counts_grow(weft_counts *w)
{
    size_t cap = w->cap * 2;
    bpe_word *slot = weft_alloc(w->ctx, cap * sizeof *slot);
    if (!slot)
        return w->ctx->status;
    for (size_t k = 0; k < w->cap; k++) {
        size_t i = w->slot[k].hash & (cap - 1);
        while (w->slot[k].p && slot[i].p)
            i = (i + 1) & (cap - 1);
        if (w->slot[k].p)
            slot[i] = w->slot[k];
    }
    weft_free(w->ctx, w->slot);
    w->slot = slot;
    w->cap = cap;
    return WEFT_OK;
}

static weft_status count_word(weft_counts *w, const char *p, size_t n)
{
    uint64_t h64 = weft_hash(p, n, 0);
    uint32_t h = (uint32_t)(h64 ^ h64 >> 32);
    size_t i = h & (w->cap - 1);
    for (; w->slot[i].p; i = (i + 1) & (w->cap - 1))
        if (w->slot[i].hash == h && w->slot[i].n == n && !memcmp(w->slot[i].p, p, n)) {
            w->slot[i].count++;
            return WEFT_OK;
        }
    char *copy = weft_arena_strndup(w->arena, p, n);
    if (!copy)
        return w->ctx->status;
    w->slot[i] = (bpe_word){copy, (uint32_t)n, h, 1};
    return ++w->n * 2 > w->cap ? counts_grow(w) : WEFT_OK;
}

weft_status weft_counts_add(weft_counts *w, const char *text, size_t n)
{
    for (size_t len; n > 0; text += len, n -= len) {
        len = weft_split(text, n);
        len = len < PART_BYTES ? len : PART_BYTES;
        WEFT_TRY(count_word(w, text, len));
    }
    return WEFT_OK;
}

/* ---- the sum of several tables ---- */
static int by_bytes(const void *a, const void *b)
{
    const bpe_word *x = a, *y = b;
    int d = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return d ? d : (x->n > y->n) - (x->n < y->n);
}

/* Sorted by bytes, so that nothing depends on how the text was shared among the tables. */
weft_status bpe_counts_sum(weft_arena *a, weft_counts *const *counts, int n, bpe_word **out,
                           size_t *n_out)
{
    size_t total = 0, k = 0, kept = 0;
    for (int i = 0; i < n; i++)
        total += counts[i]->n;
    bpe_word *w = weft_arena_array(a, total, sizeof *w);
    if (!w)
        return weft_arena_ctx(a)->status;
    for (int i = 0; i < n; i++)
        for (size_t s = 0; s < counts[i]->cap; s++)
            if (counts[i]->slot[s].p)
                w[k++] = counts[i]->slot[s];
    qsort(w, total, sizeof *w, by_bytes);
    for (size_t i = 0; i < total; i++) {
        if (kept > 0 && !by_bytes(&w[kept - 1], &w[i]))
            w[kept - 1].count += w[i].count;
        else
            w[kept++] = w[i];
    }
    *out = w;
    *n_out = kept;
    return WEFT_OK;
}
