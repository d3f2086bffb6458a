/* Private to the driver: what a queue holds while jobs are in flight. Work goes to the device in
   pieces (a training step, a pass of forward rows, the model at the end), each with an event that
   poll looks at. */
#ifndef QR_OCL_QUEUE_H
#define QR_OCL_QUEUE_H

#include "base/log.h"
#include "opencl.h"

enum qr_ocl_phase { QR_OCL_P_TRANSFER = QR_OCL_K_CNT, QR_OCL_P_CNT };

#define QR_OCL_EVENT_MAX_CNT (QR_OCL_LAUNCH_MAX_CNT + 16u)

typedef struct {
  qr_accel_job_t *job;
  qr_ocl_loaded_t *prog;
  bool started, cancelled, ended; /* ended: nothing more goes to the device */
  uint32_t done_cnt;              /* steps or rows that went to the device */
  uint32_t pieces;                /* of it that are there */
  int err;
  qr_ocl_keys_t keys;
  qr_ocl_gemm_t *gemm;
  cl_mem gemm_mem, gemm_tasks;
} qr_ocl_slot_t;

typedef struct {
  qr_ocl_slot_t *slot;
  bool step; /* sums hold a training step's */
  cl_event done;
  uint64_t sums[QR_STEP_GEMM_MAX_CNT + 1];
  uint8_t *input; /* what a step needs besides observations, until the device has read it */
  /* timed jobs: an event for every command */
  uint32_t event_cnt;
  cl_event events[QR_OCL_EVENT_MAX_CNT];
  uint8_t phases[QR_OCL_EVENT_MAX_CNT];
} qr_ocl_piece_t;

struct qr_accel_queue {
  qr_accel_t *a;
  cl_command_queue plain, timed; /* timed: made when first needed */
  bool is_timed;                 /* which of them the pieces in flight are in */
  cl_kernel kernels[QR_OCL_K_CNT];
  cl_mem mem[QR_OCL_PROG_MAX_CNT];
  /* whose weights lie packed on the device for forward jobs, and the caller's tag of it */
  uint8_t *fwd_model[QR_OCL_PROG_MAX_CNT];
  uint64_t fwd_tag[QR_OCL_PROG_MAX_CNT];
  bool fwd_known[QR_OCL_PROG_MAX_CNT];
  qr_ocl_slot_t slots[QR_OCL_QUEUE_DEPTH]; /* rings */
  uint32_t head, cnt;
  qr_ocl_piece_t pieces[QR_OCL_AHEAD];
  uint32_t piece_head, piece_cnt;
  uint32_t idle_cnt; /* polls since something happened */
  uint8_t *inputs;
  qr_log_bucket_t log;
};

/* Sends the next piece of a slot's job to the device, with p->done as the event of its end; sets
   slot->ended with the last. Returns what OpenCL says. */
cl_int qr_ocl_send(qr_accel_queue_t *q, qr_ocl_slot_t *s, qr_ocl_piece_t *p);

/* Adds a finished piece's times to the job. */
void qr_ocl_count_time(qr_ocl_piece_t *p, uint64_t *phase_ns);
void qr_ocl_forget_events(qr_ocl_piece_t *p);

int qr_ocl_queue_open(qr_accel_t *a, qr_accel_queue_t **out);
void qr_ocl_queue_close(qr_accel_queue_t *q);
int qr_ocl_submit(qr_accel_queue_t *q, qr_accel_job_t *job);
int qr_ocl_poll(qr_accel_queue_t *q);
void qr_ocl_cancel(qr_accel_queue_t *q, qr_accel_job_t *job);

#endif
