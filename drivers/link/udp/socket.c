#include "drivers/link/udp/socket.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/err.h"

#define KERNEL_BUF_SZ (4 << 20) /* asked for; the kernel gives what it is configured to */
#define GSO_SEGMENT_MAX_CNT 64u /* of the kernel */
#define GSO_MAX_SZ 65000u       /* an IP packet less its headers */
#define GRO_RX_SZ 65536u
#define PLAIN_RX_SZ 9216u
#define ECN_MASK 3

typedef struct {
  _Alignas(size_t) char b[CMSG_SPACE(sizeof(int)) * 4];
} control_t;

/* ---- addresses ---- */

static socklen_t to_kernel(const qr_sock_t *s, const qr_link_addr_t *a, struct sockaddr_in6 *out) {
  *out = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
  memcpy(&out->sin6_addr, a->ip, sizeof a->ip);
  if (s->v6) return sizeof *out;
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
  memcpy(&v4.sin_addr, a->ip + 12, 4);
  memcpy(out, &v4, sizeof v4);
  return sizeof v4;
}

static qr_link_addr_t from_kernel(const struct sockaddr_in6 *in) {
  qr_link_addr_t a = {.port = ntohs(in->sin6_port)};
  if (in->sin6_family == AF_INET6) {
    memcpy(a.ip, &in->sin6_addr, sizeof a.ip);
    return a;
  }
  struct sockaddr_in v4;
  memcpy(&v4, in, sizeof v4);
  a.ip[10] = a.ip[11] = 0xff;
  memcpy(a.ip + 12, &v4.sin_addr, 4);
  return a;
}

bool qr_sock_has_route(const qr_sock_t *s, const qr_link_addr_t *to) {
  static const uint8_t none[16];
  if (qr_link_addr_is_v4(to)) return to->ip[12] != 0 && to->ip[12] < 224;
  return s->v6 && to->ip[0] != 0xff && memcmp(to->ip, none, sizeof none) != 0;
}

/* ---- opening ---- */

static void set_int(int fd, int level, int name, int value) {
  (void)setsockopt(fd, level, name, &value, sizeof value); /* what is refused is done without */
}

