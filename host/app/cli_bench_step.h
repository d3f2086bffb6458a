/* quarry bench step: its two ways to tell what was measured. */
#ifndef QR_APP_CLI_BENCH_STEP_H
#define QR_APP_CLI_BENCH_STEP_H

#include "app/bench_step.h"
#include "app/cli_bench.h"

/* Both return QR_CLI_OK. */
int qr_cli_bench_step_json(const qr_bench_step_t *b, const char *accel,
                           const qr_bench_machine_t *m);
int qr_cli_bench_step_table(const qr_bench_step_t *b, const qr_bench_machine_t *m);

/* How the library's way to make a product is called: "s8 x s8", "as they lie". */
const char *qr_cli_bench_operands(qr_rival_form_t form);
const char *qr_cli_bench_layout(qr_rival_form_t form);

#endif
