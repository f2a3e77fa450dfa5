/* time.c - parts of a tensor at a position known only at run time: windows and caches of
 * incremental decoding.
 *
 * The position is a value of the graph, so one compiled program serves all positions. They are made
 * by graph/incr.c, which knows no model: time_slice cuts tables by position to the window,
 * cache_write keeps keys and values, position counts on another time scale. */
#include "ops/loops.h"

/* The position, or -1 with the fault recorded if `size` positions from it do not fit the axis. */
static int64_t position(const weft_run *r, const weft_tensor *pos, int64_t size, int64_t whole)
{
    int64_t p = weft_get_int(pos, 0);
    if (p >= 0 && p + size <= whole)
        return p;
    weft_run_fail(r, "%s: position %lld with %lld more does not fit an axis of %lld positions",
                  r->op->name, (long long)p, (long long)size, (long long)whole);
    return -1;
}

static bool check_pos(weft_infer *c, int i)
{
    if (weft_type_count(weft_call_in(c, i)) == 1)
        return true;
    weft_call_fail(c, "pos must be a single number, but is %s",
                   weft_type_text(c, weft_call_in(c, i)));
    return false;
}

/* ---- time_slice ---- */
static void infer_time_slice(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    int64_t size = weft_attr_int(c, "size");
    if (axis < 0 || !check_pos(c, 1))
        return;
    weft_type y = *weft_call_in(c, 0);
    if (size > y.dim[axis]) {
        weft_call_fail(c, "size=%lld is more than axis %d of x: %s has", (long long)size, axis,
                       weft_type_text(c, &y));
        return;
    }
    y.dim[axis] = size;
    weft_infer_out(c, 0, y);
}

static void run_time_slice(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    int64_t size = r->out[0].dim[axis], p = position(r, &r->in[1], size, r->in[0].dim[axis]);
    if (p < 0)
        return;
    weft_tensor x = weft_tensor_slice(&r->in[0], axis, p, size, 1);
    weft_tensor_copy(r, &r->out[0], &x);
}

static void ref_time_slice(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    int64_t size = r->out[0].dim[axis], p = position(r, &r->in[1], size, r->in[0].dim[axis]);
    for (int64_t i = 0; i < r->out[0].count && p >= 0; i++) {
        weft_tensor x = weft_tensor_slice(&r->in[0], axis, p, size, 1);
        weft_ref_move(&r->out[0], i, &x, i);
    }
}

/* ---- cache_write ---- */
static void infer_cache_write(weft_infer *c)
{
    int axis = weft_attr_axis(c, "axis");
    weft_type cache = *weft_call_in(c, 0), more = *weft_call_in(c, 1);
    if (axis < 0 || !check_pos(c, 2))
        return;
    bool fits = more.rank == cache.rank && more.dim[axis] <= cache.dim[axis];
    more.dim[axis] = cache.dim[axis];
    if (!fits || !weft_type_equal(&more, &cache))
        weft_call_fail(c, "new: %s is not a part along axis %d of cache: %s",
                       weft_type_text(c, weft_call_in(c, 1)), axis, weft_type_text(c, &cache));
    else
        weft_infer_out(c, 0, cache);
}

/* The cache's storage is the output's; where a caller keeps them apart, what is not written is
 * copied. */
static void run_cache_write(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    const weft_tensor *y = &r->out[0], *more = &r->in[1];
    int64_t p = position(r, &r->in[2], more->dim[axis], y->dim[axis]);
    if (p < 0)
        return;
    if (y->data != r->in[0].data)
        weft_tensor_copy(r, y, &r->in[0]);
    weft_tensor part = weft_tensor_slice(y, axis, p, more->dim[axis], 1);
    weft_tensor_copy(r, &part, more);
}

static void ref_cache_write(const weft_run *r)
{
    int axis = weft_run_axis(r, "axis");
    const weft_tensor *y = &r->out[0], *more = &r->in[1];
    int64_t p = position(r, &r->in[2], more->dim[axis], y->dim[axis]);
    for (int64_t i = 0; i < y->count && p >= 0 && y->data != r->in[0].data; i++)
        weft_ref_move(y, i, &r->in[0], i);
    for (int64_t i = 0; i < more->count && p >= 0; i++) {
        weft_tensor part = weft_tensor_slice(y, axis, p, more->dim[axis], 1);
        weft_ref_move(&part, i, more, i);
    }
}

/* ---- position ---- */
static void infer_position(weft_infer *c)
{
    if (check_pos(c, 0) && (!weft_call_has(c, 1) || weft_infer_same(c, 0, 1)))
        weft_infer_out(c, 0, *weft_call_in(c, 0));
}

static void run_position(const weft_run *r)
{
    int64_t more = r->n_in > 1 && r->in[1].data ? weft_get_int(&r->in[1], 0) : 0;
    weft_put(&r->out[0], 0,
             (double)(weft_get_int(&r->in[0], 0) * weft_run_int(r, "factor") + more));
}

/* ---- schemas ---- */
const weft_op weft_op_time_slice = {
    .name = "time_slice",
    .doc = "A part of one axis from a position given at run time: y[.., i, ..] = x[.., pos + i, "
           "..], i < size.",
    .in = {{"x", WEFT_ANY, "rank >= 1"}, {"pos", WEFT_INT, "first position, a scalar"}},
    .out = {{"y", WEFT_ANY, "as x, but `size` positions on `axis`"}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "the axis that is cut; negative counts from the last"},
             {"size", WEFT_ATTR_INT, 1, "positions taken", 1, 4e15}},
    .flags = WEFT_STRIDED,
    .infer = infer_time_slice,
    .run = run_time_slice,
    .ref = ref_time_slice,
};

const weft_op weft_op_cache_write = {
    .name = "cache_write",
    .doc = "New positions written into a cache: y[.., pos + i, ..] = new[.., i, ..], and y = cache "
           "elsewhere.",
    .in = {{"cache", WEFT_ANY, "a state value, rank >= 1"},
           {"new", WEFT_ANY, "as cache, with fewer positions on `axis`"},
           {"pos", WEFT_INT, "first position, a scalar"}},
    .out = {{"y", WEFT_ANY, "the cache after the writing", .alias = 1}},
    .attr = {{"axis", WEFT_ATTR_INT, 0, "the axis of positions; negative counts from the last"},
             {"always", WEFT_ATTR_BOOL, 0, "1: also outside training, where updates stand still",
              .late = true}},
    .flags = WEFT_STRIDED | WEFT_EFFECT,
    .infer = infer_cache_write,
    .run = run_cache_write,
    .ref = ref_cache_write,
};

const weft_op weft_op_position = {
    .name = "position",
    .doc = "A position on another time scale: y = factor * pos + more.",
    .in = {{"pos", WEFT_INT, "a scalar"},
           {"more", WEFT_INT | WEFT_OPTIONAL, "as pos; 0 when absent"}},
    .out = {{"y", WEFT_INT, "as pos"}},
    .attr = {{"factor", WEFT_ATTR_INT, 1, "positions of y for one of pos", 1, 1 << 20}},
    .flags = WEFT_NO_GRADIENT,
    .infer = infer_position,
    .run = run_position,
    .ref = run_position,
};
