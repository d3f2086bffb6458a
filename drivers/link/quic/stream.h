/* Buffers of one QUIC stream. Outgoing bytes stay in place until they are acknowledged; incoming
   bytes until the application has seen them. Both are rings over memory that is given once; an
   empty ring starts again at its beginning, so that a quiet stream touches few pages. */
#ifndef QR_LINK_QUIC_STREAM_H
#define QR_LINK_QUIC_STREAM_H

#include "base/types.h"

typedef struct {
  uint8_t *buf;
  uint64_t sz, origin;      /* offset origin stands at buf[0] */
  uint64_t acked, sent, wr; /* stream offsets, acked <= sent <= wr */
} qr_outq_t;

typedef struct {
  uint8_t *buf;
  uint64_t sz, rd, wr, lent_sz; /* rd + lent_sz is the next byte to lend */
} qr_inq_t;

typedef struct {
  const uint8_t *p;
  size_t sz;
} qr_span_t;

/* Forgets all bytes; buf and sz stay. */
void qr_outq_reset(qr_outq_t *q);
void qr_inq_reset(qr_inq_t *q);

static inline uint64_t qr_outq_room(const qr_outq_t *q) { return q->sz - (q->wr - q->acked); }
/* Copies up to sz bytes in; returns how many. */
uint64_t qr_outq_put(qr_outq_t *q, const void *p, uint64_t sz);
/* The bytes to send next, in at most two pieces; returns their number. */
int qr_outq_unsent(const qr_outq_t *q, qr_span_t out[2]);
/* Bytes below offset are acknowledged. */
void qr_outq_ack(qr_outq_t *q, uint64_t offset);

/* False if the bytes do not fit: the sender ignored its window. */
bool qr_inq_put(qr_inq_t *q, const void *p, uint64_t sz) QR_WARN_UNUSED;
/* Lends one contiguous piece; returns its size, 0 if nothing is waiting. At most once between
 * releases. */
uint64_t qr_inq_lend(qr_inq_t *q, const uint8_t **p);
/* Takes back what was lent; returns how much. */
uint64_t qr_inq_release(qr_inq_t *q);

#endif
