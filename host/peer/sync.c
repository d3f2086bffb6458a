/* Catching up. One peer leads: its headers are followed from a block that we have, and each is held
   to what headers alone can show before anything hangs on it. The blocks come from everybody
   (share.c) and go up in order. A claim gives a peer nothing but the chance to deliver. */
#include "peer/internal.h"

#define VERDICT_NS (300 * QR_PEER_SEC) /* the application says nothing of what it has */
#define SHORT_NS                                                                                   \
  (10 * QR_PEER_SEC) /* without a part in it after something that may be nobody's fault */
#define NO_ROOM_NS                                                                                 \
  (1 * QR_PEER_SEC) /* after the application dropped a block for want of room or of its model */
#define LONG_NS (600 * QR_PEER_SEC)
#define LEAD_NS (2 * QR_PEER_SEC) /* for an answer, when blocks run out and another could lead */
#define LEAD_NEXT_NS (QR_PEER_SEC / 2) /* the same for who leads in the place of a silent one */
#define DEMOTED_NS (60 * QR_PEER_SEC)
#define DEMOTED_NEXT_NS (10 * QR_PEER_SEC) /* of one that had less time */
#define RATE_NS (2 * QR_PEER_SEC)          /* the rate is taken anew so often */
#define TELL_NS (5 * QR_PEER_SEC)          /* between lines of progress */
#define AHEAD_CNT 96u    /* headers are asked for when fewer blocks are left to get */
#define TOLD_MIN_CNT 10u /* blocks that make a sync worth a line in the log */
#define COST_FALSE_CLAIM 10u
#define COST_BAD_CHAIN 50u
#define COST_DISCONNECTED 5u

static const qr_hash_t none;

bool qr_peer_sync_active(const qr_peers_t *p) { return p->sync.peer || p->sync.unjudged; }

bool qr_peer_sync_has(const qr_peers_t *p, const qr_hash_t *h) {
  for (uint64_t i = p->sync.head; i < p->sync.tail; i++) {
    if (!qr_peer_sync_at(p, i)->done && qr_hash_eq(&qr_peer_sync_at(p, i)->hash, h)) return true;
  }
  return false;
}

/* What failed is kept, with all after it, until it is asked for again. */
static void advance(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  while (y->head < y->given && y->head < y->failed && qr_peer_sync_at(p, y->head)->done) y->head++;
}

/* ---- the sync ends ---- */

/* Forgets what has not gone up; verdicts of what has are still awaited before the next one begins.
 */
static void cut(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  y->peer = 0;
  y->tail = y->given;
  y->failed = UINT64_MAX;
  y->headers_asked = y->end = false;
  advance(p);
}

/* By the leader's fault, or nobody's. */
static void lose(qr_peers_t *p, uint64_t wait_ns, uint32_t cost, const char *why) {
  qr_peer_slot_t *s = qr_peer_find(p, p->sync.peer);
  cut(p);
  p->stats.sync_failures++;
  if (!s) return;
  s->sync_after_ns = p->now_ns + wait_ns;
  qr_peer_strike(p, s, cost, why);
}

void qr_peer_sync_nobody(qr_peers_t *p) { lose(p, SHORT_NS, 0, NULL); }

/* ---- who leads ---- */

/* More work than ours, not already on its way as an announced block, and not a claim that we know
 * better. */
static bool worth(const qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->tip.height < s->lacks_height) return false; /* what we would need first it has not */
  return qr_peer_work_more(&s->claim.work, &p->tip.work) && !qr_peer_fetch_has(p, &s->claim.hash) &&
         !qr_inv_has(&p->known, &s->claim.hash) && !qr_inv_has(&p->bad, &s->claim.hash);
}

/* The largest claim of those that may lead and say that they are above a height; NULL if none. */
static qr_peer_slot_t *best_leader(qr_peers_t *p, uint64_t above) {
  qr_peer_slot_t *best = NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom || s->id == p->sync.peer || s->claim.height <= above ||
        p->now_ns < s->sync_after_ns || p->now_ns < s->share.lead_after_ns || !worth(p, s))
      continue;
    if (!best || qr_peer_work_more(&s->claim.work, &best->claim.work)) best = s;
  }
  return best;
}

