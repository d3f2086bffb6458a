/* Reader of step_net_*.txt for tests; the format is in README.md beside it. A malformed file ends
 * the test. */
#ifndef QR_TEST_STEP_VECTOR_H
#define QR_TEST_STEP_VECTOR_H

#include <stdio.h>
#include <stdlib.h>

#include "base/philox.h"
#include "step/net.h"
#include "step/ref.h"

#define STEP_VECTOR_STEP_MAX_CNT 8
#define STEP_VECTOR_Q_ROWS 4

typedef struct {
  uint32_t batch_rows[1024];
  uint64_t digests[QR_STEP_GEMM_MAX_CNT];
  uint32_t digest_cnt;
  uint64_t td_abs_sum;
  qr_hash_t trace, root;
} step_vector_step_t;

typedef struct {
  qr_net_spec_t spec;
  qr_net_t net;
  qr_hash_t program, root, sigma;
  uint8_t *model, *model_after; /* model_after NULL if the file has none */
  uint32_t rows, lr_shift, step_cnt;
  int8_t *obs;
  uint8_t *act;
  int32_t *target;
  step_vector_step_t steps[STEP_VECTOR_STEP_MAX_CNT];
  int32_t q[STEP_VECTOR_Q_ROWS * 255];
} step_vector_t;

