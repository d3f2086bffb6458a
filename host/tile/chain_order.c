/* What the verify tiles are to do, and what they tell. A block is given to one as soon as all that
   it is executed with is known, whether or not the blocks before it have their verdicts: their
   actions give the replay, their training the models, their headers the rest. */
#include "base/assert.h"
#include "base/err.h"
#include "tile/chain_int.h"

/* ---- news ---- */

static qr_cand_t *find_running(qr_chain_tile_t *t, uint64_t tag) {
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state == QR_CAND_RUNNING && c->seq == tag) return c;
  }
  return NULL;
}

/* c NULL: nobody wants to know any more. */
static void take(qr_chain_tile_t *t, qr_cand_t *c, qr_verify_result_t *r) {
  qr_exec_t *e = c && !c->is_query ? c->node->user : NULL;
  if (e && r->news == QR_VERIFY_REPLAYED) e->segment = qr_pool_ref(r->segment);
  if (e && r->news == QR_VERIFY_TRAINED) {
    e->model_out = qr_pool_ref(r->model_out);
    e->facts = r->facts;
    e->trained = true;
    qr_chain_supply_models(t);
  }
  if (c && r->news == QR_VERIFY_DONE) {
    c->state = QR_CAND_JUDGED;
    c->result = *r;
  }
  qr_pool_unref(r->segment);
  qr_pool_unref(r->model_out);
}

int qr_chain_take_news(qr_chain_tile_t *t) {
  int work = 0;
  qr_verify_result_t r;
  for (uint32_t i = 0; i < t->cfg.verify_cnt; i++) {
    while (!t->failed && qr_ring_pop(t->cfg.verify_results[i], &r)) {
      QR_ASSERT(r.tag == t->verify_tags[i]);
      if (r.news == QR_VERIFY_DONE) t->verify_tags[i] = 0;
      take(t, find_running(t, r.tag), &r);
      work++;
    }
  }
  return work;
}

/* ---- orders ---- */

void qr_chain_cancel_order(qr_chain_tile_t *t, uint64_t tag) {
  for (uint32_t i = 0; i < t->cfg.verify_cnt; i++) {
    if (t->verify_tags[i] != tag) continue;
    qr_verify_order_t o = {.tag = tag, .cancel = true};
    bool pushed = qr_ring_push(t->cfg.verify_orders[i], &o);
    (void)pushed; /* without it the tile works in vain, and what it tells is not listened to */
  }
}

static bool is_running(const qr_chain_tile_t *t) {
  for (uint32_t i = 0; i < t->cfg.verify_cnt; i++) {
    if (t->verify_tags[i]) return true;
  }
  return false;
}

/* The pools do not hold what c needs. With others in execution that may change; else c must go, for
 * it would stop all behind it. */
static void give_up(qr_chain_tile_t *t, qr_cand_t *c) {
  if (t->failed || is_running(t)) return;
  if (!c->is_query) {
    qr_chain_forget(t, c, true);
    return;
  }
  qr_reply_t reply = {.id = c->query_id, .kind = QR_QUERY_VERIFY, .err = QR_ERR_NOMEM};
  qr_chain_release(t, c);
  qr_chain_reply(t, &reply);
}

static bool can_run(qr_chain_tile_t *t, const qr_cand_t *c) {
  bool known;
  if (c->state != QR_CAND_READY) return false;
  int err = qr_chain_view_known(t, c->node->parent, c->node->header.task, &known);
  return !err && known;
}

/* The candidate that came first of those that can be executed now; NULL if none. */
static qr_cand_t *next_to_run(qr_chain_tile_t *t) {
  qr_cand_t *first = NULL;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if ((!first || c->seq < first->seq) && can_run(t, c)) first = c;
  }
  return first;
}

static bool give_order(qr_chain_tile_t *t, uint32_t tile) {
  qr_cand_t *c = next_to_run(t);
  if (!c) return false;
  enum qr_verdict v = c->is_query ? QR_VERDICT_OK : qr_chain_check_by_sigma(t, &c->node->header);
  if (v) { /* a twin was executed meanwhile */
    qr_chain_judge(c, v);
    return true;
  }
  c->view = qr_chain_view(t, c->node->parent, c->node->header.task);
  if (!c->view) {
    give_up(t, c);
    return false;
  }
  qr_verify_order_t o = {.tag = c->seq,
                         .view = qr_pool_ref(c->view),
                         .block = qr_pool_ref(c->block),
                         .model_in = qr_pool_ref(c->model)};
  bool pushed = qr_ring_push(t->cfg.verify_orders[tile], &o);
  QR_ASSERT(pushed);
  t->verify_tags[tile] = c->seq;
  c->state = QR_CAND_RUNNING;
  return true;
}

int qr_chain_give_orders(qr_chain_tile_t *t) {
  int work = 0;
  for (uint32_t i = 0; i < t->cfg.verify_cnt && !t->failed && !t->disk.failed; i++) {
    while (!t->verify_tags[i] && qr_ring_room(t->cfg.verify_orders[i]) && give_order(t, i)) work++;
  }
  return work;
}

/* What the idle tiles wait for, by the candidate that came furthest; false if nothing is to come.
 */
static bool find_wait(const qr_chain_tile_t *t, enum qr_verify_wait *what) {
  bool line = false, model = false, any = false;
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    const qr_cand_t *c = &t->cands[i];
    any = any || c->state;
    line = line || c->state == QR_CAND_READY || (c->state == QR_CAND_MODEL && !c->asked) ||
           (c->state == QR_CAND_PARENT && qr_chain_has_begun(c->node->parent));
    model = model || (c->state == QR_CAND_MODEL && c->asked);
  }
  *what = !qr_chain_may_accept(t) ? QR_VERIFY_WAIT_COMMIT
          : line                  ? QR_VERIFY_WAIT_LINE
          : model                 ? QR_VERIFY_WAIT_MODEL
                                  : QR_VERIFY_WAIT_BLOCK;
  return any || (t->cfg.net_stats && atomic_load(&t->cfg.net_stats->syncing));
}

void qr_chain_count_wait(qr_chain_tile_t *t, uint64_t now_ns) {
  if (t->wait.since_ns)
    t->wait.sum_ns[t->wait.what] += (now_ns - t->wait.since_ns) * t->wait.idle_cnt;
  t->wait.idle_cnt = 0;
  for (uint32_t i = 0; i < t->cfg.verify_cnt; i++) t->wait.idle_cnt += !t->verify_tags[i];
  bool waits = t->wait.idle_cnt && find_wait(t, &t->wait.what);
  t->wait.since_ns = waits ? now_ns : 0;
}

/* ---- the end ---- */

void qr_chain_cands_drop_all(qr_chain_tile_t *t) {
  qr_verify_result_t r;
  for (uint32_t i = 0; i < t->cfg.verify_cnt; i++) {
    while (qr_ring_pop(t->cfg.verify_results[i], &r)) {
      qr_pool_unref(r.segment);
      qr_pool_unref(r.model_out);
    }
  }
  for (uint32_t i = 0; i < QR_CAND_MAX_CNT; i++) {
    qr_cand_t *c = &t->cands[i];
    if (c->state == QR_CAND_RUNNING) c->state = QR_CAND_JUDGED; /* nobody is left to cancel it */
    if (c->state) qr_chain_release(t, c);
  }
}
