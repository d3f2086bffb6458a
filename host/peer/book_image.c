/* The address book as bytes, and back. */
#include "peer/book_int.h"

#define HEAD_SZ (QR_BOOK_KEY_SZ + 4u)
#define FIXED_SZ (16u + 2 + QR_PUBKEY_SZ + 4 + 4 + 4 + 1 + 1)

size_t qr_book_image_max_sz(void) {
  return HEAD_SZ + QR_BOOK_NEW_CNT * (FIXED_SZ + 1) + QR_BOOK_TRIED_CNT * FIXED_SZ;
}

size_t qr_book_export(const qr_book_t *b, uint8_t *out) {
  uint8_t *p = out + HEAD_SZ;
  memcpy(out, b->key, sizeof b->key);
  qr_st32(out + QR_BOOK_KEY_SZ, b->new_cnt + b->tried_cnt);
  for (uint32_t i = 0; i < b->entry_cnt; i++) {
    const qr_book_entry_t *e = &b->entries[i];
    if (!e->place_cnt) continue;
    memcpy(p, e->addr.ip, 16);
    qr_st16(p + 16, e->addr.port);
    memcpy(p + 18, e->pk.b, QR_PUBKEY_SZ);
    qr_st32(p + 50, e->heard);
    qr_st32(p + 54, e->met);
    qr_st32(p + 58, e->dialed);
    p[62] = e->fail_cnt;
    p[63] = e->tried ? 0 : e->place_cnt;
    p += FIXED_SZ;
    for (uint8_t k = 0; !e->tried && k < e->place_cnt; k++)
      *p++ = (uint8_t)(e->places[k] / QR_BOOK_BUCKET_SZ);
  }
  return (size_t)(p - out);
}

static uint32_t at_most(uint32_t v, uint32_t now) { return v > now ? now : v; }

/* One address, if its fields can be true and its places are free. Returns its bytes, 0 if not. */
static size_t take(qr_book_t *b, const uint8_t *p, size_t sz, uint32_t now) {
  if (sz < FIXED_SZ || sz - FIXED_SZ < p[63]) return 0;
  qr_link_addr_t addr = {.port = qr_ld16(p + 16)};
  memcpy(addr.ip, p, 16);
  uint8_t place_cnt = p[63];
  bool tried = !place_cnt;
  if (place_cnt > QR_BOOK_PLACE_MAX_CNT || qr_netaddr_scope(&addr) == QR_NETADDR_NOWHERE ||
      (tried && !qr_ld32(p + 54)) || qr_book_get(b, &addr))
    return 0;
  uint16_t places[QR_BOOK_PLACE_MAX_CNT] = {qr_book_tried_place(b, &addr)};
  for (uint8_t k = 0; k < place_cnt; k++)
    places[k] = qr_book_place_in(b, false, p[FIXED_SZ + k], &addr);
  qr_book_entry_t *e = NULL;
  for (uint8_t k = 0; k < (tried ? 1 : place_cnt); k++) {
    if ((tried ? b->tried : b->fresh)[places[k]] != QR_BOOK_NONE) return 0;
    if (!e) e = qr_book_new_entry(b, &addr);
    qr_book_take_place(b, e, tried, places[k]);
  }
  memcpy(e->pk.b, p + 18, QR_PUBKEY_SZ);
  e->heard = at_most(qr_ld32(p + 50), now);
  e->met = at_most(qr_ld32(p + 54), now);
  e->dialed = at_most(qr_ld32(p + 58), now);
  e->fail_cnt = p[62];
  return FIXED_SZ + place_cnt;
}

bool qr_book_import(qr_book_t *b, const uint8_t *p, size_t sz, uint32_t now, size_t *used) {
  uint8_t own[QR_BOOK_KEY_SZ];
  memcpy(own, b->key, sizeof own);
  *used = 0;
  bool ok = sz >= HEAD_SZ && qr_ld32(p + QR_BOOK_KEY_SZ) <= QR_BOOK_MAX_CNT;
  if (ok) qr_book_init(b, p);
  size_t at = HEAD_SZ;
  for (uint32_t i = 0; ok && i < qr_ld32(p + QR_BOOK_KEY_SZ); i++) {
    size_t n = take(b, p + at, sz - at, now);
    at += n;
    ok = n;
  }
  if (!ok) {
    qr_book_init(b, own);
    return false;
  }
  *used = at;
  return true;
}
