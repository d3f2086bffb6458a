#include "tile/mine.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"

/* How long a miner waits for a new order after it found a block, before it goes on with the old
 * one. */
#define FOUND_WAIT_NS 2000000000ull
/* How long it leaves an accelerator alone that failed. */
#define ERROR_WAIT_NS 1000000000ull

/* The miner's own model of a task. An attempt leads from in to out; then they change places. */
typedef struct {
  uint8_t *in, *out;
  qr_hash_t measured_feed; /* of the chain's model that the line was last measured against */
  uint64_t unwon_cnt;      /* steps since the line last won a block or was replaced */
} line_t;

struct qr_mine_tile {
  qr_mine_tile_cfg_t cfg;
  line_t lines[QR_TASK_MAX_CNT];
  bool has_order, has_found;
  qr_mine_order_t order;
  uint64_t wait_until_ns;
  qr_inbound_t found; /* a block that waits for room in the ring */
  qr_log_bucket_t log;
  bool running;
  uint64_t start_ns;
  qr_exec_job_t job;
};

static const qr_net_t *net_of(const qr_mine_tile_t *t, uint32_t task) {
  return &t->cfg.objects->cfg->nets[task];
}

static uint8_t *take_model(const qr_net_t *net) {
  return aligned_alloc(QR_CACHE_LINE, qr_align_up(net->model_sz, QR_CACHE_LINE));
}

qr_mine_tile_t *qr_mine_tile_init(const qr_mine_tile_cfg_t *cfg) {
  qr_mine_tile_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->cfg = *cfg;
  for (uint32_t i = 0; i < cfg->objects->cfg->p.task_cnt; i++) {
    line_t *l = &t->lines[i];
    l->in = take_model(net_of(t, i));
    l->out = take_model(net_of(t, i));
    if (!l->in || !l->out) {
      qr_mine_tile_fini(t);
      return NULL;
    }
    memcpy(l->in, cfg->genesis[i]->bytes, net_of(t, i)->model_sz);
  }
  return t;
}

static void drop_order(qr_mine_order_t *o) {
  qr_pool_unref(o->view);
  qr_pool_unref(o->txs);
  qr_pool_unref(o->best);
}

void qr_mine_tile_fini(qr_mine_tile_t *t) {
  if (!t) return;
  if (t->running && !t->job.done) {
    qr_executor_cancel(t->cfg.executor);
    while (!t->job.done) qr_executor_poll(t->cfg.executor);
  }
  qr_pool_unref(t->job.segment);
  if (t->has_found) {
    qr_pool_unref(t->found.block);
    qr_pool_unref(t->found.model);
  }
  if (t->has_order) drop_order(&t->order);
  while (qr_ring_pop(t->cfg.orders, &t->order)) drop_order(&t->order);
  for (uint32_t i = 0; i < QR_TASK_MAX_CNT; i++) {
    free(t->lines[i].in);
    free(t->lines[i].out);
  }
  free(t);
}

static void count(_Atomic uint64_t *c, uint64_t n) {
  atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

/* Whether the own line must first be measured against the chain's newest model of this task. */
static bool must_measure(const qr_mine_tile_t *t) {
  return t->order.best &&
         !qr_hash_eq(&t->lines[t->order.view->task].measured_feed, &t->order.best_feed);
}

static void start_measuring(qr_mine_tile_t *t) {
  uint32_t task = t->order.view->task;
  t->job = (qr_exec_job_t){.mode = QR_EXEC_SCORE,
                           .task = task,
                           .model_in = t->lines[task].in,
                           .score_feed = t->order.best_feed};
}

static bool start_attempt(qr_mine_tile_t *t) {
  uint32_t task = t->order.view->task;
  const qr_net_t *net = net_of(t, task);
  line_t *l = &t->lines[task];
  qr_segment_obj_t *segment = qr_objects_segment(t->cfg.objects, task);
  if (!segment) return false;
  t->job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                           .task = task,
                           .view = t->order.view,
                           .model_in = l->in,
                           .model_out = l->out,
                           .header = t->order.prefix,
                           .segment = segment};
  qr_header_t *h = &t->job.header;
  uint64_t wall_ms = t->cfg.clock->wall_ms(t->cfg.clock->ctx);
  h->time_ms = wall_ms > t->order.time_min_ms ? wall_ms : t->order.time_min_ms;
  h->miner = t->cfg.miner;
  h->nonce = t->cfg.nonce++;
  h->model_in = qr_model_root(net, l->in);
  return true;
}

static void end_measuring(qr_mine_tile_t *t) {
  uint32_t task = t->job.task;
  line_t *l = &t->lines[task];
  const qr_task_params_t *p = &t->cfg.objects->cfg->p.tasks[task];
  if (t->job.cancelled || t->job.err || !t->has_order || !t->order.best ||
      t->order.view->task != task || !qr_hash_eq(&t->order.best_feed, &t->job.score_feed)) {
    return;
  }
  l->measured_feed = t->job.score_feed;
  int64_t margin = (int64_t)t->cfg.adopt_margin * p->reward_scale / 32768;
  if (t->order.best_return - t->job.score <= margin) return;
  memcpy(l->in, t->order.best->bytes, net_of(t, task)->model_sz);
  atomic_fetch_sub_explicit(&t->cfg.stats->steps_kept, l->unwon_cnt, memory_order_relaxed);
  l->unwon_cnt = 0;
}

