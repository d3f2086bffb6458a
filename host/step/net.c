#include "step/net.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/philox.h"
#include "crypto/hash.h"
#include "step/fixed.h"

/* Bounds that keep every index and size within 32 bits; real networks are far below. */
#define DIM_MAX 65536u
#define TENSOR_MAX_CNT (1u << 24)
#define ACTION_MAX_CNT 255u /* actions travel as bytes */
#define LR_SHIFT_MAX 31u
#define ACT_FRAC_MAX 7u
#define I7_PRODUCT 4096 /* largest magnitude of a product of two 7-bit operands */

typedef struct {
  char *why;
  size_t why_sz;
} complaint_t;

/* Writes the reason and returns the error, so that a check is one line. */
QR_PRINTF(2, 3) static int refuse(const complaint_t *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  if (c->why && c->why_sz) vsnprintf(c->why, c->why_sz, fmt, ap);
  va_end(ap);
  return QR_ERR_ARG;
}

/* The largest f_w with 2^(2(6 - f_w)) * fan >= 54. */
static int32_t weight_frac(uint32_t fan) {
  int32_t f = 3; /* fan = 1 */
  while (f < 6 ? (uint64_t)fan << 2 * (5 - f) >= 54 : fan >= (uint64_t)54 << 2 * (f - 5)) f++;
  return f;
}

static uint64_t isqrt(uint64_t v) {
  uint64_t root = 0;
  for (int bit = 31; bit >= 0; bit--) {
    uint64_t t = root | (uint64_t)1 << bit;
    if (t * t <= v) root = t;
  }
  return root;
}

static int32_t init_limit(uint32_t fan, int32_t w_frac, bool last) {
  int32_t lim = (int32_t)isqrt(((uint64_t)6 << 2 * (w_frac + QR_STEP_MASTER_EXTRA)) / fan);
  if (last) lim /= 8;
  return lim ? lim : 1;
}

static int check_spec(const qr_net_spec_t *s, const complaint_t *c) {
  if (s->in_c - 1 >= DIM_MAX || s->in_h - 1 >= DIM_MAX || s->in_w - 1 >= DIM_MAX ||
      (uint64_t)s->in_c * s->in_h * s->in_w > DIM_MAX)
    return refuse(c, "net: the observation must have 1 to %u elements", DIM_MAX);
  if (s->layer_cnt < 2 || s->layer_cnt > QR_NET_LAYER_MAX_CNT)
    return refuse(c, "net: layer_cnt must be 2 to %u", QR_NET_LAYER_MAX_CNT);
  if (s->action_cnt - 1 >= ACTION_MAX_CNT)
    return refuse(c, "net: action_cnt must be 1 to %u", ACTION_MAX_CNT);
  if (s->batch < 16 || s->batch > 1024 || (s->batch & (s->batch - 1)))
    return refuse(c, "net: batch must be a power of two, 16 to 1024");
  if (s->act_frac > ACT_FRAC_MAX) return refuse(c, "net: act_frac must be 0 to %u", ACT_FRAC_MAX);
  const qr_layer_spec_t *last = &s->layers[s->layer_cnt - 1];
  if (last->kind != QR_LAYER_DENSE || last->out != s->action_cnt)
    return refuse(c, "net: the last layer must be dense with out = action_cnt");
  return 0;
}

/* Shapes of a layer that reads [h][w][c]. */
static int shape_layer(const qr_layer_spec_t *s, uint32_t idx, bool last, uint32_t h, uint32_t w,
                       uint32_t ch, qr_layer_t *l, const complaint_t *c) {
  l->kind = s->kind;
  l->n = s->out;
  l->lr_shift = s->lr_shift;
  if (s->lr_shift > LR_SHIFT_MAX)
    return refuse(c, "net: layer %u: lr_shift above %u", idx, LR_SHIFT_MAX);
  if (s->init_fan > DIM_MAX) return refuse(c, "net: layer %u: init_fan above %u", idx, DIM_MAX);
  if (!s->out || s->out > DIM_MAX || (!last && s->out % 16))
    return refuse(c, "net: layer %u: out must be a multiple of 16, at most %u", idx, DIM_MAX);
  if (s->kind == QR_LAYER_DENSE) {
    l->in_h = l->in_w = l->out_h = l->out_w = l->stride_y = l->stride_x = l->pos = 1;
    l->in_c = l->k = h * w * ch;
  } else if (s->kind == QR_LAYER_CONV3) {
    if (!s->stride_y || !s->stride_x || h % s->stride_y || w % s->stride_x)
      return refuse(c, "net: layer %u: strides must divide the input's height and width", idx);
    l->in_h = h;
    l->in_w = w;
    l->in_c = ch;
    l->stride_y = s->stride_y;
    l->stride_x = s->stride_x;
    l->out_h = h / s->stride_y;
    l->out_w = w / s->stride_x;
    l->pos = l->out_h * l->out_w;
    l->k = 9 * ch;
  } else {
    return refuse(c, "net: layer %u: unknown kind %u", idx, s->kind);
  }
  uint32_t unit = idx == 0 && s->kind == QR_LAYER_CONV3 ? 8 : 16;
  if (l->k % unit || l->k > DIM_MAX)
    return refuse(c, "net: layer %u: inner size %u must be a multiple of %u, at most %u", idx, l->k,
                  unit, DIM_MAX);
  return 0;
}

