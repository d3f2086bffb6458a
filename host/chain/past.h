/* What is remembered of the blocks that are too deep to be undone: by which height their hashes go,
   and the sums up to them, in some 20 bytes a block. The rest of them lies in the store, and
   whoever asks reads it there. Pure; one owner, not thread-safe. */
#ifndef QR_CHAIN_PAST_H
#define QR_CHAIN_PAST_H

#include "chain/tree.h"

typedef struct qr_past qr_past_t;

/* Sums over the chain up to and including a height. */
typedef struct {
  uint64_t height, reward_sum;
  qr_u256_t work;
} qr_past_sum_t;

/* Every so many heights have their sums. */
#define QR_PAST_SUM_STEP 16u

/* Remembers nothing yet but genesis, whose sums are 0. NULL if out of memory. */
qr_past_t *qr_past_init(void);
void qr_past_fini(qr_past_t *p);

/* Adds the main chain's block at the next height. Returns 0, QR_ERR_NOMEM, or QR_ERR_UNSUPPORTED
   beyond height 2^32 - 1. */
int qr_past_add(qr_past_t *p, const qr_node_t *n) QR_WARN_UNUSED;
/* The highest height remembered, which is how many are. */
uint64_t qr_past_height(const qr_past_t *p);

/* The height of a block by its hash. Only 32 bits of each hash are kept: is_it says, of a height
   that may be the one, whether it is. False if none is. */
bool qr_past_find(const qr_past_t *p, const qr_hash_t *hash,
                  bool (*is_it)(void *ctx, uint64_t height, const qr_hash_t *hash), void *ctx,
                  uint64_t *height) QR_WARN_UNUSED;

/* The sums of the newest height that has them, of those up to height, which is remembered. */
qr_past_sum_t qr_past_sum(const qr_past_t *p, uint64_t height);
/* The same with one more block. */
qr_past_sum_t qr_past_sum_next(const qr_past_sum_t *s, const qr_header_t *h);

/* Bytes of memory that it takes. */
uint64_t qr_past_sz(const qr_past_t *p);

#endif
