/* The link emulator's pure parts: fates, the queue of waiting frames, the stations that a switch
   knows, commands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "emu/damage.h"
#include "emu/emu.h"
#include "emu/fate.h"
#include "emu/room.h"
#include "emu/station.h"

#define MS UINT64_C(1000000)

static unsigned judge(qr_emu_line_t *l, uint64_t now_ns, uint32_t sz, uint64_t due[3]) {
  qr_emu_judgement_t j = qr_emu_line_judge(l, now_ns, sz);
  memcpy(due, j.due_ns, sizeof j.due_ns);
  return j.cnt;
}

static void test_nothing_set_passes_at_once(void **state) {
  qr_emu_line_t l;
  uint64_t due[3];
  (void)state;
  qr_emu_line_init(&l, 1, 0);
  for (uint64_t i = 0; i < 1000; i++) {
    assert_int_equal(judge(&l, i, 1500, due), 1);
    assert_int_equal(due[0], i);
  }
  assert_int_equal(l.stats.frame_cnt, 1000);
  assert_int_equal(l.stats.byte_cnt, 1500000);
}

static void test_jitter_keeps_the_order(void **state) {
  qr_emu_line_t l;
  uint64_t due[3], last = 0, least = UINT64_MAX, most = 0;
  (void)state;
  qr_emu_line_init(&l, 7, 3);
  l.fate.delay_ns = 10 * MS;
  l.fate.jitter_ns = 4 * MS;
  for (uint64_t i = 0; i < 20000; i++) {
    uint64_t now = i * 5 * MS; /* further apart than the jitter: each has its own */
    assert_int_equal(judge(&l, now, 100, due), 1);
    assert_true(due[0] >= last);
    last = due[0];
    if (due[0] - now < least) least = due[0] - now;
    if (due[0] - now > most) most = due[0] - now;
  }
  assert_in_range(least, 10 * MS, 10 * MS + MS / 100);
  assert_in_range(most, 14 * MS - MS / 100, 14 * MS - 1);
  for (uint64_t i = 0; i < 1000; i++) { /* close together: a late one delays those behind it */
    assert_int_equal(judge(&l, 100000 * MS + i * 1000, 100, due), 1);
    assert_true(due[0] >= last);
    last = due[0];
  }
}

/* Counts lie within five standard deviations of what was asked for. */
static void test_chances(void **state) {
  static const uint32_t ppms[] = {0, 1000, 10000, 50000, 500000, 1000000};
  const double n = 200000;
  (void)state;
  for (size_t i = 0; i < QR_ARRAY_CNT(ppms); i++) {
    qr_emu_line_t l;
    uint64_t due[3], out = 0;
    const double p = ppms[i] / 1e6, sd2 = 25 * n * p * (1 - p) + 1e-9;
    qr_emu_line_init(&l, 11, (uint32_t)i);
    l.fate.loss_ppm = ppms[i];
    for (int k = 0; k < n; k++) out += judge(&l, 0, 64, due);
    double off = (double)l.stats.lost_cnt - n * p;
    assert_true(off * off <= sd2);
    assert_int_equal(out + l.stats.lost_cnt, (uint64_t)n);
    qr_emu_line_init(&l, 12, (uint32_t)i);
    l.fate.dup_ppm = ppms[i];
    out = 0;
    for (int k = 0; k < n; k++) out += judge(&l, 0, 64, due);
    off = (double)l.stats.duplicated_cnt - n * p;
    assert_true(off * off <= sd2);
    assert_int_equal(out, (uint64_t)n + l.stats.duplicated_cnt);
  }
}

static void test_reordered_frames_are_overtaken(void **state) {
  qr_emu_line_t l;
  uint64_t due[3], overtaken = 0, held = 0;
  (void)state;
  qr_emu_line_init(&l, 5, 0);
  l.fate.delay_ns = MS;
  l.fate.reorder_ppm = 100000;
  l.fate.hold_ns = 3 * MS;
  for (uint64_t i = 0; i < 10000; i++) {
    uint64_t now = i * MS / 10;
    assert_int_equal(judge(&l, now, 64, due), 1);
    if (due[0] == now + 4 * MS) {
      held = due[0];
    } else {
      assert_int_equal(due[0], now + MS);
      overtaken += due[0] < held;
    }
  }
  assert_in_range(l.stats.reordered_cnt, 850, 1150);
  assert_true(overtaken > l.stats.reordered_cnt);
}

