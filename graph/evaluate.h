/* evaluate.h - the mean loss of a model over a token file, during training and after it. */
#ifndef WEFT_EVALUATE_H
#define WEFT_EVALUATE_H

#include "graph/batch.h"
#include "graph/recipe.h"

/* A forward program outside training and the batches that it is fed with. */
typedef struct {
    weft_program *program;
    weft_program *single; /* the same for one sequence, for what is left after the last whole batch;
                             NULL: nothing is left, or the graph has a batch of its own, which each
                             sequence that is left fills with copies of itself */
    const char *loss;
    const char *const *log; /* scalar outputs that are averaged too */
    int n_log;
    weft_sampler sampler; /* sequential */
    int64_t (*token_bytes)(void *user, const int32_t *ids, int64_t n);
    void (*progress)(void *user, int64_t done, int64_t all);
    void *user;
} weft_evaluator;
/* Compiles `program` and, from `one` (the graph with B = 1, if it can have that; NULL: nothing is
 * left), `single`. It
 * evaluates what r says, without a recipe e->loss; labels are inputs if the sampler has a file. */
weft_status weft_evaluator_compile(weft_evaluator *e, const weft_recipe *r, weft_session *s,
                                   const weft_graph *g, const weft_graph *one,
                                   const weft_compile_options *o);
/* Mean loss over `batches` batches (0: all whole sequences of the file, as also when it
 * has fewer batches). */
weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out);
/* Are there sequences after the last whole batch of an evaluation of so many batches (0: all)? */
bool weft_evaluator_rest(const weft_sampler *s, int64_t batches);
/* The outputs of a recipe's evaluation: eval.loss, then eval.log. `out` holds 1 + WEFT_MAX_LOG;
 * returns how many. */
int weft_eval_outputs(const weft_recipe *r, const char **out);

#endif
