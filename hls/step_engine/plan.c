/* Which ops share a pass. The sums of a product can be worked on while they are drained if the op
   that wants them can run that early: nothing between the two touches what it reads or writes. The
   rules look at this program alone and hold for any; what they do not allow runs op by op. */
#include "engine.h"

static bool reads(const qr_eng_op_t *op, uint32_t buf) {
  bool second = op->kind == QR_OP_GEMM || op->kind == QR_OP_BIAS_ACT || op->kind == QR_OP_Q_OUT;
  bool own = op->kind == QR_OP_MASK || op->kind == QR_OP_WEIGHT_UPD;
  return op->src0 == buf || (second && op->src1 == buf) || (own && op->dst == buf);
}

static bool touches(const qr_eng_op_t *op, uint32_t buf) {
  return op->dst == buf || reads(op, buf);
}

/* Words of its dst that an op writes. */
static uint64_t written(const qr_eng_op_t *op) {
  const qr_eng_geo_t *g = &op->geo;
  if (op->kind != QR_OP_COL2IM) return (uint64_t)op->m * op->n;
  return (uint64_t)(op->m / (g->out_h * g->out_w)) * (g->h * g->w * g->c);
}

/* First op after i, below limit, that touches buf; limit if none. */
static uint32_t next_touch(const qr_eng_prog_t *p, uint32_t i, uint32_t limit, uint32_t buf) {
  for (uint32_t j = i + 1; j < limit; j++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 94
    if (touches(&p->ops[j], buf)) return j;
  }
  return limit;
}

/* Whether what op i leaves in its dst is overwritten before anyone but op j reads it; after the
   last op comes the first of the next step. */
static bool dead_after(const qr_eng_prog_t *p, uint32_t i, uint32_t j, uint32_t limit) {
  uint32_t buf = p->ops[i].dst, at = j;
  for (uint32_t n = 0; n < limit; n++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 95
    at = at + 1 < limit ? at + 1 : 0;
    if (at == i) return true;
    if (reads(&p->ops[at], buf)) return false;
    if (p->ops[at].dst == buf && written(&p->ops[at]) >= written(&p->ops[i])) return true;
  }
  return true;
}

/* Whether op j, which reads the sums of op i, could have run right after i. */
static bool can_hoist(const qr_eng_prog_t *p, uint32_t i, uint32_t j) {
  const qr_eng_op_t *a = &p->ops[i], *b = &p->ops[j];
  for (uint32_t n = i + 1; n < j; n++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 0 max = 94
    const qr_eng_op_t *o = &p->ops[n];
    if (touches(o, b->dst) || touches(o, b->src0)) return false;
    if ((b->kind == QR_OP_BIAS_ACT || b->kind == QR_OP_Q_OUT) && touches(o, b->src1)) return false;
    if (b->kind == QR_OP_WEIGHT_UPD && o->kind == QR_OP_ERR_QUANT && o->layer == b->layer)
      return false;
  }
  return a->src0 != b->dst && (a->kind != QR_OP_GEMM || a->src1 != b->dst);
}

/* Op j works on all of what op i, a product or a COL2IM, leaves. */
static bool can_post(const qr_eng_prog_t *p, uint32_t i, uint32_t j) {
  const qr_eng_op_t *a = &p->ops[i], *b = &p->ops[j];
  bool same = a->m == b->m && a->n == b->n;
  bool apart = b->dst != a->dst;
  switch (b->kind) {
  case QR_OP_BIAS_ACT:
  case QR_OP_Q_OUT:
  case QR_OP_WEIGHT_UPD: return a->kind == QR_OP_GEMM && same && b->src0 == a->dst && apart;
  case QR_OP_MASK:
    return b->dst == a->dst && (a->kind == QR_OP_GEMM ? same : written(a) == written(b));
  default: return false;
  }
}

void qr_eng_plan(const qr_eng_prog_t *p, uint32_t limit, bool fuse, qr_eng_plan_t *plan) {
  for (uint32_t i = 0; i < limit; i++) {
#pragma HLS PIPELINE II = 1
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 95
    plan->post[i] = QR_ENG_ALONE;
    plan->skip[i] = false;
    plan->store[i] = true;
  }
  for (uint32_t i = 0; i < limit && fuse; i++) {
#pragma HLS LOOP_TRIPCOUNT min = 1 max = 95
    uint32_t kind = p->ops[i].kind;
    if (kind != QR_OP_GEMM && kind != QR_OP_COL2IM) continue;
    uint32_t j = next_touch(p, i, limit, p->ops[i].dst);
    if (j == limit || !can_post(p, i, j) || !can_hoist(p, i, j)) continue;
    plan->post[i] = j;
    plan->skip[j] = true;
    plan->store[i] = !dead_after(p, i, j, limit);
  }
}
