#include "task.h"

#include <stdio.h>

#include "base/err.h"
#include "step/check.h"

#define ROW_MAX_CNT 4096u      /* rows of one FORWARD launch */
#define PIECE_S8_SZ (1u << 20) /* A's share, and B's, of a product's piece */
#define PIECE_S32_CNT (1u << 18)
#define PIECE_K 2048u
#define PIECE_N 512u

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }
static uint32_t up16(uint32_t words) { return (words + 15u) / 16u * 16u; }
static uint32_t cut_cnt(uint32_t whole, uint32_t piece) { return (whole + piece - 1) / piece; }

/* ---- programs and sizes ---- */

int qr_xrt_prog_init(qr_xrt_prog_t *p, const qr_step_prog_t *prog, uint32_t number) {
  qr_engine_place_t place;
  if (qr_step_check(prog) || !prog->op_cnt || prog->op_cnt >= QR_STEP_OP_MAX_CNT || !prog->batch ||
      !prog->obs_sz || !prog->action_cnt || !prog->model_sz || prog->model_sz > 1u << 26)
    return QR_ERR_ARG;
  memset(p, 0, sizeof *p);
  p->prog = *prog;
  p->number = number;
  p->row_stride = (uint32_t)qr_align_up(prog->obs_sz, QR_ENGINE_ALIGN);
  qr_engine_place(prog->bufs, prog->buf_cnt, &place);
  if (place.s8_cnt > 1u << 28 || place.s32_cnt > 1u << 28) return QR_ERR_ARG;
  p->s8_cnt = (uint32_t)place.s8_cnt;
  p->s32_cnt = (uint32_t)place.s32_cnt;
  return QR_OK;
}

#define GROW(to, v) (to) = (uint64_t)(v) > (to) ? (uint64_t)(v) : (to)

void qr_xrt_sizes_of(const qr_xrt_prog_t *progs, uint32_t prog_cnt, uint32_t step_cnt,
                     uint32_t keep_rows, qr_xrt_sizes_t *out) {
  memset(out, 0, sizeof *out);
  out->prog_cnt = prog_cnt;
  out->s8 = 2 * PIECE_S8_SZ;
  out->s32 = 4 * PIECE_S32_CNT;
  out->model = out->pool = QR_XRT_PAGE;
  out->job = 4ull * up16(QR_ENGINE_JOB_HEAD_CNT + QR_XRT_SEGMENT_MAX_CNT);
  out->table = qr_xrt_page_up(4ull * QR_ENGINE_TABLE_CNT_OF(keep_rows));
  for (uint32_t i = 0; i < prog_cnt; i++) {
    const qr_step_prog_t *p = &progs[i].prog;
    uint64_t rows = (uint64_t)step_cnt * p->batch;
    GROW(out->pool, rows * progs[i].row_stride);
    GROW(out->job,
         4ull * up16(QR_ENGINE_JOB_HEAD_CNT + step_cnt * QR_ENGINE_JOB_STEP_CNT_OF(p->batch)));
    GROW(out->out, 4ull * (QR_ENGINE_OUT_HEAD_CNT + step_cnt * QR_ENGINE_OUT_STEP_CNT));
    GROW(out->out,
         4ull * up16(QR_ENGINE_OUT_HEAD_CNT + least(ROW_MAX_CNT, (uint32_t)rows) * p->action_cnt));
    GROW(out->model, qr_align_up(p->model_sz, QR_ENGINE_ALIGN));
    GROW(out->s8, progs[i].s8_cnt);
    GROW(out->s32, 4ull * progs[i].s32_cnt);
    out->keep[i] = qr_xrt_page_up((uint64_t)keep_rows * progs[i].row_stride);
  }
  uint64_t *const sizes[] = {&out->model, &out->pool, &out->job, &out->out, &out->s8, &out->s32};
  for (size_t i = 0; i < QR_ARRAY_CNT(sizes); i++) *sizes[i] = qr_xrt_page_up(*sizes[i]);
}

/* ---- which jobs ---- */

