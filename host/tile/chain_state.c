#include "tile/chain_int.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"

#define BATCH_OPS_MIN 64u
#define UNDO_KEPT_CNT 64u
#define BATCH_BYTES_MIN (64u << 10)

void qr_chain_fail(qr_chain_tile_t *t, const char *what, int err) {
  if (t->failed) return;
  t->failed = true;
  qr_log(QR_LOG_ERROR, "chain",
         "event=fatal action=\"%s\" cause=\"%s\" cure=\"check the disk, then start again: the "
         "stored chain is complete up to its tip\"",
         what, qr_err_str(err));
}

/* Appends one op; values are copied so that the batch can be sent later. Offsets become pointers
 * when it is sent. */
void qr_chain_batch_add(qr_batch_t *b, enum qr_store_table table, const void *key, size_t key_sz,
                        const void *value, size_t value_sz, bool erase) {
  size_t need = key_sz + value_sz;
  if (b->cnt == b->cap) {
    b->cap = b->cap ? 2 * b->cap : BATCH_OPS_MIN;
    b->ops = realloc(b->ops, b->cap * sizeof *b->ops);
    QR_ASSERT(b->ops);
  }
  if (b->sz + need > b->bytes_cap) {
    b->bytes_cap = 2 * b->bytes_cap + need + BATCH_BYTES_MIN;
    b->bytes = realloc(b->bytes, b->bytes_cap);
    QR_ASSERT(b->bytes);
  }
  qr_store_op_t *op = &b->ops[b->cnt++];
  *op = (qr_store_op_t){.table = table, .erase = erase, .key_sz = key_sz, .value_sz = value_sz};
  memcpy(b->bytes + b->sz, key, key_sz);
  if (value_sz) memcpy(b->bytes + b->sz + key_sz, value, value_sz);
  b->sz += need;
}

int qr_chain_batch_commit(qr_chain_tile_t *t) {
  qr_batch_t *b = &t->batch;
  size_t at = 0;
  for (uint32_t i = 0; i < b->cnt; i++) {
    b->ops[i].key = b->bytes + at;
    b->ops[i].value = b->bytes + at + b->ops[i].key_sz;
    at += b->ops[i].key_sz + b->ops[i].value_sz;
  }
  int err = t->cfg.store_ops->commit(t->cfg.store, ++t->commit_tag, b->ops, b->cnt);
  b->cnt = 0;
  b->sz = 0;
  return err;
}

static void batch_send(qr_chain_tile_t *t, qr_node_t *n, bool tip) {
  QR_ASSERT(t->commit_cnt < QR_COMMIT_MAX_CNT);
  uint32_t slot = (t->commit_head + t->commit_cnt++) % QR_COMMIT_MAX_CNT;
  int err = qr_chain_batch_commit(t);
  t->commits[slot].tag = t->commit_tag;
  t->commits[slot].node = n;
  t->commits[slot].tip = tip;
  t->commits[slot].sent_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx);
  if (err) qr_chain_fail(t, "commit a block", err);
}

int qr_chain_poll_commits(qr_chain_tile_t *t) {
  qr_store_done_t done[8];
  /* Each may be two words to peers, for which the others leave QR_OUT_ROOM. */
  uint32_t room = t->cfg.to_net ? qr_ring_room(t->cfg.to_net) / 2 : QR_ARRAY_CNT(done);
  if (!room) return 0;
  if (room > QR_ARRAY_CNT(done)) room = QR_ARRAY_CNT(done);
  int cnt = t->cfg.store_ops->poll(t->cfg.store, done, (int)room);
  for (int i = 0; i < cnt; i++) {
    QR_ASSERT(t->commit_cnt && t->commits[t->commit_head].tag == done[i].tag);
    qr_node_t *n = t->commits[t->commit_head].node;
    bool tip = t->commits[t->commit_head].tip;
    t->durable_ns += t->cfg.clock->mono_ns(t->cfg.clock->ctx) - t->commits[t->commit_head].sent_ns;
    t->durable_cnt++;
    t->commit_head = (t->commit_head + 1) % QR_COMMIT_MAX_CNT;
    t->commit_cnt--;
    if (done[i].err) {
      qr_chain_fail(t, "make a block durable", done[i].err);
      continue;
    }
    qr_outbound_t out = {
        .kind = QR_OUT_ACCEPTED, .hash = n->hash, .height = n->header.height, .work = n->work};
    if (tip) {
      t->durable_tip = n;
      qr_chain_tell_tip(t);
    }
    qr_chain_out(t, &out);
  }
  return cnt;
}