#define VECTOR_CHECK(cond)                                                                         \
  do {                                                                                             \
    if (!(cond)) {                                                                                 \
      fprintf(stderr, "vector file: %s does not hold (line %d)\n", #cond, __LINE__);               \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

static inline void *vector_alloc(size_t sz) {
  void *p = aligned_alloc(64, qr_align_up(sz ? sz : 1, 64));
  VECTOR_CHECK(p);
  return p;
}

static inline void vector_hex(const char *s, uint8_t *out, size_t sz) {
  VECTOR_CHECK(s && strlen(s) == 2 * sz);
  for (size_t i = 0; i < sz; i++) {
    char pair[3] = {s[2 * i], s[2 * i + 1], 0}, *end;
    out[i] = (uint8_t)strtoul(pair, &end, 16);
    VECTOR_CHECK(!*end);
  }
}

/* The next decimal of a line that strtok_r is walking. */
static inline int64_t vector_num(char **save) {
  char *s = strtok_r(NULL, " \n", save), *end;
  VECTOR_CHECK(s);
  int64_t v = strtoll(s, &end, 10);
  VECTOR_CHECK(!*end);
  return v;
}

static inline uint32_t vector_u32(char **save) { return (uint32_t)vector_num(save); }

static inline qr_hash_t vector_hash(char **save) {
  qr_hash_t h;
  vector_hex(strtok_r(NULL, " \n", save), h.b, sizeof h.b);
  return h;
}

/* The replay that data_seed stands for. */
static inline void vector_draw_replay(const qr_hash_t *seed, uint32_t rows, uint32_t obs_sz,
                                      uint32_t action_cnt, int8_t *obs, uint8_t *act,
                                      int32_t *target) {
  qr_philox_t po = qr_philox_init(seed, 0), pa = qr_philox_init(seed, 1),
              pt = qr_philox_init(seed, 2);
  for (uint32_t i = 0; i < rows * obs_sz; i++)
    obs[i] = (int8_t)((qr_philox_byte(&po, i) >> 1) - 64);
  for (uint32_t i = 0; i < rows; i++) {
    act[i] = (uint8_t)qr_philox_bound(qr_philox_word(&pa, i), action_cnt);
    target[i] = (int32_t)qr_philox_word(&pt, i) >> 13;
  }
}

static inline void vector_layer(step_vector_t *v, char **save) {
  VECTOR_CHECK(v->spec.layer_cnt < QR_NET_LAYER_MAX_CNT);
  qr_layer_spec_t *l = &v->spec.layers[v->spec.layer_cnt++];
  const char *kind = strtok_r(NULL, " \n", save);
  VECTOR_CHECK(kind);
  l->kind = !strcmp(kind, "conv") ? QR_LAYER_CONV3 : QR_LAYER_DENSE;
  l->out = vector_u32(save);
  l->stride_y = vector_u32(save);
  l->stride_x = vector_u32(save);
  l->lr_shift = vector_u32(save);
  l->init_fan = vector_u32(save);
}

/* Lines before the first step. */
static inline void vector_setup(step_vector_t *v, const char *key, char **save) {
  if (!strcmp(key, "in")) {
    v->spec.in_c = vector_u32(save);
    v->spec.in_h = vector_u32(save);
    v->spec.in_w = vector_u32(save);
  } else if (!strcmp(key, "actions"))
    v->spec.action_cnt = vector_u32(save);
  else if (!strcmp(key, "batch"))
    v->spec.batch = vector_u32(save);
  else if (!strcmp(key, "act_frac"))
    v->spec.act_frac = vector_u32(save);
  else if (!strcmp(key, "layer"))
    vector_layer(v, save);
  else if (!strcmp(key, "program")) {
    char why[128] = "";
    v->program = vector_hash(save);
    if (qr_net_init(&v->spec, &v->net, why, sizeof why)) fprintf(stderr, "%s\n", why), abort();
    v->model = vector_alloc(v->net.model_sz);
  } else if (!strcmp(key, "init_seed")) {
    qr_hash_t seed = vector_hash(save);
    qr_model_init(&v->net, &seed, v->model);
  } else if (!strcmp(key, "model"))
    vector_hex(strtok_r(NULL, " \n", save), v->model, v->net.model_sz);
  else if (!strcmp(key, "root"))
    v->root = vector_hash(save);
  else if (!strcmp(key, "rows")) {
    v->rows = vector_u32(save);
    v->obs = vector_alloc((size_t)v->rows * v->net.in_sz);
    v->act = vector_alloc(v->rows);
    v->target = vector_alloc((size_t)v->rows * 4);
  } else if (!strcmp(key, "data_seed")) {
    qr_hash_t seed = vector_hash(save);
    vector_draw_replay(&seed, v->rows, v->net.in_sz, v->spec.action_cnt, v->obs, v->act, v->target);
  } else if (!strcmp(key, "obs"))
    vector_hex(strtok_r(NULL, " \n", save), (uint8_t *)v->obs, (size_t)v->rows * v->net.in_sz);
  else if (!strcmp(key, "act"))
    vector_hex(strtok_r(NULL, " \n", save), v->act, v->rows);
  else if (!strcmp(key, "target"))
    for (uint32_t i = 0; i < v->rows; i++) v->target[i] = (int32_t)vector_num(save);
  else if (!strcmp(key, "sigma"))
    v->sigma = vector_hash(save);
  else if (!strcmp(key, "lr_shift"))
    v->lr_shift = vector_u32(save);
  else
    VECTOR_CHECK(!"key");
}

/* Results. */
static inline void vector_result(step_vector_t *v, const char *key, char **save) {
  step_vector_step_t *s = &v->steps[v->step_cnt - 1];
  if (!strcmp(key, "batch_rows"))
    for (uint32_t i = 0; i < v->spec.batch; i++) s->batch_rows[i] = vector_u32(save);
  else if (!strcmp(key, "digests")) {
    for (char *t; (t = strtok_r(NULL, " \n", save));) {
      VECTOR_CHECK(s->digest_cnt < QR_STEP_GEMM_MAX_CNT);
      s->digests[s->digest_cnt++] = strtoull(t, NULL, 16);
    }
  } else if (!strcmp(key, "td_abs_sum"))
    s->td_abs_sum = (uint64_t)vector_num(save);
  else if (!strcmp(key, "trace"))
    s->trace = vector_hash(save);
  else if (!strcmp(key, "root"))
    s->root = vector_hash(save);
  else if (!strcmp(key, "q"))
    for (uint32_t i = 0; i < STEP_VECTOR_Q_ROWS * v->spec.action_cnt; i++)
      v->q[i] = (int32_t)vector_num(save);
  else if (!strcmp(key, "model_after")) {
    v->model_after = vector_alloc(v->net.model_sz);
    vector_hex(strtok_r(NULL, " \n", save), v->model_after, v->net.model_sz);
  } else
    VECTOR_CHECK(!"key");
}

static inline void step_vector_read(const char *path, step_vector_t *v) {
  FILE *f = fopen(path, "r");
  VECTOR_CHECK(f);
  memset(v, 0, sizeof *v);
  char *line = NULL;
  size_t cap = 0;
  bool ended = false;
  while (!ended && getline(&line, &cap, f) > 0) {
    char *save, *key = strtok_r(line, " \n", &save);
    if (!key || *key == '#') continue;
    if (!strcmp(key, "end"))
      ended = true;
    else if (!strcmp(key, "step")) {
      VECTOR_CHECK(v->step_cnt < STEP_VECTOR_STEP_MAX_CNT && vector_u32(&save) == v->step_cnt);
      v->step_cnt++;
    } else if (v->step_cnt)
      vector_result(v, key, &save);
    else
      vector_setup(v, key, &save);
  }
  VECTOR_CHECK(ended && v->step_cnt && v->rows >= STEP_VECTOR_Q_ROWS);
  free(line);
  fclose(f);
}

static inline void step_vector_free(step_vector_t *v) {
  free(v->model);
  free(v->model_after);
  free(v->obs);
  free(v->act);
  free(v->target);
}

#endif
