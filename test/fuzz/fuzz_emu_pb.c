/* The emulated card's reader of messages stays within any bytes, and reads back what it writes. */
#include "base/assert.h"
#include "base/types.h"
#include "pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static void check_written(uint32_t field, uint64_t v, const uint8_t *data, size_t sz) {
  uint8_t out[32 + 64];
  qr_pb_msg_t m;
  size_t n = qr_pb_put_num(out, field, v), cut = sz < 64 ? sz : 64;
  n += qr_pb_put_bytes_head(out + n, 15, cut);
  QR_ASSERT(n <= 22);
  memcpy(out + n, data, cut);
  QR_ASSERT(qr_pb_parse(out, n + cut, &m));
  QR_ASSERT(m.f[field].is_set && m.f[field].num == v && !m.f[field].at);
  QR_ASSERT(m.f[15].is_set && m.f[15].num == cut && m.f[15].at == out + n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_pb_field_t f;
  qr_pb_msg_t m;
  const uint8_t *p = data, *end = data + sz;
  uint64_t sum = 0;
  int field;
  while ((field = qr_pb_next(&p, end, &f)) > 0) {
    QR_ASSERT(p <= end);
    if (!f.at) continue;
    QR_ASSERT(f.at >= data && f.num <= (uint64_t)(end - f.at));
    for (uint64_t i = 0; i < f.num; i++) sum += f.at[i];
  }
  QR_ASSERT(qr_pb_parse(data, sz, &m) == (field == 0));
  if (sz >= 9) check_written(1u + data[0] % 14u, qr_ld64(data + 1), data, sz);
  return sum == UINT64_MAX;
}
