/* Announced blocks: asked for once, from one announcer at a time, from another if that one fails.
 */
#include "peer/internal.h"

#define ANSWER_NS (10 * QR_PEER_SEC)
#define HEDGE_NS (1 * QR_PEER_SEC)    /* then somebody else is asked as well */
#define SLOW_NS (60 * QR_PEER_SEC)    /* so long is remembered who made that necessary */
#define YIELD_NS (250 * QR_PEER_MSEC) /* and so long another may announce what that one has */
#define VERDICT_NS                                                                                 \
  (300 * QR_PEER_SEC) /* the application forgot it: our own entry must not stay for ever */
#define AGAIN_NS (100 * QR_PEER_MSEC) /* the application had no room */
#define AHEAD_NS (2 * QR_PEER_SEC)    /* the block's time is ahead of our clock */
#define TRY_MAX_CNT 16u
#define PER_PEER_CNT 8u
#define NEAR_CNT                                                                                   \
  1024u /* blocks further below our tip than any reorganisation goes are not asked for */
#define COST_LATE 5u
#define COST_REFUSED 1u
#define COST_BAD_CLAIM 10u

static qr_peer_fetch_t *find(qr_peers_t *p, const qr_hash_t *h) {
  for (uint32_t i = 0; i < QR_PEER_FETCH_CNT; i++) {
    if (p->fetches[i].state != QR_FETCH_FREE && qr_hash_eq(&p->fetches[i].hash, h))
      return &p->fetches[i];
  }
  return NULL;
}

bool qr_peer_fetch_has(const qr_peers_t *p, const qr_hash_t *h) { return find((qr_peers_t *)p, h); }

const uint8_t *qr_peer_fetch_header(const qr_peers_t *p, const qr_hash_t *h) {
  const qr_peer_fetch_t *f = find((qr_peers_t *)p, h);
  return f && f->state == QR_FETCH_GIVEN ? f->header : NULL;
}

void qr_peer_fetch_claim(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_claim_t *c) {
  qr_inv_add(&s->blocks, &c->hash);
  if (qr_inv_has(&p->bad, &c->hash)) { /* it says that it executed it and found it right */
    qr_peer_strike(p, s, COST_BAD_CLAIM, "announced an invalid block");
    return;
  }
  if (qr_peer_work_more(&c->work, &s->claim.work)) s->claim = *c;
  if (p->cfg.begin) return; /* there is nothing yet that a block could follow */
  bool next = c->height <= p->tip.height + 1 &&
              c->height + NEAR_CNT > p->tip.height; /* further ahead is sync's business */
  if (!next || qr_u256_cmp(&c->work, &p->tip.work) < 0) return;
  if (qr_inv_has(&p->known, &c->hash) || qr_peer_sync_has(p, &c->hash)) return;
  bool slow = p->now_ns < s->slow_ns;
  qr_peer_fetch_t *f = find(p, &c->hash);
  if (f) { /* who has kept us waiting lately gives way */
    const qr_peer_slot_t *first = qr_peer_find(p, f->peer);
    if (f->state == QR_FETCH_WAIT && !slow && first && p->now_ns < first->slow_ns) {
      f->peer = s->id;
      f->at_ns = p->now_ns;
    }
    return;
  }
  uint32_t own_cnt = 0;
  for (uint32_t i = 0; i < QR_PEER_FETCH_CNT; i++) {
    if (p->fetches[i].state == QR_FETCH_FREE)
      f = f ? f : &p->fetches[i];
    else
      own_cnt += p->fetches[i].peer == s->id;
  }
  if (!f || own_cnt >= PER_PEER_CNT) return; /* sync will find it by the claim */
  *f = (qr_peer_fetch_t){.state = QR_FETCH_WAIT,
                         .hash = c->hash,
                         .peer = s->id,
                         .at_ns = p->now_ns + (slow ? YIELD_NS : 0)};
}

/* Who is asked first: who has kept nobody waiting, then whom we dialled (nobody can crowd those
   out), then who brought a block last. */
static bool sooner(const qr_peers_t *p, const qr_peer_slot_t *a, const qr_peer_slot_t *b) {
  bool a_slow = p->now_ns < a->slow_ns, b_slow = p->now_ns < b->slow_ns;
  if (a_slow != b_slow) return b_slow;
  if (a->inbound != b->inbound) return b->inbound;
  return a->block_ns > b->block_ns;
}

/* Another peer that has the block and was not asked for it, 0 if there is none. */
static qr_peer_id_t another(const qr_peers_t *p, const qr_peer_fetch_t *f) {
  const qr_peer_slot_t *best = NULL;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    bool can = s->id != f->peer && qr_peer_find(p, s->id) == s;
    if (!can || !qr_inv_has(&s->blocks, &f->hash) || qr_inv_has(&s->asked, &f->hash)) continue;
    if (!best || sooner(p, s, best)) best = s;
  }
  return best ? best->id : 0;
}

static void turn_to(qr_peers_t *p, qr_peer_fetch_t *f, qr_peer_id_t next) {
  qr_peer_compact_drop(p, &f->hash);
  f->state = QR_FETCH_WAIT;
  f->peer = next;
  f->at_ns = p->now_ns;
  f->whole = false;
}

/* Hands the entry to another peer that has the block; frees it if there is none. */
static void reassign(qr_peers_t *p, qr_peer_fetch_t *f) {
  turn_to(p, f, another(p, f));
  if (!f->peer || ++f->try_cnt >= TRY_MAX_CNT) f->state = QR_FETCH_FREE;
}

