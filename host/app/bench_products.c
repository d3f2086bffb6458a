#include "app/bench_products.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "port/clock.h"
#include "step/program.h"

#define SAMPLE_NS 400000u /* what the runs of one sample take, about */
#define RUN_MIN_CNT 3u    /* unless one takes LONG_NS */
#define LONG_NS 20000000u
#define RUN_MAX_CNT 12u
#define PHASE_MAX_CNT 32u

const char *const qr_bench_product_keys[QR_BENCH_PRODUCT_FIGURE_CNT] = {
    [QR_BENCH_WHOLE_GMAC] = "whole_gmac_per_s",
    [QR_BENCH_WHOLE_OF_PEAK] = "whole_ratio_to_own_peak",
    [QR_BENCH_ALONE_GMAC] = "product_alone_gmac_per_s",
    [QR_BENCH_ALONE_OF_PEAK] = "product_alone_ratio_to_own_peak",
    [QR_BENCH_WHOLE_OF_S8] = "whole_ratio_to_rival_s8_as_they_lie",
    [QR_BENCH_WHOLE_OF_RIVAL] = "whole_ratio_to_rival_as_they_lie",
    [QR_BENCH_ALONE_OF_RIVAL] = "product_alone_ratio_to_rival_packed",
};
const char *const qr_bench_sum_keys[QR_BENCH_SUM_FIGURE_CNT] = {
    [QR_BENCH_SUM_WHOLE_GMAC] = "whole_gmac_per_s",
    [QR_BENCH_SUM_ALONE_GMAC] = "product_alone_gmac_per_s",
    [QR_BENCH_SUM_S8_GMAC] = "rival_s8_as_they_lie_gmac_per_s",
    [QR_BENCH_SUM_RIVAL_LIES_GMAC] = "rival_as_they_lie_gmac_per_s",
    [QR_BENCH_SUM_RIVAL_PACKED_GMAC] = "rival_packed_gmac_per_s",
    [QR_BENCH_SUM_WHOLE_OF_S8] = "whole_ratio_to_rival_s8_as_they_lie",
    [QR_BENCH_SUM_WHOLE_OF_RIVAL] = "whole_ratio_to_rival_as_they_lie",
    [QR_BENCH_SUM_ALONE_OF_RIVAL] = "product_alone_ratio_to_rival_packed",
};

/* What a product is measured with. */
typedef struct {
  int8_t *a, *b;
  int32_t *c;
  qr_rival_job_t *jobs[QR_BENCH_RIVAL_MAX_CNT];
  /* of the round in progress, nanoseconds; 0: not measured */
  double whole, alone, s8, rival_lies, rival_packed;
} material_t;

struct qr_bench_products {
  qr_bench_dev_t *d;
  const qr_rivals_t *rivals;
  qr_bench_product_list_t *out;
  uint32_t prog;                     /* any that is loaded */
  uint32_t phase_cnt, product_phase; /* the latter is phase_cnt if the driver times no products */
  material_t materials[QR_BENCH_PRODUCT_MAX_CNT];
};

static double mac_cnt(const qr_step_op_t *op) { return (double)op->m * op->n * op->k; }

/* ---- the list ---- */

static qr_bench_product_t *add(qr_bench_product_list_t *out, const char *kind, uint32_t number,
                               uint32_t task, const qr_step_op_t *op) {
  if (out->cnt == QR_BENCH_PRODUCT_MAX_CNT) return NULL;
  qr_bench_product_t *p = &out->list[out->cnt++];
  snprintf(p->name, sizeof p->name, "%s %u", kind, number);
  p->task = task;
  p->op = *op;
  p->geo = op->geo;
  return p;
}

