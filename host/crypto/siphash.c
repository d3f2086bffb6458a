#include "crypto/siphash.h"

#include <sodium.h>

uint64_t qr_siphash(const uint8_t key[QR_SIPHASH_KEY_SZ], const void *p, size_t sz) {
  _Static_assert(crypto_shorthash_BYTES == 8 && crypto_shorthash_KEYBYTES == QR_SIPHASH_KEY_SZ,
                 "SipHash-2-4");
  uint8_t out[crypto_shorthash_BYTES];
  crypto_shorthash(out, p, sz, key);
  return qr_ld64(out);
}
