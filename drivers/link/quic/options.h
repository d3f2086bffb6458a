/* The options that every driver with this endpoint has. */
#ifndef QR_LINK_QUIC_OPTIONS_H
#define QR_LINK_QUIC_OPTIONS_H

#include "drivers/link/quic/quic.h"
#include "port/option.h"

#define QR_QUIC_CONN_MAX_CNT 4096u
#define QR_QUIC_OPTION_NAMES "idle_ms, handshake_ms, window_kib, send_kib and retry_after"

typedef struct {
  uint64_t idle_ms, handshake_ms, window_kib, send_kib, retry_cnt;
  bool retry_set;
} qr_quic_options_t;

void qr_quic_options_default(qr_quic_options_t *o);
/* Takes an option of the endpoint. False: it is not one, or its value is out of range. */
bool qr_quic_options_read(const qr_option_t *item, qr_quic_options_t *o);
/* The endpoint's configuration but for out. */
qr_quic_cfg_t qr_quic_options_cfg(const qr_quic_options_t *o, const qr_link_cfg_t *cfg);

#endif
