/* The links' QUIC endpoint without a network: streams, windows, identities, limits. */
#include "unit/quic_bed.h"

static void test_exchange(void **state) {
  (void)state;
  bed_t *b = bed_open(1, 100);
  seen_t seen[NODE_CNT];
  qr_link_conn_t c = join(b, seen);
  exchange(b, seen, c, 1 << 20, 20000);
  qr_link_stats_t st;
  assert_int_equal(qr_quic_conn_stats(b->node[0].quic, c, &st), QR_OK);
  assert_true(st.rtt_ns > MS / 10 && st.rtt_ns < 50 * MS);
  qr_quic_disconnect(b->node[0].quic, c);
  assert_int_equal(qr_quic_send(b->node[0].quic, c, QR_LINK_TX, "x", 1), QR_ERR_CLOSED);
  turns(b, seen, 5);
  assert_int_equal(seen[1].down, seen[1].up);
  assert_string_equal(seen[1].reason, "closed by the peer");
  assert_int_equal(seen[0].down, 0);
  bed_close(b);
}

static void test_last_bytes_arrive_before_down(void **state) {
  (void)state;
  bed_t *b = bed_open(2, 100);
  seen_t seen[NODE_CNT];
  b->steady = true;
  qr_link_conn_t c = join(b, seen);
  turns(b, seen, 5);
  uint64_t sent = 0;
  push(b, 0, c, QR_LINK_CONTROL, &sent, 2000);
  qr_quic_disconnect(b->node[0].quic, c);
  turns(b, seen, 5);
  assert_int_equal(seen[1].in[QR_LINK_CONTROL], 2000);
  assert_int_equal(seen[1].down, seen[1].up);
  bed_close(b);
}

static void test_loss_and_forgery(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 4; seed++) {
    bed_t *b = bed_open(seed, 100);
    seen_t seen[NODE_CNT];
    b->delay_ns = 2 * MS;
    b->loss_permille = 20;
    b->flip_permille = 20; /* every kind of packet gets damaged somewhere; none may pass or hurt */
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 100000, 200000);
    bed_close(b);
  }
}

static void test_identities(void **state) {
  (void)state;
  bed_t *b = bed_open(3, 100);
  seen_t seen[NODE_CNT] = {0};
  qr_link_conn_t c = call(b, 0, 1, &b->node[2].key.pk);
  turns(b, seen, 20);
  assert_int_equal(seen[0].down, c);
  assert_string_equal(seen[0].reason, "peer has another identity than expected");
  assert_int_equal(seen[0].up, 0);
  assert_int_equal(seen[1].up, 0);
  assert_int_equal(seen[1].down, 0); /* never was up there */
  qr_link_stats_t st;
  qr_quic_stats(b->node[1].quic, &st);
  assert_int_equal(st.handshakes_failed, 1);
  /* Node 2 comes back with the identity of node 0. */
  qr_quic_free(b->node[2].quic);
  qr_quic_cfg_t cfg = {.identity = &b->node[0].key,
                       .local = addr_of(2),
                       .conn_max_cnt = 4,
                       .send_buf_sz = 4096,
                       .window_sz = 1 << 16,
                       .idle_ns = 3000 * MS,
                       .handshake_ns = 2000 * MS,
                       .datagram_max_sz = QR_QUIC_DATAGRAM_MAX_SZ,
                       .retry_cnt = 9,
                       .out = {&b->node[2], out_room, out_commit, out_reachable, NULL}};
  assert_int_equal(qr_quic_new(&cfg, &b->node[2].quic), QR_OK);
  c = call(b, 0, 2, NULL);
  turns(b, seen, 20);
  assert_int_equal(seen[0].down, c);
  assert_string_equal(seen[0].reason, "peer has our own identity");
  qr_link_addr_t own = addr_of(0);
  assert_int_equal(qr_quic_connect(b->node[0].quic, &own, NULL, &c), QR_ERR_ARG);
  bed_close(b);
}

