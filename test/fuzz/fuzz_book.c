/* The address book and the file around it, as a hostile disk would have them. The input is taken
   for a book's image; what is accepted must come out as it went in, and be a book that holds what
   is done to it. Then it is taken for the inside of a node's file, under a right head and a right
   hash. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "peer/book.h"
#include "peer/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#define NOW 1800000000u
#define HEAD_SZ 40u

static const qr_link_ops_t no_link;
static const qr_peer_app_t no_app;

static qr_link_addr_t addr(uint32_t i) {
  qr_link_addr_t a = {.ip = {[10] = 0xff, 0xff, (uint8_t)(20 + i % 50), (uint8_t)i, 1, 1},
                      .port = 7788};
  return a;
}

static void use(qr_book_t *b) {
  static qr_book_item_t out[100];
  qr_book_item_t item;
  qr_pubkey_t pk = {{1}};
  for (uint32_t i = 0; i < 40; i++) {
    qr_link_addr_t a = addr(i), from = addr(i / 3);
    qr_book_add(b, &a, &pk, NOW, &from, NOW);
    if (i % 3 == 0) qr_book_dialed(b, &a, NOW);
    if (i % 5 == 0) qr_book_met(b, &a, &pk, NOW);
    if (i % 7 == 0) qr_book_forget(b, &a);
    /* Of a book of few a pick is many steps. */
    if (i % 8 == 7 && qr_book_pick(b, i & 8, NOW, &item)) qr_book_dialed(b, &item.addr, NOW);
    if (qr_book_pick_doubted(b, NOW, &item)) qr_book_met(b, &item.addr, &item.pk, NOW);
  }
  qr_link_addr_t to = addr(1);
  QR_ASSERT(qr_book_sample(b, &to, NOW, out, 100) <= 100);
}

static void as_book(const uint8_t *data, size_t sz) {
  static qr_book_t *b;
  static uint8_t *again;
  static const uint8_t key[QR_BOOK_KEY_SZ] = {9};
  if (!b) b = malloc(qr_book_footprint());
  if (!again) again = malloc(qr_book_image_max_sz());
  QR_ASSERT(b && again);
  qr_book_init(b, key);
  size_t used;
  if (!qr_book_import(b, data, sz, NOW, &used)) {
    qr_book_counts_t c;
    qr_book_counts(b, &c);
    QR_ASSERT(!c.new_cnt && !c.tried_cnt && !used);
    return;
  }
  QR_ASSERT(used <= sz && qr_book_export(b, again) == used);
  use(b);
  size_t n = qr_book_export(b, again);
  QR_ASSERT(n <= qr_book_image_max_sz() && qr_book_import(b, again, n, NOW, &used) && used == n);
}

static void as_file(const uint8_t *data, size_t sz) {
  static void *mem;
  static uint8_t *image;
  char why[128] = "";
  qr_peers_cfg_t cfg = {.ops = &no_link,
                        .agent = "fuzz",
                        .peer_max_cnt = 1,
                        .model_max_sz = 1,
                        .window_cnt = 1,
                        .exchange = true,
                        .wall_ms = NOW * 1000ull,
                        .app = &no_app};
  if (!mem) mem = aligned_alloc(64, qr_align_up(qr_peers_footprint(&cfg), 64));
  image = malloc(HEAD_SZ + sz + QR_HASH_SZ);
  QR_ASSERT(mem && image);
  memset(image, 0, HEAD_SZ);
  memcpy(image, "qrpeers\1", 8);
  memcpy(image + HEAD_SZ, data, sz);
  qr_hash_t h = qr_hash("quarry.peers.image", image, HEAD_SZ + sz);
  memcpy(image + HEAD_SZ + sz, h.b, sizeof h.b);
  qr_peers_t *p = qr_peers_init(mem, &cfg, 1000000000);
  if (!qr_peers_import(p, image, HEAD_SZ + sz + QR_HASH_SZ, why, sizeof why)) {
    static uint8_t *out;
    if (!out) out = malloc(qr_peers_image_max_sz());
    QR_ASSERT(out && qr_peers_export(p, out) <= qr_peers_image_max_sz());
  } else
    QR_ASSERT(*why);
  free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static bool ready;
  if (!ready) {
    qr_log_init(QR_LOG_ERROR, 2);
    QR_ASSERT(qr_crypto_init() == QR_OK);
    ready = true;
  }
  if (!sz) return 0;
  uint8_t *exact = malloc(sz);
  QR_ASSERT(exact);
  memcpy(exact, data, sz);
  as_book(exact, sz);
  as_file(exact, sz);
  free(exact);
  return 0;
}