static void add_task(qr_bench_product_list_t *out, const qr_net_t *net, uint32_t task) {
  qr_step_prog_t prog;
  qr_step_lower(net, &prog);
  for (uint32_t i = 0; i < prog.op_cnt; i++) {
    const qr_step_op_t *op = &prog.ops[i];
    if (op->kind != QR_OP_GEMM || op->digest == QR_STEP_NO_DIGEST) continue;
    const char *kind = op->flags & QR_GEMM_A_TRANS   ? "backward weights"
                       : op->flags & QR_GEMM_B_TRANS ? "backward data"
                                                     : "forward";
    qr_bench_product_t *p = add(out, kind, op->layer, task, op);
    if (!p) return;
    /* The errors of a convolution's input are added up from the product by the next op. */
    if (op->flags & QR_GEMM_B_TRANS && prog.ops[i + 1].kind == QR_OP_COL2IM)
      p->geo = prog.ops[i + 1].geo;
    if (!(op->flags & QR_GEMM_A_CONV)) continue;
    p->op.flags &= (uint16_t)~QR_GEMM_A_CONV;
    memset(&p->op.geo, 0, sizeof p->op.geo);
    if (!(p = add(out, kind, op->layer, task, op))) return;
    p->image = true;
    if (op->flags & QR_GEMM_A_TRANS)
      p->rival_why =
          "oneDNN has no int8 convolution backward by weights, and matmul takes no image";
  }
}

static void add_square(qr_bench_product_list_t *out, uint32_t size) {
  qr_step_op_t op = {.kind = QR_OP_GEMM, .m = size, .n = size, .k = size};
  add(out, "square", size, QR_BENCH_NO_TASK, &op);
}

/* ---- operands ---- */

static int8_t *draw(size_t cnt, uint64_t *state) {
  int8_t *x = malloc(cnt);
  for (size_t i = 0; x && i < cnt; i++) x[i] = (int8_t)((int)(qr_splitmix_next(state) >> 57) - 64);
  return x;
}

static uint32_t samples_of(const qr_bench_product_t *p) {
  uint32_t pos = (uint32_t)p->geo.out_h * p->geo.out_w;
  return (p->op.flags & QR_GEMM_A_TRANS ? p->op.k : p->op.m) / pos;
}

/* Where tap i of output row `row` reads: the place (sample, y, x) of its first channel. */
static size_t place_of(const qr_step_geo_t *g, size_t row, uint32_t tap) {
  size_t x = row % g->out_w, y = row / g->out_w % g->out_h, b = row / g->out_w / g->out_h;
  size_t in_y = (y * g->sy + tap / 3 + g->h - 1) % g->h,
         in_x = (x * g->sx + tap % 3 + g->w - 1) % g->w;
  return ((b * g->h + in_y) * g->w + in_x) * g->c;
}

static size_t row_cnt_of(const qr_bench_product_t *p) {
  return (size_t)samples_of(p) * p->geo.out_h * p->geo.out_w;
}

static void add_up(const qr_bench_product_t *p, int32_t *image, const int32_t *rows) {
  for (size_t row = 0; row < row_cnt_of(p); row++) {
    for (uint32_t tap = 0; tap < 9; tap++, rows += p->geo.c) {
      int32_t *to = image + place_of(&p->geo, row, tap);
      for (uint32_t c = 0; c < p->geo.c; c++) to[c] += rows[c];
    }
  }
}

static int take_operands(const qr_bench_product_t *p, material_t *x, uint64_t *state) {
  const qr_step_op_t *op = &p->op;
  size_t image = p->image ? (size_t)samples_of(p) * p->geo.h * p->geo.w * p->geo.c : 0;
  x->a = draw(p->image ? image : (size_t)op->m * op->k, state);
  x->b = draw((size_t)op->k * op->n, state);
  x->c = calloc((size_t)op->m * op->n, sizeof *x->c);
  return x->a && x->b && x->c ? QR_OK : QR_ERR_NOMEM;
}

/* ---- ours ---- */

static int multiply(qr_bench_products_t *s, uint32_t i, uint64_t *phase_ns) {
  material_t *x = &s->materials[i];
  qr_accel_job_t job = {.kind = QR_ACCEL_GEMM,
                        .prog = s->prog,
                        .gemm = &s->out->list[i].op,
                        .a = x->a,
                        .b = x->b,
                        .c = x->c,
                        .phase_ns = phase_ns};
  return qr_bench_finish(s->d, &job);
}

/* ---- the library's ---- */

