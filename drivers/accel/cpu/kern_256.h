/* The kernels of x86-64 with registers of 256 bits. Tables differ in how they draw, in the dot
   product and in the shape of its tiles; what they define for that is declared first. Everything is
   static: no code of one target leaks to another. */
#include <immintrin.h>

#include "kern_plain.h"

static inline __m256i load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, __m256i v) { _mm256_storeu_si256((__m256i *)p, v); }
static inline __m128i load128(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline void store128(void *p, __m128i v) { _mm_storeu_si128((__m128i *)p, v); }

/* Eight bytes as numbers of 32 bits. */
static inline __m256i load8(const void *p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
static inline __m256i load8u(const void *p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}

/* Four bytes of A in all lanes. */
static inline __m256i load_a(const int8_t *a) { return _mm256_set1_epi32((int)qr_ld32(a)); }

/* Key of a round of draws; counter of a block. */
static inline __m128i round_key(const qr_ars_t *s, uint32_t i) {
  return _mm_set_epi64x((int64_t)(s->key[1] + i * QR_ARS_WEYL_HI),
                        (int64_t)(s->key[0] + i * QR_ARS_WEYL_LO));
}

static inline __m128i counter(const qr_ars_t *s, uint32_t block) {
  return _mm_setr_epi32((int)block, (int)s->stream, (int)s->ctr2, (int)s->ctr3);
}

/* The including file defines these: three entries of the table, and all that k4 groups of some
   rows, a constant number, give to the sums of a panel's sixteen columns. */
static bool supported(void);
static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt);
static void gemm(const qr_cpu_gemm_t *g);
ALWAYS_INLINE void dots(__m256i *x, __m256i *y, const int8_t *const *a, const uint32_t *step,
                        const int8_t *b, uint32_t k4, const uint32_t rows);

/* OR of all lanes; sum of the 64-bit lanes. */
static inline uint32_t or_lanes(__m256i v) {
  uint64_t l[4];
  store(l, v);
  uint64_t all = l[0] | l[1] | l[2] | l[3];
  return (uint32_t)(all | all >> 32);
}

static inline uint64_t sum_lanes(__m256i v) {
  uint64_t l[4];
  store(l, v);
  return l[0] + l[1] + l[2] + l[3];
}

/* Sixteen numbers as bytes, saturated. */
static inline __m128i narrow(__m256i a, __m256i b) {
  __m256i w = _mm256_packs_epi32(a, b); /* halves of a and b in turn, twice */
  w = _mm256_packs_epi16(w, w);
  return _mm256_castsi256_si128(
      _mm256_permutevar8x32_epi32(w, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5)));
}

static inline __m128i clip8(__m128i v, int8_t lo, int8_t hi) {
  return _mm_min_epi8(_mm_max_epi8(v, _mm_set1_epi8(lo)), _mm_set1_epi8(hi));
}

static inline void dither32(int8_t *dst, const int8_t *src, __m256i n, __m256i u,
                            const plain_dither_t *k) {
  __m256i x = _mm256_max_epi8(load(src), _mm256_set1_epi8(k->lo));
  x = _mm256_min_epi8(x, _mm256_set1_epi8(k->hi));
  n = _mm256_and_si256(n, _mm256_set1_epi8(15));
  store(dst, _mm256_add_epi8(x, _mm256_shuffle_epi8(u, n)));
}

static void dither_group(int8_t *dst, const int8_t *src, const uint8_t *r,
                         const plain_dither_t *k) {
  const __m256i u = _mm256_broadcastsi128_si256(load128(k->u));
  for (uint32_t i = 0; i < QR_CPU_DRAW / 2; i += 32) {
    __m256i n = load(r + i);
    dither32(dst + i, src + i, n, u, k);
    dither32(dst + i + 64, src + i + 64, _mm256_srli_epi16(n, 4), u, k);
  }
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  plain_strip_dither(draw, dither_group, dst, src, at, cnt, d, s);
}

/* Four rows of 32 columns side by side, sixteen columns in each half of the four results. */
static inline void zip32(__m256i out[4], const int8_t *src, size_t row, __m256i plus) {
  __m256i a = load(src), b = load(src + row), c = load(src + 2 * row), d = load(src + 3 * row);
  __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b),
          cd0 = _mm256_unpacklo_epi8(c, d), cd1 = _mm256_unpackhi_epi8(c, d);
  out[0] = _mm256_add_epi8(_mm256_unpacklo_epi16(ab0, cd0), plus);
  out[1] = _mm256_add_epi8(_mm256_unpackhi_epi16(ab0, cd0), plus);
  out[2] = _mm256_add_epi8(_mm256_unpacklo_epi16(ab1, cd1), plus);
  out[3] = _mm256_add_epi8(_mm256_unpackhi_epi16(ab1, cd1), plus);
}

