/* A sorted table in memory: a skip list of records in byte order of their keys. Not thread-safe. */
#ifndef QR_STORE_MEM_SORTED_H
#define QR_STORE_MEM_SORTED_H

#include "base/types.h"

#define MEM_LEVEL_CNT 16

typedef struct mem_record {
  size_t key_sz, value_sz;
  bool damaged;   /* by a test: reads report corruption */
  uint8_t *bytes; /* key, then value */
  int level_cnt;
  struct mem_record *next[];
} mem_record_t;

typedef struct {
  mem_record_t *head[MEM_LEVEL_CNT];
  uint64_t cnt;
  uint64_t coin; /* state of the level draws: the same calls give the same list */
} mem_table_t;

/* First record whose key is key or after it; NULL for none. A NULL key is before all. */
mem_record_t *mem_table_seek(const mem_table_t *t, const void *key, size_t key_sz);
mem_record_t *mem_table_find(const mem_table_t *t, const void *key, size_t key_sz);
/* Inserts or replaces; false if out of memory, the table is then as before. */
bool mem_table_put(mem_table_t *t, const void *key, size_t key_sz, const void *value,
                   size_t value_sz);
void mem_table_erase(mem_table_t *t, const void *key, size_t key_sz);
void mem_table_fini(mem_table_t *t);

#endif