static qr_rival_job_t *open_rival(qr_bench_products_t *s, uint32_t i, bool conv,
                                  qr_bench_rival_t *r) {
  const qr_bench_product_t *p = &s->out->list[i];
  const material_t *x = &s->materials[i];
  const qr_step_op_t *op = &p->op;
  bool backward = op->flags & QR_GEMM_B_TRANS;
  qr_rival_job_t *job = NULL;
  qr_rival_matmul_t m = {.m = op->m,
                         .n = op->n,
                         .k = op->k,
                         .a_trans = op->flags & QR_GEMM_A_TRANS,
                         .b_trans = backward,
                         .a = x->a,
                         .b = x->b};
  qr_rival_conv_t c = {.geo = p->geo,
                       .batch = p->geo.c ? samples_of(p) : 0,
                       .n = backward ? op->k : op->n,
                       .backward = backward,
                       .a = x->a,
                       .weights = x->b};
  int err = conv ? s->rivals->int8->conv(&c, r->form, &job, r->why, sizeof r->why)
                 : s->rivals->int8->matmul(&m, r->form, &job, r->why, sizeof r->why);
  return err ? NULL : job;
}

/* Whether the library's result is ours, element by element; a convolution backward has added up. */
static int compare(qr_bench_products_t *s, uint32_t i, bool image, qr_rival_job_t *job,
                   bool *equal) {
  const qr_bench_product_t *p = &s->out->list[i];
  size_t cnt =
      image ? (size_t)samples_of(p) * p->geo.h * p->geo.w * p->geo.c : (size_t)p->op.m * p->op.n;
  int32_t *found = malloc(cnt * sizeof *found), *sum = calloc(image ? cnt : 1, sizeof *sum);
  const int32_t *ours = image ? sum : s->materials[i].c;
  int err = found && sum ? s->rivals->int8->run(job) : QR_ERR_NOMEM;
  if (!err) err = s->rivals->int8->result(job, found);
  if (!err && image) add_up(p, sum, s->materials[i].c);
  *equal = !err && !memcmp(found, ours, cnt * sizeof *found);
  free(found);
  free(sum);
  return err;
}

static int add_rival(qr_bench_products_t *s, uint32_t i, bool conv, qr_rival_form_t form) {
  qr_bench_product_t *p = &s->out->list[i];
  bool backward = p->op.flags & QR_GEMM_B_TRANS;
  uint32_t at = p->rival_cnt++;
  qr_bench_rival_t *r = &p->rivals[at];
  qr_rival_job_t *job;
  *r = (qr_bench_rival_t){.primitive = !conv      ? "matmul"
                                       : backward ? "deconvolution"
                                                  : "convolution",
                          .form = form};
  if (!(job = s->materials[i].jobs[at] = open_rival(s, i, conv, r))) return QR_OK;
  snprintf(r->implementation, sizeof r->implementation, "%s", s->rivals->int8->implementation(job));
  int err = compare(s, i, conv && backward, job, &r->equal);
  if (!err && !r->equal) snprintf(r->why, sizeof r->why, "its result is not ours");
  return err;
}

static int add_rivals(qr_bench_products_t *s, uint32_t i) {
  const qr_bench_product_t *p = &s->out->list[i];
  bool trans = p->op.flags & QR_GEMM_A_TRANS, backward = p->op.flags & QR_GEMM_B_TRANS;
  bool with[2] = {!p->image, p->geo.c && !trans && (p->image || backward)};
  int err = QR_OK;
  for (int conv = 0; conv < 2; conv++) {
    for (int form = 0; form < 4 && with[conv] && !err; form++) {
      err = add_rival(s, i, conv,
                      (qr_rival_form_t){.operand = form & 1 ? QR_RIVAL_U8 : QR_RIVAL_S8,
                                        .layout = form & 2 ? QR_RIVAL_PACKED : QR_RIVAL_LIES});
    }
  }
  return err;
}

/* ---- life ---- */

bool qr_bench_is_product(const char *phase) {
  return !strncmp(phase, QR_BENCH_PRODUCT_PHASE, strlen(QR_BENCH_PRODUCT_PHASE));
}

static void find_phases(qr_bench_products_t *s) {
  const char *const *names = s->d->ops->phases;
  for (; names && names[s->phase_cnt] && s->phase_cnt < PHASE_MAX_CNT; s->phase_cnt++) continue;
  while (s->product_phase < s->phase_cnt && !qr_bench_is_product(names[s->product_phase]))
    s->product_phase++;
}

