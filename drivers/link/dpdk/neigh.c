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

static bool is_known(const qr_neigh_entry_t *e, uint64_t now_ns) {
  return e->known && now_ns - e->learnt_at < QR_NEIGH_FORGET_NS;
}

static bool is_asked(const qr_neigh_entry_t *e, uint64_t now_ns) {
  return e->waiting && now_ns - e->asked_at < QR_NEIGH_ANSWER_NS;
}

/* How hard an entry is to push out. */
enum rank {
  RANK_FREE,
  RANK_TOLD,  /* all that is known of it is a question, or nothing any more */
  RANK_ASKED, /* we asked for it a moment ago */
  RANK_PROVEN
};

static enum rank rank_of(const qr_neigh_entry_t *e, uint64_t now_ns) {
  if (!e->used) return RANK_FREE;
  if (e->proven && is_known(e, now_ns)) return RANK_PROVEN;
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

bool qr_neigh_find(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns, qr_mac_t *mac, bool *ask) {
  qr_neigh_entry_t *e = find(t, ip);
  if (!e) e = make(t, ip, now_ns, RANK_PROVEN);
  e->used_at = now_ns;
  bool known = is_known(e, now_ns);
  bool live = known && e->proven && now_ns - e->learnt_at < QR_NEIGH_LIVE_NS;
  *ask = !live && (!e->waiting || now_ns - e->asked_at >= e->ask_gap_ns);
  if (*ask) {
    e->ask_gap_ns = e->waiting ? 2 * e->ask_gap_ns : QR_NEIGH_ASK_MIN_NS;
    if (e->ask_gap_ns > QR_NEIGH_ASK_MAX_NS) e->ask_gap_ns = QR_NEIGH_ASK_MAX_NS;
    e->waiting = true;
    e->asked_at = now_ns;
  }
  if (known) *mac = e->mac;
  return known;
}

static void learn_answer(qr_neigh_entry_t *e, const qr_frame_t *f, uint64_t now_ns) {
  e->mac = f->mac;
  e->known = e->proven = true;
  e->learnt_at = now_ns;
  e->waiting = false; /* another answer needs a question of its own */
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
  bool other = memcmp(e->mac.b, f->mac.b, sizeof e->mac.b) != 0;
  if (is_known(e, now_ns) && (e->proven || other)) {
    if (other) ask_earlier(e, now_ns);
    return;
  }
  e->mac = f->mac;
  e->known = true;
  e->proven = false;
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
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++) t->entry[i].waiting = t->entry[i].proven = false;
}

uint32_t qr_neigh_known_cnt(const qr_neigh_t *t, uint64_t now_ns) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++)
    cnt += t->entry[i].used && is_known(&t->entry[i], now_ns);
  return cnt;
}
