/* link/mem: streams arrive whole and in order, at their time, and only where a connection stands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "drivers/link/mem/mem.h"

#define OPS (&qr_link_mem_ops)
#define MS UINT64_C(1000000)
#define NODE_CNT 3

typedef struct {
  qr_key_t key;
  qr_link_addr_t addr;
  qr_link_t *link;
} node_t;
typedef struct {
  node_t node[NODE_CNT];
} bed_t;

static qr_link_addr_t addr_of(int i) {
  qr_link_addr_t a = {.port = 4100};
  a.ip[10] = a.ip[11] = 0xff;
  a.ip[12] = 10;
  a.ip[15] = (uint8_t)(i + 1);
  return a;
}

static void bed_open(bed_t *b, const char *options, uint32_t conn_max_cnt) {
  char why[200] = "";
  for (int i = 0; i < NODE_CNT; i++) {
    uint8_t seed[32] = {(uint8_t)(i + 1)};
    node_t *n = &b->node[i];
    qr_key_from_seed(seed, &n->key);
    n->addr = addr_of(i);
    qr_link_cfg_t cfg = {
        .options = options, .local = n->addr, .identity = &n->key, .conn_max_cnt = conn_max_cnt};
    assert_int_equal(OPS->open(&cfg, &n->link, why, sizeof why), QR_OK);
  }
}

static void bed_close(bed_t *b) {
  for (int i = 0; i < NODE_CNT; i++) OPS->close(b->node[i].link);
}

static qr_link_event_t poll_one(node_t *n, uint64_t now) {
  qr_link_event_t ev;
  assert_int_equal(OPS->poll(n->link, now, &ev, 1), 1);
  return ev;
}

static void poll_none(node_t *n, uint64_t now) {
  qr_link_event_t ev;
  assert_int_equal(OPS->poll(n->link, now, &ev, 1), 0);
}

/* Node a connects to node b; both are up. */
static void join(bed_t *b, int a, int to, uint64_t *now, qr_link_conn_t *ca, qr_link_conn_t *cb) {
  assert_int_equal(OPS->connect(b->node[a].link, &b->node[to].addr, &b->node[to].key.pk, ca),
                   QR_OK);
  *now += 100 * MS;
  qr_link_event_t ev = poll_one(&b->node[to], *now);
  assert_int_equal(ev.kind, QR_LINK_UP);
  assert_true(ev.inbound);
  assert_memory_equal(&ev.peer, &b->node[a].key.pk, sizeof ev.peer);
  assert_memory_equal(ev.addr.ip, b->node[a].addr.ip, 16);
  *cb = ev.conn;
  ev = poll_one(&b->node[a], *now);
  assert_int_equal(ev.kind, QR_LINK_UP);
  assert_false(ev.inbound);
  assert_int_equal(ev.conn, *ca);
  assert_memory_equal(&ev.peer, &b->node[to].key.pk, sizeof ev.peer);
}

static void test_delay_is_kept(void **state) {
  (void)state;
  bed_t b;
  bed_open(&b, "hub=delay; delay_us=5000", 4);
  qr_link_conn_t ca, cb;
  uint64_t now = 1;
  poll_none(&b.node[0], now);
  assert_int_equal(OPS->connect(b.node[0].link, &b.node[1].addr, NULL, &ca), QR_OK);
  assert_int_equal(OPS->next_timer(b.node[1].link), now + 5 * MS);
  assert_int_equal(OPS->next_timer(b.node[0].link), now + 10 * MS);
  poll_none(&b.node[1], now + 5 * MS - 1);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_TX, "x", 1), 0); /* not up yet */
  cb = poll_one(&b.node[1], now + 5 * MS).conn;
  poll_none(&b.node[0], now + 10 * MS - 1);
  assert_int_equal(poll_one(&b.node[0], now += 10 * MS).kind, QR_LINK_UP);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_TX, "hello", 5), 5);
  assert_int_equal(OPS->next_timer(b.node[1].link), now + 5 * MS);
  poll_none(&b.node[1], now + 5 * MS - 1);
  qr_link_event_t ev = poll_one(&b.node[1], now += 5 * MS);
  assert_int_equal(ev.kind, QR_LINK_DATA);
  assert_int_equal(ev.cls, QR_LINK_TX);
  assert_int_equal(ev.sz, 5);
  assert_memory_equal(ev.data, "hello", 5);
  OPS->disconnect(b.node[1].link, cb);
  assert_int_equal(OPS->send(b.node[1].link, cb, QR_LINK_TX, "x", 1), QR_ERR_CLOSED);
  poll_none(&b.node[0], now + 5 * MS - 1);
  ev = poll_one(&b.node[0], now + 5 * MS);
  assert_int_equal(ev.kind, QR_LINK_DOWN);
  assert_string_equal(ev.reason, "closed by the peer");
  assert_int_equal(OPS->next_timer(b.node[0].link), UINT64_MAX);
  bed_close(&b);
}

