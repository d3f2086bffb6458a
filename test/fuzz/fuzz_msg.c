/* The message codec on any bytes: frames one after the other, each judged by its head, decoded, and
   written again; what was accepted must come out as it went in. */
#include <stdlib.h>

#include "base/assert.h"
#include "wire/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static void one(uint8_t type, const uint8_t *payload, uint32_t sz) {
  static uint8_t again[QR_MSG_FRAME_MAX_SZ];
  qr_msg_t m;
  uint8_t *exact = malloc(sz ? sz : 1); /* nothing behind it that could be read */
  QR_ASSERT(exact);
  memcpy(exact, payload, sz);
  enum qr_verdict v = qr_msg_decode(type, exact, sz, &m);
  QR_ASSERT(v == QR_VERDICT_OK ||
            v == QR_VERDICT_SYNTAX); /* the head was judged: size cannot be the fault */
  bool readable =
      v == QR_VERDICT_OK && !(type == QR_MSG_HELLO && m.hello.version != QR_MSG_VERSION);
  if (readable) {
    QR_ASSERT(qr_msg_sz(&m) == QR_MSG_HEAD_SZ + (size_t)sz);
    QR_ASSERT(qr_msg_encode(&m, again) == QR_MSG_HEAD_SZ + (size_t)sz);
    QR_ASSERT(!memcmp(again + QR_MSG_HEAD_SZ, exact, sz));
  }
  free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  while (sz >= QR_MSG_HEAD_SZ) {
    uint32_t payload_sz;
    uint8_t type;
    enum qr_verdict v = qr_msg_head(data, &payload_sz, &type);
    data += QR_MSG_HEAD_SZ;
    sz -= QR_MSG_HEAD_SZ;
    if (v != QR_VERDICT_OK || payload_sz > sz) return 0;
    QR_ASSERT(QR_MSG_HEAD_SZ + (size_t)payload_sz <= QR_MSG_FRAME_MAX_SZ);
    if (qr_msg_known(type)) one(type, data, payload_sz);
    data += payload_sz;
    sz -= payload_sz;
  }
  return 0;
}
