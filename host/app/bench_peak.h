/* What this machine's cores can do at most: int8 dot products from registers to registers, with the
   instructions that a kernel of the CPU driver has at its disposal. The roof that the training step
   is measured against. */
#ifndef QR_APP_BENCH_PEAK_H
#define QR_APP_BENCH_PEAK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  const char *name;   /* the kernel that uses these instructions: "avx512" */
  const char *detail; /* the instructions, for people */
  bool (*supported)(void);
  uint64_t (*run)(uint32_t rounds); /* returns the multiply-accumulates done */
} qr_bench_peak_t;

/* Fastest first, NULL-terminated by name. */
extern const qr_bench_peak_t qr_bench_peaks[];

/* One sample of about two milliseconds on this thread, in 10^9 multiply-accumulates a second: the
   fastest of its short runs, so that another process on the core does not lower the roof. */
double qr_bench_peak_gmac_per_s(const qr_bench_peak_t *p);

#endif
