/* What the bench of the training step measures with: devices, and for each task the material of the
   first block of a chain, built from genesis as a node does it. Single-threaded but for seats. */
#ifndef QR_APP_BENCH_RIG_H
#define QR_APP_BENCH_RIG_H

#include "mine/executor.h"

/* One variant of a driver, with every task's program. */
typedef struct {
  const qr_accel_ops_t *ops;
  qr_accel_t *accel;
  uint32_t progs[QR_TASK_MAX_CNT];
  qr_accel_queue_t *queue;
  qr_executor_t *executor;
  uint64_t model_tag; /* of the last forward passes */
  bool hung;          /* it did not give a job back */
} qr_bench_dev_t;

/* On failure nothing is held and why has a sentence. */
int qr_bench_dev_open(qr_bench_dev_t *d, const qr_chain_cfg_t *chain, const qr_accel_ops_t *ops,
                      const char *options, char *why, size_t why_sz) QR_WARN_UNUSED;
void qr_bench_dev_close(qr_bench_dev_t *d); /* a zeroed one may be closed */
/* From now on d does no more of an attempt than in a node that does not trust it: the training. All
   else is cpu's. */
int qr_bench_dev_check(qr_bench_dev_t *d, const qr_bench_dev_t *cpu) QR_WARN_UNUSED;
/* Submits a job of the caller's own and polls it to its end. Returns what became of it; after
   QR_BENCH_HANG_S seconds without progress the queue is closed, d hung and the code QR_ERR_IO. */
#define QR_BENCH_HANG_S 30u
int qr_bench_finish(qr_bench_dev_t *d, qr_accel_job_t *job) QR_WARN_UNUSED;

/* One task on the genesis of a chain. */
typedef struct {
  const qr_chain_cfg_t *chain;
  qr_objects_t *objects;
  uint32_t task;
  qr_task_genesis_t genesis;
  qr_view_t view;
  qr_header_t prefix; /* of the first block, with a target that no ticket meets */
  uint32_t digest_cnt;
  /* one attempt's minibatches for the accelerator alone */
  int8_t *obs;
  uint8_t *act;
  int32_t *target;
  uint64_t *digests;
  uint64_t td_abs_sum[QR_BLOCK_STEP_MAX_CNT];
  int8_t *forward_obs; /* rows for forward jobs, and room for their values */
  int32_t *q;
  uint8_t *model_out;
  bool has_block;
  qr_exec_job_t block; /* the attempt that won, which verifiers are given */
  qr_exec_job_t work;  /* the job in progress */
} qr_bench_task_t;

int qr_bench_task_init(qr_bench_task_t *t, qr_objects_t *objects, uint32_t task,
                       uint32_t forward_rows) QR_WARN_UNUSED;
void qr_bench_task_fini(qr_bench_task_t *t);

/* Each does its work once and returns 0 and the time it took, or a negative code. */

/* step_cnt training steps, at most those of an attempt, as one job of the accelerator. phase_ns:
   one per phase of the driver, to which the time of each is added; NULL: not timed. */
int qr_bench_train(qr_bench_task_t *t, qr_bench_dev_t *d, uint32_t step_cnt, uint64_t *phase_ns,
                   double *ms) QR_WARN_UNUSED;
/* row_cnt rows, repeat_cnt jobs of one model one after the other, as in a rollout; the time of one.
 */
int qr_bench_forward(qr_bench_task_t *t, qr_bench_dev_t *d, uint32_t row_cnt, uint32_t repeat_cnt,
                     double *ms) QR_WARN_UNUSED;
/* An attempt that does not win, as most. */
int qr_bench_attempt(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) QR_WARN_UNUSED;
/* An attempt that wins. The first one made is kept for qr_bench_verify. */
int qr_bench_block(qr_bench_task_t *t, qr_bench_dev_t *d, double *ms) QR_WARN_UNUSED;
/* Verifies the kept block; cold: with a new executor, which knows no target value. QR_ERR_CORRUPT
   if the device refutes it, for then two variants compute differently. */
int qr_bench_verify(qr_bench_task_t *t, qr_bench_dev_t *d, bool cold, double *ms) QR_WARN_UNUSED;

/* Polls the executor's job once. False if that ended it because a device that is not trusted does
   not give it back. idle_ns: since when nothing happens there, 0 in the beginning. */
bool qr_bench_poll(qr_executor_t *x, const qr_exec_job_t *job, uint64_t *idle_ns);

/* thread_cnt threads, each with an executor of its own. */
typedef struct qr_bench_seats qr_bench_seats_t;
/* cpu: as for qr_bench_dev_check; NULL: d is trusted. */
int qr_bench_seats_init(qr_bench_seats_t **out, const qr_chain_cfg_t *chain, qr_bench_dev_t *d,
                        const qr_bench_dev_t *cpu, uint32_t thread_cnt) QR_WARN_UNUSED;
void qr_bench_seats_fini(qr_bench_seats_t *s);
/* Attempts a second when thread_cnt of the seats attempt attempt_cnt times each, all at once. */
int qr_bench_seats_run(qr_bench_seats_t *s, qr_bench_task_t *t, uint32_t thread_cnt,
                       uint32_t attempt_cnt, double *attempts_per_s) QR_WARN_UNUSED;
/* The same for seat_cnt of them in this thread, in turns, as a miner runs lanes. */
int qr_bench_seats_lanes(qr_bench_seats_t *s, qr_bench_task_t *t, uint32_t seat_cnt,
                         uint32_t attempt_cnt, double *attempts_per_s) QR_WARN_UNUSED;

#endif
