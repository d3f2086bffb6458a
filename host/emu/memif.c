/* A memif client as a port: we are the server on a socket of our own and share the client's memory.
   Without DPDK, for the emulator sleeps: a client kicks an event descriptor when it has sent. One
   client at a time, one ring each way; another may come when it has gone. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "emu/port.h"

/* ---- memif 2.0 on the wire and in memory: all little-endian ---- */

#define COOKIE 0x3E31F20u
#define VERSION 0x0200u
#define MSG_SZ 128u
#define REGION_MAX_CNT 4u
#define RING_MAX_LOG2 14u
#define REGION_MAX_SZ (1u << 30)
#define DESC_SZ 16u
#define RING_HEADER_SZ 128u /* cookie, flags, head; tail in a cache line of its own */
#define CONTROL_EVERY 256u  /* looks at the ring between looks at the control channel */
#define FLAG_NEXT 1u
#define FLAG_NO_KICK 1u

enum { ACK = 1, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT };
enum { FROM_CLIENT, TO_CLIENT };

typedef struct {
  uint8_t *base; /* NULL: none */
  uint32_t log2_cnt, region;
  uint64_t offset;
  uint16_t at; /* next descriptor of ours */
  int kick_fd;
  bool known;
} ring_t;

typedef struct {
  int listen_fd, fd;
  char path[sizeof((struct sockaddr_un *)0)->sun_path];
  struct {
    uint8_t *p;
    uint64_t sz;
  } regions[REGION_MAX_CNT];
  ring_t rings[2];
  bool up;
  uint32_t lent, frame_max_sz, looks;
  qr_emu_port_stats_t stats;
} memif_t;

/* ---- control channel ---- */

static void hang_up(memif_t *m) {
  if (m->fd >= 0) close(m->fd);
  m->fd = -1;
  for (uint32_t i = 0; i < REGION_MAX_CNT; i++) {
    if (m->regions[i].p) munmap(m->regions[i].p, m->regions[i].sz);
    m->regions[i].p = NULL;
  }
  for (uint32_t i = 0; i < 2; i++) {
    if (m->rings[i].known && m->rings[i].kick_fd >= 0) close(m->rings[i].kick_fd);
    m->rings[i] = (ring_t){.kick_fd = -1};
  }
  m->up = false;
  m->lent = 0;
}

static bool tell(memif_t *m, uint16_t type, const void *body, size_t sz) {
  uint8_t msg[MSG_SZ] = {0};
  qr_st16(msg, type);
  if (sz) memcpy(msg + 2, body, sz);
  return send(m->fd, msg, sizeof msg, MSG_NOSIGNAL) == (ssize_t)sizeof msg;
}

static void welcome(memif_t *m) {
  int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (m->fd >= 0) {
    close(fd); /* it tries again later */
    return;
  }
  m->fd = fd;
  uint8_t hello[43] = "quarry net emulate"; /* name[32], versions, most region, rings, log2 size */
  qr_st16(hello + 32, VERSION);
  qr_st16(hello + 34, VERSION);
  qr_st16(hello + 36, REGION_MAX_CNT - 1);
  qr_st16(hello + 38, 0);
  qr_st16(hello + 40, 0);
  hello[42] = RING_MAX_LOG2;
  if (!tell(m, HELLO, hello, sizeof hello)) hang_up(m);
}

static bool add_region(memif_t *m, const uint8_t *b, int *fd) {
  uint16_t i = qr_ld16(b);
  uint64_t sz = qr_ld64(b + 2);
  struct stat st;
  if (*fd < 0 || i >= REGION_MAX_CNT || m->regions[i].p || !sz || sz > REGION_MAX_SZ) return false;
  if (fstat(*fd, &st) || (uint64_t)st.st_size < sz) return false;
  void *p = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
  if (p == MAP_FAILED) return false;
  m->regions[i].p = p;
  m->regions[i].sz = sz;
  return true;
}

static bool add_ring(memif_t *m, const uint8_t *b, int *fd) {
  ring_t *r = &m->rings[qr_ld16(b) & 1 ? FROM_CLIENT : TO_CLIENT];
  uint16_t index = qr_ld16(b + 2), region = qr_ld16(b + 4);
  uint32_t offset = qr_ld32(b + 6), log2 = b[10];
  if (index || r->known || region >= REGION_MAX_CNT || log2 > RING_MAX_LOG2) return false;
  *r =
      (ring_t){.known = true, .region = region, .offset = offset, .log2_cnt = log2, .kick_fd = *fd};
  *fd = -1; /* taken */
  return r->kick_fd < 0 || !fcntl(r->kick_fd, F_SETFL, O_NONBLOCK);
}

