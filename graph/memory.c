/* memory.c - the static memory plan: offsets for buffers with known lifetimes; and its checker.
 *
 * Input: sizes and the first and last step of each buffer.  Output: offsets and the peak.
 * Invariant: two buffers alive at the same step never share a byte (weft_memory_check, written
 * independently).  Both are pure functions. */
#include <stdint.h>
#include <string.h>

#include "graph/plan.h"

static size_t round_up(size_t n, size_t align) { return (n + align - 1) / align * align; }

/* Larger first, then earlier, then by index, so that the plan does not depend on the sort
 * algorithm. */
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
static size_t best_gap(const weft_life *life, int b, size_t align, const size_t *offset,
                       const int *placed, int n)
{
    size_t need = round_up(life[b].bytes, align), end = 0, best = 0, best_gap_size = (size_t)-1;
    for (int i = 0; i < n; i++) {
        const weft_life *p = &life[placed[i]];
        if (p->last < life[b].first || p->first > life[b].last)
            continue;
        size_t start = offset[placed[i]];
        if (start >= end && start - end >= need && start - end < best_gap_size) {
            best = end;
            best_gap_size = start - end;
        }
        size_t stop = start + round_up(p->bytes, align);
        end = stop > end ? stop : end;
    }
    return best_gap_size == (size_t)-1 ? end : best;
}

/* `work` holds the placed buffers, by offset, in its front and those still to be placed, by size,
 * in its tail: the front grows by one for each one that leaves the tail. */
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
        size_t end;
        if (life[b].bytes > PTRDIFF_MAX - align ||
            __builtin_add_overflow(offset[b], round_up(life[b].bytes, align), &end) ||
            end > PTRDIFF_MAX)
            return SIZE_MAX;
        peak = end > peak ? end : peak;
    }
    return peak;
}

/* ---- the checker: shares nothing with the planner but the types ---- */
static bool starts_before(const weft_life *life, int a, int b)
{
    return life[a].first != life[b].first ? life[a].first < life[b].first : a < b;
}

/* Shell sort by first step: short, and not the planner's. */
static void sort_by_start(const weft_life *life, int *order, int n)
{
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int gap = n / 2; gap > 0; gap = gap > 2 ? gap * 5 / 11 : gap / 2)
        for (int i = gap; i < n; i++) {
            int x = order[i], j = i;
            for (; j >= gap && starts_before(life, x, order[j - gap]); j -= gap)
                order[j] = order[j - gap];
            order[j] = x;
        }
}

/* Position of the first of `n` buffers, sorted by offset, that lies at or above `at`. */
static int lower_bound(const size_t *offset, const int *list, int n, size_t at)
{
    int low = 0, high = n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (offset[list[mid]] < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int remove_at(int *list, int n, int at)
{
    memmove(list + at, list + at + 1, sizeof *list * (size_t)(n - at - 1));
    return n - 1;
}

/* Steps are swept in order; the buffers alive lie apart, sorted by offset, so a new one can only
 * touch its neighbours. Buffers that have ended are dropped when they turn up as neighbours. */
bool weft_memory_check(const weft_life *life, int n, const size_t *offset, size_t peak, int *work,
                       int *a, int *b)
{
    int *order = work, *alive = work + n, n_alive = 0;
    sort_by_start(life, order, n);
    for (int k = 0; k < n; k++) {
        int i = order[k];
        *a = *b = i;
        if (offset[i] > peak || life[i].bytes > peak - offset[i])
            return false; /* reaches beyond the block */
        if (!life[i].bytes)
            continue;
        int at = lower_bound(offset, alive, n_alive, offset[i]);
        while (at < n_alive && life[alive[at]].last < life[i].first)
            n_alive = remove_at(alive, n_alive, at);
        while (at > 0 && life[alive[at - 1]].last < life[i].first)
            n_alive = remove_at(alive, n_alive, --at);
        if (at < n_alive && offset[ *b = alive[at]] < offset[i] + life[i].bytes)
            return false;
        if (at > 0 && offset[ *b = alive[at - 1]] + life[alive[at - 1]].bytes > offset[i])
            return false;
        memmove(alive + at + 1, alive + at, sizeof *alive * (size_t)(n_alive++ - at));
        alive[at] = i;
    }
    return true;
}
