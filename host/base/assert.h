/* Assertions: for our own bugs only, always compiled in, never on input from outside. */
#ifndef QR_BASE_ASSERT_H
#define QR_BASE_ASSERT_H

#define QR_ASSERT(cond) ((cond) ? (void)0 : qr_assert_fail(#cond, __FILE__, __LINE__))

/* Writes the condition and the place to stderr and aborts. */
_Noreturn void qr_assert_fail(const char *cond, const char *file, int line);

#endif
