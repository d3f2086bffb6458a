/* The records of a store, one by one: what each must be by its key, its form and the header that
   speaks of it. On the way the tree, the ledger and the list of needed models come about. */
#include <stdio.h>
#include <stdlib.h>

#include "tile/audit_int.h"

static bool want(qr_audit_t *a, const qr_hash_t *root, uint64_t height) {
  if (a->want_cnt == a->want_cap) {
    size_t cap = a->want_cap ? 2 * a->want_cap : 1024;
    qr_audit_want_t *grown = realloc(a->wants, cap * sizeof *grown);
    if (!grown) {
      a->err = QR_ERR_NOMEM;
      return false;
    }
    a->wants = grown;
    a->want_cap = cap;
  }
  a->wants[a->want_cnt++] = (qr_audit_want_t){.root = *root, .height = height};
  return true;
}

/* The models of the target windows at the base. */
void qr_audit_wants_base(qr_audit_t *a) {
  const qr_params_t *p = &a->cfg->chain->p;
  uint64_t base = a->r->held.base, cnt = (uint64_t)p->target_window * p->task_cnt;
  qr_node_t *n = qr_audit_on_base(a) ? qr_tree_ancestor(qr_tree_tip(a->tree), base) : NULL;
  for (; n && n->parent && n->header.height + cnt > base; n = n->parent) {
    if (!want(a, &n->header.model_out, n->header.height)) return;
  }
}

/* By root; of one root the greatest height first. */
static int by_root(const void *x, const void *y) {
  const qr_audit_want_t *a = x, *b = y;
  int c = memcmp(&a->root, &b->root, sizeof a->root);
  return c ? c : a->height < b->height ? 1 : a->height > b->height ? -1 : 0;
}

void qr_audit_wants_sort(qr_audit_t *a) {
  size_t kept = 0;
  if (!a->want_cnt) return;
  qsort(a->wants, a->want_cnt, sizeof a->wants[0], by_root);
  for (size_t i = 1; i < a->want_cnt; i++) {
    if (!qr_hash_eq(&a->wants[i].root, &a->wants[kept].root)) a->wants[++kept] = a->wants[i];
  }
  a->want_cnt = kept + 1;
}

