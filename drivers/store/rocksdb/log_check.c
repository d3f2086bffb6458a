/* Damage inside the log. RocksDB's recovery stops at the first record that is not whole, because a
   power cut may leave such a one behind: the commit that was under way. It cannot be told from that
   one record whether it was that; from what follows it can. A commit is synced before the next one
   is written, so a commit that begins behind a damaged one proves that the damaged one was durable
   once, and that recovery would lose commits that were reported.

   The log is made of blocks; a record has a head of 7 bytes (CRC-32C of type and bytes, masked; u16
   length; u8 type) and lies in one block; a commit is one record, or a first, middle ones and a
   last, and begins with the number of its first operation, u64, and how many there are, u32.
   Sources: RocksDB, db/log_format.h and db/write_batch.cc. */
#include "log_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/types.h"
#include "crc32c.h"

#define HEAD_SZ 7u
#define NUMBERS_SZ 12u

enum { TYPE_NONE, TYPE_FULL, TYPE_FIRST, TYPE_MIDDLE, TYPE_LAST };

typedef struct {
  uint64_t damaged_at; /* where the first record lies that is not whole; UINT64_MAX: none so far */
  bool torn;           /* and it is not just zeros, which are behind any log's end */
  bool followed;       /* by the beginning of another commit */
  uint64_t first, next, next_then; /* operation: the first one, the one after all that is whole, and
                                      after the commit that has begun; 0: not known */
} findings_t;

/* Size of the record at head by what its head says, 0 if that cannot be. */
static size_t size_of(const uint8_t *head, size_t left_sz) {
  size_t sz = HEAD_SZ + qr_ld16(head + 4);
  return head[6] >= TYPE_FULL && head[6] <= TYPE_LAST && sz <= left_sz ? sz : 0;
}

