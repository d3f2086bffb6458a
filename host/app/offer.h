/* The snapshot that a node gives to others: a file of quarry snapshot export, which may be replaced
   (by rename) while the node runs. */
#ifndef QR_APP_OFFER_H
#define QR_APP_OFFER_H

#include "app/snapshot_file.h"
#include "tile/net.h"

typedef struct {
  const char *path; /* borrowed */
  qr_snapshot_file_t file;
  bool open;
  uint64_t look_ns;            /* when to look again */
  uint64_t dev, ino, mtime_ns; /* of what was looked at last */
} qr_offer_t;

void qr_offer_init(qr_offer_t *o, const char *path);
/* What the net tile asks; o is borrowed. */
qr_net_offer_t qr_offer_ops(qr_offer_t *o);
void qr_offer_fini(qr_offer_t *o);

#endif
