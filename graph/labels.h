/* labels.h - label files: what a frozen extractor says about every position of every fixed window
 * of a token file, computed once and read back instead of being computed in every step.
 *
 * Little-endian: a header of 128 bytes, then one record for each window, in order:
 *
 *   byte   0  "WEFTLBL\n"
 *          8  u32 version, 2            12  u32 bytes of the header, 128
 *         16  i64 T, positions of a window (window w begins at token w T of the data)
 *         24  i64 k, labels of a position  32  i64 n, windows
 *         40  i64 concepts: every id is in 0..concepts-1
 *         48  u32 type of an id: 1 u16 (up to 65536 concepts), 2 i32    52  u32 1: with scores
 *         56  i64 B, windows of a labelling batch    64  u64 seed of drawing ops
 *         72  i64 tokens of the data       80  u64 hash of the data (weft_tokens_hash)
 *         88  u64 hash of the labelling graph     96  u64 hash of the weights that it reads
 *        104  16 bytes, zero              120  u64 XXH64 of bytes 0..119
 *
 *   record of window w: T k ids, position by position, best first; with scores T k f32 likewise;
 *   u64 XXH64, with seed w, of what precedes it in the record.
 *
 * So damage, a record in another's place, and a file cut short are all seen when they are read. */
#ifndef WEFT_LABELS_H
#define WEFT_LABELS_H

#include "graph/io.h"

enum { WEFT_LABEL_HEADER = 128, WEFT_LABEL_VERSION = 2 };

typedef struct {
    int64_t T, k, windows, concepts;
    bool scores;
    int64_t B;
    uint64_t seed;
    int64_t data_tokens;
    uint64_t data_hash, graph_hash, weight_hash;
} weft_label_header;

/* Bytes of an id and of a record. */
int weft_label_width(const weft_label_header *h);
int64_t weft_label_record(const weft_label_header *h);
/* Whole file; false: too large for a file. */
bool weft_label_bytes(const weft_label_header *h, int64_t *out);
void weft_label_pack(const weft_label_header *h, unsigned char out[WEFT_LABEL_HEADER]);
/* MALFORMED (UNSUPPORTED for another version) with the file and what is wrong. */
weft_status weft_label_unpack(weft_ctx *c, const char *path,
                              const unsigned char in[WEFT_LABEL_HEADER], weft_label_header *out);
/* May a label file take the place of what is at `path`? CANTCREATE unless that is nothing, an empty
 * file, or one that begins as label files do. */
weft_status weft_label_replaceable(weft_ctx *c, const char *path);
/* Are the labels of `path` those that `want` asks for? MISMATCH says what differs and what to do.
 * Windows, T, k, concepts, data and graph must agree; weights unless want->weight_hash is 0 (not
 * known); with `all` the batch, the seed and the scores too. */
weft_status weft_label_match(weft_ctx *c, const char *path, const weft_label_header *found,
                             const weft_label_header *want, bool all);

/* ---- reading: a file whose header and size hold ---- */
typedef struct weft_labels weft_labels;
/* *out is NULL on failure. */
weft_status weft_labels_open(weft_ctx *c, const char *path, weft_labels **out);
void weft_labels_close(weft_labels *l); /* NULL is fine */
const weft_label_header *weft_labels_header(const weft_labels *l);
const char *weft_labels_path(const weft_labels *l);
/* ids[T k] of a window, and its scores[T k] (NULL: not wanted; zeros when the file has none). Bad
 * checksums and ids out of range are MALFORMED, with file and window. Allocates nothing. */
weft_status weft_labels_read(weft_labels *l, int64_t window, int32_t *ids, float *scores);

/* ---- writing: PATH.tmp, which becomes PATH when it is complete ---- */
typedef struct weft_label_writer weft_label_writer;
/* `resume`: goes on after the last good record of PATH.tmp, if there is one (MISMATCH when it
 * belongs to other labels); otherwise begins. *done: windows that are there already. PATH.tmp is
 * locked: LOCKED when another process writes it. */
weft_status weft_label_writer_open(weft_ctx *c, const char *path, const weft_label_header *h,
                                   bool resume, weft_label_writer **out, int64_t *done);
/* The next window; ids out of range are refused (MALFORMED). scores: NULL without. */
weft_status weft_label_writer_put(weft_label_writer *w, const int32_t *ids, const float *scores);
/* All windows must be there; durable and renamed when it returns OK. Frees w in any case. */
weft_status weft_label_writer_commit(weft_label_writer *w);
void weft_label_writer_close(weft_label_writer *w); /* leaves PATH.tmp to resume; NULL is fine */
/* The same after a failure: PATH.tmp is removed when it has no window. */
void weft_label_writer_drop(weft_label_writer *w);

#endif
