/* The training step without executing it: refusals of the network, lowering, the fixed-point
   primitives, the digest, the draw of a minibatch. test_step_ref.c executes it. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/ars.h"
#include "base/philox.h"
#include "crypto/hash.h"
#include "net_specs.h"
#include "step/fixed.h"
#include "step/ref.h"

static const qr_net_spec_t microgrid = NET_MICROGRID, microgrid_map = NET_MICROGRID_MAP;
static const qr_net_spec_t deepest = {8,
                                      4,
                                      8,
                                      2,
                                      6,
                                      {CONV(16, 1, 2, 0, 0), CONV(16, 2, 1, 0, 0),
                                       CONV(32, 1, 2, 0, 0), CONV(16, 1, 1, 0, 0),
                                       CONV(16, 2, 2, 0, 0), DENSE(2, 0, 0)},
                                      16,
                                      5};

/* Network */

static int try_net(const qr_net_spec_t *s, const char *reason) {
  qr_net_t net;
  char why[128] = "";
  int err = qr_net_init(s, &net, why, sizeof why);
  if (err) assert_int_equal(err, QR_ERR_ARG);
  if (err ? !strstr(why, reason) : *why) fail_msg("\"%s\" where \"%s\" was expected", why, reason);
  assert_int_equal(qr_net_init(s, &net, NULL, 0), err);
  return err;
}

