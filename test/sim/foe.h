/* A hostile peer among honest ones: it speaks through the bare link, byte by byte. */
#ifndef QR_TEST_FOE_H
#define QR_TEST_FOE_H

#include "peer_sim.h"

typedef struct {
  sim_t *sim;
  qr_link_t *link;
  qr_key_t key;
  qr_link_conn_t conn;
  bool up, down;
  uint8_t in[1 << 21];
  size_t in_sz;
} foe_t;

static foe_t foe; /* one at a time; its inbox is large */
static sim_t sim;

static inline void foe_send(enum qr_link_class cls, const void *p, size_t sz) {
  int64_t n = qr_link_mem_ops.send(foe.link, foe.conn, cls, p, sz);
  if (n == QR_ERR_CLOSED)
    foe.down = true;
  else
    assert_int_equal(n, sz);
}

static inline void foe_msg(const qr_msg_t *m) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  foe_send((enum qr_link_class)qr_msg_class_of(m->type), frame, qr_msg_encode(m, frame));
}

static inline void foe_poll(void) {
  qr_link_event_t ev[32];
  int n = qr_link_mem_ops.poll(foe.link, sim.now, ev, 32);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == QR_LINK_UP) foe.up = true;
    if (ev[i].kind == QR_LINK_DOWN) foe.down = true;
    if (ev[i].kind != QR_LINK_DATA || ev[i].cls != QR_LINK_CONTROL) continue;
    assert_true(foe.in_sz + ev[i].sz <= sizeof foe.in);
    memcpy(foe.in + foe.in_sz, ev[i].data, ev[i].sz);
    foe.in_sz += ev[i].sz;
  }
}

/* Next control message from the node, if one is complete. The message borrows a buffer until the
 * next call. */
static inline bool foe_next(qr_msg_t *m) {
  static uint8_t payload[4096];
  uint32_t sz;
  uint8_t type;
  if (foe.in_sz < QR_MSG_HEAD_SZ) return false;
  assert_int_equal(qr_msg_head(foe.in, &sz, &type), QR_VERDICT_OK);
  if (foe.in_sz < QR_MSG_HEAD_SZ + sz) return false;
  memcpy(payload, foe.in + QR_MSG_HEAD_SZ, sz);
  foe.in_sz -= QR_MSG_HEAD_SZ + sz;
  memmove(foe.in, foe.in + QR_MSG_HEAD_SZ + sz, foe.in_sz);
  assert_int_equal(qr_msg_decode(type, payload, sz, m), QR_VERDICT_OK);
  return true;
}

/* Headers of a block of the node's, NULL: genesis, and of blocks after it. */
static inline void foe_headers(const uint8_t *from, const sim_block_t *blocks, uint32_t cnt) {
  static uint8_t out[QR_MSG_HEADERS_MAX_CNT * QR_HEADER_SZ];
  if (from) memcpy(out, from, QR_HEADER_SZ);
  for (uint32_t i = 0; i < cnt; i++)
    memcpy(out + (size_t)(i + !!from) * QR_HEADER_SZ, blocks[i].bytes, QR_HEADER_SZ);
  foe_msg(&(qr_msg_t){.type = QR_MSG_HEADERS, .headers = {cnt + !!from, out}});
}

static inline void run(uint64_t ms) {
  for (uint64_t i = 0; i < ms; i++) {
    sim_step(&sim);
    foe_poll();
  }
}

static inline void foe_connect(void) {
  qr_link_addr_t to = sim_addr(0);
  foe.up = foe.down = false;
  foe.in_sz = 0;
  assert_int_equal(qr_link_mem_ops.connect(foe.link, &to, NULL, &foe.conn), QR_OK);
  for (int i = 0; i < 100 && !foe.up; i++) run(1);
  assert_true(foe.up);
}

static inline qr_msg_t foe_hello(uint64_t height, uint64_t work) {
  qr_msg_t m = {.type = QR_MSG_HELLO};
  m.hello = (qr_msg_hello_t){.version = QR_MSG_VERSION,
                             .chain_id = 7,
                             .genesis = sim_genesis(),
                             .height = height,
                             .work = qr_u256_from_u64(work),
                             .agent_sz = 3,
                             .agent = "foe"};
  m.hello.tip = qr_hash("foe.tip", &height, 8);
  return m;
}

static inline void foe_join(uint64_t height, uint64_t work) {
  foe_connect();
  qr_msg_t m = foe_hello(height, work);
  foe_msg(&m);
  foe_msg(&(qr_msg_t){.type = QR_MSG_READY});
  run(20);
  assert_false(foe.down);
  assert_int_equal(sim_peer_cnt(sim.nodes[0]), 3);
}

/* Node 0 among three honest nodes; the foe is a fourth link. */
static inline void begin(uint64_t seed) {
  sim_init(&sim, seed);
  for (uint32_t i = 0; i < 3; i++) sim_node(&sim, (1u << i) - 1);
  memset(&foe, 0, sizeof foe);
  foe.sim = &sim;
  foe.link = sim_link(&sim, 6, &foe.key);
  run(100);
  for (uint32_t i = 0; i < 3; i++)
    sim_mine(sim.nodes[i], i, false), sim_until(&sim, 7, i + 1, 1000);
}

static inline qr_peers_stats_t stats(void) {
  qr_peers_stats_t st;
  qr_peers_stats(sim.nodes[0]->peers, &st);
  return st;
}

/* The honest ones still have each other, still relay, and the foe is refused when it comes again,
 * if banned. */
static inline void end(bool banned) {
  assert_true(foe.down);
  assert_int_equal(sim_peer_cnt(sim.nodes[0]), 2);
  uint64_t h = sim_height(sim.nodes[0]);
  sim_mine(sim.nodes[1], 500, true);
  sim_until(&sim, 7, h + 1, 2000);
  assert_int_equal(stats().bans, banned);
  foe_connect();
  run(50);
  assert_int_equal(foe.down, banned);
  for (uint32_t i = 1; i < 3; i++) {
    qr_peers_stats_t st;
    qr_peers_stats(sim.nodes[i]->peers, &st);
    assert_int_equal(st.strikes, 0);
  }
  qr_link_mem_ops.close(foe.link);
  sim_end(&sim);
}

#endif
