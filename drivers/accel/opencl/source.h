/* Kernel sources, put into the driver by the build (embed.cmake). */
#ifndef QR_OCL_SOURCE_H
#define QR_OCL_SOURCE_H

#include <stddef.h>

typedef struct {
  const char *text; /* sz bytes, no NUL behind */
  size_t sz;
} qr_ocl_text_t;

extern const qr_ocl_text_t qr_ocl_text_task, qr_ocl_text_common, qr_ocl_text_draw,
    qr_ocl_text_element, qr_ocl_text_product;

#endif
