#include "peer/inv.h"

static const qr_hash_t none;

void qr_inv_init(qr_inv_t *v, void *mem, uint32_t cnt, uint64_t salt) {
  v->slots = mem;
  v->hands = (uint8_t *)mem + cnt * sizeof(qr_hash_t);
  v->set_cnt = cnt / QR_INV_WAYS;
  v->salt = salt;
  qr_inv_clear(v);
}

void qr_inv_clear(qr_inv_t *v) { memset(v->slots, 0, qr_inv_footprint(v->set_cnt * QR_INV_WAYS)); }

static uint32_t set_of(const qr_inv_t *v, const qr_hash_t *h) {
  uint64_t z = (qr_ld64(h->b) ^ v->salt) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 31) ^ qr_ld64(h->b + 8)) * 0x94d049bb133111ebu;
  return (uint32_t)(z >> 32) & (v->set_cnt - 1);
}

bool qr_inv_has(const qr_inv_t *v, const qr_hash_t *h) {
  const qr_hash_t *s = v->slots + (size_t)set_of(v, h) * QR_INV_WAYS;
  if (qr_hash_eq(h, &none)) return false;
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) {
    if (qr_hash_eq(&s[i], h)) return true;
  }
  return false;
}

void qr_inv_drop(qr_inv_t *v, const qr_hash_t *h) {
  qr_hash_t *s = v->slots + (size_t)set_of(v, h) * QR_INV_WAYS;
  for (uint32_t i = 0; i < QR_INV_WAYS; i++) {
    if (qr_hash_eq(&s[i], h)) s[i] = none;
  }
}

void qr_inv_add(qr_inv_t *v, const qr_hash_t *h) {
  if (qr_inv_has(v, h)) return;
  uint32_t set = set_of(v, h);
  v->slots[(size_t)set * QR_INV_WAYS + v->hands[set]] = *h;
  v->hands[set] = (uint8_t)((v->hands[set] + 1) % QR_INV_WAYS);
}
