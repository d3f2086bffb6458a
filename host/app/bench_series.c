#include "app/bench_series.h"

#include <stdlib.h>

void qr_bench_add(qr_bench_series_t *s, double v) {
  if (s->cnt < QR_BENCH_SAMPLE_MAX_CNT) s->v[s->cnt++] = v;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

qr_bench_stat_t qr_bench_stat(const qr_bench_series_t *s) {
  if (!s->cnt) return (qr_bench_stat_t){0};
  qr_bench_series_t sorted = *s;
  uint32_t n = s->cnt;
  qsort(sorted.v, n, sizeof sorted.v[0], ascending);
  return (qr_bench_stat_t){.median = (sorted.v[(n - 1) / 2] + sorted.v[n / 2]) / 2,
                           .min = sorted.v[0],
                           .max = sorted.v[n - 1]};
}
