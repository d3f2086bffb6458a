/* What the chain tile writes: one atomic durable batch for each accepted block, kept until it is
   known to be on the disk. A failed commit may be there or not, so nothing follows it: the store is
   closed, opened again and asked for its tip, and what it lacks is written once more. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "tile/chain_int.h"

#define BATCH_OPS_MIN 64u
#define BATCH_BYTES_MIN (64u << 10)

/* Between attempts to open a store again that failed, doubled each time. */
#define RETRY_MIN_NS 100000000ull
#define RETRY_MAX_NS 30000000000ull
/* Between looks at a full disk. */
#define FULL_RETRY_NS 500000000ull

void qr_chain_fail(qr_chain_tile_t *t, const char *what, int err) {
  if (t->failed) return;
  t->failed = true;
  qr_log(QR_LOG_ERROR, "chain",
         "event=fatal action=\"%s\" cause=\"%s\" cure=\"check the disk, then start again: the "
         "stored chain is complete up to its tip\"",
         what, qr_err_str(err));
}

static qr_commit_t *commit_at(qr_chain_tile_t *t, uint32_t i) {
  return &t->commits[(t->commit_head + i) % QR_COMMIT_MAX_CNT];
}

/* ---- reading ---- */

int64_t qr_chain_get_durable(qr_chain_tile_t *t, enum qr_store_table table, const void *key,
                             size_t sz) {
  qr_store_t *s = *t->cfg.store;
  if (!s) return QR_ERR_IO;
  return t->cfg.store_ops->get(s, table, key, sz, t->io_buf, QR_STORE_VALUE_MAX_SZ);
}

/* What the batch does to the key; false: nothing. */
static bool find_in_batch(qr_chain_tile_t *t, const qr_batch_t *b, enum qr_store_table table,
                          const void *key, size_t sz, int64_t *out) {
  const uint8_t *at = b->bytes;
  bool found = false;
  for (uint32_t i = 0; i < b->cnt; i++) {
    const qr_store_op_t *op = &b->ops[i];
    if (op->table == table && op->key_sz == sz && !memcmp(at, key, sz)) {
      found = true;
      *out = op->erase ? QR_ERR_NOTFOUND : (int64_t)op->value_sz;
      if (!op->erase) memcpy(t->io_buf, at + sz, op->value_sz);
    }
    at += op->key_sz + op->value_sz;
  }
  return found;
}

int64_t qr_chain_get(qr_chain_tile_t *t, enum qr_store_table table, const void *key, size_t sz) {
  int64_t found;
  for (uint32_t i = t->commit_cnt; i-- > 0;) {
    if (find_in_batch(t, &commit_at(t, i)->batch, table, key, sz, &found)) return found;
  }
  return qr_chain_get_durable(t, table, key, sz);
}

int64_t qr_chain_get_of(qr_chain_tile_t *t, enum qr_store_table table, const qr_node_t *n) {
  uint8_t place[QR_PLACE_SZ];
  qr_place_encode(n->header.height, &n->hash, place);
  return qr_chain_get(t, table, place, sizeof place);
}

/* ---- batches ---- */

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

int qr_chain_batch_commit(qr_chain_tile_t *t, const qr_batch_t *b, uint64_t tag) {
  size_t at = 0;
  for (uint32_t i = 0; i < b->cnt; i++) {
    b->ops[i].key = b->bytes + at;
    b->ops[i].value = b->bytes + at + b->ops[i].key_sz;
    at += b->ops[i].key_sz + b->ops[i].value_sz;
  }
  return t->cfg.store_ops->commit(*t->cfg.store, tag, b->ops, b->cnt);
}

void qr_chain_batch_clear(qr_batch_t *b) { b->cnt = 0, b->sz = 0; }

static void batch_fini(qr_batch_t *b) {
  free(b->ops);
  free(b->bytes);
}

void qr_chain_tip_encode(qr_chain_tile_t *t, const qr_node_t *n, uint8_t out[QR_META_TIP_SZ]) {
  qr_tip_record_t r = {n->hash, n->header.height, qr_ledger_root(t->ledger)};
  qr_tip_encode(&r, out);
}

/* ---- sending ---- */

void qr_chain_send(qr_chain_tile_t *t, qr_node_t *n, bool tip) {
  QR_ASSERT(t->commit_cnt < QR_COMMIT_MAX_CNT);
  qr_commit_t *c = commit_at(t, t->commit_cnt++);
  qr_batch_t empty = c->batch;
  c->batch = t->batch;
  t->batch = empty; /* its memory serves the next block */
  c->tag = ++t->commit_tag;
  c->node = n;
  c->tip = tip;
  if (tip) memcpy(c->tip_record, t->tip_record, sizeof c->tip_record);
}

