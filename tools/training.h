/* training.h - training as the verbs do it: tokenizer, progress, signals. */
#ifndef WEFT_TOOLS_TRAINING_H
#define WEFT_TOOLS_TRAINING_H

#include "tools/progress.h"

/* Trains with progress on stderr, bits per byte when the recipe names a tokenizer, and a clean stop
 * on SIGINT, SIGTERM and SIGHUP. The outcome stands in p->last and p->dir; errors are not yet printed. */
weft_status cli_train(weft_ctx *c, weft_recipe *r, weft_train_options *o, cli_progress *p);

#endif
