/* Instructions and cycles of this thread, by the processor's own counters, where the operating
   system lets us have them; a virtual machine often has none. */
#ifndef QR_APP_BENCH_PERF_H
#define QR_APP_BENCH_PERF_H

#include "base/types.h"

enum { QR_BENCH_INSTRUCTIONS, QR_BENCH_CYCLES, QR_BENCH_COUNTER_CNT };

typedef struct {
  bool on;
  int fds[QR_BENCH_COUNTER_CNT];
  char why[128]; /* not on: why */
} qr_bench_perf_t;

void qr_bench_perf_open(qr_bench_perf_t *p);
void qr_bench_perf_close(qr_bench_perf_t *p);

/* Counts what this thread does in user mode between start and stop. Stop is false if not all of it
   was counted, or nothing is on. */
void qr_bench_perf_start(qr_bench_perf_t *p);
bool qr_bench_perf_stop(qr_bench_perf_t *p, uint64_t counts[QR_BENCH_COUNTER_CNT]);

#endif
