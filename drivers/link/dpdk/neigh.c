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

/* A free place, or the longest unused one. */
static qr_neigh_entry_t *make(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns) {
  qr_neigh_entry_t *best = NULL;
  for (uint32_t i = 0; i < QR_NEIGH_PROBE_CNT; i++) {
    qr_neigh_entry_t *e = &t->entry[place(t, ip, i)];
    if (!e->used) {
      best = e;
      break;
    }
    if (!best || e->used_at < best->used_at) best = e;
  }
  *best = (qr_neigh_entry_t){.used = true, .used_at = now_ns};
  memcpy(best->ip, ip, sizeof best->ip);
  return best;
}

bool qr_neigh_find(qr_neigh_t *t, const uint8_t ip[16], uint64_t now_ns, qr_mac_t *mac, bool *ask) {
  qr_neigh_entry_t *e = find(t, ip);
  if (!e) e = make(t, ip, now_ns);
  e->used_at = now_ns;
  bool known = is_known(e, now_ns);
  bool live = known && now_ns - e->learnt_at < QR_NEIGH_LIVE_NS;
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

void qr_neigh_learn(qr_neigh_t *t, const qr_frame_t *f, uint64_t now_ns) {
  qr_neigh_entry_t *e = find(t, f->from.ip);
  bool asked = e && e->waiting && now_ns - e->asked_at < QR_NEIGH_ANSWER_NS;
  if (f->op == QR_FRAME_ANSWER && !asked) return;
  if (!e) e = make(t, f->from.ip, now_ns);
  bool known = is_known(e, now_ns);
  if (f->op == QR_FRAME_ASK && known && memcmp(e->mac.b, f->mac.b, sizeof e->mac.b)) {
    /* It may have another card now, or somebody lies: its own answer to a question tells. */
    if (now_ns >= QR_NEIGH_LIVE_NS && now_ns - e->learnt_at >= QR_NEIGH_HINT_NS &&
        now_ns - e->learnt_at < QR_NEIGH_LIVE_NS)
      e->learnt_at = now_ns - QR_NEIGH_LIVE_NS;
    return;
  }
  e->mac = f->mac;
  e->known = true;
  e->learnt_at = now_ns;
  e->waiting = false; /* another answer needs a question of its own */
}

void qr_neigh_doubt(qr_neigh_t *t, uint64_t now_ns) {
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++) {
    qr_neigh_entry_t *e = &t->entry[i];
    e->waiting = false;
    if (now_ns < QR_NEIGH_LIVE_NS) /* a clock that has just begun: nobody is known for so long */
      e->known = false;
    else if (now_ns - e->learnt_at < QR_NEIGH_LIVE_NS)
      e->learnt_at = now_ns - QR_NEIGH_LIVE_NS;
  }
}

uint32_t qr_neigh_known_cnt(const qr_neigh_t *t, uint64_t now_ns) {
  uint32_t cnt = 0;
  for (uint32_t i = 0; i < QR_NEIGH_CNT; i++)
    cnt += t->entry[i].used && is_known(&t->entry[i], now_ns);
  return cnt;
}
