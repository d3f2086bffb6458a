#include "app/snapshot_take.h"

#include <inttypes.h>
#include <stdlib.h>

#include "app/genesis.h"
#include "base/err.h"
#include "port/clock.h"

typedef struct {
  qr_snapshot_take_t *t;
  qr_snapshot_reader_t reader;
  qr_store_t *store;
  qr_snapshot_import_t import;
  bool begun;
} intake_t;

static bool is_content(int err) {
  return err == QR_ERR_CORRUPT || err == QR_ERR_FORMAT || err == QR_ERR_ARG;
}

/* The first record: which chain it is, and the store it goes into. */
static int begin(intake_t *x) {
  qr_snapshot_take_t *t = x->t;
  char reason[512];
  t->about = x->reader.about;
  t->params_text = malloc(t->about.params_sz + 1u);
  if (!t->params_text) return QR_ERR_NOMEM;
  memcpy(t->params_text, t->about.params, t->about.params_sz);
  t->params_text[t->about.params_sz] = 0;
  t->about.params = t->params_text;
  int err = qr_genesis_parse(t->params_text, t->about.params_sz, &t->params, reason, sizeof reason);
  if (!err) err = qr_params_init(&t->params, &t->chain, reason, sizeof reason);
  if (err) {
    snprintf(t->why, t->why_sz, "the snapshot's chain makes no sense: %s", reason);
    t->refuted = true;
    return QR_ERR_CORRUPT;
  }
  if (t->own) {
    qr_hash_t genesis = qr_genesis_hash(t->own);
    if (!qr_hash_eq(&genesis, &t->about.genesis)) {
      snprintf(t->why, t->why_sz, "the snapshot is of another chain (%s) than %s", t->chain.p.name,
               t->own_name);
      t->refuted = true;
      return QR_ERR_ARG;
    }
  }
  x->reader.segment_rows_sz = qr_snapshot_window_sz(&t->chain);
  err = t->ops->open(t->dir, "", &x->store, t->why, t->why_sz);
  if (!err) {
    qr_snapshot_import_cfg_t cfg = {.ops = t->ops,
                                    .store = x->store,
                                    .chain = &t->chain,
                                    .accel = t->accel,
                                    .pin = t->pin,
                                    .wall_ms = t->pin ? UINT64_MAX : qr_clock_wall_ms()};
    err = qr_snapshot_import_init(&x->import, &cfg, &t->about, t->why, t->why_sz);
    x->begun = true;
    t->refuted = is_content(err);
  }
  return err;
}

/* Takes all whole records out of the buffer. */
static int take_records(intake_t *x) {
  qr_snapshot_file_t *f = x->t->file;
  size_t at = 0;
  int err = QR_OK;
  while (!err && x->reader.last != QR_SNAPSHOT_END) {
    qr_snapshot_record_t r;
    int64_t n = qr_snapshot_next(&x->reader, f->buf + at, f->sz - at, &r);
    if (n < 0) {
      snprintf(x->t->why, x->t->why_sz, "%s is not of the form that a snapshot has", f->path);
      x->t->refuted = true;
      return (int)n;
    }
    if (!n) break;
    at += (size_t)n;
    if (r.type == QR_SNAPSHOT_ABOUT) {
      err = begin(x);
    } else {
      err = qr_snapshot_import_take(&x->import, &r, x->t->why, x->t->why_sz);
      x->t->refuted = is_content(err);
    }
  }
  memmove(f->buf, f->buf + at, f->sz - at);
  f->sz -= at;
  return err;
}

static int read_all(intake_t *x) {
  qr_snapshot_take_t *t = x->t;
  int err = QR_OK;
  while (!err) {
    err = qr_snapshot_file_read(t->file, t->why, t->why_sz);
    if (err == QR_ERR_NOTFOUND) break;
    if (!err) err = take_records(x);
    uint64_t done = t->file->chunk_idx * QR_SNAPSHOT_CHUNK_SZ;
    if (!err && !t->progress(t->ctx, done, t->file->head.payload_sz)) err = QR_ERR_CANCELLED;
  }
  if (err && err != QR_ERR_NOTFOUND) return err;
  if (x->reader.last == QR_SNAPSHOT_END && !t->file->sz) return QR_OK;
  snprintf(t->why, t->why_sz, "%s does not end where it should", t->file->path);
  t->refuted = true;
  return QR_ERR_FORMAT;
}

int qr_snapshot_take(qr_snapshot_take_t *t) {
  intake_t x = {.t = t};
  int err = read_all(&x);
  if (x.begun) qr_snapshot_import_fini(&x.import);
  if (x.store) t->ops->close(x.store);
  return err;
}

void qr_snapshot_take_fini(qr_snapshot_take_t *t) {
  free(t->params_text);
  t->params_text = NULL;
}