static bool gemm_ok(const qr_accel_job_t *job) {
  const qr_step_op_t *g = job->gemm;
  if (!g || !job->a || !job->b || !job->c || !qr_step_check_gemm(g)) return false;
  const qr_step_geo_t *e = &g->geo;
  /* a sample, and a row of the result, must fit a piece */
  return !(g->flags & QR_GEMM_A_CONV) ||
         ((uint64_t)e->h * e->w * e->c <= PIECE_S8_SZ / 4 && 9u * e->c <= PIECE_S32_CNT);
}

static bool replay_ok(const qr_step_prog_t *p, const qr_accel_job_t *job) {
  uint64_t row_cnt = (uint64_t)job->segment_cnt * job->segment_rows;
  if (!job->rows || row_cnt < p->batch || row_cnt > UINT32_MAX) return false;
  for (uint32_t i = 0; i < job->segment_cnt; i++) {
    const qr_accel_segment_t *s = &job->segments[i];
    if (!s->obs || !s->act || !s->target) return false;
  }
  for (size_t i = 0; i < (size_t)job->step_cnt * p->batch; i++) {
    uint32_t r = job->rows[i];
    if (r >= row_cnt ||
        job->segments[r / job->segment_rows].act[r % job->segment_rows] >= p->action_cnt)
      return false;
  }
  return true;
}

bool qr_xrt_job_ok(const qr_xrt_prog_t *prog, const qr_accel_job_t *job) {
  const qr_step_prog_t *p = &prog->prog;
  if (job->kind == QR_ACCEL_GEMM) return gemm_ok(job);
  if (!job->model_in) return false;
  if (job->kind == QR_ACCEL_FORWARD) return job->obs && job->row_cnt && job->q;
  if (job->kind != QR_ACCEL_ATTEMPT || !job->step_cnt || job->step_cnt > QR_ENGINE_STEP_MAX ||
      !job->model_out || !job->digests || !job->td_abs_sum)
    return false;
  if (job->segments) return replay_ok(p, job);
  if (!job->obs || !job->act || !job->target) return false;
  for (size_t i = 0; i < (size_t)job->step_cnt * p->batch; i++) {
    if (job->act[i] >= p->action_cnt) return false;
  }
  return true;
}

/* ---- cutting ---- */

static void cut_product(const qr_step_op_t *g, qr_xrt_cut_t *c) {
  bool conv = g->flags & QR_GEMM_A_CONV, trans = g->flags & QR_GEMM_A_TRANS;
  const qr_step_geo_t *e = &g->geo;
  uint32_t pos = conv ? (uint32_t)e->out_h * e->out_w : 1;
  uint32_t sample_sz = conv ? (uint32_t)e->h * e->w * e->c : 1;
  uint32_t samples = conv ? most(1, PIECE_S8_SZ / sample_sz) : 0;
  if (!conv) {
    c->k = least(g->k, PIECE_K);
    c->n = least(g->n, PIECE_N);
    c->m = least(g->m, PIECE_S8_SZ / PIECE_K);
  } else if (trans) { /* all of m; samples are inner positions */
    c->m = g->m;
    c->n = most(1, least(least(g->n, PIECE_S32_CNT / g->m), PIECE_S8_SZ / pos));
    c->k = least(g->k, pos * most(1, least(samples, PIECE_S8_SZ / (pos * c->n))));
  } else { /* all of k; samples are rows */
    c->k = g->k;
    c->n = most(1, least(least(g->n, PIECE_S8_SZ / g->k), PIECE_S32_CNT / pos));
    c->m = least(g->m, pos * most(1, least(samples, PIECE_S32_CNT / (pos * c->n))));
  }
  c->m_cnt = cut_cnt(g->m, c->m);
  c->n_cnt = cut_cnt(g->n, c->n);
  c->k_cnt = cut_cnt(g->k, c->k);
}

