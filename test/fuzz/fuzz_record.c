/* What may lie in a store, were its disk hostile: every decoder of a record takes any bytes, and
   what it takes encodes back to them. The first byte says which record, and whether the hash that
   it holds of itself is made right first. */
#include <stdlib.h>

#include "base/assert.h"
#include "tile/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

enum { PLACE, INDEX, EXEC, REPLAY, UNDO, STATE, TIP, HELD, MODEL_USE, KIND_CNT };
#define MEND 0x80u

static uint8_t out[QR_UNDO_RECORD_MAX_SZ];

static void check_same(const uint8_t *p, size_t sz, size_t out_sz) {
  QR_ASSERT(sz == out_sz && !memcmp(p, out, sz));
}

static void check_index(uint8_t *p, size_t sz, bool mend) {
  qr_hash_t hash;
  qr_header_t h;
  if (mend && sz == QR_INDEX_RECORD_SZ) {
    qr_header_decode(p + QR_HASH_SZ, &h);
    hash = qr_header_hash(&h);
    memcpy(p, &hash, sizeof hash);
  }
  bool ok = qr_index_decode(p, sz, &hash, &h);
  QR_ASSERT(ok || !mend || sz != QR_INDEX_RECORD_SZ);
  if (!ok) return;
  qr_index_encode(&hash, &h, out);
  check_same(p, sz, QR_INDEX_RECORD_SZ);
}

/* The first four bytes are how many actions the block has. */
static void check_replay(const uint8_t *p, size_t sz) {
  const uint8_t *states, *actions;
  if (sz < 4) return;
  uint32_t cnt = qr_ld32(p);
  p += 4, sz -= 4;
  if (!qr_replay_decode(p, sz, cnt, &states, &actions)) return;
  QR_ASSERT(states == p && actions >= p && actions + cnt == p + sz);
  if (sz <= QR_REPLAY_RECORD_MAX_SZ) check_same(p, sz, qr_replay_encode(states, actions, cnt, out));
}

static void check_undo(uint8_t *p, size_t sz, bool mend) {
  static qr_ledger_change_t changes[QR_LEDGER_CHANGE_MAX_CNT];
  for (size_t at = 0; mend && at + QR_UNDO_RECORD_SZ <= sz; at += QR_UNDO_RECORD_SZ)
    memcpy(p + at + QR_ACCOUNT_SZ, p + at, sizeof(qr_pubkey_t));
  uint32_t cnt = qr_undo_decode(p, sz, changes);
  QR_ASSERT(cnt <= QR_LEDGER_CHANGE_MAX_CNT);
  if (cnt) check_same(p, sz, qr_undo_encode(changes, cnt, out));
}

static void check_state(const uint8_t *p, size_t sz) {
  qr_account_t a;
  size_t key_sz = sz < sizeof a.pk ? sz : sizeof a.pk;
  if (!qr_state_decode(p, key_sz, p + key_sz, sz - key_sz, &a)) return;
  qr_account_encode(&a, out);
  check_same(p + key_sz, sz - key_sz, QR_ACCOUNT_SZ);
}

static void check_small(unsigned kind, const uint8_t *p, size_t sz) {
  uint64_t height;
  qr_hash_t hash;
  qr_exec_facts_t facts;
  qr_tip_record_t tip;
  qr_held_t held;
  switch (kind) {
  case PLACE:
    if (!qr_place_decode(p, sz, &height, &hash)) return;
    qr_place_encode(height, &hash, out);
    check_same(p, sz, QR_PLACE_SZ);
    break;
  case EXEC:
    if (!qr_exec_decode(p, sz, &facts)) return;
    qr_exec_encode(&facts, out);
    check_same(p, sz, QR_EXEC_RECORD_SZ);
    break;
  case TIP:
    if (!qr_tip_decode(p, sz, &tip)) return;
    qr_tip_encode(&tip, out);
    check_same(p, sz, QR_META_TIP_SZ);
    break;
  case HELD:
    if (!qr_held_decode(p, sz, &held)) return;
    QR_ASSERT(held.from && held.base < held.from);
    qr_held_encode(&held, out);
    check_same(p, sz, QR_META_HELD_SZ);
    break;
  default:
    if (!qr_model_use_decode(p, sz, &height)) return;
    qr_st64(out, height);
    check_same(p, sz, QR_MODEL_USE_SZ);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  if (!sz) return 0;
  bool mend = data[0] & MEND;
  unsigned kind = (data[0] & ~MEND) % KIND_CNT;
  uint8_t *p = malloc(sz); /* of the record's size, so that a sanitizer sees every byte beyond it */
  QR_ASSERT(p);
  memcpy(p, data + 1, --sz);
  switch (kind) {
  case INDEX: check_index(p, sz, mend); break;
  case REPLAY: check_replay(p, sz); break;
  case UNDO: check_undo(p, sz, mend); break;
  case STATE: check_state(p, sz); break;
  default: check_small(kind, p, sz);
  }
  free(p);
  return 0;
}
