/* recipe.h - a training recipe in memory: every part present, values checked, settings applied. */
#ifndef WEFT_RECIPE_H
#define WEFT_RECIPE_H

#include "graph/load.h"

struct weft_recipe {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path;  /* file that it came from */
    const char *name;  /* recipe.name, or the file's name without folder and suffix */
    Weft__Recipe *msg; /* all sub-messages but `load` are there */
    weft_lines *lines;
    const char **set; /* model parameters "name=value", last word wins */
    int n_set, cap_set;
    const char **given; /* fields "train.batch=8" that settings gave, not the file */
    int n_given, cap_given;
};

/* recipe_check.c: every value that was set is in its range; `need_model`: a recipe for training
 * names its model. */
weft_status weft_recipe_check(const weft_recipe *r, bool need_model);
/* recipe_names.c: what the recipe names in the expanded model is there and of the right type:
 * outputs to log and to evaluate, weights and values of `start`, scopes of `load`. */
weft_status weft_recipe_check_names(const weft_recipe *r, const weft_graph *forward);
/* `path` seen from the folder of the file `from`; absolute paths stay. */
const char *weft_path_beside(weft_arena *a, const char *from, const char *path);

#endif
