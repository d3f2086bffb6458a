/* FPGA cards through XRT. A device is one card or several; its queues share them: a job goes to a
   ready card with a free place, and to another one if that card fails on the way. One lock guards
   all of it; what takes long happens in the cards' processes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "find.h"
#include "port/accel.h"
#include "port/bitstream.h"
#include "port/clock.h"
#include "question.h"

#define MS 1000000ull
#define QUEUE_DEPTH 4u
#define TRY_MAX_CNT 3u               /* cards that may fail on a job before it is given up */
#define NO_CARD_WAIT_NS (10000 * MS) /* for a card to come back, while there is none */
#define READY_WAIT_NS (180000 * MS)  /* for the first card, when a queue is opened */
#define MEASURE_SZ (64u << 20)
#define MEASURE_EMULATED_SZ (4u << 20)
#define MEASURE_WAIT_NS (60000 * MS)
#define STEP_NS (MS)

struct qr_accel {
  pthread_mutex_t lock;
  qr_xrt_common_t common;
  qr_bitstream_t bits;
  uint32_t card_cnt;
  qr_xrt_card_t cards[QR_ACCEL_UNIT_MAX_CNT];
};

/* A job of a queue. */
typedef struct {
  qr_accel_job_t *job; /* NULL: free */
  qr_xrt_card_t *card; /* NULL: waits for one */
  uint32_t slot, epoch, tries;
  bool cancelled;
  uint64_t waits_ns; /* since when it has waited for a card */
  qr_xrt_task_t task;
} entry_t;

struct qr_accel_queue {
  qr_accel_t *a;
  entry_t entries[QUEUE_DEPTH];
};

static void nap(void) {
  struct timespec ts = {0, STEP_NS};
  nanosleep(&ts, NULL);
}

static void pump(qr_accel_t *a, uint64_t now_ns) {
  for (uint32_t i = 0; i < a->card_cnt; i++) qr_xrt_card_pump(&a->cards[i], now_ns);
}

/* ---- opening ---- */

static bool wanted(const qr_xrt_options_t *o, const qr_accel_unit_t *u, uint32_t idx) {
  char text[12];
  snprintf(text, sizeof text, "%u", idx);
  return !strcmp(o->card, "all") ? !u->why[0] : !strcmp(o->card, text) || !strcmp(o->card, u->id);
}

static int choose_cards(qr_accel_t *a, char *why, size_t why_sz) {
  qr_xrt_options_t *o = &a->common.options;
  qr_accel_unit_t found[QR_ACCEL_UNIT_MAX_CNT];
  int cnt = qr_xrt_find(o, found, QR_ACCEL_UNIT_MAX_CNT, why, why_sz);
  for (int i = 0; i < cnt; i++) {
    if (!wanted(o, &found[i], (uint32_t)i)) continue;
    qr_xrt_card_t *c = &a->cards[a->card_cnt++];
    c->common = &a->common;
    c->unit = found[i];
    c->sock = c->share_fd = c->scratch_fd = -1;
    memcpy(c->arg, found[i].id, sizeof c->arg);
    if (o->emulate) snprintf(c->arg, sizeof c->arg, "%d", i);
    if (!found[i].why[0]) continue;
    snprintf(why, why_sz, "%s: %s", found[i].id, found[i].why);
    return QR_ERR_UNSUPPORTED;
  }
  if (a->card_cnt) return QR_OK;
  if (cnt && strcmp(o->card, "all"))
    snprintf(why, why_sz, "there is no card %s: 'quarry device list' shows those there are",
             o->card);
  return QR_ERR_NOTFOUND;
}

