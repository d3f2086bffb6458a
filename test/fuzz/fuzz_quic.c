/* Datagrams as they come to the QUIC endpoint: from strangers, and between two endpoints whose line
   the input has in hand. Input: records u8 op | u8 n | bytes; an op is its low four bits. Nobody
   but the other endpoint has a key, so nobody else may ever seem to be connected; and when all were
   silent for long, nothing is left of anybody. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "crypto/hash.h"
#include "drivers/link/quic/quic_conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

enum {
  RAW,      /* n bytes to the server; bit 7: made up to the size that a client's first ones have;
               bit 6: from the client's address, else a stranger's */
  RAW_BACK, /* the same to the client */
  CALL,     /* the client calls the server */
  TURN,     /* both poll; n / 4 ms pass */
  FLIP,     /* of the last datagram on either line a byte, two bytes of input say which and how */
  CUT,      /* it loses n bytes */
  LOSE,     /* it never comes */
  AGAIN,    /* the one that came last comes again */
  MOVE,     /* the client is at address n from now on */
  SEND,     /* the client sends n bytes; with bit 7 the server does */
  HANG_UP,  /* the client does; with bit 7 the server */
  WAIT      /* n * 100 ms pass */
};
#define RECORD_MAX_CNT 60u
#define LINE_CNT 16u
#define MS UINT64_C(1000000)
#define FIRST_SZ 1200u

typedef struct {
  uint8_t p[QR_QUIC_DATAGRAM_MAX_SZ];
  size_t sz;
} datagram_t;

typedef struct {
  qr_key_t key;
  qr_link_addr_t addr;
  qr_quic_t *quic;
  qr_link_conn_t conn;
  uint8_t room[QR_QUIC_DATAGRAM_MAX_SZ];
  datagram_t line[LINE_CNT], last; /* on the way to it, oldest first; the one that came last */
  uint32_t line_cnt;
} end_t;

enum { CLIENT, SERVER };
static end_t ends[2];
static uint64_t now;

static uint8_t *out_room(void *ctx) { return ((end_t *)ctx)->room; }

static void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  end_t *from = ctx, *other = &ends[from == &ends[CLIENT]];
  QR_ASSERT(sz <= sizeof from->room && ecn < 4);
  if (!sz || other->line_cnt == LINE_CNT || memcmp(to, &other->addr, sizeof *to)) return;
  datagram_t *d = &other->line[other->line_cnt++];
  d->sz = sz;
  memcpy(d->p, from->room, sz);
}

static bool out_reachable(void *ctx, const qr_link_addr_t *to) { return (void)ctx, (void)to, true; }

#define STRANGER 9
static void out_heard(void *ctx, const qr_link_addr_t *from) {
  (void)ctx;
  QR_ASSERT(from->ip[15] != STRANGER);
}

static void put(end_t *to, const qr_link_addr_t *from, const uint8_t *p, size_t sz) {
  uint8_t *exact = malloc(sz ? sz : 1);
  QR_ASSERT(exact);
  if (sz) memcpy(exact, p, sz);
  qr_quic_input(to->quic, from, 0, exact, sz);
  free(exact);
}

static void poll_end(end_t *e) {
  qr_link_event_t ev[8];
  const end_t *other = &ends[e == &ends[CLIENT]];
  qr_quic_begin(e->quic, now);
  for (uint32_t i = 0; i < e->line_cnt; i++) put(e, &other->addr, e->line[i].p, e->line[i].sz);
  if (e->line_cnt) e->last = e->line[e->line_cnt - 1];
  e->line_cnt = 0;
  qr_quic_run(e->quic);
  int n = qr_quic_events(e->quic, ev, 8);
  for (int i = 0; i < n; i++) {
    QR_ASSERT(ev[i].conn && (ev[i].kind != QR_LINK_DATA || (ev[i].data && ev[i].sz)));
    if (ev[i].kind != QR_LINK_UP) continue;
    QR_ASSERT(qr_pubkey_eq(&ev[i].peer, &other->key.pk));
    e->conn = ev[i].conn;
  }
  qr_quic_info_t info[4];
  uint32_t up_cnt = qr_quic_list(e->quic, info, 4);
  for (uint32_t i = 0; i < up_cnt; i++)
    QR_ASSERT(qr_pubkey_eq(&info[i].peer, &other->key.pk) && info[i].inbound == (other < e));
  (void)qr_quic_next_timer(e->quic);
}

static void turn(uint64_t ns) {
  poll_end(&ends[SERVER]);
  poll_end(&ends[CLIENT]);
  now += ns;
}

