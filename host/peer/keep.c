/* What is kept over a restart, as bytes: u8[8] "qrpeers" and version, u8[32] genesis | book
   (book_image.c) | u8 n, n of (ip, u16 port, identity) to dial first | u16 n, n of (u8 flags, 32
   bytes, u32 seconds) bans | 32 bytes hash of all before. */
#include "peer/internal.h"

#include <stdio.h>

#define MAGIC "qrpeers\1"
#define MAGIC_SZ 8u
#define HEAD_SZ (MAGIC_SZ + QR_HASH_SZ)
#define ANCHOR_SZ (16u + 2 + QR_PUBKEY_SZ)
#define BAN_SZ (1u + 32 + 4)
#define DOMAIN "quarry.peers.image"

size_t qr_peers_image_max_sz(void) {
  return HEAD_SZ + qr_book_image_max_sz() + 1 + QR_PEER_ANCHOR_CNT * ANCHOR_SZ + 2 +
         QR_PEER_BAN_CNT * BAN_SZ + QR_HASH_SZ;
}

static uint8_t *put_anchors(const qr_peers_t *p, uint8_t *out) {
  qr_peer_anchor_t a[QR_PEER_ANCHOR_CNT];
  uint32_t cnt = qr_peer_outbound_anchors(p, a);
  *out++ = (uint8_t)cnt;
  for (uint32_t i = 0; i < cnt; i++, out += ANCHOR_SZ) {
    memcpy(out, a[i].addr.ip, 16);
    qr_st16(out + 16, a[i].addr.port);
    memcpy(out + 18, a[i].pk.b, QR_PUBKEY_SZ);
  }
  return out;
}

static uint8_t *put_bans(const qr_peers_t *p, uint8_t *out) {
  uint8_t *head = out;
  uint16_t cnt = 0;
  out += 2;
  for (uint32_t i = 0; i < QR_PEER_BAN_CNT; i++) {
    const qr_peer_ban_t *b = &p->bans[i];
    if (b->until_ns <= p->now_ns) continue;
    uint64_t left = (b->until_ns - p->now_ns) / QR_PEER_SEC;
    out[0] = (uint8_t)(b->by_addr | b->by_operator << 1);
    memcpy(out + 1, b->key, sizeof b->key);
    qr_st32(out + 33, left > UINT32_MAX ? UINT32_MAX : (uint32_t)left);
    out += BAN_SZ;
    cnt++;
  }
  qr_st16(head, cnt);
  return out;
}

size_t qr_peers_export(const qr_peers_t *p, uint8_t *out) {
  if (!p->book) return 0;
  memcpy(out, MAGIC, MAGIC_SZ);
  memcpy(out + MAGIC_SZ, p->cfg.genesis.b, QR_HASH_SZ);
  uint8_t *at = out + HEAD_SZ;
  at += qr_book_export(p->book, at);
  at = put_bans(p, put_anchors(p, at));
  qr_hash_t h = qr_hash(DOMAIN, out, (size_t)(at - out));
  memcpy(at, h.b, sizeof h.b);
  return (size_t)(at - out) + sizeof h.b;
}

static bool anchors_ok(const uint8_t *p, size_t sz) {
  if (!sz || p[0] > QR_PEER_ANCHOR_CNT || sz - 1 < p[0] * (size_t)ANCHOR_SZ) return false;
  for (uint32_t i = 0; i < p[0]; i++) {
    qr_link_addr_t a = {.port = qr_ld16(p + 1 + i * ANCHOR_SZ + 16)};
    memcpy(a.ip, p + 1 + i * ANCHOR_SZ, 16);
    if (qr_netaddr_scope(&a) == QR_NETADDR_NOWHERE) return false;
  }
  return true;
}

/* Fits exactly, and the operator's are no more than he may have. */
static bool bans_ok(const uint8_t *p, size_t sz) {
  if (sz < 2 || qr_ld16(p) > QR_PEER_BAN_CNT || sz != 2 + qr_ld16(p) * (size_t)BAN_SZ) return false;
  uint32_t operators = 0;
  for (uint32_t i = 0; i < qr_ld16(p); i++) {
    uint8_t flags = p[2 + i * BAN_SZ];
    if (flags > 3) return false;
    operators += flags >> 1;
  }
  return operators <= QR_PEER_BAN_OPERATOR_MAX_CNT;
}

static void take_anchors(qr_peers_t *p, const uint8_t *at) {
  for (uint32_t i = 0; i < at[0]; i++) {
    const uint8_t *from = at + 1 + i * ANCHOR_SZ;
    qr_peer_anchor_t *a = &p->addrs.anchors[i];
    memcpy(a->addr.ip, from, 16);
    a->addr.port = qr_ld16(from + 16);
    memcpy(a->pk.b, from + 18, QR_PUBKEY_SZ);
  }
}

static void take_bans(qr_peers_t *p, const uint8_t *at) {
  for (uint32_t i = 0; i < qr_ld16(at); i++) {
    const uint8_t *from = at + 2 + i * BAN_SZ;
    uint64_t until_ns = p->now_ns + qr_ld32(from + 33) * QR_PEER_SEC;
    if (!qr_peer_ban_key(p, from[0] & 1, from[0] >> 1, from + 1, until_ns)) return;
  }
}

static int refuse(int code, char *why, size_t why_sz, const char *text) {
  snprintf(why, why_sz, "%s", text);
  return code;
}

int qr_peers_import(qr_peers_t *p, const uint8_t *image, size_t sz, char *why, size_t why_sz) {
  QR_ASSERT(p->book);
  if (sz < MAGIC_SZ || memcmp(image, MAGIC, MAGIC_SZ - 1))
    return refuse(QR_ERR_FORMAT, why, why_sz, "it is no address book");
  if (image[MAGIC_SZ - 1] != MAGIC[MAGIC_SZ - 1])
    return refuse(QR_ERR_UNSUPPORTED, why, why_sz, "it is of another version");
  if (sz < HEAD_SZ + QR_HASH_SZ) return refuse(QR_ERR_FORMAT, why, why_sz, "it is cut short");
  if (memcmp(image + MAGIC_SZ, p->cfg.genesis.b, QR_HASH_SZ))
    return refuse(QR_ERR_UNSUPPORTED, why, why_sz, "it is of another chain");
  sz -= QR_HASH_SZ;
  qr_hash_t h = qr_hash(DOMAIN, image, sz);
  if (memcmp(h.b, image + sz, sizeof h.b))
    return refuse(QR_ERR_FORMAT, why, why_sz, "it is damaged (its hash differs)");
  size_t used, at = HEAD_SZ;
  bool ok = qr_book_import(p->book, image + at, sz - at, qr_peer_wall_s(p), &used);
  const uint8_t *anchors = image + at + used;
  ok = ok && anchors_ok(anchors, sz - at - used);
  at += used + (ok ? 1 + anchors[0] * (size_t)ANCHOR_SZ : 0);
  if (!ok || !bans_ok(image + at, sz - at)) {
    qr_book_init(p->book, p->cfg.book_key);
    return refuse(QR_ERR_FORMAT, why, why_sz, "it says what no node writes");
  }
  take_anchors(p, anchors);
  take_bans(p, image + at);
  return QR_OK;
}
