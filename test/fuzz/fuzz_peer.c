/* The whole peer module against one peer that may say anything at any time on any stream, under an
   application that answers by the same input. Input: u8 how it begins (bit 0: a right handshake
   comes first; bit 1: the link takes few bytes at a time; bit 2: addresses are exchanged; bit 3: we
   offer a snapshot; bit 4: we begin with one), then records u8 op | u8 n | bytes. Ops 0-3: n (or
   64 n if op has bit 7) bytes on that stream; others drive time and the application. Each record is
   followed by one poll; beyond RECORD_MAX_CNT nothing is read, for what costs time are the polls.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "chain/snapshot.h"
#include "peer/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

#define MODEL_SZ 70000u
#define RECORD_MAX_CNT 400u
#define OFFER_SZ ((1u << 20) + 100000u)

typedef struct {
  qr_link_event_t ev[2];
  int ev_cnt;
  bool slow, alive;
  qr_hash_t block; /* last one given */
  qr_peer_id_t block_from, up;
  qr_peer_want_t want; /* last one asked */
  uint32_t refuse_cnt; /* so many callbacks say "no room" */
  uint32_t owed;       /* models */
  uint64_t sent_sz;
} world_t;

static world_t w;

static int link_connect(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                        qr_link_conn_t *out) {
  (void)l, (void)to, (void)expect, (void)out;
  return QR_ERR_FULL;
}
static void link_disconnect(qr_link_t *l, qr_link_conn_t c) { (void)l, (void)c, w.alive = false; }
static int64_t link_send(qr_link_t *l, qr_link_conn_t c, enum qr_link_class cls, const void *p,
                         size_t sz) {
  (void)l, (void)c, (void)cls;
  QR_ASSERT(p && sz);
  if (!w.alive) return QR_ERR_CLOSED;
  size_t n = w.slow && sz > 7 ? 7 : sz;
  w.sent_sz += n;
  return (int64_t)n;
}
static int link_poll(qr_link_t *l, uint64_t now_ns, qr_link_event_t *ev, int max) {
  (void)l, (void)now_ns;
  QR_ASSERT(max >= 2);
  int n = w.ev_cnt;
  memcpy(ev, w.ev, (size_t)n * sizeof *ev);
  w.ev_cnt = 0;
  return n;
}
static uint64_t link_next(qr_link_t *l) { return (void)l, UINT64_MAX; }
static void link_stats(const qr_link_t *l, qr_link_stats_t *out) {
  (void)l;
  *out = (qr_link_stats_t){0};
}

static const qr_link_ops_t ops = {.name = "fuzz",
                                  .connect = link_connect,
                                  .disconnect = link_disconnect,
                                  .send = link_send,
                                  .poll = link_poll,
                                  .next_timer = link_next,
                                  .stats = link_stats};

static bool room(void) { return !w.refuse_cnt || !w.refuse_cnt--; }

static bool on_block(void *ctx, qr_peer_id_t peer, const qr_hash_t *hash, const uint8_t *block,
                     size_t sz) {
  (void)ctx, (void)block;
  QR_ASSERT(peer == w.up && sz >= QR_HEADER_SZ && sz <= QR_BLOCK_MAX_SZ);
  w.block = *hash;
  w.block_from = peer;
  return room();
}
/* The peer that a model is for may have gone since; its bytes are right all the same. */
static bool on_model(void *ctx, qr_peer_id_t peer, const qr_hash_t *b, const qr_hash_t *r,
                     const uint8_t *m, size_t sz) {
  (void)ctx, (void)b;
  QR_ASSERT(peer && w.owed && sz <= 76501);
  qr_hash_t root = qr_merkle_root(m, sz, QR_MSG_CHUNK_SZ);
  QR_ASSERT(qr_hash_eq(&root, r));
  bool took = room();
  w.owed -= took;
  return took;
}
static void on_model_failed(void *ctx, qr_peer_id_t peer, const qr_hash_t *b, const qr_hash_t *r) {
  (void)ctx, (void)b, (void)r;
  QR_ASSERT(peer && w.owed);
  w.owed--;
}
static bool on_tx(void *ctx, qr_peer_id_t peer, const uint8_t *tx) {
  return (void)ctx, (void)tx, peer == w.up && room();
}
static bool on_want(void *ctx, const qr_peer_want_t *want) {
  (void)ctx;
  QR_ASSERT(want->peer == w.up && want->req && want->locator_cnt <= QR_MSG_LOCATOR_MAX_CNT);
  w.want = *want;
  return room();
}
static void on_up(void *ctx, qr_peer_id_t peer, const qr_peer_info_t *info) {
  (void)ctx;
  QR_ASSERT(!w.up && peer && strlen(info->agent) <= QR_MSG_AGENT_MAX_SZ);
  w.up = peer;
}
static void on_down(void *ctx, qr_peer_id_t peer, const char *reason) {
  (void)ctx;
  QR_ASSERT(peer == w.up && reason);
  w.up = 0;
}

