/* Which segments a card keeps, of the xrt driver. Its code is compiled in here, for it needs no XRT
   and a build without that lacks the driver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../drivers/accel/xrt/replay.c"
#include "net_gen.h"

#define ROWS 40u

static qr_xrt_replay_t g_r;

static qr_accel_job_t job_of(qr_accel_segment_t *s, const uint64_t *tags, uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++) s[i] = (qr_accel_segment_t){.tag = tags[i]};
  return (qr_accel_job_t){.segments = s, .segment_cnt = cnt, .segment_rows = ROWS};
}

static bool hold(qr_xrt_hold_t *h, uint32_t cnt, const uint64_t *tags) {
  qr_accel_segment_t s[QR_XRT_SEGMENT_MAX_CNT + 1];
  qr_accel_job_t job = job_of(s, tags, cnt);
  return qr_xrt_replay_hold(&g_r, &job, h);
}

#define HOLD(h, ...)                                                                               \
  hold(h, QR_ARRAY_CNT(((const uint64_t[]){__VA_ARGS__})), (const uint64_t[]){__VA_ARGS__})

static void send_all(const qr_xrt_hold_t *h) {
  for (uint32_t i = 0; i < h->cnt; i++) qr_xrt_hold_place(h, i)->sent_rows = ROWS;
}

/* How many of a hold's segments need not be sent. */
static uint32_t there(const qr_xrt_hold_t *h) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < h->cnt; i++) cnt += qr_xrt_hold_place(h, i)->sent_rows == ROWS;
  return cnt;
}

static uint32_t user_cnt(void) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < g_r.place_cnt; i++) cnt += g_r.places[i].user_cnt;
  return cnt;
}

static int set_up(void **state) {
  (void)state;
  qr_xrt_replay_reset(&g_r, 6 * ROWS + 5);
  return 0;
}

/* Segments stay, and the longest unused of those that nobody uses give way. */
static void test_stay_and_give_way(void **state) {
  (void)state;
  qr_xrt_hold_t h = {0}, other = {0};
  assert_true(HOLD(&h, 1, 2, 3));
  assert_int_equal(there(&h), 0);
  send_all(&h);
  for (uint32_t i = 0; i < 3; i++) {
    assert_true(qr_xrt_hold_row(&h, i) + ROWS <= g_r.row_cnt);
    for (uint32_t k = 0; k < i; k++) assert_true(qr_xrt_hold_row(&h, i) != qr_xrt_hold_row(&h, k));
  }
  qr_xrt_replay_let_go(&h);
  assert_true(HOLD(&h, 3, 4, 5, 6));
  assert_int_equal(there(&h), 1);
  send_all(&h);
  qr_xrt_replay_let_go(&h);
  assert_true(HOLD(&h, 1, 2, 3, 4, 5, 6)); /* all six */
  assert_int_equal(there(&h), 6);
  qr_xrt_replay_let_go(&h);
  assert_true(HOLD(&h, 2, 5));
  qr_xrt_replay_let_go(&h);
  assert_true(HOLD(&h, 7, 8, 9, 10)); /* in the places of 1, 3, 4 and 6 */
  assert_int_equal(there(&h), 0);
  assert_true(HOLD(&other, 5, 2));
  assert_int_equal(there(&other), 2);
  qr_xrt_replay_let_go(&h);
  qr_xrt_replay_let_go(&other);
  assert_int_equal(user_cnt(), 0);
}

/* What a job uses does not give way, also if two use it. */
static void test_in_use(void **state) {
  (void)state;
  qr_xrt_hold_t a = {0}, b = {0}, c = {0};
  assert_true(HOLD(&a, 1, 2, 3, 4));
  assert_true(HOLD(&b, 3, 4, 5));
  assert_int_equal(qr_xrt_hold_row(&a, 2), qr_xrt_hold_row(&b, 0));
  assert_false(HOLD(&c, 6, 7));
  assert_null(c.replay);
  assert_true(HOLD(&c, 6));
  qr_xrt_replay_let_go(&c);
  send_all(&b);
  qr_xrt_replay_let_go(&a);
  qr_xrt_replay_let_go(&a); /* once is enough */
  assert_true(HOLD(&c, 11, 12, 13));
  assert_false(HOLD(&a, 14));
  assert_int_equal(there(&b), 3);
  qr_xrt_replay_let_go(&b);
  qr_xrt_replay_let_go(&c);
  assert_int_equal(user_cnt(), 0);
}

