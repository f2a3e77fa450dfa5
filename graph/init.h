/* init.h - initialisers of weights: zeros, ones, constant(c), normal(std), uniform(a,b). */
#ifndef WEFT_INIT_H
#define WEFT_INIT_H

#include "graph/expr.h"

typedef enum { WEFT_INIT_CONSTANT, WEFT_INIT_NORMAL, WEFT_INIT_UNIFORM } weft_init_kind;

typedef struct {
    weft_init_kind kind;
    double a, b; /* the constant; the standard deviation; the lower and the upper bound */
} weft_init;

#define WEFT_INIT_CHOICES                                                                          \
    "there are zeros, ones, constant(c), normal(std) with std >= 0 and uniform(a,b) with a <= b"

/* Reads an initialiser whose arguments are numbers. False: there is no such initialiser. */
bool weft_init_parse(const char *text, weft_init *out);
/* Are its values those of a weight of this type? Integers are not wrapped: constants are whole and,
 * like bounds, within the type; numbers are made as f32, exact up to 2^24. */
bool weft_init_fits(const char *text, weft_dtype t);
/* "normal(std/2)" -> "normal(0.01)": evaluates the arguments and checks the result. NULL plus a
 * recorded WEFT_MALFORMED on failure. */
const char *weft_init_eval(weft_ctx *c, weft_arena *a, const weft_params *params, const char *text);

#endif
