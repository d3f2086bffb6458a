/* Chain parameters: everything the genesis file fixes. Two nodes agree on a chain iff the rules
 * hash agrees. */
#ifndef QR_CHAIN_PARAMS_H
#define QR_CHAIN_PARAMS_H

#include "base/u256.h"
#include "env/env.h"
#include "step/net.h"

#define QR_TASK_MAX_CNT 4u
#define QR_PREMINE_MAX_CNT 16u
#define QR_REPLAY_SEGMENT_MAX_CNT 256u /* segments of a task's replay */

enum qr_tie_rule {
  QR_TIE_REWARD = 0,     /* (a) larger R of the last block */
  QR_TIE_REWARD_SUM = 1, /* (b) larger sum of R over the chain */
  QR_TIE_HASH = 2        /* (c) smaller H(own hash | XOR of the tied hashes) */
};

typedef struct {
  char name[32];
  uint32_t env; /* enum qr_env_id */
  qr_net_spec_t net;
  uint32_t gamma_q16; /* discount */
  int32_t q_clip;     /* max Q' is clipped to +-q_clip, Q16 */
  uint32_t eps_start_q16, eps_end_q16,
      eps_blocks; /* exploration: linear over the task's first eps_blocks blocks */
  uint32_t lr_halve_blocks, lr_halve_max; /* learning rate halves every so many task blocks (0:
                                             never), at most so often */
  uint32_t work_q16;    /* cost of an attempt relative to the reference task; the ticket target is
                           scaled by it */
  int64_t reward_scale; /* return difference (Q16 sum) that moves R by half its range */
} qr_task_params_t;

typedef struct {
  char name[32]; /* "devnet" */
  uint64_t chain_id;
  uint64_t genesis_time_ms;
  qr_hash_t seed; /* of genesis models, warm-up and start states */
  uint32_t task_cnt;
  qr_task_params_t tasks[QR_TASK_MAX_CNT]; /* height h belongs to task (h - 1) mod task_cnt */
  uint32_t step_cnt;                       /* K: training steps of an attempt */
  uint32_t segment_rows;                   /* L: acting rows of a block, a multiple of 16 */
  uint32_t eval_rows;                      /* rows of the evaluation segment, a multiple of 16 */
  uint32_t replay_rows; /* N: newest rows a minibatch is drawn from, a multiple of segment_rows */
  uint32_t warmup_segments;   /* genesis segments under the random policy */
  uint32_t target_window;     /* task blocks among which the target model is chosen (8) */
  uint32_t witness_window;    /* branch blocks whose models need no witness (64) */
  uint32_t reorg_limit;       /* deepest permitted reorganisation, blocks */
  uint32_t max_target;        /* compact: the easiest target, and that of the first block */
  uint32_t block_ms;          /* intended interval */
  uint32_t asert_halflife_ms; /* 0: the target never moves (regtest) */
  uint32_t drift_ms;          /* how far ahead of our clock a block may be */
  uint32_t tie_rule;          /* enum qr_tie_rule */
  uint32_t tie_window_ms;     /* ties are settled only between blocks that arrive within it */
  uint64_t subsidy;           /* S0 */
  uint32_t premine_cnt;
  struct {
    qr_pubkey_t to;
    uint64_t amount;
  } premine[QR_PREMINE_MAX_CNT];
} qr_params_t;

/* Everything derived from the parameters once. */
typedef struct {
  qr_params_t p;
  qr_hash_t rules; /* H("quarry.rules" | canonical parameters | program hashes) */
  qr_net_t nets[QR_TASK_MAX_CNT];
} qr_chain_cfg_t;

/* Checks every parameter and derives the rest. Returns 0 or QR_ERR_ARG with a sentence that names
 * the parameter in why. */
int qr_params_init(const qr_params_t *p, qr_chain_cfg_t *out, char *why,
                   size_t why_sz) QR_WARN_UNUSED;

/* Built-in profiles "devnet", "regtest", "main" and the demonstration chains "regtest-catch",
   "regtest-cartpole" (the same rules with that one task); false if the name is none of them.
   genesis_time_ms is left 0. */
bool qr_params_profile(const char *name, qr_params_t *out);

static inline uint32_t qr_params_task_of(const qr_params_t *p, uint64_t height) {
  return (uint32_t)((height - 1) % p->task_cnt);
}
/* Exploration (Q16) and learning-rate shift of a task's block number n (0 for its first). */
uint32_t qr_params_eps(const qr_task_params_t *t, uint64_t n);
uint32_t qr_params_lr_shift(const qr_task_params_t *t, uint64_t n);

#endif
