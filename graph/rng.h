/* rng.h - numbers made from the random words of weft_random4 (op.h): uniform and normal, the same on every machine. */
#ifndef WEFT_RNG_H
#define WEFT_RNG_H

#include "graph/op.h"

/* Uniform in the open interval (0, 1): (word + 1/2) / 2^32, exact in double. */
double weft_random_unit(uint32_t word);
/* Four independent standard normal numbers from four words; only operations that IEEE 754 defines to the last bit. */
void weft_random_normal4(double out[4], const uint32_t word[4]);

#endif
