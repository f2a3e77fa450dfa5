/* evaluate.h - the mean loss of a model over a token file, during training and after it. */
#ifndef WEFT_EVALUATE_H
#define WEFT_EVALUATE_H

#include "graph/batch.h"
#include "graph/recipe.h"
#include "graph/rounds.h"

/* One round over the data (rounds.h). */
typedef struct {
    weft_program *program;
    weft_program *single; /* the same for one sequence, for what is left after the last whole batch;
                             NULL: nothing is left, or the graph has a batch of its own, which each
                             sequence that is left fills with copies of itself */
    bool constant;        /* reads means of earlier rounds, and no data */
} weft_eval_round;

/* A mean over the data: summed in its round, then divided, then fed. */
typedef struct {
    weft_pool is;
    int64_t count;
    double *value;
} weft_eval_mean;

/* Forward programs outside training and the batches that they are fed with. */
typedef struct {
    weft_eval_round round[WEFT_MAX_ROUNDS];
    int n_round; /* 0: nothing is evaluated */
    weft_eval_mean *mean;
    int n_mean;
    int at[1 + WEFT_MAX_LOG]; /* round of the loss, of log[0], ... */
    int text;                 /* the first round that reads the targets: there bytes are counted */
    const char *loss;
    const char *const *log; /* scalar outputs that are averaged too */
    int n_log;
    weft_sampler sampler; /* sequential */
    int64_t (*token_bytes)(void *user, const int32_t *ids, int64_t n);
    void (*progress)(void *user, int64_t done, int64_t all);
    void *user;
} weft_evaluator;
/* Compiles the rounds from g and, from `one` (the graph with B = 1, if it can have that; NULL:
 * nothing is left), those for single sequences. It evaluates what r says, without a recipe e->loss;
 * labels are inputs if the sampler has a file. */
weft_status weft_evaluator_compile(weft_evaluator *e, const weft_recipe *r, weft_session *s,
                                   const weft_graph *g, const weft_graph *one,
                                   const weft_compile_options *o);
/* Activations of the largest program. */
size_t weft_evaluator_bytes(const weft_evaluator *e);
/* Loss and log over `batches` batches (0: all whole sequences of the file, as also when it has
 * fewer batches): means over batches, each counted as often as it has sequences, and what the graph
 * computes from such means (data_mean). */
weft_status weft_evaluator_run(weft_evaluator *e, int64_t batches, weft_eval_result *out);
/* Are there sequences after the last whole batch of an evaluation of so many batches (0: all)? */
bool weft_evaluator_rest(const weft_sampler *s, int64_t batches);
/* The outputs of a recipe's evaluation: eval.loss, then eval.log. `out` holds 1 + WEFT_MAX_LOG;
 * returns how many. */
int weft_eval_outputs(const weft_recipe *r, const char **out);

#endif
