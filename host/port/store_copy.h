/* A copy of a store made on a thread of its own, for a tile that must not wait for it. */
#ifndef QR_PORT_STORE_COPY_H
#define QR_PORT_STORE_COPY_H

#include <pthread.h>
#include <stdatomic.h>

#include "port/store.h"

#define QR_STORE_COPY_PATH_SZ 512u

typedef struct {
  const qr_store_ops_t *ops;
  qr_store_t *store;
  char dir[QR_STORE_COPY_PATH_SZ];
  bool running;
  pthread_t thread;
  atomic_bool ended;
  int err;
  char why[256];
} qr_store_copy_t;

/* Begins a checkpoint of the store in dir; one at a time. The store must stay open until poll has
   told of the end. Returns 0, QR_ERR_BUSY, QR_ERR_ARG (path too long), QR_ERR_UNSUPPORTED or
   QR_ERR_NOMEM, with a sentence in c->why. c is all zero before its first use. */
int qr_store_copy_start(qr_store_copy_t *c, const qr_store_ops_t *ops, qr_store_t *store,
                        const char *dir) QR_WARN_UNUSED;
/* True once, when it has ended: err and why are its result. */
bool qr_store_copy_poll(qr_store_copy_t *c);
/* Waits for one that is running. */
void qr_store_copy_fini(qr_store_copy_t *c);

#endif