/* 32 columns to two places of sixteen. */
static inline void pack32(int8_t *dst, int8_t *dst2, const int8_t *src, size_t row, __m256i plus) {
  __m256i z[4];
  zip32(z, src, row, plus);
  for (uint32_t i = 0; i < 4; i++) {
    store128(dst + 16 * i, _mm256_castsi256_si128(z[i]));
    store128(dst2 + 16 * i, _mm256_extracti128_si256(z[i], 1));
  }
}

static void pack(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups, uint32_t n,
                 size_t group, size_t row, int8_t plus) {
  const __m256i add = _mm256_set1_epi8(plus);
  for (uint32_t g = 0; g < groups; g++, src += group, dst += 64) {
    uint32_t j = 0;
    int8_t *d = dst;
    for (; n - j >= 32; j += 32, d += 2 * panel_sz) pack32(d, d + panel_sz, src + j, row, add);
    if (j < n) plain_pack(d, panel_sz, src + j, 1, n - j, 0, row, plus);
  }
}

static void interleave(int8_t *dst, const int8_t *src, size_t stride, uint32_t cnt) {
  const __m256i add = _mm256_set1_epi8(64);
  uint32_t i = 0;
  for (; cnt - i >= 32; i += 32) pack32(dst + 4 * i, dst + 4 * i + 64, src + i, stride, add);
  plain_interleave(dst + 4 * i, src + i, stride, cnt - i);
}

static void image4(int8_t *dst, const int8_t *src, size_t stride, const qr_cpu_image_t *g) {
  plain_image4_by(interleave, dst, src, stride, g);
}

/* Eight groups of eight columns: a matrix of 32-bit numbers turned about. */
static inline void transpose8(int8_t *dst, const int8_t *src, size_t ld) {
  __m256i r[8], t[8];
  UNROLL_ALL for (uint32_t i = 0; i < 8; i++) r[i] = load(src + i * ld);
  UNROLL_ALL for (uint32_t i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
  UNROLL_ALL for (uint32_t i = 0; i < 8; i += 4) {
    r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL_ALL for (uint32_t i = 0; i < 4; i++) {
    store(dst + 64 * i, _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
    store(dst + 64 * (i + 4), _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
  }
}

static void pack_trans(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t k4, uint32_t n,
                       size_t ld) {
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL, src += QR_CPU_PANEL * ld, dst += panel_sz) {
    uint32_t g = 0;
    for (; k4 - g >= 8; g += 8) {
      transpose8(dst + g * 64, src + 4 * g, ld);
      transpose8(dst + g * 64 + 32, src + 8 * ld + 4 * g, ld);
    }
    if (g < k4) plain_pack_trans(dst + g * 64, 0, src + 4 * g, k4 - g, QR_CPU_PANEL, ld);
  }
}

/* Minus 64 times the four bytes of each column of half a group. */
static inline __m256i sums8(const int8_t *b, __m256i sum) {
  __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(64), load(b));
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(-1)));
}

static void sums(int32_t *init, const int8_t *panels, size_t panel_sz, uint32_t groups,
                 uint32_t n) {
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL, panels += panel_sz) {
    __m256i x = load(init + j), y = load(init + j + 8);
    for (uint32_t g = 0; g < groups; g++) {
      x = sums8(panels + g * (size_t)64, x);
      y = sums8(panels + g * (size_t)64 + 32, y);
    }
    store(init + j, x);
    store(init + j + 8, y);
  }
}

/* rows rows, a constant, from row on by one panel: all sums stay in registers. */
ALWAYS_INLINE void tile(const qr_cpu_gemm_t *g, uint32_t row, uint32_t col, const uint32_t rows) {
  const int8_t *a[8];
  int32_t *c = g->c + row * g->ldc + col;
  __m256i x[8], y[8];
  UNROLL_ALL for (uint32_t i = 0; i < rows; i++) {
    a[i] = g->a + g->row[row + i];
    x[i] = load(g->init + col);
    y[i] = load(g->init + col + 8);
  }
  dots(x, y, a, g->step, g->b + col / QR_CPU_PANEL * g->panel_sz, g->k4, rows);
  UNROLL_ALL for (uint32_t i = 0; i < rows; i++, c += g->ldc) {
    store(c, g->add ? _mm256_add_epi32(load(c), x[i]) : x[i]);
    store(c + 8, g->add ? _mm256_add_epi32(load(c + 8), y[i]) : y[i]);
  }
}

/* A band's sum without its factor. */
static inline uint64_t digest_band(const int32_t *x, size_t ldx, uint32_t cols, const uint32_t *key,
                                   size_t ldk) {
  __m256i sum = _mm256_setzero_si256();
  for (uint32_t r = 0; r < QR_CPU_TILE; r++, x += ldx, key += ldk) {
    for (uint32_t j = 0; j < cols; j += 8) {
      __m256i t = _mm256_xor_si256(load(x + j), load(key + j));
      sum = _mm256_add_epi64(sum, _mm256_mul_epu32(t, _mm256_srli_epi64(t, 32)));
    }
  }
  return sum_lanes(sum);
}

