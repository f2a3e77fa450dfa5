/* training.h - training as the verbs do it: tokenizer, progress, signals. */
#ifndef WEFT_TOOLS_TRAINING_H
#define WEFT_TOOLS_TRAINING_H

#include "tools/progress.h"
#include "tools/verbs.h"

/* Trains with progress on stderr, bits per byte when the recipe names a tokenizer, and a clean stop
 * on SIGINT, SIGTERM and SIGHUP. The outcome stands in p->last and p->dir; errors are not yet
 * printed. */
weft_status cli_train(weft_ctx *c, weft_recipe *r, weft_train_options *o, cli_progress *p);
/* Would cli_train begin? The same failures, with the same messages; nothing is made. */
weft_status cli_train_check(weft_ctx *c, weft_recipe *r, weft_train_options *o,
                            weft_train_info *info);
/* Opens a recipe, or the recipe of a run directory, which is then o->dir unless that is set. */
weft_status cli_recipe_open(weft_ctx *c, const char *path, const cli_list *set,
                            weft_train_options *o, weft_recipe **out);
/* What --resume=TEXT means (NULL: not given); -1, or the exit code after a complaint. */
int cli_resume(const char *verb, const char *text, weft_resume *out);

#endif
