/* What differs between kinds of devices: how the kernels are built and how work is cut. */
#ifndef QR_OCL_TUNE_H
#define QR_OCL_TUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Integer dot products of four bytes. */
enum qr_ocl_dot { QR_OCL_DOT_PLAIN, QR_OCL_DOT_KHR, QR_OCL_DOT_ARM };

typedef struct {
  uint32_t vector;         /* products: 1 wide vectors per work-item, 0 tiles in local memory */
  uint32_t rows;           /* of C that a work-item sums */
  uint32_t tile_x, tile_y; /* of C that a work-group makes; without vector */
  uint32_t dot;            /* enum qr_ocl_dot; without vector */
  uint32_t sliced;         /* draws: 1 S-box as a circuit, 0 as a table */
  uint32_t local_table;    /* the table is copied to local memory */
  uint32_t draw_items, element_items, product_items; /* work-items of a work-group */
  uint32_t runs;                                     /* of 16 elements that a work-item does */
  uint32_t pass_rows;                                /* of the longest forward pass */
} qr_ocl_tune_t;

#endif