/* The instances of the engine in the bitstream. */
static int name_engines(qr_accel_t *a, char *why, size_t why_sz) {
  static const char kernel[] = QR_ENGINE_KERNEL_NAME ":";
  qr_xrt_common_t *m = &a->common;
  for (uint32_t i = 0; i < a->bits.info.unit_cnt; i++) {
    const char *unit = a->bits.info.units[i], *name = unit + sizeof kernel - 1;
    if (strncmp(unit, kernel, sizeof kernel - 1) || strlen(name) >= sizeof m->engines[0]) continue;
    if (m->engine_cnt == QR_XRT_ENGINE_MAX_CNT) break;
    memcpy(m->engines[m->engine_cnt++], name, strlen(name) + 1);
  }
  if (m->engine_cnt) return QR_OK;
  snprintf(why, why_sz, "%.200s has no kernel " QR_ENGINE_KERNEL_NAME, m->options.bitstream);
  return QR_ERR_UNSUPPORTED;
}

static int open_bitstream(qr_accel_t *a, char *why, size_t why_sz) {
  const qr_xrt_options_t *o = &a->common.options;
  qr_bitstream_policy_t policy = {.keys_path = *o->keys ? o->keys : NULL,
                                  .accept_unsigned = o->accept_unsigned};
  enum qr_xclbin_target target = !o->emulate                  ? QR_XCLBIN_HW
                                 : !strcmp(o->mode, "hw_emu") ? QR_XCLBIN_HW_EMU
                                                              : QR_XCLBIN_SW_EMU;
  if (o->look) return QR_OK;
  if (!*o->bitstream) {
    snprintf(why, why_sz,
             "say which bitstream: accel.options = bitstream=FILE; bitstreams for a "
             "card are built in fpga/, and 'quarry bitstream list DIR' checks them");
    return QR_ERR_ARG;
  }
  int err = qr_bitstream_open(o->bitstream, &policy, &a->bits, why, why_sz);
  if (err) return err;
  if (a->bits.info.target != target ||
      (a->bits.has_manifest && a->bits.manifest.engine_abi != QR_ENGINE_ABI_VERSION)) {
    snprintf(why, why_sz, "%.200s is for %s and engine interface %u, wanted are %s and %u",
             o->bitstream, qr_xclbin_target_str(a->bits.info.target),
             a->bits.has_manifest ? a->bits.manifest.engine_abi : 0, qr_xclbin_target_str(target),
             QR_ENGINE_ABI_VERSION);
    return QR_ERR_UNSUPPORTED;
  }
  err = name_engines(a, why, why_sz);
  if (err) return err;
  a->common.is_unsigned = !a->bits.is_trusted;
  if (a->common.is_unsigned)
    qr_log(QR_LOG_WARN, "accel", "event=bitstream-unsigned file=%s doubt=\"%s\"", o->bitstream,
           a->bits.doubt);
  a->common.bitstream_fd = a->bits.fd;
  return QR_OK;
}

/* Waits until every card is up, or has failed once. Returns how many are up. The lock is held. */
static uint32_t await_cards(qr_accel_t *a, enum qr_xrt_card_state state) {
  uint64_t end_ns = qr_clock_mono_ns() + READY_WAIT_NS;
  uint32_t up = 0, settled = 0;
  while (settled < a->card_cnt && qr_clock_mono_ns() < end_ns) {
    pump(a, qr_clock_mono_ns());
    up = settled = 0;
    for (uint32_t i = 0; i < a->card_cnt; i++) {
      bool is_up = a->cards[i].state >= state;
      up += is_up;
      settled += is_up || a->cards[i].rung;
    }
    if (settled < a->card_cnt) nap();
  }
  return up;
}

static void xrt_close(qr_accel_t *a) {
  for (uint32_t i = 0; i < a->card_cnt; i++) qr_xrt_card_free(&a->cards[i]);
  for (uint32_t i = 0; i < a->common.prog_cnt; i++) qr_xrt_question_free(&a->common.questions[i]);
  qr_bitstream_close(&a->bits);
  pthread_mutex_destroy(&a->lock);
  free(a);
}

