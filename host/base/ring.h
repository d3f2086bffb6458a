/* Single-producer single-consumer ring of fixed-size items, the only channel between tiles.
   Lock-free: one release store and one acquire load per operation. Depth is a power of two. Memory
   is the caller's: footprint -> init. */
#ifndef QR_BASE_RING_H
#define QR_BASE_RING_H

#include "base/bell.h"

typedef struct qr_ring qr_ring_t;

/* Bytes needed, 64-byte aligned; 0 if depth is not a power of two or a size is out of range (<=
 * 2^20 items of <= 4 KiB). */
size_t qr_ring_footprint(uint32_t depth, uint32_t item_sz);

/* Formats mem (64-byte aligned, qr_ring_footprint bytes, borrowed for the ring's life). */
qr_ring_t *qr_ring_init(void *mem, uint32_t depth, uint32_t item_sz);

/* Whom to wake when something was pushed; NULL (at first): nobody. Before the ring is used. */
void qr_ring_set_bell(qr_ring_t *r, qr_bell_t *bell);

/* Producer: copies item in; false if full. */
bool qr_ring_push(qr_ring_t *r, const void *item) QR_WARN_UNUSED;

/* Consumer: copies the oldest item out; false if empty. */
bool qr_ring_pop(qr_ring_t *r, void *item) QR_WARN_UNUSED;

/* Items waiting, as either side sees them now. */
uint32_t qr_ring_cnt(const qr_ring_t *r);

/* Free places as the producer sees them now; never less until it pushes. */
uint32_t qr_ring_room(const qr_ring_t *r);

#endif
