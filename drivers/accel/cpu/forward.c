#include "forward.h"

#include "step/fixed.h"

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Accumulator fraction bits of a layer. */
static int acc_frac(const qr_layer_t *l) { return l->in_frac + l->w_frac; }

void qr_cpu_forward_plan(const qr_net_t *net, qr_cpu_plan_t *plan, qr_cpu_need_t *need) {
  memset(plan, 0, sizeof *plan);
  /* Never above the training batch, for which the network's limits keep the tensors sane. */
  plan->chunk_rows = net->spec.batch < QR_CPU_FORWARD_ROWS ? net->spec.batch : QR_CPU_FORWARD_ROWS;
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    qr_step_op_t *op = &plan->gemm[i];
    *op = (qr_step_op_t){.kind = QR_OP_GEMM,
                         .m = plan->chunk_rows * l->pos,
                         .n = l->n,
                         .k = l->k,
                         .digest = QR_STEP_NO_DIGEST};
    if (l->kind == QR_LAYER_CONV3) {
      op->flags = QR_GEMM_A_CONV;
      op->geo = (qr_step_geo_t){
          (uint16_t)l->in_h,  (uint16_t)l->in_w,     (uint16_t)l->in_c,     (uint16_t)l->out_h,
          (uint16_t)l->out_w, (uint16_t)l->stride_y, (uint16_t)l->stride_x, 0};
    }
    qr_cpu_need_op(need, op);
    plan->panel_off[i] = plan->panels_sz;
    plan->bias_off[i] = plan->bias_cnt;
    plan->panels_sz += qr_cpu_panels_sz(l->k, l->n);
    plan->bias_cnt += l->n;
    plan->w7_sz = larger(plan->w7_sz, (size_t)l->k * l->n);
    plan->x_cnt = larger(plan->x_cnt, (size_t)op->m * l->n);
  }
  plan->acc_cnt = plan->x_cnt;
}

void qr_cpu_forward_pack(const qr_cpu_work_t *w, const qr_net_t *net, const qr_cpu_plan_t *plan,
                         const qr_cpu_fwd_t *f, const uint8_t *model) {
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    w->kern->w7(f->w7, (const void *)(model + l->w_off), (size_t)l->k * l->n);
    w->kern->pack(f->panels + plan->panel_off[i], f->w7, l->k, l->n, 64);
    qr_cpu_bias_scale(f->bias + plan->bias_off[i], (const void *)(model + l->b_off), l->n,
                      QR_STEP_BIAS_FRAC - acc_frac(l));
  }
}

void qr_cpu_forward_run(const qr_cpu_work_t *w, const qr_net_t *net, const qr_cpu_plan_t *plan,
                        const qr_cpu_fwd_t *f, const int8_t *obs, uint32_t rows, int32_t *q) {
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    const int32_t *bias = f->bias + plan->bias_off[i];
    qr_step_op_t op = plan->gemm[i];
    op.m = rows * l->pos;
    qr_cpu_product(w, &op, obs, f->panels + plan->panel_off[i], f->acc, NULL);
    if (i + 1 == net->layer_cnt) {
      qr_cpu_q_out(q, f->acc, bias, op.m, op.n, QR_STEP_Q_FRAC - acc_frac(l));
    } else {
      w->kern->bias_act(f->x[i & 1], f->acc, bias, op.m, op.n,
                        acc_frac(l) - (int)net->spec.act_frac);
      obs = f->x[i & 1];
    }
  }
}