static int start_cards(qr_accel_t *a, char *why, size_t why_sz) {
  enum qr_xrt_card_state state = a->common.options.look ? QR_XRT_CARD_READY : QR_XRT_CARD_LOADED;
  for (uint32_t i = 0; i < a->card_cnt; i++) qr_xrt_card_start(&a->cards[i], qr_clock_mono_ns());
  if (await_cards(a, state)) return QR_OK;
  snprintf(why, why_sz, "%s: %s", a->cards[0].unit.id,
           a->cards[0].unit.why[0] ? a->cards[0].unit.why : "it does not come up in time");
  return QR_ERR_IO;
}

static int xrt_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  qr_accel_t *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, why_sz, "accel xrt: no memory");
    return QR_ERR_NOMEM;
  }
  pthread_mutex_init(&a->lock, NULL);
  a->bits.fd = a->common.bitstream_fd = -1;
  int err = qr_xrt_options_parse(options, &a->common.options, why, why_sz);
  if (!err && access(a->common.options.worker, X_OK)) {
    snprintf(why, why_sz, "accel xrt: %s is missing: it lies beside quarryd, or say worker=FILE",
             a->common.options.worker);
    err = QR_ERR_NOTFOUND;
  }
  if (!err) err = choose_cards(a, why, why_sz);
  if (!err) err = open_bitstream(a, why, why_sz);
  if (!err) err = start_cards(a, why, why_sz);
  if (err) {
    xrt_close(a);
    return err;
  }
  *out = a;
  return QR_OK;
}

static void xrt_info(const qr_accel_t *a, qr_accel_info_t *out) {
  const qr_xrt_card_t *c = &a->cards[0];
  bool emulated = a->common.options.emulate;
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "xrt %u card%s%s", a->card_cnt, a->card_cnt == 1 ? "" : "s",
           emulated ? ", emulated" : "");
  snprintf(out->detail, sizeof out->detail, "%.23s %.63s%s", c->unit.id, c->unit.name,
           a->card_cnt > 1 ? ", .." : "");
  out->queue_depth = QUEUE_DEPTH;
  out->takes_replay = true;
  /* two jobs keep a card busy while the host prepares the next; an emulated one is busy anyway */
  out->seat_cnt = a->card_cnt * (emulated ? 1 : 2 * a->common.engine_cnt);
}

static int xrt_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog,
                    uint32_t *prog_id) {
  qr_xrt_common_t *m = &a->common;
  if (m->prog_cnt == QR_XRT_PROG_MAX_CNT) return QR_ERR_FULL;
  if (m->has_sizes || prog->model_sz != net->model_sz || prog->batch != net->spec.batch ||
      prog->obs_sz != net->in_sz || prog->action_cnt != net->spec.action_cnt)
    return QR_ERR_ARG;
  int err = qr_xrt_prog_init(&m->progs[m->prog_cnt], prog, m->prog_cnt);
  if (!err) err = qr_xrt_question_make(&m->questions[m->prog_cnt], net, prog, m->prog_cnt);
  if (!err) *prog_id = m->prog_cnt++;
  return err;
}

static int xrt_queue_open(qr_accel_t *a, qr_accel_queue_t **out) {
  qr_xrt_common_t *m = &a->common;
  qr_accel_queue_t *q = calloc(1, sizeof *q);
  if (!q) return QR_ERR_NOMEM;
  int err = m->prog_cnt && !m->options.look ? QR_OK : QR_ERR_ARG;
  pthread_mutex_lock(&a->lock);
  if (!err && !m->has_sizes) {
    qr_xrt_sizes_of(m->progs, m->prog_cnt, m->options.launch_steps, m->options.keep_rows,
                    &m->sizes);
    m->sizes.slot_cnt = 2 * m->engine_cnt;
    m->has_sizes = true;
  }
  if (!err && !await_cards(a, QR_XRT_CARD_READY)) {
    qr_log(QR_LOG_ERROR, "accel", "event=no-card why=\"%s\"", a->cards[0].unit.why);
    err = QR_ERR_IO;
  }
  pthread_mutex_unlock(&a->lock);
  q->a = a;
  if (err)
    free(q);
  else
    *out = q;
  return err;
}

