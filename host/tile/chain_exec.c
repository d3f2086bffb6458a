#include "tile/chain_int.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"

/* Blocks beyond the windows whose objects stay resident, so that short reorganisations need no
 * rebuilding. */
#define SPARE_CNT 16u

static uint32_t window_of(const qr_chain_tile_t *t) {
  return t->chain->p.replay_rows / t->chain->p.segment_rows;
}

static int fifo_init(qr_fifo_t *f, uint32_t cap) {
  f->nodes = calloc(cap, sizeof(qr_node_t *));
  f->cap = cap;
  return f->nodes ? QR_OK : QR_ERR_NOMEM;
}

int qr_chain_exec_init(qr_chain_tile_t *t) {
  int err = fifo_init(&t->model_fifo, t->chain->p.witness_window + SPARE_CNT);
  for (uint32_t i = 0; i < t->chain->p.task_cnt && !err; i++) {
    err = fifo_init(&t->segment_fifo[i], window_of(t) + SPARE_CNT);
  }
  return err;
}

static void release_models(qr_exec_t *e) {
  qr_pool_unref(e->model_in);
  qr_pool_unref(e->model_out);
  e->model_in = e->model_out = NULL;
}

static void release_segment(qr_exec_t *e) {
  qr_pool_unref(e->segment);
  e->segment = NULL;
}

void qr_chain_exec_free(qr_exec_t *e) {
  if (!e) return;
  release_models(e);
  release_segment(e);
  free(e->undo);
  free(e);
}

void qr_chain_exec_fini(qr_chain_tile_t *t) {
  free(t->model_fifo.nodes);
  for (uint32_t i = 0; i < QR_TASK_MAX_CNT; i++) free(t->segment_fifo[i].nodes);
}

/* Appends a node; returns the one that had to leave, or NULL. */
static qr_node_t *fifo_push(qr_fifo_t *f, qr_node_t *n) {
  qr_node_t *gone = NULL; /* as is one that was dropped meanwhile */
  if (f->cnt == f->cap) {
    gone = f->nodes[f->head];
    f->head = (f->head + 1) % f->cap;
    f->cnt--;
  }
  f->nodes[(f->head + f->cnt++) % f->cap] = n;
  return gone;
}

void qr_chain_keep_segment(qr_chain_tile_t *t, qr_node_t *n) {
  qr_node_t *gone = fifo_push(&t->segment_fifo[n->header.task], n);
  if (gone && gone != n) release_segment(gone->user);
}

void qr_chain_keep_models(qr_chain_tile_t *t, qr_node_t *n) {
  qr_node_t *gone = fifo_push(&t->model_fifo, n);
  if (gone && gone != n) release_models(gone->user);
}

static void fifo_forget(qr_fifo_t *f, const qr_node_t *n) {
  for (uint32_t i = 0; i < f->cnt; i++) {
    qr_node_t **place = &f->nodes[(f->head + i) % f->cap];
    if (*place == n) *place = NULL;
  }
}

void qr_chain_exec_drop(qr_chain_tile_t *t, qr_node_t *n) {
  if (!n->user) return;
  fifo_forget(&t->model_fifo, n);
  fifo_forget(&t->segment_fifo[n->header.task], n);
  qr_chain_exec_free(n->user);
  n->user = NULL;
}

qr_exec_t *qr_chain_exec(qr_chain_tile_t *t, qr_node_t *n) {
  if (n->user) return n->user;
  QR_ASSERT(n->state == QR_NODE_EXECUTED);
  qr_exec_t *e = calloc(1, sizeof *e);
  int64_t sz = qr_chain_get_of(t, QR_STORE_EXEC, n);
  if (!e || sz < 0 || !qr_exec_decode(t->io_buf, (size_t)sz, &e->facts)) {
    free(e);
    qr_chain_fail(t, "read execution record", sz < 0 ? (int)sz : QR_ERR_CORRUPT);
    return NULL;
  }
  e->trained = e->ranked = true;
  n->user = e;
  return e;
}