/* Each refusal is one change of a network that is accepted. */
#define REFUSED(base, reason, change)                                                              \
  do {                                                                                             \
    qr_net_spec_t s = base;                                                                        \
    assert_int_equal(try_net(&s, ""), 0);                                                          \
    change;                                                                                        \
    if (!try_net(&s, reason)) fail_msg("accepted: %s", #change);                                   \
  } while (0)

static void net_refuses_bad_dense(void **state) {
  (void)state;
  REFUSED(microgrid, "observation", s.in_c = 0);
  REFUSED(microgrid, "observation", s.in_h = 0);
  REFUSED(microgrid, "observation", s.in_w = UINT32_MAX);
  REFUSED(microgrid, "observation", s.in_c = 65552);
  REFUSED(microgrid, "observation", s.in_c = 0x80000000u; s.in_h = 2);
  REFUSED(microgrid, "inner size", s.in_c = 136);
  REFUSED(microgrid, "action_cnt must", s.action_cnt = 0; s.layers[2].out = 0);
  REFUSED(microgrid, "action_cnt must", s.action_cnt = 256; s.layers[2].out = 256);
  REFUSED(microgrid, "last layer", s.action_cnt = 4);
  REFUSED(microgrid, "layer_cnt", s.layer_cnt = 0);
  REFUSED(microgrid, "layer_cnt", s.layer_cnt = 1);
  REFUSED(microgrid, "layer_cnt", s.layer_cnt = 7);
  REFUSED(microgrid, "batch", s.batch = 8);
  REFUSED(microgrid, "batch", s.batch = 0);
  REFUSED(microgrid, "batch", s.batch = 2048);
  REFUSED(microgrid, "batch", s.batch = 24);
  REFUSED(microgrid, "act_frac", s.act_frac = 8);
  REFUSED(microgrid, "act_frac", s.act_frac = UINT32_MAX);
  REFUSED(microgrid, "out must", s.layers[0].out = 0);
  REFUSED(microgrid, "out must", s.layers[0].out = 392);
  REFUSED(microgrid, "out must", s.layers[1].out = UINT32_MAX - 15);
  REFUSED(microgrid, "kind", s.layers[0].kind = 2);
  REFUSED(microgrid, "cannot follow", s.layers[1].kind = QR_LAYER_CONV3;
          s.layers[1].stride_y = s.layers[1].stride_x = 1);
  REFUSED(microgrid, "last layer", s.layers[2].kind = QR_LAYER_CONV3;
          s.layers[2].stride_y = s.layers[2].stride_x = 1);
  REFUSED(microgrid, "lr_shift", s.layers[1].lr_shift = 32);
  REFUSED(microgrid, "init_fan", s.layers[1].init_fan = 65537);
  REFUSED(microgrid, "bytes", s.layers[0].out = 2048); /* more than 1 MiB of model */
  REFUSED(microgrid, "fraction bits", s.act_frac = 7;
          s.layers[2].init_fan = 65536); /* f_a + f_w of the last layer above 16 */
  REFUSED(microgrid, "overflow", s.act_frac = 0; s.layers[2].init_fan = 1); /* Q could overflow */
}

static void net_refuses_bad_conv(void **state) {
  (void)state;
  REFUSED(microgrid_map, "inner size", s.in_c = 4);
  REFUSED(microgrid_map, "strides", s.layers[0].stride_y = 0);
  REFUSED(microgrid_map, "strides", s.layers[0].stride_x = 0);
  REFUSED(microgrid_map, "strides", s.layers[0].stride_y = 3);
  REFUSED(microgrid_map, "strides", s.layers[0].stride_x = 5);
  REFUSED(microgrid_map, "strides", s.layers[1].stride_x = 24);
  REFUSED(microgrid_map, "out must", s.layers[1].out = 8);
  REFUSED(microgrid_map, "tensor", s.in_h = 4096; s.layers[0].stride_y = 4096; s.in_w = 2;
          s.layers[0].stride_x = 1; s.layers[1].stride_y = 1; s.layers[1].stride_x = 1;
          s.batch = 1024); /* B*h*w*c above 2^24 */
  REFUSED(microgrid_map, "tensor", s.in_h = 16; s.layers[0].stride_x = 1;
          s.batch = 1024); /* M*K above 2^24 */
}

static void net_accepts_limits(void **state) {
  (void)state;
  qr_net_spec_t s = microgrid;
  s.act_frac = 0;
  assert_int_equal(try_net(&s, ""), 0);
  s.act_frac = 7;
  s.batch = 1024;
  s.layers[1].lr_shift = 31;
  s.layers[0].init_fan = 65536;
  s.layers[2].out = s.action_cnt = 255;
  assert_int_equal(try_net(&s, ""), 0);
  assert_int_equal(try_net(&deepest, ""), 0);
}

static void net_scales_of_the_real_ones(void **state) {
  (void)state;
  qr_net_t net;
  char why[128];
  assert_int_equal(qr_net_init(&microgrid, &net, why, sizeof why), 0);
  assert_int_equal(net.model_sz, 2 * (128 * 384 + 384 * 384 + 384 * 3) + 4 * (384 + 384 + 3));
  assert_int_equal(net.mac_cnt_fwd, 128 * 384 + 384 * 384 + 384 * 3);
  assert_int_equal(net.mac_cnt_step, 256ull * (2 * 128 * 384 + 3 * (384 * 384 + 384 * 3)));
  assert_int_equal(net.layers[0].w_frac, 6);
  assert_int_equal(net.layers[1].w_frac, 7);
  assert_int_equal(net.layers[0].init_lim, 10033); /* isqrt(6 * 2^30 / 64) */
  assert_int_equal(net.layers[2].init_lim, 1024);  /* isqrt(6 * 2^32 / 384) / 8 */
  assert_int_equal(qr_net_init(&microgrid_map, &net, why, sizeof why), 0);
  assert_int_equal(net.layers[1].k, 288);
  assert_int_equal(net.layers[1].pos, 12);
  assert_int_equal(net.layers[2].k, 768);
  assert_int_equal(net.layers[2].in_frac, 4);
}

static int weight_frac_of(uint32_t fan) {
  qr_net_spec_t s = microgrid;
  s.layers[0].init_fan = fan;
  qr_net_t net;
  char why[128];
  assert_int_equal(qr_net_init(&s, &net, why, sizeof why), 0);
  return net.layers[0].w_frac;
}

/* The rule itself, in exact arithmetic on both sides of the chosen f_w. */
static void net_weight_scale_is_the_largest(void **state) {
  (void)state;
  for (int f = 6; f <= 11; f++) { /* equality counts */
    assert_int_equal(weight_frac_of(54u << 2 * (f - 6)), f);
    assert_int_equal(weight_frac_of((54u << 2 * (f - 6)) - 1), f - 1);
  }
  for (uint32_t fan = 1; fan <= 65536; fan += 1 + fan / 7) {
    qr_net_spec_t s = microgrid;
    s.layers[0].init_fan = fan;
    qr_net_t net;
    char why[128];
    assert_int_equal(qr_net_init(&s, &net, why, sizeof why), 0);
    int f = net.layers[0].w_frac;
    uint64_t scaled = (uint64_t)fan << 40; /* fan * 2^(2(6-f)) >= 54 with 2^40 on both sides */
    assert_true(scaled >> 2 * f << 12 >= (uint64_t)54 << 40);
    assert_false(scaled >> 2 * (f + 1) << 12 >= (uint64_t)54 << 40);
    uint64_t lim = (uint64_t)net.layers[0].init_lim, square = ((uint64_t)6 << 2 * (f + 9)) / fan;
    assert_true(lim * lim <= square && (lim + 1) * (lim + 1) > square && lim <= INT16_MAX);
  }
}

static void model_init_is_bounded_and_keyed(void **state) {
  (void)state;
  qr_net_t net;
  char why[128];
  assert_int_equal(qr_net_init(&deepest, &net, why, sizeof why), 0);
  uint8_t *m = malloc(net.model_sz), *other = malloc(net.model_sz);
  qr_hash_t seed = {{1}}, seed2 = {{2}};
  qr_model_init(&net, &seed, m);
  qr_model_init(&net, &seed2, other);
  for (uint32_t i = 0; i < net.layer_cnt; i++) {
    const qr_layer_t *l = &net.layers[i];
    int32_t lo = INT32_MAX, hi = INT32_MIN;
    assert_true(l->w_off % 4 == 0 && l->b_off % 4 == 0);
    assert_memory_not_equal(m + l->w_off, other + l->w_off, 2 * l->k * l->n);
    for (uint32_t j = 0; j < l->k * l->n; j++) {
      int16_t v = (int16_t)qr_ld16(m + l->w_off + 2 * j);
      if (v < lo) lo = v;
      if (v > hi) hi = v;
    }
    assert_true(lo >= -l->init_lim && hi <= l->init_lim && lo < -l->init_lim / 2 &&
                hi > l->init_lim / 2);
    for (uint32_t j = 0; j < l->n; j++) assert_int_equal(qr_ld32(m + l->b_off + 4 * j), 0);
  }
  qr_hash_t a = qr_model_root(&net, m), b;
  m[net.model_sz - 1] ^= 1;
  b = qr_model_root(&net, m);
  assert_false(qr_hash_eq(&a, &b));
  free(m);
  free(other);
}

/* Lowering */

typedef struct {
  bool written[QR_STEP_BUF_MAX_CNT];
  uint32_t model_writes[QR_STEP_BUF_MAX_CNT];
  uint64_t macs;
  uint32_t digests;
} flow_t;

static void reads(const qr_step_prog_t *p, const flow_t *f, uint16_t buf, enum qr_step_type type,
                  uint64_t cnt) {
  assert_true(buf < p->buf_cnt);
  assert_int_equal(p->bufs[buf].type, type);
  assert_true(p->bufs[buf].cnt >= cnt);
  if (p->bufs[buf].role == QR_STEP_BUF_SCRATCH)
    assert_true(f->written[buf]);
  else
    assert_int_equal(f->model_writes[buf], 0); /* the step never reads back what it updated */
}

static void writes(const qr_step_prog_t *p, flow_t *f, uint16_t buf, enum qr_step_type type,
                   uint64_t cnt) {
  assert_true(buf < p->buf_cnt);
  assert_int_equal(p->bufs[buf].type, type);
  assert_true(p->bufs[buf].cnt >= cnt);
  if (p->bufs[buf].role == QR_STEP_BUF_SCRATCH) {
    f->written[buf] = true;
  } else {
    assert_true(p->bufs[buf].role == QR_STEP_BUF_WEIGHT || p->bufs[buf].role == QR_STEP_BUF_BIAS);
    assert_int_equal(p->bufs[buf].cnt, cnt);
    f->model_writes[buf]++;
  }
}

static void gemm_flow(const qr_step_prog_t *p, flow_t *f, const qr_step_op_t *op) {
  uint64_t a = (uint64_t)op->m * op->k;
  if (op->flags & QR_GEMM_A_CONV) {
    a = (uint64_t)p->batch * op->geo.h * op->geo.w * op->geo.c;
    assert_int_equal(op->flags & QR_GEMM_A_TRANS ? op->m : op->k, 9 * op->geo.c);
    assert_int_equal(op->flags & QR_GEMM_A_TRANS ? op->k : op->m,
                     p->batch * op->geo.out_h * op->geo.out_w);
  }
  assert_true(op->src0 != op->dst && op->src1 != op->dst && op->src0 != op->src1);
  reads(p, f, op->src0, QR_STEP_I8, a);
  reads(p, f, op->src1, QR_STEP_I8, (uint64_t)op->n * op->k);
  writes(p, f, op->dst, QR_STEP_I32, (uint64_t)op->m * op->n);
  f->macs += (uint64_t)op->m * op->n * op->k;
  if (op->digest != QR_STEP_NO_DIGEST) {
    assert_int_equal(op->digest, f->digests++);
    assert_int_equal(op->n % 2, 0);
  }
}

static void op_flow(const qr_step_prog_t *p, flow_t *f, const qr_step_op_t *op) {
  uint64_t cnt = (uint64_t)op->m * op->n;
  switch (op->kind) {
  case QR_OP_W7:
    reads(p, f, op->src0, QR_STEP_I16, cnt);
    writes(p, f, op->dst, QR_STEP_I8, cnt);
    break;
  case QR_OP_DITHER:
    reads(p, f, op->src0, QR_STEP_I8, cnt);
    writes(p, f, op->dst, QR_STEP_I8, cnt);
    break;
  case QR_OP_GEMM: gemm_flow(p, f, op); break;
  case QR_OP_BIAS_ACT:
  case QR_OP_Q_OUT:
    reads(p, f, op->src0, QR_STEP_I32, cnt);
    reads(p, f, op->src1, QR_STEP_I32, op->n);
    writes(p, f, op->dst, op->kind == QR_OP_Q_OUT ? QR_STEP_I32 : QR_STEP_I8, cnt);
    break;
  case QR_OP_TD:
    assert_int_equal(op->src0, p->td_q_buf);
    reads(p, f, op->src0, QR_STEP_I32, cnt);
    reads(p, f, op->src1, QR_STEP_U8, op->m);
    reads(p, f, op->aux, QR_STEP_I32, op->m);
    writes(p, f, op->dst, QR_STEP_I32, cnt);
    break;
  case QR_OP_MASK:
    reads(p, f, op->src0, QR_STEP_I8, cnt);
    reads(p, f, op->dst, QR_STEP_I32, cnt);
    break;
  case QR_OP_ERR_QUANT:
    reads(p, f, op->src0, QR_STEP_I32, cnt);
    writes(p, f, op->dst, QR_STEP_I8, cnt);
    break;
  case QR_OP_COL2IM:
    reads(p, f, op->src0, QR_STEP_I32, cnt);
    writes(p, f, op->dst, QR_STEP_I32, (uint64_t)p->batch * op->geo.h * op->geo.w * op->geo.c);
    break;
  case QR_OP_BIAS_UPD:
    reads(p, f, op->src0, QR_STEP_I8, cnt);
    writes(p, f, op->dst, QR_STEP_I32, op->n);
    break;
  case QR_OP_WEIGHT_UPD:
    reads(p, f, op->src0, QR_STEP_I32, cnt);
    writes(p, f, op->dst, QR_STEP_I16, cnt);
    break;
  default: fail_msg("op kind %u", op->kind);
  }
}

static void check_program(const qr_net_spec_t *spec) {
  qr_net_t net;
  static qr_step_prog_t p, again;
  char why[128];
  assert_int_equal(qr_net_init(spec, &net, why, sizeof why), 0);
  qr_step_lower(&net, &p);
  qr_step_lower(&net, &again);
  assert_memory_equal(&p, &again, sizeof p);

  flow_t f = {0};
  for (uint32_t i = 0; i < p.op_cnt; i++) op_flow(&p, &f, &p.ops[i]);
  assert_int_equal(p.ops[p.op_cnt].kind, QR_OP_END);
  assert_int_equal(f.macs, net.mac_cnt_step);
  assert_int_equal(f.digests, p.digest_cnt);
  assert_int_equal(p.digest_cnt, 3 * (net.layer_cnt - 1) -
                                     1); /* all products but the last layer's, none to the inputs */
  uint32_t updated = 0;
  for (uint32_t i = 0; i < p.buf_cnt; i++) {
    bool model = p.bufs[i].role == QR_STEP_BUF_WEIGHT || p.bufs[i].role == QR_STEP_BUF_BIAS;
    assert_int_equal(f.model_writes[i], model ? 1 : 0);
    if (model) updated += p.bufs[i].cnt * (p.bufs[i].role == QR_STEP_BUF_WEIGHT ? 2 : 4);
  }
  assert_int_equal(updated, net.model_sz);
}

static void lowering_is_sound(void **state) {
  (void)state;
  check_program(&microgrid);
  check_program(&microgrid_map);
  check_program(&deepest);
}

/* Streams are keyed by purpose, layer and k: no two dithers of a step may share one. */
static void lowering_draws_every_use_afresh(void **state) {
  (void)state;
  qr_net_t net;
  static qr_step_prog_t p;
  char why[128];
  const qr_net_spec_t *specs[] = {&microgrid, &microgrid_map, &deepest};
  for (size_t z = 0; z < QR_ARRAY_CNT(specs); z++) {
    assert_int_equal(qr_net_init(specs[z], &net, why, sizeof why), 0);
    qr_step_lower(&net, &p);
    uint32_t cnt = 0;
    for (uint32_t i = 0; i < p.op_cnt; i++) {
      if (p.ops[i].kind != QR_OP_DITHER) continue;
      cnt++;
      for (uint32_t j = 0; j < i; j++)
        assert_false(p.ops[j].kind == QR_OP_DITHER && p.ops[j].p1 == p.ops[i].p1 &&
                     p.ops[j].layer == p.ops[i].layer);
    }
    assert_int_equal(cnt, 2 * p.digest_cnt);
  }
}

static void program_hash_covers_every_byte(void **state) {
  (void)state;
  qr_net_t net;
  static qr_step_prog_t p;
  char why[128];
  assert_int_equal(qr_net_init(&deepest, &net, why, sizeof why), 0);
  qr_step_lower(&net, &p);
  qr_hash_t h = qr_step_prog_hash(&p);
  uint8_t *bytes = (uint8_t *)&p;
  size_t ends[] = {offsetof(qr_step_prog_t, bufs[p.buf_cnt]),
                   offsetof(qr_step_prog_t, ops[p.op_cnt])};
  for (size_t i = 16; i < sizeof p;
       i++) { /* the counts come first: changing them changes the range */
    bool covered = i < ends[0] || (i >= offsetof(qr_step_prog_t, ops) && i < ends[1]);
    bytes[i] ^= 0x10;
    qr_hash_t g = qr_step_prog_hash(&p);
    bytes[i] ^= 0x10;
    if (qr_hash_eq(&h, &g) == covered) fail_msg("byte %zu", i);
  }
}

/* Primitives */

__extension__ typedef __int128 wide_t;

static void sr_follows_the_exact_quotient(void **state) {
  (void)state;
  static const int64_t xs[] = {
      INT32_MIN, INT32_MIN + 1, -40961,          -65, -64, -1, 0, 1, 63, 64, 12345,
      INT32_MAX, 3 << 28,       (int64_t)1 << 31};
  static const uint8_t draws[] = {0, 1, 0x7f, 0x80, 0x9a, 0xff};
  for (size_t i = 0; i < QR_ARRAY_CNT(xs); i++)
    for (size_t j = 0; j < QR_ARRAY_CNT(draws); j++)
      for (int s = -70; s <= 130; s++) {
        int t = s < -31 ? -31 : s > 62 ? 62 : s;
        int64_t got = qr_step_sr(xs[i], s, draws[j]);
        if (t <= 0) {
          assert_true(got == (int64_t)((wide_t)xs[i] * ((int64_t)1 << -t)));
        } else { /* 256 x / 2^t, half up, plus the draw, over 256 */
          wide_t y = (((wide_t)xs[i] * 512 >> t) + 1) >> 1;
          assert_true(got == (int64_t)((y + draws[j]) >> 8));
        }
      }
}

/* Over all draws of equal weight, the mean is exact as far as eight bits tell, and what they do not
   tell is rounded half up: no bias in any direction. */
static void sr_is_unbiased(void **state) {
  (void)state;
  for (int s = 1; s <= 12; s++)
    for (int64_t x = -5000; x <= 5000; x += 37) {
      int64_t sum = 0;
      for (int r = 0; r < 256; r++) sum += qr_step_sr(x, s, (uint8_t)r);
      int64_t err = sum * (1 << s) - 256 * x; /* within half of the last of the eight bits */
      assert_true(s <= 8 ? err == 0 : 2 * err <= 1 << s && 2 * err > -(1 << s));
    }
}

static void half_is_symmetric(void **state) {
  (void)state;
  for (int s = 1; s <= 24; s++)
    for (int64_t x = 0; x < 4000; x += 3) {
      assert_int_equal(qr_step_half(-x, s), -qr_step_half(x, s));
      int64_t err = qr_step_half(x, s) * (1ll << s) - x; /* within half a unit, ties upwards */
      assert_true(2 * err <= 1ll << s && 2 * err > -(1ll << s));
    }
  assert_int_equal(qr_step_half(INT32_MIN, 1), -(1ll << 30));
  assert_int_equal(qr_step_half(-3, 1), -2);
  assert_int_equal(qr_step_half(3, 1), 2);
}

static void dither_is_centred_and_in_range(void **state) {
  (void)state;
  static const int ds[] = {2, 4, 8};
  for (size_t z = 0; z < QR_ARRAY_CNT(ds); z++)
    for (int x = -128; x < 128; x++) {
      int d = ds[z], sum = 0, cnt[17] = {0}, mid = qr_clamp32(x, -64 + d, 63 - d);
      for (int b = 0; b < 16; b++) {
        int y = qr_step_dither((int8_t)x, d, (uint8_t)b);
        assert_in_range(y + 64, 0, 127);
        assert_in_range(y - mid + d, 0, 2 * d);
        sum += y - mid;
        cnt[y - mid + d]++;
      }
      assert_int_equal(sum, 0);
      for (int i = 0; i <= 2 * d; i++) { /* as even as 16 draws over 2d + 1 values can be */
        assert_int_equal(cnt[i], cnt[2 * d - i]);
        assert_in_range(cnt[i], 16 / (2 * d + 1), 16 / (2 * d + 1) + 1);
      }
    }
}

static void scales_at_their_ends(void **state) {
  (void)state;
  assert_int_equal(qr_step_w7(INT16_MIN), -64);
  assert_int_equal(qr_step_w7(INT16_MAX), 63);
  assert_int_equal(qr_step_w7(-257), -1);
  assert_int_equal(qr_step_w7(-256), 0);
  assert_int_equal(qr_step_w7(255), 0);
  assert_int_equal(qr_step_w7(256), 1);
  assert_int_equal(qr_bitlen32(0), 0);
  assert_int_equal(qr_step_err_shift(0), 0);
  assert_int_equal(qr_step_err_shift(255), 0);
  assert_int_equal(qr_step_err_shift(256), 1);
  assert_int_equal(qr_step_err_shift(65536), 9);
  assert_int_equal(qr_step_err_shift(qr_step_abs32(INT32_MIN)), 24);
  assert_int_equal(qr_step_bias_at(-1, 1), 0);
  assert_int_equal(qr_step_bias_at(-3, 1), -1);
  assert_int_equal(qr_step_bias_at(3, 1), 2);
  assert_int_equal(qr_step_bias_at(-5, 0), -5);
  assert_int_equal(qr_step_bias_at(-5, -3), -40);
}

static void td_target_rule(void **state) {
  (void)state;
  assert_int_equal(qr_step_td_target(77, true, INT32_MAX, 65536, 524288), 77);
  assert_int_equal(qr_step_td_target(77, false, INT32_MAX, 65536, 524288), 77 + 524288);
  assert_int_equal(qr_step_td_target(77, false, INT32_MIN, 65536, 524288), 77 - 524288);
  assert_int_equal(qr_step_td_target(0, false, -1, 1, 524288), -1); /* floor */
  assert_int_equal(qr_step_td_target(INT32_MAX, false, 524288, 65536, 524288), INT32_MAX);
  assert_int_equal(qr_step_td_target(INT32_MIN, false, -524288, 65536, 524288), INT32_MIN);
}

static void argmax_takes_the_lowest(void **state) {
  (void)state;
  int32_t q[] = {INT32_MIN, 5, 7, 7, 5}, flat[] = {-3, -3, -3};
  assert_int_equal(qr_step_argmax(q, 5), 2);
  assert_int_equal(qr_step_argmax(flat, 3), 0);
  assert_int_equal(qr_step_argmax(q, 1), 0);
}

/* Digest */

enum { DM = 600, DN = 48 };

static const qr_hash_t sigma = {{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6}};

/* The page's formula, word by word. */
static uint64_t digest_by_definition(const int32_t *x, uint32_t m, uint32_t n, uint32_t k,
                                     uint32_t t) {
  qr_ars_t pk = qr_ars_init(&sigma, 11u << 24 | t << 16 | k),
           pr = qr_ars_init(&sigma, 12u << 24 | t << 16 | k);
  uint64_t d = 0;
  for (uint32_t i = 0; i < m; i++) {
    uint64_t sum = 0, rho = (qr_ars_word(&pr, 2 * (i >> 3)) |
                             (uint64_t)qr_ars_word(&pr, 2 * (i >> 3) + 1) << 32) |
                            1;
    for (uint32_t j = 0; j < n; j += 2) {
      uint32_t a = (uint32_t)x[i * n + j] ^ qr_ars_word(&pk, n * (i & 7) + j);
      uint32_t b = (uint32_t)x[i * n + j + 1] ^ qr_ars_word(&pk, n * (i & 7) + j + 1);
      sum += (uint64_t)a * b;
    }
    d += rho * sum;
  }
  return d;
}

static int32_t *draw_product(uint32_t m, uint32_t n) {
  int32_t *x = malloc((size_t)m * n * 4);
  qr_philox_t p = qr_philox_init(&sigma, 0);
  for (uint32_t i = 0; i < m * n; i++)
    x[i] = (int32_t)qr_philox_word(&p, i) >> 10; /* as accumulators are */
  return x;
}

static void digest_is_the_formula(void **state) {
  (void)state;
  static const uint32_t shapes[][2] = {{1, 2},    {2, 6},    {256, 4},  {257, 8},
                                       {520, 16}, {3, 1024}, {3, 1026}, {260, 2050}};
  for (uint32_t i = 0; i < QR_ARRAY_CNT(shapes); i++) {
    int32_t *x = draw_product(shapes[i][0], shapes[i][1]);
    x[0] = INT32_MIN;
    x[1] = INT32_MAX;
    assert_true(qr_ref_digest(x, shapes[i][0], shapes[i][1], &sigma, i, 2 * i) ==
                digest_by_definition(x, shapes[i][0], shapes[i][1], i, 2 * i));
    free(x);
  }
}

static uint64_t digest(const int32_t *x) { return qr_ref_digest(x, DM, DN, &sigma, 3, 1); }

static void swap_rows(int32_t *x, uint32_t a, uint32_t b) {
  int32_t t[DN];
  memcpy(t, x + a * DN, sizeof t);
  memcpy(x + a * DN, x + b * DN, sizeof t);
  memcpy(x + b * DN, t, sizeof t);
}

/* Swaps two 16 x 16 tiles. */
static void swap_tiles(int32_t *x, uint32_t r0, uint32_t c0, uint32_t r1, uint32_t c1) {
  for (uint32_t i = 0; i < 16; i++)
    for (uint32_t j = 0; j < 16; j++) {
      int32_t *a = x + (r0 + i) * DN + c0 + j, *b = x + (r1 + i) * DN + c1 + j, t = *a;
      *a = *b;
      *b = t;
    }
}

static void digest_catches_moved_rows_and_tiles(void **state) {
  (void)state;
  int32_t *x = draw_product(DM, DN);
  uint64_t d = digest(x);
  static const uint32_t rows[][2] = {{0, 1},     {0, 2},     {3, 259}, {0, 256},
                                     {255, 256}, {100, 599}, {43, 88}};
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    swap_rows(x, rows[i][0], rows[i][1]);
    assert_true(digest(x) != d);
    swap_rows(x, rows[i][0], rows[i][1]);
  }
  static const uint32_t tiles[][4] = {{0, 0, 0, 16},   {0, 0, 16, 0},   {0, 16, 16, 0},
                                      {32, 0, 288, 0}, {0, 8, 256, 24}, {16, 32, 512, 16},
                                      {256, 0, 512, 0}};
  for (size_t i = 0; i < QR_ARRAY_CNT(tiles); i++) {
    swap_tiles(x, tiles[i][0], tiles[i][1], tiles[i][2], tiles[i][3]);
    assert_true(digest(x) != d);
    swap_tiles(x, tiles[i][0], tiles[i][1], tiles[i][2], tiles[i][3]);
  }
  assert_true(digest(x) == d);
  free(x);
}

