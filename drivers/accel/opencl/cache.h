/* Where the tuning of a device is kept between runs: the user's cache folder. Never anything that
   the driver cannot do without. */
#ifndef QR_OCL_CACHE_H
#define QR_OCL_CACHE_H

#include "opencl.h"

/* False if there is no file for this device, driver and these kernels that makes sense. */
bool qr_ocl_cache_read(const qr_ocl_dev_t *d, qr_ocl_tune_t *out);
/* Writes it, if it can: a new file takes the place of an old one at once. */
void qr_ocl_cache_write(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t);

#endif