static void test_short_send_then_writable(void **state) {
  (void)state;
  bed_t b;
  bed_open(&b, "hub=short;buf_kib=1", 4);
  qr_link_conn_t ca, cb;
  uint64_t now = 1;
  join(&b, 0, 1, &now, &ca, &cb);
  static uint8_t data[1500];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_SYNC, data, sizeof data), 1024);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_SYNC, data + 1024, 476), 0);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_CONTROL, "c", 1),
                   1); /* classes do not block each other */
  poll_none(&b.node[0], now);
  qr_link_event_t ev = poll_one(&b.node[1], now); /* control comes first */
  assert_int_equal(ev.cls, QR_LINK_CONTROL);
  ev = poll_one(&b.node[1], now);
  assert_int_equal(ev.cls, QR_LINK_SYNC);
  assert_int_equal(ev.sz, 1024);
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_SYNC, data + 1024, 476),
                   0); /* lent bytes keep their room */
  assert_memory_equal(ev.data, data, 1024);
  poll_none(&b.node[1], now);
  ev = poll_one(&b.node[0], now);
  assert_int_equal(ev.kind, QR_LINK_WRITABLE);
  assert_int_equal(ev.cls, QR_LINK_SYNC);
  poll_none(&b.node[0], now); /* said once */
  assert_int_equal(OPS->send(b.node[0].link, ca, QR_LINK_SYNC, data + 1024, 476), 476);
  ev = poll_one(&b.node[1], now);
  assert_int_equal(ev.sz, 476);
  assert_memory_equal(ev.data, data + 1024, 476);
  bed_close(&b);
}

static void expect_down(node_t *n, uint64_t now, const char *reason) {
  qr_link_event_t ev = poll_one(n, now);
  assert_int_equal(ev.kind, QR_LINK_DOWN);
  assert_string_equal(ev.reason, reason);
}

static void test_refusals(void **state) {
  (void)state;
  bed_t b;
  bed_open(&b, "hub=refuse", 1);
  node_t *n = b.node;
  qr_link_conn_t c, ca, cb;
  uint64_t now = 1;
  assert_int_equal(OPS->connect(n[0].link, &n[1].addr, &n[2].key.pk, &c), QR_OK);
  expect_down(&n[0], now, "peer has another identity than expected");
  poll_none(&n[1], now);
  assert_int_equal(OPS->connect(n[0].link, &n[0].addr, NULL, &c), QR_OK);
  expect_down(&n[0], now, "peer has our own identity");
  qr_link_addr_t nobody = addr_of(9);
  assert_int_equal(OPS->connect(n[0].link, &nobody, NULL, &c), QR_OK);
  poll_none(&n[0], now);
  expect_down(&n[0], now += 30000 * MS, "handshake timed out");
  join(&b, 0, 1, &now, &ca, &cb);
  assert_int_equal(OPS->connect(n[0].link, &n[2].addr, NULL, &c), QR_ERR_FULL);
  assert_int_equal(OPS->connect(n[2].link, &n[1].addr, NULL, &c), QR_OK);
  expect_down(&n[2], now, "refused by the peer");
  nobody.port = 0;
  assert_int_equal(OPS->connect(n[2].link, &nobody, NULL, &c), QR_ERR_ARG);
  qr_link_stats_t st;
  OPS->stats(n[0].link, &st);
  assert_int_equal(st.handshakes_failed, 3);
  qr_link_conn_t old = ca;
  OPS->disconnect(n[0].link, ca);
  expect_down(&n[1], now, "closed by the peer");
  join(&b, 0, 1, &now, &ca, &cb);
  assert_int_not_equal(ca, old); /* numbers are not reused */
  assert_int_equal(OPS->send(n[0].link, old, QR_LINK_TX, "x", 1), QR_ERR_CLOSED);
  bed_close(&b);
}

