/* Options of the driver, as the operator writes them: "key=value,...". */
#ifndef QR_XRT_OPTIONS_H
#define QR_XRT_OPTIONS_H

#include "base/types.h"

#define QR_XRT_PATH_SZ 256u

typedef struct {
  char card[32];     /* index, PCI address, or "all" */
  uint32_t card_cnt; /* emulate: how many cards there are */
  bool emulate;
  char tree[QR_XRT_PATH_SZ]; /* emulate: of the build */
  char mode[8];              /* emulate: sw_emu or hw_emu */
  char bitstream[QR_XRT_PATH_SZ], keys[QR_XRT_PATH_SZ], worker[QR_XRT_PATH_SZ];
  char sysfs[QR_XRT_PATH_SZ]; /* root of /sys, another one in tests */
  char fault[32];             /* emulate: what goes wrong, for tests */
  bool accept_unsigned;
  bool look;             /* open to look only: no bitstream */
  uint64_t timeout_ms;   /* of a launch; 0: from what was measured */
  uint32_t keep_rows;    /* of each program's replay that an engine keeps */
  uint32_t launch_steps; /* training steps of a launch, of the largest network; of others more */
} qr_xrt_options_t;

/* Returns 0, or QR_ERR_ARG with a sentence in why. */
int qr_xrt_options_parse(const char *text, qr_xrt_options_t *out, char *why,
                         size_t why_sz) QR_WARN_UNUSED;

#endif
