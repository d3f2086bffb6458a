#include "tile/verify.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"

struct qr_verify_tile {
  qr_verify_tile_cfg_t cfg;
  bool running;
  enum qr_verify_news next; /* what is told next of the order in progress */
  uint64_t start_ns, stage_ns;
  enum qr_exec_stage stage; /* since stage_ns */
  qr_verify_order_t order;
  qr_model_obj_t *model_out;
  qr_exec_job_t job;
};

qr_verify_tile_t *qr_verify_tile_init(const qr_verify_tile_cfg_t *cfg) {
  qr_verify_tile_t *t = calloc(1, sizeof *t);
  if (t) t->cfg = *cfg;
  return t;
}

static void drop_order(qr_verify_order_t *o) {
  qr_pool_unref(o->view);
  qr_pool_unref(o->block);
  qr_pool_unref(o->model_in);
}

static uint64_t now_of(const qr_verify_tile_t *t) {
  return t->cfg.clock->mono_ns(t->cfg.clock->ctx);
}

static void begin(qr_verify_tile_t *t) {
  qr_exec_job_t *job = &t->job;
  const qr_block_obj_t *b = t->order.block;
  t->model_out = qr_objects_model(t->cfg.objects, b->header.task);
  *job = (qr_exec_job_t){.mode = QR_EXEC_VERIFY,
                         .task = b->header.task,
                         .view = t->order.view,
                         .body = &b->body,
                         .model_in = t->order.model_in->bytes,
                         .header = b->header};
  job->segment = qr_objects_segment(t->cfg.objects, b->header.task);
  t->start_ns = t->stage_ns = now_of(t);
  t->next = QR_VERIFY_REPLAYED;
  if (!t->model_out || !job->segment) {
    job->done = true;
    job->err = QR_ERR_NOMEM;
    t->stage = QR_EXEC_IDLE;
  } else {
    t->model_out->root = b->header.model_out;
    job->model_out = t->model_out->bytes;
    qr_executor_start(t->cfg.executor, job);
    t->stage = qr_executor_stage(t->cfg.executor);
  }
  t->running = true;
  if (t->cfg.busy_cnt) atomic_fetch_add_explicit(t->cfg.busy_cnt, 1, memory_order_relaxed);
}

static void take_order(qr_verify_tile_t *t) {
  qr_verify_order_t o;
  if (!qr_ring_pop(t->cfg.orders, &o)) return;
  if (o.cancel) {
    /* It may have been done before this came. */
    if (t->running && o.tag == t->order.tag && !t->job.done) qr_executor_cancel(t->cfg.executor);
    return;
  }
  QR_ASSERT(!t->running);
  t->order = o;
  begin(t);
}

/* What the chain tile may know by now; false if there is no room, or nothing new. */
static bool tell(qr_verify_tile_t *t) {
  const qr_exec_job_t *job = &t->job;
  qr_verify_result_t r = {.tag = t->order.tag, .facts = job->facts};
  if (!qr_ring_room(t->cfg.results)) return false;
  if (t->next == QR_VERIFY_REPLAYED && job->replayed) {
    r.segment = qr_pool_ref(job->segment);
  } else if (t->next == QR_VERIFY_TRAINED && job->trained) {
    r.model_out = qr_pool_ref(t->model_out);
  } else if (job->done) {
    t->next = QR_VERIFY_DONE;
    r.err = job->cancelled ? QR_ERR_CANCELLED : job->err;
    r.verdict = job->verdict;
    r.recomputed = job->header;
    r.steps_done = job->steps_done;
    r.exec_ns = now_of(t) - t->start_ns;
  } else {
    return false;
  }
  r.news = t->next++;
  bool pushed = qr_ring_push(t->cfg.results, &r);
  QR_ASSERT(pushed);
  return true;
}

static void end(qr_verify_tile_t *t) {
  qr_pool_unref(t->model_out);
  qr_pool_unref(t->job.segment);
  drop_order(&t->order);
  t->running = false;
  if (t->cfg.busy_cnt) atomic_fetch_sub_explicit(t->cfg.busy_cnt, 1, memory_order_relaxed);
}

static void count_time(qr_verify_tile_t *t) {
  enum qr_exec_stage stage = t->job.done ? QR_EXEC_IDLE : qr_executor_stage(t->cfg.executor);
  if (stage == t->stage) return;
  uint64_t now_ns = now_of(t);
  if (t->cfg.stats) {
    atomic_fetch_add_explicit(&t->cfg.stats->stage_ns[t->stage], now_ns - t->stage_ns,
                              memory_order_relaxed);
    if (t->job.done) atomic_fetch_add_explicit(&t->cfg.stats->block_cnt, 1, memory_order_relaxed);
  }
  t->stage_ns = now_ns;
  t->stage = stage;
}

int qr_verify_tile_poll(void *state, uint64_t now_ns) {
  (void)now_ns;
  qr_verify_tile_t *t = state;
  take_order(t);
  if (!t->running) return 0;
  if (!t->job.done) {
    qr_executor_poll(t->cfg.executor);
    count_time(t);
  }
  while (t->next <= QR_VERIFY_DONE && tell(t)) {
  }
  if (t->next > QR_VERIFY_DONE) end(t);
  return 1;
}

void qr_verify_tile_fini(qr_verify_tile_t *t) {
  if (!t) return;
  if (t->running) {
    if (!t->job.done) qr_executor_cancel(t->cfg.executor);
    while (!t->job.done) qr_executor_poll(t->cfg.executor);
    end(t);
  }
  while (qr_ring_pop(t->cfg.orders, &t->order)) {
    if (!t->order.cancel) drop_order(&t->order);
  }
  free(t);
}
