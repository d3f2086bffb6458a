/* What a bitstream container (xclbin2, "axlf") says about itself. Reads any bytes: every offset and
   size is checked against the file. No I/O, no malloc. */
#ifndef QR_PORT_XCLBIN_H
#define QR_PORT_XCLBIN_H

#include "base/types.h"

#define QR_XCLBIN_KERNEL_MAX_CNT 8u
#define QR_XCLBIN_KERNEL_NAME_SZ 40u
#define QR_XCLBIN_PLATFORM_SZ 65u
#define QR_XCLBIN_UNIT_MAX_CNT 32u
#define QR_XCLBIN_UNIT_NAME_SZ 65u

/* Where it runs. */
enum qr_xclbin_target { QR_XCLBIN_HW, QR_XCLBIN_HW_EMU, QR_XCLBIN_SW_EMU };
#define QR_XCLBIN_TARGET_CNT 3u

typedef struct {
  char name[QR_XCLBIN_KERNEL_NAME_SZ];
  uint32_t cu_cnt; /* compute units of it */
} qr_xclbin_kernel_t;

typedef struct {
  enum qr_xclbin_target target;
  char platform[QR_XCLBIN_PLATFORM_SZ]; /* shell it was linked for */
  uint8_t uuid[16];
  uint32_t kernel_cnt;
  qr_xclbin_kernel_t kernels[QR_XCLBIN_KERNEL_MAX_CNT]; /* sorted by name */
  uint32_t unit_cnt; /* compute units of all kernels, in the file's order */
  char units[QR_XCLBIN_UNIT_MAX_CNT][QR_XCLBIN_UNIT_NAME_SZ]; /* "kernel:instance" */
} qr_xclbin_t;

/* Words of which names and versions consist: letters, digits and . _ : + - / */
bool qr_xclbin_word(const char *s);

/* "hw", "hw_emu" or "sw_emu". */
const char *qr_xclbin_target_str(enum qr_xclbin_target t);

/* Returns 0, or QR_ERR_FORMAT with a sentence in why. */
int qr_xclbin_read(const uint8_t *p, size_t sz, qr_xclbin_t *out, char *why,
                   size_t why_sz) QR_WARN_UNUSED;

#endif
