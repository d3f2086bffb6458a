/* Map from QUIC connection IDs to connection numbers: open addressing, fixed capacity, keyed so
   that a peer who chooses IDs cannot choose places. */
#ifndef QR_LINK_QUIC_CIDMAP_H
#define QR_LINK_QUIC_CIDMAP_H

#include "base/types.h"

#define QR_CID_MAX_SZ 20u

typedef struct {
  uint8_t id[QR_CID_MAX_SZ];
  uint8_t sz;
  uint32_t value;
} qr_cid_entry_t; /* value 0: free */
typedef struct {
  qr_cid_entry_t *entry;
  uint32_t mask, cnt, cnt_max;
  uint64_t key[4];
} qr_cidmap_t;

/* Takes memory for cnt_max IDs; key: random. Returns 0 or QR_ERR_NOMEM. */
int qr_cidmap_init(qr_cidmap_t *m, uint32_t cnt_max, const uint64_t key[4]) QR_WARN_UNUSED;
void qr_cidmap_fini(qr_cidmap_t *m);

/* value > 0. Returns false if the map is full or sz is too large; replaces the value of a known ID.
 */
bool qr_cidmap_put(qr_cidmap_t *m, const uint8_t *id, size_t sz, uint32_t value) QR_WARN_UNUSED;
/* 0 if not known. */
uint32_t qr_cidmap_get(const qr_cidmap_t *m, const uint8_t *id, size_t sz);
/* Removes the ID if it has that value. */
void qr_cidmap_del(qr_cidmap_t *m, const uint8_t *id, size_t sz, uint32_t value);

#endif
