#include "tile/segment_check.h"

#include "base/err.h"

/* Segments beyond the genesis' own: the one in work and the one before. */
#define SEGMENT_CNT 2u

static int begin_task(qr_segment_check_t *c, uint32_t task) {
  qr_task_genesis_t g;
  int err = qr_task_genesis_init(&g, &c->objects, task);
  if (err) return err;
  const uint8_t *end = qr_segment_end_states(g.segments[g.segment_cnt - 1]->seg);
  c->first_env[task] = qr_segment_env_root(qr_env_get(c->chain->p.tasks[task].env), end);
  c->first_replay[task] = g.replay_root;
  qr_task_genesis_fini(&g);
  return QR_OK;
}

int qr_segment_check_init(qr_segment_check_t *c, const qr_chain_cfg_t *chain) {
  qr_objects_cfg_t sizes = {
      .model_cnt = 1, .segment_cnt = chain->p.warmup_segments + SEGMENT_CNT, .block_cnt = 1};
  *c = (qr_segment_check_t){.chain = chain};
  int err = qr_objects_init(&c->objects, chain, &sizes);
  if (err) return err;
  for (uint32_t task = 0; task < chain->p.task_cnt && !err; task++) err = begin_task(c, task);
  if (err) qr_objects_fini(&c->objects);
  return err;
}

void qr_segment_check_fini(qr_segment_check_t *c) { qr_objects_fini(&c->objects); }

int qr_segment_check(qr_segment_check_t *c, const qr_node_t *n, const uint8_t *states,
                     const uint8_t *actions) {
  uint32_t task = n->header.task;
  const qr_env_t *env = qr_env_get(c->chain->p.tasks[task].env);
  const qr_header_t *before = n->task_parent ? &n->task_parent->header : NULL;
  for (uint32_t i = 0; i < c->chain->p.segment_rows; i++) {
    if (actions[i] >= env->action_cnt) return QR_ERR_CORRUPT;
  }
  qr_segment_obj_t *s = qr_objects_segment(&c->objects, task);
  if (!s) return QR_ERR_NOMEM;
  qr_view_rebuild_segment(s, &n->header.parent, task, states, actions);
  qr_hash_t begins = qr_segment_env_root(env, states);
  qr_hash_t ends = qr_segment_env_root(env, qr_segment_end_states(s->seg));
  qr_hash_t replay =
      qr_view_replay_next(before ? &before->replay_root : &c->first_replay[task], s->seg);
  qr_pool_unref(s);
  return qr_hash_eq(&begins, before ? &before->env_root : &c->first_env[task]) &&
                 qr_hash_eq(&ends, &n->header.env_root) &&
                 qr_hash_eq(&replay, &n->header.replay_root)
             ? QR_OK
             : QR_ERR_CORRUPT;
}
