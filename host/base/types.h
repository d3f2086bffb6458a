/* Fixed-width types, little-endian access and small helpers shared by every module. No I/O, no
 * allocation. */
#ifndef QR_BASE_TYPES_H
#define QR_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Tensors and models are used in place in host memory; codecs are explicit, tensors are not. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "quarry runs on little-endian hosts");

#define QR_HASH_SZ 32
#define QR_PUBKEY_SZ 32
#define QR_SIG_SZ 64
#define QR_CACHE_LINE 64

typedef struct {
  uint8_t b[QR_HASH_SZ];
} qr_hash_t; /* BLAKE2b-256 digest */
typedef struct {
  uint8_t b[QR_PUBKEY_SZ];
} qr_pubkey_t; /* Ed25519 public key */
typedef struct {
  uint8_t b[QR_SIG_SZ];
} qr_sig_t; /* Ed25519 signature */

#define QR_ARRAY_CNT(a) (sizeof(a) / sizeof((a)[0]))
#define QR_WARN_UNUSED __attribute__((warn_unused_result))
#define QR_PRINTF(f, a) __attribute__((format(printf, f, a)))

static inline uint16_t qr_ld16(const void *p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return v;
}
static inline uint32_t qr_ld32(const void *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}
static inline uint64_t qr_ld64(const void *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}
static inline void qr_st16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void qr_st32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void qr_st64(void *p, uint64_t v) { memcpy(p, &v, 8); }

static inline bool qr_hash_eq(const qr_hash_t *a, const qr_hash_t *b) {
  return !memcmp(a, b, QR_HASH_SZ);
}
static inline bool qr_pubkey_eq(const qr_pubkey_t *a, const qr_pubkey_t *b) {
  return !memcmp(a, b, QR_PUBKEY_SZ);
}

static inline int64_t qr_clamp64(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}
static inline int32_t qr_clamp32(int32_t v, int32_t lo, int32_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}
static inline size_t qr_align_up(size_t v, size_t a) { return (v + a - 1) / a * a; }

/* Number of significant bits: bitlen(0) = 0, bitlen(1) = 1, bitlen(255) = 8. */
static inline int qr_bitlen32(uint32_t v) { return v ? 32 - __builtin_clz(v) : 0; }
static inline int qr_bitlen64(uint64_t v) { return v ? 64 - __builtin_clzll(v) : 0; }

#endif
