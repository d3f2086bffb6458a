/* The forward pass, whose weights are packed once for all rows, and products of the caller's own.
 */
#include <stdlib.h>

#include "base/err.h"
#include "builder.h"
#include "step/check.h"
#include "step/fixed.h"

#define RUN ((uint32_t)QR_OCL_RUN)
#define PASS_SZ_MAX (64u << 20) /* bytes of the largest operand of a long pass */

static const uint32_t pass_rows[] = {2048, 256, 64, 16};

static qr_step_geo_t geometry(const qr_layer_t *l) {
  return (qr_step_geo_t){
      (uint16_t)l->in_h,  (uint16_t)l->in_w,     (uint16_t)l->in_c,     (uint16_t)l->out_h,
      (uint16_t)l->out_w, (uint16_t)l->stride_y, (uint16_t)l->stride_x, 0};
}

typedef struct {
  qr_ocl_thing_t weights[QR_NET_LAYER_MAX_CNT], x[QR_NET_LAYER_MAX_CNT + 1], rows;
  qr_ocl_thing_t model;
} forward_t;

/* One layer of a pass; its output is x[i + 1], of the last layer Q values. */
static void add_layer(qr_ocl_builder_t *b, forward_t *f, const qr_net_t *net, uint32_t i,
                      uint32_t rows) {
  const qr_layer_t *l = &net->layers[i];
  qr_step_geo_t geo = geometry(l);
  bool conv = l->kind == QR_LAYER_CONV3, last = i + 1 == net->layer_cnt;
  uint32_t m = rows * l->pos;
  int32_t acc_frac = l->in_frac + l->w_frac;
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(&f->x[i]), QR_OCL_LIST(&f->rows));
  qr_ocl_pack(b, conv ? QR_OCL_LIE_CONV : QR_OCL_LIE_K, m, l->k, &geo, wave, f->x[i].off,
              f->rows.off);
  wave = qr_ocl_wave(QR_OCL_LIST(&f->rows, &f->weights[i]), QR_OCL_LIST(&f->x[i + 1]));
  qr_ocl_task_t *t = qr_ocl_product(b, m, l->n, l->k, 1, wave);
  t->src = f->rows.off;
  t->src1 = f->weights[i].off;
  t->aux = f->model.off + l->b_off;
  t->dst = f->x[i + 1].off;
  t->flags = last ? QR_OCL_END_QOUT : QR_OCL_END_ACT;
  t->p0 = last ? QR_STEP_Q_FRAC - acc_frac : acc_frac - (int32_t)net->spec.act_frac;
  t->p1 = QR_STEP_BIAS_FRAC - acc_frac;
}

static uint64_t widest(const qr_net_t *net, uint32_t rows, bool packed) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    uint64_t sz = (uint64_t)rows * l->pos * (packed ? qr_align_up(l->k, 32) * 2 : l->n * 4);
    if (sz > most) most = sz;
  }
  return most;
}

/* A pass: operands are padded with zeros along k by never writing there, so every layer of every
   pass has packed rows of its own. */
static void add_pass(qr_ocl_builder_t *b, qr_ocl_plan_t *p, const forward_t *all,
                     const qr_net_t *net, uint32_t rows) {
  forward_t f = *all;
  qr_ocl_forward_t *pass = &p->fwd[p->fwd_cnt++];
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    f.rows = qr_ocl_operand(b, rows * l->pos, l->k);
    if (i + 1 < net->layer_cnt) f.x[i + 1] = qr_ocl_thing(b, (uint64_t)rows * l->pos * l->n);
    add_layer(b, &f, net, i, rows);
  }
  pass->rows = rows;
  qr_ocl_finish(b, &pass->run);
}

int qr_ocl_plan_forward(qr_ocl_builder_t *b, qr_ocl_plan_t *p, const qr_net_t *net) {
  forward_t f = {0};
  f.model = qr_ocl_thing(b, net->model_sz);
  p->fwd_model = f.model.off;
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    f.weights[i] = qr_ocl_operand(b, l->n, l->k);
    uint32_t wave = qr_ocl_wave(QR_OCL_LIST(&f.model), QR_OCL_LIST(&f.weights[i]));
    qr_ocl_task_t *t = qr_ocl_pack(b, QR_OCL_LIE_D, l->n, l->k, NULL, wave, f.model.off + l->w_off,
                                   f.weights[i].off);
    t->flags = QR_OCL_W7;
  }
  qr_ocl_finish(b, &p->fwd_weights);

  uint32_t most = 0;
  for (uint32_t i = 0; i < QR_ARRAY_CNT(pass_rows); i++) {
    bool small =
        widest(net, pass_rows[i], true) <= PASS_SZ_MAX && pass_rows[i] <= b->tune->pass_rows;
    if (!small && i + 1 < QR_ARRAY_CNT(pass_rows)) continue;
    if (!most) {
      most = pass_rows[i];
      f.x[0] = qr_ocl_thing(b, (uint64_t)most * net->in_sz);
      f.x[net->layer_cnt] = qr_ocl_thing(b, (uint64_t)most * net->spec.action_cnt * 4);
      p->fwd_obs = f.x[0].off;
      p->fwd_q = f.x[net->layer_cnt].off;
    }
    add_pass(b, p, &f, net, pass_rows[i]);
  }
  return b->err;
}

int qr_ocl_plan_gemm(qr_ocl_gemm_t *plan, const qr_step_op_t *op, const qr_ocl_tune_t *tune,
                     uint32_t unit_cnt) {
  memset(plan, 0, sizeof *plan);
  plan->a_sz = qr_step_check_gemm(op);
  if (!plan->a_sz) return QR_ERR_ARG;
  plan->b_sz = (uint64_t)op->n * op->k;
  plan->c_sz = (uint64_t)op->m * op->n * 4;
  qr_ocl_builder_t *b = calloc(1, sizeof *b);
  if (!b) return QR_ERR_NOMEM;
  *b = (qr_ocl_builder_t){.tune = tune,
                          .unit_cnt = unit_cnt,
                          .tasks = plan->tasks,
                          .task_max = QR_ARRAY_CNT(plan->tasks)};
  qr_ocl_thing_t a = qr_ocl_thing(b, plan->a_sz), w = qr_ocl_thing(b, plan->b_sz),
                 c = qr_ocl_thing(b, plan->c_sz), pa = qr_ocl_operand(b, op->m, op->k),
                 pb = qr_ocl_operand(b, op->n, op->k);
  plan->a = a.off, plan->b = w.off, plan->c = c.off;
  qr_ocl_pack(b, qr_ocl_lie_a(op), op->m, op->k, &op->geo,
              qr_ocl_wave(QR_OCL_LIST(&a), QR_OCL_LIST(&pa)), a.off, pa.off);
  qr_ocl_pack(b, qr_ocl_lie_b(op), op->n, op->k, NULL,
              qr_ocl_wave(QR_OCL_LIST(&w), QR_OCL_LIST(&pb)), w.off, pb.off);
  uint32_t parts = qr_ocl_parts(b, op->m, op->n, op->k);
  qr_ocl_task_t *t = qr_ocl_product(b, op->m, op->n, op->k, parts,
                                    qr_ocl_wave(QR_OCL_LIST(&pa, &pb), QR_OCL_LIST(&c)));
  t->src = pa.off;
  t->src1 = pb.off;
  t->dst = c.off;
  t->flags = parts > 1 ? QR_OCL_END_ADD : QR_OCL_END_STORE;
  qr_ocl_finish(b, &plan->run);
  plan->task_cnt = b->task_cnt;
  plan->mem_sz = b->mem_sz;
  int err = b->err;
  free(b);
  return err;
}
