#include "base/verdict.h"

#include "base/assert.h"

static const char *const names[QR_VERDICT_CNT] = {
    [QR_VERDICT_OK] = "ok",
    [QR_VERDICT_DUPLICATE] = "duplicate",
    [QR_VERDICT_PARENT_UNKNOWN] = "parent-unknown",
    [QR_VERDICT_WITNESS_MISSING] = "witness-missing",
    [QR_VERDICT_TIME_AHEAD] = "time-ahead",
    [QR_VERDICT_TOO_DEEP] = "too-deep",
    [QR_VERDICT_TX_FEE] = "tx-fee",
    [QR_VERDICT_TX_LIMIT] = "tx-limit",
    [QR_VERDICT_SIZE] = "size",
    [QR_VERDICT_SYNTAX] = "syntax",
    [QR_VERDICT_VERSION] = "version",
    [QR_VERDICT_CHAIN] = "chain",
    [QR_VERDICT_HEIGHT] = "height",
    [QR_VERDICT_TIME] = "time",
    [QR_VERDICT_TARGET] = "target",
    [QR_VERDICT_TASK] = "task",
    [QR_VERDICT_TICKET] = "ticket",
    [QR_VERDICT_TX_ROOT] = "tx-root",
    [QR_VERDICT_TRACE_ROOT] = "trace-root",
    [QR_VERDICT_ACTIONS_ROOT] = "actions-root",
    [QR_VERDICT_TX_SYNTAX] = "tx-syntax",
    [QR_VERDICT_TX_SIGNATURE] = "tx-signature",
    [QR_VERDICT_TX_SEQUENCE] = "tx-sequence",
    [QR_VERDICT_TX_BALANCE] = "tx-balance",
    [QR_VERDICT_STATE_ROOT] = "state-root",
    [QR_VERDICT_WITNESS_ROOT] = "witness-root",
    [QR_VERDICT_TRACE] = "trace",
    [QR_VERDICT_MODEL_OUT] = "model-out",
    [QR_VERDICT_ACTIONS] = "actions",
    [QR_VERDICT_REWARD] = "reward",
    [QR_VERDICT_ENV_ROOT] = "env-root",
    [QR_VERDICT_REPLAY_ROOT] = "replay-root",
    [QR_VERDICT_PARENT_INVALID] = "parent-invalid",
};

const char *qr_verdict_str(enum qr_verdict v) {
  QR_ASSERT((unsigned)v < QR_VERDICT_CNT);
  return names[v];
}
