/* What befalls a commit or an open of the error driver: drawn from the seed and its number alone,
   so that a run can be repeated whatever its timing. */
#ifndef QR_STORE_ERROR_FATE_H
#define QR_STORE_ERROR_FATE_H

#include "port/fault.h"

typedef struct {
  uint64_t seed;
  uint64_t fail, survive, delay, open_fail; /* one in so many; 0: none */
  uint64_t delay_polls;
  qr_fault_inner_t inner;
} qr_store_error_settings_t;

typedef struct {
  bool fail, survive, delay;
  uint32_t follower_cnt; /* survive: so many that follow are stored too */
} qr_store_error_fate_t;

/* Reads "key=value;..."; on failure a sentence goes to why. */
int qr_store_error_settings(const char *options, qr_store_error_settings_t *out, char *why,
                            size_t why_sz) QR_WARN_UNUSED;

/* What becomes of a commit; the same for the same settings and numbers. The first opening, number
   0, never fails. */
qr_store_error_fate_t qr_store_error_fate(const qr_store_error_settings_t *s, uint64_t open,
                                          uint64_t commit);
bool qr_store_error_open_fails(const qr_store_error_settings_t *s, uint64_t open);

#endif
