#include "tile/mine.h"

#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"

/* How long a lane waits for a new order after it found a block, before it goes on with the old one.
 */
#define FOUND_WAIT_NS 2000000000ull
/* How long it leaves an accelerator alone that failed. */
#define ERROR_WAIT_NS 1000000000ull
/* A job that makes no progress on an accelerator for so long is taken back, and if it does not come
   for so much longer, given up. Drivers with hardware of their own know better and act earlier. */
#define HANG_NS 60000000000ull
#define RECALL_NS 10000000000ull
#define FINI_NAP_CNT 1000u /* milliseconds that the end waits for a job that is away */

/* The miner's own model of a task. An attempt leads from in to out; then they change places. */
typedef struct {
  uint8_t *in, *out;
  qr_hash_t measured_feed; /* of the chain's model that the line was last measured against */
  uint64_t unwon_cnt;      /* steps since the line last won a block or was replaced */
} line_t;

/* One attempt after the other, with lines of its own. Lanes share orders and counters. */
typedef struct {
  qr_mine_tile_t *tile;
  qr_executor_t *executor;
  line_t lines[QR_TASK_MAX_CNT];
  uint64_t wait_until_ns;
  bool has_found;
  qr_inbound_t found; /* a block that waits for room in the ring */
  bool running, is_recalled;
  uint64_t start_ns, moved_ns; /* moved: when the job in progress was last seen to */
  qr_exec_job_t job;
} lane_t;

struct qr_mine_tile {
  qr_mine_tile_cfg_t cfg;
  bool has_order;
  qr_mine_order_t order;
  qr_log_bucket_t log;
  lane_t lanes[QR_MINE_LANE_MAX_CNT];
};

static const qr_net_t *net_of(const qr_mine_tile_t *t, uint32_t task) {
  return &t->cfg.objects->cfg->nets[task];
}

static uint8_t *take_model(const qr_net_t *net) {
  return aligned_alloc(QR_CACHE_LINE, qr_align_up(net->model_sz, QR_CACHE_LINE));
}

static bool init_lane(qr_mine_tile_t *t, uint32_t idx) {
  lane_t *n = &t->lanes[idx];
  n->tile = t;
  n->executor = t->cfg.executors[idx];
  for (uint32_t i = 0; i < t->cfg.objects->cfg->p.task_cnt; i++) {
    line_t *l = &n->lines[i];
    l->in = take_model(net_of(t, i));
    l->out = take_model(net_of(t, i));
    if (!l->in || !l->out) return false;
    memcpy(l->in, t->cfg.genesis[i]->bytes, net_of(t, i)->model_sz);
  }
  return true;
}

qr_mine_tile_t *qr_mine_tile_init(const qr_mine_tile_cfg_t *cfg) {
  QR_ASSERT(cfg->lane_cnt && cfg->lane_cnt <= QR_MINE_LANE_MAX_CNT);
  qr_mine_tile_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->cfg = *cfg;
  for (uint32_t i = 0; i < cfg->lane_cnt; i++) {
    if (init_lane(t, i)) continue;
    qr_mine_tile_fini(t);
    return NULL;
  }
  return t;
}

static void drop_order(qr_mine_order_t *o) {
  qr_pool_unref(o->view);
  qr_pool_unref(o->txs);
  qr_pool_unref(o->best);
}

/* Ends the job in progress; one that an accelerator does not give back is left to it. */
static void end_job(lane_t *n) {
  bool idle;
  qr_executor_cancel(n->executor);
  for (uint32_t naps = 0; !n->job.done;) {
    qr_executor_poll(n->executor);
    if (n->job.done || !qr_executor_away(n->executor, &idle) || !idle) continue;
    if (naps++ == FINI_NAP_CNT) {
      qr_executor_abandon(n->executor);
    } else {
      struct timespec ms = {0, 1000000};
      nanosleep(&ms, NULL);
    }
  }
}

static void fini_lane(lane_t *n) {
  if (n->running && !n->job.done) end_job(n);
  qr_pool_unref(n->job.segment);
  if (n->has_found) {
    qr_pool_unref(n->found.block);
    qr_pool_unref(n->found.model);
  }
  for (uint32_t i = 0; i < QR_TASK_MAX_CNT; i++) {
    free(n->lines[i].in);
    free(n->lines[i].out);
  }
}

void qr_mine_tile_fini(qr_mine_tile_t *t) {
  if (!t) return;
  for (uint32_t i = 0; i < t->cfg.lane_cnt; i++) fini_lane(&t->lanes[i]);
  if (t->has_order) drop_order(&t->order);
  while (qr_ring_pop(t->cfg.orders, &t->order)) drop_order(&t->order);
  free(t);
}

