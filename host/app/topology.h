/* The topology: a node's tiles and every ring between them. quarryd runs it on threads; a simulator
   runs many of them, round by round, on one. */
#ifndef QR_APP_TOPOLOGY_H
#define QR_APP_TOPOLOGY_H

#include "app/config.h"
#include "port/accel.h"
#include "port/link.h"
#include "port/store.h"
#include "tile/chain.h"
#include "tile/net.h"
#include "tile/tile.h"

typedef struct qr_topology qr_topology_t;

/* Drivers are open; everything is borrowed until fini, but the store, which may be opened anew.
 * link_ops NULL: no network. */
typedef struct {
  const qr_chain_cfg_t *chain;
  const qr_config_t *config;
  const qr_key_t *key;
  const qr_link_ops_t *link_ops;
  qr_link_t *link;
  const qr_store_ops_t *store_ops;
  qr_store_t **store;                    /* see tile/chain.h */
  const char *store_dir, *store_options; /* what it was opened with */
  const qr_reserve_t *reserve;           /* NULL: none */
  const qr_net_offer_t *offer;           /* the snapshot for peers; NULL: none */
  const qr_accel_ops_t *accel_ops;
  qr_accel_t *accel;
  /* Does what accel is not trusted with: verifies, and repeats attempts. NULL: accel is trusted. */
  const qr_accel_ops_t *check_ops;
  qr_accel_t *check;
  const qr_clock_t *clock;
  const char *rpc_path;   /* control socket; NULL: none */
  const char *peers_path; /* file of addresses and bans; NULL: they are forgotten */
  uint64_t seed;        /* of nonces and jitter; quarryd takes it from the system's random source */
  uint8_t book_key[32]; /* secret, of the address book; from there too */
} qr_topology_cfg_t;

/* Takes all memory, loads programs on the accelerator and the chain from the store. Returns 0 or a
   negative code with cause and cure in why. */
int qr_topology_init(const qr_topology_cfg_t *cfg, qr_topology_t **out, char *why,
                     size_t why_sz) QR_WARN_UNUSED;
void qr_topology_fini(qr_topology_t *t);

/* Starts the threads, returns when *stop becomes true, an operator asks to stop, or the chain tile
   fails. Returns 0, or QR_ERR_IO after a failure that has been logged. */
int qr_topology_run(qr_topology_t *t, atomic_bool *stop) QR_WARN_UNUSED;

/* One round of every tile on the caller's thread; returns the work done. */
int qr_topology_round(qr_topology_t *t);

/* For simulators, between rounds: the chain tile, and the operators' rings when there is no control
 * socket. */
qr_chain_tile_t *qr_topology_chain(qr_topology_t *t);
qr_ring_t *qr_topology_queries(qr_topology_t *t);
qr_ring_t *qr_topology_replies(qr_topology_t *t);

#endif
