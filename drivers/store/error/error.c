/* Another driver with faults: see README.md. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "fate.h"
#include "port/drivers.h"
#include "port/store_batch.h"

typedef struct {
  uint64_t tag, delay_left;
  size_t byte_sz;
  bool inner; /* the inner driver has it */
  bool ended; /* and is done with it */
  int err;
} slot_t;

struct qr_store {
  qr_store_error_settings_t settings;
  const qr_store_ops_t *ops;
  qr_store_t *inner;
  uint64_t open_number;
  uint64_t poll_seq, submit_seq; /* also the inner driver's tags */
  size_t held_sz;
  bool failed;
  uint32_t follower_cnt; /* of the commits to come, so many are stored though they fail */
  slot_t slots[QR_STORE_QUEUE_CNT];
};

static int error_open(const char *dir, const char *options, qr_store_t **out, char *why,
                      size_t why_sz) {
  static _Atomic uint64_t open_cnt;
  qr_store_error_settings_t s;
  int err = qr_store_error_settings(options ? options : "", &s, why, why_sz);
  if (err) return err;
  const qr_store_ops_t *ops = qr_store_driver(s.inner.name);
  if (!ops || !strcmp(s.inner.name, "error")) {
    snprintf(why, why_sz, "store error: inner=%s: %s", s.inner.name,
             ops ? "it does not wrap itself" : "this build has no such driver");
    return QR_ERR_ARG;
  }
  uint64_t number = atomic_fetch_add(&open_cnt, 1);
  if (qr_store_error_open_fails(&s, number)) {
    snprintf(why, why_sz, "this open of %s fails because open_fail says so", dir);
    return QR_ERR_IO;
  }
  qr_store_t *e = calloc(1, sizeof *e);
  if (!e) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  e->settings = s;
  e->ops = ops;
  e->open_number = number;
  err = ops->open(dir, s.inner.options, &e->inner, why, why_sz);
  if (err) {
    free(e);
    return err;
  }
  *out = e;
  return QR_OK;
}

static void error_close(qr_store_t *e) {
  e->ops->close(e->inner);
  free(e);
}

static slot_t *slot_of(qr_store_t *e, uint64_t seq) { return &e->slots[seq % QR_STORE_QUEUE_CNT]; }

static int error_commit(qr_store_t *e, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt) {
  int64_t byte_sz = qr_store_batch_size(ops, op_cnt);
  if (byte_sz < 0) return (int)byte_sz;
  if (!qr_store_batch_fits(e->submit_seq - e->poll_seq, e->held_sz, (size_t)byte_sz))
    return QR_ERR_FULL;
  qr_store_error_fate_t f = {.fail = true};
  if (!e->failed) f = qr_store_error_fate(&e->settings, e->open_number, e->submit_seq);
  bool stored = e->failed ? e->follower_cnt > 0 : f.survive || !f.fail;
  if (stored) {
    int err = e->ops->commit(e->inner, e->submit_seq, ops, op_cnt);
    if (err) return err;
  }
  if (e->failed && stored) e->follower_cnt--;
  if (!e->failed && f.survive) e->follower_cnt = f.follower_cnt;
  e->failed = e->failed || f.fail || f.survive;
  *slot_of(e, e->submit_seq++) = (slot_t){.tag = tag,
                                          .delay_left = f.delay ? e->settings.delay_polls : 0,
                                          .byte_sz = (size_t)byte_sz,
                                          .inner = stored,
                                          .ended = !stored,
                                          .err = e->failed ? QR_ERR_IO : QR_OK};
  e->held_sz += (size_t)byte_sz;
  return QR_OK;
}

/* What the inner driver has ended. A failure of its own is passed on. */
static void take_inner(qr_store_t *e) {
  qr_store_done_t done[8];
  int n;
  while ((n = e->ops->poll(e->inner, done, QR_ARRAY_CNT(done))) > 0) {
    for (int i = 0; i < n; i++) {
      slot_t *s = slot_of(e, done[i].tag);
      QR_ASSERT(done[i].tag < e->submit_seq && s->inner && !s->ended);
      s->ended = true;
      if (done[i].err) s->err = done[i].err;
      if (done[i].err) e->failed = true;
    }
  }
}

static int error_poll(qr_store_t *e, qr_store_done_t *done, int max) {
  int cnt = 0;
  take_inner(e);
  while (cnt < max && e->poll_seq != e->submit_seq) {
    slot_t *s = slot_of(e, e->poll_seq);
    if (!s->ended) break;
    if (s->delay_left) {
      s->delay_left--;
      break;
    }
    done[cnt++] = (qr_store_done_t){s->tag, s->err};
    e->held_sz -= s->byte_sz;
    e->poll_seq++;
  }
  return cnt;
}

static int64_t error_get(qr_store_t *e, enum qr_store_table t, const void *key, size_t key_sz,
                         void *buf, size_t buf_sz) {
  return e->ops->get(e->inner, t, key, key_sz, buf, buf_sz);
}

static void error_get_many(qr_store_t *e, enum qr_store_table t, qr_store_read_t *reads,
                           uint32_t cnt) {
  e->ops->get_many(e->inner, t, reads, cnt);
}

static int error_scan(qr_store_t *e, enum qr_store_table t, const void *first, size_t first_sz,
                      qr_store_visit_fn fn, void *ctx) {
  return e->ops->scan(e->inner, t, first, first_sz, fn, ctx);
}

static void error_stats(const qr_store_t *e, qr_store_stats_t *out) {
  e->ops->stats(e->inner, out);
}

const qr_store_ops_t qr_store_error_ops = {
    .name = "error",
    .help = "FOR TESTS: another driver with faults; options: inner=mem[:key=value,...]; seed=; "
            "fail=1/N; survive=1/N; delay=1/N; delay_polls=; open_fail=1/N",
    .open = error_open,
    .close = error_close,
    .commit = error_commit,
    .poll = error_poll,
    .get = error_get,
    .get_many = error_get_many,
    .scan = error_scan,
    .stats = error_stats,
};
