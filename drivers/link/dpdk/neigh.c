#include "drivers/link/dpdk/neigh.h"

#include "base/splitmix.h"

void qr_neigh_init(qr_neigh_t *t, uint64_t secret) {
  memset(t, 0, sizeof *t);
  for (size_t i = 0; i < QR_ARRAY_CNT(t->secret); i++) t->secret[i] = qr_splitmix_next(&secret);
}

/* Multiply, add and shift: two addresses share a place no more often than by chance, whoever
   chooses them without the secret (Dietzfelbinger 1996). */
static uint32_t place(const qr_neigh_t *t, const uint8_t ip[16], uint32_t probe) {
  uint64_t h = t->secret[4];
  for (int i = 0; i < 4; i++) h += t->secret[i] * qr_ld32(ip + 4 * i);
  return ((uint32_t)(h >> 40) + probe) & (QR_NEIGH_CNT - 1);
}

static qr_neigh_entry_t *find(const qr_neigh_t *t, const uint8_t ip[16]) {
  for (uint32_t i = 0; i < QR_NEIGH_PROBE_CNT; i++) {
    const qr_neigh_entry_t *e = &t->entry[place(t, ip, i)];
    if (e->used && !memcmp(e->ip, ip, sizeof e->ip)) return (qr_neigh_entry_t *)e;
  }
  return NULL;
}

static bool same_mac(const qr_mac_t *a, const qr_mac_t *b) { return !memcmp(a, b, sizeof *a); }

static bool is_known(const qr_neigh_entry_t *e, uint64_t now_ns) {
  return e->proof && now_ns - e->learnt_at < QR_NEIGH_FORGET_NS;
}

static bool is_live(const qr_neigh_entry_t *e, uint64_t now_ns) {
  uint64_t live_ns = e->proof == QR_NEIGH_HEARD ? QR_NEIGH_LIVE_NS : e->live_ns;
  return e->proof > QR_NEIGH_TOLD && now_ns - e->learnt_at < live_ns;
}

static bool is_asked(const qr_neigh_entry_t *e, uint64_t now_ns) {
  return e->asked_at && now_ns - e->asked_at < QR_NEIGH_ANSWER_NS;
}

/* How hard an entry is to push out. */
enum rank {
  RANK_FREE,
  RANK_TOLD,  /* all that is known of it is a question, or nothing any more */
  RANK_ASKED, /* we asked for it a moment ago */
  RANK_KNOWN
};

static enum rank rank_of(const qr_neigh_entry_t *e, uint64_t now_ns) {
  if (!e->used) return RANK_FREE;
  if (e->proof > QR_NEIGH_TOLD && is_known(e, now_ns)) return RANK_KNOWN;
  return is_asked(e, now_ns) ? RANK_ASKED : RANK_TOLD;
}

/* The place of the least rank, of several the longest unused one. NULL if that is above max. */
static qr_neigh_entry_t *make(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns, enum rank max) {
  qr_neigh_entry_t *best = NULL;
  enum rank least = RANK_FREE;
  for (uint32_t i = 0; i < QR_NEIGH_PROBE_CNT; i++) {
    qr_neigh_entry_t *e = &t->entry[place(t, ip, i)];
    enum rank r = rank_of(e, now_ns);
    if (best && (r > least || (r == least && e->used_at >= best->used_at))) continue;
    best = e;
    least = r;
  }
  if (least > max) return NULL;
  *best = (qr_neigh_entry_t){.used = true, .used_at = now_ns};
  memcpy(best->ip, ip, sizeof best->ip);
  return best;
}

static void take(qr_neigh_entry_t *e, const qr_mac_t *mac, enum qr_neigh_proof proof,
                 uint64_t now_ns) {
  e->mac = *mac;
  e->proof = proof;
  e->live_ns = QR_NEIGH_FIRST_NS;
  e->learnt_at = now_ns;
  e->waiting = false;
  e->other_cnt = 0;
}

/* The time of what is known is over: perhaps the other that answers is the right one. */
static void weigh_other(qr_neigh_entry_t *e, uint64_t now_ns) {
  bool silent = e->waiting && now_ns - e->wait_at >= QR_NEIGH_HOLD_NS;
  bool insists = e->proof == QR_NEIGH_ANSWERED && e->other_cnt > 1;
  if (!e->other_cnt || (!silent && !insists)) return;
  qr_mac_t other = e->other;
  take(e, &other, QR_NEIGH_ANSWERED, now_ns);
}

