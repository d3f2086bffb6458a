/* What befalls a job of the error driver: drawn from the seed, the queue and the number of the job
   alone, so that a run can be repeated whatever its timing. */
#ifndef QR_ACCEL_ERROR_FATE_H
#define QR_ACCEL_ERROR_FATE_H

#include "port/fault.h"

/* One job in so many; 0: none. */
typedef struct {
  uint64_t seed;
  uint64_t corrupt, drop, fail, delay;
  uint64_t delay_ms;
  uint64_t open_fail; /* of the first opens */
  bool deaf;          /* a dropped job does not hear a cancel either */
  bool look;          /* opened for its units alone */
  qr_fault_inner_t inner;
} qr_error_settings_t;

typedef struct {
  bool corrupt, drop, fail, delay;
  uint64_t where; /* random, for what is corrupted */
} qr_error_fate_t;

/* Reads "key=value,..."; on failure a sentence goes to why. */
int qr_error_settings(const char *options, qr_error_settings_t *out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

/* What becomes of a job; the same for the same settings and numbers. */
qr_error_fate_t qr_error_fate(const qr_error_settings_t *s, uint64_t queue, uint64_t job);

/* Flips bit `where`, taken modulo their number, of sz bytes. */
void qr_error_flip(void *bytes, size_t sz, uint64_t where);

#endif
