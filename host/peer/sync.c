/* Catching up: one peer at a time has the role. Ask for hashes after our locator, fetch those
   blocks in order through a bounded window, give them to the application in order, ask again. A
   claim gives a peer nothing but the chance to deliver. */
#include "peer/internal.h"

#define GRACE_NS (20 * QR_PEER_SEC) /* to deliver anything */
#define BLOCK_NS                                                                                   \
  (2 * QR_PEER_SEC) /* what each block adds, up to GRACE_NS: half a block a second must come */
#define VERDICT_NS (300 * QR_PEER_SEC) /* the application says nothing of what it has */
#define PENALTY_NS                                                                                 \
  (15 * QR_PEER_SEC) /* without the role after a failure, doubled each time in a row */
#define SHORT_NS                                                                                   \
  (10 * QR_PEER_SEC) /* without the role after something that may be nobody's fault */
#define NO_ROOM_NS                                                                                 \
  (1 * QR_PEER_SEC) /* after the application dropped a block for want of room or of its model */
#define LONG_NS (600 * QR_PEER_SEC)
#define TOLD_MIN_CNT 10u /* blocks that make a sync worth a line in the log */
#define FAIL_MAX_CNT 3u  /* in a row; then the connection ends */
#define UNDER_WAY_MAX_CNT                                                                          \
  40u /* blocks between question and verdict: the application holds so many of one peer */
#define COST_TIMEOUT 25u
#define COST_FALSE_CLAIM 10u
#define COST_BAD_CHAIN 50u
#define COST_DISCONNECTED 5u

static qr_peer_entry_t *at(const qr_peers_t *p, uint64_t i) {
  return &p->sync.queue[i % QR_PEER_QUEUE_CNT];
}
static uint8_t *hold(const qr_peers_t *p, uint64_t i) {
  return p->sync.hold + (size_t)(i % p->cfg.window_cnt) * QR_BLOCK_MAX_SZ;
}

bool qr_peer_sync_active(const qr_peers_t *p) {
  return p->sync.peer || p->sync.head != p->sync.given;
}

bool qr_peer_sync_has(const qr_peers_t *p, const qr_hash_t *h) {
  for (uint64_t i = p->sync.head; i < p->sync.tail; i++) {
    if (!at(p, i)->done && qr_hash_eq(&at(p, i)->hash, h)) return true;
  }
  return false;
}

/* ---- the role ends ---- */

/* Forgets what has not gone up; verdicts of what has are still awaited before the next role begins.
 */
static void cut(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  y->peer = 0;
  y->tail = y->asked = y->given;
  y->hashes_asked = y->end = false;
}

static void lose(qr_peers_t *p, uint64_t wait_ns, uint32_t cost, const char *why) {
  qr_peer_slot_t *s = qr_peer_find(p, p->sync.peer);
  cut(p);
  p->stats.sync_failures++;
  if (!s) return;
  s->sync_after_ns = p->now_ns + wait_ns;
  qr_peer_strike(p, s, cost, why);
}

static void lose_for_silence(qr_peers_t *p) {
  qr_peer_slot_t *s = qr_peer_find(p, p->sync.peer);
  if (s && ++s->sync_fail_cnt >= FAIL_MAX_CNT) {
    lose(p, LONG_NS, QR_PEER_STRIKE_LIMIT, "claims more work and does not deliver it");
    return;
  }
  lose(p, s ? PENALTY_NS << (s->sync_fail_cnt - 1) : 0, COST_TIMEOUT,
       "claims more work and does not deliver it in time");
}

void qr_peer_sync_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->sync.forced == s->id) p->sync.forced = 0;
  if (p->sync.peer != s->id) return;
  p->stats.sync_failures++;
  cut(p);
}

/* ---- the role begins ---- */

/* More work than ours, not already on its way as an announced block, and not a claim that we know
 * better. */
static bool worth(const qr_peers_t *p, const qr_peer_slot_t *s) {
  if (p->tip.height < s->lacks_height) return false; /* what we would need first it has not */
  return qr_peer_work_more(&s->claim.work, &p->tip.work) && !qr_peer_fetch_has(p, &s->claim.hash) &&
         !qr_inv_has(&p->known, &s->claim.hash) && !qr_inv_has(&p->bad, &s->claim.hash);
}

static void begin(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  qr_peer_slot_t *best = qr_peer_find(p, y->forced);
  y->forced = 0;
  if (best && p->now_ns < best->sync_after_ns) best = NULL;
  bool forced = best;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt && !forced; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom || p->now_ns < s->sync_after_ns || !worth(p, s)) continue;
    if (!best || qr_peer_work_more(&s->claim.work, &best->claim.work)) best = s;
  }
  if (!best) return;
  y->peer = best->id;
  y->given = y->asked = y->tail = y->head;
  y->hashes_asked = y->end = y->gained = false;
  y->deadline_ns = p->now_ns + GRACE_NS;
  y->fruit_ns = y->fruit_cnt = 0;
  y->began_ns = p->now_ns;
  p->stats.syncs++;
  p->work_cnt++;
}

