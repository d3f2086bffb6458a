/* The drivers of this test's build: the CPU alone. */
#include "port/drivers.h"

extern const qr_accel_ops_t qr_accel_cpu_ops;

const qr_link_ops_t *const qr_link_drivers[] = {NULL};
const qr_store_ops_t *const qr_store_drivers[] = {NULL};
const qr_accel_ops_t *const qr_accel_drivers[] = {&qr_accel_cpu_ops, NULL};
