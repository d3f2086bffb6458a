/* Who brings which block of a sync. Blocks are asked for in their order, each of the peer that is
   likely to bring it first: by its pace and by what it owes already. A block that all wait for and
   that does not come is asked of another as well. What a peer was asked for it owes until it
   answers, whatever became of the sync, and nothing in time is silence. */
#include "peer/internal.h"

#define GRACE_NS (20 * QR_PEER_SEC) /* to deliver anything */
#define BLOCK_NS                                                                                   \
  (2 * QR_PEER_SEC) /* what each block adds, up to GRACE_NS: half a block a second must come */
#define PENALTY_NS                                                                                 \
  (15 * QR_PEER_SEC) /* without a part after a failure, doubled each time in a row */
#define LONG_NS (600 * QR_PEER_SEC)
#define FAIL_MAX_CNT 3u /* silences in a row; then the connection ends */
#define UNDER_WAY_MAX_CNT                                                                          \
  40u /* blocks between question and verdict: the application holds so many of one peer */
#define HORIZON_NS (2 * QR_PEER_SEC)   /* a peer is asked for what it brings in this time */
#define UNKNOWN_CNT 4u                 /* or for so many, while its pace is not known */
#define UNKNOWN_NS (50 * QR_PEER_MSEC) /* which is taken to be this */
#define PACE_MAX_NS (10 * QR_PEER_SEC)
#define PATIENCE_NS (100 * QR_PEER_MSEC) /* and twice what another would take: then it is asked */
#define COST_TIMEOUT 25u

/* ---- what a peer owes ---- */

void qr_peer_share_owe(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h) {
  qr_peer_share_t *a = &s->share;
  if (!a->debt_cnt && !a->owes_headers) a->deadline_ns = p->now_ns + GRACE_NS;
  if (h)
    a->debts[a->debt_cnt++] = (qr_peer_debt_t){*h, p->now_ns};
  else
    a->owes_headers = true;
}

static bool pay(qr_peer_slot_t *s, const qr_hash_t *h, uint64_t *asked_ns) {
  qr_peer_share_t *a = &s->share;
  for (uint32_t i = 0; i < a->debt_cnt; i++) {
    if (!qr_hash_eq(&a->debts[i].hash, h)) continue;
    *asked_ns = a->debts[i].asked_ns;
    a->debt_cnt--;
    memmove(&a->debts[i], &a->debts[i + 1], (a->debt_cnt - i) * sizeof a->debts[0]);
    return true;
  }
  return false;
}

static bool owes(const qr_peer_slot_t *s, const qr_hash_t *h) {
  for (uint32_t i = 0; i < s->share.debt_cnt; i++) {
    if (qr_hash_eq(&s->share.debts[i].hash, h)) return true;
  }
  return false;
}

bool qr_peer_share_headers(const qr_peers_t *p, qr_peer_slot_t *s) {
  bool owed = s->share.owes_headers;
  s->share.owes_headers = false;
  s->share.deadline_ns = p->now_ns + GRACE_NS;
  return owed;
}

/* ---- who is asked ---- */

static uint64_t window_end(const qr_peers_t *p) {
  const qr_peer_sync_t *y = &p->sync;
  uint64_t end = y->given + p->cfg.window_cnt;
  if (end > y->head + UNDER_WAY_MAX_CNT) end = y->head + UNDER_WAY_MAX_CNT;
  return end < y->tail ? end : y->tail;
}

/* What is asked of this one, or came from it and was not given, is asked of another. */
static void release(qr_peers_t *p, const qr_peer_slot_t *s) {
  uint64_t end = p->sync.given + p->cfg.window_cnt;
  for (uint64_t i = p->sync.given; i < end && i < p->sync.tail; i++) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    if (e->peer != s->id) continue;
    *e = (qr_peer_entry_t){.hash = e->hash, .height = e->height};
  }
}

static bool may_have(const qr_peers_t *p, const qr_peer_slot_t *s, const qr_peer_entry_t *e) {
  if (s->state != QR_PEER_UP || s->doom || p->now_ns < s->sync_after_ns) return false;
  if (s->id != p->sync.peer && s->claim.height < e->height) return false;
  if (s->share.lacks_from && e->height >= s->share.lacks_from) return false;
  return e->height > s->lacks_height;
}

static uint32_t window_of(const qr_peer_slot_t *s) {
  uint64_t cnt = s->share.pace_ns ? HORIZON_NS / s->share.pace_ns : UNKNOWN_CNT;
  return cnt < 1 ? 1 : cnt > QR_PEER_DEBT_CNT ? QR_PEER_DEBT_CNT : (uint32_t)cnt;
}

/* How long a block takes that is asked of it now. */
static uint64_t outlook_ns(const qr_peer_slot_t *s) {
  uint64_t pace_ns = s->share.pace_ns ? s->share.pace_ns : UNKNOWN_NS;
  return s->rtt_ns + pace_ns * (s->share.debt_cnt + 1);
}

/* Who would bring it first, of those that can be asked now and do not owe it yet; NULL if there is
   none. *any: somebody may have it, now or later. */
static qr_peer_slot_t *choose(qr_peers_t *p, const qr_peer_entry_t *e, bool *any) {
  qr_peer_slot_t *best = NULL;
  *any = false;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (!may_have(p, s, e)) continue;
    *any = true;
    if (s->share.debt_cnt >= window_of(s) || owes(s, &e->hash)) continue;
    if (!best || outlook_ns(s) < outlook_ns(best)) best = s;
  }
  return best;
}

