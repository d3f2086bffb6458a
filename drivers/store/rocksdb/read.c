/* Reads: from any thread, each record checked against its own hash. */
#include "rocks.h"

#include "base/err.h"
#include "base/log.h"

/* Damage is counted; only its first cases are written out, for a damaged disk has many. */
#define CORRUPT_LOG_MAX_CNT 16u

/* Keys of one call; RocksDB itself goes through them by 32. */
#define GET_MANY_CNT 256u
/* Of fewer keys, to ask for them twice saves nothing. */
#define GATHER_MIN_CNT 4u

void rocks_count_nothing(void) {
  static _Thread_local bool done;
  if (!done) rocksdb_set_perf_level(rocksdb_disable);
  done = true;
}

static int report_corrupt(qr_store_t *s, uint32_t table, const void *key, size_t key_sz) {
  if (s->corrupt_cnt++ < CORRUPT_LOG_MAX_CNT) {
    char hex[2 * QR_STORE_KEY_MAX_SZ + 1];
    qr_hex(hex, key, key_sz < QR_STORE_KEY_MAX_SZ ? key_sz : QR_STORE_KEY_MAX_SZ);
    qr_log(QR_LOG_ERROR, "store", "event=record-corrupt table=%s key=%s",
           qr_store_table_name(table), hex);
  }
  return QR_ERR_CORRUPT;
}

static int read_error(qr_store_t *s, const char *what, char *message) {
  int err = rocks_error(what, message);
  if (err == QR_ERR_CORRUPT) s->corrupt_cnt++;
  return err;
}

/* Copies what a record holds into buf, and gives the slice back. */
static int64_t take_value(qr_store_t *s, uint32_t t, const void *key, size_t key_sz,
                          rocksdb_pinnableslice_t *slice, void *buf, size_t buf_sz) {
  if (!slice) return QR_ERR_NOTFOUND;
  size_t record_sz, value_sz;
  const uint8_t *value;
  const char *record = rocksdb_pinnableslice_value(slice, &record_sz);
  int64_t result;
  if (!rocks_record_check(t, key, key_sz, record, record_sz, &value, &value_sz)) {
    result = report_corrupt(s, t, key, key_sz);
  } else {
    result = (int64_t)value_sz;
    if (value_sz && value_sz <= buf_sz) memcpy(buf, value, value_sz);
  }
  rocksdb_pinnableslice_destroy(slice);
  return result;
}

int64_t rocks_get(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz, void *buf,
                  size_t buf_sz) {
  if (!qr_store_key_ok(t, key, key_sz)) return QR_ERR_ARG;
  s->read_cnt++;
  rocks_count_nothing();
  char *message = NULL;
  rocksdb_pinnableslice_t *slice =
      rocksdb_get_pinned_cf(s->db, s->get_options, s->cf[t], key, key_sz, &message);
  if (message) return read_error(s, "read", message);
  return take_value(s, t, key, key_sz, slice, buf, buf_sz);
}

/* What RocksDB says of up to GET_MANY_CNT keys. */
typedef struct {
  uint32_t cnt;
  qr_store_read_t *asked[GET_MANY_CNT];
  rocksdb_pinnableslice_t *slices[GET_MANY_CNT];
  char *messages[GET_MANY_CNT];
} answers_t;

static void ask(qr_store_t *s, enum qr_store_table t, answers_t *a) {
  const char *keys[GET_MANY_CNT];
  size_t key_szs[GET_MANY_CNT];
  for (uint32_t i = 0; i < a->cnt; i++) {
    keys[i] = a->asked[i]->key;
    key_szs[i] = a->asked[i]->key_sz;
  }
  rocksdb_batched_multi_get_cf(s->db, s->get_options, s->cf[t], a->cnt, keys, key_szs, a->slices,
                               a->messages, false);
}

/* Hands out what there is. Those that failed remain in a, if they shall be asked for again. */
static void take_answers(qr_store_t *s, enum qr_store_table t, answers_t *a, bool again) {
  uint32_t left_cnt = 0;
  for (uint32_t i = 0; i < a->cnt; i++) {
    qr_store_read_t *r = a->asked[i];
    if (!a->messages[i]) {
      r->result = take_value(s, t, r->key, r->key_sz, a->slices[i], r->buf, r->buf_sz);
    } else if (again) {
      rocksdb_free(a->messages[i]);
      a->asked[left_cnt++] = r;
    } else {
      r->result = read_error(s, "read", a->messages[i]);
    }
  }
  a->cnt = left_cnt;
}

/* At most GET_MANY_CNT at a time. */
static void get_some(qr_store_t *s, enum qr_store_table t, qr_store_read_t *reads, uint32_t cnt) {
  answers_t a = {0};
  for (uint32_t i = 0; i < cnt; i++) {
    reads[i].result = QR_ERR_ARG;
    if (qr_store_key_ok(t, reads[i].key, reads[i].key_sz)) a.asked[a.cnt++] = &reads[i];
  }
  s->read_cnt += a.cnt;
  rocks_count_nothing();
  if (!a.cnt) return;
  rocks_gather_t *g = s->io && a.cnt >= GATHER_MIN_CNT ? rocks_gather_begin(s->io) : NULL;
  ask(s, t, &a);
  bool again = g && rocks_gather_wait(g);
  take_answers(s, t, &a, again);
  if (a.cnt) {
    ask(s, t, &a);
    take_answers(s, t, &a, false);
  }
  if (g) rocks_gather_end(g);
}

void rocks_get_many(qr_store_t *s, enum qr_store_table t, qr_store_read_t *reads, uint32_t cnt) {
  for (uint32_t i = 0; i < cnt; i += GET_MANY_CNT)
    get_some(s, t, reads + i, cnt - i < GET_MANY_CNT ? cnt - i : GET_MANY_CNT);
}

int rocks_scan(qr_store_t *s, enum qr_store_table t, const void *first, size_t first_sz,
               qr_store_visit_fn fn, void *ctx) {
  if (t >= QR_STORE_TABLE_CNT) return QR_ERR_ARG;
  rocks_count_nothing();
  rocksdb_iterator_t *it =
      rocksdb_create_iterator_cf(s->db, first ? s->scan_options : s->walk_options, s->cf[t]);
  if (first) {
    rocksdb_iter_seek(it, first, first_sz);
  } else {
    rocksdb_iter_seek_to_first(it);
  }
  int err = 0;
  for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    size_t key_sz, record_sz, value_sz;
    const uint8_t *value;
    const char *key = rocksdb_iter_key(it, &key_sz), *record = rocksdb_iter_value(it, &record_sz);
    s->read_cnt++;
    if (!rocks_record_check(t, key, key_sz, record, record_sz, &value, &value_sz)) {
      err = report_corrupt(s, t, key, key_sz);
      break;
    }
    if (!fn(ctx, key, key_sz, value, value_sz)) break;
  }
  if (!err) {
    char *message = NULL;
    rocksdb_iter_get_error(it, &message);
    err = read_error(s, "scan", message);
  }
  rocksdb_iter_destroy(it);
  return err;
}
