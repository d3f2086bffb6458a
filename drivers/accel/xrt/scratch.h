/* A folder of its own for each card's process: XRT writes into the current folder, and its
   emulation talks through /tmp/$USER, so that two of them must never share either. */
#ifndef QR_XRT_SCRATCH_H
#define QR_XRT_SCRATCH_H

#include "base/types.h"

#define QR_XRT_SCRATCH_SZ 40u
#define QR_XRT_SCRATCH_PREFIX "/tmp/quarry-card."
#define QR_XRT_LOG_NAME "card.log"

/* Makes a new folder, of this user alone, and locks it with *lock_fd: as long as that, or a copy of
   it, is open anywhere, the folder is in use. Those that are not, left by processes that were
   killed, are removed. Returns 0 or QR_ERR_IO. */
int qr_xrt_scratch_make(char out[QR_XRT_SCRATCH_SZ], int *lock_fd) QR_WARN_UNUSED;
/* Removes a folder that make gave, with what is in it; anything else is left alone. */
void qr_xrt_scratch_remove(const char *path);
/* The last line that the card's process wrote, cut at out_sz; empty if there is none. */
void qr_xrt_scratch_last_words(const char *path, char *out, size_t out_sz);

#endif