static void digest_catches_duplicates_and_permutations(void **state) {
  (void)state;
  int32_t *x = draw_product(DM, DN), *y = malloc(DM * DN * 4);
  uint64_t d = digest(x);
  for (uint32_t i = 1; i < DM; i += 37) { /* a row instead of its neighbour, or of one far away */
    memcpy(y, x, DM * DN * 4);
    memcpy(y + i * DN, y + (i - 1) * DN, DN * 4);
    assert_true(digest(y) != d);
    memcpy(y, x, DM * DN * 4);
    memcpy(y + i * DN, y + (i + 256) % DM * DN, DN * 4);
    assert_true(digest(y) != d);
  }
  for (uint32_t r = 0; r + 16 <= DM; r += 16) { /* a tile written twice */
    memcpy(y, x, DM * DN * 4);
    for (uint32_t i = 0; i < 16; i++) memcpy(y + (r + i) * DN + 16, y + (r + i) * DN, 64);
    assert_true(digest(y) != d);
  }
  for (uint32_t i = 0; i < DM * DN; i++)
    y[i] = x[(i + DN) % (DM * DN)]; /* all rows rotated by one */
  assert_true(digest(y) != d);
  for (uint32_t i = 0; i < DM * DN; i++) y[i] = x[i ^ 1]; /* neighbours exchanged everywhere */
  assert_true(digest(y) != d);
  for (uint32_t i = 0; i < DM; i++)
    memcpy(y + i * DN, x + (DM - 1 - i) * DN, DN * 4); /* upside down */
  assert_true(digest(y) != d);
  free(x);
  free(y);
}

