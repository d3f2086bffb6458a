/* quarry net check: what its text and its JSON share. */
#ifndef QR_APP_CLI_NET_H
#define QR_APP_CLI_NET_H

#include <jansson.h>

#include "app/net_need.h"

typedef struct {
  const qr_net_host_t *host;
  uint32_t way_cnt;
  qr_net_way_t ways[QR_NET_WAY_CNT]; /* the configured one alone, or all */
  const char *link, *link_options;   /* as configured; link NULL: no configuration was given */
  bool ready;                        /* the configured way, or at least one, is possible */
} qr_net_check_t;

/* cli_net_json.c */
json_t *qr_net_check_json(const qr_net_check_t *c);
const char *qr_net_owner_str(enum qr_net_owner o);

#endif
