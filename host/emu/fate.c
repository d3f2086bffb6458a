#include "emu/fate.h"

#define SECOND_NS UINT64_C(1000000000)

__extension__ typedef unsigned __int128 wide_t;

void qr_emu_line_init(qr_emu_line_t *l, uint64_t seed, uint32_t number) {
  qr_hash_t key = {{0}};
  qr_st64(key.b, seed);
  *l = (qr_emu_line_t){.draw = qr_philox_init(&key, number)};
  l->fate.queue_sz = QR_EMU_QUEUE_SZ;
}

static bool happens(uint32_t word, uint32_t ppm) { return qr_philox_bound(word, QR_EMU_PPM) < ppm; }

/* When the rate has let the frame out; false if the queue before it has no room. */
static bool pass_rate(qr_emu_line_t *l, uint64_t now_ns, uint32_t sz, uint64_t *out_ns) {
  const uint64_t bps = l->fate.rate_bps;
  *out_ns = now_ns;
  if (!bps) return true;
  uint64_t start_ns = l->free_ns > now_ns ? l->free_ns : now_ns;
  wide_t waiting_sz = (wide_t)(start_ns - now_ns) * bps / (8 * SECOND_NS);
  if (waiting_sz + sz > l->fate.queue_sz && start_ns > now_ns) return false;
  l->free_ns = start_ns + (uint64_t)((wide_t)sz * 8 * SECOND_NS / bps);
  *out_ns = l->free_ns;
  return true;
}

unsigned qr_emu_line_judge(qr_emu_line_t *l, uint64_t now_ns, uint32_t sz, uint64_t due_ns[2]) {
  const qr_emu_fate_t *f = &l->fate;
  uint32_t w[4] = {0};
  uint64_t at_ns;
  uint32_t frame = l->frame_seq++;
  if (f->loss_ppm || f->dup_ppm || f->reorder_ppm || f->jitter_ns)
    qr_philox_block(&l->draw, frame, w);
  l->stats.frame_cnt++;
  l->stats.byte_cnt += sz;
  if (happens(w[0], f->loss_ppm)) {
    l->stats.lost_cnt++;
    return 0;
  }
  if (!pass_rate(l, now_ns, sz, &at_ns)) {
    l->stats.queue_dropped_cnt++;
    return 0;
  }
  at_ns += f->delay_ns + (uint64_t)((wide_t)f->jitter_ns * w[3] >> 32);
  if (happens(w[2], f->reorder_ppm)) {
    l->stats.reordered_cnt++;
    at_ns += f->hold_ns;
  } else {
    if (at_ns < l->last_ns) at_ns = l->last_ns;
    l->last_ns = at_ns;
  }
  due_ns[0] = due_ns[1] = at_ns;
  if (!happens(w[1], f->dup_ppm)) return 1;
  l->stats.duplicated_cnt++;
  return 2;
}
