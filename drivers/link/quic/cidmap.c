#include "drivers/link/quic/cidmap.h"

#include <stdlib.h>

#include "base/err.h"

int qr_cidmap_init(qr_cidmap_t *m, uint32_t cnt_max, const uint64_t key[4]) {
  uint32_t cnt = 16;
  while (cnt < 2 * cnt_max) cnt *= 2;
  *m = (qr_cidmap_t){.entry = calloc(cnt, sizeof *m->entry), .mask = cnt - 1, .cnt_max = cnt_max};
  memcpy(m->key, key, sizeof m->key);
  return m->entry ? QR_OK : QR_ERR_NOMEM;
}

void qr_cidmap_fini(qr_cidmap_t *m) {
  free(m->entry);
  m->entry = NULL;
}

static uint32_t place(const qr_cidmap_t *m, const uint8_t *id, size_t sz) {
  uint64_t w[3] = {0};
  memcpy(w, id, sz);
  uint64_t h = m->key[3] ^ sz;
  for (int i = 0; i < 3; i++) {
    h = (h ^ w[i] ^ m->key[i]) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  }
  return (uint32_t)h & m->mask;
}

static bool is_entry(const qr_cid_entry_t *e, const uint8_t *id, size_t sz) {
  return e->sz == sz && !memcmp(e->id, id, sz);
}

/* The entry of id, or the free one where it would stand. */
static uint32_t find(const qr_cidmap_t *m, const uint8_t *id, size_t sz) {
  uint32_t i = place(m, id, sz);
  while (m->entry[i].value && !is_entry(&m->entry[i], id, sz)) i = (i + 1) & m->mask;
  return i;
}

bool qr_cidmap_put(qr_cidmap_t *m, const uint8_t *id, size_t sz, uint32_t value) {
  if (sz > QR_CID_MAX_SZ) return false;
  qr_cid_entry_t *e = &m->entry[find(m, id, sz)];
  if (!e->value) {
    if (m->cnt == m->cnt_max) return false;
    m->cnt++;
    memcpy(e->id, id, sz);
    e->sz = (uint8_t)sz;
  }
  e->value = value;
  return true;
}

uint32_t qr_cidmap_get(const qr_cidmap_t *m, const uint8_t *id, size_t sz) {
  return sz > QR_CID_MAX_SZ ? 0 : m->entry[find(m, id, sz)].value;
}

void qr_cidmap_del(qr_cidmap_t *m, const uint8_t *id, size_t sz, uint32_t value) {
  if (sz > QR_CID_MAX_SZ) return;
  uint32_t i = find(m, id, sz);
  if (!m->entry[i].value || m->entry[i].value != value) return;
  m->cnt--;
  m->entry[i].value = 0;
  /* Entries behind the gap move up if the gap lies between their place and them. */
  for (uint32_t j = (i + 1) & m->mask; m->entry[j].value; j = (j + 1) & m->mask) {
    uint32_t home = place(m, m->entry[j].id, m->entry[j].sz);
    if (((j - home) & m->mask) < ((j - i) & m->mask)) continue;
    m->entry[i] = m->entry[j];
    m->entry[j].value = 0;
    i = j;
  }
}
