/* Which segments of a program's replay lie in the memory of one engine, and where: places of one
   size, kept from job to job by the segments' tags. No card: works on numbers alone. Jobs of the
   engine's slots use places at the same time; what no job uses gives way, the longest unused first.
   A segment goes up in pieces, by whichever job sends the next one. */
#ifndef QR_XRT_REPLAY_H
#define QR_XRT_REPLAY_H

#include "base/types.h"
#include "port/accel.h"

#define QR_XRT_PLACE_MAX_CNT 512u
#define QR_XRT_SEGMENT_MAX_CNT 256u /* of a job */

typedef struct {
  uint64_t tag; /* 0: empty */
  uint64_t used_seq;
  uint32_t sent_rows; /* from the first on; they are there before what is sent after them */
  uint32_t user_cnt;
} qr_xrt_place_t;

typedef struct {
  uint32_t row_cnt;      /* room; 0: nothing is kept */
  uint32_t segment_rows; /* of a place; 0: not known yet */
  uint32_t place_cnt, epoch;
  uint64_t seq;
  qr_xrt_place_t places[QR_XRT_PLACE_MAX_CNT];
} qr_xrt_replay_t;

/* The places of a job's segments. */
typedef struct {
  qr_xrt_replay_t *replay; /* NULL: none */
  uint32_t epoch, cnt;
  uint16_t place[QR_XRT_SEGMENT_MAX_CNT];
} qr_xrt_hold_t;

/* The card's memory is as new, with room for row_cnt rows; holds are void. */
void qr_xrt_replay_reset(qr_xrt_replay_t *r, uint32_t row_cnt);
/* A place for every segment of the job, those that are there and others. False, with nothing held:
   there is no room beside what other jobs use, or its segments cannot be told apart. */
bool qr_xrt_replay_hold(qr_xrt_replay_t *r, const qr_accel_job_t *job, qr_xrt_hold_t *out);
/* Gives them back; may be called again. */
void qr_xrt_replay_let_go(qr_xrt_hold_t *h);

/* Of segment idx of a job's. */
static inline qr_xrt_place_t *qr_xrt_hold_place(const qr_xrt_hold_t *h, uint32_t idx) {
  return &h->replay->places[h->place[idx]];
}
static inline uint32_t qr_xrt_hold_row(const qr_xrt_hold_t *h, uint32_t idx) {
  return h->place[idx] * h->replay->segment_rows;
}

#endif
