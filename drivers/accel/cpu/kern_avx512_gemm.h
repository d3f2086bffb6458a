/* The product in AVX-512 VNNI. */
#ifndef QR_ACCEL_CPU_KERN_AVX512_GEMM_H
#define QR_ACCEL_CPU_KERN_AVX512_GEMM_H

#include <immintrin.h>

#include "kern.h"

#define UNROLL _Pragma("GCC unroll 16")
#define NO_INLINE __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Sum of the lanes mod 2^64; the intrinsic for it adds signed numbers, which may not overflow. */
static inline uint64_t lanes64(__m512i v) {
  uint64_t lane[8], sum = 0;
  _mm512_storeu_si512(lane, v);
  for (uint32_t i = 0; i < 8; i++) sum += lane[i];
  return sum;
}

/* What the pairs of an accumulator add to the digest's sum of a band. */
ALWAYS_INLINE __m512i add_pairs(__m512i sum, __m512i acc, const uint32_t *key, bool by_shift) {
  __m512i t = _mm512_xor_si512(acc, _mm512_loadu_si512(key)), odd;
  odd = by_shift ? _mm512_srli_epi64(t, 32) : _mm512_shuffle_epi32(t, _MM_PERM_DDBB);
  return _mm512_add_epi64(sum, _mm512_mul_epu32(t, odd));
}

/* Where the operands and the results of a column of tiles lie; row, c, c_row and rho go on from
   tile to tile. */
typedef struct {
  const int8_t *a, *b;
  const uint32_t *row, *step, *end;
  size_t panel_sz; /* 0: there is one panel, taken twice */
  const int32_t *init;
  int32_t *c;
  const uint32_t *c_row;
  size_t ldc, ldk;
  const uint32_t *key;
  const uint64_t *rho;
} tile_t;

/* Eight rows by two panels, by hand: sixteen accumulators, enough to hide the dot product's latency
   on both ports, and thirteen addresses leave a compiler short of registers, and what it then puts
   aside waits in line with the dot products. Rows are in r8 .. r15, their accumulators of the two
   panels in zmm 2 * row and the next. */
#define EACH_ROW(F)                                                                                \
  F("0", "8", "0", "1")                                                                            \
  F("1", "9", "2", "3")                                                                            \
  F("2", "10", "4", "5")                                                                           \
  F("3", "11", "6", "7")                                                                           \
  F("4", "12", "8", "9")                                                                           \
  F("5", "13", "10", "11")                                                                         \
  F("6", "14", "12", "13")                                                                         \
  F("7", "15", "14", "15")
#define BEGIN_ROW(i, r, x, y)                                                                      \
  "movl 4*" i "(%%rcx), %%r" r "d\n"                                                               \
  "addq %%rax, %%r" r "\n"                                                                         \
  "vmovdqu64 (%%rdx), %%zmm" x "\n"                                                                \
  "vmovdqu64 (%%rdx, %%rsi), %%zmm" y "\n"
#define DOT_ROW(i, r, x, y)                                                                        \
  "vpbroadcastd (%%r" r ", %%rax), %%zmm18\n"                                                      \
  "vpdpbusd %%zmm16, %%zmm18, %%zmm" x "\n"                                                        \
  "vpdpbusd %%zmm17, %%zmm18, %%zmm" y "\n"

