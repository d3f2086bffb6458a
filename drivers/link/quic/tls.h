/* TLS 1.3 identities: each node has a self-signed X.509 certificate over its Ed25519 identity key,
   both sides must show one, and the key in it is the peer's identity. Names, dates and authorities
   mean nothing here. */
#ifndef QR_LINK_QUIC_TLS_H
#define QR_LINK_QUIC_TLS_H

#include <gnutls/gnutls.h>

#include "base/types.h"
#include "crypto/sign.h"

typedef struct qr_tls qr_tls_t;

/* Called when the peer's certificate has come; returns 0 to go on. That the peer holds its key is
   proven by the rest of the handshake. */
typedef int (*qr_tls_check_fn)(gnutls_session_t session);

/* Makes the certificate. Returns NULL if GnuTLS refuses. */
qr_tls_t *qr_tls_new(const qr_key_t *identity, qr_tls_check_fn check);
void qr_tls_free(qr_tls_t *t);

/* A session for QUIC, still without its connection reference; free with gnutls_deinit. NULL if it
 * cannot be made. */
gnutls_session_t qr_tls_session(qr_tls_t *t, bool server);

/* The Ed25519 key of a DER certificate; false if it is none, holds another kind of key, or is not
 * signed by that key. */
bool qr_tls_identity(const void *der, size_t sz, qr_pubkey_t *out) QR_WARN_UNUSED;

/* The Ed25519 key of the peer's certificate; false if it has shown none, more than one, or one that
 * is no identity. */
bool qr_tls_peer(gnutls_session_t session, qr_pubkey_t *out) QR_WARN_UNUSED;

#endif
