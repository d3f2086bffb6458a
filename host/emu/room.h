/* The emulator's memory: frames with reference counts, and the queue of frames that wait for their
   time. All of it is taken at open; when there is no room a frame is dropped and counted. Pure. */
#ifndef QR_EMU_ROOM_H
#define QR_EMU_ROOM_H

#include "base/types.h"

typedef struct {
  uint64_t due_ns, seq; /* seq: frames of the same time come out as they came in */
  uint32_t slot;
  uint16_t port;
  bool to_node; /* direction of the line that it waits on */
} qr_emu_wait_t;

typedef struct {
  uint32_t slot_cnt, slot_sz, free_cnt, wait_cnt, wait_max_cnt;
  uint32_t free_min_cnt; /* fewest free ever */
  uint64_t wait_seq;
  uint8_t *bytes;
  uint32_t *sz, *refs, *free_slots;
  qr_emu_wait_t *heap;
} qr_emu_room_t;

/* Room for slot_cnt frames of up to slot_sz bytes, touched when used. false: no memory. */
bool qr_emu_room_init(qr_emu_room_t *r, uint32_t slot_cnt, uint32_t slot_sz);
void qr_emu_room_fini(qr_emu_room_t *r);

/* A slot with one reference, or UINT32_MAX if there is none. */
uint32_t qr_emu_room_take(qr_emu_room_t *r);
void qr_emu_room_drop(qr_emu_room_t *r, uint32_t slot); /* one reference */
static inline void qr_emu_room_share(qr_emu_room_t *r, uint32_t slot) { r->refs[slot]++; }
static inline uint8_t *qr_emu_room_bytes(const qr_emu_room_t *r, uint32_t slot) {
  return r->bytes + (size_t)slot * r->slot_sz;
}

/* Queues a frame, whose reference goes with it; false if the queue is full (it has two places per
   slot). */
bool qr_emu_room_wait(qr_emu_room_t *r, uint64_t due_ns, uint32_t slot, uint16_t port,
                      bool to_node) QR_WARN_UNUSED;
/* Time of the first frame, UINT64_MAX if none waits. */
uint64_t qr_emu_room_next_ns(const qr_emu_room_t *r);
/* Takes out the first frame if it is due. */
bool qr_emu_room_due(qr_emu_room_t *r, uint64_t now_ns, qr_emu_wait_t *out);

#endif
