/* As much of Protocol Buffers as XRT's emulation speaks: flat messages of small field numbers, and
   replies of two fields. Reads any bytes without leaving them. */
#ifndef QR_EMU_PB_H
#define QR_EMU_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QR_PB_FIELD_CNT 16u /* numbers below this are kept, others skipped */

typedef struct {
  bool is_set;
  uint64_t num;      /* varint, fixed32 and fixed64; the length of bytes */
  const uint8_t *at; /* bytes, borrowed from the message; NULL for numbers */
} qr_pb_field_t;

/* The fields of one message; of a repeated one the last. */
typedef struct {
  qr_pb_field_t f[QR_PB_FIELD_CNT];
} qr_pb_msg_t;

/* Moves *p behind one field of the bytes up to end. Returns its number, 0 at the end, or -1. */
int qr_pb_next(const uint8_t **p, const uint8_t *end, qr_pb_field_t *out);

/* Returns false if the bytes are no message. */
bool qr_pb_parse(const uint8_t *p, size_t sz, qr_pb_msg_t *out);

/* Writes a number as field; returns the bytes used, at most 11. field below 16. */
size_t qr_pb_put_num(uint8_t *out, uint32_t field, uint64_t v);
/* Writes what comes before sz bytes as field; returns the bytes used, at most 11. */
size_t qr_pb_put_bytes_head(uint8_t *out, uint32_t field, uint64_t sz);

#endif
