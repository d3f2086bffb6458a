/* Every kernel in plain C, written for the compiler's vectoriser. A table takes from here what it
   has no own way for; everything is static, so that no code of one target leaks to another. What
   each function does is said in kern.h. */
#ifndef QR_ACCEL_CPU_KERN_PLAIN_H
#define QR_ACCEL_CPU_KERN_PLAIN_H

#include "kern.h"
#include "step/fixed.h"

static inline void plain_draw(void *dst, const qr_ars_t *s, uint32_t block, uint32_t cnt) {
  uint32_t *d = dst;
  for (uint32_t i = 0; i < cnt; i++) qr_ars_block(s, block + i, d + 4 * (size_t)i);
}

static inline void plain_w7(int8_t *restrict dst, const int16_t *restrict src, size_t cnt,
                            int8_t lo, int8_t hi) {
  for (size_t i = 0; i < cnt; i++) {
    int16_t v = (int16_t)(((src[i] >> 8) + 1) >> 1); /* (x + 256) >> 9 within 16 bits */
    v = v < lo ? lo : v;
    dst[i] = (int8_t)(v > hi ? hi : v);
  }
}

/* What each nibble adds to an element. */
static inline void plain_dither_table(int8_t table[16], const qr_cpu_dither_t *d) {
  for (int i = 0; i < 16; i++) table[i] = (int8_t)(qr_step_dither(0, d->d, (uint8_t)i) + d->plus);
}

/* The body of dither; draw is the table's own. */
static inline __attribute__((always_inline)) void
plain_dither_by(void (*draw)(void *, const qr_ars_t *, uint32_t, uint32_t), int8_t *dst,
                const int8_t *src, size_t at, size_t cnt, const qr_cpu_dither_t *d,
                const qr_ars_t *s) {
  enum { RUN = 16 }; /* times 128 elements: draws of one call */
  _Alignas(64) uint8_t r[RUN * 64];
  int8_t u[16], lo = (int8_t)(QR_STEP_I7_MIN + d->d), hi = (int8_t)(QR_STEP_I7_MAX - d->d);
  plain_dither_table(u, d);
  if (!d->d) {
    for (size_t i = 0; i < cnt; i++) dst[i] = (int8_t)(src[i] + d->plus);
    return;
  }
  for (size_t i = 0; i < cnt; i++) {
    if (i % (RUN * QR_CPU_DRAW) == 0) {
      size_t left = (cnt - i + QR_CPU_DRAW - 1) / QR_CPU_DRAW;
      draw(r, s, (uint32_t)((at + i) / QR_CPU_DRAW * 4), (uint32_t)(left < RUN ? left : RUN) * 4);
    }
    size_t j = i % (RUN * QR_CPU_DRAW);
    uint8_t byte = r[j / 128 * 64 + j % 64];
    int8_t x = src[i] < lo ? lo : src[i] > hi ? hi : src[i];
    dst[i] = (int8_t)(x + u[j & 64 ? byte >> 4 : byte & 15]);
  }
}

static inline void plain_dither(int8_t *dst, const int8_t *src, size_t at, size_t cnt,
                                const qr_cpu_dither_t *d, const qr_ars_t *s) {
  plain_dither_by(plain_draw, dst, src, at, cnt, d, s);
}

/* Some groups of every panel at a time: their rows stay in the first-level cache. */
static inline void plain_pack(int8_t *dst, size_t panel_sz, const int8_t *src, uint32_t groups,
                              uint32_t n, size_t group, size_t row, int8_t plus) {
  for (uint32_t g = 0; g < groups; g++) {
    for (uint32_t j = 0; j < qr_align_up(n, QR_CPU_PANEL); j++) {
      int8_t *d = dst + j / QR_CPU_PANEL * panel_sz + g * (size_t)64 + j % QR_CPU_PANEL * 4;
      for (uint32_t r = 0; r < 4; r++)
        d[r] = (int8_t)(j < n ? src[g * group + r * row + j] + plus : 0);
    }
  }
}

