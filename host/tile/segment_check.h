/* Whether a stored segment is the one that its block's header speaks of: the audit of a store and
   the import of a snapshot ask that. */
#ifndef QR_TILE_SEGMENT_CHECK_H
#define QR_TILE_SEGMENT_CHECK_H

#include "chain/tree.h"
#include "mine/view.h"

typedef struct {
  const qr_chain_cfg_t *chain;
  qr_objects_t *objects;
  qr_task_genesis_t genesis[QR_TASK_MAX_CNT];
} qr_segment_check_t;

/* Plays the tasks' warm-ups, into objects, which have places for them: warmup_segments of each
   task, a model for each, and a segment more. Borrows both. Returns 0 or QR_ERR_NOMEM. fini after
   0. */
int qr_segment_check_init(qr_segment_check_t *c, const qr_chain_cfg_t *chain,
                          qr_objects_t *objects) QR_WARN_UNUSED;
void qr_segment_check_fini(qr_segment_check_t *c);

/* Plays segment_rows actions from the start states (QR_REPLAY_STATES_SZ bytes) of the block n, any
   but genesis. Returns 0, QR_ERR_CORRUPT or QR_ERR_NOMEM. out: NULL, or where the segment goes
   after 0, with a reference. */
int qr_segment_check(qr_segment_check_t *c, const qr_node_t *n, const uint8_t *states,
                     const uint8_t *actions, qr_segment_obj_t **out) QR_WARN_UNUSED;

#endif
