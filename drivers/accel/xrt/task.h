/* A job as launches of the engine: how it is cut, laid out in the shared memory, and how the
   answers go back into it. No process, no card: works on memory alone. A job's launches run in
   order; at most QR_XRT_PART_CNT are under way, of a product one. */
#ifndef QR_XRT_TASK_H
#define QR_XRT_TASK_H

#include "replay.h"
#include "share.h"

/* A program as loaded. */
typedef struct {
  qr_step_prog_t prog;
  uint32_t number, row_stride;
  uint32_t s8_cnt, s32_cnt;
} qr_xrt_prog_t;

/* The areas of one slot. */
typedef struct {
  qr_xrt_launch_t *launch; /* [QR_XRT_PART_CNT] */
  uint8_t *custom, *model, *s8, *s32;
  struct {
    uint8_t *pool, *job, *out;
  } part[QR_XRT_PART_CNT];
  uint32_t *table[QR_XRT_PROG_MAX_CNT];
  qr_xrt_sizes_t sizes;
} qr_xrt_areas_t;

/* Pieces into which a product is cut: rows or samples of A, columns of B, inner positions. */
typedef struct {
  uint32_t m, n, k;             /* of a piece, the last ones may be smaller */
  uint32_t m_cnt, n_cnt, k_cnt; /* how many pieces */
} qr_xrt_cut_t;

typedef struct {
  qr_accel_job_t *job;
  const qr_xrt_prog_t *prog;
  uint32_t unit_cnt;      /* steps, rows or pieces */
  uint32_t per_launch;    /* of them */
  uint32_t sent, done;    /* of them */
  uint32_t first, in_cnt; /* parts under way: number of the oldest, and how many */
  uint32_t cnt[QR_XRT_PART_CNT];
  bool must_upload;   /* the card's model is not the job's */
  bool model_is_back; /* the slot's model area holds the model after `done` steps */
  bool cancelled;
  qr_xrt_cut_t cut;
  qr_xrt_hold_t hold; /* of an attempt whose minibatches the engine draws */
  uint32_t kept;      /* its segments that are on the card, or on their way, from the first on */
  bool has_table;     /* the card's table is what the slot's area holds */
} qr_xrt_task_t;

/* Checks a program and says where its buffers lie. Returns 0 or QR_ERR_ARG. */
int qr_xrt_prog_init(qr_xrt_prog_t *p, const qr_step_prog_t *prog, uint32_t number) QR_WARN_UNUSED;
/* Sizes that every program's launches of up to step_cnt steps, pieces of products, and keep_rows
   rows of every program's replay fit in; the number of slots is the caller's to set. */
void qr_xrt_sizes_of(const qr_xrt_prog_t *progs, uint32_t prog_cnt, uint32_t step_cnt,
                     uint32_t keep_rows, qr_xrt_sizes_t *out);
/* Whether the job is one that can be run; prog is its program. */
bool qr_xrt_job_ok(const qr_xrt_prog_t *prog, const qr_accel_job_t *job);

/* resident: the card's model is what the slot's model area holds. */
void qr_xrt_task_begin(qr_xrt_task_t *t, qr_accel_job_t *job, const qr_xrt_prog_t *prog,
                       const qr_xrt_areas_t *a, bool resident);
/* For a job that brings its replay, before its first launch: holds places for it in the engine's
   memory, so that only what is not there yet goes up. Where that cannot be, its minibatches travel
   with it. end gives the places back. has_table: the card's table of the program is what the slot's
   area holds. */
void qr_xrt_task_keep(qr_xrt_task_t *t, qr_xrt_replay_t *replay, bool has_table);
void qr_xrt_task_end(qr_xrt_task_t *t);
/* Lays out the next launch. Returns its part, or -1 if there is none now. */
int qr_xrt_task_next(qr_xrt_task_t *t, const qr_xrt_areas_t *a);
/* The oldest launch under way is over: takes its answer. Returns the units it did, or a negative
   code with a sentence in why: the answer is not one that a sound card gives. */
int qr_xrt_task_collect(qr_xrt_task_t *t, const qr_xrt_areas_t *a, char *why, size_t why_sz);
/* Nothing left to launch and nothing under way; steps_done of the job is right. */
bool qr_xrt_task_over(const qr_xrt_task_t *t);

#endif
