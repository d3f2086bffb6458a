/* An audit of a simulated node's store, which must find nothing. */
#ifndef TEST_SIM_STORE_AUDIT_H
#define TEST_SIM_STORE_AUDIT_H

#include "sim/world.h"
#include "tile/audit.h"

static inline bool audit_goes_on(void *ctx, const qr_audit_progress_t *p) {
  (void)ctx, (void)p;
  return true;
}

static inline void audit_tells(void *ctx, const qr_audit_find_t *f) {
  (void)ctx;
  print_message("table %s, %s: %s\n", f->table, f->key, f->what);
}

static inline qr_audit_result_t audit_finds(const world_t *w, const qr_store_ops_t *ops,
                                            qr_store_t *store) {
  qr_audit_result_t r;
  qr_audit_cfg_t cfg = {.ops = ops,
                        .store = store,
                        .chain = &w->chain,
                        .progress = audit_goes_on,
                        .found = audit_tells};
  assert_int_equal(qr_audit_run(&cfg, &r), 0);
  return r;
}

static inline qr_audit_result_t audit_sound(const world_t *w, const world_node_t *n) {
  qr_audit_result_t r = audit_finds(w, n->store_ops, n->store);
  assert_int_equal(r.find_cnt, 0);
  return r;
}

#endif
