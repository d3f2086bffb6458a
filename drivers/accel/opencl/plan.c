/* The training step. Scratch buffers of a program are shared by many ops; here every op writes to a
   place of its own, so that only real dependencies remain, and ops that only feed one other op
   become part of it:
    - dither, and weights at compute precision, of the packing of a product's operand;
    - activation and weight update, of the product before;
    - masks, of the rounding of errors. */
#include "base/ars.h"
#include "base/err.h"
#include "builder.h"
#include "step/check.h"

#define NO_OP UINT16_MAX
#define NO_VERSION UINT16_MAX
#define P0_MAX (1 << 20)
#define ARS_BLOCK_SZ 16u
#define BATCH_MAX (1u << 20)

/* What one op wrote to a buffer, or what was there before the step. */
typedef struct {
  uint16_t op;      /* writer, or NO_OP */
  uint16_t readers; /* ops that read it */
  uint16_t reader;  /* the last of them */
  uint64_t cnt;
  qr_ocl_thing_t thing;
  bool placed;
} version_t;

/* An op with its operands resolved. */
typedef struct {
  uint16_t src0, src1, aux, dst; /* versions */
  bool folded;                   /* it is part of its only reader */
  uint16_t product;              /* the product that it ends, or NO_OP */
} node_t;

/* The task of a bias update. */
typedef struct {
  uint32_t task;
  uint16_t op;
} bias_t;

typedef struct {
  qr_ocl_builder_t b;
  qr_ocl_plan_t *plan;
  const qr_step_prog_t *prog;
  node_t nodes[QR_STEP_OP_MAX_CNT];
  version_t versions[QR_STEP_BUF_MAX_CNT + QR_STEP_OP_MAX_CNT];
  uint16_t version_cnt, current[QR_STEP_BUF_MAX_CNT];
  qr_ocl_thing_t exps[QR_STEP_EXP_MAX_CNT], operands[QR_STEP_OP_MAX_CNT][2];
  qr_ocl_thing_t maxima[QR_STEP_OP_MAX_CNT]; /* of rounding ops */
  uint32_t regs;                             /* words: maxima by op; then exponents */
  uint32_t cleared;                          /* the wave in which they become zero */
  uint32_t bias_cnt;
  bias_t biases[QR_STEP_OP_MAX_CNT];
} step_t;

static size_t elem_sz(uint16_t type) {
  return type == QR_STEP_I16 ? 2 : type == QR_STEP_I32 ? 4 : 1;
}

static uint64_t elem_cnt(const qr_step_op_t *op) { return (uint64_t)op->m * op->n; }

static uint64_t image_cnt(const qr_step_op_t *op) {
  const qr_step_geo_t *g = &op->geo;
  return (uint64_t)(op->m / ((uint32_t)g->out_h * g->out_w)) * g->h * g->w * g->c;
}

/* ---- who reads what ---- */

static uint16_t add_version(step_t *s, uint16_t op, uint64_t cnt) {
  s->versions[s->version_cnt] = (version_t){.op = op, .reader = NO_OP, .cnt = cnt};
  return s->version_cnt++;
}

/* The version that op i reads; all of it must be there. */
static int reads(step_t *s, uint16_t i, uint16_t buf, uint64_t cnt, uint16_t *out) {
  *out = s->current[buf];
  if (*out == NO_VERSION || s->versions[*out].cnt < cnt) return QR_ERR_UNSUPPORTED;
  s->versions[*out].readers++;
  s->versions[*out].reader = i;
  return 0;
}

/* Elements that op i reads of src0 and src1, and writes. */
static void sizes(const qr_step_op_t *op, uint64_t *src0, uint64_t *src1, uint64_t *dst) {
  *src0 = *dst = elem_cnt(op);
  *src1 = op->n;
  switch (op->kind) {
  case QR_OP_GEMM:
    *src0 = qr_step_check_gemm(op);
    *src1 = (uint64_t)op->n * op->k;
    return;
  case QR_OP_TD: *src1 = op->m; return;
  case QR_OP_COL2IM: *dst = image_cnt(op); return;
  case QR_OP_BIAS_UPD: *dst = op->n; return;
  default: return;
  }
}

