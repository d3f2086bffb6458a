/* The training step as a user of float32 would write it: the same network on OpenBLAS, one thread.
   Products are sgemm, the weights' update is part of the product that makes their gradient, and a
   convolution's rows are gathered once and kept for the backward pass. No dither, no digest. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_rivals.h"
#include "base/err.h"

#define LEAK 0.125f /* slope below zero */
#define CLIP 1.0f   /* of TD errors */
#define MASTER_FRAC 9
#define BIAS_FRAC 20

/* Loops over elements come in the instruction sets that the library's own kernels come in; which
   one runs is chosen when the shared object is loaded. Sanitizers cannot run that early. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__)
#define VECTOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTOR
#endif

typedef struct {
  const qr_layer_t *shape;
  uint32_t m;
  float *weights, *biases, *bias_sum;
  float *rows;   /* a convolution's gathered input [m][k]; NULL for dense layers */
  float *out;    /* [m][n], after the activation */
  float *errors; /* of out */
} layer_t;

struct qr_rival_step {
  qr_net_t net;
  const float *obs;
  float *row_errors; /* errors of a convolution's rows, before they are added up */
  layer_t layers[QR_NET_LAYER_MAX_CNT];
};

static void about(char *out, size_t out_sz) {
  openblas_set_num_threads(1);
  const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
  const char *name_end = strchr(config, ' '), *end = name_end ? strchr(name_end + 1, ' ') : NULL;
  snprintf(out, out_sz, "%.*s, %s kernels, threads %d", end ? (int)(end - config) : 60, config,
           openblas_get_corename(), openblas_get_num_threads());
}

static void step_fini(qr_rival_step_t *s) {
  if (!s) return;
  for (uint32_t l = 0; l < s->net.layer_cnt; l++) {
    layer_t *y = &s->layers[l];
    free(y->weights);
    free(y->biases);
    free(y->bias_sum);
    free(y->rows);
    free(y->out);
    free(y->errors);
  }
  free(s->row_errors);
  free(s);
}

static float *floats(size_t cnt) {
  return aligned_alloc(QR_CACHE_LINE, qr_align_up(cnt * sizeof(float), QR_CACHE_LINE));
}

static void read_model(layer_t *y, const uint8_t *model) {
  const qr_layer_t *s = y->shape;
  float master = 1 / (float)(1u << (s->w_frac + MASTER_FRAC)), bias = 1 / (float)(1u << BIAS_FRAC);
  for (size_t i = 0; i < (size_t)s->k * s->n; i++)
    y->weights[i] = (float)(int16_t)qr_ld16(model + s->w_off + 2 * i) * master;
  for (size_t i = 0; i < s->n; i++)
    y->biases[i] = (float)(int32_t)qr_ld32(model + s->b_off + 4 * i) * bias;
}

static int step_init(const qr_net_t *net, const uint8_t *model, qr_rival_step_t **out) {
  qr_rival_step_t *s = calloc(1, sizeof *s);
  size_t most = 0;
  bool ok = s;
  if (ok) s->net = *net;
  for (uint32_t l = 0; ok && l < net->layer_cnt; l++) {
    layer_t *y = &s->layers[l];
    const qr_layer_t *shape = y->shape = &s->net.layers[l];
    size_t m = y->m = net->spec.batch * shape->pos;
    bool conv = shape->kind == QR_LAYER_CONV3;
    y->weights = floats((size_t)shape->k * shape->n);
    y->biases = floats(shape->n);
    y->bias_sum = floats(shape->n);
    y->out = floats(m * shape->n);
    y->errors = floats(m * shape->n);
    if (conv) y->rows = floats(m * shape->k);
    if (conv && m * shape->k > most) most = m * shape->k;
    ok = y->weights && y->biases && y->bias_sum && y->out && y->errors && (!conv || y->rows);
    if (ok) read_model(y, model);
  }
  if (ok && most) ok = (s->row_errors = floats(most));
  if (!ok) {
    step_fini(s);
    return QR_ERR_NOMEM;
  }
  *out = s;
  return QR_OK;
}

/* ---- convolution rows ---- */

/* Offset of the input row that tap row i of output row y reads, in elements of a sample. */
static size_t input_row(const qr_layer_t *s, uint32_t y, uint32_t i) {
  return (size_t)((y * s->stride_y + i + s->in_h - 1) % s->in_h) * s->in_w * s->in_c;
}

static uint32_t input_col(const qr_layer_t *s, uint32_t x, uint32_t j) {
  return (x * s->stride_x + j + s->in_w - 1) % s->in_w;
}

/* Three taps of a row lie side by side in the input unless they cross its edge. */
static void gather(const qr_layer_t *s, uint32_t batch, const float *src, float *dst) {
  size_t c = s->in_c, sample = (size_t)s->in_h * s->in_w * c;
  for (uint32_t b = 0; b < batch; b++, src += sample) {
    for (uint32_t y = 0; y < s->out_h; y++) {
      for (uint32_t x = 0; x < s->out_w; x++) {
        uint32_t first = input_col(s, x, 0);
        bool whole = first + 2 < s->in_w;
        for (uint32_t i = 0; i < 3; i++, dst += 3 * c) {
          const float *row = src + input_row(s, y, i);
          if (whole) {
            memcpy(dst, row + first * c, 3 * c * sizeof *dst);
            continue;
          }
          for (uint32_t j = 0; j < 3; j++)
            memcpy(dst + j * c, row + input_col(s, x, j) * c, c * sizeof *dst);
        }
      }
    }
  }
}

