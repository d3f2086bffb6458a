/* The links' QUIC endpoint without a network, for its tests: endpoints joined by seeded queues that
   delay, lose, reorder and forge. */
#ifndef QR_TEST_QUIC_BED_H
#define QR_TEST_QUIC_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "drivers/link/quic/quic.h"

#define MS UINT64_C(1000000)
#define NODE_CNT 3
#ifndef WIRE_CNT
#define WIRE_CNT 1024u
#endif
#define PORT 4100
#define IP(i) (0x0a500001u + (uint32_t)(i))

typedef struct {
  uint64_t at, seq;
  qr_link_addr_t from, to;
  size_t sz;
  uint8_t p[QR_QUIC_DATAGRAM_MAX_SZ];
  uint8_t ecn;
  bool used;
} datagram_t;

typedef struct bed bed_t;
typedef struct {
  bed_t *bed;
  int idx;
  qr_key_t key;
  qr_quic_t *quic;
  uint8_t room[QR_QUIC_DATAGRAM_MAX_SZ];
  uint32_t room_used; /* in this poll */
  uint64_t heard_cnt; /* datagrams that only the peer at heard can have made */
  qr_link_addr_t heard;
} node_t;

struct bed {
  node_t node[NODE_CNT];
  datagram_t wire[WIRE_CNT];
  uint64_t now, rand, delay_ns;
  uint32_t loss_permille, flip_permille;
  uint64_t byte_ns, free_at[NODE_CNT]; /* time a byte takes on a node's line; when that is free */
  uint64_t queue_ns;                   /* a line's queue; beyond it packets are lost. 0: no end */
  uint64_t sent_cnt, ect_cnt, queue_loss_cnt;
  qr_link_addr_t moved; /* what the others see of node 0 if its port is not 0 */
  uint32_t wire_cnt;    /* datagrams on the way */
  bool cut;             /* nothing arrives */
  bool marks;           /* the network marks where it would lose */
  bool blind;           /* the network clears ECN bits */
  bool unreachable;     /* no host answers for any address */
  bool starved;         /* no packet buffers */
  uint32_t room_cnt;    /* packet buffers of a node in each poll; 0: enough */
  bool steady;          /* packets keep their order */
};

static inline uint32_t draw(bed_t *b, uint32_t below) {
  return (uint32_t)(qr_splitmix_next(&b->rand) % below);
}

static inline uint8_t *out_room(void *ctx) {
  node_t *n = ctx;
  bed_t *b = n->bed;
  if (b->starved || (b->room_cnt && n->room_used == b->room_cnt)) return NULL;
  n->room_used++;
  return n->room;
}

static inline qr_link_addr_t addr_at(uint32_t ip, uint16_t port) {
  qr_link_addr_t a = {.ip = {[10] = 0xff, [11] = 0xff}, .port = port};
  for (int i = 0; i < 4; i++) a.ip[12 + i] = (uint8_t)(ip >> (24 - 8 * i));
  return a;
}

static inline qr_link_addr_t addr_of(int i) { return addr_at(IP(i), PORT); }

static inline void out_commit(void *ctx, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  node_t *n = ctx;
  bed_t *b = n->bed;
  if (!sz) return;
  assert_true(sz <= sizeof n->room);
  b->sent_cnt++;
  b->ect_cnt += ecn == 2;
  bool lose = draw(b, 1000) < b->loss_permille;
  if (b->cut || (lose && !(b->marks && ecn))) return;
  if (lose) ecn = 3;
  uint64_t start = b->free_at[n->idx] > b->now ? b->free_at[n->idx] : b->now;
  if (b->queue_ns && start - b->now > b->queue_ns) {
    b->queue_loss_cnt++;
    return;
  }
  b->free_at[n->idx] = start + sz * b->byte_ns;
  for (uint32_t i = 0; i < WIRE_CNT; i++) {
    datagram_t *d = &b->wire[i];
    if (d->used) continue;
    *d = (datagram_t){.at = b->free_at[n->idx] + b->delay_ns +
                            (b->steady ? 0 : draw(b, (uint32_t)(b->delay_ns / 8) + 1)),
                      .from = n->idx == 0 && b->moved.port ? b->moved : addr_of(n->idx),
                      .seq = b->sent_cnt,
                      .ecn = b->blind ? 0 : ecn,
                      .to = *to,
                      .sz = sz,
                      .used = true};
    memcpy(d->p, n->room, sz);
    b->wire_cnt++;
    if (draw(b, 1000) < b->flip_permille)
      d->p[draw(b, (uint32_t)sz)] ^= (uint8_t)(1 + draw(b, 255));
    return;
  }
}

