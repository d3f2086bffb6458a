/* Cards of this machine as the kernel shows them, and why there are none. Reads /sys alone, needs
   no privilege and no XRT. */
#ifndef QR_XRT_FIND_H
#define QR_XRT_FIND_H

#include "options.h"
#include "port/accel.h"

/* Lists cards that XRT could open by this user, and with all those it could not, each with the
   reason in its why. Returns how many. If none can be opened, why says what to do. */
int qr_xrt_find(const qr_xrt_options_t *o, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                size_t why_sz);

#endif
