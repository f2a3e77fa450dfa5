/* attention_tile.h - blocked causal attention for one instruction set; included once per set by
 * attention_kernel.c.
 *
 * TILE_LANES floats make a vector, TILE_TARGET is the function attribute, TILE_(name) the suffixed
 * name.  Every product is cut into register tiles of 6 rows by 2 vectors: 12 accumulators, what 16
 * registers hold.
 *
 * Scores are kept transposed, S^T [keys, queries]: then the softmax over keys is a loop over rows
 * with the queries in the lanes, without any sum across lanes, and neither K nor V has to be
 * transposed.
 *
 * "Panels": a matrix [n, w] cut into column strips of PANEL floats, each strip stored contiguously
 * [n, PANEL], the last one filled up with zeros. */

typedef float TILE_(vec) __attribute__((vector_size(TILE_LANES * 4)));
typedef int32_t TILE_(ivec) __attribute__((vector_size(TILE_LANES * 4)));
typedef uint64_t TILE_(words) __attribute__((vector_size(TILE_LANES * 4)));
#define VEC          TILE_(vec)
#define WORDS        TILE_(words) /* a 32-bit number in each 64-bit lane; above it, anything */
#define IVEC         TILE_(ivec)
#define PANEL        (2 * TILE_LANES) /* columns of a register tile */
#define TILE_INLINE  static inline __attribute__((always_inline)) TILE_TARGET
#define TILE_OUTLINE static __attribute__((noinline)) TILE_TARGET
/* Functions of this instruction set. */
#define t_load            TILE_(load)
#define t_store           TILE_(store)
#define t_choose          TILE_(choose)
#define t_max             TILE_(max)
#define t_exp             TILE_(exp)
#define t_scale           TILE_(scale)
#define t_dot             TILE_(dot)
#define t_rows            TILE_(rows)
#define t_tile            TILE_(tile)
#define t_turn            TILE_(turn)
#define t_pack_transposed TILE_(pack_transposed)
#define t_pack            TILE_(pack)
#define t_visible         TILE_(visible)
#define t_scores          TILE_(scores)
#define t_mask            TILE_(mask)
#define t_draw            TILE_(draw)
#define t_hits            TILE_(hits)
#define t_kept            TILE_(kept)
#define t_keep            TILE_(keep)
#define t_online          TILE_(online)
#define t_softmax         TILE_(softmax)
#define t_softmax_grad    TILE_(softmax_grad)
#define t_queries         TILE_(queries)
#define t_pair            TILE_(pair)
#define t_add_keys        TILE_(add_keys)
#define t_add_queries     TILE_(add_queries)
#define t_put             TILE_(put)

TILE_INLINE VEC t_load(const float *p)
{
    VEC v;
    memcpy(&v, p, sizeof v);
    return v;
}

TILE_INLINE void t_store(float *p, VEC v) { memcpy(p, &v, sizeof v); }
TILE_INLINE VEC t_choose(IVEC mask, VEC a, VEC b)
{
    return (VEC)((mask & (IVEC)a) | (~mask & (IVEC)b));
}
TILE_INLINE VEC t_max(VEC a, VEC b) { return t_choose(a > b, a, b); }

/* exp(x) for x <= 0: x = n ln 2 + r, |r| <= ln(2)/2, polynomial of degree 6 (Cephes expf), error
 * below 2 ulp. */
TILE_INLINE VEC t_exp(VEC x)
{
    const VEC magic =
        (VEC){} + 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    x = t_choose(x < -87.0f, (VEC){} - 87.0f, x); /* NaN stays */
    VEC z = x * 1.44269504f + magic;
    VEC n = z - magic;
    VEC r = x - n * 0.693359375f + n * 2.12194440e-4f;
    VEC p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (VEC)((IVEC)p + ((IVEC)z << 23));
}

/* y[n] = x[n] * f */
TILE_INLINE void t_scale(float *y, const float *x, float f, int64_t n)
{
    int64_t i = 0;
    for (; i + TILE_LANES <= n; i += TILE_LANES)
        t_store(y + i, t_load(x + i) * f);
    for (; i < n; i++)
        y[i] = x[i] * f;
}

