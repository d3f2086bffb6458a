#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "chain/prune.h"
#include "tile/snapshot.h"

/* A batch is committed when it has grown beyond this. */
#define BATCH_SZ (4u << 20)
/* Headers before the windows: eleven for the median time, one of each task for the segments. */
#define SPARE_CNT 16u

typedef struct {
  char *why;
  size_t why_sz;
} say_t;

static int fail(const say_t *s, int err, const char *fmt, ...) QR_PRINTF(3, 4);
static int fail(const say_t *s, int err, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(s->why, s->why_sz, fmt, ap);
  va_end(ap);
  return err;
}

int qr_snapshot_import_init(qr_snapshot_import_t *x, const qr_snapshot_import_cfg_t *cfg,
                            const qr_snapshot_about_t *about, char *why, size_t why_sz) {
  say_t say = {why, why_sz};
  *x = (qr_snapshot_import_t){
      .cfg = *cfg, .about = *about, .w = {.store_ops = cfg->ops, .store = cfg->store}};
  qr_hash_t genesis = qr_genesis_hash(cfg->chain);
  if (!qr_hash_eq(&genesis, &about->genesis))
    return fail(&say, QR_ERR_ARG, "the snapshot is of another chain than %s", cfg->chain->p.name);
  if (cfg->pin && !qr_hash_eq(cfg->pin, &about->seal))
    return fail(&say, QR_ERR_ARG,
                "the snapshot is of height %" PRIu64 ", which another block settles than the pin",
                about->height);
  if (about->window_cnt != qr_snapshot_window_cnt(cfg->chain, about->height) ||
      about->model_cnt != qr_snapshot_model_cnt(cfg->chain, about->height) ||
      about->proof_cnt != qr_snapshot_proof_cnt(cfg->chain, about->height))
    return fail(&say, QR_ERR_CORRUPT, "the snapshot says that it holds less than it must");
  x->tree = qr_tree_init(cfg->chain);
  x->ledger = qr_ledger_init();
  return x->tree && x->ledger ? QR_OK : fail(&say, QR_ERR_NOMEM, "out of memory");
}

void qr_snapshot_import_fini(qr_snapshot_import_t *x) {
  if (x->proves) qr_snapshot_prover_fini(&x->prover);
  if (x->tree) qr_tree_fini(x->tree);
  qr_ledger_fini(x->ledger);
  qr_writer_fini(&x->w);
  *x = (qr_snapshot_import_t){0};
}

/* The header behind the last block's: of that block nothing else is here, but it says what the
   state must be. */
static int take_seal(qr_snapshot_import_t *x, const qr_header_t *h, const say_t *say) {
  qr_hash_t hash = qr_header_hash(h);
  if (!qr_hash_eq(&hash, &x->about.seal) || !qr_hash_eq(&h->parent, &x->about.hash))
    return fail(say, QR_ERR_CORRUPT, "the headers do not lead to the block that they should");
  if (!qr_hash_eq(&h->state_root, &x->about.state_root))
    return fail(say, QR_ERR_CORRUPT, "the snapshot claims another state than header %" PRIu64,
                h->height);
  x->seal = *h;
  x->sealed = true;
  return QR_OK;
}

/* Only the newest headers stay in memory: the windows, and what those and the next header's time
   are judged by. */
static void forget_old(qr_snapshot_import_t *x) {
  uint64_t tip = qr_tree_tip(x->tree)->header.height;
  uint64_t kept = qr_snapshot_window_cnt(x->cfg.chain, UINT64_MAX) + SPARE_CNT;
  if (tip >= qr_tree_root(x->tree)->header.height + 2 * kept)
    qr_tree_cut(x->tree, tip - kept, NULL, NULL);
}

static int take_headers(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, const say_t *say) {
  uint8_t key[QR_HEIGHT_KEY_SZ], entry[QR_INDEX_RECORD_SZ];
  int err = QR_OK;
  for (uint32_t at = 0; at < r->sz && !err; at += QR_HEADER_SZ) {
    qr_node_t *parent, *tip = qr_tree_tip(x->tree);
    qr_header_t h;
    qr_header_decode(r->bytes + at, &h);
    enum qr_verdict v = qr_tree_check(x->tree, &h, x->cfg.wall_ms, &parent);
    if (v || parent != tip)
      return fail(say, QR_ERR_CORRUPT, "header %" PRIu64 " breaks the rules of the chain: %s",
                  tip->header.height + 1, v ? qr_verdict_str(v) : "it stands on another block");
    if (h.height > x->about.height) return take_seal(x, &h, say);
    qr_node_t *n = qr_tree_insert(x->tree, &h, 0);
    if (!n) return fail(say, QR_ERR_NOMEM, "out of memory");
    bool moved = qr_tree_executed(x->tree, n);
    (void)moved;
    qr_tree_set_tip(x->tree, n);
    qr_height_key(h.height, key);
    qr_index_encode(&n->hash, &h, entry);
    err = qr_writer_put(&x->w, QR_STORE_INDEX, key, sizeof key, entry, sizeof entry);
    forget_old(x);
  }
  return err;
}