static int resolve_op(step_t *s, uint16_t i) {
  const qr_step_op_t *op = &s->prog->ops[i];
  node_t *n = &s->nodes[i];
  uint64_t src0, src1, dst;
  sizes(op, &src0, &src1, &dst);
  *n = (node_t){.src1 = NO_VERSION, .aux = NO_VERSION, .product = NO_OP};
  bool update = op->kind == QR_OP_BIAS_UPD || op->kind == QR_OP_WEIGHT_UPD;
  bool model = s->prog->bufs[op->dst].role != QR_STEP_BUF_SCRATCH;
  if (update != model || op->p0 > P0_MAX || op->p0 < -P0_MAX) return QR_ERR_UNSUPPORTED;
  int err = reads(s, i, op->src0, src0, &n->src0);
  if (!err && (op->kind == QR_OP_GEMM || op->kind == QR_OP_TD || op->kind == QR_OP_BIAS_ACT ||
               op->kind == QR_OP_Q_OUT))
    err = reads(s, i, op->src1, src1, &n->src1);
  if (!err && op->kind == QR_OP_TD) err = reads(s, i, op->aux, op->m, &n->aux);
  if (!err && op->kind == QR_OP_MASK) err = reads(s, i, op->dst, dst, &n->aux); /* in place */
  if (err) return err;
  n->dst = update ? s->current[op->dst] : add_version(s, i, dst);
  s->current[op->dst] = n->dst;
  return 0;
}

static int resolve(step_t *s) {
  uint32_t digests = 0;
  for (uint16_t i = 0; i < s->prog->op_cnt; i++) {
    const qr_step_op_t *op = &s->prog->ops[i];
    int err = resolve_op(s, i);
    if (err) return err;
    if (op->kind != QR_OP_GEMM || op->digest == QR_STEP_NO_DIGEST) continue;
    if (digests >> op->digest & 1)
      return QR_ERR_UNSUPPORTED; /* it is added up where others assign */
    digests |= 1u << op->digest;
  }
  return 0;
}

/* ---- what becomes part of what ---- */

static const qr_step_op_t *op_at(const step_t *s, uint16_t i) { return &s->prog->ops[i]; }

/* The only reader of what op i writes, or NO_OP. */
static uint16_t only_reader(const step_t *s, uint16_t i) {
  const version_t *v = &s->versions[s->nodes[i].dst];
  return v->readers == 1 ? v->reader : NO_OP;
}

/* Whether op i makes an operand of product j that is packed run by run. */
static bool feeds(const step_t *s, uint16_t i, uint16_t j) {
  const qr_step_op_t *op = op_at(s, j);
  if (op->kind != QR_OP_GEMM) return false;
  return s->nodes[j].src0 != s->nodes[i].dst || !(op->flags & QR_GEMM_A_CONV);
}

/* Whether an op between i and j, or j itself, writes the buffer of a version that is there before.
 */
static bool rewritten(const step_t *s, uint16_t i, uint16_t j, uint16_t version) {
  for (uint16_t x = (uint16_t)(i + 1); x <= j; x++)
    if (s->nodes[x].dst == version) return true;
  return false;
}

/* Weights at compute precision are made anew wherever they are used, if all uses are packings or
   dithers that see the same masters. */
static bool fold_w7(const step_t *s, uint16_t i) {
  for (uint16_t j = (uint16_t)(i + 1); j < s->prog->op_cnt; j++) {
    const node_t *n = &s->nodes[j];
    if (n->src0 != s->nodes[i].dst && n->src1 != s->nodes[i].dst) continue;
    if (op_at(s, j)->kind != QR_OP_DITHER && !feeds(s, i, j)) return false;
    uint16_t until =
        op_at(s, j)->kind == QR_OP_DITHER && only_reader(s, j) != NO_OP ? only_reader(s, j) : j;
    if (rewritten(s, i, until, s->nodes[i].src0)) return false;
  }
  return true;
}

