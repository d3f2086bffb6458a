/* A new node begins with a snapshot out of the network: sync.pin. Before anything else runs. */
#ifndef QR_APP_JOIN_H
#define QR_APP_JOIN_H

#include <stdatomic.h>

#include "app/config.h"
#include "chain/params.h"
#include "port/accel.h"
#include "port/clock.h"
#include "port/store.h"

typedef struct {
  const qr_config_t *config;
  const qr_chain_cfg_t *chain;
  const qr_key_t *key;
  const qr_link_ops_t *link_ops;
  qr_link_t *link; /* open; free again when this returns */
  const qr_store_ops_t *store_ops;
  const qr_accel_ops_t *accel_ops; /* trusted */
  const char *store_dir;           /* made by it */
  const qr_clock_t *clock;
  uint64_t seed;
  atomic_bool *stop;
} qr_join_t;

/* Whether the configuration asks for it and there is no store yet. */
bool qr_join_wanted(const qr_config_t *c, const char *store_dir);

/* Fetches a snapshot that the configured pin proves, as far as it is not in the data directory
   already, and makes the store of it. Returns 0, QR_ERR_CANCELLED after *stop (what came is kept),
   or a negative code with cause and cure in why. */
int qr_join_run(const qr_join_t *j, char *why, size_t why_sz) QR_WARN_UNUSED;

#endif
