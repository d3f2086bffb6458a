#include "drivers/link/dpdk/arp.h"

void qr_arp_init(qr_arp_t *t, uint64_t secret) {
  memset(t, 0, sizeof *t);
  t->secret = secret | 1;
}

static uint32_t place(const qr_arp_t *t, uint32_t ip, uint32_t probe) {
  return ((uint32_t)((ip * t->secret) >> 40) + probe) & (QR_ARP_CNT - 1);
}

static qr_arp_entry_t *find(const qr_arp_t *t, uint32_t ip) {
  for (uint32_t i = 0; i < QR_ARP_PROBE_CNT; i++) {
    const qr_arp_entry_t *e = &t->entry[place(t, ip, i)];
    if (e->ip == ip) return (qr_arp_entry_t *)e;
  }
  return NULL;
}

static bool is_known(const qr_arp_entry_t *e, uint64_t now_ns) {
  return e->known && now_ns - e->learnt_at < QR_ARP_FORGET_NS;
}

/* A free place, or the longest unused one. */
static qr_arp_entry_t *make(qr_arp_t *t, uint32_t ip, uint64_t now_ns) {
  qr_arp_entry_t *best = NULL;
  for (uint32_t i = 0; i < QR_ARP_PROBE_CNT; i++) {
    qr_arp_entry_t *e = &t->entry[place(t, ip, i)];
    if (!e->ip) {
      best = e;
      break;
    }
    if (!best || e->used_at < best->used_at) best = e;
  }
  *best = (qr_arp_entry_t){.ip = ip, .used_at = now_ns};
  return best;
}

bool qr_arp_find(qr_arp_t *t, uint32_t ip, uint64_t now_ns, qr_mac_t *mac, bool *ask) {
  qr_arp_entry_t *e = find(t, ip);
  if (!e) e = make(t, ip, now_ns);
  e->used_at = now_ns;
  bool known = is_known(e, now_ns);
  bool live = known && now_ns - e->learnt_at < QR_ARP_LIVE_NS;
  *ask = !live && (!e->waiting || now_ns - e->asked_at >= e->ask_gap_ns);
  if (*ask) {
    e->ask_gap_ns = e->waiting ? 2 * e->ask_gap_ns : QR_ARP_ASK_MIN_NS;
    if (e->ask_gap_ns > QR_ARP_ASK_MAX_NS) e->ask_gap_ns = QR_ARP_ASK_MAX_NS;
    e->waiting = true;
    e->asked_at = now_ns;
  }
  if (known) *mac = e->mac;
  return known;
}

void qr_arp_learn(qr_arp_t *t, const qr_frame_t *f, uint64_t now_ns) {
  qr_arp_entry_t *e = find(t, f->ip);
  bool asked = e && e->waiting && now_ns - e->asked_at < QR_ARP_ANSWER_NS;
  if (f->op == QR_FRAME_ARP_REPLY && !asked) return;
  if (!e) e = make(t, f->ip, now_ns);
  bool known = is_known(e, now_ns);
  if (f->op == QR_FRAME_ARP_REQUEST && known && memcmp(e->mac.b, f->mac.b, sizeof e->mac.b)) return;
  e->mac = f->mac;
  e->known = true;
  e->learnt_at = now_ns;
  e->waiting = false; /* another answer needs a question of its own */
}
