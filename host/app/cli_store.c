#include "app/cli_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cli_work.h"
#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"
#include "chain/tree.h"
#include "port/drivers.h"

#define FIND_PRINT_MAX_CNT 50u

static const char *const profiles[] = {"main", "devnet", "regtest", "regtest-catch",
                                       "regtest-cartpole"};

void qr_cli_store_path(const char *where, char *out, size_t out_sz) {
  char probe[QR_CONFIG_PATH_SZ + 32];
  snprintf(probe, sizeof probe, "%.*s/CURRENT", (int)QR_CONFIG_PATH_SZ, where);
  bool itself = !access(probe, F_OK);
  snprintf(out, out_sz, itself ? "%.*s" : "%.*s/store", (int)QR_CONFIG_PATH_SZ, where);
}

/* Bytes of the files in a directory, not deeper; 0 if there is none. */
static uint64_t dir_sz(const char *path) {
  DIR *d = opendir(path);
  uint64_t sum = 0;
  struct stat st;
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
      sum += (uint64_t)st.st_size;
  }
  if (d) closedir(d);
  return sum;
}

/* ---- whose chain it is ---- */

static int64_t get_meta(const qr_cli_store_t *s, const char *key, void *buf, size_t sz) {
  return s->ops->get(s->store, QR_STORE_META, key, strlen(key), buf, sz);
}

static bool fits(qr_cli_store_t *s, const qr_params_t *p, const qr_hash_t *genesis) {
  char why[256];
  if (qr_params_init(p, &s->chain, why, sizeof why)) return false;
  qr_hash_t own = qr_genesis_hash(&s->chain);
  return qr_hash_eq(&own, genesis);
}

static int find_chain(qr_cli_store_t *s, const char *name, char *why, size_t why_sz) {
  static char text[QR_GENESIS_FILE_MAX_SZ];
  static qr_params_t p;
  qr_hash_t genesis;
  if (get_meta(s, QR_META_GENESIS, &genesis, sizeof genesis) != sizeof genesis) {
    snprintf(why, why_sz,
             "the store in %s does not say which chain it holds: it is empty or damaged", s->path);
    return QR_ERR_CORRUPT;
  }
  if (name) {
    int err = qr_genesis_read(name, &p, why, why_sz);
    if (err) return err;
    s->has_chain = fits(s, &p, &genesis);
    if (s->has_chain) return QR_OK;
    snprintf(why, why_sz, "the store in %s holds another chain than %s", s->path, name);
    return QR_ERR_ARG;
  }
  int64_t sz = get_meta(s, QR_META_PARAMS, text, sizeof text);
  if (sz > 0 && sz <= (int64_t)sizeof text && !qr_genesis_parse(text, (size_t)sz, &p, why, why_sz))
    s->has_chain = fits(s, &p, &genesis);
  for (size_t i = 0; i < QR_ARRAY_CNT(profiles) && !s->has_chain; i++) {
    if (!qr_genesis_read(profiles[i], &p, why, why_sz)) s->has_chain = fits(s, &p, &genesis);
  }
  return QR_OK;
}

/* ---- opening ---- */

static int read_schema(qr_cli_store_t *s, char *why, size_t why_sz) {
  uint8_t version[4];
  int64_t sz = get_meta(s, QR_META_SCHEMA, version, sizeof version);
  if (sz != sizeof version) {
    snprintf(why, why_sz, "the store in %s has no readable schema version (%s)", s->path,
             sz < 0 ? qr_err_str((int)sz) : "wrong size");
    return QR_ERR_CORRUPT;
  }
  s->schema = qr_ld32(version);
  if (s->schema <= QR_STORE_SCHEMA_VERSION) return QR_OK;
  snprintf(why, why_sz,
           "the store in %s has schema version %u, this program knows %u; use the program that "
           "wrote it",
           s->path, s->schema, QR_STORE_SCHEMA_VERSION);
  return QR_ERR_UNSUPPORTED;
}

int qr_cli_store_open(const char *where, const char *genesis, qr_cli_store_t **out, char *why,
                      size_t why_sz) {
  const qr_store_ops_t *driver = qr_store_driver("rocksdb");
  if (!driver || !driver->readonly) {
    snprintf(why, why_sz, "this build has no store driver rocksdb");
    return QR_ERR_UNSUPPORTED;
  }
  qr_cli_store_t *s = calloc(1, sizeof *s);
  if (!s) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  qr_log_init(QR_LOG_ERROR, -1); /* what goes wrong is told in our own words */
  qr_cli_store_path(where, s->path, sizeof s->path);
  s->ops = driver->readonly;
  int err = s->ops->open(s->path, "", &s->store, why, why_sz);
  if (!err) err = read_schema(s, why, why_sz);
  if (!err) err = find_chain(s, genesis, why, why_sz);
  if (err) {
    qr_cli_store_close(s);
    return err;
  }
  *out = s;
  return QR_OK;
}

void qr_cli_store_close(qr_cli_store_t *s) {
  if (!s) return;
  if (s->store) s->ops->close(s->store);
  free(s);
}

/* ---- looking through it ---- */

