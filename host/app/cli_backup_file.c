#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/cli_backup.h"
#include "app/cli_work.h"
#include "base/err.h"
#include "base/log.h"

#define PATH_SZ 4096u

/* ---- the list ---- */

static json_t *hash_json(const qr_hash_t *h) {
  char hex[65];
  return json_string(qr_hex(hex, h, sizeof *h));
}

int qr_cli_backup_write(const char *dir, const qr_cli_backup_t *b, char *why, size_t why_sz) {
  json_t *o = json_object(), *files = json_array();
  json_object_set_new(o, "quarry_backup", json_integer(QR_BACKUP_VERSION));
  json_object_set_new(o, "chain", json_string(b->chain));
  json_object_set_new(o, "genesis", hash_json(&b->genesis));
  json_object_set_new(o, "height", json_integer((json_int_t)b->height));
  json_object_set_new(o, "tip", hash_json(&b->tip));
  json_object_set_new(o, "state_root", hash_json(&b->state_root));
  json_object_set_new(o, "held_from", json_integer((json_int_t)b->held_from));
  json_object_set_new(o, "made_ms", json_integer((json_int_t)b->made_ms));
  for (uint32_t i = 0; i < b->files.cnt; i++) {
    const qr_cli_file_t *f = &b->files.files[i];
    json_t *e = json_object();
    json_object_set_new(e, "name", json_string(f->name));
    json_object_set_new(e, "size", json_integer((json_int_t)f->sz));
    json_object_set_new(e, "hash", hash_json(&f->hash));
    json_array_append_new(files, e);
  }
  json_object_set_new(o, "files", files);
  char path[PATH_SZ];
  snprintf(path, sizeof path, "%s/" QR_BACKUP_FILE, dir);
  FILE *f = fopen(path, "wxe");
  bool ok = f && !json_dumpf(o, f, JSON_INDENT(1)) && fputc('\n', f) != EOF && !fflush(f) &&
            !fsync(fileno(f));
  if (!ok) snprintf(why, why_sz, "cannot write %s: %s", path, strerror(errno));
  if (f) fclose(f);
  json_decref(o);
  return ok ? QR_OK : QR_ERR_IO;
}