TILE_INLINE float t_dot(const float *x, const float *y, int64_t n)
{
    VEC lanes = {0};
    int64_t i = 0;
    for (; i + TILE_LANES <= n; i += TILE_LANES)
        lanes += t_load(x + i) * t_load(y + i);
    float sum = 0;
    for (int l = 0; l < TILE_LANES; l++)
        sum += lanes[l];
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* C[rows, PANEL] (+)= A B with A[m,k] at a[m * am + k * ak] and B one panel of `depth` rows.
 * `add`: C is read first, and multiplied by its row's `scale` if there is one. */
TILE_INLINE void t_rows(float *c, int64_t ldc, bool add, const float *scale, const float *a,
                        int64_t am, int64_t ak, const float *b, int64_t depth, const int rows)
{
    VEC lo[6], hi[6];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++) {
        float f = scale ? scale[m] : 1.0f;
        lo[m] = add ? t_load(c + m * ldc) * f : (VEC){};
        hi[m] = add ? t_load(c + m * ldc + TILE_LANES) * f : (VEC){};
    }
    for (int64_t k = 0; k < depth; k++, b += PANEL, a += ak) {
        VEC b0 = t_load(b), b1 = t_load(b + TILE_LANES);
#pragma GCC unroll 6
        for (int m = 0; m < rows; m++) {
            lo[m] += a[m * am] * b0;
            hi[m] += a[m * am] * b1;
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++) {
        t_store(c + m * ldc, lo[m]);
        t_store(c + m * ldc + TILE_LANES, hi[m]);
    }
}

/* The register tile of 1 to 6 rows. */
TILE_OUTLINE void t_tile(float *c, int64_t ldc, bool add, const float *scale, const float *a,
                         int64_t am, int64_t ak, const float *b, int64_t depth, int64_t rows)
{
    switch (rows) {
    case 1:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 1);
        break;
    case 2:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 2);
        break;
    case 3:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 3);
        break;
    case 4:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 4);
        break;
    case 5:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 5);
        break;
    default:
        t_rows(c, ldc, add, scale, a, am, ak, b, depth, 6);
        break;
    }
}

/* A 4x4 block of X, rows `ld` apart, becomes four rows of `to`, PANEL apart. */
TILE_INLINE void t_turn(float *to, const float *x, int64_t ld, float scale)
{
    vec4 r0, r1, r2, r3;
    memcpy(&r0, x, 16), memcpy(&r1, x + ld, 16), memcpy(&r2, x + 2 * ld, 16),
        memcpy(&r3, x + 3 * ld, 16);
    vec4 a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5),
         b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    vec4 c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7),
         d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    r0 = scale * __builtin_shufflevector(a, b, 0, 1, 4, 5);
    r1 = scale * __builtin_shufflevector(a, b, 2, 3, 6, 7);
    r2 = scale * __builtin_shufflevector(c, d, 0, 1, 4, 5);
    r3 = scale * __builtin_shufflevector(c, d, 2, 3, 6, 7);
    memcpy(to, &r0, 16), memcpy(to + PANEL, &r1, 16);
    memcpy(to + 2 * PANEL, &r2, 16), memcpy(to + 3 * PANEL, &r3, 16);
}

/* panels of X^T: to[p][d][l] = x[p * PANEL + l][d] * scale, X [n, width] with rows `ld` apart. */
TILE_OUTLINE void t_pack_transposed(float *to, const float *x, int64_t ld, int64_t n, int64_t width,
                                    float scale)
{
    for (int64_t p = 0; p < n; p += PANEL, to += width * PANEL)
        for (int64_t l = 0; l < PANEL; l += 4) {
            const float *from = x + (p + l) * ld;
            int64_t d = 0;
            for (; p + l + 4 <= n && d + 4 <= width; d += 4)
                t_turn(to + d * PANEL + l, from + d, ld, scale);
            for (; d < width; d++)
                for (int64_t i = 0; i < 4; i++)
                    to[d * PANEL + l + i] = p + l + i < n ? from[i * ld + d] * scale : 0.0f;
        }
}

