/* Stream words: what a draw is for, so that no two uses of a seed share one. */
#ifndef QR_BASE_STREAM_H
#define QR_BASE_STREAM_H

#include "base/types.h"

/* Purposes: the top byte of a stream word. layer is 8 bits, k (step or instance) 16 bits. */
enum qr_stream {
  QR_STREAM_BATCH = 1,     /* replay indices of step k */
  QR_STREAM_DITHER_A = 2,  /* forward activations of layer l */
  QR_STREAM_DITHER_W = 3,  /* forward weights of layer l */
  QR_STREAM_DITHER_GA = 4, /* activations used in the weight gradient of layer l */
  QR_STREAM_DITHER_GE = 5, /* errors used in the weight gradient of layer l */
  QR_STREAM_DITHER_BE = 6, /* errors used in the backward-data product of layer l */
  QR_STREAM_DITHER_BW = 7, /* weights used in the backward-data product of layer l */
  QR_STREAM_ROUND_E = 8,   /* stochastic rounding of the error tensor of layer l */
  QR_STREAM_ROUND_W = 9,   /* stochastic rounding of the weight update of layer l */
  QR_STREAM_ROUND_B = 10,  /* stochastic rounding of the bias update of layer l */
  QR_STREAM_DIGEST_K = 11, /* digest key words of GEMM t (in the layer byte) */
  QR_STREAM_DIGEST_R = 12, /* digest row-group multipliers of GEMM t */
  QR_STREAM_INIT = 13,     /* genesis weights of layer l */
  QR_STREAM_EXPLORE = 14,  /* epsilon-greedy draws of instance k */
  QR_STREAM_FEED = 15,     /* exogenous data of an environment, instance k */
  QR_STREAM_WARMUP = 16,   /* genesis random policy, instance k */
  QR_STREAM_START = 17     /* start states of fresh instances, instance k */
};

static inline uint32_t qr_stream_word(enum qr_stream purpose, uint32_t layer, uint32_t k) {
  return (uint32_t)purpose << 24 | (layer & 255u) << 16 | (k & 0xffffu);
}

#endif
