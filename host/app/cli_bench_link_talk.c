#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "app/cli_bench_link.h"
#include "base/err.h"
#include "port/clock.h"

#define SMALL_MAX_SZ 512u
#define BULK_PIECE_SZ (32u << 10)
#define LIMIT_NS UINT64_C(120000000000) /* of one message */

enum { MSG_ECHO, MSG_ANNOUNCE, MSG_REQUEST, MSG_BLOCK, MSG_BULK };

typedef struct {
  uint32_t kind, seq;
  uint64_t sz; /* of what follows */
} header_t;

/* One direction of one stream, as it comes. */
typedef struct {
  header_t h;
  size_t header_sz; /* there already */
  uint64_t left;
  uint8_t small[SMALL_MAX_SZ];
  qr_hasher_t hash;
} stream_t;

struct qr_talk {
  qr_bench_net_t *net;
  qr_way_t *ways[QR_WAY_CNT];
  stream_t streams[QR_WAY_CNT][QR_LINK_CLASS_CNT];
  uint32_t way, seq, answered_seq;
  clockid_t server_cpu;
  uint8_t *piece;
  char congestion[16];
};

typedef struct {
  qr_talk_t *talk;
  uint32_t way;
} place_t;

static place_t places[QR_WAY_CNT];

/* ---- what comes ---- */

static void done(qr_talk_t *t, uint32_t seq) {
  atomic_store(&t->net->share->done_ns, qr_clock_mono_ns());
  atomic_store(&t->net->share->done_seq, seq);
}

static void reply(stream_t *s, qr_way_t *w, enum qr_link_class cls, uint32_t kind, size_t sz) {
  uint8_t out[sizeof(header_t) + SMALL_MAX_SZ];
  header_t h = {kind, s->h.seq, sz};
  memcpy(out, &h, sizeof h);
  memcpy(out + sizeof h, s->small, sz);
  (void)qr_way_send(w, cls, out, sizeof h + sz); /* a failure is told already */
}

static void message_begins(stream_t *s) {
  s->left = s->h.sz;
  if (s->h.kind == MSG_BLOCK) qr_hash_init(&s->hash, "quarry.bench.block");
}

static void message_goes_on(stream_t *s, const uint8_t *p, size_t sz) {
  if (s->h.kind == MSG_BLOCK)
    qr_hash_add(&s->hash, p, sz); /* as it comes, like a node */
  else if (s->h.kind != MSG_BULK && s->h.sz <= SMALL_MAX_SZ)
    memcpy(s->small + (s->h.sz - s->left), p, sz);
  s->left -= sz;
}

static void message_ends(qr_talk_t *t, stream_t *s, qr_way_t *w, enum qr_link_class cls,
                         bool server) {
  qr_hash_t hash;
  s->header_sz = 0;
  if (!server)
    t->answered_seq = s->h.seq;
  else if (s->h.kind == MSG_ECHO)
    reply(s, w, cls, MSG_ECHO, s->h.sz);
  else if (s->h.kind == MSG_ANNOUNCE)
    reply(s, w, cls, MSG_REQUEST, 40);
  else {
    if (s->h.kind == MSG_BLOCK) qr_hash_end(&s->hash, &hash);
    done(t, s->h.seq);
  }
}

static void receive(const place_t *at, qr_way_t *w, enum qr_link_class cls, const uint8_t *p,
                    size_t sz, bool server) {
  stream_t *s = &at->talk->streams[at->way][cls];
  while (sz) {
    size_t n = sizeof s->h - s->header_sz;
    if (n) {
      n = n < sz ? n : sz;
      memcpy((uint8_t *)&s->h + s->header_sz, p, n);
      s->header_sz += n;
      if (s->header_sz == sizeof s->h) message_begins(s);
    } else {
      n = s->left < sz ? (size_t)s->left : sz;
      message_goes_on(s, p, n);
    }
    p += n;
    sz -= n;
    if (s->header_sz == sizeof s->h && !s->left) message_ends(at->talk, s, w, cls, server);
  }
}