static bool is_whole(const uint8_t *head, size_t sz) {
  uint32_t crc = rocks_crc32c(0, head + 6, sz - 6);
  return qr_ld32(head) == (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* A whole record, before any damage. */
static void count(const uint8_t *record, size_t sz, findings_t *f) {
  uint8_t type = record[6];
  if (type == TYPE_FULL || type == TYPE_FIRST) {
    bool told = sz >= HEAD_SZ + NUMBERS_SZ;
    uint64_t number = told ? qr_ld64(record + HEAD_SZ) : 0;
    if (!f->first) f->first = number;
    f->next_then = told ? number + qr_ld32(record + HEAD_SZ + 8) : 0;
  }
  if (type == TYPE_FULL || type == TYPE_LAST) f->next = f->next_then;
}

/* Behind damage the next record is where the damaged one's head says, or in the next block. It is
   looked for nowhere else: bytes of a block that only look like a record are easily made. */
static void check_block(const uint8_t *block, size_t sz, uint64_t offset, findings_t *f) {
  static const uint8_t zeros[HEAD_SZ];
  for (size_t at = 0, record_sz; at + HEAD_SZ <= sz; at += record_sz) {
    record_sz = size_of(block + at, sz - at);
    bool whole = record_sz && is_whole(block + at, record_sz);
    bool begins = block[at + 6] == TYPE_FULL || block[at + 6] == TYPE_FIRST;
    if (!whole && f->damaged_at == UINT64_MAX) {
      f->damaged_at = offset + at;
      f->torn = memcmp(block + at, zeros, HEAD_SZ) != 0;
    }
    if (whole && begins && f->damaged_at != UINT64_MAX) f->followed = true;
    if (f->damaged_at == UINT64_MAX) count(block + at, record_sz, f);
    if (!record_sz) return;
  }
}

bool rocks_log_block_whole(const void *block) {
  const uint8_t *p = block;
  if (!rocks_crc32c_usable()) return false;
  size_t at = 0;
  while (at + HEAD_SZ <= ROCKS_LOG_BLOCK_SZ) {
    size_t sz = size_of(p + at, ROCKS_LOG_BLOCK_SZ - at);
    if (!sz || !is_whole(p + at, sz)) return false;
    at += sz;
  }
  return true; /* the rest is too short for a head */
}

/* ---- a file from its beginning ---- */

typedef struct {
  rocks_stream_t *stream; /* NULL: by system calls */
  int fd;
  uint8_t *buf;
} source_t;

static int source_open(source_t *s, rocks_io_t *io, const char *path) {
  *s = (source_t){.fd = -1};
  if (io) return rocks_stream_open(io, path, &s->stream);
  s->buf = malloc(ROCKS_PIECE_SZ);
  if (!s->buf) return -ENOMEM;
  s->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (s->fd < 0) return -errno;
  (void)!posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return 0;
}

static void source_close(source_t *s) {
  if (s->stream) rocks_stream_close(s->stream);
  if (s->fd >= 0) close(s->fd);
  free(s->buf);
}

/* As rocks_stream_next. */
static int64_t source_next(source_t *s, const void **piece) {
  if (s->stream) return rocks_stream_next(s->stream, piece);
  size_t got = 0;
  ssize_t n;
  *piece = s->buf;
  do {
    n = read(s->fd, s->buf + got, ROCKS_PIECE_SZ - got);
    if (n > 0) got += (size_t)n;
  } while (n > 0 && got < ROCKS_PIECE_SZ);
  return n < 0 ? -errno : (int64_t)got;
}

static int check_once(rocks_io_t *io, const char *path, findings_t *f) {
  source_t s;
  uint64_t offset = 0;
  const void *piece;
  *f = (findings_t){.damaged_at = UINT64_MAX};
  int64_t n = source_open(&s, io, path);
  if (!n) n = ROCKS_PIECE_SZ;
  while (n == ROCKS_PIECE_SZ && !f->followed) {
    n = source_next(&s, &piece);
    for (int64_t at = 0; at < n && !f->followed; at += ROCKS_LOG_BLOCK_SZ) {
      int64_t left = n - at;
      size_t sz = left < ROCKS_LOG_BLOCK_SZ ? (size_t)left : ROCKS_LOG_BLOCK_SZ;
      check_block((const uint8_t *)piece + at, sz, offset + (uint64_t)at, f);
    }
    offset += ROCKS_PIECE_SZ;
  }
  source_close(&s);
  return n < 0 ? (int)n : 0;
}

/* What a disk gives wrong once it may give right the next time. */
static int check_file(rocks_io_t *io, const char *path, findings_t *f) {
  int rc = check_once(io, path, f);
  return !rc && f->followed ? check_once(io, path, f) : rc;
}

/* ---- all logs of a store ---- */

static int is_log(const struct dirent *e) {
  size_t n = strlen(e->d_name), digits = strspn(e->d_name, "0123456789");
  return digits && digits + 4 == n && !strcmp(e->d_name + digits, ".log");
}

static int by_number(const struct dirent **a, const struct dirent **b) {
  uint64_t x = strtoull((*a)->d_name, NULL, 10), y = strtoull((*b)->d_name, NULL, 10);
  return (x > y) - (x < y);
}

static int refuse(const char *path, uint64_t at, char *why, size_t why_sz) {
  snprintf(why, why_sz,
           "the store's log %s is damaged at byte %llu, and commits that were durable lie behind: "
           "restore a backup (quarry restore), or start once with store option damaged_log=cut; "
           "then the store goes back to before the damage, and the node syncs the rest again",
           path, (unsigned long long)at);
  return QR_ERR_CORRUPT;
}

/* last: of the log before, whose path it has; becomes this one's. */
static int check_next(rocks_io_t *io, const char *path, findings_t *last, char *last_path,
                      size_t path_sz, char *why, size_t why_sz) {
  findings_t f;
  int rc = check_file(io, path, &f);
  if (rc) {
    snprintf(why, why_sz, "cannot read the store's log %s: %s; check the disk", path,
             strerror(-rc));
    return rc == -ENOMEM ? QR_ERR_NOMEM : QR_ERR_IO;
  }
  if (last->damaged_at != UINT64_MAX && last->next && f.first > last->next)
    return refuse(last_path, last->damaged_at, why, why_sz);
  if (f.followed) return refuse(path, f.damaged_at, why, why_sz);
  if (!f.first && f.damaged_at == UINT64_MAX) return QR_OK; /* nothing in it */
  *last = f;
  snprintf(last_path, path_sz, "%s", path);
  return QR_OK;
}

int rocks_log_check(rocks_io_t *io, const char *dir, char *why, size_t why_sz) {
  struct dirent **names = NULL;
  char path[4096], last_path[4096] = "";
  findings_t last = {.damaged_at = UINT64_MAX};
  int err = QR_OK;
  /* Nothing to check, or not with what this processor has. */
  int cnt = rocks_crc32c_usable() ? scandir(dir, &names, is_log, by_number) : -1;
  for (int i = 0; i < cnt; i++) {
    snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
    if (!err) err = check_next(io, path, &last, last_path, sizeof last_path, why, why_sz);
    free(names[i]);
  }
  free(names);
  if (!err && last.torn)
    qr_log(QR_LOG_WARN, "store",
           "event=log-tail-dropped log=%s at=%llu: the last commit is not whole; it was under way "
           "when the power went, or was damaged since: if it was a block, peers have it",
           last_path, (unsigned long long)last.damaged_at);
  return err;
}
