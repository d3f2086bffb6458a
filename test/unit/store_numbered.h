/* Batches with numbers, and what a store must hold after the first n of them: every batch whole,
   the tip, and a running hash that stands for the state root. */
#ifndef QR_TEST_STORE_NUMBERED_H
#define QR_TEST_STORE_NUMBERED_H

#include "unit/store_bench.h"

#include "crypto/hash.h"

#define NUMBERED_PART_CNT 5u
#define NUMBERED_ERASE_AFTER 4u /* a part goes with the fourth batch after its own */
#define NUMBERED_ERASE_PART 2u
#define NUMBERED_PART_MAX_SZ (1u << 20)
#define NUMBERED_WHY_SZ 256

/* Of every 64 batches 16 are large: they fill the smaller memtables, so that logs change and tables
   are written while commits go on. */
static inline size_t numbered_size(uint64_t n, uint32_t part) {
  bool large = part == 4 && n % 64 >= 48;
  return 8 + (large ? 900000 : 0) + (n * 2654435761u + part * 40503u) % 9000;
}

static inline void numbered_fill(uint8_t *out, uint64_t n, uint32_t part) {
  memset(out, (int)(n * 7 + part), numbered_size(n, part));
  qr_st64(out, n);
}

static inline void numbered_key(uint64_t n, uint32_t part, uint8_t key[16]) {
  qr_st64(key, __builtin_bswap64(n));
  qr_st64(key + 8, part);
}

/* The hash of everything up to n. */
static inline qr_hash_t numbered_root(uint64_t n) {
  qr_hash_t h = {{0}};
  for (uint64_t i = 1; i <= n; i++) {
    qr_hasher_t next;
    qr_hash_init(&next, "quarry.test.root");
    qr_hash_add(&next, &h, sizeof h);
    for (uint32_t k = 0; k < NUMBERED_PART_CNT; k++) qr_hash_add_u64(&next, numbered_size(i, k));
    qr_hash_end(&next, &h);
  }
  return h;
}

/* Batch n under tag n: its parts, a part of an earlier batch less, the tip and the hash. */
static inline int numbered_commit(bench_t *b, uint64_t n) {
  static uint8_t value[NUMBERED_PART_CNT][NUMBERED_PART_MAX_SZ];
  uint8_t keys[NUMBERED_PART_CNT + 1][16], tip[8];
  qr_store_op_t ops[NUMBERED_PART_CNT + 3];
  uint32_t cnt = 0;
  for (; cnt < NUMBERED_PART_CNT; cnt++) {
    numbered_key(n, cnt, keys[cnt]);
    numbered_fill(value[cnt], n, cnt);
    ops[cnt] = put_op((enum qr_store_table)cnt, keys[cnt], 16, value[cnt], numbered_size(n, cnt));
  }
  qr_hash_t root = numbered_root(n);
  qr_st64(tip, n);
  ops[cnt++] = put_op(QR_STORE_META, "tip", 3, tip, sizeof tip);
  ops[cnt++] = put_op(QR_STORE_META, "root", 4, &root, sizeof root);
  if (n > NUMBERED_ERASE_AFTER) {
    uint8_t *key = keys[NUMBERED_PART_CNT];
    numbered_key(n - NUMBERED_ERASE_AFTER, NUMBERED_ERASE_PART, key);
    ops[cnt++] = erase_op((enum qr_store_table)NUMBERED_ERASE_PART, key, 16);
  }
  return b->ops->commit(b->store, n, ops, cnt);
}

static inline bool numbered_complain(char why[NUMBERED_WHY_SZ], const char *what, uint64_t n,
                                     int64_t got) {
  snprintf(why, NUMBERED_WHY_SZ, "%s: batch %llu: %lld", what, (unsigned long long)n,
           (long long)got);
  return false;
}

/* Batch n after the first tip. at_most > tip: a store with faults, which may say that it cannot
   read, and show what later batches have done that it could not make durable. */
static inline bool numbered_check_batch(bench_t *b, uint64_t n, uint64_t tip, uint64_t at_most,
                                        char why[NUMBERED_WHY_SZ]) {
  static uint8_t got[NUMBERED_PART_MAX_SZ], want[NUMBERED_PART_MAX_SZ];
  for (uint32_t i = 0; i < NUMBERED_PART_CNT; i++) {
    uint8_t key[16];
    numbered_key(n, i, key);
    int64_t sz = b->ops->get(b->store, (enum qr_store_table)i, key, 16, got, sizeof got);
    bool there = n <= tip && (i != NUMBERED_ERASE_PART || n + NUMBERED_ERASE_AFTER > tip);
    bool goes = i == NUMBERED_ERASE_PART && n + NUMBERED_ERASE_AFTER <= at_most;
    if (at_most > tip && (sz == QR_ERR_IO || sz == QR_ERR_CORRUPT)) continue;
    if (at_most > tip && goes && sz == QR_ERR_NOTFOUND) continue;
    if (!there && sz != QR_ERR_NOTFOUND)
      return numbered_complain(why, "a part that must not be there", n, sz);
    if (!there) continue;
    numbered_fill(want, n, i);
    if (sz != (int64_t)numbered_size(n, i))
      return numbered_complain(why, "a part is not there", n, sz);
    if (memcmp(got, want, (size_t)sz)) return numbered_complain(why, "a part is wrong", n, sz);
  }
  return true;
}

/* True if the store holds the first tip batches and nothing else, with at_least <= tip <= at_most.
 */
static inline bool numbered_check(bench_t *b, uint64_t at_least, uint64_t at_most, uint64_t *tip,
                                  char why[NUMBERED_WHY_SZ]) {
  qr_hash_t root, want;
  *tip = 0;
  int64_t sz = bench_get(b, QR_STORE_META, "tip", tip, sizeof *tip);
  if (sz != 8 && sz != QR_ERR_NOTFOUND)
    return numbered_complain(why, "the tip cannot be read", 0, sz);
  if (*tip < at_least) return numbered_complain(why, "a reported batch is lost", *tip, 0);
  if (*tip > at_most) return numbered_complain(why, "a batch of the future", *tip, 0);
  want = numbered_root(*tip);
  sz = bench_get(b, QR_STORE_META, "root", &root, sizeof root);
  if (*tip && (sz != sizeof root || memcmp(&root, &want, sizeof root)))
    return numbered_complain(why, "the hash is wrong", *tip, sz);
  for (uint64_t n = 1; n <= *tip + 3; n++)
    if (!numbered_check_batch(b, n, *tip, *tip, why)) return false;
  return true;
}

#endif
