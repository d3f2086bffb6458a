/* Models before their blocks. A block is announced only once it was executed, but its model may go
   ahead of it: who begins to receive one for a block of its application's offers it to the others,
   chunk by chunk as it arrives, and so do they in turn. An offer is a header that nobody vouches
   for, so it buys little: a few models a peer, more only as blocks that it offered are accepted. */
#include "peer/internal.h"

#define OFFER_NS (30 * QR_PEER_SEC) /* one offer that came to nothing is forgotten so often */
#define OFFER_CNT 4u

static bool may_spend(const qr_peers_t *p, const qr_peer_slot_t *s) {
  return s->offer_ns <= p->now_ns || s->offer_ns - p->now_ns <= (OFFER_CNT - 1) * OFFER_NS;
}

static void spend(const qr_peers_t *p, qr_peer_slot_t *s) {
  if (s->offer_ns < p->now_ns) s->offer_ns = p->now_ns;
  s->offer_ns += OFFER_NS;
}

void qr_peer_offer(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_offer_t *m) {
  qr_header_t h;
  qr_header_decode(m->header, &h);
  qr_hash_t hash = qr_header_hash(&h);
  s->offered = hash;
  bool next = h.height == p->tip.height + 1 && qr_inv_has(&p->known, &h.parent);
  if (p->cfg.late_models || !next || qr_inv_has(&p->known, &hash) || qr_inv_has(&p->bad, &hash))
    return;
  if (qr_inv_has(&p->roots, &h.model_in) || qr_peer_xfer_find(p, &h.model_in)) return;
  if (!may_spend(p, s) || !qr_peer_xfer_begin(p, s, &hash, &h.model_in, m->header, true)) return;
  spend(p, s);
  p->stats.offers_taken++;
}

void qr_peer_offer_on(qr_peers_t *p, qr_peer_xfer_t *x) {
  if (p->cfg.late_models || x->offered || !x->has_header) return;
  x->offered = true;
  qr_msg_t m = {.type = QR_MSG_OFFER, .offer = {x->header}};
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = qr_peer_find(p, p->slots[i].id);
    if (!s || qr_inv_has(&s->blocks, &x->block) || qr_hash_eq(&s->offered, &x->block)) continue;
    if (!qr_peer_out_msg(p, s, &m)) p->stats.rate_dropped++; /* it gets the model later */
  }
}

void qr_peers_offer_model(qr_peers_t *p, const uint8_t *header, const uint8_t *model, uint32_t sz) {
  qr_header_t h;
  QR_ASSERT(sz && sz <= p->cfg.model_max_sz);
  qr_header_decode(header, &h);
  qr_hash_t block = qr_header_hash(&h);
  if (p->cfg.late_models || qr_inv_has(&p->roots, &h.model_in)) return;
  qr_peer_xfer_t *x = qr_peer_xfer_find(p, &h.model_in);
  if (!x) x = qr_peer_xfer_own(p, &block, &h.model_in, header, model, sz);
  if (x) qr_peer_offer_on(p, x);
}

void qr_peer_offer_kept(qr_peers_t *p, const qr_hash_t *block) {
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = qr_peer_find(p, p->slots[i].id);
    if (s && qr_hash_eq(&s->offered, block) && s->offer_ns > p->now_ns) s->offer_ns -= OFFER_NS;
  }
}
