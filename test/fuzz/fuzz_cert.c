/* The certificate that a stranger shows: any bytes. If the first byte's bit 0 says so, it is signed
   first by a key that the fuzzer cannot have, so that damage of what is signed gets beyond the
   signature. An identity is taken only from a certificate that holds it and that is whole. */
#include "drivers/link/quic/tls.c"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

/* The signature is the last of a certificate. */
static void sign_again(uint8_t *der, size_t sz) {
  static const uint8_t seed[32] = {1};
  size_t outer_sz = 0, inner_sz = 0;
  qr_key_t key;
  qr_sig_t sig;
  if (element_sz(der, sz, &outer_sz) != sz) return;
  size_t signed_sz = element_sz(der + outer_sz, sz - outer_sz, &inner_sz);
  if (!signed_sz || outer_sz + signed_sz + sizeof sig.b > sz) return;
  qr_key_from_seed(seed, &key);
  qr_sign(&key, der + outer_sz, signed_sz, &sig);
  memcpy(der + sz - sizeof sig.b, sig.b, sizeof sig.b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_pubkey_t pk, other;
  if (!sz) return 0;
  uint8_t *der =
      malloc(sz); /* of the certificate's size, so that a sanitizer sees what is beyond */
  QR_ASSERT(der);
  memcpy(der, data + 1, --sz);
  if (data[0] & 1) sign_again(der, sz);
  if (qr_tls_identity(der, sz, &pk)) {
    QR_ASSERT(memmem(der, sz, pk.b, sizeof pk.b));
    QR_ASSERT(!qr_tls_identity(der, sz - 1, &other));
    der[sz - 1] ^= 1;
    QR_ASSERT(!qr_tls_identity(der, sz, &other));
  }
  free(der);
  return 0;
}
