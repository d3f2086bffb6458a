/* Who may come in. Places are few and identities cost nothing, so that a newcomer may take the
   place of another; who that is, nobody can bring about by coming often: whoever is near, of use,
   long here or from a network of its own stays, and of the rest it meets the youngest of those who
   are most from one network. After Bitcoin's SelectNodeToEvict. */
#include "peer/internal.h"

#define SHARE 8u /* a part of all for each virtue */

typedef struct {
  qr_peer_slot_t *s;
  qr_netaddr_group_t group;
  uint32_t group_cnt; /* of all who came in */
} seat_t;

typedef struct {
  qr_peers_t *p;
  seat_t seats[QR_PEERS_MAX_CNT];
  uint32_t cnt;
} row_t;

/* Places kept for those that we dial. */
static uint32_t owed_cnt(const qr_peers_t *p) {
  uint32_t cnt = 0, book = qr_peer_outbound_cnt(p);
  for (uint32_t i = 0; i < p->cfg.static_cnt; i++)
    cnt += !p->statics[i].peer && !p->statics[i].self;
  if (p->book && p->cfg.outbound_cnt) {
    if (book < p->cfg.outbound_cnt) cnt += p->cfg.outbound_cnt - book;
    cnt++; /* for a feeler */
  }
  return cnt > p->cfg.peer_max_cnt / 2 ? p->cfg.peer_max_cnt / 2 : cnt;
}

/* How much a session has of each virtue; 0: nothing that counts. */
static uint64_t nearness(const row_t *r, const seat_t *a) {
  (void)r;
  return a->s->rtt_min_ns ? UINT64_MAX - a->s->rtt_min_ns : 0;
}
static uint64_t blocks(const row_t *r, const seat_t *a) { return (void)r, a->s->block_ns; }
static uint64_t txs(const row_t *r, const seat_t *a) { return (void)r, a->s->tx_ns; }
static uint64_t age(const row_t *r, const seat_t *a) {
  return a->s->state == QR_PEER_UP ? 1 + r->p->now_ns - a->s->since_ns : 0;
}
/* A network's rank, which nobody outside can know. */
static uint64_t rank(const row_t *r, const seat_t *a) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.evict");
  qr_hash_add_u64(&h, r->p->evict_salt);
  qr_hash_add(&h, a->group.b, sizeof a->group.b);
  qr_hash_end(&h, &out);
  return qr_ld64(out.b) | 1;
}

static void take_out(row_t *r, uint32_t i) { r->seats[i] = r->seats[--r->cnt]; }

/* Takes those out of the row who have most of it; apart: only one of each group. */
static void spare(row_t *r, uint32_t cnt, uint64_t (*of)(const row_t *, const seat_t *),
                  bool apart) {
  qr_netaddr_group_t groups[QR_PEERS_MAX_CNT];
  for (uint32_t n = 0; n < cnt; n++) {
    uint32_t best = UINT32_MAX;
    uint64_t most = 0;
    for (uint32_t i = 0; i < r->cnt; i++) {
      bool met = false;
      for (uint32_t k = 0; apart && k < n; k++)
        met |= qr_netaddr_group_eq(&groups[k], &r->seats[i].group);
      uint64_t v = met ? 0 : of(r, &r->seats[i]);
      if (v <= most) continue;
      most = v;
      best = i;
    }
    if (best == UINT32_MAX) return;
    groups[n] = r->seats[best].group;
    take_out(r, best);
  }
}

static bool is_configured(const qr_peers_t *p, const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < p->cfg.static_cnt; i++) {
    if (p->statics[i].met && qr_pubkey_eq(&p->statics[i].pk, &s->pk)) return true;
  }
  return false;
}

/* Of those in the row the youngest of whose network most came in, the spared ones too: who is alone
   from his stays while others are several from theirs. */
static const seat_t *youngest_of_most(const row_t *r) {
  const seat_t *found = NULL;
  for (uint32_t i = 0; i < r->cnt; i++) {
    const seat_t *a = &r->seats[i];
    bool more = found && a->group_cnt > found->group_cnt;
    bool younger = found && a->group_cnt == found->group_cnt && a->s->since_ns > found->s->since_ns;
    if (!found || more || younger) found = a;
  }
  return found;
}

/* With the newcomer's, which stands for one more. Returns how many that one has then. */
static uint32_t count_groups(row_t *r, const qr_netaddr_group_t *newcomer) {
  uint32_t own = 1;
  for (uint32_t i = 0; i < r->cnt; i++) {
    bool same = qr_netaddr_group_eq(newcomer, &r->seats[i].group);
    own += same;
    r->seats[i].group_cnt = same;
    for (uint32_t k = 0; k < r->cnt; k++)
      r->seats[i].group_cnt += qr_netaddr_group_eq(&r->seats[k].group, &r->seats[i].group);
  }
  return own;
}

/* Whose place a newcomer gets; NULL: nobody's. Never that of one from whose network fewer came in.
 */
static qr_peer_slot_t *victim(qr_peers_t *p, const qr_netaddr_group_t *newcomer) {
  row_t r = {.p = p};
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state == QR_PEER_FREE || s->doom || !s->inbound) continue;
    if (s->state == QR_PEER_CLOSING) return s; /* it was refused already */
    if (!is_configured(p, s)) r.seats[r.cnt++] = (seat_t){s, qr_netaddr_group(&s->addr), 0};
  }
  uint32_t own = count_groups(&r, newcomer);
  uint32_t share = (r.cnt + SHARE - 1) / SHARE;
  spare(&r, share, rank, true);
  spare(&r, share, nearness, false);
  spare(&r, share, txs, false);
  spare(&r, 2 * share, blocks, false);
  spare(&r, (r.cnt + 1) / 2, age, false);
  const seat_t *found = youngest_of_most(&r);
  return found && found->group_cnt >= own ? found->s : NULL;
}

bool qr_peer_place_for(qr_peers_t *p, const qr_link_addr_t *addr, const qr_pubkey_t *pk) {
  uint32_t free_cnt = 0, in_cnt = 0, same_addr = 0, same_group = 0;
  qr_netaddr_group_t group = qr_netaddr_group(addr);
  qr_peer_slot_t *out = NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    free_cnt += s->state == QR_PEER_FREE;
    in_cnt += s->state != QR_PEER_FREE && s->inbound;
    if (s->state == QR_PEER_FREE || !s->inbound) continue;
    if (qr_pubkey_eq(&s->pk, pk)) { /* it comes again: its last connection is dead, or goes now */
      out = s;
      continue;
    }
    qr_netaddr_group_t g = qr_netaddr_group(&s->addr);
    same_addr += !memcmp(s->addr.ip, addr->ip, sizeof addr->ip);
    same_group += qr_netaddr_group_eq(&g, &group);
  }
  if (p->cfg.addr_max_cnt && same_addr >= p->cfg.addr_max_cnt) return false;
  if (p->cfg.group_max_cnt && same_group >= p->cfg.group_max_cnt) return false;
  bool may = !p->cfg.inbound_cnt || in_cnt < p->cfg.inbound_cnt;
  if (may && free_cnt > owed_cnt(p)) return true;
  if (out)
    qr_peer_doom(p, out, "it came again");
  else if ((out = victim(p, &group))) {
    p->stats.evicted++;
    qr_peer_doom(p, out, "its place was needed for another peer");
  } else
    return false;
  qr_peer_reap(p);
  return true;
}
