/* Genesis files: the chain parameters as JSON. Strict on purpose: every parameter stands in the
   file by name, nothing has a default and nothing unknown is skipped, for two readers who
   understand a file differently would be on two chains. */
#ifndef QR_APP_GENESIS_H
#define QR_APP_GENESIS_H

#include "chain/params.h"

/* Genesis time of the built-in profiles: 2025-01-01T00:00:00Z. A chain whose target moves should
   start with a file that states its own, near the moment of its first block: the schedule counts
   from it. */
#define QR_GENESIS_PROFILE_TIME_MS UINT64_C(1735689600000)

#define QR_GENESIS_FILE_MAX_SZ (256u << 10)

/* Reads a genesis file, or takes a built-in profile if path_or_profile is the name of one
   ("./devnet" is a file). The result has passed qr_params_init. Returns 0, QR_ERR_NOTFOUND (neither
   profile nor file), QR_ERR_IO, QR_ERR_FORMAT (not JSON, too large) or QR_ERR_ARG (a key is
   missing, unknown or of the wrong kind, or a value is refused); why gets a sentence that names the
   place. */
int qr_genesis_read(const char *path_or_profile, qr_params_t *out, char *why,
                    size_t why_sz) QR_WARN_UNUSED;

/* The same from text (any bytes); returns 0, QR_ERR_FORMAT or QR_ERR_ARG. */
int qr_genesis_parse(const char *text, size_t sz, qr_params_t *out, char *why,
                     size_t why_sz) QR_WARN_UNUSED;

/* Writes a new genesis file that qr_genesis_read turns into the same parameters. Returns 0,
   QR_ERR_ARG (p is refused by qr_params_init), QR_ERR_BUSY (the file exists), QR_ERR_NOMEM or
   QR_ERR_IO, with a sentence in why. */
int qr_genesis_write(const char *path, const qr_params_t *p, char *why,
                     size_t why_sz) QR_WARN_UNUSED;

/* The text of such a file for parameters that qr_params_init took; to be freed. NULL if out of
   memory. */
char *qr_genesis_text(const qr_params_t *p) QR_WARN_UNUSED;

#endif