/* panels of X: to[p][i][l] = x[i][p * PANEL + l] * scale, `stride` rows from panel to panel. */
TILE_OUTLINE void t_pack(float *to, const float *x, int64_t ld, int64_t n, int64_t width,
                         float scale, int64_t stride)
{
    for (int64_t p = 0; p < width; p += PANEL, to += stride * PANEL)
        for (int64_t i = 0; i < n; i++) {
            int64_t n_real = least(PANEL, width - p);
            t_scale(to + i * PANEL, x + i * ld + p, scale, n_real);
            for (int64_t l = n_real; l < PANEL; l++)
                to[i * PANEL + l] = 0.0f;
        }
}

/* Keys (counted from the first of the key block) that some query of panel p may see. */
TILE_INLINE int64_t t_visible(const attention_head *g, int64_t q0, int64_t k0, int64_t nk, int64_t p)
{
    int64_t limit = seen(g, q0 + p + PANEL - 1, k0);
    return limit < 0 ? 0 : least(limit, nk);
}

/* st[k][q] = sum_d a[k][d] b[q][d] for what the causal mask leaves; `b` transposed panels of nq
 * queries. */
TILE_OUTLINE void t_scores(const attention_head *g, float *st, const float *a, int64_t ld,
                           const float *b, int64_t q0, int64_t nq, int64_t k0, int64_t nk)
{
    for (int64_t k = 0; k < nk; k += 6)
        for (int64_t p = 0; p < nq; p += PANEL)
            if (k < t_visible(g, q0, k0, nk, p))
                t_tile(st + k * BLOCK_Q + p, BLOCK_Q, false, NULL, a + k * ld, ld, 1, b + p * g->d,
                       g->d, least(6, nk - k));
}

/* Sets the scores of masked pairs to `value`, and zeros the few rows below which products may read:
 * up to what the sixth query after the panel sees. */
TILE_INLINE void t_mask(const attention_head *g, float *st, int64_t q0, int64_t k0, int64_t nk,
                        int64_t p, float value)
{
    int64_t end = t_visible(g, q0, k0, nk, p);
    for (int64_t k = most(0, seen(g, q0 + p, k0)); k < end; k++)
        for (int64_t l = 0; l < PANEL && seen(g, q0 + p + l, k0) <= k; l++)
            st[k * BLOCK_Q + p + l] = value;
    for (int64_t k = end; k < least(nk, end + 6 * g->step); k++) {
        t_store(st + k * BLOCK_Q + p, (VEC){});
        t_store(st + k * BLOCK_Q + p + TILE_LANES, (VEC){});
    }
}

/* Philox4x32 (random.h) at index[0] + n, index[1] + n, a number in each lane: 4 words for each of
 * 2 vectors of indices that are multiples of 16. The words stay in 64-bit lanes, as products need
 * them. */
TILE_INLINE void t_draw(WORDS w[4][2], const weft_random *m, const WORDS index[2], uint64_t n)
{
    WORDS k0 = (WORDS){} + (uint32_t)m->seed, k1 = (WORDS){} + (m->seed >> 32);
    for (int v = 0; v < 2; v++) {
        w[0][v] = index[v] | n;
        w[1][v] = (index[v] >> 32 & 0xffff) | (m->step >> 32 & 0xffff) << 16;
        w[2][v] = (WORDS){} + m->step;
        w[3][v] = (WORDS){} + m->stream;
    }
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            WORDS p0 = (WORDS)TILE_MUL(w[0][v], (WORDS){} + 0xD2511F53u),
                  p1 = (WORDS)TILE_MUL(w[2][v], (WORDS){} + 0xCD9E8D57u);
            w[0][v] = (p1 >> 32) ^ w[1][v] ^ k0;
            w[2][v] = (p0 >> 32) ^ w[3][v] ^ k1;
            w[1][v] = p1;
            w[3][v] = p0;
        }
}

/* Which of the 64 elements of each block are dropped, one bit each; the blocks (random.h) are
 * those of TILE_LANES queries. */
