#include "chain/target.h"

#include "base/assert.h"

__extension__ typedef __int128 i128;

#define MANTISSA_BITS 23
#define MANTISSA_MIN (1u << 15)

static const qr_u256_t max256 = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

bool qr_target_expand(uint32_t compact, qr_u256_t *out) {
  uint32_t e = compact >> 24, m = compact & 0xffffffu;
  if (m >> MANTISSA_BITS || m < MANTISSA_MIN) return false;
  if (e < 3) {
    unsigned drop = 8 * (3 - e);
    if (m & ((1u << drop) - 1)) return false; /* not a whole number; e = 0 always ends here */
    *out = qr_u256_from_u64(m >> drop);
    return true;
  }
  unsigned shift = 8 * (e - 3);
  if ((unsigned)qr_bitlen32(m) + shift > 256) return false;
  qr_u256_t v = qr_u256_from_u64(m);
  *out = qr_u256_shl_sat(&v, shift);
  return true;
}

uint32_t qr_target_compact(const qr_u256_t *t) {
  QR_ASSERT(qr_u256_bitlen(t) > 0);
  uint32_t e = ((uint32_t)qr_u256_bitlen(t) + 7) / 8, m;
  if (e <= 3) {
    m = (uint32_t)t->w[0] << (8 * (3 - e));
  } else {
    qr_u256_t top = qr_u256_shr(t, 8 * (e - 3));
    m = (uint32_t)top.w[0];
  }
  if (m >> MANTISSA_BITS) {
    m >>= 8;
    e++;
  }
  return e << 24 | m;
}

qr_u256_t qr_target_work(const qr_u256_t *target) {
  /* floor(2^256 / (t+1)) = floor((2^256 - 1 - t) / (t+1)) + 1, which needs no 257th bit */
  qr_u256_t one = qr_u256_from_u64(1);
  if (!qr_u256_cmp(target, &max256)) return one;
  qr_u256_t rest = qr_u256_sub(&max256, target), d = qr_u256_add_sat(target, &one);
  qr_u256_t q = qr_u256_div(&rest, &d);
  return qr_u256_add_sat(&q, &one);
}

bool qr_target_met(const qr_hash_t *ticket, const qr_u256_t *target, uint32_t work_q16) {
  /* floor(target * work / 2^16) in two parts, so that only a result beyond 256 bits saturates */
  qr_u256_t hi = qr_u256_shr(target, 16);
  hi = qr_u256_mul_u64_sat(&hi, work_q16);
  qr_u256_t lo = qr_u256_from_u64((target->w[0] & 0xffffu) * work_q16 >> 16);
  qr_u256_t limit = qr_u256_add_sat(&hi, &lo), t = qr_u256_from_le(ticket->b);
  return qr_u256_cmp(&t, &limit) < 0;
}

/* 2^(f/65536) * 65536 for f in [0, 65536): the cubic of aserti3-2d, error below 0.013 %. */
static uint64_t exp2_q16(uint64_t f) {
  return 65536u + ((UINT64_C(195766423245049) * f + UINT64_C(971821376) * f * f +
                    5127u * f * f * f + (UINT64_C(1) << 47)) >>
                   48);
}

uint32_t qr_target_next(uint32_t max_target, uint64_t anchor_time_ms, uint64_t parent_time_ms,
                        uint64_t parent_height, uint32_t block_ms, uint32_t halflife_ms) {
  qr_u256_t max;
  bool ok = qr_target_expand(max_target, &max);
  QR_ASSERT(ok);
  if (!halflife_ms) return max_target;
  i128 late_ms = (i128)parent_time_ms - anchor_time_ms - (i128)block_ms * parent_height;
  i128 x = late_ms * 65536 / halflife_ms; /* rounds towards zero */
  if (x >= 0) return max_target;
  if (x < -(i128)(300 << 16)) x = -(300 << 16); /* further is 1 in any case */
  int32_t shift = (int32_t)x >> 16;
  uint64_t product = (max_target & 0xffffffu) * exp2_q16((uint64_t)(x & 0xffff));
  int32_t up = 8 * ((int32_t)(max_target >> 24) - 3) + shift - 16;
  qr_u256_t t = qr_u256_from_u64(product);
  t = up >= 0 ? qr_u256_shl_sat(&t, (unsigned)up) : qr_u256_shr(&t, (unsigned)-up);
  if (!qr_u256_bitlen(&t)) t = qr_u256_from_u64(1);
  return qr_target_compact(&t);
}
