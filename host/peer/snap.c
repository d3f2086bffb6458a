/* A node that has no chain yet begins with a snapshot that the pinned header settles: the hashes of
   its chunks from one peer, then the chunks from all peers that have them, each checked by its own
   hash before it is handed on. A chunk comes whole from one peer, so that who is wrong is known.
   The application checks what they hold against the header; if that is wrong, whoever stood by it
   goes, and it begins anew with what another tells. */
#include "peer/internal.h"

#define QUIET_NS (10 * QR_PEER_SEC)   /* to bring anything of what is owed */
#define PENALTY_NS (15 * QR_PEER_SEC) /* not asked after a silence, doubled each time in a row */
#define LACKS_NS (60 * QR_PEER_SEC)   /* not asked after it said that it has not this snapshot */
#define KEPT_NS (15 * QR_PEER_SEC)    /* one whose chunks are here in part is preferred so long */
#define SLOW_NS (3 * QR_PEER_SEC)     /* a last chunk that takes longer is asked of another too */
#define TELL_NS (5 * QR_PEER_SEC)
#define FAIL_MAX_CNT 3u
#define PER_PEER_CNT                                                                               \
  2u /* chunks of one peer at a time: the next begins before the last is here                      \
      */
#define PART_SZ QR_MSG_PART_MAX_SZ
#define COST_SILENT 25u
#define COST_WRONG 20u
#define COST_STRAY 1u

static uint32_t chunk_sz(const qr_peer_snap_t *n, uint32_t idx) {
  uint64_t left = n->payload_sz - (uint64_t)idx * QR_SNAPSHOT_CHUNK_SZ;
  return left < QR_SNAPSHOT_CHUNK_SZ ? (uint32_t)left : QR_SNAPSHOT_CHUNK_SZ;
}

static uint8_t *buf_of(const qr_peer_snap_t *n, const qr_peer_snap_slot_t *c) {
  return n->bufs + (size_t)(c - n->slots) * QR_SNAPSHOT_CHUNK_SZ;
}

static bool may_ask(const qr_peers_t *p, const qr_peer_slot_t *s) {
  return s->state == QR_PEER_UP && !s->doom && s->snap.offers && p->now_ns >= s->snap.after_ns;
}

/* ---- what goes wrong ---- */

/* Others may bring what this one was asked for; what still comes of it is nobody's fault. */
static void release(qr_peer_snap_t *n, qr_peer_slot_t *s) {
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++) {
    if (n->slots[i].peer == s->id) n->slots[i].peer = 0;
  }
  if (n->teller == s->id) n->teller = 0;
  s->snap.late_cnt += s->snap.owed_cnt;
  s->snap.owed_cnt = 0;
}

void qr_peer_snap_gone(qr_peers_t *p, qr_peer_slot_t *s) {
  if (p->cfg.begin) release(&p->snap, s);
}

static void silent(qr_peers_t *p, qr_peer_slot_t *s) {
  bool last = ++s->snap.fail_cnt >= FAIL_MAX_CNT;
  release(&p->snap, s);
  s->snap.after_ns = p->now_ns + (PENALTY_NS << (s->snap.fail_cnt - 1));
  qr_peer_strike(p, s, last ? QR_PEER_STRIKE_LIMIT : COST_SILENT,
                 "offers a snapshot and does not give it");
}

void qr_peer_snap_refused(qr_peers_t *p, qr_peer_slot_t *s) {
  if (!p->cfg.begin || (!s->snap.owed_cnt && !s->snap.late_cnt)) {
    p->stats.unsolicited++;
    qr_peer_strike(p, s, COST_STRAY, "lacks a snapshot that it was not asked for");
    return;
  }
  if (!s->snap.owed_cnt) {
    s->snap.late_cnt--;
    return;
  }
  s->snap.owed_cnt--;
  release(&p->snap, s);
  s->snap.after_ns = p->now_ns + LACKS_NS;
  s->snap.lacks = !p->snap.begun;
}

/* Takes one question off what a peer owes. False if what came is not to be looked at. */
static bool pay(qr_peers_t *p, qr_peer_slot_t *s) {
  if (p->cfg.begin && s->snap.late_cnt) {
    s->snap.late_cnt--; /* questions are answered in their order */
    return false;
  }
  if (p->cfg.begin && s->snap.owed_cnt) {
    s->snap.owed_cnt--;
    s->snap.quiet_ns = p->now_ns + QUIET_NS;
    return true;
  }
  p->stats.unsolicited++;
  qr_peer_strike(p, s, COST_STRAY, "sent a snapshot that was not asked for");
  return false;
}

