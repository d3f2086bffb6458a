/* Reserve port: space on a disk that is kept free of everything else, so that what must be written
   when all other space is used up can be written: a database that recovers, for one. */
#ifndef QR_PORT_RESERVE_H
#define QR_PORT_RESERVE_H

#include "base/types.h"

typedef struct {
  /* True if writing may go on: the reserve is there, taken anew if it was given up, and enough is
     free beside it. Else why says what is missing. */
  bool (*has_room)(void *ctx, char *why, size_t why_sz);
  /* Gives the reserve up for what must be written now. */
  void (*yield)(void *ctx);
  void *ctx;
} qr_reserve_t;

/* A file of sz bytes in a directory. Not thread-safe. */
typedef struct {
  char path[4096];
  uint64_t sz;
  bool held, low;
} qr_reserve_file_t;

#define QR_RESERVE_FILE_NAME "reserve"

/* dir need not exist yet; a reserve that is there already is kept. */
qr_reserve_t qr_reserve_file(qr_reserve_file_t *r, const char *dir, uint64_t sz);

#endif
