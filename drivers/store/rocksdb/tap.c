#include "tap.h"

#include "tap_call.h"

const rocks_tap_t *rocks_tap;

void rocks_tap_set(const rocks_tap_t *tap) { rocks_tap = tap; }

int64_t rocks_tap_before(const rocks_tap_op_t *op) {
  return rocks_tap->before ? rocks_tap->before(rocks_tap->ctx, op) : ROCKS_TAP_GO;
}

int64_t rocks_tap_after(const rocks_tap_op_t *op, int64_t result) {
  return rocks_tap->after ? rocks_tap->after(rocks_tap->ctx, op, result) : result;
}
