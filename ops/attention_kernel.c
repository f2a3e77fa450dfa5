/* attention_kernel.c - the blocked attention kernels, compiled for each instruction set.
 *
 * Built with -ffp-contract=fast (CMakeLists.txt): a product-sum is one fused instruction where the
 * machine has it. The bits then depend on the instruction set, as those of any matrix product do,
 * but never on the threads. */
#include <math.h>
#include <stdbool.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "graph/dnnl.h"
#include "ops/attention_kernel.h"

enum { BLOCK_Q = WEFT_ATTENTION_Q, BLOCK_K = WEFT_ATTENTION_K };
#define MASKED (-1e30f) /* score of a pair that the causal mask removes */

typedef float vec4 __attribute__((vector_size(16)));

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* What a probability that dropout leaves is multiplied with. */
static inline float kept_factor(const attention_head *g) { return g->drop ? g->drop->factor : 1; }

/* Position of query row r. */
static inline int64_t position(const attention_head *g, int64_t r) { return g->from + g->step * r; }

/* Keys of the block from k0 on that query row r sees; may be negative or more than the block has.
 */
static inline int64_t seen(const attention_head *g, int64_t r, int64_t k0)
{
    return position(g, r) + 1 - k0;
}

/* The first query row that sees key k. */
static inline int64_t first_query(const attention_head *g, int64_t k)
{
    return k <= g->from ? 0 : (k - g->from + g->step - 1) / g->step;
}

#define TILE_NAME  "weft:blocked"
#define TILE_LANES 4
#define TILE_TARGET
#define TILE_(name) name##_base
#ifdef __x86_64__
#define TILE_MUL(a, b) _mm_mul_epu32((__m128i)(a), (__m128i)(b))
#define TILE_MAX(a, b) _mm_max_ps((__m128)(a), (__m128)(b))
#else
#define TILE_MUL(a, b) (((a)&0xffffffffu) * ((b)&0xffffffffu))
#define TILE_MAX(a, b) TILE_(choose)((a) > (b), (a), (b))
#endif
#include "ops/attention_tile.h"

#ifdef __x86_64__
#define TILE_NAME      "weft:blocked:avx2"
#define TILE_LANES     8
#define TILE_TARGET    __attribute__((target("avx2,fma")))
#define TILE_(name)    name##_avx2
#define TILE_MUL(a, b) _mm256_mul_epu32((__m256i)(a), (__m256i)(b))
#define TILE_MAX(a, b) _mm256_max_ps((__m256)(a), (__m256)(b))
#include "ops/attention_tile.h"

#define TILE_NAME      "weft:blocked:avx512"
#define TILE_LANES     16
#define TILE_TARGET    __attribute__((target("avx512f,fma")))
#define TILE_(name)    name##_avx512
#define TILE_MUL(a, b) _mm512_mul_epu32((__m512i)(a), (__m512i)(b))
#define TILE_MAX(a, b) _mm512_max_ps((__m512)(a), (__m512)(b))
#include "ops/attention_tile.h"
#endif

const attention_isa *weft_attention_isa(int i)
{
    const attention_isa *known[4] = {0};
    int n = 0;
#ifdef __x86_64__
    if (weft_vector_bytes() >= 64 && __builtin_cpu_supports("avx512f"))
        known[n++] = &isa_avx512;
    if (weft_vector_bytes() >= 32 && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        known[n++] = &isa_avx2;
#endif
    known[n++] = &isa_base;
    return i < n ? known[i] : NULL;
}

int64_t weft_attention_work(int64_t dp, int64_t t, bool whole)
{
    int64_t scores = 2 * BLOCK_K * BLOCK_Q, tiles = 2 * most(BLOCK_Q, BLOCK_K) * dp;
    return scores + tiles + 3 * BLOCK_Q + (whole ? 2 * t * dp : 0);
}

int64_t weft_attention_ld(int64_t dp) { return ((dp + 15) / 16 | 1) * 16; }

int64_t weft_attention_queries(attention_head *g, float *at)
{
    float **part[] = {&g->qt, &g->dt, &g->qn, &g->dn, &g->delta, &g->rows};
    int64_t each[] = {g->dp, g->dp, g->ld, g->ld, 1, 1}, n = 0;
    for (int i = 0; i < 6; i++) {
        *part[i] = at ? at + n : NULL;
        n += BLOCK_Q * each[i];
    }
    return n;
}
