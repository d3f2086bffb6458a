/* Private to the plans: memory, tasks and the order among them. A task belongs to a wave, after
   those of everything it needs; a wave is at most one launch per kernel. */
#ifndef QR_OCL_BUILDER_H
#define QR_OCL_BUILDER_H

#include "plan.h"

/* Something that tasks write and read, with the latest waves that did. */
typedef struct {
  uint32_t off;
  uint32_t written, read;
} qr_ocl_thing_t;

typedef struct {
  const qr_ocl_tune_t *tune;
  uint32_t unit_cnt; /* of the device */
  uint64_t mem_sz;
  uint32_t task_cnt, task_max;
  qr_ocl_task_t *tasks;
  uint16_t wave[QR_OCL_TASK_MAX_CNT];
  uint8_t kernel[QR_OCL_TASK_MAX_CNT];
  uint32_t first; /* task of the list being made */
  int err;
} qr_ocl_builder_t;

/* Bytes of device memory, with room behind for a run that ends early. */
uint32_t qr_ocl_take(qr_ocl_builder_t *b, uint64_t sz);
qr_ocl_thing_t qr_ocl_thing(qr_ocl_builder_t *b, uint64_t sz);

/* The wave after the writers of all that is read and, for what is written, after its readers too;
   notes both. Lists end with NULL; NULL is an empty one. */
uint32_t qr_ocl_wave(qr_ocl_thing_t *const reads[], qr_ocl_thing_t *const writes[]);
#define QR_OCL_LIST(...) ((qr_ocl_thing_t *const[]){__VA_ARGS__, NULL})

/* A task with all unused fields as the kernels expect them. Never NULL; what does not fit sets err.
 */
qr_ocl_task_t *qr_ocl_task(qr_ocl_builder_t *b, enum qr_ocl_kernel kernel, uint32_t kind,
                           uint32_t wave);
/* Its units; weight: runs of 16 elements that one is worth. */
void qr_ocl_set_units(qr_ocl_builder_t *b, qr_ocl_task_t *t, uint64_t unit_cnt, uint32_t weight);

/* A packed operand of dim x k. */
qr_ocl_thing_t qr_ocl_operand(qr_ocl_builder_t *b, uint32_t dim, uint32_t k);

/* How an operand lies in memory: rows of k, rows of the other dimension, or a convolution's image.
 */
enum qr_ocl_lie { QR_OCL_LIE_K, QR_OCL_LIE_D, QR_OCL_LIE_CONV, QR_OCL_LIE_CONV_T };
enum qr_ocl_lie qr_ocl_lie_a(const qr_step_op_t *gemm), qr_ocl_lie_b(const qr_step_op_t *gemm);

/* The task that packs it; FORM's flags and draws are the caller's to add. */
qr_ocl_task_t *qr_ocl_pack(qr_ocl_builder_t *b, enum qr_ocl_lie lie, uint32_t dim, uint32_t k,
                           const qr_step_geo_t *geo, uint32_t wave, uint32_t src, uint32_t dst);

/* How many parts along k a product of this shape is worth, and its task. */
uint32_t qr_ocl_parts(const qr_ocl_builder_t *b, uint32_t m, uint32_t n, uint32_t k);
qr_ocl_task_t *qr_ocl_product(qr_ocl_builder_t *b, uint32_t m, uint32_t n, uint32_t k,
                              uint32_t parts, uint32_t wave);

/* Ends a list: its tasks in order of waves, and the launches. */
void qr_ocl_finish(qr_ocl_builder_t *b, qr_ocl_launches_t *out);

/* Adds the forward pass of a network. */
int qr_ocl_plan_forward(qr_ocl_builder_t *b, qr_ocl_plan_t *plan, const qr_net_t *net);

#endif
