/* Plain C for any machine. */
#include "kern.h"

#define KERN_TABLE qr_cpu_kern_portable
#define KERN_NAME "portable"

static bool kern_supported(void) { return true; }

static void kern_words(const qr_philox_t *p, uint32_t block, uint32_t cnt, uint32_t *out) {
  for (uint32_t i = 0; i < cnt; i++) qr_philox_block(p, block + i, out + 4 * (size_t)i);
}

static void kern_tile(const int8_t *a, size_t row, size_t k4, const uint8_t *b, size_t panel, uint32_t panel_cnt,
                      uint32_t k4_cnt, const int32_t *init, int32_t *c, size_t ldc) {
  for (uint32_t i = 0; i < 8; i++) {
    for (uint32_t p = 0; p < panel_cnt; p++) {
      int32_t acc[QR_CPU_PANEL], *to = c + i * ldc + p * QR_CPU_PANEL;
      for (uint32_t j = 0; j < QR_CPU_PANEL; j++) acc[j] = init ? init[i] : to[j];
      for (uint32_t g = 0; g < k4_cnt; g++) {
        const int8_t *x = a + i * row + g * k4;
        const uint8_t *y = b + p * panel + (size_t)g * QR_CPU_PANEL * 4;
        int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
        for (uint32_t j = 0; j < QR_CPU_PANEL; j++) {
          acc[j] += x0 * y[4 * j] + x1 * y[4 * j + 1] + x2 * y[4 * j + 2] + x3 * y[4 * j + 3];
        }
      }
      memcpy(to, acc, sizeof acc);
    }
  }
}

static uint64_t kern_digest_row(const int32_t *x, const uint32_t *key, uint32_t n) {
  uint64_t sum = 0;
  for (uint32_t j = 0; j < n; j += 2) sum += (uint64_t)((uint32_t)x[j] + key[j]) * ((uint32_t)x[j + 1] + key[j + 1]);
  return sum;
}

#include "kern_body.h"
