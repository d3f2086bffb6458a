/* What the records of a store say of each other: nothing that is needed is missing, the accounts
   lead back to the genesis by the undo records and forward again by the blocks, the segments give
   the roots in the headers. */

#include "chain/prune.h"
#include "tile/audit_int.h"
#include "tile/segment_check.h"

static uint64_t lowest_needed(const qr_audit_t *a) { return a->r->held.from; }

static bool tip_is_known(qr_audit_t *a) {
  const qr_node_t *tip = qr_tree_tip(a->tree);
  return a->has_tip && !a->chain_ended && qr_hash_eq(&tip->hash, &a->r->tip.hash);
}

static void check_tip(qr_audit_t *a) {
  const qr_node_t *tip = qr_tree_tip(a->tree);
  uint64_t height = tip->header.height;
  if (!a->has_tip) {
    qr_audit_find(a, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), "the tip is not known");
  } else if (height < a->r->tip.height) {
    qr_audit_find_at(a, QR_STORE_INDEX, height + 1,
                     "the chain ends before it, but its tip is at height %llu",
                     (unsigned long long)a->r->tip.height);
  } else if (!tip_is_known(a)) {
    qr_audit_find(a, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP),
                  "it is not the last block of the index");
  }
}

void qr_audit_complete(qr_audit_t *a) {
  static const struct {
    enum qr_audit_has what;
    enum qr_store_table table;
  } all[] = {{HAS_BLOCK, QR_STORE_BLOCK},
             {HAS_EXEC, QR_STORE_EXEC},
             {HAS_REPLAY, QR_STORE_REPLAY},
             {HAS_UNDO, QR_STORE_UNDO}};
  check_tip(a);
  uint64_t from = lowest_needed(a);
  /* below a base only what the windows there need */
  uint64_t window = qr_audit_on_base(a) ? qr_prune_window(&a->cfg->chain->p) : 0;
  for (qr_node_t *n = qr_tree_tip(a->tree); n->header.height + window >= from && n->parent;
       n = n->parent) {
    for (size_t i = 0; i < QR_ARRAY_CNT(all); i++) {
      bool needed = n->header.height >= from || all[i].what & (HAS_EXEC | HAS_REPLAY);
      if (!needed || qr_audit_has(n) & all[i].what) continue;
      qr_audit_find_at(a, all[i].table, n->header.height, "the block's record is missing");
    }
  }
  for (size_t i = 0; i < a->want_cnt; i++) {
    const qr_audit_want_t *w = &a->wants[i];
    if (!w->held) {
      qr_audit_find(a, QR_STORE_MODEL, &w->root, sizeof w->root,
                    "the model of block %llu is missing", (unsigned long long)w->height);
    } else if (!w->used) {
      qr_audit_find(a, QR_STORE_MODEL, &w->root, sizeof w->root,
                    "it is not known until when the model is needed");
    }
  }
}

/* ---- accounts ---- */

static int64_t get(qr_audit_t *a, enum qr_store_table t, const qr_node_t *n) {
  uint8_t key[QR_PLACE_SZ];
  qr_place_encode(n->header.height, &n->hash, key);
  return a->cfg->ops->get(a->cfg->store, t, key, sizeof key, a->buf, QR_STORE_VALUE_MAX_SZ);
}

/* Takes the block's effect back, if the accounts are as it left them. */
static bool undo_block(qr_audit_t *a, const qr_node_t *n) {
  int64_t sz = get(a, QR_STORE_UNDO, n);
  a->undo->cnt = sz > 0 ? qr_undo_decode(a->buf, (size_t)sz, a->undo->changes) : 0;
  if (!a->undo->cnt) {
    qr_audit_find_at(a, QR_STORE_UNDO, n->header.height,
                     "cannot be read: the accounts are not checked any further down");
    return false;
  }
  for (uint32_t i = 0; i < a->undo->cnt; i++) {
    const qr_ledger_change_t *c = &a->undo->changes[i];
    qr_account_t now;
    qr_ledger_get(a->ledger, &c->after.pk, &now);
    if (!memcmp(&now, &c->after, sizeof now)) {
      qr_ledger_set(a->ledger, &c->before);
      continue;
    }
    qr_audit_find_at(a, QR_STORE_UNDO, n->header.height,
                     "an account is not as the block is said to have left it");
    return false;
  }
  return true;
}

/* Connects the block to the accounts before it: that must change them as the undo record says. The
   accounts are as before afterwards. */
