/* The QUIC links' identities: which certificates are one, and which are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <gnutls/x509.h>
#include <stdlib.h>

#include "drivers/link/quic/tls.h"

typedef struct {
  uint8_t p[4096];
  size_t sz;
} der_t;

static gnutls_x509_privkey_t new_key(gnutls_pk_algorithm_t kind, unsigned bits) {
  gnutls_x509_privkey_t key;
  assert_int_equal(gnutls_x509_privkey_init(&key), 0);
  assert_int_equal(gnutls_x509_privkey_generate(key, kind, bits, 0), 0);
  return key;
}

/* A certificate over subject's key, signed by issuer's key. */
static der_t certificate(gnutls_x509_privkey_t subject, gnutls_x509_privkey_t issuer,
                         gnutls_digest_algorithm_t digest, time_t expires) {
  gnutls_x509_crt_t crt;
  der_t d = {.sz = sizeof d.p};
  assert_int_equal(gnutls_x509_crt_init(&crt), 0);
  assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
  assert_int_equal(gnutls_x509_crt_set_serial(crt, "\1", 1), 0);
  assert_int_equal(gnutls_x509_crt_set_activation_time(crt, 0), 0);
  assert_int_equal(gnutls_x509_crt_set_expiration_time(crt, expires), 0);
  assert_int_equal(
      gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, "somebody", 8), 0);
  assert_int_equal(gnutls_x509_crt_set_basic_constraints(crt, 1, -1), 0);
  assert_int_equal(gnutls_x509_crt_set_key(crt, subject), 0);
  assert_int_equal(gnutls_x509_crt_sign2(crt, crt, issuer, digest, 0), 0);
  assert_int_equal(gnutls_x509_crt_export(crt, GNUTLS_X509_FMT_DER, d.p, &d.sz), 0);
  gnutls_x509_crt_deinit(crt);
  return d;
}

static void test_good(void **state) {
  (void)state;
  static const time_t expires[] = {4102444800, 1000}; /* dates do not matter */
  for (size_t i = 0; i < QR_ARRAY_CNT(expires); i++) {
    gnutls_x509_privkey_t key = new_key(GNUTLS_PK_EDDSA_ED25519, 256);
    gnutls_datum_t x, k;
    gnutls_ecc_curve_t curve;
    qr_pubkey_t pk;
    der_t d = certificate(key, key, GNUTLS_DIG_SHA512, expires[i]);
    assert_true(qr_tls_identity(d.p, d.sz, &pk));
    assert_int_equal(gnutls_x509_privkey_export_ecc_raw(key, &curve, &x, NULL, &k), 0);
    assert_int_equal(x.size, sizeof pk.b);
    assert_memory_equal(pk.b, x.data, x.size);
    gnutls_free(x.data);
    gnutls_free(k.data);
    gnutls_x509_privkey_deinit(key);
  }
}

static void test_not_identities(void **state) {
  (void)state;
  gnutls_x509_privkey_t own = new_key(GNUTLS_PK_EDDSA_ED25519, 256),
                        other = new_key(GNUTLS_PK_EDDSA_ED25519, 256);
  gnutls_x509_privkey_t p256 =
      new_key(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1));
  gnutls_x509_privkey_t rsa = new_key(GNUTLS_PK_RSA, 2048);
  qr_pubkey_t pk;
  der_t d =
      certificate(own, other, GNUTLS_DIG_SHA512, 4102444800); /* somebody else vouches for it */
  assert_false(qr_tls_identity(d.p, d.sz, &pk));
  d = certificate(p256, p256, GNUTLS_DIG_SHA256, 4102444800);
  assert_false(qr_tls_identity(d.p, d.sz, &pk));
  d = certificate(rsa, rsa, GNUTLS_DIG_SHA256, 4102444800);
  assert_false(qr_tls_identity(d.p, d.sz, &pk));
  assert_false(qr_tls_identity("", 0, &pk));
  assert_false(qr_tls_identity("certificate", 11, &pk));
  gnutls_x509_privkey_deinit(own);
  gnutls_x509_privkey_deinit(other);
  gnutls_x509_privkey_deinit(p256);
  gnutls_x509_privkey_deinit(rsa);
}

/* No single flipped bit leaves a certificate good, and no truncation does. */
static void test_every_bit_counts(void **state) {
  (void)state;
  gnutls_x509_privkey_t key = new_key(GNUTLS_PK_EDDSA_ED25519, 256);
  der_t d = certificate(key, key, GNUTLS_DIG_SHA512, 4102444800);
  qr_pubkey_t pk;
  for (size_t i = 0; i < d.sz; i++) {
    for (int bit = 0; bit < 8; bit++) {
      d.p[i] ^= (uint8_t)(1 << bit);
      if (qr_tls_identity(d.p, d.sz, &pk)) fail_msg("byte %zu of %zu, bit %d", i, d.sz, bit);
      d.p[i] ^= (uint8_t)(1 << bit);
    }
  }
  for (size_t sz = 0; sz < d.sz; sz++) {
    uint8_t *copy = malloc(sz + 1);
    assert_non_null(copy);
    memcpy(copy, d.p, sz);
    assert_false(qr_tls_identity(copy, sz, &pk));
    free(copy);
  }
  assert_true(qr_tls_identity(d.p, d.sz, &pk));
  gnutls_x509_privkey_deinit(key);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good),
      cmocka_unit_test(test_not_identities),
      cmocka_unit_test(test_every_bit_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
