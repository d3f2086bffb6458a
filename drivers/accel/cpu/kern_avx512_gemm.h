/* The product in AVX-512 VNNI. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_GEMM_H
#define QR_ACCEL_CPU_KERN_AVX512_GEMM_H

#include <immintrin.h>

#include "kern.h"

#define UNROLL _Pragma("GCC unroll 16")
#define NO_INLINE __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* acc += the dot products of fours of a, unsigned, and b. As the intrinsic, gcc 12 copies every
   accumulator twice in each pass of the loop below, which costs a quarter of its speed. */
ALWAYS_INLINE void dot(__m512i *acc, __m512i a, __m512i b) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(a), "v"(b));
}

/* A load that stays one: copies of a register instead would take the ports of the dot products. */
ALWAYS_INLINE __m512i load_again(const int32_t *p) {
  __m512i v;
  __asm__ volatile("vmovdqu64 %1, %0" : "=v"(v) : "m"(*(const __m512i_u *)p));
  return v;
}

/* Sum of the lanes mod 2^64; the intrinsic for it adds signed numbers, which may not overflow. */
static inline uint64_t lanes64(__m512i v) {
  uint64_t lane[8], sum = 0;
  _mm512_storeu_si512(lane, v);
  for (uint32_t i = 0; i < 8; i++) sum += lane[i];
  return sum;
}

/* What the pairs of an accumulator add to the digest's sum of a band. */
ALWAYS_INLINE __m512i add_pairs(__m512i sum, __m512i acc, const uint32_t *key, bool by_shift) {
  __m512i t = _mm512_add_epi32(acc, _mm512_loadu_si512(key)), odd;
  odd = by_shift ? _mm512_srli_epi64(t, 32) : _mm512_shuffle_epi32(t, _MM_PERM_DDBB);
  return _mm512_add_epi64(sum, _mm512_mul_epu32(t, odd));
}

/* Keeps a pointer that was worked out in a register of its own: left to itself, gcc has rows share
   parts of their addresses, and then too few registers for them. */
#define SETTLED(p) __asm__("" : "+r"(p))

/* Where the operands and the results of a column of tiles lie; row, c, c_row and rho go on from
   tile to tile. All is read through a pointer before and after the innermost loop, so that nothing
   else takes registers there: what gcc spills, it spills to vector registers, and fetching it back
   waits in line behind the dot products. */
typedef struct {
  const int8_t *a, *b;
  const uint32_t *row, *step, *volatile end;
  size_t panel_sz;
  const int32_t *init;
  int32_t *c;
  const uint32_t *c_row;
  size_t ldc, ldk;
  const uint32_t *key;
  const uint64_t *rho;
} tile_t;

/* What a tile, which is a band, adds to the digest. The odd halves come by two ways, for each has a
   port of its own. */
ALWAYS_INLINE __m512i digest_of(__m512i acc[QR_CPU_TILE][2], tile_t *t, uint32_t panels) {
  const uint32_t *key = t->key;
  size_t ldk = t->ldk;
  __m512i sum = _mm512_setzero_si512();
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++, key += ldk) {
    sum = add_pairs(sum, acc[i][0], key, i % 2);
    if (panels == 2) sum = add_pairs(sum, acc[i][1], key + QR_CPU_PANEL, !(i % 2));
    __asm__("" : "+v"(sum)); /* a tree of sums would not fit the registers */
  }
  return _mm512_mullo_epi64(sum, _mm512_set1_epi64((int64_t)*t->rho++));
}

ALWAYS_INLINE void put(int32_t *c, const __m512i *v, bool add, uint32_t panels) {
  UNROLL for (uint32_t p = 0; p < panels; p++, c += QR_CPU_PANEL)
      _mm512_storeu_si512(c, add ? _mm512_add_epi32(v[p], _mm512_loadu_si512(c)) : v[p]);
}

/* Eight rows by one or two panels. Sixteen accumulators are enough to hide the dot product's
   latency on both ports. */
ALWAYS_INLINE __m512i tile(tile_t *t, uint32_t panels, bool digested, bool add, __m512i total) {
  const uint32_t *step = t->step;
  const int8_t *a[QR_CPU_TILE], *b = t->b;
  size_t panel_sz = t->panel_sz;
  __m512i acc[QR_CPU_TILE][2];
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
    a[i] = t->a + t->row[i];
    SETTLED(a[i]);
    UNROLL for (uint32_t p = 0; p < panels; p++) acc[i][p] = load_again(t->init + p * QR_CPU_PANEL);
  }
  t->row += QR_CPU_TILE;
  for (; step < t->end; step++, b += 64) {
    __m512i v[2];
    size_t at = *step;
    UNROLL for (uint32_t p = 0; p < panels; p++) v[p] = _mm512_loadu_si512(b + p * panel_sz);
    UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) {
      __m512i x = _mm512_set1_epi32((int)qr_ld32(a[i] + at));
      UNROLL for (uint32_t p = 0; p < panels; p++) dot(&acc[i][p], x, v[p]);
    }
  }
  if (digested) total = _mm512_add_epi64(total, digest_of(acc, t, panels));
  int32_t *c = t->c;
  size_t ldc = t->ldc;
  const uint32_t *c_row = t->c_row;
  if (c_row) {
    UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++) put(c + c_row[i], acc[i], add, panels);
    t->c_row += QR_CPU_TILE;
  } else {
    UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++, c += ldc) put(c, acc[i], add, panels);
    t->c = c;
  }
  return total;
}

#define COLUMN(name, panels, digested, add)                                                        \
  NO_INLINE static __m512i name(tile_t *t, uint32_t m) {                                           \
    __m512i total = _mm512_setzero_si512();                                                        \
    for (; m; m -= QR_CPU_TILE) total = tile(t, panels, digested, add, total);                     \
    return total;                                                                                  \
  }
COLUMN(one, 1, false, false)
COLUMN(two, 2, false, false)
COLUMN(one_add, 1, false, true)
COLUMN(two_add, 2, false, true)
COLUMN(one_digest, 1, true, false)
COLUMN(two_digest, 2, true, false)
COLUMN(one_digest_add, 1, true, true)
COLUMN(two_digest_add, 2, true, true)

static void gemm(const qr_cpu_gemm_t *g) {
  static __m512i (*const by[2][2][2])(tile_t *,
                                      uint32_t) = {{{one, one_add}, {one_digest, one_digest_add}},
                                                   {{two, two_add}, {two_digest, two_digest_add}}};
  __m512i total = _mm512_setzero_si512();
  for (uint32_t col = 0; col < g->n; col += 2 * QR_CPU_PANEL) {
    tile_t t = {.a = g->a,
                .b = g->b + (size_t)col * g->k4 * 4,
                .row = g->row,
                .step = g->step,
                .end = g->step + g->k4,
                .panel_sz = (size_t)g->k4 * 64,
                .init = g->init + col,
                .c = g->c + col,
                .c_row = g->c_row,
                .ldc = g->ldc,
                .ldk = g->ldk,
                .key = g->key ? g->key + col : NULL,
                .rho = g->rho};
    bool pair = g->n - col > QR_CPU_PANEL;
    total = _mm512_add_epi64(total, by[pair][g->key != NULL][g->add](&t, g->m));
  }
  if (g->key) *g->digest += lanes64(total);
}

#endif
