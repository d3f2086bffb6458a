#include "chain/tree.h"

#include <stdlib.h>

#include "base/assert.h"
#include "crypto/hash.h"

#define CHUNK_NODE_CNT 256u
#define TABLE_MIN_CNT 1024u
#define MEDIAN_CNT 11u
#define NS_PER_MS UINT64_C(1000000)

/* What the tree keeps of a node besides what everybody sees. */
typedef struct link link_t;
struct link {
  qr_node_t node; /* first, so that a node is its link */
  link_t *skip;   /* an ancestor far up, at skip_height(height); NULL: below the root */
  link_t *first_child, *next_sibling;
  link_t **sibling_link; /* what points at this one among its siblings */
  link_t *next_invalid;  /* of the queue of invalid ones, or of the free list */
};

typedef struct chunk chunk_t;
struct chunk {
  chunk_t *next;
  link_t links[CHUNK_NODE_CNT];
};

struct qr_tree {
  const qr_chain_cfg_t *cfg;
  link_t *genesis, *root, *tip;
  link_t **table; /* open addressing, linear probing; at most half full */
  uint64_t table_cnt, node_cnt;
  chunk_t *chunks;
  uint32_t chunk_used_cnt;
  link_t *free_list;
  link_t *oldest_invalid, *newest_invalid;
  uint32_t invalid_cnt;
  uint64_t floor;
};

static link_t *link_of(qr_node_t *n) { return (link_t *)n; }

/* --- the table of hashes --- */

static uint64_t home_of(const qr_tree_t *t, const qr_hash_t *hash) {
  return qr_ld64(hash->b) & (t->table_cnt - 1);
}

/* The place of hash, or the empty one where it would go. */
static uint64_t place_of(const qr_tree_t *t, const qr_hash_t *hash) {
  uint64_t i = home_of(t, hash);
  while (t->table[i] && !qr_hash_eq(&t->table[i]->node.hash, hash))
    i = (i + 1) & (t->table_cnt - 1);
  return i;
}

static bool table_grow(qr_tree_t *t) {
  link_t **old = t->table;
  uint64_t old_cnt = t->table_cnt;
  link_t **grown = calloc(2 * old_cnt, sizeof(link_t *));
  if (!grown) return false;
  t->table = grown;
  t->table_cnt = 2 * old_cnt;
  for (uint64_t i = 0; i < old_cnt; i++) {
    if (old[i]) t->table[place_of(t, &old[i]->node.hash)] = old[i];
  }
  free(old);
  return true;
}

static void table_remove(qr_tree_t *t, const qr_hash_t *hash) {
  uint64_t mask = t->table_cnt - 1, hole = place_of(t, hash);
  /* Entries after the hole that probing would no longer reach move into it. */
  for (uint64_t i = (hole + 1) & mask; t->table[i]; i = (i + 1) & mask) {
    uint64_t home = home_of(t, &t->table[i]->node.hash);
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    t->table[hole] = t->table[i];
    hole = i;
  }
  t->table[hole] = NULL;
}

/* --- nodes --- */

static link_t *take_link(qr_tree_t *t) {
  link_t *l = t->free_list;
  if (l) {
    t->free_list = l->next_invalid;
  } else {
    if (!t->chunks || t->chunk_used_cnt == CHUNK_NODE_CNT) {
      chunk_t *c = malloc(sizeof *c);
      if (!c) return NULL;
      c->next = t->chunks;
      t->chunks = c;
      t->chunk_used_cnt = 0;
    }
    l = &t->chunks->links[t->chunk_used_cnt++];
  }
  memset(l, 0, sizeof *l);
  return l;
}

static void give_link(qr_tree_t *t, link_t *l) {
  l->next_invalid = t->free_list;
  t->free_list = l;
}

static uint64_t clear_lowest_bit(uint64_t v) { return v & (v - 1); }

/* Any height below its own would do; this one makes walks of both kinds O(log height): even heights
   skip to their prefix without the last one bit, odd ones one step further than their even
   neighbour's skip. */
static uint64_t skip_height(uint64_t height) {
  if (height < 2) return 0;
  if (height & 1) return clear_lowest_bit(clear_lowest_bit(height - 1)) + 1;
  return clear_lowest_bit(height);
}