/* ---- hashes ---- */

static void ask_hashes(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  qr_hash_t locator[QR_MSG_LOCATOR_MAX_CNT];
  uint32_t cnt = 0;
  if (y->tail != y->head) locator[cnt++] = at(p, y->tail - 1)->hash;
  for (uint32_t i = 0; i < p->locator_cnt && cnt < QR_MSG_LOCATOR_MAX_CNT; i++)
    locator[cnt++] = p->locator[i];
  qr_msg_t m = {.type = QR_MSG_GET_HASHES,
                .get_hashes = {.cnt = cnt, .locator = locator, .max_cnt = QR_MSG_HASHES_MAX_CNT}};
  if (!qr_peer_out_msg(p, s, &m)) return;
  y->hashes_asked = true;
  p->work_cnt++;
}

void qr_peer_sync_hashes(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_hashes_t *h) {
  qr_peer_sync_t *y = &p->sync;
  if (y->peer != s->id || !y->hashes_asked) {
    p->stats.unsolicited++;
    qr_peer_strike(p, s, 1, "sent hashes that were not asked for");
    return;
  }
  y->hashes_asked = false;
  y->deadline_ns = p->now_ns + GRACE_NS;
  y->end =
      !h->cnt || h->start_height + h->cnt > s->claim.height; /* a short answer alone says nothing */
  if (!h->cnt) return;
  bool first = y->tail == y->head;
  if (first ? h->start_height > p->tip.height + 1
            : h->start_height != at(p, y->tail - 1)->height + 1) {
    if (first)
      lose(p, SHORT_NS, COST_FALSE_CLAIM, "its hashes do not follow from our locator");
    else
      y->end =
          true; /* its chain turned elsewhere meanwhile: go on with what we have, then ask anew */
    return;
  }
  QR_ASSERT(y->tail - y->head + h->cnt <= QR_PEER_QUEUE_CNT); /* room was looked at before asking */
  for (uint32_t i = 0; i < h->cnt; i++) {
    if (qr_inv_has(&p->bad, &h->hashes[i])) {
      lose(p, LONG_NS, COST_BAD_CHAIN, "its chain holds an invalid block");
      return;
    }
    *at(p, y->tail++) = (qr_peer_entry_t){.hash = h->hashes[i], .height = h->start_height + i};
  }
}

/* ---- blocks ---- */

static void ask_blocks(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  while (y->asked < y->tail && y->asked - y->given < p->cfg.window_cnt &&
         y->asked - y->head < UNDER_WAY_MAX_CNT) {
    qr_peer_entry_t *e = at(p, y->asked);
    if (qr_inv_has(&p->known, &e->hash))
      e->arrived = e->skip = true;
    else {
      qr_msg_t m = {.type = QR_MSG_GET_BLOCK, .get_block = {e->hash}};
      if (!qr_peer_out_msg(p, s, &m)) return;
      qr_inv_add(&s->asked, &e->hash);
    }
    y->asked++;
    p->work_cnt++;
  }
}

bool qr_peer_sync_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h, const uint8_t *block,
                        uint32_t sz) {
  qr_peer_sync_t *y = &p->sync;
  if (y->peer != s->id) return false;
  for (uint64_t i = y->given; i < y->asked; i++) {
    qr_peer_entry_t *e = at(p, i);
    if (e->arrived || !qr_hash_eq(&e->hash, h)) continue;
    memcpy(hold(p, i), block, sz);
    e->sz = sz;
    e->arrived = true;
    uint64_t most = p->now_ns + GRACE_NS;
    y->deadline_ns = y->deadline_ns + BLOCK_NS < most ? y->deadline_ns + BLOCK_NS : most;
    return true;
  }
  return false;
}

static void advance(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  while (y->head < y->given && at(p, y->head)->done) y->head++;
}

static void give_blocks(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  while (y->given < y->asked && at(p, y->given)->arrived) {
    qr_peer_entry_t *e = at(p, y->given);
    if (e->skip)
      e->done = true;
    else if (!qr_peer_give_block(p, y->peer, &e->hash, hold(p, y->given), e->sz)) {
      p->stats.app_full++;
      return; /* it stays here, the window stands still, and so does the peer */
    }
    if (y->head == y->given) y->verdict_ns = p->now_ns;
    y->given++;
    p->work_cnt++;
    advance(p);
  }
}

/* It said that it has not every block, and this is one. */
static void lack(qr_peers_t *p, qr_peer_slot_t *s, uint64_t height) {
  if (height > s->lacks_height) s->lacks_height = height;
  qr_log_limited(&p->log_lacks, QR_LOG_WARN, QR_PEER_TILE,
                 "event=peer-pruned peer=%u lacks_height=%llu cure=\"a peer that keeps all blocks, "
                 "or a snapshot\"",
                 s->id, (unsigned long long)height);
  lose(p, SHORT_NS, 0, NULL);
}

