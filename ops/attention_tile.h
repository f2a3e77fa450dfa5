/* attention_tile.h - blocked causal attention for one instruction set; included once per set by
 * attention_kernel.c.
 *
 * attention_vector.h has its vectors and its register tile.
 *
 * Scores are kept transposed, S^T [keys, queries]: then the softmax over keys is a loop over rows
 * with the queries in the lanes, without any sum across lanes, and neither K nor V has to be
 * transposed.
 *
 * "Panels": a matrix [n, w] cut into column strips of PANEL floats, each strip stored contiguously
 * [n, PANEL], the last one filled up with zeros. */

#include "ops/attention_vector.h"

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

/* to[i][l] = x[i][l] * scale, rows of `to` g->ld apart and filled up with zeros to g->dp. */
TILE_OUTLINE void t_pack(const attention_head *g, float *to, const float *x, int64_t ld, int64_t n,
                         float scale)
{
    for (int64_t i = 0; i < n; i++, to += g->ld, x += ld) {
        t_scale(to, x, scale, g->d);
        for (int64_t l = g->d; l < g->dp; l++)
            to[l] = 0.0f;
    }
}

/* Keys k0 to k0 + n of one head as `k`, their values as `v`: each read by many blocks of queries,
 * and one head's rows in qkv are pages apart. */
static TILE_TARGET void TILE_(keys)(const attention_head *g, int64_t k0, int64_t n, float *k,
                                    float *v)
{
    const int64_t ld = 3 * g->c;
    t_pack(g, k + k0 * g->ld, g->qkv + g->c + k0 * ld, ld, n, 1.0f);
    t_pack(g, v + k0 * g->ld, g->qkv + 2 * g->c + k0 * ld, ld, n, 1.0f);
}

/* Keys (counted from the first of the key block) that some query of panel p may see. */
TILE_INLINE int64_t t_visible(const attention_head *g, int64_t q0, int64_t k0, int64_t nk,
                              int64_t p)
{
    int64_t limit = seen(g, q0 + p + PANEL - 1, k0);
    return limit < 0 ? 0 : least(limit, nk);
}

/* How many of them every query of the panel sees: the mask has no part in those. */
TILE_INLINE int64_t t_open(const attention_head *g, int64_t q0, int64_t k0, int64_t nk, int64_t p)
{
    return most(0, least(seen(g, q0 + p, k0), nk));
}

/* st[k][q] = sum_d a[k][d] b[q][d] for what the causal mask leaves; `b` transposed panels of nq
 * queries. */
