#include "rocks.h"

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"

/* A seal of this version: a tag, and these bytes. In a seal of schema 1 stands hash bytes instead.
 */
static const uint8_t mark[QR_RECORD_SEAL_SZ - crypto_onetimeauth_BYTES] = "quarry.record.2";

static uint8_t tag_key[crypto_onetimeauth_KEYBYTES];
static pthread_once_t tag_once = PTHREAD_ONCE_INIT;

static void make_tag_key(void) {
  qr_hash_t h = qr_hash("quarry.record.key", NULL, 0);
  memcpy(tag_key, h.b, sizeof tag_key);
}

/* The table and the key are sealed too: a whole record that turns up under another key is as wrong
   as a damaged one. */
void rocks_record_seal(uint32_t table, const void *key, size_t key_sz, const void *value,
                       size_t value_sz, uint8_t seal[QR_RECORD_SEAL_SZ]) {
  crypto_onetimeauth_state st;
  uint8_t head[8];
  qr_st32(head, table);
  qr_st32(head + 4, (uint32_t)key_sz);
  pthread_once(&tag_once, make_tag_key);
  crypto_onetimeauth_init(&st, tag_key);
  crypto_onetimeauth_update(&st, head, sizeof head);
  crypto_onetimeauth_update(&st, key, key_sz);
  crypto_onetimeauth_update(&st, value, value_sz);
  crypto_onetimeauth_final(&st, seal);
  memcpy(seal + crypto_onetimeauth_BYTES, mark, sizeof mark);
}

static void seal_of_schema_1(uint32_t table, const void *key, size_t key_sz, const void *value,
                             size_t value_sz, uint8_t seal[QR_RECORD_SEAL_SZ]) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.record");
  qr_hash_add_u32(&h, table);
  qr_hash_add_u32(&h, (uint32_t)key_sz);
  qr_hash_add(&h, key, key_sz);
  qr_hash_add(&h, value, value_sz);
  qr_hash_end(&h, &out);
  memcpy(seal, out.b, QR_RECORD_SEAL_SZ);
}

bool rocks_record_check(uint32_t table, const void *key, size_t key_sz, const void *record,
                        size_t record_sz, const uint8_t **value, size_t *value_sz) {
  uint8_t want[QR_RECORD_SEAL_SZ];
  if (record_sz < sizeof want) return false;
  *value = (const uint8_t *)record + sizeof want;
  *value_sz = record_sz - sizeof want;
  rocks_record_seal(table, key, key_sz, *value, *value_sz, want);
  if (!memcmp(want, record, sizeof want)) return true;
  if (!memcmp((const uint8_t *)record + crypto_onetimeauth_BYTES, mark, sizeof mark)) return false;
  seal_of_schema_1(table, key, key_sz, *value, *value_sz, want);
  return !memcmp(want, record, sizeof want);
}

int rocks_error(const char *what, char *message) {
  if (!message) return 0;
  int err = strncmp(message, "Corruption", 10) ? QR_ERR_IO : QR_ERR_CORRUPT;
  qr_log(QR_LOG_ERROR, "store", "%s failed: %s", what, message);
  rocksdb_free(message);
  return err;
}
