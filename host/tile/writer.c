#include "tile/writer.h"

#include <stdlib.h>
#include <time.h>

#include "base/err.h"

#define WAIT_NS 200000L
#define TAG 1u

static int add(qr_writer_t *w, const qr_store_op_t *op) {
  size_t value_sz = op->erase ? 0 : op->value_sz;
  if (w->op_cnt == w->op_cap) {
    uint32_t cap = w->op_cap ? 2 * w->op_cap : 256;
    qr_store_op_t *grown = realloc(w->ops, cap * sizeof *grown);
    if (!grown) return QR_ERR_NOMEM;
    w->ops = grown;
    w->op_cap = cap;
  }
  if (w->sz + op->key_sz + value_sz > w->cap) {
    size_t cap = 2 * (w->cap + op->key_sz + value_sz);
    uint8_t *grown = realloc(w->bytes, cap);
    if (!grown) return QR_ERR_NOMEM;
    w->bytes = grown;
    w->cap = cap;
  }
  memcpy(w->bytes + w->sz, op->key, op->key_sz);
  if (value_sz) memcpy(w->bytes + w->sz + op->key_sz, op->value, value_sz);
  w->sz += op->key_sz + value_sz;
  w->ops[w->op_cnt] = *op;
  w->ops[w->op_cnt++].value_sz = value_sz;
  return QR_OK;
}

int qr_writer_put(qr_writer_t *w, enum qr_store_table t, const void *key, size_t key_sz,
                  const void *value, size_t sz) {
  return add(w, &(qr_store_op_t){
                    .table = t, .key = key, .key_sz = key_sz, .value = value, .value_sz = sz});
}

int qr_writer_erase(qr_writer_t *w, enum qr_store_table t, const void *key, size_t key_sz) {
  return add(w, &(qr_store_op_t){.table = t, .erase = true, .key = key, .key_sz = key_sz});
}

const uint8_t *qr_writer_find(const qr_writer_t *w, enum qr_store_table t, const void *key,
                              size_t key_sz, size_t *sz) {
  const uint8_t *found = NULL, *at = w->bytes;
  for (uint32_t i = 0; i < w->op_cnt; i++) {
    const qr_store_op_t *op = &w->ops[i];
    if (op->table == t && op->key_sz == key_sz && !memcmp(at, key, key_sz)) {
      found = op->erase ? NULL : at + key_sz;
      *sz = op->value_sz;
    }
    at += op->key_sz + op->value_sz;
  }
  return found;
}

int qr_writer_commit(qr_writer_t *w) {
  const uint8_t *at = w->bytes;
  qr_store_done_t done = {0};
  if (!w->op_cnt) return QR_OK;
  for (uint32_t i = 0; i < w->op_cnt; i++) {
    qr_store_op_t *op = &w->ops[i];
    op->key = at;
    op->value = at + op->key_sz;
    at += op->key_sz + op->value_sz;
  }
  int err = w->store_ops->commit(w->store, TAG, w->ops, w->op_cnt);
  w->op_cnt = 0;
  w->sz = 0;
  while (!err && !w->store_ops->poll(w->store, &done, 1)) {
    struct timespec ts = {0, WAIT_NS};
    nanosleep(&ts, NULL);
  }
  return err ? err : done.err;
}

void qr_writer_fini(qr_writer_t *w) {
  free(w->ops);
  free(w->bytes);
  w->ops = NULL;
  w->bytes = NULL;
}
