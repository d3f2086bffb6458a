/* Giving a snapshot to others. A part goes out only when nearly nothing else waits on its stream:
   models and headers have precedence, and blocks a stream of their own. */
#include "peer/internal.h"

#define QUEUED_SZ (2 * (size_t)QR_PEER_PART_FRAME_SZ) /* of parts that wait for the link */
#define COST_CROWD 2u
#define COST_BEYOND 20u

void qr_peers_offer_snapshot(qr_peers_t *p, const qr_peers_snapshot_t *s) {
  p->offer = s ? *s : (qr_peers_snapshot_t){.payload_sz = 0};
}

static void say_not_found(qr_peers_t *p, qr_peer_slot_t *s, const qr_hash_t *id) {
  qr_msg_t m = {.type = QR_MSG_NOT_FOUND, .not_found = {QR_MSG_WANT_SNAPSHOT, *id}};
  if (!qr_peer_out_msg(p, s, &m)) p->stats.rate_dropped++; /* the asker's timer will tell it */
}

void qr_peer_snap_ask(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  bool leaves = m->type == QR_MSG_GET_SNAPSHOT;
  qr_peer_part_t part = {.id = m->get_snapshot.seal, .idx = m->get_snapshot.first, .leaves = true};
  if (!leaves)
    part = (qr_peer_part_t){m->get_chunk.root, m->get_chunk.idx, m->get_chunk.offset, false};
  if (s->snap.part_cnt == QR_PEER_PART_CNT) {
    qr_peer_strike(p, s, COST_CROWD, "too many questions at once");
    say_not_found(p, s, &part.id);
    return;
  }
  s->snap.parts[s->snap.part_cnt++] = part;
}

static void give_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_part_t *q) {
  const qr_peers_snapshot_t *o = &p->offer;
  uint64_t all = qr_snapshot_chunk_cnt(o->payload_sz), cnt = all - q->idx;
  if (cnt > QR_MSG_LEAVES_MAX_CNT) cnt = QR_MSG_LEAVES_MAX_CNT;
  qr_msg_t m = {.type = QR_MSG_SNAPSHOT,
                .snapshot = {o->root, o->payload_sz, q->idx, (uint32_t)cnt,
                             (const uint8_t *)(o->leaves + q->idx)}};
  if (!qr_peer_out_msg(p, s, &m)) QR_ASSERT(!"room was looked at");
}

static void give_part(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_part_t *q) {
  uint64_t at = (uint64_t)q->idx * QR_SNAPSHOT_CHUNK_SZ + q->offset;
  uint64_t left = p->offer.payload_sz - at;
  uint32_t sz = QR_SNAPSHOT_CHUNK_SZ - q->offset;
  if (sz > QR_MSG_PART_MAX_SZ) sz = QR_MSG_PART_MAX_SZ;
  if (sz > left) sz = (uint32_t)left;
  if (!p->cfg.app->on_read(p->cfg.ctx, at, p->part, sz)) {
    say_not_found(p, s, &q->id);
    return;
  }
  qr_msg_t m = {.type = QR_MSG_CHUNK, .chunk = {q->id, q->idx, q->offset, sz, p->part}};
  if (!qr_peer_out_msg(p, s, &m)) QR_ASSERT(!"room was looked at");
}

static void answer(qr_peers_t *p, qr_peer_slot_t *s, const qr_peer_part_t *q) {
  const qr_peers_snapshot_t *o = &p->offer;
  if (!o->payload_sz || !qr_hash_eq(q->leaves ? &o->seal : &o->root, &q->id)) {
    say_not_found(p, s, &q->id);
    return;
  }
  uint64_t at = (uint64_t)q->idx * QR_SNAPSHOT_CHUNK_SZ + q->offset;
  bool inside = q->idx < qr_snapshot_chunk_cnt(o->payload_sz) && at < o->payload_sz &&
                q->offset < QR_SNAPSHOT_CHUNK_SZ;
  if (!inside)
    qr_peer_strike(p, s, COST_BEYOND, "asks for what a snapshot has not");
  else if (q->leaves)
    give_leaves(p, s, q);
  else
    give_part(p, s, q);
}

/* Models and headers that wait for room on the same stream. */
static bool others_wait(const qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < QR_PEER_WANT_CNT; i++) {
    const qr_peer_want_slot_t *w = &s->wants[i];
    if (w->req && !w->asked && w->kind != QR_MSG_WANT_BLOCK) return true;
  }
  return false;
}

void qr_peer_snap_serve(qr_peers_t *p, qr_peer_slot_t *s) {
  uint32_t done = 0;
  while (done < s->snap.part_cnt && !s->doom && !others_wait(s)) {
    const qr_peer_out_t *o = &s->out[QR_LINK_SYNC];
    size_t sz = QR_PEER_PART_FRAME_SZ;
    bool room = o->sz + sz <= QUEUED_SZ && qr_peer_out_room(s, QR_LINK_SYNC, sz);
    if (!room || !qr_peer_spend(p, s, QR_PEER_BUCKET_PARTS)) break;
    answer(p, s, &s->snap.parts[done++]);
    p->work_cnt++;
  }
  s->snap.part_cnt -= done;
  memmove(s->snap.parts, s->snap.parts + done, s->snap.part_cnt * sizeof s->snap.parts[0]);
}
