/* Independent attempts at once, each on an executor, and so a queue of the one device, of its own:
   on several threads, or on one that looks at all of them. What they share is read-only. */
#include <pthread.h>
#include <stdlib.h>

#include "app/bench_rig.h"
#include "base/err.h"
#include "port/clock.h"

typedef struct {
  qr_executor_t *executor;
  uint8_t *model_out;
  qr_exec_job_t job;
  /* the run in progress */
  const qr_bench_task_t *task;
  qr_segment_obj_t *segment;
  uint32_t attempt_cnt; /* still to be started */
  uint64_t idle_ns;
  pthread_mutex_t *gate;
  int err;
} seat_t;

struct qr_bench_seats {
  uint32_t cnt;
  seat_t *seats;
  pthread_t *threads;
};

int qr_bench_seats_init(qr_bench_seats_t **out, const qr_chain_cfg_t *chain, qr_bench_dev_t *d,
                        const qr_bench_dev_t *cpu, uint32_t thread_cnt) {
  qr_bench_seats_t *s = calloc(1, sizeof *s);
  if (!s) return QR_ERR_NOMEM;
  s->cnt = thread_cnt;
  s->seats = calloc(thread_cnt, sizeof *s->seats);
  s->threads = calloc(thread_cnt, sizeof *s->threads);
  int err = s->seats && s->threads ? QR_OK : QR_ERR_NOMEM;
  for (uint32_t i = 0; i < thread_cnt && !err; i++) {
    s->seats[i].model_out = aligned_alloc(QR_CACHE_LINE, QR_MODEL_MAX_SZ);
    err = s->seats[i].model_out
              ? qr_executor_init(&s->seats[i].executor, chain, d->ops, d->accel, d->progs)
              : QR_ERR_NOMEM;
    if (!err && cpu)
      err = qr_executor_check(s->seats[i].executor, cpu->ops, cpu->accel, cpu->progs, 0);
  }
  if (err) {
    qr_bench_seats_fini(s);
    return err;
  }
  *out = s;
  return QR_OK;
}

void qr_bench_seats_fini(qr_bench_seats_t *s) {
  if (!s) return;
  for (uint32_t i = 0; s->seats && i < s->cnt; i++) {
    qr_executor_fini(s->seats[i].executor);
    free(s->seats[i].model_out);
  }
  free(s->seats);
  free(s->threads);
  free(s);
}

static void start(seat_t *seat) {
  const qr_bench_task_t *t = seat->task;
  seat->attempt_cnt--;
  seat->idle_ns = 0;
  seat->job = (qr_exec_job_t){.mode = QR_EXEC_MINE,
                              .task = t->task,
                              .view = &t->view,
                              .model_in = t->genesis.model->bytes,
                              .model_out = seat->model_out,
                              .segment = seat->segment,
                              .header = t->prefix};
  qr_executor_start(seat->executor, &seat->job);
}

static void *sit(void *arg) {
  seat_t *seat = arg;
  pthread_mutex_lock(seat->gate);
  pthread_mutex_unlock(seat->gate);
  while (seat->attempt_cnt && !seat->err) {
    start(seat);
    while (!seat->job.done) (void)qr_bench_poll(seat->executor, &seat->job, &seat->idle_ns);
    seat->err = seat->job.err;
  }
  return NULL;
}

/* Threads wait at the gate until all are there; one that cannot be had sends the others home. */
static int run_all(qr_bench_seats_t *s, uint32_t thread_cnt, double *seconds) {
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  uint32_t started = 0;
  int err = QR_OK;
  pthread_mutex_lock(&gate);
  for (; started < thread_cnt; started++) {
    s->seats[started].gate = &gate;
    if (pthread_create(&s->threads[started], NULL, sit, &s->seats[started])) break;
  }
  if (started < thread_cnt) {
    err = QR_ERR_NOMEM;
    for (uint32_t i = 0; i < started; i++) s->seats[i].attempt_cnt = 0;
  }
  uint64_t began = qr_clock_mono_ns();
  pthread_mutex_unlock(&gate);
  for (uint32_t i = 0; i < started; i++) {
    pthread_join(s->threads[i], NULL);
    if (s->seats[i].err) err = s->seats[i].err;
  }
  *seconds = (double)(qr_clock_mono_ns() - began) * 1e-9;
  pthread_mutex_destroy(&gate);
  return err;
}

/* One thread polls all of them. */
static int run_lanes(qr_bench_seats_t *s, uint32_t seat_cnt, double *seconds) {
  uint64_t began = qr_clock_mono_ns();
  uint32_t busy = seat_cnt;
  int err = QR_OK;
  for (uint32_t i = 0; i < seat_cnt; i++) start(&s->seats[i]);
  while (busy) {
    for (uint32_t i = 0; i < seat_cnt; i++) {
      seat_t *seat = &s->seats[i];
      if (seat->job.done) continue;
      (void)qr_bench_poll(seat->executor, &seat->job, &seat->idle_ns);
      if (!seat->job.done) continue;
      if (seat->job.err) err = seat->job.err;
      if (seat->attempt_cnt && !err)
        start(seat);
      else
        busy--;
    }
  }
  *seconds = (double)(qr_clock_mono_ns() - began) * 1e-9;
  return err;
}

static int run(qr_bench_seats_t *s, qr_bench_task_t *t, uint32_t cnt, uint32_t attempt_cnt,
               int (*how)(qr_bench_seats_t *s, uint32_t cnt, double *seconds),
               double *attempts_per_s) {
  int err = QR_OK;
  double seconds = 1;
  for (uint32_t i = 0; i < cnt; i++) {
    seat_t *seat = &s->seats[i];
    seat->task = t;
    seat->attempt_cnt = attempt_cnt;
    seat->err = QR_OK;
    seat->segment = qr_objects_segment(t->objects, t->task);
    if (!seat->segment) err = QR_ERR_NOMEM;
  }
  if (!err) err = how(s, cnt, &seconds);
  for (uint32_t i = 0; i < cnt; i++) qr_pool_unref(s->seats[i].segment);
  *attempts_per_s = (double)cnt * attempt_cnt / seconds;
  return err;
}

int qr_bench_seats_run(qr_bench_seats_t *s, qr_bench_task_t *t, uint32_t thread_cnt,
                       uint32_t attempt_cnt, double *attempts_per_s) {
  return run(s, t, thread_cnt, attempt_cnt, run_all, attempts_per_s);
}

int qr_bench_seats_lanes(qr_bench_seats_t *s, qr_bench_task_t *t, uint32_t seat_cnt,
                         uint32_t attempt_cnt, double *attempts_per_s) {
  return run(s, t, seat_cnt, attempt_cnt, run_lanes, attempts_per_s);
}