static void test_room_and_writable(void **state) {
  (void)state;
  bed_t *b = bed_open(4, 100);
  seen_t seen[NODE_CNT];
  static uint8_t p[256 << 10];
  qr_link_conn_t c = join(b, seen);
  for (size_t i = 0; i < sizeof p; i++) p[i] = pattern(QR_LINK_SYNC, i);
  int64_t room = qr_quic_send(b->node[0].quic, c, QR_LINK_SYNC, p, sizeof p);
  assert_true(room >= (64 << 10) - 1 &&
              room <= 64 << 10); /* the stream's first byte may still be there */
  assert_int_equal(qr_quic_send(b->node[0].quic, c, QR_LINK_SYNC, p, 1), 0);
  assert_int_equal(qr_quic_send(b->node[0].quic, c, QR_LINK_CONTROL, p, 0), 0);
  int writable = 0;
  for (int i = 0; i < 2000; i++) {
    qr_link_event_t ev[8];
    int n = node_poll(b, 0, ev, 8);
    for (int k = 0; k < n; k++)
      writable += ev[k].kind == QR_LINK_WRITABLE && ev[k].cls == QR_LINK_SYNC && ev[k].conn == c;
    n = node_poll(b, 1, ev, 8);
    for (int k = 0; k < n; k++)
      seen[1].in[QR_LINK_SYNC] += ev[k].kind == QR_LINK_DATA ? ev[k].sz : 0;
    b->now += MS / 10;
  }
  assert_int_equal(writable, 1);
  assert_int_equal(seen[1].in[QR_LINK_SYNC], room);
  bed_close(b);
}

/* A receiver that does not take its events holds the sender back; nothing grows, nothing is lost.
 */
static void test_back_pressure(void **state) {
  (void)state;
  bed_t *b = bed_open(11, 100);
  seen_t seen[NODE_CNT];
  const uint64_t most = (64 << 10) + (128 << 10);
  qr_link_conn_t c = join(b, seen);
  uint64_t sent = 0;
  for (int i = 0; i < 2000; i++) {
    qr_link_event_t ev[8];
    push(b, 0, c, QR_LINK_SYNC, &sent, 1 << 20);
    node_poll(b, 0, ev, 8);
    node_poll(b, 1, ev, 0);
    b->now += MS / 10;
  }
  assert_true(sent > most - 4096 && sent <= most);
  for (int i = 0; i < 20000 && seen[1].in[QR_LINK_SYNC] < 1 << 20; i++) {
    push(b, 0, c, QR_LINK_SYNC, &sent, 1 << 20);
    turn(b, seen);
  }
  assert_int_equal(seen[1].in[QR_LINK_SYNC], 1 << 20);
  assert_int_equal(seen[1].bad, 0);
  bed_close(b);
}

/* Callers beyond the table's size are refused, not left waiting; the others get through. */
static void test_full_conn_table(void **state) {
  (void)state;
  bed_t *b = bed_open(5, 100);
  seen_t seen[NODE_CNT] = {0};
  qr_link_conn_t c;
  qr_link_addr_t a = addr_of(1);
  for (int i = 0; i < 4; i++) call(b, 0, 1, NULL);
  assert_int_equal(qr_quic_connect(b->node[0].quic, &a, NULL, &c), QR_ERR_FULL);
  turns(b, seen, 50);
  assert_int_equal(seen[0].up_cnt, 2); /* half of the table is for strangers at a time */
  assert_string_equal(seen[0].reason, "refused by the peer");
  call(b, 0, 1, NULL);
  turns(b, seen, 20);
  call(b, 0, 1, NULL);
  turns(b, seen, 20);
  assert_int_equal(seen[0].up_cnt, 4);
  assert_int_equal(seen[1].up_cnt, 4);
  c = call(b, 2, 1, NULL);
  turns(b, seen, 20);
  assert_int_equal(seen[2].down, c);
  assert_string_equal(seen[2].reason, "refused by the peer");
  bed_close(b);
}

