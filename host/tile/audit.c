#include "tile/audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "port/store_batch.h"
#include "tile/audit_int.h"

static void find_v(qr_audit_t *a, enum qr_store_table t, const char *key, const char *fmt,
                   va_list ap) {
  char what[640];
  vsnprintf(what, sizeof what, fmt, ap);
  a->r->find_cnt++;
  qr_audit_find_t f = {qr_store_table_name(t), key, what};
  a->cfg->found(a->cfg->ctx, &f);
}

void qr_audit_find(qr_audit_t *a, enum qr_store_table t, const void *key, size_t key_sz,
                   const char *fmt, ...) {
  char hex[2 * QR_STORE_KEY_MAX_SZ + 1] = "";
  if (key) qr_hex(hex, key, key_sz < QR_STORE_KEY_MAX_SZ ? key_sz : QR_STORE_KEY_MAX_SZ);
  if (key && t == QR_STORE_META) snprintf(hex, sizeof hex, "%.*s", (int)key_sz, (const char *)key);
  va_list ap;
  va_start(ap, fmt);
  find_v(a, t, hex, fmt, ap);
  va_end(ap);
}

void qr_audit_find_at(qr_audit_t *a, enum qr_store_table t, uint64_t height, const char *fmt, ...) {
  char key[32];
  snprintf(key, sizeof key, "height %llu", (unsigned long long)height);
  va_list ap;
  va_start(ap, fmt);
  find_v(a, t, key, fmt, ap);
  va_end(ap);
}

bool qr_audit_tell(qr_audit_t *a, enum qr_audit_phase phase, uint64_t done, uint64_t total) {
  if (a->r->stopped) return false;
  qr_audit_progress_t p = {phase, total && done > total ? total : done, total};
  a->r->stopped = !a->cfg->progress(a->cfg->ctx, &p);
  return !a->r->stopped;
}

static void on_bad(void *ctx, const void *key, size_t key_sz, const char *what) {
  qr_audit_t *a = ctx;
  qr_audit_find(a, a->table, key, key_sz, "%s", what);
}

/* In this order each table finds what it is compared with. */
static const enum qr_store_table order[QR_STORE_TABLE_CNT] = {
    QR_STORE_META,   QR_STORE_INDEX, QR_STORE_BLOCK, QR_STORE_EXEC,
    QR_STORE_REPLAY, QR_STORE_UNDO,  QR_STORE_STATE, QR_STORE_MODEL};

static void read_records(qr_audit_t *a) {
  for (uint32_t i = 0; i < QR_STORE_TABLE_CNT && !a->err && !a->r->stopped; i++) {
    a->table = order[i];
    if (a->table == QR_STORE_MODEL && a->cfg->chain) {
      qr_audit_wants_base(a);
      qr_audit_wants_sort(a);
    }
    a->err = a->cfg->ops->audit(a->cfg->store, a->table, qr_audit_record, on_bad, a);
  }
}

static int take_memory(qr_audit_t *a) {
  if (!a->cfg->chain) return QR_OK;
  a->tree = qr_tree_init(a->cfg->chain);
  a->ledger = qr_ledger_init();
  a->buf = malloc(QR_STORE_VALUE_MAX_SZ);
  a->changes = malloc(QR_LEDGER_CHANGE_MAX_CNT * sizeof *a->changes);
  a->undo = malloc(sizeof *a->undo);
  return a->tree && a->ledger && a->buf && a->changes && a->undo ? QR_OK : QR_ERR_NOMEM;
}

int qr_audit_run(const qr_audit_cfg_t *cfg, qr_audit_result_t *out) {
  qr_audit_t a = {.cfg = cfg, .r = out};
  *out = (qr_audit_result_t){.held = {.from = 1}};
  if (!cfg->ops->audit) return QR_ERR_UNSUPPORTED;
  a.err = take_memory(&a);
  if (!a.err) read_records(&a);
  if (!a.err && !out->stopped && cfg->chain) {
    qr_audit_complete(&a);
    qr_audit_ledger(&a);
    qr_audit_replay(&a);
  }
  if (a.tree) qr_tree_fini(a.tree);
  qr_ledger_fini(a.ledger);
  free(a.wants);
  free(a.buf);
  free(a.changes);
  free(a.undo);
  return a.err ? a.err : out->stopped ? QR_ERR_CANCELLED : QR_OK;
}
