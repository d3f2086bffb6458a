#include "port/store_copy.h"

#include <signal.h>
#include <stdio.h>

#include "base/err.h"

static void *copy_main(void *arg) {
  qr_store_copy_t *c = arg;
  c->err = c->ops->checkpoint(c->store, c->dir, c->why, sizeof c->why);
  atomic_store(&c->ended, true);
  return NULL;
}

static int refuse(qr_store_copy_t *c, int err, const char *why) {
  snprintf(c->why, sizeof c->why, "%s", why);
  return err;
}

int qr_store_copy_start(qr_store_copy_t *c, const qr_store_ops_t *ops, qr_store_t *store,
                        const char *dir) {
  sigset_t all, before;
  if (c->running) return QR_ERR_BUSY; /* why is the other one's */
  if (!ops->checkpoint) return refuse(c, QR_ERR_UNSUPPORTED, "this store driver makes no copies");
  if (strlen(dir) >= sizeof c->dir) return refuse(c, QR_ERR_ARG, "the path is too long");
  c->ops = ops;
  c->store = store;
  snprintf(c->dir, sizeof c->dir, "%s", dir);
  c->why[0] = 0;
  atomic_store(&c->ended, false);
  /* Signals belong to the process's own threads. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&c->thread, NULL, copy_main, c);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (rc) return refuse(c, QR_ERR_NOMEM, "no thread can be started");
  c->running = true;
  return QR_OK;
}

bool qr_store_copy_poll(qr_store_copy_t *c) {
  if (!c->running || !atomic_load(&c->ended)) return false;
  pthread_join(c->thread, NULL);
  c->running = false;
  return true;
}

void qr_store_copy_fini(qr_store_copy_t *c) {
  if (!c->running) return;
  pthread_join(c->thread, NULL);
  c->running = false;
}
