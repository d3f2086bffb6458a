#include "chain/params.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "chain/target.h"
#include "crypto/hash.h"
#include "env/segment.h"
#include "step/program.h"
#include "wire/block.h"

/* Version of the canonical encoding below. */
#define RULES_VERSION 1u

/* Year 9999 and half of what a signed 64-bit number holds: every parameter is a whole number in
 * JSON too. */
#define TIME_MAX_MS UINT64_C(253402300799999)
#define AMOUNT_MAX (UINT64_C(1) << 62)

/* Where the first refusal is explained. at names the part of the parameters that is being checked:
 * "" or "tasks[1].". */
typedef struct {
  char *why;
  size_t why_sz;
  char at[32];
} check_t;

static int refuse(const check_t *c, const char *fmt, ...) QR_PRINTF(2, 3);
static int refuse(const check_t *c, const char *fmt, ...) {
  int n = snprintf(c->why, c->why_sz, "%s", c->at);
  if (n < 0 || (size_t)n >= c->why_sz) return QR_ERR_ARG;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(c->why + n, c->why_sz - (size_t)n, fmt, ap);
  va_end(ap);
  return QR_ERR_ARG;
}

/* Returns 0 if lo <= v <= hi. */
static int range(const check_t *c, const char *name, uint64_t v, uint64_t lo, uint64_t hi) {
  if (v >= lo && v <= hi) return QR_OK;
  return refuse(c, "%s is %llu; it must be %llu to %llu", name, (unsigned long long)v,
                (unsigned long long)lo, (unsigned long long)hi);
}

/* Returns 0 if v is a multiple of unit in [unit, hi]. */
static int multiple(const check_t *c, const char *name, uint32_t v, uint32_t unit, uint32_t hi) {
  if (range(c, name, v, unit, hi)) return QR_ERR_ARG;
  if (v % unit == 0) return QR_OK;
  return refuse(c, "%s is %u; it must be a multiple of %u", name, v, unit);
}

static int check_name(const check_t *c, const char name[32]) {
  size_t n = strnlen(name, 32);
  bool ok = n > 0 && n < 32;
  for (size_t i = 0; ok && i < n; i++) {
    char ch = name[i];
    ok = (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-';
  }
  return ok ? QR_OK : refuse(c, "name must be 1 to 31 of a-z, 0-9 and the hyphen");
}

static int check_net(const check_t *c, const qr_task_params_t *t, qr_net_t *net) {
  const qr_env_t *env = qr_env_get(t->env);
  if (!env) return refuse(c, "env is %u; no environment has that number", t->env);
  const qr_net_spec_t *s = &t->net;
  if (s->in_c != env->obs_c || s->in_h != env->obs_h || s->in_w != env->obs_w) {
    return refuse(c, "net.in is %u x %u x %u (c h w); environment %s shows %u x %u x %u", s->in_c,
                  s->in_h, s->in_w, env->name, env->obs_c, env->obs_h, env->obs_w);
  }
  if (s->action_cnt != env->action_cnt) {
    return refuse(c, "net.action_cnt is %u; environment %s has %u actions", s->action_cnt,
                  env->name, env->action_cnt);
  }
  char why[160] = "is not acceptable";
  if (qr_net_init(s, net, why, sizeof why)) return refuse(c, "net: %s", why);
  for (uint32_t i = 0; i < s->layer_cnt; i++) {
    const qr_layer_spec_t *l = &s->layers[i];
    if (l->kind == QR_LAYER_DENSE && (l->stride_y || l->stride_x)) {
      return refuse(c, "net.layers[%u].stride is set; a dense layer has none", i);
    }
    if (l->lr_shift > 16)
      return refuse(c, "net.layers[%u].lr_shift is %u; it must be 0 to 16", i, l->lr_shift);
  }
  if (net->model_sz > QR_MODEL_MAX_SZ) {
    return refuse(c, "net: a model has %u bytes; at most %u are allowed", net->model_sz,
                  QR_MODEL_MAX_SZ);
  }
  return QR_OK;
}

static int check_task(const check_t *c, const qr_task_params_t *t, qr_net_t *net) {
  if (check_name(c, t->name)) return QR_ERR_ARG;
  if (check_net(c, t, net)) return QR_ERR_ARG;
  if (range(c, "gamma_q16", t->gamma_q16, 0, 65535)) return QR_ERR_ARG;
  if (t->q_clip < 1 || t->q_clip > 1 << 26) {
    return refuse(c, "q_clip is %d; it must be 1 to %d", t->q_clip, 1 << 26);
  }
  if (range(c, "eps_start_q16", t->eps_start_q16, 0, 65536)) return QR_ERR_ARG;
  if (range(c, "eps_end_q16", t->eps_end_q16, 0, t->eps_start_q16)) return QR_ERR_ARG;
  if (range(c, "eps_blocks", t->eps_blocks, 0, 1000000)) return QR_ERR_ARG;
  if (range(c, "lr_halve_blocks", t->lr_halve_blocks, 0, 1000000)) return QR_ERR_ARG;
  if (range(c, "lr_halve_max", t->lr_halve_max, t->lr_halve_blocks ? 1 : 0,
            t->lr_halve_blocks ? 16 : 0)) {
    return QR_ERR_ARG;
  }
  if (range(c, "work_q16", t->work_q16, 1u << 8, 1u << 24)) return QR_ERR_ARG;
  if (t->reward_scale < 1 || t->reward_scale > INT64_C(1) << 47) {
    return refuse(c, "reward_scale is %lld; it must be 1 to %lld", (long long)t->reward_scale,
                  1LL << 47);
  }
  return QR_OK;
}

static int check_tasks(check_t *c, const qr_params_t *p, qr_net_t *nets) {
  if (range(c, "task_cnt", p->task_cnt, 1, QR_TASK_MAX_CNT)) return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    const qr_task_params_t *t = &p->tasks[i];
    snprintf(c->at, sizeof c->at, "tasks[%u].", i);
    if (check_task(c, t, &nets[i])) return QR_ERR_ARG;
    for (uint32_t j = 0; j < i; j++) {
      if (!strcmp(t->name, p->tasks[j].name)) return refuse(c, "name %s is used twice", t->name);
    }
  }
  c->at[0] = 0;
  return QR_OK;
}

