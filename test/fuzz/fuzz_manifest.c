/* A manifest that parses encodes back to the same bytes: there is no second form of it. */
#include "base/assert.h"
#include "base/err.h"
#include "port/bitstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static qr_bitstream_keys_t keys;
  qr_manifest_t m;
  char why[128], text[QR_MANIFEST_MAX_SZ];
  int err = qr_manifest_parse((const char *)data, sz, &m, why, sizeof why);
  if (!err) {
    QR_ASSERT(qr_manifest_encode(&m, text) == sz);
    QR_ASSERT(!memcmp(text, data, sz));
  }
  keys.cnt = 0;
  err = qr_bitstream_keys_parse((const char *)data, sz, &keys, why, sizeof why);
  QR_ASSERT(keys.cnt <= QR_BITSTREAM_KEY_MAX_CNT);
  QR_ASSERT(!err || err == QR_ERR_FORMAT);
  return 0;
}