static uint64_t digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                       const uint32_t *key, size_t ldk, const uint64_t *rho) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < rows; i += QR_CPU_TILE)
    total += rho[i / QR_CPU_TILE] * digest_band(x + i * ldx, ldx, cols, key, ldk);
  return total;
}

/* The leak is a maximum, for v >> 3 is above v just where v is negative; half away from zero is
   half up of what is one less where v is negative. */
static inline __m256i act8(const int32_t *c, const int32_t *bias, __m256i unit, __m128i shift) {
  __m256i v = _mm256_add_epi32(load(c), load(bias));
  v = _mm256_max_epi32(v, _mm256_srai_epi32(v, 3));
  v = _mm256_add_epi32(v, _mm256_add_epi32(unit, _mm256_srai_epi32(v, 31)));
  return _mm256_sra_epi32(v, shift);
}

static void act(int8_t *dst, size_t ldd, const int32_t *c, size_t ldc, const int32_t *bias,
                uint32_t rows, uint32_t cols, int shift, int8_t lo, int8_t hi, int8_t plus) {
  const __m256i unit = _mm256_set1_epi32(1 << (shift - 1));
  const __m128i by = _mm_cvtsi32_si128(shift);
  for (uint32_t i = 0; i < rows; i++, dst += ldd, c += ldc) {
    for (uint32_t j = 0; j < cols; j += 16) {
      __m128i v = narrow(act8(c + j, bias + j, unit, by), act8(c + j + 8, bias + j + 8, unit, by));
      store128(dst + j, _mm_add_epi8(clip8(v, lo, hi), _mm_set1_epi8(plus)));
    }
  }
}

/* Eight errors, >> 3 where x is negative: bytes of seven bits have 11 or 00 on top. */
static inline __m256i leak8(__m256i e, const int8_t *x) {
  return _mm256_srav_epi32(e, _mm256_srli_epi32(load8(x), 30));
}

static uint32_t mask(int32_t *e, size_t lde, const int32_t *c, size_t ldc, const int8_t *x,
                     size_t ldx, uint32_t rows, uint32_t cols) {
  __m256i all = _mm256_setzero_si256();
  for (uint32_t i = 0; i < rows; i++, e += lde, c += ldc, x += ldx) {
    for (uint32_t j = 0; j < cols; j += 8) {
      __m256i v = leak8(load(c + j), x + j);
      store(e + j, v);
      all = _mm256_or_si256(all, _mm256_abs_epi32(v));
    }
  }
  return or_lanes(all);
}

/* Eight lanes in one. */
static inline int32_t total8(__m256i v) {
  int32_t lane[8], sum = 0;
  store(lane, v);
  for (uint32_t i = 0; i < 8; i++) sum += lane[i];
  return sum;
}

static void thin(int32_t *c, const int8_t *a, const int8_t *b, uint32_t rows, uint32_t n,
                 uint32_t k) {
  for (uint32_t i = 0; i < rows; i++, a += k) {
    for (uint32_t j = 0; j < n; j++) {
      const int8_t *w = b + j * (size_t)k;
      __m256i sum = _mm256_setzero_si256();
      for (uint32_t q = 0; q < k; q += 16) {
        __m256i p = _mm256_cvtepi8_epi16(load128(a + q)), r = _mm256_cvtepi8_epi16(load128(w + q));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(p, r));
      }
      c[i * n + j] = total8(sum);
    }
  }
}

/* One group of k by sixteen columns, whose weights stay in registers. The unsigned factor that the
   instruction wants is the error's magnitude; its sign goes over to the weights. */
static inline __m256i thin_back16(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                                  uint32_t rows, uint32_t cols) {
  const __m256i one = _mm256_set1_epi16(1), p = load(b), q = load(b + 32);
  __m256i all = _mm256_setzero_si256();
  for (uint32_t i = 0; i < rows; i++, a += 4, e += cols, x += cols) {
    __m256i v = load_a(a), m = _mm256_abs_epi8(v);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(m, _mm256_sign_epi8(p, v)), one),
            t = _mm256_madd_epi16(_mm256_maddubs_epi16(m, _mm256_sign_epi8(q, v)), one);
    s = leak8(s, x);
    t = leak8(t, x + 8);
    store(e, s);
    store(e + 8, t);
    all = _mm256_or_si256(all, _mm256_or_si256(_mm256_abs_epi32(s), _mm256_abs_epi32(t)));
  }
  return all;
}

