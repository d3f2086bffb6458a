/* What the operands of a training step are like, and what that would save a miner on its products:
   counted, on the operands of a real step, not measured. Each figure is the share of the
   multiply-adds that is left, so 1 is nothing gained; what a trick costs besides is only counted
   where it is written. host/mine/ADVERSARY.md says what the tricks are. */
#ifndef QR_APP_BENCH_OPERAND_H
#define QR_APP_BENCH_OPERAND_H

#include "hls/common/qr_step_abi.h"
#include "step/net.h"

enum qr_bench_saving {
  QR_BENCH_SAVE_REPEATS,  /* equal rows or columns are multiplied once */
  QR_BENCH_SAVE_ZEROS,    /* no multiply-add with a factor 0, on hardware that can leave it out */
  QR_BENCH_SAVE_RANK,     /* a product of low rank as two thin ones */
  QR_BENCH_SAVE_STRASSEN, /* as deep as sums of operands stay eight bits; additions counted */
  QR_BENCH_SAVE_WINOGRAD, /* a convolution's taps share multiplications, under the same limit */
  QR_BENCH_SAVE_CNT
};
extern const char *const qr_bench_saving_keys[QR_BENCH_SAVE_CNT];

typedef struct {
  char name[24]; /* "forward 1", "gradient 1", "errors 1" */
  uint32_t m, n, k;
  int a_min, a_max, b_min, b_max;
  double a_var, b_var;              /* about their mean */
  uint32_t rank_of, a_rank, b_rank; /* of leading squares of this size */
  double left[QR_BENCH_SAVE_CNT];
} qr_bench_operand_product_t;

typedef struct {
  uint32_t cnt; /* 0: not counted */
  qr_bench_operand_product_t list[QR_STEP_GEMM_MAX_CNT];
  double left[QR_BENCH_SAVE_CNT]; /* of all products, the undigested ones untouched */
} qr_bench_operand_t;

/* Copies of a product's operands, A [m][k] and B [n][k], for whoever tries one. */
typedef void (*qr_bench_operand_fn_t)(void *arg, uint32_t slot, const qr_step_op_t *op,
                                      const int16_t *a, const int16_t *b, const int32_t *c);

/* Makes step k of an attempt by the reference, for it in full detail; fn may be NULL. model is
   changed. Returns 0 or QR_ERR_NOMEM. */
int qr_bench_operands(const qr_net_t *net, uint8_t *model, const int8_t *obs, const uint8_t *act,
                      const int32_t *target, const qr_hash_t *sigma, uint32_t k,
                      qr_bench_operand_fn_t fn, void *arg, qr_bench_operand_t *out) QR_WARN_UNUSED;

#endif