/* Every exchange of two aligned 16 x 16 tiles, and of every pair of elements with a near one. */
static void digest_catches_every_exchange(void **state) {
  (void)state;
  int32_t *x = draw_product(DM, DN);
  uint64_t d = qr_ref_digest(x, 64, DN, &sigma, 3, 1);
  for (uint32_t a = 0; a < 12; a++)
    for (uint32_t b = 0; b < a; b++) {
      swap_tiles(x, a / 3 * 16, a % 3 * 16, b / 3 * 16, b % 3 * 16);
      assert_true(qr_ref_digest(x, 64, DN, &sigma, 3, 1) != d);
      swap_tiles(x, a / 3 * 16, a % 3 * 16, b / 3 * 16, b % 3 * 16);
    }
  d = qr_ref_digest(x, 17, 16, &sigma, 3, 1);
  for (uint32_t a = 0; a < 17 * 8; a++)
    for (uint32_t b = 0; b < a; b++) {
      int32_t t[2], *p = x + 2 * a, *q = x + 2 * b;
      memcpy(t, p, sizeof t);
      memcpy(p, q, sizeof t);
      memcpy(q, t, sizeof t);
      assert_true(qr_ref_digest(x, 17, 16, &sigma, 3, 1) != d);
      memcpy(q, p, sizeof t);
      memcpy(p, t, sizeof t);
    }
  free(x);
}

