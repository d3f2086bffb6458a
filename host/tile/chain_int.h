/* Shared by the files of the chain tile; nobody else includes it. */
#ifndef QR_TILE_CHAIN_INT_H
#define QR_TILE_CHAIN_INT_H

#include "base/log.h"
#include "chain/mempool.h"
#include "chain/past.h"
#include "port/store_copy.h"
#include "tile/chain.h"
#include "tile/record.h"

#define QR_CAND_MAX_CNT 64u   /* blocks between arrival and verdict */
#define QR_SIGMA_MAX_CNT 256u /* executed results remembered by sigma */
#define QR_COMMIT_MAX_CNT 32u /* commits on their way */
#define QR_OUT_ROOM                                                                                \
  16u /* places that must be free in the ring to the net tile before anything is taken in */

/* Attached to every executed node whose facts are in memory, and to every block that has begun:
   what is known of it by then is what those that build on it are executed with. */
typedef struct {
  qr_exec_facts_t facts;
  bool trained;              /* facts.td_abs_sum and the outgoing model are known */
  bool ranked;               /* facts.eligible is known */
  qr_segment_obj_t *segment; /* NULL: not resident, or not played yet */
  qr_model_obj_t *model_in, *model_out;
  qr_ledger_change_t *undo; /* NULL: only in the store */
  uint32_t undo_cnt;
} qr_exec_t;

/* Main-chain blocks below the tree's root, made anew to execute the newest of them once more: it
   and the windows before it. The tree does not know them. */
typedef struct {
  uint32_t cnt;
  qr_node_t nodes[]; /* oldest first */
} qr_old_branch_t;

enum qr_cand_state {
  QR_CAND_FREE,
  QR_CAND_PARENT,  /* its parent has not begun, or its peer has begun enough */
  QR_CAND_MODEL,   /* it has begun: its effect on the ledger is known; the incoming model is not */
  QR_CAND_READY,   /* it can be executed once what it stands on is known */
  QR_CAND_RUNNING, /* with a verify tile */
  QR_CAND_JUDGED   /* its own verdict is known, its parent's perhaps not yet */
};
typedef struct {
  enum qr_cand_state state;
  qr_node_t *node;
  qr_block_obj_t *block;
  qr_model_obj_t *model;
  bool asked;   /* MODEL: of its peer; else the model comes out of a block in execution */
  bool refused; /* it was asked for and did not come */
  uint64_t since_ns, seq;
  qr_view_t *view;           /* RUNNING, JUDGED if it was executed */
  qr_verify_result_t result; /* JUDGED */
  bool is_query; /* an operator's verify of an executed block: only the reply depends on it */
  uint64_t query_id;
  qr_old_branch_t *old; /* which node is of, if the tree does not hold it; NULL else */
} qr_cand_t;

/* Nodes whose objects are resident, oldest first; the oldest leaves when it is full. */
typedef struct {
  qr_node_t **nodes;
  uint32_t cap, head, cnt;
} qr_fifo_t;

typedef struct {
  qr_store_op_t *ops;
  uint32_t cnt, cap;
  uint8_t *bytes;
  size_t sz, bytes_cap;
} qr_batch_t;

/* A batch on its way to the disk, kept until it is known to be there. */
typedef struct {
  uint64_t tag, sent_ns;
  qr_node_t *node;
  qr_batch_t batch;
  bool tip; /* it moves the tip, to tip_record */
  uint8_t tip_record[QR_META_TIP_SZ];
} qr_commit_t;

/* A peer's transaction that came before the one before it. */
typedef struct {
  bool used;
  uint32_t peer;
  uint8_t tx[QR_TX_SZ];
} qr_early_tx_t;
#define QR_EARLY_TX_CNT 64u

/* Transactions on their way back from blocks that left the chain. */
#define QR_RETURN_BLOCK_CNT 1024u
#define QR_RETURN_ASIDE_CNT 4096u
typedef struct {
  uint64_t at_ns; /* 0: gone */
  uint8_t tx[QR_TX_SZ];
} qr_return_aside_t;
typedef struct {
  bool active;
  qr_node_t *blocks[QR_RETURN_BLOCK_CNT]; /* still to be looked at, oldest first */
  uint32_t block_head, block_cnt;
  uint32_t tx_at; /* of the first block: those before it were looked at */
  qr_return_aside_t aside[QR_RETURN_ASIDE_CNT];
  uint32_t aside_cnt, aside_at; /* at: the next to be tried */
  uint32_t slice_cnt, offered;
  uint64_t next_ns;
  uint64_t returned; /* since boot */
  struct {
    uint32_t blocks, taken, given_up;
  } told; /* for the line in the log */
} qr_return_t;