void qr_xrt_task_begin(qr_xrt_task_t *t, qr_accel_job_t *job, const qr_xrt_prog_t *prog,
                       const qr_xrt_areas_t *a, bool resident) {
  *t = (qr_xrt_task_t){.job = job, .prog = prog, .unit_cnt = job->step_cnt};
  const qr_step_prog_t *p = &prog->prog;
  uint64_t rows = a->sizes.pool / prog->row_stride;
  if (job->kind == QR_ACCEL_GEMM) {
    cut_product(job->gemm, &t->cut);
    t->unit_cnt = t->cut.m_cnt * t->cut.n_cnt * t->cut.k_cnt;
    t->per_launch = 1;
    return;
  }
  if (job->kind == QR_ACCEL_FORWARD) {
    uint64_t by_out = (a->sizes.out / 4 - QR_ENGINE_OUT_HEAD_CNT) / p->action_cnt,
             by_job = a->sizes.job / 4 - QR_ENGINE_JOB_HEAD_CNT;
    t->unit_cnt = job->row_cnt;
    t->per_launch = least(least((uint32_t)rows, (uint32_t)by_out), (uint32_t)by_job);
  } else {
    uint64_t by_job =
                 (a->sizes.job / 4 - QR_ENGINE_JOB_HEAD_CNT) / QR_ENGINE_JOB_STEP_CNT_OF(p->batch),
             by_out = (a->sizes.out / 4 - QR_ENGINE_OUT_HEAD_CNT) / QR_ENGINE_OUT_STEP_CNT;
    t->per_launch = least(least((uint32_t)(rows / p->batch), (uint32_t)by_job), (uint32_t)by_out);
  }
  t->must_upload = !resident || memcmp(job->model_in, a->model, p->model_sz);
}

void qr_xrt_task_keep(qr_xrt_task_t *t, qr_xrt_replay_t *replay, bool has_table) {
  const qr_accel_job_t *job = t->job;
  t->hold.replay = NULL;
  t->has_table = has_table;
  if (job->kind == QR_ACCEL_ATTEMPT && job->segments &&
      t->prog->prog.batch <= QR_ENGINE_BATCH_MAX &&
      job->segment_cnt * job->segment_rows <= QR_ENGINE_REPLAY_MAX)
    (void)qr_xrt_replay_hold(replay, job, &t->hold);
}

void qr_xrt_task_end(qr_xrt_task_t *t) { qr_xrt_replay_let_go(&t->hold); }

/* ---- laying out ---- */

static uint32_t *job_head(const qr_xrt_areas_t *a, int part, enum qr_engine_mode mode) {
  uint32_t *w = (uint32_t *)a->part[part].job;
  memset(w, 0, QR_ENGINE_JOB_HEAD_CNT * sizeof *w);
  w[QR_ENGINE_JOB_ABI] = QR_ENGINE_ABI_VERSION;
  w[QR_ENGINE_JOB_MODE] = mode;
  return w;
}

static void put_rows(const qr_xrt_prog_t *p, const int8_t *obs, uint32_t rows, uint8_t *pool) {
  for (uint32_t i = 0; i < rows; i++)
    memcpy(pool + (size_t)i * p->row_stride, obs + (size_t)i * p->prog.obs_sz, p->prog.obs_sz);
}

static void launch_of(const qr_xrt_task_t *t, uint32_t rows, uint32_t job_cnt, uint32_t out_cnt,
                      qr_xrt_launch_t *l) {
  const qr_xrt_prog_t *p = t->prog;
  *l = (qr_xrt_launch_t){.prog = p->number,
                         .job_cnt = up16(job_cnt),
                         .pool_rows = rows,
                         .row_stride = p->row_stride,
                         .model_cnt = (uint32_t)qr_align_up(p->prog.model_sz, QR_ENGINE_ALIGN) / 2,
                         .s8_cnt = p->s8_cnt,
                         .s32_cnt = p->s32_cnt,
                         .out_cnt = up16(out_cnt),
                         .pool_sz = (uint64_t)rows * p->row_stride};
}

static uint32_t *attempt_head(const qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part,
                              uint32_t cnt) {
  uint32_t *w = job_head(a, part, QR_ENGINE_ATTEMPT);
  w[QR_ENGINE_JOB_STEP_CNT] = cnt;
  w[QR_ENGINE_JOB_FIRST_STEP] = t->sent;
  w[QR_ENGINE_JOB_LR_SHIFT] = t->job->lr_shift;
  memcpy(w + QR_ENGINE_JOB_SIGMA, t->job->sigma.b, QR_HASH_SZ);
  return w;
}