static bool ask(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_t *m) {
  if (!qr_peer_out_msg(p, s, m)) return false;
  if (!s->snap.owed_cnt++) s->snap.quiet_ns = p->now_ns + QUIET_NS;
  p->work_cnt++;
  return true;
}

static void wrong(qr_peers_t *p, qr_peer_slot_t *s, uint32_t cost, const char *why) {
  release(&p->snap, s);
  s->snap.after_ns = p->now_ns + PENALTY_NS;
  qr_peer_strike(p, s, cost, why);
}

/* ---- the hashes ---- */

static void ask_leaves(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_snap_t *n = &p->snap;
  qr_msg_t m = {.type = QR_MSG_GET_SNAPSHOT,
                .get_snapshot = {.seal = p->cfg.begin->pin, .first = n->leaf_got}};
  if (ask(p, s, &m)) n->teller = s->id;
}

static bool is_refused(const qr_peer_snap_t *n, const qr_hash_t *root) {
  uint32_t cnt =
      n->refused_cnt < QR_PEER_SNAP_REFUSED_CNT ? n->refused_cnt : QR_PEER_SNAP_REFUSED_CNT;
  for (uint32_t i = 0; i < cnt; i++) {
    if (qr_hash_eq(&n->refused[i], root)) return true;
  }
  return false;
}

/* Whether what is here of another one is still hoped for. */
static bool waits_for_kept(qr_peers_t *p, const qr_hash_t *root) {
  static const qr_hash_t none;
  const qr_peers_begin_t *b = p->cfg.begin;
  if (qr_hash_eq(&b->kept_root, &none) || is_refused(&p->snap, &b->kept_root)) return false;
  if (!p->snap.kept_ns) p->snap.kept_ns = p->now_ns + KEPT_NS;
  return p->now_ns < p->snap.kept_ns && !qr_hash_eq(&b->kept_root, root);
}

/* All hashes are here: they have the root that was told with them, or this peer lied. */
static void settle(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_snap_t *n = &p->snap;
  memcpy(n->bufs, n->leaves, (size_t)n->leaf_cnt * QR_HASH_SZ);
  qr_hash_t *scratch = (qr_hash_t *)n->bufs;
  qr_hash_t root =
      qr_merkle_root_of_leaves(scratch, n->leaf_cnt, n->payload_sz, QR_SNAPSHOT_CHUNK_SZ, scratch);
  n->teller = 0;
  n->leaf_got = 0;
  s->snap.lacks = false;
  if (!qr_hash_eq(&root, &n->root)) {
    wrong(p, s, QR_PEER_STRIKE_LIMIT, "sent hashes of a snapshot that do not have its root");
    return;
  }
  if (is_refused(n, &root)) {
    wrong(p, s, QR_PEER_STRIKE_LIMIT, "offers a snapshot that was found false");
    return;
  }
  if (waits_for_kept(p, &root)) {
    s->snap.after_ns = n->kept_ns;
    return;
  }
  s->snap.vouches = true;
  qr_peers_snapshot_t about = {p->cfg.begin->pin, root, n->payload_sz, n->leaves};
  n->begun = p->cfg.begin->begin(p->cfg.ctx, &about, n->have);
  n->failed = !n->begun;
  for (uint32_t i = 0; i < n->leaf_cnt; i++) n->done_cnt += n->have[i];
  n->first_cnt = n->done_cnt;
  n->began_ns = n->told_ns = p->now_ns;
}

void qr_peer_snap_leaves(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_snapshot_t *m) {
  qr_peer_snap_t *n = &p->snap;
  if (!pay(p, s) || n->begun || n->teller != s->id) return;
  uint64_t cnt = qr_snapshot_chunk_cnt(m->payload_sz);
  bool first = !n->leaf_got;
  bool right = m->first == n->leaf_got && m->payload_sz && cnt <= p->cfg.begin->chunk_max_cnt &&
               (first || (m->payload_sz == n->payload_sz && qr_hash_eq(&m->root, &n->root))) &&
               m->cnt <= cnt - n->leaf_got;
  if (!right) {
    n->leaf_got = 0;
    wrong(p, s, COST_WRONG, "sent other hashes of a snapshot than it was asked for");
    return;
  }
  n->root = m->root;
  n->payload_sz = m->payload_sz;
  n->leaf_cnt = (uint32_t)cnt;
  memcpy(n->leaves + n->leaf_got, m->leaves, (size_t)m->cnt * QR_HASH_SZ);
  n->leaf_got += m->cnt;
  if (n->leaf_got == n->leaf_cnt)
    settle(p, s);
  else
    ask_leaves(p, s);
}

/* ---- the chunks ---- */