static void count(_Atomic uint64_t *c, uint64_t n) {
  atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* ---- what a lane does ---- */

/* Whether the own line must first be measured against the chain's newest model of this task. */
static bool must_measure(const lane_t *n) {
  const qr_mine_order_t *o = &n->tile->order;
  return o->best && !qr_hash_eq(&n->lines[o->view->task].measured_feed, &o->best_feed);
}

static void start_measuring(lane_t *n) {
  const qr_mine_order_t *o = &n->tile->order;
  n->job = (qr_exec_job_t){.mode = QR_EXEC_SCORE,
                           .task = o->view->task,
                           .model_in = n->lines[o->view->task].in,
                           .score_feed = o->best_feed};
}

static bool start_attempt(lane_t *n) {
  qr_mine_tile_t *t = n->tile;
  uint32_t task = t->order.view->task;
  line_t *l = &n->lines[task];
  qr_segment_obj_t *segment = qr_objects_segment(t->cfg.objects, task);
  if (!segment) return false;
  n->job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                           .task = task,
                           .view = t->order.view,
                           .model_in = l->in,
                           .model_out = l->out,
                           .header = t->order.prefix,
                           .segment = segment};
  qr_header_t *h = &n->job.header;
  uint64_t wall_ms = t->cfg.clock->wall_ms(t->cfg.clock->ctx);
  h->time_ms = wall_ms > t->order.time_min_ms ? wall_ms : t->order.time_min_ms;
  h->miner = t->cfg.miner;
  h->nonce = t->cfg.nonce++;
  h->model_in = qr_model_root(net_of(t, task), l->in);
  return true;
}

static void end_measuring(lane_t *n) {
  qr_mine_tile_t *t = n->tile;
  uint32_t task = n->job.task;
  line_t *l = &n->lines[task];
  const qr_task_params_t *p = &t->cfg.objects->cfg->p.tasks[task];
  if (n->job.cancelled || n->job.err || !t->has_order || !t->order.best ||
      t->order.view->task != task || !qr_hash_eq(&t->order.best_feed, &n->job.score_feed)) {
    return;
  }
  l->measured_feed = n->job.score_feed;
  int64_t margin = (int64_t)t->cfg.adopt_margin * p->reward_scale / 32768;
  if (t->order.best_return - n->job.score <= margin) return;
  memcpy(l->in, t->order.best->bytes, net_of(t, task)->model_sz);
  atomic_fetch_sub_explicit(&t->cfg.stats->steps_kept, l->unwon_cnt, memory_order_relaxed);
  l->unwon_cnt = 0;
}

static qr_block_obj_t *assemble(const lane_t *n) {
  const qr_mine_tile_t *t = n->tile;
  qr_block_obj_t *b = qr_objects_block(t->cfg.objects);
  if (!b) return NULL;
  const qr_params_t *p = &t->cfg.objects->cfg->p;
  qr_body_t body = {.tx_cnt = t->order.txs->body.tx_cnt,
                    .txs = t->order.txs->body.txs,
                    .step_cnt = (uint16_t)p->step_cnt,
                    .trace = n->job.trace,
                    .action_cnt = p->segment_rows,
                    .actions = n->job.actions};
  b->header = n->job.header;
  b->hash = qr_header_hash(&b->header);
  b->sz = (uint32_t)(QR_HEADER_SZ + qr_body_sz(&body));
  qr_header_encode(&b->header, b->bytes);
  qr_body_encode(&body, b->bytes + QR_HEADER_SZ);
  enum qr_verdict v = qr_body_decode(b->bytes + QR_HEADER_SZ, b->sz - QR_HEADER_SZ, &b->body);
  QR_ASSERT(v == QR_VERDICT_OK);
  return b;
}

static void publish(lane_t *n, uint64_t now_ns) {
  uint32_t task = n->job.task;
  qr_model_obj_t *model = qr_objects_model(n->tile->cfg.objects, task);
  qr_block_obj_t *block = model ? assemble(n) : NULL;
  if (!block) {
    qr_pool_unref(model);
    qr_log(QR_LOG_ERROR, "mine", "event=block-lost cause=\"object pools exhausted\"");
    return;
  }
  memcpy(model->bytes, n->lines[task].in, model->sz);
  model->root = n->job.header.model_in;
  n->found =
      (qr_inbound_t){.kind = QR_IN_BLOCK, .block = block, .model = model, .hash = block->hash};
  n->has_found = true;
  n->wait_until_ns = now_ns + FOUND_WAIT_NS;
  n->lines[task].unwon_cnt = 0;
}

