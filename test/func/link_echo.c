/* One end of a conversation over a link driver, for test_link*.sh. A server answers every CONTROL
   byte range as it is, and echoes SYNC; a client checks identities, pings on CONTROL while a
   megabyte goes round on SYNC, and prints what it measured; brief: fewer of them.

   link_echo server|client|brief|refused|idle <driver> <options> <own address> <own seed byte>
   [<peer's address> <peer's seed byte>]
   link_echo ask <telemetry socket> <command>
   link_echo plain <interface>: the kernel computes checksums itself, as after ethtool -K
   <interface> tx off */
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "port/clock.h"
#include "port/drivers.h"

#define MESSAGE_SZ (1u << 20)
#define PING_SZ 300u
#define PING_CNT 2000u
#define BULK_CNT 20u
#define LIMIT_NS UINT64_C(60000000000)
#define EV_CNT 32

typedef struct {
  const qr_link_ops_t *ops;
  qr_link_t *link;
  qr_clock_t clock;
  qr_link_conn_t conn;
  bool up, down, writable;
  const char *reason;
  uint64_t sync_in, control_in, bad_cnt;
  uint64_t end_ns;
} end_t;

static volatile sig_atomic_t stopped;
static void on_signal(int sig) { stopped = sig; }

static uint64_t now_of(const end_t *e) { return e->clock.mono_ns(e->clock.ctx); }
static uint8_t pattern(uint64_t i) { return (uint8_t)(i * 2654435761u >> 13); }

static void die(const char *what) {
  fprintf(stderr, "link_echo: %s\n", what);
  exit(1);
}

/* ---- server ---- */

typedef struct {
  uint8_t *buf;
  uint64_t rd, wr;
} backlog_t; /* of one stream, what could not be sent yet */
#define BACKLOG_SZ (8u << 20)
#define UNDERWAY_MAX_SZ (BACKLOG_SZ / 2) /* of a client's bytes that have not come back */
#define SERVER_CONN_CNT 64u

static backlog_t backlog[SERVER_CONN_CNT][QR_LINK_CLASS_CNT];

static void push_backlog(end_t *e, qr_link_conn_t c, enum qr_link_class cls) {
  backlog_t *b = &backlog[c % SERVER_CONN_CNT][cls];
  while (b->rd < b->wr) {
    int64_t n = e->ops->send(e->link, c, cls, b->buf + b->rd, b->wr - b->rd);
    if (n <= 0) return;
    b->rd += (uint64_t)n;
  }
  b->rd = b->wr = 0;
}

static void echo(end_t *e, const qr_link_event_t *ev) {
  backlog_t *b = &backlog[ev->conn % SERVER_CONN_CNT][ev->cls];
  if (!b->buf && !(b->buf = malloc(BACKLOG_SZ))) die("no memory");
  if (b->wr + ev->sz > BACKLOG_SZ) {
    memmove(b->buf, b->buf + b->rd, b->wr - b->rd);
    b->wr -= b->rd;
    b->rd = 0;
  }
  if (b->wr + ev->sz > BACKLOG_SZ) die("backlog overflow");
  memcpy(b->buf + b->wr, ev->data, ev->sz);
  b->wr += ev->sz;
  push_backlog(e, ev->conn, ev->cls);
}

static int serve(end_t *e) {
  printf("ready\n");
  fflush(stdout);
  uint64_t busy_at = 0;
  while (!stopped) {
    qr_link_event_t ev[EV_CNT];
    int n = e->ops->poll(e->link, now_of(e), ev, EV_CNT);
    for (int i = 0; i < n; i++) {
      char hex[2 * QR_PUBKEY_SZ + 1];
      if (ev[i].kind == QR_LINK_UP) {
        for (int k = 0; k < QR_LINK_CLASS_CNT; k++)
          backlog[ev[i].conn % SERVER_CONN_CNT][k].rd =
              backlog[ev[i].conn % SERVER_CONN_CNT][k].wr = 0;
        printf("up conn=%u inbound=%d peer=%.8s\n", ev[i].conn, ev[i].inbound,
               qr_hex(hex, ev[i].peer.b, QR_PUBKEY_SZ));
      } else if (ev[i].kind == QR_LINK_DOWN)
        printf("down conn=%u reason=%s\n", ev[i].conn, ev[i].reason);
      else if (ev[i].kind == QR_LINK_DATA)
        echo(e, &ev[i]);
      else
        push_backlog(e, ev[i].conn, ev[i].cls);
    }
    fflush(stdout);
    if (n)
      busy_at = now_of(e);
    else if (now_of(e) - busy_at > 200000)
      usleep(20);
  }
  qr_link_stats_t st;
  e->ops->stats(e->link, &st);
  printf("stats rx=%lu tx=%lu rx_dropped=%lu tx_dropped=%lu failed=%lu\n", st.rx_pkts, st.tx_pkts,
         st.rx_dropped, st.tx_dropped, st.handshakes_failed);
  e->ops->close(e->link);
  return 0;
}