static void digest_catches_one_flip(void **state) {
  (void)state;
  int32_t *x = draw_product(DM, DN);
  uint64_t d = digest(x);
  for (uint32_t i = 0; i < DM * DN; i += 331)
    for (int bit = 0; bit < 32; bit += 5) {
      x[i] = (int32_t)((uint32_t)x[i] ^ 1u << bit);
      assert_true(digest(x) != d);
      x[i] = (int32_t)((uint32_t)x[i] ^ 1u << bit);
    }
  qr_hash_t other = sigma;
  other.b[15] ^= 1;
  assert_true(qr_ref_digest(x, DM, DN, &other, 3, 1) != d);
  assert_true(qr_ref_digest(x, DM, DN, &sigma, 4, 1) != d);
  assert_true(qr_ref_digest(x, DM, DN, &sigma, 3, 2) != d);
  memset(x, 0, DM * DN * 4); /* a product of zeros still has a digest of its own per key */
  assert_true(digest(x) != 0 && digest(x) != qr_ref_digest(x, DM, DN, &sigma, 4, 1));
  free(x);
}

static void trace_chains(void **state) {
  (void)state;
  uint64_t d[3] = {1, 2, 3};
  uint8_t bytes[QR_HASH_SZ + 24];
  memcpy(bytes, sigma.b, QR_HASH_SZ);
  for (int i = 0; i < 3; i++) qr_st64(bytes + QR_HASH_SZ + 8 * i, d[i]);
  qr_hash_t want = qr_hash("quarry.step", bytes, sizeof bytes),
            got = qr_step_trace_next(&sigma, d, 3);
  assert_true(qr_hash_eq(&want, &got));
}

