/* rng.h - numbers made from the random words of weft_random4 (op.h): uniform and normal, the same
 * on every machine. */
#ifndef WEFT_RNG_H
#define WEFT_RNG_H

#include "graph/op.h"

/* Uniform in the open interval (0, 1): (word + 1/2) / 2^32, exact in double. */
double weft_random_unit(uint32_t word);
/* n (a multiple of 4) independent normal numbers of this deviation, four from each counter index,
 * index + 1, ... Only operations that IEEE 754 defines to the last bit, so the same on every
 * machine. */
void weft_random_normals(float *out, int n, double deviation, uint64_t seed, uint64_t step,
                         uint32_t stream, uint64_t index);
/* Four of them in double, from four given words. */
void weft_random_normal4(double out[4], const uint32_t word[4]);
/* As weft_random_normals, uniform between a and b. */
void weft_random_uniforms(float *out, int n, double a, double b, uint64_t seed, uint64_t step,
                          uint32_t stream, uint64_t index);

#endif
