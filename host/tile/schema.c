#include "tile/schema.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "port/clock.h"
#include "tile/record.h"
#include "tile/writer.h"

/* Of one batch. */
#define BLOCK_CNT 32u
#define HEIGHT_CNT 256u
#define LOG_NS 5000000000ull

/* Of version 1: facts | start states. */
#define EXEC_1_SZ (QR_EXEC_RECORD_SZ + QR_REPLAY_STATES_SZ)

typedef struct {
  const qr_store_ops_t *ops;
  qr_store_t *store;
  qr_writer_t w;
  uint8_t *block, *other; /* QR_STORE_VALUE_MAX_SZ each */
  uint64_t total, done, logged_ns;
  uint32_t to;
} migrate_t;

static int64_t get(migrate_t *m, enum qr_store_table t, const void *key, size_t sz, uint8_t *buf) {
  return m->ops->get(m->store, t, key, sz, buf, QR_STORE_VALUE_MAX_SZ);
}

static void tell(migrate_t *m) {
  uint64_t now = qr_clock_mono_ns();
  if (now - m->logged_ns < LOG_NS) return;
  m->logged_ns = now;
  qr_log(QR_LOG_INFO, "store", "event=migrating schema=%u records=%llu of=%llu", m->to,
         (unsigned long long)m->done, (unsigned long long)m->total);
}

/* ---- from 1 to 2: by height instead of by hash; headers in the index; replay apart ---- */

/* Keys of one batch's records that are still of version 1. */
typedef struct {
  uint32_t cnt, max;
  uint8_t keys[HEIGHT_CNT][QR_HASH_SZ];
} old_t;

static bool collect_block(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz) {
  old_t *o = ctx;
  (void)value, (void)sz;
  if (key_sz != QR_HASH_SZ) return true;
  memcpy(o->keys[o->cnt++], key, key_sz);
  return o->cnt < o->max;
}

static bool collect_height(void *ctx, const void *key, size_t key_sz, const void *value,
                           size_t sz) {
  old_t *o = ctx;
  (void)value;
  if (key_sz != QR_HEIGHT_KEY_SZ || sz != QR_HASH_SZ) return true;
  memcpy(o->keys[o->cnt++], key, key_sz);
  return o->cnt < o->max;
}

/* The newest block that needs a model: as stored, or as the batch has it already. */
static int add_use(migrate_t *m, const qr_hash_t *root, uint64_t height) {
  uint8_t key[QR_MODEL_USE_KEY_SZ], value[QR_MODEL_USE_SZ];
  uint64_t before = 0;
  size_t pending_sz;
  qr_model_use_key(root, key);
  int64_t sz = get(m, QR_STORE_MODEL, key, sizeof key, m->other);
  const uint8_t *pending = qr_writer_find(&m->w, QR_STORE_MODEL, key, sizeof key, &pending_sz);
  if (sz > 0 && qr_model_use_decode(m->other, (size_t)sz, &before) && before > height)
    height = before;
  if (pending && qr_model_use_decode(pending, pending_sz, &before) && before > height)
    height = before;
  qr_st64(value, height);
  return qr_writer_put(&m->w, QR_STORE_MODEL, key, sizeof key, value, sizeof value);
}

/* One record under its new key, and away under the old one. */
static int move_to(migrate_t *m, enum qr_store_table t, const uint8_t *hash,
                   const uint8_t place[QR_PLACE_SZ], const uint8_t *value, size_t sz) {
  int err = qr_writer_put(&m->w, t, place, QR_PLACE_SZ, value, sz);
  return err ? err : qr_writer_erase(&m->w, t, hash, QR_HASH_SZ);
}

static int move_block(migrate_t *m, const uint8_t *hash) {
  uint8_t place[QR_PLACE_SZ], replay[QR_REPLAY_RECORD_MAX_SZ];
  qr_header_t h;
  qr_body_t b;
  int64_t sz = get(m, QR_STORE_BLOCK, hash, QR_HASH_SZ, m->block);
  if (sz < (int64_t)QR_HEADER_SZ ||
      qr_body_decode(m->block + QR_HEADER_SZ, (size_t)sz - QR_HEADER_SZ, &b))
    return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  qr_header_decode(m->block, &h);
  qr_hash_t own = qr_header_hash(&h);
  if (memcmp(&own, hash, sizeof own)) return QR_ERR_CORRUPT;
  qr_place_encode(h.height, &own, place);
  int err = move_to(m, QR_STORE_BLOCK, hash, place, m->block, (size_t)sz);
  sz = get(m, QR_STORE_EXEC, hash, QR_HASH_SZ, m->other);
  if (sz != EXEC_1_SZ) return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  size_t replay_sz =
      qr_replay_encode(m->other + QR_EXEC_RECORD_SZ, b.actions, b.action_cnt, replay);
  if (!err) err = move_to(m, QR_STORE_EXEC, hash, place, m->other, QR_EXEC_RECORD_SZ);
  if (!err) err = qr_writer_put(&m->w, QR_STORE_REPLAY, place, sizeof place, replay, replay_sz);
  sz = get(m, QR_STORE_UNDO, hash, QR_HASH_SZ, m->other);
  if (sz < 0) return (int)sz;
  if (!err) err = move_to(m, QR_STORE_UNDO, hash, place, m->other, (size_t)sz);
  if (!err) err = add_use(m, &h.model_in, h.height);
  return err ? err : add_use(m, &h.model_out, h.height);
}