static void test_idle_and_reset(void **state) {
  (void)state;
  bed_t *b = bed_open(6, 100);
  seen_t seen[NODE_CNT];
  join(b, seen);
  turns(b, seen, 10000); /* kept alive far beyond the idle timeout */
  assert_false(seen[0].down || seen[1].down);
  b->cut = true;
  turns(b, seen, 3500);
  assert_string_equal(seen[0].reason, "idle timeout");
  assert_string_equal(seen[1].reason, "idle timeout");
  b->cut = false;
  qr_link_conn_t c = join(b, seen);
  /* Node 1 dies without a word and comes back: the next packet it does not know is answered by a
   * reset that only it can make. */
  b->cut = true;
  qr_quic_free(b->node[1].quic);
  b->cut = false;
  node_open(b, 1, 4, 100);
  uint64_t sent = 0;
  push(b, 0, c, QR_LINK_CONTROL, &sent, 100);
  turns(b, seen, 20);
  assert_int_equal(seen[0].down, c);
  assert_string_equal(seen[0].reason, "reset by the peer");
  c = join(b, seen);
  turns(b, seen, 100);
  b->cut = true;
  qr_quic_free(b->node[1].quic);
  b->cut = false;
  node_open(b, 1, 4, 100);
  turns(b, seen, 1100); /* the next keepalive is enough, long before the idle timeout */
  assert_int_equal(seen[0].down, c);
  assert_string_equal(seen[0].reason, "reset by the peer");
  bed_close(b);
}

static void test_unreachable_and_starved(void **state) {
  (void)state;
  bed_t *b = bed_open(7, 100);
  seen_t seen[NODE_CNT] = {0};
  b->unreachable = true;
  call(b, 0, 1, NULL);
  turns(b, seen, 1900);
  assert_int_equal(seen[0].down, 0);
  turns(b, seen, 200);
  assert_string_equal(seen[0].reason, "no host answers for that address");
  assert_int_equal(b->sent_cnt, 0);
  b->unreachable = false;
  b->starved = true;
  seen[0].reason = "";
  call(b, 0, 1, NULL);
  turns(b, seen, 100);
  b->starved = false;
  turns(b, seen, 1000);
  assert_true(seen[0].up && seen[1].up);
  b->cut = true;
  call(b, 0, 2, NULL);
  turns(b, seen, 2100);
  assert_string_equal(seen[0].reason, "handshake timed out");
  bed_close(b);
}

static void test_retry(void **state) {
  (void)state;
  bed_t *b = bed_open(8, 0); /* every sender must prove its address */
  seen_t seen[NODE_CNT];
  qr_link_conn_t c = join(b, seen);
  exchange(b, seen, c, 20000, 20000);
  bed_close(b);
  b = bed_open(8, 0);
  memset(seen, 0, sizeof seen);
  /* First packets from forged addresses cost the server nothing that lasts: its table stays free.
   */
  call(b, 0, 1, NULL);
  qr_link_event_t ev[1];
  node_poll(b, 0, ev, 1);
  datagram_t first = {0};
  for (uint32_t i = 0; i < WIRE_CNT; i++) {
    if (b->wire[i].used) first = b->wire[i];
  }
  assert_int_equal(first.sz >= 1200, 1);
  uint64_t before = b->sent_cnt;
  qr_quic_begin(b->node[1].quic, b->now);
  for (uint32_t i = 0; i < 1000; i++) {
    qr_link_addr_t forged = addr_at(0x0b000001u + i, PORT);
    qr_quic_input(b->node[1].quic, &forged, 0, first.p, first.sz);
  }
  assert_true(b->sent_cnt > before && b->sent_cnt <= before + 64); /* answers are rationed */
  turns(b, seen, 1000); /* the caller's own packet fell victim to the ration; it sends another */
  assert_true(seen[0].up && seen[1].up);
  bed_close(b);
}

/* Random bytes, and real packets with random changes, into an endpoint that has connections. */
static void test_garbage(void **state) {
  (void)state;
  bed_t *b = bed_open(9, 1);
  seen_t seen[NODE_CNT];
  qr_link_conn_t c = join(b, seen);
  uint8_t p[QR_QUIC_DATAGRAM_MAX_SZ];
  for (int i = 0; i < 20000; i++) {
    size_t sz = draw(b, sizeof p + 1);
    for (size_t k = 0; k < sz; k++) p[k] = (uint8_t)draw(b, 256);
    if (sz > 5 && draw(b, 2)) {
      p[0] = (uint8_t)(0xc0 | p[0]);
      memcpy(p + 1, "\0\0\0\1", 4);
      p[5] = (uint8_t)draw(b, 21);
    }
    qr_quic_begin(b->node[1].quic, b->now);
    qr_link_addr_t from =
        addr_at(draw(b, 2) ? IP(0) : draw(b, UINT32_MAX), (uint16_t)draw(b, 65536));
    qr_quic_input(b->node[1].quic, &from, (uint8_t)draw(b, 4), p, sz);
    if (i % 50 == 0) turn(b, seen);
  }
  exchange(b, seen, c, 10000, 20000);
  bed_close(b);
}

