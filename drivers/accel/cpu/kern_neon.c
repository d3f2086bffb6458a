/* 64-bit Arm with dot products and AES: server cores since Neoverse N1, phones since 2018, small
   boards with a Cortex-A76. */
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "kern_plain.h"

static bool supported(void) {
  uint64_t need = HWCAP_ASIMDDP | HWCAP_AES;
  return (getauxval(AT_HWCAP) & need) == need;
}

/* The instruction adds the key before it substitutes, where AES as the draws are defined adds it
   after: the keys move by one. */
static inline uint8x16_t ars(uint8x16_t x, const uint8x16_t key[QR_ARS_ROUNDS + 1]) {
  for (uint32_t i = 0; i + 1 < QR_ARS_ROUNDS; i++) x = vaesmcq_u8(vaeseq_u8(x, key[i]));
  return veorq_u8(vaeseq_u8(x, key[QR_ARS_ROUNDS - 1]), key[QR_ARS_ROUNDS]);
}

static void draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  uint8x16_t key[QR_ARS_ROUNDS + 1];
  for (uint32_t i = 0; i <= QR_ARS_ROUNDS; i++) {
    const uint64_t k[2] = {s->key[0] + i * QR_ARS_WEYL_LO, s->key[1] + i * QR_ARS_WEYL_HI};
    key[i] = vreinterpretq_u8_u64(vld1q_u64(k));
  }
  const uint32_t first[4] = {block, s->stream, s->ctr2, s->ctr3}, one[4] = {1};
  uint32x4_t ctr = vld1q_u32(first), step = vld1q_u32(one);
  uint8_t *out = dst;
  for (uint32_t i = 0; i < cnt; i++, ctr = vaddq_u32(ctr, step))
    vst1q_u8(out + 16 * (size_t)i, ars(vreinterpretq_u8_u32(ctr), key));
}

static inline void dither16(int8_t *dst, const int8_t *src, uint8x16_t n, int8x16_t u,
                            const plain_dither_t *k) {
  int8x16_t x = vmaxq_s8(vld1q_s8(src), vdupq_n_s8(k->lo));
  x = vminq_s8(x, vdupq_n_s8(k->hi));
  vst1q_s8(dst, vaddq_s8(x, vqtbl1q_s8(u, n)));
}

static inline void dither_group(int8_t *dst, const int8_t *src, const uint8_t *r,
                                const plain_dither_t *k) {
  const int8x16_t u = vld1q_s8(k->u);
  for (uint32_t i = 0; i < QR_CPU_DRAW / 2; i += 16) {
    uint8x16_t n = vld1q_u8(r + i);
    dither16(dst + i, src + i, vandq_u8(n, vdupq_n_u8(15)), u, k);
    dither16(dst + i + 64, src + i + 64, vshrq_n_u8(n, 4), u, k);
  }
}

static void dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                   const qr_ars_t *s) {
  plain_strip_dither(draw, dither_group, dst, src, at, cnt, d, s);
}

static void round_e(int8_t *dst, int32_t *sum, const int32_t *e, size_t at, uint32_t rows,
                    uint32_t n, const qr_cpu_round_t *p, const qr_ars_t *s) {
  plain_round_by(draw, dst, sum, e, at, rows, n, p, s);
}

/* Four rows of sixteen columns: storing them side by side is one instruction. */
static inline void zip16(int8_t *dst, const int8_t *src, size_t row, int8x16_t plus) {
  int8x16x4_t r;
  for (uint32_t i = 0; i < 4; i++) r.val[i] = vaddq_s8(vld1q_s8(src + i * row), plus);
  vst4q_s8(dst, r);
}

static void pack(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups, uint32_t n,
                 size_t group, size_t row, int8_t plus) {
  for (uint32_t g = 0; g < groups; g++, src += group, dst += 64) {
    uint32_t j = 0;
    int8_t *d = dst;
    for (; n - j >= 16; j += 16, d += panel_sz) zip16(d, src + j, row, vdupq_n_s8(plus));
    if (j < n) plain_pack(d, panel_sz, src + j, 1, n - j, 0, row, plus);
  }
}

static void interleave(int8_t *dst, const int8_t *src, size_t stride, uint32_t cnt) {
  uint32_t i = 0;
  for (; cnt - i >= 16; i += 16) zip16(dst + 4 * i, src + i, stride, vdupq_n_s8(64));
  plain_interleave(dst + 4 * i, src + i, stride, cnt - i);
}

static void image4(int8_t *dst, const int8_t *src, size_t stride, const qr_cpu_image_t *g) {
  plain_image4_by(interleave, dst, src, stride, g);
}

static void sums(int32_t *init, const int8_t *panels, size_t panel_sz, uint32_t groups,
                 uint32_t n) {
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL, panels += panel_sz) {
    const int8_t *p = panels;
    int32x4_t sum[4];
    for (uint32_t i = 0; i < 4; i++) sum[i] = vld1q_s32(init + j + 4 * i);
    for (uint32_t g = 0; g < groups; g++, p += 64) {
      for (uint32_t i = 0; i < 4; i++)
        sum[i] = vdotq_s32(sum[i], vld1q_s8(p + 16 * i), vdupq_n_s8(-64));
    }
    for (uint32_t i = 0; i < 4; i++) vst1q_s32(init + j + 4 * i, sum[i]);
  }
}

