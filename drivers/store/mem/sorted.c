#include "sorted.h"

#include <stdlib.h>

#include "base/splitmix.h"

static int key_cmp(const mem_record_t *r, const void *key, size_t key_sz) {
  size_t n = r->key_sz < key_sz ? r->key_sz : key_sz;
  int c = n ? memcmp(r->bytes, key, n) : 0;
  return c ? c : r->key_sz < key_sz ? -1 : r->key_sz > key_sz;
}

/* For each level, the link that leads to the first record not before key. */
static void find_links(mem_table_t *t, const void *key, size_t key_sz,
                       mem_record_t **links[MEM_LEVEL_CNT]) {
  mem_record_t **from = t->head;
  for (int l = MEM_LEVEL_CNT - 1; l >= 0; l--) {
    while (from[l] && key_cmp(from[l], key, key_sz) < 0) from = from[l]->next;
    links[l] = &from[l];
  }
}

mem_record_t *mem_table_seek(const mem_table_t *t, const void *key, size_t key_sz) {
  mem_record_t *const *from = t->head;
  for (int l = MEM_LEVEL_CNT - 1; key && l >= 0; l--) {
    while (from[l] && key_cmp(from[l], key, key_sz) < 0) from = from[l]->next;
  }
  return from[0];
}

mem_record_t *mem_table_find(const mem_table_t *t, const void *key, size_t key_sz) {
  mem_record_t *r = mem_table_seek(t, key, key_sz);
  return r && !key_cmp(r, key, key_sz) ? r : NULL;
}

static int draw_level_cnt(mem_table_t *t) {
  uint64_t coins = qr_splitmix_next(&t->coin) | UINT64_C(1) << 63;
  int n = 1 + __builtin_ctzll(coins) / 2; /* each level holds a quarter of the one below */
  return n < MEM_LEVEL_CNT ? n : MEM_LEVEL_CNT;
}

bool mem_table_put(mem_table_t *t, const void *key, size_t key_sz, const void *value,
                   size_t value_sz) {
  uint8_t *bytes = malloc(key_sz + value_sz);
  if (!bytes) return false;
  memcpy(bytes, key, key_sz);
  if (value_sz) memcpy(bytes + key_sz, value, value_sz);
  mem_record_t *r = mem_table_find(t, key, key_sz);
  if (r) {
    free(r->bytes);
  } else {
    int level_cnt = draw_level_cnt(t);
    r = malloc(sizeof *r + (size_t)level_cnt * sizeof r->next[0]);
    if (!r) {
      free(bytes);
      return false;
    }
    mem_record_t **links[MEM_LEVEL_CNT];
    find_links(t, key, key_sz, links);
    for (int l = 0; l < level_cnt; l++) {
      r->next[l] = *links[l];
      *links[l] = r;
    }
    r->level_cnt = level_cnt;
    t->cnt++;
  }
  r->bytes = bytes;
  r->key_sz = key_sz;
  r->value_sz = value_sz;
  r->damaged = false;
  return true;
}

void mem_table_erase(mem_table_t *t, const void *key, size_t key_sz) {
  mem_record_t *r = mem_table_find(t, key, key_sz), **links[MEM_LEVEL_CNT];
  if (!r) return;
  find_links(t, key, key_sz, links);
  for (int l = 0; l < r->level_cnt; l++) *links[l] = r->next[l];
  free(r->bytes);
  free(r);
  t->cnt--;
}

void mem_table_fini(mem_table_t *t) {
  for (mem_record_t *r = t->head[0], *next; r; r = next) {
    next = r->next[0];
    free(r->bytes);
    free(r);
  }
  *t = (mem_table_t){0};
}