static void configure(qr_sock_t *s) {
  int one = 1;
  set_int(s->fd, SOL_SOCKET, SO_RCVBUF, KERNEL_BUF_SZ);
  set_int(s->fd, SOL_SOCKET, SO_SNDBUF, KERNEL_BUF_SZ);
  /* QUIC finds the path's size by itself and must not be cut in pieces. */
  set_int(s->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  set_int(s->fd, IPPROTO_IP, IP_RECVTOS, 1);
  if (s->v6) {
    set_int(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
    set_int(s->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
  s->gso = !setsockopt(s->fd, SOL_UDP, UDP_SEGMENT, &(int){0}, sizeof(int));
  s->rx_sz = setsockopt(s->fd, SOL_UDP, UDP_GRO, &one, sizeof one) ? PLAIN_RX_SZ : GRO_RX_SZ;
}

int qr_sock_open(const qr_link_addr_t *local, uint32_t datagram_sz, qr_sock_t *out, char *why,
                 size_t why_sz) {
  struct sockaddr_in6 sa;
  char text[QR_LINK_ADDR_STR_SZ];
  *out = (qr_sock_t){.fd = -1, .v6 = !qr_link_addr_is_v4(local), .datagram_sz = datagram_sz};
  out->fd = socket(out->v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (out->fd < 0) {
    snprintf(why, why_sz, "the kernel gives no UDP socket (%s)", strerror(errno));
    return QR_ERR_IO;
  }
  configure(out);
  out->tx = malloc(QR_SOCK_TX_SZ);
  out->rx = malloc((size_t)out->rx_sz * QR_SOCK_RX_CNT);
  int err = out->tx && out->rx ? QR_OK : QR_ERR_NOMEM;
  socklen_t sz = to_kernel(out, local, &sa);
  if (err) {
    snprintf(why, why_sz, "out of memory");
  } else if (bind(out->fd, (struct sockaddr *)&sa, sz)) {
    snprintf(why, why_sz,
             "cannot listen on %s (%s); listen on an address of this host, and one port per node",
             qr_link_addr_str(local, text), strerror(errno));
    err = errno == EADDRINUSE ? QR_ERR_BUSY : QR_ERR_IO;
  }
  if (err) qr_sock_close(out);
  return err;
}

void qr_sock_close(qr_sock_t *s) {
  if (s->fd >= 0 && s->tx) qr_sock_flush(s);
  if (s->fd >= 0) close(s->fd);
  free(s->tx);
  free(s->rx);
  *s = (qr_sock_t){.fd = -1};
}

/* ---- sending ---- */

uint8_t *qr_sock_room(qr_sock_t *s) {
  if (QR_SOCK_TX_SZ - s->tx_used < s->datagram_sz || s->msg_cnt == QR_SOCK_MSG_CNT)
    qr_sock_flush(s);
  if (QR_SOCK_TX_SZ - s->tx_used < s->datagram_sz || s->msg_cnt == QR_SOCK_MSG_CNT) return NULL;
  return s->tx + s->tx_used;
}

static bool extends(const qr_sock_t *s, const qr_sock_msg_t *m, const qr_link_addr_t *to,
                    uint8_t ecn, size_t sz) {
  return s->gso && sz <= m->segment_sz && m->sz == m->segment_sz * m->segment_cnt &&
         m->segment_cnt < GSO_SEGMENT_MAX_CNT && m->sz + sz <= GSO_MAX_SZ && m->ecn == ecn &&
         !memcmp(&m->to, to, sizeof *to);
}

void qr_sock_commit(qr_sock_t *s, const qr_link_addr_t *to, uint8_t ecn, size_t sz) {
  QR_ASSERT(sz <= s->datagram_sz);
  if (!sz) return;
  qr_sock_msg_t *m = s->msg_cnt ? &s->msg[s->msg_cnt - 1] : NULL;
  if (m && extends(s, m, to, ecn, sz)) {
    m->sz += (uint32_t)sz;
    m->segment_cnt++;
  } else {
    QR_ASSERT(s->msg_cnt < QR_SOCK_MSG_CNT);
    s->msg[s->msg_cnt++] = (qr_sock_msg_t){.to = *to,
                                           .offset = s->tx_used,
                                           .sz = (uint32_t)sz,
                                           .segment_sz = (uint32_t)sz,
                                           .segment_cnt = 1,
                                           .ecn = ecn};
  }
  s->tx_used += (uint32_t)sz;
}

static void add_control(struct msghdr *h, int level, int type, const void *p, size_t sz) {
  struct cmsghdr *c = (struct cmsghdr *)((char *)h->msg_control + h->msg_controllen);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sz);
  memcpy(CMSG_DATA(c), p, sz);
  h->msg_controllen += CMSG_SPACE(sz);
}

typedef struct {
  struct sockaddr_in6 to;
  struct iovec iov;
  control_t control;
} wire_t;

/* The part of m from offset on, as a message to the kernel. */
static void make_header(const qr_sock_t *s, const qr_sock_msg_t *m, wire_t *w, struct msghdr *h) {
  int ecn = m->ecn;
  uint16_t segment_sz = (uint16_t)m->segment_sz;
  w->iov = (struct iovec){s->tx + m->offset, m->sz};
  *h = (struct msghdr){.msg_name = &w->to,
                       .msg_namelen = to_kernel(s, &m->to, &w->to),
                       .msg_iov = &w->iov,
                       .msg_iovlen = 1,
                       .msg_control = w->control.b};
  memset(&w->control, 0, sizeof w->control);
  if (ecn && qr_link_addr_is_v4(&m->to))
    add_control(h, IPPROTO_IP, IP_TOS, &ecn, sizeof ecn);
  else if (ecn)
    add_control(h, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof ecn);
  if (m->segment_cnt > 1) add_control(h, SOL_UDP, UDP_SEGMENT, &segment_sz, sizeof segment_sz);
}

/* The kernel will not cut this message: a device without checksums in hardware, say. Returns
   whether it took any of the pieces; if not, cutting was not what it minded. */
static bool send_pieces(qr_sock_t *s, const qr_sock_msg_t *m) {
  bool took = false;
  for (uint32_t at = 0; at < m->sz; at += m->segment_sz) {
    wire_t w;
    struct msghdr h;
    qr_sock_msg_t one = *m;
    one.offset += at;
    one.sz = m->sz - at < m->segment_sz ? m->sz - at : m->segment_sz;
    one.segment_cnt = 1;
    make_header(s, &one, &w, &h);
    bool sent = sendmsg(s->fd, &h, MSG_DONTWAIT) >= 0;
    s->tx_dropped += !sent;
    took |= sent;
  }
  return took;
}

/* The first queued message was refused. Returns false if it may go later. */
static bool give_up(qr_sock_t *s, const qr_sock_msg_t *m, int error) {
  if (error == EAGAIN || error == ENOBUFS || error == EINTR) return false;
  if (m->segment_cnt > 1 && (error == EIO || error == EINVAL)) {
    if (send_pieces(s, m)) s->gso = false;
  } else {
    s->tx_dropped += m->segment_cnt;
  }
  return true;
}

void qr_sock_flush(qr_sock_t *s) {
  struct mmsghdr h[QR_SOCK_MSG_CNT];
  wire_t w[QR_SOCK_MSG_CNT];
  uint32_t sent = 0;
  for (uint32_t i = 0; i < s->msg_cnt; i++) {
    h[i].msg_len = 0;
    make_header(s, &s->msg[i], &w[i], &h[i].msg_hdr);
  }
  while (sent < s->msg_cnt) {
    int n = sendmmsg(s->fd, h + sent, s->msg_cnt - sent, MSG_DONTWAIT);
    if (n > 0)
      sent += (uint32_t)n;
    else if (give_up(s, &s->msg[sent], errno))
      sent++;
    else
      break;
  }
  memmove(s->msg, s->msg + sent, (s->msg_cnt - sent) * sizeof *s->msg);
  s->msg_cnt -= sent;
  if (!s->msg_cnt) s->tx_used = 0;
}

/* ---- receiving ---- */

static void read_control(struct msghdr *h, uint8_t *ecn, uint32_t *segment_sz) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
    int value = 0;
    size_t sz = c->cmsg_len - CMSG_LEN(0);
    memcpy(&value, CMSG_DATA(c), sz < sizeof value ? sz : sizeof value);
    if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
        (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS))
      *ecn = (uint8_t)(value & ECN_MASK);
    else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO && value > 0)
      *segment_sz = (uint32_t)value;
  }
}

