/* Pool of equal objects with reference counts. All memory is taken at init; an object is shared
   read-only between tiles once published and returns to the pool with its last reference.
   Thread-safe. */
#ifndef QR_BASE_POOL_H
#define QR_BASE_POOL_H

#include "base/types.h"

typedef struct qr_pool qr_pool_t;

/* Called when the last reference of obj is dropped, before it returns to the pool: drop what it
 * refers to. */
typedef void (*qr_pool_drop_fn)(void *obj);

/* Takes memory for cnt objects of obj_sz bytes each (64-byte aligned, touched lazily). drop may be
   NULL. Returns NULL if memory cannot be had. Free with qr_pool_fini when no object is out
   (asserted). */
qr_pool_t *qr_pool_init(const char *name, size_t obj_sz, uint32_t cnt, qr_pool_drop_fn drop);
void qr_pool_fini(qr_pool_t *p);

/* An object with one reference, contents undefined; NULL if the pool is empty. */
void *qr_pool_get(qr_pool_t *p);

/* Adds, drops a reference. qr_pool_unref(NULL) does nothing. qr_pool_ref returns obj. */
void *qr_pool_ref(void *obj);
void qr_pool_unref(void *obj);

uint32_t qr_pool_free_cnt(const qr_pool_t *p);

#endif
