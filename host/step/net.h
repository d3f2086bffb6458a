/* The Q-network of a task: its layers, fixed-point scales and the canonical bytes of a model.
   A model is one byte string: for each layer its weights int16 [K][N] row-major, then its biases
   int32 [N], little-endian; every layer starts 4-byte aligned (K*N is even). Root: crypto/hash.h
   Merkle root over QR_MODEL_CHUNK_SZ chunks. */
#ifndef QR_STEP_NET_H
#define QR_STEP_NET_H

#include "base/types.h"

#define QR_NET_LAYER_MAX_CNT 6u
#define QR_MODEL_CHUNK_SZ 16384u
#define QR_MODEL_MAX_SZ (1u << 20)

enum qr_layer_kind { QR_LAYER_DENSE = 0, QR_LAYER_CONV3 = 1 };

/* What the genesis file says of a layer. CONV3 is 3x3 with toroidal padding over [h][w][c]; the
   last layer must be dense with out = number of actions and is linear, the others are leaky. */
typedef struct {
  uint32_t kind; /* enum qr_layer_kind */
  uint32_t out;  /* N: units or output channels; a multiple of 16 but for the last layer */
  uint32_t stride_y, stride_x; /* CONV3 only; divide the input's height and width */
  uint32_t lr_shift;           /* learning rate of the layer is 2^-lr_shift before the schedule */
  uint32_t init_fan;           /* fan used for init and weight scale; 0 means K */
} qr_layer_spec_t;

typedef struct {
  uint32_t in_c, in_h, in_w; /* observation */
  uint32_t action_cnt;
  uint32_t layer_cnt;
  qr_layer_spec_t layers[QR_NET_LAYER_MAX_CNT];
  uint32_t batch;    /* B, a power of two, 16..1024 */
  uint32_t act_frac; /* f of hidden activations (inputs have 5) */
} qr_net_spec_t;

/* A layer as lowered. */
typedef struct {
  uint32_t kind, k, n; /* GEMM inner and outer size: k = inputs or 9*c, n = outputs */
  uint32_t in_h, in_w, in_c, out_h, out_w, stride_y, stride_x; /* dense: h = w = 1, in_c = k */
  uint32_t pos; /* output positions per sample: 1 for dense */
  uint32_t lr_shift;
  int32_t in_frac;       /* f_a of the layer's input */
  int32_t w_frac;        /* f_w; masters have f_w + 9 */
  int32_t init_lim;      /* init draws weights uniformly from [-init_lim, init_lim] */
  uint32_t w_off, b_off; /* byte offsets of weights and biases in the model */
} qr_layer_t;

typedef struct {
  qr_net_spec_t spec;
  uint32_t layer_cnt;
  qr_layer_t layers[QR_NET_LAYER_MAX_CNT];
  uint32_t in_sz;        /* observation elements */
  uint32_t model_sz;     /* bytes */
  uint64_t mac_cnt_step; /* multiply-accumulates of one training step, all GEMMs */
  uint64_t mac_cnt_fwd;  /* of one sample's forward pass */
} qr_net_t;

/* Checks a spec and derives the network. Returns 0, or QR_ERR_ARG with a sentence in why (why_sz
 * bytes). */
int qr_net_init(const qr_net_spec_t *spec, qr_net_t *net, char *why, size_t why_sz) QR_WARN_UNUSED;

/* Genesis weights from a seed: layer l uses stream (INIT, l, 0); see README. model: net->model_sz
 * bytes, 4-byte aligned. */
void qr_model_init(const qr_net_t *net, const qr_hash_t *seed, uint8_t *model);

/* Root of a model. */
qr_hash_t qr_model_root(const qr_net_t *net, const uint8_t *model);

#endif
