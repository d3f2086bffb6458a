/* The tree holds the newest blocks only: as many as a reorganisation may touch, and the windows
   before them. Below its root the main chain is final; a few bytes of each of its blocks stay in
   memory (chain/past.h), the rest is read from the index when somebody asks. */
#include <stdlib.h>

#include "base/err.h"
#include "chain/prune.h"
#include "tile/chain_int.h"

/* Blocks before a block's windows: it is judged by the median time of eleven. */
#define SPARE_CNT 16u
#define STEP_MIN_CNT 16u /* heights that go at a time */

static uint64_t before_cnt(const qr_chain_tile_t *t) {
  return qr_prune_window(&t->chain->p) + SPARE_CNT;
}

/* Twice the limit: the tip may come to lie lower by a reorganisation. */
static uint64_t kept_cnt(const qr_chain_tile_t *t) {
  return 2 * (uint64_t)t->chain->p.reorg_limit + before_cnt(t);
}

static uint64_t root_height(const qr_chain_tile_t *t) {
  return qr_tree_root(t->tree)->header.height;
}

void qr_chain_set_floor(qr_chain_tile_t *t) {
  uint64_t root = root_height(t), floor = root ? root + before_cnt(t) : 0;
  qr_tree_set_floor(t->tree, t->held.base > floor ? t->held.base : floor);
}

/* ---- cutting ---- */

/* Nothing may go that n is executed with. */
static void leave(qr_chain_tile_t *t, qr_node_t *n, uint64_t *end) {
  uint64_t fork = qr_tree_common(qr_tree_tip(t->tree), n)->header.height, before = before_cnt(t);
  uint64_t need = fork > before ? fork - before : 0;
  if (need < *end) *end = need;
}

/* The height that may be the root: everything in hand stands on it with what it needs. */
static uint64_t next_root(qr_chain_tile_t *t) {
  uint64_t kept = kept_cnt(t), tip = t->durable_tip->header.height;
  uint64_t end = tip > kept ? tip - kept : 0;
  leave(t, t->durable_tip, &end);
  if (t->ledger_at) leave(t, t->ledger_at, &end);
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    if (t->cands[i].state && !t->cands[i].old) leave(t, t->cands[i].node, &end);
  }
  for (uint32_t i = 0; i < t->commit_cnt; i++) {
    qr_node_t *n = t->commits[(t->commit_head + i) % QR_COMMIT_MAX_CNT].node;
    if (n) leave(t, n, &end);
  }
  for (uint32_t i = 0; i < t->back.block_cnt; i++)
    leave(t, t->back.blocks[(t->back.block_head + i) % QR_RETURN_BLOCK_CNT], &end);
  return end;
}

static void drop(void *ctx, qr_node_t *n) { qr_chain_exec_drop(ctx, n); }

int qr_chain_poll_past(qr_chain_tile_t *t) {
  uint64_t kept = kept_cnt(t), step = kept / 4 > STEP_MIN_CNT ? kept / 4 : STEP_MIN_CNT;
  uint64_t root = root_height(t);
  if (t->durable_tip->header.height < root + kept + step) return 0;
  uint64_t end = next_root(t);
  if (end < root + step) return 0;
  for (uint64_t h = qr_past_height(t->past) + 1; h < end; h++) {
    if (qr_past_add(t->past, qr_tree_ancestor(qr_tree_tip(t->tree), h))) return 0;
  }
  qr_tree_cut(t->tree, end, drop, t);
  qr_chain_set_floor(t);
  return 1;
}

/* ---- asking ---- */

static int read_index(qr_chain_tile_t *t, uint64_t height, qr_hash_t *hash, qr_header_t *h) {
  uint8_t key[QR_HEIGHT_KEY_SZ];
  qr_height_key(height, key);
  int64_t sz = qr_chain_get_durable(t, QR_STORE_INDEX, key, sizeof key);
  if (sz < 0) return (int)sz;
  bool ok = qr_index_decode(t->io_buf, (size_t)sz, hash, h) && h->height == height;
  return ok ? QR_OK : QR_ERR_CORRUPT;
}

