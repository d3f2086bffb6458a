#include "port/drivers.h"

#define FIND(table, wanted)                                                                        \
  for (size_t i = 0; (table)[i]; i++) {                                                            \
    if (!strcmp((table)[i]->name, wanted)) return (table)[i];                                      \
  }                                                                                                \
  return NULL

const qr_link_ops_t *qr_link_driver(const char *name) { FIND(qr_link_drivers, name); }
const qr_store_ops_t *qr_store_driver(const char *name) { FIND(qr_store_drivers, name); }
const qr_accel_ops_t *qr_accel_driver(const char *name) { FIND(qr_accel_drivers, name); }
