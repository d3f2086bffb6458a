#include "drivers/link/quic/options.h"

void qr_quic_options_default(qr_quic_options_t *o) {
  *o = (qr_quic_options_t){
      .idle_ms = 30000, .handshake_ms = 10000, .window_kib = 8192, .send_kib = 8192};
}

bool qr_quic_options_read(const qr_option_t *item, qr_quic_options_t *o) {
  const char *key = item->key, *value = item->value;
  if (!strcmp(key, "idle_ms")) return qr_option_u64(value, 100, 600000, &o->idle_ms);
  if (!strcmp(key, "handshake_ms")) return qr_option_u64(value, 100, 600000, &o->handshake_ms);
  if (!strcmp(key, "window_kib")) return qr_option_u64(value, 16, 65536, &o->window_kib);
  if (!strcmp(key, "send_kib")) return qr_option_u64(value, 4, 65536, &o->send_kib);
  if (!strcmp(key, "retry_after"))
    return o->retry_set = qr_option_u64(value, 0, UINT32_MAX, &o->retry_cnt);
  return false;
}

qr_quic_cfg_t qr_quic_options_cfg(const qr_quic_options_t *o, const qr_link_cfg_t *cfg) {
  return (qr_quic_cfg_t){
      .identity = cfg->identity,
      .local = cfg->local,
      .conn_max_cnt = cfg->conn_max_cnt,
      .send_buf_sz = o->send_kib * 1024,
      .window_sz = o->window_kib * 1024,
      .idle_ns = o->idle_ms * 1000000,
      .handshake_ns = o->handshake_ms * 1000000,
      .datagram_max_sz = QR_QUIC_DATAGRAM_MAX_SZ,
      .retry_cnt = o->retry_set ? (uint32_t)o->retry_cnt : cfg->conn_max_cnt / 8,
  };
}
