/* Neighbours: which MAC address an IP address of the own network has, learnt by ARP or neighbour
   discovery. Fixed size, no clock of its own; one table per family, so that a flood of one cannot
   touch the other.

   An entry that was made or changed by an answer to a question of ours is proven: live for
   QR_NEIGH_LIVE_NS, then usable but asked for again, and forgotten at QR_NEIGH_FORGET_NS. Nothing
   but another answer changes it. A host's question to us proves nothing: it makes an entry only
   where there is none, which is usable, asked for when it is used, and pushes out nobody whom we
   know or ask for; where there is one with another MAC address, that is asked for earlier. */
#ifndef QR_LINK_DPDK_NEIGH_H
#define QR_LINK_DPDK_NEIGH_H

#include "drivers/link/dpdk/frame.h"

#define QR_NEIGH_CNT 512u
#define QR_NEIGH_PROBE_CNT 8u /* places where an address can stand */
#define QR_NEIGH_LIVE_NS UINT64_C(30000000000)
#define QR_NEIGH_HINT_NS UINT64_C(5000000000) /* not before it is so old */
#define QR_NEIGH_FORGET_NS UINT64_C(120000000000)
#define QR_NEIGH_ASK_MIN_NS UINT64_C(20000000) /* first repetition; doubles up to */
#define QR_NEIGH_ASK_MAX_NS UINT64_C(1000000000)
#define QR_NEIGH_ANSWER_NS UINT64_C(2000000000) /* a question stands that long */

typedef struct {
  uint8_t ip[16];
  bool used;           /* the place is taken */
  bool known, waiting; /* waiting: asked and not answered */
  bool proven;         /* what is known was an answer */
  qr_mac_t mac;
  uint64_t learnt_at, asked_at, ask_gap_ns, used_at;
} qr_neigh_entry_t;

typedef struct {
  qr_neigh_entry_t entry[QR_NEIGH_CNT];
  uint64_t secret[5];
} qr_neigh_t;

/* secret: random, so that nobody can choose addresses that share places. */
void qr_neigh_init(qr_neigh_t *t, uint64_t secret);

/* Looks ip up, making an entry if there is none. Returns true and *mac if known. *ask: a question
   has to be sent now (it is noted as sent); questions for one address are paced. */
bool qr_neigh_find(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns, qr_mac_t *mac, bool *ask);

/* A question or an answer addressed to us. */
void qr_neigh_learn(qr_neigh_t *t, const qr_frame_t *f, uint64_t now_ns);

/* The link was away: who is known is used on, but asked for again at once. */
void qr_neigh_doubt(qr_neigh_t *t);

/* How many are known now. */
uint32_t qr_neigh_known_cnt(const qr_neigh_t *t, uint64_t now_ns);

#endif
