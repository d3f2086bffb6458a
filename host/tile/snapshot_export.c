#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "chain/prune.h"
#include "tile/snapshot.h"

#define HEADERS_PER_RECORD 1024u
#define ACCOUNTS_PER_RECORD 8192u
#define SPARE_CNT 16u                  /* headers before the windows, one of each task at least */
#define HEIGHT_MAX (UINT64_C(1) << 40) /* what is counted by it does not overflow */
_Static_assert(HEADERS_PER_RECORD *QR_HEADER_SZ <= QR_SNAPSHOT_RECORD_MAX_SZ, "headers");
_Static_assert(ACCOUNTS_PER_RECORD *QR_ACCOUNT_SZ <= QR_SNAPSHOT_RECORD_MAX_SZ, "accounts");

typedef struct {
  const qr_snapshot_export_t *cfg;
  qr_snapshot_about_t *about;
  qr_tree_t *tree;
  qr_ledger_t *ledger;
  uint64_t height;
  qr_node_t *at;       /* the block at the height */
  uint32_t header_cnt; /* in chunk */
  qr_tip_record_t tip;
  qr_held_t held;
  uint8_t *buf;   /* QR_STORE_VALUE_MAX_SZ */
  uint8_t *chunk; /* a record in the making */
  qr_ledger_undo_t *undo;
  qr_account_t *accounts;
  uint64_t account_cnt, done, total;
  int err;
  char *why;
  size_t why_sz;
} export_t;

static int fail(export_t *x, int err, const char *fmt, ...) QR_PRINTF(3, 4);
static int fail(export_t *x, int err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(x->why, x->why_sz, fmt, ap);
  va_end(ap);
  return err;
}

static int64_t get(export_t *x, enum qr_store_table t, const void *key, size_t sz) {
  return x->cfg->ops->get(x->cfg->store, t, key, sz, x->buf, QR_STORE_VALUE_MAX_SZ);
}

static int64_t get_of(export_t *x, enum qr_store_table t, const qr_node_t *n) {
  uint8_t place[QR_PLACE_SZ];
  qr_place_encode(n->header.height, &n->hash, place);
  return get(x, t, place, sizeof place);
}

/* ---- what the store holds ---- */

/* Of the headers up to the height only the windows stay in memory. */
static void forget_old(export_t *x) {
  uint64_t tip = qr_tree_tip(x->tree)->header.height, top = tip < x->height ? tip : x->height;
  uint64_t kept = qr_prune_window(&x->cfg->chain->p) + SPARE_CNT;
  if (top >= qr_tree_root(x->tree)->header.height + 2 * kept)
    qr_tree_cut(x->tree, top - kept, NULL, NULL);
}

static bool see_header(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  export_t *x = ctx;
  qr_node_t *tip = qr_tree_tip(x->tree);
  qr_hash_t hash;
  qr_header_t h;
  x->err = QR_ERR_CORRUPT;
  if (key_sz != QR_HEIGHT_KEY_SZ || !qr_index_decode(value, sz, &hash, &h)) return false;
  if (h.height != qr_height_of(key) || h.height != tip->header.height + 1) return false;
  if (!qr_hash_eq(&h.parent, &tip->hash)) return false;
  qr_node_t *n = qr_tree_insert(x->tree, &h, 0);
  x->err = n ? QR_OK : QR_ERR_NOMEM;
  if (!n) return false;
  bool moved = qr_tree_executed(x->tree, n);
  (void)moved;
  qr_tree_set_tip(x->tree, n);
  forget_old(x);
  return true;
}

static bool see_account(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  export_t *x = ctx;
  qr_account_t a;
  x->err = qr_state_decode(key, key_sz, value, sz, &a) ? QR_OK : QR_ERR_CORRUPT;
  if (!x->err) qr_ledger_set(x->ledger, &a);
  return !x->err;
}