static void test_rate_and_its_queue(void **state) {
  qr_emu_line_t l;
  uint64_t due[3], passed = 0, last = 0;
  (void)state;
  qr_emu_line_init(&l, 5, 0);
  l.fate.rate_bps = 100000000; /* 1250 bytes take 100 us */
  l.fate.queue_sz = 12500;
  for (int i = 0; i < 100; i++) {
    unsigned cnt = judge(&l, 0, 1250, due);
    passed += cnt;
    if (cnt) last = due[0];
  }
  assert_int_equal(passed, 10);
  assert_int_equal(last, MS);
  assert_int_equal(l.stats.queue_dropped_cnt, 90);
  assert_int_equal(judge(&l, MS / 2, 1250, due), 1); /* half of it has gone out */
  assert_int_equal(due[0], MS + MS / 10);
  assert_int_equal(judge(&l, 50 * MS, 1250, due), 1); /* an idle line owes nothing */
  assert_int_equal(due[0], 50 * MS + MS / 10);
  l.fate.queue_sz = 0; /* one frame at a time */
  assert_int_equal(judge(&l, 60 * MS, 1250, due), 1);
  assert_int_equal(judge(&l, 60 * MS, 1250, due), 0);
}

static void judge_many(uint64_t seed, uint32_t number, uint32_t change_at, uint64_t *out) {
  qr_emu_line_t l;
  uint64_t due[3];
  qr_emu_line_init(&l, seed, number);
  l.fate.loss_ppm = 100000;
  l.fate.dup_ppm = 100000;
  l.fate.jitter_ns = MS;
  for (uint32_t i = 0; i < 1000; i++) {
    if (i == change_at) l.fate.loss_ppm = 0;
    if (i == change_at + 100) l.fate.loss_ppm = 100000;
    due[0] = 0;
    out[i] = judge(&l, i * 10 * MS, 64, due);
    if (out[i]) out[i] |= due[0] << 2;
  }
}

static void test_same_seed_same_fate(void **state) {
  static uint64_t a[1000], b[1000];
  (void)state;
  judge_many(42, 3, 5000, a);
  judge_many(42, 3, 5000, b);
  assert_memory_equal(a, b, sizeof a);
  judge_many(42, 4, 5000, b);
  assert_memory_not_equal(a, b, sizeof a);
  judge_many(43, 3, 5000, b);
  assert_memory_not_equal(a, b, sizeof a);
  judge_many(42, 3, 500, b); /* a change in between changes nothing behind it */
  assert_memory_equal(a, b, 500 * sizeof *a);
  assert_memory_equal(a + 600, b + 600, 400 * sizeof *a);
}

static void test_room(void **state) {
  qr_emu_room_t r;
  qr_emu_wait_t w;
  uint64_t last_due = 0, last_seq = 0;
  (void)state;
  srand(4);
  assert_true(qr_emu_room_init(&r, 100, 64));
  uint32_t slot = qr_emu_room_take(&r);
  assert_int_equal(qr_emu_room_next_ns(&r), UINT64_MAX);
  assert_false(qr_emu_room_due(&r, UINT64_MAX, &w));
  for (uint32_t i = 0; i < 200; i++) {
    qr_emu_room_share(&r, slot);
    assert_true(qr_emu_room_wait(&r, 1 + (uint64_t)(rand() % 20), slot, (uint16_t)i, i & 1));
  }
  assert_false(qr_emu_room_wait(&r, 1, slot, 0, false));
  assert_false(qr_emu_room_due(&r, qr_emu_room_next_ns(&r) - 1, &w));
  for (uint32_t i = 0; i < 200; i++) {
    assert_true(qr_emu_room_due(&r, 20, &w));
    assert_true(w.due_ns > last_due || (w.due_ns == last_due && w.seq >= last_seq));
    last_due = w.due_ns;
    last_seq = w.seq;
    qr_emu_room_drop(&r, w.slot);
  }
  assert_int_equal(r.free_cnt, 99);
  qr_emu_room_drop(&r, slot);
  assert_int_equal(r.free_cnt, 100);
  for (uint32_t i = 0; i < 100; i++) assert_int_not_equal(qr_emu_room_take(&r), UINT32_MAX);
  assert_int_equal(qr_emu_room_take(&r), UINT32_MAX);
  assert_int_equal(r.free_min_cnt, 0);
  qr_emu_room_fini(&r);
}

static void frame_of(uint8_t *f, uint64_t to, uint64_t from) {
  for (int i = 0; i < 6; i++) {
    f[i] = (uint8_t)(to >> (40 - 8 * i));
    f[6 + i] = (uint8_t)(from >> (40 - 8 * i));
  }
}

