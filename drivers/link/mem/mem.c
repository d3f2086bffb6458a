#include "drivers/link/mem/mem.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/splitmix.h"
#include "port/option.h"

#define MARK_CNT                                                                                   \
  64u /* sends of one stream whose arrival times are kept apart; more are merged into the latest   \
       */
#define NEVER UINT64_MAX
#define CONN_MAX_CNT 4096u

typedef struct {
  uint64_t end, at;
} mark_t; /* bytes up to stream offset end arrive at that time */

/* One direction of one stream, at the receiver. Offsets count bytes since the start of the stream.
 */
typedef struct {
  uint8_t *buf;
  uint64_t rd, due, wr; /* rd <= due <= wr: handed out | arrived | sent */
  uint64_t lent_sz;     /* of the last poll, still occupying buf behind rd */
  uint64_t last_at;     /* streams stay in order whatever the jitter */
  mark_t marks[MARK_CNT];
  uint32_t mark_idx, mark_cnt;
} inbox_t;

enum conn_state { CONN_FREE, CONN_WAIT, CONN_OPEN };

typedef struct {
  enum conn_state state;
  qr_link_conn_t id;
  uint32_t generation;
  bool inbound;
  qr_link_addr_t addr;
  qr_pubkey_t peer;
  uint64_t up_at, down_at,
      cut_at; /* NEVER if not planned; cut_at: since when a partition separates the ends */
  const char *reason;
  qr_link_t *far;               /* NULL: that link is closed */
  qr_link_conn_t far_id;        /* 0: that end is gone */
  bool want[QR_LINK_CLASS_CNT]; /* a send was short */
  inbox_t in[QR_LINK_CLASS_CNT];
  qr_link_stats_t stats;
} conn_t;

typedef struct hub {
  struct hub *next;
  char name[64];
  qr_link_t *links;
  uint64_t now, rand, delay_ns, jitter_ns;
} hub_t;

struct qr_link {
  qr_link_t *next; /* on the hub */
  hub_t *hub;
  qr_link_addr_t local;
  qr_pubkey_t self;
  uint32_t group, conn_cnt, cursor;
  uint64_t buf_sz, idle_ns;
  uint64_t rate, later_ns,
      free_at; /* of what it sends: bytes a second, and when the last one left */
  conn_t *conns;
  uint8_t *mem;
  qr_link_stats_t stats;
};

typedef struct {
  char hub[64];
  uint64_t seed, delay_us, jitter_us, buf_kib, idle_ms;
  bool delay_set;
} options_t;

static hub_t *hubs; /* links of one process find each other by name; the thread that owns a hub owns
                       this list */

static bool addr_eq(const qr_link_addr_t *a, const qr_link_addr_t *b) {
  return !memcmp(a->ip, b->ip, sizeof a->ip) && a->port == b->port;
}

static uint64_t hub_draw(hub_t *h, uint64_t below) {
  uint64_t lot = qr_splitmix_next(&h->rand);
  return below ? lot % below : 0;
}

static uint64_t hub_arrival(hub_t *h, uint64_t from) {
  return from + h->delay_ns + hub_draw(h, h->jitter_ns);
}

static conn_t *find(const qr_link_t *l, qr_link_conn_t id) {
  if (!l || !id) return NULL;
  conn_t *c = &l->conns[(id - 1) % l->conn_cnt];
  return c->state != CONN_FREE && c->id == id ? c : NULL;
}

static conn_t *far_end(const conn_t *c) { return find(c->far, c->far_id); }

static bool is_cut(const qr_link_t *l, const conn_t *c) {
  return c->far && c->far->group != l->group;
}

static conn_t *conn_new(qr_link_t *l, const qr_link_addr_t *addr, bool inbound) {
  for (uint32_t i = 0; i < l->conn_cnt; i++) {
    conn_t *c = &l->conns[i];
    if (c->state != CONN_FREE) continue;
    uint8_t *buf[QR_LINK_CLASS_CNT];
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) buf[k] = c->in[k].buf;
    uint32_t generation = (c->generation + 1) % (UINT32_MAX / l->conn_cnt);
    *c = (conn_t){.state = CONN_WAIT,
                  .generation = generation,
                  .inbound = inbound,
                  .addr = *addr,
                  .up_at = NEVER,
                  .down_at = NEVER,
                  .cut_at = NEVER};
    c->id = generation * l->conn_cnt + i + 1;
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) c->in[k].buf = buf[k];
    return c;
  }
  return NULL;
}