static inline bool out_reachable(void *ctx, const qr_link_addr_t *to) {
  (void)to;
  return !((node_t *)ctx)->bed->unreachable;
}

static inline void out_heard(void *ctx, const qr_link_addr_t *from) {
  node_t *n = ctx;
  n->heard_cnt++;
  n->heard = *from;
}

static uint64_t buf_kib = 64; /* what nodes that open from now on buffer for sending, per stream */

static inline void node_open(bed_t *b, int i, uint32_t conn_max_cnt, uint32_t retry_cnt) {
  node_t *n = &b->node[i];
  uint8_t seed[32] = {(uint8_t)(i + 1)};
  n->bed = b;
  n->idx = i;
  qr_key_from_seed(seed, &n->key);
  qr_quic_cfg_t cfg = {.identity = &n->key,
                       .local = addr_of(i),
                       .conn_max_cnt = conn_max_cnt,
                       .send_buf_sz = buf_kib << 10,
                       .window_sz = buf_kib << 11,
                       .idle_ns = 3000 * MS,
                       .handshake_ns = 2000 * MS,
                       .datagram_max_sz = QR_QUIC_DATAGRAM_MAX_SZ,
                       .retry_cnt = retry_cnt,
                       .out = {n, out_room, out_commit, out_reachable, out_heard}};
  assert_int_equal(qr_quic_new(&cfg, &n->quic), QR_OK);
}

static inline bed_t *bed_open(uint64_t seed, uint32_t retry_cnt) {
  bed_t *b = calloc(1, sizeof *b);
  assert_non_null(b);
  b->now = 1000 * MS;
  b->rand = seed;
  b->delay_ns = MS / 10;
  for (int i = 0; i < NODE_CNT; i++) node_open(b, i, 4, retry_cnt);
  return b;
}

static inline void bed_close(bed_t *b) {
  for (int i = 0; i < NODE_CNT; i++) {
    if (b->node[i].quic) qr_quic_free(b->node[i].quic);
  }
  free(b);
}

static inline int compare_due(const void *a, const void *b) {
  const datagram_t *x = *(datagram_t *const *)a, *y = *(datagram_t *const *)b;
  if (x->at != y->at) return x->at < y->at ? -1 : 1;
  return x->seq < y->seq ? -1 : 1;
}

/* One poll of a node; datagrams that are due go in first. */
static inline int node_poll(bed_t *b, int i, qr_link_event_t *ev, int max) {
  static datagram_t *due[WIRE_CNT];
  uint32_t cnt = 0;
  b->node[i].room_used = 0;
  qr_link_addr_t self = i == 0 && b->moved.port ? b->moved : addr_of(i);
  qr_quic_begin(b->node[i].quic, b->now);
  for (uint32_t k = 0; k < WIRE_CNT && b->wire_cnt; k++) {
    datagram_t *d = &b->wire[k];
    if (d->used && !memcmp(&d->to, &self, sizeof self) && d->at <= b->now) due[cnt++] = d;
  }
  qsort(due, cnt, sizeof(datagram_t *), compare_due);
  for (uint32_t k = 0; k < cnt; k++) {
    due[k]->used = false;
    b->wire_cnt--;
    qr_quic_input(b->node[i].quic, &due[k]->from, due[k]->ecn, due[k]->p, due[k]->sz);
  }
  qr_quic_run(b->node[i].quic);
  return qr_quic_events(b->node[i].quic, ev, max);
}

typedef struct {
  qr_link_conn_t up, down;
  int up_cnt;
  bool inbound;
  qr_pubkey_t peer;
  const char *reason;
  uint64_t in[QR_LINK_CLASS_CNT], bad;
} seen_t;

