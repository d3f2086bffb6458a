/* Products of small operands by lookups instead of multiplications, tried on the operands of a real
   step: what a model whose numbers are all nearly constant leaves after dither. */
#ifndef QR_APP_BENCH_LOOKUP_H
#define QR_APP_BENCH_LOOKUP_H

#include "app/bench_adversary.h"

typedef struct qr_bench_lookup qr_bench_lookup_t;

/* Keeps the operands of the first step on this model that lookups can take, and names them in
   c->lookups; counts all operands into c->operands. kernel: of the CPU driver. Everything is
   borrowed but the operands. Returns 0 or QR_ERR_NOMEM. */
int qr_bench_lookup_init(qr_bench_lookup_t **out, const qr_adversary_t *adversary,
                         const char *kernel, qr_bench_task_t *t, const uint8_t *model,
                         qr_adversary_case_t *c) QR_WARN_UNUSED;
void qr_bench_lookup_fini(qr_bench_lookup_t *l);

/* One sample of each; saved_us is what those of a step save that are faster. */
int qr_bench_lookup_round(qr_bench_lookup_t *l, qr_bench_dev_t *d, uint32_t prog,
                          qr_adversary_case_t *c, double *saved_us) QR_WARN_UNUSED;

#endif
