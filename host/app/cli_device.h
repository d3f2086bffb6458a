/* quarry device: what its parts share. */
#ifndef QR_APP_CLI_DEVICE_H
#define QR_APP_CLI_DEVICE_H

#include "app/cli.h"
#include "port/accel.h"

/* Options of the command, in the order of its table. */
enum {
  QR_DEVICE_ACCEL,
  QR_DEVICE_SHAPE,
  QR_DEVICE_A,
  QR_DEVICE_B,
  QR_DEVICE_GENESIS,
  QR_DEVICE_TASK,
  QR_DEVICE_STEPS,
  QR_DEVICE_SIGMA,
  QR_DEVICE_MODEL,
  QR_DEVICE_OBS,
  QR_DEVICE_ACT,
  QR_DEVICE_TARGET,
  QR_DEVICE_OUT,
  QR_DEVICE_CHECK
};

/* What --accel names. */
typedef struct {
  const qr_accel_ops_t *ops;
  char options[512];
} qr_device_choice_t;

/* fallback: without --accel. unit: the id of the unit to use, or NULL. Returns QR_CLI_OK or has
   told the user. */
int qr_device_choose(const qr_cli_t *cli, const char *fallback, const char *unit,
                     qr_device_choice_t *out);
/* Whether the options say already which unit is meant. */
bool qr_device_names_unit(const qr_device_choice_t *c);

/* cli_device_check.c: quarry device validate [UNIT]. */
int qr_device_validate(const qr_cli_t *cli, const char *unit);
/* cli_device_gemm.c, cli_device_step.c: quarry device job gemm|step. */
int qr_device_gemm(const qr_cli_t *cli);
int qr_device_step(const qr_cli_t *cli);

/* cli_device_file.c. The whole of a file of exactly sz bytes, to be freed; NULL, having told the
   user. */
void *qr_device_read(const qr_cli_t *cli, const char *path, size_t sz);
/* Each returns QR_CLI_OK or has told the user; may_write is asked before the work. */
int qr_device_may_write(const qr_cli_t *cli, const char *path);
int qr_device_write(const qr_cli_t *cli, const char *path, const void *p, size_t sz);
/* Random bytes of a seed, for whoever gives no file. */
void qr_device_fill(uint64_t seed, void *p, size_t sz);

#endif
