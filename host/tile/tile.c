#include "tile/tile.h"

#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"

#define SLEEP_MIN_US 50u
/* Threads that only rings bring work still look up now and then: for the end of the process, and
   for waits of a second or two that a tile has set itself. */
#define RINGS_ONLY_SLEEP_US 20000u

int qr_tile_round(const qr_tile_loop_t *loop) {
  int work = 0;
  for (uint32_t i = 0; i < loop->tile_cnt; i++) {
    work += loop->tiles[i]->poll(loop->tiles[i]->state, loop->clock->mono_ns(loop->clock->ctx));
  }
  return work;
}

static void settle(const qr_tile_loop_t *loop) {
  if (loop->core >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)loop->core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) {
      qr_log(QR_LOG_WARN, loop->tiles[0]->name,
             "event=pin-failed core=%d (not available here; running unpinned)", loop->core);
    }
  }
  if (loop->niceness) setpriority(PRIO_PROCESS, (id_t)gettid(), loop->niceness);
  prctl(PR_SET_TIMERSLACK, 1000);
  char name[16]; /* the kernel's limit */
  snprintf(name, sizeof name, "qr-%s", loop->tiles[0]->name);
  prctl(PR_SET_NAME, name);
}

void qr_tile_loop(qr_tile_loop_t *loop) {
  settle(loop);
  uint64_t worked_ns = 0;
  uint32_t sleep_us = SLEEP_MIN_US;
  bool tired = false; /* idle for so long that it sleeps if this round brings no work either */
  while (!atomic_load_explicit(loop->stop, memory_order_relaxed)) {
    if (tired) qr_bell_arm(&loop->bell);
    int work = qr_tile_round(loop);
    uint64_t now_ns = loop->clock->mono_ns(loop->clock->ctx);
    if (work) {
      if (tired) qr_bell_disarm(&loop->bell);
      tired = false;
      worked_ns = now_ns;
      sleep_us = SLEEP_MIN_US;
      continue;
    }
    if (!tired) {
      tired = loop->sleep_us && now_ns - worked_ns >= (uint64_t)loop->spin_us * 1000;
      continue;
    }
    (void)qr_bell_wait(&loop->bell,
                       (uint64_t)(loop->rings_only ? RINGS_ONLY_SLEEP_US : sleep_us) * 1000);
    sleep_us = sleep_us * 2 < loop->sleep_us ? sleep_us * 2 : loop->sleep_us;
    if (sleep_us < SLEEP_MIN_US) sleep_us = SLEEP_MIN_US;
  }
}