static bool same_shape(const qr_step_op_t *a, const qr_step_op_t *b) {
  return a->m == b->m && a->n == b->n;
}

/* Whether op j can end product i: it is all that reads the sums, and they fit its arithmetic. */
static bool ends(const step_t *s, uint16_t i, uint16_t j) {
  const qr_step_op_t *p = op_at(s, i), *op = op_at(s, j);
  if (!same_shape(p, op) || s->nodes[j].src0 != s->nodes[i].dst) return false;
  if (op->kind == QR_OP_BIAS_ACT)
    return ((int64_t)4096 * p->k) + ((int64_t)1 << (31 - op->p1)) + ((int64_t)1 << op->p0) <
           INT32_MAX;
  return op->kind == QR_OP_Q_OUT || op->kind == QR_OP_WEIGHT_UPD;
}

static void fold(step_t *s) {
  for (uint16_t i = 0; i < s->prog->op_cnt; i++) {
    const qr_step_op_t *op = op_at(s, i);
    uint16_t j = only_reader(s, i);
    switch (op->kind) {
    case QR_OP_W7: s->nodes[i].folded = fold_w7(s, i); break;
    case QR_OP_DITHER: s->nodes[i].folded = j != NO_OP && feeds(s, i, j); break;
    case QR_OP_MASK:
      s->nodes[i].folded = j != NO_OP && op_at(s, j)->kind == QR_OP_ERR_QUANT &&
                           elem_cnt(op) == elem_cnt(op_at(s, j));
      break;
    case QR_OP_GEMM:
      if (j != NO_OP && ends(s, i, j) && qr_ocl_parts(&s->b, op->m, op->n, op->k) == 1)
        s->nodes[j].product = i;
      break;
    default: break;
    }
  }
}

/* ---- tasks ---- */

static qr_ocl_thing_t *thing(step_t *s, uint16_t version) {
  version_t *v = &s->versions[version];
  if (!v->placed) {
    v->thing = qr_ocl_thing(&s->b, v->cnt * elem_sz(s->prog->bufs[op_at(s, v->op)->dst].type));
    v->placed = true;
  }
  return &v->thing;
}

/* A stream of so many blocks, made at the beginning of a step. */
static uint32_t draws(step_t *s, uint32_t purpose, uint32_t layer, uint64_t sz) {
  qr_ocl_plan_t *p = s->plan;
  uint64_t blocks = (sz + ARS_BLOCK_SZ - 1) / ARS_BLOCK_SZ;
  if (p->draw_cnt == QR_OCL_DRAW_MAX_CNT) {
    s->b.err = QR_ERR_FULL;
    return 0;
  }
  uint32_t units = (uint32_t)((blocks + QR_OCL_DRAW_BLOCKS - 1) / QR_OCL_DRAW_BLOCKS);
  uint32_t before = p->draw_cnt ? p->draws[p->draw_cnt - 1].wg_end : 0;
  uint32_t dst = qr_ocl_take(&s->b, (uint64_t)units * QR_OCL_DRAW_BLOCKS * ARS_BLOCK_SZ);
  p->stream[p->draw_cnt] = qr_stream_word((enum qr_stream)purpose, layer, 0);
  p->draws[p->draw_cnt] = (qr_ocl_draw_t){before + units, (uint32_t)blocks, p->draw_cnt, dst};
  p->draw_cnt++;
  return dst;
}

static uint64_t nibbles_sz(uint64_t cnt) { return (cnt + 127) / 128 * 64; }

static qr_ocl_task_t *element(step_t *s, uint32_t kind, uint32_t wave, const qr_step_op_t *op,
                              uint32_t weight) {
  qr_ocl_task_t *t = qr_ocl_task(&s->b, QR_OCL_K_ELEMENT, kind, wave);
  t->m = op->m, t->n = op->n;
  t->p0 = op->p0, t->p1 = op->p1;
  qr_ocl_set_units(&s->b, t, (elem_cnt(op) + QR_OCL_RUN - 1) / QR_OCL_RUN, weight);
  return t;
}

