/* A header decodes from any bytes of its size and encodes back to them; its prefix alone decides
 * sigma. */
#include "base/assert.h"
#include "wire/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  if (sz < QR_HEADER_SZ) return 0;
  qr_header_t h, flipped;
  uint8_t out[QR_HEADER_SZ];
  qr_header_decode(data, &h);
  qr_header_encode(&h, out);
  QR_ASSERT(!memcmp(out, data, sizeof out));
  /* what follows the header says which bit to flip */
  size_t bit = 0;
  for (size_t i = QR_HEADER_SZ; i < sz && i < QR_HEADER_SZ + 2; i++) bit = bit << 8 | data[i];
  bit %= 8 * QR_HEADER_SZ;
  out[bit / 8] ^= (uint8_t)(1u << (bit % 8));
  qr_header_decode(out, &flipped);
  qr_hash_t a = qr_header_hash(&h), b = qr_header_hash(&flipped);
  QR_ASSERT(!qr_hash_eq(&a, &b));
  a = qr_header_sigma(&h);
  b = qr_header_sigma(&flipped);
  QR_ASSERT(qr_hash_eq(&a, &b) == (bit / 8 >= QR_PREFIX_SZ));
  return 0;
}