static void plan_down(conn_t *c, uint64_t at, const char *reason) {
  if (c->down_at != NEVER && c->down_at <= at) return;
  c->down_at = at;
  c->reason = reason;
}

/* This end is gone: the other learns it after the bytes that are on the way. */
static void conn_free(qr_link_t *l, conn_t *c, const char *reason) {
  conn_t *f = far_end(c);
  if (f) {
    uint64_t at = hub_arrival(l->hub, l->hub->now);
    if (f->up_at != NEVER && f->up_at > at) at = f->up_at;
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
      if (f->in[k].last_at > at) at = f->in[k].last_at;
    }
    f->far_id = 0;
    plan_down(f, at, reason);
  }
  c->state = CONN_FREE;
}

/* ---- opening and closing ---- */

static int parse_options(const char *text, options_t *o, char *why, size_t why_sz) {
  *o = (options_t){.hub = "default", .buf_kib = 256, .idle_ms = 30000};
  qr_option_t item;
  int r;
  while ((r = qr_option_next(&text, ';', &item)) > 0) {
    bool ok = false;
    if (!strcmp(item.key, "hub"))
      ok = snprintf(o->hub, sizeof o->hub, "%s", item.value) < (int)sizeof o->hub;
    else if (!strcmp(item.key, "seed"))
      ok = qr_option_u64(item.value, 0, UINT64_MAX, &o->seed);
    else if (!strcmp(item.key, "delay_us"))
      ok = o->delay_set = qr_option_u64(item.value, 0, 60000000, &o->delay_us);
    else if (!strcmp(item.key, "jitter_us"))
      ok = o->delay_set = qr_option_u64(item.value, 0, 60000000, &o->jitter_us);
    else if (!strcmp(item.key, "buf_kib"))
      ok = qr_option_u64(item.value, 1, 65536, &o->buf_kib);
    else if (!strcmp(item.key, "idle_ms"))
      ok = qr_option_u64(item.value, 1, 3600000, &o->idle_ms);
    if (ok) continue;
    snprintf(
        why, why_sz,
        "link/mem does not understand the option '%s=%s'; it knows hub, seed, delay_us, jitter_us, "
        "buf_kib and idle_ms",
        item.key, item.value);
    return QR_ERR_ARG;
  }
  if (r < 0)
    snprintf(why, why_sz, "link/mem cannot read its options; write them as key=value;key=value");
  return r;
}

static hub_t *hub_get(const options_t *o) {
  hub_t *h = hubs;
  while (h && strcmp(h->name, o->hub)) h = h->next;
  if (!h) {
    h = calloc(1, sizeof *h);
    if (!h) return NULL;
    memcpy(h->name, o->hub, sizeof h->name);
    h->rand = o->seed;
    h->next = hubs;
    hubs = h;
  }
  if (o->delay_set) {
    h->delay_ns = o->delay_us * 1000;
    h->jitter_ns = o->jitter_us * 1000;
  }
  return h;
}

static void hub_put(hub_t *h) {
  if (h->links) return;
  hub_t **p = &hubs;
  while (*p != h) p = &(*p)->next;
  *p = h->next;
  free(h);
}

static qr_link_t *hub_find(const hub_t *h, const qr_link_addr_t *a) {
  qr_link_t *l = h->links;
  while (l && !addr_eq(&l->local, a)) l = l->next;
  return l;
}

static void link_free(qr_link_t *l) {
  if (!l) return;
  free(l->conns);
  free(l->mem);
  free(l);
}

static qr_link_t *link_new(const qr_link_cfg_t *cfg, const options_t *o) {
  qr_link_t *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  l->local = cfg->local;
  l->self = cfg->identity->pk;
  l->conn_cnt = cfg->conn_max_cnt;
  l->buf_sz = o->buf_kib * 1024;
  l->idle_ns = o->idle_ms * 1000000;
  l->conns = calloc(l->conn_cnt, sizeof *l->conns);
  l->mem = calloc((size_t)l->conn_cnt * QR_LINK_CLASS_CNT, l->buf_sz);
  if (!l->conns || !l->mem) {
    link_free(l);
    return NULL;
  }
  for (uint32_t i = 0; i < l->conn_cnt; i++) {
    for (uint32_t k = 0; k < QR_LINK_CLASS_CNT; k++) {
      l->conns[i].in[k].buf = l->mem + ((size_t)i * QR_LINK_CLASS_CNT + k) * l->buf_sz;
    }
  }
  return l;
}