qr_node_t *qr_tree_ancestor(qr_node_t *n, uint64_t height) {
  if (height > n->header.height) return NULL;
  link_t *l = link_of(n);
  while (l && l->node.header.height > height) {
    uint64_t at = l->node.header.height, skip = skip_height(at), before = skip_height(at - 1);
    /* Take the skip unless it overshoots, or the parent's skip is the better one: shorter here, and
       not overshooting. */
    bool far = skip == height || (skip > height && !(before + 2 < skip && before >= height));
    l = far ? l->skip : link_of(l->node.parent);
  }
  return l ? &l->node : NULL;
}

qr_node_t *qr_tree_common(qr_node_t *a, qr_node_t *b) {
  uint64_t ha = a->header.height, hb = b->header.height;
  link_t *x = link_of(ha > hb ? qr_tree_ancestor(a, hb) : a);
  link_t *y = link_of(hb > ha ? qr_tree_ancestor(b, ha) : b);
  while (x != y) {
    /* equal heights have skips of equal height; equal skips may be above the fork */
    bool far = x->skip != y->skip;
    x = far ? x->skip : link_of(x->node.parent);
    y = far ? y->skip : link_of(y->node.parent);
  }
  return &x->node;
}

/* Puts a link into the table and under its parent (NULL: genesis). False if out of memory. */
static bool add_link(qr_tree_t *t, link_t *l, qr_node_t *parent) {
  if (2 * (t->node_cnt + 1) > t->table_cnt && !table_grow(t)) return false;
  uint64_t place = place_of(t, &l->node.hash);
  QR_ASSERT(!t->table[place]);
  t->table[place] = l;
  t->node_cnt++;
  l->node.parent = parent;
  if (!parent) return true;
  l->skip = link_of(qr_tree_ancestor(parent, skip_height(l->node.header.height)));
  link_t **first = &link_of(parent)->first_child;
  l->next_sibling = *first;
  if (*first) (*first)->sibling_link = &l->next_sibling;
  l->sibling_link = first;
  *first = l;
  return true;
}

/* Out of its parent's children, if it has a parent. */
static void unlink_sibling(link_t *l) {
  if (l->sibling_link) *l->sibling_link = l->next_sibling;
  if (l->next_sibling) l->next_sibling->sibling_link = l->sibling_link;
  l->sibling_link = NULL;
  l->next_sibling = NULL;
}

static void drop_link(qr_tree_t *t, link_t *l) {
  unlink_sibling(l);
  table_remove(t, &l->node.hash);
  t->node_cnt--;
  give_link(t, l);
}

static void remove_link(qr_tree_t *t, link_t *l) {
  QR_ASSERT(!l->first_child && l->node.parent && l->node.state != QR_NODE_EXECUTED);
  drop_link(t, l);
}

/* --- life --- */

qr_hash_t qr_genesis_hash(const qr_chain_cfg_t *cfg) {
  qr_hasher_t h;
  qr_hash_t out;
  qr_hash_init(&h, "quarry.genesis");
  qr_hash_add(&h, cfg->rules.b, QR_HASH_SZ);
  qr_hash_add_u64(&h, cfg->p.genesis_time_ms);
  qr_hash_end(&h, &out);
  return out;
}

qr_tree_t *qr_tree_init(const qr_chain_cfg_t *cfg) {
  qr_tree_t *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->cfg = cfg;
  t->table_cnt = TABLE_MIN_CNT;
  t->table = calloc(t->table_cnt, sizeof(link_t *));
  link_t *g = t->table ? take_link(t) : NULL;
  if (!g) {
    qr_tree_fini(t);
    return NULL;
  }
  g->node.hash = qr_genesis_hash(cfg);
  g->node.header.version = QR_HEADER_VERSION;
  g->node.header.chain_id = cfg->p.chain_id;
  g->node.header.rules = cfg->rules;
  g->node.header.time_ms = cfg->p.genesis_time_ms;
  g->node.header.target = cfg->p.max_target;
  g->node.state = QR_NODE_EXECUTED;
  bool added = add_link(t, g, NULL); /* the table is empty: it need not grow */
  QR_ASSERT(added);
  t->genesis = t->root = t->tip = g;
  return t;
}

