#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/cli_backup.h"
#include "app/cli_place.h"
#include "app/cli_snapshot.h"
#include "app/cli_work.h"
#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"
#include "port/drivers.h"
#include "tile/snapshot.h"

typedef struct {
  const qr_cli_t *cli;
  qr_cli_place_t place;
  qr_snapshot_file_t file;
  qr_snapshot_reader_t reader;
  qr_params_t params;
  qr_chain_cfg_t chain;
  char *params_text; /* as it stands in the snapshot */
  const qr_store_ops_t *ops;
  qr_store_t *store;
  qr_snapshot_import_t import;
  bool begun;
  char *why; /* of place */
  size_t why_sz;
} import_t;

static int open_file(import_t *x) {
  qr_hash_t want;
  const char *root = x->cli->values[3];
  int err = qr_snapshot_file_open(&x->file, x->cli->args[1], x->why, x->why_sz);
  if (err || !root) return err;
  char hex[65];
  bool is_hash = qr_unhex(&want, sizeof want, root);
  if (is_hash && qr_hash_eq(&want, &x->file.head.root)) return QR_OK;
  snprintf(x->why, x->why_sz,
           is_hash ? "%s has another root: %s" : "%s: --root must be 64 hex digits (its own is %s)",
           x->cli->args[1], qr_hex(hex, &x->file.head.root, 32));
  return QR_ERR_ARG;
}

static uint64_t wall_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* The first record: which chain it is, and the store it goes into. */
static int begin(import_t *x) {
  qr_snapshot_about_t about = x->reader.about;
  char reason[512];
  x->params_text = malloc(about.params_sz + 1u);
  if (!x->params_text) return QR_ERR_NOMEM;
  memcpy(x->params_text, about.params, about.params_sz);
  x->params_text[about.params_sz] = 0;
  about.params = x->params_text;
  int err = qr_genesis_parse(x->params_text, about.params_sz, &x->params, reason, sizeof reason);
  if (!err) err = qr_params_init(&x->params, &x->chain, reason, sizeof reason);
  if (err) {
    snprintf(x->why, x->why_sz, "the snapshot's chain makes no sense: %s", reason);
    return QR_ERR_CORRUPT;
  }
  if (x->cli->values[0]) {
    static qr_chain_cfg_t own;
    err = qr_genesis_read(x->cli->values[0], &x->params, x->why, x->why_sz);
    if (!err) err = qr_params_init(&x->params, &own, x->why, x->why_sz);
    qr_hash_t genesis = qr_genesis_hash(&own);
    if (!err && !qr_hash_eq(&genesis, &about.genesis)) {
      snprintf(x->why, x->why_sz, "the snapshot is of another chain (%s) than %s", x->chain.p.name,
               x->cli->values[0]);
      err = QR_ERR_ARG;
    }
    if (err) return err;
  }
  x->reader.segment_rows_sz = qr_snapshot_window_sz(&x->chain);
  err = x->ops->open(x->place.fresh, "", &x->store, x->why, x->why_sz);
  if (!err) {
    err = qr_snapshot_import_init(&x->import, x->ops, x->store, &x->chain, &about, wall_ms(),
                                  x->why, x->why_sz);
    x->begun = true;
  }
  return err;
}

/* Takes all whole records out of the buffer. */
static int take_records(import_t *x) {
  size_t at = 0;
  int err = QR_OK;
  while (!err && x->reader.last != QR_SNAPSHOT_END) {
    qr_snapshot_record_t r;
    int64_t n = qr_snapshot_next(&x->reader, x->file.buf + at, x->file.sz - at, &r);
    if (n < 0) {
      snprintf(x->why, x->why_sz, "%s is not of the form that a snapshot has", x->file.path);
      return (int)n;
    }
    if (!n) break;
    at += (size_t)n;
    err = r.type == QR_SNAPSHOT_ABOUT ? begin(x)
                                      : qr_snapshot_import_take(&x->import, &r, x->why, x->why_sz);
  }
  memmove(x->file.buf, x->file.buf + at, x->file.sz - at);
  x->file.sz -= at;
  return err;
}

