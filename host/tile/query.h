/* Questions that operators ask a node and the answers, as ring items. The RPC front end (app/rpc.c)
   turns JSON into queries and replies into JSON; tiles answer them. A reply carries the id of its
   query. */
#ifndef QR_TILE_QUERY_H
#define QR_TILE_QUERY_H

#include "base/verdict.h"
#include "chain/params.h"
#include "mine/executor.h"
#include "peer/peer.h"
#include "port/accel.h"
#include "wire/tx.h"

enum qr_query_kind {
  QR_QUERY_STATUS,
  QR_QUERY_BLOCK,
  QR_QUERY_PEERS,
  QR_QUERY_ACCOUNT,
  QR_QUERY_SEND,
  QR_QUERY_VERIFY,
  QR_QUERY_MINING,
  QR_QUERY_BACKUP,
  QR_QUERY_DEVICES,
  QR_QUERY_RESET,
  QR_QUERY_BAN
};

#define QR_QUERY_PATH_SZ 512u
#define QR_QUERY_BAN_MAX_HOURS 87600u /* ten years */

typedef struct {
  uint64_t id;
  enum qr_query_kind kind;
  uint64_t height;            /* BLOCK, VERIFY */
  qr_pubkey_t account;        /* ACCOUNT */
  uint8_t tx[QR_TX_SZ];       /* SEND: canonical encoding */
  bool enable;                /* MINING: on or off */
  char dir[QR_QUERY_PATH_SZ]; /* BACKUP: where the copy of the store goes, an absolute path */
  uint32_t unit;              /* DEVICES: the first to tell of; RESET: which */
  uint32_t peer_first;        /* PEERS: the first to tell of */
  bool ban_ip;                /* BAN: whom; ban_key is an IP address of 16 bytes or an identity */
  uint8_t ban_key[32];
  uint32_t ban_hours; /* BAN: 0 lifts it */
} qr_query_t;

typedef struct {
  char name[32];             /* task name */
  uint64_t block_cnt;        /* task blocks on the main chain */
  uint32_t reward_last;      /* R of its newest block, 0..65536; 32768 is the baseline */
  int64_t score_last_q16;    /* mean return per evaluation row of that block's model, Q16 */
  int64_t baseline_last_q16; /* the rule's on the same data */
  int64_t td_last_q16;       /* mean absolute TD error at its first step */
} qr_status_task_t;

/* What an idle verify tile waits for while there are blocks to come. */
enum qr_verify_wait {
  QR_VERIFY_WAIT_BLOCK,  /* the next block has not come */
  QR_VERIFY_WAIT_MODEL,  /* the next block's incoming model has not */
  QR_VERIFY_WAIT_LINE,   /* what comes out of a block in execution */
  QR_VERIFY_WAIT_COMMIT, /* the store */
  QR_VERIFY_WAIT_CNT
};

/* Whether what is accepted gets onto the disk. */
enum qr_writing {
  QR_WRITING_ON,
  QR_WRITING_DISK_FULL, /* no new block is taken until there is room */
  QR_WRITING_RECOVERS   /* a commit failed: the store is being opened again */
};

/* What became of the time of the verify tiles; that of several adds up. */
typedef struct {
  uint32_t tile_cnt;
  uint64_t block_cnt, stage_ns[QR_EXEC_STAGE_CNT], wait_ns[QR_VERIFY_WAIT_CNT];
  uint64_t commit_cnt, commit_ns; /* from a batch's submission until it was known to be durable */
} qr_status_verify_t;

/* Transactions that wait for a block; counts of this process. */
typedef struct {
  uint32_t cnt, max_cnt;
  uint64_t fee_floor; /* least fee that is taken now */
  uint64_t taken, replaced, evicted, expired, refused;
  uint64_t returned; /* of taken: from blocks that a reorganisation took off the chain */
} qr_status_pool_t;

