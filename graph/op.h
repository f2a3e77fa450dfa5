/* op.h - what the author of an op sees: the schema, and the helpers that its callbacks call.
 *
 * An op is one file in ops/ that defines one or more `const weft_op weft_op_NAME`, and one
 * line each in ops/all.def. Callbacks return void: the first failure that a helper records
 * sticks, later helper calls are no-ops on dead values (WEFT_NONE, zero types, NULL), and the
 * caller checks once.  Bodies stay formulas. */
#ifndef WEFT_OP_H
#define WEFT_OP_H

#include "graph/weft.h"

typedef int32_t weft_val; /* a value of the graph: an index; WEFT_NONE: no value */
#define WEFT_NONE ((weft_val)-1)

/* One opaque context under the names of its roles. */
typedef struct weft_call weft_call;
typedef weft_call weft_infer;  /* types of the outputs from types of the inputs */
typedef weft_call weft_grad;   /* gradient nodes of one forward node */
typedef weft_call weft_lower;  /* replacement of a meta node by other nodes */
typedef weft_call weft_incr;   /* the node on new positions only (incremental decoding) */
typedef weft_call weft_kernel; /* compile time of one step */

/* ---- schema ------------------------------------------------------------------------------ */
/* Port kinds: the set of element types that kernel and reference of a port have, and how it may be
 * connected. What is not in the set is refused when a node is made: a kernel that reads float *
 * must never see bf16. In reference mode every value of a float type is f64. */
enum {
    WEFT_FLOAT = 1,  /* f32 */
    WEFT_INT = 2,    /* i32 and i64 */
    WEFT_BYTE = 4,   /* bool */
    WEFT_HALF = 8,   /* bf16 */
    WEFT_SHORT = 16, /* u16 */
    WEFT_ANY = 31,   /* every element type of a model file */
    WEFT_KIND = 0xff,
    WEFT_OPTIONAL = 0x100, /* trailing inputs that may be absent */
    WEFT_VARIADIC = 0x200, /* last input only: one or more of these */
    /* filled in by the framework: i64[2] {seed, step}; never written in a model file */
    WEFT_INPUT_RNG = 0x400
};

typedef struct {
    const char *name;
    int kind;
    const char *help; /* meaning and shape */
    /* outputs: 1 + index of the input whose storage this output overwrites (a state value) */
    int alias;
} weft_port;

typedef enum {
    WEFT_ATTR_INT = 1,
    WEFT_ATTR_FLOAT,
    WEFT_ATTR_BOOL,
    WEFT_ATTR_ENUM,
    WEFT_ATTR_INTS
} weft_attr_kind;

/* An attribute. Required unless `has_default`; `min`..`max` inclusive when min < max.
 * ENUM: `choices` "sum|mean", value = index. INTS: a list "2,3,4" (perm, dims). */
typedef struct {
    const char *name;
    weft_attr_kind kind;
    double def;
    const char *help;
    double min, max;
    const char *choices;
    bool required;
    /* added to an op that was in use: at its default it does not count in a graph's hash, which
     * old checkpoints have */
    bool late;
} weft_attr_def;

typedef struct {
    double f;  /* FLOAT */
    int64_t i; /* INT, BOOL, ENUM */
    int n;     /* INTS: count */
    int64_t v[WEFT_MAX_RANK];
} weft_attr;

enum {
    /* output 0 may overwrite input 0 (same type), when nobody else reads it later */
    WEFT_INPLACE = 1,
    /* the kernel takes inputs of any strides; otherwise the compiler makes them dense */
    WEFT_STRIDED = 2,
    WEFT_ELEMENTWISE = 4, /* same position in, same position out, with NumPy broadcasting */
    WEFT_TRAIN_ONLY = 8,  /* outside training output 0 = input 0 (dropout) */
    /* uses random numbers: gets a stream id; never shared with an equal node. What the
     * callback of such a node emits has its stream, so a gradient draws the same numbers again */
    WEFT_DRAWS = 16,
    /* by definition piecewise constant or an index: gradient does not flow, silently */
    WEFT_NO_GRADIENT = 32,
    /* Updates state (every output has an alias): alive when asked for, never shared. It comes after
     * all readers of the old value. Outside training it stands still, its outputs being what it
     * would have updated, unless the node says always=1 (a BOOL attribute that the op may have). */
    WEFT_EFFECT = 64,
    /* meta op whose outputs are some of its inputs: lowered before anything is fused or
     * differentiated, and what only the inputs left out needed is gone with it */
    WEFT_LOWER_FIRST = 128,
    /* row in, row out: output 0 has the sizes of input 0, each row (along the last axis) is made of
     * that row of input 0 alone; all rows share the other inputs */
    WEFT_ROWS = 256,
    /* an intervention on a trained model: a layout of its weights alone cannot hold it */
    WEFT_INTERVENES = 512,
    WEFT_KEEPS_ZERO = 1024, /* element-wise, and 0 wherever all inputs are 0 */
    /* output i is input i in one batch, and its mean over all batches where a data set is evaluated
     * (rounds.h); with WEFT_LOWER_FIRST */
    WEFT_POOLS = 2048
};