/* Somebody else goes on from the newest header; false if nobody can. */
static bool rotate(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  qr_peer_slot_t *s = best_leader(p, y->has_last ? y->last.height : 0);
  bool end = !s; /* or at least sees to it that what is known of is got */
  if (!s && y->tail != y->head) s = best_leader(p, 0);
  if (!s) return false;
  y->peer = s->id;
  y->headers_asked = false;
  y->end = end;
  p->stats.sync_rotations++;
  return true;
}

static void begin(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  qr_peer_slot_t *s = qr_peer_find(p, y->forced);
  y->forced = 0;
  if (s && p->now_ns < s->sync_after_ns) s = NULL;
  if (!s) s = best_leader(p, 0);
  if (!s) return;
  y->peer = s->id;
  y->given = y->tail = y->head;
  y->failed = UINT64_MAX;
  y->again_ns = 0;
  y->headers_asked = y->end = y->gained = y->has_last = false;
  y->mute_cnt = 0;
  y->last_hash = none;
  y->fruit_ns = y->fruit_cnt = y->pace_cnt = 0;
  y->rate_milli = y->giver_cnt = 0;
  y->began_ns = y->pace_ns = y->told_ns = p->now_ns;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) p->slots[i].share.lacks_from = 0;
  p->stats.syncs++;
  p->work_cnt++;
}

/* Its headers, not its blocks, are missed. */
static void leader_lost(qr_peers_t *p) {
  p->stats.sync_failures++;
  if (!rotate(p)) cut(p);
}

void qr_peer_sync_silent(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->sync.peer == s->id)
    leader_lost(p);
  else
    p->stats.sync_failures++;
}

void qr_peer_sync_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->sync.forced == s->id) p->sync.forced = 0;
  qr_peer_share_gone(p, s);
  if (p->sync.peer == s->id) leader_lost(p);
}

/* ---- headers ---- */

static void ask_headers(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  uint32_t cnt = 0;
  if (s->share.owes_headers) return; /* from when it led before */
  if (!qr_hash_eq(&y->last_hash, &none)) y->locator[cnt++] = y->last_hash;
  for (uint32_t i = 0; i < p->locator_cnt && cnt < QR_MSG_LOCATOR_MAX_CNT; i++)
    y->locator[cnt++] = p->locator[i];
  y->locator_cnt = cnt;
  qr_msg_t m = {
      .type = QR_MSG_GET_HEADERS,
      .get_headers = {.cnt = cnt, .locator = y->locator, .max_cnt = QR_MSG_HEADERS_MAX_CNT}};
  if (!qr_peer_out_msg(p, s, &m)) return;
  y->headers_asked = true;
  y->headers_ns = p->now_ns;
  qr_peer_share_owe(p, s, NULL);
  p->work_cnt++;
}

static bool in_locator(const qr_peer_sync_t *y, const qr_hash_t *h) {
  for (uint32_t i = 0; i < y->locator_cnt; i++) {
    if (qr_hash_eq(&y->locator[i], h)) return true;
  }
  return false;
}

/* Finds what the headers stand on. True if they can be gone on from there; *from is the first that
   is new then. */
static bool connect(qr_peers_t *p, const uint8_t *headers, uint32_t *from) {
  qr_peer_sync_t *y = &p->sync;
  qr_header_t h;
  qr_header_decode(headers, &h);
  qr_hash_t hash = qr_header_hash(&h);
  bool of_genesis = h.height == 1 && qr_hash_eq(&h.parent, &p->cfg.genesis);
  *from = 1;
  if (qr_hash_eq(&hash, &y->last_hash)) return true;
  if (of_genesis && qr_hash_eq(&y->last_hash, &p->cfg.genesis)) {
    *from = 0;
    return true;
  }
  bool ours = in_locator(y, &hash);
  if (!ours && !of_genesis) {
    lose(p, SHORT_NS, COST_FALSE_CLAIM, "its headers do not follow from our locator");
    return false;
  }
  if (y->tail != y->head) { /* its chain turned elsewhere meanwhile: go on with what we have, then
                               ask anew */
    y->end = true;
    return false;
  }
  *from = ours;
  y->has_last = ours;
  y->last = h;
  y->last_hash = ours ? hash : p->cfg.genesis;
  return true;
}