/* Undo of a block, from memory or the store. */
static int load_undo(qr_chain_tile_t *t, qr_node_t *n) {
  qr_exec_t *e = qr_chain_exec(t, n);
  if (!e) return QR_ERR_IO;
  if (e->undo) return QR_OK;
  int64_t sz = t->cfg.store_ops->get(t->cfg.store, QR_STORE_UNDO, &n->hash, sizeof n->hash,
                                     t->io_buf, QR_STORE_VALUE_MAX_SZ);
  if (sz < 0) return (int)sz;
  uint32_t cnt = (uint32_t)((size_t)sz / QR_UNDO_RECORD_SZ);
  if ((size_t)sz % QR_UNDO_RECORD_SZ || !cnt || cnt > QR_LEDGER_CHANGE_MAX_CNT)
    return QR_ERR_CORRUPT;
  e->undo = calloc(cnt, sizeof *e->undo);
  if (!e->undo) return QR_ERR_NOMEM;
  e->undo_cnt = cnt;
  for (uint32_t i = 0; i < cnt; i++) {
    qr_account_decode(t->io_buf + i * QR_UNDO_RECORD_SZ, &e->undo[i].before);
    qr_account_decode(t->io_buf + i * QR_UNDO_RECORD_SZ + QR_ACCOUNT_SZ, &e->undo[i].after);
  }
  return QR_OK;
}

static int step_back(qr_chain_tile_t *t) {
  qr_node_t *n = t->ledger_at;
  int err = load_undo(t, n);
  if (err) return err;
  const qr_exec_t *e = n->user;
  t->undo.cnt = e->undo_cnt;
  memcpy(t->undo.changes, e->undo, e->undo_cnt * sizeof *e->undo);
  qr_ledger_disconnect(t->ledger, &t->undo);
  t->ledger_at = n->parent;
  return QR_OK;
}

/* Goes forward over blocks whose effect is known, down from the common ancestor. */
static int step_forward(qr_chain_tile_t *t, qr_node_t *to) {
  while (t->ledger_at != to) {
    qr_node_t *n = qr_tree_ancestor(to, t->ledger_at->header.height + 1);
    int err = load_undo(t, n);
    if (err) return err;
    const qr_exec_t *e = n->user;
    for (uint32_t i = 0; i < e->undo_cnt; i++) qr_ledger_set(t->ledger, &e->undo[i].after);
    t->ledger_at = n;
  }
  return QR_OK;
}

int qr_chain_ledger_move(qr_chain_tile_t *t, qr_node_t *to) {
  qr_node_t *common = qr_tree_common(t->ledger_at, to);
  int err = QR_OK;
  while (t->ledger_at != common && !err) err = step_back(t);
  return err ? err : step_forward(t, to);
}

/* Connects the block and keeps what that changed; the ledger stands after it then. */
static enum qr_verdict record_effect(qr_chain_tile_t *t, qr_node_t *n, const qr_body_t *b,
                                     int *err) {
  qr_hash_t root = qr_ledger_root(t->ledger);
  if (!qr_hash_eq(&root, &n->header.state_root)) return QR_VERDICT_STATE_ROOT;
  enum qr_verdict v = qr_ledger_connect(t->ledger, &t->chain->p, &n->header, b, &t->undo);
  if (v) return v;
  t->ledger_at = n;
  qr_exec_t *e = calloc(1, sizeof *e);
  n->user = e;
  if (e) e->undo = calloc(t->undo.cnt, sizeof *e->undo);
  if (!e || !e->undo) {
    *err = QR_ERR_NOMEM;
    return QR_VERDICT_OK;
  }
  e->undo_cnt = t->undo.cnt;
  memcpy(e->undo, t->undo.changes, t->undo.cnt * sizeof *e->undo);
  return QR_VERDICT_OK;
}

enum qr_verdict qr_chain_begin(qr_chain_tile_t *t, qr_node_t *n, const qr_body_t *b, int *err) {
  qr_node_t *home = t->ledger_at;
  enum qr_verdict v = QR_VERDICT_OK;
  *err = qr_chain_ledger_move(t, n->parent);
  if (!*err) v = record_effect(t, n, b, err);
  if (!*err) *err = qr_chain_ledger_move(t, home);
  return v;
}

static void add_state(qr_chain_tile_t *t, const qr_ledger_change_t *changes, uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i++) {
    qr_account_t a;
    uint8_t enc[QR_ACCOUNT_SZ];
    bool found = qr_ledger_get(t->ledger, &changes[i].after.pk, &a);
    if (found) qr_account_encode(&a, enc);
    qr_chain_batch_add(&t->batch, QR_STORE_STATE, &changes[i].after.pk, sizeof(qr_pubkey_t), enc,
                       found ? sizeof enc : 0, !found);
  }
}

static void height_key(uint64_t height, uint8_t key[8]) {
  for (int i = 0; i < 8; i++) key[i] = (uint8_t)(height >> (56 - 8 * i));
}

/* The records of a tip that moved from old to now: index, accounts, tip. The ledger stands at now.
 */
