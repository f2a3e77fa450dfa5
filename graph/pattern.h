/* pattern.h - type texts of graph files: "f32[B,T,4*d]" evaluated, or matched against a type so
 * that names bind. */
#ifndef WEFT_PATTERN_H
#define WEFT_PATTERN_H

#include "graph/expr.h"
#include "graph/ir.h"

/* What a pattern may bind: parameters (names of sizes are added to them), and the axes behind
 * "...". */
typedef struct {
    weft_arena *arena;
    weft_params *params;
    bool has_rest; /* "..." is bound */
    int rest_rank;
    int64_t rest[WEFT_MAX_RANK];
} weft_binding;

/* A type all of whose sizes are known. false: one sentence in `why`. */
bool weft_pattern_eval(const weft_binding *b, const char *text, weft_type *out, char *why,
                       size_t why_size);
/* Matches `t` against the text: names that are no parameters yet are bound, everything else
 * must agree. */
bool weft_pattern_match(weft_binding *b, const char *text, const weft_type *t, char *why,
                        size_t why_size);

#endif
