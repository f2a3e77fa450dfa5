/* memory.c - the static memory plan: offsets for buffers with known lifetimes; and its checker.
 *
 * Input: sizes and the first and last step of each buffer.  Output: offsets and the peak.
 * Invariant: two buffers alive at the same step never share a byte (weft_memory_check, written
 * independently).  Both are pure functions. */
#include <limits.h>
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

/* ---- buffers that have their place ----
 * Sorted by offset, in chunks, so that a search need not look at each: a chunk remembers what lives
 * found in it, and for which others that is true.  The answers are those of a walk over all
 * buffers. */
enum { CHUNK = 256, SEEN = 2 };

typedef struct {
    size_t start, stop;
    int first, last;
} placed;

/* What lives that begin and end within these bounds meet in a chunk: the same buffers. */
typedef struct {
    int first_low, first_high, last_low, last_high;
    size_t start, stop, gap; /* of those: the lowest, SIZE_MAX if there is none; the highest; the
                                largest gap between them */
} found;

typedef struct {
    int n, next;      /* buffers; the chunk at the next offsets, -1 behind the last */
    size_t low;       /* offset of the first buffer */
    found seen[SEEN]; /* latest first; two, as long lives and short ones take turns */
} chunk;

typedef struct {
    chunk *chunk;
    placed *at; /* CHUNK for each chunk */
    int n;
} places;

/* Chunks are split when full, so that all but the last are at least half full. */
static size_t most_chunks(int n) { return (size_t)n / (CHUNK / 2) + 1; }

size_t weft_memory_work(int n)
{
    size_t a_chunk = sizeof(chunk) + CHUNK * sizeof(placed);
    return most_chunks(n) * a_chunk + (size_t)n * sizeof(int);
}

static void forget(chunk *c)
{
    for (int i = 0; i < SEEN; i++)
        c->seen[i].first_low = INT_MAX; /* no life begins there */
}

static int add_chunk(places *p, int next)
{
    p->chunk[p->n] = (chunk){.next = next};
    forget(&p->chunk[p->n]);
    return p->n++;
}

/* What does a life from `first` to `last` meet among n buffers? */
static found look(const placed *x, int n, int first, int last)
{
    found f = {INT_MIN, INT_MAX, INT_MIN, INT_MAX, SIZE_MAX, 0, 0};
    for (const placed *end = x + n; x < end; x++) {
        if (x->first > last) {
            f.last_high = x->first <= f.last_high ? x->first - 1 : f.last_high;
        } else if (x->last < first) {
            f.first_low = x->last >= f.first_low ? x->last + 1 : f.first_low;
        } else {
            f.last_low = x->first > f.last_low ? x->first : f.last_low;
            f.first_high = x->last < f.first_high ? x->last : f.first_high;
            if (f.start == SIZE_MAX)
                f.start = x->start;
            else if (x->start > f.stop && x->start - f.stop > f.gap)
                f.gap = x->start - f.stop;
            f.stop = x->stop > f.stop ? x->stop : f.stop;
        }
    }
    return f;
}

static const found *meet(chunk *c, const placed *x, int first, int last)
{
    for (found *f = c->seen; f < c->seen + SEEN; f++)
        if (first >= f->first_low && first <= f->first_high && last >= f->last_low &&
            last <= f->last_high)
            return f;
    memmove(c->seen + 1, c->seen, (SEEN - 1) * sizeof *c->seen);
    c->seen[0] = look(x, c->n, first, last);
    return c->seen;
}

typedef struct {
    size_t need, end, best, size; /* end: of what was passed; size: of the gap at best */
} search;

static void pass(search *s, size_t start, size_t stop)
{
    if (start >= s->end && start - s->end >= s->need && start - s->end < s->size) {
        s->best = s->end;
        s->size = start - s->end;
    }
    s->end = stop > s->end ? stop : s->end;
}

static void pass_chunk(search *s, chunk *c, const placed *x, int first, int last)
{
    const found *f = meet(c, x, first, last);
    if (f->start == SIZE_MAX)
        return;
    if (f->gap < s->need) { /* nor is there room behind what was passed before */
        pass(s, f->start, f->stop);
        return;
    }
    for (int i = 0; i < c->n; i++)
        if (x[i].first <= last && x[i].last >= first)
            pass(s, x[i].start, x[i].stop);
}

/* The smallest gap, the lowest of equal ones, that holds `need` bytes from `first` to `last`. */
static size_t best_gap(places *p, size_t need, int first, int last)
{
    search s = {need, 0, 0, SIZE_MAX};
    for (int k = 0; k >= 0 && s.size > need; k = p->chunk[k].next)
        pass_chunk(&s, &p->chunk[k], p->at + (size_t)k * CHUNK, first, last);
    return s.size == SIZE_MAX ? s.end : s.best;
}

/* The upper half of a full chunk moves to a new one; of the last, nothing, if `start` lies behind
 * it: plans mostly grow at the end. Returns the chunk where `start` belongs. */
static int split(places *p, int k, size_t start)
{
    placed *x = p->at + (size_t)k * CHUNK;
    bool behind = p->chunk[k].next < 0 && start >= x[CHUNK - 1].start;
    int more = add_chunk(p, p->chunk[k].next), keep = behind ? CHUNK : CHUNK / 2;
    p->chunk[k].next = more;
    p->chunk[k].n = keep;
    forget(&p->chunk[k]);
    p->chunk[more].n = CHUNK - keep;
    p->chunk[more].low = behind ? start : x[keep].start;
    memcpy(p->at + (size_t)more * CHUNK, x + keep, sizeof *x * (size_t)(CHUNK - keep));
    return behind || start >= x[keep].start ? more : k;
}

static void insert(places *p, placed b)
{
    int k = 0;
    for (int next; (next = p->chunk[k].next) >= 0; k = next)
        if (p->chunk[next].low > b.start)
            break;
    if (p->chunk[k].n == CHUNK)
        k = split(p, k, b.start);
    placed *x = p->at + (size_t)k * CHUNK;
    int i = p->chunk[k].n++;
    for (; i > 0 && x[i - 1].start > b.start; i--)
        x[i] = x[i - 1];
    x[i] = b;
    p->chunk[k].low = x[0].start;
    forget(&p->chunk[k]); /* what was found is no longer true */
}

/* The place of one buffer of at least one byte; SIZE_MAX when it ends beyond what pointers reach,
 * else its end. */
static size_t place(places *p, const weft_life *b, size_t align, size_t *offset)
{
    size_t end;
    if (b->bytes > PTRDIFF_MAX - align)
        return SIZE_MAX;
    size_t need = round_up(b->bytes, align);
    *offset = best_gap(p, need, b->first, b->last);
    if (__builtin_add_overflow(*offset, need, &end) || end > PTRDIFF_MAX)
        return SIZE_MAX;
    insert(p, (placed){*offset, end, b->first, b->last});
    return end;
}

size_t weft_memory_plan(const weft_life *life, int n, size_t align, size_t *offset, void *work)
{
    places p = {.chunk = work};
    p.at = (placed *)(p.chunk + most_chunks(n));
    int *order = (int *)(p.at + most_chunks(n) * CHUNK);
    size_t peak = 0;
    add_chunk(&p, -1);
    sort_by_size(life, order, n);
    for (int k = 0; k < n; k++) {
        int b = order[k];
        offset[b] = 0;
        if (!life[b].bytes)
            continue;
        size_t end = place(&p, &life[b], align, &offset[b]);
        if (end == SIZE_MAX)
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
