#include "tile/tile.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define SLEEP_MIN_US 50u

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
}

void qr_tile_loop(const qr_tile_loop_t *loop) {
  settle(loop);
  uint64_t worked_ns = 0;
  uint32_t sleep_us = SLEEP_MIN_US;
  while (!atomic_load_explicit(loop->stop, memory_order_relaxed)) {
    int work = qr_tile_round(loop);
    uint64_t now_ns = loop->clock->mono_ns(loop->clock->ctx);
    if (work) {
      worked_ns = now_ns;
      sleep_us = SLEEP_MIN_US;
      continue;
    }
    if (!loop->sleep_us || now_ns - worked_ns < (uint64_t)loop->spin_us * 1000) continue;
    struct timespec ts = {0, (long)sleep_us * 1000};
    nanosleep(&ts, NULL);
    sleep_us = sleep_us * 2 < loop->sleep_us ? sleep_us * 2 : loop->sleep_us;
    if (sleep_us < SLEEP_MIN_US) sleep_us = SLEEP_MIN_US;
  }
}
