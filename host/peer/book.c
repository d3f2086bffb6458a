#include "peer/book_int.h"

#include "base/splitmix.h"
#include "crypto/hash.h"

#define NEWS_S 1800u
#define FRESH_S 60u               /* dialled so lately that nothing is decided yet */
#define LATELY_S 600u             /* dialled so lately that others come first */
#define STALE_S (30u * 24 * 3600) /* nobody saw it for so long */
#define LOST_S (7u * 24 * 3600)   /* not met for so long, and not answering */
#define HOLDER_S (4u * 3600)      /* met so lately that its place is its own */
#define PATIENCE_S (40u * 60)     /* a doubted holder that was not even dialled */
#define NEVER_MET_FAIL_CNT 3u
#define LOST_FAIL_CNT 10u
#define PICK_CNT 64u
#define SAMPLE_MIN_CNT 64u
#define SAMPLE_SHARE 4u
#define ADDR_SZ 18u

/* ---- places ---- */

static void add_addr(qr_hasher_t *h, const qr_link_addr_t *a) {
  uint8_t text[ADDR_SZ];
  memcpy(text, a->ip, sizeof a->ip);
  qr_st16(text + sizeof a->ip, a->port);
  qr_hash_add(h, text, sizeof text);
}

static void keyed(const qr_book_t *b, qr_hasher_t *h, const char *domain) {
  qr_hash_init(h, domain);
  qr_hash_add(h, b->key, sizeof b->key);
}

static uint32_t draw_of(qr_hasher_t *h, uint32_t below) {
  qr_hash_t out;
  qr_hash_end(h, &out);
  return (uint32_t)(qr_ld64(out.b) % below);
}

uint16_t qr_book_place_in(const qr_book_t *b, bool tried, uint32_t bucket,
                          const qr_link_addr_t *addr) {
  qr_hasher_t h;
  keyed(b, &h, "quarry.book.place");
  qr_hash_add_u32(&h, tried);
  qr_hash_add_u32(&h, bucket);
  add_addr(&h, addr);
  return (uint16_t)(bucket * QR_BOOK_BUCKET_SZ + draw_of(&h, QR_BOOK_BUCKET_SZ));
}

uint16_t qr_book_tried_place(const qr_book_t *b, const qr_link_addr_t *addr) {
  qr_hasher_t h;
  qr_netaddr_group_t g = qr_netaddr_group(addr);
  keyed(b, &h, "quarry.book.tried1");
  add_addr(&h, addr);
  uint32_t k = draw_of(&h, QR_BOOK_TRIED_PER_GROUP_CNT);
  keyed(b, &h, "quarry.book.tried2");
  qr_hash_add(&h, g.b, sizeof g.b);
  qr_hash_add_u32(&h, k);
  return qr_book_place_in(b, true, draw_of(&h, QR_BOOK_TRIED_BUCKET_CNT), addr);
}

static uint16_t new_place(const qr_book_t *b, const qr_link_addr_t *addr,
                          const qr_link_addr_t *source) {
  qr_hasher_t h;
  qr_netaddr_group_t g = qr_netaddr_group(addr), from = qr_netaddr_group(source);
  keyed(b, &h, "quarry.book.new1");
  qr_hash_add(&h, g.b, sizeof g.b);
  qr_hash_add(&h, from.b, sizeof from.b);
  uint32_t k = draw_of(&h, QR_BOOK_NEW_PER_SOURCE_CNT);
  keyed(b, &h, "quarry.book.new2");
  qr_hash_add(&h, from.b, sizeof from.b);
  qr_hash_add_u32(&h, k);
  return qr_book_place_in(b, false, draw_of(&h, QR_BOOK_NEW_BUCKET_CNT), addr);
}

/* ---- entries ---- */

static uint16_t idx_of(const qr_book_t *b, const qr_book_entry_t *e) {
  return (uint16_t)(e - b->entries);
}

static uint16_t *head_of(const qr_book_t *b, const qr_link_addr_t *a) {
  uint64_t z = b->salt ^ qr_ld64(a->ip), y = qr_splitmix_next(&z);
  z = y ^ qr_ld64(a->ip + 8) ^ (uint64_t)a->port << 48;
  return (uint16_t *)&b->heads[qr_splitmix_next(&z) & (QR_BOOK_HEAD_CNT - 1)];
}

qr_book_entry_t *qr_book_get(const qr_book_t *b, const qr_link_addr_t *addr) {
  for (uint16_t i = *head_of(b, addr); i != QR_BOOK_NONE; i = b->entries[i].next) {
    if (qr_netaddr_eq(&b->entries[i].addr, addr)) return (qr_book_entry_t *)&b->entries[i];
  }
  return NULL;
}

/* Every entry has a place, but for the one that is being given its first: so there is always a free
 * one. */
