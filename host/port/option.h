/* Driver options: "key=value;key=value;..." text from the operator. A key without '=' has an empty
   value; empty items are skipped; spaces around items are not part of them. */
#ifndef QR_PORT_OPTION_H
#define QR_PORT_OPTION_H

#include "base/types.h"

typedef struct {
  char key[32];
  char value[256];
} qr_option_t;

/* Reads the item at *cursor, which moves behind it. Returns 1 and *out, 0 at the end, or QR_ERR_ARG
   if a key or a value is too long or a key is empty. */
int qr_option_next(const char **cursor, char separator, qr_option_t *out) QR_WARN_UNUSED;

/* A decimal number in lo .. hi; false if the text is anything else. */
bool qr_option_u64(const char *value, uint64_t lo, uint64_t hi, uint64_t *out) QR_WARN_UNUSED;

#endif