typedef struct weft_tensor {
    void *data;
    weft_dtype dtype;
    int rank;
    int64_t count; /* elements */
    int64_t dim[WEFT_MAX_RANK];
    int64_t stride[WEFT_MAX_RANK]; /* in elements; dense: row-major */
} weft_tensor;

struct weft_op;

/* What a kernel or a reference gets at run time. */
typedef struct weft_run {
    const struct weft_op *op;
    const weft_attr *attr; /* in schema order; see weft_run_int */
    int n_in, n_out;
    weft_tensor *in, *out; /* an absent optional input has data == NULL and count == 0 */
    void *scratch;         /* as asked for at compile time, 64-byte aligned, contents undefined */
    void *data;            /* as made at compile time */
    int threads;           /* for num_threads(); results must not depend on it */
    uint32_t stream;       /* random stream of this node */
    struct weft_fault *fault;
    void *lib_scratch; /* of the library's products (dnnl.h), `lib_stride` bytes a thread */
    size_t lib_stride;
    void *lib_shared; /* the same, for all threads together */
} weft_run;

typedef struct weft_op {
    const char *name;
    const char *doc;          /* one formal sentence with '=': "y = ..." */
    weft_port in[24], out[8]; /* end at a NULL name */
    weft_attr_def attr[10];
    unsigned flags;
    void (*infer)(weft_infer *c);
    /* NULL and no WEFT_NO_GRADIENT: asking for one is an error */
    void (*grad)(weft_grad *g);
    /* a meta op: replaced by other nodes before anything runs */
    void (*lower)(weft_lower *l);
    /* NULL: WEFT_ELEMENTWISE ops are handled by the framework */
    void (*incr)(weft_incr *c);
    /* no kernel: each output y[0..] is input 0 with other strides; y has its type, dense
     * strides, data 0; the op sets y->stride and y->data = offset from x's start, in elements;
     * false: x's strides do not allow it, the compiler copies x first */
    bool (*view)(const weft_call *c, const weft_tensor *x, weft_tensor *y);
    /* compile time; may call weft_kernel_run to choose the run function */
    void (*kernel)(weft_kernel *k);
    void (*run)(const weft_run *r);      /* run time, when `kernel` chose nothing else */
    void (*ref)(const weft_run *r);      /* plain double-precision loops; inputs of any strides */
    double (*flops)(const weft_call *c); /* multiply-adds count two; NULL: 0 */
    /* elements of input `in` that one row of the result reads, where it picks some (rows of a
     * weight by index); -1 or NULL: all of them */
    int64_t (*active)(const weft_call *c, int in);
} weft_op;

/* ---- in every callback ------------------------------------------------------------------- */
weft_status weft_call_fail(weft_call *c, const char *fmt, ...) WEFT_PRINTF(2, 3);
bool weft_call_failed(const weft_call *c);
int weft_call_n_in(const weft_call *c);                    /* given inputs */
bool weft_call_has(const weft_call *c, int i);             /* is (optional) input i given? */
const weft_type *weft_call_in(const weft_call *c, int i);  /* never NULL: a zero type when absent */
const weft_type *weft_call_out(const weft_call *c, int i); /* after inference */
int64_t weft_attr_int(const weft_call *c, const char *name); /* also BOOL and ENUM index */
double weft_attr_float(const weft_call *c, const char *name);
const weft_attr *weft_attr_get(const weft_call *c, const char *name);
/* Attribute `name` as an axis of input 0, normalised to 0..rank-1; records the range error
 * itself and returns -1. */
