/* Shared by the files of the audit; nobody else includes it. */
#ifndef QR_TILE_AUDIT_INT_H
#define QR_TILE_AUDIT_INT_H

#include "base/err.h"
#include "chain/body.h"
#include "chain/tree.h"
#include "tile/audit.h"

/* What is held of a main-chain block; kept in its node's user. */
enum qr_audit_has { HAS_BLOCK = 1, HAS_EXEC = 2, HAS_REPLAY = 4, HAS_UNDO = 8 };

/* A model that a held block needs. */
typedef struct {
  qr_hash_t root;
  uint64_t height; /* of the newest block that needs it */
  bool held, used; /* its bytes are there and right; its use record is there */
} qr_audit_want_t;

typedef struct {
  const qr_audit_cfg_t *cfg;
  qr_audit_result_t *r;
  qr_tree_t *tree;
  qr_ledger_t *ledger;
  bool has_tip, chain_ended; /* the index is broken above the tree's tip */
  enum qr_store_table table; /* being read */
  qr_audit_want_t *wants;
  size_t want_cnt, want_cap;
  uint8_t *buf; /* QR_STORE_VALUE_MAX_SZ */
  qr_ledger_change_t *changes;
  qr_ledger_undo_t *undo;
  int err;
} qr_audit_t;

/* A chain that began with a snapshot, and of what came with it nothing was pruned yet. */
static inline bool qr_audit_on_base(const qr_audit_t *a) {
  return a->r->held.base && a->r->held.from == a->r->held.base + 1;
}

static inline uintptr_t qr_audit_has(const qr_node_t *n) { return (uintptr_t)n->user; }

/* audit.c */
void qr_audit_find(qr_audit_t *a, enum qr_store_table t, const void *key, size_t key_sz,
                   const char *fmt, ...) QR_PRINTF(5, 6);
void qr_audit_find_at(qr_audit_t *a, enum qr_store_table t, uint64_t height, const char *fmt, ...)
    QR_PRINTF(4, 5);
bool qr_audit_tell(qr_audit_t *a, enum qr_audit_phase phase, uint64_t done, uint64_t total);

/* audit_record.c: every record by itself */
bool qr_audit_record(void *ctx, const void *key, size_t key_sz, const void *value, size_t sz);
void qr_audit_wants_base(qr_audit_t *a);
void qr_audit_wants_sort(qr_audit_t *a);

/* audit_chain.c: what records say of each other */
void qr_audit_complete(qr_audit_t *a);
void qr_audit_ledger(qr_audit_t *a);
void qr_audit_replay(qr_audit_t *a);

#endif
