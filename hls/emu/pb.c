#include "pb.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static bool take_varint(const uint8_t **p, const uint8_t *end, uint64_t *out) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
    uint8_t b = *(*p)++;
    v |= (uint64_t)(b & 127u) << shift;
    if (b & 128u) continue;
    *out = v;
    return true;
  }
  return false;
}

static bool take_fixed(const uint8_t **p, const uint8_t *end, size_t sz, uint64_t *out) {
  if ((size_t)(end - *p) < sz) return false;
  *out = 0;
  memcpy(out, *p, sz);
  *p += sz;
  return true;
}

int qr_pb_next(const uint8_t **p, const uint8_t *end, qr_pb_field_t *out) {
  uint64_t tag;
  if (*p >= end) return 0;
  if (!take_varint(p, end, &tag) || tag >> 3 == 0 || tag >> 3 > INT32_MAX) return -1;
  *out = (qr_pb_field_t){.is_set = true};
  bool ok = false;
  switch (tag & 7u) {
  case WIRE_VARINT: ok = take_varint(p, end, &out->num); break;
  case WIRE_FIXED64: ok = take_fixed(p, end, 8, &out->num); break;
  case WIRE_FIXED32: ok = take_fixed(p, end, 4, &out->num); break;
  case WIRE_BYTES:
    ok = take_varint(p, end, &out->num) && out->num <= (uint64_t)(end - *p);
    out->at = *p;
    if (ok) *p += out->num;
    break;
  default: break;
  }
  return ok ? (int)(tag >> 3) : -1;
}

bool qr_pb_parse(const uint8_t *p, size_t sz, qr_pb_msg_t *out) {
  const uint8_t *end = p + sz;
  qr_pb_field_t f;
  int field;
  memset(out, 0, sizeof *out);
  while ((field = qr_pb_next(&p, end, &f)) > 0) {
    if (field < (int)QR_PB_FIELD_CNT) out->f[field] = f;
  }
  return field == 0;
}

static size_t put_varint(uint8_t *out, uint64_t v) {
  size_t n = 0;
  for (; v >= 128; v >>= 7) out[n++] = (uint8_t)(v | 128u);
  out[n++] = (uint8_t)v;
  return n;
}

size_t qr_pb_put_num(uint8_t *out, uint32_t field, uint64_t v) {
  out[0] = (uint8_t)(field << 3 | WIRE_VARINT);
  return 1 + put_varint(out + 1, v);
}

size_t qr_pb_put_bytes_head(uint8_t *out, uint32_t field, uint64_t sz) {
  out[0] = (uint8_t)(field << 3 | WIRE_BYTES);
  return 1 + put_varint(out + 1, sz);
}
