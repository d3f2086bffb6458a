#include <inttypes.h>
#include <stdio.h>

#include "app/cli_backup.h"
#include "app/cli_place.h"
#include "app/cli_snapshot.h"
#include "app/cli_work.h"
#include "app/genesis.h"
#include "app/snapshot_take.h"
#include "base/err.h"
#include "base/log.h"
#include "port/drivers.h"

typedef struct {
  const qr_cli_t *cli;
  qr_cli_place_t place;
  qr_snapshot_file_t file;
  qr_hash_t pin;
  qr_snapshot_take_t take;
  const qr_store_ops_t *ops;
  const qr_accel_ops_t *accel;
  char *why; /* of place */
  size_t why_sz;
} import_t;

static int open_file(import_t *x) {
  const char *pin = x->cli->values[3];
  if (!pin || qr_unhex(&x->pin, sizeof x->pin, pin))
    return qr_snapshot_file_open(&x->file, x->cli->args[1], x->why, x->why_sz);
  snprintf(x->why, x->why_sz, "--pin must be the 64 hex digits of a block's hash");
  return QR_ERR_ARG;
}

static bool on_progress(void *ctx, uint64_t done, uint64_t total) {
  (void)ctx;
  qr_cli_work_show("importing", done, total, QR_CLI_BYTES);
  return !qr_cli_work_stopped();
}

static int take(import_t *x) {
  static qr_chain_cfg_t own;
  const char *genesis = x->cli->values[0];
  qr_params_t params;
  x->take = (qr_snapshot_take_t){.file = &x->file,
                                 .ops = x->ops,
                                 .accel = x->accel,
                                 .dir = x->place.fresh,
                                 .pin = x->cli->values[3] ? &x->pin : NULL,
                                 .progress = on_progress,
                                 .why = x->why,
                                 .why_sz = x->why_sz};
  int err = genesis ? qr_genesis_read(genesis, &params, x->why, x->why_sz) : QR_OK;
  if (!err && genesis) {
    err = qr_params_init(&params, &own, x->why, x->why_sz);
    x->take.own = &own;
    x->take.own_name = genesis;
  }
  if (!err) err = qr_snapshot_take(&x->take);
  qr_cli_work_clear();
  return err;
}

/* What was written, read again. */
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
  x->accel = qr_accel_driver("cpu");
  if (!x->ops || !x->accel) {
    snprintf(x->why, x->why_sz, "this build has no %s",
             x->ops ? "accelerator driver cpu" : "store driver rocksdb");
    return QR_ERR_UNSUPPORTED;
  }
  qr_log_init(QR_LOG_ERROR, -1);
  int err = open_file(x);
  if (!err) err = qr_cli_place_init(&x->place, x->cli->dir, x->cli->values[4]);
  if (!err) err = take(x);
  if (!err) err = check(x);
  return err ? err : qr_cli_place_take(&x->place);
}

static int tell(const import_t *x) {
  const qr_snapshot_about_t *a = &x->take.about;
  bool pinned = x->cli->values[3];
  char hex[65];
  if (x->cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "store", json_string(x->place.store));
    json_object_set_new(o, "chain", json_string(x->take.chain.p.name));
    json_object_set_new(o, "pin", json_string(qr_hex(hex, &a->seal, 32)));
    json_object_set_new(o, "pinned", json_boolean(pinned));
    json_object_set_new(o, "height", json_integer((json_int_t)a->height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &a->hash, 32)));
    json_object_set_new(o, "state_root", json_string(qr_hex(hex, &a->state_root, 32)));
    return qr_cli_print_json(o);
  }
  printf("imported  %s, chain %s\n", x->place.store, x->take.chain.p.name);
  printf("height    %" PRIu64 "  %s\n", a->height, qr_hex(hex, &a->hash, 8));
  printf("pin       %s%s\n", qr_hex(hex, &a->seal, 32),
         pinned ? ", as you said" : "; compare it with that block on a node that you trust");
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
  qr_snapshot_take_fini(&x.take);
  return rc;
}
