#include "base/err.h"

const char *qr_err_str(int err) {
  switch (err) {
  case QR_OK: return "ok";
  case QR_ERR_ARG: return "bad argument";
  case QR_ERR_NOMEM: return "out of memory";
  case QR_ERR_IO: return "input/output error";
  case QR_ERR_FORMAT: return "malformed data";
  case QR_ERR_NOTFOUND: return "not found";
  case QR_ERR_FULL: return "full";
  case QR_ERR_CORRUPT: return "corrupt data";
  case QR_ERR_AGAIN: return "not ready";
  case QR_ERR_CANCELLED: return "cancelled";
  case QR_ERR_UNSUPPORTED: return "not supported";
  case QR_ERR_CLOSED: return "closed";
  case QR_ERR_BUSY: return "in use";
  default: return "unknown error";
  }
}
