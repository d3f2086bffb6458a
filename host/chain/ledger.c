#include "chain/ledger.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "crypto/sign.h"

__extension__ typedef unsigned __int128 u128;

/* A power of two, so that the buckets are the leaves of a complete tree kept in heap order. */
_Static_assert((QR_LEDGER_BUCKET_CNT & (QR_LEDGER_BUCKET_CNT - 1)) == 0, "bucket count");
/* Accounts in memory are their own canonical encoding (little-endian hosts only, base/types.h). */
_Static_assert(sizeof(qr_account_t) == QR_ACCOUNT_SZ, "account layout");

#define NODE_CNT (2u * QR_LEDGER_BUCKET_CNT)

/* Accounts of one bucket, ascending by public key. */
typedef struct {
  qr_account_t *accounts;
  uint32_t cnt, cap;
} bucket_t;

struct qr_ledger {
  bucket_t buckets[QR_LEDGER_BUCKET_CNT];
  qr_hash_t
      nodes[NODE_CNT];  /* 1 is the top, n's children are 2n and 2n+1, leaves start at BUCKET_CNT */
  bool dirty[NODE_CNT]; /* a dirty node's parent is dirty */
  uint64_t supply;
  uint32_t account_cnt;
};

void qr_account_encode(const qr_account_t *a, uint8_t out[QR_ACCOUNT_SZ]) {
  memcpy(out, a->pk.b, QR_PUBKEY_SZ);
  qr_st64(out + 32, a->balance);
  qr_st64(out + 40, a->seq);
}

void qr_account_decode(const uint8_t in[QR_ACCOUNT_SZ], qr_account_t *a) {
  memcpy(a->pk.b, in, QR_PUBKEY_SZ);
  a->balance = qr_ld64(in + 32);
  a->seq = qr_ld64(in + 40);
}

qr_ledger_t *qr_ledger_init(void) {
  qr_ledger_t *l = calloc(1, sizeof *l);
  if (l) memset(l->dirty, true, sizeof l->dirty);
  return l;
}

void qr_ledger_fini(qr_ledger_t *l) {
  if (!l) return;
  for (uint32_t i = 0; i < QR_LEDGER_BUCKET_CNT; i++) free(l->buckets[i].accounts);
  free(l);
}

static uint32_t bucket_of(const qr_pubkey_t *pk) {
  return qr_ld16(pk->b) & (QR_LEDGER_BUCKET_CNT - 1);
}

/* Position of pk in its bucket, or where it would be inserted. */
static uint32_t position(const bucket_t *b, const qr_pubkey_t *pk, bool *found) {
  uint32_t lo = 0, hi = b->cnt;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    int order = memcmp(b->accounts[mid].pk.b, pk->b, QR_PUBKEY_SZ);
    if (!order) {
      *found = true;
      return mid;
    }
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  *found = false;
  return lo;
}

bool qr_ledger_get(const qr_ledger_t *l, const qr_pubkey_t *pk, qr_account_t *out) {
  const bucket_t *b = &l->buckets[bucket_of(pk)];
  bool found;
  uint32_t at = position(b, pk, &found);
  *out = found ? b->accounts[at] : (qr_account_t){.pk = *pk};
  return found;
}

static void insert(bucket_t *b, uint32_t at, const qr_account_t *a) {
  if (b->cnt == b->cap) {
    uint32_t cap = b->cap ? 2 * b->cap : 4;
    qr_account_t *p = realloc(b->accounts, (size_t)cap * sizeof *p);
    if (!p) {
      qr_log(QR_LOG_ERROR, "ledger", "event=out-of-memory accounts=%u", b->cnt);
      abort(); /* half a state is worse than none */
    }
    b->accounts = p;
    b->cap = cap;
  }
  memmove(&b->accounts[at + 1], &b->accounts[at], (size_t)(b->cnt - at) * sizeof *a);
  b->accounts[at] = *a;
  b->cnt++;
}

static void erase(bucket_t *b, uint32_t at) {
  b->cnt--;
  memmove(&b->accounts[at], &b->accounts[at + 1], (size_t)(b->cnt - at) * sizeof b->accounts[0]);
}