/* Scales of a shaped layer; refuses those whose shifts or accumulators leave their range. */
static int scale_layer(uint32_t fan, uint32_t idx, bool last, uint32_t batch, int32_t act_frac,
                       qr_layer_t *l, const complaint_t *c) {
  l->in_frac = idx ? act_frac : QR_STEP_IN_FRAC;
  l->w_frac = weight_frac(fan);
  l->init_lim = init_limit(fan, l->w_frac, last);
  int32_t acc_frac = l->in_frac + l->w_frac;
  int32_t out_shift = last ? QR_STEP_Q_FRAC - acc_frac : acc_frac - act_frac;
  if (last && out_shift < 0)
    return refuse(c, "net: layer %u: Q values need %d more fraction bits", idx, -out_shift);
  QR_ASSERT(last ||
            (out_shift >= 1 && out_shift <= 24)); /* follows from the ranges of fan and act_frac */

  uint64_t m = (uint64_t)batch * l->pos;
  uint64_t in_cnt = (uint64_t)batch * l->in_h * l->in_w * l->in_c;
  if (m * l->k > TENSOR_MAX_CNT || m * l->n > TENSOR_MAX_CNT || in_cnt > TENSOR_MAX_CNT)
    return refuse(c, "net: layer %u: a tensor has more than %u elements", idx, TENSOR_MAX_CNT);

  int64_t bias = qr_step_bias_at(last ? QR_STEP_BIAS_LIM_OUT : QR_STEP_BIAS_LIM_HIDDEN,
                                 QR_STEP_BIAS_FRAC - acc_frac);
  int64_t acc = (int64_t)I7_PRODUCT * l->k + bias;
  if (last) acc *= (int64_t)1 << out_shift;
  int64_t grad = (int64_t)I7_PRODUCT * (int64_t)m;
  int64_t err = (int64_t)I7_PRODUCT * l->n * (l->kind == QR_LAYER_CONV3 ? 9 : 1);
  if (acc > INT32_MAX || grad > INT32_MAX || err > INT32_MAX)
    return refuse(c, "net: layer %u: an accumulator could overflow 32 bits", idx);
  return 0;
}

int qr_net_init(const qr_net_spec_t *spec, qr_net_t *net, char *why, size_t why_sz) {
  complaint_t c = {why, why_sz};
  memset(net, 0, sizeof *net);
  int err = check_spec(spec, &c);
  if (err) return err;
  net->spec = *spec;
  net->layer_cnt = spec->layer_cnt;
  net->in_sz = spec->in_c * spec->in_h * spec->in_w;

  uint32_t h = spec->in_h, w = spec->in_w, ch = spec->in_c;
  uint64_t off = 0;
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_spec_t *s = &spec->layers[i];
    qr_layer_t *l = &net->layers[i];
    bool last = i + 1 == net->layer_cnt;
    if (i && s->kind == QR_LAYER_CONV3 && spec->layers[i - 1].kind == QR_LAYER_DENSE)
      return refuse(&c, "net: layer %u: a convolution cannot follow a dense layer", i);
    if ((err = shape_layer(s, i, last, h, w, ch, l, &c))) return err;
    if ((err = scale_layer(s->init_fan ? s->init_fan : l->k, i, last, spec->batch,
                           (int32_t)spec->act_frac, l, &c)))
      return err;
    uint64_t weight_cnt = (uint64_t)l->k * l->n;
    uint64_t end = off + 2 * weight_cnt + 4 * (uint64_t)l->n;
    if (end > QR_MODEL_MAX_SZ)
      return refuse(&c, "net: the model has more than %u bytes", QR_MODEL_MAX_SZ);
    l->w_off = (uint32_t)off;
    l->b_off = (uint32_t)(off + 2 * weight_cnt);
    off = end;
    net->mac_cnt_fwd += weight_cnt * l->pos;
    net->mac_cnt_step +=
        weight_cnt * l->pos * spec->batch * (i ? 3 : 2); /* nothing flows back to the inputs */
    h = l->out_h;
    w = l->out_w;
    ch = l->n;
  }
  net->model_sz = (uint32_t)off;
  return 0;
}

void qr_model_init(const qr_net_t *net, const qr_hash_t *seed, uint8_t *model) {
  memset(model, 0, net->model_sz);
  for (uint32_t i = 0; i < net->layer_cnt; i++) {
    const qr_layer_t *l = &net->layers[i];
    qr_philox_t p = qr_philox_init(seed, qr_stream_word(QR_STREAM_INIT, i, 0));
    uint32_t range = 2 * (uint32_t)l->init_lim + 1;
    for (uint32_t j = 0; j < l->k * l->n; j++) {
      int32_t v = (int32_t)qr_philox_bound(qr_philox_word(&p, j), range) - l->init_lim;
      qr_st16(model + l->w_off + 2 * (size_t)j, (uint16_t)v);
    }
  }
}

qr_hash_t qr_model_root(const qr_net_t *net, const uint8_t *model) {
  return qr_merkle_root(model, net->model_sz, QR_MODEL_CHUNK_SZ);
}