/* ---- jobs ---- */

static void finish(entry_t *e, int err) {
  qr_accel_job_t *job = e->job;
  if (job->kind == QR_ACCEL_ATTEMPT && err == QR_ERR_CANCELLED && !e->task.model_is_back) {
    job->steps_done = 0;
    memmove(job->model_out, job->model_in, e->task.prog->prog.model_sz);
  }
  job->err = err;
  job->finished = true;
  e->job = NULL;
}

/* The best free place: one whose card holds the job's model already, else on the card with the
   fewest jobs, and there the first, for the first ones belong to different engines. */
static qr_xrt_card_t *choose(qr_accel_t *a, const entry_t *e, uint32_t *slot) {
  qr_xrt_card_t *best = NULL;
  uint32_t slot_cnt = a->common.sizes.slot_cnt, best_taken = slot_cnt;
  uint32_t model_sz = e->task.prog->prog.model_sz;
  bool has_model = e->job->kind != QR_ACCEL_GEMM;
  for (uint32_t i = 0; i < a->card_cnt; i++) {
    qr_xrt_card_t *c = &a->cards[i];
    uint32_t taken = 0, first = slot_cnt;
    if (c->state != QR_XRT_CARD_READY) continue;
    for (uint32_t s = 0; s < slot_cnt; s++) {
      taken += c->slots[s].is_taken;
      if (c->slots[s].is_taken) continue;
      if (first == slot_cnt) first = s;
      if (has_model && c->slots[s].is_resident &&
          !memcmp(c->areas[s].model, e->job->model_in, model_sz)) {
        *slot = s;
        return c;
      }
    }
    if (taken >= best_taken) continue;
    best = c;
    best_taken = taken;
    *slot = first;
  }
  return best;
}

static bool assign(qr_accel_t *a, entry_t *e) {
  qr_xrt_card_t *c = choose(a, e, &e->slot);
  if (!c) return false;
  qr_xrt_slot_t *s = &c->slots[e->slot];
  qr_xrt_card_take(c, e->slot);
  uint32_t prog = e->task.prog->number;
  qr_xrt_task_begin(&e->task, e->job, e->task.prog, &c->areas[e->slot], s->is_resident);
  qr_xrt_task_keep(&e->task, qr_xrt_card_replay(c, e->slot, prog), s->has_table >> prog & 1);
  e->card = c;
  e->epoch = s->epoch;
  return true;
}

/* The card failed under the job: it starts again elsewhere. */
static void unassign(entry_t *e, uint64_t now_ns) {
  qr_xrt_task_end(&e->task);
  e->card = NULL;
  e->task.model_is_back = false;
  e->tries++;
  e->waits_ns = now_ns;
}

static bool any_ready(const qr_accel_t *a) {
  for (uint32_t i = 0; i < a->card_cnt; i++) {
    if (a->cards[i].state == QR_XRT_CARD_READY) return true;
  }
  return false;
}

/* A launch, or its answer, was not what it must be. */
static void soft_fault(entry_t *e, const char *why, uint64_t now_ns) {
  qr_xrt_card_t *c = e->card;
  qr_xrt_slot_t *s = &c->slots[e->slot];
  char text[128];
  snprintf(text, sizeof text, "%s", why);
  /* what else the slot has under way must end before it can be used again */
  bool alone = e->task.in_cnt == 1;
  qr_xrt_card_fault(c, !alone, text, now_ns);
  if (s->epoch == e->epoch) *s = (qr_xrt_slot_t){.epoch = s->epoch + 1};
}

