/* splitmix64 (Steele, Lea and Flood, OOPSLA 2014; Vigna's public domain splitmix64.c): the small
   seeded generator of whatever needs lots and neither secrets nor the protocol's own numbers:
   jitter, salts, injected faults, tests. Every state is a good one, 0 too; the period is 2^64. */
#ifndef QR_BASE_SPLITMIX_H
#define QR_BASE_SPLITMIX_H

#include <stdint.h>

/* The next 64 bits. The n-th draw from seed is a bijection of seed + n * the increment, so that a
   state which is set to a number spreads that number over 64 bits. */
static inline uint64_t qr_splitmix_next(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

#endif