void qr_ledger_set(qr_ledger_t *l, const qr_account_t *a) {
  uint32_t idx = bucket_of(&a->pk);
  bucket_t *b = &l->buckets[idx];
  bool found, keep = a->balance || a->seq;
  uint32_t at = position(b, &a->pk, &found);
  if (!found && !keep) return;
  l->supply += a->balance - (found ? b->accounts[at].balance : 0);
  l->account_cnt += (uint32_t)keep - (uint32_t)found;
  if (!keep)
    erase(b, at);
  else if (found)
    b->accounts[at] = *a;
  else
    insert(b, at, a);
  for (uint32_t n = QR_LEDGER_BUCKET_CNT + idx; n && !l->dirty[n]; n /= 2) l->dirty[n] = true;
}

qr_hash_t qr_ledger_root(qr_ledger_t *l) {
  for (uint32_t n = NODE_CNT - 1; n; n--) {
    if (!l->dirty[n]) continue;
    l->dirty[n] = false;
    if (n >= QR_LEDGER_BUCKET_CNT) {
      uint32_t i = n - QR_LEDGER_BUCKET_CNT;
      const bucket_t *b = &l->buckets[i];
      l->nodes[n] = qr_merkle_leaf(i, b->accounts, (size_t)b->cnt * QR_ACCOUNT_SZ);
    } else {
      l->nodes[n] = qr_hash("quarry.node", &l->nodes[2 * n], 2 * QR_HASH_SZ);
    }
  }
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.root");
  qr_hash_add_u64(&h, (uint64_t)l->account_cnt * QR_ACCOUNT_SZ);
  qr_hash_add_u32(&h, 0);
  qr_hash_add(&h, l->nodes[1].b, QR_HASH_SZ);
  qr_hash_end(&h, &out);
  return qr_hash("quarry.state", out.b, QR_HASH_SZ);
}

void qr_ledger_visit(const qr_ledger_t *l, bool (*fn)(void *ctx, const qr_account_t *a),
                     void *ctx) {
  for (uint32_t i = 0; i < QR_LEDGER_BUCKET_CNT; i++) {
    for (uint32_t k = 0; k < l->buckets[i].cnt; k++) {
      if (!fn(ctx, &l->buckets[i].accounts[k])) return;
    }
  }
}

uint64_t qr_ledger_supply(const qr_ledger_t *l) { return l->supply; }

uint32_t qr_ledger_account_cnt(const qr_ledger_t *l) { return l->account_cnt; }

uint64_t qr_ledger_subsidy(uint64_t s0, uint32_t reward) {
  if (reward > 65536) reward = 65536;
  return s0 / 2 + (uint64_t)((u128)s0 * reward / 131072);
}

enum qr_verdict qr_ledger_check_tx_from(const qr_account_t *from, uint64_t chain_id,
                                        const qr_tx_t *tx) {
  if (tx->kind != QR_TX_TRANSFER) return QR_VERDICT_TX_SYNTAX;
  qr_hash_t msg = qr_tx_sign_hash(tx, chain_id);
  if (!qr_sign_verify(&tx->from, msg.b, QR_HASH_SZ, &tx->sig)) return QR_VERDICT_TX_SIGNATURE;
  if (tx->seq != from->seq) return QR_VERDICT_TX_SEQUENCE;
  uint64_t spent;
  if (__builtin_add_overflow(tx->amount, tx->fee, &spent)) return QR_VERDICT_TX_BALANCE;
  return spent <= from->balance ? QR_VERDICT_OK : QR_VERDICT_TX_BALANCE;
}

enum qr_verdict qr_ledger_check_tx(const qr_ledger_t *l, uint64_t chain_id, const qr_tx_t *tx) {
  qr_account_t from;
  qr_ledger_get(l, &tx->from, &from);
  return qr_ledger_check_tx_from(&from, chain_id, tx);
}

/* The accounts that a block touches, as they become; the ledger itself changes only when all of the
   block is right. Found through an open-addressed index, so that a full block costs no more per
   transaction than an empty one. */