/* Row i of the attempt's minibatches, wherever the job has it. */
static void put_drawn(const qr_accel_job_t *job, const qr_xrt_prog_t *p, size_t i, uint8_t *obs,
                      uint32_t *act, uint32_t *target) {
  size_t r = i;
  qr_accel_segment_t s = {0, job->obs, job->act, job->target};
  if (job->segments) {
    s = job->segments[job->rows[i] / job->segment_rows];
    r = job->rows[i] % job->segment_rows;
  }
  put_rows(p, s.obs + r * p->prog.obs_sz, 1, obs);
  *act = s.act[r];
  *target = (uint32_t)s.target[r];
}

/* Steps whose minibatches travel with them. */
static void lay_steps(qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part, uint32_t cnt) {
  const qr_step_prog_t *p = &t->prog->prog;
  uint32_t b = p->batch, *w = attempt_head(t, a, part, cnt) + QR_ENGINE_JOB_HEAD_CNT;
  size_t row0 = (size_t)t->sent * b;
  uint8_t *pool = a->part[part].pool;
  for (uint32_t k = 0; k < cnt; k++, w += QR_ENGINE_JOB_STEP_CNT_OF(b)) {
    for (uint32_t i = 0; i < b; i++) {
      uint32_t row = k * b + i;
      w[i] = row;
      put_drawn(t->job, t->prog, row0 + row, pool + (size_t)row * t->prog->row_stride, &w[b + i],
                &w[2 * b + i]);
    }
  }
  launch_of(t, cnt * b, QR_ENGINE_JOB_HEAD_CNT + cnt * QR_ENGINE_JOB_STEP_CNT_OF(b),
            QR_ENGINE_OUT_HEAD_CNT + cnt * QR_ENGINE_OUT_STEP_CNT, &a->launch[part]);
}

/* The next rows of the replay that the card does not have; false if it has them all. Only moved,
   nothing is launched. */
static bool lay_segment(qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part) {
  const qr_xrt_prog_t *p = t->prog;
  uint32_t seg_rows = t->job->segment_rows;
  for (; t->kept < t->hold.cnt; t->kept++) {
    qr_xrt_place_t *place = qr_xrt_hold_place(&t->hold, t->kept);
    if (place->sent_rows == seg_rows) continue;
    uint32_t row = place->sent_rows,
             cnt = least(seg_rows - row, (uint32_t)(a->sizes.pool / p->row_stride));
    put_rows(p, t->job->segments[t->kept].obs + (size_t)row * p->prog.obs_sz, cnt,
             a->part[part].pool);
    a->launch[part] = (qr_xrt_launch_t){
        .prog = p->number,
        .keep_at = (uint64_t)(qr_xrt_hold_row(&t->hold, t->kept) + row) * p->row_stride,
        .keep_sz = (uint64_t)cnt * p->row_stride};
    place->sent_rows += cnt;
    return true;
  }
  return false;
}

/* Pages of the table as ranges; what is beyond their number, between the last ones, goes along. */
static void add_range(qr_xrt_launch_t *l, uint32_t page) {
  uint32_t at = page * QR_XRT_PAGE, last = l->range_cnt - 1;
  bool grow = l->range_cnt && (l->range_cnt == QR_XRT_RANGE_MAX_CNT ||
                               l->ranges[last].at + l->ranges[last].sz == at);
  if (!grow) {
    last = l->range_cnt++;
    l->ranges[last].at = at;
  }
  l->ranges[last].sz = at + QR_XRT_PAGE - l->ranges[last].at;
}

/* Actions and targets of the replay's rows: what differs from the card's table. */
static void lay_table(qr_xrt_task_t *t, const qr_xrt_areas_t *a, qr_xrt_launch_t *l) {
  enum { PAGE_ROWS = QR_XRT_PAGE / 8 };
  uint32_t *table = a->table[t->prog->number], page_cnt = (uint32_t)(a->sizes.table / QR_XRT_PAGE);
  uint8_t changed[QR_XRT_TABLE_MAX_SZ / QR_XRT_PAGE];
  memset(changed, !t->has_table, sizeof changed);
  for (uint32_t i = 0; i < t->hold.cnt; i++) {
    const qr_accel_segment_t *s = &t->job->segments[i];
    uint32_t row0 = qr_xrt_hold_row(&t->hold, i);
    for (uint32_t r = 0; r < t->job->segment_rows; r++) {
      uint32_t *to = table + QR_ENGINE_TABLE_CNT_OF(row0 + r);
      if (to[0] == s->act[r] && to[1] == (uint32_t)s->target[r]) continue;
      to[0] = s->act[r];
      to[1] = (uint32_t)s->target[r];
      changed[(row0 + r) / PAGE_ROWS] = 1;
    }
  }
  for (uint32_t i = 0; i < page_cnt; i++) {
    if (changed[i]) add_range(l, i);
  }
  t->has_table = true;
}