qr_book_entry_t *qr_book_new_entry(qr_book_t *b, const qr_link_addr_t *addr) {
  uint16_t i = b->free_head, *head = head_of(b, addr);
  if (i != QR_BOOK_NONE)
    b->free_head = b->entries[i].next;
  else
    i = (uint16_t)b->entry_cnt++;
  QR_ASSERT(i < QR_BOOK_MAX_CNT);
  qr_book_entry_t *e = &b->entries[i];
  *e = (qr_book_entry_t){.addr = *addr, .next = *head};
  *head = i;
  b->new_cnt++;
  return e;
}

static void drop_entry(qr_book_t *b, qr_book_entry_t *e) {
  QR_ASSERT(!e->place_cnt);
  uint16_t *at = head_of(b, &e->addr);
  while (&b->entries[*at] != e) at = &b->entries[*at].next;
  *at = e->next;
  e->next = b->free_head;
  b->free_head = idx_of(b, e);
  if (e->tried)
    b->tried_cnt--;
  else
    b->new_cnt--;
}

void qr_book_take_place(qr_book_t *b, qr_book_entry_t *e, bool tried, uint16_t place) {
  uint16_t *at = tried ? &b->tried[place] : &b->fresh[place];
  QR_ASSERT(*at == QR_BOOK_NONE && e->place_cnt < QR_BOOK_PLACE_MAX_CNT);
  *at = idx_of(b, e);
  e->places[e->place_cnt++] = place;
  if (tried && !e->tried) {
    b->new_cnt--;
    b->tried_cnt++;
  }
  e->tried = tried;
}

/* Takes a place from its holder, which stays only if it has another. */
static void clear_new_place(qr_book_t *b, uint16_t place) {
  if (b->fresh[place] == QR_BOOK_NONE) return;
  qr_book_entry_t *e = &b->entries[b->fresh[place]];
  b->fresh[place] = QR_BOOK_NONE;
  for (uint8_t i = 0; i < e->place_cnt; i++) {
    if (e->places[i] != place) continue;
    e->places[i] = e->places[--e->place_cnt];
    break;
  }
  if (!e->place_cnt) drop_entry(b, e);
}

/* The entry keeps its memory. */
static void leave_places(qr_book_t *b, qr_book_entry_t *e) {
  for (uint8_t i = 0; i < e->place_cnt; i++)
    *(e->tried ? &b->tried[e->places[i]] : &b->fresh[e->places[i]]) = QR_BOOK_NONE;
  e->place_cnt = 0;
}

static bool stale(const qr_book_entry_t *e, uint32_t now) {
  if (e->dialed && now - e->dialed <= FRESH_S) return false;
  if (now - e->heard > STALE_S) return true;
  if (!e->met && e->fail_cnt >= NEVER_MET_FAIL_CNT) return true;
  return now - e->met > LOST_S && e->fail_cnt >= LOST_FAIL_CNT;
}

static void tell(const qr_book_entry_t *e, qr_book_item_t *out) {
  *out = (qr_book_item_t){.addr = e->addr,
                          .pk = e->pk,
                          .heard = e->heard,
                          .met = e->met,
                          .dialed = e->dialed,
                          .fail_cnt = e->fail_cnt,
                          .tried = e->tried};
}

/* ---- the whole ---- */

size_t qr_book_footprint(void) { return sizeof(qr_book_t); }

/* Forgets everything but the key. */
static void clear(qr_book_t *b) {
  b->last_met = b->new_cnt = b->tried_cnt = 0;
  b->added = b->refused = 0;
  memset(b->waits, 0, sizeof b->waits);
  memset(b->heads, 0xff, sizeof b->heads);
  memset(b->fresh, 0xff, sizeof b->fresh);
  memset(b->tried, 0xff, sizeof b->tried);
  b->entry_cnt = 0;
  b->free_head = QR_BOOK_NONE;
}

qr_book_t *qr_book_init(void *mem, const uint8_t key[QR_BOOK_KEY_SZ]) {
  qr_book_t *b = mem;
  memcpy(b->key, key, sizeof b->key);
  qr_hash_t seed = qr_hash("quarry.book.draws", key, QR_BOOK_KEY_SZ);
  b->salt = qr_ld64(seed.b);
  b->rng = qr_ld64(seed.b + 8);
  clear(b);
  return b;
}

