/* A small file that a tile keeps from time to time: replaced as a whole or not at all, by a thread
   of its own, so that the tile never waits for the disk. */
#ifndef QR_TILE_KEEP_H
#define QR_TILE_KEEP_H

#include "base/types.h"

typedef struct qr_keep qr_keep_t;

/* Takes memory for max_sz bytes; NULL if there is none. path is copied; its folder exists. */
qr_keep_t *qr_keep_init(const char *path, size_t max_sz);
void qr_keep_fini(qr_keep_t *k); /* waits for what is being written */
void qr_keep_wait(qr_keep_t *k); /* the same alone */

/* Reads the file. Returns 0, QR_ERR_NOTFOUND, QR_ERR_FORMAT (longer than max_sz) or QR_ERR_IO; the
   bytes are borrowed until the next call. */
int qr_keep_load(qr_keep_t *k, const uint8_t **bytes, size_t *sz) QR_WARN_UNUSED;
/* Where to put up to max_sz bytes for qr_keep_save; NULL while others are being written. */
uint8_t *qr_keep_room(qr_keep_t *k);
/* Writes them. A failure is a line in the log: what is kept is a help, nothing hangs on it. */
void qr_keep_save(qr_keep_t *k, size_t sz);

#endif