static void collect(entry_t *e, uint64_t now_ns) {
  qr_xrt_card_t *c = e->card;
  qr_xrt_slot_t *s = &c->slots[e->slot];
  char why[128];
  while (s->epoch == e->epoch && e->task.in_cnt) {
    uint32_t part = e->task.first;
    if (s->part[part] == QR_XRT_PART_SENT) return;
    if (s->part[part] == QR_XRT_PART_BAD) {
      soft_fault(e, c->unit.why, now_ns);
      return;
    }
    int units = qr_xrt_task_collect(&e->task, &c->areas[e->slot], why, sizeof why);
    if (units < 0) {
      soft_fault(e, why, now_ns);
      return;
    }
    qr_xrt_card_collected(c, e->slot, &e->task, part, (uint32_t)units, now_ns);
  }
}

/* Takes a job as far as it goes now. */
static void advance(qr_accel_t *a, entry_t *e, uint64_t now_ns) {
  if (e->card && e->card->slots[e->slot].epoch != e->epoch) unassign(e, now_ns);
  if (!e->card) {
    if (e->cancelled)
      finish(e, QR_ERR_CANCELLED);
    else if (e->tries == TRY_MAX_CNT ||
             (now_ns > e->waits_ns && now_ns - e->waits_ns > NO_CARD_WAIT_NS && !any_ready(a)))
      finish(e, QR_ERR_IO);
    else
      assign(a, e);
    if (!e->card) return;
  }
  qr_xrt_card_t *c = e->card;
  collect(e, now_ns);
  if (c->slots[e->slot].epoch != e->epoch) {
    unassign(e, now_ns);
    return;
  }
  e->task.cancelled = e->cancelled;
  int part;
  while ((part = qr_xrt_task_next(&e->task, &c->areas[e->slot])) >= 0)
    qr_xrt_card_send(c, e->slot, &e->task, part, now_ns);
  if (!qr_xrt_task_over(&e->task)) return;
  if (e->job->kind == QR_ACCEL_ATTEMPT && e->task.model_is_back)
    memcpy(e->job->model_out, c->areas[e->slot].model, e->task.prog->prog.model_sz);
  bool whole = e->task.done == e->task.unit_cnt;
  qr_xrt_card_leave(c, e->slot, &e->task, whole, now_ns);
  qr_xrt_task_end(&e->task);
  e->job->unit = (uint32_t)(c - a->cards);
  finish(e, whole ? QR_OK : QR_ERR_CANCELLED);
}

static int xrt_submit(qr_accel_queue_t *q, qr_accel_job_t *job) {
  const qr_xrt_common_t *m = &q->a->common;
  if (job->prog >= m->prog_cnt || !qr_xrt_job_ok(&m->progs[job->prog], job)) return QR_ERR_ARG;
  for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
    entry_t *e = &q->entries[i];
    if (e->job) continue;
    job->steps_done = 0;
    job->finished = false;
    job->err = 0;
    *e = (entry_t){.job = job, .waits_ns = qr_clock_mono_ns()};
    e->task.prog = &m->progs[job->prog];
    pthread_mutex_lock(&q->a->lock);
    advance(q->a, e, e->waits_ns);
    pthread_mutex_unlock(&q->a->lock);
    return QR_OK;
  }
  return QR_ERR_FULL;
}

static int xrt_poll(qr_accel_queue_t *q) {
  uint64_t now_ns = qr_clock_mono_ns();
  int done = 0;
  pthread_mutex_lock(&q->a->lock);
  pump(q->a, now_ns);
  for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
    if (!q->entries[i].job) continue;
    advance(q->a, &q->entries[i], now_ns);
    done += !q->entries[i].job;
  }
  pthread_mutex_unlock(&q->a->lock);
  return done;
}

static void xrt_cancel(qr_accel_queue_t *q, qr_accel_job_t *job) {
  for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
    if (q->entries[i].job == job) q->entries[i].cancelled = true;
  }
}

static void xrt_queue_close(qr_accel_queue_t *q) {
  /* a job that its owner no longer waits for must not be written to: its card starts anew */
  pthread_mutex_lock(&q->a->lock);
  for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
    entry_t *e = &q->entries[i];
    if (e->job && e->card && e->card->slots[e->slot].epoch == e->epoch)
      qr_xrt_card_fault(e->card, true, "its queue was closed under a job", qr_clock_mono_ns());
  }
  pthread_mutex_unlock(&q->a->lock);
  free(q);
}