static void redo_block(qr_audit_t *a, const qr_node_t *n) {
  memcpy(a->changes, a->undo->changes, a->undo->cnt * sizeof *a->changes);
  uint32_t cnt = a->undo->cnt;
  qr_body_t b;
  int64_t sz = get(a, QR_STORE_BLOCK, n);
  if (sz < (int64_t)QR_HEADER_SZ ||
      qr_body_decode(a->buf + QR_HEADER_SZ, (size_t)sz - QR_HEADER_SZ, &b))
    return; /* has been told of */
  enum qr_verdict v = qr_ledger_connect(a->ledger, &a->cfg->chain->p, &n->header, &b, a->undo);
  if (v) {
    qr_audit_find_at(a, QR_STORE_BLOCK, n->header.height, "its transfers are not permitted: %s",
                     qr_verdict_str(v));
    return;
  }
  bool same =
      a->undo->cnt == cnt && !memcmp(a->changes, a->undo->changes, cnt * sizeof *a->changes);
  if (!same)
    qr_audit_find_at(a, QR_STORE_UNDO, n->header.height,
                     "the block changes the accounts otherwise");
  qr_ledger_disconnect(a->ledger, a->undo);
}

static void check_premine(qr_audit_t *a) {
  const qr_params_t *p = &a->cfg->chain->p;
  bool same = qr_ledger_account_cnt(a->ledger) == p->premine_cnt;
  for (uint32_t i = 0; i < p->premine_cnt && same; i++) {
    qr_account_t acc;
    same = qr_ledger_get(a->ledger, &p->premine[i].to, &acc) && !acc.seq &&
           acc.balance == p->premine[i].amount;
  }
  if (!same)
    qr_audit_find(a, QR_STORE_STATE, NULL, 0,
                  "taken back to the beginning the accounts are not those of the genesis");
}

void qr_audit_ledger(qr_audit_t *a) {
  uint64_t from = lowest_needed(a);
  qr_node_t *n = qr_tree_tip(a->tree);
  if (!tip_is_known(a)) return;
  qr_hash_t want = a->r->tip.state_root;
  uint64_t total = n->header.height >= from ? n->header.height - from + 1 : 0;
  for (;; n = n->parent) {
    qr_hash_t root = qr_ledger_root(a->ledger);
    if (!qr_hash_eq(&root, &want)) {
      qr_audit_find_at(a, QR_STORE_STATE, n->header.height,
                       "the accounts after this block do not have the state root they must have");
      return;
    }
    if (n->header.height < from || !n->parent) break;
    if (!qr_audit_tell(a, QR_AUDIT_LEDGER, a->r->undone_cnt, total) || !undo_block(a, n)) return;
    redo_block(a, n);
    a->r->undone_cnt++;
    want = n->header.state_root;
  }
  if (!n->parent) check_premine(a);
}

/* ---- segments ---- */

/* Plays the block's actions and compares with its header. */
static void play(qr_audit_t *a, qr_segment_check_t *c, const qr_node_t *n) {
  const uint8_t *states, *actions;
  int64_t sz = get(a, QR_STORE_REPLAY, n);
  if (sz < 0 ||
      !qr_replay_decode(a->buf, (size_t)sz, a->cfg->chain->p.segment_rows, &states, &actions))
    return; /* has been told of */
  int err = qr_segment_check(c, n, states, actions, NULL);
  if (err == QR_ERR_CORRUPT)
    qr_audit_find_at(a, QR_STORE_REPLAY, n->header.height,
                     "the segment is not the one that the header speaks of");
  else
    a->err = err;
  a->r->segment_cnt++;
}

static void play_all(qr_audit_t *a, qr_segment_check_t *c) {
  uint64_t done = 0, total = 0;
  for (qr_node_t *n = qr_tree_tip(a->tree); n->parent; n = n->parent)
    total += (qr_audit_has(n) & HAS_REPLAY) != 0;
  for (qr_node_t *n = qr_tree_tip(a->tree); n->parent && !a->err; n = n->parent) {
    if (!(qr_audit_has(n) & HAS_REPLAY)) continue;
    if (!qr_audit_tell(a, QR_AUDIT_REPLAY, done++, total)) break;
    play(a, c, n);
  }
}

void qr_audit_replay(qr_audit_t *a) {
  const qr_params_t *p = &a->cfg->chain->p;
  qr_objects_cfg_t sizes = {
      .model_cnt = p->task_cnt, .segment_cnt = p->warmup_segments + 1, .block_cnt = 1};
  qr_objects_t objects;
  qr_segment_check_t c;
  if (a->err || a->r->stopped) return;
  a->err = qr_objects_init(&objects, a->cfg->chain, &sizes);
  if (a->err) return;
  a->err = qr_segment_check_init(&c, a->cfg->chain, &objects);
  if (!a->err) {
    play_all(a, &c);
    qr_segment_check_fini(&c);
  }
  qr_objects_fini(&objects);
}
