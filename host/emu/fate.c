#include "emu/fate.h"

#define SECOND_NS UINT64_C(1000000000)

__extension__ typedef unsigned __int128 wide_t;

void qr_emu_line_init(qr_emu_line_t *l, uint64_t seed, uint32_t number) {
  qr_hash_t key = {{0}};
  qr_st64(key.b, seed);
  *l = (qr_emu_line_t){.draw = qr_philox_init(&key, number),
                       .draw_more = qr_philox_init(&key, number | 1u << 31)};
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

/* When a frame that is not lost comes out: late, and in order unless it is held. */
static uint64_t due(qr_emu_line_t *l, uint64_t at_ns, const uint32_t w[4]) {
  const qr_emu_fate_t *f = &l->fate;
  at_ns += f->delay_ns + (uint64_t)((wide_t)f->jitter_ns * w[3] >> 32);
  if (happens(w[2], f->reorder_ppm)) {
    l->stats.reordered_cnt++;
    return at_ns + f->hold_ns;
  }
  if (at_ns < l->last_ns) at_ns = l->last_ns;
  l->last_ns = at_ns;
  return at_ns;
}

static void damage(qr_emu_line_t *l, uint32_t frame, qr_emu_judgement_t *j) {
  const qr_emu_fate_t *f = &l->fate;
  uint32_t w[4];
  if (!f->replay_ppm && !f->corrupt_ppm && !f->trunc_ppm) return;
  qr_philox_block(&l->draw_more, frame, w);
  if (happens(w[0], f->replay_ppm)) {
    l->stats.replayed_cnt++;
    j->due_ns[j->cnt] = j->due_ns[0] + f->hold_ns;
    j->cnt++;
  }
  l->stats.corrupted_cnt += j->corrupt = happens(w[1], f->corrupt_ppm);
  l->stats.truncated_cnt += j->truncate = happens(w[2], f->trunc_ppm);
  j->word = w[3] * UINT64_C(0x9E3779B97F4A7C15);
}

qr_emu_judgement_t qr_emu_line_judge(qr_emu_line_t *l, uint64_t now_ns, uint32_t sz) {
  const qr_emu_fate_t *f = &l->fate;
  qr_emu_judgement_t j = {.cnt = 0};
  uint32_t w[4] = {0};
  uint64_t at_ns;
  uint32_t frame = l->frame_seq++;
  if (f->loss_ppm || f->dup_ppm || f->reorder_ppm || f->jitter_ns)
    qr_philox_block(&l->draw, frame, w);
  l->stats.frame_cnt++;
  l->stats.byte_cnt += sz;
  if (happens(w[0], f->loss_ppm)) {
    l->stats.lost_cnt++;
    return j;
  }
  if (!pass_rate(l, now_ns, sz, &at_ns)) {
    l->stats.queue_dropped_cnt++;
    return j;
  }
  j.due_ns[j.cnt++] = due(l, at_ns, w);
  if (happens(w[1], f->dup_ppm)) {
    l->stats.duplicated_cnt++;
    j.due_ns[j.cnt++] = j.due_ns[0];
  }
  damage(l, frame, &j);
  return j;
}