static void add_tip(qr_chain_tile_t *t, qr_node_t *old, qr_node_t *now) {
  qr_node_t *common = qr_tree_common(old, now);
  uint8_t key[8], tip[QR_META_TIP_SZ];
  for (qr_node_t *n = old; n != common; n = n->parent) {
    const qr_exec_t *e = n->user;
    add_state(t, e->undo, e->undo_cnt);
    height_key(n->header.height, key);
    if (n->header.height > now->header.height) {
      qr_chain_batch_add(&t->batch, QR_STORE_INDEX, key, sizeof key, NULL, 0, true);
    }
  }
  for (qr_node_t *n = now; n != common; n = n->parent) {
    const qr_exec_t *e = n->user;
    add_state(t, e->undo, e->undo_cnt);
    height_key(n->header.height, key);
    qr_chain_batch_add(&t->batch, QR_STORE_INDEX, key, sizeof key, &n->hash, sizeof n->hash, false);
  }
  qr_hash_t root = qr_ledger_root(t->ledger);
  memcpy(tip, &now->hash, 32);
  qr_st64(tip + 32, now->header.height);
  memcpy(tip + 40, &root, 32);
  qr_chain_batch_add(&t->batch, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), tip, sizeof tip,
                     false);
}

/* kept: a batch that was sent before holds the incoming model. */
static void add_block(qr_chain_tile_t *t, const qr_cand_t *c, qr_exec_t *e, bool kept) {
  uint8_t facts[QR_EXEC_RECORD_SZ];
  const qr_hash_t *hash = &c->node->hash;
  qr_batch_t *b = &t->batch;
  qr_chain_exec_encode(&e->facts, qr_view_start_states(c->view), facts);
  qr_chain_batch_add(b, QR_STORE_BLOCK, hash, sizeof *hash, c->block->bytes, c->block->sz, false);
  qr_chain_batch_add(b, QR_STORE_EXEC, hash, sizeof *hash, facts, sizeof facts, false);
  if (!kept) {
    qr_chain_batch_add(b, QR_STORE_MODEL, &e->model_in->root, 32, e->model_in->bytes,
                       e->model_in->sz, false);
  }
  qr_chain_batch_add(b, QR_STORE_MODEL, &e->model_out->root, 32, e->model_out->bytes,
                     e->model_out->sz, false);
  size_t undo_sz = (size_t)e->undo_cnt * QR_UNDO_RECORD_SZ;
  QR_ASSERT(undo_sz <= QR_STORE_VALUE_MAX_SZ);
  for (uint32_t i = 0; i < e->undo_cnt; i++) {
    qr_account_encode(&e->undo[i].before, t->io_buf + i * QR_UNDO_RECORD_SZ);
    qr_account_encode(&e->undo[i].after, t->io_buf + i * QR_UNDO_RECORD_SZ + QR_ACCOUNT_SZ);
  }
  qr_chain_batch_add(b, QR_STORE_UNDO, hash, sizeof *hash, t->io_buf, undo_sz, false);
}

static void log_tip(const qr_chain_tile_t *t, const qr_cand_t *c, uint64_t depth) {
  char hex[17];
  qr_log(QR_LOG_INFO, "chain",
         "event=tip height=%llu hash=%s task=%s reward=%u from=%s reorg=%llu exec_ms=%.1f",
         (unsigned long long)c->node->header.height, qr_hex(hex, &c->node->hash, 8),
         t->chain->p.tasks[c->node->header.task].name, c->node->header.reward,
         c->block->peer ? "peer" : "self", (unsigned long long)depth,
         (double)c->result.exec_ns / 1e6);
}

/* Undo records this far below the tip are read from the store should they ever be needed. */
static void release_old_undo(qr_node_t *tip) {
  if (tip->header.height <= UNDO_KEPT_CNT) return;
  qr_exec_t *e = qr_tree_ancestor(tip, tip->header.height - UNDO_KEPT_CNT)->user;
  if (!e) return;
  free(e->undo);
  e->undo = NULL;
}

static void count_reorg(qr_chain_tile_t *t, uint64_t depth) {
  if (!depth) return;
  t->reorgs++;
  if (depth > t->reorg_depth_max) t->reorg_depth_max = depth;
}

/* The record of a block whose verdict is OK gets the rest of its facts. */
static int complete(qr_chain_tile_t *t, qr_cand_t *c) {
  qr_exec_t *e = c->node->user;
  bool known;
  QR_ASSERT(e->segment && e->trained);
  e->facts = c->result.facts;
  e->ranked = false;
  int err = qr_chain_rank(t, c->node, &known);
  QR_ASSERT(err || known);
  e->model_in = qr_pool_ref(c->model);
  return err;
}

void qr_chain_accept(qr_chain_tile_t *t, qr_cand_t *c) {
  qr_node_t *n = c->node, *old = qr_tree_tip(t->tree);
  bool kept = qr_chain_model_kept(t, &n->header.model_in);
  int err = complete(t, c);
  qr_chain_keep_segment(t, n);
  qr_chain_keep_models(t, n);
  if (!err) add_block(t, c, n->user, kept);
  bool moved = qr_tree_executed(t->tree, n);
  if (!err) err = qr_chain_ledger_move(t, moved ? n : old);
  if (err) {
    qr_chain_fail(t, "move the ledger", err);
    return;
  }
  if (moved) {
    uint64_t depth = old->header.height - qr_tree_common(old, n)->header.height;
    count_reorg(t, depth);
    add_tip(t, old, n);
    release_old_undo(n);
    qr_chain_mempool_prune(t);
    t->mine_dirty = true;
    log_tip(t, c, depth);
  }
  batch_send(t, n, moved);
}