static int mem_open(const qr_link_cfg_t *cfg, qr_link_t **out, char *why, size_t why_sz) {
  options_t o;
  int err = parse_options(cfg->options, &o, why, why_sz);
  if (err) return err;
  if (!cfg->conn_max_cnt || cfg->conn_max_cnt > CONN_MAX_CNT) {
    snprintf(why, why_sz, "link/mem holds 1 to %u connections, not %u", CONN_MAX_CNT,
             cfg->conn_max_cnt);
    return QR_ERR_ARG;
  }
  hub_t *h = hub_get(&o);
  if (h && hub_find(h, &cfg->local)) {
    char addr[56];
    snprintf(why, why_sz, "%s is taken on hub %s; give each link its own address",
             qr_link_addr_str(&cfg->local, addr), o.hub);
    return QR_ERR_BUSY;
  }
  qr_link_t *l = h ? link_new(cfg, &o) : NULL;
  if (!l) {
    if (h) hub_put(h);
    snprintf(why, why_sz,
             "no memory for %u connections of link/mem; lower the number of connections or buf_kib",
             cfg->conn_max_cnt);
    return QR_ERR_NOMEM;
  }
  l->hub = h;
  l->next = h->links;
  h->links = l;
  *out = l;
  return QR_OK;
}

static void mem_close(qr_link_t *l) {
  hub_t *h = l->hub;
  for (uint32_t i = 0; i < l->conn_cnt; i++) {
    if (l->conns[i].state != CONN_FREE) conn_free(l, &l->conns[i], "closed by the peer");
  }
  qr_link_t **p = &h->links;
  while (*p != l) p = &(*p)->next;
  *p = l->next;
  for (qr_link_t *o = h->links; o; o = o->next) {
    for (uint32_t i = 0; i < o->conn_cnt; i++) {
      if (o->conns[i].far == l) o->conns[i].far = NULL;
    }
  }
  link_free(l);
  hub_put(h);
}

/* ---- connections ---- */

static int mem_connect(qr_link_t *l, const qr_link_addr_t *to, const qr_pubkey_t *expect,
                       qr_link_conn_t *out) {
  if (!to->port) return QR_ERR_ARG;
  hub_t *h = l->hub;
  conn_t *c = conn_new(l, to, false);
  if (!c) return QR_ERR_FULL;
  *out = c->id;
  qr_link_t *f = hub_find(h, to);
  uint64_t there = hub_arrival(h, h->now), back = hub_arrival(h, there);
  const char *fault = NULL;
  conn_t *fc = NULL;
  if (!f || f->group != l->group) {
    fault = "handshake timed out";
    back = h->now + l->idle_ns;
  } else if (qr_pubkey_eq(&f->self, &l->self))
    fault = "peer has our own identity";
  else if (expect && !qr_pubkey_eq(expect, &f->self))
    fault = "peer has another identity than expected";
  else if (!(fc = conn_new(f, &l->local, true)))
    fault = "refused by the peer";
  if (fault) {
    plan_down(c, back, fault);
    l->stats.handshakes_failed++;
    return QR_OK;
  }
  c->peer = f->self;
  c->far = f;
  c->far_id = fc->id;
  c->up_at = back;
  fc->peer = l->self;
  fc->far = l;
  fc->far_id = c->id;
  fc->up_at = there;
  return QR_OK;
}

static void mem_disconnect(qr_link_t *l, qr_link_conn_t id) {
  conn_t *c = find(l, id);
  if (c) conn_free(l, c, "closed by the peer");
}

static uint64_t inbox_room(const qr_link_t *l, const inbox_t *in) {
  return l->buf_sz - (in->wr - in->rd) - in->lent_sz;
}

static void inbox_put(const qr_link_t *l, inbox_t *in, const uint8_t *p, uint64_t sz, uint64_t at) {
  uint64_t pos = in->wr % l->buf_sz, head = l->buf_sz - pos;
  if (head > sz) head = sz;
  memcpy(in->buf + pos, p, head);
  memcpy(in->buf, p + head, sz - head);
  in->wr += sz;
  if (at > in->last_at) in->last_at = at;
  if (in->mark_cnt == MARK_CNT) in->mark_cnt--;
  in->marks[(in->mark_idx + in->mark_cnt++) % MARK_CNT] = (mark_t){in->wr, in->last_at};
}

