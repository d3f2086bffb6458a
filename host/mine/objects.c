#include "mine/objects.h"

#include <stdatomic.h>

#include "base/err.h"

/* Keys of segments: none is given twice in a process, for accelerators, which several nodes of a
   process may share, keep what they made of a segment by it. */
static _Atomic uint64_t g_next_segment_key = 1;

/* Blocks of side branches and blocks being executed, beyond the windows of the main chain. */
#define SLACK_CNT 48u

qr_objects_cfg_t qr_objects_default(const qr_chain_cfg_t *cfg) {
  const qr_params_t *p = &cfg->p;
  return (qr_objects_cfg_t){
      /* what is resident, one for each waiting block, and one on its way to each peer */
      .model_cnt = 2 * p->witness_window + 4 * SLACK_CNT,
      /* a miner's window at the tip, and a verifier's as far back as a reorganisation goes */
      .segment_cnt = 2 * (p->replay_rows / p->segment_rows) + p->warmup_segments + SLACK_CNT,
      /* one for each waiting block, and three on their way to each peer */
      .block_cnt = 4 * SLACK_CNT,
  };
}

int qr_objects_init(qr_objects_t *o, const qr_chain_cfg_t *cfg, const qr_objects_cfg_t *sizes) {
  memset(o, 0, sizeof *o);
  o->cfg = cfg;
  uint32_t model_sz = 0;
  bool ok = true;
  for (uint32_t t = 0; t < cfg->p.task_cnt; t++) {
    const qr_env_t *env = qr_env_get(cfg->p.tasks[t].env);
    if (cfg->nets[t].model_sz > model_sz) model_sz = cfg->nets[t].model_sz;
    size_t sz = sizeof(qr_segment_obj_t) + qr_segment_footprint(env, cfg->p.segment_rows);
    o->segments[t] = qr_pool_init("segment", sz, sizes->segment_cnt, NULL);
    ok = ok && o->segments[t];
  }
  o->models = qr_pool_init("model", sizeof(qr_model_obj_t) + model_sz, sizes->model_cnt, NULL);
  o->blocks = qr_pool_init("block", sizeof(qr_block_obj_t), sizes->block_cnt, NULL);
  if (ok && o->models && o->blocks) return QR_OK;
  qr_objects_fini(o);
  return QR_ERR_NOMEM;
}

void qr_objects_fini(qr_objects_t *o) {
  for (uint32_t t = 0; t < QR_TASK_MAX_CNT; t++) qr_pool_fini(o->segments[t]);
  qr_pool_fini(o->models);
  qr_pool_fini(o->blocks);
}

qr_model_obj_t *qr_objects_model(qr_objects_t *o, uint32_t task) {
  qr_model_obj_t *m = qr_pool_get(o->models);
  if (!m) return NULL;
  m->task = task;
  m->sz = o->cfg->nets[task].model_sz;
  return m;
}

qr_segment_obj_t *qr_objects_segment(qr_objects_t *o, uint32_t task) {
  qr_segment_obj_t *s = qr_pool_get(o->segments[task]);
  if (!s) return NULL;
  s->seg = qr_segment_init(s->mem, qr_env_get(o->cfg->p.tasks[task].env), o->cfg->p.segment_rows);
  s->seg->key = atomic_fetch_add(&g_next_segment_key, 1);
  return s;
}

qr_block_obj_t *qr_objects_block(qr_objects_t *o) {
  qr_block_obj_t *b = qr_pool_get(o->blocks);
  if (b) {
    b->peer = 0;
    b->sz = 0;
  }
  return b;
}

enum qr_verdict qr_block_obj_decode(qr_block_obj_t *b, const uint8_t *bytes, size_t sz) {
  if (sz < QR_HEADER_SZ || sz > QR_BLOCK_MAX_SZ) return QR_VERDICT_SIZE;
  memcpy(b->bytes, bytes, sz);
  b->sz = (uint32_t)sz;
  qr_header_decode(b->bytes, &b->header);
  b->hash = qr_header_hash(&b->header);
  return qr_body_decode(b->bytes + QR_HEADER_SZ, sz - QR_HEADER_SZ, &b->body);
}
