/* Private to the adversary's miner. */
#ifndef QR_TEST_ADVERSARY_H
#define QR_TEST_ADVERSARY_H

#include "app/bench_adversary.h"
#include "drivers/accel/cpu/step.h"

/* What of a layer is the same in every step, so that it need not be made again. */
enum qr_adversary_part {
  QR_ADVERSARY_W7,     /* compute copies of the weights */
  QR_ADVERSARY_ACT,    /* activations, the inputs of the next layer: all 0 */
  QR_ADVERSARY_ERROR,  /* rounded errors, with the bias gradient and the exponent they give */
  QR_ADVERSARY_UPDATE, /* weights: no update changes one */
  QR_ADVERSARY_PART_CNT
};

typedef struct {
  bool same;
  uint64_t first, now; /* hash of the results of a whole step: of the first one, of this one */
} qr_adversary_note_t;

/* What the kernels see of a miner; they have no argument of their own. */
typedef struct {
  const qr_cpu_plan_t *plan;
  const qr_cpu_mem_t *mem;
  const uint8_t *model;
  bool watched;                       /* a first step was */
  bool stray;                         /* in this step an activation was not what it always was */
  bool strayed[QR_NET_LAYER_MAX_CNT]; /* of this layer, ever */
  qr_adversary_note_t notes[QR_NET_LAYER_MAX_CNT][QR_ADVERSARY_PART_CNT];
  /* of each layer, what stands in for errors that are not made again */
  uint32_t magnitudes[QR_NET_LAYER_MAX_CNT];
  int8_t *e7[QR_NET_LAYER_MAX_CNT];
  int32_t *sum[QR_NET_LAYER_MAX_CNT];
} qr_adversary_memo_t;

/* Kernels that make everything and note what they see, and kernels that leave out what is the same:
 *table becomes either, of the driver's own ones. One thread at a time works on one memo. */
void qr_adversary_watch_kernels(qr_adversary_memo_t *m, const qr_cpu_kern_t *own,
                                qr_cpu_kern_t *table);
void qr_adversary_skip_kernels(qr_adversary_memo_t *m, const qr_cpu_kern_t *own,
                               qr_cpu_kern_t *table);
/* A step that was watched is over. */
void qr_adversary_watch_end(qr_adversary_memo_t *m);

extern const qr_adversary_trick_t qr_adversary_tricks[];
void qr_adversary_make_model(uint32_t trick, const qr_net_t *net, const uint8_t *honest,
                             uint8_t *model);

void qr_adversary_multiply(const char *kernel, const qr_adversary_product_t *p);
void qr_adversary_strassen(const char *kernel, const qr_adversary_strassen_t *p, bool after);

#endif
