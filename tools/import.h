/* import.h - weft import --check: does a model take the imported weights, and what does a recipe
 * say of them? */
#ifndef WEFT_TOOLS_IMPORT_H
#define WEFT_TOOLS_IMPORT_H

#include "tools/verbs.h"

typedef struct {
    const char *model; /* model file or recipe */
    const char *names; /* the map that was used */
    const char *as;    /* field of the recipe that names the weights; NULL: found */
    const char *scope; /* of a model: the weights whose names begin so; NULL: found */
    const char *data;  /* tokens for a recipe; NULL: its own */
    cli_list set;
    int64_t batches;
    bool json;
    bool *told; /* set when JSON was printed: a list of names and values, without a line's end */
} import_check;

/* Before anything is written: what is wrong with the check itself. -1 to go on, or the exit code.
 */
int import_check_begin(weft_ctx *c, const import_check *o);
/* Tries `file`; `known`: parameters that the import told, a "name=value" line each (cut into pieces
 * here). The exit code; what went wrong is printed or is c's error. */
int import_check_run(weft_ctx *c, const import_check *o, const char *file, char *known);

#endif
