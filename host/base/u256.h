/* Unsigned 256-bit integers for targets, tickets and cumulative work. Limb 0 is the least
 * significant. */
#ifndef QR_BASE_U256_H
#define QR_BASE_U256_H

#include "base/types.h"

typedef struct {
  uint64_t w[4];
} qr_u256_t;

int qr_u256_cmp(const qr_u256_t *a, const qr_u256_t *b); /* <0, 0, >0 */
qr_u256_t qr_u256_from_u64(uint64_t v);
qr_u256_t qr_u256_from_le(const uint8_t b[32]); /* a hash read as a little-endian number */
void qr_u256_to_le(const qr_u256_t *a, uint8_t b[32]);
qr_u256_t qr_u256_add_sat(const qr_u256_t *a, const qr_u256_t *b); /* saturates at 2^256-1 */
qr_u256_t qr_u256_sub(const qr_u256_t *a,
                      const qr_u256_t *b); /* a >= b is the caller's duty (asserted) */
qr_u256_t qr_u256_mul_u64_sat(const qr_u256_t *a, uint64_t m); /* saturates at 2^256-1 */
qr_u256_t qr_u256_shl_sat(const qr_u256_t *a, unsigned n);     /* saturates at 2^256-1 */
qr_u256_t qr_u256_shr(const qr_u256_t *a, unsigned n);
int qr_u256_bitlen(const qr_u256_t *a); /* 0 for 0 */
qr_u256_t qr_u256_div(const qr_u256_t *a,
                      const qr_u256_t *b);    /* b != 0 is the caller's duty (asserted) */
double qr_u256_to_double(const qr_u256_t *a); /* for display only, never for consensus */

#endif