/* Minibatch */

static void batch_is_distinct(void **state) {
  (void)state;
  static const uint32_t sizes[][2] = {
      {16, 16}, {1024, 1024}, {1025, 1024}, {4096, 256}, {131072, 256}};
  for (size_t z = 0; z < QR_ARRAY_CNT(sizes); z++) {
    uint32_t n = sizes[z][0], b = sizes[z][1], out[1024], next[1024];
    uint8_t *scratch = malloc(qr_step_batch_scratch_sz(n)), *seen = calloc(n, 1);
    memset(scratch, 0xff, qr_step_batch_scratch_sz(n));
    qr_step_batch(&sigma, 7, n, b, out, scratch);
    for (uint32_t i = 0; i < b; i++) {
      assert_true(out[i] < n && !seen[out[i]]);
      seen[out[i]] = 1;
    }
    qr_philox_t p = qr_philox_init(&sigma, 1u << 24 | 7);
    assert_int_equal(out[0], qr_philox_bound(qr_philox_word(&p, 0), n));
    qr_step_batch(&sigma, 8, n, b, next, scratch);
    assert_memory_not_equal(out, next, b * 4);
    qr_step_batch(&sigma, 7, n, b, next, scratch);
    assert_memory_equal(out, next, b * 4);
    free(scratch);
    free(seen);
  }
}