bool qr_book_add(qr_book_t *b, const qr_link_addr_t *addr, const qr_pubkey_t *pk, uint32_t heard,
                 const qr_link_addr_t *source, uint32_t now) {
  if (qr_netaddr_scope(addr) == QR_NETADDR_NOWHERE) return false;
  if (heard > now) heard = now;
  qr_book_entry_t *e = qr_book_get(b, addr);
  bool known = e, news = !e || (heard > e->heard && heard - e->heard > NEWS_S);
  if (!known) {
    e = qr_book_new_entry(b, addr);
    e->heard = heard;
  }
  if (heard > e->heard) e->heard = heard;
  if (!e->tried && !e->met && pk) e->pk = *pk;
  /* one more place is ever less likely: who tells often shall not thereby be everywhere */
  bool more = !e->tried && e->place_cnt < QR_BOOK_PLACE_MAX_CNT &&
              !(qr_splitmix_next(&b->rng) & ((1u << e->place_cnt) - 1));
  if (!more) return news;
  uint16_t place = new_place(b, addr, source);
  uint16_t held = b->fresh[place];
  if (held == idx_of(b, e)) return news;
  if (held != QR_BOOK_NONE) {
    const qr_book_entry_t *o = &b->entries[held];
    if (stale(o, now) || (o->place_cnt > 1 && !e->place_cnt)) clear_new_place(b, place);
  }
  if (b->fresh[place] == QR_BOOK_NONE) {
    qr_book_take_place(b, e, false, place);
    b->added += !known;
    return news;
  }
  if (!e->place_cnt) {
    b->refused++;
    drop_entry(b, e);
    return false;
  }
  return news;
}

/* Moves an entry to its place in tried; who held that goes back to new, as if it had told of
 * itself.
 */
static void promote(qr_book_t *b, qr_book_entry_t *e) {
  uint16_t place = qr_book_tried_place(b, &e->addr), held = b->tried[place];
  leave_places(b, e);
  if (held != QR_BOOK_NONE) {
    qr_book_entry_t *o = &b->entries[held];
    leave_places(b, o);
    o->tried = false;
    b->tried_cnt--;
    b->new_cnt++;
    uint16_t back = new_place(b, &o->addr, &o->addr);
    clear_new_place(b, back);
    qr_book_take_place(b, o, false, back);
  }
  qr_book_take_place(b, e, true, place);
}

/* Decides who of those that wait for a place in tried gets it. */
static void settle(qr_book_t *b, uint32_t now) {
  for (uint32_t i = 0; i < QR_BOOK_WAIT_CNT; i++) {
    qr_book_wait_t *w = &b->waits[i];
    if (!w->since) continue;
    qr_book_entry_t *e = qr_book_get(b, &w->addr);
    uint16_t held = e && !e->tried ? b->tried[qr_book_tried_place(b, &w->addr)] : QR_BOOK_NONE;
    if (!e || e->tried) {
      w->since = 0;
      continue;
    }
    if (held != QR_BOOK_NONE) {
      const qr_book_entry_t *o = &b->entries[held];
      bool silent = o->dialed > o->met && now - o->dialed > FRESH_S;
      if (now - o->met < HOLDER_S && !silent)
        w->since = 0;
      else if (!silent && now - w->since < PATIENCE_S)
        continue;
      if (!w->since) continue;
    }
    w->since = 0;
    promote(b, e);
  }
}

static void wait_for_place(qr_book_t *b, const qr_link_addr_t *addr, uint32_t now) {
  qr_book_wait_t *slot = NULL;
  for (uint32_t i = 0; i < QR_BOOK_WAIT_CNT; i++) {
    if (b->waits[i].since && qr_netaddr_eq(&b->waits[i].addr, addr)) return;
    if (!b->waits[i].since && !slot) slot = &b->waits[i];
  }
  if (slot) *slot = (qr_book_wait_t){*addr, now ? now : 1};
}

void qr_book_met(qr_book_t *b, const qr_link_addr_t *addr, const qr_pubkey_t *pk, uint32_t now) {
  if (qr_netaddr_scope(addr) == QR_NETADDR_NOWHERE) return;
  qr_book_entry_t *e = qr_book_get(b, addr);
  if (!e) {
    qr_book_add(b, addr, pk, now, addr, now);
    e = qr_book_get(b, addr);
    if (!e) return; /* no place in new: it is none the worse for that, and will be told of again */
  }
  e->pk = *pk;
  e->heard = e->met = now;
  if (e->dialed > now || !e->dialed) e->dialed = now;
  e->fail_cnt = 0;
  b->last_met = now;
  if (!e->tried) {
    uint16_t held = b->tried[qr_book_tried_place(b, addr)];
    if (held == QR_BOOK_NONE || stale(&b->entries[held], now))
      promote(b, e);
    else
      wait_for_place(b, addr, now);
  }
  settle(b, now);
}

void qr_book_dialed(qr_book_t *b, const qr_link_addr_t *addr, uint32_t now) {
  settle(b, now);
  qr_book_entry_t *e = qr_book_get(b, addr);
  if (!e) return;
  e->dialed = now;
  if (e->failed && e->failed >= b->last_met) return;
  e->failed = now ? now : 1;
  if (e->fail_cnt < UINT8_MAX) e->fail_cnt++;
}

