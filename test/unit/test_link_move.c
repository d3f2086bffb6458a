/* Where a QUIC connection's peer is: those that move, and those of whom a stranger says so. */
#include "unit/quic_bed.h"

/* The caller appears at another port, then at another address, as behind a NAT that forgot it. */
static void test_migration(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    bed_t *b = bed_open(seed, 100);
    seen_t seen[NODE_CNT];
    b->delay_ns = MS;
    b->loss_permille = 10;
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 50000, 100000);
    uint64_t sent = 50000, echo = 50000;
    for (uint32_t i = 1; i <= 3; i++) {
      b->moved = i == 1 ? addr_at(IP(0), PORT + 1) : addr_at(0x0a500100u + i, (uint16_t)(PORT + i));
      for (uint32_t k = 0; k < 20000 && seen[1].in[QR_LINK_BLOCK] < 50000 + i * 20000u; k++) {
        push(b, 0, c, QR_LINK_BLOCK, &sent, 50000 + i * 20000u);
        turn(b, seen);
      }
      for (uint32_t k = 0; k < 20000 && seen[0].in[QR_LINK_SYNC] < 50000 + i * 20000u; k++) {
        push(b, 1, seen[1].up, QR_LINK_SYNC, &echo, 50000 + i * 20000u);
        turn(b, seen);
      }
      assert_int_equal(seen[1].in[QR_LINK_BLOCK], 50000 + i * 20000u);
      assert_int_equal(seen[0].in[QR_LINK_SYNC], 50000 + i * 20000u);
      turns(b, seen, 500); /* the old place is given up */
    }
    assert_false(seen[0].down || seen[1].down);
    assert_int_equal(seen[0].up_cnt + seen[1].up_cnt, 2);
    assert_int_equal(seen[0].bad + seen[1].bad, 0);
    bed_close(b);
  }
}

/* A stranger who repeats a packet from his own address takes nothing away: he cannot answer what
   the new place is asked. */
static void test_stolen_packet(void **state) {
  (void)state;
  bed_t *b = bed_open(13, 100);
  seen_t seen[NODE_CNT];
  qr_link_conn_t c = join(b, seen);
  exchange(b, seen, c, 20000, 20000);
  uint64_t sent = 20000;
  push(b, 0, c, QR_LINK_TX, &sent, 20100);
  qr_link_event_t ev[4];
  node_poll(b, 0, ev, 4);
  for (uint32_t i = 0; i < WIRE_CNT; i++) {
    datagram_t *d = &b->wire[i];
    if (d->used && d->to.ip[15] == 2) d->from = addr_at(0x0a5000ee, 999);
  }
  turns(b, seen, 1000);
  for (uint32_t k = 0; k < 20000 && seen[1].in[QR_LINK_TX] < 40000; k++) {
    push(b, 0, c, QR_LINK_TX, &sent, 40000);
    turn(b, seen);
  }
  assert_int_equal(seen[1].in[QR_LINK_TX], 40000);
  sent = 20000;
  for (uint32_t k = 0; k < 20000 && seen[0].in[QR_LINK_TX] < 40000; k++) {
    push(b, 1, seen[1].up, QR_LINK_TX, &sent, 40000);
    turn(b, seen);
  }
  assert_int_equal(seen[0].in[QR_LINK_TX], 40000);
  assert_false(seen[0].down || seen[1].down);
  bed_close(b);
}

static uint64_t dropped_cnt(const bed_t *b) {
  qr_link_stats_t st[NODE_CNT] = {0};
  uint64_t cnt = 0;
  for (int i = 0; i < 2; i++) {
    qr_quic_stats(b->node[i].quic, &st[i]);
    cnt += st[i].rx_dropped;
  }
  return cnt;
}

static uint64_t forged_under_way_cnt(const bed_t *b) {
  uint64_t cnt = 0;
  for (uint32_t i = 0; i < WIRE_CNT; i++) cnt += b->wire[i].used && b->wire[i].from.port != PORT;
  return cnt;
}

/* One in fifty packets of either side seems to come from elsewhere. Each of them is dropped, and
   leaves nothing behind: a megabyte each way takes about what it takes with such losses. */