ALWAYS_INLINE void multiply(const tile_t *t, __m512i acc[QR_CPU_TILE][2]) {
  register __m512i c0 __asm__("zmm0"), c1 __asm__("zmm1"), c2 __asm__("zmm2"), c3 __asm__("zmm3");
  register __m512i c4 __asm__("zmm4"), c5 __asm__("zmm5"), c6 __asm__("zmm6"), c7 __asm__("zmm7");
  register __m512i c8 __asm__("zmm8"), c9 __asm__("zmm9"), ca __asm__("zmm10"), cb __asm__("zmm11");
  register __m512i cc __asm__("zmm12"), cd __asm__("zmm13"), ce __asm__("zmm14"),
      cf __asm__("zmm15");
  size_t next_init = t->panel_sz ? QR_CPU_PANEL * sizeof *t->init : 0;
  /* Fields are reached from one register: an operand each would be an address each where nothing
     is optimised, more than there are registers. */
  /* clang-format off */
  __asm__ volatile(
      "movq %c[row](%%rdi), %%rcx\n"
      "movq %c[a](%%rdi), %%rax\n"
      "movq %c[init](%%rdi), %%rdx\n"
      EACH_ROW(BEGIN_ROW)
      "movq %c[step](%%rdi), %%rcx\n"
      "movq %c[b](%%rdi), %%rdx\n"
      "movq %c[panel_sz](%%rdi), %%rsi\n"
      "1:\n"
      "movl (%%rcx), %%eax\n"
      "vmovdqu64 (%%rdx), %%zmm16\n"
      "vmovdqu64 (%%rdx, %%rsi), %%zmm17\n"
      "addq $4, %%rcx\n"
      "addq $64, %%rdx\n"
      EACH_ROW(DOT_ROW)
      "cmpq %c[end](%%rdi), %%rcx\n"
      "jb 1b\n"
      : "=v"(c0), "=v"(c1), "=v"(c2), "=v"(c3), "=v"(c4), "=v"(c5), "=v"(c6), "=v"(c7),
        "=v"(c8), "=v"(c9), "=v"(ca), "=v"(cb), "=v"(cc), "=v"(cd), "=v"(ce), "=v"(cf),
        "+S"(next_init)
      : "D"(t), [row] "i"(offsetof(tile_t, row)), [a] "i"(offsetof(tile_t, a)),
        [init] "i"(offsetof(tile_t, init)), [step] "i"(offsetof(tile_t, step)),
        [b] "i"(offsetof(tile_t, b)), [panel_sz] "i"(offsetof(tile_t, panel_sz)),
        [end] "i"(offsetof(tile_t, end))
      : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm16",
        "xmm17", "xmm18", "memory", "cc");
  /* clang-format on */
  acc[0][0] = c0, acc[0][1] = c1, acc[1][0] = c2, acc[1][1] = c3;
  acc[2][0] = c4, acc[2][1] = c5, acc[3][0] = c6, acc[3][1] = c7;
  acc[4][0] = c8, acc[4][1] = c9, acc[5][0] = ca, acc[5][1] = cb;
  acc[6][0] = cc, acc[6][1] = cd, acc[7][0] = ce, acc[7][1] = cf;
}

/* What a tile, which is a band, adds to the digest. The odd halves come by two ways, for each has a
   port of its own. */
ALWAYS_INLINE __m512i digest_of(__m512i acc[QR_CPU_TILE][2], tile_t *t, uint32_t panels) {
  const uint32_t *key = t->key;
  size_t ldk = t->ldk;
  __m512i sum = _mm512_setzero_si512(), sum2 = sum;
  UNROLL for (uint32_t i = 0; i < QR_CPU_TILE; i++, key += ldk) {
    sum = add_pairs(sum, acc[i][0], key, i % 2);
    if (panels == 2) sum2 = add_pairs(sum2, acc[i][1], key + QR_CPU_PANEL, !(i % 2));
    __asm__("" : "+v"(sum), "+v"(sum2)); /* a tree of sums would not fit the registers */
  }
  sum = _mm512_add_epi64(sum, sum2);
  return _mm512_mullo_epi64(sum, _mm512_set1_epi64((int64_t)*t->rho++));
}

ALWAYS_INLINE void put(int32_t *c, const __m512i *v, bool add, uint32_t panels) {
  UNROLL for (uint32_t p = 0; p < panels; p++, c += QR_CPU_PANEL)
      _mm512_storeu_si512(c, add ? _mm512_add_epi32(v[p], _mm512_loadu_si512(c)) : v[p]);
}

ALWAYS_INLINE __m512i tile(tile_t *t, uint32_t panels, bool digested, bool add, __m512i total) {
  __m512i acc[QR_CPU_TILE][2];
  multiply(t, acc);
  t->row += QR_CPU_TILE;
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
    bool pair = g->n - col > QR_CPU_PANEL;
    tile_t t = {.a = g->a,
                .b = g->b + col / QR_CPU_PANEL * g->panel_sz,
                .row = g->row,
                .step = g->step,
                .end = g->step + g->k4,
                .panel_sz = pair ? g->panel_sz : 0,
                .init = g->init + col,
                .c = g->c + col,
                .c_row = g->c_row,
                .ldc = g->ldc,
                .ldk = g->ldk,
                .key = g->key ? g->key + col : NULL,
                .rho = g->rho};
    total = _mm512_add_epi64(total, by[pair][g->key != NULL][g->add](&t, g->m));
  }
  if (g->key) *g->digest += lanes64(total);
}

#endif
