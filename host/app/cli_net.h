/* quarry net: what its commands share. */
#ifndef QR_APP_CLI_NET_H
#define QR_APP_CLI_NET_H

#include "app/cli.h"

/* Options of quarry net, all of its commands together. */
enum {
  QR_NET_PORTS,
  QR_NET_SET,
  QR_NET_SEED,
  QR_NET_MTU,
  QR_NET_SPIN,
  QR_NET_ROOM,
};

typedef struct {
  const char *name, *help;
  int (*run)(const qr_cli_t *cli);
} qr_cli_net_t;

extern const qr_cli_net_t qr_cli_net_emulate;

#endif