static int load_meta(export_t *x) {
  int64_t sz = get(x, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP));
  if (sz < 0 || !qr_tip_decode(x->buf, (size_t)sz, &x->tip))
    return fail(x, QR_ERR_CORRUPT, "the store has no readable tip");
  x->held = (qr_held_t){.from = 1};
  sz = get(x, QR_STORE_META, QR_META_HELD, strlen(QR_META_HELD));
  if (sz != QR_ERR_NOTFOUND && (sz < 0 || !qr_held_decode(x->buf, (size_t)sz, &x->held)))
    return fail(x, QR_ERR_CORRUPT, "the store does not say what it holds");
  return QR_OK;
}

static int not_whole(export_t *x, int err) {
  return fail(x, err, "the store's chain is not whole (%s): see quarry db check", qr_err_str(err));
}

static int load(export_t *x) {
  const qr_store_ops_t *ops = x->cfg->ops;
  int err = ops->scan(x->cfg->store, QR_STORE_INDEX, NULL, 0, see_header, x);
  if (!err && !x->err) err = ops->scan(x->cfg->store, QR_STORE_STATE, NULL, 0, see_account, x);
  if (!err) err = x->err;
  qr_node_t *tip = qr_tree_tip(x->tree);
  qr_hash_t root = qr_ledger_root(x->ledger);
  if (!err && (!qr_hash_eq(&tip->hash, &x->tip.hash) || !qr_hash_eq(&root, &x->tip.state_root)))
    err = QR_ERR_CORRUPT;
  x->at = qr_tree_ancestor(tip, x->height);
  return err ? not_whole(x, err) : QR_OK;
}

/* The lowest height at which everything is there that a snapshot needs. A chain that began with one
   kept no more of it than its windows. */
static uint64_t lowest(const export_t *x) {
  const qr_chain_cfg_t *c = x->cfg->chain;
  if (x->held.base && x->held.from == x->held.base + 1)
    return x->held.base + qr_snapshot_proof_cnt(c, UINT64_MAX);
  return x->held.from > 1 ? x->held.from + qr_snapshot_window_cnt(c, UINT64_MAX) - 1 : 1;
}

static int choose_height(export_t *x) {
  uint64_t tip = x->tip.height, height = x->cfg->height, low = lowest(x);
  uint32_t limit = x->cfg->chain->p.reorg_limit;
  if (!height && tip <= limit + 1)
    return fail(x, QR_ERR_ARG,
                "the chain has %" PRIu64 " blocks, and %u can still be reorganised: whoever began "
                "with a snapshot could not follow; name a height to export one all the same",
                tip, limit);
  if (!height) height = tip - limit - 1; /* its seal cannot be undone either */
  if (tip <= low)
    return fail(x, QR_ERR_ARG,
                "no snapshot can be made from this store before block %" PRIu64
                ": it does not hold enough of the past",
                low + 1);
  if (height < low || height >= tip)
    return fail(x, QR_ERR_ARG,
                "a snapshot can be made from this store at heights %" PRIu64 " to %" PRIu64, low,
                tip - 1);
  x->height = height;
  return QR_OK;
}

/* Takes the accounts back to where they were after the block at the height. */
static int take_back(export_t *x) {
  for (qr_node_t *n = qr_tree_tip(x->tree); n != x->at; n = n->parent) {
    int64_t sz = get_of(x, QR_STORE_UNDO, n);
    uint32_t cnt = sz > 0 ? qr_undo_decode(x->buf, (size_t)sz, x->undo->changes) : 0;
    for (uint32_t i = 0; i < cnt; i++) qr_ledger_set(x->ledger, &x->undo->changes[i].before);
    qr_hash_t root = qr_ledger_root(x->ledger);
    if (!cnt || !qr_hash_eq(&root, &n->header.state_root))
      return fail(x, QR_ERR_CORRUPT,
                  "the accounts cannot be taken back over block %" PRIu64 ": see quarry db check",
                  n->header.height);
  }
  const qr_node_t *seal = qr_tree_ancestor(qr_tree_tip(x->tree), x->height + 1);
  x->about->state_root = qr_ledger_root(x->ledger);
  x->about->seal = seal->hash;
  return QR_OK;
}

