/* data.h - token files and the batches that are drawn from them: a pure function of (seed, cursor).
 */
#ifndef WEFT_DATA_H
#define WEFT_DATA_H

#include "graph/io.h"

typedef struct weft_tokens weft_tokens;
/* Opens a token file, told apart by its first bytes: bare little-endian uint16 (nanoGPT), or
 * llm.c's header of 256 int32 {20240520, 1, count, 0...} followed by uint16, or {20240801, 7,
 * count, 0...} followed by uint32. Refuses odd sizes and wrong counts (MALFORMED); ids are checked
 * against `vocab` as batches are read. *out is NULL on failure. */
weft_status weft_tokens_open(weft_ctx *c, const char *path, int64_t vocab, weft_tokens **out);
/* The file's tokenizer has n tokens: its ids are below that, too, and a model that knows more does
 * not make others right. 0: not known. */
void weft_tokens_limit(weft_tokens *t, int64_t n);
void weft_tokens_close(weft_tokens *t); /* NULL is fine */
int64_t weft_tokens_count(const weft_tokens *t);
/* XXH64 of the size and of all bytes; of a file above 256 MiB, of the size and of 64 samples of 4
 * KiB spread evenly over it, its end included: tells data sets apart without reading gigabytes. */
uint64_t weft_tokens_hash(const weft_tokens *t); /* 0 if the context only looks at files */
/* Reads n ids from position `at` into out; an id >= vocab is an error with file, index and id. */
weft_status weft_tokens_read(weft_tokens *t, int64_t at, int64_t n, int32_t *out);
/* Reads ids at 64 places spread over the file: another vocabulary shows before a run begins. */
weft_status weft_tokens_probe(weft_tokens *t);
/* Has the file at this path been replaced, cut or rewritten since it was opened (device, inode,
 * size, mtime)? MISMATCH if so. weft_sampler_batch asks once an epoch. */
weft_status weft_tokens_check(weft_tokens *t);

/* Micro-batch number `cursor` of B rows of T inputs and their targets (the next tokens). Rows are
 * numbered through: row r of micro-batch c is sequence c B + r, which lies in epoch (c B + r) /
 * blocks. Sampling "shuffle": the epoch's blocks in an order that is a permutation by (seed,
 * epoch), with one random shift in [0,T) per epoch (as far as the file is long enough: at least
 * min(T, count - T) choices); "windows": the same without the shift; "sequential": consecutive
 * blocks from 0. The last two draw from the same fixed windows: window w is tokens w T to w T + T,
 * the last of which is a target only. */
typedef struct {
    weft_tokens *tokens;
    int64_t B, T;
    uint64_t seed;
    bool shuffle;               /* an order of its own for each epoch */
    bool fixed;                 /* with `shuffle`: no shift */
    bool copies;                /* all rows of micro-batch c are sequence c */
    struct weft_labels *labels; /* of the fixed windows, fed with their tokens; NULL: none */
    const char *label, *score;  /* inputs that they are fed to */
} weft_sampler;
int64_t
weft_sampler_blocks(const weft_sampler *s); /* blocks of T in one epoch; 0: the file is too short */
int64_t weft_sampler_epoch(const weft_sampler *s, int64_t cursor); /* of the first row */
/* B and T positive, and at least T+1 tokens in the file: MISMATCH with both numbers otherwise. */
weft_status weft_sampler_check(const weft_sampler *s);
/* Number of the sequence in row r of micro-batch c: c B + r, or c where rows are copies. */
int64_t weft_sampler_row(const weft_sampler *s, int64_t cursor, int64_t r);
/* Where in the file sequence number `i` starts. */
int64_t weft_sampler_start(const weft_sampler *s, int64_t i);
/* Number of the fixed window that sequence number `i` is; -1 when windows move. */
int64_t weft_sampler_window(const weft_sampler *s, int64_t i);
/* Fills tokens[B][T] and targets[B][T], of which either may be NULL. Nothing is allocated. */
weft_status weft_sampler_batch(const weft_sampler *s, int64_t cursor, int32_t *tokens,
                               int32_t *targets);

#endif
