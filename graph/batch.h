/* batch.h - running a program over a token file: what it is fed, and what is read from it. */
#ifndef WEFT_BATCH_H
#define WEFT_BATCH_H

#include "graph/data.h"
#include "graph/ir.h"

/* Type of the graph's input "tokens", which must be i32[B,T]. */
weft_status weft_tokens_type(const weft_graph *g, weft_type *t);
/* How many ids the model knows: the last size of its output "logits", or `missing` without one. */
int64_t weft_graph_vocab(const weft_graph *g, int64_t missing);
/* What the two functions below feed to a program, for weft_program_check_feeds: tokens, targets,
 * rng and, if k > 0, the k labels of each token and their scores (s->label, s->score). Returns how
 * many. */
enum { WEFT_BATCH_FEEDS = 5 };
int weft_batch_feeds(const weft_sampler *s, int64_t k, weft_feed out[WEFT_BATCH_FEEDS]);
/* Fills the inputs "tokens" and "targets" of a program with micro-batch `cursor`, and the inputs of
 * the labels if the sampler has a label file. */
weft_status weft_feed_batch(weft_program *p, const weft_sampler *s, int64_t cursor);
/* Fills the input "rng" if the program has one. */
void weft_feed_rng(weft_program *p, uint64_t seed, int64_t step);
/* Value of a scalar f32 output. */
double weft_fetch_scalar(weft_program *p, const char *name);

#endif
