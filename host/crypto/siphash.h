#ifndef QR_CRYPTO_SIPHASH_H
#define QR_CRYPTO_SIPHASH_H

#include "base/types.h"

#define QR_SIPHASH_KEY_SZ 16u

/* SipHash-2-4 of p[0 .. sz) under a key: for tables and short names that strangers must not make
   collide. No proof of anything: 64 bits, and whoever has the key finds collisions. */
uint64_t qr_siphash(const uint8_t key[QR_SIPHASH_KEY_SZ], const void *p, size_t sz);

#endif