/* What was asked of one peer is asked of another as well; the first may still answer. */
static void hedge(qr_peers_t *p, qr_peer_fetch_t *f) {
  qr_peer_id_t next = another(p, f);
  qr_peer_slot_t *s = qr_peer_find(p, f->peer);
  f->hedge_ns = p->now_ns + HEDGE_NS;
  if (!next || ++f->try_cnt >= TRY_MAX_CNT) return;
  if (s) s->slow_ns = p->now_ns + SLOW_NS;
  p->stats.hedges++;
  turn_to(p, f, next);
}

qr_peer_fetch_t *qr_peer_fetch_owed(qr_peers_t *p, const qr_peer_slot_t *s, const qr_hash_t *h) {
  qr_peer_fetch_t *f = find(p, h);
  bool open = f && f->state >= QR_FETCH_WAIT && f->state <= QR_FETCH_PARTIAL;
  return open && qr_inv_has(&s->asked, h) ? f : NULL;
}

void qr_peer_fetch_await(qr_peers_t *p, qr_peer_fetch_t *f, enum qr_peer_fetch_state state) {
  f->state = state;
  f->at_ns = p->now_ns + ANSWER_NS;
  f->hedge_ns = p->now_ns + HEDGE_NS;
}

void qr_peer_fetch_whole(qr_peers_t *p, qr_peer_fetch_t *f, const qr_peer_slot_t *s) {
  turn_to(p, f, s->id);
  f->whole = true;
}

void qr_peer_fetch_give(qr_peers_t *p, qr_peer_fetch_t *f, qr_peer_slot_t *s, const uint8_t *block,
                        uint32_t sz) {
  f->peer = s->id;
  memcpy(f->header, block, QR_HEADER_SZ);
  if (qr_peer_give_block(p, s->id, &f->hash, block, sz)) {
    f->state = QR_FETCH_GIVEN;
    f->at_ns = p->now_ns + VERDICT_NS;
  } else {
    p->stats.app_full++;
    f->state = QR_FETCH_WAIT;
    f->at_ns = p->now_ns + AGAIN_NS;
  }
}

bool qr_peer_fetch_block(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h, const uint8_t *block,
                         uint32_t sz) {
  qr_peer_fetch_t *f = qr_peer_fetch_owed(p, s, h);
  if (!f) return false;
  qr_peer_compact_drop(p, h);
  qr_peer_fetch_give(p, f, s, block, sz);
  return true;
}

static bool waits_for(const qr_peer_fetch_t *f, const qr_peer_slot_t *s) {
  return (f->state == QR_FETCH_ASKED || f->state == QR_FETCH_PARTIAL) && f->peer == s->id;
}

void qr_peer_fetch_refused(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *h) {
  qr_peer_fetch_t *f = find(p, h);
  if (!f || !waits_for(f, s)) return;
  qr_peer_strike(p, s, s->pruned ? 0 : COST_REFUSED, "announced a block that it does not give");
  reassign(p, f);
}

void qr_peer_fetch_gone(qr_peers_t *p, const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < QR_PEER_FETCH_CNT; i++) {
    qr_peer_fetch_t *f = &p->fetches[i];
    if (waits_for(f, s) || (f->state == QR_FETCH_WAIT && f->peer == s->id)) reassign(p, f);
  }
}

bool qr_peer_fault_of_sender(enum qr_verdict v) {
  return v == QR_VERDICT_SIZE || v == QR_VERDICT_SYNTAX || v == QR_VERDICT_TX_ROOT ||
         v == QR_VERDICT_TRACE_ROOT || v == QR_VERDICT_ACTIONS_ROOT ||
         v == QR_VERDICT_WITNESS_ROOT || v == QR_VERDICT_WITNESS_MISSING;
}

bool qr_peer_fetch_verdict(qr_peers_t *p, const qr_hash_t *h, enum qr_verdict v) {
  qr_peer_fetch_t *f = find(p, h);
  if (qr_verdict_is_invalid(v) && !qr_peer_fault_of_sender(v)) qr_inv_add(&p->bad, h);
  if (!f) return false;
  qr_peer_compact_drop(p, h);
  if (v == QR_VERDICT_TIME_AHEAD && ++f->try_cnt < TRY_MAX_CNT) {
    f->state = QR_FETCH_WAIT;
    f->at_ns = p->now_ns + AHEAD_NS;
  } else if (qr_peer_fault_of_sender(v))
    reassign(p, f);
  else
    f->state = QR_FETCH_FREE;
  return true;
}

static void ask(qr_peers_t *p, qr_peer_fetch_t *f) {
  qr_peer_slot_t *s = qr_peer_find(p, f->peer);
  if (!s) {
    reassign(p, f);
    return;
  }
  uint8_t type = f->whole ? QR_MSG_GET_BLOCK : QR_MSG_GET_COMPACT;
  if (!qr_peer_out_msg(p, s, &(qr_msg_t){.type = type, .get_block = {f->hash}})) return;
  qr_inv_add(&s->asked, &f->hash);
  qr_peer_fetch_await(p, f, QR_FETCH_ASKED);
  p->work_cnt++;
}

void qr_peer_fetch_poll(qr_peers_t *p) {
  for (uint32_t i = 0; i < QR_PEER_FETCH_CNT; i++) {
    qr_peer_fetch_t *f = &p->fetches[i];
    bool asked = f->state == QR_FETCH_ASKED || f->state == QR_FETCH_PARTIAL;
    if (asked && p->now_ns >= f->hedge_ns) hedge(p, f);
    if (f->state == QR_FETCH_FREE || p->now_ns < f->at_ns) continue;
    if (f->state == QR_FETCH_WAIT)
      ask(p, f);
    else if (f->state == QR_FETCH_GIVEN)
      f->state = QR_FETCH_FREE;
    else {
      qr_peer_slot_t *s = qr_peer_find(p, f->peer);
      if (s) qr_peer_strike(p, s, COST_LATE, "announced a block and did not send it");
      reassign(p, f);
    }
  }
}