/* Steps whose minibatches the engine draws from what the card holds. */
static void lay_drawn_steps(qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part, uint32_t cnt) {
  const qr_accel_job_t *job = t->job;
  uint32_t *w = attempt_head(t, a, part, cnt);
  qr_xrt_launch_t *l = &a->launch[part];
  w[QR_ENGINE_JOB_FLAGS] = QR_ENGINE_DRAW;
  w[QR_ENGINE_JOB_SEGMENT_ROWS] = job->segment_rows;
  w[QR_ENGINE_JOB_SEGMENT_CNT] = job->segment_cnt;
  for (uint32_t i = 0; i < job->segment_cnt; i++)
    w[QR_ENGINE_JOB_HEAD_CNT + i] = qr_xrt_hold_row(&t->hold, i);
  launch_of(t, t->hold.replay->row_cnt, QR_ENGINE_JOB_HEAD_CNT + job->segment_cnt,
            QR_ENGINE_OUT_HEAD_CNT + cnt * QR_ENGINE_OUT_STEP_CNT, l);
  l->is_drawn = true;
  l->pool_sz = 0;
  l->table_cnt = QR_ENGINE_TABLE_CNT_OF(t->hold.replay->row_cnt);
  if (!t->sent) lay_table(t, a, l);
}

static void lay_rows(qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part, uint32_t cnt) {
  const qr_accel_job_t *job = t->job;
  const qr_step_prog_t *p = &t->prog->prog;
  uint32_t *w = job_head(a, part, QR_ENGINE_FORWARD);
  w[QR_ENGINE_JOB_ROW_CNT] = cnt;
  for (uint32_t i = 0; i < cnt; i++) w[QR_ENGINE_JOB_HEAD_CNT + i] = i;
  put_rows(t->prog, job->obs + (size_t)t->sent * p->obs_sz, cnt, a->part[part].pool);
  launch_of(t, cnt, QR_ENGINE_JOB_HEAD_CNT + cnt, QR_ENGINE_OUT_HEAD_CNT + cnt * p->action_cnt,
            &a->launch[part]);
}

/* Where piece number i begins and how large it is. */
static void piece_at(const qr_xrt_task_t *t, uint32_t i, qr_xrt_cut_t *at, qr_xrt_cut_t *sz) {
  const qr_xrt_cut_t *c = &t->cut;
  const qr_step_op_t *g = t->job->gemm;
  at->k = i % c->k_cnt * c->k;
  at->n = i / c->k_cnt % c->n_cnt * c->n;
  at->m = i / c->k_cnt / c->n_cnt * c->m;
  sz->k = least(c->k, g->k - at->k);
  sz->n = least(c->n, g->n - at->n);
  sz->m = least(c->m, g->m - at->m);
}

/* rows x cols out of a matrix with rows of ld bytes. */
static uint8_t *copy_block(uint8_t *to, const int8_t *from, uint32_t row, uint32_t col, uint32_t ld,
                           uint32_t rows, uint32_t cols) {
  for (uint32_t i = 0; i < rows; i++, to += cols)
    memcpy(to, from + (size_t)(row + i) * ld + col, cols);
  return to;
}

