/* Stores of older schema versions, brought up to date in place: step by step, each step in atomic
   batches that can stop after any of them and go on at the next start. */
#ifndef QR_TILE_SCHEMA_H
#define QR_TILE_SCHEMA_H

#include "port/store.h"

/* Does nothing if the store is of QR_STORE_SCHEMA_VERSION, or has no version yet (it is empty).
   Tells the log how far it is. Nothing else may use the store meanwhile, and nothing may be queued.
   Returns 0, or a negative code with a sentence in why: the store is then between two versions,
   whole, and the next call goes on. */
int qr_schema_migrate(const qr_store_ops_t *ops, qr_store_t *store, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

#endif
