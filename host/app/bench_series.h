/* Samples of one figure and what is told of them. */
#ifndef QR_APP_BENCH_SERIES_H
#define QR_APP_BENCH_SERIES_H

#include <stdint.h>

#define QR_BENCH_SAMPLE_MAX_CNT 256u

typedef struct {
  uint32_t cnt;
  double v[QR_BENCH_SAMPLE_MAX_CNT];
} qr_bench_series_t;

typedef struct {
  double median, min, max; /* 0 without samples */
} qr_bench_stat_t;

/* Samples beyond the room are dropped. */
void qr_bench_add(qr_bench_series_t *s, double v);
qr_bench_stat_t qr_bench_stat(const qr_bench_series_t *s);

#endif
