#include "app/snapshot_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "crypto/hash.h"

/* A record may lie over several chunks; what is not used yet is never more than a record. */
#define READ_BUF_SZ (QR_SNAPSHOT_RECORD_HEAD_SZ + QR_SNAPSHOT_RECORD_MAX_SZ + QR_SNAPSHOT_CHUNK_SZ)

static int fail(qr_snapshot_file_t *s, char *why, size_t why_sz, const char *what) {
  snprintf(why, why_sz, "cannot %s %s: %s", what, s->path, strerror(errno));
  return QR_ERR_IO;
}

static int begin(qr_snapshot_file_t *s, const char *path, const char *mode, size_t buf_sz,
                 char *why, size_t why_sz) {
  *s = (qr_snapshot_file_t){0};
  snprintf(s->path, sizeof s->path, "%s", path);
  s->f = fopen(path, mode);
  if (!s->f) return fail(s, why, why_sz, *mode == 'w' ? "make" : "open");
  s->buf = malloc(buf_sz);
  if (s->buf) return QR_OK;
  snprintf(why, why_sz, "out of memory");
  return QR_ERR_NOMEM;
}

void qr_snapshot_file_close(qr_snapshot_file_t *s) {
  if (s->f) fclose(s->f);
  free(s->leaves);
  free(s->buf);
  s->f = NULL;
  s->leaves = NULL;
  s->buf = NULL;
}

/* ---- writing ---- */

int qr_snapshot_file_create(qr_snapshot_file_t *s, const char *path, char *why, size_t why_sz) {
  static const uint8_t none[QR_SNAPSHOT_HEAD_SZ];
  int err = begin(s, path, "wxe", QR_SNAPSHOT_CHUNK_SZ, why, why_sz);
  if (!err && fwrite(none, sizeof none, 1, s->f) != 1) err = fail(s, why, why_sz, "write");
  if (err) qr_snapshot_file_close(s);
  return err;
}

static int end_chunk(qr_snapshot_file_t *s) {
  if (!s->sz) return QR_OK;
  if (s->leaf_cnt == s->leaf_cap) {
    uint64_t cap = s->leaf_cap ? 2 * s->leaf_cap : 64;
    qr_hash_t *grown = realloc(s->leaves, cap * sizeof *grown);
    if (!grown) return QR_ERR_NOMEM;
    s->leaves = grown;
    s->leaf_cap = cap;
  }
  s->leaves[s->leaf_cnt] = qr_merkle_leaf((uint32_t)s->leaf_cnt, s->buf, s->sz);
  s->leaf_cnt++;
  s->head.payload_sz += s->sz;
  bool ok = fwrite(s->buf, s->sz, 1, s->f) == 1;
  s->sz = 0;
  return ok ? QR_OK : QR_ERR_IO;
}

int qr_snapshot_file_write(qr_snapshot_file_t *s, const void *p, size_t sz) {
  const uint8_t *at = p;
  while (sz) {
    size_t n = QR_SNAPSHOT_CHUNK_SZ - s->sz < sz ? QR_SNAPSHOT_CHUNK_SZ - s->sz : sz;
    memcpy(s->buf + s->sz, at, n);
    s->sz += n;
    at += n;
    sz -= n;
    int err = s->sz == QR_SNAPSHOT_CHUNK_SZ ? end_chunk(s) : QR_OK;
    if (err) return err;
  }
  return QR_OK;
}

static bool root_of(qr_snapshot_file_t *s, qr_hash_t *root) {
  qr_hash_t *scratch = malloc(s->leaf_cnt * sizeof *scratch);
  if (!scratch) return false;
  *root = qr_merkle_root_of_leaves(s->leaves, (uint32_t)s->leaf_cnt, s->head.payload_sz,
                                   QR_SNAPSHOT_CHUNK_SZ, scratch);
  free(scratch);
  return true;
}

int qr_snapshot_file_end(qr_snapshot_file_t *s, int err, char *why, size_t why_sz) {
  uint8_t head[QR_SNAPSHOT_HEAD_SZ];
  if (!err) {
    err = end_chunk(s);
    if (!err && !root_of(s, &s->head.root)) err = QR_ERR_NOMEM;
    qr_snapshot_head_encode(&s->head, head);
    bool ok = !err && fwrite(s->leaves, sizeof s->leaves[0], s->leaf_cnt, s->f) == s->leaf_cnt &&
              !fseek(s->f, 0, SEEK_SET) && fwrite(head, sizeof head, 1, s->f) == 1 &&
              !fflush(s->f) && !fsync(fileno(s->f));
    if (!err && !ok) err = QR_ERR_IO;
    if (err) fail(s, why, why_sz, "write");
  }
  s->file_sz = sizeof head + s->head.payload_sz + s->leaf_cnt * QR_HASH_SZ;
  qr_snapshot_file_close(s);
  if (err) unlink(s->path);
  return err;
}

