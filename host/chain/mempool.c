#include "chain/mempool.h"

#include <stdlib.h>

#include "base/assert.h"

#define HALF_NS (600ull * 1000000000u) /* in which what was added to the floor halves */

struct qr_mempool {
  qr_mempool_cfg_t cfg;
  uint32_t cnt;
  uint64_t arrival_seq;
  uint64_t extra, extra_ns; /* what the floor was raised by, and when */
  qr_mempool_stats_t stats;
  qr_mempool_entry_t entries[QR_MEMPOOL_MAX_CNT];
  uint16_t order[QR_MEMPOOL_MAX_CNT]; /* entries by sender and sequence */
};

qr_mempool_t *qr_mempool_init(const qr_mempool_cfg_t *cfg) {
  if (!cfg->max_cnt || cfg->max_cnt > QR_MEMPOOL_MAX_CNT) return NULL;
  qr_mempool_t *p = calloc(1, sizeof *p);
  if (p) p->cfg = *cfg;
  return p;
}

void qr_mempool_fini(qr_mempool_t *p) { free(p); }

uint32_t qr_mempool_cnt(const qr_mempool_t *p) { return p->cnt; }

const qr_mempool_entry_t *qr_mempool_at(const qr_mempool_t *p, uint32_t i) {
  QR_ASSERT(i < p->cnt);
  return &p->entries[i];
}

void qr_mempool_stats(const qr_mempool_t *p, qr_mempool_stats_t *out) { *out = p->stats; }

uint64_t qr_mempool_floor(const qr_mempool_t *p, uint64_t now_ns) {
  uint64_t halves = now_ns > p->extra_ns ? (now_ns - p->extra_ns) / HALF_NS : 0;
  uint64_t extra = halves < 64 ? p->extra >> halves : 0;
  return p->cfg.fee_min > UINT64_MAX - extra ? UINT64_MAX : p->cfg.fee_min + extra;
}

/* An eighth and one more. */
static uint64_t more_than(uint64_t fee) {
  uint64_t step = fee / 8 + 1;
  return fee > UINT64_MAX - step ? UINT64_MAX : fee + step;
}

/* ---- places ---- */

static const qr_tx_t *tx_at(const qr_mempool_t *p, uint32_t place) {
  return &p->entries[p->order[place]].tx;
}