/* Where the elements of a version come from: itself, or what is folded into its reader. */
typedef struct {
  qr_ocl_thing_t *from;
  uint32_t flags, draw;
  int32_t d;
} origin_t;

static origin_t origin(step_t *s, uint16_t version) {
  origin_t o = {0};
  uint16_t op = s->versions[version].op;
  if (op != NO_OP && op_at(s, op)->kind == QR_OP_DITHER && s->nodes[op].folded) {
    o.flags |= QR_OCL_DITHER;
    o.d = op_at(s, op)->p0;
    o.draw = draws(s, (uint32_t)op_at(s, op)->p1, op_at(s, op)->layer,
                   nibbles_sz(elem_cnt(op_at(s, op))));
    version = s->nodes[op].src0;
    op = s->versions[version].op;
  }
  if (op != NO_OP && op_at(s, op)->kind == QR_OP_W7 && s->nodes[op].folded) {
    o.flags |= QR_OCL_W7;
    version = s->nodes[op].src0;
  }
  o.from = thing(s, version);
  return o;
}

static void apply(qr_ocl_task_t *t, const origin_t *o) {
  t->src = o->from->off;
  t->flags = o->flags;
  t->draw = o->draw;
  t->p0 = o->d;
}

/* W7 and DITHER that stay ops of their own. */
static void emit_form(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  node_t *n = &s->nodes[i];
  n->folded = true; /* for origin: this op's own part */
  origin_t o = origin(s, n->dst);
  n->folded = false;
  qr_ocl_thing_t *dst = thing(s, n->dst);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(o.from), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, QR_OCL_FORM, wave, op, 1);
  apply(t, &o);
  t->dst = dst->off;
}

static void emit_pack(step_t *s, uint16_t i, uint32_t side) {
  const qr_step_op_t *op = op_at(s, i);
  uint32_t dim = side ? op->n : op->m;
  qr_ocl_thing_t *dst = &s->operands[i][side];
  origin_t o = origin(s, side ? s->nodes[i].src1 : s->nodes[i].src0);
  *dst = qr_ocl_operand(&s->b, dim, op->k);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(o.from), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = qr_ocl_pack(&s->b, side ? qr_ocl_lie_b(op) : qr_ocl_lie_a(op), dim, op->k,
                                 &op->geo, wave, o.from->off, dst->off);
  apply(t, &o);
}

static void add_digest(step_t *s, qr_ocl_task_t *t, const qr_step_op_t *op) {
  if (op->digest == QR_STEP_NO_DIGEST) return;
  t->digest = op->digest;
  t->key = draws(s, QR_STREAM_DIGEST_K, op->digest, (uint64_t)op->n * 8 * 4);
  t->rho = draws(s, QR_STREAM_DIGEST_R, op->digest, ((uint64_t)op->m + 7) / 8 * 8);
}

static void clear(step_t *s, qr_ocl_thing_t *dst, uint64_t word_cnt) {
  qr_ocl_task_t *t =
      qr_ocl_task(&s->b, QR_OCL_K_ELEMENT, QR_OCL_ZERO, qr_ocl_wave(NULL, QR_OCL_LIST(dst)));
  t->m = (uint32_t)word_cnt;
  t->dst = dst->off;
  qr_ocl_set_units(&s->b, t, (word_cnt + QR_OCL_RUN - 1) / QR_OCL_RUN, 1);
}

static void set_exp(const step_t *s, qr_ocl_task_t *t, uint32_t layer) {
  t->exp = s->regs + (QR_STEP_OP_MAX_CNT + layer) * 4;
}

/* The rounding that is all that reads the errors that op i writes, through a mask or not: what
   writes them can find their maximum. NO_OP if there is none. */
