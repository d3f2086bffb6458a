/* What an emulated line does to a frame: delay, jitter, loss, duplication, reordering, damage, and
   a rate with a queue. Pure: time comes from the caller; chance from a counter PRNG whose counter
   is the frame's number on its line, so that the same seed and the same frames at the same times
   have the same fate, whatever happens on other lines. */
#ifndef QR_EMU_FATE_H
#define QR_EMU_FATE_H

#include "base/philox.h"

#define QR_EMU_PPM 1000000u
#define QR_EMU_COPY_MAX_CNT 3u
#define QR_EMU_QUEUE_SZ (256u << 10) /* of a line that was told a rate, but no queue */

typedef struct {
  uint64_t delay_ns;    /* of every frame */
  uint64_t jitter_ns;   /* further delay, uniform below this; frames keep their order */
  uint64_t hold_ns;     /* how long a reordered frame is held while others pass */
  uint64_t rate_bps;    /* bits of frames a second, without preamble and checksum; 0: no limit */
  uint64_t queue_sz;    /* bytes that may wait for the rate; frames beyond are dropped */
  uint32_t loss_ppm;    /* of a million frames, so many vanish */
  uint32_t dup_ppm;     /* come twice */
  uint32_t reorder_ppm; /* are held back for hold_ns */
  uint32_t replay_ppm;  /* come again after hold_ns */
  uint32_t corrupt_ppm; /* have bits flipped */
  uint32_t trunc_ppm;   /* are cut */
} qr_emu_fate_t;

typedef struct {
  uint64_t frame_cnt, byte_cnt; /* that came to the line */
  uint64_t lost_cnt, queue_dropped_cnt, duplicated_cnt, reordered_cnt;
  uint64_t replayed_cnt, corrupted_cnt, truncated_cnt;
} qr_emu_line_stats_t;

/* One direction of a port. Members are private, but for fate, which may be changed at any time, and
 * stats. */
typedef struct {
  qr_emu_fate_t fate;
  qr_emu_line_stats_t stats;
  qr_philox_t draw, draw_more;
  uint32_t frame_seq;
  uint64_t free_ns; /* when the rate has let out all that it took */
  uint64_t last_ns; /* when the newest frame in order comes out */
} qr_emu_line_t;

/* A line that does nothing to frames yet. number tells lines of one seed apart. */
void qr_emu_line_init(qr_emu_line_t *l, uint64_t seed, uint32_t number);

typedef struct {
  unsigned cnt; /* copies that come out */
  uint64_t due_ns[QR_EMU_COPY_MAX_CNT];
  bool corrupt, truncate;
  uint64_t word; /* random, for the damage */
} qr_emu_judgement_t;

/* Judges a frame of sz bytes that came at now_ns. Some ten nanoseconds. */
qr_emu_judgement_t qr_emu_line_judge(qr_emu_line_t *l, uint64_t now_ns, uint32_t sz);

#endif