/* ---- reading ---- */

static int check_size(qr_snapshot_file_t *s, char *why, size_t why_sz) {
  struct stat st;
  if (fstat(fileno(s->f), &st)) return fail(s, why, why_sz, "look at");
  s->leaf_cnt = qr_snapshot_chunk_cnt(s->head.payload_sz);
  s->file_sz = QR_SNAPSHOT_HEAD_SZ + s->head.payload_sz + s->leaf_cnt * QR_HASH_SZ;
  if ((uint64_t)st.st_size == s->file_sz) return QR_OK;
  snprintf(why, why_sz, "%s has %" PRIu64 " bytes instead of %" PRIu64 ": it is not all there",
           s->path, (uint64_t)st.st_size, s->file_sz);
  return QR_ERR_CORRUPT;
}

static int read_leaves(qr_snapshot_file_t *s, char *why, size_t why_sz) {
  qr_hash_t root;
  s->leaves = malloc(s->leaf_cnt * sizeof *s->leaves);
  if (!s->leaves) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  off_t at = (off_t)(QR_SNAPSHOT_HEAD_SZ + s->head.payload_sz);
  if (fseeko(s->f, at, SEEK_SET) ||
      fread(s->leaves, sizeof s->leaves[0], s->leaf_cnt, s->f) != s->leaf_cnt ||
      fseeko(s->f, QR_SNAPSHOT_HEAD_SZ, SEEK_SET))
    return fail(s, why, why_sz, "read");
  if (!root_of(s, &root)) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  if (qr_hash_eq(&root, &s->head.root)) return QR_OK;
  snprintf(why, why_sz, "%s is damaged: its chunks' hashes do not have its root", s->path);
  return QR_ERR_CORRUPT;
}

int qr_snapshot_file_open(qr_snapshot_file_t *s, const char *path, char *why, size_t why_sz) {
  uint8_t head[QR_SNAPSHOT_HEAD_SZ];
  int err = begin(s, path, "re", READ_BUF_SZ, why, why_sz);
  if (!err) {
    err = fread(head, sizeof head, 1, s->f) == 1 ? qr_snapshot_head_decode(head, &s->head)
                                                 : QR_ERR_FORMAT;
    if (err)
      snprintf(why, why_sz,
               err == QR_ERR_UNSUPPORTED
                   ? "%s was written by another version of quarry; export it anew"
                   : "%s is no snapshot",
               path);
  }
  if (!err) err = check_size(s, why, why_sz);
  if (!err) err = read_leaves(s, why, why_sz);
  if (err) qr_snapshot_file_close(s);
  return err;
}

int qr_snapshot_file_read(qr_snapshot_file_t *s, char *why, size_t why_sz) {
  uint64_t at = s->chunk_idx * QR_SNAPSHOT_CHUNK_SZ;
  if (s->chunk_idx == s->leaf_cnt) return QR_ERR_NOTFOUND;
  uint64_t left = s->head.payload_sz - at;
  size_t n = left < QR_SNAPSHOT_CHUNK_SZ ? (size_t)left : QR_SNAPSHOT_CHUNK_SZ;
  if (s->sz + n > READ_BUF_SZ) {
    snprintf(why, why_sz, "%s holds a record that is too long", s->path);
    return QR_ERR_FORMAT;
  }
  if (fread(s->buf + s->sz, n, 1, s->f) != 1) return fail(s, why, why_sz, "read");
  qr_hash_t leaf = qr_merkle_leaf((uint32_t)s->chunk_idx, s->buf + s->sz, n);
  if (!qr_hash_eq(&leaf, &s->leaves[s->chunk_idx])) {
    snprintf(why, why_sz,
             "%s is damaged: chunk %" PRIu64 " of %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64
             ") does not have its hash",
             s->path, s->chunk_idx, s->leaf_cnt, QR_SNAPSHOT_HEAD_SZ + at,
             QR_SNAPSHOT_HEAD_SZ + at + n - 1);
    return QR_ERR_CORRUPT;
  }
  s->sz += n;
  s->chunk_idx++;
  return QR_OK;
}

int qr_snapshot_file_about(qr_snapshot_file_t *s, qr_snapshot_about_t *out, char *why,
                           size_t why_sz) {
  qr_snapshot_reader_t r = {0};
  qr_snapshot_record_t about;
  int err = qr_snapshot_file_read(s, why, why_sz);
  if (err) return err;
  if (qr_snapshot_next(&r, s->buf, s->sz, &about) > 0) {
    *out = r.about;
    out->params = NULL;
    return QR_OK;
  }
  snprintf(why, why_sz, "%s is not of the form that a snapshot has", s->path);
  return QR_ERR_FORMAT;
}
