/* Pruning: what lies deeper than prune_depth blocks below the tip goes, a few heights at a time, in
   atomic batches behind those of the blocks. Headers, the index and the accounts stay. */
#include "base/err.h"
#include "chain/prune.h"
#include "tile/chain_int.h"

#define HEIGHTS_PER_BATCH 16u
#define ROOTS_MAX_CNT 512u /* of one batch; models of side branches beyond it would stay */
/* Batches of blocks on their way beyond which pruning waits its turn. */
#define BUSY_CNT (QR_COMMIT_MAX_CNT / 2)
#define TOLD_MIN_CNT 256u /* heights behind: worth a line in the log */

typedef struct {
  qr_chain_tile_t *t;
  enum qr_store_table table;
  uint64_t end; /* first height that stays */
  uint32_t root_cnt;
  qr_hash_t roots[ROOTS_MAX_CNT];
} prune_t;

/* A model goes with the newest block that needs it. */
static void prune_model(prune_t *p, const qr_hash_t *root) {
  qr_chain_tile_t *t = p->t;
  uint8_t key[QR_MODEL_USE_KEY_SZ];
  uint64_t used;
  qr_model_use_key(root, key);
  int64_t sz = qr_chain_get(t, QR_STORE_MODEL, key, sizeof key);
  if (sz < 0 || !qr_model_use_decode(t->io_buf, (size_t)sz, &used)) return;
  if (used >= p->end) return;
  qr_chain_batch_add(&t->batch, QR_STORE_MODEL, root, sizeof *root, NULL, 0, true);
  qr_chain_batch_add(&t->batch, QR_STORE_MODEL, key, sizeof key, NULL, 0, true);
}

static bool visit(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  prune_t *p = ctx;
  uint64_t height;
  qr_hash_t hash;
  qr_header_t h;
  if (!qr_place_decode(key, key_sz, &height, &hash)) return true;
  if (height >= p->end) return false;
  if (p->table == QR_STORE_BLOCK && sz >= QR_HEADER_SZ && p->root_cnt + 2 <= ROOTS_MAX_CNT) {
    qr_header_decode(value, &h);
    p->roots[p->root_cnt++] = h.model_in;
    p->roots[p->root_cnt++] = h.model_out;
  }
  qr_chain_batch_add(&p->t->batch, p->table, key, key_sz, NULL, 0, true);
  return true;
}

/* A chain that began with a snapshot has the windows below it; they go together, once all of them
 * can.
 */
static bool on_base(const qr_chain_tile_t *t) {
  return t->held.base && t->held.from == t->held.base + 1;
}

static uint64_t first_height(const qr_chain_tile_t *t) {
  uint64_t window = qr_prune_window(&t->chain->p);
  if (!on_base(t)) return t->held.from;
  return t->held.base > window ? t->held.base - window : 1;
}

bool qr_chain_holds_windows(const qr_chain_tile_t *t, uint64_t height) {
  uint64_t window = qr_prune_window(&t->chain->p), first = height > window ? height - window : 1;
  return height >= t->held.from && (first >= t->held.from || on_base(t));
}

/* The models that came with a snapshot: there are no blocks that lead to them. */
static int add_base_models(prune_t *p, uint64_t first) {
  int err = QR_OK;
  for (uint64_t at = p->t->held.base; at >= first && p->root_cnt < ROOTS_MAX_CNT && !err; at--) {
    qr_hash_t hash;
    qr_header_t h;
    err = qr_chain_header_at(p->t, at, &hash, &h);
    if (!err) p->roots[p->root_cnt++] = h.model_out;
  }
  return err;
}

static int fill(qr_chain_tile_t *t, prune_t *p, uint64_t first) {
  static const enum qr_store_table tables[] = {QR_STORE_BLOCK, QR_STORE_EXEC, QR_STORE_REPLAY,
                                               QR_STORE_UNDO};
  uint8_t from[QR_HEIGHT_KEY_SZ], held[QR_META_HELD_SZ];
  int err = QR_OK;
  qr_height_key(first, from);
  for (size_t i = 0; i < QR_ARRAY_CNT(tables) && !err; i++) {
    p->table = tables[i];
    err = t->cfg.store_ops->scan(*t->cfg.store, p->table, from, sizeof from, visit, p);
  }
  if (!err && on_base(t)) err = add_base_models(p, first);
  for (uint32_t i = 0; i < p->root_cnt && !err; i++) prune_model(p, &p->roots[i]);
  qr_held_t h = {.from = p->end, .base = t->held.base};
  qr_held_encode(&h, held);
  qr_chain_batch_add(&t->batch, QR_STORE_META, QR_META_HELD, strlen(QR_META_HELD), held,
                     sizeof held, false);
  t->prune.next = h;
  return err;
}

static void tell(qr_chain_tile_t *t, uint64_t first, uint64_t end) {
  bool behind = end - first >= TOLD_MIN_CNT;
  if (behind && !t->prune.told)
    qr_log(QR_LOG_INFO, "chain", "event=prune from=%llu to=%llu", (unsigned long long)first,
           (unsigned long long)end - 1);
  if (end - first <= HEIGHTS_PER_BATCH && t->prune.told)
    qr_log(QR_LOG_INFO, "chain", "event=pruned held_from=%llu", (unsigned long long)end);
  t->prune.told = (t->prune.told || behind) && end - first > HEIGHTS_PER_BATCH;
}

int qr_chain_poll_prune(qr_chain_tile_t *t) {
  uint64_t depth = t->cfg.prune_depth;
  if (!depth || t->prune.under_way || !*t->cfg.store || !qr_chain_may_accept(t)) return 0;
  if (t->commit_cnt > BUSY_CNT) return 0;
  uint64_t end = qr_prune_from(t->durable_tip->header.height, depth), first = t->prune.cursor;
  if (!first) first = first_height(t);
  uint64_t least = on_base(t) ? t->held.base + 1 : first; /* nothing stays below it */
  if (least >= end) return 0;
  tell(t, least, end);
  prune_t p = {.t = t, .end = end - least > HEIGHTS_PER_BATCH ? least + HEIGHTS_PER_BATCH : end};
  int err = fill(t, &p, first);
  if (err) {
    /* Nothing is lost by what stays: the next start tries again. */
    qr_log(QR_LOG_ERROR, "chain", "event=prune-failed height=%llu cause=\"%s\"",
           (unsigned long long)first, qr_err_str(err));
    qr_chain_batch_clear(&t->batch);
    t->cfg.prune_depth = 0;
    return 0;
  }
  t->prune.cursor = p.end;
  t->prune.under_way = true;
  qr_chain_send(t, NULL, false);
  return 1;
}

void qr_chain_pruned(qr_chain_tile_t *t) {
  t->held = t->prune.next;
  t->prune.under_way = false;
}