static uint32_t thin_back(int32_t *e, const int8_t *a, const int8_t *b, const int8_t *x,
                          uint32_t rows, uint32_t cols, uint32_t k4) {
  if (k4 > 1) return plain_thin_back(e, a, b, x, rows, cols, k4);
  __m256i all = _mm256_setzero_si256();
  for (uint32_t j = 0; j < cols; j += 16)
    all = _mm256_or_si256(all, thin_back16(e + j, a, b + 4 * (size_t)j, x + j, rows, cols));
  return or_lanes(all);
}

/* Shifts of stochastic rounding, as plain_sr_near and plain_sr_far have them. */
typedef struct {
  __m256i s, draw; /* near: s and 8 - s; far: s - 9 */
} sr_t;

static inline sr_t sr_init(int s, bool near) {
  return (sr_t){_mm256_set1_epi32(near ? s : s - 9), _mm256_set1_epi32(8 - s)};
}

ALWAYS_INLINE __m256i sr8(const int32_t *x, const uint8_t *r, const sr_t *k, bool near) {
  __m256i v = load(x), byte = load8u(r);
  if (near) return _mm256_srav_epi32(_mm256_add_epi32(v, _mm256_srlv_epi32(byte, k->draw)), k->s);
  v = _mm256_add_epi32(_mm256_srav_epi32(v, k->s), _mm256_set1_epi32(1));
  return _mm256_srai_epi32(_mm256_add_epi32(_mm256_srai_epi32(v, 1), byte), 8);
}

static inline __m256i clip7(__m256i v) {
  v = _mm256_max_epi32(v, _mm256_set1_epi32(QR_STEP_I7_MIN));
  return _mm256_min_epi32(v, _mm256_set1_epi32(QR_STEP_I7_MAX));
}

ALWAYS_INLINE void round_by16(int8_t *dst, int32_t *sum, const int32_t *e, const uint8_t *r,
                              uint32_t cnt, const qr_cpu_round_t *p, bool near) {
  const sr_t k = sr_init(p->shift, near);
  for (uint32_t j = 0; j < cnt; j += 16) {
    __m256i v = clip7(sr8(e + j, r + j, &k, near)), w = clip7(sr8(e + j + 8, r + j + 8, &k, near));
    store(sum + j, _mm256_add_epi32(load(sum + j), v));
    store(sum + j + 8, _mm256_add_epi32(load(sum + j + 8), w));
    store128(dst + j, clip8(narrow(v, w), p->lo, p->hi));
  }
}

static void round_part(int8_t *dst, int32_t *sum, const int32_t *e, const uint8_t *r, uint32_t cnt,
                       const qr_cpu_round_t *p) {
  uint32_t whole = cnt & ~15u;
  if (p->shift <= 8)
    round_by16(dst, sum, e, r, whole, p, true);
  else
    round_by16(dst, sum, e, r, whole, p, false);
  plain_round_part(dst + whole, sum + whole, e + whole, r + whole, cnt - whole, p);
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_strip_round(draw, round_part, dst, sum, e, at, rows, n, p, s);
}

ALWAYS_INLINE void update_by16(int16_t *w, const int32_t *g, const uint8_t *r, uint32_t n,
                               const sr_t *k, bool near) {
  for (uint32_t j = 0; j < n; j += 16) {
    __m256i a = _mm256_cvtepi16_epi32(load128(w + j)),
            b = _mm256_cvtepi16_epi32(load128(w + j + 8));
    a = _mm256_sub_epi32(a, sr8(g + j, r + j, k, near));
    b = _mm256_sub_epi32(b, sr8(g + j + 8, r + j + 8, k, near));
    store(w + j, _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
  }
}

static void update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg, const uint8_t *r,
                   size_t ldr, uint32_t rows, uint32_t cols, int shift, uint32_t most) {
  uint32_t whole = shift < 1 ? 0 : cols & ~15u;
  bool near = shift <= 8;
  const sr_t k = sr_init(shift, near);
  for (uint32_t i = 0; i < rows; i++) {
    if (near)
      update_by16(w + i * ldw, g + i * ldg, r + i * ldr, whole, &k, true);
    else
      update_by16(w + i * ldw, g + i * ldg, r + i * ldr, whole, &k, false);
  }
  if (whole < cols)
    plain_update(w + whole, ldw, g + whole, ldg, r + whole, ldr, rows, cols - whole, shift, most);
}

static void product(const qr_cpu_gemm_t *g) { plain_product_by(gemm, digest, g); }

#define KERN_ENTRIES                                                                               \
  .supported = supported, .draw = draw, .w7 = plain_w7, .dither = dither, .pack = pack,            \
  .pack_trans = pack_trans, .sums = sums, .image = plain_image, .image4 = image4, .gemm = product, \
  .thin = thin, .thin_back = thin_back, .digest = digest, .act = act, .mask = mask,                \
  .round = round_e, .update = update