/* A program of one product, its operands in S8 and its result in S32. */
static void lay_piece(qr_xrt_task_t *t, const qr_xrt_areas_t *a, int part) {
  const qr_step_op_t *g = t->job->gemm;
  const qr_step_geo_t *e = &g->geo;
  bool conv = g->flags & QR_GEMM_A_CONV, trans = g->flags & QR_GEMM_A_TRANS;
  qr_step_prog_t *p = (qr_step_prog_t *)a->custom;
  qr_xrt_cut_t at, sz;
  qr_engine_place_t place;
  piece_at(t, t->sent, &at, &sz);
  uint32_t pos = conv ? (uint32_t)e->out_h * e->out_w : 1,
           sample_sz = conv ? (uint32_t)e->h * e->w * e->c : 0;
  uint32_t samples = (trans ? sz.k : sz.m) / pos, sample0 = (trans ? at.k : at.m) / pos;
  uint32_t a_cnt = conv ? samples * sample_sz : sz.m * sz.k;
  memset(p, 0, sizeof *p);
  p->abi_version = QR_STEP_ABI_VERSION;
  p->op_cnt = 1;
  p->buf_cnt = 3;
  p->bufs[0] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_SCRATCH, a_cnt, 0};
  p->bufs[1] = (qr_step_buf_t){QR_STEP_I8, QR_STEP_BUF_SCRATCH, sz.k * sz.n, 0};
  p->bufs[2] = (qr_step_buf_t){QR_STEP_I32, QR_STEP_BUF_SCRATCH, sz.m * sz.n, 0};
  p->ops[0] = (qr_step_op_t){.kind = QR_OP_GEMM,
                             .src0 = 0,
                             .src1 = 1,
                             .dst = 2,
                             .aux = QR_STEP_NO_BUF,
                             .flags = g->flags,
                             .digest = QR_STEP_NO_DIGEST,
                             .m = sz.m,
                             .n = sz.n,
                             .k = sz.k,
                             .geo = g->geo};
  qr_engine_place(p->bufs, p->buf_cnt, &place);
  if (conv)
    memcpy(a->s8, t->job->a + (size_t)sample0 * sample_sz, a_cnt);
  else if (trans)
    copy_block(a->s8, t->job->a, at.k, at.m, g->m, sz.k, sz.m);
  else
    copy_block(a->s8, t->job->a, at.m, at.k, g->k, sz.m, sz.k);
  if (g->flags & QR_GEMM_B_TRANS)
    copy_block(a->s8 + place.off[1], t->job->b, at.n, at.k, g->k, sz.n, sz.k);
  else
    copy_block(a->s8 + place.off[1], t->job->b, at.k, at.n, g->n, sz.k, sz.n);
  job_head(a, part, QR_ENGINE_PROGRAM);
  a->launch[part] = (qr_xrt_launch_t){.prog = QR_XRT_CUSTOM,
                                      .job_cnt = QR_ENGINE_JOB_HEAD_CNT,
                                      .row_stride = QR_ENGINE_ALIGN,
                                      .s8_cnt = (uint32_t)place.s8_cnt,
                                      .s32_cnt = (uint32_t)place.s32_cnt,
                                      .out_cnt = QR_ENGINE_OUT_HEAD_CNT + QR_ENGINE_OUT_STEP_CNT,
                                      .s8_up_sz = place.s8_cnt,
                                      .s32_down_sz = 4ull * sz.m * sz.n};
}

int qr_xrt_task_next(qr_xrt_task_t *t, const qr_xrt_areas_t *a) {
  bool product = t->job->kind == QR_ACCEL_GEMM, training = t->job->kind == QR_ACCEL_ATTEMPT;
  bool all = t->sent == t->unit_cnt || t->cancelled;
  if (t->in_cnt == (product ? 1 : QR_XRT_PART_CNT)) return -1;
  if (all && (!training || t->model_is_back || !t->sent || t->in_cnt)) return -1;
  int part = (int)((t->first + t->in_cnt) % QR_XRT_PART_CNT);
  uint32_t cnt = all ? 0 : least(t->per_launch, t->unit_cnt - t->sent);
  if (!cnt) /* given up on the way: only the model comes back */
    a->launch[part] = (qr_xrt_launch_t){.model_down_sz = t->prog->prog.model_sz};
  else if (product)
    lay_piece(t, a, part);
  else if (!training)
    lay_rows(t, a, part, cnt);
  else if (!t->hold.replay)
    lay_steps(t, a, part, cnt);
  else if (lay_segment(t, a, part))
    cnt = 0;
  else
    lay_drawn_steps(t, a, part, cnt);
  if (training && cnt && t->sent + cnt == t->unit_cnt)
    a->launch[part].model_down_sz = t->prog->prog.model_sz;
  if (t->must_upload && cnt && !product) {
    memcpy(a->model, t->job->model_in, t->prog->prog.model_sz);
    a->launch[part].model_up_sz = t->prog->prog.model_sz;
    t->must_upload = false;
  }
  t->sent += cnt;
  t->cnt[part] = cnt;
  t->in_cnt++;
  return part;
}

