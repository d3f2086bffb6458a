/* The facts of execution in a snapshot, which no header commits to: what the newest blocks of each
   task are said to have found is found again, by doing their attempts over. An attempt that comes
   to the header's own hash had the right model, replay and target, so what it finds is right too.
   The target is chosen by what the snapshot says of the blocks before: a lie that leads to another
   one comes to another header. */
#ifndef QR_TILE_SNAPSHOT_PROVE_H
#define QR_TILE_SNAPSHOT_PROVE_H

#include "mine/executor.h"
#include "tile/segment_check.h"

typedef struct {
  qr_exec_facts_t facts;
  qr_segment_obj_t *segment;
  qr_model_obj_t *model; /* outgoing; NULL: not known */
} qr_snapshot_claim_t;

typedef struct {
  const qr_chain_cfg_t *chain;
  const qr_accel_ops_t *ops;
  qr_accel_t *dev;
  qr_executor_t *executor;
  qr_objects_t objects;
  bool has_objects, has_genesis;
  qr_segment_check_t segments;
  qr_pool_t *views;
  uint64_t first, cnt; /* heights that there are claims of */
  qr_snapshot_claim_t *claims;
  qr_exec_job_t job;
} qr_snapshot_prover_t;

/* Of a snapshot of this height. ops: an accelerator that is trusted. Takes memory. Returns 0,
   QR_ERR_NOMEM or the driver's error. fini in any case. */
int qr_snapshot_prover_init(qr_snapshot_prover_t *p, const qr_chain_cfg_t *chain,
                            const qr_accel_ops_t *ops, uint64_t height) QR_WARN_UNUSED;
void qr_snapshot_prover_fini(qr_snapshot_prover_t *p);

/* In this order, each oldest first: the segment and the facts of a block, replay being its record
   (tile/record.h); its outgoing model, whose root is right; its incoming model. Return 0,
   QR_ERR_CORRUPT (it is not what the header, or for prove the attempt, gives), QR_ERR_NOMEM, or
   what the accelerator says. Cost of prove: that of executing the block. */
int qr_snapshot_prover_segment(qr_snapshot_prover_t *p, const qr_node_t *n,
                               const qr_exec_facts_t *facts, const uint8_t *replay) QR_WARN_UNUSED;
int qr_snapshot_prover_model(qr_snapshot_prover_t *p, const qr_node_t *n,
                             const uint8_t *model) QR_WARN_UNUSED;
int qr_snapshot_prover_prove(qr_snapshot_prover_t *p, const qr_node_t *n,
                             const uint8_t *model_in) QR_WARN_UNUSED;

#endif
