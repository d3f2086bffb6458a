/* Random networks, models and minibatches for tests of the training step. Seeded, no I/O, header
   only: a test binary is one file. */
#ifndef QR_TEST_NET_GEN_H
#define QR_TEST_NET_GEN_H

#include "base/splitmix.h"
#include "step/net.h"

typedef struct {
  uint64_t s;
} gen_t;

/* Independent of the protocol's own generator on purpose. */
static inline uint64_t gen_u64(gen_t *g) { return qr_splitmix_next(&g->s); }

/* Uniform in [lo, hi]. */
static inline int64_t gen_range(gen_t *g, int64_t lo, int64_t hi) {
  return lo + (int64_t)(gen_u64(g) % (uint64_t)(hi - lo + 1));
}

static inline qr_hash_t gen_hash(gen_t *g) {
  qr_hash_t h;
  for (int i = 0; i < QR_HASH_SZ; i += 8) qr_st64(h.b + i, gen_u64(g));
  return h;
}

static inline uint32_t gen_divisor(gen_t *g, uint32_t v) {
  uint32_t d;
  do d = (uint32_t)gen_range(g, 1, v < 3 ? v : 3);
  while (v % d);
  return d;
}

/* A spec of up to 4 layers; conv_cnt of them 3x3 convolutions in front. It may break a limit: the
   caller asks qr_net_init and draws again. */
static inline qr_net_spec_t gen_spec(gen_t *g, uint32_t conv_cnt) {
  qr_net_spec_t s = {.in_c = 16 * (uint32_t)gen_range(g, 1, 5), .in_h = 1, .in_w = 1};
  uint32_t h = 1, w = 1;
  if (conv_cnt) {
    s.in_c = 8 * (uint32_t)gen_range(g, 1, 3);
    s.in_h = h = (uint32_t)gen_range(g, 1, 6);
    s.in_w = w = (uint32_t)gen_range(g, 1, 8);
  }
  s.action_cnt = (uint32_t)gen_range(g, 1, 19);
  s.layer_cnt = conv_cnt + (uint32_t)gen_range(g, 1, 3);
  s.batch = 16u << gen_range(g, 0, 2);
  s.act_frac = (uint32_t)gen_range(g, 3, 6);
  for (uint32_t l = 0; l < s.layer_cnt; l++) {
    qr_layer_spec_t *y = &s.layers[l];
    y->kind = l < conv_cnt ? QR_LAYER_CONV3 : QR_LAYER_DENSE;
    y->out = l + 1 == s.layer_cnt ? s.action_cnt : 16 * (uint32_t)gen_range(g, 1, 4);
    y->lr_shift = (uint32_t)gen_range(g, 0, 4);
    y->init_fan = gen_range(g, 0, 1) ? 0 : (uint32_t)gen_range(g, 8, 400);
    if (y->kind == QR_LAYER_CONV3) {
      y->stride_y = gen_divisor(g, h);
      y->stride_x = gen_divisor(g, w);
      h /= y->stride_y;
      w /= y->stride_x;
    }
  }
  return s;
}

/* A network that qr_net_init accepts, within 64 draws; returns false if there was none. */
static inline bool gen_net(gen_t *g, uint32_t conv_cnt, qr_net_t *net) {
  char why[128];
  for (int i = 0; i < 64; i++) {
    qr_net_spec_t s = gen_spec(g, conv_cnt);
    if (!qr_net_init(&s, net, why, sizeof why)) return true;
  }
  return false;
}

enum gen_mode {
  GEN_INIT,    /* genesis weights and plain observations: what an honest first step sees */
  GEN_UNIFORM, /* every value uniform over its range */
  GEN_EXTREME, /* only the ends of every range */
  GEN_CONST,   /* every element of a tensor the same end of its range */
  GEN_ZERO,    /* all zero */
  GEN_ALIEN,   /* as GEN_UNIFORM, with biases that no update leaves but a peer's model may hold */
  GEN_MODE_CNT
};

static inline int64_t gen_value(gen_t *g, enum gen_mode m, int64_t lo, int64_t hi) {
  switch (m) {
  case GEN_EXTREME: return gen_range(g, 0, 1) ? lo : hi;
  case GEN_CONST: return hi;
  case GEN_ZERO: return 0;
  default: return gen_range(g, lo, hi);
  }
}

/* The canonical bytes of a model of that kind. */
static inline void gen_model(gen_t *g, enum gen_mode m, const qr_net_t *net, uint8_t *model) {
  if (m == GEN_INIT) {
    qr_hash_t seed = gen_hash(g);
    qr_model_init(net, &seed, model);
    return;
  }
  for (uint32_t l = 0; l < net->layer_cnt; l++) {
    const qr_layer_t *y = &net->layers[l];
    int64_t lim = m == GEN_ALIEN ? INT32_MAX : l + 1 == net->layer_cnt ? 1 << 23 : 1 << 20;
    for (uint32_t i = 0; i < y->k * y->n; i++) {
      qr_st16(model + y->w_off + 2 * i, (uint16_t)gen_value(g, m, -32768, 32767));
    }
    for (uint32_t j = 0; j < y->n; j++) {
      qr_st32(model + y->b_off + 4 * j,
              (uint32_t)gen_value(g, m == GEN_ALIEN ? GEN_EXTREME : m, -lim, lim));
    }
  }
}

static inline void gen_obs(gen_t *g, enum gen_mode m, int8_t *obs, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) obs[i] = (int8_t)gen_value(g, m, -64, 63);
}

static inline void gen_act(gen_t *g, const qr_net_t *net, uint8_t *act, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) act[i] = (uint8_t)gen_range(g, 0, net->spec.action_cnt - 1);
}

/* GEN_INIT: targets of the size an honest step has; otherwise the ends of int32 too. */
static inline void gen_target(gen_t *g, enum gen_mode m, int32_t *t, size_t cnt) {
  int64_t lim = m == GEN_INIT ? 1 << 17 : INT32_MAX;
  for (size_t i = 0; i < cnt; i++) t[i] = (int32_t)gen_value(g, m, -lim, lim);
}

#endif
