/* A segment: the L transitions of one block, step-major over E instances (row = step * E +
   instance), with the observations the network is trained on. A segment is a function of
   (environment, start states, feed, actions), so it can be rebuilt without the network; it is
   immutable once built and shared by reference. */
#ifndef QR_ENV_SEGMENT_H
#define QR_ENV_SEGMENT_H

#include "env/env.h"

#define QR_SEGMENT_INSTANCE_CNT 16u /* E */

typedef struct {
  const qr_env_t *env;
  uint32_t row_cnt; /* L, a multiple of E */
  uint32_t obs_sz;
  uint64_t key;    /* caller's identity of the segment, for caches */
  uint8_t *states; /* (row_cnt + E) * QR_ENV_STATE_SZ: the state each row acts from, then the E
                      states after the end */
  int8_t *obs; /* (row_cnt + E) * obs_sz, parallel to states; the successor of row r is row r + E */
  int32_t *rewards;   /* row_cnt, Q16 */
  uint8_t *actions;   /* row_cnt */
  uint8_t *dones;     /* row_cnt, 0 or 1; a done row has no successor value */
  int64_t reward_sum; /* of rewards, Q16 */
  uint32_t done_cnt;
} qr_segment_t;

/* Bytes of a segment with all its arrays, and its placement in mem (64-byte aligned, borrowed for
 * its life). */
size_t qr_segment_footprint(const qr_env_t *env, uint32_t row_cnt);
qr_segment_t *qr_segment_init(void *mem, const qr_env_t *env, uint32_t row_cnt);

/* Chooses the actions of one step of all E instances: obs is E * obs_sz, out E actions. live is for
 * policies that read state. */
typedef void (*qr_segment_act_fn)(void *ctx, uint32_t step, const qr_env_live_t *live,
                                  const int8_t *obs, uint8_t *out);

/* Incremental building, for callers that must not block: begin from E start states (E *
   QR_ENV_STATE_SZ bytes; NULL for fresh instances under feed), rekeyed under feed, then row_cnt / E
   times step. live: E instances of scratch, borrowed until end. */
void qr_segment_begin(qr_segment_t *s, const uint8_t *start_states, const qr_hash_t *feed,
                      qr_env_live_t *live);
/* Writes the observations and states of step t (0-based, in order) and returns them; then apply
 * takes the E actions. */
const int8_t *qr_segment_observe(qr_segment_t *s, uint32_t t, const qr_env_live_t *live);
void qr_segment_apply(qr_segment_t *s, uint32_t t, qr_env_live_t *live,
                      const uint8_t actions[QR_SEGMENT_INSTANCE_CNT]);
void qr_segment_end(qr_segment_t *s, const qr_env_live_t *live);

/* All of it at once, with act choosing the actions. */
void qr_segment_run(qr_segment_t *s, const uint8_t *start_states, const qr_hash_t *feed,
                    qr_env_live_t *live, qr_segment_act_fn act, void *ctx);

/* The E states after the segment: E * QR_ENV_STATE_SZ bytes, borrowed. */
const uint8_t *qr_segment_end_states(const qr_segment_t *s);

/* H("quarry.env" | u32 env id | E * QR_ENV_STATE_SZ bytes). */
qr_hash_t qr_segment_env_root(const qr_env_t *env, const uint8_t *states);
/* H("quarry.segment" | u32 env id | u32 row_cnt | per row: state 32, action 1, done 1, reward 4 |
 * end states). */
qr_hash_t qr_segment_hash(const qr_segment_t *s);

#endif
