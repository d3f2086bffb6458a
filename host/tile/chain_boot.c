#include "tile/chain_int.h"

#include <sched.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "tile/schema.h"

#define STEP_LOG_CNT 10000u /* a line every so many blocks while loading */

typedef struct {
  qr_chain_tile_t *t;
  uint64_t height;
  int err;
} load_t;

/* Commits the batch and waits for it: before READY nothing else goes on. */
static int write_now(qr_chain_tile_t *t) {
  qr_store_done_t done;
  int err = qr_chain_batch_commit(t, &t->batch, ++t->commit_tag);
  qr_chain_batch_clear(&t->batch);
  if (err) return err;
  while (t->cfg.store_ops->poll(*t->cfg.store, &done, 1) != 1) sched_yield();
  return done.err;
}

static int begin_chain(qr_chain_tile_t *t) {
  const qr_params_t *p = &t->chain->p;
  qr_node_t *genesis = qr_tree_tip(t->tree);
  qr_batch_t *b = &t->batch;
  for (uint32_t i = 0; i < p->premine_cnt; i++) {
    uint8_t enc[QR_ACCOUNT_SZ];
    qr_account_t a = {p->premine[i].to, p->premine[i].amount, 0};
    qr_ledger_set(t->ledger, &a);
    qr_account_encode(&a, enc);
    qr_chain_batch_add(b, QR_STORE_STATE, &a.pk, sizeof a.pk, enc, sizeof enc, false);
  }
  qr_chain_tip_encode(t, genesis, t->disk.tip);
  qr_chain_batch_add(b, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), t->disk.tip,
                     sizeof t->disk.tip, false);
  qr_chain_batch_add(b, QR_STORE_META, QR_META_GENESIS, strlen(QR_META_GENESIS), &genesis->hash, 32,
                     false);
  return write_now(t);
}

/* Keeps the parameters in the store, so that a tool that has nothing but the store knows its chain.
 */
static int keep_params(qr_chain_tile_t *t) {
  const char *text = t->cfg.params_text;
  if (!text) return QR_OK;
  int64_t sz = qr_chain_get(t, QR_STORE_META, QR_META_PARAMS, strlen(QR_META_PARAMS));
  if (sz == (int64_t)strlen(text) && !memcmp(t->io_buf, text, (size_t)sz)) return QR_OK;
  qr_chain_batch_add(&t->batch, QR_STORE_META, QR_META_PARAMS, strlen(QR_META_PARAMS), text,
                     strlen(text), false);
  return write_now(t);
}

static bool visit_index(void *ctx, const void *key, size_t key_sz, const void *value,
                        size_t value_sz) {
  load_t *l = ctx;
  qr_chain_tile_t *t = l->t;
  uint64_t height = l->height + 1;
  qr_header_t h;
  qr_hash_t hash;
  l->err = QR_ERR_CORRUPT;
  if (key_sz != QR_HEIGHT_KEY_SZ || qr_height_of(key) != height) return false;
  if (!qr_index_decode(value, value_sz, &hash, &h) || h.height != height) return false;
  if (!qr_hash_eq(&h.parent, &qr_tree_tip(t->tree)->hash)) return false;
  qr_node_t *n = qr_tree_insert(t->tree, &h, 0);
  l->err = n ? QR_OK : QR_ERR_NOMEM;
  if (!n) return false;
  bool moved = qr_tree_executed(t->tree, n);
  (void)moved;
  qr_tree_set_tip(t->tree, n);
  t->durable_tip = n;
  (void)qr_chain_poll_past(t); /* so that the tree never holds more than later */
  l->height = height;
  if (height % STEP_LOG_CNT == 0)
    qr_log(QR_LOG_INFO, "chain", "event=loading height=%llu", (unsigned long long)height);
  return true;
}

static bool visit_account(void *ctx, const void *key, size_t key_sz, const void *value,
                          size_t value_sz) {
  load_t *l = ctx;
  qr_account_t a;
  l->err = QR_ERR_CORRUPT;
  if (!qr_state_decode(key, key_sz, value, value_sz, &a)) return false;
  qr_ledger_set(l->t->ledger, &a);
  l->err = QR_OK;
  return true;
}