static void test_refused(void **state) {
  (void)state;
  static const uint64_t many[QR_XRT_SEGMENT_MAX_CNT + 1];
  qr_xrt_hold_t h = {0};
  assert_false(HOLD(&h, 1, 0, 2));
  assert_false(HOLD(&h, 1, 2, 1)); /* its rows could have two targets */
  assert_true(HOLD(&h, 1, 2));
  qr_xrt_replay_let_go(&h);
  assert_false(HOLD(&h, 1, 1));
  assert_false(HOLD(&h, 1, 2, 3, 4, 5, 6, 7));
  assert_false(hold(&h, QR_ARRAY_CNT(many), many));
  assert_int_equal(user_cnt(), 0);
  qr_xrt_replay_reset(&g_r, 0);
  assert_false(HOLD(&h, 1));
}

/* Segments of another size come when nobody uses the ones that are there. */
static void test_other_size(void **state) {
  (void)state;
  qr_xrt_hold_t a = {0}, b = {0};
  qr_accel_segment_t s[3];
  qr_accel_job_t job = job_of(s, (const uint64_t[]){1, 2, 3}, 3);
  job.segment_rows = 80;
  assert_true(HOLD(&a, 1, 2));
  assert_false(qr_xrt_replay_hold(&g_r, &job, &b));
  send_all(&a);
  qr_xrt_replay_let_go(&a);
  assert_true(qr_xrt_replay_hold(&g_r, &job, &b));
  assert_int_equal(there(&b), 0);
  assert_false(HOLD(&a, 1));
  qr_xrt_replay_let_go(&b);
  assert_true(HOLD(&a, 1, 2));
  assert_int_equal(there(&a), 0);
  qr_xrt_replay_let_go(&a);
}

/* A card that starts anew has nothing, and those who used it do no harm. */
static void test_reset(void **state) {
  (void)state;
  qr_xrt_hold_t a = {0}, b = {0};
  assert_true(HOLD(&a, 1, 2));
  send_all(&a);
  qr_xrt_replay_reset(&g_r, 6 * ROWS);
  assert_true(HOLD(&b, 1, 2));
  assert_int_equal(there(&b), 0);
  qr_xrt_replay_let_go(&a);
  assert_int_equal(user_cnt(), 2);
  qr_xrt_replay_let_go(&b);
}

/* Holds come and go: what one holds stays what it is until it lets go. */
static void test_random(void **state) {
  (void)state;
  enum { HOLD_CNT = 3, ROUND_CNT = 20000, TAG_CNT = 12 };
  qr_xrt_hold_t h[HOLD_CNT] = {0};
  uint64_t tags[HOLD_CNT][6];
  gen_t g = {17};
  uint32_t held = 0, refused = 0, kept = 0;
  for (int round = 0; round < ROUND_CNT; round++) {
    int i = (int)gen_range(&g, 0, HOLD_CNT - 1);
    for (uint32_t k = 0; h[i].replay && k < h[i].cnt; k++) {
      assert_int_equal(qr_xrt_hold_place(&h[i], k)->tag, tags[i][k]);
      assert_true(qr_xrt_hold_place(&h[i], k)->user_cnt > 0);
    }
    if (h[i].replay) held -= h[i].cnt;
    qr_xrt_replay_let_go(&h[i]);
    uint32_t cnt = (uint32_t)gen_range(&g, 1, 4);
    uint64_t first = (uint64_t)gen_range(&g, 1, TAG_CNT);
    for (uint32_t k = 0; k < cnt; k++) tags[i][k] = first + k;
    if (hold(&h[i], cnt, tags[i])) {
      held += cnt;
      kept += there(&h[i]);
      send_all(&h[i]);
    } else {
      refused++;
    }
    assert_int_equal(user_cnt(), held);
  }
  assert_true(refused > ROUND_CNT / 50 && refused < ROUND_CNT / 2);
  assert_true(kept > ROUND_CNT / 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_stay_and_give_way, set_up),
                                     cmocka_unit_test_setup(test_in_use, set_up),
                                     cmocka_unit_test_setup(test_refused, set_up),
                                     cmocka_unit_test_setup(test_other_size, set_up),
                                     cmocka_unit_test_setup(test_reset, set_up),
                                     cmocka_unit_test_setup(test_random, set_up)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
