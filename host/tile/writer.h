/* Writing to a store by itself, before a node runs on it: batches that are waited for. */
#ifndef QR_TILE_WRITER_H
#define QR_TILE_WRITER_H

#include "port/store.h"

typedef struct {
  const qr_store_ops_t *store_ops;
  qr_store_t *store;
  /* the batch: while it grows, keys and values are known by their offsets in bytes */
  qr_store_op_t *ops;
  uint32_t op_cnt, op_cap;
  uint8_t *bytes;
  size_t sz, cap;
} qr_writer_t;

/* Adds to the batch; everything is copied. Returns 0 or QR_ERR_NOMEM. */
int qr_writer_put(qr_writer_t *w, enum qr_store_table t, const void *key, size_t key_sz,
                  const void *value, size_t sz) QR_WARN_UNUSED;
int qr_writer_erase(qr_writer_t *w, enum qr_store_table t, const void *key,
                    size_t key_sz) QR_WARN_UNUSED;
/* What the batch has under a key; NULL if nothing. Borrowed until the next call. */
const uint8_t *qr_writer_find(const qr_writer_t *w, enum qr_store_table t, const void *key,
                              size_t key_sz, size_t *sz);
/* Commits the batch, waits until it is durable, and empties it. Nothing else may be queued. */
int qr_writer_commit(qr_writer_t *w) QR_WARN_UNUSED;
void qr_writer_fini(qr_writer_t *w);

#endif
