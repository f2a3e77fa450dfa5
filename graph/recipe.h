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
    char ***own; /* the paths among them */
    int n_own, cap_own;
    /* Seen from the working directory: the folder that its paths are seen from, and the paths;
     * NULL: it names none. */
    const char *root, *model, *file[5], **load_file;
};

/* The recipe in `file`, a copy of the one at `path`, where its paths are seen from. */
weft_status weft_recipe_load_as(weft_ctx *c, const char *file, const char *path, weft_recipe **out);
/* What weft_recipe_save writes; free with weft_text_free. */
weft_status weft_recipe_text(weft_recipe *r, const char *path, const char *model, char **out);
/* recipe_check.c: every value that was set is in its range; `need_model`: a recipe for training
 * names its model. */
weft_status weft_recipe_check(const weft_recipe *r, bool need_model);
/* recipe_names.c: what the recipe names in the expanded model is there and of the right type:
 * outputs to log and to evaluate, weights and values of `start`, scopes of `load`. */
weft_status weft_recipe_check_names(const weft_recipe *r, const weft_graph *forward);

/* ---- recipe_paths.c ---- */
/* A setting as it is applied: the path in it was written in the working directory, and is absolute
 * until weft_recipe_settle. Other settings stay. NULL: no memory. */
const char *weft_recipe_own_path(weft_recipe *r, const char *setting);
/* Works out what the recipe's paths mean; those that settings gave become relative to the root
 * where they lie below it. weft_recipe_unsettle takes that back, since a setting may move the
 * root. */
weft_status weft_recipe_settle(weft_recipe *r);
void weft_recipe_unsettle(weft_recipe *r);
/* One name for one path, whatever folder it was written in: below the working directory relative,
 * elsewhere absolute. */
const char *weft_recipe_absolute(const weft_recipe *r, const char *path);
/* What `root` must be in a copy of the recipe at `path`: relative if its folder lies below the
 * root, else absolute. */
const char *weft_recipe_root_from(const weft_recipe *r, const char *path);
/* As weft_recipe_note, of a `load` entry. */
weft_status weft_recipe_note_load(const weft_recipe *r, size_t entry);
/* `path` seen from the folder of the file `from`; absolute paths stay. */
const char *weft_path_beside(weft_arena *a, const char *from, const char *path);

#endif