static inline void plain_pack_trans(int8_t *dst, const int8_t *src, uint32_t k4, uint32_t n,
                                    size_t ld) {
  for (uint32_t j = 0; j < n; j++) {
    int8_t *d = dst + (j / QR_CPU_PANEL * (size_t)k4 * QR_CPU_PANEL + j % QR_CPU_PANEL) * 4;
    for (uint32_t g = 0; g < k4; g++)
      memcpy(d + (size_t)g * QR_CPU_PANEL * 4, src + j * ld + 4 * (size_t)g, 4);
  }
}

static inline void plain_sums(int32_t *init, const int8_t *panels, uint32_t k4, uint32_t n) {
  for (uint32_t j = 0; j < n; j += QR_CPU_PANEL) {
    int32_t sum[QR_CPU_PANEL] = {0};
    for (uint32_t g = 0; g < k4; g++, panels += 64) {
      for (uint32_t i = 0; i < QR_CPU_PANEL; i++)
        sum[i] += panels[4 * i] + panels[4 * i + 1] + panels[4 * i + 2] + panels[4 * i + 3];
    }
    for (uint32_t i = 0; i < QR_CPU_PANEL; i++) init[j + i] = -64 * sum[i];
  }
}

static inline void plain_interleave(int8_t *restrict dst, const int8_t *restrict src, size_t stride,
                                    uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++) {
    dst[4 * i] = (int8_t)(src[i] + 64);
    dst[4 * i + 1] = (int8_t)(src[stride + i] + 64);
    dst[4 * i + 2] = (int8_t)(src[2 * stride + i] + 64);
    dst[4 * i + 3] = (int8_t)(src[3 * stride + i] + 64);
  }
}

/* One row by one panel. The panel's bytes along k are taken apart once per group, which compilers
   turn into multiply-add instructions. */
static inline void plain_gemm(const qr_cpu_gemm_t *g) {
  for (uint32_t i = 0; i < g->m; i++) {
    const int8_t *row = g->a + g->row[i];
    for (uint32_t j = 0; j < g->n; j += QR_CPU_PANEL) {
      const int8_t *b = g->b + (size_t)j * g->k4 * 4;
      int32_t *c = g->c + i * g->ldc + j, sum[QR_CPU_PANEL];
      for (uint32_t q = 0; q < QR_CPU_PANEL; q++) sum[q] = g->init[j + q] + (g->add ? c[q] : 0);
      for (uint32_t k = 0; k < g->k4; k++, b += 64) {
        const int8_t *a = row + g->step[k];
        for (uint32_t q = 0; q < QR_CPU_PANEL; q++)
          sum[q] +=
              a[0] * b[4 * q] + a[1] * b[4 * q + 1] + a[2] * b[4 * q + 2] + a[3] * b[4 * q + 3];
      }
      memcpy(c, sum, sizeof sum);
    }
  }
}

static inline uint64_t plain_digest(const int32_t *x, size_t ldx, uint32_t rows, uint32_t cols,
                                    const uint32_t *key, size_t ldk, const uint64_t *rho) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < rows; i += 8) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < 8; r++) {
      const int32_t *v = x + (i + r) * ldx;
      const uint32_t *k = key + r * ldk;
      for (uint32_t j = 0; j < cols; j += 2)
        sum += (uint64_t)((uint32_t)v[j] + k[j]) * ((uint32_t)v[j + 1] + k[j + 1]);
    }
    total += rho[i / 8] * sum;
  }
  return total;
}

static inline void plain_act(int8_t *restrict dst, size_t ldd, const int32_t *restrict c,
                             size_t ldc, const int32_t *restrict bias, uint32_t rows, uint32_t cols,
                             int shift, int8_t lo, int8_t hi, int8_t plus) {
  int32_t unit = 1 << (shift - 1);
  for (uint32_t i = 0; i < rows; i++, dst += ldd, c += ldc) {
    for (uint32_t j = 0; j < cols; j++) {
      int32_t v = c[j] + bias[j];
      v = v < 0 ? v >> 3 : v;
      v = (v + unit + (v >> 31)) >> shift; /* half away from zero */
      v = v < lo ? lo : v;
      dst[j] = (int8_t)((v > hi ? hi : v) + plus);
    }
  }
}