/* ---- answers ---- */

static int refuse(const uint32_t *out, uint32_t wanted, char *why, size_t why_sz) {
  if (out[QR_ENGINE_OUT_STATUS] == QR_ENGINE_PENDING)
    snprintf(why, why_sz, "the engine ended without an answer");
  else if (out[QR_ENGINE_OUT_STATUS] != QR_ENGINE_OK)
    snprintf(why, why_sz, "the engine refused the job: status %u, op %d, detail %u",
             out[QR_ENGINE_OUT_STATUS], (int)out[QR_ENGINE_OUT_OP], out[QR_ENGINE_OUT_DETAIL]);
  else
    snprintf(why, why_sz, "the engine says that it did %u of %u", out[QR_ENGINE_OUT_DONE], wanted);
  return QR_ERR_IO;
}

static void take_steps(const qr_xrt_task_t *t, const uint32_t *out, uint32_t cnt) {
  uint32_t n = t->prog->prog.digest_cnt;
  for (uint32_t k = 0; k < cnt; k++, out += QR_ENGINE_OUT_STEP_CNT) {
    for (uint32_t i = 0; i < n; i++)
      t->job->digests[(size_t)(t->done + k) * n + i] = qr_ld64(out + 2 * i);
    t->job->td_abs_sum[t->done + k] = qr_ld64(out + QR_ENGINE_OUT_TD);
  }
}

static void take_piece(const qr_xrt_task_t *t, const int32_t *from) {
  qr_xrt_cut_t at, sz;
  piece_at(t, t->done, &at, &sz);
  for (uint32_t i = 0; i < sz.m; i++) {
    int32_t *to = t->job->c + (size_t)(at.m + i) * t->job->gemm->n + at.n;
    for (uint32_t j = 0; j < sz.n; j++) {
      uint32_t before = at.k ? (uint32_t)to[j] : 0;
      to[j] = (int32_t)(before + (uint32_t)from[(size_t)i * sz.n + j]);
    }
  }
}

int qr_xrt_task_collect(qr_xrt_task_t *t, const qr_xrt_areas_t *a, char *why, size_t why_sz) {
  uint32_t part = t->first, cnt = t->cnt[part];
  const uint32_t *out = (const uint32_t *)a->part[part].out;
  uint32_t wanted = t->job->kind == QR_ACCEL_GEMM ? 1 : cnt;
  if (cnt && (out[QR_ENGINE_OUT_STATUS] != QR_ENGINE_OK || out[QR_ENGINE_OUT_DONE] != wanted))
    return refuse(out, wanted, why, why_sz);
  out += QR_ENGINE_OUT_HEAD_CNT;
  if (t->job->kind == QR_ACCEL_GEMM) {
    take_piece(t, (const int32_t *)a->s32);
  } else if (t->job->kind == QR_ACCEL_FORWARD) {
    uint32_t n = t->prog->prog.action_cnt;
    memcpy(t->job->q + (size_t)t->done * n, out, (size_t)cnt * n * sizeof *t->job->q);
  } else {
    take_steps(t, out, cnt);
    t->model_is_back |= a->launch[part].model_down_sz != 0;
  }
  t->done += cnt;
  t->first = (t->first + 1) % QR_XRT_PART_CNT;
  t->in_cnt--;
  if (t->job->kind == QR_ACCEL_ATTEMPT && t->done > t->job->steps_done)
    t->job->steps_done = t->done;
  return (int)cnt;
}

bool qr_xrt_task_over(const qr_xrt_task_t *t) {
  if (t->in_cnt || (t->sent < t->unit_cnt && !t->cancelled)) return false;
  return t->job->kind != QR_ACCEL_ATTEMPT || t->model_is_back || !t->sent;
}
