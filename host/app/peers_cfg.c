#include "app/peers_cfg.h"

#include "chain/tree.h"

qr_peers_cfg_t qr_peers_cfg_of(const qr_config_t *c, const qr_chain_cfg_t *chain,
                               const qr_pubkey_t *self, const qr_clock_t *clock) {
  return (qr_peers_cfg_t){.chain_id = chain->p.chain_id,
                          .rules = chain->rules,
                          .genesis = qr_genesis_hash(chain),
                          .self = *self,
                          .listen_port = c->listen.port,
                          .agent = "quarryd/0.1",
                          .statics = c->peers,
                          .static_cnt = c->peer_cnt,
                          .peer_max_cnt = c->peer_max_cnt,
                          .inbound_cnt = c->inbound_cnt,
                          .addr_max_cnt = c->per_ip_cnt,
                          .group_max_cnt = c->per_group_cnt,
                          .exchange = c->exchange,
                          .public_only = !c->private_addrs,
                          .outbound_cnt = c->outbound_cnt,
                          .wall_ms = clock->wall_ms(clock->ctx)};
}
