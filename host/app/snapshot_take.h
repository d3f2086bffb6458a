/* A store made of a snapshot file. */
#ifndef QR_APP_SNAPSHOT_TAKE_H
#define QR_APP_SNAPSHOT_TAKE_H

#include "app/snapshot_file.h"
#include "chain/params.h"
#include "tile/snapshot.h"

typedef struct {
  qr_snapshot_file_t *file; /* open, nothing read of it yet */
  const qr_store_ops_t *ops;
  const qr_accel_ops_t *accel; /* trusted: attempts are done over on it */
  const char *dir;             /* where the store is made; not there yet */
  const qr_hash_t *pin;        /* the seal that it must have; NULL: any */
  const qr_chain_cfg_t *own; /* the chain that it must be of, and what that is called; NULL: any */
  const char *own_name;
  bool (*progress)(void *ctx, uint64_t done, uint64_t total); /* of bytes; false: stop */
  void *ctx;
  char *why; /* a sentence, after a failure */
  size_t why_sz;
  /* results: what it is of. about.params leads into params_text. refuted: it failed for what it
     holds, not for want of anything here. */
  bool refuted;
  qr_snapshot_about_t about;
  qr_params_t params;
  qr_chain_cfg_t chain;
  char *params_text;
} qr_snapshot_take_t;

/* Makes the store and closes it. Returns 0 or a negative code, QR_ERR_CANCELLED if progress said
   so; then what is in dir is of no use. fini in any case. */
int qr_snapshot_take(qr_snapshot_take_t *t) QR_WARN_UNUSED;
void qr_snapshot_take_fini(qr_snapshot_take_t *t);

#endif