#define INDEX_CNT 4096u
_Static_assert(INDEX_CNT > QR_LEDGER_CHANGE_MAX_CNT, "the index always has a free slot");

typedef struct {
  const qr_ledger_t *l;
  qr_ledger_undo_t *undo;
  uint16_t index[INDEX_CNT]; /* change number + 1; 0 is free */
} stage_t;

static qr_account_t *touch(stage_t *s, const qr_pubkey_t *pk) {
  qr_ledger_undo_t *u = s->undo;
  uint32_t slot = (qr_ld32(pk->b) * 2654435761u) >> 20;
  for (; s->index[slot]; slot = (slot + 1) % INDEX_CNT) {
    qr_account_t *after = &u->changes[s->index[slot] - 1].after;
    if (qr_pubkey_eq(&after->pk, pk)) return after;
  }
  qr_ledger_change_t *c = &u->changes[u->cnt];
  qr_ledger_get(s->l, pk, &c->before);
  c->after = c->before;
  s->index[slot] = (uint16_t)++u->cnt;
  return &c->after;
}

static enum qr_verdict transfer(stage_t *s, const qr_tx_t *tx, uint64_t chain_id, uint64_t *fees) {
  qr_account_t *from = touch(s, &tx->from);
  enum qr_verdict v = qr_ledger_check_tx_from(from, chain_id, tx);
  if (v) return v;
  from->balance -= tx->amount + tx->fee;
  from->seq++;
  qr_account_t *to = touch(s, &tx->to); /* after the debit: it may be the same account */
  if (__builtin_add_overflow(to->balance, tx->amount, &to->balance)) return QR_VERDICT_TX_BALANCE;
  if (__builtin_add_overflow(*fees, tx->fee, fees)) return QR_VERDICT_TX_BALANCE;
  return QR_VERDICT_OK;
}

/* What is newly issued: the subsidy, but never more than leaves the supply at its limit. */
static uint64_t award(const qr_ledger_t *l, const qr_params_t *p, const qr_header_t *h) {
  uint64_t want = qr_ledger_subsidy(p->subsidy, h->reward);
  uint64_t left = l->supply < QR_LEDGER_SUPPLY_MAX ? QR_LEDGER_SUPPLY_MAX - l->supply : 0;
  return want < left ? want : left;
}

enum qr_verdict qr_ledger_connect(qr_ledger_t *l, const qr_params_t *p, const qr_header_t *h,
                                  const qr_body_t *b, qr_ledger_undo_t *undo) {
  QR_ASSERT(b->tx_cnt <= QR_BLOCK_TX_MAX_CNT);
  stage_t s = {.l = l, .undo = undo};
  uint64_t income = 0;
  undo->cnt = 0;
  for (uint32_t i = 0; i < b->tx_cnt; i++) {
    qr_tx_t tx;
    enum qr_verdict v = qr_tx_decode(b->txs + (size_t)i * QR_TX_SZ, &tx);
    if (!v) v = transfer(&s, &tx, p->chain_id, &income);
    if (v) return v;
  }
  qr_account_t *miner = touch(&s, &h->miner);
  if (__builtin_add_overflow(income, award(l, p, h), &income)) return QR_VERDICT_TX_BALANCE;
  if (__builtin_add_overflow(miner->balance, income, &miner->balance)) return QR_VERDICT_TX_BALANCE;
  for (uint32_t i = 0; i < undo->cnt; i++) qr_ledger_set(l, &undo->changes[i].after);
  return QR_VERDICT_OK;
}

void qr_ledger_disconnect(qr_ledger_t *l, const qr_ledger_undo_t *undo) {
  for (uint32_t i = 0; i < undo->cnt; i++) {
    const qr_ledger_change_t *c = &undo->changes[i];
    qr_account_t now;
    qr_ledger_get(l, &c->after.pk, &now);
    QR_ASSERT(!memcmp(&now, &c->after, sizeof now));
    qr_ledger_set(l, &c->before);
  }
}
