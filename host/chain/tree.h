/* The block tree: every known header with its place, its work and what became of it; header rules;
   fork choice. Pure: time comes in as a parameter, verdicts go out. One owner, not thread-safe. */
#ifndef QR_CHAIN_TREE_H
#define QR_CHAIN_TREE_H

#include "chain/params.h"
#include "chain/target.h"
#include "wire/header.h"

enum qr_node_state {
  QR_NODE_HEADER,   /* header rules hold; not executed */
  QR_NODE_EXECUTED, /* executed and right: counts for everything */
  QR_NODE_INVALID   /* found wrong, or descends from such a block */
};

typedef struct qr_node qr_node_t;
struct qr_node {
  qr_hash_t hash;
  qr_header_t header;
  qr_node_t *parent;      /* NULL for the root, which is genesis until the tree is cut */
  qr_u256_t work;         /* cumulative, of this block and all before */
  uint64_t reward_sum;    /* cumulative R */
  uint64_t task_idx;      /* number of earlier blocks of the same task on this branch */
  qr_node_t *task_parent; /* newest earlier block of the same task on this branch, NULL if none or
                             if it lies below the root */
  uint64_t arrival_ns;    /* monotonic, when it was inserted */
  enum qr_node_state state;
  void *user; /* the owner's, NULL at first */
};

typedef struct qr_tree qr_tree_t;

#define QR_TREE_INVALID_MAX_CNT 4096u

/* A tree that holds the genesis block (height 0, executed, hash = qr_genesis_hash). cfg is
   borrowed. NULL if out of memory. */
qr_tree_t *qr_tree_init(const qr_chain_cfg_t *cfg);
void qr_tree_fini(qr_tree_t *t);

/* H("quarry.genesis" | rules | u64 genesis_time_ms). */
qr_hash_t qr_genesis_hash(const qr_chain_cfg_t *cfg);
const qr_node_t *qr_tree_genesis(const qr_tree_t *t);

qr_node_t *qr_tree_find(const qr_tree_t *t, const qr_hash_t *hash); /* NULL if unknown */

/* All rules that need only headers, in this order: VERSION, CHAIN, DUPLICATE (hash known; a known
   invalid one gives PARENT_INVALID), PARENT_UNKNOWN, PARENT_INVALID, HEIGHT, TOO_DEEP (below tip
   height - reorg_limit or the floor, on another branch), TASK, TIME (not after the median of the
   past eleven), TARGET, TICKET, TIME_AHEAD (more than drift_ms after wall_ms). *parent is set when
   known. */
enum qr_verdict qr_tree_check(const qr_tree_t *t, const qr_header_t *h, uint64_t wall_ms,
                              qr_node_t **parent) QR_WARN_UNUSED;

/* Those of the rules that need no more than the parent's header: VERSION, CHAIN, HEIGHT, TASK,
   TARGET, TICKET, TIME_AHEAD; that h names the parent's hash is the caller's to see. parent NULL:
   genesis. For whoever has a chain of headers and no tree. */
enum qr_verdict qr_tree_follows(const qr_chain_cfg_t *cfg, const qr_header_t *parent,
                                const qr_header_t *h, uint64_t wall_ms) QR_WARN_UNUSED;

/* Inserts a header that passed qr_tree_check; NULL only if out of memory. */
qr_node_t *qr_tree_insert(qr_tree_t *t, const qr_header_t *h, uint64_t arrival_ns);

/* Target and earliest time of a child of parent. */
uint32_t qr_tree_next_target(const qr_tree_t *t, const qr_node_t *parent);
uint64_t qr_tree_median_time(const qr_tree_t *t, const qr_node_t *parent);

/* Marks a node whose parent is executed as executed; returns true if the tip moves to it (fork
   choice: more work; at equal work the tie rule of the parameters, only if it arrived within
   tie_window_ms before or after the present tip; never a reorganisation deeper than
   reorg_limit). */
bool qr_tree_executed(qr_tree_t *t, qr_node_t *n) QR_WARN_UNUSED;
/* Marks a node and every descendant invalid. It is not, and has never been, executed (asserted).
   The newest QR_TREE_INVALID_MAX_CNT invalid nodes are remembered: keep no pointer to one. */
void qr_tree_invalid(qr_tree_t *t, qr_node_t *n);

/* Removes a childless node in state HEADER, as if it had never been seen: its data did not come,
   and it is not to blame. */
void qr_tree_forget(qr_tree_t *t, qr_node_t *n);

/* No block is taken that forks off below this height of the tip's chain (TOO_DEEP), however near
   the tip: what lies below cannot be undone here. 0 at first. */
void qr_tree_set_floor(qr_tree_t *t, uint64_t height);

/* Lets everything go that does not stand on the tip's ancestor at height, which becomes the root;
   fn, if any, is told of each node before it goes. No such node may be in state HEADER (asserted).
   The genesis stays known, but not as a parent. All else is as it was, only that nothing leads
   below the root. So the root must lie below whatever may still be built on, by eleven blocks for
   the median time and one of each task at least. */
void qr_tree_cut(qr_tree_t *t, uint64_t height, void (*fn)(void *ctx, qr_node_t *n), void *ctx);
const qr_node_t *qr_tree_root(const qr_tree_t *t);

qr_node_t *qr_tree_tip(const qr_tree_t *t);
/* Restores the tip at start-up, from a stored chain, without tie windows: n must be executed. */
void qr_tree_set_tip(qr_tree_t *t, qr_node_t *n);
/* The ancestor (or itself) of n at height, NULL if higher than n or below the root, and the newest
   common ancestor of two that stand on the root. Cost: O(log height). */
qr_node_t *qr_tree_ancestor(qr_node_t *n, uint64_t height);
qr_node_t *qr_tree_common(qr_node_t *a, qr_node_t *b);
uint64_t qr_tree_node_cnt(const qr_tree_t *t);
/* Calls fn for every node, in any order: for owners that free what user leads to. */
void qr_tree_visit(qr_tree_t *t, void (*fn)(void *ctx, qr_node_t *n), void *ctx);

#endif
