#include "emu/room.h"

#include <stdlib.h>

#include "base/assert.h"

bool qr_emu_room_init(qr_emu_room_t *r, uint32_t slot_cnt, uint32_t slot_sz) {
  *r = (qr_emu_room_t){.slot_cnt = slot_cnt, .slot_sz = slot_sz, .wait_max_cnt = 2 * slot_cnt};
  r->bytes = malloc((size_t)slot_cnt * slot_sz);
  r->sz = calloc(slot_cnt, sizeof *r->sz);
  r->refs = calloc(slot_cnt, sizeof *r->refs);
  r->free_slots = malloc(slot_cnt * sizeof *r->free_slots);
  r->heap = malloc(r->wait_max_cnt * sizeof *r->heap);
  if (!r->bytes || !r->sz || !r->refs || !r->free_slots || !r->heap) {
    qr_emu_room_fini(r);
    return false;
  }
  for (uint32_t i = 0; i < slot_cnt; i++) r->free_slots[i] = slot_cnt - 1 - i;
  r->free_cnt = r->free_min_cnt = slot_cnt;
  return true;
}

void qr_emu_room_fini(qr_emu_room_t *r) {
  free(r->bytes);
  free(r->sz);
  free(r->refs);
  free(r->free_slots);
  free(r->heap);
  *r = (qr_emu_room_t){.slot_cnt = 0};
}

uint32_t qr_emu_room_take(qr_emu_room_t *r) {
  if (!r->free_cnt) return UINT32_MAX;
  uint32_t slot = r->free_slots[--r->free_cnt];
  if (r->free_cnt < r->free_min_cnt) r->free_min_cnt = r->free_cnt;
  r->refs[slot] = 1;
  return slot;
}

void qr_emu_room_drop(qr_emu_room_t *r, uint32_t slot) {
  QR_ASSERT(r->refs[slot]);
  if (--r->refs[slot]) return;
  r->free_slots[r->free_cnt++] = slot;
}

static bool before(const qr_emu_wait_t *a, const qr_emu_wait_t *b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

bool qr_emu_room_wait(qr_emu_room_t *r, uint64_t due_ns, uint32_t slot, uint16_t port,
                      bool to_node) {
  if (r->wait_cnt == r->wait_max_cnt) return false;
  qr_emu_wait_t w = {due_ns, r->wait_seq++, slot, port, to_node};
  uint32_t at = r->wait_cnt++;
  while (at) {
    uint32_t up = (at - 1) / 2;
    if (!before(&w, &r->heap[up])) break;
    r->heap[at] = r->heap[up];
    at = up;
  }
  r->heap[at] = w;
  return true;
}

uint64_t qr_emu_room_next_ns(const qr_emu_room_t *r) {
  return r->wait_cnt ? r->heap[0].due_ns : UINT64_MAX;
}

bool qr_emu_room_due(qr_emu_room_t *r, uint64_t now_ns, qr_emu_wait_t *out) {
  if (qr_emu_room_next_ns(r) > now_ns || !r->wait_cnt) return false;
  *out = r->heap[0];
  qr_emu_wait_t last = r->heap[--r->wait_cnt];
  uint32_t at = 0;
  for (;;) {
    uint32_t down = 2 * at + 1;
    if (down >= r->wait_cnt) break;
    if (down + 1 < r->wait_cnt && before(&r->heap[down + 1], &r->heap[down])) down++;
    if (!before(&r->heap[down], &last)) break;
    r->heap[at] = r->heap[down];
    at = down;
  }
  if (r->wait_cnt) r->heap[at] = last;
  return true;
}