static void test_replay_comes_once_more(void **state) {
  qr_emu_line_t l;
  uint64_t due[3];
  (void)state;
  qr_emu_line_init(&l, 3, 0);
  l.fate.delay_ns = MS;
  l.fate.hold_ns = 7 * MS;
  l.fate.replay_ppm = l.fate.dup_ppm = QR_EMU_PPM;
  assert_int_equal(judge(&l, 5 * MS, 100, due), 3);
  assert_int_equal(due[0], 6 * MS);
  assert_int_equal(due[1], 6 * MS);
  assert_int_equal(due[2], 13 * MS);
  assert_int_equal(l.stats.replayed_cnt, 1);
}

/* An IPv4 or IPv6 frame with a UDP packet of so many bytes in it; returns its size. */
static size_t udp_frame(uint8_t *f, bool v4, size_t payload_sz) {
  size_t packet = v4 ? 34 : 54, sz = packet + 8 + payload_sz;
  for (size_t i = 0; i < sz; i++) f[i] = (uint8_t)(rand() >> 7);
  f[12] = v4 ? 8 : 0x86;
  f[13] = v4 ? 0 : 0xdd;
  f[14] = v4 ? 0x45 : 0x60;
  f[v4 ? 23 : 20] = 17;
  f[v4 ? 16 : 18] = (uint8_t)((v4 ? sz - 14 : sz - 54) >> 8);
  f[v4 ? 17 : 19] = (uint8_t)(v4 ? sz - 14 : sz - 54);
  f[packet + 4] = (uint8_t)((8 + payload_sz) >> 8);
  f[packet + 5] = (uint8_t)(8 + payload_sz);
  qr_emu_checksum(f, sz);
  return sz;
}

static uint32_t ones(const uint8_t *p, size_t sz) {
  uint32_t s = 0;
  for (size_t i = 0; i < sz; i++) s += (uint32_t)p[i] << (i & 1 ? 0 : 8);
  return s;
}

/* Lengths fit, and the ones' complement sums over header and packet are what they must be. */
static bool is_right(const uint8_t *f, size_t sz, bool v4) {
  size_t packet = v4 ? 34 : 54, ip_sz = (size_t)(f[v4 ? 16 : 18] << 8 | f[v4 ? 17 : 19]);
  if (sz < packet + 8 || ip_sz != sz - (v4 ? 14 : 54)) return false;
  size_t udp_sz = (size_t)(f[packet + 4] << 8 | f[packet + 5]);
  if (udp_sz != sz - packet) return false;
  uint32_t head = v4 ? ones(f + 14, 20) : 0xffff;
  uint32_t all =
      ones(f + (v4 ? 26 : 22), v4 ? 8 : 32) + 17 + (uint32_t)udp_sz + ones(f + packet, udp_sz);
  return head % 0xffff == 0 && all % 0xffff == 0;
}

static void test_damage(void **state) {
  uint8_t f[1514], g[1514];
  uint32_t right = 0, wrong = 0, fits = 0, cuts = 0;
  (void)state;
  srand(6);
  for (uint32_t i = 0; i < 20000; i++) {
    const bool v4 = i & 1;
    const uint64_t word = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 9 ^ (uint64_t)rand();
    size_t sz = udp_frame(f, v4, (size_t)(rand() % 1400));
    assert_true(is_right(f, sz, v4));
    memcpy(g, f, sz);
    qr_emu_corrupt(g, sz, word);
    assert_memory_equal(f, g, 14);
    if (is_right(g, sz, v4))
      right++;
    else
      wrong++;
    memcpy(g, f, sz);
    size_t cut = qr_emu_truncate(g, sz, word);
    assert_true(cut >= 14 && cut < sz);
    assert_memory_equal(f, g, 14);
    if (cut < 62) continue;
    cuts++;
    fits += is_right(g, cut, v4);
    assert_true(is_right(g, cut, v4) == (word & 1));
  }
  assert_true(right > 5000 && wrong > 8000);
  assert_true(fits > cuts / 3 && fits < cuts * 2 / 3);
  for (size_t sz = 0; sz < 80; sz++) { /* of any size, and of nonsense */
    for (uint64_t word = 0; word < 200; word++) {
      uint8_t *exact = malloc(sz ? sz : 1);
      for (size_t k = 0; k < sz; k++) exact[k] = (uint8_t)rand();
      if (sz > 13 && word & 2) memcpy(exact + 12, "\x08\x00", 2);
      if (sz > 13 && word & 4) memcpy(exact + 12, "\x86\xdd", 2);
      qr_emu_corrupt(exact, sz, word * 77777);
      (void)qr_emu_truncate(exact, sz, word * 7777777);
      qr_emu_checksum(exact, sz);
      free(exact);
    }
  }
}

