#include "base/bell.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Both sides exchange the same word, so one of them comes second and sees what the other published
   before. */
void qr_bell_arm(qr_bell_t *b) { atomic_exchange_explicit(&b->armed, 1, memory_order_acq_rel); }
void qr_bell_disarm(qr_bell_t *b) { atomic_exchange_explicit(&b->armed, 0, memory_order_acq_rel); }

bool qr_bell_wait(qr_bell_t *b, uint64_t timeout_ns) {
  struct timespec ts = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
  bool late =
      syscall(SYS_futex, &b->armed, FUTEX_WAIT_PRIVATE, 1, &ts, NULL, 0) < 0 && errno == ETIMEDOUT;
  qr_bell_disarm(b);
  return !late;
}

void qr_bell_ring(qr_bell_t *b) {
  if (!atomic_exchange_explicit(&b->armed, 0, memory_order_acq_rel)) return;
  (void)syscall(SYS_futex, &b->armed, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
