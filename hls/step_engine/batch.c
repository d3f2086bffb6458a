/* Minibatches: as the job lists them, or drawn from a replay that lies in POOL and TABLE. Rows,
   actions and targets of a step are on chip before it begins. No loop here ends early because of a
   word out of card memory, or it would wait for each. */
#include "engine.h"
#include "fixed.h"

/* cnt words of the job. Returns how many of them, from the first on, are below limit: cnt if all.
 */
uint32_t qr_eng_take(const uint32_t *job, uint32_t off, uint32_t cnt, uint64_t limit,
                     uint32_t out[QR_ENGINE_BATCH_MAX]) {
  uint32_t good = cnt;
  for (uint32_t i = 0; i < cnt; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 1024
    uint32_t w = job[off + i];
    if (w >= limit && i < good) good = i;
    out[i] = w;
  }
  return good;
}

/* All segments have to lie in both windows: then so does whatever is drawn. */
qr_eng_result_t qr_eng_replay(const uint32_t *job, const qr_eng_win_t *win, uint32_t batch,
                              qr_eng_replay_t *out, qr_eng_marks_t marks) {
  uint64_t rows = (uint64_t)out->segment_cnt * out->segment_rows;
  if (!rows || out->segment_cnt > QR_ENGINE_SEGMENT_MAX || rows > QR_ENGINE_REPLAY_MAX ||
      rows < batch)
    return (qr_eng_result_t){QR_ENGINE_E_REPLAY, 0, UINT32_MAX, (uint32_t)rows};
  if (QR_ENGINE_JOB_HEAD_CNT + out->segment_cnt > win->job_cnt)
    return (qr_eng_result_t){QR_ENGINE_E_WINDOW, 0, UINT32_MAX, QR_ENGINE_ARG_JOB};
  uint32_t good = out->segment_cnt;
  for (uint32_t s = 0; s < out->segment_cnt; s++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 4 max = 256
    uint32_t start = job[QR_ENGINE_JOB_HEAD_CNT + s];
    uint64_t end = (uint64_t)start + out->segment_rows;
    if ((end > win->pool_rows || 2 * end > win->table_cnt) && s < good) good = s;
    out->start[s] = start;
  }
  if (good < out->segment_cnt) return (qr_eng_result_t){QR_ENGINE_E_SEGMENT, 0, UINT32_MAX, good};
  for (uint32_t i = 0; i < ((uint32_t)rows + 63) >> 6; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 4 max = 4096
    marks[i] = 0;
  }
  return (qr_eng_result_t){QR_ENGINE_OK, 0, UINT32_MAX, 0};
}

/* A row of the replay: its number, and where it lies. */
typedef struct {
  uint32_t number, segment, offset;
} place_t;

/* Draw w stands for row (w * n) >> 32 of the n = segments * rows. With w * segments = s * 2^32 + f
   that is s * rows + (f * rows >> 32), the second term below rows: segment and offset come without
   a division. The masks say how wide the counts are; 5 DSPs. */
static place_t place_of(uint32_t w, uint32_t segment_cnt, uint32_t segment_rows) {
#pragma HLS INLINE off
#pragma HLS PIPELINE II = 4
  uint32_t cnt = segment_cnt & (2 * QR_ENGINE_SEGMENT_MAX - 1);
  uint32_t rows = segment_rows & (2 * QR_ENGINE_REPLAY_MAX - 1);
  uint64_t x = (uint64_t)w * cnt;
  place_t p;
  p.segment = (uint32_t)(x >> 32);
  p.offset = (uint32_t)((uint64_t)(uint32_t)x * rows >> 32);
  p.number = p.segment * rows + p.offset;
  return p;
}

/* Blocks that a minibatch may take. Where the replay is no larger than the largest minibatch, a
   seed takes 2,000 on average, and as many as this with a probability of 1024 * e^-1024. */
#define BLOCK_MAX (1u << 18)

/* Goes by rounds, of as many blocks as the rows still missing take at the least. So an inner loop's
   trips are known before it begins, and the way from a block to its last mark, some 70 cycles, is
   paid once a round. Four cycles a word are what a mark takes to be read, looked at and written
   before the next one is read. */
uint32_t qr_eng_draw(const uint32_t sigma[4], uint32_t stream, const qr_eng_replay_t *replay,
                     uint32_t cnt, qr_eng_marks_t marks, qr_eng_batch_t *out) {
#pragma HLS ALLOCATION function instances = place_of limit = 1
  uint32_t found = 0, idx = 0;
  while (found < cnt && idx < BLOCK_MAX) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 3
    uint32_t blocks = (cnt - found + 3) >> 2;
    for (uint32_t b = 0; b < blocks; b++) {
#pragma HLS PIPELINE II = 16
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 256
      uint32_t w[4];
#pragma HLS ARRAY_PARTITION variable = w complete
      qr_eng_philox_block(sigma, stream, idx + b, w);
      for (uint32_t i = 0; i < 4; i++) {
#pragma HLS UNROLL
        place_t p = place_of(w[i], replay->segment_cnt, replay->segment_rows);
        uint64_t word = marks[p.number >> 6], bit = (uint64_t)1 << (p.number & 63);
        if (word & bit || found == cnt) continue;
        marks[p.number >> 6] = word | bit;
        out->number[found] = p.number;
        out->row[found] = replay->start[p.segment] + p.offset;
        found++;
      }
    }
    idx += blocks;
  }
  return found;
}

/* Actions and targets of the rows drawn; two words through one port. Takes their marks back on the
   way, so that all marks need to be cleared only once a launch. */
uint32_t qr_eng_look_up(const uint32_t *table, uint32_t cnt, uint64_t limit, qr_eng_marks_t marks,
                        qr_eng_batch_t *batch) {
  uint32_t good = cnt;
  for (uint32_t i = 0; i < cnt; i++) {
#pragma HLS PIPELINE II = 2
#pragma HLS LOOP_TRIPCOUNT min = 16 max = 1024
    uint64_t at = 2 * (uint64_t)batch->row[i];
    uint32_t act = table[at];
    if (act >= limit && i < good) good = i;
    batch->act[i] = act;
    batch->target[i] = table[at + 1];
    marks[batch->number[i] >> 6] = 0;
  }
  return good;
}