/* One header more; false if the rest is not to be looked at. */
static bool take_header(qr_peers_t *p, const uint8_t *bytes) {
  qr_peer_sync_t *y = &p->sync;
  qr_header_t h;
  qr_header_decode(bytes, &h);
  qr_hash_t hash = qr_header_hash(&h);
  uint64_t height = y->has_last ? y->last.height + 1 : 1;
  if (h.height != height || !qr_hash_eq(&h.parent, &y->last_hash)) {
    lose(p, LONG_NS, QR_PEER_STRIKE_LIMIT, "its headers do not follow from each other");
    return false;
  }
  if (qr_inv_has(&p->bad, &hash)) {
    lose(p, LONG_NS, COST_BAD_CHAIN, "its chain holds an invalid block");
    return false;
  }
  enum qr_verdict v = p->cfg.app->on_header(p->cfg.ctx, y->has_last ? &y->last : NULL, &h);
  if (v == QR_VERDICT_TIME_AHEAD) {
    y->end = true;
    if (y->tail == y->head) lose(p, SHORT_NS, 0, NULL);
    return false;
  }
  if (v) {
    lose(p, LONG_NS, QR_PEER_STRIKE_LIMIT, qr_verdict_str(v));
    return false;
  }
  y->last = h;
  y->last_hash = hash;
  y->has_last = true;
  *qr_peer_sync_at(p, y->tail++) = (qr_peer_entry_t){.hash = hash, .height = h.height};
  return true;
}

void qr_peer_sync_headers(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_headers_t *h) {
  qr_peer_sync_t *y = &p->sync;
  if (!qr_peer_share_headers(p, s)) {
    p->stats.unsolicited++;
    qr_peer_strike(p, s, 1, "sent headers that were not asked for");
    return;
  }
  if (y->peer != s->id || !y->headers_asked) return; /* another leads by now */
  y->headers_asked = false;
  y->mute_cnt = 0;
  uint64_t before = y->tail;
  uint32_t i;
  if (h->cnt && !connect(p, h->headers, &i)) return;
  QR_ASSERT(y->tail - y->head + h->cnt <= QR_PEER_QUEUE_CNT); /* room was looked at before asking */
  for (; h->cnt && i < h->cnt; i++) {
    if (!take_header(p, h->headers + (size_t)i * QR_HEADER_SZ)) return;
  }
  y->end = y->tail == before || y->last.height >= s->claim.height; /* a short answer says nothing */
}

/* ---- blocks go up ---- */

static void give_blocks(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  while (y->given < y->tail && qr_peer_sync_at(p, y->given)->arrived) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, y->given);
    if (e->skip)
      e->done = true;
    else if (!qr_peer_give_block(p, e->peer, &e->hash, qr_peer_sync_hold(p, y->given), e->sz)) {
      p->stats.app_full++;
      return; /* it stays here, the window stands still, and so do the peers */
    } else {
      if (!y->unjudged++) y->verdict_ns = p->now_ns;
    }
    y->given++;
    p->work_cnt++;
    advance(p);
  }
}

/* All that was given is judged, and some of it is to come once more, from whoever can. */
static void try_again(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  for (uint64_t i = y->failed; i < y->tail && i < y->given + p->cfg.window_cnt; i++) {
    qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    *e = (qr_peer_entry_t){.hash = e->hash, .height = e->height};
  }
  y->given = y->failed;
  y->failed = UINT64_MAX;
  advance(p);
}

static void fail(qr_peers_t *p, uint64_t i, uint64_t wait_ns) {
  qr_peer_sync_t *y = &p->sync;
  if (!y->peer) return;
  if (i < y->failed) y->failed = i;
  if (p->now_ns + wait_ns > y->again_ns) y->again_ns = p->now_ns + wait_ns;
}

