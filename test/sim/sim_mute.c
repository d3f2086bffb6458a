/* Peers that claim a better chain and never say another word, around one that has a chain: what
   they cost a node that is behind. */
#include "peer_sim.h"

#define MUTE_CNT 6u
#define CHAIN_CNT 20u

typedef struct {
  qr_link_t *link;
  qr_key_t key;
  qr_link_conn_t conn;
  bool up, greeted;
} mute_t;

static sim_t sim;
static mute_t mutes[MUTE_CNT];

static void say(mute_t *m, const qr_msg_t *msg) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  size_t sz = qr_msg_encode(msg, frame);
  (void)!qr_link_mem_ops.send(m->link, m->conn, QR_LINK_CONTROL, frame, sz);
}

static void mute_open(uint32_t i) {
  mute_t *m = &mutes[i];
  qr_link_addr_t to = sim_addr(0);
  *m = (mute_t){.link = sim_link(&sim, 10 + i, &m->key)};
  assert_int_equal(qr_link_mem_ops.connect(m->link, &to, NULL, &m->conn), QR_OK);
}

/* Greets with a claim that beats everybody else's, and listens to nothing. */
static void mute_poll(uint32_t i) {
  mute_t *m = &mutes[i];
  qr_link_event_t ev[16];
  int n = qr_link_mem_ops.poll(m->link, sim.now, ev, 16);
  for (int k = 0; k < n; k++) m->up |= ev[k].kind == QR_LINK_UP;
  if (!m->up || m->greeted) return;
  m->greeted = true;
  qr_msg_t hello = {.type = QR_MSG_HELLO};
  hello.hello = (qr_msg_hello_t){.version = QR_MSG_VERSION,
                                 .chain_id = 7,
                                 .genesis = sim_genesis(),
                                 .height = 1000 + i,
                                 .work = qr_u256_from_u64(1000000 + i),
                                 .tip = qr_hash("mute.tip", &i, sizeof i),
                                 .agent_sz = 4,
                                 .agent = "mute"};
  say(m, &hello);
  say(m, &(qr_msg_t){.type = QR_MSG_READY});
}

static void run(uint64_t ms, uint32_t mute_cnt) {
  for (uint64_t t = 0; t < ms; t++) {
    sim_step(&sim);
    for (uint32_t i = 0; i < mute_cnt; i++) mute_poll(i);
  }
}

/* The time in ms until node 0, which has nothing, has the honest one's chain. */
static uint64_t catch_up_ms(uint32_t mute_cnt, uint64_t seed) {
  sim_init(&sim, seed);
  sim_node_t *late = sim_node(&sim, 0), *honest = sim_node(&sim, 0);
  for (uint32_t k = 0; k < CHAIN_CNT; k++) {
    sim_mine(honest, k, false);
    sim_until(&sim, 2, k + 1, 1000);
  }
  for (uint32_t i = 0; i < mute_cnt; i++) mute_open(i);
  run(100, mute_cnt);
  assert_int_equal(sim_peer_cnt(late), mute_cnt);
  /* It is among them from now on. */
  sim_node_t *guide = sim_node(&sim, 3);
  (void)guide;
  uint64_t ms = 0;
  for (; sim_height(late) < CHAIN_CNT; ms++) {
    assert_true(ms < 60000);
    run(1, mute_cnt);
  }
  for (uint32_t i = 0; i < mute_cnt; i++) qr_link_mem_ops.close(mutes[i].link);
  sim_end(&sim);
  return ms;
}

/* The first of them has the time that anybody would have; the others do not add as much each. */
static void test_mute_leaders(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    uint64_t alone = catch_up_ms(0, seed), one = catch_up_ms(1, seed),
             all = catch_up_ms(MUTE_CNT, seed);
    print_message("behind for %lu ms; with one mute claimant %lu, with %u of them %lu\n", alone,
                  one, MUTE_CNT, all);
    assert_in_range(one, alone, alone + 2500);
    assert_in_range(all, one, one + MUTE_CNT * 600);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mute_leaders),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