static uint16_t rounding_of(const step_t *s, uint16_t i, uint64_t cnt, uint16_t *mask) {
  uint16_t j = only_reader(s, i);
  *mask = NO_VERSION;
  if (j != NO_OP && op_at(s, j)->kind == QR_OP_MASK && s->nodes[j].folded &&
      s->nodes[j].aux == s->nodes[i].dst) {
    *mask = s->nodes[j].src0;
    j = only_reader(s, j);
  }
  if (j == NO_OP || op_at(s, j)->kind != QR_OP_ERR_QUANT || elem_cnt(op_at(s, j)) != cnt)
    return NO_OP;
  if (*mask != NO_VERSION && s->versions[*mask].op != NO_OP && s->versions[*mask].op >= i)
    return NO_OP; /* not known yet */
  return j;
}

/* Makes the task of op i find the maximum of the cnt errors that it writes, where that is possible.
   mask comes from rounding_of. */
static void add_maximum(step_t *s, qr_ocl_task_t *t, uint16_t rounding, qr_ocl_thing_t *mask,
                        uint32_t wave) {
  if (rounding == NO_OP) return;
  t->reg = s->maxima[rounding].off = s->regs + rounding * 4u;
  s->maxima[rounding].written = wave;
  if (mask) t->aux = mask->off;
}

/* A product, with the op that ends it if that is not NO_OP. */
static void emit_product(step_t *s, uint16_t i, uint16_t end) {
  const qr_step_op_t *op = op_at(s, i), *e = end == NO_OP ? NULL : op_at(s, end);
  qr_ocl_thing_t *reads[5] = {&s->operands[i][0], &s->operands[i][1]};
  qr_ocl_thing_t *dst = thing(s, s->nodes[e ? end : i].dst), *aux = NULL;
  uint32_t parts = e ? 1 : qr_ocl_parts(&s->b, op->m, op->n, op->k);
  if (e && e->kind == QR_OP_WEIGHT_UPD) reads[2] = &s->exps[e->layer];
  if (e && e->kind != QR_OP_WEIGHT_UPD) reads[2] = aux = thing(s, s->nodes[end].src1);
  uint16_t mask = NO_VERSION,
           rounding = e || parts > 1 ? NO_OP : rounding_of(s, i, elem_cnt(op), &mask);
  if (rounding != NO_OP && mask != NO_VERSION) reads[2] = thing(s, mask);
  if (parts > 1) clear(s, dst, elem_cnt(op));
  uint32_t wave = qr_ocl_wave(reads, QR_OCL_LIST(dst));
  qr_ocl_task_t *t = qr_ocl_product(&s->b, op->m, op->n, op->k, parts, wave);
  t->src = reads[0]->off;
  t->src1 = reads[1]->off;
  t->dst = dst->off;
  t->flags = parts > 1 ? QR_OCL_END_ADD : QR_OCL_END_STORE;
  if (e) {
    t->p0 = e->p0, t->p1 = e->p1;
    t->aux = aux ? aux->off : QR_OCL_NONE;
    t->flags = e->kind == QR_OP_BIAS_ACT ? QR_OCL_END_ACT
               : e->kind == QR_OP_Q_OUT  ? QR_OCL_END_QOUT
                                         : QR_OCL_END_WEIGHT;
    if (e->kind == QR_OP_WEIGHT_UPD) {
      set_exp(s, t, e->layer);
      t->draw = draws(s, QR_STREAM_ROUND_W, e->layer, elem_cnt(e));
    }
  }
  add_maximum(s, t, rounding, reads[2], wave);
  if (parts == 1) {
    add_digest(s, t, op);
    return;
  }
  if (op->digest == QR_STEP_NO_DIGEST) return;
  wave = qr_ocl_wave(QR_OCL_LIST(dst), NULL);
  t = element(s, QR_OCL_DIGEST, wave, op, 1);
  t->src = dst->off;
  qr_ocl_set_units(&s->b, t, op->m, (op->n + QR_OCL_RUN - 1) / QR_OCL_RUN);
  add_digest(s, t, op);
}

static void emit_gemm(step_t *s, uint16_t i) {
  uint16_t j = only_reader(s, i);
  emit_pack(s, i, 0);
  emit_pack(s, i, 1);
  if (j == NO_OP || s->nodes[j].product != i) emit_product(s, i, NO_OP);
}