TILE_OUTLINE void t_scores(const attention_head *g, float *st, const float *a, const float *b,
                           int64_t q0, int64_t nq, int64_t k0, int64_t nk)
{
    for (int64_t k = 0; k < nk; k += 6)
        for (int64_t p = 0; p < nq; p += PANEL)
            if (k < t_visible(g, q0, k0, nk, p))
                t_tile(st + k * BLOCK_Q + p, BLOCK_Q, false, NULL, a + k * g->ld, g->ld, 1,
                       b + p * g->d, PANEL, g->d, least(6, nk - k));
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

/* exp(s - base) of key k and a vector of queries; `masked`: where the mask leaves the pair. */
TILE_INLINE VEC t_weight(const float *st, int64_t k, VEC base, const bool masked)
{
    VEC x = t_load(st + k * BLOCK_Q), e = t_exp(x - base);
    return masked ? t_choose(x == MASKED, (VEC){}, e) : e;
}

/* Keys from .. end of t_online's second pass; the sum of their weights is added to `sum`. */
TILE_INLINE VEC t_weights(float *st, int64_t from, int64_t end, const bool masked,
                          const uint32_t *keep, VEC base, VEC sum)
{
    for (int64_t k = from; k < end; k++) {
        VEC e = t_weight(st, k, base, masked);
        t_store(st + k * BLOCK_Q, keep ? t_kept(e, keep, k) : e);
        sum += e;
    }
    return sum;
}

/* One step of the online softmax (Milakov and Gimelshein, 2018) for one vector of queries: scores
 * become exp(s - new max); the running max and sum are brought up to date; shrink = exp(old max -
 * new max). The mask has no part in keys before `open`. Dropout (`keep`, NULL: none) is behind the
 * sum. */
TILE_INLINE void t_online(float *st, int64_t open, int64_t end, const uint32_t *keep, float *max,
                          float *sum, float *shrink)
{
    VEC old = t_load(max), m = old;
    for (int64_t k = 0; k < end; k++)
        m = t_max(m, t_load(st + k * BLOCK_Q));
    VEC f = t_exp(old - m), s = t_load(sum) * f;
    s = t_weights(st, 0, open, false, keep, m, s);
    s = t_weights(st, open, end, true, keep, m, s);
    t_store(max, m);
    t_store(sum, s);
    t_store(shrink, f);
}

/* The online softmax of panel p. Two calls: without dropout the loops have no trace of it. */
TILE_INLINE void t_softmax(const attention_head *g, float *st, int64_t open, int64_t end, int64_t p,
                           const uint32_t *keep, float *max, float *sum, float *shrink)
{
    for (int64_t q = p; q < p + PANEL; q += TILE_LANES) {
        if (g->drop)
            t_online(st + q, open, end, keep + q, max + q, sum + q, shrink + q);
        else
            t_online(st + q, open, end, NULL, max + q, sum + q, shrink + q);
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
    float *qt = shrink + BLOCK_Q, *st = qt + BLOCK_Q * dp, *acc = st + BLOCK_K * BLOCK_Q;

    t_pack_transposed(qt, g->qkv + position(g, q0) * ld, g->step * ld, nq, g->d, g->scale);
    memset(acc, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
    for (int64_t q = 0; q < BLOCK_Q; q++)
        max[q] = MASKED, sum[q] = 0;
    for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
        int64_t nk = least(BLOCK_K, keys - k0);
        t_scores(g, st, g->k + k0 * g->ld, qt, q0, nq, k0, nk);
        if (g->drop)
            t_keep(g, keep, q0, nq, k0);
        for (int64_t p = 0; p < nq; p += PANEL) {
            t_mask(g, st, q0, k0, nk, p, MASKED);
            t_softmax(g, st, t_open(g, q0, k0, nk, p), t_visible(g, q0, k0, nk, p), p, keep[0], max,
                      sum, shrink);
        }
        for (int64_t p = 0; p < dp; p += PANEL)
            for (int64_t q = 0; q < nq; q += 6)
                t_tile(acc + q * dp + p, dp, true, shrink + q, st + q, 1, BLOCK_Q,
                       g->v + k0 * g->ld + p, g->ld, most(0, least(nk, seen(g, q0 + q + 5, k0))),
                       least(6, nq - q));
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
    t_pack(g, g->qn, q_rows, ld, nq, g->scale);
    t_pack_transposed(g->dt, dy, g->c, nq, g->d, kept_factor(g));
    t_pack(g, g->dn, dy, g->c, nq, kept_factor(g));
    for (int64_t q = 0; q < BLOCK_Q; q++) {
        g->delta[q] = q < nq ? t_dot(dy + q * g->c, y + q * g->c, g->d) : 0;
        g->rows[q] = q < nq ? g->lse[q0 + q] : 0;
    }
}

/* Keys from .. end for one vector of queries of t_pair: scores become P, kept or 0, and dP becomes
 * dS. */
TILE_INLINE void t_softmax_grad(const attention_head *g, float *st, float *dt, int64_t from,
                                int64_t end, const bool masked, const uint32_t *keep, int64_t q)
{
    VEC lse = t_load(g->rows + q), delta = t_load(g->delta + q);
    for (int64_t k = from; k < end; k++) {
        VEC e = t_weight(st + q, k, lse, masked), dp = t_load(dt + k * BLOCK_Q + q);
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
    const int64_t nq = least(BLOCK_Q, g->n_query - q0);
    uint32_t keep[2][BLOCK_Q];
    t_scores(g, st, g->k + k0 * g->ld, g->qt, q0, nq, k0, nk);
    t_scores(g, dt, g->v + k0 * g->ld, g->dt, q0, nq, k0, nk);
    if (g->drop)
        t_keep(g, keep, q0, nq, k0);
    for (int64_t p = 0; p < nq; p += PANEL) {
        t_mask(g, st, q0, k0, nk, p, MASKED);
        t_mask(g, dt, q0, k0, nk, p, 0.0f);
        int64_t open = t_open(g, q0, k0, nk, p), end = t_visible(g, q0, k0, nk, p);
        for (int64_t q = p; q < p + PANEL; q += TILE_LANES) {
            if (g->drop) {
                t_softmax_grad(g, st, dt, 0, end, true, keep[0], q);
            } else {
                t_softmax_grad(g, st, dt, 0, open, false, NULL, q);
                t_softmax_grad(g, st, dt, open, end, true, NULL, q);
            }
        }
    }
}

/* to[k] += sum_q weight[k][q] rows[q] for the queries that see key k; to [keys, dp]. */
TILE_OUTLINE void t_add_keys(const attention_head *g, int64_t q0, int64_t k0, int64_t nk,
                             const float *weight, const float *rows, float *to)
{
    const int64_t dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    for (int64_t p = 0; p < dp; p += PANEL)
        for (int64_t k = 0; k < nk; k += 6) {
            int64_t q =
                most(0, first_query(g, k0 + k) - q0); /* earlier queries do not see these keys */
            if (q < nq)
                t_tile(to + k * dp + p, dp, true, NULL, weight + k * BLOCK_Q + q, BLOCK_Q, 1,
                       rows + q * g->ld + p, g->ld, nq - q, least(6, nk - k));
        }
}

/* dQ += dS K (without the scale), [queries, dp]. */
TILE_OUTLINE void t_add_queries(const attention_head *g, int64_t q0, int64_t k0, int64_t nk,
                                const float *dt, float *dq)
{
    const int64_t dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    for (int64_t p = 0; p < dp; p += PANEL)
        for (int64_t q = 0; q < nq; q += 6)
            t_tile(dq + q * dp + p, dp, true, NULL, dt + q, 1, BLOCK_Q, g->k + k0 * g->ld + p,
                   g->ld, most(0, least(nk, seen(g, q0 + q + 5, k0))), least(6, nq - q));
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
    float *st = work, *dt = st + BLOCK_K * BLOCK_Q, *dq = dt + BLOCK_K * BLOCK_Q;
    float *dk = dq + BLOCK_Q * dp, *dv = dk + g->t * dp;
    memset(dk, 0, sizeof(float) * (size_t)(2 * g->t * dp));
    for (int64_t q0 = 0; q0 < g->n_query; q0 += BLOCK_Q) {
        int64_t nq = least(BLOCK_Q, g->n_query - q0), keys = position(g, q0 + nq - 1) + 1;
        t_queries(g, q0);
        memset(dq, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
        for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
            int64_t nk = least(BLOCK_K, g->t - k0);
            t_pair(g, q0, k0, nk, st, dt);
            t_add_keys(g, q0, k0, nk, st, g->dn, dv + k0 * dp); /* dV += P^T dO */
            t_add_keys(g, q0, k0, nk, dt, g->qn, dk + k0 * dp); /* dK += dS^T Q */
            t_add_queries(g, q0, k0, nk, dt, dq);
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
        t_add_keys(g, q0, k0, nk, st, g->dn, dv);
        t_add_keys(g, q0, k0, nk, dt, g->qn, dk);
    }
    t_put(g, dqkv + g->c + k0 * ld, 1, dk, nk, 1.0f);
    t_put(g, dqkv + 2 * g->c + k0 * ld, 1, dv, nk, 1.0f);
}

static TILE_TARGET void TILE_(backward_queries)(const attention_head *g, int64_t q0, float *dqkv,
                                                float *work)
{
    const int64_t ld = 3 * g->c, dp = g->dp, nq = least(BLOCK_Q, g->n_query - q0);
    const int64_t keys = position(g, q0 + nq - 1) + 1;
    float *st = work, *dt = st + BLOCK_K * BLOCK_Q, *dq = dt + BLOCK_K * BLOCK_Q;
    t_queries(g, q0);
    memset(dq, 0, sizeof(float) * (size_t)(BLOCK_Q * dp));
    for (int64_t k0 = 0; k0 < keys; k0 += BLOCK_K) {
        int64_t nk = least(BLOCK_K, g->t - k0);
        t_pair(g, q0, k0, nk, st, dt);
        t_add_queries(g, q0, k0, nk, dt, dq);
    }
    t_put(g, dqkv + position(g, q0) * ld, g->step, dq, nq, g->scale);
}

static const attention_isa TILE_(isa) = {
    .name = TILE_NAME,
    .panel = PANEL,
    .keys = TILE_(keys),
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
#undef t_open
#undef t_weight
#undef t_weights
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
#undef TILE_MAX
#undef TILE_TARGET
#undef TILE_