static void end_attempt(lane_t *n, uint64_t now_ns) {
  qr_mine_tile_t *t = n->tile;
  qr_exec_job_t *job = &n->job;
  line_t *l = &n->lines[job->task];
  count(&t->cfg.stats->steps_done, job->steps_done);
  if (job->err) {
    /* nothing of it is used: the line stays where it was */
    qr_log_limited(&t->log, QR_LOG_ERROR, "mine", "event=attempt-failed cause=\"%s\"",
                   qr_err_str(job->err));
    n->wait_until_ns = now_ns + ERROR_WAIT_NS;
  } else {
    if (job->cancelled)
      count(&t->cfg.stats->attempts_cancelled, 1);
    else
      count(&t->cfg.stats->attempts, 1);
    if (job->won && !job->cancelled) publish(n, now_ns);
    if (job->steps_done) {
      uint8_t *in = l->in;
      l->in = l->out;
      l->out = in;
      count(&t->cfg.stats->steps_kept, job->steps_done);
      if (!job->won || job->cancelled) l->unwon_cnt += job->steps_done;
    }
  }
  qr_pool_unref(job->segment);
  job->segment = NULL;
}

static bool may_mine(const lane_t *n, uint64_t now_ns) {
  const qr_mine_tile_t *t = n->tile;
  if (!t->has_order || n->has_found || now_ns < n->wait_until_ns) return false;
  return t->cfg.only_task < 0 || (uint32_t)t->cfg.only_task == t->order.view->task;
}

/* The job has not moved, or it has. */
static void watch(lane_t *n, bool idle, uint64_t now_ns) {
  if (!idle || now_ns < n->moved_ns) n->moved_ns = now_ns;
  uint64_t ns = now_ns - n->moved_ns;
  if (ns <= HANG_NS || (n->is_recalled && ns <= HANG_NS + RECALL_NS)) return;
  qr_log_limited(&n->tile->log, QR_LOG_ERROR, "mine", "event=attempt-hangs idle_s=%llu next=%s",
                 (unsigned long long)(ns / 1000000000u), n->is_recalled ? "give-up" : "recall");
  if (n->is_recalled)
    qr_executor_abandon(n->executor);
  else
    qr_executor_cancel(n->executor);
  n->is_recalled = true;
}

/* Returns the work done; none while the job is away and nothing has come back. */
static int poll_lane(lane_t *n, bool must_yield, uint64_t now_ns) {
  qr_mine_tile_t *t = n->tile;
  bool idle = false;
  if (n->running) {
    if (must_yield && !qr_executor_away(n->executor, &idle)) return 0;
    qr_executor_poll(n->executor);
    if (!n->job.done) {
      (void)qr_executor_away(n->executor, &idle);
      watch(n, idle, now_ns);
      return !idle;
    }
    n->running = false;
    count(&t->cfg.stats->mining_ns, t->cfg.clock->mono_ns(t->cfg.clock->ctx) - n->start_ns);
    if (n->job.mode == QR_EXEC_SCORE)
      end_measuring(n);
    else
      end_attempt(n, now_ns);
    return 1;
  }
  if (must_yield || !may_mine(n, now_ns)) return 0;
  if (must_measure(n))
    start_measuring(n);
  else if (!start_attempt(n))
    return 0;
  n->start_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx);
  qr_executor_start(n->executor, &n->job);
  n->moved_ns = now_ns;
  n->is_recalled = false;
  n->running = true;
  return 1;
}

/* ---- the tile ---- */

static int take_order(qr_mine_tile_t *t) {
  qr_mine_order_t next;
  if (!qr_ring_pop(t->cfg.orders, &next)) return 0;
  if (t->has_order) drop_order(&t->order);
  t->order = next;
  t->has_order = !next.pause;
  for (uint32_t i = 0; i < t->cfg.lane_cnt; i++) t->lanes[i].wait_until_ns = 0;
  return 1;
}

/* An order may replace the view of the attempts in progress only when these have ended. Returns
   whether one waits for that. */
static bool make_way(qr_mine_tile_t *t) {
  bool any = false;
  if (!qr_ring_cnt(t->cfg.orders)) return false;
  for (uint32_t i = 0; i < t->cfg.lane_cnt; i++) {
    if (t->lanes[i].running) qr_executor_cancel(t->lanes[i].executor);
    any |= t->lanes[i].running;
  }
  return any;
}

int qr_mine_tile_poll(void *state, uint64_t now_ns) {
  qr_mine_tile_t *t = state;
  int work = 0;
  bool must_yield =
      t->cfg.yield_to && atomic_load_explicit(t->cfg.yield_to, memory_order_relaxed) > 0;
  bool order_waits = make_way(t);
  if (!order_waits) work += take_order(t);
  for (uint32_t i = 0; i < t->cfg.lane_cnt; i++) {
    lane_t *n = &t->lanes[i];
    if (n->has_found && qr_ring_push(t->cfg.found, &n->found)) n->has_found = false;
    if (!order_waits || n->running) work += poll_lane(n, must_yield, now_ns);
  }
  return work;
}
