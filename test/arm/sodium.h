/* What crypto/hash.c uses of libsodium, for a target that it is not packaged for: BLAKE2b without a
   key (RFC 7693). The committed vectors of the training step, whose roots and traces are hashes
   made by libsodium, hold it to that. */
#ifndef QR_TEST_ARM_SODIUM_H
#define QR_TEST_ARM_SODIUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  uint64_t h[8], total;
  uint8_t block[128];
  size_t used;
} crypto_generichash_state;

static const uint64_t blake2b_iv[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                                       0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                                       0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static inline uint64_t blake2b_ror(uint64_t v, int n) { return v >> n | v << (64 - n); }

static inline void blake2b_mix(uint64_t *a, uint64_t *b, uint64_t *c, uint64_t *d, uint64_t x,
                               uint64_t y) {
  *a += *b + x, *d = blake2b_ror(*d ^ *a, 32), *c += *d, *b = blake2b_ror(*b ^ *c, 24);
  *a += *b + y, *d = blake2b_ror(*d ^ *a, 16), *c += *d, *b = blake2b_ror(*b ^ *c, 63);
}

static inline void blake2b_compress(crypto_generichash_state *s, int last) {
  static const uint8_t sigma[10][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                        {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                        {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                        {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                        {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                        {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                        {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                        {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                        {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                        {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};
  uint64_t v[16], m[16];
  memcpy(m, s->block, sizeof m); /* the target is little-endian */
  memcpy(v, s->h, sizeof s->h);
  memcpy(v + 8, blake2b_iv, sizeof blake2b_iv);
  v[12] ^= s->total;
  if (last) v[14] = ~v[14];
  for (int r = 0; r < 12; r++) {
    const uint8_t *p = sigma[r % 10];
    for (int i = 0; i < 8; i++) { /* columns, then diagonals */
      int turn = i / 4, a = i % 4;
      blake2b_mix(&v[a], &v[4 + (a + turn) % 4], &v[8 + (a + 2 * turn) % 4],
                  &v[12 + (a + 3 * turn) % 4], m[p[2 * i]], m[p[2 * i + 1]]);
    }
  }
  for (int i = 0; i < 8; i++) s->h[i] ^= v[i] ^ v[i + 8];
}

static inline int crypto_generichash_init(crypto_generichash_state *s, const uint8_t *key,
                                          size_t key_sz, size_t out_sz) {
  (void)key, (void)key_sz;
  memset(s, 0, sizeof *s);
  memcpy(s->h, blake2b_iv, sizeof s->h);
  s->h[0] ^= 0x01010000 ^ out_sz;
  return 0;
}

static inline int crypto_generichash_update(crypto_generichash_state *s, const void *p,
                                            uint64_t sz) {
  for (const uint8_t *b = p; sz; sz--) {
    if (s->used == sizeof s->block) { /* only when more comes: the last block is marked */
      blake2b_compress(s, 0);
      s->used = 0;
    }
    s->block[s->used++] = *b++;
    s->total++;
  }
  return 0;
}

static inline int crypto_generichash_final(crypto_generichash_state *s, uint8_t *out,
                                           size_t out_sz) {
  memset(s->block + s->used, 0, sizeof s->block - s->used);
  blake2b_compress(s, 1);
  memcpy(out, s->h, out_sz);
  return 0;
}

static inline int sodium_init(void) { return 0; }

#endif