static void open_end(int i) {
  end_t *e = &ends[i];
  uint8_t seed[32] = {(uint8_t)(i + 1)};
  memset(e, 0, sizeof *e);
  qr_key_from_seed(seed, &e->key);
  e->addr = (qr_link_addr_t){.ip = {[10] = 0xff, 0xff, 10, 80, 0, (uint8_t)(i + 1)}, .port = 4100};
  qr_quic_cfg_t cfg = {.identity = &e->key,
                       .local = e->addr,
                       .conn_max_cnt = 3,
                       .send_buf_sz = 16384,
                       .window_sz = 16384,
                       .idle_ns = 3000 * MS,
                       .handshake_ns = 2000 * MS,
                       .datagram_max_sz = QR_QUIC_DATAGRAM_MAX_SZ,
                       .retry_cnt = 1,
                       .out = {e, out_room, out_commit, out_reachable, out_heard}};
  QR_ASSERT(qr_quic_new(&cfg, &e->quic) == QR_OK);
}

static void close_end(end_t *e) {
  QR_ASSERT(!e->quic->half_open_cnt && !e->quic->cids.cnt);
  for (uint32_t i = 0; i < e->quic->cfg.conn_max_cnt; i++)
    QR_ASSERT(!e->quic->conns[i].conn && !e->quic->conns[i].tls);
  qr_quic_free(e->quic);
}

static void raw(uint8_t op, const uint8_t *p, size_t sz) {
  uint8_t first[FIRST_SZ] = {0};
  end_t *to = &ends[op & 1 ? CLIENT : SERVER];
  qr_link_addr_t stranger = {.ip = {[10] = 0xff, 0xff, 10, 80, 0, STRANGER}, .port = 4100};
  memcpy(first, p, sz < sizeof first ? sz : sizeof first);
  qr_quic_begin(to->quic, now);
  put(to, op & 64 ? &ends[!(op & 1)].addr : &stranger, first, op & 128 ? FIRST_SZ : sz);
}

/* What is done to the newest datagram on a line. */
static void damage(uint8_t op, uint8_t n, const uint8_t *p, size_t sz) {
  end_t *to = &ends[ends[SERVER].line_cnt ? SERVER : CLIENT];
  if (!to->line_cnt) return;
  datagram_t *d = &to->line[to->line_cnt - 1];
  if (op == FLIP && sz >= 2 && d->sz)
    d->p[(p[0] | (p[1] & 1u) << 8) % d->sz] ^= (uint8_t)(n ? n : 1);
  if (op == CUT) d->sz -= n < d->sz ? n : d->sz;
  if (op == LOSE) to->line_cnt--;
}

static void act(uint8_t op, uint8_t n, const uint8_t *p, size_t sz) {
  static const uint8_t bulk[256 * 64];
  end_t *e = &ends[op & 128 ? SERVER : CLIENT];
  switch (op & 15) {
  case RAW:
  case RAW_BACK: raw(op, p, sz); break;
  case CALL: (void)qr_quic_connect(ends[CLIENT].quic, &ends[SERVER].addr, NULL, &e->conn); break;
  case AGAIN:
    if (e->last.sz && e->line_cnt < LINE_CNT) e->line[e->line_cnt++] = e->last;
    break;
  case MOVE: ends[CLIENT].addr.ip[15] = (uint8_t)(n | 128); break;
  case SEND: (void)qr_quic_send(e->quic, e->conn, n % QR_LINK_CLASS_CNT, bulk, 1 + n * 64u); break;
  case HANG_UP: qr_quic_disconnect(e->quic, e->conn); break;
  case WAIT: now += n * 100 * MS; break;
  case TURN: turn(n * MS / 4); break;
  default: damage(op & 15, n, p, sz);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  QR_ASSERT(qr_crypto_init() == QR_OK);
  now = 1000 * MS;
  open_end(CLIENT);
  open_end(SERVER);
  turn(0);
  for (uint32_t i = 0; i < RECORD_MAX_CNT && sz >= 2; i++) {
    uint8_t op = data[0], n = data[1];
    data += 2, sz -= 2;
    size_t n_sz = (op & 15) <= RAW_BACK ? n : (op & 15) == FLIP ? 2 : 0;
    if (n_sz > sz) n_sz = sz;
    act(op, n, data, n_sz);
    data += n_sz, sz -= n_sz;
  }
  ends[CLIENT].line_cnt = ends[SERVER].line_cnt = 0;
  for (int i = 0; i < 8; i++) {
    turn(86400000 * MS); /* a connection that saw a long way lives for several times of it */
    ends[CLIENT].line_cnt = ends[SERVER].line_cnt = 0;
  }
  close_end(&ends[CLIENT]);
  close_end(&ends[SERVER]);
  return 0;
}
