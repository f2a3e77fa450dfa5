/* attention_vector.h - vectors and the register tile of one instruction set; attention_tile.h
 * includes it, once per set.
 *
 * TILE_LANES floats make a vector, TILE_TARGET is the function attribute, TILE_(name) the suffixed
 * name.  Every product is cut into register tiles of 6 rows by 2 vectors: 12 accumulators, what 16
 * registers hold. */

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
#define t_open            TILE_(open)
#define t_weight          TILE_(weight)
#define t_weights         TILE_(weights)
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
TILE_INLINE VEC t_max(VEC a, VEC b) { return (VEC)TILE_MAX(a, b); } /* a > b ? a : b */

/* exp(x) for x <= 0: x = n ln 2 + r, |r| <= ln(2)/2, polynomial of degree 6 (Cephes expf), error
 * below 2 ulp. */
TILE_INLINE VEC t_exp(VEC x)
{
    const VEC magic =
        (VEC){} + 12582912.0f;     /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    x = t_max((VEC){} - 87.0f, x); /* NaN stays */
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

/* C[rows, PANEL] (+)= A B with A[m,k] at a[m * am + k * ak] and B [depth, PANEL], rows `ldb` apart.
 * `add`: C is read first, and multiplied by its row's `scale` if there is one. */
TILE_INLINE void t_rows(float *c, int64_t ldc, bool add, const float *scale, const float *a,
                        int64_t am, int64_t ak, const float *b, int64_t ldb, int64_t depth,
                        const int rows)
{
    VEC lo[6], hi[6];
#pragma GCC unroll 6
    for (int m = 0; m < rows; m++) {
        float f = scale ? scale[m] : 1.0f;
        lo[m] = add ? t_load(c + m * ldc) * f : (VEC){};
        hi[m] = add ? t_load(c + m * ldc + TILE_LANES) * f : (VEC){};
    }
#pragma GCC unroll 4
    for (int64_t k = 0; k < depth; k++, b += ldb, a += ak) {
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
                         int64_t am, int64_t ak, const float *b, int64_t ldb, int64_t depth,
                         int64_t rows)
{
    switch (rows) {
    case 1:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 1);
        break;
    case 2:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 2);
        break;
    case 3:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 3);
        break;
    case 4:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 4);
        break;
    case 5:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 5);
        break;
    default:
        t_rows(c, ldc, add, scale, a, am, ak, b, ldb, depth, 6);
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