void qr_peer_sync_refused(qr_peers_t *p, qr_peer_slot_t *s, uint8_t kind, const qr_hash_t *h) {
  qr_peer_sync_t *y = &p->sync;
  if (kind == QR_MSG_WANT_HEADERS) {
    bool owed = qr_peer_share_headers(p, s);
    if (owed && y->peer == s->id && y->headers_asked) lose(p, SHORT_NS, 0, NULL);
    return;
  }
  bool lacks = qr_peer_share_refused(p, s, h);
  if (lacks && y->peer == s->id && !s->pruned)
    lose(p, SHORT_NS, COST_DISCONNECTED, "has not the blocks of its own chain");
}

/* ---- verdicts ---- */

/* Index of a block that was given and is not judged; tail if there is none. */
static uint64_t find_given(const qr_peers_t *p, const qr_hash_t *h) {
  for (uint64_t i = p->sync.head; i < p->sync.given; i++) {
    const qr_peer_entry_t *e = qr_peer_sync_at(p, i);
    if (!e->done && qr_hash_eq(&e->hash, h)) return i;
  }
  return p->sync.tail;
}

static qr_peer_entry_t *judged(qr_peers_t *p, uint64_t i) {
  qr_peer_entry_t *e = qr_peer_sync_at(p, i);
  e->done = true;
  p->sync.unjudged--;
  p->sync.verdict_ns = p->now_ns;
  return e;
}

static void praise(qr_peers_t *p, const qr_peer_entry_t *e) {
  qr_peer_slot_t *s = qr_peer_find(p, e->peer);
  p->sync.gained = true;
  p->sync.fruit_ns = p->now_ns;
  p->sync.fruit_cnt++;
  if (s) s->sync_fail_cnt = 0;
}

bool qr_peer_sync_verdict(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *h, enum qr_verdict v) {
  qr_peer_sync_t *y = &p->sync;
  uint64_t i = find_given(p, h);
  if (i == y->tail) return false;
  const qr_peer_entry_t *e = judged(p, i);
  switch (y->peer ? v : QR_VERDICT_DUPLICATE) {
  case QR_VERDICT_OK: praise(p, e); break;
  case QR_VERDICT_DUPLICATE: break;
  case QR_VERDICT_PARENT_UNKNOWN:
    if (y->failed == UINT64_MAX)
      lose(p, SHORT_NS, COST_DISCONNECTED, "its blocks do not follow from what we have");
    break; /* else it follows from the one that failed */
  case QR_VERDICT_WITNESS_MISSING: fail(p, i, NO_ROOM_NS); break;
  case QR_VERDICT_TOO_DEEP:
    lose(p, LONG_NS, COST_FALSE_CLAIM, "its chain forks off too deep");
    break;
  case QR_VERDICT_TIME_AHEAD: lose(p, SHORT_NS, 0, NULL); break;
  default: /* who sent an invalid block is blamed by the caller */
    if (qr_peer_fault_of_sender(v))
      fail(p, i, 0);
    else
      lose(p, LONG_NS, from == y->peer ? 0 : COST_BAD_CHAIN, "its chain holds an invalid block");
  }
  advance(p);
  return true;
}

void qr_peer_sync_model_failed(qr_peers_t *p, const qr_hash_t *h) {
  uint64_t i = find_given(p, h);
  if (i == p->sync.tail) return;
  const qr_peer_entry_t *e = judged(p, i);
  qr_peer_slot_t *s = qr_peer_find(p, e->peer);
  if (s) qr_peer_share_bar(p, s);
  fail(p, i, 0);
  advance(p);
}

/* ---- progress ---- */

static void measure(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  uint64_t past = p->now_ns - y->pace_ns;
  if (past < RATE_NS) return;
  uint64_t rate = (y->fruit_cnt - y->pace_cnt) * (1000 * QR_PEER_SEC) / past;
  y->rate_milli = (uint32_t)(y->rate_milli ? (y->rate_milli + rate) / 2 : rate);
  y->pace_ns = p->now_ns;
  y->pace_cnt = y->fruit_cnt;
}

void qr_peer_sync_progress(const qr_peers_t *p, qr_peers_progress_t *out) {
  const qr_peer_sync_t *y = &p->sync;
  const qr_peer_slot_t *s = qr_peer_find(p, y->peer);
  if (s && s->claim.height > out->target_height) out->target_height = s->claim.height;
  out->rate_milli = y->rate_milli;
  uint64_t left = out->target_height - out->height;
  if (y->rate_milli) out->left_s = left * 1000 / y->rate_milli;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    s = &p->slots[i];
    bool gave = s->state == QR_PEER_UP && s->share.came_ns >= y->began_ns && s->share.came_ns;
    out->sync_peer_cnt += gave && p->now_ns - s->share.came_ns < TELL_NS;
  }
}