/* When the last of n bytes has left. */
static uint64_t departure(qr_link_t *l, enum qr_link_class cls, uint64_t n) {
  uint64_t now = l->hub->now;
  if (!l->rate || cls == QR_LINK_CONTROL) return now + l->later_ns;
  if (l->free_at < now) l->free_at = now;
  l->free_at += n * UINT64_C(1000000000) / l->rate;
  return l->free_at + l->later_ns;
}

static int64_t mem_send(qr_link_t *l, qr_link_conn_t id, enum qr_link_class cls, const void *p,
                        size_t sz) {
  QR_ASSERT((unsigned)cls < QR_LINK_CLASS_CNT);
  conn_t *c = find(l, id);
  if (!c) return QR_ERR_CLOSED;
  if (c->state != CONN_OPEN) return 0;
  conn_t *f = far_end(c);
  if (!f) return QR_ERR_CLOSED;
  uint64_t n = inbox_room(c->far, &f->in[cls]);
  if (n > sz)
    n = sz;
  else if (n < sz)
    c->want[cls] = true;
  if (!n) return 0;
  inbox_put(c->far, &f->in[cls], p, n, hub_arrival(l->hub, departure(l, cls, n)));
  c->stats.tx_pkts++;
  l->stats.tx_pkts++;
  c->stats.tx_bytes += n;
  l->stats.tx_bytes += n;
  return (int64_t)n;
}

/* ---- polling ---- */

static bool is_writable(const conn_t *c, int cls) {
  if (!c->want[cls] || c->state != CONN_OPEN) return false;
  const conn_t *f = far_end(c);
  return f && inbox_room(c->far, &f->in[cls]) >= c->far->buf_sz / 2;
}

static void inbox_arrive(inbox_t *in, uint64_t now) {
  while (in->mark_cnt && in->marks[in->mark_idx].at <= now) {
    in->due = in->marks[in->mark_idx].end;
    in->mark_idx = (in->mark_idx + 1) % MARK_CNT;
    in->mark_cnt--;
  }
}

static int poll_stream(qr_link_t *l, conn_t *c, int cls, qr_link_event_t *ev, int max) {
  int n = 0;
  inbox_t *in = &c->in[cls];
  inbox_arrive(in, l->hub->now);
  uint64_t pos = in->rd % l->buf_sz, sz = in->due - in->rd;
  if (sz > l->buf_sz - pos) sz = l->buf_sz - pos;
  if (sz && n < max) {
    ev[n++] = (qr_link_event_t){.kind = QR_LINK_DATA,
                                .conn = c->id,
                                .cls = (enum qr_link_class)cls,
                                .data = in->buf + pos,
                                .sz = sz};
    in->rd += sz;
    in->lent_sz = sz;
    c->stats.rx_pkts++;
    l->stats.rx_pkts++;
    c->stats.rx_bytes += sz;
    l->stats.rx_bytes += sz;
  }
  if (n < max && is_writable(c, cls)) {
    c->want[cls] = false;
    ev[n++] =
        (qr_link_event_t){.kind = QR_LINK_WRITABLE, .conn = c->id, .cls = (enum qr_link_class)cls};
  }
  return n;
}

/* DOWN waits for a poll of its own, so that the slot cannot be reused under bytes that are still
 * lent. */
static bool is_drained(const conn_t *c) {
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    if (c->in[k].rd != c->in[k].due || c->in[k].lent_sz) return false;
  }
  return true;
}

static int poll_conn(qr_link_t *l, conn_t *c, qr_link_event_t *ev, int max) {
  int n = 0;
  uint64_t now = l->hub->now;
  if (is_cut(l, c)) {
    if (now - c->cut_at < l->idle_ns) return 0;
    ev[n++] = (qr_link_event_t){.kind = QR_LINK_DOWN, .conn = c->id, .reason = "idle timeout"};
    conn_free(l, c, "idle timeout");
    return n;
  }
  if (c->state == CONN_WAIT && c->up_at <= now) {
    c->state = CONN_OPEN;
    ev[n++] = (qr_link_event_t){
        .kind = QR_LINK_UP, .conn = c->id, .inbound = c->inbound, .addr = c->addr, .peer = c->peer};
  }
  for (int k = 0; c->state == CONN_OPEN && k < QR_LINK_CLASS_CNT; k++)
    n += poll_stream(l, c, k, ev + n, max - n);
  if (n < max && c->down_at <= now && is_drained(c)) {
    ev[n++] = (qr_link_event_t){.kind = QR_LINK_DOWN, .conn = c->id, .reason = c->reason};
    conn_free(l, c, "closed by the peer");
  }
  return n;
}

