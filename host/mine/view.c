#include "mine/view.h"

#include "base/assert.h"
#include "base/err.h"
#include "crypto/hash.h"

#define E_CNT QR_SEGMENT_INSTANCE_CNT

static void drop_view(void *obj) {
  qr_view_t *v = obj;
  for (uint32_t i = 0; i < v->segment_cnt; i++) qr_pool_unref(v->segments[i]);
  qr_pool_unref(v->target);
}

qr_pool_t *qr_view_pool_init(uint32_t cnt) {
  return qr_pool_init("view", sizeof(qr_view_t), cnt, drop_view);
}

const uint8_t *qr_view_start_states(const qr_view_t *v) {
  QR_ASSERT(v->segment_cnt);
  return qr_segment_end_states(v->segments[v->segment_cnt - 1]->seg);
}

static qr_hash_t hash_with_u32(const char *domain, const qr_hash_t *a, uint32_t n) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, domain);
  qr_hash_add(&h, a, sizeof *a);
  qr_hash_add_u32(&h, n);
  qr_hash_end(&h, &out);
  return out;
}

qr_hash_t qr_view_act_feed(const qr_hash_t *parent, uint32_t task) {
  return hash_with_u32("quarry.feed", parent, task);
}

qr_hash_t qr_view_eval_feed(const qr_hash_t *rho) {
  return qr_hash("quarry.eval", rho, sizeof *rho);
}

qr_hash_t qr_view_replay_next(const qr_hash_t *prev, const qr_segment_t *s) {
  qr_hasher_t h;
  qr_hash_t seg = qr_segment_hash(s), out;
  qr_hash_init(&h, "quarry.replay");
  qr_hash_add(&h, prev, sizeof *prev);
  qr_hash_add(&h, &seg, sizeof seg);
  qr_hash_end(&h, &out);
  return out;
}

uint32_t qr_view_reward(const qr_task_params_t *t, int64_t model_return, int64_t rule_return) {
  return (uint32_t)qr_clamp64(32768 + (model_return - rule_return) * 32768 / t->reward_scale, 0,
                              65536);
}

typedef struct {
  qr_hash_t feed;
  uint32_t action_cnt;
} warmup_t;

static void act_randomly(void *ctx, uint32_t step, const qr_env_live_t *live, const int8_t *obs,
                         uint8_t *out) {
  const warmup_t *w = ctx;
  (void)live;
  (void)obs;
  for (uint32_t i = 0; i < E_CNT; i++) {
    qr_philox_t p = qr_philox_init(&w->feed, qr_stream_word(QR_STREAM_WARMUP, 0, i));
    out[i] = (uint8_t)qr_philox_bound(qr_philox_word(&p, step), w->action_cnt);
  }
}

int qr_task_genesis_init(qr_task_genesis_t *g, qr_objects_t *o, uint32_t task) {
  const qr_chain_cfg_t *cfg = o->cfg;
  memset(g, 0, sizeof *g);
  QR_ASSERT(cfg->p.warmup_segments <= QR_VIEW_SEGMENT_MAX_CNT);
  qr_hash_t seed = hash_with_u32("quarry.genesis.task", &cfg->p.seed, task);
  g->model = qr_objects_model(o, task);
  if (!g->model) return QR_ERR_NOMEM;
  qr_model_init(&cfg->nets[task], &seed, g->model->bytes);
  g->model->root = qr_model_root(&cfg->nets[task], g->model->bytes);
  qr_env_live_t live[E_CNT];
  for (uint32_t w = 0; w < cfg->p.warmup_segments; w++) {
    qr_segment_obj_t *s = qr_objects_segment(o, task);
    if (!s) {
      qr_task_genesis_fini(g);
      return QR_ERR_NOMEM;
    }
    warmup_t ctx = {hash_with_u32("quarry.warmup", &seed, w), cfg->nets[task].spec.action_cnt};
    const uint8_t *start = w ? qr_segment_end_states(g->segments[w - 1]->seg) : NULL;
    qr_segment_run(s->seg, start, &ctx.feed, live, act_randomly, &ctx);
    g->segments[g->segment_cnt++] = s;
    g->replay_root = qr_view_replay_next(&g->replay_root, s->seg);
  }
  return QR_OK;
}

void qr_task_genesis_fini(qr_task_genesis_t *g) {
  qr_pool_unref(g->model);
  for (uint32_t i = 0; i < g->segment_cnt; i++) qr_pool_unref(g->segments[i]);
  memset(g, 0, sizeof *g);
}

static void act_as_recorded(void *ctx, uint32_t step, const qr_env_live_t *live, const int8_t *obs,
                            uint8_t *out) {
  (void)live;
  (void)obs;
  memcpy(out, (const uint8_t *)ctx + (size_t)step * E_CNT, E_CNT);
}

void qr_view_rebuild_segment(qr_segment_obj_t *s, const qr_hash_t *parent, uint32_t task,
                             const uint8_t *start_states, const uint8_t *actions) {
  qr_hash_t feed = qr_view_act_feed(parent, task);
  qr_env_live_t live[E_CNT];
  uint8_t recorded[QR_BLOCK_ACTION_MAX_CNT];
  memcpy(recorded, actions, s->seg->row_cnt);
  qr_segment_run(s->seg, start_states, &feed, live, act_as_recorded, recorded);
}
