/* Rates, strikes and bans. */
#include "peer/internal.h"

#define FORGIVE_NS (6 * QR_PEER_SEC) /* one strike is forgotten every so often */

typedef struct {
  uint32_t rate, burst;
} rate_t; /* messages a second, and how many at once */

static const rate_t rates[QR_PEER_BUCKET_CNT] = {
    [QR_PEER_BUCKET_CONTROL] = {1000, 2000}, [QR_PEER_BUCKET_TX] = {200, 1000},
    [QR_PEER_BUCKET_TX_IDS] = {1000, 4000},  [QR_PEER_BUCKET_TX_OUT] = {500, 2000},
    [QR_PEER_BUCKET_BLOCKS] = {500, 500},    [QR_PEER_BUCKET_MODELS] = {50, 50},
    [QR_PEER_BUCKET_HEADERS] = {5, 20},      [QR_PEER_BUCKET_PARTS] = {1000, 100},
};

/* Models and snapshots are large: all peers together get no more than this, so that they leave time
   for blocks. Rate 0: no such limit. */
static const rate_t of_all[QR_PEER_BUCKET_CNT] = {
    [QR_PEER_BUCKET_MODELS] = {100, 100}, [QR_PEER_BUCKET_PARTS] = {1000, 100}};

static uint64_t price_ns(int b) { return QR_PEER_SEC / rates[b].rate; }

void qr_peer_limit_reset(qr_peers_t *p, qr_peer_slot_t *s) {
  for (int b = 0; b < QR_PEER_BUCKET_CNT; b++) s->credit_ns[b] = price_ns(b) * rates[b].burst;
  s->credit_at_ns = s->guilt_ns = p->now_ns;
}

static uint64_t refill(uint64_t credit_ns, uint64_t elapsed_ns, uint64_t full_ns) {
  return elapsed_ns > full_ns - credit_ns ? full_ns : credit_ns + elapsed_ns;
}

static bool spend_of_all(qr_peers_t *p, enum qr_peer_bucket b) {
  if (!of_all[b].rate) return true;
  uint64_t price = QR_PEER_SEC / of_all[b].rate, full = price * of_all[b].burst;
  uint64_t *credit_ns = &p->all_credit_ns[b];
  *credit_ns = refill(*credit_ns, p->now_ns - p->all_credit_at_ns[b], full);
  p->all_credit_at_ns[b] = p->now_ns;
  if (*credit_ns < price) return false;
  *credit_ns -= price;
  return true;
}

bool qr_peer_spend(qr_peers_t *p, qr_peer_slot_t *s, enum qr_peer_bucket b) {
  uint64_t elapsed = p->now_ns - s->credit_at_ns;
  s->credit_at_ns = p->now_ns;
  for (int i = 0; elapsed && i < QR_PEER_BUCKET_CNT; i++)
    s->credit_ns[i] = refill(s->credit_ns[i], elapsed, price_ns(i) * rates[i].burst);
  if (s->credit_ns[b] < price_ns(b)) return false;
  if (!spend_of_all(p, b)) return false;
  s->credit_ns[b] -= price_ns(b);
  return true;
}

void qr_peer_unspend(qr_peers_t *p, qr_peer_slot_t *s, enum qr_peer_bucket b) {
  s->credit_ns[b] += price_ns(b);
  if (of_all[b].rate) p->all_credit_ns[b] += QR_PEER_SEC / of_all[b].rate;
}

/* Guilt is a time: when the last strike will be forgiven. */
uint32_t qr_peer_strikes(const qr_peers_t *p, const qr_peer_slot_t *s) {
  return s->guilt_ns <= p->now_ns
             ? 0
             : (uint32_t)((s->guilt_ns - p->now_ns + FORGIVE_NS - 1) / FORGIVE_NS);
}

void qr_peer_strike(qr_peers_t *p, qr_peer_slot_t *s, uint32_t cost, const char *why) {
  if (!cost || s->doom) return;
  if (s->guilt_ns < p->now_ns) s->guilt_ns = p->now_ns;
  s->guilt_ns += cost * FORGIVE_NS;
  p->stats.strikes += cost;
  uint32_t total = qr_peer_strikes(p, s);
  char hex[17];
  qr_log_limited(&p->log_offence, QR_LOG_DEBUG, QR_PEER_TILE,
                 "event=peer-strike peer=%s cost=%u total=%u why=\"%s\"", qr_hex(hex, s->pk.b, 8),
                 cost, total, why);
  if (total < QR_PEER_STRIKE_LIMIT) return;
  qr_log_limited(&p->log_offence, QR_LOG_WARN, QR_PEER_TILE, "event=peer-ban peer=%s why=\"%s\"",
                 qr_hex(hex, s->pk.b, 8), why);
  qr_peer_ban(p, &s->pk, &s->addr);
  qr_peer_doom(p, s, why);
}

