/* Ethernet, ARP, IPv4, IPv6, neighbour discovery and UDP as bytes: pure functions without any
   library, so that tests and fuzzers reach every branch. Nothing in a received frame is trusted.
   Addresses are those of port/link.h: 16 bytes, IPv4 as ::ffff:a.b.c.d; ports in host order. */
#ifndef QR_LINK_DPDK_FRAME_H
#define QR_LINK_DPDK_FRAME_H

#include "port/link.h"

#define QR_FRAME_ETHER_SZ 14u
#define QR_FRAME_UDP4_HEADER_SZ 42u /* Ethernet 14, IPv4 20, UDP 8 */
#define QR_FRAME_UDP6_HEADER_SZ 62u /* Ethernet 14, IPv6 40, UDP 8 */
#define QR_FRAME_MEMBER_SZ 90u      /* an MLD report of one group */
#define QR_FRAME_NEIGH_MAX_SZ 86u   /* neighbour discovery with one option; ARP has 60 */

typedef struct {
  uint8_t b[6];
} qr_mac_t;

/* Who we are: an address of one family or of both, and the UDP port. */
typedef struct {
  qr_mac_t mac;
  bool has4, has6;
  uint8_t ip4[16], ip6[16];
  uint16_t port;
} qr_frame_self_t;

enum qr_frame_kind {
  QR_FRAME_BAD,   /* malformed, or addresses that cannot be */
  QR_FRAME_OTHER, /* well-formed as far as read, but not for us */
  QR_FRAME_NEIGH, /* ARP, or neighbour solicitation or advertisement */
  QR_FRAME_UDP
};

enum qr_frame_op { QR_FRAME_ASK = 1, QR_FRAME_ANSWER = 2 };

typedef struct {
  qr_mac_t mac;        /* sender, both kinds */
  qr_link_addr_t from; /* UDP: sender; NEIGH: whose MAC it is, port 0. All zeros: a host that looks
                          whether our address is taken */
  enum qr_frame_op op; /* NEIGH */
  uint8_t ecn;         /* UDP: the two ECN bits */
  const uint8_t *payload; /* UDP: within the frame */
  size_t payload_sz;
} qr_frame_t;

/* Checksums that the port has found right, as bits. */
enum qr_frame_known { QR_FRAME_IP_KNOWN = 1, QR_FRAME_UDP_KNOWN = 2 };

/* Reads the frame of sz bytes at p. known: enum qr_frame_known. *out is set for NEIGH and UDP only.
 */
enum qr_frame_kind qr_frame_parse(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                  unsigned known, qr_frame_t *out);

/* Checksums that the port will write, as bits: IPv4's header's; UDP's, to which the sum of the
   pseudo header is written here. */
enum qr_frame_sum { QR_FRAME_IP_BY_PORT = 1, QR_FRAME_UDP_BY_PORT = 2 };

/* Writes the headers in front of a payload of payload_sz bytes, which stands at
   p + qr_frame_udp_header_sz(to). by_port: enum qr_frame_sum. */
void qr_frame_put_udp(uint8_t *p, const qr_frame_self_t *self, const qr_mac_t *mac,
                      const qr_link_addr_t *to, uint8_t ecn, unsigned by_port, size_t payload_sz);
static inline size_t qr_frame_udp_header_sz(const qr_link_addr_t *to) {
  return qr_link_addr_is_v4(to) ? QR_FRAME_UDP4_HEADER_SZ : QR_FRAME_UDP6_HEADER_SZ;
}

/* Writes a question about ip, or the answer to ip at mac (which a question has no need of; all-zero
   ip: to everybody). Returns the frame's size, at most QR_FRAME_NEIGH_MAX_SZ. */
size_t qr_frame_put_neigh(uint8_t *p, const qr_frame_self_t *self, enum qr_frame_op op,
                          const qr_mac_t *mac, const uint8_t ip[16]);

/* The multicast MAC address at which others ask for ip6. */
qr_mac_t qr_frame_solicited_mac(const uint8_t ip6[16]);

/* Writes an MLDv2 report of QR_FRAME_MEMBER_SZ bytes, by which switches that snoop learn that
   others ask for us here. It comes from nobody (::), as of hosts without a link-local address. */
void qr_frame_put_member(uint8_t *p, const qr_frame_self_t *self);

/* An address that a single host can have. */
bool qr_frame_is_host(const uint8_t ip[16]);

#endif
