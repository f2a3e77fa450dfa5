/* data.h - token files and the batches that are drawn from them: a pure function of (seed, cursor). */
#ifndef WEFT_DATA_H
#define WEFT_DATA_H

#include "graph/io.h"

typedef struct weft_tokens weft_tokens;
/* Opens a token file: bare little-endian uint16 (nanoGPT) or llm.c's 1024-byte header. Refuses odd sizes and wrong
 * counts; ids are checked against `vocab` as batches are read. */
weft_status weft_tokens_open(weft_ctx *c, const char *path, int64_t vocab, weft_tokens **out);
void weft_tokens_close(weft_tokens *t);
int64_t weft_tokens_count(const weft_tokens *t);
uint64_t weft_tokens_hash(const weft_tokens *t); /* of size and sampled contents, for the manifest */
/* Reads n ids from position `at` into out; an id >= vocab is an error with file, index and id. */
weft_status weft_tokens_read(weft_tokens *t, int64_t at, int64_t n, int32_t *out);

/* Micro-batch number `cursor` of B rows of T inputs and their targets (the next tokens). Sampling "shuffle": the
 * epoch's blocks in an order that is a permutation by (seed, epoch), with one random shift in [0,T) per epoch;
 * "sequential": consecutive blocks. */
typedef struct {
    weft_tokens *tokens;
    int64_t B, T;
    uint64_t seed;
    bool shuffle;
} weft_sampler;
int64_t weft_sampler_blocks(const weft_sampler *s);   /* blocks of T in one epoch */
int64_t weft_sampler_epoch(const weft_sampler *s, int64_t cursor);
weft_status weft_sampler_batch(const weft_sampler *s, int64_t cursor, int32_t *tokens, int32_t *targets);

#endif
