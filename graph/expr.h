/* expr.h - arithmetic over module parameters: sizes, attributes, repeat bounds. */
#ifndef WEFT_EXPR_H
#define WEFT_EXPR_H

#include "graph/util.h"

/* Parameters in scope, in order of definition. */
typedef struct {
    const char *name;
    double value;
    /* where the value comes from, for weft show: "default", "--set", "caller h.3 (file:line)" */
    const char *origin;
} weft_param;

typedef struct weft_params {
    weft_param *p;
    int n, cap;
    int64_t *work; /* grows by what looking up and evaluating costs; NULL: nobody counts */
} weft_params;

const weft_param *weft_params_find(const weft_params *s, const char *name, size_t len);
bool weft_params_add(weft_arena *a, weft_params *s, const char *name, double value,
                     const char *origin);

/* Value of `n` bytes of expression: numbers, parameter names, + - * /, unary minus,
 * parentheses, sqrt(x), min(x,y), max(x,y).  On failure false and one sentence in `why`
 * (unknown names are answered with the nearest one). */
bool weft_expr_eval(const weft_params *s, const char *text, size_t n, double *out, char *why,
                    size_t why_size);
/* The same, but the value must be a whole number. */
bool weft_expr_eval_int(const weft_params *s, const char *text, size_t n, int64_t *out, char *why,
                        size_t why_size);
/* Is the text one identifier? */
bool weft_expr_is_name(const char *text, size_t n);

#endif
