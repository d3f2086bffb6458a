/* ARP table: which MAC address an IPv4 address of the own network has. Fixed size, no library, no
   clock of its own.

   An entry is live for QR_ARP_LIVE_NS, then usable but asked for again, and forgotten at
   QR_ARP_FORGET_NS. A live entry changes only by an answer to a question that stands; a host's
   question to us makes an entry only where there is none. */
#ifndef QR_LINK_DPDK_ARP_H
#define QR_LINK_DPDK_ARP_H

#include "drivers/link/dpdk/frame.h"

#define QR_ARP_CNT 512u
#define QR_ARP_PROBE_CNT 8u /* places where an address can stand */
#define QR_ARP_LIVE_NS UINT64_C(30000000000)
#define QR_ARP_FORGET_NS UINT64_C(120000000000)
#define QR_ARP_ASK_MIN_NS UINT64_C(20000000) /* first repetition; doubles up to */
#define QR_ARP_ASK_MAX_NS UINT64_C(1000000000)
#define QR_ARP_ANSWER_NS UINT64_C(2000000000) /* a question stands that long */

typedef struct {
  uint32_t ip;         /* 0: free */
  bool known, waiting; /* waiting: asked and not answered */
  qr_mac_t mac;
  uint64_t learnt_at, asked_at, ask_gap_ns, used_at;
} qr_arp_entry_t;

typedef struct {
  qr_arp_entry_t entry[QR_ARP_CNT];
  uint64_t secret;
} qr_arp_t;

/* secret: random, so that nobody can choose addresses that share places. */
void qr_arp_init(qr_arp_t *t, uint64_t secret);

/* Looks ip up, making an entry if there is none. Returns true and *mac if known. *ask: a request
   has to be sent now (it is noted as sent); requests for one address are paced. */
bool qr_arp_find(qr_arp_t *t, uint32_t ip, uint64_t now_ns, qr_mac_t *mac, bool *ask);

/* A request or a reply addressed to us. */
void qr_arp_learn(qr_arp_t *t, const qr_frame_t *f, uint64_t now_ns);

#endif