static void test_stations(void **state) {
  static qr_emu_stations_t s;
  const uint64_t a = 0x020000000001, b = 0x020000000002, group = 0xffffffffffff;
  uint8_t f[14] = {0};
  (void)state;
  frame_of(f, b, a);
  assert_int_equal(qr_emu_station_find(&s, f), QR_EMU_EVERYWHERE);
  qr_emu_station_learn(&s, f, 1, 10);
  frame_of(f, a, b);
  assert_int_equal(qr_emu_station_find(&s, f), 1);
  qr_emu_station_learn(&s, f, 2, 11);
  frame_of(f, group, b);
  assert_int_equal(qr_emu_station_find(&s, f), QR_EMU_EVERYWHERE);
  frame_of(f, group, group); /* a group sends nothing */
  qr_emu_station_learn(&s, f, 3, 12);
  frame_of(f, b, a);
  assert_int_equal(qr_emu_station_find(&s, f), 2);
  qr_emu_station_learn(&s, f, 5, 13); /* it has moved */
  frame_of(f, a, b);
  assert_int_equal(qr_emu_station_find(&s, f), 5);
  for (uint64_t i = 0; i < 100000;
       i++) { /* a flood of senders ends, and does not end those heard */
    frame_of(f, b, UINT64_C(0x060000000000) + i * 7919);
    qr_emu_station_learn(&s, f, 9, 14 + i);
    frame_of(f, b, a);
    qr_emu_station_learn(&s, f, 5, 14 + i);
  }
  frame_of(f, a, b);
  assert_int_equal(qr_emu_station_find(&s, f), 5);
}

static void test_commands(void **state) {
  static const struct {
    const char *line, *why;
  } bad[] = {{"", "is none of"},
             {"set", "is none of"},
             {"get * delay=1ms", "is none of"},
             {"set s7 delay=1ms", "no port 's7'"},
             {"set * delay", "'delay' is none of"},
             {"set * speed=1", "'speed' is none of"},
             {"set * delay=10", "delay '10' is not"},
             {"set * delay=ms", "delay 'ms' is not"},
             {"set * delay=-1ms", "delay '-1ms' is not"},
             {"set * delay=61s", "delay '61s' is not"},
             {"set * loss=101%", "loss '101%' is not"},
             {"set * loss=1", "loss '1' is not"},
             {"set * delay=1ms rate=fast", "rate 'fast' is not"},
             {"set * queue=1x", "queue '1x' is not"}};
  static const char *const good[] = {"set *",
                                     "set * delay=1.5ms",
                                     "set * both jitter=10us loss=0.1% dup=5% reorder=1% hold=2ms",
                                     "set * from rate=10mbit queue=64k",
                                     "set * rate=0 loss=0 group=3",
                                     "  set  *  to  delay=0 "};
  const qr_emu_cfg_t cfg = {.seed = 1, .room_mib = 1};
  char why[256];
  (void)state;
  qr_emu_t *e = qr_emu_open(&cfg, why, sizeof why);
  assert_non_null(e);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    assert_int_not_equal(qr_emu_command(e, bad[i].line, why, sizeof why), 0);
    if (!strstr(why, bad[i].why)) fail_msg("'%s' says '%s'", bad[i].line, why);
  }
  for (size_t i = 0; i < QR_ARRAY_CNT(good); i++)
    assert_int_equal(qr_emu_command(e, good[i], why, sizeof why), 0);
  assert_int_not_equal(qr_emu_add_port(e, "no such interface", why, sizeof why), 0);
  assert_int_not_equal(qr_emu_add_port(e, "a=memif:", why, sizeof why), 0);
  assert_int_not_equal(qr_emu_add_port(e, "a=memif:/nowhere/at/all.sock", why, sizeof why), 0);
  qr_emu_close(e);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_set_passes_at_once),
      cmocka_unit_test(test_jitter_keeps_the_order),
      cmocka_unit_test(test_chances),
      cmocka_unit_test(test_reordered_frames_are_overtaken),
      cmocka_unit_test(test_rate_and_its_queue),
      cmocka_unit_test(test_same_seed_same_fate),
      cmocka_unit_test(test_replay_comes_once_more),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_room),
      cmocka_unit_test(test_stations),
      cmocka_unit_test(test_commands),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
