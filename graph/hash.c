/* hash.c - XXH64 after its public specification, streaming. */
#include "graph/hash.h"

#include <string.h>

/* The five primes of the specification, section "Common constants". */
#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t rotate(uint64_t x, int n) { return x << n | x >> (64 - n); }

/* Little-endian loads whatever the machine: the value is part of the file format. */
static uint64_t load64(const unsigned char *p)
{
    uint64_t x;
    memcpy(&x, p, 8);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(x) : x;
}

static uint32_t load32(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, 4);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap32(x) : x;
}

static uint64_t round64(uint64_t acc, uint64_t x) { return rotate(acc + x * P2, 31) * P1; }
static uint64_t merge(uint64_t h, uint64_t lane) { return (h ^ round64(0, lane)) * P1 + P4; }

void weft_xxh64_init(weft_xxh64 *h, uint64_t seed)
{
    memset(h, 0, sizeof *h);
    h->seed = seed;
    h->lane[0] = seed + P1 + P2;
    h->lane[1] = seed + P2;
    h->lane[2] = seed;
    h->lane[3] = seed - P1;
}

/* Whole 32-byte stripes; the lanes live in registers for the length of the call. */
static void stripes(weft_xxh64 *h, const unsigned char *p, size_t n)
{
    uint64_t a = h->lane[0], b = h->lane[1], c = h->lane[2], d = h->lane[3];
    for (; n; n--, p += 32) {
        a = round64(a, load64(p));
        b = round64(b, load64(p + 8));
        c = round64(c, load64(p + 16));
        d = round64(d, load64(p + 24));
    }
    h->lane[0] = a, h->lane[1] = b, h->lane[2] = c, h->lane[3] = d;
}

void weft_xxh64_add(weft_xxh64 *h, const void *data, size_t n)
{
    const unsigned char *p = data;
    size_t have = h->total % 32;
    if (!n)
        return;
    h->total += n;
    if (have + n < 32) {
        memcpy(h->tail + have, p, n);
        return;
    }
    if (have) {
        memcpy(h->tail + have, p, 32 - have);
        stripes(h, h->tail, 1);
        p += 32 - have;
        n -= 32 - have;
    }
    stripes(h, p, n / 32);
    memcpy(h->tail, p + n / 32 * 32, n % 32);
}

static uint64_t finish_tail(uint64_t x, const unsigned char *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8)
        x = rotate(x ^ round64(0, load64(p)), 27) * P1 + P4;
    if (n >= 4) {
        x = rotate(x ^ load32(p) * P1, 23) * P2 + P3;
        n -= 4, p += 4;
    }
    for (; n; n--, p++)
        x = rotate(x ^ *p * P5, 11) * P1;
    return x;
}

uint64_t weft_xxh64_value(const weft_xxh64 *h)
{
    uint64_t x = h->seed + P5;
    if (h->total >= 32) {
        x = rotate(h->lane[0], 1) + rotate(h->lane[1], 7) + rotate(h->lane[2], 12) +
            rotate(h->lane[3], 18);
        for (int i = 0; i < 4; i++)
            x = merge(x, h->lane[i]);
    }
    x = finish_tail(x + h->total, h->tail, h->total % 32);
    x = (x ^ x >> 33) * P2;
    x = (x ^ x >> 29) * P3;
    return x ^ x >> 32;
}

uint64_t weft_xxh64_of(const void *data, size_t n, uint64_t seed)
{
    weft_xxh64 h;
    weft_xxh64_init(&h, seed);
    weft_xxh64_add(&h, data, n);
    return weft_xxh64_value(&h);
}
