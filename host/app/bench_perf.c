#include "app/bench_perf.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint64_t configs[QR_BENCH_COUNTER_CNT] = {
    [QR_BENCH_INSTRUCTIONS] = PERF_COUNT_HW_INSTRUCTIONS,
    [QR_BENCH_CYCLES] = PERF_COUNT_HW_CPU_CYCLES,
};

static void explain(qr_bench_perf_t *p, int err) {
  const char *why = err == ENOENT || err == EOPNOTSUPP || err == ENODEV
                        ? "this machine shows no counters to us, as many virtual ones"
                    : err == EACCES || err == EPERM
                        ? "not allowed; sysctl kernel.perf_event_paranoid=2 allows it"
                        : strerror(err);
  snprintf(p->why, sizeof p->why, "%s", why);
}

void qr_bench_perf_open(qr_bench_perf_t *p) {
  memset(p, 0, sizeof *p);
  for (int i = 0; i < QR_BENCH_COUNTER_CNT; i++) p->fds[i] = -1;
  for (int i = 0; i < QR_BENCH_COUNTER_CNT; i++) {
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = configs[i],
                                   .disabled = !i, /* the first leads the group */
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1,
                                   .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED |
                                                  PERF_FORMAT_TOTAL_TIME_RUNNING};
    p->fds[i] = (int)syscall(SYS_perf_event_open, &attr, 0, -1, i ? p->fds[0] : -1, 0);
    if (p->fds[i] < 0) {
      explain(p, errno);
      qr_bench_perf_close(p);
      return;
    }
  }
  p->on = true;
}

void qr_bench_perf_close(qr_bench_perf_t *p) {
  for (int i = 0; i < QR_BENCH_COUNTER_CNT; i++) {
    if (p->fds[i] >= 0) close(p->fds[i]);
    p->fds[i] = -1;
  }
  p->on = false;
}

void qr_bench_perf_start(qr_bench_perf_t *p) {
  if (!p->on) return;
  ioctl(p->fds[0], PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP);
  ioctl(p->fds[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

bool qr_bench_perf_stop(qr_bench_perf_t *p, uint64_t counts[QR_BENCH_COUNTER_CNT]) {
  if (!p->on) return false;
  ioctl(p->fds[0], PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
  for (int i = 0; i < QR_BENCH_COUNTER_CNT; i++) {
    struct {
      uint64_t value, enabled_ns, running_ns;
    } r;
    if (read(p->fds[i], &r, sizeof r) != (ssize_t)sizeof r || r.running_ns != r.enabled_ns ||
        !r.value)
      return false;
    counts[i] = r.value;
  }
  return true;
}