/* BIAS_ACT and Q_OUT that end no product. */
static void emit_out(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  qr_ocl_thing_t *src = thing(s, s->nodes[i].src0), *bias = thing(s, s->nodes[i].src1),
                 *dst = thing(s, s->nodes[i].dst);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(src, bias), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, op->kind == QR_OP_BIAS_ACT ? QR_OCL_ACT : QR_OCL_QOUT, wave, op, 4);
  t->src = src->off;
  t->aux = bias->off;
  t->dst = dst->off;
}

static void emit_td(step_t *s, uint16_t i) {
  const node_t *n = &s->nodes[i];
  qr_ocl_thing_t *q = thing(s, n->src0), *act = thing(s, n->src1), *target = thing(s, n->aux),
                 *dst = thing(s, n->dst);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(q, act, target), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, QR_OCL_TD, wave, op_at(s, i), 1);
  t->src = q->off;
  t->src1 = act->off;
  t->aux = target->off;
  t->dst = dst->off;
  t->digest = s->prog->digest_cnt; /* the sum behind those of products */
  uint16_t mask, rounding = rounding_of(s, i, elem_cnt(op_at(s, i)), &mask);
  if (mask == NO_VERSION) add_maximum(s, t, rounding, NULL, wave);
  qr_ocl_set_units(&s->b, t, op_at(s, i)->m, 1 + op_at(s, i)->n / QR_OCL_RUN);
}

static void emit_mask(step_t *s, uint16_t i) {
  const node_t *n = &s->nodes[i];
  qr_ocl_thing_t *x = thing(s, n->src0), *e = thing(s, n->aux), *dst = thing(s, n->dst);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(x, e), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, QR_OCL_MASK, wave, op_at(s, i), 1);
  t->src = e->off;
  t->aux = x->off;
  t->dst = dst->off;
}

/* The largest error, unless it is known from where they were written, then rounding by it. */
static void emit_quant(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  const node_t *n = &s->nodes[i];
  uint16_t from = n->src0, writer = s->versions[from].op;
  qr_ocl_thing_t *mask = NULL, *reg = &s->maxima[i];
  if (writer != NO_OP && s->nodes[writer].folded && op_at(s, writer)->kind == QR_OP_MASK) {
    mask = thing(s, s->nodes[writer].src0);
    from = s->nodes[writer].aux;
  }
  qr_ocl_thing_t *e = thing(s, from), *dst = thing(s, n->dst);
  if (!reg->written) {
    reg->off = s->regs + i * 4u;
    reg->written = s->cleared;
    uint32_t wave = qr_ocl_wave(QR_OCL_LIST(e, mask), QR_OCL_LIST(reg));
    qr_ocl_task_t *t = element(s, QR_OCL_MAX, wave, op, 1);
    t->src = e->off;
    if (mask) t->aux = mask->off;
    t->reg = reg->off;
  }
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(reg, &s->exps[op->layer + 1], e, mask),
                              QR_OCL_LIST(dst, &s->exps[op->layer]));
  qr_ocl_task_t *t = element(s, QR_OCL_QUANT, wave, op, 1);
  t->src = e->off;
  if (mask) t->aux = mask->off;
  t->reg = reg->off;
  t->dst = dst->off;
  t->draw = draws(s, QR_STREAM_ROUND_E, op->layer, elem_cnt(op));
  set_exp(s, t, op->layer);
}

static uint32_t reciprocal(uint32_t v) {
  return v == 1 ? 0 : (uint32_t)(((uint64_t)1 << 32) / v + 1);
}

static void emit_col2im(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  const qr_step_geo_t *g = &op->geo;
  qr_ocl_thing_t *src = thing(s, s->nodes[i].src0), *dst = thing(s, s->nodes[i].dst);
  uint16_t version, rounding = rounding_of(s, i, image_cnt(op), &version);
  qr_ocl_thing_t *mask = rounding != NO_OP && version != NO_VERSION ? thing(s, version) : NULL;
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(src, mask), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, QR_OCL_COL2IM, wave, op, 1);
  add_maximum(s, t, rounding, mask, wave);
  t->src = src->off;
  t->dst = dst->off;
  t->p0 = (int32_t)reciprocal(g->sy), t->p1 = (int32_t)reciprocal(g->sx);
  t->h = g->h, t->w = g->w, t->c = g->c;
  t->out_h = g->out_h, t->out_w = g->out_w, t->sy = g->sy, t->sx = g->sx;
  qr_ocl_set_units(&s->b, t, image_cnt(op) / g->c, 1 + g->c / 4u);
}

