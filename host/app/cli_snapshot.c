/* quarry snapshot export | import: the state of a chain at a height as one file, and a node's store
   made of it. */
#include "tile/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/cli_backup.h"
#include "app/cli_place.h"
#include "app/cli_snapshot.h"
#include "app/cli_work.h"
#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"

#define PATH_SZ QR_CONFIG_PATH_SZ

typedef struct {
  const qr_cli_t *cli;
  char path[PATH_SZ], partial[PATH_SZ + 16], copy[PATH_SZ + 16];
  bool copied; /* copy is ours to remove */
  uint64_t height;
  qr_snapshot_file_t file;
  qr_snapshot_about_t about;
  char why[2048];
} export_t;

static int on_write(void *ctx, const void *p, size_t sz) {
  return qr_snapshot_file_write(&((export_t *)ctx)->file, p, sz);
}

static bool on_progress(void *ctx, uint64_t done, uint64_t total) {
  (void)ctx;
  qr_cli_work_show("exporting", done, total, QR_CLI_BYTES);
  return !qr_cli_work_stopped();
}

/* Where the store lies that is exported: a running node makes a copy for it. */
static int find_source(export_t *x, const char **where) {
  *where = x->cli->dir;
  if (x->cli->values[1]) {
    *where = x->cli->values[1];
    return QR_OK;
  }
  if (!qr_cli_node_runs(x->cli)) return QR_OK;
  *where = x->copy;
  int err = qr_cli_copy_online(x->cli, x->copy, x->why, sizeof x->why);
  x->copied = !err;
  return err;
}

static int give_name(export_t *x) {
  char parent[PATH_SZ];
  qr_cli_parent(x->path, parent, sizeof parent);
  if (!rename(x->partial, x->path) && !qr_cli_sync_dir(parent)) return QR_OK;
  snprintf(x->why, sizeof x->why, "cannot give the snapshot its name %s: %s", x->path,
           strerror(errno));
  return QR_ERR_IO;
}

static int write_all(export_t *x, const qr_cli_store_t *s) {
  char *params = qr_genesis_text(&s->chain.p);
  qr_snapshot_export_t cfg = {.ops = s->ops,
                              .store = s->store,
                              .chain = &s->chain,
                              .params = params,
                              .height = x->height,
                              .write = on_write,
                              .progress = on_progress,
                              .ctx = x};
  int err =
      params ? qr_snapshot_file_create(&x->file, x->partial, x->why, sizeof x->why) : QR_ERR_NOMEM;
  if (!params) snprintf(x->why, sizeof x->why, "out of memory");
  if (!err) {
    err = qr_snapshot_export(&cfg, &x->about, x->why, sizeof x->why);
    int end = qr_snapshot_file_end(&x->file, err, x->why, sizeof x->why);
    if (!err) err = end;
  }
  free(params);
  qr_cli_work_clear();
  return err ? err : give_name(x);
}

static int export_it(export_t *x) {
  const char *where;
  qr_cli_store_t *s = NULL;
  int err = qr_cli_fresh_path(x->cli->args[1], x->path, sizeof x->path, x->why, sizeof x->why);
  if (err) return err;
  snprintf(x->partial, sizeof x->partial, "%s.partial", x->path);
  snprintf(x->copy, sizeof x->copy, "%s.store", x->path);
  err = find_source(x, &where);
  if (!err) err = qr_cli_store_open(where, x->cli->values[0], &s, x->why, sizeof x->why);
  if (!err && (!s->has_chain || s->schema != QR_STORE_SCHEMA_VERSION)) {
    snprintf(x->why, sizeof x->why,
             s->has_chain ? "the store is of an older schema version: start the node once"
                          : "the store does not hold its chain's parameters: name --genesis FILE");
    err = QR_ERR_UNSUPPORTED;
  }
  if (!err) err = write_all(x, s);
  qr_cli_store_close(s);
  return err;
}

static int run_export(const qr_cli_t *cli) {
  static export_t x;
  char hex[65], size[24];
  x.cli = cli;
  if (cli->values[3] || cli->values[4])
    return qr_cli_usage("--%s is for import", cli->values[3] ? "pin" : "overwrite");
  if (cli->values[2] && (!qr_cli_parse_u64(cli->values[2], INT64_MAX, &x.height) || !x.height))
    return qr_cli_usage("--height '%s' is not a height from 1 up", cli->values[2]);
  qr_cli_work_begin();
  int err = export_it(&x);
  if (x.copied && qr_cli_remove_dir(x.copy)) fprintf(stderr, "quarry: cannot remove %s\n", x.copy);
  if (err == QR_ERR_CANCELLED && !strcmp(x.why, "interrupted")) x.why[0] = 0;
  if (err) return qr_cli_backup_end(cli, err, x.why);
  qr_hex(hex, &x.about.seal, 32);
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "snapshot", json_string(x.path));
    json_object_set_new(o, "pin", json_string(hex));
    json_object_set_new(o, "height", json_integer((json_int_t)x.about.height));
    json_object_set_new(o, "tip", json_string(qr_hex(hex, &x.about.hash, 32)));
    json_object_set_new(o, "state_root", json_string(qr_hex(hex, &x.about.state_root, 32)));
    json_object_set_new(o, "bytes", json_integer((json_int_t)x.file.file_sz));
    return qr_cli_print_json(o);
  }
  printf("snapshot  %s, %s\n", x.path, qr_cli_size(x.file.file_sz, size));
  printf("height    %" PRIu64 "  %.16s\n", x.about.height,
         qr_hex((char[65]){0}, &x.about.hash, 32));
  printf("pin       %s  (block %" PRIu64 ")\n", hex, x.about.height + 1);
  return QR_CLI_OK;
}

static int run(const qr_cli_t *cli) {
  if (!strcmp(cli->args[0], "export")) return run_export(cli);
  if (!strcmp(cli->args[0], "import")) return qr_cli_snapshot_import(cli);
  return qr_cli_usage("usage: quarry snapshot export|import FILE");
}

const qr_cli_command_t qr_cli_snapshot = {
    .name = "snapshot",
    .args = "export|import FILE",
    .help =
        "the state of a chain at a height as a file; a new node goes on from it\n\n"
        "export writes headers, accounts, replay windows and target models of a node that runs or "
        "not to FILE, in chunks\nthat are hashed one by one: the same bytes on every node of the "
        "chain. It prints the pin: the hash of the block after\nthat height, whose header commits "
        "to the state before it. Any node knows it (quarry block HEIGHT).\nimport makes a store of "
        "it in the data directory that --dir names, which must have none; the node that is\n"
        "started there fetches the blocks after it from its peers and does their work again, but "
        "not that of those before.\nSo give --pin, as you have it from a node or a person that you "
        "trust: headers, accounts, replay and models are then\nchecked against it, and the newest "
        "blocks are done again. Without it whoever made FILE is believed.\nA new node fetches one "
        "from its peers by itself: quarryd --sync-pin HASH; and gives one: --sync.serve FILE."
        "\n\nExit "
        "codes: 0 done, 1 failed, 3 the store or FILE is damaged, 130 interrupted.",
    .arg_min_cnt = 2,
    .arg_max_cnt = 2,
    .options = {{"genesis", "FILE",
                 "the chain must be this one; needed if a store does not hold it"},
                {"from", "PATH", "export: a store, data directory or backup instead of --dir's"},
                {"height", "N", "export: default the newest that cannot be reorganised"},
                {"pin", "HASH", "import: the block that must settle what is in FILE"},
                {"overwrite", "WORDS",
                 "import: replace a store that is there: '" QR_CLI_OVERWRITE_WORDS "'"}},
    .run = run,
};