static void ask_parts(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_snap_slot_t *c) {
  const qr_peer_snap_t *n = &p->snap;
  while (c->asked < c->sz && s->snap.owed_cnt + s->snap.late_cnt < QR_PEER_PART_CNT) {
    qr_msg_t m = {.type = QR_MSG_GET_CHUNK, .get_chunk = {n->root, c->idx, c->asked}};
    if (!ask(p, s, &m)) return;
    c->asked += c->sz - c->asked < PART_SZ ? c->sz - c->asked : PART_SZ;
  }
}

static bool is_under_way(const qr_peer_snap_t *n, uint32_t idx) {
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++) {
    if (n->slots[i].peer && n->slots[i].idx == idx) return true;
  }
  return false;
}

/* A chunk that nobody brings, or, when there is none left, one that another is slow with; leaf_cnt:
   none. */
static uint32_t next_chunk(const qr_peers_t *p, const qr_peer_slot_t *s) {
  const qr_peer_snap_t *n = &p->snap;
  for (uint32_t i = n->cursor; i < n->leaf_cnt; i++) {
    if (!n->have[i] && !is_under_way(n, i)) return i;
  }
  const qr_peer_snap_slot_t *slow = NULL;
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++) {
    const qr_peer_snap_slot_t *c = &n->slots[i];
    if (!c->peer || c->peer == s->id || c->twice || p->now_ns - c->began_ns < SLOW_NS) continue;
    if (!slow || c->began_ns < slow->began_ns) slow = c;
  }
  return slow ? slow->idx : n->leaf_cnt;
}

static void begin_chunk(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_snap_slot_t *c, uint32_t idx) {
  qr_peer_snap_t *n = &p->snap;
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++)
    n->slots[i].twice |= n->slots[i].peer && n->slots[i].idx == idx;
  *c = (qr_peer_snap_slot_t){
      .peer = s->id, .idx = idx, .sz = chunk_sz(n, idx), .began_ns = p->now_ns};
}

/* Gives a peer what it can take: more parts of its chunks, or a chunk more. */
static void employ(qr_peers_t *p, qr_peer_slot_t *s) {
  qr_peer_snap_t *n = &p->snap;
  qr_peer_snap_slot_t *spare = NULL;
  uint32_t own_cnt = 0;
  bool open = false;
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++) {
    qr_peer_snap_slot_t *c = &n->slots[i];
    if (!c->peer) spare = c;
    if (c->peer != s->id) continue;
    own_cnt++;
    ask_parts(p, s, c);
    open |= c->asked < c->sz;
  }
  if (!spare || open || own_cnt >= PER_PEER_CNT) return;
  uint32_t idx = next_chunk(p, s);
  if (idx == n->leaf_cnt) return;
  begin_chunk(p, s, spare, idx);
  ask_parts(p, s, spare);
}

/* A chunk is all here. Who else is bringing it need not. */
static void complete(qr_peers_t *p, qr_peer_slot_t *s, qr_peer_snap_slot_t *c) {
  qr_peer_snap_t *n = &p->snap;
  uint32_t idx = c->idx;
  qr_hash_t leaf = qr_merkle_leaf(idx, buf_of(n, c), c->sz);
  if (!qr_hash_eq(&leaf, &n->leaves[idx])) {
    wrong(p, s, QR_PEER_STRIKE_LIMIT, "sent a chunk of a snapshot that does not have its hash");
    return;
  }
  s->snap.vouches = true;
  int err = p->cfg.begin->chunk(p->cfg.ctx, idx, buf_of(n, c), c->sz);
  if (err == QR_ERR_CORRUPT) {
    qr_peers_snapshot_wrong(p);
    return;
  }
  n->failed = err;
  n->have[idx] = 1;
  n->done_cnt++;
  s->snap.fail_cnt = 0;
  while (n->cursor < n->leaf_cnt && n->have[n->cursor]) n->cursor++;
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT; i++) {
    if (n->slots[i].peer && n->slots[i].idx == idx) n->slots[i].peer = 0;
  }
}

void qr_peer_snap_part(qr_peers_t *p, qr_peer_slot_t *s, const qr_msg_chunk_t *m) {
  qr_peer_snap_t *n = &p->snap;
  if (!pay(p, s) || n->failed) return;
  s->snap.came_ns = p->now_ns;
  qr_peer_snap_slot_t *c = NULL;
  for (uint32_t i = 0; i < QR_PEER_SNAP_SLOT_CNT && !c; i++) {
    if (n->slots[i].peer == s->id && n->slots[i].idx == m->idx) c = &n->slots[i];
  }
  if (!c) return; /* another brought it first */
  uint32_t left = c->sz - c->got, want = left < PART_SZ ? left : PART_SZ;
  if (!qr_hash_eq(&m->root, &n->root) || m->offset != c->got || m->sz != want) {
    wrong(p, s, COST_WRONG, "sent a part of a snapshot in a wrong place");
    return;
  }
  memcpy(buf_of(n, c) + c->got, m->bytes, m->sz);
  c->got += m->sz;
  n->rx_sz += m->sz;
  if (c->got == c->sz) complete(p, s, c);
}