void qr_peer_sync_refused(qr_peers_t *p, qr_peer_slot_t *s, uint8_t kind, const qr_hash_t *h) {
  qr_peer_sync_t *y = &p->sync;
  if (y->peer != s->id) return;
  if (kind == QR_MSG_WANT_HASHES && y->hashes_asked) lose(p, SHORT_NS, 0, NULL);
  for (uint64_t i = y->given; kind == QR_MSG_WANT_BLOCK && i < y->asked; i++) {
    if (at(p, i)->arrived || !qr_hash_eq(&at(p, i)->hash, h)) continue;
    if (s->pruned)
      lack(p, s, at(p, i)->height);
    else
      lose(p, SHORT_NS, COST_DISCONNECTED, "has not the blocks of its own chain");
    return;
  }
}

/* ---- verdicts ---- */

static qr_peer_entry_t *find_given(const qr_peers_t *p, const qr_hash_t *h) {
  for (uint64_t i = p->sync.head; i < p->sync.given; i++) {
    if (!at(p, i)->done && qr_hash_eq(&at(p, i)->hash, h)) return at(p, i);
  }
  return NULL;
}

bool qr_peer_sync_verdict(qr_peers_t *p, qr_peer_id_t from, const qr_hash_t *h, enum qr_verdict v) {
  qr_peer_sync_t *y = &p->sync;
  qr_peer_entry_t *e = find_given(p, h);
  if (!e) return false;
  e->done = true;
  y->verdict_ns = p->now_ns;
  advance(p);
  qr_peer_slot_t *s = qr_peer_find(p, y->peer);
  if (!s || (from && from != y->peer)) return true; /* a word on an earlier role's block */
  switch (v) {
  case QR_VERDICT_OK:
    y->gained = true;
    y->fruit_ns = p->now_ns;
    y->fruit_cnt++;
    s->sync_fail_cnt = 0;
    break;
  case QR_VERDICT_DUPLICATE: break;
  case QR_VERDICT_PARENT_UNKNOWN:
    lose(p, SHORT_NS, COST_DISCONNECTED, "its blocks do not follow from each other");
    break;
  case QR_VERDICT_WITNESS_MISSING: lose(p, NO_ROOM_NS, 0, NULL); break;
  case QR_VERDICT_TOO_DEEP:
    lose(p, LONG_NS, COST_FALSE_CLAIM, "its chain forks off too deep");
    break;
  default:
    lose(p, SHORT_NS, 0, NULL);
    break; /* who sent an invalid block is blamed by the caller */
  }
  return true;
}

void qr_peer_sync_model_failed(qr_peers_t *p, const qr_hash_t *h) {
  qr_peer_entry_t *e = find_given(p, h);
  if (!e) return;
  e->done = true;
  p->sync.verdict_ns = p->now_ns;
  advance(p);
  if (p->sync.peer) lose(p, PENALTY_NS, 0, NULL);
}

/* ---- poll ---- */

/* From the first question for hashes until the last block was durable. */
static void tell_synced(const qr_peers_t *p) {
  qr_log(QR_LOG_INFO, QR_PEER_TILE, "event=synced height=%llu blocks=%llu ms=%.1f",
         (unsigned long long)p->tip.height, (unsigned long long)p->sync.fruit_cnt,
         (double)(p->now_ns - p->sync.began_ns) / 1e6);
}

/* Everything the peer gave is judged and it has no more. */
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

static void follow(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_sync_t *y = &p->sync;
  if (y->end && y->head == y->tail) finish(p, s);
  if (!y->peer) return;
  bool room = QR_PEER_QUEUE_CNT - (y->tail - y->head) >= QR_MSG_HASHES_MAX_CNT;
  if (!y->end && !y->hashes_asked && room && y->tail - y->asked < p->cfg.window_cnt)
    ask_hashes(p, s);
  ask_blocks(p, s);
  give_blocks(p);
  bool owes = y->hashes_asked;
  for (uint64_t i = y->given; i < y->asked && !owes; i++) owes = !at(p, i)->arrived;
  if (!owes)
    y->deadline_ns = p->now_ns + GRACE_NS;
  else if (p->now_ns >= y->deadline_ns)
    lose_for_silence(p);
}

void qr_peer_sync_poll(qr_peers_t *p) {
  qr_peer_sync_t *y = &p->sync;
  if (y->head != y->given && p->now_ns - y->verdict_ns >= VERDICT_NS) {
    qr_log_limited(&p->log_offence, QR_LOG_WARN, QR_PEER_TILE, "event=sync-stalled unjudged=%llu",
                   (unsigned long long)(y->given - y->head));
    cut(p);
    y->head = y->given;
  }
  if (!y->peer && y->head == y->given) begin(p);
  qr_peer_slot_t *s = qr_peer_find(p, y->peer);
  if (s) follow(p, s);
}
