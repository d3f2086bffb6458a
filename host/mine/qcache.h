/* Cache of TD targets: the reward of each replay row and what a target model expects of its
   successor. A target model serves many attempts and often many blocks, so each is computed at most
   once per executor and target model. Single-threaded. */
#ifndef QR_MINE_QCACHE_H
#define QR_MINE_QCACHE_H

#include "mine/view.h"

typedef struct qr_qcache qr_qcache_t;

/* Room for the replay windows of every task under entry_cnt target models each. NULL if out of
 * memory. */
qr_qcache_t *qr_qcache_init(const qr_chain_cfg_t *cfg, uint32_t entry_cnt);
void qr_qcache_fini(qr_qcache_t *c);

/* Where a view's targets live until the next bind: slot i holds the rows of its segment i. A done
   row is known from the start: it has no successor. */
typedef struct {
  int32_t *targets[QR_VIEW_SEGMENT_MAX_CNT]; /* [segment][row], Q16; meaningful where known */
  uint8_t *known[QR_VIEW_SEGMENT_MAX_CNT];   /* 0 or 1 */
} qr_qcache_view_t;

/* Finds or makes the entry of the view's target model, evicting the longest unused. */
void qr_qcache_bind(qr_qcache_t *c, const qr_view_t *v, qr_qcache_view_t *out);

#endif