static qr_block_obj_t *assemble(qr_mine_tile_t *t) {
  qr_block_obj_t *b = qr_objects_block(t->cfg.objects);
  if (!b) return NULL;
  const qr_params_t *p = &t->cfg.objects->cfg->p;
  qr_body_t body = {.tx_cnt = t->order.txs->body.tx_cnt,
                    .txs = t->order.txs->body.txs,
                    .step_cnt = (uint16_t)p->step_cnt,
                    .trace = t->job.trace,
                    .action_cnt = p->segment_rows,
                    .actions = t->job.actions};
  b->header = t->job.header;
  b->hash = qr_header_hash(&b->header);
  b->sz = (uint32_t)(QR_HEADER_SZ + qr_body_sz(&body));
  qr_header_encode(&b->header, b->bytes);
  qr_body_encode(&body, b->bytes + QR_HEADER_SZ);
  enum qr_verdict v = qr_body_decode(b->bytes + QR_HEADER_SZ, b->sz - QR_HEADER_SZ, &b->body);
  QR_ASSERT(v == QR_VERDICT_OK);
  return b;
}

static void publish(qr_mine_tile_t *t, uint64_t now_ns) {
  uint32_t task = t->job.task;
  qr_model_obj_t *model = qr_objects_model(t->cfg.objects, task);
  qr_block_obj_t *block = model ? assemble(t) : NULL;
  if (!block) {
    qr_pool_unref(model);
    qr_log(QR_LOG_ERROR, "mine", "event=block-lost cause=\"object pools exhausted\"");
    return;
  }
  memcpy(model->bytes, t->lines[task].in, model->sz);
  model->root = t->job.header.model_in;
  t->found =
      (qr_inbound_t){.kind = QR_IN_BLOCK, .block = block, .model = model, .hash = block->hash};
  t->has_found = true;
  t->wait_until_ns = now_ns + FOUND_WAIT_NS;
  t->lines[task].unwon_cnt = 0;
}

static void end_attempt(qr_mine_tile_t *t, uint64_t now_ns) {
  qr_exec_job_t *job = &t->job;
  line_t *l = &t->lines[job->task];
  count(&t->cfg.stats->steps_done, job->steps_done);
  if (job->err) {
    /* nothing of it is used: the line stays where it was */
    qr_log_limited(&t->log, QR_LOG_ERROR, "mine", "event=attempt-failed cause=\"%s\"",
                   qr_err_str(job->err));
    t->wait_until_ns = now_ns + ERROR_WAIT_NS;
  } else {
    if (job->cancelled)
      count(&t->cfg.stats->attempts_cancelled, 1);
    else
      count(&t->cfg.stats->attempts, 1);
    if (job->won && !job->cancelled) publish(t, now_ns);
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

static int take_order(qr_mine_tile_t *t) {
  qr_mine_order_t next;
  if (!qr_ring_pop(t->cfg.orders, &next)) return 0;
  if (t->has_order) drop_order(&t->order);
  t->order = next;
  t->has_order = !next.pause;
  t->wait_until_ns = 0;
  return 1;
}

static bool may_mine(const qr_mine_tile_t *t, uint64_t now_ns) {
  if (!t->has_order || t->has_found || now_ns < t->wait_until_ns) return false;
  if (t->cfg.yield_to && atomic_load_explicit(t->cfg.yield_to, memory_order_relaxed)) return false;
  return t->cfg.only_task < 0 || (uint32_t)t->cfg.only_task == t->order.view->task;
}

int qr_mine_tile_poll(void *state, uint64_t now_ns) {
  qr_mine_tile_t *t = state;
  int work = 0;
  if (t->has_found && qr_ring_push(t->cfg.found, &t->found)) t->has_found = false;
  /* An order may replace the view of the attempt in progress only when that has ended. */
  if (!t->running)
    work += take_order(t);
  else if (qr_ring_cnt(t->cfg.orders))
    qr_executor_cancel(t->cfg.executor);
  if (t->running) {
    if (t->cfg.yield_to && atomic_load_explicit(t->cfg.yield_to, memory_order_relaxed)) return work;
    qr_executor_poll(t->cfg.executor);
    work++;
    if (!t->job.done) return work;
    t->running = false;
    count(&t->cfg.stats->mining_ns, t->cfg.clock->mono_ns(t->cfg.clock->ctx) - t->start_ns);
    if (t->job.mode == QR_EXEC_SCORE)
      end_measuring(t);
    else
      end_attempt(t, now_ns);
    return work;
  }
  if (!may_mine(t, now_ns)) return work;
  if (must_measure(t))
    start_measuring(t);
  else if (!start_attempt(t))
    return work;
  t->start_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx);
  qr_executor_start(t->cfg.executor, &t->job);
  t->running = true;
  return work + 1;
}
