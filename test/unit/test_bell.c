/* Two threads hand one item to and fro through rings, each asleep while it has none: a wake-up that
   gets lost is a wait that runs into its limit. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/ring.h"

#define TURN_CNT 20000u
#define LIMIT_NS UINT64_C(20000000000)

typedef struct {
  qr_ring_t *in, *out;
  qr_bell_t *bell;
  uint32_t first, late_cnt;
} player_t;

static void *play(void *arg) {
  player_t *p = arg;
  for (uint32_t turn = p->first; turn < TURN_CNT; turn += 2) {
    uint32_t got = 0;
    for (;;) {
      qr_bell_arm(p->bell);
      if (qr_ring_pop(p->in, &got)) break;
      p->late_cnt += !qr_bell_wait(p->bell, LIMIT_NS);
      if (p->late_cnt) return NULL;
    }
    /* half of the time it stays armed while it is awake, so that rings wake nobody */
    if (turn & 2) qr_bell_disarm(p->bell);
    if (got != turn) p->late_cnt++;
    got++;
    if (!qr_ring_push(p->out, &got)) p->late_cnt++;
  }
  return NULL;
}

static qr_ring_t *ring_with(qr_bell_t *bell) {
  qr_ring_t *r = qr_ring_init(aligned_alloc(64, qr_ring_footprint(4, 4)), 4, 4);
  qr_ring_set_bell(r, bell);
  return r;
}

static void test_no_ring_is_lost(void **state) {
  (void)state;
  static qr_bell_t bells[2];
  qr_ring_t *a = ring_with(&bells[0]), *b = ring_with(&bells[1]);
  player_t players[2] = {{a, b, &bells[0], 0, 0}, {b, a, &bells[1], 1, 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, play, &players[i]), 0);
  uint32_t zero = 0;
  assert_true(qr_ring_push(a, &zero));
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  assert_int_equal(players[0].late_cnt + players[1].late_cnt, 0);
  uint32_t last = 0;
  assert_true(qr_ring_pop(a, &last));
  assert_int_equal(last, TURN_CNT);
  free(a);
  free(b);
}

static void test_time_is_up(void **state) {
  (void)state;
  static qr_bell_t bell;
  qr_bell_arm(&bell);
  assert_false(qr_bell_wait(&bell, 1000000));
  assert_true(qr_bell_wait(&bell, LIMIT_NS)); /* not armed: it does not wait */
  qr_bell_arm(&bell);
  qr_bell_ring(&bell);
  assert_true(qr_bell_wait(&bell, LIMIT_NS)); /* rung before */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_ring_is_lost),
      cmocka_unit_test(test_time_is_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