static void emit_bias_update(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  qr_ocl_thing_t *src = thing(s, s->nodes[i].src0), *dst = thing(s, s->nodes[i].dst),
                 sum = qr_ocl_thing(&s->b, (uint64_t)op->n * 4);
  clear(s, &sum, op->n);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(src), QR_OCL_LIST(&sum));
  qr_ocl_task_t *t = element(s, QR_OCL_COLSUM, wave, op, 1);
  t->src = src->off;
  t->dst = sum.off;
  qr_ocl_set_units(&s->b, t,
                   (uint64_t)((op->n + QR_OCL_RUN - 1) / QR_OCL_RUN) *
                       ((op->m + QR_OCL_SUM_ROWS - 1) / QR_OCL_SUM_ROWS),
                   QR_OCL_SUM_ROWS);
  wave = qr_ocl_wave(QR_OCL_LIST(&sum, &s->exps[op->layer]), QR_OCL_LIST(dst));
  t = element(s, QR_OCL_BIAS, wave, op, 1);
  s->biases[s->bias_cnt++] = (bias_t){(uint32_t)(t - s->b.tasks), i};
  t->src = sum.off;
  t->dst = dst->off;
  t->draw = draws(s, QR_STREAM_ROUND_B, op->layer, op->n);
  set_exp(s, t, op->layer);
  qr_ocl_set_units(&s->b, t, (op->n + QR_OCL_RUN - 1) / QR_OCL_RUN, 4);
}

/* Updates of biases that nothing waits for go together in the last launch of their kind. */
static void postpone_biases(step_t *s) {
  uint16_t last = 0;
  for (uint32_t i = s->b.first; i < s->b.task_cnt; i++)
    if (s->b.kernel[i] == QR_OCL_K_ELEMENT && s->b.wave[i] > last) last = s->b.wave[i];
  for (uint32_t i = 0; i < s->bias_cnt; i++) {
    const qr_step_op_t *op = op_at(s, s->biases[i].op);
    const qr_ocl_thing_t *dst = thing(s, s->nodes[s->biases[i].op].dst), *exp = &s->exps[op->layer];
    uint16_t *wave = &s->b.wave[s->biases[i].task];
    if (dst->written == *wave && dst->read < *wave && exp->written < *wave) *wave = last;
  }
}

static void emit_weight_update(step_t *s, uint16_t i) {
  const qr_step_op_t *op = op_at(s, i);
  qr_ocl_thing_t *src = thing(s, s->nodes[i].src0), *dst = thing(s, s->nodes[i].dst);
  uint32_t wave = qr_ocl_wave(QR_OCL_LIST(src, &s->exps[op->layer]), QR_OCL_LIST(dst));
  qr_ocl_task_t *t = element(s, QR_OCL_WEIGHT, wave, op, 1);
  t->src = src->off;
  t->dst = dst->off;
  t->draw = draws(s, QR_STREAM_ROUND_W, op->layer, elem_cnt(op));
  set_exp(s, t, op->layer);
}

static void emit(step_t *s, uint16_t i) {
  const node_t *n = &s->nodes[i];
  if (n->folded) return;
  if (n->product != NO_OP) {
    emit_product(s, n->product, i);
    return;
  }
  switch (op_at(s, i)->kind) {
  case QR_OP_W7:
  case QR_OP_DITHER: emit_form(s, i); break;
  case QR_OP_GEMM: emit_gemm(s, i); break;
  case QR_OP_BIAS_ACT:
  case QR_OP_Q_OUT: emit_out(s, i); break;
  case QR_OP_TD: emit_td(s, i); break;
  case QR_OP_MASK: emit_mask(s, i); break;
  case QR_OP_ERR_QUANT: emit_quant(s, i); break;
  case QR_OP_COL2IM: emit_col2im(s, i); break;
  case QR_OP_BIAS_UPD: emit_bias_update(s, i); break;
  default: emit_weight_update(s, i); break;
  }
}