int weft_attr_axis(weft_call *c, const char *name);
/* "f32[4,12]", lives as long as the graph */
const char *weft_type_text(weft_call *c, const weft_type *t);

/* ---- types ------------------------------------------------------------------------------- */
weft_type weft_type_make(weft_dtype t, int rank, const int64_t *dim);
bool weft_type_equal(const weft_type *a, const weft_type *b);
/* elements; types in a graph are checked, so this cannot overflow */
int64_t weft_type_count(const weft_type *t);
size_t weft_type_bytes(const weft_type *t);
size_t weft_dtype_size(weft_dtype t);
const char *weft_dtype_name(weft_dtype t);
bool weft_dtype_is_float(weft_dtype t);
/* Is v, cut to a whole number for integers, a value of the type? C leaves the conversion undefined
 * where it is not. */
bool weft_dtype_holds(weft_dtype t, double v);

/* ---- infer ------------------------------------------------------------------------------- */
void weft_infer_out(weft_infer *c, int i, weft_type t);
/* NumPy broadcast of the types of inputs 0..n-1 (element type of input 0); records the clash
 * itself. */
weft_type weft_infer_broadcast(weft_infer *c, int n);
/* both inputs have the same type, or the error is recorded */
bool weft_infer_same(weft_infer *c, int i, int j);

/* ---- emitting nodes (grad, lower, incr, rewrite rules) ----------------------------------- */
/* Appends a node and returns its first output. `attrs`: printf format giving "axis=-1 eps=1e-5"
 * ("" for none). */
weft_val weft_emit(weft_call *c, const char *op, const weft_val *in, int n_in, const char *attrs,
                   ...) WEFT_PRINTF(5, 6);
weft_val weft_emit1(weft_call *c, const char *op, weft_val a);
weft_val weft_emit2(weft_call *c, const char *op, weft_val a, weft_val b);
weft_val weft_emit3(weft_call *c, const char *op, weft_val a, weft_val b, weft_val d);
/* output i of the node whose first output is `first` */
weft_val weft_emit_nth(weft_call *c, weft_val first, int i);
const weft_type *weft_val_type(weft_call *c, weft_val v);
/* to t's sizes; v itself if equal */
weft_val weft_emit_reshape(weft_call *c, weft_val v, const weft_type *t);
weft_val weft_emit_fill(weft_call *c, double value, const weft_type *t);
/* All attributes of the forward node, formatted for weft_emit("%s"), for gradients that repeat
 * them. */
const char *weft_attrs_text(weft_call *c);

/* ---- grad -------------------------------------------------------------------------------- */
weft_val weft_x(weft_grad *g, int i); /* input i of the forward node; WEFT_NONE when absent */
weft_val weft_y(weft_grad *g, int i); /* output i */
/* gradient of output i; zeros (a fill node) if none reaches it */
weft_val weft_dy(weft_grad *g, int i);
bool weft_has_dy(weft_grad *g, int i);
bool weft_needs(weft_grad *g, int i); /* is the gradient of input i asked for? */
/* adds v to the gradient of input i, summed over broadcast axes */
void weft_dx(weft_grad *g, int i, weft_val v);

/* ---- lower ------------------------------------------------------------------------------- */
/* output i of the meta node is v; inputs by weft_x */
void weft_lower_out(weft_lower *l, int i, weft_val v);
/* Gradients of the scalar `loss` with respect to xs[0..n-1], as new nodes; out[i] has the type
 * of xs[i]. */
void weft_lower_gradient(weft_lower *l, weft_val loss, const weft_val *xs, int n, weft_val *out);

/* ---- incr: the node over a window of new positions ---------------------------------------
 * The framework tracks which axis of a value is time. The callback says how its node is computed
 * when only the new positions of the time-indexed inputs are at hand. A value may have a second
 * axis of positions, the keys: what a product of new rows with all of a cached value has. Entries
 * of positions after the row's own are undefined there, so nothing may add up, compare or pick
 * along it before they are masked to zeros. A callback that does not ask for this axis
 * (weft_incr_later, _blocked) gets no such input: the node is refused. */
/* time axis of input i in the full graph, -1: not time-indexed */
int weft_incr_axis(weft_incr *c, int i);
/* positions of input i for one of the graph's time-indexed inputs (2 after interleave); 0: not
 * time-indexed */
