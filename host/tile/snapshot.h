/* Snapshots: out of a store at rest, and into an empty one. Bytes: chain/snapshot.h. Of one chain
   and height every node makes the same snapshot, so its root can be compared. */
#ifndef QR_TILE_SNAPSHOT_H
#define QR_TILE_SNAPSHOT_H

#include "chain/snapshot.h"
#include "chain/tree.h"
#include "tile/record.h"
#include "tile/snapshot_prove.h"
#include "tile/writer.h"

typedef struct {
  const qr_store_ops_t *ops;
  qr_store_t *store; /* nobody writes to it */
  const qr_chain_cfg_t *chain;
  const char *params; /* of the chain, as a genesis file */
  uint64_t height;    /* 0: the newest that no reorganisation can undo */
  /* Takes the next bytes of the payload. 0 or a negative code, which ends the export. */
  int (*write)(void *ctx, const void *p, size_t sz);
  bool (*progress)(void *ctx, uint64_t done, uint64_t total); /* of bytes; false: stop */
  void *ctx;
} qr_snapshot_export_t;

/* Writes a payload. Returns 0, QR_ERR_ARG (the height is not to be had from this store),
   QR_ERR_CORRUPT, QR_ERR_CANCELLED, QR_ERR_NOMEM or what write returned, with a sentence in why. */
int qr_snapshot_export(const qr_snapshot_export_t *cfg, qr_snapshot_about_t *about, char *why,
                       size_t why_sz) QR_WARN_UNUSED;

typedef struct {
  const qr_store_ops_t *ops;
  qr_store_t *store; /* empty but for its schema */
  const qr_chain_cfg_t *chain;
  const qr_accel_ops_t *accel; /* trusted: opened here to do attempts over */
  const qr_hash_t *pin;        /* the seal that it must have; NULL: any */
  uint64_t wall_ms;
} qr_snapshot_import_cfg_t;

/* Of records that come in the order of qr_snapshot_next, after the first. What they hold is checked
   against the headers before it is written, and these lead to the seal: whoever trusts that need
   not trust who made the snapshot. The facts of execution, which no header commits to, are found
   anew for the blocks that count (snapshot_prove.h). */
typedef struct {
  qr_snapshot_import_cfg_t cfg;
  qr_snapshot_about_t about;
  qr_tree_t *tree;
  qr_ledger_t *ledger;
  qr_writer_t w;
  qr_pubkey_t last_pk;
  uint64_t account_cnt, window_cnt, model_cnt, proof_cnt; /* so far */
  qr_header_t seal;
  bool sealed, proves; /* the seal is here; prover is in use */
  qr_snapshot_prover_t prover;
} qr_snapshot_import_t;

/* cfg is copied, what it points to borrowed; about->params is lent until fini. Takes memory.
   Returns 0, QR_ERR_ARG (another chain or seal), QR_ERR_CORRUPT (it says of itself what cannot be)
   or QR_ERR_NOMEM. fini in any case. */
int qr_snapshot_import_init(qr_snapshot_import_t *x, const qr_snapshot_import_cfg_t *cfg,
                            const qr_snapshot_about_t *about, char *why,
                            size_t why_sz) QR_WARN_UNUSED;
/* Returns 0, QR_ERR_FORMAT or QR_ERR_CORRUPT (what the record holds is wrong), QR_ERR_NOMEM or the
   store's error, with a sentence in why. After the END record the store is complete. */
int qr_snapshot_import_take(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, char *why,
                            size_t why_sz) QR_WARN_UNUSED;
void qr_snapshot_import_fini(qr_snapshot_import_t *x);

/* Size of a WINDOW record on this chain. */
uint32_t qr_snapshot_window_sz(const qr_chain_cfg_t *chain);
/* How many WINDOW, MODEL and PROOF records a snapshot of this height has. The newest target windows
   are proved, with the replay and the targets that their blocks had. */
uint64_t qr_snapshot_window_cnt(const qr_chain_cfg_t *chain, uint64_t height);
uint64_t qr_snapshot_model_cnt(const qr_chain_cfg_t *chain, uint64_t height);
uint64_t qr_snapshot_proof_cnt(const qr_chain_cfg_t *chain, uint64_t height);
/* Whether a payload of that size may be what its ABOUT says, of this chain: to be asked before much
   is done for it. */
bool qr_snapshot_plausible(const qr_chain_cfg_t *chain, const qr_snapshot_about_t *about,
                           uint64_t payload_sz);

#endif