static int read_all(import_t *x) {
  int err = QR_OK;
  while (!err) {
    err = qr_snapshot_file_read(&x->file, x->why, x->why_sz);
    if (err == QR_ERR_NOTFOUND) break;
    if (!err) err = take_records(x);
    qr_cli_work_show("importing", x->file.chunk_idx * QR_SNAPSHOT_CHUNK_SZ, x->file.head.payload_sz,
                     QR_CLI_BYTES);
    if (!err && qr_cli_work_stopped()) err = QR_ERR_CANCELLED;
  }
  qr_cli_work_clear();
  if (err && err != QR_ERR_NOTFOUND) return err;
  if (x->reader.last == QR_SNAPSHOT_END && !x->file.sz) return QR_OK;
  snprintf(x->why, x->why_sz, "%s does not end where it should", x->file.path);
  return QR_ERR_FORMAT;
}

static void end(import_t *x) {
  if (x->begun) qr_snapshot_import_fini(&x->import);
  if (x->store) x->ops->close(x->store);
  x->begun = false;
  x->store = NULL;
}

/* What was written, read again: all but the facts of execution. */
static int check(import_t *x) {
  qr_cli_store_t *s = NULL;
  qr_cli_audit_t a = {0};
  int err = qr_cli_store_open(x->place.fresh, NULL, &s, x->why, x->why_sz);
  if (!err) {
    err = qr_cli_store_audit(s, x->cli->json, &a);
    if (err) snprintf(x->why, x->why_sz, "the check could not be finished: %s", qr_err_str(err));
  }
  if (!err && (a.result.find_cnt || !s->has_chain)) {
    snprintf(x->why, x->why_sz,
             "the snapshot is whole, but what it says is wrong in %" PRIu64 " places",
             a.result.find_cnt);
    err = QR_ERR_CORRUPT;
  }
  json_decref(a.finds);
  qr_cli_store_close(s);
  return err;
}

static int import_it(import_t *x) {
  x->ops = qr_store_driver("rocksdb");
  if (!x->ops) {
    snprintf(x->why, x->why_sz, "this build has no store driver rocksdb");
    return QR_ERR_UNSUPPORTED;
  }
  qr_log_init(QR_LOG_ERROR, -1);
  int err = open_file(x);
  if (!err) err = qr_cli_place_init(&x->place, x->cli->dir, x->cli->values[4]);
  if (!err) err = read_all(x);
  end(x);
  if (!err) err = check(x);
  return err ? err : qr_cli_place_take(&x->place);
}

static int tell(const import_t *x) {
  const qr_snapshot_about_t *a = &x->reader.about;
  bool pinned = x->cli->values[3];
  char hex[65];
  if (x->cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "store", json_string(x->place.store));
    json_object_set_new(o, "chain", json_string(x->chain.p.name));
    json_object_set_new(o, "root", json_string(qr_hex(hex, &x->file.head.root, 32)));
    json_object_set_new(o, "pinned", json_boolean(pinned));
    json_object_set_new(o, "height", json_integer((json_int_t)a->height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &a->hash, 32)));
    json_object_set_new(o, "state_root", json_string(qr_hex(hex, &a->state_root, 32)));
    return qr_cli_print_json(o);
  }
  printf("imported  %s, chain %s\n", x->place.store, x->chain.p.name);
  printf("height    %" PRIu64 "  %s\n", a->height, qr_hex(hex, &a->hash, 8));
  printf("root      %s%s\n", qr_hex(hex, &x->file.head.root, 32),
         pinned ? ", as you said" : "; compare it with one that you trust");
  return QR_CLI_OK;
}

int qr_cli_snapshot_import(const qr_cli_t *cli) {
  static import_t x;
  x.cli = cli;
  x.place.lock_fd = -1;
  x.why = x.place.why;
  x.why_sz = sizeof x.place.why;
  if (cli->values[1] || cli->values[2])
    return qr_cli_usage("--%s is for export", cli->values[1] ? "from" : "height");
  qr_cli_work_begin();
  int err = import_it(&x);
  if (err == QR_ERR_CANCELLED) x.why[0] = 0;
  if (err == QR_ERR_FORMAT) err = QR_ERR_CORRUPT;
  int rc = err ? qr_cli_backup_end(cli, err, x.why) : tell(&x);
  qr_snapshot_file_close(&x.file);
  qr_cli_place_fini(&x.place);
  free(x.params_text);
  return rc;
}
