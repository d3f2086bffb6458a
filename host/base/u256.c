#include "base/u256.h"

#include "base/assert.h"

__extension__ typedef unsigned __int128 u128;

static const qr_u256_t max256 = {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};

int qr_u256_cmp(const qr_u256_t *a, const qr_u256_t *b) {
  for (int i = 3; i >= 0; i--) {
    if (a->w[i] != b->w[i]) return a->w[i] < b->w[i] ? -1 : 1;
  }
  return 0;
}

qr_u256_t qr_u256_from_u64(uint64_t v) { return (qr_u256_t){{v, 0, 0, 0}}; }

qr_u256_t qr_u256_from_le(const uint8_t b[32]) {
  return (qr_u256_t){{qr_ld64(b), qr_ld64(b + 8), qr_ld64(b + 16), qr_ld64(b + 24)}};
}

void qr_u256_to_le(const qr_u256_t *a, uint8_t b[32]) {
  for (int i = 0; i < 4; i++) qr_st64(b + 8 * i, a->w[i]);
}

qr_u256_t qr_u256_add_sat(const qr_u256_t *a, const qr_u256_t *b) {
  qr_u256_t r;
  u128 carry = 0;
  for (int i = 0; i < 4; i++) {
    carry += (u128)a->w[i] + b->w[i];
    r.w[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return carry ? max256 : r;
}

qr_u256_t qr_u256_sub(const qr_u256_t *a, const qr_u256_t *b) {
  QR_ASSERT(qr_u256_cmp(a, b) >= 0);
  qr_u256_t r;
  uint64_t borrow = 0;
  for (int i = 0; i < 4; i++) {
    u128 d = (u128)a->w[i] - b->w[i] - borrow;
    r.w[i] = (uint64_t)d;
    borrow = (uint64_t)(d >> 64) & 1;
  }
  return r;
}

qr_u256_t qr_u256_mul_u64_sat(const qr_u256_t *a, uint64_t m) {
  qr_u256_t r;
  u128 carry = 0;
  for (int i = 0; i < 4; i++) {
    carry += (u128)a->w[i] * m;
    r.w[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return carry ? max256 : r;
}

int qr_u256_bitlen(const qr_u256_t *a) {
  for (int i = 3; i >= 0; i--) {
    if (a->w[i]) return 64 * i + qr_bitlen64(a->w[i]);
  }
  return 0;
}

qr_u256_t qr_u256_shr(const qr_u256_t *a, unsigned n) {
  qr_u256_t r = {{0}};
  unsigned limb = n / 64, bit = n % 64;
  for (unsigned i = 0; i + limb < 4; i++) {
    r.w[i] = a->w[i + limb] >> bit;
    if (bit && i + limb + 1 < 4) r.w[i] |= a->w[i + limb + 1] << (64 - bit);
  }
  return r;
}

qr_u256_t qr_u256_shl_sat(const qr_u256_t *a, unsigned n) {
  int len = qr_u256_bitlen(a);
  if (!len) return *a;
  if (n > 256u - (unsigned)len) return max256;
  qr_u256_t r = {{0}};
  unsigned limb = n / 64, bit = n % 64;
  for (unsigned i = limb; i < 4; i++) {
    r.w[i] = a->w[i - limb] << bit;
    if (bit && i > limb) r.w[i] |= a->w[i - limb - 1] >> (64 - bit);
  }
  return r;
}

qr_u256_t qr_u256_div(const qr_u256_t *a, const qr_u256_t *b) {
  QR_ASSERT(qr_u256_bitlen(b) > 0);
  qr_u256_t q = {{0}}, rem = *a;
  int shift = qr_u256_bitlen(a) - qr_u256_bitlen(b);
  for (; shift >= 0; shift--) {
    qr_u256_t d = qr_u256_shl_sat(b, (unsigned)shift);
    if (qr_u256_cmp(&rem, &d) < 0) continue;
    rem = qr_u256_sub(&rem, &d);
    q.w[shift / 64] |= UINT64_C(1) << (shift % 64);
  }
  return q;
}

double qr_u256_to_double(const qr_u256_t *a) {
  double d = 0;
  for (int i = 3; i >= 0; i--) d = d * 18446744073709551616.0 + (double)a->w[i];
  return d;
}
