/* hash.h - XXH64, the checksum of checkpoints and token files: fast enough to run over every byte
 * that is saved.
 *
 * Defined by its specification (Y. Collet, "XXH64 algorithm description", xxHash repository,
 * doc/xxhash_spec.md), so that any other program can check our manifests.  Not cryptographic: it
 * finds damage, not forgery. */
#ifndef WEFT_HASH_H
#define WEFT_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A hash in progress. */
typedef struct {
    uint64_t lane[4], seed, total;
    unsigned char tail[32]; /* total % 32 bytes that fill no stripe yet */
} weft_xxh64;

void weft_xxh64_init(weft_xxh64 *h, uint64_t seed);
void weft_xxh64_add(weft_xxh64 *h, const void *data, size_t n);
uint64_t weft_xxh64_value(const weft_xxh64 *h); /* of all bytes so far; more may follow */
uint64_t weft_xxh64_of(const void *data, size_t n, uint64_t seed);

#endif
