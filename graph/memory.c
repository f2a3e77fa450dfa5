/* memory.c - the static memory plan: offsets for buffers with known lifetimes, as a pure function, and its checker.
 *
 * Input: sizes and the first and last step of each buffer.  Output: offsets and the peak.
 * Invariant: two buffers alive at the same step never share a byte (weft_memory_check, written independently). */
#include "graph/plan.h"

static size_t round_up(size_t n, size_t align) { return (n + align - 1) / align * align; }

/* Larger first, then earlier, then by index, so that the plan does not depend on the sort algorithm. */
static bool goes_before(const weft_life *life, int a, int b)
{
    if (life[a].bytes != life[b].bytes)
        return life[a].bytes > life[b].bytes;
    if (life[a].first != life[b].first)
        return life[a].first < life[b].first;
    return a < b;
}

/* Heap sort of `order`: no allocation, no recursion, O(n log n) on every input. */
static void sift_down(const weft_life *life, int *order, int root, int n)
{
    for (int child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && goes_before(life, order[child], order[child + 1]))
            child++;
        if (!goes_before(life, order[root], order[child]))
            return;
        int t = order[root];
        order[root] = order[child];
        order[child] = t;
    }
}

static void sort_by_size(const weft_life *life, int *order, int n)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n / 2; i-- > 0;)
        sift_down(life, order, i, n);
    for (int end = n; --end > 0;) {
        int t = order[0];
        order[0] = order[end];
        order[end] = t;
        sift_down(life, order, 0, end);
    }
}

/* The smallest gap that holds buffer b between the `n` placed ones, which are sorted by offset. */
static size_t best_gap(const weft_life *life, int b, size_t align, const size_t *offset, const int *placed, int n)
{
    size_t need = round_up(life[b].bytes, align), end = 0, best = 0, best_gap_size = (size_t)-1;
    for (int i = 0; i < n; i++) {
        const weft_life *p = &life[placed[i]];
        if (p->last < life[b].first || p->first > life[b].last)
            continue;
        size_t start = offset[placed[i]];
        if (start >= end + need && start - end < best_gap_size) {
            best = end;
            best_gap_size = start - end;
        }
        size_t stop = start + round_up(p->bytes, align);
        end = stop > end ? stop : end;
    }
    return best_gap_size == (size_t)-1 ? end : best;
}

/* `work` holds the placed buffers, by offset, in its front and those still to be placed, by size, in its tail: the
 * front grows by one for each one that leaves the tail. */
size_t weft_memory_plan(const weft_life *life, int n, size_t align, size_t *offset, int *work)
{
    sort_by_size(life, work, n);
    size_t peak = 0;
    for (int done = 0; done < n; done++) {
        int b = work[done];
        offset[b] = life[b].bytes ? best_gap(life, b, align, offset, work, done) : 0;
        int at = done;
        for (; at > 0 && offset[work[at - 1]] > offset[b]; at--)
            work[at] = work[at - 1];
        work[at] = b;
        size_t end = offset[b] + round_up(life[b].bytes, align);
        peak = end > peak ? end : peak;
    }
    return peak;
}

/* ---- the checker: shares nothing with the planner but the types; every pair, no order assumed ---- */
static bool clash(const weft_life *a, size_t a_at, const weft_life *b, size_t b_at)
{
    bool together = a->first <= b->last && b->first <= a->last;
    return together && a->bytes && b->bytes && a_at < b_at + b->bytes && b_at < a_at + a->bytes;
}

bool weft_memory_check(const weft_life *life, int n, const size_t *offset, size_t peak, int *a, int *b)
{
    for (int i = 0; i < n; i++) {
        *a = *b = i;
        if (offset[i] > peak || life[i].bytes > peak - offset[i])
            return false; /* reaches beyond the block */
        for (int j = 0; j < i; j++) {
            *b = j;
            if (clash(&life[i], offset[i], &life[j], offset[j]))
                return false;
        }
    }
    return true;
}
