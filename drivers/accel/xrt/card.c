#include "card.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/log.h"

#define MS 1000000ull
#define OPEN_WAIT_NS                                                                               \
  (120000 * MS) /* bitstreams of tens of MB, XRT's own waits, a loaded machine                     \
                 */
#define RESET_EXTRA_NS (60000 * MS)
#define BACKOFF_MIN_NS (100 * MS)
#define BACKOFF_MAX_NS (60000 * MS)
#define RUNG_RESET 3u
/* A launch may take so many times what it took before, and so much more. */
#define LIMIT_FACTOR 20u
#define LIMIT_CARD_NS (2000 * MS)
#define LIMIT_EMULATED_NS (20000 * MS)
#define LIMIT_UNKNOWN_CARD_NS (30000 * MS)
#define LIMIT_UNKNOWN_EMULATED_NS (120000 * MS)

/* ---- faults ---- */

static uint64_t backoff_ns(uint32_t rung) {
  uint64_t ns = BACKOFF_MIN_NS;
  for (uint32_t i = 1; i < rung && ns < BACKOFF_MAX_NS; i++) ns *= 2;
  return ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
}

static void drop_slots(qr_xrt_card_t *c) {
  for (uint32_t i = 0; i < QR_XRT_SLOT_MAX_CNT; i++)
    c->slots[i] = (qr_xrt_slot_t){.epoch = c->slots[i].epoch + 1};
}

/* From now on the card has nothing of what was sent to it, or is as new with room for rows. */
static void reset_replays(qr_xrt_card_t *c, uint32_t row_cnt) {
  for (uint32_t e = 0; e < c->common->engine_cnt; e++) {
    for (uint32_t i = 0; i < c->common->prog_cnt; i++)
      qr_xrt_replay_reset(&c->replays[e][i], row_cnt);
  }
}

static void take_down(qr_xrt_card_t *c, bool reset, uint64_t wait_ns, uint64_t now_ns) {
  qr_xrt_process_end(c, false);
  drop_slots(c);
  reset_replays(c, 0);
  c->state = QR_XRT_CARD_DOWN;
  c->must_reset = reset;
  c->until_ns = now_ns + wait_ns;
  c->has_measured = c->is_measuring; /* whoever waits for it must not wait on */
  c->measured = (qr_xrt_msg_t){.err = QR_ERR_IO, .text = "the card failed meanwhile"};
  c->is_measuring = false;
}

void qr_xrt_card_fault(qr_xrt_card_t *c, bool is_hard, const char *why, uint64_t now_ns) {
  uint32_t rung = ++c->rung;
  if (c->wrong_rung > rung) rung = c->wrong_rung;
  bool retry = !is_hard && rung == 1;
  bool reset = rung >= RUNG_RESET;
  uint64_t wait_ns = retry ? 0 : backoff_ns(rung);
  c->unit.jobs_failed++;
  if (retry) c->unit.retries++;
  snprintf(c->unit.why, sizeof c->unit.why, "%s", why);
  qr_log(QR_LOG_WARN, "accel", "event=card-failed card=%s why=\"%s\" next=%s wait_ms=%llu",
         c->unit.id, why,
         retry   ? "retry"
         : reset ? "reset"
                 : "reload",
         (unsigned long long)(wait_ns / MS));
  if (!retry) take_down(c, reset, wait_ns, now_ns);
}

void qr_xrt_card_reset(qr_xrt_card_t *c, uint64_t now_ns) {
  qr_log(QR_LOG_INFO, "accel", "event=card-reset card=%s cause=\"operator\"", c->unit.id);
  take_down(c, true, 0, now_ns);
}

void qr_xrt_card_judge(qr_xrt_card_t *c, bool right, uint64_t now_ns) {
  c->unit.checked++;
  if (right) {
    c->wrong_rung = 0;
    return;
  }
  c->unit.hw_errors++;
  c->wrong_rung++;
  qr_xrt_card_fault(c, true, "a result was wrong", now_ns);
}

/* What XRT wrote last tells more than that the process is gone. */
static void lost(qr_xrt_card_t *c, uint64_t now_ns) {
  char words[72], why[128];
  qr_xrt_scratch_last_words(c->scratch, words, sizeof words);
  snprintf(why, sizeof why, "the card's process ended by itself%s%s", *words ? "; it said: " : "",
           words);
  qr_xrt_card_fault(c, true, why, now_ns);
}

/* ---- the process ---- */

static void tell(qr_xrt_card_t *c, const qr_xrt_msg_t *m) {
  /* a message that does not go out is noticed by its answer not coming, or by the end of the file
   */
  ssize_t n = send(c->sock, m, sizeof *m, MSG_NOSIGNAL | MSG_DONTWAIT);
  (void)n;
}