void qr_tree_fini(qr_tree_t *t) {
  if (!t) return;
  for (chunk_t *c = t->chunks, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(t->table);
  free(t);
}

const qr_node_t *qr_tree_genesis(const qr_tree_t *t) { return &t->genesis->node; }
const qr_node_t *qr_tree_root(const qr_tree_t *t) { return &t->root->node; }
qr_node_t *qr_tree_tip(const qr_tree_t *t) { return &t->tip->node; }
uint64_t qr_tree_node_cnt(const qr_tree_t *t) { return t->node_cnt; }

qr_node_t *qr_tree_find(const qr_tree_t *t, const qr_hash_t *hash) {
  link_t *l = t->table[place_of(t, hash)];
  return l ? &l->node : NULL;
}

void qr_tree_visit(qr_tree_t *t, void (*fn)(void *ctx, qr_node_t *n), void *ctx) {
  for (uint64_t i = 0; i < t->table_cnt; i++) {
    if (t->table[i]) fn(ctx, &t->table[i]->node);
  }
}

/* --- header rules --- */

uint32_t qr_tree_next_target(const qr_tree_t *t, const qr_node_t *parent) {
  const qr_params_t *p = &t->cfg->p;
  return qr_target_next(p->max_target, p->genesis_time_ms, parent->header.time_ms,
                        parent->header.height, p->block_ms, p->asert_halflife_ms);
}

uint64_t qr_tree_median_time(const qr_tree_t *t, const qr_node_t *parent) {
  (void)t;
  uint64_t sorted[MEDIAN_CNT];
  uint32_t cnt = 0;
  for (const qr_node_t *n = parent; n && cnt < MEDIAN_CNT; n = n->parent, cnt++) {
    uint32_t at = cnt;
    for (; at && sorted[at - 1] > n->header.time_ms; at--) sorted[at] = sorted[at - 1];
    sorted[at] = n->header.time_ms;
  }
  return sorted[cnt / 2];
}

/* Blocks of the tip's chain that would have to go if n's became the chain. */
static uint64_t depth_under_tip(const qr_tree_t *t, qr_node_t *n) {
  return t->tip->node.header.height - qr_tree_common(&t->tip->node, n)->header.height;
}

static bool ticket_ok(const qr_params_t *p, const qr_header_t *h) {
  qr_u256_t target;
  if (!qr_target_expand(h->target, &target)) return false;
  qr_hash_t sigma = qr_header_sigma(h),
            ticket = qr_header_ticket(&sigma, &h->model_out, &h->trace_last);
  return qr_target_met(&ticket, &target, p->tasks[h->task].work_q16);
}

static bool is_ahead(const qr_params_t *p, const qr_header_t *h, uint64_t wall_ms) {
  return h->time_ms > wall_ms && h->time_ms - wall_ms > p->drift_ms;
}

enum qr_verdict qr_tree_follows(const qr_chain_cfg_t *cfg, const qr_header_t *parent,
                                const qr_header_t *h, uint64_t wall_ms) {
  const qr_params_t *p = &cfg->p;
  uint64_t height = parent ? parent->height : 0;
  if (h->version != QR_HEADER_VERSION) return QR_VERDICT_VERSION;
  if (h->chain_id != p->chain_id || !qr_hash_eq(&h->rules, &cfg->rules)) return QR_VERDICT_CHAIN;
  if (h->height != height + 1) return QR_VERDICT_HEIGHT;
  if (h->task != qr_params_task_of(p, h->height)) return QR_VERDICT_TASK;
  uint32_t target = qr_target_next(p->max_target, p->genesis_time_ms,
                                   parent ? parent->time_ms : p->genesis_time_ms, height,
                                   p->block_ms, p->asert_halflife_ms);
  if (h->target != target) return QR_VERDICT_TARGET;
  if (!ticket_ok(p, h)) return QR_VERDICT_TICKET;
  return is_ahead(p, h, wall_ms) ? QR_VERDICT_TIME_AHEAD : QR_VERDICT_OK;
}

enum qr_verdict qr_tree_check(const qr_tree_t *t, const qr_header_t *h, uint64_t wall_ms,
                              qr_node_t **parent) {
  const qr_params_t *p = &t->cfg->p;
  *parent = NULL;
  if (h->version != QR_HEADER_VERSION) return QR_VERDICT_VERSION;
  if (h->chain_id != p->chain_id || !qr_hash_eq(&h->rules, &t->cfg->rules)) return QR_VERDICT_CHAIN;
  qr_hash_t hash = qr_header_hash(h);
  const qr_node_t *known = qr_tree_find(t, &hash);
  *parent = qr_tree_find(t, &h->parent);
  if (t->root != t->genesis && *parent == &t->genesis->node) *parent = NULL;
  if (known)
    return known->state == QR_NODE_INVALID ? QR_VERDICT_PARENT_INVALID : QR_VERDICT_DUPLICATE;
  if (!*parent) return QR_VERDICT_PARENT_UNKNOWN;
  if ((*parent)->state == QR_NODE_INVALID) return QR_VERDICT_PARENT_INVALID;
  if (h->height != (*parent)->header.height + 1) return QR_VERDICT_HEIGHT;
  uint64_t depth = depth_under_tip(t, *parent);
  if (depth > p->reorg_limit || t->tip->node.header.height - depth < t->floor)
    return QR_VERDICT_TOO_DEEP;
  if (h->task != qr_params_task_of(p, h->height)) return QR_VERDICT_TASK;
  if (h->time_ms <= qr_tree_median_time(t, *parent)) return QR_VERDICT_TIME;
  if (h->target != qr_tree_next_target(t, *parent)) return QR_VERDICT_TARGET;
  if (!ticket_ok(p, h)) return QR_VERDICT_TICKET;
  return is_ahead(p, h, wall_ms) ? QR_VERDICT_TIME_AHEAD : QR_VERDICT_OK;
}

qr_node_t *qr_tree_insert(qr_tree_t *t, const qr_header_t *h, uint64_t arrival_ns) {
  qr_node_t *parent = qr_tree_find(t, &h->parent);
  qr_u256_t target;
  bool ok = parent && parent->state != QR_NODE_INVALID && h->height == parent->header.height + 1;
  ok = ok && qr_target_expand(h->target, &target);
  QR_ASSERT(ok);
  link_t *l = take_link(t);
  if (!l) return NULL;
  qr_node_t *n = &l->node, *before = parent;
  n->hash = qr_header_hash(h);
  n->header = *h;
  n->arrival_ns = arrival_ns;
  qr_u256_t work = qr_target_work(&target);
  n->work = qr_u256_add_sat(&parent->work, &work);
  n->reward_sum = parent->reward_sum + h->reward;
  while (before->header.height && before->header.task != h->task) {
    before = before->parent;
    QR_ASSERT(before);
  }
  if (before->header.height) { /* genesis is of no task */
    n->task_parent = before;
    n->task_idx = before->task_idx + 1;
  }
  if (!add_link(t, l, parent)) {
    give_link(t, l);
    return NULL;
  }
  return n;
}

/* --- fork choice --- */

static qr_u256_t tie_number(const qr_node_t *own, const qr_node_t *other) {
  qr_hasher_t h;
  qr_hash_t both, out;
  for (int i = 0; i < QR_HASH_SZ; i++) both.b[i] = own->hash.b[i] ^ other->hash.b[i];
  qr_hash_init(&h, "quarry.tie");
  qr_hash_add(&h, own->hash.b, QR_HASH_SZ);
  qr_hash_add(&h, both.b, QR_HASH_SZ);
  qr_hash_end(&h, &out);
  return qr_u256_from_le(out.b);
}

/* True if n wins against a tip of equal work. */
static bool wins_tie(const qr_params_t *p, const qr_node_t *n, const qr_node_t *tip) {
  uint64_t apart_ns = n->arrival_ns > tip->arrival_ns ? n->arrival_ns - tip->arrival_ns
                                                      : tip->arrival_ns - n->arrival_ns;
  if (apart_ns > p->tie_window_ms * NS_PER_MS) return false;
  uint64_t own = 0, other = 0;
  if (p->tie_rule == QR_TIE_REWARD) {
    own = n->header.reward;
    other = tip->header.reward;
  } else if (p->tie_rule == QR_TIE_REWARD_SUM) {
    own = n->reward_sum;
    other = tip->reward_sum;
  }
  if (own != other) return own > other;
  /* Equal rewards, which saturation makes common, must not leave nodes apart: the hash settles them
   * under every rule. */
  qr_u256_t a = tie_number(n, tip), b = tie_number(tip, n);
  return qr_u256_cmp(&a, &b) < 0;
}

bool qr_tree_executed(qr_tree_t *t, qr_node_t *n) {
  QR_ASSERT(n->state == QR_NODE_HEADER && n->parent->state == QR_NODE_EXECUTED);
  n->state = QR_NODE_EXECUTED;
  const qr_params_t *p = &t->cfg->p;
  int more = qr_u256_cmp(&n->work, &t->tip->node.work);
  if (more < 0 || (!more && !wins_tie(p, n, &t->tip->node))) return false;
  /* It was not too deep when its header came, but the tip may have moved on meanwhile. */
  if (depth_under_tip(t, n) > p->reorg_limit) return false;
  t->tip = link_of(n);
  return true;
}

void qr_tree_set_floor(qr_tree_t *t, uint64_t height) { t->floor = height; }

void qr_tree_set_tip(qr_tree_t *t, qr_node_t *n) {
  QR_ASSERT(n->state == QR_NODE_EXECUTED);
  t->tip = link_of(n);
}

/* --- bad and missing blocks --- */

/* A ticket stands for many headers: what comes after it in a header is not work to change. So the
   memory of invalid ones is bounded; a forgotten one would only be found invalid again. */
static void queue_invalid(qr_tree_t *t, link_t *l) {
  if (t->invalid_cnt == QR_TREE_INVALID_MAX_CNT) {
    link_t *gone = t->oldest_invalid;
    t->oldest_invalid = gone->next_invalid;
    t->invalid_cnt--;
    remove_link(t, gone);
  }
  if (t->invalid_cnt++) {
    t->newest_invalid->next_invalid = l;
  } else {
    t->oldest_invalid = l;
  }
  t->newest_invalid = l;
}

void qr_tree_invalid(qr_tree_t *t, qr_node_t *n) {
  link_t *top = link_of(n), *l = top;
  if (n->state == QR_NODE_INVALID) return;
  /* Children before their parents, so that what is forgotten first has none. */
  for (;;) {
    link_t *child = l->first_child;
    while (child && child->node.state == QR_NODE_INVALID) child = child->next_sibling;
    if (child) {
      l = child;
      continue;
    }
    link_t *up = link_of(l->node.parent);
    QR_ASSERT(l->node.state == QR_NODE_HEADER);
    l->node.state = QR_NODE_INVALID;
    queue_invalid(t, l);
    if (l == top) return;
    l = up;
  }
}

void qr_tree_forget(qr_tree_t *t, qr_node_t *n) {
  QR_ASSERT(n->state == QR_NODE_HEADER);
  remove_link(t, link_of(n));
}

/* --- what is too deep to matter --- */

/* The invalid nodes that stand on root stay in their order; the others are about to go. */
static void sift_invalid(qr_tree_t *t, const link_t *root) {
  link_t *l = t->oldest_invalid, *next;
  t->oldest_invalid = t->newest_invalid = NULL;
  t->invalid_cnt = 0;
  for (; l; l = next) {
    next = l->next_invalid;
    l->next_invalid = NULL;
    if (qr_tree_ancestor(&l->node, root->node.header.height) == &root->node) queue_invalid(t, l);
  }
}

/* Nothing above the root leads below it. */
static void forget_below(link_t *l, const link_t *root) {
  uint64_t height = root->node.header.height;
  if (l->skip && l->skip->node.header.height < height) l->skip = NULL;
  qr_node_t *before = l->node.task_parent;
  if (before && before->header.height < height) l->node.task_parent = NULL;
}

/* Children before their parents; the genesis stays. */
static void drop_all(qr_tree_t *t, link_t *top, void (*fn)(void *ctx, qr_node_t *n), void *ctx) {
  for (link_t *l = top;;) {
    if (l->first_child) {
      l = l->first_child;
      continue;
    }
    link_t *up = link_of(l->node.parent);
    QR_ASSERT(l->node.state != QR_NODE_HEADER);
    if (l != t->genesis) {
      if (fn) fn(ctx, &l->node);
      drop_link(t, l);
    }
    if (l == top) return;
    l = up;
  }
}

void qr_tree_cut(qr_tree_t *t, uint64_t height, void (*fn)(void *ctx, qr_node_t *n), void *ctx) {
  link_t *old = t->root, *root = link_of(qr_tree_ancestor(&t->tip->node, height));
  QR_ASSERT(root);
  if (root == old) return;
  sift_invalid(t, root);
  for (uint64_t i = 0; i < t->table_cnt; i++) {
    if (t->table[i] && t->table[i]->node.header.height >= height) forget_below(t->table[i], root);
  }
  unlink_sibling(root);
  root->node.parent = NULL;
  t->root = root;
  drop_all(t, old, fn, ctx);
}