/* ---- client ---- */

static void on_data(end_t *e, const qr_link_event_t *ev) {
  if (ev->cls == QR_LINK_SYNC) {
    for (size_t i = 0; i < ev->sz; i++) e->bad_cnt += ev->data[i] != pattern(e->sync_in + i);
    e->sync_in += ev->sz;
  } else if (ev->cls == QR_LINK_CONTROL)
    e->control_in += ev->sz;
  else
    e->bad_cnt++;
}

static void step(end_t *e) {
  qr_link_event_t ev[EV_CNT];
  int n = e->ops->poll(e->link, now_of(e), ev, EV_CNT);
  for (int i = 0; i < n; i++) {
    if (ev[i].conn != e->conn) continue;
    if (ev[i].kind == QR_LINK_UP)
      e->up = true;
    else if (ev[i].kind == QR_LINK_DATA)
      on_data(e, &ev[i]);
    else if (ev[i].kind == QR_LINK_WRITABLE)
      e->writable = true;
    else {
      e->down = true;
      e->reason = ev[i].reason;
    }
  }
  if (now_of(e) > e->end_ns) die("took too long");
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Sends cnt messages of sz bytes on a class, one after the other, each echoed back; times go to
 * ns[]. */
static void ping(end_t *e, enum qr_link_class cls, uint64_t sz, uint32_t cnt, uint64_t *ns) {
  static uint8_t buf[MESSAGE_SZ];
  uint64_t *in = cls == QR_LINK_SYNC ? &e->sync_in : &e->control_in;
  for (uint32_t i = 0; i < cnt; i++) {
    uint64_t base = *in, sent = 0, start = now_of(e);
    for (uint64_t k = 0; k < sz; k++) buf[k] = pattern(base + k);
    start = now_of(e);
    while (*in < base + sz && !e->down) {
      if (sent < sz) {
        int64_t n = e->ops->send(e->link, e->conn, cls, buf + sent, sz - sent);
        if (n < 0) die("send failed");
        sent += (uint64_t)n;
      }
      step(e);
    }
    if (e->down) die(e->reason);
    ns[i] = now_of(e) - start;
  }
  qsort(ns, cnt, sizeof *ns, compare);
}

/* A megabyte goes round on SYNC while CONTROL is pinged; the pings must not wait behind the bulk.
 */
static uint64_t ping_under_load(end_t *e, uint64_t bulk_cnt) {
  static uint8_t bulk[MESSAGE_SZ];
  static uint64_t ns[100000];
  uint8_t small[PING_SZ] = {0};
  uint64_t base = e->sync_in, want = base + bulk_cnt * MESSAGE_SZ, sent = base;
  uint32_t cnt = 0;
  while (e->sync_in < want) {
    uint64_t start = now_of(e), control = e->control_in;
    if (e->ops->send(e->link, e->conn, QR_LINK_CONTROL, small, sizeof small) !=
        (int64_t)sizeof small)
      die("control is blocked");
    while (e->control_in < control + sizeof small && !e->down) {
      uint64_t n = want - sent < sizeof bulk ? want - sent : sizeof bulk;
      if (n > 65536) n = 65536;
      if (sent - e->sync_in > UNDERWAY_MAX_SZ) n = 0;
      for (uint64_t i = 0; i < n; i++) bulk[i] = pattern(sent + i);
      int64_t took = n ? e->ops->send(e->link, e->conn, QR_LINK_SYNC, bulk, n) : 0;
      if (took > 0) sent += (uint64_t)took;
      step(e);
    }
    if (e->down) die(e->reason);
    if (cnt < QR_ARRAY_CNT(ns)) ns[cnt++] = now_of(e) - start;
  }
  qsort(ns, cnt, sizeof *ns, compare);
  return ns[cnt / 2];
}

static int converse(end_t *e, bool brief) {
  static uint64_t rtt[PING_CNT], bulk[BULK_CNT];
  uint32_t ping_cnt = brief ? PING_CNT / 20 : PING_CNT, bulk_cnt = brief ? 2 : BULK_CNT;
  while (!e->up && !e->down) step(e);
  if (e->down) die(e->reason);
  ping(e, QR_LINK_SYNC, MESSAGE_SZ, bulk_cnt, bulk);
  ping(e, QR_LINK_CONTROL, PING_SZ, ping_cnt, rtt);
  uint64_t loaded = ping_under_load(e, bulk_cnt);
  if (e->bad_cnt) die("bytes came back changed");
  qr_link_stats_t st;
  if (e->ops->conn_stats(e->link, e->conn, &st)) die("no statistics");
  printf("ok rtt300_us p50=%.1f p99=%.1f echo1mb_us p50=%.0f p90=%.0f rtt300_under_load_us "
         "p50=%.0f srtt_us=%.1f\n",
         (double)rtt[ping_cnt / 2] / 1e3, (double)rtt[ping_cnt * 99 / 100] / 1e3,
         (double)bulk[bulk_cnt / 2] / 1e3, (double)bulk[bulk_cnt * 9 / 10] / 1e3,
         (double)loaded / 1e3, (double)st.rtt_ns / 1e3);
  e->ops->disconnect(e->link, e->conn);
  e->ops->close(e->link);
  return 0;
}

/* Waits until the connection is down and prints why. hold: it has to come up first. */
static int await_down(end_t *e, bool hold) {
  while (!e->up && !e->down) step(e);
  if (hold && e->up) {
    printf("up\n");
    fflush(stdout);
  }
  if (!hold && e->up) die("connection came up");
  while (!e->down) {
    step(e);
    usleep(100);
  }
  printf("down reason=%s\n", e->reason);
  e->ops->close(e->link);
  return 0;
}

static qr_link_addr_t addr_of(const char *text) {
  qr_link_addr_t a;
  if (!qr_link_addr_parse(text, 0, &a)) die("bad address");
  return a;
}

static qr_key_t key_of(const char *text) {
  uint8_t seed[32] = {(uint8_t)atoi(text)};
  qr_key_t key;
  qr_key_from_seed(seed, &key);
  return key;
}

static int switch_checksums_off(const char *iface) {
  struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM};
  struct ifreq req = {.ifr_data = (char *)&off};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  snprintf(req.ifr_name, sizeof req.ifr_name, "%s", iface);
  if (fd < 0 || ioctl(fd, SIOCETHTOOL, &req)) die("the interface keeps its checksum offload");
  close(fd);
  return 0;
}