VECTOR static void scatter(const qr_layer_t *s, uint32_t batch, const float *src, float *dst) {
  size_t c = s->in_c, sample = (size_t)s->in_h * s->in_w * c;
  memset(dst, 0, batch * sample * sizeof *dst);
  for (uint32_t b = 0; b < batch; b++, dst += sample) {
    for (uint32_t y = 0; y < s->out_h; y++) {
      for (uint32_t x = 0; x < s->out_w; x++) {
        for (uint32_t i = 0; i < 3; i++) {
          float *row = dst + input_row(s, y, i);
          for (uint32_t j = 0; j < 3; j++, src += c) {
            float *to = row + input_col(s, x, j) * c;
            for (size_t e = 0; e < c; e++) to[e] += src[e];
          }
        }
      }
    }
  }
}

/* ---- elements ---- */

VECTOR static void add_bias(float *x, const float *bias, size_t m, size_t n, float slope) {
  for (size_t i = 0; i < m; i++, x += n) {
    for (size_t j = 0; j < n; j++) {
      float v = x[j] + bias[j];
      x[j] = v < 0 ? v * slope : v;
    }
  }
}

VECTOR static void mask(float *e, const float *x, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) e[i] = x[i] < 0 ? e[i] * LEAK : e[i];
}

VECTOR static void sum_columns(float *sum, const float *e, size_t m, size_t n) {
  memset(sum, 0, n * sizeof *sum);
  for (size_t i = 0; i < m; i++, e += n) {
    for (size_t j = 0; j < n; j++) sum[j] += e[j];
  }
}

static float clipped(float d) { return d > CLIP ? CLIP : d < -CLIP ? -CLIP : d; }

/* ---- the step ---- */

static const float *input_of(const qr_rival_step_t *s, uint32_t l) {
  return s->layers[l].rows ? s->layers[l].rows : l ? s->layers[l - 1].out : s->obs;
}

static const float *forward(qr_rival_step_t *s, const float *obs) {
  uint32_t last = s->net.layer_cnt - 1;
  s->obs = obs;
  for (uint32_t l = 0; l <= last; l++) {
    layer_t *y = &s->layers[l];
    int k = (int)y->shape->k, n = (int)y->shape->n, m = (int)y->m;
    if (y->rows) gather(y->shape, s->net.spec.batch, l ? s->layers[l - 1].out : obs, y->rows);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, input_of(s, l), k,
                y->weights, n, 0, y->out, n);
    add_bias(y->out, y->biases, y->m, y->shape->n, l < last ? LEAK : 1);
  }
  return s->layers[last].out;
}

/* Errors of the layer before, through the weights as they still are. */
static void backward(qr_rival_step_t *s, uint32_t l) {
  layer_t *y = &s->layers[l], *before = &s->layers[l - 1];
  int k = (int)y->shape->k, n = (int)y->shape->n, m = (int)y->m;
  float *to = y->rows ? s->row_errors : before->errors;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, k, n, 1, y->errors, n, y->weights, n, 0,
              to, k);
  if (y->rows) scatter(y->shape, s->net.spec.batch, to, before->errors);
  mask(before->errors, before->out, (size_t)before->m * before->shape->n);
}

static void update(qr_rival_step_t *s, uint32_t l, uint32_t lr_shift) {
  layer_t *y = &s->layers[l];
  int k = (int)y->shape->k, n = (int)y->shape->n, m = (int)y->m;
  float rate =
      1 / ((float)s->net.spec.batch * (float)(UINT64_C(1) << (y->shape->lr_shift + lr_shift)));
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, k, n, m, -rate, input_of(s, l), k, y->errors,
              n, 1, y->weights, n);
  sum_columns(y->bias_sum, y->errors, y->m, y->shape->n);
  for (int j = 0; j < n; j++) y->biases[j] -= rate * y->bias_sum[j];
}

static double step(qr_rival_step_t *s, const float *obs, const uint8_t *act, const float *target,
                   uint32_t lr_shift) {
  uint32_t last = s->net.layer_cnt - 1, n = s->net.spec.action_cnt;
  const float *q = forward(s, obs);
  float *e = s->layers[last].errors;
  double sum = 0;
  memset(e, 0, (size_t)s->net.spec.batch * n * sizeof *e);
  for (uint32_t b = 0; b < s->net.spec.batch; b++) {
    float d = clipped(q[b * n + act[b]] - target[b]);
    e[b * n + act[b]] = d;
    sum += d < 0 ? -d : d;
  }
  for (uint32_t l = last + 1; l-- > 0;) {
    if (l) backward(s, l);
    update(s, l, lr_shift);
  }
  return sum;
}

static double loss(qr_rival_step_t *s, const float *obs, const uint8_t *act, const float *target) {
  const float *q = forward(s, obs);
  double sum = 0;
  for (uint32_t b = 0; b < s->net.spec.batch; b++) {
    double d = (double)q[b * s->net.spec.action_cnt + act[b]] - (double)target[b];
    double c = (double)clipped((float)d);
    sum += c * (d - c / 2);
  }
  return sum / s->net.spec.batch;
}

static float *weights(qr_rival_step_t *s, uint32_t layer) { return s->layers[layer].weights; }
static float *biases(qr_rival_step_t *s, uint32_t layer) { return s->layers[layer].biases; }

__attribute__((visibility("default"))) extern const qr_rival_f32_t qr_rival_f32;
const qr_rival_f32_t qr_rival_f32 = {
    .about = about,
    .init = step_init,
    .fini = step_fini,
    .step = step,
    .forward = forward,
    .loss = loss,
    .weights = weights,
    .biases = biases,
};