static bool on_read(void *ctx, uint64_t offset, uint8_t *out, uint32_t sz) {
  (void)ctx;
  QR_ASSERT(sz && sz <= QR_MSG_PART_MAX_SZ && offset + sz <= OFFER_SZ);
  memset(out, (int)offset, sz);
  return room();
}

static enum qr_verdict on_header(void *ctx, const qr_header_t *parent, const qr_header_t *h) {
  (void)ctx;
  QR_ASSERT(h->height == (parent ? parent->height + 1 : 1));
  return h->version % QR_VERDICT_CNT;
}

static const qr_peer_app_t app = {on_block, on_header, on_model, on_model_failed, on_tx,
                                  on_want,  on_read,   on_up,    on_down};

static void say(qr_peers_t *p, uint64_t now, enum qr_link_class cls, const void *bytes, size_t sz) {
  uint8_t *exact = malloc(sz ? sz : 1);
  QR_ASSERT(exact);
  if (sz) memcpy(exact, bytes, sz);
  if (w.alive)
    w.ev[w.ev_cnt++] =
        (qr_link_event_t){.kind = QR_LINK_DATA, .conn = 1, .cls = cls, .data = exact, .sz = sz};
  qr_peers_poll(p, now);
  free(exact);
}

/* A snapshot of one chunk, so that an input can hold it. */
#define SNAP_SZ 100u
static uint8_t snap[SNAP_SZ];
static uint32_t chunk_cnt; /* of the snapshot that was begun */
static qr_peers_snapshot_t begun;

static bool on_begin(void *ctx, const qr_peers_snapshot_t *s, uint8_t *have) {
  (void)ctx;
  QR_ASSERT(s->payload_sz && !have[0]);
  begun = *s;
  chunk_cnt = 0;
  return room();
}

/* Right is what has its hash, and, as if the pin said so, the one snapshot that is not false. */
static int on_chunk(void *ctx, uint32_t idx, const uint8_t *bytes, uint32_t sz) {
  (void)ctx;
  QR_ASSERT(idx < qr_snapshot_chunk_cnt(begun.payload_sz) && chunk_cnt++ < 3);
  qr_hash_t leaf = qr_merkle_leaf(idx, bytes, sz);
  QR_ASSERT(qr_hash_eq(&leaf, &begun.leaves[idx]));
  if (sz != SNAP_SZ || memcmp(bytes, snap, sz) != 0) return QR_ERR_CORRUPT;
  return room() ? QR_OK : QR_ERR_IO;
}

static qr_peers_begin_t begin = {.chunk_max_cnt = 3, .begin = on_begin, .chunk = on_chunk};

static const qr_pubkey_t identity = {{2}}; /* of who comes in */

static void greet(qr_peers_t *p, uint64_t now, uint64_t features) {
  uint8_t f[300];
  qr_msg_t m = {.type = QR_MSG_HELLO,
                .hello = {.version = QR_MSG_VERSION, .height = 9, .work = qr_u256_from_u64(9)}};
  m.hello.features = features | QR_MSG_FEATURE_SNAPSHOT | QR_MSG_FEATURE_FEE;
  size_t n = qr_msg_encode(&m, f);
  n += qr_msg_encode(&(qr_msg_t){.type = QR_MSG_READY}, f + n);
  say(p, now, QR_LINK_CONTROL, f, n);
}

/* The application does something, on the last block or question it had, or on one that never was.
 */
