/* quarry snapshot. */
#ifndef QR_APP_CLI_SNAPSHOT_H
#define QR_APP_CLI_SNAPSHOT_H

#include "app/cli.h"
#include "app/snapshot_file.h"

int qr_cli_snapshot_import(const qr_cli_t *cli);

#endif