static inline uint8_t pattern(int cls, uint64_t i) {
  return (uint8_t)((i + (uint64_t)cls * 77) * 2654435761u >> 11);
}

/* Everybody polls once; time moves on. */
static inline void turn(bed_t *b, seen_t seen[NODE_CNT]) {
  for (int i = 0; i < NODE_CNT; i++) {
    qr_link_event_t ev[3]; /* few, so that events are spread over polls */
    int n = b->node[i].quic ? node_poll(b, i, ev, 3) : 0;
    for (int k = 0; k < n; k++) {
      seen_t *s = &seen[i];
      if (ev[k].kind == QR_LINK_UP) {
        s->up = ev[k].conn;
        s->up_cnt++;
        s->inbound = ev[k].inbound;
        s->peer = ev[k].peer;
      } else if (ev[k].kind == QR_LINK_DOWN) {
        s->down = ev[k].conn;
        s->reason = ev[k].reason;
      } else if (ev[k].kind == QR_LINK_DATA) {
        for (size_t x = 0; x < ev[k].sz; x++)
          s->bad += ev[k].data[x] != pattern(ev[k].cls, s->in[ev[k].cls] + x);
        s->in[ev[k].cls] += ev[k].sz;
      }
    }
  }
  b->now += MS / 20;
}

static inline void turns(bed_t *b, seen_t seen[NODE_CNT], uint64_t ms) {
  for (uint64_t i = 0; i < ms * 20; i++) turn(b, seen);
}

static inline qr_link_conn_t call(bed_t *b, int from, int to, const qr_pubkey_t *expect) {
  qr_link_conn_t c = 0;
  qr_link_addr_t a = addr_of(to);
  assert_int_equal(qr_quic_connect(b->node[from].quic, &a, expect, &c), QR_OK);
  return c;
}

/* Node 0 calls node 1 and both are up. */
static inline qr_link_conn_t join(bed_t *b, seen_t seen[NODE_CNT]) {
  memset(seen, 0, NODE_CNT * sizeof *seen);
  qr_link_conn_t c = call(b, 0, 1, &b->node[1].key.pk);
  for (int i = 0; i < 40000 && !(seen[0].up && seen[1].up); i++) turn(b, seen);
  assert_int_equal(seen[0].up, c);
  assert_true(seen[1].inbound && !seen[0].inbound);
  assert_memory_equal(&seen[0].peer, &b->node[1].key.pk, sizeof seen[0].peer);
  assert_memory_equal(&seen[1].peer, &b->node[0].key.pk, sizeof seen[1].peer);
  return c;
}

/* Sends sz bytes of the class's pattern from offset *sent on, as far as there is room. */
static inline void push(bed_t *b, int from, qr_link_conn_t c, int cls, uint64_t *sent,
                        uint64_t total) {
  uint8_t p[4096];
  uint64_t n = total - *sent < sizeof p ? total - *sent : sizeof p;
  for (uint64_t i = 0; i < n; i++) p[i] = pattern(cls, *sent + i);
  int64_t took = qr_quic_send(b->node[from].quic, c, (enum qr_link_class)cls, p, n);
  assert_true(took >= 0);
  *sent += (uint64_t)took;
}

/* Both ends send total bytes on every class; everything arrives whole and in order. */
static inline void exchange(bed_t *b, seen_t seen[NODE_CNT], qr_link_conn_t c, uint64_t total,
                            int turn_max) {
  uint64_t sent[2][QR_LINK_CLASS_CNT] = {0};
  for (int i = 0; i < turn_max; i++) {
    uint64_t got = 0;
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
      push(b, 0, c, k, &sent[0][k], total);
      push(b, 1, seen[1].up, k, &sent[1][k], total);
      got += seen[0].in[k] + seen[1].in[k];
    }
    if (got == 2 * QR_LINK_CLASS_CNT * total) break;
    turn(b, seen);
    assert_false(seen[0].down || seen[1].down);
  }
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    assert_int_equal(seen[0].in[k], total);
    assert_int_equal(seen[1].in[k], total);
  }
  assert_int_equal(seen[0].bad + seen[1].bad, 0);
}

#endif
