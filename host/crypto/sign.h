/* Ed25519 keys and signatures over libsodium. */
#ifndef QR_CRYPTO_SIGN_H
#define QR_CRYPTO_SIGN_H

#include "base/types.h"

typedef struct {
  uint8_t seed[32];
  qr_pubkey_t pk;
} qr_key_t; /* seed is the secret */

void qr_key_generate(qr_key_t *out); /* from the system's random source */
void qr_key_from_seed(const uint8_t seed[32], qr_key_t *out);
void qr_sign(const qr_key_t *key, const void *msg, size_t sz, qr_sig_t *out);
bool qr_sign_verify(const qr_pubkey_t *pk, const void *msg, size_t sz,
                    const qr_sig_t *sig) QR_WARN_UNUSED;

/* Key file: 64 hex digits and a newline, mode 0600. Load returns 0, QR_ERR_NOTFOUND, QR_ERR_IO
   (unreadable, or readable by group or others) or QR_ERR_FORMAT. Save refuses an existing file with
   QR_ERR_BUSY, else returns 0 or QR_ERR_IO. */
int qr_key_load(const char *path, qr_key_t *out) QR_WARN_UNUSED;
int qr_key_save(const char *path, const qr_key_t *key) QR_WARN_UNUSED;

#endif
