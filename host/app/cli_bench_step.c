/* quarry bench step: the command. */
#include <stdlib.h>

#include "app/cli_bench_step.h"
#include "base/err.h"

const char *qr_cli_bench_operands(qr_rival_form_t form) {
  return form.operand == QR_RIVAL_U8 ? "u8 x s8" : "s8 x s8";
}

const char *qr_cli_bench_layout(qr_rival_form_t form) {
  return form.layout == QR_RIVAL_PACKED ? "packed before" : "as they lie";
}

static int run_step(const qr_cli_t *cli, const qr_cli_bench_args_t *args) {
  char why[256] = "";
  qr_bench_machine_t machine;
  qr_bench_step_t *b = malloc(sizeof *b);
  if (!b) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  qr_bench_step_cfg_t cfg = {.accel = args->accel,
                             .options = args->accel_options,
                             .task = args->task,
                             .rivals = args->rivals,
                             .seconds = args->seconds};
  cfg.thread_cnt = machine.allowed_core_cnt < QR_BENCH_THREAD_MAX_CNT ? machine.allowed_core_cnt
                                                                      : QR_BENCH_THREAD_MAX_CNT;
  int rc, err = qr_bench_step_run(&cfg, b, why, sizeof why);
  if (err)
    rc = qr_cli_fail(cli, err, why);
  else
    rc = cli->json ? qr_cli_bench_step_json(b, args->accel_text, &machine)
                   : qr_cli_bench_step_table(b, &machine);
  free(b);
  return rc;
}

const qr_cli_bench_t qr_cli_bench_step = {
    .name = "step",
    .run = run_step,
    .help =
        "attempts, training steps and their products, forward passes and verification\n"
        "With every kernel that the driver offers, in turns within one run: medians with the "
        "smallest and the\nlargest sample, and ratios taken within a round. The peak is a loop "
        "of int8 dot products between\nregisters in the same run. An attempt counts with its "
        "target values known, as most attempts between\ntwo blocks. Products and the whole step "
        "are compared with oneDNN (int8) and with the same network in\nfloat32 on OpenBLAS, one "
        "thread each, if they were there when this program was built.\n"
        "Beside any other driver the CPU driver is measured, in turns with it. Attempts are then "
        "a node's: the\ndriver trains, the CPU does the rest and verifies. Libraries only with "
        "--rivals. A device so slow that\nan attempt has no room in --seconds makes none; what is "
        "emulated is called so.",
};
