/* rule.h - what the author of a rewrite rule sees.  A rule is a function beside the op that it produces and one line
 * in ops/rules.def; the engine (rewrite.c) knows no op. */
#ifndef WEFT_RULE_H
#define WEFT_RULE_H

#include "graph/op.h"

typedef weft_call weft_match; /* the node under consideration; weft_x(m, i): its inputs in the new graph */

typedef struct {
    const char *name;  /* for --no-rewrite=NAME and dumps */
    const char *root;  /* op at which the rule is tried */
    const char *doc;   /* "softmax(mask(matmul(q,k))) -> attention(q,k)" : before -> after */
    void (*apply)(weft_match *m); /* looks; if it matches, emits nodes and calls weft_match_replace for every output */
    bool train_only, eval_only;
} weft_rule;

/* The node of the new graph that computes v: its op name, "" for inputs and states. */
const char *weft_match_op(weft_match *m, weft_val v);
weft_val weft_match_in(weft_match *m, weft_val v, int i);   /* input i of the node computing v; WEFT_NONE if none */
weft_val weft_match_nth(weft_match *m, weft_val v, int i);  /* output i of the node computing v */
int weft_match_port(weft_match *m, weft_val v);             /* which output of its node v is */
const weft_attr *weft_match_attr(weft_match *m, weft_val v, const char *name); /* attribute of the node computing v */
int weft_match_uses(weft_match *m, weft_val v);             /* readers in the old graph, outputs included */
/* Readers of v: node number r (0..uses-1) of the old graph, for rules that span forward and backward; the value
 * returned is the reader's first output in the OLD graph. */
void weft_match_replace(weft_match *m, int i, weft_val v);  /* output i of the root is v */
bool weft_match_training(const weft_match *m);

int weft_rule_count(void);
const weft_rule *weft_rule_at(int i);

#endif
