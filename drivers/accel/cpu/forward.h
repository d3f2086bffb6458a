/* The forward pass without dither: weights are packed once per job, rows go through in chunks. No
   allocation. */
#ifndef QR_ACCEL_CPU_FORWARD_H
#define QR_ACCEL_CPU_FORWARD_H

#include "exec.h"
#include "step/net.h"

#define QR_CPU_FORWARD_ROWS 256u

typedef struct {
  qr_step_op_t gemm[QR_NET_LAYER_MAX_CNT]; /* m is per chunk of chunk_rows */
  size_t panel_off[QR_NET_LAYER_MAX_CNT], bias_off[QR_NET_LAYER_MAX_CNT]; /* bytes; items */
  uint32_t chunk_rows;
  size_t panels_sz, bias_cnt;   /* of all layers */
  size_t w7_sz, x_cnt, acc_cnt; /* largest layer */
} qr_cpu_plan_t;

typedef struct {
  uint8_t *panels;
  int32_t *bias;
  int8_t *w7, *x[2];
  int32_t *acc;
} qr_cpu_fwd_t;

/* Derives the plan of a network and grows need to what its products take. */
void qr_cpu_forward_plan(const qr_net_t *net, qr_cpu_plan_t *plan, qr_cpu_need_t *need);

/* Packs the weights and scales the biases of model (4-byte aligned) into f. */
void qr_cpu_forward_pack(const qr_cpu_work_t *w, const qr_net_t *net, const qr_cpu_plan_t *plan,
                         const qr_cpu_fwd_t *f, const uint8_t *model);

/* rows <= chunk_rows samples: obs i8[rows][in_sz] -> q i32[rows][action_cnt]. */
void qr_cpu_forward_run(const qr_cpu_work_t *w, const qr_net_t *net, const qr_cpu_plan_t *plan,
                        const qr_cpu_fwd_t *f, const int8_t *obs, uint32_t rows, int32_t *q);

#endif