bool qr_peer_ban_key(qr_peers_t *p, bool by_addr, bool by_operator, const uint8_t key[32],
                     uint64_t until_ns) {
  qr_peer_ban_t *b = NULL; /* the same key's, or a free one, or the first to expire */
  for (uint32_t i = 0; i < QR_PEER_BAN_CNT; i++) {
    qr_peer_ban_t *c = &p->bans[i];
    bool valid = c->until_ns > p->now_ns;
    if (valid && c->by_addr == by_addr && !memcmp(c->key, key, sizeof c->key)) {
      b = c;
      break;
    }
    if (valid && c->by_operator) continue;
    if (!b || c->until_ns < b->until_ns) b = c;
  }
  if (!b) return false;
  bool stays = b->by_operator && !memcmp(b->key, key, sizeof b->key) && b->by_addr == by_addr &&
               b->until_ns > p->now_ns;
  if (stays && !by_operator) return true; /* the operator's word counts */
  b->by_addr = by_addr;
  b->by_operator = by_operator;
  memcpy(b->key, key, sizeof b->key);
  b->until_ns = until_ns;
  return true;
}

/* A configured peer's address is never banned: only its identity is. */
void qr_peer_ban(qr_peers_t *p, const qr_pubkey_t *pk, const qr_link_addr_t *addr) {
  p->stats.bans++;
  uint64_t until_ns = p->now_ns + p->cfg.ban_ns;
  uint8_t ip[32] = {0};
  memcpy(ip, addr->ip, sizeof addr->ip);
  qr_peer_ban_key(p, false, false, pk->b, until_ns);
  if (!qr_peer_dial_is_static(p, addr)) qr_peer_ban_key(p, true, false, ip, until_ns);
}

bool qr_peer_banned(const qr_peers_t *p, const qr_pubkey_t *pk, const qr_link_addr_t *addr) {
  for (uint32_t i = 0; i < QR_PEER_BAN_CNT; i++) {
    const qr_peer_ban_t *b = &p->bans[i];
    if (b->until_ns <= p->now_ns) continue;
    if (!b->by_addr && !memcmp(b->key, pk->b, sizeof pk->b)) return true;
    if (b->by_addr && addr && !memcmp(b->key, addr->ip, sizeof addr->ip)) return true;
  }
  return false;
}

/* ---- the operator's ---- */

static bool operator_ban(qr_peers_t *p, bool by_addr, const uint8_t key[32], uint64_t ns) {
  uint32_t cnt = 0;
  bool lifted = false;
  for (uint32_t i = 0; i < QR_PEER_BAN_CNT; i++) {
    qr_peer_ban_t *b = &p->bans[i];
    if (b->until_ns <= p->now_ns) continue;
    cnt += b->by_operator;
    if (ns || b->by_addr != by_addr || memcmp(b->key, key, sizeof b->key)) continue;
    b->until_ns = 0;
    lifted = true;
  }
  if (!ns) return lifted;
  if (cnt >= QR_PEER_BAN_OPERATOR_MAX_CNT) return false;
  if (ns > UINT64_MAX - p->now_ns) ns = UINT64_MAX - p->now_ns;
  return qr_peer_ban_key(p, by_addr, true, key, p->now_ns + ns);
}

static void part_from(qr_peers_t *p, bool by_addr, const uint8_t key[32]) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    bool met = by_addr ? !memcmp(s->addr.ip, key, sizeof s->addr.ip)
                       : s->state != QR_PEER_DIALING && !memcmp(s->pk.b, key, sizeof s->pk.b);
    if (s->state != QR_PEER_FREE && met) qr_peer_doom(p, s, "banned by the operator");
  }
}

bool qr_peers_ban_identity(qr_peers_t *p, const qr_pubkey_t *pk, uint64_t ns) {
  bool ok = operator_ban(p, false, pk->b, ns);
  if (ok && ns) part_from(p, false, pk->b);
  return ok;
}

bool qr_peers_ban_ip(qr_peers_t *p, const uint8_t ip[16], uint64_t ns) {
  uint8_t key[32] = {0};
  memcpy(key, ip, 16);
  bool ok = operator_ban(p, true, key, ns);
  if (ok && ns) part_from(p, true, key);
  return ok;
}
