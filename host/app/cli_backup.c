/* quarry backup: a copy of a node's store, made while the node runs or of one that does not, and
   looked through before it gets its name. */
#include "app/cli_backup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_work.h"
#include "base/err.h"
#include "base/log.h"
#include "port/clock.h"
#include "port/drivers.h"

#define PATH_SZ QR_CONFIG_PATH_SZ

typedef struct {
  char dir[PATH_SZ], partial[PATH_SZ + 16], store[PATH_SZ + 32];
  bool made;   /* partial is ours */
  bool online; /* a node made the copy */
  char why[2048];
} backup_t;

int qr_cli_fresh_path(const char *arg, char *out, size_t out_sz, char *why, size_t why_sz) {
  char parent[PATH_SZ], real[PATH_MAX], plain[PATH_SZ];
  struct stat st;
  size_t n = strlen(arg);
  while (n > 1 && arg[n - 1] == '/') n--;
  snprintf(plain, sizeof plain, "%.*s", (int)n, arg);
  qr_cli_parent(plain, parent, sizeof parent);
  const char *slash = strrchr(plain, '/'), *name = slash ? slash + 1 : plain;
  if (!lstat(plain, &st)) {
    snprintf(why, why_sz, "%s exists; name one that does not", arg);
    return QR_ERR_ARG;
  }
  int len = -1;
  errno = 0;
  if (realpath(parent, real) && *name)
    len = snprintf(out, out_sz, "%s/%s", strcmp(real, "/") ? real : "", name);
  if (len > 0 && (size_t)len + 32 < out_sz) return QR_OK; /* room for what is put behind it */
  snprintf(why, why_sz, "cannot use %s: %s", arg, errno ? strerror(errno) : "the path is too long");
  return QR_ERR_ARG;
}

/* The directory as an absolute path, which the node understands as we do. */
static int name_it(backup_t *b, const char *arg) {
  int err = qr_cli_fresh_path(arg, b->dir, sizeof b->dir, b->why, sizeof b->why);
  if (err) return err;
  snprintf(b->partial, sizeof b->partial, "%s.partial", b->dir);
  snprintf(b->store, sizeof b->store, "%s/store", b->partial);
  if (mkdir(b->partial, 0700)) {
    snprintf(b->why, sizeof b->why, "cannot make %s: %s%s", b->partial, strerror(errno),
             errno == EEXIST ? "; remove what an interrupted backup left" : "");
    return QR_ERR_IO;
  }
  b->made = true;
  return QR_OK;
}

/* ---- the copy ---- */

int qr_cli_copy_online(const qr_cli_t *cli, const char *store, char *why, size_t why_sz) {
  int code = 0;
  json_t *params = json_object();
  json_object_set_new(params, "dir", json_string(store));
  qr_cli_work_wait("copying");
  json_t *result = qr_cli_call(cli->socket, "backup", params, QR_CLI_BACKUP_MS, &code, why, why_sz);
  qr_cli_work_wait(NULL);
  json_decref(result);
  if (result) return QR_OK;
  if (code == QR_ERR_CANCELLED)
    snprintf(why, why_sz, "the node may still be writing to %s: remove it later", store);
  return code ? code : QR_ERR_IO;
}

static int copy_offline(const qr_cli_t *cli, backup_t *b) {
  char path[QR_CONFIG_PATH_SZ + 16], probe[QR_CONFIG_PATH_SZ + 32];
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  qr_store_t *s;
  qr_cli_store_path(cli->dir, path, sizeof path);
  snprintf(probe, sizeof probe, "%s/CURRENT", path);
  if (!ops || !ops->checkpoint) {
    snprintf(b->why, sizeof b->why, "this build has no store driver rocksdb");
    return QR_ERR_UNSUPPORTED;
  }
  if (access(probe, F_OK)) {
    snprintf(b->why, sizeof b->why, "there is no store in %s; name the data directory with --dir",
             path);
    return QR_ERR_NOTFOUND;
  }
  int err = ops->open(path, "", &s, b->why, sizeof b->why);
  if (err) return err;
  err = ops->checkpoint(s, b->store, b->why, sizeof b->why);
  ops->close(s);
  return err;
}

bool qr_cli_node_runs(const qr_cli_t *cli) {
  int code = 0;
  char why[512];
  json_t *r = qr_cli_call(cli->socket, "status", NULL, QR_CLI_CALL_MS, &code, why, sizeof why);
  json_decref(r);
  return r || code != QR_ERR_CLOSED;
}

/* ---- what it is ---- */

