/* The exogenous feed of an instance and its first 18 state bytes, alike in every environment: the
   16 feed bytes that Philox uses, then the instance number. For environments only. */
#ifndef QR_ENV_FEED_H
#define QR_ENV_FEED_H

#include "env/env.h"

#define QR_FEED_STATE_SZ 18u

typedef struct {
  qr_philox_t draws;
  uint32_t instance;
} qr_feed_t;

/* Draws of (feed, instance mod 2^16): stream (FEED, 0, instance). */
static inline qr_feed_t qr_feed_init(const qr_hash_t *feed, uint32_t instance) {
  uint32_t i = instance & 0xffffu;
  return (qr_feed_t){qr_philox_init(feed, qr_stream_word(QR_STREAM_FEED, 0, i)), i};
}

static inline void qr_feed_pack(const qr_feed_t *f, uint8_t state[QR_FEED_STATE_SZ]) {
  qr_st32(state, f->draws.key[0]);
  qr_st32(state + 4, f->draws.key[1]);
  qr_st32(state + 8, f->draws.ctr2);
  qr_st32(state + 12, f->draws.ctr3);
  qr_st16(state + 16, (uint16_t)f->instance);
}

static inline qr_feed_t qr_feed_unpack(const uint8_t state[QR_FEED_STATE_SZ]) {
  qr_hash_t feed = {{0}};
  memcpy(feed.b, state, 16);
  return qr_feed_init(&feed, qr_ld16(state + 16));
}

/* What a random policy draws, apart from the world's own draws: word i of stream (FEED, 1,
 * instance), mapped to [0, n). */
static inline uint32_t qr_feed_random(const qr_feed_t *f, uint32_t i, uint32_t n) {
  qr_philox_t p = f->draws;
  p.stream = qr_stream_word(QR_STREAM_FEED, 1, f->instance);
  return qr_philox_bound(qr_philox_word(&p, i), n);
}

#endif
