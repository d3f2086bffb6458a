#include "chain/past.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"

#define TABLE_MIN_CNT 64u
#define SUMS_MIN_CNT 16u

struct qr_past {
  uint64_t *table; /* 32 bits of the hash | 32 bits of height, 0: empty; linear probing */
  uint64_t table_cnt, height;
  qr_past_sum_t *sums; /* at 0, QR_PAST_SUM_STEP, ... */
  uint64_t sum_cnt, sum_cap;
};

static uint64_t entry_of(uint32_t mark, uint64_t height) { return (uint64_t)mark << 32 | height; }
static uint64_t height_in(uint64_t entry) { return entry & UINT32_MAX; }
static uint32_t mark_in(uint64_t entry) { return (uint32_t)(entry >> 32); }
static uint32_t mark_of(const qr_hash_t *hash) { return qr_ld32(hash->b); }

static void enter(uint64_t *table, uint64_t cnt, uint64_t entry) {
  uint64_t i = mark_in(entry) & (cnt - 1);
  while (table[i]) i = (i + 1) & (cnt - 1);
  table[i] = entry;
}

static int grow_table(qr_past_t *p) {
  uint64_t cnt = 2 * p->table_cnt;
  uint64_t *grown = calloc(cnt, sizeof *grown);
  if (!grown) return QR_ERR_NOMEM;
  for (uint64_t i = 0; i < p->table_cnt; i++) {
    if (p->table[i]) enter(grown, cnt, p->table[i]);
  }
  free(p->table);
  p->table = grown;
  p->table_cnt = cnt;
  return QR_OK;
}

static int grow_sums(qr_past_t *p) {
  uint64_t cap = 2 * p->sum_cap;
  qr_past_sum_t *grown = realloc(p->sums, cap * sizeof *grown);
  if (!grown) return QR_ERR_NOMEM;
  p->sums = grown;
  p->sum_cap = cap;
  return QR_OK;
}

qr_past_t *qr_past_init(void) {
  qr_past_t *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->table_cnt = TABLE_MIN_CNT;
  p->table = calloc(p->table_cnt, sizeof *p->table);
  p->sum_cap = SUMS_MIN_CNT;
  p->sums = calloc(p->sum_cap, sizeof *p->sums);
  p->sum_cnt = 1;
  if (p->table && p->sums) return p;
  qr_past_fini(p);
  return NULL;
}

void qr_past_fini(qr_past_t *p) {
  if (!p) return;
  free(p->table);
  free(p->sums);
  free(p);
}

qr_past_sum_t qr_past_sum_next(const qr_past_sum_t *s, const qr_header_t *h) {
  qr_past_sum_t next = {.height = s->height + 1, .reward_sum = s->reward_sum + h->reward};
  qr_u256_t target;
  bool ok = qr_target_expand(h->target, &target);
  QR_ASSERT(ok); /* the chain has it: its target was checked */
  qr_u256_t work = qr_target_work(&target);
  next.work = qr_u256_add_sat(&s->work, &work);
  return next;
}

int qr_past_add(qr_past_t *p, const qr_node_t *n) {
  uint64_t height = n->header.height;
  QR_ASSERT(height == p->height + 1);
  if (height > UINT32_MAX) return QR_ERR_UNSUPPORTED;
  bool has_sum = height % QR_PAST_SUM_STEP == 0;
  int err = 4 * height > 3 * p->table_cnt ? grow_table(p) : QR_OK;
  if (!err && has_sum && p->sum_cnt == p->sum_cap) err = grow_sums(p);
  if (err) return err;
  enter(p->table, p->table_cnt, entry_of(mark_of(&n->hash), height));
  p->height = height;
  qr_past_sum_t sum = {.height = height, .reward_sum = n->reward_sum, .work = n->work};
  if (has_sum) p->sums[p->sum_cnt++] = sum;
  return QR_OK;
}

uint64_t qr_past_height(const qr_past_t *p) { return p->height; }

bool qr_past_find(const qr_past_t *p, const qr_hash_t *hash,
                  bool (*is_it)(void *ctx, uint64_t height, const qr_hash_t *hash), void *ctx,
                  uint64_t *height) {
  uint32_t mark = mark_of(hash);
  uint64_t mask = p->table_cnt - 1;
  for (uint64_t i = mark & mask; p->table[i]; i = (i + 1) & mask) {
    if (mark_in(p->table[i]) != mark || !is_it(ctx, height_in(p->table[i]), hash)) continue;
    *height = height_in(p->table[i]);
    return true;
  }
  return false;
}

qr_past_sum_t qr_past_sum(const qr_past_t *p, uint64_t height) {
  QR_ASSERT(height <= p->height);
  return p->sums[height / QR_PAST_SUM_STEP];
}

uint64_t qr_past_sz(const qr_past_t *p) {
  return sizeof *p + p->table_cnt * sizeof *p->table + p->sum_cap * sizeof *p->sums;
}