struct qr_chain_tile {
  qr_chain_tile_cfg_t cfg;
  const qr_chain_cfg_t *chain;
  qr_tree_t *tree;
  qr_past_t *past; /* the main chain below the tree's root */
  qr_ledger_t *ledger;
  qr_node_t *ledger_at;   /* the block after which the ledger stands */
  qr_node_t *durable_tip; /* newest tip that the store holds: what peers are told and served */
  qr_ledger_undo_t undo;  /* scratch of connect */
  qr_task_genesis_t genesis[QR_TASK_MAX_CNT];
  qr_pool_t *views;
  qr_fifo_t segment_fifo[QR_TASK_MAX_CNT], model_fifo;
  qr_cand_t cands[QR_CAND_MAX_CNT];
  uint64_t cand_seq;
  uint64_t verify_tags[QR_VERIFY_MAX_CNT]; /* of the order that each verify tile has; 0: idle */
  struct {
    qr_hash_t sigma;
    qr_header_t header;
    uint32_t settled;
  } by_sigma[QR_SIGMA_MAX_CNT];
  uint32_t sigma_next;
  qr_mempool_t *mempool;
  qr_early_tx_t early_txs[QR_EARLY_TX_CNT];
  uint32_t early_next;
  uint64_t fee_told, fee_ns; /* the least fee that the net tile knows of; when it was looked at */
  qr_return_t back;
  qr_commit_t commits[QR_COMMIT_MAX_CNT]; /* oldest first */
  uint32_t commit_head, commit_cnt;
  uint64_t commit_tag;
  qr_batch_t batch;                   /* scratch of accept, as is the next */
  uint8_t tip_record[QR_META_TIP_SZ]; /* of the tip that the batch moves to */
  struct {
    uint8_t tip[QR_META_TIP_SZ]; /* record of durable_tip */
    uint32_t sent_cnt;           /* so many of the commits, the oldest, are with the store */
    uint32_t failed_cnt;         /* so many of those have come back, the first of them failed */
    bool failed, full;
    uint64_t retry_ns, backoff_ns, failure_cnt;
  } disk;
  qr_held_t held; /* what of the past the store holds */
  struct {
    uint64_t cursor; /* everything below it has gone; 0: not looked yet */
    qr_held_t next;  /* once the batch under way is durable */
    bool under_way, told;
  } prune;
  qr_store_copy_t copy; /* a backup that is being made, for query copy_query */
  uint64_t copy_query;
  uint8_t *io_buf; /* QR_STORE_VALUE_MAX_SZ */
  bool failed, mining, mine_dirty, mine_paused;
  uint64_t start_ns;
  struct {
    uint64_t since_ns; /* the idle tiles wait for it; 0: for nothing */
    uint32_t idle_cnt;
    enum qr_verify_wait what;
    uint64_t sum_ns[QR_VERIFY_WAIT_CNT];
  } wait;
  uint64_t stalled_ns;              /* since when a verify tile waits for others; 0: none does */
  uint64_t durable_cnt, durable_ns; /* commits, and how long they took */
  qr_log_bucket_t log;
  uint64_t blocks_mined, blocks_verified, blocks_rejected, reorgs, reorg_depth_max;
};

/* chain_exec.c: what executed blocks left behind, kept in memory while it is needed and rebuilt
 * from the store when not */
qr_exec_t *qr_chain_exec(qr_chain_tile_t *t, qr_node_t *n); /* NULL: store failure */
/* Whether a block may become a target, if that is known by now. Returns 0 or QR_ERR_IO. */
int qr_chain_rank(qr_chain_tile_t *t, qr_node_t *n, bool *known) QR_WARN_UNUSED;
int qr_chain_resident_segment(qr_chain_tile_t *t, qr_node_t *n) QR_WARN_UNUSED;
int qr_chain_resident_model(qr_chain_tile_t *t,
                            qr_node_t *n) QR_WARN_UNUSED; /* the outgoing model */
/* The model from the store, as the caller's own object. */
int qr_chain_read_model(qr_chain_tile_t *t, uint32_t task, const qr_hash_t *root,
                        qr_model_obj_t **out) QR_WARN_UNUSED;
void qr_chain_keep_segment(qr_chain_tile_t *t, qr_node_t *n);
void qr_chain_keep_models(qr_chain_tile_t *t, qr_node_t *n);
qr_model_obj_t *qr_chain_find_model(qr_chain_tile_t *t,
                                    const qr_hash_t *root); /* borrowed; NULL if not in memory */