static void test_forged_senders(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 3; seed++) {
    bed_t *b = bed_open(20 + seed, 100);
    seen_t seen[NODE_CNT];
    b->delay_ns = MS;
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 20000, 20000);
    const uint64_t total = 1000000, began = b->now;
    uint64_t sent = 20000, echo = 20000, forged = 0, dropped = dropped_cnt(b);
    for (uint32_t k = 0; k < 200000; k++) {
      push(b, 0, c, QR_LINK_BLOCK, &sent, total);
      push(b, 1, seen[1].up, QR_LINK_SYNC, &echo, total);
      turn(b, seen);
      for (uint32_t i = 0; i < WIRE_CNT; i++) {
        datagram_t *d = &b->wire[i];
        if (!d->used || d->from.port != PORT || d->p[d->sz - 1] % 50) continue;
        d->from.port = (uint16_t)(2000 + k % 5000);
        forged++;
      }
      if (seen[1].in[QR_LINK_BLOCK] == total && seen[0].in[QR_LINK_SYNC] == total) break;
    }
    assert_true(forged > 20);
    assert_int_equal(dropped_cnt(b) - dropped, forged - forged_under_way_cnt(b));
    assert_in_range(b->now - began, 1, 500 * MS);
    assert_int_equal(seen[1].in[QR_LINK_BLOCK], total);
    assert_int_equal(seen[0].in[QR_LINK_SYNC], total);
    assert_false(seen[0].down || seen[1].down);
    bed_close(b);
  }
}

/* True if what node from sends to the other, sz bytes of a class, arrives within ns_max. */
static bool talk(bed_t *b, seen_t seen[NODE_CNT], int from, qr_link_conn_t c, int cls, uint64_t sz,
                 uint64_t ns_max) {
  int to = 1 - from;
  uint64_t sent = seen[to].in[cls], end = sent + sz, until = b->now + ns_max;
  while (seen[to].in[cls] < end && b->now < until && !seen[from].down) {
    push(b, from, c, cls, &sent, end);
    turn(b, seen);
  }
  return seen[to].in[cls] == end;
}

/* A short packet of nobody's ID that seems to come from there. */
static void stray(bed_t *b, const qr_link_addr_t *from) {
  uint8_t p[60];
  for (size_t i = 0; i < sizeof p; i++) p[i] = (uint8_t)draw(b, 256);
  p[0] = (uint8_t)(0x40 | (p[0] & 0x3f));
  qr_quic_input(b->node[1].quic, from, 0, p, sizeof p);
}

/* How long it takes until both ends of a caller that moved have what the other sends, in ms. busy:
   it moves while bytes flow. */
static double move_ms(uint64_t delay_ns, bool busy, bool to_port) {
  bed_t *b = bed_open(31, 100);
  seen_t seen[NODE_CNT];
  b->delay_ns = delay_ns;
  qr_link_conn_t c = join(b, seen);
  exchange(b, seen, c, 20000, 40000);
  if (!busy) turns(b, seen, 700);
  uint64_t there = seen[1].in[QR_LINK_BLOCK], back = seen[0].in[QR_LINK_BLOCK];
  uint64_t sent = there, echo = back;
  for (int i = 0; busy && i < 200; i++) {
    push(b, 0, c, QR_LINK_BLOCK, &sent, UINT64_MAX);
    push(b, 1, seen[1].up, QR_LINK_BLOCK, &echo, UINT64_MAX);
    turn(b, seen);
  }
  b->moved = to_port ? addr_at(IP(0), PORT + 1) : addr_at(0x0a500122, PORT);
  uint64_t began = b->now;
  sent = sent > there + 1 ? sent : there + 1;
  echo = echo > back + 1 ? echo : back + 1;
  uint64_t ends[2] = {sent, echo};
  sent = busy ? sent : there;
  echo = busy ? echo : back;
  while (b->now - began < 2900 * MS &&
         (seen[1].in[QR_LINK_BLOCK] < ends[0] || seen[0].in[QR_LINK_BLOCK] < ends[1])) {
    push(b, 0, c, QR_LINK_BLOCK, &sent, ends[0]);
    push(b, 1, seen[1].up, QR_LINK_BLOCK, &echo, ends[1]);
    turn(b, seen);
  }
  assert_true(seen[1].in[QR_LINK_BLOCK] >= ends[0] && seen[0].in[QR_LINK_BLOCK] >= ends[1]);
  assert_false(seen[0].down || seen[1].down);
  assert_int_equal(seen[0].bad + seen[1].bad, 0);
  double ms = (double)(b->now - began) / 1e6;
  bed_close(b);
  return ms;
}

