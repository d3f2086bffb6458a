/* The machine that a measurement was made on, as far as the reader of a figure has to know it. */
#ifndef QR_APP_BENCH_MACHINE_H
#define QR_APP_BENCH_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  char cpu[128];             /* as the processor calls itself, "unknown" if it does not */
  char os[96];               /* operating system's kernel and its release */
  char compiler[96];         /* that built this program */
  bool optimised;            /* false: built for debugging, figures mean nothing */
  uint32_t core_cnt;         /* in the machine, now online */
  uint32_t allowed_core_cnt; /* that this process may use */
  double load_1min; /* processes that wanted to run, mean of the last minute; who else is here */
} qr_bench_machine_t;

void qr_bench_machine(qr_bench_machine_t *m);

#endif