bool qr_chain_model_kept(const qr_chain_tile_t *t,
                         const qr_hash_t *root); /* by an executed block */
qr_node_t *qr_chain_task_tip(qr_node_t *parent,
                             uint32_t task); /* newest block of task at or before parent */
/* Whether all that a block of task on parent is executed with is known by now. Returns 0 or a
 * negative code. */
int qr_chain_view_known(qr_chain_tile_t *t, qr_node_t *parent, uint32_t task,
                        bool *known) QR_WARN_UNUSED;
qr_view_t *qr_chain_view(qr_chain_tile_t *t, qr_node_t *parent,
                         uint32_t task); /* if known; NULL: pools or store */
int qr_chain_exec_init(qr_chain_tile_t *t) QR_WARN_UNUSED;
void qr_chain_exec_fini(qr_chain_tile_t *t);
void qr_chain_exec_free(qr_exec_t *e);
/* The node is about to go: so does its record, and nothing points at it any more. */
void qr_chain_exec_drop(qr_chain_tile_t *t, qr_node_t *n);

/* chain_state.c: ledger position, acceptance, persistence */
/* Ledger rules on the parent's state. OK: the block has begun, and its record holds its effect. */
enum qr_verdict qr_chain_begin(qr_chain_tile_t *t, qr_node_t *n, const qr_body_t *b,
                               int *err) QR_WARN_UNUSED;
static inline bool qr_chain_has_begun(const qr_node_t *n) {
  return n->state == QR_NODE_EXECUTED || n->user;
}
void qr_chain_accept(qr_chain_tile_t *t, qr_cand_t *c);

/* chain_store.c: batches, commits, and what is done when one fails */
void qr_chain_fail(qr_chain_tile_t *t, const char *what, int err);
/* Read a record into io_buf; QR_ERR_IO while the store is closed. The first sees what the store
   holds, for peers get nothing that may be lost; the others see what is on its way there too. */
int64_t qr_chain_get_durable(qr_chain_tile_t *t, enum qr_store_table table, const void *key,
                             size_t sz) QR_WARN_UNUSED;
int64_t qr_chain_get(qr_chain_tile_t *t, enum qr_store_table table, const void *key,
                     size_t sz) QR_WARN_UNUSED;
/* The same of a table that is kept by place. */
int64_t qr_chain_get_of(qr_chain_tile_t *t, enum qr_store_table table,
                        const qr_node_t *n) QR_WARN_UNUSED;
void qr_chain_batch_add(qr_batch_t *b, enum qr_store_table table, const void *key, size_t key_sz,
                        const void *value, size_t value_sz, bool erase);
void qr_chain_batch_clear(qr_batch_t *b);
int qr_chain_batch_commit(qr_chain_tile_t *t, const qr_batch_t *b, uint64_t tag) QR_WARN_UNUSED;
/* The record of tip n; the ledger stands there. */
void qr_chain_tip_encode(qr_chain_tile_t *t, const qr_node_t *n, uint8_t out[QR_META_TIP_SZ]);
/* Takes the batch as n's (NULL: it prunes): it goes to the disk after all before it. tip: it moves
   the tip. */
void qr_chain_send(qr_chain_tile_t *t, qr_node_t *n, bool tip);
int qr_chain_poll_store(qr_chain_tile_t *t, uint64_t now_ns);
enum qr_writing qr_chain_writing(const qr_chain_tile_t *t);
/* True if one more block can be accepted now. */
static inline bool qr_chain_may_accept(const qr_chain_tile_t *t) {
  return !t->failed && !t->disk.failed && !t->disk.full && t->commit_cnt < QR_COMMIT_MAX_CNT;
}
void qr_chain_store_fini(qr_chain_tile_t *t);

/* chain_past.c: the tree is cut where its blocks are too deep to matter; what is asked of those is
   read from the store. All of it reads into io_buf. */
int qr_chain_poll_past(qr_chain_tile_t *t);
/* No branch is taken from what the tree or the store lacks. */
void qr_chain_set_floor(qr_chain_tile_t *t);
/* Of the chain of the tip. Returns 0, or a negative code if the store cannot say. */
int qr_chain_header_at(qr_chain_tile_t *t, uint64_t height, qr_hash_t *hash,
                       qr_header_t *h) QR_WARN_UNUSED;
int qr_chain_sum_at(qr_chain_tile_t *t, uint64_t height, qr_past_sum_t *out) QR_WARN_UNUSED;
/* The height of a block of the tree or, of the main chain, below it. */
bool qr_chain_height_of(qr_chain_tile_t *t, const qr_hash_t *hash, uint64_t *height) QR_WARN_UNUSED;
/* What the tree would say of a header if it held what lies below its root, for one whose parent it
   does not know. */
