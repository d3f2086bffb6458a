#include "mine/qcache.h"

#include <stdlib.h>

#include "base/assert.h"

/* Slots beyond the window, so that a growing chain replaces the oldest segment and not one in use.
 */
#define SPARE_SLOT_CNT 4u

typedef struct {
  qr_hash_t root;
  uint32_t task;
  uint64_t used_seq;
  uint64_t *keys;     /* per slot: segment key, 0 if empty */
  uint64_t *slot_seq; /* per slot: last use */
  int32_t *targets;
  uint8_t *known;
} entry_t;

struct qr_qcache {
  uint32_t row_cnt, slot_cnt, entry_cnt;
  uint64_t seq;
  entry_t entries[];
};

qr_qcache_t *qr_qcache_init(const qr_chain_cfg_t *cfg, uint32_t entry_cnt) {
  uint32_t cnt = entry_cnt * cfg->p.task_cnt;
  qr_qcache_t *c = calloc(1, sizeof *c + cnt * sizeof(entry_t));
  if (!c) return NULL;
  uint32_t window = cfg->p.replay_rows / cfg->p.segment_rows;
  if (window < cfg->p.warmup_segments) window = cfg->p.warmup_segments;
  c->row_cnt = cfg->p.segment_rows;
  c->slot_cnt = window + SPARE_SLOT_CNT;
  c->entry_cnt = cnt;
  for (uint32_t i = 0; i < cnt; i++) {
    entry_t *e = &c->entries[i];
    size_t rows = (size_t)c->slot_cnt * c->row_cnt;
    e->task = i % cfg->p.task_cnt;
    e->keys = calloc(c->slot_cnt, sizeof *e->keys);
    e->slot_seq = calloc(c->slot_cnt, sizeof *e->slot_seq);
    e->targets = calloc(rows, sizeof *e->targets);
    e->known = calloc(rows, 1);
    if (!e->keys || !e->slot_seq || !e->targets || !e->known) {
      qr_qcache_fini(c);
      return NULL;
    }
  }
  return c;
}

void qr_qcache_fini(qr_qcache_t *c) {
  if (!c) return;
  for (uint32_t i = 0; i < c->entry_cnt; i++) {
    free(c->entries[i].keys);
    free(c->entries[i].slot_seq);
    free(c->entries[i].targets);
    free(c->entries[i].known);
  }
  free(c);
}

static entry_t *find_entry(qr_qcache_t *c, const qr_view_t *v) {
  entry_t *oldest = NULL;
  for (uint32_t i = 0; i < c->entry_cnt; i++) {
    entry_t *e = &c->entries[i];
    if (e->task != v->task) continue;
    if (e->used_seq && qr_hash_eq(&e->root, &v->target->root)) return e;
    if (!oldest || e->used_seq < oldest->used_seq) oldest = e;
  }
  QR_ASSERT(oldest);
  oldest->root = v->target->root;
  memset(oldest->keys, 0, c->slot_cnt * sizeof *oldest->keys);
  memset(oldest->slot_seq, 0, c->slot_cnt * sizeof *oldest->slot_seq);
  return oldest;
}

static void fill_slot(const qr_qcache_t *c, entry_t *e, uint32_t slot, const qr_segment_t *seg) {
  int32_t *targets = e->targets + (size_t)slot * c->row_cnt;
  uint8_t *known = e->known + (size_t)slot * c->row_cnt;
  QR_ASSERT(seg->row_cnt == c->row_cnt);
  e->keys[slot] = seg->key;
  for (uint32_t r = 0; r < c->row_cnt; r++) {
    targets[r] = seg->rewards[r];
    known[r] = seg->dones[r];
  }
}

static uint32_t find_slot(const qr_qcache_t *c, entry_t *e, const qr_segment_t *seg) {
  uint32_t oldest = 0;
  for (uint32_t s = 0; s < c->slot_cnt; s++) {
    if (e->keys[s] == seg->key) return s;
    if (e->slot_seq[s] < e->slot_seq[oldest]) oldest = s;
  }
  fill_slot(c, e, oldest, seg);
  return oldest;
}

void qr_qcache_bind(qr_qcache_t *c, const qr_view_t *v, qr_qcache_view_t *out) {
  QR_ASSERT(v->segment_cnt <= c->slot_cnt);
  entry_t *e = find_entry(c, v);
  e->used_seq = ++c->seq;
  /* Refresh the slots that stay before any is replaced. */
  for (uint32_t s = 0; s < c->slot_cnt; s++) {
    for (uint32_t i = 0; i < v->segment_cnt; i++) {
      if (e->keys[s] == v->segments[i]->seg->key) e->slot_seq[s] = c->seq;
    }
  }
  for (uint32_t i = 0; i < v->segment_cnt; i++) {
    uint32_t s = find_slot(c, e, v->segments[i]->seg);
    e->slot_seq[s] = c->seq;
    out->targets[i] = e->targets + (size_t)s * c->row_cnt;
    out->known[i] = e->known + (size_t)s * c->row_cnt;
  }
}
