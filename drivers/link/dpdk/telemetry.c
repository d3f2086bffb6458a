#include "drivers/link/dpdk/telemetry.h"

#include <errno.h>
#include <pthread.h>
#include <rte_telemetry.h>

#include "base/log.h"
#include "port/option.h"

#define RENEW_NS UINT64_C(100000000)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  bool present;
  qr_link_stats_t quic;
  qr_udp_stats_t udp;
  bool up;
  char name[64];
  uint32_t mtu, queue_cnt, neigh_cnt, peer_cnt;
  uint32_t buffer_cnt, buffer_free_cnt;
  unsigned rx_known, tx_by_port;
  uint64_t down_cnt, renew_cnt;
  qr_quic_info_t peers[QR_TELEMETRY_PEER_MAX_CNT];
} shown;
static uint64_t renewed_at;

void qr_telemetry_put(const qr_udp_t *udp, const qr_quic_t *quic, uint64_t now_ns) {
  const qr_port_t *p = udp->port;
  if (renewed_at && now_ns - renewed_at < RENEW_NS) return;
  if (pthread_mutex_trylock(&lock)) return; /* it is being read: the next round will do */
  renewed_at = now_ns;
  shown.present = true;
  qr_quic_stats(quic, &shown.quic);
  shown.udp = udp->stats;
  shown.up = p->up;
  memcpy(shown.name, p->name, sizeof shown.name);
  shown.mtu = p->mtu;
  shown.queue_cnt = p->queue_cnt;
  shown.neigh_cnt =
      qr_neigh_known_cnt(&udp->neigh4, now_ns) + qr_neigh_known_cnt(&udp->neigh6, now_ns);
  shown.buffer_cnt = p->pool ? p->pool->size : 0;
  shown.buffer_free_cnt = p->pool ? rte_mempool_avail_count(p->pool) : 0;
  shown.rx_known = p->rx_known;
  shown.tx_by_port = p->tx_by_port;
  shown.down_cnt = p->down_cnt;
  shown.renew_cnt = p->renew_cnt;
  shown.peer_cnt = qr_quic_list(quic, shown.peers, QR_TELEMETRY_PEER_MAX_CNT);
  pthread_mutex_unlock(&lock);
}

void qr_telemetry_clear(void) {
  pthread_mutex_lock(&lock);
  shown.present = false;
  renewed_at = 0;
  pthread_mutex_unlock(&lock);
}

/* ---- on DPDK's thread ---- */

static int on_link(const char *cmd, const char *params, struct rte_tel_data *d) {
  (void)cmd;
  (void)params;
  rte_tel_data_start_dict(d);
  pthread_mutex_lock(&lock);
  const struct {
    const char *name;
    uint64_t value;
  } rows[] = {
      {"up", shown.up},
      {"downs", shown.down_cnt},
      {"renewals", shown.renew_cnt},
      {"mtu", shown.mtu},
      {"queues", shown.queue_cnt},
      {"rx_checksums_by_port", shown.rx_known},
      {"tx_checksums_by_port", shown.tx_by_port},
      {"buffers", shown.buffer_cnt},
      {"buffers_free", shown.buffer_free_cnt},
      {"peers", shown.peer_cnt},
      {"neighbours", shown.neigh_cnt},
      {"rx_pkts", shown.quic.rx_pkts},
      {"tx_pkts", shown.quic.tx_pkts},
      {"rx_bytes", shown.quic.rx_bytes},
      {"tx_bytes", shown.quic.tx_bytes},
      {"rx_dropped", shown.quic.rx_dropped + shown.udp.rx_dropped},
      {"rx_segmented", shown.udp.rx_segmented},
      {"tx_dropped", shown.quic.tx_dropped + shown.udp.tx_dropped},
      {"tx_retried", shown.udp.tx_retried},
      {"neigh_rx", shown.udp.neigh_rx},
      {"neigh_tx", shown.udp.neigh_tx},
      {"neigh_unanswered", shown.udp.neigh_unanswered},
      {"handshakes_failed", shown.quic.handshakes_failed},
  };
  if (shown.present) rte_tel_data_add_dict_string(d, "port", shown.name);
  for (size_t i = 0; shown.present && i < QR_ARRAY_CNT(rows); i++)
    rte_tel_data_add_dict_u64(d, rows[i].name, rows[i].value);
  pthread_mutex_unlock(&lock);
  return 0;
}

static int on_peers(const char *cmd, const char *params, struct rte_tel_data *d) {
  char addr[QR_LINK_ADDR_STR_SZ];
  (void)cmd;
  (void)params;
  rte_tel_data_start_array(d, RTE_TEL_STRING_VAL);
  pthread_mutex_lock(&lock);
  for (uint32_t i = 0; shown.present && i < shown.peer_cnt; i++)
    rte_tel_data_add_array_string(d, qr_link_addr_str(&shown.peers[i].addr, addr));
  pthread_mutex_unlock(&lock);
  return 0;
}

static void say_peer(const qr_quic_info_t *p, struct rte_tel_data *d) {
  char addr[QR_LINK_ADDR_STR_SZ], hex[2 * QR_PUBKEY_SZ + 1];
  rte_tel_data_add_dict_string(d, "address", qr_link_addr_str(&p->addr, addr));
  rte_tel_data_add_dict_string(d, "identity", qr_hex(hex, p->peer.b, sizeof p->peer.b));
  rte_tel_data_add_dict_u64(d, "inbound", p->inbound);
  rte_tel_data_add_dict_u64(d, "rtt_ns", p->stats.rtt_ns);
  rte_tel_data_add_dict_u64(d, "rx_pkts", p->stats.rx_pkts);
  rte_tel_data_add_dict_u64(d, "tx_pkts", p->stats.tx_pkts);
  rte_tel_data_add_dict_u64(d, "rx_bytes", p->stats.rx_bytes);
  rte_tel_data_add_dict_u64(d, "tx_bytes", p->stats.tx_bytes);
}

static int on_peer(const char *cmd, const char *params, struct rte_tel_data *d) {
  uint64_t number;
  (void)cmd;
  if (!params || !qr_option_u64(params, 0, QR_TELEMETRY_PEER_MAX_CNT - 1, &number)) return -EINVAL;
  rte_tel_data_start_dict(d);
  pthread_mutex_lock(&lock);
  bool there = shown.present && number < shown.peer_cnt;
  if (there) say_peer(&shown.peers[number], d);
  pthread_mutex_unlock(&lock);
  return there ? 0 : -EINVAL;
}

void qr_telemetry_start(void) {
  static bool started;
  if (started) return;
  started = true;
  if (rte_telemetry_register_cmd("/quarry/link", on_link, "The link's state and counters.") ||
      rte_telemetry_register_cmd("/quarry/peers", on_peers, "Addresses of connected peers.") ||
      rte_telemetry_register_cmd("/quarry/peer", on_peer,
                                 "One of them and its counters. Parameter: its place in the list"))
    qr_log(QR_LOG_WARN, "net", "event=telemetry-refused");
}