uint32_t qr_sock_receive(qr_sock_t *s, qr_sock_receive_fn fn, void *ctx) {
  struct mmsghdr h[QR_SOCK_RX_CNT];
  struct iovec iov[QR_SOCK_RX_CNT];
  struct sockaddr_in6 from[QR_SOCK_RX_CNT];
  control_t control[QR_SOCK_RX_CNT];
  for (uint32_t i = 0; i < QR_SOCK_RX_CNT; i++) {
    iov[i] = (struct iovec){s->rx + (size_t)i * s->rx_sz, s->rx_sz};
    h[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                   .msg_namelen = sizeof from[i],
                                   .msg_iov = &iov[i],
                                   .msg_iovlen = 1,
                                   .msg_control = control[i].b,
                                   .msg_controllen = sizeof control[i].b};
  }
  int n = recvmmsg(s->fd, h, QR_SOCK_RX_CNT, MSG_DONTWAIT, NULL);
  for (int i = 0; i < n; i++) {
    uint8_t ecn = 0;
    uint32_t sz = h[i].msg_len, segment_sz = sz;
    read_control(&h[i].msg_hdr, &ecn, &segment_sz);
    qr_link_addr_t a = from_kernel(&from[i]);
    if (h[i].msg_hdr.msg_flags & MSG_TRUNC || !a.port || !sz) {
      s->rx_dropped++;
      continue;
    }
    for (uint32_t at = 0; at < sz; at += segment_sz)
      fn(ctx, &a, ecn, (uint8_t *)iov[i].iov_base + at,
         sz - at < segment_sz ? sz - at : segment_sz);
  }
  return n > 0 ? (uint32_t)n : 0;
}
