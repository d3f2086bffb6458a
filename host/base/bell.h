/* A bell wakes the one thread that sleeps behind it. Ringing it costs an atomic operation while
   that thread is awake, and a system call only when it sleeps. Nothing is lost: what was published
   before a ring is seen either by the look that follows qr_bell_arm or after the wait. */
#ifndef QR_BASE_BELL_H
#define QR_BASE_BELL_H

#include <stdatomic.h>

#include "base/types.h"

typedef struct {
  _Alignas(QR_CACHE_LINE) _Atomic uint32_t armed;
} qr_bell_t;

/* The sleeper: arm, look once more whether there is work, then wait or disarm. */
void qr_bell_arm(qr_bell_t *b);
void qr_bell_disarm(qr_bell_t *b);
bool qr_bell_wait(qr_bell_t *b, uint64_t timeout_ns); /* false: the time was up; disarms it */

/* Anybody, after publishing something. */
void qr_bell_ring(qr_bell_t *b);

#endif
