/* Plain C for any machine. */
#include "kern.h"
#include "step/fixed.h"

#define KERN_TABLE qr_cpu_kern_portable
#define KERN_NAME "portable"

static bool kern_supported(void) { return true; }

static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  for (uint32_t i = 0; i < cnt; i++) qr_philox_block(p, block + i, out + 4 * (size_t)i);
}

static int32_t kern_sum(const int8_t *x, uint32_t cnt) {
  int32_t s = 0;
  for (uint32_t i = 0; i < cnt; i++) s += x[i];
  return s;
}

/* Both operands as 16-bit runs along k: a dot product that compilers turn into multiply-add
   instructions. */
static void kern_tile(const int8_t *a, size_t row, size_t k4, const uint8_t *b, size_t panel,
                      uint32_t panel_cnt, uint32_t k4_cnt, const int32_t *init, int32_t *c,
                      size_t ldc) {
  enum { ROWS = 8, K_MAX = 4 * QR_CPU_K4_BLOCK };
  int16_t x[ROWS][K_MAX], y[QR_CPU_PANEL][K_MAX];
  uint32_t k = 4 * k4_cnt;
  for (uint32_t i = 0; i < ROWS; i++) {
    for (uint32_t q = 0; q < k; q++) x[i][q] = a[i * row + q / 4 * k4 + q % 4];
  }
  for (uint32_t p = 0; p < panel_cnt; p++) {
    for (uint32_t q = 0; q < k; q++) {
      const uint8_t *from = b + p * panel + (size_t)(q / 4) * QR_CPU_PANEL * 4 + q % 4;
      for (uint32_t j = 0; j < QR_CPU_PANEL; j++) y[j][q] = from[4 * j];
    }
    for (uint32_t i = 0; i < ROWS; i++) {
      int32_t *to = c + i * ldc + p * QR_CPU_PANEL;
      for (uint32_t j = 0; j < QR_CPU_PANEL; j++) {
        int32_t sum = init ? init[i] : to[j];
        for (uint32_t q = 0; q < k; q++) sum += x[i][q] * y[j][q];
        to[j] = sum;
      }
    }
  }
}

static inline void kern_pack_group(uint8_t *restrict dst, const int8_t *r0, const int8_t *r1,
                                   const int8_t *r2, const int8_t *r3, uint8_t plus) {
  for (uint32_t j = 0; j < QR_CPU_PANEL; j++) {
    dst[4 * j] = (uint8_t)(r0[j] + plus);
    dst[4 * j + 1] = (uint8_t)(r1[j] + plus);
    dst[4 * j + 2] = (uint8_t)(r2[j] + plus);
    dst[4 * j + 3] = (uint8_t)(r3[j] + plus);
  }
}

static uint64_t kern_digest_band(const int32_t *x, size_t ld, uint32_t rows, uint32_t n,
                                 const uint32_t *const *key) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < rows; i++, x += ld) {
    const uint32_t *k = key[i];
    for (uint32_t j = 0; j < n; j += 2)
      sum += (uint64_t)((uint32_t)x[j] + k[j]) * ((uint32_t)x[j + 1] + k[j + 1]);
  }
  return sum;
}

#include "kern_loops.h"
#include "kern_body.h"