int qr_bench_products_init(qr_bench_products_t **out, const qr_chain_cfg_t *chain,
                           const bool *with_task, qr_bench_dev_t *d, const qr_rivals_t *rivals,
                           qr_bench_product_list_t *list) {
  uint64_t state = 1;
  qr_bench_products_t *s = calloc(1, sizeof *s);
  if (!s) return QR_ERR_NOMEM;
  *s = (qr_bench_products_t){.d = d, .rivals = rivals, .out = list, .prog = d->progs[0]};
  memset(list, 0, sizeof *list);
  find_phases(s);
  for (uint32_t t = 0; t < chain->p.task_cnt; t++) {
    if (with_task[t]) add_task(list, &chain->nets[t], t);
  }
  add_square(list, 256);
  add_square(list, 512);
  add_square(list, 1024);
  int err = QR_OK;
  for (uint32_t i = 0; i < list->cnt && !err; i++) {
    qr_bench_product_t *p = &list->list[i];
    err = take_operands(p, &s->materials[i], &state);
    if (err) break;
    int refused = multiply(s, i, NULL);
    if (refused)
      snprintf(p->why, sizeof p->why, "the driver makes no single product (%s)",
               qr_err_str(refused));
    else if (rivals->int8)
      err = add_rivals(s, i);
  }
  if (err) {
    qr_bench_products_fini(s);
    return err;
  }
  *out = s;
  return QR_OK;
}

void qr_bench_products_fini(qr_bench_products_t *s) {
  if (!s) return;
  for (uint32_t i = 0; i < QR_BENCH_PRODUCT_MAX_CNT; i++) {
    material_t *x = &s->materials[i];
    for (uint32_t r = 0; r < QR_BENCH_RIVAL_MAX_CNT; r++) {
      if (x->jobs[r]) s->rivals->int8->free(x->jobs[r]);
    }
    free(x->a);
    free(x->b);
    free(x->c);
  }
  free(s);
}

/* ---- a round ---- */

/* The fastest of a few runs of one way: ours as a whole, ours for the phase alone, or a rival's. */
enum { WAY_WHOLE, WAY_ALONE, WAY_RIVAL };

static int sample(qr_bench_products_t *s, uint32_t i, uint32_t way, double *ns) {
  uint64_t began = qr_clock_mono_ns(), spent = 0;
  *ns = 0;
  for (uint32_t r = 0; r < RUN_MAX_CNT && spent < LONG_NS && (r < RUN_MIN_CNT || spent < SAMPLE_NS);
       r++) {
    uint64_t phase_ns[PHASE_MAX_CNT] = {0}, start = qr_clock_mono_ns();
    int err = way == WAY_WHOLE   ? multiply(s, i, NULL)
              : way == WAY_ALONE ? multiply(s, i, phase_ns)
                                 : s->rivals->int8->run(s->materials[i].jobs[way - WAY_RIVAL]);
    uint64_t end = qr_clock_mono_ns();
    if (err) return err;
    double took = (double)(way == WAY_ALONE ? phase_ns[s->product_phase] : end - start);
    if (!r || took < *ns) *ns = took;
    spent = end - began;
  }
  return QR_OK;
}

/* The ways take turns at being first. */
static int measure(qr_bench_products_t *s, uint32_t i, uint32_t round) {
  qr_bench_product_t *p = &s->out->list[i];
  material_t *x = &s->materials[i];
  uint32_t way_cnt = WAY_RIVAL + p->rival_cnt;
  double mac = mac_cnt(&p->op);
  for (uint32_t w = 0; w < way_cnt; w++) {
    double ns;
    uint32_t way = (w + round) % way_cnt;
    bool idle = way == WAY_ALONE ? s->product_phase == s->phase_cnt
                                 : way >= WAY_RIVAL && !p->rivals[way - WAY_RIVAL].equal;
    if (idle) continue;
    int err = sample(s, i, way, &ns);
    if (err) return err;
    if (way == WAY_WHOLE) x->whole = ns;
    if (way == WAY_ALONE) x->alone = ns;
    if (way < WAY_RIVAL || ns <= 0) continue;
    qr_bench_rival_t *r = &p->rivals[way - WAY_RIVAL];
    qr_bench_add(&r->gmac_per_s, mac / ns);
    if (!strcmp(r->primitive, "deconvolution")) continue; /* does more than the product */
    double *best = r->form.layout == QR_RIVAL_PACKED ? &x->rival_packed : &x->rival_lies;
    if (*best <= 0 || ns < *best) *best = ns;
    if (r->form.layout == QR_RIVAL_LIES && r->form.operand == QR_RIVAL_S8) x->s8 = ns;
  }
  return QR_OK;
}

