#include "peer/txs.h"

_Static_assert((QR_TXS_CNT & (QR_TXS_CNT - 1)) == 0 && QR_TXS_CNT < UINT16_MAX, "places");

void qr_txs_init(qr_txs_t *t, void *mem, uint64_t salt) {
  t->entries = mem;
  t->heads = (uint16_t *)(t->entries + QR_TXS_CNT);
  t->cnt = 0;
  t->salt = salt;
  memset(t->heads, 0, QR_TXS_CNT * sizeof *t->heads);
}

static uint16_t *head_of(const qr_txs_t *t, uint64_t prefix) {
  uint64_t z = (prefix ^ t->salt) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 31)) * 0x94d049bb133111ebu;
  return &t->heads[(z >> 32) & (QR_TXS_CNT - 1)];
}

const qr_txs_entry_t *qr_txs_find(const qr_txs_t *t, uint64_t prefix) {
  for (uint16_t i = *head_of(t, prefix); i; i = t->entries[i - 1].next) {
    if (qr_ld64(t->entries[i - 1].id.b) == prefix) return &t->entries[i - 1];
  }
  return NULL;
}

const qr_txs_entry_t *qr_txs_get(const qr_txs_t *t, const qr_hash_t *id) {
  for (uint16_t i = *head_of(t, qr_ld64(id->b)); i; i = t->entries[i - 1].next) {
    if (qr_hash_eq(&t->entries[i - 1].id, id)) return &t->entries[i - 1];
  }
  return NULL;
}

static void forget(const qr_txs_t *t, uint16_t place) {
  uint16_t *at = head_of(t, qr_ld64(t->entries[place].id.b));
  while (*at != place + 1) at = &t->entries[*at - 1].next;
  *at = t->entries[place].next;
}

void qr_txs_add(qr_txs_t *t, const qr_hash_t *id, const uint8_t *tx, uint64_t now_ns) {
  if (qr_txs_get(t, id)) return;
  uint16_t place = (uint16_t)(t->cnt & (QR_TXS_CNT - 1));
  if (t->cnt >= QR_TXS_CNT) forget(t, place);
  t->cnt++;
  uint16_t *head = head_of(t, qr_ld64(id->b));
  qr_txs_entry_t *e = &t->entries[place];
  e->id = *id;
  e->at_ns = now_ns;
  e->next = *head;
  memcpy(e->tx, tx, QR_TX_SZ);
  *head = (uint16_t)(place + 1);
}