enum qr_verdict qr_chain_check_old(qr_chain_tile_t *t, const qr_header_t *h);
/* True if the tree holds the windows before the block at height. */
bool qr_chain_in_tree(const qr_chain_tile_t *t, uint64_t height);
int qr_chain_old_branch(qr_chain_tile_t *t, uint64_t height, qr_old_branch_t **out) QR_WARN_UNUSED;
void qr_chain_old_branch_free(qr_chain_tile_t *t, qr_old_branch_t *b);

/* chain_prune.c */
/* True if the store holds the windows before the block at height, and the block. */
bool qr_chain_holds_windows(const qr_chain_tile_t *t, uint64_t height);
int qr_chain_poll_prune(qr_chain_tile_t *t);
void qr_chain_pruned(qr_chain_tile_t *t); /* the batch is durable */

/* chain_boot.c */
int qr_chain_boot(qr_chain_tile_t *t, char *why, size_t why_sz) QR_WARN_UNUSED;

/* chain_cand.c: blocks on their way from arrival to verdict */
void qr_chain_offer(qr_chain_tile_t *t, qr_inbound_t *in, uint64_t now_ns);
void qr_chain_model(qr_chain_tile_t *t, qr_inbound_t *in, uint64_t now_ns);
void qr_chain_model_failed(qr_chain_tile_t *t, const qr_inbound_t *in);
int qr_chain_poll_cands(qr_chain_tile_t *t, uint64_t now_ns);
void qr_chain_cands_drop_all(qr_chain_tile_t *t);
void qr_chain_supply_models(qr_chain_tile_t *t);
void qr_chain_judge(qr_cand_t *c, enum qr_verdict v); /* without execution */
/* What an executed twin with the same prefix says about a header: OK if there is none, or if it
 * settles nothing. */
enum qr_verdict qr_chain_check_by_sigma(const qr_chain_tile_t *t, const qr_header_t *h);
void qr_chain_forget(qr_chain_tile_t *t, qr_cand_t *c, bool tell);
void qr_chain_release(qr_chain_tile_t *t, qr_cand_t *c);
bool qr_chain_verify_query(qr_chain_tile_t *t, const qr_query_t *q, uint64_t now_ns, int *err);

/* chain_order.c: what the verify tiles are to do, and what they tell */
int qr_chain_take_news(qr_chain_tile_t *t);
int qr_chain_give_orders(qr_chain_tile_t *t);
void qr_chain_count_wait(qr_chain_tile_t *t, uint64_t now_ns);
void qr_chain_cancel_order(qr_chain_tile_t *t, uint64_t tag);

/* chain_tx.c: transactions on their way into the pool and on to peers */
void qr_chain_tx(qr_chain_tile_t *t, uint32_t peer, const uint8_t *tx, uint64_t now_ns);
enum qr_verdict qr_chain_send_tx(qr_chain_tile_t *t, const uint8_t *tx, qr_hash_t *txid,
                                 uint64_t now_ns);          /* an operator's */
int qr_chain_poll_fee(qr_chain_tile_t *t, uint64_t now_ns); /* tells peers what is too little */
/* One that was on the chain, or in the pool before that. */
enum qr_verdict qr_chain_take_back(qr_chain_tile_t *t, const uint8_t *tx, uint64_t now_ns);

/* chain_return.c: transactions of blocks that left the chain */
/* The tip moved from old; common: where the branches part, old itself if it only grew. Looks
   through the pool. */
void qr_chain_return_moved(qr_chain_tile_t *t, qr_node_t *old, const qr_node_t *common,
                           uint64_t now_ns);
int qr_chain_poll_return(qr_chain_tile_t *t, uint64_t now_ns);

/* chain_mine.c: the miner's orders */
int qr_chain_poll_mine(qr_chain_tile_t *t, uint64_t now_ns);

/* chain_query.c: what operators and peers ask */
int qr_chain_poll_queries(qr_chain_tile_t *t, uint64_t now_ns);
void qr_chain_want(qr_chain_tile_t *t, const qr_inbound_t *in);
void qr_chain_reply(qr_chain_tile_t *t, const qr_reply_t *r);
int qr_chain_poll_backup(qr_chain_tile_t *t);

/* chain.c */
void qr_chain_out(qr_chain_tile_t *t, const qr_outbound_t *out);
void qr_chain_tell_tip(qr_chain_tile_t *t);

#endif