/* Four bytes of A in the first lane, from which the dot product takes them to all lanes: loading
   them there directly would cost a slot of the units that multiply. */
static inline int8x8_t load_a(const int8_t *a) { return vcreate_s8(qr_ld32(a)); }

/* Four rows by one panel: sixteen sums, more than hide the instruction's latency on two units. A's
   unsigned bytes are below 128 and so just as well signed. */
static void tile4(const qr_cpu_gemm_t *g, uint32_t row, uint32_t col) {
  enum { ROWS = 4, PARTS = QR_CPU_PANEL / 4 };
  const int8_t *a[ROWS], *b = g->b + col / QR_CPU_PANEL * g->panel_sz;
  int32_t *c = g->c + row * g->ldc + col;
  int32x4_t x[ROWS][PARTS];
  UNROLL_ALL for (uint32_t i = 0; i < ROWS; i++) {
    a[i] = g->a + g->row[row + i];
    UNROLL_ALL for (uint32_t j = 0; j < PARTS; j++) x[i][j] = vld1q_s32(g->init + col + 4 * j);
  }
  for (uint32_t q = 0; q < g->k4; q++, b += 64) {
    int8x16_t p[PARTS];
    UNROLL_ALL for (uint32_t j = 0; j < PARTS; j++) p[j] = vld1q_s8(b + 16 * j);
    UNROLL_ALL for (uint32_t i = 0; i < ROWS; i++) {
      int8x8_t v = load_a(a[i] + g->step[q]);
      UNROLL_ALL for (uint32_t j = 0; j < PARTS; j++) x[i][j] = vdotq_lane_s32(x[i][j], p[j], v, 0);
    }
  }
  UNROLL_ALL for (uint32_t i = 0; i < ROWS; i++, c += g->ldc) {
    UNROLL_ALL for (uint32_t j = 0; j < PARTS; j++)
        vst1q_s32(c + 4 * j, g->add ? vaddq_s32(x[i][j], vld1q_s32(c + 4 * j)) : x[i][j]);
  }
}

static void gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t col = 0; col < g->n; col += QR_CPU_PANEL) {
    for (uint32_t row = 0; row < g->m; row += 4) tile4(g, row, col);
  }
}

/* A band's sum without its factor. */
static inline uint64_t digest_band(const int32_t *x, size_t ldx, uint32_t cols, const uint32_t *key,
                                   size_t ldk) {
  uint64x2_t sum = vdupq_n_u64(0);
  for (uint32_t r = 0; r < QR_CPU_TILE; r++, x += ldx, key += ldk) {
    for (uint32_t j = 0; j < cols; j += 8) {
      uint32x4x2_t k = vld2q_u32(key + j); /* even and odd columns apart */
      int32x4x2_t v = vld2q_s32(x + j);
      uint32x4_t even = veorq_u32(vreinterpretq_u32_s32(v.val[0]), k.val[0]),
                 odd = veorq_u32(vreinterpretq_u32_s32(v.val[1]), k.val[1]);
      sum = vmlal_u32(sum, vget_low_u32(even), vget_low_u32(odd));
      sum = vmlal_high_u32(sum, even, odd);
    }
  }
  return vaddvq_u64(sum);
}

static uint64_t digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                       const uint32_t *key, size_t ldk, const uint64_t *rho) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < rows; i += QR_CPU_TILE)
    total += rho[i / QR_CPU_TILE] * digest_band(x + i * ldx, ldx, cols, key, ldk);
  return total;
}

static void product(const qr_cpu_gemm_t *g) { plain_product_by(gemm, digest, g); }

static void thin(int32_t *c, const int8_t *a, const int8_t *b, uint32_t rows, uint32_t n,
                 uint32_t k) {
  for (uint32_t i = 0; i < rows; i++, a += k) {
    for (uint32_t j = 0; j < n; j++) {
      int32x4_t sum = vdupq_n_s32(0);
      for (uint32_t q = 0; q < k; q += 16)
        sum = vdotq_s32(sum, vld1q_s8(a + q), vld1q_s8(b + j * (size_t)k + q));
      c[i * n + j] = vaddvq_s32(sum);
    }
  }
}

const qr_cpu_kern_t qr_cpu_kern_neon = {
    .name = "neon",
    .supported = supported,
    .draw = draw,
    .w7 = plain_w7,
    .dither = dither,
    .pack = pack,
    .pack_trans = plain_pack_trans,
    .sums = sums,
    .image = plain_image,
    .image4 = image4,
    .gemm = product,
    .thin = thin,
    .thin_back = plain_thin_back,
    .digest = digest,
    .act = plain_act,
    .mask = plain_mask,
    .round = round_e,
    .update = plain_update,
};
