/* rule.h - what the author of a rewrite rule sees.  A rule is a function beside the op that it
 * produces and one line in ops/rules.def; the engine (rewrite.c) knows no op. */
#ifndef WEFT_RULE_H
#define WEFT_RULE_H

#include "graph/op.h"

/* the node under consideration; weft_x(m, i): its inputs in the new graph */
typedef weft_call weft_match;

typedef struct {
    const char *name; /* for --no-rewrite=NAME and dumps */
    const char *root; /* op at which the rule is tried; "" if the engine itself does it */
    const char *doc;  /* "softmax(mask(matmul(q,k))) -> attention(q,k)" : before -> after */
    /* Looks; if it matches, emits nodes and calls weft_match_replace for every output that has
     * readers. Nodes that it emitted without replacing anything are dropped. NULL: the engine
     * itself does it. */
    void (*apply)(weft_match *m);
    bool train_only, eval_only;
    /* Also applied before gradient(...) nodes are replaced. The derivative by a value counts
     * the paths through it, so the rule must then leave alone what weft_match_may_bypass
     * refuses. */
    bool fuses;
    /* Applied until nothing changes before any other rule is tried, and before gradient(...) nodes
     * are replaced, with the same duty: what it leaves without readers is gone when others look. */
    bool first;
} weft_rule;

/* The node of the new graph that computes v: its op name, "" for inputs and states. */
const char *weft_match_op(weft_match *m, weft_val v);
/* is v output 0 of a node of this op? */
bool weft_match_is(weft_match *m, weft_val v, const char *op);
int weft_match_n_in(weft_match *m, weft_val v);
/* input i of the node computing v; WEFT_NONE if none */
weft_val weft_match_in(weft_match *m, weft_val v, int i);
weft_val weft_match_nth(weft_match *m, weft_val v, int i); /* output i of the node computing v */
int weft_match_port(weft_match *m, weft_val v);            /* which output of its node v is */
/* Attribute of the node computing v; zeros if it has none of this name. */
const weft_attr *weft_match_attr(weft_match *m, weft_val v, const char *name);
/* Readers of v, outputs of the graph included; the root counts while it is looked at. May be
 * too large, never too small: 1 means that the root (or the one node between) is the only
 * reader. */
int weft_match_uses(weft_match *m, weft_val v);
/* May readers be led around v? Not if v has other readers while derivatives by values are still
 * to be taken. */
bool weft_match_may_bypass(weft_match *m, weft_val v);
/* match.c: flags of the op that computes v, 0 for inputs and states. */
unsigned weft_match_flags(weft_match *m, weft_val v);
/* Is v output 0 of a node that nobody but the root reads, any output of it; that draws and updates
 * nothing; and that is recomputed in backward if and only if the root is? Then a node in its place
 * costs nothing twice. */
bool weft_match_alone(weft_match *m, weft_val v);
/* The same, where a drawing node is as good: what takes its place draws by position, and the same
 * numbers (weft_match_draw_as). */
bool weft_match_alone_drawn(weft_match *m, weft_val v);
/* The drawing node that computes v gets the random numbers of the drawing node that computes `as`.
 */
void weft_match_draw_as(weft_match *m, weft_val v, weft_val as);
/* The node that computes v once more, on as many other inputs: its output 0. */
weft_val weft_match_again(weft_match *m, weft_val v, const weft_val *in);
bool weft_match_used(const weft_match *m, int i); /* has output i of the root any reader? */
/* Attribute `name` of the r-th other node of the old graph with the root's op and inputs (and,
 * as equal nodes are shared, other attributes); NULL past the last. For ops that give more
 * outputs on demand. */
const weft_attr *weft_match_twin(weft_match *m, int r, const char *name);
/* Input i, in the new graph, of the only node `op` of the old graph that has the root's first input
 * as its first one, too; its attribute `name` into *attr. WEFT_NONE if there is none, or another
 * one as well, or if that input is computed behind the root. */
weft_val weft_match_beside(weft_match *m, const char *op, int i, const char *name,
                           const weft_attr **attr);
void weft_match_replace(weft_match *m, int i, weft_val v); /* output i of the root is v */
bool weft_match_training(const weft_match *m);

int weft_rule_count(void);
const weft_rule *weft_rule_at(int i);

#endif
