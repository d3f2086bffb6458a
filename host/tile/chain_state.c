#include "tile/chain_int.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"

#define UNDO_KEPT_CNT 64u

/* Undo of a block, from memory or the store. */
static int load_undo(qr_chain_tile_t *t, qr_node_t *n) {
  qr_exec_t *e = qr_chain_exec(t, n);
  if (!e) return QR_ERR_IO;
  if (e->undo) return QR_OK;
  int64_t sz = qr_chain_get_of(t, QR_STORE_UNDO, n);
  if (sz < 0) return (int)sz;
  uint32_t cnt = qr_undo_decode(t->io_buf, (size_t)sz, t->undo.changes);
  if (!cnt) return QR_ERR_CORRUPT;
  e->undo = calloc(cnt, sizeof *e->undo);
  if (!e->undo) return QR_ERR_NOMEM;
  e->undo_cnt = cnt;
  memcpy(e->undo, t->undo.changes, cnt * sizeof *e->undo);
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

static QR_WARN_UNUSED int ledger_move(qr_chain_tile_t *t, qr_node_t *to) {
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
  *err = ledger_move(t, n->parent);
  if (!*err) v = record_effect(t, n, b, err);
  if (!*err) *err = ledger_move(t, home);
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

/* The records of a tip that moved from old to now: index, accounts, tip. The ledger stands at now.
 */
static void add_tip(qr_chain_tile_t *t, qr_node_t *old, qr_node_t *now) {
  qr_node_t *common = qr_tree_common(old, now);
  uint8_t key[QR_HEIGHT_KEY_SZ], entry[QR_INDEX_RECORD_SZ];
  for (qr_node_t *n = old; n != common; n = n->parent) {
    const qr_exec_t *e = n->user;
    add_state(t, e->undo, e->undo_cnt);
    qr_height_key(n->header.height, key);
    if (n->header.height > now->header.height) {
      qr_chain_batch_add(&t->batch, QR_STORE_INDEX, key, sizeof key, NULL, 0, true);
    }
  }
  for (qr_node_t *n = now; n != common; n = n->parent) {
    const qr_exec_t *e = n->user;
    add_state(t, e->undo, e->undo_cnt);
    qr_height_key(n->header.height, key);
    qr_index_encode(&n->hash, &n->header, entry);
    qr_chain_batch_add(&t->batch, QR_STORE_INDEX, key, sizeof key, entry, sizeof entry, false);
  }
  qr_chain_tip_encode(t, now, t->tip_record);
  qr_chain_batch_add(&t->batch, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), t->tip_record,
                     sizeof t->tip_record, false);
}

/* The newest block that needs the model, of those before and one at height; with it the model may
   go. */
static void add_use(qr_chain_tile_t *t, const qr_hash_t *root, uint64_t height) {
  uint8_t key[QR_MODEL_USE_KEY_SZ], value[QR_MODEL_USE_SZ];
  uint64_t stored;
  qr_model_use_key(root, key);
  int64_t sz = qr_chain_get(t, QR_STORE_MODEL, key, sizeof key);
  if (sz > 0 && qr_model_use_decode(t->io_buf, (size_t)sz, &stored) && stored > height)
    height = stored;
  qr_st64(value, height);
  qr_chain_batch_add(&t->batch, QR_STORE_MODEL, key, sizeof key, value, sizeof value, false);
}

static void add_model(qr_chain_tile_t *t, const qr_model_obj_t *m) {
  qr_chain_batch_add(&t->batch, QR_STORE_MODEL, &m->root, sizeof m->root, m->bytes, m->sz, false);
}

/* kept: a batch that was sent before holds the incoming model. */
static void add_block(qr_chain_tile_t *t, const qr_cand_t *c, qr_exec_t *e, bool kept) {
  uint8_t place[QR_PLACE_SZ], facts[QR_EXEC_RECORD_SZ];
  const qr_node_t *n = c->node;
  const qr_body_t *body = &c->block->body;
  qr_batch_t *b = &t->batch;
  if (!kept) add_model(t, e->model_in);
  add_model(t, e->model_out);
  add_use(t, &e->model_in->root, n->header.height);
  add_use(t, &e->model_out->root, n->header.height);
  qr_place_encode(n->header.height, &n->hash, place);
  qr_exec_encode(&e->facts, facts);
  qr_chain_batch_add(b, QR_STORE_BLOCK, place, sizeof place, c->block->bytes, c->block->sz, false);
  qr_chain_batch_add(b, QR_STORE_EXEC, place, sizeof place, facts, sizeof facts, false);
  size_t sz =
      qr_replay_encode(qr_view_start_states(c->view), body->actions, body->action_cnt, t->io_buf);
  qr_chain_batch_add(b, QR_STORE_REPLAY, place, sizeof place, t->io_buf, sz, false);
  sz = qr_undo_encode(e->undo, e->undo_cnt, t->io_buf);
  qr_chain_batch_add(b, QR_STORE_UNDO, place, sizeof place, t->io_buf, sz, false);
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
  qr_node_t *n = qr_tree_ancestor(tip, tip->header.height - UNDO_KEPT_CNT);
  qr_exec_t *e = n ? n->user : NULL; /* NULL: the tree does not reach so deep */
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

static uint64_t now_of(const qr_chain_tile_t *t) {
  return t->cfg.clock->mono_ns(t->cfg.clock->ctx);
}

void qr_chain_accept(qr_chain_tile_t *t, qr_cand_t *c) {
  qr_node_t *n = c->node, *old = qr_tree_tip(t->tree);
  bool kept = qr_chain_model_kept(t, &n->header.model_in);
  int err = complete(t, c);
  qr_chain_keep_segment(t, n);
  qr_chain_keep_models(t, n);
  if (!err) add_block(t, c, n->user, kept);
  bool moved = qr_tree_executed(t->tree, n);
  if (!err) err = ledger_move(t, moved ? n : old);
  if (err) {
    qr_chain_fail(t, "move the ledger", err);
    return;
  }
  if (moved) {
    const qr_node_t *common = qr_tree_common(old, n);
    uint64_t depth = old->header.height - common->header.height;
    count_reorg(t, depth);
    add_tip(t, old, n);
    release_old_undo(n);
    qr_chain_return_moved(t, old, common, now_of(t));
    t->mine_dirty = true;
    log_tip(t, c, depth);
  }
  qr_chain_send(t, n, moved);
}