static bool connect_rings(memif_t *m) {
  for (uint32_t i = 0; i < 2; i++) {
    ring_t *r = &m->rings[i];
    if (!r->known || !m->regions[r->region].p) return false;
    uint64_t need = RING_HEADER_SZ + ((uint64_t)DESC_SZ << r->log2_cnt);
    if (r->offset % 64 || r->offset + need > m->regions[r->region].sz) return false;
    r->base = m->regions[r->region].p + r->offset;
    if (qr_ld32(r->base) != COOKIE) return false;
    r->at = 0;
  }
  qr_st16(m->rings[FROM_CLIENT].base + 4, 0); /* flags: kick us */
  m->up = true;
  return true;
}

static bool obey(memif_t *m, const uint8_t *msg, int *fd) {
  const uint8_t *b = msg + 2;
  static const char name[32] = "quarry";
  switch (qr_ld16(msg)) {
  case INIT: return qr_ld16(b) == VERSION && !b[6] && tell(m, ACK, NULL, 0);
  case ADD_REGION: return add_region(m, b, fd) && tell(m, ACK, NULL, 0);
  case ADD_RING: return add_ring(m, b, fd) && tell(m, ACK, NULL, 0);
  case CONNECT: return connect_rings(m) && tell(m, CONNECTED, name, sizeof name);
  case ACK: return true;
  default: return false;
  }
}

/* Takes one message; false if there is none. */
static bool listen_once(memif_t *m) {
  uint8_t msg[MSG_SZ];
  union {
    char b[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    struct cmsghdr align;
  } ctl;
  struct iovec v = {msg, sizeof msg};
  struct msghdr h = {
      .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof ctl.b};
  ssize_t n = recvmsg(m->fd, &h, MSG_CMSG_CLOEXEC);
  int fd = -1;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n < 0) h.msg_controllen = 0;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
      memcpy(&fd, CMSG_DATA(c), sizeof fd);
  }
  bool good = n == (ssize_t)sizeof msg && obey(m, msg, &fd);
  if (fd >= 0) close(fd); /* a mapping outlives its descriptor */
  if (!good) hang_up(m);
  return good;
}

/* ---- opening ---- */

static void memif_close(void *port) {
  memif_t *m = port;
  hang_up(m);
  if (m->listen_fd >= 0) {
    close(m->listen_fd);
    unlink(m->path);
  }
  free(m);
}

static int memif_open(const char *where, uint32_t frame_max_sz, void **out, char *why,
                      size_t why_sz) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  size_t sz = strlen(where);
  if (!sz || sz >= sizeof at.sun_path) {
    snprintf(why, why_sz, "'%s' cannot be the path of a socket: 1 to %zu characters", where,
             sizeof at.sun_path - 1);
    return QR_ERR_ARG;
  }
  memif_t *m = calloc(1, sizeof *m);
  if (!m) {
    snprintf(why, why_sz, "no memory for the port of '%s'", where);
    return QR_ERR_NOMEM;
  }
  m->listen_fd = m->fd = m->rings[0].kick_fd = m->rings[1].kick_fd = -1;
  m->frame_max_sz = frame_max_sz;
  memcpy(at.sun_path, where, sz);
  memcpy(m->path, where, sz);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  (void)unlink(where); /* of an earlier run */
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4)) {
    snprintf(why, why_sz, "cannot listen at '%s' (%s); its folder must exist and be writable",
             where, strerror(errno));
    if (fd >= 0) close(fd);
    memif_close(m);
    return QR_ERR_IO;
  }
  m->listen_fd = fd;
  *out = m;
  return QR_OK;
}

/* ---- frames ---- */

static uint16_t *head_of(const ring_t *r) { return (uint16_t *)(void *)(r->base + 6); }
static uint16_t *tail_of(const ring_t *r) { return (uint16_t *)(void *)(r->base + 64); }
static uint8_t *desc_of(const ring_t *r, uint16_t i) {
  return r->base + RING_HEADER_SZ + DESC_SZ * (i & ((1u << r->log2_cnt) - 1));
}

/* The descriptor's buffer, NULL if it does not lie in the client's memory. */
static uint8_t *buffer_of(const memif_t *m, const uint8_t *d, uint32_t sz) {
  uint16_t region = qr_ld16(d + 2);
  uint32_t offset = qr_ld32(d + 8);
  if (region >= REGION_MAX_CNT || !m->regions[region].p) return NULL;
  if ((uint64_t)offset + sz > m->regions[region].sz) return NULL;
  return m->regions[region].p + offset;
}