/* Each row equally often, both over all places and in the first and last place: chi-square with 99
   degrees of freedom stays below 160 (p < 0.0001) for these seeds. */
static void batch_is_uniform(void **state) {
  (void)state;
  enum { N = 100, B = 32, RUNS = 6000 };
  uint32_t out[B], all[N] = {0}, first[N] = {0}, final[N] = {0};
  uint8_t scratch[64];
  assert_true(qr_step_batch_scratch_sz(N) <= sizeof scratch);
  for (uint32_t k = 0; k < RUNS; k++) {
    qr_step_batch(&sigma, k, N, B, out, scratch);
    first[out[0]]++;
    final[out[B - 1]]++;
    for (uint32_t i = 0; i < B; i++) all[out[i]]++;
  }
  double x_all = 0, x_first = 0, x_final = 0, e = (double)RUNS / N;
  for (uint32_t i = 0; i < N; i++) {
    x_all += (all[i] - B * e) * (all[i] - B * e) / (B * e);
    x_first += (first[i] - e) * (first[i] - e) / e;
    x_final += (final[i] - e) * (final[i] - e) / e;
  }
  assert_true(x_all < 160 && x_first < 160 && x_final < 160);
  assert_true(x_first > 50 && x_final > 50); /* and not suspiciously even */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(net_refuses_bad_dense),
      cmocka_unit_test(net_refuses_bad_conv),
      cmocka_unit_test(net_accepts_limits),
      cmocka_unit_test(net_scales_of_the_real_ones),
      cmocka_unit_test(net_weight_scale_is_the_largest),
      cmocka_unit_test(model_init_is_bounded_and_keyed),
      cmocka_unit_test(lowering_is_sound),
      cmocka_unit_test(lowering_draws_every_use_afresh),
      cmocka_unit_test(program_hash_covers_every_byte),
      cmocka_unit_test(sr_follows_the_exact_quotient),
      cmocka_unit_test(sr_is_unbiased),
      cmocka_unit_test(half_is_symmetric),
      cmocka_unit_test(dither_is_centred_and_in_range),
      cmocka_unit_test(scales_at_their_ends),
      cmocka_unit_test(td_target_rule),
      cmocka_unit_test(argmax_takes_the_lowest),
      cmocka_unit_test(digest_is_the_formula),
      cmocka_unit_test(digest_catches_moved_rows_and_tiles),
      cmocka_unit_test(digest_catches_duplicates_and_permutations),
      cmocka_unit_test(digest_catches_every_exchange),
      cmocka_unit_test(digest_catches_one_flip),
      cmocka_unit_test(trace_chains),
      cmocka_unit_test(batch_is_distinct),
      cmocka_unit_test(batch_is_uniform),
  };
  return qr_crypto_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