typedef struct {
  qr_cli_audit_t *out;
  bool json;
} watch_t;

static bool on_progress(void *ctx, const qr_audit_progress_t *p) {
  static const struct {
    const char *name;
    enum qr_cli_unit unit;
  } phases[QR_AUDIT_PHASE_CNT] = {
      {"records", QR_CLI_BYTES}, {"accounts", QR_CLI_BLOCKS}, {"replay", QR_CLI_SEGMENTS}};
  (void)ctx;
  qr_cli_work_show(phases[p->phase].name, p->done, p->total, phases[p->phase].unit);
  return !qr_cli_work_stopped();
}

static void on_find(void *ctx, const qr_audit_find_t *f) {
  watch_t *w = ctx;
  size_t cnt = json_array_size(w->out->finds);
  if (cnt >= QR_CLI_FIND_MAX_CNT) return;
  json_t *o = json_object(), *what = json_string(f->what);
  json_object_set_new(o, "table", json_string(f->table));
  json_object_set_new(o, "key", json_string(f->key));
  json_object_set_new(o, "what", what ? what : json_string("?"));
  json_array_append_new(w->out->finds, o);
  if (w->json || cnt >= FIND_PRINT_MAX_CNT) return;
  qr_cli_work_clear();
  printf("wrong: table %s%s%s: %s\n", f->table, *f->key ? ", " : "", f->key, f->what);
  fflush(stdout);
}

int qr_cli_store_audit(const qr_cli_store_t *s, bool json, qr_cli_audit_t *out) {
  watch_t w = {out, json};
  qr_audit_cfg_t cfg = {.ops = s->ops,
                        .store = s->store,
                        .chain =
                            s->has_chain && s->schema == QR_STORE_SCHEMA_VERSION ? &s->chain : NULL,
                        .byte_sz = dir_sz(s->path),
                        .progress = on_progress,
                        .found = on_find,
                        .ctx = &w};
  out->finds = json_array();
  int err = qr_audit_run(&cfg, &out->result);
  qr_cli_work_clear();
  return err;
}

void qr_cli_audit_print(const qr_cli_store_t *s, const qr_cli_audit_t *a) {
  const qr_audit_result_t *r = &a->result;
  char size[24], hex[17];
  printf("store     %s\n", s->path);
  printf("records   %" PRIu64 ", %s, each against its own hash\n", r->record_cnt,
         qr_cli_size(r->byte_sz, size));
  if (s->schema != QR_STORE_SCHEMA_VERSION) {
    printf("schema    %u, which this program's node brings to %u when it starts: only the records' "
           "hashes were looked at\n",
           s->schema, QR_STORE_SCHEMA_VERSION);
    return;
  }
  if (!s->has_chain) {
    puts("chain     not known: only the records' hashes were looked at; name it with --genesis "
         "FILE");
    return;
  }
  printf("chain     %s, schema %u\n", s->chain.p.name, s->schema);
  printf("tip       height %" PRIu64 "  %s  state %s\n", r->tip.height,
         qr_hex(hex, &r->tip.hash, 8), qr_hex((char[17]){0}, &r->tip.state_root, 8));
  if (r->held.from > 1)
    printf("held      blocks from %" PRIu64 " on%s\n", r->held.from,
           r->held.base ? ", begun with a snapshot" : ", older ones were pruned");
  printf("          %" PRIu64 " blocks, %" PRIu64 " of side branches, %" PRIu64 " models, %" PRIu64
         " accounts\n",
         r->block_cnt, r->side_cnt, r->model_cnt, r->account_cnt);
  printf("accounts  taken back over %" PRIu64 " blocks and made again\n", r->undone_cnt);
  printf("replay    %" PRIu64 " segments played again\n", r->segment_cnt);
}

void qr_cli_audit_json(const qr_cli_store_t *s, const qr_cli_audit_t *a, json_t *o) {
  const qr_audit_result_t *r = &a->result;
  char hex[65];
  const struct {
    const char *name;
    uint64_t v;
  } nums[] = {
      {"schema", s->schema},        {"records", r->record_cnt},       {"bytes", r->byte_sz},
      {"height", r->tip.height},    {"held_from", r->held.from},      {"base", r->held.base},
      {"blocks", r->block_cnt},     {"side_blocks", r->side_cnt},     {"models", r->model_cnt},
      {"accounts", r->account_cnt}, {"undone_blocks", r->undone_cnt}, {"segments", r->segment_cnt},
      {"find_cnt", r->find_cnt}};
  json_object_set_new(o, "store", json_string(s->path));
  json_object_set_new(o, "chain", s->has_chain ? json_string(s->chain.p.name) : json_null());
  for (size_t i = 0; i < QR_ARRAY_CNT(nums); i++)
    json_object_set_new(o, nums[i].name, json_integer((json_int_t)nums[i].v));
  json_object_set_new(o, "tip", json_string(qr_hex(hex, &r->tip.hash, 32)));
  json_object_set_new(o, "state_root", json_string(qr_hex(hex, &r->tip.state_root, 32)));
  json_object_set(o, "finds", a->finds);
}
