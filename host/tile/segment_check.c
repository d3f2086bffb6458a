#include "tile/segment_check.h"

#include "base/err.h"

int qr_segment_check_init(qr_segment_check_t *c, const qr_chain_cfg_t *chain,
                          qr_objects_t *objects) {
  int err = QR_OK;
  *c = (qr_segment_check_t){.chain = chain, .objects = objects};
  for (uint32_t task = 0; task < chain->p.task_cnt && !err; task++)
    err = qr_task_genesis_init(&c->genesis[task], objects, task);
  if (err) qr_segment_check_fini(c);
  return err;
}

void qr_segment_check_fini(qr_segment_check_t *c) {
  for (uint32_t task = 0; task < c->chain->p.task_cnt; task++)
    qr_task_genesis_fini(&c->genesis[task]);
}

/* The state of the task before the block. */
static void before(const qr_segment_check_t *c, const qr_node_t *n, qr_hash_t *env_root,
                   qr_hash_t *replay_root) {
  if (n->task_parent) {
    *env_root = n->task_parent->header.env_root;
    *replay_root = n->task_parent->header.replay_root;
    return;
  }
  const qr_task_genesis_t *g = &c->genesis[n->header.task];
  const uint8_t *end = qr_segment_end_states(g->segments[g->segment_cnt - 1]->seg);
  *env_root = qr_segment_env_root(qr_env_get(c->chain->p.tasks[n->header.task].env), end);
  *replay_root = g->replay_root;
}

int qr_segment_check(qr_segment_check_t *c, const qr_node_t *n, const uint8_t *states,
                     const uint8_t *actions, qr_segment_obj_t **out) {
  const qr_env_t *env = qr_env_get(c->chain->p.tasks[n->header.task].env);
  qr_hash_t env_root, replay_root;
  for (uint32_t i = 0; i < c->chain->p.segment_rows; i++) {
    if (actions[i] >= env->action_cnt) return QR_ERR_CORRUPT;
  }
  qr_segment_obj_t *s = qr_objects_segment(c->objects, n->header.task);
  if (!s) return QR_ERR_NOMEM;
  before(c, n, &env_root, &replay_root);
  qr_view_rebuild_segment(s, &n->header.parent, n->header.task, states, actions);
  qr_hash_t begins = qr_segment_env_root(env, states);
  qr_hash_t ends = qr_segment_env_root(env, qr_segment_end_states(s->seg));
  qr_hash_t replay = qr_view_replay_next(&replay_root, s->seg);
  bool right = qr_hash_eq(&begins, &env_root) && qr_hash_eq(&ends, &n->header.env_root) &&
               qr_hash_eq(&replay, &n->header.replay_root);
  if (right && out)
    *out = s;
  else
    qr_pool_unref(s);
  return right ? QR_OK : QR_ERR_CORRUPT;
}
