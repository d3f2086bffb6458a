/* The step program: what an accelerator executes. One list of op descriptors, shared by the host,
   the drivers, the device models and the HLS kernels. Plain C99, fixed-width fields, no pointers: a
   program is bytes that can be hashed and copied to a card. What each op computes, to the bit, is
   written in host/step/README.md; host/step/ref.c defines it in code. Buffers are numbered;
   qr_step_buf_t gives type and element count. All tensors are row-major. */
#ifndef QR_STEP_ABI_H
#define QR_STEP_ABI_H

#include <stdint.h>

#define QR_STEP_ABI_VERSION 1u
#define QR_STEP_OP_MAX_CNT 96u
#define QR_STEP_BUF_MAX_CNT 64u
#define QR_STEP_EXP_MAX_CNT                                                                        \
  8u /* exponent registers: fraction bits of the error tensors, index = layer; exp[layer_cnt] is 0 \
      */
#define QR_STEP_GEMM_MAX_CNT 24u /* digested products of one step */
#define QR_STEP_NO_DIGEST 0xffffu
#define QR_STEP_NO_BUF 0xffffu

enum qr_step_type { QR_STEP_I8 = 1, QR_STEP_I16 = 2, QR_STEP_I32 = 3, QR_STEP_U8 = 4 };

enum qr_step_buf_role {
  QR_STEP_BUF_SCRATCH = 0,
  QR_STEP_BUF_OBS,
  QR_STEP_BUF_ACT,
  QR_STEP_BUF_TARGET,
  QR_STEP_BUF_WEIGHT,
  QR_STEP_BUF_BIAS
};

typedef struct {
  uint16_t type; /* enum qr_step_type */
  uint16_t role; /* enum qr_step_buf_role: OBS/ACT/TARGET are filled per step by the host,
                    WEIGHT/BIAS are the model */
  uint32_t cnt;  /* elements; scratch is shared by ops of different shapes and holds the largest */
  uint32_t off;  /* WEIGHT/BIAS: byte offset in the model */
} qr_step_buf_t;

/* Shapes: an elementwise op works on m*n elements of [m][n] and has k = 1. Unused fields are 0,
   unused buffers QR_STEP_NO_BUF. Shifts may be negative where SR takes them; "sched" is the
   schedule's lr_shift given at run time. */
enum qr_step_op_kind {
  QR_OP_END = 0,  /* follows the last op; not counted in op_cnt */
  QR_OP_W7,       /* dst i8[m][n] = clip((src0 i16 + 256) >> 9, -64, 63) */
  QR_OP_DITHER,   /* dst i8[m][n] = clip(src0 i8, -64+d, 63-d) + u; d = p0; stream = p1 (purpose),
                     layer */
  QR_OP_GEMM,     /* dst i32[m][n] = A (src0) . B (src1) over k; see flags; digest slot in digest */
  QR_OP_BIAS_ACT, /* dst i8[m][n] = requantised leaky(src0 i32[m][n] + bias(src1)); p0 = shift, p1 =
                     bias shift */
  QR_OP_Q_OUT,    /* dst i32[m][n] = (src0 + bias(src1)) << p0; p1 = bias shift */
  QR_OP_TD,   /* dst i32[m][n]: zero but at the taken action; src0 = Q, src1 = actions u8[m], aux =
                 targets i32[m] */
  QR_OP_MASK, /* dst i32[m][n] in place: e >> 3 where src0 i8[m][n] < 0 */
  QR_OP_ERR_QUANT, /* dst i8[m][n] = stochastic-rounded src0 i32; exp[layer] = exp[layer+1] + p0 -
                      shift; stream ROUND_E */
  QR_OP_COL2IM,    /* dst i32[b][h][w][c], cleared first, = scatter-add of src0 i32[m = b*pos][n =
                      9*c]; geometry in geo */
  QR_OP_BIAS_UPD,  /* dst i32 biases [n] -= SR(column sums of src0 i8[m][n], exp[layer] + p0 +
                      sched), clipped to +-p1; ROUND_B */
  QR_OP_WEIGHT_UPD /* dst i16 masters [m][n] -= SR(src0 i32[m][n], exp[layer] + p0 + sched), clipped
                      to int16; ROUND_W */
};

enum qr_step_gemm_flags {
  QR_GEMM_A_TRANS = 1, /* A is stored [k][m] (after convolution addressing, if any) */
  QR_GEMM_B_TRANS = 2, /* B is stored [n][k] */
  QR_GEMM_A_CONV =
      4 /* A is an activation tensor [b][h][w][c] addressed as rows [b*pos][9*c] through geo */
};

/* Convolution geometry: output position (y, x), tap (i, j) in 0..2 reads input ((y*sy + i - 1) mod
   h, (x*sx + j - 1) mod w); column of the row is (i*3 + j)*c + channel; row is (sample*out_h +
   y)*out_w + x. Set for A_CONV products and COL2IM, else 0. With A_CONV | A_TRANS the product uses
   the transpose of that row matrix: m = 9*c, k = b*pos. */
typedef struct {
  uint16_t h, w, c, out_h, out_w, sy, sx, pad;
} qr_step_geo_t;

typedef struct {
  uint16_t kind;                 /* enum qr_step_op_kind */
  uint16_t layer;                /* network layer; selects streams and exponent registers */
  uint16_t src0, src1, dst, aux; /* buffer numbers or QR_STEP_NO_BUF */
  uint16_t flags;                /* enum qr_step_gemm_flags */
  uint16_t digest;               /* slot of the digested product, or QR_STEP_NO_DIGEST */
  uint32_t m, n, k;
  int32_t p0, p1, p2, p3;
  qr_step_geo_t geo;
} qr_step_op_t;

typedef struct {
  uint32_t abi_version;
  uint32_t op_cnt, buf_cnt, digest_cnt;
  uint32_t batch, obs_sz, action_cnt, model_sz;
  uint16_t td_q_buf; /* buffer whose Q values the TD op reads, for drivers that expose them */
  uint16_t pad;
  qr_step_buf_t bufs[QR_STEP_BUF_MAX_CNT];
  qr_step_op_t ops[QR_STEP_OP_MAX_CNT];
} qr_step_prog_t;

#endif