/* ---- what is written ---- */

static int put(export_t *x, enum qr_snapshot_type type, const uint8_t *bytes, uint32_t sz) {
  uint8_t head[QR_SNAPSHOT_RECORD_HEAD_SZ];
  qr_snapshot_record_head(type, sz, head);
  int err = x->cfg->write(x->cfg->ctx, head, sizeof head);
  if (!err && sz) err = x->cfg->write(x->cfg->ctx, bytes, sz);
  if (err) return fail(x, err, "the snapshot cannot be written: %s", qr_err_str(err));
  x->done += sizeof head + sz;
  if (x->cfg->progress(x->cfg->ctx, x->done, x->total)) return QR_OK;
  return fail(x, QR_ERR_CANCELLED, "interrupted");
}

static bool keep_account(void *ctx, const qr_account_t *a) {
  export_t *x = ctx;
  x->accounts[x->account_cnt++] = *a;
  return true;
}

static int by_key(const void *a, const void *b) {
  return memcmp(((const qr_account_t *)a)->pk.b, ((const qr_account_t *)b)->pk.b, QR_PUBKEY_SZ);
}

static int sort_accounts(export_t *x) {
  uint32_t cnt = qr_ledger_account_cnt(x->ledger);
  x->accounts = malloc((cnt + 1u) * sizeof *x->accounts);
  if (!x->accounts) return fail(x, QR_ERR_NOMEM, "out of memory");
  qr_ledger_visit(x->ledger, keep_account, x);
  qsort(x->accounts, x->account_cnt, sizeof x->accounts[0], by_key);
  return QR_OK;
}

/* Gathers what a record holds; they come in order. */
static bool put_header(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  export_t *x = ctx;
  qr_hash_t hash;
  qr_header_t h;
  bool ok = key_sz == QR_HEIGHT_KEY_SZ && qr_index_decode(value, sz, &hash, &h);
  if (!ok || h.height != qr_height_of(key)) {
    x->err = not_whole(x, QR_ERR_CORRUPT);
    return false;
  }
  qr_header_encode(&h, x->chunk + (size_t)x->header_cnt++ * QR_HEADER_SZ);
  bool last = h.height == x->about->header_cnt;
  if (last || x->header_cnt == HEADERS_PER_RECORD) {
    x->err = put(x, QR_SNAPSHOT_HEADERS, x->chunk, x->header_cnt * QR_HEADER_SZ);
    x->header_cnt = 0;
  }
  return !last && !x->err;
}

static int put_headers(export_t *x) {
  int err = x->cfg->ops->scan(x->cfg->store, QR_STORE_INDEX, NULL, 0, put_header, x);
  return err ? not_whole(x, err) : x->err;
}

static int put_accounts(export_t *x) {
  int err = QR_OK;
  for (uint64_t i = 0; i < x->account_cnt && !err;) {
    uint32_t cnt = 0;
    for (; cnt < ACCOUNTS_PER_RECORD && i < x->account_cnt; cnt++, i++)
      qr_account_encode(&x->accounts[i], x->chunk + (size_t)cnt * QR_ACCOUNT_SZ);
    err = put(x, QR_SNAPSHOT_ACCOUNTS, x->chunk, cnt * QR_ACCOUNT_SZ);
  }
  return err;
}

static int put_window_of(export_t *x, const qr_node_t *n) {
  uint8_t *at = x->chunk;
  qr_place_encode(n->header.height, &n->hash, at);
  at += QR_PLACE_SZ;
  int64_t exec_sz = get_of(x, QR_STORE_EXEC, n);
  if (exec_sz == QR_EXEC_RECORD_SZ) memcpy(at, x->buf, QR_EXEC_RECORD_SZ);
  at += QR_EXEC_RECORD_SZ;
  int64_t sz = get_of(x, QR_STORE_REPLAY, n);
  uint32_t window_sz = qr_snapshot_window_sz(x->cfg->chain);
  if (exec_sz != QR_EXEC_RECORD_SZ || sz < 0 ||
      (uint64_t)sz + QR_PLACE_SZ + QR_EXEC_RECORD_SZ != window_sz)
    return fail(x, QR_ERR_CORRUPT, "the replay of block %" PRIu64 " cannot be read",
                n->header.height);
  memcpy(at, x->buf, (size_t)sz);
  return put(x, QR_SNAPSHOT_WINDOW, x->chunk, window_sz);
}

