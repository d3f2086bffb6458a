#include "app/cli_bench_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "port/clock.h"
#include "port/drivers.h"

#define PORT 7788
#define RECEIVE_SZ (256u << 10)
#define CONNECT_NS UINT64_C(20000000000)
#define NAP_NS 50000 /* of a link that does not spin: what a node's network tile begins with */
#define EVENT_CNT 32
#define SMALL_SZ 4096u

const char *const qr_way_names[QR_WAY_CNT] = {"tcp", "memif", "af_packet", "udp"};

struct qr_way {
  qr_way_cfg_t cfg;
  /* TCP */
  int listener, fd;
  uint8_t *buf;
  char congestion[16];
  /* a link */
  const qr_link_ops_t *ops;
  qr_link_t *link;
  qr_link_conn_t conn;
  qr_key_t key;
  bool down;
};

static bool fail(qr_way_t *w, const char *what) {
  qr_bench_fail(w->cfg.net->share, "%s, %s: %s", qr_way_names[w->cfg.way],
                w->cfg.server ? "server" : "client", what);
  return false;
}

/* ---- TCP: blocking sockets, as programs use it ---- */

static void configure_tcp(qr_way_t *w) {
  int one = 1;
  struct timeval wait = {.tv_usec =
                             100000}; /* then the server looks whether it is needed elsewhere */
  socklen_t sz = sizeof w->congestion;
  (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  (void)setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  /* On a long path the kernel's best is BBR, where it has it. */
  if (w->cfg.net->emulated) (void)setsockopt(w->fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3);
  if (getsockopt(w->fd, IPPROTO_TCP, TCP_CONGESTION, w->congestion, &sz)) w->congestion[0] = 0;
}

static bool open_tcp(qr_way_t *w) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  bool server = w->cfg.server;
  int one = 1;
  (void)inet_pton(AF_INET, "10.81.0.2", &a.sin_addr);
  w->buf = malloc(RECEIVE_SZ);
  w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (!w->buf || w->fd < 0) return fail(w, "no socket");
  if (server) {
    w->listener = w->fd;
    w->fd = -1;
    (void)setsockopt(w->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(w->listener, (struct sockaddr *)&a, sizeof a) || listen(w->listener, 1))
      return fail(w, strerror(errno));
    return true;
  }
  if (connect(w->fd, (struct sockaddr *)&a, sizeof a)) return fail(w, strerror(errno));
  configure_tcp(w);
  return true;
}

static bool accept_tcp(qr_way_t *w) {
  struct pollfd p = {.fd = w->listener, .events = POLLIN};
  if (poll(&p, 1, 20) != 1) return true;
  w->fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
  if (w->fd < 0) return fail(w, strerror(errno));
  configure_tcp(w);
  return true;
}

static bool poll_tcp(qr_way_t *w, int flags) {
  if (w->fd < 0) return accept_tcp(w);
  ssize_t n = recv(w->fd, w->buf, RECEIVE_SZ, flags);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return fail(w, n ? strerror(errno) : "the connection has ended");
  w->cfg.receive(w->cfg.ctx, w, QR_LINK_CONTROL, w->buf, (size_t)n);
  return true;
}