TILE_INLINE void t_hits(uint64_t *hits, const weft_drop *drop, const uint64_t *block)
{
    WORDS index[2], bits[2] = {0}, w[4][2];
    memcpy(index, block, sizeof index);
    for (int v = 0; v < 2; v++)
        index[v] *= WEFT_RANDOM_LANES;
    for (uint64_t n = 0; n < WEFT_RANDOM_LANES; n++) {
        t_draw(w, &drop->random, index, n);
        for (int i = 0; i < 4; i++) /* a word below the threshold makes the difference negative */
            for (int v = 0; v < 2; v++)
                bits[v] |= (((w[i][v] & 0xffffffffu) - drop->below) >> 63)
                           << (n + (uint64_t)i * WEFT_RANDOM_LANES);
    }
    memcpy(hits, bits, sizeof bits);
}

/* Bit k % 32 of keep[k / 32][q]: query q0 + q keeps its probability of key k0 + k. Rows of T
 * probabilities may begin anywhere in a block of random words: then 64 keys lie in two. */
TILE_OUTLINE void t_keep(const attention_head *g, uint32_t keep[2][BLOCK_Q], int64_t q0, int64_t nq,
                         int64_t k0)
{
    memset(keep, 0, sizeof(uint32_t[2][BLOCK_Q])); /* lanes without a query are read, too */
    for (int64_t q = 0; q < nq; q += TILE_LANES) {
        uint64_t block[TILE_LANES], hits[2][TILE_LANES] = {{0}}, at[TILE_LANES];
        if (t_visible(g, q0, k0, BLOCK_K, q / PANEL * PANEL) <= 0)
            continue;
        for (int64_t l = 0; l < TILE_LANES; l++) {
            at[l] = (uint64_t)(g->first + position(g, q0 + q + l) * g->t + k0);
            block[l] = at[l] / WEFT_RANDOM_BLOCK;
        }
        t_hits(hits[0], g->drop, block);
        for (int64_t l = 0; l < TILE_LANES; l++)
            block[l]++;
        if (g->t % WEFT_RANDOM_BLOCK)
            t_hits(hits[1], g->drop, block);
        for (int64_t l = 0; l < TILE_LANES; l++) {
            uint64_t skip = at[l] % WEFT_RANDOM_BLOCK;
            uint64_t bits = skip ? hits[0][l] >> skip | hits[1][l] << (64 - skip) : hits[0][l];
            keep[0][q + l] = (uint32_t)~bits;
            keep[1][q + l] = (uint32_t)(~bits >> 32);
        }
    }
}

/* x of one key and a vector of queries where they keep it, else 0; `keep` at the first query. */
TILE_INLINE VEC t_kept(VEC x, const uint32_t *keep, int64_t k)
{
    IVEC bits;
    memcpy(&bits, keep + k / 32 * BLOCK_Q, sizeof bits);
    return t_choose(bits << (int32_t)(31 - k % 32) >> 31, x, (VEC){});
}

/* One step of the online softmax (Milakov and Gimelshein, 2018) for one vector of queries: scores
 * become exp(s - new max); the running max and sum are brought up to date; shrink = exp(old max -
 * new max). Dropout (`keep`, NULL: none) is behind the sum. */
TILE_INLINE void t_online(float *st, int64_t end, const uint32_t *keep, float *max, float *sum,
                          float *shrink)
{
    VEC old = t_load(max), m = old;
    for (int64_t k = 0; k < end; k++)
        m = t_max(m, t_load(st + k * BLOCK_Q));
    VEC f = t_exp(old - m), s = t_load(sum) * f;
    for (int64_t k = 0; k < end; k++) {
        VEC x = t_load(st + k * BLOCK_Q);
        VEC e = t_choose(x == MASKED, (VEC){}, t_exp(x - m));
        t_store(st + k * BLOCK_Q, keep ? t_kept(e, keep, k) : e);
        s += e;
    }
    t_store(max, m);
    t_store(sum, s);
    t_store(shrink, f);
}

/* The online softmax of panel p. Two calls: without dropout the loops have no trace of it. */
TILE_INLINE void t_softmax(const attention_head *g, float *st, int64_t end, int64_t p,
                           const uint32_t *keep, float *max, float *sum, float *shrink)
{
    for (int64_t q = p; q < p + PANEL; q += TILE_LANES) {
        if (g->drop)
            t_online(st + q, end, keep + q, max + q, sum + q, shrink + q);
        else
            t_online(st + q, end, NULL, max + q, sum + q, shrink + q);
    }
}

