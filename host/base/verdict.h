/* Verdicts: what was found wrong with data of a peer. They are results, not failures of an
 * operation. */
#ifndef QR_BASE_VERDICT_H
#define QR_BASE_VERDICT_H

#include <stdbool.h>

enum qr_verdict {
  QR_VERDICT_OK = 0,
  /* not the sender's fault, or not yet decidable: ask again or wait */
  QR_VERDICT_DUPLICATE,       /* already known */
  QR_VERDICT_PARENT_UNKNOWN,  /* fetch the parent first */
  QR_VERDICT_WITNESS_MISSING, /* incoming model not known here */
  QR_VERDICT_TIME_AHEAD,      /* further ahead of our clock than the permitted drift */
  QR_VERDICT_TOO_DEEP,        /* forks off below the reorganisation limit */
  QR_VERDICT_TX_FEE,          /* pays too little for this node now */
  QR_VERDICT_TX_LIMIT,        /* too many of this sender wait already */
  /* syntax */
  QR_VERDICT_SIZE,
  QR_VERDICT_SYNTAX,
  QR_VERDICT_VERSION,
  /* header rules */
  QR_VERDICT_CHAIN, /* chain id or rules hash of another chain */
  QR_VERDICT_HEIGHT,
  QR_VERDICT_TIME, /* not after the median of the past eleven */
  QR_VERDICT_TARGET,
  QR_VERDICT_TASK, /* not this task's turn */
  QR_VERDICT_TICKET,
  /* body against header */
  QR_VERDICT_TX_ROOT,
  QR_VERDICT_TRACE_ROOT,
  QR_VERDICT_ACTIONS_ROOT,
  /* ledger */
  QR_VERDICT_TX_SYNTAX,
  QR_VERDICT_TX_SIGNATURE,
  QR_VERDICT_TX_SEQUENCE,
  QR_VERDICT_TX_BALANCE,
  QR_VERDICT_STATE_ROOT,
  /* execution */
  QR_VERDICT_WITNESS_ROOT, /* bytes of the incoming model do not hash to the header's root */
  QR_VERDICT_TRACE,        /* a step digest differs */
  QR_VERDICT_MODEL_OUT,
  QR_VERDICT_ACTIONS,
  QR_VERDICT_REWARD,
  QR_VERDICT_ENV_ROOT,
  QR_VERDICT_REPLAY_ROOT,
  QR_VERDICT_PARENT_INVALID, /* descends from a block that was found invalid */
  QR_VERDICT_CNT
};

/* Name such as "ticket", never NULL. */
const char *qr_verdict_str(enum qr_verdict v);

/* True if the data itself is bad for good, so that its sender is to blame. */
static inline bool qr_verdict_is_invalid(enum qr_verdict v) { return v >= QR_VERDICT_SIZE; }

#endif
