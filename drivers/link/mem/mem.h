/* In-process links for simulators and tests: every link that names the same hub can reach the
   others by address. All links of a hub belong to one thread. Time is what the callers of poll say
   it is; the same seed, calls and times give the same events.

   Options: hub=<name> (default "default"), seed=<n> (the first link's counts), delay_us=<n>,
   jitter_us=<n> (one way; the last link that gives them counts), buf_kib=<n> (per stream and
   direction, default 256), idle_ms=<n> (default 30000).

   Bytes sent across a partition are held, as a retransmitting transport would; a connection cut for
   longer than the idle time goes down at both ends. send returns 0 before UP. */
#ifndef QR_LINK_MEM_H
#define QR_LINK_MEM_H

#include "port/link.h"

extern const qr_link_ops_t qr_link_mem_ops;

/* What a link sends from now on leaves it at so many bytes a second (0: at once), all its
   connections together, and arrives so much later still. Control is not held up by the rest. */
void qr_link_mem_pace(qr_link_t *l, uint64_t bytes_per_s, uint64_t later_ns);

/* Puts a link into a group (0 at open). Links of different groups cannot reach each other. */
void qr_link_mem_group(qr_link_t *l, uint32_t group);

/* Puts every link of the hub back into group 0. */
void qr_link_mem_heal(qr_link_t *l);

/* Breaks a connection at both ends at once; bytes on the way are lost. Both ends get DOWN. */
void qr_link_mem_kill(qr_link_t *l, qr_link_conn_t c);

#endif