static void control(memif_t *m) {
  welcome(m);
  for (int i = 0; i < 16 && m->fd >= 0 && listen_once(m); i++) {
  }
}

/* How far the client has written; an empty ring's kicks are taken back before it is believed. */
static uint16_t written(memif_t *m) {
  ring_t *r = &m->rings[FROM_CLIENT];
  uint64_t kicks;
  uint16_t head = __atomic_load_n(head_of(r), __ATOMIC_ACQUIRE);
  if (head != r->at || r->kick_fd < 0) return head;
  (void)!read(r->kick_fd, &kicks, sizeof kicks);
  return __atomic_load_n(head_of(r), __ATOMIC_ACQUIRE);
}

static uint32_t memif_rx(void *port, qr_emu_bytes_t *out, uint32_t max) {
  memif_t *m = port;
  ring_t *r = &m->rings[FROM_CLIENT];
  uint32_t cnt = 0;
  if (!m->up || m->looks++ % CONTROL_EVERY == 0) control(m);
  if (!m->up) return 0;
  uint16_t head = written(m);
  bool chained = false;
  while (cnt < max && (uint16_t)(r->at + m->lent) != head) {
    const uint8_t *d = desc_of(r, (uint16_t)(r->at + m->lent++));
    uint32_t sz = qr_ld32(d + 4);
    const uint8_t *p = buffer_of(m, d, sz);
    bool whole = !chained && !(qr_ld16(d) & FLAG_NEXT);
    chained = qr_ld16(d) & FLAG_NEXT; /* frames that need several buffers are longer than ours */
    if (!whole || !p || sz < 14 || sz > m->frame_max_sz) {
      m->stats.rx_bad += !chained;
      continue;
    }
    out[cnt++] = (qr_emu_bytes_t){p, sz};
    m->stats.rx_frames++;
    m->stats.rx_bytes += sz;
  }
  return cnt;
}

static void memif_rx_done(void *port) {
  memif_t *m = port;
  ring_t *r = &m->rings[FROM_CLIENT];
  if (!m->up) return;
  r->at = (uint16_t)(r->at + m->lent);
  m->lent = 0;
  __atomic_store_n(tail_of(r), r->at, __ATOMIC_RELEASE);
}

static void memif_tx(void *port, const qr_emu_bytes_t *frames, uint32_t cnt) {
  memif_t *m = port;
  ring_t *r = &m->rings[TO_CLIENT];
  if (!m->up) {
    m->stats.tx_failed += cnt;
    return;
  }
  uint16_t head = __atomic_load_n(head_of(r), __ATOMIC_ACQUIRE), at = *tail_of(r);
  for (uint32_t i = 0; i < cnt; i++) {
    uint8_t *d = desc_of(r, at), *p = NULL;
    if (at != head && frames[i].sz <= qr_ld32(d + 4)) p = buffer_of(m, d, frames[i].sz);
    if (!p) {
      m->stats.tx_failed++;
      continue;
    }
    memcpy(p, frames[i].p, frames[i].sz);
    qr_st16(d, 0);
    qr_st32(d + 4, frames[i].sz);
    at++;
    m->stats.tx_frames++;
    m->stats.tx_bytes += frames[i].sz;
  }
  __atomic_store_n(tail_of(r), at, __ATOMIC_RELEASE);
  uint64_t one = 1;
  if (!(qr_ld16(r->base + 4) & FLAG_NO_KICK) && r->kick_fd >= 0)
    (void)!write(r->kick_fd, &one, sizeof one);
}

static uint32_t memif_fds(void *port, struct pollfd *out) {
  memif_t *m = port;
  uint32_t cnt = 0;
  out[cnt++] = (struct pollfd){.fd = m->listen_fd, .events = POLLIN};
  if (m->fd >= 0) out[cnt++] = (struct pollfd){.fd = m->fd, .events = POLLIN};
  if (m->up && m->rings[FROM_CLIENT].kick_fd >= 0)
    out[cnt++] = (struct pollfd){.fd = m->rings[FROM_CLIENT].kick_fd, .events = POLLIN};
  return cnt;
}

static qr_emu_port_stats_t *memif_stats(void *port) { return &((memif_t *)port)->stats; }

const qr_emu_port_ops_t qr_emu_memif_ops = {
    .open = memif_open,
    .close = memif_close,
    .rx = memif_rx,
    .rx_done = memif_rx_done,
    .tx = memif_tx,
    .fds = memif_fds,
    .stats = memif_stats,
};
