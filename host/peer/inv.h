/* Bounded memory of hashes: a set that forgets. Four places a bucket, the oldest of a bucket gives
   way. A salt keeps others from choosing which hashes share a bucket. */
#ifndef QR_PEER_INV_H
#define QR_PEER_INV_H

#include "base/types.h"

#define QR_INV_WAYS 4u

typedef struct {
  qr_hash_t *slots; /* set_cnt * QR_INV_WAYS, borrowed; the zero hash is an empty place */
  uint8_t *hands;   /* set_cnt: which place gives way next */
  uint32_t set_cnt; /* a power of two */
  uint64_t salt;
} qr_inv_t;

/* Bytes for cnt hashes; cnt is a power of two, at least QR_INV_WAYS. */
static inline size_t qr_inv_footprint(uint32_t cnt) {
  return cnt * sizeof(qr_hash_t) + cnt / QR_INV_WAYS;
}

void qr_inv_init(qr_inv_t *v, void *mem, uint32_t cnt, uint64_t salt);
void qr_inv_clear(qr_inv_t *v);
bool qr_inv_has(const qr_inv_t *v, const qr_hash_t *h);
void qr_inv_add(qr_inv_t *v, const qr_hash_t *h);  /* nothing if present */
void qr_inv_drop(qr_inv_t *v, const qr_hash_t *h); /* nothing if absent */

#endif
