/* What the error drivers (drivers/<port>/error) share: options that say what goes wrong and how
   often, and lots that depend on a seed and on the number of what is hit alone, so that a run can
   be repeated whatever its timing. */
#ifndef QR_PORT_FAULT_H
#define QR_PORT_FAULT_H

#include "base/types.h"

#define QR_FAULT_RATE_MAX UINT64_C(1000000000)

/* The driver that an error driver wraps, and that one's options as it takes them. */
typedef struct {
  char name[32], options[256];
} qr_fault_inner_t;

enum qr_fault_kind {
  QR_FAULT_RATE,   /* uint64_t: "1/N", one in N up to QR_FAULT_RATE_MAX; "0", never, gives 0 */
  QR_FAULT_NUMBER, /* uint64_t: 0 .. most */
  QR_FAULT_SWITCH, /* bool: "1" or "0" */
  QR_FAULT_FLAG,   /* bool: it is there, and has no value */
  QR_FAULT_INNER   /* qr_fault_inner_t: "name", or "name:key=value" and so on */
};

typedef struct {
  const char *key;
  enum qr_fault_kind kind;
  void *at; /* what kind says */
  uint64_t most;
} qr_fault_option_t;

/* Reads "key=value" items with separator, ',' or ';', between them to where known says; what is not
   named stays as it is. The options of an inner driver have the other one between them in the text
   and separator in what is read. who, "store error", begins what why is told. Returns 0, or
   QR_ERR_ARG and a sentence in why; some of the items may then have been read. */
int qr_fault_options(const char *who, const char *options, char separator,
                     const qr_fault_option_t *known, size_t known_cnt, char *why,
                     size_t why_sz) QR_WARN_UNUSED;

/* The lots of one thing out of many: lots is a seed, or the lots of what the thing is part of. */
uint64_t qr_fault_lots(uint64_t lots, uint64_t number);

/* Draws whether a fault of that rate happens, in one of rate cases; 0: never. A lot is spent either
   way, so that one rate does not move what others hit. */
bool qr_fault_hits(uint64_t *lots, uint64_t rate);

#endif
