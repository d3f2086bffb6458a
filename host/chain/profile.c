/* The built-in profiles. Every value that was chosen rather than derived is in this file. */
#include "base/assert.h"
#include "chain/params.h"
#include "crypto/hash.h"

#define COIN UINT64_C(100000000)

#define DENSE(n, shift, fan)                                                                       \
  { .kind = QR_LAYER_DENSE, .out = (n), .lr_shift = (shift), .init_fan = (fan) }
#define CONV3(n, sy, sx, shift, fan)                                                               \
  {                                                                                                \
    .kind = QR_LAYER_CONV3, .out = (n), .stride_y = (sy), .stride_x = (sx), .lr_shift = (shift),   \
    .init_fan = (fan)                                                                              \
  }

/* Battery dispatch, dense: the reference task of work_q16. */
static const qr_task_params_t task_microgrid = {
    .name = "microgrid",
    .env = QR_ENV_MICROGRID,
    .net = {.in_c = 128,
            .in_h = 1,
            .in_w = 1,
            .action_cnt = 3,
            .layer_cnt = 3,
            .layers = {DENSE(384, 1, 64), DENSE(384, 1, 0), DENSE(3, 1, 0)},
            .batch = 256,
            .act_frac = 5},
    .gamma_q16 = 60948,
    .q_clip = 8 << 16,
    .eps_start_q16 = 65536,
    .eps_end_q16 = 3277,
    .eps_blocks = 30,
    .lr_halve_blocks = 15,
    .lr_halve_max = 2,
    .work_q16 = 65536,
    .reward_scale = 1 << 23,
};

/* The same plant as a map of four days, convolutional. An attempt costs 1402848 / 544128 of the
 * dense one's products. */
static const qr_task_params_t task_microgrid_map = {
    .name = "microgrid-map",
    .env = QR_ENV_MICROGRID_MAP,
    .net = {.in_c = 8,
            .in_h = 4,
            .in_w = 24,
            .action_cnt = 3,
            .layer_cnt = 4,
            .layers = {CONV3(32, 1, 2, 2, 100), CONV3(64, 2, 2, 2, 0), DENSE(224, 1, 0),
                       DENSE(3, 1, 0)},
            .batch = 256,
            .act_frac = 4},
    .gamma_q16 = 60948,
    .q_clip = 8 << 16,
    .eps_start_q16 = 65536,
    .eps_end_q16 = 3277,
    .eps_blocks = 30,
    .lr_halve_blocks = 20,
    .lr_halve_max = 3,
    .work_q16 = 168963,
    .reward_scale = 1 << 23,
};

static const qr_task_params_t task_catch = {
    .name = "catch",
    .env = QR_ENV_CATCH,
    .net = {.in_c = 64,
            .in_h = 1,
            .in_w = 1,
            .action_cnt = 3,
            .layer_cnt = 3,
            .layers = {DENSE(256, 1, 8), DENSE(256, 1, 0), DENSE(3, 1, 0)},
            .batch = 64,
            .act_frac = 5},
    .gamma_q16 = 64225,
    .q_clip = 8 << 16,
    .eps_start_q16 = 65536,
    .eps_end_q16 = 1311,
    .eps_blocks = 30,
    .lr_halve_blocks = 20,
    .lr_halve_max = 3,
    .work_q16 = 65536,
    .reward_scale = 1 << 23,
};

static const qr_task_params_t task_cartpole = {
    .name = "cartpole",
    .env = QR_ENV_CARTPOLE,
    .net = {.in_c = 16,
            .in_h = 1,
            .in_w = 1,
            .action_cnt = 2,
            .layer_cnt = 3,
            .layers = {DENSE(128, 1, 0), DENSE(128, 1, 0), DENSE(2, 1, 0)},
            .batch = 64,
            .act_frac = 5},
    .gamma_q16 = 64225,
    .q_clip = 8 << 16,
    .eps_start_q16 = 65536,
    .eps_end_q16 = 1311,
    .eps_blocks = 30,
    .work_q16 = 65536,
    .reward_scale = 1 << 20,
};

/* What devnet and main share; the public test network on one or a few machines is the plain case.
 */
static const qr_params_t devnet = {
    .name = "devnet",
    .chain_id = 2,
    .task_cnt = 2,
    .step_cnt = 32,
    .segment_rows = 1024,
    .eval_rows = 2048,
    .replay_rows = 65536,
    .warmup_segments = 4,
    .target_window = 8,
    .witness_window = 64,
    .reorg_limit = 512,
    .max_target = 0x20100000, /* 2^252: one attempt in sixteen */
    .block_ms = 2000,
    .asert_halflife_ms = 20000, /* ten blocks: a devnet is young and finds its pace quickly */
    .drift_ms = 5000,
    .tie_rule = QR_TIE_REWARD,
    .tie_window_ms = 10000, /* long: nodes that share two cores must agree when mining ends */
    .subsidy = 50 * COIN,
};

static void set_main(qr_params_t *p) {
  p->chain_id = 1;
  p->max_target = 0x1f400000; /* 2^246: one attempt in 1024 */
  p->block_ms = 60000;
  p->asert_halflife_ms = 7200000;
  p->drift_ms = 30000;
  p->tie_rule = QR_TIE_HASH;
  p->tie_window_ms = 2000;
}

/* For tests: the same rules with little work, the easiest target there is (all but one ticket in
 * 65536 win) and no clock. */
static void set_regtest(qr_params_t *p) {
  p->chain_id = 3;
  p->step_cnt = 4;
  p->segment_rows = 256;
  p->eval_rows = 512;
  p->replay_rows = 16384;
  p->max_target = 0x2100ffff;
  p->asert_halflife_ms = 0;
  p->drift_ms = UINT32_MAX;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    p->tasks[i].net.batch = 64;
    p->tasks[i].reward_scale /= 4; /* a quarter of the evaluation's rows */
  }
}

static void set_single(qr_params_t *p, uint64_t chain_id, const qr_task_params_t *task) {
  set_regtest(p);
  p->chain_id = chain_id;
  p->task_cnt = 1;
  p->warmup_segments = 8;
  p->tasks[0] = *task;
  memset(&p->tasks[1], 0, sizeof p->tasks[1]);
}

bool qr_params_profile(const char *name, qr_params_t *out) {
  qr_params_t p = devnet;
  p.tasks[0] = task_microgrid;
  p.tasks[1] = task_microgrid_map;
  if (!strcmp(name, "main"))
    set_main(&p);
  else if (!strcmp(name, "regtest"))
    set_regtest(&p);
  else if (!strcmp(name, "regtest-catch"))
    set_single(&p, 4, &task_catch);
  else if (!strcmp(name, "regtest-cartpole"))
    set_single(&p, 5, &task_cartpole);
  else if (strcmp(name, "devnet") != 0)
    return false;
  QR_ASSERT(strlen(name) < sizeof p.name);
  memset(p.name, 0, sizeof p.name);
  memcpy(p.name, name, strlen(name));
  p.seed = qr_hash("quarry.profile", name, strlen(name));
  *out = p;
  return true;
}