/* O [BLOCK_Q, dp], lse for queries q0.. of one head. */
static TILE_TARGET void TILE_(forward)(const attention_head *g, int64_t q0, float *o, float *lse,
                                       float *work)
{
    const int64_t ld = 3 * g->c, dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    const int64_t keys = position(g, q0 + nq - 1) + 1;
    uint32_t keep[2][BLOCK_Q];
    float *max = work, *sum = max + BLOCK_Q, *shrink = sum + BLOCK_Q;
    float *qt = shrink + BLOCK_Q, *st = qt + BLOCK_Q * dp, *vn = st + BLOCK_K * BLOCK_Q,
          *acc = vn + BLOCK_K * dp;

    t_pack_transposed(qt, g->qkv + position(g, q0) * ld, g->step * ld, nq, g->d, g->scale);
    memset(acc, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
    for (int64_t q = 0; q < BLOCK_Q; q++)
        max[q] = MASKED, sum[q] = 0;
    for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
        int64_t nk = least(BLOCK_K, keys - k0);
        t_scores(g, st, g->qkv + g->c + k0 * ld, ld, qt, q0, nq, k0, nk);
        if (g->drop)
            t_keep(g, keep, q0, nq, k0);
        for (int64_t p = 0; p < nq; p += PANEL) {
            t_mask(g, st, q0, k0, nk, p, MASKED);
            t_softmax(g, st, t_visible(g, q0, k0, nk, p), p, keep[0], max, sum, shrink);
        }
        t_pack(vn, g->qkv + 2 * g->c + k0 * ld, ld, nk, g->d, 1.0f, BLOCK_K);
        for (int64_t p = 0; p < dp; p += PANEL)
            for (int64_t q = 0; q < nq; q += 6)
                t_tile(acc + q * dp + p, dp, true, shrink + q, st + q, 1, BLOCK_Q, vn + p * BLOCK_K,
                       most(0, least(nk, seen(g, q0 + q + 5, k0))), least(6, nq - q));
    }
    for (int64_t q = 0; q < nq; q++) {
        t_scale(o + (q0 + q) * g->c, acc + q * dp, kept_factor(g) / sum[q], g->d);
        lse[q0 + q] = max[q] + logf(sum[q]);
    }
}

/* What backward needs of a block of queries: Q (scaled) and dO both ways, lse, delta = sum(dO * O).
 */
TILE_OUTLINE void t_queries(const attention_head *g, int64_t q0)
{
    const int64_t ld = 3 * g->step * g->c, nq = least(BLOCK_Q, g->n_query - q0);
    const float *q_rows = g->qkv + 3 * position(g, q0) * g->c;
    const float *dy = g->dy + q0 * g->c, *y = g->y + q0 * g->c;
    t_pack_transposed(g->qt, q_rows, ld, nq, g->d, g->scale);
    t_pack(g->qn, q_rows, ld, nq, g->d, g->scale, BLOCK_Q);
    t_pack_transposed(g->dt, dy, g->c, nq, g->d, kept_factor(g));
    t_pack(g->dn, dy, g->c, nq, g->d, kept_factor(g), BLOCK_Q);
    for (int64_t q = 0; q < BLOCK_Q; q++) {
        g->delta[q] = q < nq ? t_dot(dy + q * g->c, y + q * g->c, g->d) : 0;
        g->rows[q] = q < nq ? g->lse[q0 + q] : 0;
    }
}

/* One vector of queries of t_pair: scores become P, kept or 0, and dP becomes dS. */
TILE_INLINE void t_softmax_grad(const attention_head *g, float *st, float *dt, int64_t end,
                                const uint32_t *keep, int64_t q)
{
    VEC lse = t_load(g->rows + q), delta = t_load(g->delta + q);
    for (int64_t k = 0; k < end; k++) {
        VEC s = t_load(st + k * BLOCK_Q + q), dp = t_load(dt + k * BLOCK_Q + q);
        VEC e = t_choose(s == MASKED, (VEC){}, t_exp(s - lse));
        t_store(st + k * BLOCK_Q + q, keep ? t_kept(e, keep + q, k) : e);
        t_store(dt + k * BLOCK_Q + q, e * ((keep ? t_kept(dp, keep + q, k) : dp) - delta));
    }
}