static void act(qr_peers_t *p, uint8_t op, uint8_t n) {
  static uint8_t bulk[MODEL_SZ + 8000];
  static qr_hash_t some[8];
  qr_u256_t work = qr_u256_from_u64(n);
  uint32_t sz = 1 + n * 300u;
  static qr_hash_t roots[256]; /* of the first bytes of bulk, once each was asked for */
  static bool has_root[256];
  if ((op % 14 == 6 || op % 14 == 12) && !has_root[n]) {
    roots[n] = qr_merkle_root(bulk, sz, QR_MSG_CHUNK_SZ);
    has_root[n] = true;
  }
  switch (op % 14) {
  case 4: qr_peers_accepted(p, &w.block, n, &work); break;
  case 5:
    qr_peers_rejected(p, w.block_from, &w.block, (enum qr_verdict)(1 + n % (QR_VERDICT_CNT - 1)));
    break;
  case 6: w.owed += !qr_peers_fetch_model(p, w.block_from, &w.block, &roots[n], sz); break;
  case 12:
    if (n % 4 == 3)
      qr_peers_offer_model(p, bulk + n, bulk, sz < MODEL_SZ ? sz : MODEL_SZ);
    else
      qr_peers_has_model(p, &roots[n]);
    break;
  case 13:
    qr_peers_refused_tx(p, w.up, bulk, n & 1 ? QR_VERDICT_TX_BALANCE : QR_VERDICT_TX_SIGNATURE);
    break;
  case 7: qr_peers_set_tip(p, &w.block, n, &work, some, 1 + n % 8); break;
  case 8:
    w.refuse_cnt = n;
    qr_peers_set_fee_min(p, n);
    break;
  case 9:
    if (n & 2)
      qr_peers_return_tx(p, bulk);
    else
      qr_peers_relay_tx(p, n & 1 ? w.up : 0, bulk);
    break;
  case 10:
    if (n == 0)
      (void)qr_peers_ban_identity(p, &identity, 60000000000);
    else
      w.ev[w.ev_cnt++] = (qr_link_event_t){
          .kind = QR_LINK_WRITABLE, .conn = 1, .cls = (enum qr_link_class)(n % 4)};
    break;
  case 11:
    if (n & 1)
      qr_peers_not_found(p, w.want.peer, w.want.req);
    else if (w.want.kind == QR_MSG_WANT_BLOCK)
      qr_peers_answer_block(p, w.want.peer, w.want.req, bulk, QR_HEADER_SZ + n);
    else if (w.want.kind == QR_MSG_WANT_MODEL)
      qr_peers_answer_model(p, w.want.peer, w.want.req, bulk, 1 + n * 256u);
    else if (w.want.kind == QR_MSG_WANT_HEADERS)
      qr_peers_answer_headers(p, w.want.peer, w.want.req, bulk, n % 8);
    w.want.req = 0;
    break;
  default: break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static void *mem;
  qr_peers_cfg_t cfg = {.ops = &ops,
                        .agent = "fuzz",
                        .peer_max_cnt = 2,
                        .model_max_sz = MODEL_SZ + 8000,
                        .window_cnt = 2,
                        .self = {{1}},
                        .exchange = true,
                        .outbound_cnt = 2,
                        .own = {.ip = {[10] = 0xff, 0xff, 20, 1, 1, 1}, .port = 7788},
                        .wall_ms = 1800000000000,
                        .app = &app};
  if (!mem) {
    qr_log_init(QR_LOG_ERROR, 2);
    QR_ASSERT(qr_crypto_init() == QR_OK);
    memset(snap, 7, sizeof snap);
    cfg.begin = &begin; /* the most that is needed */
    mem = aligned_alloc(64, qr_peers_footprint(&cfg));
    QR_ASSERT(mem);
  }
  if (!sz) return 0;
  memset(&w, 0, sizeof w);
  w.alive = true;
  w.slow = data[0] & 2;
  chunk_cnt = 0;
  cfg.offers = data[0] & 8;
  cfg.begin = data[0] & 16 ? &begin : NULL;
  uint64_t now = 1000000000;
  cfg.exchange = data[0] & 4;
  qr_peers_t *p = qr_peers_init(mem, &cfg, now);
  static const qr_hash_t leaves[2];
  if (cfg.offers)
    qr_peers_offer_snapshot(p, &(qr_peers_snapshot_t){.payload_sz = OFFER_SZ, .leaves = leaves});
  w.ev[w.ev_cnt++] =
      (qr_link_event_t){.kind = QR_LINK_UP,
                        .conn = 1,
                        .inbound = true,
                        .addr = {.ip = {[10] = 0xff, 0xff, 20, 2, 2, 2}, .port = 5000},
                        .peer = identity};
  qr_peers_poll(p, now);
  if (data[0] & 1) greet(p, now, cfg.exchange ? QR_MSG_FEATURE_ADDRS : 0);
  data++, sz--;
  for (uint32_t i = 0; i < RECORD_MAX_CNT && sz >= 2; i++) {
    uint8_t op = data[0] & 0x7f, n = data[1];
    size_t n_sz = data[0] & 0x80 ? n * 64u : n;
    data += 2, sz -= 2;
    if (op < 4) {
      if (n_sz > sz) n_sz = sz;
      say(p, now += 1000000, (enum qr_link_class)op, data, n_sz);
      data += n_sz, sz -= n_sz;
    } else {
      if (op == 127)
        now += (uint64_t)n * 1000000000u; /* up to four minutes */
      else
        act(p, op, n);
      qr_peers_poll(p, now += 1000000);
    }
  }
  qr_peers_fini(p);
  return 0;
}