int qr_chain_resident_segment(qr_chain_tile_t *t, qr_node_t *n) {
  qr_exec_t *e = qr_chain_exec(t, n);
  if (!e) return QR_ERR_IO;
  if (e->segment) return QR_OK;
  const uint8_t *states, *actions;
  int64_t sz = qr_chain_get_of(t, QR_STORE_REPLAY, n);
  if (sz < 0) return (int)sz;
  if (!qr_replay_decode(t->io_buf, (size_t)sz, t->chain->p.segment_rows, &states, &actions))
    return QR_ERR_CORRUPT;
  qr_segment_obj_t *s = qr_objects_segment(t->cfg.objects, n->header.task);
  if (!s) return QR_ERR_NOMEM;
  qr_view_rebuild_segment(s, &n->header.parent, n->header.task, states, actions);
  e->segment = s;
  qr_chain_keep_segment(t, n);
  return QR_OK;
}

int qr_chain_read_model(qr_chain_tile_t *t, uint32_t task, const qr_hash_t *root,
                        qr_model_obj_t **out) {
  int64_t sz = qr_chain_get(t, QR_STORE_MODEL, root, sizeof *root);
  if (sz != (int64_t)t->chain->nets[task].model_sz) return sz < 0 ? (int)sz : QR_ERR_CORRUPT;
  qr_model_obj_t *m = qr_objects_model(t->cfg.objects, task);
  if (!m) return QR_ERR_NOMEM;
  memcpy(m->bytes, t->io_buf, m->sz);
  m->root = *root;
  *out = m;
  return QR_OK;
}

int qr_chain_resident_model(qr_chain_tile_t *t, qr_node_t *n) {
  qr_exec_t *e = qr_chain_exec(t, n);
  if (!e) return QR_ERR_IO;
  if (e->model_out) return QR_OK;
  int err = qr_chain_read_model(t, n->header.task, &n->header.model_out, &e->model_out);
  if (!err) qr_chain_keep_models(t, n);
  return err;
}

static qr_model_obj_t *find_kept(const qr_chain_tile_t *t, const qr_hash_t *root) {
  const qr_fifo_t *f = &t->model_fifo;
  for (uint32_t i = 0; i < f->cnt; i++) {
    const qr_node_t *n = f->nodes[(f->head + i) % f->cap];
    if (!n) continue;
    const qr_exec_t *e = n->user;
    if (e->model_out && qr_hash_eq(&e->model_out->root, root)) return e->model_out;
    if (e->model_in && qr_hash_eq(&e->model_in->root, root)) return e->model_in;
  }
  return NULL;
}

qr_model_obj_t *qr_chain_find_model(qr_chain_tile_t *t, const qr_hash_t *root) {
  for (uint32_t i = 0; i < t->chain->p.task_cnt; i++) {
    if (qr_hash_eq(&t->genesis[i].model->root, root)) return t->genesis[i].model;
  }
  return find_kept(t, root);
}

bool qr_chain_model_kept(const qr_chain_tile_t *t, const qr_hash_t *root) {
  return find_kept(t, root);
}

qr_node_t *qr_chain_task_tip(qr_node_t *parent, uint32_t task) {
  while (parent && parent->header.height && parent->header.task != task) parent = parent->parent;
  return parent && parent->header.height ? parent : NULL; /* genesis is of no task */
}

/* Against the newest eligible block of the window before it: at most twice its error. */
int qr_chain_rank(qr_chain_tile_t *t, qr_node_t *n, bool *known) {
  qr_exec_t *e = qr_chain_exec(t, n);
  if (!e) return QR_ERR_IO;
  *known = e->ranked;
  if (e->ranked || !e->trained) return QR_OK;
  bool eligible = true;
  qr_node_t *m = n->task_parent;
  for (uint32_t i = 0; m && i < t->chain->p.target_window; i++, m = m->task_parent) {
    int err = qr_chain_rank(t, m, known);
    if (err || !*known) return err;
    const qr_exec_t *before = m->user;
    if (!before->facts.eligible) continue;
    eligible = e->facts.td_abs_sum <= 2 * before->facts.td_abs_sum;
    break;
  }
  e->facts.eligible = eligible;
  e->ranked = *known = true;
  return QR_OK;
}