/* First place whose sender is not before pk, or whose sequence is not below seq. */
static uint32_t find(const qr_mempool_t *p, const qr_pubkey_t *pk, uint64_t seq) {
  uint32_t lo = 0, hi = p->cnt;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    int c = memcmp(tx_at(p, mid)->from.b, pk->b, QR_PUBKEY_SZ);
    if (c < 0 || (!c && tx_at(p, mid)->seq < seq))
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static bool is_from(const qr_mempool_t *p, uint32_t place, const qr_pubkey_t *pk) {
  return place < p->cnt && qr_pubkey_eq(&tx_at(p, place)->from, pk);
}

static void take_out(qr_mempool_t *p, uint32_t place) {
  uint16_t gone = p->order[place], last = (uint16_t)(p->cnt - 1);
  memmove(&p->order[place], &p->order[place + 1], (p->cnt - place - 1) * sizeof p->order[0]);
  p->cnt--;
  if (gone == last) return;
  const qr_tx_t *moved = &p->entries[last].tx;
  p->order[find(p, &moved->from, moved->seq)] = gone; /* the keys of last still lie at its place */
  p->entries[gone] = p->entries[last];
}

static void put_in(qr_mempool_t *p, uint32_t place, const qr_tx_t *tx, const qr_hash_t *id,
                   uint64_t now_ns) {
  memmove(&p->order[place + 1], &p->order[place], (p->cnt - place) * sizeof p->order[0]);
  p->order[place] = (uint16_t)p->cnt;
  p->entries[p->cnt++] =
      (qr_mempool_entry_t){.tx = *tx, .id = *id, .at_ns = now_ns, .seq = p->arrival_seq++};
}

/* The last of a sender that is worth least, of those the one that came last; its worth. Those of
   sender but stay. False if there is none. */
static bool cheapest(const qr_mempool_t *p, const qr_pubkey_t *but, uint32_t *place,
                     uint64_t *worth) {
  uint64_t least = UINT64_MAX, seq = 0;
  bool found = false;
  for (uint32_t i = 0; i < p->cnt; i++) {
    const qr_tx_t *tx = tx_at(p, i);
    bool first = !i || !is_from(p, i - 1, &tx->from), last = !is_from(p, i + 1, &tx->from);
    least = first || tx->fee < least ? tx->fee : least;
    if (!last || qr_pubkey_eq(&tx->from, but)) continue;
    uint64_t arrival = p->entries[p->order[i]].seq;
    if (found && (least > *worth || (least == *worth && arrival < seq))) continue;
    found = true;
    *place = i;
    *worth = least;
    seq = arrival;
  }
  return found;
}

uint64_t qr_mempool_fee_min(const qr_mempool_t *p, uint64_t now_ns) {
  static const qr_pubkey_t nobody;
  uint64_t floor = qr_mempool_floor(p, now_ns), worth;
  uint32_t place;
  if (p->cnt < p->cfg.max_cnt || !cheapest(p, &nobody, &place, &worth)) return floor;
  return worth >= floor && worth < UINT64_MAX ? worth + 1 : floor;
}

/* ---- offers ---- */

/* Where a transaction stands among its sender's. */
typedef struct {
  uint32_t place;
  bool replaces;
  uint64_t worth;
} stand_t;

/* Sequence, the one that it would replace, the sender's number, and the balance. */
static enum qr_verdict check_sender(const qr_mempool_t *p, const qr_ledger_t *ledger,
                                    const qr_tx_t *tx, const qr_hash_t *id, stand_t *st) {
  qr_account_t from;
  qr_ledger_get(ledger, &tx->from, &from);
  uint32_t cnt = 0;
  uint64_t spent;
  *st = (stand_t){.place = find(p, &tx->from, tx->seq), .worth = tx->fee};
  if (__builtin_add_overflow(tx->amount, tx->fee, &spent)) return QR_VERDICT_TX_BALANCE;
  for (uint32_t i = find(p, &tx->from, 0); is_from(p, i, &tx->from); i++, cnt++) {
    const qr_tx_t *o = tx_at(p, i);
    if (o->seq == tx->seq) {
      st->replaces = true;
      if (qr_hash_eq(&p->entries[p->order[i]].id, id)) return QR_VERDICT_DUPLICATE;
      if (tx->fee < more_than(o->fee)) return QR_VERDICT_TX_FEE;
      continue;
    }
    if (o->seq < tx->seq && o->fee < st->worth) st->worth = o->fee;
    if (__builtin_add_overflow(spent, o->amount + o->fee, &spent)) return QR_VERDICT_TX_BALANCE;
  }
  if (tx->seq < from.seq || (!st->replaces && tx->seq != from.seq + cnt))
    return QR_VERDICT_TX_SEQUENCE;
  if (!st->replaces && cnt >= QR_MEMPOOL_SENDER_MAX_CNT) return QR_VERDICT_TX_LIMIT;
  return spent <= from.balance ? QR_VERDICT_OK : QR_VERDICT_TX_BALANCE;
}

static void raise_floor(qr_mempool_t *p, uint64_t above, uint64_t now_ns) {
  uint64_t want = more_than(above);
  if (want <= qr_mempool_floor(p, now_ns)) return;
  p->extra = want - p->cfg.fee_min;
  p->extra_ns = now_ns;
}

static enum qr_verdict admit(qr_mempool_t *p, const qr_ledger_t *ledger, const qr_tx_t *tx,
                             const qr_hash_t *id, uint64_t now_ns) {
  stand_t st;
  uint32_t victim = 0;
  uint64_t worth = 0;
  if (tx->fee < qr_mempool_floor(p, now_ns)) return QR_VERDICT_TX_FEE;
  enum qr_verdict v = check_sender(p, ledger, tx, id, &st);
  if (v) return v;
  bool full = !st.replaces && p->cnt == p->cfg.max_cnt;
  if (full && (!cheapest(p, &tx->from, &victim, &worth) || worth >= st.worth))
    return QR_VERDICT_TX_FEE;
  qr_account_t then = {.pk = tx->from, .balance = UINT64_MAX, .seq = tx->seq};
  v = qr_ledger_check_tx_from(&then, p->cfg.chain_id, tx);
  if (v) return v;
  if (st.replaces) {
    take_out(p, st.place);
    p->stats.replaced++;
  } else if (full) {
    take_out(p, victim);
    p->stats.evicted++;
    raise_floor(p, worth, now_ns);
  }
  put_in(p, find(p, &tx->from, tx->seq), tx, id, now_ns);
  p->stats.taken++;
  return QR_VERDICT_OK;
}

enum qr_verdict qr_mempool_add(qr_mempool_t *p, const qr_ledger_t *ledger, const uint8_t *encoded,
                               uint64_t now_ns, qr_hash_t *txid) {
  qr_tx_t tx;
  enum qr_verdict v = qr_tx_decode(encoded, &tx);
  if (!v) {
    *txid = qr_tx_hash(&tx);
    v = admit(p, ledger, &tx, txid, now_ns);
  }
  p->stats.refused += v != QR_VERDICT_OK && v != QR_VERDICT_DUPLICATE;
  return v;
}

/* ---- upkeep ---- */

void qr_mempool_prune(qr_mempool_t *p, const qr_ledger_t *ledger, uint64_t now_ns,
                      qr_mempool_lost_fn *lost, void *ctx) {
  qr_account_t from = {.seq = 0};
  bool known = false, broken = false; /* broken: nothing that follows of this sender can stay */
  for (uint32_t i = 0; i < p->cnt;) {
    const qr_mempool_entry_t *e = &p->entries[p->order[i]];
    if (!known || !qr_pubkey_eq(&from.pk, &e->tx.from)) {
      qr_ledger_get(ledger, &e->tx.from, &from);
      from.pk = e->tx.from;
      known = true;
      broken = false;
    }
    uint64_t spent = e->tx.amount + e->tx.fee;
    bool old = p->cfg.keep_ns && now_ns > e->at_ns && now_ns - e->at_ns > p->cfg.keep_ns;
    bool due = e->tx.seq == from.seq && spent <= from.balance && !old;
    if (due && !broken) {
      from.seq++;
      from.balance -= spent;
      i++;
      continue;
    }
    bool late = e->tx.seq < from.seq;
    broken |= !late;
    p->stats.expired += old;
    if (lost && !late && !old) lost(ctx, &e->tx);
    take_out(p, i);
  }
}
