/* Models that an adversary would bring. */
#include "adversary.h"
#include "step/fixed.h"

enum trick { FROZEN, CLIP_LOCKED, SATURATED, CONSTANT, LOW_RANK, VANISHING, FAR };

const qr_adversary_trick_t qr_adversary_tricks[] = {
    [FROZEN] = {"frozen", "an honest model, from which every attempt starts anew"},
    [CLIP_LOCKED] = {"clip-locked", "every weight at one of its clips"},
    [SATURATED] = {"saturated", "weights at the upper clip, biases at their limit"},
    [CONSTANT] = {"constant", "weights and biases 0"},
    [LOW_RANK] = {"low-rank", "weights of rank one"},
    [VANISHING] = {"vanishing",
                   "weights 0, activations held by biases, no error below the last layer"},
    [FAR] = {"far", "as vanishing, with Q values so far off that errors are clipped"},
    {0},
};

static uint32_t scatter(uint32_t i) { return i * 0x9E3779B1u >> 7; }

static int16_t weight(enum trick trick, const qr_layer_t *l, uint32_t i, uint32_t j) {
  switch (trick) {
  case CLIP_LOCKED: return scatter(i * l->n + j) & 1 ? INT16_MAX : INT16_MIN;
  case SATURATED: return INT16_MAX;
  case LOW_RANK:
    return (int16_t)(((int)(scatter(i) & 127) - 64) * ((int)(scatter(j + l->k) & 127) - 64));
  default: return 0;
  }
}

/* Activations: below 0, where a change is an eighth, and out of reach of 0; in later layers in the
   middle of what rounds to 0, [-512, 64) at the accumulator's scale for the usual shift. */
static int32_t held(const qr_layer_t *l, uint32_t layer) {
  return layer ? -224 * (1 << (QR_STEP_BIAS_FRAC - l->in_frac - l->w_frac))
               : -QR_STEP_BIAS_LIM_HIDDEN;
}

static int32_t bias(enum trick trick, const qr_layer_t *l, uint32_t layer, bool last) {
  switch (trick) {
  case SATURATED: return last ? QR_STEP_BIAS_LIM_OUT : QR_STEP_BIAS_LIM_HIDDEN;
  case VANISHING: return last ? 0 : held(l, layer);
  case FAR: return last ? QR_STEP_BIAS_LIM_OUT : held(l, layer);
  default: return 0;
  }
}

void qr_adversary_make_model(uint32_t trick, const qr_net_t *net, const uint8_t *honest,
                             uint8_t *model) {
  memcpy(model, honest, net->model_sz);
  if (trick == FROZEN) return;
  for (uint32_t layer = 0; layer < net->layer_cnt; layer++) {
    const qr_layer_t *l = &net->layers[layer];
    int16_t *w = (void *)(model + l->w_off);
    int32_t *b = (void *)(model + l->b_off);
    for (uint32_t i = 0; i < l->k; i++) {
      for (uint32_t j = 0; j < l->n; j++) w[i * l->n + j] = weight(trick, l, i, j);
    }
    for (uint32_t j = 0; j < l->n; j++) b[j] = bias(trick, l, layer, layer + 1 == net->layer_cnt);
  }
}