static int move_height(migrate_t *m, const uint8_t *key) {
  uint8_t place[QR_PLACE_SZ], entry[QR_INDEX_RECORD_SZ];
  qr_hash_t hash;
  qr_header_t h;
  int64_t sz = get(m, QR_STORE_INDEX, key, QR_HEIGHT_KEY_SZ, m->other);
  if (sz != sizeof hash) return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  memcpy(&hash, m->other, sizeof hash);
  qr_place_encode(qr_height_of(key), &hash, place);
  sz = get(m, QR_STORE_BLOCK, place, sizeof place, m->block);
  if (sz < (int64_t)QR_HEADER_SZ) return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  qr_header_decode(m->block, &h);
  qr_index_encode(&hash, &h, entry);
  return qr_writer_put(&m->w, QR_STORE_INDEX, key, QR_HEIGHT_KEY_SZ, entry, sizeof entry);
}

/* Batch by batch, as long as there are records of the old form; what a batch left is behind it. */
static int move_all(migrate_t *m, enum qr_store_table t, qr_store_visit_fn collect, uint32_t max,
                    int (*move)(migrate_t *, const uint8_t *)) {
  size_t key_sz = t == QR_STORE_INDEX ? QR_HEIGHT_KEY_SZ : QR_HASH_SZ;
  uint8_t first[QR_HASH_SZ] = {0};
  for (;;) {
    old_t o = {.max = max};
    int err = m->ops->scan(m->store, t, first, key_sz, collect, &o);
    for (uint32_t i = 0; i < o.cnt && !err; i++) err = move(m, o.keys[i]);
    if (!err) err = qr_writer_commit(&m->w);
    if (err || !o.cnt) return err;
    memcpy(first, o.keys[o.cnt - 1], key_sz);
    m->done += o.cnt;
    tell(m);
  }
}

static int from_1_to_2(migrate_t *m) {
  int err = move_all(m, QR_STORE_BLOCK, collect_block, BLOCK_CNT, move_block);
  return err ? err : move_all(m, QR_STORE_INDEX, collect_height, HEIGHT_CNT, move_height);
}

/* ---- steps ---- */

static int (*const steps[])(migrate_t *m) = {[1] = from_1_to_2};
_Static_assert(QR_ARRAY_CNT(steps) == QR_STORE_SCHEMA_VERSION, "a step from every older version");

static int step_from(migrate_t *m, uint32_t from, char *why, size_t why_sz) {
  uint8_t version[4];
  uint64_t begin_ns = qr_clock_mono_ns();
  m->to = from + 1;
  m->done = 0;
  m->logged_ns = begin_ns;
  qr_log(QR_LOG_INFO, "store", "event=migrate schema=%u to=%u height=%llu", from, m->to,
         (unsigned long long)(m->total / 2));
  int err = steps[from](m);
  qr_st32(version, m->to);
  if (!err)
    err = qr_writer_put(&m->w, QR_STORE_META, QR_META_SCHEMA, strlen(QR_META_SCHEMA), version,
                        sizeof version);
  if (!err) err = qr_writer_commit(&m->w);
  if (err) {
    snprintf(
        why, why_sz,
        "the store cannot be brought from schema version %u to %u (%s) after %llu records: see "
        "that the disk is whole and has room, then start again, it goes on where it stopped",
        from, m->to, qr_err_str(err), (unsigned long long)m->done);
    return err;
  }
  qr_log(QR_LOG_INFO, "store", "event=migrated schema=%u records=%llu ms=%.0f", m->to,
         (unsigned long long)m->done, (double)(qr_clock_mono_ns() - begin_ns) / 1e6);
  return QR_OK;
}

int qr_schema_migrate(const qr_store_ops_t *ops, qr_store_t *store, char *why, size_t why_sz) {
  uint8_t version[4], tip[QR_META_TIP_SZ];
  int64_t sz = ops->get(store, QR_STORE_META, QR_META_SCHEMA, strlen(QR_META_SCHEMA), version,
                        sizeof version);
  if (sz == QR_ERR_NOTFOUND) return QR_OK;
  uint32_t from = sz == sizeof version ? qr_ld32(version) : 0;
  if (!from || from > QR_STORE_SCHEMA_VERSION) {
    snprintf(why, why_sz, "the store has no schema version that this program knows");
    return sz < 0 ? (int)sz : QR_ERR_UNSUPPORTED;
  }
  if (from == QR_STORE_SCHEMA_VERSION) return QR_OK;
  migrate_t m = {.ops = ops, .store = store, .w = {.store_ops = ops, .store = store}};
  m.block = malloc(QR_STORE_VALUE_MAX_SZ);
  m.other = malloc(QR_STORE_VALUE_MAX_SZ);
  int err = m.block && m.other ? QR_OK : QR_ERR_NOMEM;
  if (err) snprintf(why, why_sz, "out of memory");
  sz = ops->get(store, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), tip, sizeof tip);
  if (sz == sizeof tip) m.total = 2 * qr_ld64(tip + 32);
  for (; from < QR_STORE_SCHEMA_VERSION && !err; from++) err = step_from(&m, from, why, why_sz);
  free(m.block);
  free(m.other);
  qr_writer_fini(&m.w);
  return err;
}
