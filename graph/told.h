/* told.h - what weights tell of the model that they are of: parameters that a checkpoint's
 * config.json, the metadata of an imported file or another program's description of the model know.
 * They stand over settings and defaults. */
#ifndef WEFT_TOLD_H
#define WEFT_TOLD_H

#include "graph/ir.h"
#include "graph/names.h"

typedef struct {
    const char *path;   /* of the weights: a folder or a file */
    weft_params params; /* parameters of the entry module, each with its source */
    bool own;           /* by a checkpoint of ours */
    weft_names map;     /* the shipped name map whose tensors these are; map.msg NULL: none */
    const char *map_name;
    const Weft__Form *form; /* of that map, as the description has it; NULL: there is none */
    int64_t bos, eos;       /* token ids, -1: not told */
    const char *eos_list;   /* "[511, 3]" where several end a text, of which eos is the first */
    int64_t n_ids;          /* ids are below it; 0: not told */
    bool asked_ids;         /* config.json was asked for them */
} weft_told;

enum {
    WEFT_TOLD_MAP = 1,  /* find the map, even if the parameters can be understood without */
    WEFT_TOLD_ALONE = 2 /* a file tells what is in it, and nothing is beside it */
};
/* What the weights at `path` tell: a safetensors file, an index of shards or a folder. A file is
 * asked for its own metadata and, if that is silent, for the description beside it. UNSUPPORTED, as
 * an import says it: the description is of a model that the map's model file cannot express;
 * MISMATCH where description and tensors contradict each other. All memory is a's. */
weft_status weft_told_read(weft_arena *a, const char *path, int flags, weft_told *out);
/* What the weights in a folder are called, by the name map of which they have the name (or
 * PyTorch's, which reading them explains); *out NULL: there are none. */
weft_status weft_told_weights(weft_arena *a, const char *folder, const char **out);
/* Gives m, which was loaded with the settings `set` of the caller's and those of `recipe` (NULL:
 * none), the parameters that were told and nobody set. MISMATCH with both values where somebody set
 * another. B and T belong to the evaluation, fractions of a recipe to its training. */
weft_status weft_told_apply(weft_arena *a, const weft_told *t, weft_model *m,
                            const char *const *set, int n_set, const char *recipe);
/* Is the expanded model what was told, in whole numbers? A setting can be an expression. */
weft_status weft_told_check(const weft_told *t, const weft_graph *g);
/* After the settings: USAGE for a parameter of the description that nothing tells. */
weft_status weft_told_complete(const weft_told *t, const char *const *set, int n_set);

/* special.c: ids of the tokens that begin and end a text by the tokenizer at `path` (a .json file
 * or a folder; NULL: none), -1 where there is none: what tokenizer_config.json declares, else
 * <|endoftext|>. */
weft_status weft_special_ids(weft_arena *a, const char *path, int64_t *bos, int64_t *eos);
/* The tokenizer in a folder (tokenizer.json, vocab.json, encoder.json), or *out NULL. */
weft_status weft_tokenizer_in(weft_arena *a, const char *folder, const char **out);
/* The same of a folder of weights; if they are a checkpoint, also that of their run. */
weft_status weft_tokenizer_of(weft_arena *a, const char *weights, const char **out);
/* The run directory that a checkpoint's folder lies in, or *out NULL: it is none of a run. */
weft_status weft_run_of(weft_arena *a, const char *checkpoint, const char **out);

#endif
