#include "builder.h"

#include <stdlib.h>

#include "base/err.h"

#define ALIGN 128u
#define TAIL_SZ 64u    /* read or written behind a tensor whose size is no multiple of a run */
#define PANEL_DIM 128u /* operands are padded to the largest tile */
#define PANEL_K 32u    /* and to what goes to local memory at a time */
#define RUN ((uint32_t)QR_OCL_RUN)
#define PART_K_MIN 256u
#define TILE_RUNS_MAX 16u

static uint32_t ceil_div(uint64_t a, uint32_t b) { return (uint32_t)((a + b - 1) / b); }

uint32_t qr_ocl_take(qr_ocl_builder_t *b, uint64_t sz) {
  uint64_t at = b->mem_sz;
  b->mem_sz += qr_align_up(sz + TAIL_SZ, ALIGN);
  if (b->mem_sz > UINT32_MAX) b->err = QR_ERR_NOMEM;
  return (uint32_t)at;
}

qr_ocl_thing_t qr_ocl_thing(qr_ocl_builder_t *b, uint64_t sz) {
  return (qr_ocl_thing_t){.off = qr_ocl_take(b, sz)};
}

uint32_t qr_ocl_wave(qr_ocl_thing_t *const reads[], qr_ocl_thing_t *const writes[]) {
  static qr_ocl_thing_t *const none[] = {NULL};
  uint32_t wave = 1;
  if (!reads) reads = none;
  if (!writes) writes = none;
  for (uint32_t i = 0; reads[i]; i++)
    if (wave <= reads[i]->written) wave = reads[i]->written + 1;
  for (uint32_t i = 0; writes[i]; i++) {
    if (wave <= writes[i]->written) wave = writes[i]->written + 1;
    if (wave <= writes[i]->read) wave = writes[i]->read + 1;
  }
  for (uint32_t i = 0; reads[i]; i++)
    if (reads[i]->read < wave) reads[i]->read = wave;
  for (uint32_t i = 0; writes[i]; i++) writes[i]->written = wave;
  return wave;
}

qr_ocl_task_t *qr_ocl_task(qr_ocl_builder_t *b, enum qr_ocl_kernel kernel, uint32_t kind,
                           uint32_t wave) {
  if (b->task_cnt == b->task_max) {
    b->err = QR_ERR_FULL;
    b->task_cnt--; /* goes nowhere: err says so */
  }
  qr_ocl_task_t *t = &b->tasks[b->task_cnt];
  memset(t, 0, sizeof *t);
  t->kind = kind;
  t->aux = t->digest = t->reg = QR_OCL_NONE;
  b->wave[b->task_cnt - b->first] = (uint16_t)wave;
  b->kernel[b->task_cnt - b->first] = (uint8_t)kernel;
  b->task_cnt++;
  return t;
}

void qr_ocl_set_units(qr_ocl_builder_t *b, qr_ocl_task_t *t, uint64_t unit_cnt, uint32_t weight) {
  if (unit_cnt > UINT32_MAX / 2) b->err = QR_ERR_NOMEM;
  t->unit_cnt = (uint32_t)unit_cnt;
  t->runs = weight < b->tune->runs ? b->tune->runs / weight : 1;
}

static uint32_t group_sz(const qr_ocl_builder_t *b) { return b->tune->vector ? 2 : 4; }

static uint32_t group_cnt(const qr_ocl_builder_t *b, uint32_t k) {
  return (uint32_t)qr_align_up(k, PANEL_K) / group_sz(b);
}

qr_ocl_thing_t qr_ocl_operand(qr_ocl_builder_t *b, uint32_t dim, uint32_t k) {
  return qr_ocl_thing(b, (uint64_t)qr_align_up(dim, PANEL_DIM) * group_cnt(b, k) * 4);
}

enum qr_ocl_lie qr_ocl_lie_a(const qr_step_op_t *op) {
  bool trans = op->flags & QR_GEMM_A_TRANS;
  if (op->flags & QR_GEMM_A_CONV) return trans ? QR_OCL_LIE_CONV_T : QR_OCL_LIE_CONV;
  return trans ? QR_OCL_LIE_D : QR_OCL_LIE_K;
}

enum qr_ocl_lie qr_ocl_lie_b(const qr_step_op_t *op) {
  return op->flags & QR_GEMM_B_TRANS ? QR_OCL_LIE_K : QR_OCL_LIE_D;
}