/* Who moves after a silence is followed at once; who moves in the midst of a transfer once its old
   place has left an answer out. */
static void test_move_takes(void **state) {
  (void)state;
  static const uint64_t delays[] = {MS / 10, 10 * MS, 50 * MS};
  for (size_t i = 0; i < QR_ARRAY_CNT(delays); i++) {
    for (int to_port = 0; to_port < 2; to_port++) {
      double idle = move_ms(delays[i], false, to_port), busy = move_ms(delays[i], true, to_port);
      double rtt = 2 * (double)delays[i] / 1e6;
      if (getenv("QR_TEST_SAY"))
        print_message("rtt %.1f ms, %s: idle %.1f ms, busy %.1f ms\n", rtt,
                      to_port ? "port" : "address", idle, busy);
      assert_true(idle < 40 + 4 * rtt);
      assert_true(busy < 300 + 8 * rtt);
    }
  }
}

/* Strays that seem to come from the old place do not keep a caller out that has left it. */
static void test_strays_from_the_old_place(void **state) {
  (void)state;
  bed_t *b = bed_open(32, 100);
  seen_t seen[NODE_CNT];
  const qr_link_addr_t old = addr_of(0);
  qr_link_conn_t c = join(b, seen);
  exchange(b, seen, c, 20000, 20000);
  b->moved = addr_at(0x0a500122, PORT + 7);
  uint64_t sent = 20000;
  for (int i = 0; i < 40000 && seen[1].in[QR_LINK_TX] < 40000; i++) { /* 2 s */
    if (i % 1000 == 0) stray(b, &old);
    push(b, 0, c, QR_LINK_TX, &sent, 40000);
    turn(b, seen);
  }
  assert_int_equal(seen[1].in[QR_LINK_TX], 40000);
  assert_true(talk(b, seen, 1, seen[1].up, QR_LINK_TX, 20000, 500 * MS));
  bed_close(b);
}

/* The next packet of node 0 to node 1 arrives from a stranger's place, and never from its own. */
static void steal(bed_t *b, seen_t seen[NODE_CNT], qr_link_conn_t c, const qr_link_addr_t *by) {
  uint64_t sent = seen[1].in[QR_LINK_CONTROL];
  qr_link_event_t ev[4];
  push(b, 0, c, QR_LINK_CONTROL, &sent, sent + 1);
  node_poll(b, 0, ev, 4);
  for (uint32_t i = 0; i < WIRE_CNT; i++) {
    datagram_t *d = &b->wire[i];
    if (d->used && d->to.ip[15] == 2) d->from = *by;
  }
  turn(b, seen);
}

/* A stranger who steals a packet of a caller that was silent, and goes on to send from his place
   what he likes, does not keep the caller out, who never moved. */
static void test_stranger_does_not_take_the_place(void **state) {
  (void)state;
  const qr_link_addr_t stranger = addr_at(0x0a5000ee, 999);
  for (int lag = 0; lag < 3; lag++) {
    bed_t *b = bed_open(40 + (uint64_t)lag, 100);
    seen_t seen[NODE_CNT];
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 20000, 20000);
    turns(b, seen, 600);
    steal(b, seen, c, &stranger);
    for (int i = 0; i < 2000 * lag; i++) { /* 100 ms, 200 ms of it before the caller speaks again */
      if (i % 200 == 0) stray(b, &stranger);
      turn(b, seen);
    }
    uint64_t sent = seen[1].in[QR_LINK_TX], end = sent + 20000;
    uint64_t began = b->now;
    for (int i = 0; i < 8000 && seen[1].in[QR_LINK_TX] < end; i++) { /* 400 ms */
      if (i % 200 == 0) stray(b, &stranger);
      push(b, 0, c, QR_LINK_TX, &sent, end);
      turn(b, seen);
    }
    if (getenv("QR_TEST_SAY"))
      print_message("after %d ms: %.1f ms\n", 100 * lag, (double)(b->now - began) / 1e6);
    assert_int_equal(seen[1].in[QR_LINK_TX], end);
    assert_true(talk(b, seen, 1, seen[1].up, QR_LINK_TX, 20000, 500 * MS));
    qr_quic_info_t info;
    assert_int_equal(qr_quic_list(b->node[1].quic, &info, 1), 1);
    assert_int_equal(info.addr.port, PORT);
    assert_false(seen[0].down || seen[1].down);
    bed_close(b);
  }
}