/* Adds over / under, or nothing where one of them was not measured. */
static void add_ratio(qr_bench_series_t *s, double over, double under) {
  if (over > 0 && under > 0) qr_bench_add(s, over / under);
}

static void keep(qr_bench_product_t *p, const material_t *x, double peak) {
  double mac = mac_cnt(&p->op);
  qr_bench_series_t *f = p->figures;
  add_ratio(&f[QR_BENCH_WHOLE_GMAC], mac, x->whole);
  add_ratio(&f[QR_BENCH_ALONE_GMAC], mac, x->alone);
  add_ratio(&f[QR_BENCH_WHOLE_OF_PEAK], mac, x->whole * peak);
  add_ratio(&f[QR_BENCH_ALONE_OF_PEAK], mac, x->alone * peak);
  add_ratio(&f[QR_BENCH_WHOLE_OF_S8], x->s8, x->whole);
  add_ratio(&f[QR_BENCH_WHOLE_OF_RIVAL], x->rival_lies, x->whole);
  add_ratio(&f[QR_BENCH_ALONE_OF_RIVAL], x->rival_packed, x->alone);
}

/* A sum that lacks one product is none. */
static double plus(double sum, double ns) { return sum < 0 || ns <= 0 ? -1 : sum + ns; }

static void keep_sums(qr_bench_products_t *s, uint32_t task) {
  qr_bench_series_t *f = s->out->sums[task];
  double mac = 0;
  material_t sum = {0};
  for (uint32_t i = 0; i < s->out->cnt; i++) {
    const material_t *x = &s->materials[i];
    if (s->out->list[i].task != task || s->out->list[i].image) continue;
    mac += mac_cnt(&s->out->list[i].op);
    sum.whole = plus(sum.whole, x->whole);
    sum.alone = plus(sum.alone, x->alone);
    sum.s8 = plus(sum.s8, x->s8);
    sum.rival_lies = plus(sum.rival_lies, x->rival_lies);
    sum.rival_packed = plus(sum.rival_packed, x->rival_packed);
  }
  add_ratio(&f[QR_BENCH_SUM_WHOLE_GMAC], mac, sum.whole);
  add_ratio(&f[QR_BENCH_SUM_ALONE_GMAC], mac, sum.alone);
  add_ratio(&f[QR_BENCH_SUM_S8_GMAC], mac, sum.s8);
  add_ratio(&f[QR_BENCH_SUM_RIVAL_LIES_GMAC], mac, sum.rival_lies);
  add_ratio(&f[QR_BENCH_SUM_RIVAL_PACKED_GMAC], mac, sum.rival_packed);
  add_ratio(&f[QR_BENCH_SUM_WHOLE_OF_S8], sum.s8, sum.whole);
  add_ratio(&f[QR_BENCH_SUM_WHOLE_OF_RIVAL], sum.rival_lies, sum.whole);
  add_ratio(&f[QR_BENCH_SUM_ALONE_OF_RIVAL], sum.rival_packed, sum.alone);
}

int qr_bench_products_round(qr_bench_products_t *s, uint32_t round, const qr_bench_peak_t *peak) {
  double before = peak ? qr_bench_peak_gmac_per_s(peak) : 0;
  for (uint32_t i = 0; i < s->out->cnt; i++) {
    material_t *x = &s->materials[i];
    if (*s->out->list[i].why) continue;
    x->whole = x->alone = x->s8 = x->rival_lies = x->rival_packed = 0;
    int err = measure(s, i, round);
    if (err) return err;
    double after = peak ? qr_bench_peak_gmac_per_s(peak) : 0;
    keep(&s->out->list[i], x, after > before ? after : before);
    before = after;
  }
  for (uint32_t t = 0; t < QR_TASK_MAX_CNT; t++) keep_sums(s, t);
  return QR_OK;
}
