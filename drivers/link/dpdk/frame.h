/* Ethernet, ARP, IPv4 and UDP as bytes: pure functions without any library, so that tests and
   fuzzers reach every branch. Nothing in a received frame is trusted. Addresses and ports are in
   host order. */
#ifndef QR_LINK_DPDK_FRAME_H
#define QR_LINK_DPDK_FRAME_H

#include "base/types.h"

#define QR_FRAME_UDP_HEADER_SZ 42u /* Ethernet 14, IPv4 20, UDP 8 */
#define QR_FRAME_ARP_SZ 60u        /* padded to the smallest Ethernet frame */
#define QR_FRAME_MTU 1500u

typedef struct {
  uint8_t b[6];
} qr_mac_t;

typedef struct {
  qr_mac_t mac;
  uint32_t ip;
  uint16_t port;
} qr_frame_self_t;

enum qr_frame_kind {
  QR_FRAME_BAD,   /* malformed, or addresses that cannot be */
  QR_FRAME_OTHER, /* well-formed as far as read, but not for us */
  QR_FRAME_ARP,
  QR_FRAME_UDP
};

enum qr_frame_arp_op { QR_FRAME_ARP_REQUEST = 1, QR_FRAME_ARP_REPLY = 2 };

typedef struct {
  qr_mac_t mac;            /* sender, both kinds */
  uint32_t ip;             /* sender, both kinds */
  enum qr_frame_arp_op op; /* ARP */
  uint16_t port;           /* UDP: sender's port */
  const uint8_t *payload;  /* UDP: within the frame */
  size_t payload_sz;
} qr_frame_t;

/* Reads the frame of sz bytes at p. checksums_known: the port has verified them. *out is set for
 * ARP and UDP only. */
enum qr_frame_kind qr_frame_parse(const uint8_t *p, size_t sz, const qr_frame_self_t *self,
                                  bool checksums_known, qr_frame_t *out);

/* Writes the headers for a payload of payload_sz bytes that already stands at p +
   QR_FRAME_UDP_HEADER_SZ. The UDP checksum is computed here. */
void qr_frame_put_udp(uint8_t *p, const qr_frame_self_t *self, const qr_mac_t *to, uint32_t ip,
                      uint16_t port, size_t payload_sz);

/* Writes an ARP frame of QR_FRAME_ARP_SZ bytes; to is ignored for a request, which is broadcast. */
void qr_frame_put_arp(uint8_t *p, const qr_frame_self_t *self, enum qr_frame_arp_op op,
                      const qr_mac_t *to, uint32_t ip);

#endif
