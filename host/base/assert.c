#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void qr_assert_fail(const char *cond, const char *file, int line) {
  fprintf(stderr, "quarry: assertion failed: %s (%s:%d)\n", cond, file, line);
  abort();
}