int qr_chain_header_at(qr_chain_tile_t *t, uint64_t height, qr_hash_t *hash, qr_header_t *h) {
  if (height && height < root_height(t)) return read_index(t, height, hash, h);
  const qr_node_t *n =
      height ? qr_tree_ancestor(qr_tree_tip(t->tree), height) : qr_tree_genesis(t->tree);
  if (!n) return QR_ERR_NOTFOUND;
  *hash = n->hash;
  *h = n->header;
  return QR_OK;
}

int qr_chain_sum_at(qr_chain_tile_t *t, uint64_t height, qr_past_sum_t *out) {
  if (height >= root_height(t)) {
    const qr_node_t *n = qr_tree_ancestor(qr_tree_tip(t->tree), height);
    if (!n) return QR_ERR_NOTFOUND;
    *out = (qr_past_sum_t){.height = height, .reward_sum = n->reward_sum, .work = n->work};
    return QR_OK;
  }
  *out = qr_past_sum(t->past, height);
  while (out->height < height) {
    qr_hash_t hash;
    qr_header_t h;
    int err = read_index(t, out->height + 1, &hash, &h);
    if (err) return err;
    *out = qr_past_sum_next(out, &h);
  }
  return QR_OK;
}

static bool is_at(void *ctx, uint64_t height, const qr_hash_t *hash) {
  qr_hash_t own;
  qr_header_t h;
  return !read_index(ctx, height, &own, &h) && qr_hash_eq(&own, hash);
}

bool qr_chain_height_of(qr_chain_tile_t *t, const qr_hash_t *hash, uint64_t *height) {
  const qr_node_t *n = qr_tree_find(t->tree, hash);
  if (!n) return qr_past_find(t->past, hash, is_at, t, height);
  *height = n->header.height;
  return true;
}

enum qr_verdict qr_chain_check_old(qr_chain_tile_t *t, const qr_header_t *h) {
  uint64_t height;
  qr_hash_t hash = qr_header_hash(h);
  if (qr_past_find(t->past, &hash, is_at, t, &height)) return QR_VERDICT_DUPLICATE;
  bool on_genesis = qr_hash_eq(&h->parent, &qr_tree_genesis(t->tree)->hash);
  if (on_genesis) height = 0;
  if (!on_genesis && !qr_past_find(t->past, &h->parent, is_at, t, &height))
    return QR_VERDICT_PARENT_UNKNOWN;
  return h->height == height + 1 ? QR_VERDICT_TOO_DEEP : QR_VERDICT_HEIGHT;
}

/* ---- executing once more ---- */

bool qr_chain_in_tree(const qr_chain_tile_t *t, uint64_t height) {
  uint64_t root = root_height(t);
  return !root || height >= root + qr_prune_window(&t->chain->p);
}

int qr_chain_old_branch(qr_chain_tile_t *t, uint64_t height, qr_old_branch_t **out) {
  uint64_t window = qr_prune_window(&t->chain->p), first = height > window ? height - window : 1;
  uint32_t cnt = (uint32_t)(height - first + 1), task_cnt = t->chain->p.task_cnt;
  qr_hash_t genesis = qr_tree_genesis(t->tree)->hash;
  qr_old_branch_t *b = calloc(1, sizeof *b + cnt * sizeof b->nodes[0]);
  if (!b) return QR_ERR_NOMEM;
  b->cnt = cnt;
  for (uint32_t i = 0; i < cnt; i++) {
    qr_node_t *n = &b->nodes[i];
    int err = qr_chain_header_at(t, first + i, &n->hash, &n->header);
    if (err) {
      free(b);
      return err;
    }
    n->state = QR_NODE_EXECUTED;
    n->task_idx = (first + i - 1) / task_cnt; /* tasks take turns */
    if (i >= task_cnt) n->task_parent = &b->nodes[i - task_cnt];
    n->parent = i ? &b->nodes[i - 1] : first == 1 ? qr_tree_find(t->tree, &genesis) : NULL;
  }
  *out = b;
  return QR_OK;
}

void qr_chain_old_branch_free(qr_chain_tile_t *t, qr_old_branch_t *b) {
  if (!b) return;
  for (uint32_t i = 0; i < b->cnt; i++) qr_chain_exec_drop(t, &b->nodes[i]);
  free(b);
}
