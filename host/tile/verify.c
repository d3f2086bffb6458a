#include "tile/verify.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"

struct qr_verify_tile {
  qr_verify_tile_cfg_t cfg;
  bool running, has_result;
  uint64_t start_ns;
  qr_verify_order_t order;
  qr_verify_result_t result;
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

static void begin(qr_verify_tile_t *t) {
  qr_exec_job_t *job = &t->job;
  const qr_block_obj_t *b = t->order.block;
  t->result = (qr_verify_result_t){.tag = t->order.tag, .recomputed = b->header};
  t->model_out = qr_objects_model(t->cfg.objects, b->header.task);
  *job = (qr_exec_job_t){.mode = QR_EXEC_VERIFY,
                         .task = b->header.task,
                         .view = t->order.view,
                         .body = &b->body,
                         .model_in = t->order.model_in->bytes,
                         .header = b->header};
  job->segment = qr_objects_segment(t->cfg.objects, b->header.task);
  t->start_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx);
  if (!t->model_out || !job->segment) {
    job->done = true;
    job->err = QR_ERR_NOMEM;
  } else {
    job->model_out = t->model_out->bytes;
    qr_executor_start(t->cfg.executor, job);
  }
  t->running = true;
}

static void conclude(qr_verify_tile_t *t) {
  qr_exec_job_t *job = &t->job;
  qr_verify_result_t *r = &t->result;
  r->err = job->cancelled ? QR_ERR_CANCELLED : job->err;
  r->verdict = job->verdict;
  r->recomputed = job->header;
  r->facts = job->facts;
  r->steps_done = job->steps_done;
  r->exec_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx) - t->start_ns;
  if (!r->err && !r->verdict) {
    t->model_out->root = job->header.model_out;
    r->model_out = t->model_out;
    r->segment = job->segment;
  } else {
    qr_pool_unref(t->model_out);
    qr_pool_unref(job->segment);
  }
  t->model_out = NULL;
  r->view = t->order.view;
  t->order.view = NULL;
  drop_order(&t->order);
  t->running = false;
  t->has_result = true;
}

int qr_verify_tile_poll(void *state, uint64_t now_ns) {
  (void)now_ns;
  qr_verify_tile_t *t = state;
  int work = 0;
  if (t->has_result && qr_ring_push(t->cfg.results, &t->result)) {
    t->has_result = false;
    work++;
  }
  if (!t->running && !t->has_result && qr_ring_pop(t->cfg.orders, &t->order)) {
    begin(t);
    work++;
  }
  if (t->running) {
    if (!t->job.done) qr_executor_poll(t->cfg.executor);
    if (t->job.done) conclude(t);
    work++;
  }
  atomic_store_explicit(t->cfg.busy, t->running || qr_ring_cnt(t->cfg.orders),
                        memory_order_relaxed);
  return work;
}

void qr_verify_tile_fini(qr_verify_tile_t *t) {
  if (!t) return;
  if (t->running && !t->job.done) qr_executor_cancel(t->cfg.executor);
  while (t->running) {
    if (!t->job.done) qr_executor_poll(t->cfg.executor);
    if (t->job.done) conclude(t);
  }
  if (t->has_result) {
    qr_pool_unref(t->result.view);
    qr_pool_unref(t->result.segment);
    qr_pool_unref(t->result.model_out);
  }
  while (qr_ring_pop(t->cfg.orders, &t->order)) drop_order(&t->order);
  free(t);
}