/* P^T and dS^T = P^T * (dP^T - delta) of one pair of blocks. With dropout, D = 0 or 1 / (1 - p) of
 * each pair: P * D and P * (D * dP - delta), where 1 / (1 - p) is in dO already; delta, the sum of
 * P * D * dP over the keys, is that of dO * O as without. */
TILE_OUTLINE void t_pair(const attention_head *g, int64_t q0, int64_t k0, int64_t nk, float *st,
                         float *dt)
{
    const int64_t ld = 3 * g->c, nq = least(BLOCK_Q, g->n_query - q0);
    uint32_t keep[2][BLOCK_Q];
    t_scores(g, st, g->qkv + g->c + k0 * ld, ld, g->qt, q0, nq, k0, nk);
    t_scores(g, dt, g->qkv + 2 * g->c + k0 * ld, ld, g->dt, q0, nq, k0, nk);
    if (g->drop)
        t_keep(g, keep, q0, nq, k0);
    for (int64_t p = 0; p < nq; p += PANEL) {
        t_mask(g, st, q0, k0, nk, p, MASKED);
        t_mask(g, dt, q0, k0, nk, p, 0.0f);
        int64_t end = t_visible(g, q0, k0, nk, p);
        for (int64_t q = p; q < p + PANEL; q += TILE_LANES) {
            if (g->drop)
                t_softmax_grad(g, st, dt, end, keep[0], q);
            else
                t_softmax_grad(g, st, dt, end, NULL, q);
        }
    }
}

/* dV += P^T dO, dK += dS^T Q, both [keys, dp]. */
TILE_OUTLINE void t_add_keys(const attention_head *g, int64_t q0, int64_t k0, int64_t nk,
                             const float *st, const float *dt, float *dk, float *dv)
{
    const int64_t dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    for (int64_t p = 0; p < dp; p += PANEL)
        for (int64_t k = 0; k < nk; k += 6) {
            int64_t q = most(0, first_query(g, k0 + k) - q0); /* earlier queries do not see these keys */
            if (q >= nq)
                continue;
            const float *dn = g->dn + p * BLOCK_Q + q * PANEL,
                        *qn = g->qn + p * BLOCK_Q + q * PANEL;
            t_tile(dv + k * dp + p, dp, true, NULL, st + k * BLOCK_Q + q, BLOCK_Q, 1, dn, nq - q,
                   least(6, nk - k));
            t_tile(dk + k * dp + p, dp, true, NULL, dt + k * BLOCK_Q + q, BLOCK_Q, 1, qn, nq - q,
                   least(6, nk - k));
        }
}

/* dQ += dS K (without the scale), [queries, dp]. */
TILE_OUTLINE void t_add_queries(const attention_head *g, int64_t q0, int64_t k0, int64_t nk,
                                const float *dt, float *kn, float *dq)
{
    const int64_t ld = 3 * g->c, dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    t_pack(kn, g->qkv + g->c + k0 * ld, ld, nk, g->d, 1.0f, BLOCK_K);
    for (int64_t p = 0; p < dp; p += PANEL)
        for (int64_t q = 0; q < nq; q += 6)
            t_tile(dq + q * dp + p, dp, true, NULL, dt + q, 1, BLOCK_Q, kn + p * BLOCK_K,
                   most(0, least(nk, seen(g, q0 + q + 5, k0))), least(6, nq - q));
}

/* Rows of dqkv, `step` apart, = [n, d] out of rows `dp` apart. */
TILE_OUTLINE void t_put(const attention_head *g, float *to, int64_t step, const float *from,
                        int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        t_scale(to + i * 3 * step * g->c, from + i * g->dp, scale, g->d);
}