static void enter(qr_xrt_card_t *c, enum qr_xrt_card_state state, uint64_t now_ns) {
  c->state = state;
  c->until_ns = now_ns + OPEN_WAIT_NS + (c->must_reset ? RESET_EXTRA_NS : 0);
}

void qr_xrt_card_start(qr_xrt_card_t *c, uint64_t now_ns) {
  char why[160];
  if (c->rung || c->must_reset) {
    if (c->must_reset)
      c->unit.resets++;
    else
      c->unit.reloads++;
  }
  enter(c, QR_XRT_CARD_OPENING, now_ns);
  if (qr_xrt_process_start(c, why, sizeof why)) qr_xrt_card_fault(c, true, why, now_ns);
}

void qr_xrt_card_free(qr_xrt_card_t *c) {
  qr_xrt_process_end(c, c->state >= QR_XRT_CARD_LOADED);
  qr_xrt_process_unshare(c);
}

bool qr_xrt_card_measure(qr_xrt_card_t *c, uint64_t sz) {
  if (c->state != QR_XRT_CARD_READY || c->is_measuring) return false;
  c->is_measuring = true;
  c->has_measured = false;
  tell(c, &(qr_xrt_msg_t){.kind = QR_XRT_MEASURE, .value = sz});
  return true;
}

static void attach(qr_xrt_card_t *c, uint64_t now_ns) {
  enter(c, QR_XRT_CARD_ATTACHING, now_ns);
  if (c->base_sz < c->at.sz || !c->at.sz) {
    if (qr_xrt_process_share(c)) {
      qr_xrt_card_fault(c, true, "no memory to share with the card's process", now_ns);
      return;
    }
  }
  tell(c, &(qr_xrt_msg_t){.kind = QR_XRT_ATTACH});
}

/* ---- questions to a card that comes back ---- */

static void become_ready(qr_xrt_card_t *c) {
  c->state = QR_XRT_CARD_READY;
  c->must_reset = false;
  qr_log(QR_LOG_INFO, "accel", "event=card-ready card=%s shell=%s engine=%s", c->unit.id,
         c->unit.name, c->unit.kernel);
}

/* Every engine is asked everything; the first slots belong to different ones. */
static uint32_t asked_slot(const qr_xrt_card_t *c) { return c->asked / c->common->prog_cnt; }
static uint32_t asked_prog(const qr_xrt_card_t *c) { return c->asked % c->common->prog_cnt; }

static void ask(qr_xrt_card_t *c, uint64_t now_ns) {
  uint32_t slot = asked_slot(c), prog = asked_prog(c);
  if (slot == c->common->engine_cnt) {
    become_ready(c);
    return;
  }
  qr_accel_job_t *job = &c->test_job;
  *job = c->common->questions[prog].job;
  job->digests = c->test_digests;
  job->td_abs_sum = &c->test_td;
  qr_xrt_card_take(c, slot);
  qr_xrt_task_begin(&c->test, job, &c->common->progs[prog], &c->areas[slot], false);
  int part = qr_xrt_task_next(&c->test, &c->areas[slot]);
  if (part >= 0) qr_xrt_card_send(c, slot, &c->test, part, now_ns);
}

/* The answer to a question is there. */
static void check(qr_xrt_card_t *c, uint64_t now_ns) {
  uint32_t slot = asked_slot(c), prog = asked_prog(c);
  const qr_xrt_question_t *q = &c->common->questions[prog];
  const qr_step_prog_t *p = &c->common->progs[prog].prog;
  char why[128];
  uint32_t part = c->test.first;
  int n = qr_xrt_task_collect(&c->test, &c->areas[slot], why, sizeof why);
  if (n < 0) {
    qr_xrt_card_fault(c, true, why, now_ns);
    return;
  }
  qr_xrt_card_collected(c, slot, &c->test, part, (uint32_t)n, now_ns);
  if (memcmp(c->test_digests, q->want_digests, p->digest_cnt * sizeof *q->want_digests) ||
      c->test_td != q->want_td || memcmp(c->areas[slot].model, q->want_model, p->model_sz)) {
    c->unit.checked++;
    c->unit.hw_errors++;
    qr_xrt_card_fault(c, true, "wrong answer to the test of a program", now_ns);
    return;
  }
  c->slots[slot].is_taken = false;
  c->asked++;
  ask(c, now_ns);
}

/* ---- messages ---- */