static bool send_tcp(qr_way_t *w, const uint8_t *p, size_t sz) {
  while (sz) {
    ssize_t n = send(w->fd, p, sz, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(w, strerror(errno));
    p += n;
    sz -= (size_t)n;
  }
  return true;
}

/* ---- links: the client and the server spin, as an appliance does; through the emulator, whose
   third process needs a core as well, they sleep ---- */

static qr_link_addr_t addr_of(const char *text) {
  qr_link_addr_t a;
  if (!qr_link_addr_parse(text, PORT, &a)) memset(&a, 0, sizeof a);
  return a;
}

static void nap(void) {
  struct timespec ts = {.tv_nsec = NAP_NS};
  (void)nanosleep(&ts, NULL);
}

static bool poll_link(qr_way_t *w) {
  qr_link_event_t ev[EVENT_CNT];
  int n = w->ops->poll(w->link, qr_clock_mono_ns(), ev, EVENT_CNT);
  for (int i = 0; i < n; i++) {
    if (ev[i].kind == QR_LINK_UP)
      w->conn = ev[i].conn;
    else if (ev[i].kind == QR_LINK_DOWN)
      return fail(w, ev[i].reason);
    else if (ev[i].kind == QR_LINK_DATA)
      w->cfg.receive(w->cfg.ctx, w, ev[i].cls, ev[i].data, ev[i].sz);
  }
  if (!n && w->cfg.net->emulated && w->ops->next_timer(w->link) > qr_clock_mono_ns()) nap();
  return true;
}

static bool send_link(qr_way_t *w, enum qr_link_class cls, const uint8_t *p, size_t sz) {
  bool piece = sz > SMALL_SZ; /* of something large: goes on its way before the next is copied */
  while (sz) {
    int64_t n = w->ops->send(w->link, w->conn, cls, p, sz);
    if (n < 0) return fail(w, "the connection is gone");
    p += n;
    sz -= (size_t)n;
    if ((sz || piece) && !poll_link(w)) return false;
  }
  return true;
}

/* DPDK draws a memif's address from a generator that two children of one process share. Between two
   processes frames may be large; a long path carries what Ethernet carries. */
static void memif_options(const qr_way_t *w, int end, char *out, size_t out_sz) {
  const qr_bench_net_t *n = w->cfg.net;
  const char *role = end && !n->emulated ? "server" : "client";
  char name[16] = "memif";
  if (n->emulated) snprintf(name, sizeof name, "m%d", end);
  snprintf(out, out_sz,
           "vdev=net_memif0,role=%s,id=0,socket=%s/%s,socket-abstract=no,mac=02:00:00:00:00:0%d%s",
           role, n->dir, name, end + 1, n->emulated ? "" : ",bsize=9216,rsize=7;mtu=9000");
}

static void link_options(const qr_way_t *w, char *out, size_t out_sz) {
  /* Two ports in a process, each with its packet buffers. */
  static const char common[] = "idle_ms=600000", memory[] = "eal=-m 256";
  int end = w->cfg.server ? 1 : 0;
  char port[256];
  snprintf(port, sizeof port, "iface=n%d", end);
  if (w->cfg.way == QR_WAY_MEMIF) memif_options(w, end, port, sizeof port);
  if (w->cfg.way == QR_WAY_UDP)
    snprintf(out, out_sz, "%s", common);
  else
    snprintf(out, out_sz, "%s;%s;%s", port, common, memory);
}

/* Networks of their own, so that no way's frames are of interest to another's end. */
static const char *address(uint32_t way, bool server) {
  static const char *const text[QR_WAY_CNT][2] = {
      {"", ""}, {"10.82.0.1", "10.82.0.2"}, {"10.83.0.1", "10.83.0.2"}, {"10.81.0.1", "10.81.0.2"}};
  return text[way][server];
}

static bool open_link(qr_way_t *w) {
  char options[320], why[200];
  uint8_t seed[2][32] = {{1}, {2}};
  qr_key_t server;
  w->ops = qr_link_driver(w->cfg.way == QR_WAY_UDP ? "udp" : "dpdk");
  if (!w->ops) return fail(w, "this build has no such link driver");
  qr_key_from_seed(seed[w->cfg.server], &w->key);
  qr_key_from_seed(seed[1], &server);
  link_options(w, options, sizeof options);
  qr_link_cfg_t cfg = {.options = options,
                       .local = addr_of(address(w->cfg.way, w->cfg.server)),
                       .identity = &w->key,
                       .conn_max_cnt = 4};
  if (w->ops->open(&cfg, &w->link, why, sizeof why)) {
    w->link = NULL;
    return fail(w, why);
  }
  if (w->cfg.server) return true;
  qr_link_addr_t to = addr_of(address(w->cfg.way, true));
  qr_link_conn_t conn;
  uint64_t end = qr_clock_mono_ns() + CONNECT_NS;
  if (w->ops->connect(w->link, &to, &server.pk, &conn)) return fail(w, "cannot call");
  atomic_store(&w->cfg.net->share->way, w->cfg.way);
  while (!w->conn) {
    if (!poll_link(w)) return false;
    if (qr_clock_mono_ns() > end) return fail(w, "nobody answers");
  }
  return true;
}

/* ---- both ---- */

qr_way_t *qr_way_open(const qr_way_cfg_t *cfg) {
  qr_way_t *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->cfg = *cfg;
  w->fd = w->listener = -1;
  if (cfg->way == QR_WAY_TCP ? open_tcp(w) : open_link(w)) return w;
  qr_way_close(w);
  return NULL;
}

void qr_way_close(qr_way_t *w) {
  if (!w) return;
  if (w->link) w->ops->close(w->link);
  if (w->fd >= 0) close(w->fd);
  if (w->listener >= 0) close(w->listener);
  free(w->buf);
  free(w);
}

bool qr_way_send(qr_way_t *w, enum qr_link_class cls, const void *p, size_t sz) {
  return w->link ? send_link(w, cls, p, sz) : send_tcp(w, p, sz);
}

bool qr_way_poll(qr_way_t *w) { return w->link ? poll_link(w) : poll_tcp(w, 0); }

const char *qr_way_congestion(const qr_way_t *w) { return w->congestion; }
