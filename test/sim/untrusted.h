/* A miner on an accelerator that gets things wrong, in a world of its own. What is wrong stays
   there: no peer hears of it, and mining goes on. */
#ifndef TEST_SIM_UNTRUSTED_H
#define TEST_SIM_UNTRUSTED_H

#include "sim/world.h"

#define UNTRUSTED_ROUND_CNT 4000000u

typedef struct {
  const char *name;
  const qr_accel_ops_t *ops;
  uint32_t lane_cnt;
  uint32_t check_every;     /* of the attempts one in so many is repeated on the CPU */
  uint32_t win_shift;       /* one attempt in 2^win_shift wins */
  uint64_t round_ns;        /* time goes on by so much more in a round */
  const uint64_t *attempts; /* how many ops has seen, */
  uint64_t attempt_cnt;     /* and how many it takes */
} untrusted_t;

/* The miner alone. */
static inline world_node_t *untrusted_begin(world_t *w, const untrusted_t *u) {
  qr_params_t p;
  world_params(&p, u->win_shift);
  world_init(w, u->name, &p);
  qr_log_init(QR_LOG_ERROR, -1); /* each failed attempt is told */
  w->untrusted = u->ops;
  w->lane_cnt = u->lane_cnt;
  w->check_every = u->check_every;
  world_node_t *miner = world_add(w, true);
  w->untrusted = NULL;
  w->lane_cnt = 0;
  return miner;
}

static inline void untrusted_rounds(world_t *w, const untrusted_t *u) {
  for (uint32_t i = 0; i < UNTRUSTED_ROUND_CNT && *u->attempts < u->attempt_cnt; i++) {
    world_rounds(w, 1);
    w->now_ns += u->round_ns;
  }
  assert_true(*u->attempts >= u->attempt_cnt);
}

static inline void untrusted_end(world_t *w) {
  world_fini(w);
  qr_log_init(QR_LOG_ERROR, 2);
}

/* The miner with an honest node that only follows, and comes to height_min at least. */
static inline void untrusted_run(const untrusted_t *u, uint64_t height_min) {
  static world_t w;
  world_node_t *miner = untrusted_begin(&w, u), *peer = world_add(&w, false);
  untrusted_rounds(&w, u);
  world_stop_all(&w);
  world_until_agree(&w, UNTRUSTED_ROUND_CNT);
  assert_true(world_height(peer) >= height_min);
  qr_status_t a = world_status(&w, miner), b = world_status(&w, peer);
  assert_int_equal(a.blocks_rejected, 0);
  assert_int_equal(b.blocks_rejected, 0);
  assert_int_equal(b.peer_cnt, 1); /* nobody was sent away for a wrong block */
  untrusted_end(&w);
}

#endif