static bool better(const qr_node_t *a, const qr_node_t *b) {
  return a->header.reward > b->header.reward ||
         (a->header.reward == b->header.reward && a->task_idx > b->task_idx);
}

/* The block whose outgoing model is the target: of the window the eligible one with the highest R,
   latest on ties; the newest if none is eligible; NULL if there is none at all. Not known while a
   block in execution might be it. */
static int find_target(qr_chain_tile_t *t, qr_node_t *newest, qr_node_t **out, bool *known) {
  qr_node_t *best = NULL, *open = NULL, *n = newest;
  for (uint32_t i = 0; n && i < t->chain->p.target_window; i++, n = n->task_parent) {
    bool ranked;
    int err = qr_chain_rank(t, n, &ranked);
    if (err) return err;
    qr_node_t **kind = ranked ? &best : &open;
    if (ranked && !((const qr_exec_t *)n->user)->facts.eligible) continue;
    if (!*kind || better(n, *kind)) *kind = n;
  }
  *known = !open || (best && better(best, open));
  *out = best ? best : newest;
  return QR_OK;
}

static int choose_target(qr_chain_tile_t *t, qr_view_t *v, qr_node_t *newest) {
  qr_node_t *n;
  bool known;
  int err = find_target(t, newest, &n, &known);
  if (err) return err;
  QR_ASSERT(known);
  if (!n) {
    v->target = qr_pool_ref(t->genesis[v->task].model);
    return QR_OK;
  }
  err = qr_chain_resident_model(t, n);
  if (!err) v->target = qr_pool_ref(((qr_exec_t *)n->user)->model_out);
  return err;
}

int qr_chain_view_known(qr_chain_tile_t *t, qr_node_t *parent, uint32_t task, bool *known) {
  qr_node_t *newest = qr_chain_task_tip(parent, task), *target;
  *known = false;
  for (qr_node_t *n = newest; n && n->state != QR_NODE_EXECUTED; n = n->task_parent) {
    if (!((const qr_exec_t *)n->user)->segment) return QR_OK;
  }
  return find_target(t, newest, &target, known);
}

static int collect_segments(qr_chain_tile_t *t, qr_view_t *v, qr_node_t *newest) {
  uint32_t window = window_of(t), cnt = 0;
  const qr_task_genesis_t *g = &t->genesis[v->task];
  qr_segment_obj_t *back[QR_VIEW_SEGMENT_MAX_CNT]; /* newest first */
  int err = QR_OK;
  for (qr_node_t *n = newest; n && cnt < window && !err; n = n->task_parent) {
    err = qr_chain_resident_segment(t, n);
    if (!err) back[cnt++] = qr_pool_ref(((qr_exec_t *)n->user)->segment);
  }
  for (uint32_t i = g->segment_cnt; i-- > 0 && cnt < window && !err;)
    back[cnt++] = qr_pool_ref(g->segments[i]);
  for (uint32_t i = 0; i < cnt; i++) v->segments[i] = back[cnt - 1 - i];
  v->segment_cnt = cnt;
  return err;
}

qr_view_t *qr_chain_view(qr_chain_tile_t *t, qr_node_t *parent, uint32_t task) {
  qr_view_t *v = qr_pool_get(t->views);
  if (!v) return NULL;
  qr_node_t *newest = qr_chain_task_tip(parent, task);
  memset(v, 0, sizeof *v);
  v->cfg = t->chain;
  v->task = task;
  v->task_idx = newest ? newest->task_idx + 1 : 0;
  v->parent = parent->hash;
  v->replay_root = newest ? newest->header.replay_root : t->genesis[task].replay_root;
  int err = collect_segments(t, v, newest);
  if (!err) err = choose_target(t, v, newest);
  if (!err) return v;
  qr_pool_unref(v);
  if (err != QR_ERR_NOMEM) qr_chain_fail(t, "rebuild the replay from the store", err);
  return NULL;
}