static bool take_num(const json_t *o, const char *key, uint64_t *out) {
  const json_t *v = json_object_get(o, key);
  *out = (uint64_t)json_integer_value(v);
  return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool take_hash(const json_t *o, const char *key, qr_hash_t *out) {
  const char *s = json_string_value(json_object_get(o, key));
  return s && qr_unhex(out->b, sizeof out->b, s);
}

/* A name that stays where it is put. */
static bool take_file(const json_t *o, qr_cli_file_t *f) {
  const char *name = json_string_value(json_object_get(o, "name"));
  if (!name || !*name || name[0] == '.' || strchr(name, '/') || strlen(name) > NAME_MAX)
    return false;
  snprintf(f->name, sizeof f->name, "%s", name);
  return take_num(o, "size", &f->sz) && take_hash(o, "hash", &f->hash);
}

static bool take_files(const json_t *list, qr_cli_files_t *out) {
  size_t cnt = json_array_size(list);
  if (!cnt || cnt > UINT32_MAX) return false;
  out->files = calloc(cnt, sizeof *out->files);
  if (!out->files) return false;
  for (size_t i = 0; i < cnt; i++) {
    if (!take_file(json_array_get(list, i), &out->files[i])) return false;
    if (i && strcmp(out->files[i - 1].name, out->files[i].name) >= 0) return false;
    out->byte_sz += out->files[i].sz;
    out->cnt++;
  }
  return true;
}

static bool take_all(const json_t *o, qr_cli_backup_t *b) {
  const char *chain = json_string_value(json_object_get(o, "chain"));
  if (!chain || strlen(chain) >= sizeof b->chain) return false;
  snprintf(b->chain, sizeof b->chain, "%s", chain);
  return take_hash(o, "genesis", &b->genesis) && take_hash(o, "tip", &b->tip) &&
         take_hash(o, "state_root", &b->state_root) && take_num(o, "height", &b->height) &&
         take_num(o, "held_from", &b->held_from) && take_num(o, "made_ms", &b->made_ms) &&
         take_files(json_object_get(o, "files"), &b->files);
}

static int parse(const char *text, size_t sz, qr_cli_backup_t *out, char *why, size_t why_sz) {
  json_error_t error;
  *out = (qr_cli_backup_t){0};
  json_t *o = json_loadb(text, sz, JSON_REJECT_DUPLICATES, &error);
  int err = QR_OK;
  if (!o) {
    snprintf(why, why_sz, "it is not JSON: %s", error.text);
    err = QR_ERR_FORMAT;
  } else if (json_integer_value(json_object_get(o, "quarry_backup")) > QR_BACKUP_VERSION) {
    snprintf(why, why_sz, "a newer version of quarry wrote it; use that one");
    err = QR_ERR_UNSUPPORTED;
  } else if (json_integer_value(json_object_get(o, "quarry_backup")) != QR_BACKUP_VERSION ||
             !take_all(o, out)) {
    snprintf(why, why_sz, "it is not the list of a backup");
    err = QR_ERR_FORMAT;
  }
  if (err) qr_cli_files_free(&out->files);
  json_decref(o);
  return err;
}

int qr_cli_backup_read(const char *dir, qr_cli_backup_t *out, char *why, size_t why_sz) {
  char path[PATH_SZ], reason[300];
  snprintf(path, sizeof path, "%s/" QR_BACKUP_FILE, dir);
  char *text = malloc(QR_BACKUP_FILE_MAX_SZ);
  FILE *f = fopen(path, "re");
  size_t sz = f && text ? fread(text, 1, QR_BACKUP_FILE_MAX_SZ, f) : 0;
  int err = QR_OK;
  if (!f || ferror(f)) {
    err = errno == ENOENT || errno == ENOTDIR ? QR_ERR_NOTFOUND : QR_ERR_IO;
    snprintf(why, why_sz, "%s is no backup: cannot read %s: %s", dir, path, strerror(errno));
  } else {
    err = parse(text, sz, out, reason, sizeof reason);
    if (err) snprintf(why, why_sz, "%s: %s", path, reason);
  }
  if (f) fclose(f);
  free(text);
  return err;
}

/* ---- the files ---- */

static const qr_cli_file_t *named(const qr_cli_files_t *l, const char *name) {
  for (uint32_t i = 0; i < l->cnt; i++) {
    if (!strcmp(l->files[i].name, name)) return &l->files[i];
  }
  return NULL;
}

static int compare_lists(const char *store, const qr_cli_files_t *want, const qr_cli_files_t *have,
                         char *why, size_t why_sz) {
  for (uint32_t i = 0; i < have->cnt; i++) {
    if (named(want, have->files[i].name)) continue;
    snprintf(why, why_sz, "%s/%s does not belong to the backup: something was put there later",
             store, have->files[i].name);
    return QR_ERR_CORRUPT;
  }
  for (uint32_t i = 0; i < want->cnt; i++) {
    const qr_cli_file_t *w = &want->files[i], *h = named(have, w->name);
    if (h && h->sz == w->sz) continue;
    if (h)
      snprintf(why, why_sz, "%s/%s has %" PRIu64 " bytes instead of %" PRIu64, store, w->name,
               h->sz, w->sz);
    else
      snprintf(why, why_sz, "%s/%s is missing", store, w->name);
    return QR_ERR_CORRUPT;
  }
  return QR_OK;
}

int qr_cli_backup_files(const char *dir, const qr_cli_backup_t *b, const char *to_dir, char *why,
                        size_t why_sz) {
  char store[PATH_SZ];
  qr_cli_files_t have;
  snprintf(store, sizeof store, "%s/store", dir);
  int err = qr_cli_files_list(store, NULL, &have, why, why_sz);
  if (err) return err;
  err = compare_lists(store, &b->files, &have, why, why_sz);
  qr_cli_files_free(&have);
  qr_cli_pass_t pass = {.what = to_dir ? "copying" : "files", .total = b->files.byte_sz};
  for (uint32_t i = 0; i < b->files.cnt && !err; i++) {
    const qr_cli_file_t *want = &b->files.files[i];
    qr_cli_file_t got = *want;
    err = qr_cli_file_read(store, &got, to_dir, &pass, why, why_sz);
    if (err || (got.sz == want->sz && qr_hash_eq(&got.hash, &want->hash))) continue;
    snprintf(why, why_sz, "%s/%s is damaged: its bytes are not those that were backed up", store,
             want->name);
    err = QR_ERR_CORRUPT;
  }
  qr_cli_work_clear();
  return err;
}

int qr_cli_backup_audit(const qr_cli_t *cli, const char *dir, const qr_cli_backup_t *b, char *why,
                        size_t why_sz) {
  qr_cli_store_t *s = NULL;
  qr_cli_audit_t a = {0};
  int err = qr_cli_store_open(dir, NULL, &s, why, why_sz);
  if (!err) {
    err = qr_cli_store_audit(s, cli->json, &a);
    if (err)
      snprintf(why, why_sz, "the check of %s could not be finished: %s", dir, qr_err_str(err));
  }
  if (!err && a.result.find_cnt) {
    snprintf(why, why_sz, "%" PRIu64 " things are wrong in the store of %s", a.result.find_cnt,
             dir);
    err = QR_ERR_CORRUPT;
  }
  bool checked = s && s->has_chain && s->schema == QR_STORE_SCHEMA_VERSION;
  if (!err && checked &&
      (!qr_hash_eq(&a.result.tip.hash, &b->tip) || a.result.tip.height != b->height)) {
    snprintf(why, why_sz, "the store of %s is at another tip than its " QR_BACKUP_FILE " says",
             dir);
    err = QR_ERR_CORRUPT;
  }
  json_decref(a.finds);
  qr_cli_store_close(s);
  return err;
}

int qr_cli_backup_end(const qr_cli_t *cli, int err, const char *why) {
  qr_cli_work_clear();
  if (err == QR_ERR_CANCELLED) {
    fprintf(stderr, "quarry: interrupted%s%s\n", *why ? "; " : "", why);
    return QR_CLI_INTERRUPTED;
  }
  qr_cli_fail(cli, err, why);
  return err == QR_ERR_CORRUPT ? QR_CLI_DAMAGED : QR_CLI_FAILED;
}
