/* What running a network's step program takes, worked out once when it is loaded: which ops each
   layer has, where each operand of each product lies, and how much memory that is. */
#ifndef QR_ACCEL_CPU_PLAN_H
#define QR_ACCEL_CPU_PLAN_H

#include "kern.h"
#include "step/net.h"
#include "step/program.h"

/* Samples go through a layer in chunks, so that what one stage leaves is still in a near cache when
   the next one comes; a chunk is a power of two that divides the batch. Within it, products are
   made in blocks of rows and columns, whose activation or update follows at once. */
#define QR_CPU_CHUNK_MIN 16u
#define QR_CPU_BLOCK_ROWS 64u
#define QR_CPU_BLOCK_COLS 32u
#define QR_CPU_STRIP_ROWS 32u   /* of a weight matrix, dithered and packed at a time */
#define QR_CPU_FORWARD_ROWS 64u /* samples of a pass without dither */
#define QR_CPU_TAPS 9u          /* of a convolution */

/* Working memory of a queue, in items of each area's type. */
#define QR_CPU_AREAS(F)                                                                            \
  F(int8_t, x)        /* inputs of all layers but the first, [batch][in], layer after layer */     \
  F(int8_t, w7)       /* compute copies of all weights */                                          \
  F(int32_t, e)       /* error tensor of the layer in progress */                                  \
  F(int32_t, e_below) /* and of the one before it */                                               \
  F(int32_t, q)                                                                                    \
  F(int8_t, strip)     /* a dithered strip before it is packed */                                  \
  F(int8_t, e7)        /* rounded errors of a chunk */                                             \
  F(int8_t, a)         /* left operand of a chunk */                                               \
  F(int8_t, at)        /* left operand of a weight gradient */                                     \
  F(int8_t, b)         /* panels of weights */                                                     \
  F(int8_t, d)         /* panels of errors */                                                      \
  F(int32_t, init)     /* start values that belong to panels of weights, */                        \
  F(int32_t, d_init)   /* and of errors */                                                         \
  F(int32_t, bias)     /* at the accumulator's scale */                                            \
  F(int32_t, sum)      /* bias gradient */                                                         \
  F(int32_t, c)        /* block of a product */                                                    \
  F(int32_t, g)        /* weight gradient of a convolution, or a block of the last layer's */      \
  F(uint32_t, key)     /* digest keys [8][n] */                                                    \
  F(uint64_t, rho)     /* digest factors of all bands */                                           \
  F(uint8_t, r)        /* draws of a block of weights */                                           \
  F(int8_t, fwd_b)     /* forward pass without dither: panels, start values and biases of all */   \
  F(int32_t, fwd_init) /* layers, */                                                               \
  F(int32_t, fwd_bias)                                                                             \
  F(int8_t, fwd_x)  /* and the inputs of two layers in turn */                                     \
  F(int8_t, gemm_a) /* blocks of a product of the caller's own */                                  \
  F(int8_t, gemm_b)                                                                                \
  F(int8_t, gemm_rows)                                                                             \
  F(int32_t, gemm_init)                                                                            \
  F(int32_t, gemm_c)

typedef struct {
#define F(type, name) size_t name;
  QR_CPU_AREAS(F)
#undef F
} qr_cpu_sizes_t;

typedef struct {
#define F(type, name) type *name;
  QR_CPU_AREAS(F)
#undef F
} qr_cpu_mem_t;

/* One layer. Ops that it lacks are NULL: the last layer is not dithered, and nothing flows back to
   the inputs. */
typedef struct {
  const qr_layer_t *l;
  const qr_step_op_t *dither_a, *dither_w, *product, *out;
  const qr_step_op_t *quant, *dither_ga, *dither_ge, *grad, *dither_be, *dither_bw, *err, *bias_upd,
      *weight_upd;
  bool conv, last;
  uint32_t in_sz;   /* elements of one sample's input */
  uint32_t n4, n16; /* n in whole groups, in whole panels */
  uint32_t chunk;   /* samples */
  /* Samples whose inputs and errors are dithered at a time before they are packed. */
  uint32_t in_part, err_part;
  /* A convolution's padded inputs: of one sample, and of four side by side. */
  qr_cpu_image_t image, image4;
  uint32_t image_sz, image4_sz;
  /* Where the layer's part of an area begins. */
  size_t x_at, w7_at, fwd_b_at, fwd_n_at;
  /* Offsets of rows and groups of the left operands, see qr_cpu_gemm_t: of the forward product and
     of the error product for one chunk; of the weight gradient for one chunk of a convolution, or
     for the whole batch. */
  uint32_t *row, *step, *grad_row, *grad_step, *err_row, *err_step;
  uint32_t grad_k4;
  /* Bytes from panel to panel of the weights, forward and back, and of the gradient's operands. */
  size_t panel_sz, err_panel_sz, grad_panel_sz;
  /* The errors of a convolution's inputs are sums over the taps that read them: where, from the
     first input of a chunk on, the product's rows belong, tap by tap. */
  uint32_t *spread;
  uint32_t first_taps; /* bit t: what tap t reads was read by no earlier one */
  bool unread;         /* some inputs are read by no tap */
} qr_cpu_layer_t;

typedef struct {
  const qr_net_t *net;
  uint32_t layer_cnt, batch;
  qr_cpu_layer_t layers[QR_NET_LAYER_MAX_CNT];
  uint32_t fwd_rows; /* samples that the forward pass takes through all layers at a time */
  size_t fwd_x_sz;   /* elements of one of its two inputs */
  void *tables;      /* holds all offsets */
} qr_cpu_plan_t;

/* Plans prog, which must be what net lowers to, and grows sizes to what it takes; net and prog are
   lent until qr_cpu_plan_fini. Returns 0, QR_ERR_ARG for any other program, or QR_ERR_NOMEM. */
int qr_cpu_plan_init(qr_cpu_plan_t *plan, const qr_net_t *net, const qr_step_prog_t *prog,
                     qr_cpu_sizes_t *sizes) QR_WARN_UNUSED;
void qr_cpu_plan_fini(qr_cpu_plan_t *plan);

/* Lays mem out at base, 64-byte aligned; base = NULL only counts. Returns the bytes. */
size_t qr_cpu_mem_place(qr_cpu_mem_t *mem, const qr_cpu_sizes_t *sizes, uint8_t *base);

#endif
