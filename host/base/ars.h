/* ARS4x32-5, AES rounds under Weyl keys (Salmon et al., SC 2011; also a basic generator of Intel's
   MKL): the counter PRNG of what an accelerator draws inside a training step. A processor makes 16
   bytes in five instructions, an FPGA without a multiplier. A stream is 192 bits of a 32-byte seed
   plus a stream word; a draw is addressed by a 32-bit block index, so any element can be computed
   alone, in any order, by any number of lanes.
     key     = seed[0..16)
     counter = block index, stream word, seed[16..20), seed[20..24)   (little-endian u32)
     block   = 16 bytes; words are little-endian */
#ifndef QR_BASE_ARS_H
#define QR_BASE_ARS_H

#include "base/stream.h"
#include "base/types.h"

#define QR_ARS_ROUNDS 5u
#define QR_ARS_ROUNDS_MAX 10u
/* What the two halves of a round's key grow by: the golden ratio, and the root of three minus one.
 */
#define QR_ARS_WEYL_LO UINT64_C(0x9E3779B97F4A7C15)
#define QR_ARS_WEYL_HI UINT64_C(0xBB67AE8584CAA73B)

typedef struct {
  uint64_t key[2];
  uint32_t stream, ctr2, ctr3;
} qr_ars_t;

static inline qr_ars_t qr_ars_init(const qr_hash_t *seed, uint32_t stream) {
  return (qr_ars_t){{qr_ld64(seed->b), qr_ld64(seed->b + 8)},
                    stream,
                    qr_ld32(seed->b + 16),
                    qr_ld32(seed->b + 20)};
}

/* The function itself: rounds in 1..QR_ARS_ROUNDS_MAX, of which the last mixes no columns. */
void qr_ars_rounds(const uint32_t ctr[4], const uint64_t key[2], uint32_t rounds, uint32_t out[4]);

/* The S-box of AES (FIPS 197). */
extern const uint8_t qr_ars_sbox[256];

/* The four words of block idx. */
static inline void qr_ars_block(const qr_ars_t *p, uint32_t idx, uint32_t out[4]) {
  const uint32_t ctr[4] = {idx, p->stream, p->ctr2, p->ctr3};
  qr_ars_rounds(ctr, p->key, QR_ARS_ROUNDS, out);
}

/* Word i of the stream: word i & 3 of block i >> 2. */
static inline uint32_t qr_ars_word(const qr_ars_t *p, uint32_t i) {
  uint32_t w[4];
  qr_ars_block(p, i >> 2, w);
  return w[i & 3];
}

/* Byte i of the stream: byte i & 15 of block i >> 4. */
static inline uint8_t qr_ars_byte(const qr_ars_t *p, uint32_t i) {
  return (uint8_t)(qr_ars_word(p, i >> 2) >> (8 * (i & 3)));
}

/* Nibble i of the stream. Each 64 bytes give 128: first all low halves, then all high halves. */
static inline uint8_t qr_ars_nibble(const qr_ars_t *p, uint32_t i) {
  uint8_t b = qr_ars_byte(p, (i >> 7) * 64 + (i & 63));
  return i & 64 ? b >> 4 : b & 15;
}

#endif
