/* What every store driver does with a batch before it queues it: check sizes, and copy the ops out
   of the memory of the caller. */
#ifndef QR_PORT_STORE_BATCH_H
#define QR_PORT_STORE_BATCH_H

#include "port/store.h"

/* Batches and bytes that a driver holds between commit and poll. Both counts are given back by poll
   alone, so back-pressure depends on the caller and not on the speed of a disk. A single batch may
   be larger than the byte limit: it is taken when nothing else is held. */
#define QR_STORE_QUEUE_CNT 64u
#define QR_STORE_QUEUE_SZ (64u << 20)

/* One allocation: the ops, and behind them their keys and values. Release with free. */
typedef struct {
  size_t byte_sz; /* keys and values together */
  uint32_t op_cnt;
  qr_store_op_t ops[];
} qr_store_batch_t;

/* Bytes of all keys and values, or QR_ERR_ARG: unknown table, key of 0 or more than
   QR_STORE_KEY_MAX_SZ bytes, value of more than QR_STORE_VALUE_MAX_SZ. */
int64_t qr_store_batch_size(const qr_store_op_t *ops, uint32_t op_cnt) QR_WARN_UNUSED;

/* True if a batch of byte_sz fits beside held_cnt others of held_sz. */
static inline bool qr_store_batch_fits(uint64_t held_cnt, size_t held_sz, size_t byte_sz) {
  return !held_cnt || (held_cnt < QR_STORE_QUEUE_CNT && held_sz + byte_sz <= QR_STORE_QUEUE_SZ);
}

/* Copies ops whose qr_store_batch_size is byte_sz. NULL if out of memory. */
qr_store_batch_t *qr_store_batch_copy(const qr_store_op_t *ops, uint32_t op_cnt, size_t byte_sz);

/* True if a read of that table with that key could ever find something. */
bool qr_store_key_ok(uint32_t table, const void *key, size_t key_sz);

/* Name of a table in lower case, also its name on disk; never NULL. */
const char *qr_store_table_name(uint32_t table);

#endif
