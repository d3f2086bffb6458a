/* Products of small numbers without multiplications ("four Russians"): two values of B at a time
   are an index into a table of sums of two rows of A. An addition of 64 eight-bit sums does the
   work of 128 multiply-adds, a dot-product instruction of as many bits that of 64. */
#include "adversary.h"

#define PAIRS 8u                         /* of one table: it stays in a first-level cache */
#define PITCH (QR_ADVERSARY_N_MAX + 32u) /* not a multiple of the page size */
#define GROUP 4u                         /* columns of B at a time, to keep the adders busy */

#define INLINE static inline __attribute__((always_inline))

#define LANES 16u
#define NAME(x) x##_16
#include "lookup_body.h"
#undef LANES
#undef NAME

#if defined(__x86_64__)
#define LANES 32u
#define NAME(x) x##_32
#include "lookup_body.h"
#undef LANES
#undef NAME

#define LANES 64u
#define NAME(x) x##_64
#include "lookup_body.h"

__attribute__((target("avx512f,avx512bw"))) static void
multiply_avx512(const qr_adversary_product_t *p) {
  multiply_any_64(p);
}

__attribute__((target("avx2"))) static void multiply_avx2(const qr_adversary_product_t *p) {
  multiply_any_32(p);
}

static bool wants(const char *kernel, const char *name) {
  return !kernel || !strncmp(kernel, name, strlen(name));
}

void qr_adversary_multiply(const char *kernel, const qr_adversary_product_t *p) {
  if (wants(kernel, "avx512") && __builtin_cpu_supports("avx512bw"))
    multiply_avx512(p);
  else if ((wants(kernel, "avx")) && __builtin_cpu_supports("avx2"))
    multiply_avx2(p);
  else
    multiply_any_16(p);
}
#else
void qr_adversary_multiply(const char *kernel, const qr_adversary_product_t *p) {
  (void)kernel;
  multiply_any_16(p);
}
#endif