static void test_bad_options(void **state) {
  (void)state;
  static const char *const bad[] = {"speed=1",
                                    "buf_kib=0",
                                    "buf_kib=",
                                    "delay_us=-1",
                                    "idle_ms=1x",
                                    "=1",
                                    "seed=99999999999999999999"};
  qr_key_t key;
  qr_key_generate(&key);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    char why[200] = "";
    qr_link_t *l;
    qr_link_cfg_t cfg = {
        .options = bad[i], .local = addr_of(0), .identity = &key, .conn_max_cnt = 1};
    assert_int_equal(OPS->open(&cfg, &l, why, sizeof why), QR_ERR_ARG);
    assert_true(why[0]);
  }
  bed_t b;
  bed_open(&b, "hub=taken", 1);
  char why[200];
  qr_link_t *l;
  qr_link_cfg_t cfg = {
      .options = "hub=taken", .local = addr_of(0), .identity = &key, .conn_max_cnt = 1};
  assert_int_equal(OPS->open(&cfg, &l, why, sizeof why), QR_ERR_BUSY);
  cfg.local = addr_of(7);
  cfg.conn_max_cnt = 0;
  assert_int_equal(OPS->open(&cfg, &l, why, sizeof why), QR_ERR_ARG);
  bed_close(&b);
}

static void test_partition_and_heal(void **state) {
  (void)state;
  bed_t b;
  bed_open(&b, "hub=part;idle_ms=1000", 4);
  node_t *n = b.node;
  qr_link_conn_t c01, c10, c02, c20, c;
  uint64_t now = 1;
  join(&b, 0, 1, &now, &c01, &c10);
  join(&b, 0, 2, &now, &c02, &c20);
  qr_link_mem_group(n[1].link, 1);
  assert_int_equal(OPS->send(n[0].link, c01, QR_LINK_BLOCK, "held", 4), 4);
  assert_int_equal(OPS->send(n[0].link, c02, QR_LINK_BLOCK, "goes", 4), 4);
  poll_none(&n[0], now);
  poll_none(&n[1], now += 999 * MS);
  assert_int_equal(poll_one(&n[2], now).kind, QR_LINK_DATA);
  qr_link_mem_heal(n[0].link);
  qr_link_event_t ev = poll_one(&n[1], now);
  assert_int_equal(ev.kind, QR_LINK_DATA);
  assert_memory_equal(ev.data, "held", 4);
  qr_link_mem_group(n[1].link, 1); /* the time of the first cut does not count */
  poll_none(&n[0], now += 999 * MS);
  poll_none(&n[1], now);
  assert_int_equal(OPS->connect(n[2].link, &n[1].addr, NULL, &c), QR_OK);
  expect_down(&n[0], now += MS, "idle timeout");
  expect_down(&n[1], now, "idle timeout");
  now += 999 * MS;
  expect_down(&n[2], now, "handshake timed out");
  bed_close(&b);
}

