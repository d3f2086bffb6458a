/* A card through XRT's native C API, as the process that holds it uses it: one thread, nothing but
   reading and writing buffers ever waits. Every function returns 0 or -1 with a sentence in why. */
#ifndef QR_XRT_DEVICE_H
#define QR_XRT_DEVICE_H

#include "share.h"

typedef struct qr_xrt_device qr_xrt_device_t;

typedef struct {
  const char *card; /* index or PCI address */
  bool is_emulated;
  bool syncs_from_start; /* its emulation writes to a buffer's start, whatever offset it is told */
} qr_xrt_device_cfg_t;

/* Opens the card; reset: resets it first. info receives its name. */
int qr_xrt_device_open(const qr_xrt_device_cfg_t *cfg, bool reset, qr_xrt_info_t *info,
                       qr_xrt_device_t **out, char *why, size_t why_sz);
/* Loads the container at p, opens the engines that share names, and asks each what it is; share's
   info receives that. */
int qr_xrt_device_load(qr_xrt_device_t *d, const void *p, qr_xrt_share_t *share, char *why,
                       size_t why_sz);
/* Takes the card's buffers and writes the programs to it. base: the shared memory. */
int qr_xrt_device_attach(qr_xrt_device_t *d, uint8_t *base, const qr_xrt_layout_t *at,
                         const qr_xrt_sizes_t *sizes, char *why, size_t why_sz);
/* Whether the card's memory is large enough to keep replays too. */
bool qr_xrt_device_keeps(const qr_xrt_device_t *d);
/* The steps of a launch, in this order; the first may come while an earlier launch of the slot
 * runs.
 */
int qr_xrt_device_bring(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why, size_t why_sz);
int qr_xrt_device_start(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why, size_t why_sz);
/* Returns 1 when the launch is over, 0 while it runs, -1 if it failed. */
int qr_xrt_device_state(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why, size_t why_sz);
int qr_xrt_device_take(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why, size_t why_sz);

/* Bytes moved to the card and back by launches since this was asked last. */
void qr_xrt_device_moved(qr_xrt_device_t *d, uint64_t out[2]);
/* Moves sz bytes to the card and back, compares them, and says how long each way took. */
int qr_xrt_device_measure(qr_xrt_device_t *d, size_t sz, uint64_t ns[2], char *why, size_t why_sz);
/* Reads the sensors into info; what the card does not tell becomes QR_ACCEL_UNTOLD. */
void qr_xrt_device_sense(qr_xrt_device_t *d, qr_xrt_info_t *info);
void qr_xrt_device_close(qr_xrt_device_t *d);

#endif
