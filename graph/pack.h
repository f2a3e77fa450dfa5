/* pack.h - copying a matrix, or its transpose, into a layout that products read fast. */
#ifndef WEFT_PACK_H
#define WEFT_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y[r, c] = x[c, r] if turned, else x[r, c]: y has `rows` rows of `cols`; rows of x are in_stride,
 * rows of y out_stride elements apart. */
typedef struct {
    int64_t rows, cols, in_stride, out_stride;
    bool turned;
} weft_pack;

weft_pack weft_pack_make(int64_t rows, int64_t cols, int64_t in_stride, bool turned);
size_t weft_pack_bytes(const weft_pack *p); /* of y, a multiple of 64; 0 for an empty pack */
void weft_pack_run(const weft_pack *p, int threads, float *y, const float *x);

#endif