typedef struct {
  char chain[32];
  qr_hash_t genesis, rules, tip, tip_model,
      state_root; /* state_root: of the ledger after the tip */
  uint64_t height, tip_time_ms;
  uint32_t tip_task, tip_reward;
  uint64_t attempts; /* finished attempts of this process */
  uint64_t
      attempts_cancelled; /* ended early by a new tip; their finished steps are kept in the line */
  uint64_t steps_done, steps_kept; /* training steps; kept: less those of a line that was replaced
                                      before it had won a block */
  uint64_t mining_ns;              /* time spent in attempts */
  qr_status_verify_t verify;
  uint64_t blocks_mined, blocks_verified, blocks_rejected, reorgs, reorg_depth_max;
  uint32_t peer_cnt;
  qr_status_pool_t pool;
  uint64_t supply;
  bool mining, syncing;
  /* while syncing: the height it goes to, seconds left and thousandths of blocks a second (0: not
     known), peers that bring blocks */
  uint64_t sync_target, sync_left_s;
  uint32_t sync_rate_milli, sync_peer_cnt;
  uint64_t held_from, base_height, prune_depth; /* blocks below held_from are not held; base: of the
                                                   snapshot that the node began with, 0: none */
  enum qr_writing writing;
  uint64_t commit_failures; /* of this process */
  char accel[32], miner_pk[65];
  uint32_t task_cnt;
  qr_status_task_t tasks[QR_TASK_MAX_CNT];
  /* means over the first and last tenth of the main chain's blocks, and over all; Q16 R units */
  uint32_t reward_first, reward_last, reward_mean;
  uint64_t uptime_ms;
} qr_status_t;

typedef struct {
  qr_hash_t hash;
  uint8_t header[432];
  bool held; /* else only the header is: the rest was pruned */
  uint32_t tx_cnt, body_sz;
  uint64_t confirmations;
  char work[72]; /* cumulative work, decimal approximation for people */
} qr_reply_block_t;

#define QR_REPLY_PEER_MAX_CNT 10u
typedef struct {
  qr_pubkey_t identity;
  char addr[56], group[64];
  enum qr_peer_role role;
  bool inbound, pruned;
  uint64_t height, rtt_ns, rx_bytes, tx_bytes, connected_ms;
  uint64_t rx_class[QR_LINK_CLASS_CNT], tx_class[QR_LINK_CLASS_CNT];
  uint32_t misbehaviour;
} qr_reply_peer_t;

typedef struct {
  uint32_t first, cnt, total; /* peers told of in this reply, and all */
  uint32_t book_new, book_tried, bans, inbound_cnt, outbound_cnt;
  uint64_t inbound_refused, evicted;
  qr_reply_peer_t peers[QR_REPLY_PEER_MAX_CNT];
} qr_reply_peers_t;

typedef struct {
  enum qr_verdict verdict;
  qr_hash_t hash, model_out, trace_last, actions_root, env_root, replay_root; /* recomputed */
  uint32_t reward;
  uint32_t step_cnt;
  uint64_t exec_ns;
} qr_reply_verify_t;

#define QR_REPLY_UNIT_MAX_CNT 5u
typedef struct {
  char driver[16], device[32];
  uint32_t first, cnt, total; /* units told of in this reply, and of the device */
  qr_accel_unit_t units[QR_REPLY_UNIT_MAX_CNT];
} qr_reply_devices_t;

typedef struct {
  uint64_t id;
  enum qr_query_kind kind;
  int err;                 /* qr_err; 0 if answered */
  enum qr_verdict verdict; /* SEND */
  union {
    qr_status_t status;
    qr_reply_block_t block;
    qr_reply_peers_t peers;
    struct {
      bool found;
      uint64_t balance, seq;
    } account;
    qr_hash_t txid; /* SEND */
    qr_reply_verify_t verify;
    qr_reply_devices_t devices;
    char why[256]; /* BACKUP, RESET: if err */
  };
} qr_reply_t;

_Static_assert(sizeof(qr_reply_t) <= 4096, "a reply is one ring item");

#endif