static inline int32_t plain_leak(int32_t e, int8_t x) { return x < 0 ? e >> 3 : e; }

static inline uint32_t plain_mask(int32_t *restrict e, size_t lde, const int32_t *restrict c,
                                  size_t ldc, const int8_t *restrict x, size_t ldx, uint32_t rows,
                                  uint32_t cols) {
  uint32_t all = 0;
  for (uint32_t i = 0; i < rows; i++, e += lde, c += ldc, x += ldx) {
    for (uint32_t j = 0; j < cols; j++) {
      e[j] = plain_leak(c[j], x[j]);
      all |= qr_step_abs32(e[j]);
    }
  }
  return all;
}

static inline uint32_t plain_gather(int32_t *restrict e, const int32_t *restrict src,
                                    const int8_t *restrict x, uint32_t samples,
                                    const qr_cpu_gather_t *g) {
  uint32_t all = 0;
  for (uint32_t b = 0; b < samples; b++, src += g->src_sz) {
    for (uint32_t p = 0; p < g->pos_cnt; p++, e += g->ch, x += g->ch) {
      for (uint32_t j = 0; j < g->ch; j++) e[j] = 0;
      for (uint32_t t = 0; t < g->cnt[p]; t++) {
        const int32_t *s = src + g->at[9 * p + t];
        for (uint32_t j = 0; j < g->ch; j++) e[j] += s[j];
      }
      for (uint32_t j = 0; j < g->ch; j++) {
        e[j] = plain_leak(e[j], x[j]);
        all |= qr_step_abs32(e[j]);
      }
    }
  }
  return all;
}

/* y of stochastic rounding with eight fraction bits; x is at most 2^(s + 8). */
static inline int32_t plain_fraction(int32_t x, int s) {
  if (s <= 8) return x * (1 << (8 - s));
  return (int32_t)(((int64_t)x + (1 << (s - 9))) >> (s - 8));
}

static inline __attribute__((always_inline)) void
plain_round_by(void (*draw)(void *, const qr_ars_t *, uint32_t, uint32_t), int8_t *dst,
               int32_t *sum, const int32_t *e, size_t at, uint32_t rows, uint32_t n,
               const qr_cpu_round_t *p, const qr_ars_t *s) {
  enum { RUN = 1024 };
  _Alignas(64) uint8_t r[RUN];
  size_t cnt = (size_t)rows * n;
  uint32_t col = 0;
  for (size_t i = 0; i < cnt; i++) {
    if (i % RUN == 0)
      draw(r, s, (uint32_t)((at + i) / 16),
           (uint32_t)qr_align_up(((cnt - i < RUN ? cnt - i : RUN) + 15) / 16, 4));
    int32_t v = p->shift ? (plain_fraction(e[i], p->shift) + r[i % RUN]) >> 8 : e[i];
    v = qr_clamp32(v, QR_STEP_I7_MIN, QR_STEP_I7_MAX);
    sum[col] += v;
    col = col + 1 == n ? 0 : col + 1;
    dst[i] = (int8_t)qr_clamp32(v, p->lo, p->hi);
  }
}

static inline void plain_round(int8_t *dst, int32_t *sum, const int32_t *e, size_t at,
                               uint32_t rows, uint32_t n, const qr_cpu_round_t *p,
                               const qr_ars_t *s) {
  plain_round_by(plain_draw, dst, sum, e, at, rows, n, p, s);
}

static inline void plain_update(int16_t *w, size_t ldw, const int32_t *g, size_t ldg,
                                const uint8_t *r, size_t ldr, uint32_t rows, uint32_t cols,
                                int shift) {
  for (uint32_t i = 0; i < rows; i++, w += ldw, g += ldg, r += ldr) {
    for (uint32_t j = 0; j < cols; j++)
      w[j] = (int16_t)qr_clamp64(w[j] - qr_step_sr(g[j], shift, r[j]), INT16_MIN, INT16_MAX);
  }
}

#endif
