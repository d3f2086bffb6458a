/* What a launch works on: descriptors in device memory, shared by the host and the kernels (the
   build puts this file before every kernel source). All offsets are bytes from the start of the one
   buffer that holds everything of a program; all fields have 32 bits. */
#ifndef QR_OCL_TASK_H
#define QR_OCL_TASK_H

#if defined(__OPENCL_C_VERSION__) || defined(__OPENCL_VERSION__)
typedef uint qr_ocl_u32;
typedef int qr_ocl_i32;
#else
#include <stdint.h>
typedef uint32_t qr_ocl_u32;
typedef int32_t qr_ocl_i32;
#endif

/* Elements of one run: what an element-wise unit handles, and the rows of a panel. */
#define QR_OCL_RUN 16
#define QR_OCL_NONE 0xffffffffu

/* A packed operand of a product: panels of 16 rows (of A) or columns (of B); in each, for every
   group of neighbours along k, 16 words of one group each. A word holds 4 bytes or 2 halves
   (GROUP, a definition that the kernels are built with), so that one load serves one dot product.
 */

/* Kinds of element-wise tasks, and what one unit is. */
#define QR_OCL_ZERO 0    /* dst: m words to 0; 16 words */
#define QR_OCL_FORM 1    /* dst i8[m][n] from src: weights to w7, dither; a run */
#define QR_OCL_PACK_K 2  /* as FORM, to a packed operand whose k is n; a run of a row */
#define QR_OCL_PACK_D 3  /* as FORM, to a packed operand whose k is m; a group of rows of a run */
#define QR_OCL_CONV 4    /* packed rows of a convolution, m rows; a panel */
#define QR_OCL_CONV_T 5  /* the same transposed: m rows are k; 16 of them */
#define QR_OCL_ACT 6     /* dst i8 = activation of src i32 + biases; a run */
#define QR_OCL_QOUT 7    /* dst i32 = (src i32 + biases) << p0; a run */
#define QR_OCL_TD 8      /* dst i32[m][n] = errors of Q; a row */
#define QR_OCL_MASK 9    /* dst i32 = src >> 3 where aux i8 < 0; a run */
#define QR_OCL_MAX 10    /* register reg = largest |src|, masked by aux if given; a run */
#define QR_OCL_QUANT 11  /* dst i8 = rounded src, masked by aux if given; a run */
#define QR_OCL_COL2IM 12 /* dst i32[b][h][w][c] = gathered columns of src; 8 channels */
#define QR_OCL_COLSUM 13 /* dst i32[n] += columns of src i8; a run of some rows */
#define QR_OCL_BIAS 14   /* dst i32[n] biases -= SR(src); a run */
#define QR_OCL_WEIGHT 15 /* dst i16[m][n] masters -= SR(src); a run of a row */
#define QR_OCL_DIGEST 16 /* digest of src i32[m][n]; one row */

#define QR_OCL_SUM_ROWS 64u /* of a unit of COLSUM */

/* Flags of FORM and PACK. */
#define QR_OCL_W7 1     /* src are i16 masters */
#define QR_OCL_DITHER 2 /* by p0, draws at draw */

/* What follows a product: the low bits of its flags. */
#define QR_OCL_END_STORE 0
#define QR_OCL_END_ADD 1 /* one of several parts along k: added to dst */
#define QR_OCL_END_ACT 2
#define QR_OCL_END_QOUT 3
#define QR_OCL_END_WEIGHT 4

typedef struct {
  qr_ocl_u32 kind, wg_end;   /* work-groups of the launch up to and with this task's */
  qr_ocl_u32 unit_cnt, runs; /* units, and how many a work-item does */
  qr_ocl_u32 src, src1, aux, dst;
  qr_ocl_u32 m, n, k;
  qr_ocl_u32 flags;
  qr_ocl_i32 p0, p1;
  qr_ocl_u32 draw; /* bytes of a stream */
  qr_ocl_u32 reg,
      exp; /* words: maximum or QR_OCL_NONE; fraction bits of the layer, of the next behind */
  qr_ocl_u32 key, rho, digest; /* digest: key words, band factors, number or QR_OCL_NONE */
  qr_ocl_u32 groups;           /* of a packed operand along k, padding included */
  qr_ocl_u32 parts;            /* along k, of a product */
  qr_ocl_u32 h, w, c, out_h, out_w, sy, sx;
  qr_ocl_u32 pad[3];
} qr_ocl_task_t;

/* One stream of a step: what the draw kernel fills. */
typedef struct {
  qr_ocl_u32 wg_end, blocks;
  qr_ocl_u32 slot; /* of the heads of a step */
  qr_ocl_u32 dst;
} qr_ocl_draw_t;

#define QR_OCL_DRAW_BLOCKS 512u /* blocks of a stream come in so many */

/* Keys of an attempt. A stream's head is its state after the first round but for what the block
   index adds, which is all that differs between two blocks until then. */
typedef struct {
  qr_ocl_u32 key0; /* word 0 of round key 0 */
  qr_ocl_u32 pad[3];
  qr_ocl_u32 round[4][4];      /* round keys 2 .. 5 */
  qr_ocl_u32 plane[4][128][2]; /* the same bit by bit, 0 or all ones, less what S-boxes leave out */
} qr_ocl_keys_t;

#endif
