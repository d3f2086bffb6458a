/* Controls of the memory store, for tests and simulators; every qr_store_t here was opened by
   qr_store_mem_ops. The store has no thread: a commit takes effect in the poll that reports it, so
   a run is the same every time. Option keep=1 gives the directory's name a memory of its own that
   outlives close: opening the name again finds what was durable, opening it twice at once is
   QR_ERR_BUSY. Without it every open starts empty. A scan's visitor may read, but not commit or
   poll. */
#ifndef QR_STORE_MEM_H
#define QR_STORE_MEM_H

#include "port/store.h"

/* The nth commit from now (1 is the next one submitted) fails, and with it all that follow.
   survives: the failed batch is found after the store is opened again nevertheless, as can happen
   on a disk; such a commit is indeterminate. */
void qr_store_mem_fail(qr_store_t *s, uint64_t nth, bool survives);

/* While held, poll completes nothing, as if the disk were slow. */
void qr_store_mem_hold(qr_store_t *s, bool held);

/* Closes as a power cut would: commits that poll has not reported are lost. */
void qr_store_mem_crash(qr_store_t *s);

/* Damages one record: reads of it give QR_ERR_CORRUPT until it is written again. False if there is
   no such record. */
bool qr_store_mem_damage(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz);

/* Frees what keep=1 keeps under the name dir; the store must be closed (asserted). */
void qr_store_mem_forget(const char *dir);

#endif
