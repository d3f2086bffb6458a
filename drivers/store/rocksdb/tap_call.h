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

#ifdef __cplusplus
}
#endif

#endif