void qr_book_forget(qr_book_t *b, const qr_link_addr_t *addr) {
  qr_book_entry_t *e = qr_book_get(b, addr);
  if (!e) return;
  leave_places(b, e);
  drop_entry(b, e);
}

/* ---- drawing ---- */

static uint32_t draw(qr_book_t *b, uint32_t below) {
  return (uint32_t)((qr_splitmix_next(&b->rng) >> 32) * below >> 32);
}

/* Any place of any bucket, or the next one that is held. By buckets, because the fuller ones are
   those of who told most. */
static qr_book_entry_t *any(qr_book_t *b, bool tried) {
  const uint16_t *table = tried ? b->tried : b->fresh;
  uint32_t bucket_cnt = tried ? QR_BOOK_TRIED_BUCKET_CNT : QR_BOOK_NEW_BUCKET_CNT;
  uint32_t at = draw(b, bucket_cnt), pos = draw(b, QR_BOOK_BUCKET_SZ);
  for (uint32_t i = 0; i < bucket_cnt; i++) {
    const uint16_t *bucket = table + (size_t)(at + i) % bucket_cnt * QR_BOOK_BUCKET_SZ;
    for (uint32_t k = 0; k < QR_BOOK_BUCKET_SZ; k++) {
      uint16_t idx = bucket[(pos + k) % QR_BOOK_BUCKET_SZ];
      if (idx != QR_BOOK_NONE) return &b->entries[idx];
    }
  }
  return NULL;
}

/* How likely an entry is taken that came up, of 65536. */
static uint32_t chance(const qr_book_entry_t *e, uint32_t now) {
  uint32_t c = e->dialed && now - e->dialed < LATELY_S ? 655 : 65536;
  for (uint32_t i = 0; i < e->fail_cnt && i < 8; i++) c = c * 2 / 3;
  return c;
}

bool qr_book_pick(qr_book_t *b, bool only_new, uint32_t now, qr_book_item_t *out) {
  if (!b->new_cnt && (only_new || !b->tried_cnt)) return false;
  bool tried = !only_new && b->tried_cnt && (!b->new_cnt || draw(b, 2));
  uint64_t factor = 256; /* grows, so that a book of few gives one of them in the end */
  for (uint32_t i = 0; i < PICK_CNT; i++, factor += factor / 4) {
    qr_book_entry_t *e = any(b, tried);
    if (!e) return false;
    if (draw(b, 65536) >= chance(e, now) * factor / 256) continue;
    tell(e, out);
    return true;
  }
  return false;
}

bool qr_book_pick_doubted(qr_book_t *b, uint32_t now, qr_book_item_t *out) {
  settle(b, now);
  uint32_t from = draw(b, QR_BOOK_WAIT_CNT);
  for (uint32_t i = 0; i < QR_BOOK_WAIT_CNT; i++) {
    const qr_book_wait_t *w = &b->waits[(from + i) % QR_BOOK_WAIT_CNT];
    if (!w->since) continue;
    uint16_t held = b->tried[qr_book_tried_place(b, &w->addr)];
    if (held == QR_BOOK_NONE || now - b->entries[held].dialed <= FRESH_S) continue;
    tell(&b->entries[held], out);
    return true;
  }
  return false;
}

bool qr_book_find(const qr_book_t *b, const qr_link_addr_t *addr, qr_book_item_t *out) {
  const qr_book_entry_t *e = qr_book_get(b, addr);
  if (e) tell(e, out);
  return e;
}

uint32_t qr_book_sample(qr_book_t *b, const qr_link_addr_t *to, uint32_t now, qr_book_item_t *out,
                        uint32_t max) {
  uint32_t cnt = 0, most = (b->new_cnt + b->tried_cnt) / SAMPLE_SHARE;
  if (most < SAMPLE_MIN_CNT) most = SAMPLE_MIN_CNT;
  if (most > max) most = max;
  for (uint32_t i = 0; i < b->entry_cnt; i++) {
    const qr_book_entry_t *e = &b->entries[i];
    if (e->place_cnt && !stale(e, now) && qr_netaddr_credible(&e->addr, to))
      b->scratch[cnt++] = (uint16_t)i;
  }
  uint32_t n = 0;
  for (; n < most && n < cnt; n++) {
    uint32_t k = n + draw(b, cnt - n);
    tell(&b->entries[b->scratch[k]], &out[n]);
    b->scratch[k] = b->scratch[n];
  }
  return n;
}

void qr_book_counts(const qr_book_t *b, qr_book_counts_t *out) {
  *out = (qr_book_counts_t){
      .new_cnt = b->new_cnt, .tried_cnt = b->tried_cnt, .added = b->added, .refused = b->refused};
  for (uint32_t i = 0; i < QR_BOOK_WAIT_CNT; i++) out->waiting_cnt += b->waits[i].since != 0;
}
