/* quarry net: what its commands share. */
#ifndef QR_APP_CLI_NET_H
#define QR_APP_CLI_NET_H

#include <jansson.h>

#include "app/cli.h"
#include "app/net_need.h"

/* Options of quarry net, all of its commands together. */
enum {
  QR_NET_CONFIG,
  QR_NET_OPTIONS,
  QR_NET_ROOT,
  QR_NET_PORTS,
  QR_NET_SET,
  QR_NET_SEED,
  QR_NET_MTU,
  QR_NET_SPIN,
  QR_NET_ROOM
};

typedef struct {
  const qr_net_host_t *host;
  uint32_t way_cnt;
  qr_net_way_t ways[QR_NET_WAY_CNT]; /* the configured one alone, or all */
  const char *link, *link_options;   /* as configured; link NULL: no configuration was given */
  bool ready;                        /* the configured way, or at least one, is possible */
} qr_net_check_t;

/* cli_net_emulate.c */
int qr_cli_net_emulate(const qr_cli_t *cli);
void qr_cli_net_emulate_help(void);

/* cli_net_json.c */
json_t *qr_net_check_json(const qr_net_check_t *c);

#endif
