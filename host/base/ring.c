#include "base/ring.h"

#include <stdatomic.h>

#include "base/assert.h"

#define DEPTH_MAX (1u << 20)
#define ITEM_MAX_SZ 4096u

struct qr_ring {
  _Alignas(QR_CACHE_LINE) _Atomic uint32_t tail; /* written by the producer */
  _Alignas(QR_CACHE_LINE) _Atomic uint32_t head; /* written by the consumer */
  _Alignas(QR_CACHE_LINE) uint32_t depth;
  uint32_t item_sz;
  qr_bell_t *bell;
  _Alignas(QR_CACHE_LINE) uint8_t items[];
};

size_t qr_ring_footprint(uint32_t depth, uint32_t item_sz) {
  if (!depth || depth & (depth - 1) || depth > DEPTH_MAX || !item_sz || item_sz > ITEM_MAX_SZ)
    return 0;
  return qr_align_up(sizeof(qr_ring_t) + (size_t)depth * item_sz, QR_CACHE_LINE);
}

qr_ring_t *qr_ring_init(void *mem, uint32_t depth, uint32_t item_sz) {
  QR_ASSERT(mem && (uintptr_t)mem % QR_CACHE_LINE == 0);
  QR_ASSERT(qr_ring_footprint(depth, item_sz));
  qr_ring_t *r = mem;
  atomic_init(&r->tail, 0);
  atomic_init(&r->head, 0);
  r->depth = depth;
  r->item_sz = item_sz;
  r->bell = NULL;
  return r;
}

void qr_ring_set_bell(qr_ring_t *r, qr_bell_t *bell) { r->bell = bell; }

bool qr_ring_push(qr_ring_t *r, const void *item) {
  uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
  if (tail - atomic_load_explicit(&r->head, memory_order_acquire) == r->depth) return false;
  memcpy(r->items + (size_t)(tail & (r->depth - 1)) * r->item_sz, item, r->item_sz);
  atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
  if (r->bell) qr_bell_ring(r->bell);
  return true;
}

bool qr_ring_pop(qr_ring_t *r, void *item) {
  uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
  if (atomic_load_explicit(&r->tail, memory_order_acquire) == head) return false;
  memcpy(item, r->items + (size_t)(head & (r->depth - 1)) * r->item_sz, r->item_sz);
  atomic_store_explicit(&r->head, head + 1, memory_order_release);
  return true;
}

uint32_t qr_ring_cnt(const qr_ring_t *r) {
  uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
  return atomic_load_explicit(&r->tail, memory_order_acquire) - head;
}

uint32_t qr_ring_room(const qr_ring_t *r) { return r->depth - qr_ring_cnt(r); }
