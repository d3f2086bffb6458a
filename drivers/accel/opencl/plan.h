/* From step programs to launches. A plan says where everything of a program lies in one device
   buffer and which tasks run one after another; it is made once, at load, and is the same for every
   queue. Nothing here talks to a device. */
#ifndef QR_OCL_PLAN_H
#define QR_OCL_PLAN_H

#include "port/accel.h"
#include "task.h"
#include "tune.h"

#define QR_OCL_TASK_MAX_CNT 640u
#define QR_OCL_DRAW_MAX_CNT 128u
#define QR_OCL_HEADS_SZ (QR_OCL_DRAW_MAX_CNT * 16u)
#define QR_OCL_LAUNCH_MAX_CNT 256u
#define QR_OCL_FORWARD_MAX_CNT 4u

/* The order within a wave, and what phase_ns counts. */
enum qr_ocl_kernel { QR_OCL_K_DRAW, QR_OCL_K_ELEMENT, QR_OCL_K_PRODUCT, QR_OCL_K_CNT };

typedef struct {
  enum qr_ocl_kernel kernel;
  uint32_t first, wg_cnt; /* first task of the program's */
} qr_ocl_launch_t;

typedef struct {
  uint32_t cnt;
  qr_ocl_launch_t launches[QR_OCL_LAUNCH_MAX_CNT];
} qr_ocl_launches_t;

typedef struct {
  uint32_t rows; /* of one pass */
  qr_ocl_launches_t run;
} qr_ocl_forward_t;

typedef struct {
  uint64_t mem_sz; /* of the buffer that a queue needs for this program */
  /* one training step: offsets of what the host writes and reads. The small inputs lie together:
     heads of the streams, then at input + act and input + target. */
  uint32_t model, obs, keys, input, input_sz, act, target, sums;
  uint32_t draw_cnt, stream[QR_OCL_DRAW_MAX_CNT]; /* stream words of step 0, by slot */
  qr_ocl_draw_t draws[QR_OCL_DRAW_MAX_CNT];
  qr_ocl_launches_t step;
  /* forward pass: the weights are packed once, then rows go in passes, longest first */
  uint32_t fwd_model, fwd_obs, fwd_q;
  qr_ocl_launches_t fwd_weights;
  uint32_t fwd_cnt;
  qr_ocl_forward_t fwd[QR_OCL_FORWARD_MAX_CNT];

  uint32_t task_cnt;
  qr_ocl_task_t tasks[QR_OCL_TASK_MAX_CNT];
} qr_ocl_plan_t;

/* unit_cnt: compute units of the device. Returns 0, QR_ERR_ARG for a program that qr_step_check
   refuses, QR_ERR_UNSUPPORTED for one that no lowering makes (it reads scratch that it did not
   write in the same step, or writes weights by anything but an update), or QR_ERR_NOMEM for one
   that needs more than 2^32 - 1 bytes. */
int qr_ocl_plan(qr_ocl_plan_t *plan, const qr_net_t *net, const qr_step_prog_t *prog,
                const qr_ocl_tune_t *tune, uint32_t unit_cnt) QR_WARN_UNUSED;

/* One product of the caller's own: offsets of a, b and c, as in the job, in a buffer of mem_sz
   bytes that is all zero before. */
typedef struct {
  uint64_t mem_sz;
  uint32_t a, b, c;
  uint64_t a_sz, b_sz, c_sz;
  uint32_t task_cnt;
  qr_ocl_task_t tasks[4];
  qr_ocl_launches_t run;
} qr_ocl_gemm_t;

/* op: the product, an op of its own. Returns 0, QR_ERR_ARG (there is no such product), QR_ERR_FULL
   or QR_ERR_NOMEM. */
int qr_ocl_plan_gemm(qr_ocl_gemm_t *plan, const qr_step_op_t *op, const qr_ocl_tune_t *tune,
                     uint32_t unit_cnt) QR_WARN_UNUSED;

#endif