int64_t weft_incr_scale(weft_incr *c, int i);
/* input i at the new positions (input i itself if not time-indexed) */
weft_val weft_incr_new(weft_incr *c, int i);
/* input i at all positions, cached; later positions undefined. Refused if it has undefined keys. */
weft_val weft_incr_full(weft_incr *c, int i);
/* a non-time value cut to the new positions on `axis`, on this node's time scale: that of its first
 * time-indexed input */
weft_val weft_incr_window(weft_incr *c, weft_val v, int axis);
/* i32[]: index of the first new position on this node's time scale */
weft_val weft_incr_pos(weft_incr *c);
/* result i and its time axis, which it must have */
void weft_incr_out(weft_incr *c, int i, weft_val v, int axis);
const weft_type *weft_incr_type(weft_incr *c, int i); /* type of input i in the full graph */
/* axis of input i on which entries of later positions are undefined, or -1 */
int weft_incr_later(weft_incr *c, int i);
/* axis of input i on which entries of later positions are exactly 0, or -1 */
int weft_incr_zero(weft_incr *c, int i);
/* the same as an axis of output 0, whose sizes input i broadcasts to; -1 also if it is repeated */
int weft_incr_zero_at(weft_incr *c, int i);
/* is `axis` that of undefined entries of input i? Then the failure is recorded: "cannot WHAT axis
 * 2 of x" */
bool weft_incr_blocked(weft_incr *c, int i, int axis, const char *what);
/* after weft_incr_out: these axes of result i, -1 (as without a call): none */
void weft_incr_keys(weft_incr *c, int i, int later, int zero);
/* after either: entries of later positions on this axis of result i (-1: none) are exactly 0,
 * whatever the inputs hold there */
void weft_incr_masked(weft_incr *c, int i, int zero);
/* what element-wise ops without a callback get; one with a callback may call it first */
void weft_incr_elementwise(weft_incr *c);

/* ---- kernel: compile time ---------------------------------------------------------------- */
/* sizes and strides; data is not there yet */
const weft_tensor *weft_kernel_in(weft_kernel *k, int i);
const weft_tensor *weft_kernel_out(weft_kernel *k, int i);
int weft_kernel_threads(const weft_kernel *k);
/* zeroed, lives as long as the program: weft_run.data */
void *weft_kernel_data(weft_kernel *k, size_t bytes);
/* more bytes of step-local memory, part of the plan */
void weft_kernel_scratch(weft_kernel *k, size_t bytes);
void weft_kernel_run(weft_kernel *k, void (*run)(const weft_run *r));
/* shown by profiles; "weft" unless said */
void weft_kernel_impl(weft_kernel *k, const char *name);

/* ---- run time ---------------------------------------------------------------------------- */
int64_t weft_run_int(const weft_run *r, const char *attr);
double weft_run_float(const weft_run *r, const char *attr);
const weft_attr *weft_run_attr(const weft_run *r, const char *attr);
/* normalised to 0..rank-1 of input 0 */
int weft_run_axis(const weft_run *r, const char *attr);
/* A failure found in the data (an id out of range). Call outside parallel regions; the first
 * one wins. */
void weft_run_fail(const weft_run *r, const char *fmt, ...) WEFT_PRINTF(2, 3);
/* Counter-based random numbers (Philox4x32-10): 4 words for (seed, step, stream, index), the
 * same on every machine. */
void weft_random4(uint32_t out[4], uint64_t seed, uint64_t step, uint32_t stream, uint64_t index);

/* References: element access by linear row-major index with strides, and as double whatever the
 * float type. */
/* linear index -> element offset by strides */
int64_t weft_at(const weft_tensor *t, int64_t linear);
double weft_get(const weft_tensor *t, int64_t linear); /* any element type, as double */
void weft_put(const weft_tensor *t, int64_t linear, double v);
int64_t weft_get_int(const weft_tensor *t, int64_t linear);
/* Linear index into the broadcast operand b for linear index i of y (NumPy rules). */
int64_t weft_broadcast_index(const weft_tensor *y, const weft_tensor *b, int64_t i);

/* ---- registry: built from ops/all.def and ops/rules.def ---------------------------------- */
int weft_op_count(void);
const weft_op *weft_op_at(int i);
const weft_op *weft_op_find(const char *name); /* NULL if unknown */

#endif