static void test_next_timer(void **state) {
  (void)state;
  bed_t *b = bed_open(10, 100);
  seen_t seen[NODE_CNT];
  assert_int_equal(qr_quic_next_timer(b->node[0].quic), UINT64_MAX);
  qr_link_conn_t c = join(b, seen);
  turns(b, seen, 200);
  uint64_t at = qr_quic_next_timer(b->node[0].quic);
  assert_true(at > b->now && at <= b->now + 1000 * MS); /* nothing but the next keepalive */
  uint64_t sent = 0;
  push(b, 0, c, QR_LINK_TX, &sent, 10);
  assert_true(qr_quic_next_timer(b->node[0].quic) <= b->now);
  bed_close(b);
}

/* A network that marks instead of losing: marked packets go on only while the peer says that marks
   arrive, and a network that clears the marks turns them off. */
static void test_ecn(void **state) {
  (void)state;
  for (int blind = 0; blind < 2; blind++) {
    bed_t *b = bed_open(12, 100);
    seen_t seen[NODE_CNT];
    b->delay_ns = 2 * MS;
    b->loss_permille = 20;
    b->marks = true;
    b->blind = blind;
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 200000, 200000);
    if (blind)
      assert_true(b->ect_cnt > 0 && b->ect_cnt < 100); /* those sent before it was clear */
    else
      assert_true(b->ect_cnt > b->sent_cnt / 2);
    bed_close(b);
  }
}

/* Time in which total bytes of a class arrive at node 1 while sync has more to send than the line
   carries. */
static uint64_t time_beside_sync(bed_t *b, seen_t seen[NODE_CNT], qr_link_conn_t c, int cls,
                                 uint64_t *bulk, uint64_t sz) {
  uint64_t sent = seen[1].in[cls], end = sent + sz, start = b->now;
  for (int i = 0; i < 100000 && seen[1].in[cls] < end; i++) {
    push(b, 0, c, QR_LINK_SYNC, bulk, UINT64_MAX);
    push(b, 0, c, cls, &sent, end);
    turn(b, seen);
  }
  assert_int_equal(seen[1].in[cls], end);
  return b->now - start;
}

/* A full line: sync takes all of it, and control and blocks still go first. */
static void test_classes(void **state) {
  (void)state;
  buf_kib = 512;
  bed_t *b = bed_open(14, 100);
  buf_kib = 64;
  seen_t seen[NODE_CNT];
  b->steady = true;
  b->delay_ns = 5 * MS;
  b->byte_ns = 800; /* 10 Mbit/s */
  b->queue_ns = 100 * MS;
  qr_link_conn_t c = join(b, seen);
  uint64_t bulk = 0, worst = 0;
  time_beside_sync(b, seen, c, QR_LINK_CONTROL, &bulk, 100);
  for (int i = 0; i < 20000; i++) { /* a second */
    push(b, 0, c, QR_LINK_SYNC, &bulk, UINT64_MAX);
    turn(b, seen);
  }
  uint64_t before = seen[1].in[QR_LINK_SYNC];
  for (int i = 0; i < 20; i++) {
    uint64_t ns = time_beside_sync(b, seen, c, QR_LINK_CONTROL, &bulk, 100);
    worst = ns > worst ? ns : worst;
  }
  assert_true(worst <
              120 * MS); /* the line's queue and a lost packet, not 64 KiB of sync (52 ms) on top */
  assert_true(seen[1].in[QR_LINK_SYNC] > before);
  /* 60 KB take 48 ms of the line; with its half they would take twice that. */
  uint64_t block_ns = time_beside_sync(b, seen, c, QR_LINK_BLOCK, &bulk, 60000);
  uint64_t tx_ns = time_beside_sync(b, seen, c, QR_LINK_TX, &bulk, 60000);
  if (getenv("QR_TEST_SAY"))
    print_message("control %.1f ms, block %.1f, tx %.1f\n", (double)worst / 1e6,
                  (double)block_ns / 1e6, (double)tx_ns / 1e6);
  assert_true(block_ns < 130 * MS);
  assert_true(block_ns + 20 * MS < tx_ns);
  assert_int_equal(seen[1].bad, 0);
  bed_close(b);
}

