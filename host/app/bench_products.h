/* The int8 products of the training step, one by one: this driver's against the machine's own peak
   and against the same products by a library. Every digested product of the tasks with its real
   shape and storage, and a few squares that show what larger ones do. */
#ifndef QR_APP_BENCH_PRODUCTS_H
#define QR_APP_BENCH_PRODUCTS_H

#include "app/bench_peak.h"
#include "app/bench_rig.h"
#include "app/bench_rivals.h"
#include "app/bench_series.h"

#define QR_BENCH_PRODUCT_MAX_CNT (QR_TASK_MAX_CNT * QR_STEP_GEMM_MAX_CNT + 4u)
#define QR_BENCH_RIVAL_MAX_CNT 8u
#define QR_BENCH_NO_TASK UINT32_MAX
#define QR_BENCH_PRODUCT_PHASE "product" /* how the name of that phase begins, if it is timed */

enum qr_bench_product_figure {
  QR_BENCH_WHOLE_GMAC,    /* operands as they lie, packing and sums included */
  QR_BENCH_WHOLE_OF_PEAK, /* over the peak of the kernel's instructions */
  QR_BENCH_ALONE_GMAC,    /* the driver's phase of products, of packed operands */
  QR_BENCH_ALONE_OF_PEAK,
  QR_BENCH_WHOLE_OF_S8,    /* whole over the library's s8 x s8 as they lie: the same work */
  QR_BENCH_WHOLE_OF_RIVAL, /* whole over its fastest way as they lie, unsigned or not */
  QR_BENCH_ALONE_OF_RIVAL, /* alone over its fastest way with operands laid out before */
  QR_BENCH_PRODUCT_FIGURE_CNT
};
extern const char *const qr_bench_product_keys[QR_BENCH_PRODUCT_FIGURE_CNT];

/* One way in which the library makes a product. */
typedef struct {
  const char *primitive; /* "matmul" */
  qr_rival_form_t form;
  char implementation[64]; /* as the library calls it */
  char why[128];           /* not offered: why, and no samples */
  bool equal;              /* to ours, every element; not measured otherwise */
  qr_bench_series_t gmac_per_s;
} qr_bench_rival_t;

typedef struct {
  char name[24]; /* "backward data 1", "square 512" */
  uint32_t task; /* or QR_BENCH_NO_TASK */
  qr_step_op_t op;
  qr_step_geo_t geo; /* of the convolution it belongs to, else 0 */
  bool image; /* A is read from the image, as the step has it; the entry before this one is the same
                 product of rows that were gathered before, which is what matmul takes */
  char why[64]; /* the driver makes no single products: why */
  qr_bench_series_t figures[QR_BENCH_PRODUCT_FIGURE_CNT];
  const char *rival_why; /* the library has no way at all: why, else NULL */
  uint32_t rival_cnt;
  qr_bench_rival_t rivals[QR_BENCH_RIVAL_MAX_CNT];
} qr_bench_product_t;

/* All digested products of one step, one after the other, of gathered rows; the library's matmul.
 */
enum qr_bench_sum_figure {
  QR_BENCH_SUM_WHOLE_GMAC,
  QR_BENCH_SUM_ALONE_GMAC,
  QR_BENCH_SUM_S8_GMAC,           /* s8 x s8 as they lie */
  QR_BENCH_SUM_RIVAL_LIES_GMAC,   /* the fastest way of each, as they lie */
  QR_BENCH_SUM_RIVAL_PACKED_GMAC, /* and with operands laid out before */
  QR_BENCH_SUM_WHOLE_OF_S8,
  QR_BENCH_SUM_WHOLE_OF_RIVAL,
  QR_BENCH_SUM_ALONE_OF_RIVAL,
  QR_BENCH_SUM_FIGURE_CNT
};
extern const char *const qr_bench_sum_keys[QR_BENCH_SUM_FIGURE_CNT];

typedef struct {
  uint32_t cnt;
  qr_bench_product_t list[QR_BENCH_PRODUCT_MAX_CNT];
  qr_bench_series_t sums[QR_TASK_MAX_CNT][QR_BENCH_SUM_FIGURE_CNT];
} qr_bench_product_list_t;

typedef struct qr_bench_products qr_bench_products_t;

/* Whether a phase of a driver is that of products. */
bool qr_bench_is_product(const char *phase);

/* The products of the tasks chosen, on device d; rivals may have no int8 library. All is borrowed.
   out is filled, large and kept by the caller. Returns 0 or a negative code. */
int qr_bench_products_init(qr_bench_products_t **p, const qr_chain_cfg_t *chain,
                           const bool *with_task, qr_bench_dev_t *d, const qr_rivals_t *rivals,
                           qr_bench_product_list_t *out) QR_WARN_UNUSED;
void qr_bench_products_fini(qr_bench_products_t *p);

/* One sample of each: the fastest of a few runs in a row, so caches are warm for all alike. peak:
   of the kernel's instructions, measured anew around each product; NULL: there is none. */
int qr_bench_products_round(qr_bench_products_t *p, uint32_t round,
                            const qr_bench_peak_t *peak) QR_WARN_UNUSED;

#endif
