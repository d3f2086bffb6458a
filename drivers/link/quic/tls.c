#include "drivers/link/quic/tls.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <stdlib.h>

#define ALPN "quarry/1"
/* AES-256-GCM first: with hardware AES it costs half of what ChaCha20 does. */
#define PRIORITY                                                                                   \
  "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305"         \
  ":-GROUP-ALL:+GROUP-X25519:-SIGN-ALL:+SIGN-EDDSA-ED25519:%SERVER_PRECEDENCE"                     \
  ":%DISABLE_TLS13_COMPAT_MODE"

struct qr_tls {
  gnutls_certificate_credentials_t cred;
  gnutls_priority_t priority;
};

static bool sign_certificate(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key) {
  static const unsigned char serial[] = {1};
  static const char name[] = "quarry";
  return gnutls_x509_crt_set_version(crt, 3) >= 0 &&
         gnutls_x509_crt_set_serial(crt, serial, sizeof serial) >= 0 &&
         gnutls_x509_crt_set_activation_time(crt, 0) >= 0 &&
         gnutls_x509_crt_set_expiration_time(crt, 4102444800) >=
             0 && /* 2100: identities do not expire */
         gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
                                       sizeof name - 1) >= 0 &&
         gnutls_x509_crt_set_basic_constraints(crt, 1, -1) >= 0 &&
         gnutls_x509_crt_set_key(crt, key) >= 0 &&
         gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA512, 0) >= 0;
}

static bool load_identity(qr_tls_t *t, const qr_key_t *identity) {
  gnutls_x509_privkey_t key = NULL;
  gnutls_x509_crt_t crt = NULL;
  gnutls_datum_t pk = {(unsigned char *)identity->pk.b, QR_PUBKEY_SZ};
  gnutls_datum_t seed = {(unsigned char *)identity->seed, sizeof identity->seed};
  bool ok =
      gnutls_x509_privkey_init(&key) >= 0 && gnutls_x509_crt_init(&crt) >= 0 &&
      gnutls_x509_privkey_import_ecc_raw(key, GNUTLS_ECC_CURVE_ED25519, &pk, NULL, &seed) >= 0 &&
      sign_certificate(crt, key) && gnutls_certificate_set_x509_key(t->cred, &crt, 1, key) >= 0;
  if (crt) gnutls_x509_crt_deinit(crt);
  if (key) gnutls_x509_privkey_deinit(key);
  return ok;
}

qr_tls_t *qr_tls_new(const qr_key_t *identity, qr_tls_check_fn check) {
  qr_tls_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  if (gnutls_certificate_allocate_credentials(&t->cred) < 0 || !load_identity(t, identity) ||
      gnutls_priority_init(&t->priority, PRIORITY, NULL) < 0) {
    qr_tls_free(t);
    return NULL;
  }
  gnutls_certificate_set_verify_function(t->cred, check);
  return t;
}

void qr_tls_free(qr_tls_t *t) {
  if (!t) return;
  if (t->priority) gnutls_priority_deinit(t->priority);
  if (t->cred) gnutls_certificate_free_credentials(t->cred);
  free(t);
}

gnutls_session_t qr_tls_session(qr_tls_t *t, bool server) {
  gnutls_session_t s;
  gnutls_datum_t alpn = {(unsigned char *)ALPN, sizeof ALPN - 1};
  unsigned flags = (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_END_OF_EARLY_DATA |
                   GNUTLS_NO_AUTO_SEND_TICKET;
  if (gnutls_init(&s, flags) < 0) return NULL;
  int quic = server ? ngtcp2_crypto_gnutls_configure_server_session(s)
                    : ngtcp2_crypto_gnutls_configure_client_session(s);
  if (quic || gnutls_priority_set(s, t->priority) < 0 ||
      gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->cred) < 0 ||
      gnutls_alpn_set_protocols(s, &alpn, 1, GNUTLS_ALPN_MANDATORY) < 0) {
    gnutls_deinit(s);
    return NULL;
  }
  if (server) gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUIRE);
  return s;
}

static bool export_key(gnutls_x509_crt_t crt, qr_pubkey_t *out) {
  gnutls_pubkey_t key;
  gnutls_ecc_curve_t curve;
  gnutls_datum_t x = {NULL, 0};
  if (gnutls_pubkey_init(&key) < 0) return false;
  bool ok = gnutls_pubkey_import_x509(key, crt, 0) >= 0 &&
            gnutls_pubkey_get_pk_algorithm(key, NULL) == GNUTLS_PK_EDDSA_ED25519 &&
            gnutls_pubkey_export_ecc_raw2(key, &curve, &x, NULL, 0) >= 0 && x.size == QR_PUBKEY_SZ;
  if (ok) memcpy(out->b, x.data, QR_PUBKEY_SZ);
  gnutls_free(x.data);
  gnutls_pubkey_deinit(key);
  return ok;
}

/* The size of the DER element at p, header included, or 0; *header_sz is that of its header. Sizes
 * below 64 KiB. */
static size_t element_sz(const uint8_t *p, size_t sz, size_t *header_sz) {
  if (sz < 2) return 0;
  size_t length_sz = p[1] < 128 ? 0 : p[1] & 127u, body_sz = p[1] < 128 ? p[1] : 0;
  *header_sz = 2 + length_sz;
  if (length_sz > 2 || (p[1] >= 128 && !length_sz) || sz < *header_sz) return 0;
  for (size_t i = 0; i < length_sz; i++) body_sz = body_sz << 8 | p[2 + i];
  return body_sz <= sz - *header_sz ? *header_sz + body_sz : 0;
}

/* That the certificate is signed by its own key. By hand: GnuTLS takes a trusted certificate's own
 * signature on trust. */
static bool is_self_signed(gnutls_x509_crt_t crt, const uint8_t *der, size_t sz,
                           const qr_pubkey_t *pk) {
  qr_sig_t sig;
  size_t sig_sz = sizeof sig.b, outer_sz = 0, inner_sz = 0;
  if (gnutls_x509_crt_get_signature_algorithm(crt) != GNUTLS_SIGN_EDDSA_ED25519 ||
      gnutls_x509_crt_get_signature(crt, (char *)sig.b, &sig_sz) < 0 || sig_sz != sizeof sig.b ||
      element_sz(der, sz, &outer_sz) != sz)
    return false;
  size_t signed_sz = element_sz(der + outer_sz, sz - outer_sz, &inner_sz);
  return signed_sz && qr_sign_verify(pk, der + outer_sz, signed_sz, &sig);
}

bool qr_tls_identity(const void *der, size_t sz, qr_pubkey_t *out) {
  gnutls_x509_crt_t crt;
  gnutls_datum_t data = {(unsigned char *)der, (unsigned)sz};
  if (gnutls_x509_crt_init(&crt) < 0) return false;
  bool ok = gnutls_x509_crt_import(crt, &data, GNUTLS_X509_FMT_DER) >= 0 && export_key(crt, out) &&
            is_self_signed(crt, der, sz, out);
  gnutls_x509_crt_deinit(crt);
  return ok;
}

bool qr_tls_peer(gnutls_session_t session, qr_pubkey_t *out) {
  unsigned cnt = 0;
  const gnutls_datum_t *der = gnutls_certificate_get_peers(session, &cnt);
  return der && cnt == 1 &&
         gnutls_certificate_type_get2(session, GNUTLS_CTYPE_PEERS) == GNUTLS_CRT_X509 &&
         qr_tls_identity(der->data, der->size, out);
}
