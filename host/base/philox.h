/* Philox4x32-10 (Salmon et al., SC 2011), the counter PRNG of what the host draws: minibatches,
   weights of the genesis, exploration, feeds. What accelerators draw inside a training step, by the
   megabyte, comes from ARS (base/ars.h). A stream is 128 bits of a 32-byte seed plus a 32-bit
   stream word; a draw is addressed by a 32-bit block index, so any element can be computed alone,
   in any order, by any number of lanes.
     key     = seed[0..4), seed[4..8)   (little-endian u32)
     counter = block index, stream word, seed[8..12), seed[12..16)
     block   = 16 bytes; words are little-endian */
#ifndef QR_BASE_PHILOX_H
#define QR_BASE_PHILOX_H

#include "base/stream.h"
#include "base/types.h"

typedef struct {
  uint32_t key[2];
  uint32_t ctr2, ctr3;
  uint32_t stream;
} qr_philox_t;

static inline qr_philox_t qr_philox_init(const qr_hash_t *seed, uint32_t stream) {
  return (qr_philox_t){{qr_ld32(seed->b), qr_ld32(seed->b + 4)},
                       qr_ld32(seed->b + 8),
                       qr_ld32(seed->b + 12),
                       stream};
}

/* The four words of block idx. */
static inline void qr_philox_block(const qr_philox_t *p, uint32_t idx, uint32_t out[4]) {
  uint32_t c0 = idx, c1 = p->stream, c2 = p->ctr2, c3 = p->ctr3, k0 = p->key[0], k1 = p->key[1];
  for (int r = 0; r < 10; r++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)b;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* Word i of the stream: word i & 3 of block i >> 2. */
static inline uint32_t qr_philox_word(const qr_philox_t *p, uint32_t i) {
  uint32_t w[4];
  qr_philox_block(p, i >> 2, w);
  return w[i & 3];
}

/* Byte i of the stream: byte i & 15 of block i >> 4. */
static inline uint8_t qr_philox_byte(const qr_philox_t *p, uint32_t i) {
  uint32_t w[4];
  qr_philox_block(p, i >> 4, w);
  return (uint8_t)(w[i >> 2 & 3] >> (8 * (i & 3)));
}

/* Maps a 32-bit draw to [0, n): (word * n) >> 32. The bias, at most n / 2^32, is part of the
 * protocol. */
static inline uint32_t qr_philox_bound(uint32_t word, uint32_t n) {
  return (uint32_t)(((uint64_t)word * n) >> 32);
}

#endif