/* Of the copy itself, which is newer than anything that was asked before. */
static int describe(backup_t *b, qr_cli_backup_t *out) {
  qr_cli_store_t *s = NULL;
  uint8_t buf[QR_META_TIP_SZ];
  qr_tip_record_t tip;
  qr_held_t held = {.from = 1};
  int err = qr_cli_store_open(b->partial, NULL, &s, b->why, sizeof b->why);
  if (err) return err;
  int64_t sz =
      s->ops->get(s->store, QR_STORE_META, QR_META_TIP, strlen(QR_META_TIP), buf, sizeof buf);
  bool ok = sz == sizeof buf && qr_tip_decode(buf, sizeof buf, &tip);
  ok = ok && s->ops->get(s->store, QR_STORE_META, QR_META_GENESIS, strlen(QR_META_GENESIS),
                         &out->genesis, sizeof out->genesis) == sizeof out->genesis;
  sz = s->ops->get(s->store, QR_STORE_META, QR_META_HELD, strlen(QR_META_HELD), buf, sizeof buf);
  if (sz > 0) ok = ok && qr_held_decode(buf, (size_t)sz, &held);
  if (ok) {
    out->tip = tip.hash;
    out->height = tip.height;
    out->state_root = tip.state_root;
    out->held_from = held.from;
    snprintf(out->chain, sizeof out->chain, "%s", s->has_chain ? s->chain.p.name : "");
  } else {
    snprintf(b->why, sizeof b->why, "the store has no readable tip: check it with quarry db check");
  }
  qr_cli_store_close(s);
  out->made_ms = qr_clock_wall_ms();
  return ok ? QR_OK : QR_ERR_CORRUPT;
}

static int list_files(backup_t *b, qr_cli_backup_t *out) {
  int err = qr_cli_files_list(b->store, NULL, &out->files, b->why, sizeof b->why);
  qr_cli_pass_t pass = {.what = "hashing", .total = out->files.byte_sz};
  for (uint32_t i = 0; i < out->files.cnt && !err; i++)
    err = qr_cli_file_read(b->store, &out->files.files[i], NULL, &pass, b->why, sizeof b->why);
  qr_cli_work_clear();
  return err;
}

static int give_name(backup_t *b) {
  char parent[PATH_SZ];
  qr_cli_parent(b->dir, parent, sizeof parent);
  if (qr_cli_sync_dir(b->store) || qr_cli_sync_dir(b->partial) || rename(b->partial, b->dir) ||
      qr_cli_sync_dir(parent)) {
    snprintf(b->why, sizeof b->why, "cannot give the backup its name %s: %s", b->dir,
             strerror(errno));
    return QR_ERR_IO;
  }
  b->made = false;
  return QR_OK;
}

static int make(const qr_cli_t *cli, backup_t *b, qr_cli_backup_t *out) {
  b->online = qr_cli_node_runs(cli);
  int err =
      b->online ? qr_cli_copy_online(cli, b->store, b->why, sizeof b->why) : copy_offline(cli, b);
  if (b->online && err == QR_ERR_CANCELLED) b->made = false; /* what becomes of it is the node's */
  if (!err) err = describe(b, out);
  if (!err) err = list_files(b, out);
  if (!err) err = qr_cli_backup_audit(cli, b->partial, out, b->why, sizeof b->why);
  if (!err) err = qr_cli_backup_write(b->partial, out, b->why, sizeof b->why);
  return err ? err : give_name(b);
}

static int tell(const qr_cli_t *cli, const backup_t *b, const qr_cli_backup_t *out) {
  char hex[65], size[24];
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "backup", json_string(b->dir));
    json_object_set_new(o, "node_ran", json_boolean(b->online));
    json_object_set_new(o, "chain", json_string(out->chain));
    json_object_set_new(o, "height", json_integer((json_int_t)out->height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &out->tip, 32)));
    json_object_set_new(o, "state_root", json_string(qr_hex(hex, &out->state_root, 32)));
    json_object_set_new(o, "files", json_integer(out->files.cnt));
    json_object_set_new(o, "bytes", json_integer((json_int_t)out->files.byte_sz));
    return qr_cli_print_json(o);
  }
  printf("backup    %s, of a node that %s\n", b->dir, b->online ? "runs" : "does not run");
  printf("tip       height %" PRIu64 "  %s\n", out->height, qr_hex(hex, &out->tip, 8));
  printf("files     %u, %s, read again and found whole\n", out->files.cnt,
         qr_cli_size(out->files.byte_sz, size));
  return QR_CLI_OK;
}

static int run(const qr_cli_t *cli) {
  static backup_t b;
  qr_cli_backup_t out = {0};
  qr_cli_work_begin();
  errno = 0;
  int err = name_it(&b, cli->args[0]);
  if (!err) err = make(cli, &b, &out);
  if (b.made) {
    /* nothing that is not whole stays */
    if (err == QR_ERR_CANCELLED) b.why[0] = 0;
    if (qr_cli_remove_dir(b.partial)) fprintf(stderr, "quarry: cannot remove %s\n", b.partial);
  }
  int rc = err ? qr_cli_backup_end(cli, err, b.why) : tell(cli, &b, &out);
  qr_cli_files_free(&out.files);
  return rc;
}

const qr_cli_command_t qr_cli_backup = {
    .name = "backup",
    .args = "DIR",
    .help = "copies a node's store to DIR, while it runs or not, and checks the copy\n\n"
            "A node that runs goes on; on the same file system the copy is made of hard links and "
            "takes no space at first.\nThe copy is then looked through as 'quarry db check' does, "
            "and only if nothing is wrong it gets the name DIR;\nuntil then it is DIR.partial. "
            "DIR/backup.json lists every file with its hash. The node's key is not in it.\n\nExit "
            "codes: 0 done, 1 failed, 3 the store is damaged, 130 interrupted.",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run,
};