/* Oldest first, so that the first to leave are the first that are no longer needed. */
static int warm_windows(qr_chain_tile_t *t, qr_node_t *tip) {
  const qr_params_t *p = &t->chain->p;
  int err = QR_OK;
  for (uint32_t task = 0; task < p->task_cnt && !err; task++) {
    qr_node_t *back[QR_VIEW_SEGMENT_MAX_CNT], *n = qr_chain_task_tip(tip, task);
    uint32_t cnt = 0, window = p->replay_rows / p->segment_rows;
    for (; n && cnt < window; n = n->task_parent) back[cnt++] = n;
    while (cnt-- > 0 && !err) {
      err = qr_chain_resident_segment(t, back[cnt]);
      if (!err && cnt < p->target_window) err = qr_chain_resident_model(t, back[cnt]);
    }
  }
  return err;
}

static int load_chain(qr_chain_tile_t *t, char *why, size_t why_sz) {
  const uint8_t *tip = t->disk.tip;
  const qr_store_ops_t *ops = t->cfg.store_ops;
  load_t l = {.t = t};
  uint64_t height = qr_ld64(tip + 32);
  int err = ops->scan(*t->cfg.store, QR_STORE_INDEX, NULL, 0, visit_index, &l);
  if (!err) err = l.err;
  qr_node_t *n = qr_tree_tip(t->tree);
  if (!err && (n->header.height != height || memcmp(&n->hash, tip, 32))) err = QR_ERR_CORRUPT;
  if (err) {
    snprintf(why, why_sz,
             "the stored chain ends at height %llu of %llu (%s): move the data directory away and "
             "sync again",
             (unsigned long long)l.height, (unsigned long long)height, qr_err_str(err));
    return err;
  }
  l.err = QR_OK;
  err = ops->scan(*t->cfg.store, QR_STORE_STATE, NULL, 0, visit_account, &l);
  if (!err) err = l.err;
  qr_hash_t root = qr_ledger_root(t->ledger);
  if (!err && memcmp(&root, tip + 40, 32)) err = QR_ERR_CORRUPT;
  if (err) {
    snprintf(why, why_sz,
             "the stored accounts do not give the state root of the tip (%s): move the data "
             "directory away "
             "and sync again",
             qr_err_str(err));
    return err;
  }
  err = warm_windows(t, n);
  if (err)
    snprintf(why, why_sz, "the replay window cannot be rebuilt from the store: %s",
             qr_err_str(err));
  return err;
}

/* Which of the past there is; without the record all. */
static int load_held(qr_chain_tile_t *t) {
  t->held = (qr_held_t){.from = 1};
  int64_t sz = qr_chain_get(t, QR_STORE_META, QR_META_HELD, strlen(QR_META_HELD));
  if (sz == QR_ERR_NOTFOUND) return QR_OK;
  if (sz < 0 || !qr_held_decode(t->io_buf, (size_t)sz, &t->held))
    return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  qr_chain_set_floor(t);
  return QR_OK;
}

int qr_chain_boot(qr_chain_tile_t *t, char *why, size_t why_sz) {
  qr_node_t *genesis = qr_tree_tip(t->tree);
  int failed = qr_schema_migrate(t->cfg.store_ops, *t->cfg.store, why, why_sz);
  if (failed) return failed;
  int64_t sz = qr_chain_get(t, QR_STORE_META, QR_META_GENESIS, strlen(QR_META_GENESIS));
  int err;
  if (sz == QR_ERR_NOTFOUND) {
    err = begin_chain(t);
    if (err) snprintf(why, why_sz, "cannot begin the chain in the store: %s", qr_err_str(err));
  } else if (sz != 32) {
    err = sz < 0 ? (int)sz : QR_ERR_CORRUPT;
    snprintf(why, why_sz, "cannot read the store's genesis record: %s", qr_err_str(err));
  } else if (memcmp(t->io_buf, &genesis->hash, 32)) {
    err = QR_ERR_ARG;
    snprintf(why, why_sz,
             "the data directory holds another chain than the genesis file: use another directory "
             "or the genesis "
             "file it was made with");
  } else {
    sz = qr_chain_get(t, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP));
    err = sz == QR_META_TIP_SZ ? QR_OK : QR_ERR_CORRUPT;
    if (err) {
      snprintf(why, why_sz,
               "the store has no tip record: move the data directory away and sync again");
    } else {
      memcpy(t->disk.tip, t->io_buf, sizeof t->disk.tip);
      err = load_chain(t, why, why_sz);
    }
  }
  if (!err) {
    err = load_held(t);
    if (err) snprintf(why, why_sz, "cannot read what the store holds: %s", qr_err_str(err));
  }
  if (!err) {
    err = keep_params(t);
    if (err) snprintf(why, why_sz, "cannot write to the store: %s", qr_err_str(err));
  }
  t->ledger_at = t->durable_tip = qr_tree_tip(t->tree);
  return err;
}
