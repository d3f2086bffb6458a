#include "replay.h"

#define NO_PLACE UINT16_MAX

void qr_xrt_replay_reset(qr_xrt_replay_t *r, uint32_t row_cnt) {
  memset(r->places, 0, r->place_cnt * sizeof *r->places);
  r->row_cnt = row_cnt;
  r->segment_rows = r->place_cnt = 0;
  r->epoch++;
}

/* Segments of another size: everything is laid out anew, if nobody uses what is there. */
static bool divide(qr_xrt_replay_t *r, uint32_t segment_rows) {
  if (r->segment_rows == segment_rows) return true;
  for (uint32_t i = 0; i < r->place_cnt; i++) {
    if (r->places[i].user_cnt) return false;
  }
  qr_xrt_replay_reset(r, r->row_cnt);
  r->segment_rows = segment_rows;
  r->place_cnt = r->row_cnt / segment_rows;
  if (r->place_cnt > QR_XRT_PLACE_MAX_CNT) r->place_cnt = QR_XRT_PLACE_MAX_CNT;
  return true;
}

static uint16_t find(const qr_xrt_replay_t *r, uint64_t tag) {
  for (uint32_t i = 0; i < r->place_cnt; i++) {
    if (r->places[i].tag == tag) return (uint16_t)i;
  }
  return NO_PLACE;
}

/* Neither in use nor this job's. */
static bool is_free(const qr_xrt_replay_t *r, const qr_xrt_place_t *p) {
  return !p->user_cnt && p->used_seq != r->seq;
}

/* The free place unused for longest. There is one. */
static uint16_t find_oldest(const qr_xrt_replay_t *r) {
  uint16_t best = NO_PLACE;
  for (uint32_t i = 0; i < r->place_cnt; i++) {
    if (!is_free(r, &r->places[i])) continue;
    if (best == NO_PLACE || r->places[i].used_seq < r->places[best].used_seq) best = (uint16_t)i;
  }
  return best;
}

/* Marks a place as this job's; false if it is so already. */
static bool mark(qr_xrt_replay_t *r, uint16_t place) {
  bool is_new = r->places[place].used_seq != r->seq;
  r->places[place].used_seq = r->seq;
  return is_new;
}

bool qr_xrt_replay_hold(qr_xrt_replay_t *r, const qr_accel_job_t *job, qr_xrt_hold_t *out) {
  uint32_t cnt = job->segment_cnt;
  out->replay = NULL;
  if (cnt > QR_XRT_SEGMENT_MAX_CNT || (uint64_t)cnt * job->segment_rows > r->row_cnt ||
      !divide(r, job->segment_rows))
    return false;
  uint32_t missing = 0, free_cnt = 0;
  r->seq++;
  for (uint32_t i = 0; i < cnt; i++) {
    if (!job->segments[i].tag) return false;
    out->place[i] = find(r, job->segments[i].tag);
    if (out->place[i] == NO_PLACE)
      missing++;
    else if (!mark(r, out->place[i]))
      return false;
  }
  for (uint32_t i = 0; i < r->place_cnt; i++) free_cnt += is_free(r, &r->places[i]);
  if (missing > free_cnt) return false;
  for (uint32_t i = 0; i < cnt; i++) {
    if (out->place[i] != NO_PLACE) continue;
    if (find(r, job->segments[i].tag) != NO_PLACE) return false; /* the same again */
    uint16_t p = find_oldest(r);
    r->places[p] = (qr_xrt_place_t){.tag = job->segments[i].tag};
    (void)mark(r, p);
    out->place[i] = p;
  }
  for (uint32_t i = 0; i < cnt; i++) r->places[out->place[i]].user_cnt++;
  out->replay = r;
  out->epoch = r->epoch;
  out->cnt = cnt;
  return true;
}

void qr_xrt_replay_let_go(qr_xrt_hold_t *h) {
  if (!h->replay) return;
  for (uint32_t i = 0; i < h->cnt && h->epoch == h->replay->epoch; i++)
    qr_xrt_hold_place(h, i)->user_cnt--;
  h->replay = NULL;
}