/* Places of what does not change from step to step, or comes from the host. */
static void place(step_t *s) {
  qr_ocl_builder_t *b = &s->b;
  qr_ocl_plan_t *p = s->plan;
  const qr_step_prog_t *prog = s->prog;
  p->model = qr_ocl_take(b, prog->model_sz);
  p->obs = qr_ocl_take(b, (uint64_t)prog->batch * prog->obs_sz);
  p->keys = qr_ocl_take(b, sizeof(qr_ocl_keys_t));
  p->target = QR_OCL_HEADS_SZ;
  p->act = p->target + prog->batch * 4;
  p->input_sz = p->act + prog->batch;
  p->input = qr_ocl_take(b, p->input_sz);
  for (uint16_t i = 0; i < prog->buf_cnt; i++) {
    const qr_step_buf_t *buf = &prog->bufs[i];
    if (s->current[i] == NO_VERSION) continue;
    version_t *v = &s->versions[s->current[i]];
    v->placed = true;
    switch (buf->role) {
    case QR_STEP_BUF_OBS: v->thing.off = p->obs; break;
    case QR_STEP_BUF_ACT: v->thing.off = p->input + p->act; break;
    case QR_STEP_BUF_TARGET: v->thing.off = p->input + p->target; break;
    default: v->thing.off = p->model + buf->off; break;
    }
  }
}

static int plan_step(step_t *s) {
  qr_ocl_thing_t sums = {0};
  memset(s->current, 0xff, sizeof s->current);
  s->version_cnt = 0;
  for (uint16_t i = 0; i < s->prog->buf_cnt; i++)
    if (s->prog->bufs[i].role != QR_STEP_BUF_SCRATCH)
      s->current[i] = add_version(s, NO_OP, s->prog->bufs[i].cnt);
  place(s);
  int err = resolve(s);
  if (err) return err;
  fold(s);
  /* sums of digests and errors, maxima, exponents: all zero when a step begins */
  uint32_t sum_cnt = (QR_STEP_GEMM_MAX_CNT + 1) * 2,
           reg_cnt = QR_STEP_OP_MAX_CNT + QR_STEP_EXP_MAX_CNT;
  sums.off = s->plan->sums = qr_ocl_take(&s->b, (sum_cnt + reg_cnt) * 4);
  s->regs = sums.off + sum_cnt * 4;
  clear(s, &sums, sum_cnt + reg_cnt);
  s->cleared = sums.written;
  for (uint32_t i = 0; i < QR_STEP_EXP_MAX_CNT; i++) s->exps[i].written = s->cleared;
  for (uint16_t i = 0; i < s->prog->op_cnt; i++) emit(s, i);
  postpone_biases(s);
  qr_ocl_finish(&s->b, &s->plan->step);
  return s->b.err;
}

int qr_ocl_plan(qr_ocl_plan_t *plan, const qr_net_t *net, const qr_step_prog_t *prog,
                const qr_ocl_tune_t *tune, uint32_t unit_cnt) {
  step_t s = {.plan = plan, .prog = prog};
  memset(plan, 0, sizeof *plan);
  if (qr_step_check(prog)) return QR_ERR_ARG;
  if (prog->batch > BATCH_MAX) return QR_ERR_UNSUPPORTED;
  s.b = (qr_ocl_builder_t){
      .tune = tune, .unit_cnt = unit_cnt, .tasks = plan->tasks, .task_max = QR_OCL_TASK_MAX_CNT};
  int err = plan_step(&s);
  if (!err) err = qr_ocl_plan_forward(&s.b, plan, net);
  plan->task_cnt = s.b.task_cnt;
  plan->mem_sz = s.b.mem_sz;
  return err;
}