static void on_server(void *ctx, qr_way_t *w, enum qr_link_class cls, const uint8_t *p, size_t sz) {
  receive(ctx, w, cls, p, sz, true);
}

static void on_client(void *ctx, qr_way_t *w, enum qr_link_class cls, const uint8_t *p, size_t sz) {
  receive(ctx, w, cls, p, sz, false);
}

/* ---- both processes ---- */

/* Each its own core, if there are two: nodes that talk over a network share none, and on a shared
   one the kernel's TCP is a context switch. */
static void pin(bool server) {
  cpu_set_t allowed, own;
  int skip = server ? 1 : 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) < 2) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed) || skip--) continue;
    CPU_ZERO(&own);
    CPU_SET(cpu, &own);
    (void)sched_setaffinity(0, sizeof own, &own);
    return;
  }
}

static qr_talk_t *open_ways(qr_bench_net_t *n, bool server) {
  qr_talk_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  (void)prctl(PR_SET_TIMERSLACK, 1000);
  if (!n->emulated) pin(server);
  t->net = n;
  t->piece = calloc(1, BULK_PIECE_SZ);
  for (uint32_t i = 0; t->piece && i < QR_WAY_CNT; i++) {
    if (n->emulated && i == QR_WAY_UDP) continue; /* its ends are TCP's */
    places[i] = (place_t){t, i};
    qr_way_cfg_t cfg = {.net = n,
                        .way = i,
                        .server = server,
                        .receive = server ? on_server : on_client,
                        .ctx = &places[i]};
    t->ways[i] = qr_way_open(&cfg);
    if (!t->ways[i]) {
      qr_talk_close(t);
      return NULL;
    }
  }
  return t;
}

void qr_talk_close(qr_talk_t *t) {
  if (!t) return;
  for (uint32_t i = 0; i < QR_WAY_CNT; i++) qr_way_close(t->ways[i]);
  free(t->piece);
  free(t);
}

int qr_talk_serve(qr_bench_net_t *n) {
  qr_bench_share_t *s = n->share;
  qr_talk_t *t = open_ways(n, true);
  atomic_store(&s->server_ready, t != NULL);
  while (t && !atomic_load_explicit(&s->ended, memory_order_relaxed)) {
    if (!qr_way_poll(t->ways[atomic_load_explicit(&s->way, memory_order_relaxed)])) break;
  }
  int rc = t && atomic_load(&s->ended) ? 0 : 1;
  qr_talk_close(t);
  return rc;
}

/* ---- the client ---- */

qr_talk_t *qr_talk_open(qr_bench_net_t *n) {
  qr_talk_t *t = open_ways(n, false);
  if (!t) return NULL;
  if (clock_getcpuclockid(n->server, &t->server_cpu)) t->server_cpu = CLOCK_PROCESS_CPUTIME_ID;
  snprintf(t->congestion, sizeof t->congestion, "%s", qr_way_congestion(t->ways[QR_WAY_TCP]));
  return t;
}

bool qr_talk_has(const qr_talk_t *t, uint32_t way) { return t->ways[way] != NULL; }
const char *qr_talk_congestion(const qr_talk_t *t) { return t->congestion; }

static bool late(qr_talk_t *t, uint64_t since) {
  if (atomic_load_explicit(&t->net->share->failed, memory_order_relaxed)) return true;
  if (qr_clock_mono_ns() - since < LIMIT_NS) return false;
  qr_bench_fail(t->net->share, "%s: a message did not arrive", qr_way_names[t->way]);
  return true;
}

