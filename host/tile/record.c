#include "tile/record.h"

void qr_height_key(uint64_t height, uint8_t out[QR_HEIGHT_KEY_SZ]) {
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)(height >> (56 - 8 * i));
}

uint64_t qr_height_of(const uint8_t key[QR_HEIGHT_KEY_SZ]) {
  uint64_t height = 0;
  for (int i = 0; i < 8; i++) height = height << 8 | key[i];
  return height;
}

void qr_place_encode(uint64_t height, const qr_hash_t *hash, uint8_t out[QR_PLACE_SZ]) {
  qr_height_key(height, out);
  memcpy(out + QR_HEIGHT_KEY_SZ, hash, QR_HASH_SZ);
}

bool qr_place_decode(const void *key, size_t sz, uint64_t *height, qr_hash_t *hash) {
  if (sz != QR_PLACE_SZ) return false;
  *height = qr_height_of(key);
  memcpy(hash, (const uint8_t *)key + QR_HEIGHT_KEY_SZ, QR_HASH_SZ);
  return true;
}

void qr_index_encode(const qr_hash_t *hash, const qr_header_t *h, uint8_t out[QR_INDEX_RECORD_SZ]) {
  memcpy(out, hash, QR_HASH_SZ);
  qr_header_encode(h, out + QR_HASH_SZ);
}

bool qr_index_decode(const void *value, size_t sz, qr_hash_t *hash, qr_header_t *h) {
  if (sz != QR_INDEX_RECORD_SZ) return false;
  memcpy(hash, value, QR_HASH_SZ);
  qr_header_decode((const uint8_t *)value + QR_HASH_SZ, h);
  qr_hash_t own = qr_header_hash(h);
  return qr_hash_eq(&own, hash);
}

void qr_exec_encode(const qr_exec_facts_t *f, uint8_t out[QR_EXEC_RECORD_SZ]) {
  qr_st32(out, f->task);
  qr_st64(out + 4, f->td_abs_sum);
  out[12] = f->eligible;
  qr_st64(out + 13, (uint64_t)f->model_return);
  qr_st64(out + 21, (uint64_t)f->rule_return);
}

bool qr_exec_decode(const void *value, size_t sz, qr_exec_facts_t *f) {
  const uint8_t *in = value;
  if (sz != QR_EXEC_RECORD_SZ || in[12] > 1) return false;
  *f = (qr_exec_facts_t){.task = qr_ld32(in),
                         .td_abs_sum = qr_ld64(in + 4),
                         .eligible = in[12],
                         .model_return = (int64_t)qr_ld64(in + 13),
                         .rule_return = (int64_t)qr_ld64(in + 21)};
  return true;
}

size_t qr_replay_encode(const uint8_t *states, const uint8_t *actions, uint32_t action_cnt,
                        uint8_t out[QR_REPLAY_RECORD_MAX_SZ]) {
  memcpy(out, states, QR_REPLAY_STATES_SZ);
  memcpy(out + QR_REPLAY_STATES_SZ, actions, action_cnt);
  return QR_REPLAY_STATES_SZ + action_cnt;
}

bool qr_replay_decode(const void *value, size_t sz, uint32_t action_cnt, const uint8_t **states,
                      const uint8_t **actions) {
  if (sz != (size_t)QR_REPLAY_STATES_SZ + action_cnt) return false;
  *states = value;
  *actions = *states + QR_REPLAY_STATES_SZ;
  return true;
}

size_t qr_undo_encode(const qr_ledger_change_t *c, uint32_t cnt, uint8_t *out) {
  for (uint32_t i = 0; i < cnt; i++) {
    qr_account_encode(&c[i].before, out + (size_t)i * QR_UNDO_RECORD_SZ);
    qr_account_encode(&c[i].after, out + (size_t)i * QR_UNDO_RECORD_SZ + QR_ACCOUNT_SZ);
  }
  return (size_t)cnt * QR_UNDO_RECORD_SZ;
}

uint32_t qr_undo_decode(const void *value, size_t sz, qr_ledger_change_t *out) {
  const uint8_t *in = value;
  if (!sz || sz > QR_UNDO_RECORD_MAX_SZ || sz % QR_UNDO_RECORD_SZ) return 0;
  uint32_t cnt = (uint32_t)(sz / QR_UNDO_RECORD_SZ);
  for (uint32_t i = 0; i < cnt; i++) {
    qr_account_decode(in + (size_t)i * QR_UNDO_RECORD_SZ, &out[i].before);
    qr_account_decode(in + (size_t)i * QR_UNDO_RECORD_SZ + QR_ACCOUNT_SZ, &out[i].after);
    if (!qr_pubkey_eq(&out[i].before.pk, &out[i].after.pk)) return 0;
  }
  return cnt;
}

bool qr_state_decode(const void *key, size_t key_sz, const void *value, size_t sz,
                     qr_account_t *a) {
  if (key_sz != sizeof a->pk || sz != QR_ACCOUNT_SZ) return false;
  qr_account_decode(value, a);
  return !memcmp(&a->pk, key, key_sz);
}

void qr_model_use_key(const qr_hash_t *root, uint8_t out[QR_MODEL_USE_KEY_SZ]) {
  memcpy(out, root, QR_HASH_SZ);
  out[QR_HASH_SZ] = 0;
}

bool qr_model_use_decode(const void *value, size_t sz, uint64_t *height) {
  if (sz != QR_MODEL_USE_SZ) return false;
  *height = qr_ld64(value);
  return true;
}

void qr_tip_encode(const qr_tip_record_t *t, uint8_t out[QR_META_TIP_SZ]) {
  memcpy(out, &t->hash, QR_HASH_SZ);
  qr_st64(out + 32, t->height);
  memcpy(out + 40, &t->state_root, QR_HASH_SZ);
}

bool qr_tip_decode(const void *value, size_t sz, qr_tip_record_t *t) {
  const uint8_t *in = value;
  if (sz != QR_META_TIP_SZ) return false;
  memcpy(&t->hash, in, QR_HASH_SZ);
  t->height = qr_ld64(in + 32);
  memcpy(&t->state_root, in + 40, QR_HASH_SZ);
  return true;
}

void qr_held_encode(const qr_held_t *h, uint8_t out[QR_META_HELD_SZ]) {
  qr_st64(out, h->from);
  qr_st64(out + 8, h->base);
}

bool qr_held_decode(const void *value, size_t sz, qr_held_t *h) {
  if (sz != QR_META_HELD_SZ) return false;
  h->from = qr_ld64(value);
  h->base = qr_ld64((const uint8_t *)value + 8);
  return h->from && h->base < h->from;
}