static bool ask(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_entry_t *e) {
  qr_msg_t m = {.type = QR_MSG_GET_BLOCK, .get_block = {e->hash}};
  if (!qr_peer_out_msg(p, s, &m)) return false;
  qr_inv_add(&s->asked, &e->hash);
  qr_peer_share_owe(p, s, &e->hash);
  e->peer = s->id;
  e->asked_ns = p->now_ns;
  p->work_cnt++;
  return true;
}

/* The block that all wait for: whoever was asked for it is slow, or silent. */
static void steal(qr_peers_t *p, qr_peer_entry_t *e) {
  bool any;
  qr_peer_slot_t *from = qr_peer_find(p, e->peer), *to = choose(p, e, &any);
  if (!to || p->now_ns - e->asked_ns < PATIENCE_NS + 2 * outlook_ns(to) || !ask(p, to, e)) return;
  p->stats.sync_stolen++;
  if (!from) return;
  uint64_t pace_ns = 2 * (from->share.pace_ns ? from->share.pace_ns : UNKNOWN_NS);
  from->share.pace_ns = pace_ns < PACE_MAX_NS ? pace_ns : PACE_MAX_NS;
}

void qr_peer_share_ask(qr_peers_t *p) {
  bool first = true, any;
  for (uint64_t i = p->sync.given, end = window_end(p); i < end; i++) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    if (!e->arrived && qr_inv_has(&p->known, &e->hash)) e->arrived = e->skip = true;
    if (e->arrived) continue;
    if (e->peer) {
      if (first) steal(p, e);
      first = false;
      continue;
    }
    qr_peer_slot_t *s = choose(p, e, &any);
    if (!any && first) {
      qr_peer_sync_nobody(p);
      return;
    }
    if (!s || !ask(p, s, e)) return;
    first = false;
  }
}

/* ---- what comes ---- */

static void note_pace(qr_peers_t *p, qr_peer_slot_t *s, uint64_t asked_ns) {
  qr_peer_share_t *a = &s->share;
  uint64_t since = a->came_ns > asked_ns ? a->came_ns : asked_ns, took = p->now_ns - since;
  if (took > PACE_MAX_NS) took = PACE_MAX_NS;
  a->pace_ns = a->pace_ns ? (3 * a->pace_ns + took) / 4 : took;
  if (!a->pace_ns) a->pace_ns = 1;
  a->came_ns = p->now_ns;
  uint64_t most = p->now_ns + GRACE_NS;
  a->deadline_ns = a->deadline_ns + BLOCK_NS < most ? a->deadline_ns + BLOCK_NS : most;
}

bool qr_peer_sync_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h, const uint8_t *block,
                        uint32_t sz) {
  uint64_t asked_ns, end = p->sync.given + p->cfg.window_cnt;
  if (!pay(s, h, &asked_ns)) return false;
  note_pace(p, s, asked_ns);
  for (uint64_t i = p->sync.given; i < end && i < p->sync.tail; i++) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    if (e->arrived || !qr_hash_eq(&e->hash, h)) continue;
    memcpy(qr_peer_sync_hold(p, i), block, sz);
    e->sz = sz;
    e->arrived = true;
    p->sync.giver_cnt += s->share.sync_no != p->stats.syncs;
    s->share.sync_no = p->stats.syncs;
    e->peer = s->id;
    break;
  }
  return true; /* or it came from another meanwhile, or is not wanted any more */
}

/* It said that it has not every block, and this is one. */
static void lack(qr_peers_t *p, qr_peer_slot_t *s, uint64_t height) {
  if (height > s->lacks_height) s->lacks_height = height;
  qr_log_limited(&p->log_lacks, QR_LOG_WARN, QR_PEER_TILE,
                 "event=peer-pruned peer=%u lacks_height=%llu cure=\"a peer that keeps all blocks, "
                 "or a snapshot\"",
                 s->id, (unsigned long long)height);
}

bool qr_peer_share_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h) {
  uint64_t asked_ns, end = p->sync.given + p->cfg.window_cnt;
  if (!pay(s, h, &asked_ns)) return false;
  for (uint64_t i = p->sync.given; i < end && i < p->sync.tail; i++) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    if (e->arrived || !qr_hash_eq(&e->hash, h)) continue;
    if (e->peer == s->id) e->peer = 0;
    if (s->pruned)
      lack(p, s, e->height);
    else if (!s->share.lacks_from || e->height < s->share.lacks_from)
      s->share.lacks_from = e->height; /* it may follow another branch */
    return true;
  }
  return false;
}

/* ---- what does not ---- */

void qr_peer_share_gone(qr_peers_t *p, const qr_peer_slot_t *s) { release(p, s); }

void qr_peer_share_bar(qr_peers_t *p, qr_peer_slot_t *s) {
  s->sync_after_ns = p->now_ns + PENALTY_NS;
  release(p, s);
}

static void silent(qr_peers_t *p, qr_peer_slot_t *s) {
  bool last = ++s->sync_fail_cnt >= FAIL_MAX_CNT;
  s->share.debt_cnt = 0;
  s->share.owes_headers = false;
  s->sync_after_ns = p->now_ns + (last ? LONG_NS : PENALTY_NS << (s->sync_fail_cnt - 1));
  release(p, s);
  qr_peer_sync_silent(p, s);
  qr_peer_strike(p, s, last ? QR_PEER_STRIKE_LIMIT : COST_TIMEOUT,
                 "claims more work and does not deliver it in time");
}

void qr_peer_share_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom) continue;
    bool owes_us = s->share.debt_cnt || s->share.owes_headers;
    if (owes_us && p->now_ns >= s->share.deadline_ns) silent(p, s);
  }
}