/* What only the peer can have made is told of, and nothing else: no repeated packet, no stray, no
   packet that was changed. */
static void test_heard(void **state) {
  (void)state;
  bed_t *b = bed_open(60, 100);
  seen_t seen[NODE_CNT];
  static uint8_t last[QR_QUIC_DATAGRAM_MAX_SZ];
  size_t last_sz = 0;
  const qr_link_addr_t at = addr_of(0);
  qr_link_conn_t c = join(b, seen);
  assert_true(talk(b, seen, 0, c, QR_LINK_TX, 5000, 500 * MS));
  assert_true(b->node[1].heard_cnt && !memcmp(&b->node[1].heard, &at, sizeof at));
  turns(b, seen, 100);
  uint64_t before = b->node[1].heard_cnt, sent = seen[1].in[QR_LINK_CONTROL];
  qr_link_event_t ev[4];
  push(b, 0, c, QR_LINK_CONTROL, &sent, sent + 100);
  node_poll(b, 0, ev, 4);
  for (uint32_t i = 0; i < WIRE_CNT; i++) {
    if (!b->wire[i].used || b->wire[i].to.ip[15] != 2) continue;
    memcpy(last, b->wire[i].p, last_sz = b->wire[i].sz);
  }
  assert_true(last_sz > 100);
  last[last_sz - 1] ^= 1;
  qr_quic_input(b->node[1].quic, &at, 0, last, last_sz);
  last[last_sz - 1] ^= 1;
  assert_int_equal(b->node[1].heard_cnt, before);
  turns(b, seen, 5);
  assert_true(b->node[1].heard_cnt > before);
  turns(b, seen, 100);
  before = b->node[1].heard_cnt;
  for (int i = 0; i < 10; i++) qr_quic_input(b->node[1].quic, &at, 0, last, last_sz);
  for (int i = 0; i < 10; i++) stray(b, &at);
  assert_int_equal(b->node[1].heard_cnt, before);
  bed_close(b);
}

/* A caller that goes back and forth is followed each time, and known by the place where it is. */
static void test_there_and_back(void **state) {
  (void)state;
  for (uint64_t pause = 0; pause <= 1000; pause += 250) {
    bed_t *b = bed_open(50 + pause, 100);
    seen_t seen[NODE_CNT];
    qr_link_conn_t c = join(b, seen);
    exchange(b, seen, c, 20000, 20000);
    for (int i = 0; i < 6; i++) {
      b->moved = i % 2 ? (qr_link_addr_t){0} : addr_at(IP(0), PORT + 1);
      assert_true(talk(b, seen, 0, c, QR_LINK_BLOCK, 5000, 2500 * MS));
      assert_true(talk(b, seen, 1, seen[1].up, QR_LINK_BLOCK, 5000, 500 * MS));
      turns(b, seen, pause);
    }
    qr_quic_info_t info;
    turns(b, seen, 1500);
    assert_int_equal(qr_quic_list(b->node[1].quic, &info, 1), 1);
    assert_int_equal(info.addr.port, PORT);
    assert_false(seen[0].down || seen[1].down);
    bed_close(b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_migration),
      cmocka_unit_test(test_stolen_packet),
      cmocka_unit_test(test_forged_senders),
      cmocka_unit_test(test_move_takes),
      cmocka_unit_test(test_strays_from_the_old_place),
      cmocka_unit_test(test_stranger_does_not_take_the_place),
      cmocka_unit_test(test_heard),
      cmocka_unit_test(test_there_and_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
