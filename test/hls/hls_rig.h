/* A card for tests of the step engine: its memory as separate buffers with guards at both ends, a
   program loaded, and launches. Uses cmocka. */
#ifndef QR_TEST_HLS_RIG_H
#define QR_TEST_HLS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hls/common/qr_engine_abi.h"
#include "net_gen.h"
#include "step/ref.h"

#define RIG_GUARD 64u
#define RIG_GUARD_BYTE 0xa5

/* Under AddressSanitizer a guard may not even be read. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define RIG_CLOSE_GUARD(p) ASAN_POISON_MEMORY_REGION(p, RIG_GUARD)
#define RIG_OPEN_GUARD(p) ASAN_UNPOISON_MEMORY_REGION(p, RIG_GUARD)
#else
#define RIG_CLOSE_GUARD(p) (void)(p)
#define RIG_OPEN_GUARD(p) (void)(p)
#endif

/* A buffer of card memory between guards. */
typedef struct {
  uint8_t *mem;
  size_t sz;
} rig_buf_t;

typedef struct {
  qr_step_prog_t program;
  rig_buf_t prog, job, pool, table, model_in, model, s8, s32, out;
  uint32_t pool_rows, row_stride;
  qr_engine_place_t place;
} rig_t;

static inline rig_buf_t rig_buf(size_t sz) {
  rig_buf_t b = {NULL, qr_align_up(sz ? sz : 1, 64)};
  b.mem = aligned_alloc(64, b.sz + 2 * RIG_GUARD);
  assert_non_null(b.mem);
  memset(b.mem, RIG_GUARD_BYTE, b.sz + 2 * RIG_GUARD);
  RIG_CLOSE_GUARD(b.mem);
  RIG_CLOSE_GUARD(b.mem + RIG_GUARD + b.sz);
  return b;
}

static inline void *rig_at(const rig_buf_t *b) { return b->mem + RIG_GUARD; }

static inline void rig_buf_free(rig_buf_t *b) {
  RIG_OPEN_GUARD(b->mem);
  RIG_OPEN_GUARD(b->mem + RIG_GUARD + b->sz);
  for (uint32_t i = 0; i < RIG_GUARD; i++) {
    assert_int_equal(b->mem[i], RIG_GUARD_BYTE);
    assert_int_equal(b->mem[RIG_GUARD + b->sz + i], RIG_GUARD_BYTE);
  }
  free(b->mem);
}

/* Memory for a program; steps and rows are the most of a launch. */
static inline void rig_open(rig_t *r, const qr_step_prog_t *prog, uint32_t steps, uint32_t rows,
                            uint32_t pool_rows) {
  memset(r, 0, sizeof *r);
  r->program = *prog;
  qr_engine_place(prog->bufs, prog->buf_cnt, &r->place);
  r->pool_rows = pool_rows;
  r->row_stride = (uint32_t)qr_align_up(prog->obs_sz ? prog->obs_sz : 1, 64);
  size_t job = (size_t)steps * QR_ENGINE_JOB_STEP_CNT_OF(prog->batch);
  size_t out = (size_t)steps * QR_ENGINE_OUT_STEP_CNT, q = (size_t)rows * prog->action_cnt;
  r->prog = rig_buf(sizeof *prog);
  r->job = rig_buf(4 * (QR_ENGINE_JOB_HEAD_CNT + (job > rows ? job : rows)));
  r->pool = rig_buf((size_t)pool_rows * r->row_stride);
  r->table = rig_buf(4 * (size_t)QR_ENGINE_TABLE_CNT_OF(pool_rows));
  r->model_in = rig_buf(prog->model_sz);
  r->model = rig_buf(prog->model_sz);
  r->s8 = rig_buf(r->place.s8_cnt);
  r->s32 = rig_buf(4 * r->place.s32_cnt);
  r->out = rig_buf(4 * (QR_ENGINE_OUT_HEAD_CNT + (out > q ? out : q)));
  memcpy(rig_at(&r->prog), prog, sizeof *prog);
}

