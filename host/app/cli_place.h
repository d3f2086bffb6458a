/* Putting a store in place: made beside the old one, it takes the name in one step. */
#ifndef QR_APP_CLI_PLACE_H
#define QR_APP_CLI_PLACE_H

#include "app/config.h"

#define QR_CLI_OVERWRITE_WORDS "replace the store"

typedef struct {
  char store[QR_CONFIG_PATH_SZ + 16]; /* where it goes */
  char fresh[QR_CONFIG_PATH_SZ + 32]; /* where it is made: does not exist yet */
  char dir[QR_CONFIG_PATH_SZ];
  int lock_fd; /* of the store that is there */
  bool there;  /* there is one, and it holds something */
  char why[1024];
} qr_cli_place_t;

/* Makes the data directory if its parent exists, locks the store that is there, and refuses to go
   on if it holds anything, unless words are QR_CLI_OVERWRITE_WORDS. Removes what an interrupted try
   left. Returns 0 or a negative code with why; fini in any case. */
int qr_cli_place_init(qr_cli_place_t *p, const char *dir, const char *words) QR_WARN_UNUSED;
/* fresh becomes store; the old one is removed. */
int qr_cli_place_take(qr_cli_place_t *p) QR_WARN_UNUSED;
/* Removes fresh if it is there still, and gives the lock back. */
void qr_cli_place_fini(qr_cli_place_t *p);

#endif