/* False while the disk is too full to write on. Says so once, and once when that has ended. */
static bool has_room(qr_chain_tile_t *t, uint64_t now_ns) {
  const qr_reserve_t *r = t->cfg.reserve;
  if (!r) return true;
  if (t->disk.full && now_ns < t->disk.retry_ns) return false;
  char why[256];
  bool full = !r->has_room(r->ctx, why, sizeof why);
  if (full) t->disk.retry_ns = now_ns + FULL_RETRY_NS;
  if (full && !t->disk.full)
    qr_log(QR_LOG_ERROR, "chain",
           "event=disk-full cause=\"%s\" effect=\"no new block is taken, all else goes on\" "
           "cure=\"free some space: the node then goes on by itself\"",
           why);
  if (!full && t->disk.full) qr_log(QR_LOG_INFO, "chain", "event=disk-has-room");
  t->disk.full = full;
  return !full;
}

/* Gives the store what waits, in order. */
static int send_waiting(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = 0;
  while (t->disk.sent_cnt < t->commit_cnt && has_room(t, now_ns)) {
    qr_commit_t *c = commit_at(t, t->disk.sent_cnt);
    int err = qr_chain_batch_commit(t, &c->batch, c->tag);
    if (err == QR_ERR_FULL || err == QR_ERR_NOMEM) break; /* what is under way will make room */
    if (err) {
      qr_chain_fail(t, "commit a block", err);
      break;
    }
    c->sent_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx);
    t->disk.sent_cnt++;
    work++;
  }
  return work;
}

/* ---- what became of it ---- */

/* The oldest commit is durable: now peers may know. */
static void durable(qr_chain_tile_t *t) {
  qr_commit_t *c = commit_at(t, 0);
  qr_node_t *n = c->node;
  t->durable_ns += t->cfg.clock->mono_ns(t->cfg.clock->ctx) - c->sent_ns;
  t->durable_cnt++;
  t->disk.backoff_ns = 0;
  if (c->tip) {
    t->durable_tip = n;
    memcpy(t->disk.tip, c->tip_record, sizeof t->disk.tip);
    qr_chain_tell_tip(t);
  }
  if (!n) qr_chain_pruned(t);
  qr_chain_batch_clear(&c->batch);
  t->commit_head = (t->commit_head + 1) % QR_COMMIT_MAX_CNT;
  t->commit_cnt--;
  t->disk.sent_cnt--;
  if (!n) return;
  qr_chain_out(t, &(qr_outbound_t){.kind = QR_OUT_ACCEPTED,
                                   .hash = n->hash,
                                   .root = n->header.model_out,
                                   .hash_cnt = 1,
                                   .hashes = {n->header.model_in},
                                   .height = n->header.height,
                                   .work = n->work});
}

/* How many commits may be told of: each may be two words to peers, for which the others leave
   QR_OUT_ROOM. */
static uint32_t room_to_tell(const qr_chain_tile_t *t) {
  return t->cfg.to_net ? qr_ring_room(t->cfg.to_net) / 2 : QR_COMMIT_MAX_CNT;
}

static int take_done(qr_chain_tile_t *t, uint64_t now_ns) {
  qr_store_done_t done[8];
  uint32_t room = room_to_tell(t);
  if (!room || !*t->cfg.store || !t->disk.sent_cnt) return 0;
  if (room > QR_ARRAY_CNT(done)) room = QR_ARRAY_CNT(done);
  int cnt = t->cfg.store_ops->poll(*t->cfg.store, done, (int)room);
  for (int i = 0; i < cnt; i++) {
    QR_ASSERT(t->disk.sent_cnt > t->disk.failed_cnt);
    QR_ASSERT(commit_at(t, t->disk.failed_cnt)->tag == done[i].tag);
    if (!done[i].err && !t->disk.failed_cnt) {
      durable(t);
      continue;
    }
    if (!t->disk.failed_cnt++) {
      t->disk.failed = true;
      t->disk.failure_cnt++;
      t->disk.retry_ns = now_ns + t->disk.backoff_ns;
      qr_log(QR_LOG_ERROR, "chain",
             "event=commit-failed height=%llu cause=\"%s\" effect=\"nothing is written until the "
             "store has been opened again and its tip read\"",
             (unsigned long long)t->durable_tip->header.height + 1, qr_err_str(done[i].err));
    }
  }
  return cnt;
}