static void test_kill_and_close(void **state) {
  (void)state;
  bed_t b;
  bed_open(&b, "hub=kill;delay_us=100", 4);
  node_t *n = b.node;
  qr_link_conn_t c01, c10, c02, c20;
  uint64_t now = 1;
  join(&b, 0, 1, &now, &c01, &c10);
  join(&b, 0, 2, &now, &c02, &c20);
  assert_int_equal(OPS->send(n[0].link, c01, QR_LINK_TX, "lost", 4), 4);
  qr_link_mem_kill(n[0].link, c01);
  expect_down(&n[0], now, "killed");
  expect_down(&n[1], now, "killed");
  assert_int_equal(OPS->send(n[2].link, c20, QR_LINK_TX, "last", 4), 4);
  OPS->close(n[2].link);
  poll_none(&n[0], now);
  now += MS;
  assert_int_equal(poll_one(&n[0], now).kind, QR_LINK_DATA); /* what was on the way still arrives */
  expect_down(&n[0], now, "closed by the peer");
  OPS->close(n[0].link);
  OPS->close(n[1].link);
}

/* Random traffic on every class of every pair with jitter; returns a digest of all events of all
 * nodes. */
static uint64_t run_random(uint64_t seed, uint64_t *received) {
  bed_t b;
  char options[80];
  snprintf(options, sizeof options, "hub=random;seed=%lu;delay_us=1000;jitter_us=3000;buf_kib=2",
           (unsigned long)seed);
  bed_open(&b, options, 4);
  qr_link_conn_t conn[NODE_CNT][NODE_CNT] = {0};
  uint64_t now = 1, digest = 0, state = 42;
  for (int i = 0; i < NODE_CNT; i++) {
    for (int j = i + 1; j < NODE_CNT; j++) join(&b, i, j, &now, &conn[i][j], &conn[j][i]);
  }
  uint8_t next_out[NODE_CNT][NODE_CNT][QR_LINK_CLASS_CNT] = {0},
          next_in[NODE_CNT][NODE_CNT][QR_LINK_CLASS_CNT] = {0};
  *received = 0;
  for (int round = 0; round < 3000; round++) {
    uint64_t lot = qr_splitmix_next(&state);
    int from = (int)((lot >> 33) % NODE_CNT),
        to = (from + 1 + (int)((lot >> 40) % (NODE_CNT - 1))) % NODE_CNT;
    int cls = (int)((lot >> 50) % QR_LINK_CLASS_CNT);
    uint8_t data[700], v = next_out[from][to][cls];
    for (size_t i = 0; i < sizeof data; i++) data[i] = v++;
    int64_t sent = OPS->send(b.node[from].link, conn[from][to], (enum qr_link_class)cls, data,
                             1 + (lot >> 20) % sizeof data);
    assert_true(sent >= 0);
    next_out[from][to][cls] = (uint8_t)(next_out[from][to][cls] + sent);
    now += (lot >> 13) % (2 * MS);
    for (int i = 0; i < NODE_CNT; i++) {
      qr_link_event_t ev[8];
      int n = OPS->poll(b.node[i].link, now, ev, 8);
      for (int e = 0; e < n; e++) {
        digest = (digest ^ ((uint64_t)ev[e].kind + 16u * ev[e].sz + (uint64_t)i)) * 0x100000001b3u;
        if (ev[e].kind != QR_LINK_DATA) continue;
        int peer = 0;
        while (conn[i][peer] != ev[e].conn) assert_true(++peer < NODE_CNT);
        for (size_t k = 0; k < ev[e].sz; k++)
          assert_int_equal(ev[e].data[k], next_in[i][peer][ev[e].cls]++);
        *received += ev[e].sz;
      }
    }
  }
  bed_close(&b);
  return digest;
}

static void test_random_is_ordered_and_repeatable(void **state) {
  (void)state;
  uint64_t n[3];
  uint64_t first = run_random(1, &n[0]), again = run_random(1, &n[1]), other = run_random(2, &n[2]);
  assert_int_equal(first, again);
  assert_int_equal(n[0], n[1]);
  assert_int_not_equal(first, other);
  assert_true(n[0] > 500000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_delay_is_kept),
      cmocka_unit_test(test_short_send_then_writable),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_bad_options),
      cmocka_unit_test(test_partition_and_heal),
      cmocka_unit_test(test_kill_and_close),
      cmocka_unit_test(test_random_is_ordered_and_repeatable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