static void tell_progress(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  if (p->now_ns - y->told_ns < TELL_NS) return;
  y->told_ns = p->now_ns;
  qr_peers_progress_t g = qr_peers_progress(p);
  if (!g.syncing) return;
  qr_log(QR_LOG_INFO, QR_PEER_TILE,
         "event=syncing height=%llu target=%llu blocks_per_s=%u.%u left_s=%llu peers=%u",
         (unsigned long long)g.height, (unsigned long long)g.target_height, g.rate_milli / 1000,
         g.rate_milli % 1000 / 100, (unsigned long long)g.left_s, g.sync_peer_cnt);
}

/* From the first question for headers until the last block was durable. */
static void tell_synced(const qr_peers_t *p) {
  qr_log(QR_LOG_INFO, QR_PEER_TILE, "event=synced height=%llu blocks=%llu ms=%.1f peers=%u",
         (unsigned long long)p->tip.height, (unsigned long long)p->sync.fruit_cnt,
         (double)(p->now_ns - p->sync.began_ns) / 1e6, p->sync.giver_cnt);
}

/* ---- poll ---- */

/* Everything that was given is judged and the leader has no more. */
static void finish(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  if (!worth(p, s)) {
    if (y->fruit_cnt >= TOLD_MIN_CNT) tell_synced(p);
    s->sync_fail_cnt = 0;
    cut(p);
  } else if (y->gained) {
    y->end = y->gained = false; /* the chain grew meanwhile, or turned */
  } else {
    memset(&s->claim.work, 0, sizeof s->claim.work); /* until it claims anew */
    lose(p, SHORT_NS, COST_FALSE_CLAIM, "claims more work than its chain has");
  }
}

/* The first may take its time; where one was silent others may well be, and each of them would cost
   as much. One that answers on a long line has four round trips all the same. */
static uint64_t lead_ns(const qr_peers_t *p, const qr_peer_slot_t *s) {
  uint64_t ns = p->sync.mute_cnt ? LEAD_NEXT_NS : LEAD_NS;
  return ns > 4 * s->rtt_ns ? ns : 4 * s->rtt_ns < LEAD_NS ? 4 * s->rtt_ns : LEAD_NS;
}

static void follow(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  if (y->failed != UINT64_MAX && !y->unjudged && p->now_ns >= y->again_ns) try_again(p);
  if (y->end && y->head == y->tail) finish(p, s);
  bool room = QR_PEER_QUEUE_CNT - (y->tail - y->head) >= QR_MSG_HEADERS_MAX_CNT;
  bool dry = y->tail - y->given < AHEAD_CNT;
  if (y->peer && !y->end && !y->headers_asked && room && dry) ask_headers(p, s);
  bool slow = y->headers_asked && p->now_ns - y->headers_ns >= lead_ns(p, s);
  if (slow && y->tail - y->given < p->cfg.window_cnt && rotate(p)) {
    s->share.lead_after_ns = p->now_ns + (y->mute_cnt ? DEMOTED_NEXT_NS : DEMOTED_NS);
    y->mute_cnt++;
  }
  if (y->peer && y->failed == UINT64_MAX) {
    qr_peer_share_ask(p);
    if (y->peer) give_blocks(p);
  }
}

void qr_peer_sync_poll(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  qr_peer_share_poll(p);
  if (y->unjudged && p->now_ns - y->verdict_ns >= VERDICT_NS) {
    qr_log_limited(&p->log_offence, QR_LOG_WARN, QR_PEER_TILE, "event=sync-stalled unjudged=%u",
                   y->unjudged);
    cut(p);
    y->head = y->given;
    y->unjudged = 0;
  }
  if (!y->peer && !y->unjudged) begin(p);
  qr_peer_slot_t *s = qr_peer_find(p, y->peer);
  if (s) follow(p, s);
  if (!y->peer) return;
  measure(p);
  tell_progress(p);
}
