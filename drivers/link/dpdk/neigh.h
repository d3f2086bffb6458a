/* Neighbours: which MAC address an IP address of the own network has, learnt by ARP or neighbour
   discovery. Fixed size, no clock of its own; one table per family, so that a flood of one cannot
   touch the other.

   What is known is told (a host's question to us, which proves nothing: it makes an entry only
   where there is none, is asked for when it is used, and pushes out nobody whom we know or ask
   for), answered (to a question of ours), or heard (a packet came from there that only the peer can
   have made). Told is asked for at once, the others when their time is over: heard after
   QR_NEIGH_LIVE_NS, answered after QR_NEIGH_FIRST_NS, doubling with each answer that says the same.
   They are used until then, and forgotten at QR_NEIGH_FORGET_NS. A host's question from another
   MAC address than is known makes us ask after QR_NEIGH_HINT_NS already.

   Anybody can answer a question, and first. So one answer changes nothing that is known: another
   MAC address is taken only if the one in use does not answer for QR_NEIGH_HOLD_NS, or, unless it
   was heard, if the other answers again and again. Of two that always answer, each gets its turns
   until one of them is heard. */
#ifndef QR_LINK_DPDK_NEIGH_H
#define QR_LINK_DPDK_NEIGH_H

#include "drivers/link/dpdk/frame.h"

#define QR_NEIGH_CNT 512u
#define QR_NEIGH_PROBE_CNT 8u /* places where an address can stand */
#define QR_NEIGH_LIVE_NS UINT64_C(30000000000)
#define QR_NEIGH_FIRST_NS UINT64_C(500000000)
#define QR_NEIGH_HOLD_NS UINT64_C(500000000)
#define QR_NEIGH_HINT_NS UINT64_C(5000000000) /* not before it is so old */
#define QR_NEIGH_FORGET_NS UINT64_C(120000000000)
#define QR_NEIGH_ASK_MIN_NS UINT64_C(20000000) /* first repetition; doubles up to */
#define QR_NEIGH_ASK_MAX_NS UINT64_C(1000000000)
#define QR_NEIGH_ANSWER_NS UINT64_C(2000000000) /* a question stands that long */

enum qr_neigh_proof { QR_NEIGH_NONE, QR_NEIGH_TOLD, QR_NEIGH_ANSWERED, QR_NEIGH_HEARD };

typedef struct {
  uint8_t ip[16];
  bool used;    /* the place is taken */
  bool waiting; /* asked, and mac has not answered */
  enum qr_neigh_proof proof;
  qr_mac_t mac;
  qr_mac_t other;     /* that answered, too */
  uint32_t other_cnt; /* to how many questions in a row; 0: there is none */
  bool other_now;     /* to the last one */
  uint64_t learnt_at; /* when mac was told, answered or heard last */
  uint64_t live_ns;   /* how long an answer is believed */
  uint64_t wait_at;   /* since when waiting */
  uint64_t asked_at, ask_gap_ns, used_at;
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

/* A packet that only the host at ip can have made came from mac. */
void qr_neigh_heard(qr_neigh_t *t, const uint8_t ip[16], const qr_mac_t *mac, uint64_t now_ns);

/* The link was away: who is known is used on, but asked for again at once. */
void qr_neigh_doubt(qr_neigh_t *t);

/* How many are known now. */
uint32_t qr_neigh_known_cnt(const qr_neigh_t *t, uint64_t now_ns);

#endif
