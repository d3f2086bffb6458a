/* The calling side of the tap, for the files of this driver. */
#ifndef QR_STORE_ROCKS_TAP_CALL_H
#define QR_STORE_ROCKS_TAP_CALL_H

#include "tap.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const rocks_tap_t *rocks_tap; /* NULL: none */

/* Only while rocks_tap is set. */
int64_t rocks_tap_before(const rocks_tap_op_t *op);
int64_t rocks_tap_after(const rocks_tap_op_t *op, int64_t result);

/* True if a sync may be linked behind a write. */
static inline bool rocks_tap_links(void) { return !rocks_tap || !rocks_tap->apart; }

/* For what is not done on a ring. 1: do it; 0: say that it is done; else -errno. */
static inline int rocks_tap_ask(const rocks_tap_op_t *op) {
  int64_t answer = rocks_tap ? rocks_tap_before(op) : ROCKS_TAP_GO;
  return answer == ROCKS_TAP_PRETEND ? 0 : answer < 0 ? (int)answer : 1;
}

/* How it ended, 0 or -errno; returns what is to be made of it. */
static inline int rocks_tap_tell(const rocks_tap_op_t *op, int result) {
  return rocks_tap ? (int)rocks_tap_after(op, result) : result;
}

#ifdef __cplusplus
}
#endif

#endif
