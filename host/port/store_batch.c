#include "port/store_batch.h"

#include <stdlib.h>

#include "base/err.h"

bool qr_store_key_ok(uint32_t table, const void *key, size_t key_sz) {
  return table < QR_STORE_TABLE_CNT && key && key_sz && key_sz <= QR_STORE_KEY_MAX_SZ;
}

const char *qr_store_table_name(uint32_t table) {
  static const char *const names[QR_STORE_TABLE_CNT] = {"block", "model", "exec", "index",
                                                        "state", "undo",  "meta", "replay"};
  return table < QR_STORE_TABLE_CNT ? names[table] : "unknown";
}

static bool op_ok(const qr_store_op_t *op) {
  if (!qr_store_key_ok(op->table, op->key, op->key_sz)) return false;
  return op->erase || (op->value_sz <= QR_STORE_VALUE_MAX_SZ && (op->value || !op->value_sz));
}

int64_t qr_store_batch_size(const qr_store_op_t *ops, uint32_t op_cnt) {
  int64_t byte_sz = 0;
  for (uint32_t i = 0; i < op_cnt; i++) {
    if (!op_ok(&ops[i])) return QR_ERR_ARG;
    byte_sz += (int64_t)(ops[i].key_sz + (ops[i].erase ? 0 : ops[i].value_sz));
  }
  return byte_sz;
}

qr_store_batch_t *qr_store_batch_copy(const qr_store_op_t *ops, uint32_t op_cnt, size_t byte_sz) {
  qr_store_batch_t *b = malloc(sizeof *b + op_cnt * sizeof b->ops[0] + byte_sz);
  if (!b) return NULL;
  b->byte_sz = byte_sz;
  b->op_cnt = op_cnt;
  uint8_t *at = (uint8_t *)(b->ops + op_cnt);
  for (uint32_t i = 0; i < op_cnt; i++) {
    qr_store_op_t *op = &b->ops[i];
    *op = ops[i];
    op->key = memcpy(at, ops[i].key, op->key_sz);
    at += op->key_sz;
    if (op->erase) op->value_sz = 0;
    op->value = at;
    if (op->value_sz) memcpy(at, ops[i].value, op->value_sz);
    at += op->value_sz;
  }
  return b;
}