/* All of dQ, dK, dV of one head: each pair of blocks is visited once; dk, dv [T, dp]. */
static TILE_TARGET void TILE_(backward)(const attention_head *g, float *dqkv, float *work)
{
    const int64_t ld = 3 * g->c, dp = g->dp;
    float *st = work, *dt = st + BLOCK_K * BLOCK_Q, *kn = dt + BLOCK_K * BLOCK_Q,
          *dq = kn + BLOCK_K * dp;
    float *dk = dq + BLOCK_Q * dp, *dv = dk + g->t * dp;
    memset(dk, 0, sizeof(float) * (size_t)(2 * g->t * dp));
    for (int64_t q0 = 0; q0 < g->n_query; q0 += BLOCK_Q) {
        int64_t nq = least(BLOCK_Q, g->n_query - q0), keys = position(g, q0 + nq - 1) + 1;
        t_queries(g, q0);
        memset(dq, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
        for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
            int64_t nk = least(BLOCK_K, g->t - k0);
            t_pair(g, q0, k0, nk, st, dt);
            t_add_keys(g, q0, k0, nk, st, dt, dk + k0 * dp, dv + k0 * dp);
            t_add_queries(g, q0, k0, nk, dt, kn, dq);
        }
        t_put(g, dqkv + position(g, q0) * ld, g->step, dq, nq, g->scale);
    }
    t_put(g, dqkv + g->c, 1, dk, g->t, 1.0f);
    t_put(g, dqkv + 2 * g->c, 1, dv, g->t, 1.0f);
}

/* The same for one block of keys or of queries; sums run in the same order, so the bits are those
 * of backward. */
static TILE_TARGET void TILE_(backward_keys)(const attention_head *g, int64_t k0, float *dqkv,
                                             float *work)
{
    const int64_t ld = 3 * g->c, dp = g->dp, nk = least(BLOCK_K, g->t - k0);
    float *st = work, *dt = st + BLOCK_K * BLOCK_Q, *dk = dt + BLOCK_K * BLOCK_Q,
          *dv = dk + BLOCK_K * dp;
    memset(dk, 0, sizeof(float) * (size_t)(2 * BLOCK_K * dp));
    for (int64_t q0 = first_query(g, k0) / BLOCK_Q * BLOCK_Q; q0 < g->n_query; q0 += BLOCK_Q) {
        t_queries(g, q0);
        t_pair(g, q0, k0, nk, st, dt);
        t_add_keys(g, q0, k0, nk, st, dt, dk, dv);
    }
    t_put(g, dqkv + g->c + k0 * ld, 1, dk, nk, 1.0f);
    t_put(g, dqkv + 2 * g->c + k0 * ld, 1, dv, nk, 1.0f);
}

static TILE_TARGET void TILE_(backward_queries)(const attention_head *g, int64_t q0, float *dqkv,
                                                float *work)
{
    const int64_t ld = 3 * g->c, dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    const int64_t keys = position(g, q0 + nq - 1) + 1;
    float *st = work, *dt = st + BLOCK_K * BLOCK_Q, *kn = dt + BLOCK_K * BLOCK_Q,
          *dq = kn + BLOCK_K * dp;
    t_queries(g, q0);
    memset(dq, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
    for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
        int64_t nk = least(BLOCK_K, g->t - k0);
        t_pair(g, q0, k0, nk, st, dt);
        t_add_queries(g, q0, k0, nk, dt, kn, dq);
    }
    t_put(g, dqkv + position(g, q0) * ld, g->step, dq, nq, g->scale);
}

static const attention_isa TILE_(isa) = {
    .name = TILE_NAME,
    .panel = PANEL,
    .forward = TILE_(forward),
    .backward = TILE_(backward),
    .backward_keys = TILE_(backward_keys),
    .backward_queries = TILE_(backward_queries),
};

#undef t_load
#undef t_store
#undef t_choose
#undef t_max
#undef t_exp
#undef t_scale
#undef t_dot
#undef t_rows
#undef t_tile
#undef t_turn
#undef t_pack_transposed
#undef t_pack
#undef t_visible
#undef t_scores
#undef t_mask
#undef t_draw
#undef t_hits
#undef t_kept
#undef t_keep
#undef t_online
#undef t_softmax
#undef t_softmax_grad
#undef t_queries
#undef t_pair
#undef t_add_keys
#undef t_add_queries
#undef t_put
#undef VEC
#undef IVEC
#undef WORDS
#undef PANEL
#undef TILE_INLINE
#undef TILE_OUTLINE
#undef TILE_LANES
#undef TILE_NAME
#undef TILE_MUL
#undef TILE_TARGET
#undef TILE_