/* DPDK's telemetry: a greeting, then an answer to each command. */
static int ask(const char *path, const char *command) {
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  static char text[65536];
  int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
  if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof un)) die("no telemetry there");
  if (read(fd, text, sizeof text) <= 0 || write(fd, command, strlen(command)) < 0)
    die("telemetry is silent");
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0) die("telemetry does not answer");
  text[n] = 0;
  puts(text);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "plain")) return switch_checksums_off(argv[2]);
  if (argc == 4 && !strcmp(argv[1], "ask")) return ask(argv[2], argv[3]);
  if (argc < 6)
    die("usage: link_echo server|client|brief|refused|idle <driver> <options> <own address> <own "
        "seed> "
        "[<peer address> <peer seed>]");
  end_t e = {.ops = qr_link_driver(argv[2]), .clock = qr_clock_system()};
  if (!e.ops) die("no such driver");
  if (qr_crypto_init()) die("no randomness");
  signal(SIGTERM, on_signal);
  prctl(PR_SET_TIMERSLACK, 1000);
  qr_key_t own = key_of(argv[5]);
  qr_link_cfg_t cfg = {
      .options = argv[3], .local = addr_of(argv[4]), .identity = &own, .conn_max_cnt = 16};
  char why[512];
  int err = e.ops->open(&cfg, &e.link, why, sizeof why);
  if (err) {
    fprintf(stderr, "link_echo: %s: %s\n", qr_err_str(err), why);
    return 2;
  }
  e.end_ns = now_of(&e) + LIMIT_NS;
  if (!strcmp(argv[1], "server")) return serve(&e);
  if (argc < 8) die("peer address and seed are missing");
  qr_link_addr_t to = addr_of(argv[6]);
  qr_key_t peer = key_of(argv[7]);
  if (e.ops->connect(e.link, &to, &peer.pk, &e.conn)) die("connect failed");
  if (!strcmp(argv[1], "client")) return converse(&e, false);
  if (!strcmp(argv[1], "brief")) return converse(&e, true);
  return await_down(&e, !strcmp(argv[1], "idle"));
}
