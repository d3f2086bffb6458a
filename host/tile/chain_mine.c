#include "tile/chain_int.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"

#define TEMPLATE_TX_MAX_CNT 256u
/* Transfers of one sender that follow each other's sequence against the order of their fees. */
#define PASS_MAX_CNT 8u

typedef struct {
  qr_account_t accounts[TEMPLATE_TX_MAX_CNT];
  uint32_t cnt;
} senders_t;

static qr_account_t *sender_of(qr_chain_tile_t *t, senders_t *s, const qr_pubkey_t *pk) {
  for (uint32_t i = 0; i < s->cnt; i++) {
    if (qr_pubkey_eq(&s->accounts[i].pk, pk)) return &s->accounts[i];
  }
  if (s->cnt == TEMPLATE_TX_MAX_CNT) return NULL;
  qr_account_t *a = &s->accounts[s->cnt];
  if (!qr_ledger_get(t->ledger, pk, a)) return NULL;
  s->cnt++;
  return a;
}

static int by_fee(const void *a, const void *b) {
  const qr_mempool_entry_t *x = *(const qr_mempool_entry_t *const *)a;
  const qr_mempool_entry_t *y = *(const qr_mempool_entry_t *const *)b;
  if (x->tx.fee != y->tx.fee) return x->tx.fee < y->tx.fee ? 1 : -1;
  return (x->seq > y->seq) - (x->seq < y->seq);
}

/* Highest fee first; what a sender may spend only after another of its transfers comes in a later
   pass. Only coins that stood on the ledger before the block are spent. */
static uint32_t choose_txs(qr_chain_tile_t *t, uint8_t *out) {
  const qr_mempool_entry_t *order[QR_MEMPOOL_MAX_CNT];
  senders_t senders = {.cnt = 0};
  uint32_t cnt = 0, left = qr_mempool_cnt(t->mempool);
  for (uint32_t i = 0; i < left; i++) order[i] = qr_mempool_at(t->mempool, i);
  qsort(order, left, sizeof order[0], by_fee);
  for (uint32_t pass = 0; pass < PASS_MAX_CNT && left; pass++) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < left && cnt < TEMPLATE_TX_MAX_CNT; i++) {
      const qr_tx_t *tx = &order[i]->tx;
      qr_account_t *a = sender_of(t, &senders, &tx->from);
      bool due = a && a->seq == tx->seq && a->balance >= tx->fee;
      if (!due || a->balance - tx->fee < tx->amount) {
        order[kept++] = order[i];
        continue;
      }
      a->seq++;
      a->balance -= tx->amount + tx->fee;
      qr_tx_encode(tx, out + (size_t)cnt++ * QR_TX_SZ);
    }
    if (kept == left) break;
    left = kept;
  }
  return cnt;
}

static bool may_mine(const qr_chain_tile_t *t, uint64_t now_ns) {
  if (!t->mining || t->failed || t->disk.failed || t->disk.full) return false;
  const qr_node_t *tip = qr_tree_tip(t->tree);
  if (t->cfg.stop_height && tip->header.height >= t->cfg.stop_height) return false;
  if (!t->cfg.net_stats) return true;
  if (atomic_load_explicit(&t->cfg.net_stats->syncing, memory_order_relaxed)) return false;
  bool alone = !atomic_load_explicit(&t->cfg.net_stats->peer_cnt, memory_order_relaxed);
  return !alone || now_ns - t->start_ns >= (uint64_t)t->cfg.peer_wait_ms * 1000000u;
}

static void fill_prefix(qr_chain_tile_t *t, qr_mine_order_t *o, qr_node_t *tip) {
  const qr_params_t *p = &t->chain->p;
  o->prefix = (qr_header_t){.version = QR_HEADER_VERSION,
                            .chain_id = p->chain_id,
                            .rules = t->chain->rules,
                            .height = tip->header.height + 1,
                            .parent = tip->hash};
  o->prefix.task = qr_params_task_of(p, o->prefix.height);
  o->prefix.target = qr_tree_next_target(t->tree, tip);
  o->prefix.state_root = qr_ledger_root(t->ledger);
  o->prefix.tx_root = qr_body_tx_root(&o->txs->body);
  o->time_min_ms = qr_tree_median_time(t->tree, tip) + 1;
}

static int add_best(qr_chain_tile_t *t, qr_mine_order_t *o, qr_node_t *tip) {
  qr_node_t *n = qr_chain_task_tip(tip, o->prefix.task);
  if (!n) return QR_OK;
  int err = qr_chain_resident_model(t, n);
  if (err) return err;
  const qr_exec_t *e = n->user;
  const qr_header_t *h = &n->header;
  qr_hash_t sigma = qr_header_sigma(h), rho = qr_header_rho(&sigma, &h->model_out, &h->trace_last);
  o->best = qr_pool_ref(e->model_out);
  o->best_feed = qr_view_eval_feed(&rho);
  o->best_return = e->facts.model_return;
  return QR_OK;
}

/* NULL view on failure: nothing is held. */
static bool make_order(qr_chain_tile_t *t, qr_mine_order_t *o) {
  qr_node_t *tip = qr_tree_tip(t->tree);
  QR_ASSERT(t->ledger_at == tip);
  *o = (qr_mine_order_t){.txs = qr_objects_block(t->cfg.objects)};
  if (!o->txs) return false;
  o->txs->body = (qr_body_t){.txs = o->txs->bytes, .tx_cnt = choose_txs(t, o->txs->bytes)};
  fill_prefix(t, o, tip);
  o->view = qr_chain_view(t, tip, o->prefix.task);
  if (o->view && !add_best(t, o, tip)) return true;
  qr_pool_unref(o->view);
  qr_pool_unref(o->txs);
  return false;
}

int qr_chain_poll_mine(qr_chain_tile_t *t, uint64_t now_ns) {
  if (!t->cfg.mine_orders || !qr_ring_room(t->cfg.mine_orders)) return 0;
  bool pause = !may_mine(t, now_ns);
  if (pause == t->mine_paused && (pause || !t->mine_dirty)) return 0;
  qr_mine_order_t o = {.pause = true};
  if (!pause && !make_order(t, &o)) return 0;
  bool pushed = qr_ring_push(t->cfg.mine_orders, &o);
  QR_ASSERT(pushed);
  t->mine_paused = pause;
  t->mine_dirty = false;
  return 1;
}
