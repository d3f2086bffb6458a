/* The padded images that convolutions read: [h + 2][w + 2][c], the border holding what lies
   opposite on the torus. A pixel is any number of bytes. */
#ifndef QR_ACCEL_CPU_IMAGE_H
#define QR_ACCEL_CPU_IMAGE_H

#include "base/types.h"

/* Fills in the border of an image whose inside is there. */
static inline void qr_cpu_image_close(int8_t *image, uint32_t h, uint32_t w, size_t pixel) {
  size_t line = (w + 2) * pixel;
  for (uint32_t y = 1; y <= h; y++) {
    int8_t *p = image + y * line;
    memcpy(p, p + w * pixel, pixel);
    memcpy(p + (w + 1) * pixel, p + pixel, pixel);
  }
  memcpy(image, image + h * line, line);
  memcpy(image + (h + 1) * line, image + line, line);
}

/* First pixel of line y of the inside. */
static inline int8_t *qr_cpu_image_line(int8_t *image, uint32_t y, uint32_t w, size_t pixel) {
  return image + ((y + 1) * (size_t)(w + 2) + 1) * pixel;
}

#endif
