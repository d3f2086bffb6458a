#include "rocks.h"

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"

/* The table and the key are hashed too: a whole record that turns up under another key is as wrong
   as a damaged one. */
qr_hash_t rocks_record_hash(uint32_t table, const void *key, size_t key_sz, const void *value,
                            size_t value_sz) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.record");
  qr_hash_add_u32(&h, table);
  qr_hash_add_u32(&h, (uint32_t)key_sz);
  qr_hash_add(&h, key, key_sz);
  qr_hash_add(&h, value, value_sz);
  qr_hash_end(&h, &out);
  return out;
}

bool rocks_record_check(uint32_t table, const void *key, size_t key_sz, const void *record,
                        size_t record_sz, const uint8_t **value, size_t *value_sz) {
  if (record_sz < QR_HASH_SZ) return false;
  *value = (const uint8_t *)record + QR_HASH_SZ;
  *value_sz = record_sz - QR_HASH_SZ;
  qr_hash_t want = rocks_record_hash(table, key, key_sz, *value, *value_sz);
  return !memcmp(want.b, record, QR_HASH_SZ);
}

int rocks_error(const char *what, char *message) {
  if (!message) return 0;
  int err = strncmp(message, "Corruption", 10) ? QR_ERR_IO : QR_ERR_CORRUPT;
  qr_log(QR_LOG_ERROR, "store", "%s failed: %s", what, message);
  rocksdb_free(message);
  return err;
}
