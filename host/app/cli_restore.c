/* quarry restore: a backup becomes the store of a data directory, all of it or nothing. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "app/cli_backup.h"
#include "app/cli_place.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "base/log.h"

static int copy(qr_cli_place_t *p, const char *from, const qr_cli_backup_t *b) {
  int err = mkdir(p->fresh, 0700) ? QR_ERR_IO : QR_OK;
  if (err) {
    snprintf(p->why, sizeof p->why, "cannot make %s: %s", p->fresh, strerror(errno));
    return err;
  }
  err = qr_cli_backup_files(from, b, p->fresh, p->why, sizeof p->why);
  if (!err && qr_cli_sync_dir(p->fresh)) {
    snprintf(p->why, sizeof p->why, "cannot make %s durable: %s", p->fresh, strerror(errno));
    err = QR_ERR_IO;
  }
  return err;
}

static int tell(const qr_cli_t *cli, const qr_cli_place_t *r, const qr_cli_backup_t *b) {
  char hex[65], size[24];
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "store", json_string(r->store));
    json_object_set_new(o, "replaced", json_boolean(r->there));
    json_object_set_new(o, "chain", json_string(b->chain));
    json_object_set_new(o, "height", json_integer((json_int_t)b->height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &b->tip, 32)));
    json_object_set_new(o, "bytes", json_integer((json_int_t)b->files.byte_sz));
    return qr_cli_print_json(o);
  }
  printf("restored  %s%s\n", r->store, r->there ? ", in place of the one that was there" : "");
  printf("tip       height %" PRIu64 "  %s\n", b->height, qr_hex(hex, &b->tip, 8));
  printf("files     %u, %s\n", b->files.cnt, qr_cli_size(b->files.byte_sz, size));
  return QR_CLI_OK;
}

static int run(const qr_cli_t *cli) {
  static qr_cli_place_t p;
  qr_cli_backup_t b = {0};
  const char *from = cli->args[0];
  qr_cli_work_begin();
  int err = qr_cli_backup_read(from, &b, p.why, sizeof p.why);
  if (err) return qr_cli_backup_end(cli, err, p.why);
  err = qr_cli_place_init(&p, cli->dir, cli->values[0]);
  if (!err) err = qr_cli_backup_files(from, &b, NULL, p.why, sizeof p.why);
  if (!err) err = qr_cli_backup_audit(cli, from, &b, p.why, sizeof p.why);
  if (!err) err = copy(&p, from, &b);
  if (!err) err = qr_cli_place_take(&p);
  if (err == QR_ERR_CANCELLED) snprintf(p.why, sizeof p.why, "%s is as it was", p.store);
  int rc = err ? qr_cli_backup_end(cli, err, p.why) : tell(cli, &p, &b);
  qr_cli_files_free(&b.files);
  qr_cli_place_fini(&p);
  return rc;
}

const qr_cli_command_t qr_cli_restore = {
    .name = "restore",
    .args = "DIR",
    .help = "makes the backup DIR the store of the data directory that --dir names\n\n"
            "First every file of the backup is compared with its hash, and the whole is looked "
            "through as 'quarry db check'\ndoes. Then it is copied beside the store and takes its "
            "name in one step: at any moment there is the old store\nor the new one, whole. The "
            "backup stays as it is. The node must not run.\n\nExit codes: 0 done, 1 failed, 3 the "
            "backup is damaged, 130 interrupted.",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .options = {{"overwrite", "WORDS",
                 "replace a store that is there: '" QR_CLI_OVERWRITE_WORDS "'"}},
    .run = run,
};