static int check_rows(const check_t *c, const qr_params_t *p) {
  const uint32_t e = QR_SEGMENT_INSTANCE_CNT, rows_max = QR_BLOCK_ACTION_MAX_CNT;
  if (range(c, "step_cnt", p->step_cnt, 1, QR_BLOCK_STEP_MAX_CNT)) return QR_ERR_ARG;
  if (multiple(c, "segment_rows", p->segment_rows, e, rows_max)) return QR_ERR_ARG;
  if (multiple(c, "eval_rows", p->eval_rows, e, rows_max)) return QR_ERR_ARG;
  if (multiple(c, "replay_rows", p->replay_rows, p->segment_rows,
               p->segment_rows * QR_REPLAY_SEGMENT_MAX_CNT))
    return QR_ERR_ARG;
  if (range(c, "warmup_segments", p->warmup_segments, 1, p->replay_rows / p->segment_rows))
    return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    if (p->warmup_segments * p->segment_rows >= p->tasks[i].net.batch) continue;
    return refuse(
        c, "warmup_segments is %u: %u rows are fewer than the %u of one minibatch of task %s",
        p->warmup_segments, p->warmup_segments * p->segment_rows, p->tasks[i].net.batch,
        p->tasks[i].name);
  }
  return QR_OK;
}

static int check_chain(const check_t *c, const qr_params_t *p) {
  if (range(c, "target_window", p->target_window, 1, 64)) return QR_ERR_ARG;
  if (range(c, "witness_window", p->witness_window, 0, 1024)) return QR_ERR_ARG;
  if (range(c, "reorg_limit", p->reorg_limit, 1, 65536)) return QR_ERR_ARG;
  qr_u256_t max;
  if (!qr_target_expand(p->max_target, &max)) {
    return refuse(c, "max_target 0x%08x is not a canonical compact target", p->max_target);
  }
  if (range(c, "block_ms", p->block_ms, 1, 86400000)) return QR_ERR_ARG;
  if (p->asert_halflife_ms &&
      range(c, "asert_halflife_ms", p->asert_halflife_ms, p->block_ms, UINT32_MAX)) {
    return QR_ERR_ARG;
  }
  if (range(c, "tie_rule", p->tie_rule, QR_TIE_REWARD, QR_TIE_HASH)) return QR_ERR_ARG;
  return range(c, "tie_window_ms", p->tie_window_ms, 0, 600000);
}

static int check_money(const check_t *c, const qr_params_t *p) {
  uint64_t sum = 0;
  if (range(c, "subsidy", p->subsidy, 0, AMOUNT_MAX)) return QR_ERR_ARG;
  if (range(c, "premine_cnt", p->premine_cnt, 0, QR_PREMINE_MAX_CNT)) return QR_ERR_ARG;
  for (uint32_t i = 0; i < p->premine_cnt; i++) {
    uint64_t amount = p->premine[i].amount;
    if (amount < 1 || amount > AMOUNT_MAX - sum) {
      return refuse(c, "premine[%u].amount is %llu; it must be at least 1 and the sum at most %llu",
                    i, (unsigned long long)amount, (unsigned long long)AMOUNT_MAX);
    }
    sum += amount;
    for (uint32_t j = 0; j < i; j++) {
      if (!qr_pubkey_eq(&p->premine[i].to, &p->premine[j].to)) continue;
      return refuse(c, "premine[%u].to is the same account as premine[%u].to", i, j);
    }
  }
  return QR_OK;
}