/* ---- units ---- */

static int xrt_find(const char *options, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                    size_t why_sz) {
  qr_xrt_options_t o;
  int err = qr_xrt_options_parse(options, &o, why, why_sz);
  return err ? err : qr_xrt_find(&o, out, max_cnt, why, why_sz);
}

static uint32_t xrt_units(qr_accel_t *a, qr_accel_unit_t *out, uint32_t max_cnt) {
  uint64_t now_ns = qr_clock_mono_ns();
  uint32_t n = a->card_cnt < max_cnt ? a->card_cnt : max_cnt;
  pthread_mutex_lock(&a->lock);
  pump(a, now_ns);
  for (uint32_t i = 0; i < n; i++) qr_xrt_card_unit(&a->cards[i], now_ns, &out[i]);
  pthread_mutex_unlock(&a->lock);
  return n;
}

static void xrt_judge(qr_accel_t *a, uint32_t unit, bool right) {
  if (unit >= a->card_cnt) return;
  pthread_mutex_lock(&a->lock);
  qr_xrt_card_judge(&a->cards[unit], right, qr_clock_mono_ns());
  pthread_mutex_unlock(&a->lock);
}

static int xrt_reset(qr_accel_t *a, uint32_t unit, char *why, size_t why_sz) {
  if (unit >= a->card_cnt) {
    snprintf(why, why_sz, "there is no such card");
    return QR_ERR_NOTFOUND;
  }
  pthread_mutex_lock(&a->lock);
  qr_xrt_card_reset(&a->cards[unit], qr_clock_mono_ns());
  pthread_mutex_unlock(&a->lock);
  return QR_OK;
}

static int xrt_bandwidth(qr_accel_t *a, uint32_t unit, qr_accel_bandwidth_t *out, char *why,
                         size_t why_sz) {
  uint64_t end_ns = qr_clock_mono_ns() + MEASURE_WAIT_NS;
  bool emulated = a->common.options.emulate, begun = false;
  snprintf(why, why_sz, "the card is not ready");
  if (unit >= a->card_cnt) return QR_ERR_NOTFOUND;
  qr_xrt_card_t *c = &a->cards[unit];
  int err = QR_ERR_BUSY;
  while (err == QR_ERR_BUSY && qr_clock_mono_ns() < end_ns) {
    pthread_mutex_lock(&a->lock);
    pump(a, qr_clock_mono_ns());
    if (!begun) begun = qr_xrt_card_measure(c, emulated ? MEASURE_EMULATED_SZ : MEASURE_SZ);
    if (begun && c->has_measured) {
      err = c->measured.err ? QR_ERR_IO : QR_OK;
      snprintf(why, why_sz, "%.150s", c->measured.text);
      *out = (qr_accel_bandwidth_t){c->measured.value, c->measured.ns[0], c->measured.ns[1]};
      c->has_measured = false;
    }
    pthread_mutex_unlock(&a->lock);
    if (err == QR_ERR_BUSY) nap();
  }
  return err;
}

const qr_accel_ops_t qr_accel_xrt_ops = {
    .name = "xrt",
    .help = "FPGA cards through XRT; options: card=all|N|PCI, bitstream=FILE, keys=FILE, emulate, "
            "cards=N",
    .open = xrt_open,
    .close = xrt_close,
    .info = xrt_info,
    .load = xrt_load,
    .queue_open = xrt_queue_open,
    .queue_close = xrt_queue_close,
    .submit = xrt_submit,
    .poll = xrt_poll,
    .cancel = xrt_cancel,
    .find = xrt_find,
    .units = xrt_units,
    .judge = xrt_judge,
    .reset = xrt_reset,
    .bandwidth = xrt_bandwidth,
};
