#include "drivers/link/quic/stream.h"

#include "base/assert.h"

void qr_outq_reset(qr_outq_t *q) { q->origin = q->acked = q->sent = q->wr = 0; }
void qr_inq_reset(qr_inq_t *q) { q->rd = q->wr = q->lent_sz = 0; }

static void ring_copy(uint8_t *buf, uint64_t buf_sz, uint64_t pos, const uint8_t *p, uint64_t sz) {
  uint64_t head = buf_sz - pos < sz ? buf_sz - pos : sz;
  memcpy(buf + pos, p, head);
  memcpy(buf, p + head, sz - head);
}

uint64_t qr_outq_put(qr_outq_t *q, const void *p, uint64_t sz) {
  if (q->acked == q->wr) q->origin = q->wr;
  if (sz > qr_outq_room(q)) sz = qr_outq_room(q);
  ring_copy(q->buf, q->sz, (q->wr - q->origin) % q->sz, p, sz);
  q->wr += sz;
  return sz;
}

int qr_outq_unsent(const qr_outq_t *q, qr_span_t out[2]) {
  uint64_t sz = q->wr - q->sent, pos = (q->sent - q->origin) % q->sz;
  uint64_t head = q->sz - pos < sz ? q->sz - pos : sz;
  if (!sz) return 0;
  out[0] = (qr_span_t){q->buf + pos, head};
  out[1] = (qr_span_t){q->buf, sz - head};
  return sz > head ? 2 : 1;
}

void qr_outq_ack(qr_outq_t *q, uint64_t offset) {
  QR_ASSERT(offset <= q->sent);
  if (offset > q->acked) q->acked = offset;
}

bool qr_inq_put(qr_inq_t *q, const void *p, uint64_t sz) {
  if (q->rd == q->wr) q->rd = q->wr = 0; /* implies that nothing is lent */
  if (sz > q->sz - (q->wr - q->rd)) return false;
  ring_copy(q->buf, q->sz, q->wr % q->sz, p, sz);
  q->wr += sz;
  return true;
}

uint64_t qr_inq_lend(qr_inq_t *q, const uint8_t **p) {
  QR_ASSERT(!q->lent_sz);
  uint64_t pos = q->rd % q->sz, sz = q->wr - q->rd;
  if (sz > q->sz - pos) sz = q->sz - pos;
  *p = q->buf + pos;
  q->lent_sz = sz;
  return sz;
}

uint64_t qr_inq_release(qr_inq_t *q) {
  uint64_t sz = q->lent_sz;
  q->rd += sz;
  q->lent_sz = 0;
  return sz;
}