/* Few packet buffers, and two peers that want more than there is: each gets its share. */
static void test_fairness(void **state) {
  (void)state;
  bed_t *b = bed_open(15, 100);
  seen_t seen[NODE_CNT];
  qr_link_conn_t c[2] = {join(b, seen)};
  seen[2].up = 0;
  c[1] = call(b, 0, 2, &b->node[2].key.pk);
  for (int i = 0; i < 40000 && !seen[2].up; i++) turn(b, seen);
  assert_true(seen[2].up);
  uint64_t sent[2] = {0};
  b->room_cnt = 3;
  for (int i = 0; i < 4000; i++) {
    push(b, 0, c[0], QR_LINK_SYNC, &sent[0], UINT64_MAX);
    push(b, 0, c[1], QR_LINK_SYNC, &sent[1], UINT64_MAX);
    turn(b, seen);
  }
  uint64_t one = seen[1].in[QR_LINK_SYNC], other = seen[2].in[QR_LINK_SYNC];
  if (getenv("QR_TEST_SAY")) print_message("%lu and %lu bytes\n", one, other);
  assert_true(one > 1000000 && one < 2 * other && other < 2 * one);
  bed_close(b);
}

/* What a class takes before anything is acknowledged. */
static void test_class_room(void **state) {
  (void)state;
  static const uint64_t kib[QR_LINK_CLASS_CNT] = {
      [QR_LINK_CONTROL] = 128, [QR_LINK_BLOCK] = 512, [QR_LINK_TX] = 128, [QR_LINK_SYNC] = 1024};
  static uint8_t p[2 << 20];
  buf_kib = 1024;
  bed_t *b = bed_open(16, 100);
  buf_kib = 64;
  seen_t seen[NODE_CNT];
  qr_link_conn_t c = join(b, seen);
  turns(b, seen, 5); /* the streams' first bytes are acknowledged */
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++)
    assert_int_equal(qr_quic_send(b->node[0].quic, c, (enum qr_link_class)k, p, sizeof p),
                     kib[k] << 10);
  bed_close(b);
}

/* Whoever polls once in a millisecond, and again while the timer says so, is as fast as the path:
   half a megabyte under way in five milliseconds. */
static void test_late_polls(void **state) {
  (void)state;
  buf_kib = 512;
  bed_t *b = bed_open(17, 100);
  buf_kib = 64;
  seen_t seen[NODE_CNT];
  b->steady = true;
  b->delay_ns = 2 * MS;
  qr_link_conn_t c = join(b, seen);
  uint64_t sent = 0, before = 0;
  for (int ms = 0; ms < 700; ms++) {
    if (ms == 300) before = seen[1].in[QR_LINK_SYNC]; /* BBR knows the path by then */
    for (int i = 0; i < 128; i++) push(b, 0, c, QR_LINK_SYNC, &sent, UINT64_MAX);
    for (int i = 0; i < 100; i++) {
      turn(b, seen);
      b->now -= MS / 20;
      if (qr_quic_next_timer(b->node[0].quic) > b->now &&
          qr_quic_next_timer(b->node[1].quic) > b->now)
        break;
    }
    b->now += MS;
  }
  uint64_t rate = (seen[1].in[QR_LINK_SYNC] - before) / 400;
  if (getenv("QR_TEST_SAY")) print_message("%lu bytes a millisecond\n", rate);
  assert_true(rate > 60000);
  assert_int_equal(seen[1].bad, 0);
  bed_close(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exchange),
      cmocka_unit_test(test_last_bytes_arrive_before_down),
      cmocka_unit_test(test_loss_and_forgery),
      cmocka_unit_test(test_identities),
      cmocka_unit_test(test_room_and_writable),
      cmocka_unit_test(test_back_pressure),
      cmocka_unit_test(test_full_conn_table),
      cmocka_unit_test(test_idle_and_reset),
      cmocka_unit_test(test_unreachable_and_starved),
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_next_timer),
      cmocka_unit_test(test_ecn),
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_fairness),
      cmocka_unit_test(test_class_room),
      cmocka_unit_test(test_late_polls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
