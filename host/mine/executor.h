/* The executor: turns a view and an incoming model into an executed attempt, the same way for a
   miner and for a verifier. It never blocks: poll does a bounded piece of work (about one training
   step) and returns. One executor belongs to one thread and owns one accelerator queue. Stages:
   gather minibatches -> target values -> K training steps -> model root, ticket -> acting ->
   evaluation. */
#ifndef QR_MINE_EXECUTOR_H
#define QR_MINE_EXECUTOR_H

#include "mine/view.h"
#include "port/accel.h"

typedef struct qr_executor qr_executor_t;

enum qr_exec_stage {
  QR_EXEC_IDLE,
  QR_EXEC_REPLAY, /* a verifier plays the block's actions */
  QR_EXEC_GATHER,
  QR_EXEC_TARGETS,
  QR_EXEC_TRAIN,
  QR_EXEC_ROOT,
  QR_EXEC_REPEAT, /* a miner has the attempt done again by whom it trusts */
  QR_EXEC_ACT,
  QR_EXEC_CHECK_ACTIONS, /* a verifier looks at all of them at once */
  QR_EXEC_EVALUATE,
  QR_EXEC_STAGE_CNT
};

enum qr_exec_mode {
  QR_EXEC_MINE,   /* an attempt; goes on past the training only with a valid ticket */
  QR_EXEC_VERIFY, /* a block; ends at the first contradiction */
  QR_EXEC_SCORE   /* greedy return of a model on an evaluation feed, nothing else */
};

typedef struct {
  enum qr_exec_mode mode;
  uint32_t task;
  /* lent until done */
  const qr_view_t *view; /* MINE, VERIFY */
  const qr_body_t *body; /* VERIFY: passed qr_body_check */
  const uint8_t *model_in;
  uint8_t *model_out;        /* MINE, VERIFY: room for a model; the model after steps_done steps */
  qr_segment_obj_t *segment; /* MINE, VERIFY: a fresh object that receives the acting segment */
  qr_hash_t score_feed;      /* SCORE */
  /* MINE: prefix in, suffix out once won. VERIFY: the block's header; suffix fields are overwritten
     by what was recomputed, as far as execution came (compare with what was claimed). */
  qr_header_t header;
  /* VERIFY, while it runs: what will not change any more and others may read from now on. The
     segment is what the body's actions give, right or wrong; a trained model_out has the root
     and the ticket that the header claims, and facts.td_abs_sum is known. */
  bool replayed, trained;
  /* results */
  bool done;
  bool cancelled;
  int err;                 /* QR_ERR_IO: the accelerator failed; nothing is known about the block.
                              QR_ERR_CORRUPT: its result was wrong, nothing of it is used */
  enum qr_verdict verdict; /* VERIFY */
  bool won; /* MINE: the ticket is valid and header, trace, actions, segment, facts are complete */
  uint32_t steps_done; /* training steps that model_out has seen */
  qr_exec_facts_t facts;
  qr_hash_t trace[QR_BLOCK_STEP_MAX_CNT];
  uint8_t actions[QR_BLOCK_ACTION_MAX_CNT];
  int64_t score; /* SCORE: return, Q16 sum */
} qr_exec_job_t;

/* prog_ids: programs loaded on dev, one per task. Everything is borrowed for the executor's life.
   Memory is taken here. Returns 0, QR_ERR_NOMEM or the driver's error. */
int qr_executor_init(qr_executor_t **out, const qr_chain_cfg_t *cfg, const qr_accel_ops_t *accel,
                     qr_accel_t *dev, const uint32_t prog_ids[QR_TASK_MAX_CNT]) QR_WARN_UNUSED;
/* The accelerator given to init is not trusted from now on: it trains attempts and does nothing
   else. All else is done by this one, which also repeats every attempt that wins, and of the others
   one in check_every (0: none), before anything of them is used. What differs is told to the
   driver's judge, and the job ends with QR_ERR_CORRUPT. Before the first job; the same rules as for
   init. */
int qr_executor_check(qr_executor_t *x, const qr_accel_ops_t *accel, qr_accel_t *dev,
                      const uint32_t prog_ids[QR_TASK_MAX_CNT],
                      uint32_t check_every) QR_WARN_UNUSED;
void qr_executor_fini(qr_executor_t *x); /* no job in progress */

/* Begins a job; none is in progress (asserted). The job is lent until job->done. */
void qr_executor_start(qr_executor_t *x, qr_exec_job_t *job);
/* One piece of work; returns true if a job was in progress. */
bool qr_executor_poll(qr_executor_t *x);
/* Whether the job in progress is away on the accelerator that is not trusted; poll is cheap then,
   and if idle is true, nothing had happened there when it was polled last. */
bool qr_executor_away(const qr_executor_t *x, bool *idle);
/* For a job that is away and does not come back, not even after a cancel: the queue that it was
   given to is closed, and the job ends with QR_ERR_IO. */
void qr_executor_abandon(qr_executor_t *x);
/* Where the job in progress stands. */
enum qr_exec_stage qr_executor_stage(const qr_executor_t *x);
/* Ends the job early: it becomes done with cancelled set, after the training step in progress. */
void qr_executor_cancel(qr_executor_t *x);

/* Loads every task's program on a device. */
int qr_executor_load(const qr_chain_cfg_t *cfg, const qr_accel_ops_t *accel, qr_accel_t *dev,
                     uint32_t prog_ids[QR_TASK_MAX_CNT]) QR_WARN_UNUSED;

#endif