qr_ocl_task_t *qr_ocl_pack(qr_ocl_builder_t *b, enum qr_ocl_lie lie, uint32_t dim, uint32_t k,
                           const qr_step_geo_t *g, uint32_t wave, uint32_t src, uint32_t dst) {
  static const uint32_t kinds[] = {QR_OCL_PACK_K, QR_OCL_PACK_D, QR_OCL_CONV, QR_OCL_CONV_T};
  qr_ocl_task_t *t = qr_ocl_task(b, QR_OCL_K_ELEMENT, kinds[lie], wave);
  bool by_k = lie == QR_OCL_LIE_D || lie == QR_OCL_LIE_CONV_T; /* stored rows are k */
  t->m = by_k ? k : dim;
  t->n = by_k ? dim : k;
  t->src = src;
  t->dst = dst;
  t->groups = group_cnt(b, k);
  switch (lie) {
  case QR_OCL_LIE_K:
    qr_ocl_set_units(b, t, (uint64_t)ceil_div(dim, RUN) * RUN * ceil_div(k, RUN), 1);
    return t;
  case QR_OCL_LIE_D:
    qr_ocl_set_units(b, t, (uint64_t)ceil_div(k, group_sz(b)) * ceil_div(dim, RUN), group_sz(b));
    return t;
  default: qr_ocl_set_units(b, t, ceil_div(by_k ? k : dim, RUN), 9 * g->c); break;
  }
  t->h = g->h, t->w = g->w, t->c = g->c;
  t->out_h = g->out_h, t->out_w = g->out_w, t->sy = g->sy, t->sx = g->sx;
  return t;
}

static uint64_t tile_cnt(const qr_ocl_builder_t *b, uint32_t m, uint32_t n) {
  const qr_ocl_tune_t *u = b->tune;
  return (uint64_t)ceil_div(m, u->vector ? u->rows : u->tile_y) *
         ceil_div(n, u->vector ? RUN : u->tile_x);
}

/* So many that every compute unit has something to do, as long as each part is worth it. */
uint32_t qr_ocl_parts(const qr_ocl_builder_t *b, uint32_t m, uint32_t n, uint32_t k) {
  uint64_t tiles = tile_cnt(b, m, n), wanted = 2 * (uint64_t)b->unit_cnt;
  if (tiles >= wanted) return 1;
  uint32_t parts = ceil_div(wanted, (uint32_t)tiles), most = k / PART_K_MIN;
  return parts < most ? parts : most ? most : 1;
}

qr_ocl_task_t *qr_ocl_product(qr_ocl_builder_t *b, uint32_t m, uint32_t n, uint32_t k,
                              uint32_t parts, uint32_t wave) {
  qr_ocl_task_t *t = qr_ocl_task(b, QR_OCL_K_PRODUCT, 0, wave);
  t->m = m, t->n = n, t->k = k;
  t->groups = group_cnt(b, k);
  t->parts = parts;
  qr_ocl_set_units(b, t, tile_cnt(b, m, n) * parts, 1);
  uint64_t runs = t->unit_cnt / (8 * (uint64_t)b->unit_cnt); /* so that units get equal shares */
  t->runs = !b->tune->vector || !runs ? 1 : runs < TILE_RUNS_MAX ? (uint32_t)runs : TILE_RUNS_MAX;
  return t;
}

static uint32_t items_of(const qr_ocl_builder_t *b, enum qr_ocl_kernel kernel) {
  if (kernel == QR_OCL_K_ELEMENT) return b->tune->element_items;
  return b->tune->vector ? b->tune->product_items : 1; /* a tile is a work-group */
}

/* Tasks of one wave and kernel, moved behind those already in order. */
static uint32_t gather(qr_ocl_builder_t *b, uint32_t at, uint32_t wave, uint32_t kernel) {
  for (uint32_t i = at; i < b->task_cnt; i++) {
    if (b->wave[i - b->first] != wave || b->kernel[i - b->first] != kernel) continue;
    qr_ocl_task_t t = b->tasks[i];
    memmove(&b->tasks[at + 1], &b->tasks[at], (i - at) * sizeof t);
    memmove(&b->wave[at + 1 - b->first], &b->wave[at - b->first], (i - at) * sizeof *b->wave);
    memmove(&b->kernel[at + 1 - b->first], &b->kernel[at - b->first], i - at);
    b->tasks[at] = t;
    b->wave[at - b->first] = (uint16_t)wave;
    b->kernel[at - b->first] = (uint8_t)kernel;
    at++;
  }
  return at;
}

void qr_ocl_finish(qr_ocl_builder_t *b, qr_ocl_launches_t *out) {
  uint32_t at = b->first, last = 0;
  out->cnt = 0;
  for (uint32_t i = b->first; i < b->task_cnt; i++)
    if (b->wave[i - b->first] > last) last = b->wave[i - b->first];
  for (uint32_t wave = 0; wave <= last; wave++) {
    for (uint32_t kernel = QR_OCL_K_ELEMENT; kernel < QR_OCL_K_CNT; kernel++) {
      uint32_t end = gather(b, at, wave, kernel), items = items_of(b, kernel);
      uint64_t wg = 0;
      if (end == at) continue;
      for (uint32_t i = at; i < end; i++) {
        qr_ocl_task_t *t = &b->tasks[i];
        wg += ceil_div(ceil_div(t->unit_cnt, t->runs), items);
        t->wg_end = (uint32_t)wg;
      }
      if (wg > UINT32_MAX || out->cnt == QR_OCL_LAUNCH_MAX_CNT) {
        b->err = QR_ERR_FULL;
        return;
      }
      out->launches[out->cnt++] = (qr_ocl_launch_t){(enum qr_ocl_kernel)kernel, at, (uint32_t)wg};
      at = end;
    }
  }
  b->first = b->task_cnt;
}
