/* Threads that work on one step together. Between the parts of a step they wait without sleep, for
   those are some ten microseconds apart; between steps they sleep soon. */
#ifndef QR_ACCEL_CPU_TEAM_H
#define QR_ACCEL_CPU_TEAM_H

#include "base/types.h"

#define QR_CPU_TEAM_MAX_CNT 16u

typedef struct qr_cpu_team qr_cpu_team_t;

/* cnt members, 2 to QR_CPU_TEAM_MAX_CNT, of which the caller is one. Returns 0 or QR_ERR_NOMEM. */
int qr_cpu_team_open(uint32_t cnt, qr_cpu_team_t **out) QR_WARN_UNUSED;
void qr_cpu_team_close(qr_cpu_team_t *t);

/* Calls work(arg, i) for each member i, by the caller for 0; returns when all have returned. What
   was written before is seen by all, and what they wrote by the caller. */
void qr_cpu_team_run(qr_cpu_team_t *t, void (*work)(void *arg, uint32_t member), void *arg);

#endif