static void add_name(qr_hasher_t *h, const char name[32]) {
  char padded[32] = {0};
  memcpy(padded, name, strnlen(name, sizeof padded));
  qr_hash_add(h, padded, sizeof padded);
}

static void add_u32s(qr_hasher_t *h, const uint32_t *v, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) qr_hash_add_u32(h, v[i]);
}

static void add_task(qr_hasher_t *h, const qr_task_params_t *t) {
  const qr_net_spec_t *s = &t->net;
  add_name(h, t->name);
  add_u32s(h, (const uint32_t[]){t->env, s->in_c, s->in_h, s->in_w, s->action_cnt, s->layer_cnt},
           6);
  for (uint32_t i = 0; i < s->layer_cnt; i++) {
    const qr_layer_spec_t *l = &s->layers[i];
    add_u32s(
        h, (const uint32_t[]){l->kind, l->out, l->stride_y, l->stride_x, l->lr_shift, l->init_fan},
        6);
  }
  add_u32s(h,
           (const uint32_t[]){s->batch, s->act_frac, t->gamma_q16, (uint32_t)t->q_clip,
                              t->eps_start_q16, t->eps_end_q16, t->eps_blocks, t->lr_halve_blocks,
                              t->lr_halve_max, t->work_q16},
           10);
  qr_hash_add_u64(h, (uint64_t)t->reward_scale);
}

static void add_program(qr_hasher_t *h, const qr_net_t *net) {
  qr_step_prog_t prog;
  qr_step_lower(net, &prog);
  qr_hash_t hash = qr_step_prog_hash(&prog);
  qr_hash_add(h, hash.b, QR_HASH_SZ);
}

/* The layout is in README.md, "Rules hash". */
static qr_hash_t rules_hash(const qr_chain_cfg_t *cfg) {
  const qr_params_t *p = &cfg->p;
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.rules");
  qr_hash_add_u32(&h, RULES_VERSION);
  add_name(&h, p->name);
  qr_hash_add_u64(&h, p->chain_id);
  qr_hash_add_u64(&h, p->genesis_time_ms);
  qr_hash_add(&h, p->seed.b, QR_HASH_SZ);
  qr_hash_add_u32(&h, p->task_cnt);
  for (uint32_t i = 0; i < p->task_cnt; i++) add_task(&h, &p->tasks[i]);
  add_u32s(&h,
           (const uint32_t[]){p->step_cnt, p->segment_rows, p->eval_rows, p->replay_rows,
                              p->warmup_segments, p->target_window, p->witness_window,
                              p->reorg_limit, p->max_target, p->block_ms, p->asert_halflife_ms,
                              p->drift_ms, p->tie_rule, p->tie_window_ms},
           14);
  qr_hash_add_u64(&h, p->subsidy);
  qr_hash_add_u32(&h, p->premine_cnt);
  for (uint32_t i = 0; i < p->premine_cnt; i++) {
    qr_hash_add(&h, p->premine[i].to.b, QR_PUBKEY_SZ);
    qr_hash_add_u64(&h, p->premine[i].amount);
  }
  for (uint32_t i = 0; i < p->task_cnt; i++) add_program(&h, &cfg->nets[i]);
  qr_hash_end(&h, &out);
  return out;
}

int qr_params_init(const qr_params_t *p, qr_chain_cfg_t *out, char *why, size_t why_sz) {
  check_t c = {.why = why, .why_sz = why_sz};
  memset(out, 0, sizeof *out);
  if (check_name(&c, p->name)) return QR_ERR_ARG;
  if (range(&c, "chain_id", p->chain_id, 1, INT64_MAX)) return QR_ERR_ARG;
  if (range(&c, "genesis_time_ms", p->genesis_time_ms, 0, TIME_MAX_MS)) return QR_ERR_ARG;
  if (check_tasks(&c, p, out->nets)) return QR_ERR_ARG;
  if (check_rows(&c, p) || check_chain(&c, p) || check_money(&c, p)) return QR_ERR_ARG;
  out->p = *p;
  out->rules = rules_hash(out);
  return QR_OK;
}

uint32_t qr_params_eps(const qr_task_params_t *t, uint64_t n) {
  if (n >= t->eps_blocks) return t->eps_end_q16;
  uint64_t fall = (uint64_t)(t->eps_start_q16 - t->eps_end_q16) * n / t->eps_blocks;
  return t->eps_start_q16 - (uint32_t)fall;
}

uint32_t qr_params_lr_shift(const qr_task_params_t *t, uint64_t n) {
  if (!t->lr_halve_blocks) return 0;
  uint64_t cnt = n / t->lr_halve_blocks;
  return cnt < t->lr_halve_max ? (uint32_t)cnt : t->lr_halve_max;
}
