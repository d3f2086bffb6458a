#include "team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"

#define SPINS 4000u /* some tens of microseconds */

typedef struct {
  qr_cpu_team_t *team;
  uint32_t member;
  pthread_t thread;
} member_t;

struct qr_cpu_team {
  uint32_t cnt;
  void (*work)(void *arg, uint32_t member); /* NULL: go home */
  void *arg;
  /* What is waited for has a line of its own: the number of the round, and how many are not done
     with it. */
  _Alignas(QR_CACHE_LINE) _Atomic uint32_t round;
  _Atomic uint32_t sleepers; /* members that wait for round by sleeping, or are about to */
  _Alignas(QR_CACHE_LINE) _Atomic uint32_t left;
  _Atomic uint32_t caller_sleeps;
  member_t members[QR_CPU_TEAM_MAX_CNT];
};

static void sleep_while(_Atomic uint32_t *word, uint32_t is) {
  (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, is, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word) {
  (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, QR_CPU_TEAM_MAX_CNT, NULL, NULL, 0);
}

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/* Waits until *word is not is any more, counted in sleepers while asleep; returns what it is. */
static uint32_t await_change(_Atomic uint32_t *word, uint32_t is, _Atomic uint32_t *sleepers) {
  uint32_t now;
  for (uint32_t i = 0; i < SPINS; i++) {
    if ((now = atomic_load_explicit(word, memory_order_acquire)) != is) return now;
    relax();
  }
  atomic_fetch_add(sleepers, 1);
  while ((now = atomic_load(word)) == is) sleep_while(word, is);
  atomic_fetch_sub(sleepers, 1);
  return now;
}

static void *member_main(void *arg) {
  member_t *m = arg;
  qr_cpu_team_t *t = m->team;
  for (uint32_t round = 0;;) {
    round = await_change(&t->round, round, &t->sleepers);
    if (!t->work) return NULL;
    t->work(t->arg, m->member);
    if (atomic_fetch_sub(&t->left, 1) == 1 && atomic_load(&t->caller_sleeps)) wake(&t->left);
  }
}

static void begin_round(qr_cpu_team_t *t, void (*work)(void *, uint32_t), void *arg) {
  t->work = work;
  t->arg = arg;
  atomic_store(&t->left, t->cnt - 1);
  atomic_fetch_add(&t->round, 1);
  if (atomic_load(&t->sleepers)) wake(&t->round);
}

int qr_cpu_team_open(uint32_t cnt, qr_cpu_team_t **out) {
  qr_cpu_team_t *t = aligned_alloc(QR_CACHE_LINE, qr_align_up(sizeof *t, QR_CACHE_LINE));
  if (!t) return QR_ERR_NOMEM;
  memset(t, 0, sizeof *t);
  for (t->cnt = 1; t->cnt < cnt; t->cnt++) {
    member_t *m = &t->members[t->cnt];
    m->team = t;
    m->member = t->cnt;
    if (pthread_create(&m->thread, NULL, member_main, m)) {
      qr_cpu_team_close(t);
      return QR_ERR_NOMEM;
    }
  }
  *out = t;
  return 0;
}

void qr_cpu_team_close(qr_cpu_team_t *t) {
  if (!t) return;
  begin_round(t, NULL, NULL);
  for (uint32_t i = 1; i < t->cnt; i++) pthread_join(t->members[i].thread, NULL);
  free(t);
}

void qr_cpu_team_run(qr_cpu_team_t *t, void (*work)(void *arg, uint32_t member), void *arg) {
  begin_round(t, work, arg);
  work(arg, 0);
  for (uint32_t left = atomic_load(&t->left); left;)
    left = await_change(&t->left, left, &t->caller_sleeps);
}