static int put_model(export_t *x, enum qr_snapshot_type type, const qr_node_t *n) {
  const qr_hash_t *root = type == QR_SNAPSHOT_PROOF ? &n->header.model_in : &n->header.model_out;
  qr_st64(x->chunk, n->header.height);
  int64_t sz = get(x, QR_STORE_MODEL, root, QR_HASH_SZ);
  if (sz != (int64_t)x->cfg->chain->nets[n->header.task].model_sz)
    return fail(x, QR_ERR_CORRUPT, "the model of block %" PRIu64 " cannot be read",
                n->header.height);
  memcpy(x->chunk + 8, x->buf, (size_t)sz);
  return put(x, type, x->chunk, 8 + (uint32_t)sz);
}

/* What there is of the last cnt blocks, oldest first. */
static int put_blocks(export_t *x, enum qr_snapshot_type type, uint64_t cnt) {
  int err = QR_OK;
  for (uint64_t h = x->about->height - cnt + 1; h <= x->about->height && !err; h++) {
    qr_node_t *n = qr_tree_ancestor(x->at, h);
    err = type == QR_SNAPSHOT_WINDOW ? put_window_of(x, n) : put_model(x, type, n);
  }
  return err;
}

static uint64_t records_sz(uint64_t cnt, uint64_t unit_sz, uint64_t per_record) {
  return cnt * unit_sz + (cnt + per_record - 1) / per_record * QR_SNAPSHOT_RECORD_HEAD_SZ;
}

static uint64_t payload_sz_of(const qr_chain_cfg_t *chain, const qr_snapshot_about_t *a) {
  uint64_t sz = 2 * QR_SNAPSHOT_RECORD_HEAD_SZ + QR_SNAPSHOT_ABOUT_SZ + a->params_sz;
  sz += records_sz(a->header_cnt, QR_HEADER_SZ, HEADERS_PER_RECORD);
  sz += records_sz(a->account_cnt, QR_ACCOUNT_SZ, ACCOUNTS_PER_RECORD);
  sz += records_sz(a->window_cnt, qr_snapshot_window_sz(chain), 1);
  for (uint64_t i = 0; i < a->model_cnt + a->proof_cnt; i++) {
    uint64_t back = i < a->model_cnt ? i : i - a->model_cnt;
    sz += records_sz(1, 8 + chain->nets[(a->height - 1 - back) % chain->p.task_cnt].model_sz, 1);
  }
  return sz;
}

static int put_about(export_t *x) {
  qr_snapshot_about_t *a = x->about;
  *a = (qr_snapshot_about_t){.height = x->height,
                             .hash = x->at->hash,
                             .state_root = a->state_root,
                             .genesis = qr_tree_genesis(x->tree)->hash,
                             .seal = a->seal,
                             .header_cnt = x->height + 1,
                             .account_cnt = x->account_cnt,
                             .params_sz = (uint32_t)strlen(x->cfg->params),
                             .params = x->cfg->params};
  a->window_cnt = qr_snapshot_window_cnt(x->cfg->chain, a->height);
  a->model_cnt = qr_snapshot_model_cnt(x->cfg->chain, a->height);
  a->proof_cnt = qr_snapshot_proof_cnt(x->cfg->chain, a->height);
  if (QR_SNAPSHOT_ABOUT_SZ + a->params_sz > QR_SNAPSHOT_RECORD_MAX_SZ)
    return fail(x, QR_ERR_ARG, "the chain's parameters are too long");
  x->total = payload_sz_of(x->cfg->chain, a);
  qr_snapshot_about_encode(a, x->chunk);
  return put(x, QR_SNAPSHOT_ABOUT, x->chunk, QR_SNAPSHOT_ABOUT_SZ + a->params_sz);
}