static bool say(qr_talk_t *t, enum qr_link_class cls, uint32_t kind, uint64_t sz) {
  header_t h = {kind, ++t->seq, sz};
  qr_way_t *w = t->ways[t->way];
  if (kind == MSG_BULK || kind == MSG_BLOCK) {
    if (!qr_way_send(w, cls, &h, sizeof h)) return false;
    for (uint64_t at = 0; at < sz; at += BULK_PIECE_SZ) {
      size_t n = sz - at < BULK_PIECE_SZ ? (size_t)(sz - at) : BULK_PIECE_SZ;
      if (!qr_way_send(w, cls, t->piece, n)) return false;
    }
    return true;
  }
  uint8_t small[sizeof h + SMALL_MAX_SZ] = {0};
  memcpy(small, &h, sizeof h);
  return qr_way_send(w, cls, small, sizeof h + sz);
}

/* Until the server has answered the last message. */
static bool hear(qr_talk_t *t) {
  uint64_t since = qr_clock_mono_ns();
  while (t->answered_seq != t->seq) {
    if (!qr_way_poll(t->ways[t->way]) || late(t, since)) return false;
  }
  return true;
}

/* Until the server has the last message; a link goes on sending meanwhile, the kernel does by
   itself. */
static bool deliver(qr_talk_t *t) {
  uint64_t since = qr_clock_mono_ns();
  while (atomic_load_explicit(&t->net->share->done_seq, memory_order_acquire) != t->seq) {
    if (late(t, since)) return false;
    if (t->way == QR_WAY_TCP)
      usleep(20);
    else if (!qr_way_poll(t->ways[t->way]))
      return false;
  }
  return true;
}

bool qr_talk_turn(qr_talk_t *t, uint32_t way) {
  double us;
  t->way = way;
  atomic_store(&t->net->share->way, way);
  /* Until both processes are awake on it. */
  for (int i = t->net->emulated ? 2 : 20; i > 0; i--) {
    if (!qr_talk_ping(t, &us)) return false;
  }
  return true;
}

bool qr_talk_ping(qr_talk_t *t, double *us) {
  uint64_t start = qr_clock_mono_ns();
  if (!say(t, QR_LINK_CONTROL, MSG_ECHO, QR_TALK_PING_SZ - sizeof(header_t)) || !hear(t))
    return false;
  *us = (double)(qr_clock_mono_ns() - start) / 1e3;
  return true;
}

bool qr_talk_block(qr_talk_t *t, double *ms) {
  uint64_t start = qr_clock_mono_ns();
  if (!say(t, QR_LINK_BLOCK, MSG_ANNOUNCE, QR_TALK_PING_SZ - sizeof(header_t)) || !hear(t) ||
      !say(t, QR_LINK_BLOCK, MSG_BLOCK, QR_TALK_BLOCK_SZ) || !deliver(t))
    return false;
  *ms = (double)(atomic_load(&t->net->share->done_ns) - start) / 1e6;
  return true;
}

static double cpu_s(clockid_t clock) {
  struct timespec ts = {0};
  (void)clock_gettime(clock, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

bool qr_talk_bulk(qr_talk_t *t, uint64_t sz, double *s, double *cpu) {
  double before = cpu_s(CLOCK_PROCESS_CPUTIME_ID) + cpu_s(t->server_cpu);
  uint64_t start = qr_clock_mono_ns();
  if (!say(t, QR_LINK_SYNC, MSG_BULK, sz) || !deliver(t)) return false;
  *s = (double)(atomic_load(&t->net->share->done_ns) - start) / 1e9;
  *cpu = cpu_s(CLOCK_PROCESS_CPUTIME_ID) + cpu_s(t->server_cpu) - before;
  return true;
}

bool qr_talk_rest(qr_talk_t *t, uint32_t ms) {
  uint64_t end = qr_clock_mono_ns() + ms * UINT64_C(1000000);
  while (qr_clock_mono_ns() < end) {
    if (t->way == QR_WAY_TCP)
      usleep(1000);
    else if (!qr_way_poll(t->ways[t->way]))
      return false;
  }
  return true;
}
