/* Operation errors: 0 or a negative code; the operation failed and the caller handles it. */
#ifndef QR_BASE_ERR_H
#define QR_BASE_ERR_H

enum qr_err {
  QR_OK = 0,
  QR_ERR_ARG = -1,      /* a parameter from an operator or a file is not acceptable */
  QR_ERR_NOMEM = -2,    /* memory could not be had */
  QR_ERR_IO = -3,       /* the operating system or a device failed */
  QR_ERR_FORMAT = -4,   /* bytes do not decode */
  QR_ERR_NOTFOUND = -5, /* no such item */
  QR_ERR_FULL = -6,     /* no room now; try again later */
  QR_ERR_CORRUPT = -7,  /* stored data contradicts its own hash */
  QR_ERR_AGAIN = -8,    /* not finished yet */
  QR_ERR_CANCELLED = -9,
  QR_ERR_UNSUPPORTED = -10,
  QR_ERR_CLOSED = -11,
  QR_ERR_BUSY = -12 /* in use by somebody else */
};

/* Name of an error code, never NULL. */
const char *qr_err_str(int err);

#endif