static void finished(qr_xrt_card_t *c, const qr_xrt_msg_t *m, uint64_t now_ns) {
  if (m->slot >= c->common->sizes.slot_cnt || m->part >= QR_XRT_PART_CNT ||
      c->slots[m->slot].part[m->part] != QR_XRT_PART_SENT) {
    qr_xrt_card_fault(c, true, "the card's process does not keep to its protocol", now_ns);
    return;
  }
  qr_xrt_slot_t *s = &c->slots[m->slot];
  s->part[m->part] = m->err ? QR_XRT_PART_BAD : QR_XRT_PART_DONE;
  s->run_ns = m->ns[0];
  c->unit.up_sz += m->moved[0];
  c->unit.down_sz += m->moved[1];
  s->oldest_ns = now_ns;
  if (m->err) snprintf(c->unit.why, sizeof c->unit.why, "%.100s", m->text);
  if (c->state != QR_XRT_CARD_TESTING) return;
  if (m->err)
    qr_xrt_card_fault(c, true, m->text, now_ns);
  else
    check(c, now_ns);
}

static void told_name(qr_xrt_card_t *c) {
  const qr_xrt_info_t *i = &((const qr_xrt_share_t *)c->base)->info;
  if (memchr(i->name, 0, sizeof i->name) && i->name[0])
    snprintf(c->unit.name, sizeof c->unit.name, "%s", i->name);
}

static void told_engine(qr_xrt_card_t *c) {
  const qr_xrt_info_t *i = &((const qr_xrt_share_t *)c->base)->info;
  snprintf(c->unit.kernel, sizeof c->unit.kernel, "%u x " QR_ENGINE_KERNEL_NAME " %ux%u%s",
           c->common->engine_cnt, i->array, i->array, c->common->is_unsigned ? ", unsigned" : "");
}

static void told_memory(qr_xrt_card_t *c) {
  uint32_t rows = c->common->options.keep_rows;
  bool keeps = ((const qr_xrt_share_t *)c->base)->info.keeps_replay;
  reset_replays(c, keeps ? rows : 0);
  if (rows && !keeps)
    qr_log(QR_LOG_WARN, "accel",
           "event=card-small card=%s rows=%u effect=\"minibatches travel with every job\"",
           c->unit.id, rows);
}

static void handle(qr_xrt_card_t *c, qr_xrt_msg_t *m, uint64_t now_ns) {
  m->text[sizeof m->text - 1] = 0;
  switch (m->kind) {
  case QR_XRT_OPENED:
    told_name(c);
    if (c->common->bitstream_fd < 0) c->state = QR_XRT_CARD_READY;
    break;
  case QR_XRT_LOADED:
    told_engine(c);
    c->state = QR_XRT_CARD_LOADED;
    if (c->common->has_sizes) attach(c, now_ns);
    break;
  case QR_XRT_ATTACHED:
    told_memory(c);
    c->state = QR_XRT_CARD_TESTING;
    c->asked = 0;
    ask(c, now_ns);
    break;
  case QR_XRT_DONE: finished(c, m, now_ns); break;
  case QR_XRT_MEASURED:
    c->measured = *m;
    c->has_measured = c->is_measuring;
    c->is_measuring = false;
    break;
  default: qr_xrt_card_fault(c, true, m->text, now_ns); break;
  }
}

/* A launch that takes far longer than the like before. */
static bool overdue(const qr_xrt_card_t *c, uint64_t now_ns) {
  for (uint32_t i = 0; i < c->common->sizes.slot_cnt; i++) {
    const qr_xrt_slot_t *s = &c->slots[i];
    bool waits = false;
    for (uint32_t p = 0; p < QR_XRT_PART_CNT; p++) waits |= s->part[p] == QR_XRT_PART_SENT;
    if (waits && now_ns > s->oldest_ns && now_ns - s->oldest_ns > s->limit_ns) return true;
  }
  return false;
}

void qr_xrt_card_pump(qr_xrt_card_t *c, uint64_t now_ns) {
  qr_xrt_msg_t m;
  if (c->state == QR_XRT_CARD_DOWN) {
    if (now_ns < c->until_ns) return;
    if (qr_xrt_process_gone(c)) {
      qr_xrt_card_start(c, now_ns);
    } else {
      snprintf(c->unit.why, sizeof c->unit.why,
               "its process hangs in the kernel's driver and cannot be ended");
      c->until_ns = now_ns + BACKOFF_MAX_NS / 60;
    }
    return;
  }
  while (c->state != QR_XRT_CARD_DOWN) {
    ssize_t n = recv(c->sock, &m, sizeof m, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof m) {
      handle(c, &m, now_ns);
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      break;
    } else {
      lost(c, now_ns);
    }
  }
  if (c->state == QR_XRT_CARD_LOADED && c->common->has_sizes) attach(c, now_ns);
  bool opening = c->state == QR_XRT_CARD_OPENING || c->state == QR_XRT_CARD_ATTACHING;
  if (opening && now_ns > c->until_ns)
    qr_xrt_card_fault(c, true, "the card does not come up in time", now_ns);
  else if (c->state >= QR_XRT_CARD_TESTING && overdue(c, now_ns))
    qr_xrt_card_fault(c, true, "the card does not finish a launch in time", now_ns);
}