static inline void rig_close(rig_t *r) {
  rig_buf_t *all[] = {&r->prog,  &r->job, &r->pool, &r->table, &r->model_in,
                      &r->model, &r->s8,  &r->s32,  &r->out};
  for (size_t i = 0; i < QR_ARRAY_CNT(all); i++) rig_buf_free(all[i]);
}

static inline uint32_t *rig_job(rig_t *r, enum qr_engine_mode mode, uint32_t flags,
                                const qr_hash_t *sigma, uint32_t lr_shift) {
  uint32_t *j = rig_at(&r->job);
  memset(j, 0, r->job.sz);
  j[QR_ENGINE_JOB_ABI] = QR_ENGINE_ABI_VERSION;
  j[QR_ENGINE_JOB_MODE] = mode;
  j[QR_ENGINE_JOB_FLAGS] = flags;
  j[QR_ENGINE_JOB_LR_SHIFT] = lr_shift;
  memcpy(j + QR_ENGINE_JOB_SIGMA, sigma->b, QR_HASH_SZ);
  return j;
}

/* Runs what lies in the buffers; returns the result block. */
static inline const uint32_t *rig_launch(rig_t *r) {
  uint32_t *out = rig_at(&r->out);
  memset(out, 0, r->out.sz);
  void *s8 = rig_at(&r->s8);
  qr_step_engine(rig_at(&r->prog), rig_at(&r->job), rig_at(&r->pool), rig_at(&r->table),
                 rig_at(&r->model_in), rig_at(&r->model), s8, s8, s8, rig_at(&r->s32), out,
                 (uint32_t)(r->job.sz / 4), r->pool_rows, r->row_stride,
                 (uint32_t)(r->table.sz / 4), (uint32_t)(r->model.sz / 2), (uint32_t)r->s8.sz,
                 (uint32_t)(r->s32.sz / 4), (uint32_t)(r->out.sz / 4));
  return out;
}

static inline void rig_pool_row(rig_t *r, uint32_t row, const int8_t *obs) {
  memcpy((int8_t *)rig_at(&r->pool) + (size_t)row * r->row_stride, obs, r->program.obs_sz);
}

/* What is known of a row of the pool. */
static inline void rig_table_row(rig_t *r, uint32_t row, uint32_t act, int32_t target) {
  uint32_t *t = (uint32_t *)rig_at(&r->table) + 2 * (size_t)row;
  t[0] = act;
  t[1] = (uint32_t)target;
}

/* A replay in place of listed minibatches. */
static inline void rig_replay(rig_t *r, uint32_t segment_rows, uint32_t segment_cnt,
                              const uint32_t *start) {
  uint32_t *j = rig_at(&r->job);
  j[QR_ENGINE_JOB_FLAGS] |= QR_ENGINE_DRAW;
  j[QR_ENGINE_JOB_SEGMENT_ROWS] = segment_rows;
  j[QR_ENGINE_JOB_SEGMENT_CNT] = segment_cnt;
  memcpy(j + QR_ENGINE_JOB_HEAD_CNT, start, segment_cnt * sizeof *start);
}

/* Rows, actions and targets of step s of an attempt. */
static inline void rig_step(rig_t *r, uint32_t s, const uint32_t *rows, const uint8_t *act,
                            const int32_t *target) {
  uint32_t batch = r->program.batch;
  uint32_t *j = (uint32_t *)rig_at(&r->job) + QR_ENGINE_JOB_HEAD_CNT + s * 3 * batch;
  for (uint32_t b = 0; b < batch; b++) {
    j[b] = rows[b];
    j[batch + b] = act[b];
    j[2 * batch + b] = (uint32_t)target[b];
  }
}

static inline uint64_t rig_u64(const uint32_t *out, uint32_t step, uint32_t at) {
  const uint32_t *w = out + QR_ENGINE_OUT_HEAD_CNT + step * QR_ENGINE_OUT_STEP_CNT + at;
  return (uint64_t)w[1] << 32 | w[0];
}

#endif