static int mem_poll(qr_link_t *l, uint64_t now_ns, qr_link_event_t *ev, int max) {
  int n = 0;
  if (now_ns > l->hub->now) l->hub->now = now_ns;
  for (uint32_t i = 0; i < l->conn_cnt; i++) {
    for (int k = 0; k < QR_LINK_CLASS_CNT; k++) l->conns[i].in[k].lent_sz = 0;
  }
  uint32_t start = l->cursor;
  for (uint32_t i = 0; i < l->conn_cnt && n < max; i++) {
    l->cursor =
        (start + i) % l->conn_cnt; /* where the next poll begins, if this one runs out of room */
    conn_t *c = &l->conns[l->cursor];
    if (c->state != CONN_FREE) n += poll_conn(l, c, ev + n, max - n);
  }
  return n;
}

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t mem_next_timer(qr_link_t *l) {
  uint64_t at = NEVER, now = l->hub->now;
  for (uint32_t i = 0; i < l->conn_cnt; i++) {
    const conn_t *c = &l->conns[i];
    if (c->state == CONN_FREE) continue;
    if (is_cut(l, c)) {
      at = earlier(at, c->cut_at + l->idle_ns);
      continue;
    }
    at = earlier(at, c->down_at);
    if (c->state == CONN_WAIT) at = earlier(at, c->up_at);
    for (int k = 0; c->state == CONN_OPEN && k < QR_LINK_CLASS_CNT; k++) {
      const inbox_t *in = &c->in[k];
      if (in->rd != in->due || is_writable(c, k))
        at = earlier(at, now);
      else if (in->mark_cnt)
        at = earlier(at, in->marks[in->mark_idx].at);
    }
  }
  return at;
}

static void mem_stats(const qr_link_t *l, qr_link_stats_t *out) { *out = l->stats; }

static int mem_conn_stats(const qr_link_t *l, qr_link_conn_t id, qr_link_stats_t *out) {
  const conn_t *c = find(l, id);
  if (!c) return QR_ERR_NOTFOUND;
  *out = c->stats;
  out->rtt_ns = 2 * l->hub->delay_ns + l->hub->jitter_ns;
  return QR_OK;
}

/* ---- control ---- */

void qr_link_mem_pace(qr_link_t *l, uint64_t bytes_per_s, uint64_t later_ns) {
  l->rate = bytes_per_s;
  l->later_ns = later_ns;
}

/* Groups changed: notes since when each connection is cut, whether or not anybody polls meanwhile.
 */
static void hub_regroup(hub_t *h) {
  for (qr_link_t *l = h->links; l; l = l->next) {
    for (uint32_t i = 0; i < l->conn_cnt; i++) {
      conn_t *c = &l->conns[i];
      if (!is_cut(l, c))
        c->cut_at = NEVER;
      else if (c->cut_at == NEVER)
        c->cut_at = h->now;
    }
  }
}

void qr_link_mem_group(qr_link_t *l, uint32_t group) {
  l->group = group;
  hub_regroup(l->hub);
}

void qr_link_mem_heal(qr_link_t *l) {
  for (qr_link_t *o = l->hub->links; o; o = o->next) o->group = 0;
  hub_regroup(l->hub);
}

static void break_end(conn_t *c, uint64_t now) {
  for (int k = 0; k < QR_LINK_CLASS_CNT; k++) {
    inbox_t *in = &c->in[k];
    in->rd = in->due = in->wr;
    in->mark_cnt = 0;
  }
  c->far_id = 0;
  c->far = NULL;
  c->state = CONN_OPEN;
  c->down_at = now;
  c->reason = "killed";
}

void qr_link_mem_kill(qr_link_t *l, qr_link_conn_t id) {
  conn_t *c = find(l, id);
  if (!c) return;
  conn_t *f = far_end(c);
  if (f) break_end(f, l->hub->now);
  break_end(c, l->hub->now);
}

const qr_link_ops_t qr_link_mem_ops = {
    .name = "mem",
    .help = "links inside one process, for simulators and tests",
    .open = mem_open,
    .close = mem_close,
    .connect = mem_connect,
    .disconnect = mem_disconnect,
    .send = mem_send,
    .poll = mem_poll,
    .next_timer = mem_next_timer,
    .stats = mem_stats,
    .conn_stats = mem_conn_stats,
};