/* ---- slots ---- */

static uint64_t *unit_time(qr_xrt_card_t *c, const qr_xrt_task_t *t) {
  if (t->job->kind == QR_ACCEL_GEMM) return NULL;
  return &c->unit_ns[t->prog->number][t->job->kind == QR_ACCEL_FORWARD];
}

void qr_xrt_card_take(qr_xrt_card_t *c, uint32_t slot) {
  qr_xrt_slot_t *s = &c->slots[slot];
  s->is_taken = true;
}

qr_xrt_replay_t *qr_xrt_card_replay(qr_xrt_card_t *c, uint32_t slot, uint32_t prog) {
  return &c->replays[slot % c->common->engine_cnt][prog];
}

void qr_xrt_card_send(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, int part,
                      uint64_t now_ns) {
  qr_xrt_slot_t *s = &c->slots[slot];
  const uint64_t *known = unit_time(c, t);
  const qr_xrt_options_t *o = &c->common->options;
  s->limit_ns = (o->emulate ? LIMIT_UNKNOWN_EMULATED_NS : LIMIT_UNKNOWN_CARD_NS);
  if (known && *known)
    s->limit_ns =
        LIMIT_FACTOR * *known * t->per_launch + (o->emulate ? LIMIT_EMULATED_NS : LIMIT_CARD_NS);
  if (o->timeout_ms) s->limit_ns = o->timeout_ms * MS;
  if (t->in_cnt == 1) s->oldest_ns = now_ns;
  s->part[part] = QR_XRT_PART_SENT;
  if (t->job->kind == QR_ACCEL_ATTEMPT && t->sent) s->is_resident = false;
  if (t->hold.replay && t->has_table) s->has_table |= 1u << t->prog->number;
  tell(c, &(qr_xrt_msg_t){.kind = QR_XRT_RUN, .slot = slot, .part = (uint32_t)part});
}

void qr_xrt_card_collected(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, uint32_t part,
                           uint32_t units, uint64_t now_ns) {
  qr_xrt_slot_t *s = &c->slots[slot];
  uint64_t *known = unit_time(c, t), ns = units ? s->run_ns / units : 0;
  if (known && units) *known = *known ? (*known * 7 + ns) / 8 : ns;
  s->part[part] = QR_XRT_PART_FREE;
  s->oldest_ns = now_ns;
}

void qr_xrt_card_leave(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, bool ended_well,
                       uint64_t now_ns) {
  qr_xrt_slot_t *s = &c->slots[slot];
  s->is_taken = false;
  /* the shared memory holds what the card's model is: what came back, or what went there */
  if (t->job->kind == QR_ACCEL_ATTEMPT && t->sent) s->is_resident = t->model_is_back;
  if (t->job->kind == QR_ACCEL_FORWARD && t->sent) s->is_resident = true;
  if (!ended_well) return;
  c->unit.jobs_done++;
  c->rung = 0;
  c->valid_ns = now_ns;
}

/* ---- for people ---- */

static void read_sensors(const qr_xrt_card_t *c, qr_accel_unit_t *out) {
  qr_xrt_info_t *i = &((qr_xrt_share_t *)c->base)->info;
  out->temp_c = i->temp_c;
  for (uint32_t r = 0; r < QR_ACCEL_RAIL_MAX_CNT; r++) {
    qr_accel_rail_t *to = &out->rails[out->rail_cnt];
    to->mv = i->rails[r].mv;
    to->ma = i->rails[r].ma;
    if (to->mv == QR_ACCEL_UNTOLD || !i->rails[r].name[0]) continue;
    snprintf(to->name, sizeof to->name, "%.11s", i->rails[r].name);
    out->rail_cnt++;
  }
}

void qr_xrt_card_unit(const qr_xrt_card_t *c, uint64_t now_ns, qr_accel_unit_t *out) {
  *out = c->unit;
  out->temp_c = QR_ACCEL_UNTOLD;
  out->rail_cnt = 0;
  out->valid_ago_ms = c->unit.jobs_done ? (now_ns - c->valid_ns) / MS : UINT64_MAX;
  out->state = c->state == QR_XRT_CARD_READY ? QR_ACCEL_UNIT_READY
               : c->rung || c->wrong_rung    ? QR_ACCEL_UNIT_QUARANTINED
                                             : QR_ACCEL_UNIT_STARTING;
  if (c->pid && c->base && c->state != QR_XRT_CARD_OPENING) read_sensors(c, out);
}
