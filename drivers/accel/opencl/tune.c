#include "base/err.h"
#include "opencl.h"

void qr_ocl_tune_default(const qr_ocl_dev_t *d, qr_ocl_tune_t *out) {
  static const qr_ocl_tune_t processor = {.vector = 1,
                                          .rows = 8,
                                          .tile_x = 64,
                                          .tile_y = 64,
                                          .sliced = 1,
                                          .draw_items = 1,
                                          .element_items = 1,
                                          .product_items = 1,
                                          .runs = 64,
                                          .pass_rows = 256};
  static const qr_ocl_tune_t other = {.rows = 4,
                                      .tile_x = 64,
                                      .tile_y = 64,
                                      .local_table = 1,
                                      .draw_items = 64,
                                      .element_items = 64,
                                      .product_items = 64,
                                      .runs = 1,
                                      .pass_rows = 2048};
  *out = d->cpu ? processor : other;
  out->dot = d->khr_dot ? QR_OCL_DOT_KHR : d->arm_dot ? QR_OCL_DOT_ARM : QR_OCL_DOT_PLAIN;
}

void qr_ocl_tune(const qr_ocl_dev_t *d, const qr_ocl_options_t *o, qr_ocl_tune_t *out) {
  qr_ocl_tune_default(d, out);
  if (o->vector >= 0) out->vector = (uint32_t)o->vector;
  if (o->sliced >= 0) out->sliced = (uint32_t)o->sliced;
}