/* What came of it is forgotten, who stood by it is banned, also if he has gone since. */
void qr_peers_snapshot_wrong(qr_peers_t *p) {
  qr_peer_snap_t *n = &p->snap;
  n->refused[n->refused_cnt++ % QR_PEER_SNAP_REFUSED_CNT] = n->root;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP) continue;
    release(n, s);
    if (s->snap.vouches) qr_peer_strike(p, s, QR_PEER_STRIKE_LIMIT, "stood by a false snapshot");
    s->snap.vouches = false;
    s->snap.after_ns = 0; /* who lacked that one may have another */
  }
  for (uint32_t i = 0; i < QR_PEER_PAST_CNT; i++) {
    if (p->past[i].vouches) qr_peer_ban(p, &p->past[i].pk, &p->past[i].addr);
    p->past[i].vouches = false;
  }
  memset(n->have, 0, n->leaf_cnt);
  memset(n->slots, 0, sizeof n->slots);
  n->leaf_cnt = n->leaf_got = n->done_cnt = n->first_cnt = n->cursor = 0;
  n->rx_sz = 0;
  n->begun = n->failed = false;
}

/* ---- poll ---- */

static uint32_t count(const qr_peers_t *p, bool bring) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    if (s->state != QR_PEER_UP || s->doom || !s->snap.offers) continue;
    cnt += !bring || (s->snap.came_ns && p->now_ns - s->snap.came_ns < TELL_NS);
  }
  return cnt;
}

void qr_peers_snapshot_progress(const qr_peers_t *p, qr_peers_snapshot_progress_t *out) {
  const qr_peer_snap_t *n = &p->snap;
  uint64_t past_ms = (p->now_ns - n->began_ns) / QR_PEER_MSEC;
  uint64_t left = (uint64_t)(n->leaf_cnt - n->done_cnt) * QR_SNAPSHOT_CHUNK_SZ;
  *out = (qr_peers_snapshot_progress_t){.begun = n->begun,
                                        .failed = n->failed,
                                        .done = n->begun && n->done_cnt == n->leaf_cnt,
                                        .chunk_cnt = n->begun ? n->leaf_cnt : 0,
                                        .done_cnt = n->done_cnt,
                                        .kept_cnt = n->first_cnt,
                                        .offer_cnt = count(p, false),
                                        .peer_cnt = count(p, true)};
  if (!n->begun || !past_ms) return;
  out->bytes_per_s = n->rx_sz * 1000 / past_ms;
  if (out->bytes_per_s) out->left_s = left / out->bytes_per_s;
}

static void tell(qr_peers_t *p) {
  qr_peers_snapshot_progress_t g;
  if (p->now_ns - p->snap.told_ns < TELL_NS) return;
  p->snap.told_ns = p->now_ns;
  qr_peers_snapshot_progress(p, &g);
  char hex[17];
  uint32_t lack_cnt = 0;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    const qr_peer_slot_t *s = &p->slots[i];
    lack_cnt += s->state == QR_PEER_UP && s->snap.offers && s->snap.lacks;
  }
  if (!g.begun)
    qr_log(QR_LOG_INFO, QR_PEER_TILE,
           "event=snapshot-waits pin=%s peers_with_snapshots=%u not_for_the_pin=%u",
           qr_hex(hex, p->cfg.begin->pin.b, 8), g.offer_cnt, lack_cnt);
  else
    qr_log(QR_LOG_INFO, QR_PEER_TILE,
           "event=snapshot-comes mib=%u of_mib=%u kib_per_s=%llu left_s=%llu peers=%u", g.done_cnt,
           g.chunk_cnt, (unsigned long long)(g.bytes_per_s >> 10), (unsigned long long)g.left_s,
           g.peer_cnt);
}

void qr_peer_snap_poll(qr_peers_t *p) {
  qr_peer_snap_t *n = &p->snap;
  if (n->failed || (n->begun && n->done_cnt == n->leaf_cnt)) return;
  for (uint32_t i = 0; i < p->cfg.peer_max_cnt; i++) {
    qr_peer_slot_t *s = &p->slots[i];
    bool up = s->state == QR_PEER_UP && !s->doom;
    if (up && s->snap.owed_cnt && p->now_ns >= s->snap.quiet_ns) silent(p, s);
    if (!may_ask(p, s)) continue;
    if (n->begun)
      employ(p, s);
    else if (!n->teller) {
      n->leaf_got = 0;
      ask_leaves(p, s);
    }
  }
  tell(p);
}