bool qr_neigh_find(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns, qr_mac_t *mac, bool *ask) {
  qr_neigh_entry_t *e = find(t, ip);
  if (!e) e = make(t, ip, now_ns, RANK_KNOWN);
  e->used_at = now_ns;
  bool known = is_known(e, now_ns);
  if (known && !is_live(e, now_ns)) weigh_other(e, now_ns);
  *ask = !(known && is_live(e, now_ns)) && (!e->waiting || now_ns - e->asked_at >= e->ask_gap_ns);
  if (*ask) {
    if (!e->waiting) {
      e->wait_at = now_ns;
      if (!e->other_now) e->other_cnt = 0;
      e->other_now = false;
    }
    e->ask_gap_ns = e->waiting ? 2 * e->ask_gap_ns : QR_NEIGH_ASK_MIN_NS;
    if (e->ask_gap_ns > QR_NEIGH_ASK_MAX_NS) e->ask_gap_ns = QR_NEIGH_ASK_MAX_NS;
    e->waiting = true;
    e->asked_at = now_ns;
  }
  if (known) *mac = e->mac;
  return known;
}

static void learn_answer(qr_neigh_entry_t *e, const qr_frame_t *f, uint64_t now_ns) {
  if (!is_known(e, now_ns) || e->proof == QR_NEIGH_TOLD) {
    take(e, &f->mac, QR_NEIGH_ANSWERED, now_ns);
  } else if (same_mac(&e->mac, &f->mac)) {
    if (!e->waiting) return;
    e->waiting = false;
    e->learnt_at = now_ns;
    e->live_ns = 2 * e->live_ns < QR_NEIGH_LIVE_NS ? 2 * e->live_ns : QR_NEIGH_LIVE_NS;
    if (e->other_now) e->live_ns = QR_NEIGH_FIRST_NS;
  } else {
    if (!e->other_cnt || !same_mac(&e->other, &f->mac)) e->other_cnt = 0;
    if (!e->other_cnt || !e->other_now) e->other_cnt++;
    e->other = f->mac;
    e->other_now = true;
    e->live_ns = QR_NEIGH_FIRST_NS;
  }
}

/* It may have another card now, or somebody lies: its own answer to a question of ours tells. */
static void ask_earlier(qr_neigh_entry_t *e, uint64_t now_ns) {
  uint64_t age_ns = now_ns - e->learnt_at;
  if (now_ns >= QR_NEIGH_LIVE_NS && age_ns >= QR_NEIGH_HINT_NS && age_ns < QR_NEIGH_LIVE_NS)
    e->learnt_at = now_ns - QR_NEIGH_LIVE_NS;
}

/* Whoever asks can say to be anybody. So it is believed where nobody is known, and asked for when
   it is used; a question of ours that stands goes on standing. */
static void learn_question(qr_neigh_t *t, const qr_frame_t *f, uint64_t now_ns) {
  qr_neigh_entry_t *e = find(t, f->from.ip);
  if (!e) e = make(t, f->from.ip, now_ns, RANK_TOLD);
  if (!e) return;
  bool other = !same_mac(&e->mac, &f->mac);
  if (is_known(e, now_ns) && (e->proof > QR_NEIGH_TOLD || other)) {
    if (other) ask_earlier(e, now_ns);
    return;
  }
  e->mac = f->mac;
  e->proof = QR_NEIGH_TOLD;
  e->learnt_at = now_ns;
}

void qr_neigh_learn(qr_neigh_t *t, const qr_frame_t *f, uint64_t now_ns) {
  if (f->op == QR_FRAME_ASK) {
    learn_question(t, f, now_ns);
    return;
  }
  qr_neigh_entry_t *e = find(t, f->from.ip);
  if (e && is_asked(e, now_ns)) learn_answer(e, f, now_ns);
}

void qr_neigh_doubt(qr_neigh_t *t) {
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++) {
    qr_neigh_entry_t *e = &t->entry[i];
    e->waiting = false;
    if (e->proof) e->proof = QR_NEIGH_TOLD;
  }
}

void qr_neigh_heard(qr_neigh_t *t, const uint8_t ip[16], const qr_mac_t *mac, uint64_t now_ns) {
  qr_neigh_entry_t *e = find(t, ip);
  if (e) take(e, mac, QR_NEIGH_HEARD, now_ns);
}

uint32_t qr_neigh_known_cnt(const qr_neigh_t *t, uint64_t now_ns) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++)
    cnt += t->entry[i].used && is_known(&t->entry[i], now_ns);
  return cnt;
}