static qr_audit_want_t *find_want(qr_audit_t *a, const void *root) {
  size_t lo = 0, hi = a->want_cnt;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    int c = memcmp(&a->wants[mid].root, root, QR_HASH_SZ);
    if (!c) return &a->wants[mid];
    if (c < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

/* ---- tables ---- */

static void see_meta(qr_audit_t *a, const void *key, size_t key_sz, const void *value, size_t sz) {
  char name[QR_STORE_KEY_MAX_SZ + 1];
  snprintf(name, sizeof name, "%.*s", (int)key_sz, (const char *)key);
  qr_hash_t genesis = qr_tree_genesis(a->tree)->hash;
  bool ok = true;
  if (!strcmp(name, QR_META_TIP)) {
    ok = qr_tip_decode(value, sz, &a->r->tip);
    a->has_tip = ok;
  } else if (!strcmp(name, QR_META_HELD)) {
    ok = qr_held_decode(value, sz, &a->r->held);
  } else if (!strcmp(name, QR_META_GENESIS)) {
    ok = sz == sizeof genesis && !memcmp(value, &genesis, sz);
  }
  if (!ok) qr_audit_find(a, QR_STORE_META, key, key_sz, "it is not what this chain's must be");
}

static void see_index(qr_audit_t *a, const void *key, size_t key_sz, const void *value, size_t sz) {
  qr_node_t *tip = qr_tree_tip(a->tree), *parent;
  uint64_t next = tip->header.height + 1;
  qr_hash_t hash;
  qr_header_t h;
  if (a->chain_ended) return;
  a->chain_ended = true;
  if (key_sz != QR_HEIGHT_KEY_SZ) {
    qr_audit_find(a, QR_STORE_INDEX, key, key_sz, "it is not the key of a height");
    return;
  }
  uint64_t height = qr_height_of(key);
  if (height != next) {
    qr_audit_find_at(a, QR_STORE_INDEX, next, "it is missing: the chain is interrupted here");
    return;
  }
  if (!qr_index_decode(value, sz, &hash, &h)) {
    qr_audit_find_at(a, QR_STORE_INDEX, height, "the header does not have the hash beside it");
    return;
  }
  enum qr_verdict v = qr_tree_check(a->tree, &h, UINT64_MAX, &parent);
  if (v || parent != tip) {
    qr_audit_find_at(a, QR_STORE_INDEX, height, "the header breaks the rules of the chain: %s",
                     v ? qr_verdict_str(v) : "it stands on another block");
    return;
  }
  qr_node_t *n = qr_tree_insert(a->tree, &h, 0);
  if (!n) {
    a->err = QR_ERR_NOMEM;
    return;
  }
  bool moved = qr_tree_executed(a->tree, n);
  (void)moved;
  qr_tree_set_tip(a->tree, n);
  a->chain_ended = false;
}

/* The main chain's block at that place; NULL: a side branch's, or of a height that is not known. */
static qr_node_t *node_at(qr_audit_t *a, uint64_t height, const qr_hash_t *hash) {
  qr_node_t *n = qr_tree_find(a->tree, hash);
  return n && n->header.height == height ? n : NULL;
}

static void mark(qr_node_t *n, enum qr_audit_has what) {
  if (n) n->user = (void *)(qr_audit_has(n) | what); // NOLINT: a set of bits, not an address
}

static void see_block(qr_audit_t *a, const void *key, size_t key_sz, const uint8_t *value,
                      size_t sz) {
  uint64_t height;
  qr_hash_t hash;
  qr_header_t h;
  qr_body_t b;
  if (!qr_place_decode(key, key_sz, &height, &hash) || sz < QR_HEADER_SZ) {
    qr_audit_find(a, QR_STORE_BLOCK, key, key_sz, "it is no block");
    return;
  }
  qr_header_decode(value, &h);
  qr_hash_t own = qr_header_hash(&h);
  if (!qr_hash_eq(&own, &hash) || h.height != height || h.task >= a->cfg->chain->p.task_cnt) {
    qr_audit_find(a, QR_STORE_BLOCK, key, key_sz, "the header is of another block");
    return;
  }
  enum qr_verdict v = qr_body_decode(value + QR_HEADER_SZ, sz - QR_HEADER_SZ, &b);
  if (!v) v = qr_body_check(a->cfg->chain, &h, &b);
  if (v) {
    qr_audit_find(a, QR_STORE_BLOCK, key, key_sz, "the body contradicts the header: %s",
                  qr_verdict_str(v));
    return;
  }
  qr_node_t *n = node_at(a, height, &hash);
  mark(n, HAS_BLOCK);
  a->r->block_cnt += n != NULL;
  a->r->side_cnt += n == NULL;
  if (want(a, &h.model_in, height)) want(a, &h.model_out, height);
}

/* EXEC, REPLAY, UNDO. */
static void see_of_block(qr_audit_t *a, const void *key, size_t key_sz, const void *value,
                         size_t sz) {
  uint64_t height;
  qr_hash_t hash;
  qr_exec_facts_t facts;
  const uint8_t *states, *actions;
  if (!qr_place_decode(key, key_sz, &height, &hash)) {
    qr_audit_find(a, a->table, key, key_sz, "it is not the key of a block");
    return;
  }
  qr_node_t *n = node_at(a, height, &hash);
  bool ok;
  enum qr_audit_has what = a->table == QR_STORE_EXEC     ? HAS_EXEC
                           : a->table == QR_STORE_REPLAY ? HAS_REPLAY
                                                         : HAS_UNDO;
  if (what == HAS_EXEC)
    ok = qr_exec_decode(value, sz, &facts) && (!n || facts.task == n->header.task);
  else if (what == HAS_REPLAY)
    ok = qr_replay_decode(value, sz, a->cfg->chain->p.segment_rows, &states, &actions);
  else
    ok = qr_undo_decode(value, sz, a->changes) > 0;
  if (ok)
    mark(n, what);
  else
    qr_audit_find(a, a->table, key, key_sz, "it is not of the form it must have");
}

static void see_account(qr_audit_t *a, const void *key, size_t key_sz, const void *value,
                        size_t sz) {
  qr_account_t acc;
  if (qr_state_decode(key, key_sz, value, sz, &acc)) {
    qr_ledger_set(a->ledger, &acc);
    a->r->account_cnt++;
  } else {
    qr_audit_find(a, QR_STORE_STATE, key, key_sz, "it is no account");
  }
}

static bool root_fits(const qr_audit_t *a, const void *root, const uint8_t *bytes, size_t sz) {
  const qr_chain_cfg_t *c = a->cfg->chain;
  for (uint32_t i = 0; i < c->p.task_cnt; i++) {
    if (sz != c->nets[i].model_sz) continue;
    qr_hash_t own = qr_model_root(&c->nets[i], bytes);
    if (!memcmp(&own, root, sizeof own)) return true;
  }
  return false;
}

static void see_model(qr_audit_t *a, const uint8_t *key, size_t key_sz, const void *value,
                      size_t sz) {
  uint64_t height;
  qr_audit_want_t *w = key_sz >= QR_HASH_SZ ? find_want(a, key) : NULL;
  if (key_sz == QR_HASH_SZ) {
    a->r->model_cnt++;
    bool right = root_fits(a, key, value, sz);
    if (!right) qr_audit_find(a, QR_STORE_MODEL, key, key_sz, "its bytes do not have its root");
    if (w && right) w->held = true;
  } else if (key_sz == QR_MODEL_USE_KEY_SZ && !key[QR_HASH_SZ] &&
             qr_model_use_decode(value, sz, &height)) {
    if (w && height >= w->height) w->used = true;
    if (w && height < w->height) {
      qr_audit_find(a, QR_STORE_MODEL, key, key_sz,
                    "block %llu needs the model, but it may go with block %llu",
                    (unsigned long long)w->height, (unsigned long long)height);
      w->used = true;
    }
  } else {
    qr_audit_find(a, QR_STORE_MODEL, key, key_sz, "it is neither a model nor a model's use");
  }
}

bool qr_audit_record(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  qr_audit_t *a = ctx;
  a->r->record_cnt++;
  a->r->byte_sz += key_sz + sz;
  if (!qr_audit_tell(a, QR_AUDIT_RECORDS, a->r->byte_sz, a->cfg->byte_sz)) return false;
  if (!a->cfg->chain) return true;
  switch (a->table) {
  case QR_STORE_META: see_meta(a, key, key_sz, value, sz); break;
  case QR_STORE_INDEX: see_index(a, key, key_sz, value, sz); break;
  case QR_STORE_BLOCK: see_block(a, key, key_sz, value, sz); break;
  case QR_STORE_EXEC:
  case QR_STORE_REPLAY:
  case QR_STORE_UNDO: see_of_block(a, key, key_sz, value, sz); break;
  case QR_STORE_STATE: see_account(a, key, key_sz, value, sz); break;
  default: see_model(a, key, key_sz, value, sz); break;
  }
  return !a->err;
}