/* ---- after a failure ---- */

static int open_again(qr_chain_tile_t *t, char *why, size_t why_sz) {
  const qr_store_ops_t *ops = t->cfg.store_ops;
  const qr_reserve_t *r = t->cfg.reserve;
  if (*t->cfg.store) ops->close(*t->cfg.store);
  *t->cfg.store = NULL;
  int err = ops->open(t->cfg.store_dir, t->cfg.store_options, t->cfg.store, why, why_sz);
  if (err && r) {
    /* A full disk may be why; what is kept for this is given up, and kept anew when there is room.
     */
    r->yield(r->ctx);
    err = ops->open(t->cfg.store_dir, t->cfg.store_options, t->cfg.store, why, why_sz);
  }
  if (err) *t->cfg.store = NULL;
  return err;
}

/* How many of the commits the store holds after all, by its tip; QR_ERR_CORRUPT if it holds less
   than it said, or something else. */
static int count_stored(qr_chain_tile_t *t) {
  int64_t sz = qr_chain_get_durable(t, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP));
  if (sz < 0 && sz != QR_ERR_NOTFOUND) return (int)sz;
  if (sz != QR_META_TIP_SZ) return QR_ERR_CORRUPT;
  if (!memcmp(t->io_buf, t->disk.tip, QR_META_TIP_SZ)) return 0;
  for (uint32_t i = 0; i < t->commit_cnt; i++) {
    const qr_commit_t *c = commit_at(t, i);
    if (c->tip && !memcmp(t->io_buf, c->tip_record, QR_META_TIP_SZ)) return (int)i + 1;
  }
  return QR_ERR_CORRUPT;
}

static bool may_pass(int err) {
  return err == QR_ERR_IO || err == QR_ERR_BUSY || err == QR_ERR_NOMEM;
}

static int recover(qr_chain_tile_t *t, uint64_t now_ns) {
  char why[512] = "the tip cannot be read";
  int err = open_again(t, why, sizeof why), stored = 0;
  if (!err) {
    stored = count_stored(t);
    err = stored < 0 ? stored : QR_OK;
    if (err == QR_ERR_CORRUPT)
      snprintf(why, sizeof why, "the store does not hold all that it had said to be durable");
  }
  uint64_t wait_ns = t->disk.backoff_ns ? 2 * t->disk.backoff_ns : RETRY_MIN_NS;
  t->disk.backoff_ns = wait_ns < RETRY_MAX_NS ? wait_ns : RETRY_MAX_NS;
  if (err) {
    qr_log(QR_LOG_ERROR, "chain", "event=store-not-open cause=\"%s\" retry_ms=%llu", why,
           (unsigned long long)(t->disk.backoff_ns / 1000000u));
    t->disk.retry_ns = now_ns + t->disk.backoff_ns;
    if (!may_pass(err)) qr_chain_fail(t, "open the store again", err);
    return 1;
  }
  uint64_t backoff_ns = t->disk.backoff_ns;
  for (int i = 0; i < stored; i++) durable(t);
  t->disk.backoff_ns = backoff_ns; /* until a commit has gone well */
  t->disk.sent_cnt = t->disk.failed_cnt = 0;
  t->disk.failed = false;
  qr_log(QR_LOG_INFO, "chain",
         "event=store-opened-again height=%llu stored_after_all=%d written_again=%u",
         (unsigned long long)t->durable_tip->header.height, stored, t->commit_cnt);
  return 1;
}

int qr_chain_poll_store(qr_chain_tile_t *t, uint64_t now_ns) {
  int work = take_done(t, now_ns);
  bool ended = t->disk.failed && t->disk.failed_cnt == t->disk.sent_cnt;
  if (ended && now_ns >= t->disk.retry_ns && room_to_tell(t) >= t->commit_cnt && !t->copy.running)
    work += recover(t, now_ns);
  if (!t->disk.failed && !t->failed) work += send_waiting(t, now_ns);
  return work;
}

enum qr_writing qr_chain_writing(const qr_chain_tile_t *t) {
  return t->disk.failed ? QR_WRITING_RECOVERS : t->disk.full ? QR_WRITING_DISK_FULL : QR_WRITING_ON;
}

void qr_chain_store_fini(qr_chain_tile_t *t) {
  batch_fini(&t->batch);
  for (uint32_t i = 0; i < QR_COMMIT_MAX_CNT; i++) batch_fini(&t->commits[i].batch);
}
