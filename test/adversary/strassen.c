/* One level of Strassen's product in Winograd's form: what is added before and after its seven
   products of half the size. */
#include "adversary.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void sum8(int8_t *restrict dst, size_t ldd, const int8_t *a, size_t lda, const int8_t *b,
                 size_t ldb, int sign, uint32_t rows, uint32_t cols) {
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < cols; j++)
      dst[i * ldd + j] = (int8_t)(a[i * lda + j] + sign * b[i * ldb + j]);
  }
}

/* Sums of the quarters x11, x12, x21, x22 of a matrix, each [rows][cols] and dense: the left
   operand's are S1..S4 behind A11, A12, A22; the right one's T1..T4 behind B11, B21, B22. */
INLINE void split(int8_t *out, const int8_t *x, uint32_t rows, uint32_t cols, bool left) {
  size_t ld = 2 * (size_t)cols, sz = (size_t)rows * cols;
  const int8_t *x11 = x, *x12 = x + cols, *x21 = x + rows * ld, *x22 = x21 + cols;
  int8_t *s = out + 3 * sz;
  for (uint32_t i = 0; i < rows; i++) {
    memcpy(out + (size_t)i * cols, x11 + i * ld, cols);
    memcpy(out + sz + (size_t)i * cols, (left ? x12 : x21) + i * ld, cols);
    memcpy(out + 2 * sz + (size_t)i * cols, x22 + i * ld, cols);
  }
  if (left) {
    sum8(s, cols, x21, ld, x22, ld, 1, rows, cols);                /* S1 = A21 + A22 */
    sum8(s + sz, cols, s, cols, x11, ld, -1, rows, cols);          /* S2 = S1 - A11 */
    sum8(s + 2 * sz, cols, x11, ld, x21, ld, -1, rows, cols);      /* S3 = A11 - A21 */
    sum8(s + 3 * sz, cols, x12, ld, s + sz, cols, -1, rows, cols); /* S4 = A12 - S2 */
  } else {
    sum8(s, cols, x12, ld, x11, ld, -1, rows, cols);               /* T1 = B12 - B11 */
    sum8(s + sz, cols, x22, ld, s, cols, -1, rows, cols);          /* T2 = B22 - T1 */
    sum8(s + 2 * sz, cols, x22, ld, x12, ld, -1, rows, cols);      /* T3 = B22 - B12 */
    sum8(s + 3 * sz, cols, s + sz, cols, x21, ld, -1, rows, cols); /* T4 = T2 - B21 */
  }
}

INLINE void before(const qr_adversary_strassen_t *p) {
  split(p->left, p->a, p->m / 2, p->k / 2, true);
  split(p->right, p->b, p->k / 2, p->n / 2, false);
}

INLINE void after(const qr_adversary_strassen_t *p) {
  uint32_t rows = p->m / 2, cols = p->n / 2;
  size_t sz = (size_t)rows * cols;
  const int32_t *q = p->products;
  for (uint32_t i = 0; i < rows; i++) {
    int32_t *c1 = p->c + (size_t)i * p->n, *c2 = p->c + (size_t)(rows + i) * p->n;
    for (uint32_t j = 0; j < cols; j++) {
      size_t at = (size_t)i * cols + j;
      int32_t u2 = q[at] + q[5 * sz + at], u3 = u2 + q[6 * sz + at], p5 = q[4 * sz + at];
      c1[j] = q[at] + q[sz + at];
      c1[cols + j] = u2 + p5 + q[2 * sz + at];
      c2[j] = u3 - q[3 * sz + at];
      c2[cols + j] = u3 + p5;
    }
  }
}

#if defined(__x86_64__)
#define BOTH(isa_name, isa)                                                                        \
  __attribute__((target(isa))) static void before_##isa_name(const qr_adversary_strassen_t *p) {   \
    before(p);                                                                                     \
  }                                                                                                \
  __attribute__((target(isa))) static void after_##isa_name(const qr_adversary_strassen_t *p) {    \
    after(p);                                                                                      \
  }
BOTH(avx512, "avx512f,avx512bw,avx512vl")
BOTH(avx2, "avx2")
#endif

void qr_adversary_strassen(const char *kernel, const qr_adversary_strassen_t *p, bool is_after) {
#if defined(__x86_64__)
  if (!strncmp(kernel, "avx512", 6)) {
    (is_after ? after_avx512 : before_avx512)(p);
    return;
  }
  if (!strncmp(kernel, "avx", 3)) {
    (is_after ? after_avx2 : before_avx2)(p);
    return;
  }
#endif
  if (is_after)
    after(p);
  else
    before(p);
}