uint32_t qr_snapshot_window_sz(const qr_chain_cfg_t *chain) {
  return QR_PLACE_SZ + QR_EXEC_RECORD_SZ + QR_REPLAY_STATES_SZ + chain->p.segment_rows;
}

static uint64_t at_most(uint64_t cnt, uint64_t height) { return cnt < height ? cnt : height; }

uint64_t qr_snapshot_window_cnt(const qr_chain_cfg_t *chain, uint64_t height) {
  uint64_t targets = (uint64_t)chain->p.target_window * chain->p.task_cnt;
  return at_most(qr_prune_window(&chain->p) + targets, height);
}

uint64_t qr_snapshot_model_cnt(const qr_chain_cfg_t *chain, uint64_t height) {
  return at_most(2 * (uint64_t)chain->p.target_window * chain->p.task_cnt, height);
}

uint64_t qr_snapshot_proof_cnt(const qr_chain_cfg_t *chain, uint64_t height) {
  return at_most((uint64_t)chain->p.target_window * chain->p.task_cnt, height);
}

/* A block adds accounts for its miner and for whom its transfers go to, no others. */
bool qr_snapshot_plausible(const qr_chain_cfg_t *chain, const qr_snapshot_about_t *a,
                           uint64_t payload_sz) {
  qr_hash_t genesis = qr_genesis_hash(chain);
  return qr_hash_eq(&genesis, &a->genesis) && a->height < HEIGHT_MAX &&
         a->window_cnt == qr_snapshot_window_cnt(chain, a->height) &&
         a->model_cnt == qr_snapshot_model_cnt(chain, a->height) &&
         a->proof_cnt == qr_snapshot_proof_cnt(chain, a->height) &&
         a->account_cnt <= chain->p.premine_cnt + a->height * (1 + QR_BLOCK_TX_MAX_CNT) &&
         payload_sz == payload_sz_of(chain, a);
}

int qr_snapshot_export(const qr_snapshot_export_t *cfg, qr_snapshot_about_t *about, char *why,
                       size_t why_sz) {
  export_t x = {.cfg = cfg, .about = about, .why = why, .why_sz = why_sz};
  x.tree = qr_tree_init(cfg->chain);
  x.ledger = qr_ledger_init();
  x.buf = malloc(QR_STORE_VALUE_MAX_SZ);
  x.chunk = malloc(QR_SNAPSHOT_RECORD_MAX_SZ);
  x.undo = malloc(sizeof *x.undo);
  int err = QR_OK;
  if (!x.tree || !x.ledger || !x.buf || !x.chunk || !x.undo)
    err = fail(&x, QR_ERR_NOMEM, "out of memory");
  if (!err) err = load_meta(&x);
  if (!err) err = choose_height(&x);
  if (!err) err = load(&x);
  if (!err) err = take_back(&x);
  if (!err) err = sort_accounts(&x);
  if (!err) err = put_about(&x);
  if (!err) err = put_headers(&x);
  if (!err) err = put_accounts(&x);
  if (!err) err = put_blocks(&x, QR_SNAPSHOT_WINDOW, about->window_cnt);
  if (!err) err = put_blocks(&x, QR_SNAPSHOT_MODEL, about->model_cnt);
  if (!err) err = put_blocks(&x, QR_SNAPSHOT_PROOF, about->proof_cnt);
  if (!err) err = put(&x, QR_SNAPSHOT_END, NULL, 0);
  if (x.tree) qr_tree_fini(x.tree);
  qr_ledger_fini(x.ledger);
  free(x.buf);
  free(x.chunk);
  free(x.undo);
  free(x.accounts);
  return err;
}