static int take_accounts(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, const say_t *say) {
  int err = QR_OK;
  for (uint32_t at = 0; at < r->sz && !err; at += QR_ACCOUNT_SZ) {
    qr_account_t a;
    qr_account_decode(r->bytes + at, &a);
    bool ascends = !x->account_cnt || memcmp(&x->last_pk, &a.pk, sizeof a.pk) < 0;
    if (!ascends || (!a.balance && !a.seq))
      return fail(say, QR_ERR_CORRUPT, "account %" PRIu64 " is not one, or not in its place",
                  x->account_cnt);
    x->account_cnt++;
    x->last_pk = a.pk;
    qr_ledger_set(x->ledger, &a);
    err = qr_writer_put(&x->w, QR_STORE_STATE, &a.pk, sizeof a.pk, r->bytes + at, QR_ACCOUNT_SZ);
  }
  return err;
}

/* The block that the next of cnt records must be of: they end with the last block. */
static qr_node_t *next_of(const qr_snapshot_import_t *x, uint64_t cnt, uint64_t *taken) {
  return qr_tree_ancestor(qr_tree_tip(x->tree), x->about.height - cnt + ++*taken);
}

/* What of cnt kept records lies in the store: the newest that its windows need. */
static bool is_stored(const qr_snapshot_import_t *x, const qr_node_t *n, uint64_t cnt) {
  return n->header.height + cnt > x->about.height;
}

static int begin_proof(qr_snapshot_import_t *x, const say_t *say) {
  x->proves = true;
  int err = qr_snapshot_prover_init(&x->prover, x->cfg.chain, x->cfg.accel, x->about.height);
  return err ? fail(say, err == QR_ERR_NOMEM ? err : QR_ERR_IO,
                    "what the snapshot says cannot be checked: %s", qr_err_str(err))
             : QR_OK;
}

static int take_window(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, const say_t *say) {
  const uint8_t *exec = r->bytes + QR_PLACE_SZ, *replay = exec + QR_EXEC_RECORD_SZ;
  uint64_t height;
  qr_hash_t hash;
  qr_exec_facts_t facts;
  bool ok = qr_place_decode(r->bytes, QR_PLACE_SZ, &height, &hash);
  qr_node_t *n = next_of(x, x->about.window_cnt, &x->window_cnt);
  if (!ok || !n || n->header.height != height || !qr_hash_eq(&n->hash, &hash) ||
      !qr_exec_decode(exec, QR_EXEC_RECORD_SZ, &facts) || facts.task != n->header.task)
    return fail(say, QR_ERR_CORRUPT, "record %" PRIu64 " of the replay window is of another block",
                x->window_cnt);
  int err = x->proves ? QR_OK : begin_proof(x, say);
  if (err) return err;
  err = qr_snapshot_prover_segment(&x->prover, n, &facts, replay);
  if (err)
    return fail(say, err, "the segment of block %" PRIu64 " %s", height,
                err == QR_ERR_CORRUPT ? "is not the one that its header speaks of"
                                      : "cannot be played: out of memory");
  if (!is_stored(x, n, qr_prune_window(&x->cfg.chain->p))) return QR_OK;
  size_t replay_sz = QR_REPLAY_STATES_SZ + x->cfg.chain->p.segment_rows;
  err = qr_writer_put(&x->w, QR_STORE_EXEC, r->bytes, QR_PLACE_SZ, exec, QR_EXEC_RECORD_SZ);
  if (err) return err;
  return qr_writer_put(&x->w, QR_STORE_REPLAY, r->bytes, QR_PLACE_SZ, replay, replay_sz);
}

