/* Networks for tests, written out: a layer each, and the two that carry tickets, as
   host/chain/profile.c has them. */
#ifndef QR_TEST_NET_SPECS_H
#define QR_TEST_NET_SPECS_H

#include "step/net.h"

#define DENSE(out, lr, fan)                                                                        \
  { QR_LAYER_DENSE, out, 0, 0, lr, fan }
#define CONV(out, sy, sx, lr, fan)                                                                 \
  { QR_LAYER_CONV3, out, sy, sx, lr, fan }

#define NET_MICROGRID                                                                              \
  { 128, 1, 1, 3, 3, {DENSE(384, 1, 64), DENSE(384, 1, 0), DENSE(3, 1, 0)}, 256, 5 }
#define NET_MICROGRID_MAP                                                                          \
  {                                                                                                \
    8, 4, 24, 3, 4,                                                                                \
        {CONV(32, 1, 2, 2, 100), CONV(64, 2, 2, 2, 0), DENSE(224, 1, 0), DENSE(3, 1, 0)}, 256, 4   \
  }

#endif