static int take_model(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, const say_t *say) {
  uint8_t key[QR_MODEL_USE_KEY_SZ];
  uint64_t height = qr_ld64(r->bytes);
  uint32_t sz = r->sz - 8;
  qr_node_t *n = next_of(x, x->about.model_cnt, &x->model_cnt);
  if (!n || n->header.height != height || sz != x->cfg.chain->nets[n->header.task].model_sz)
    return fail(say, QR_ERR_CORRUPT, "model %" PRIu64 " is of another block", x->model_cnt);
  qr_hash_t root = qr_model_root(&x->cfg.chain->nets[n->header.task], r->bytes + 8);
  if (!qr_hash_eq(&root, &n->header.model_out))
    return fail(say, QR_ERR_CORRUPT, "the model of block %" PRIu64 " does not have its root",
                height);
  int err = qr_snapshot_prover_model(&x->prover, n, r->bytes + 8);
  if (err) return fail(say, err, "out of memory");
  if (!is_stored(x, n, x->about.proof_cnt)) return QR_OK;
  qr_model_use_key(&root, key);
  err = qr_writer_put(&x->w, QR_STORE_MODEL, &root, sizeof root, r->bytes + 8, sz);
  if (err) return err;
  return qr_writer_put(&x->w, QR_STORE_MODEL, key, sizeof key, r->bytes, QR_MODEL_USE_SZ);
}

static int take_proof(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, const say_t *say) {
  uint64_t height = qr_ld64(r->bytes);
  qr_node_t *n = next_of(x, x->about.proof_cnt, &x->proof_cnt);
  if (!n || n->header.height != height || r->sz - 8 != x->cfg.chain->nets[n->header.task].model_sz)
    return fail(say, QR_ERR_CORRUPT, "proof %" PRIu64 " is of another block", x->proof_cnt);
  int err = qr_snapshot_prover_prove(&x->prover, n, r->bytes + 8);
  if (err == QR_ERR_CORRUPT)
    return fail(say, err, "block %" PRIu64 ", done again, does not come to what the snapshot says",
                height);
  return err ? fail(say, err == QR_ERR_NOMEM ? err : QR_ERR_IO,
                    "block %" PRIu64 " cannot be done again: %s", height, qr_err_str(err))
             : QR_OK;
}

static int put_meta(qr_snapshot_import_t *x, const char *key, const void *value, size_t sz) {
  return qr_writer_put(&x->w, QR_STORE_META, key, strlen(key), value, sz);
}

/* What makes a store of it: only now, and with the last of the rest. */
static int take_end(qr_snapshot_import_t *x) {
  uint8_t tip[QR_META_TIP_SZ], held[QR_META_HELD_SZ];
  const qr_snapshot_about_t *a = &x->about;
  qr_tip_record_t t = {a->hash, a->height, a->state_root};
  qr_held_t h = {.from = a->height + 1, .base = a->height};
  qr_tip_encode(&t, tip);
  qr_held_encode(&h, held);
  int err = put_meta(x, QR_META_GENESIS, &a->genesis, sizeof a->genesis);
  if (!err) err = put_meta(x, QR_META_PARAMS, a->params, a->params_sz);
  if (!err) err = put_meta(x, QR_META_HELD, held, sizeof held);
  if (!err) err = put_meta(x, QR_META_TIP, tip, sizeof tip);
  return err ? err : qr_writer_commit(&x->w);
}

/* Behind the accounts, before anything that follows them: there is a seal by then. */
static int check_state(qr_snapshot_import_t *x, const say_t *say) {
  qr_hash_t root = qr_ledger_root(x->ledger);
  if (x->sealed && qr_hash_eq(&root, &x->seal.state_root)) return QR_OK;
  return fail(say, QR_ERR_CORRUPT, "the accounts do not have the state root that they should");
}

int qr_snapshot_import_take(qr_snapshot_import_t *x, const qr_snapshot_record_t *r, char *why,
                            size_t why_sz) {
  say_t say = {why, why_sz};
  int err = r->type > QR_SNAPSHOT_ACCOUNTS ? check_state(x, &say) : QR_OK;
  if (err) return err;
  snprintf(why, why_sz, "the store cannot be written to");
  switch (r->type) {
  case QR_SNAPSHOT_HEADERS: err = take_headers(x, r, &say); break;
  case QR_SNAPSHOT_ACCOUNTS: err = take_accounts(x, r, &say); break;
  case QR_SNAPSHOT_WINDOW: err = take_window(x, r, &say); break;
  case QR_SNAPSHOT_MODEL: err = take_model(x, r, &say); break;
  case QR_SNAPSHOT_PROOF: err = take_proof(x, r, &say); break;
  case QR_SNAPSHOT_END: err = take_end(x); break;
  default: return fail(&say, QR_ERR_FORMAT, "the snapshot says twice what it is");
  }
  if (!err && x->w.sz > BATCH_SZ) err = qr_writer_commit(&x->w);
  return err;
}
