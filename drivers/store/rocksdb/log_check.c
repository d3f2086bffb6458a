/* Damage inside the log. RocksDB's recovery stops at the first record that is not whole, because a
   power cut may leave such a one behind: the commit that was under way. It cannot be told from that
   one record whether it was that; from what follows it can. A commit is synced before the next one
   is written, so a commit that begins behind a damaged one proves that the damaged one was durable
   once, and that recovery would lose commits that were reported.

   The log is made of blocks; a record has a head of 7 bytes (CRC-32C of type and bytes, masked; u16
   length; u8 type) and lies in one block; a commit is one record, or a first, middle ones and a
   last. Source: RocksDB, db/log_format.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "crc32c.h"
#include "rocks.h"

#define LOG_BLOCK_SZ 32768u
#define HEAD_SZ 7u
#define READ_SZ (32u * LOG_BLOCK_SZ)

enum { TYPE_NONE, TYPE_FULL, TYPE_FIRST, TYPE_MIDDLE, TYPE_LAST };

typedef struct {
  uint64_t damaged_at; /* where the first record lies that is not whole; UINT64_MAX: none so far */
  bool followed;       /* by the beginning of another commit */
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

/* Behind damage the next record is where the damaged one's head says, or in the next block. It is
   looked for nowhere else: bytes of a block that only look like a record are easily made. */
static void check_block(const uint8_t *block, size_t sz, uint64_t offset, findings_t *f) {
  for (size_t at = 0, record_sz; at + HEAD_SZ <= sz; at += record_sz) {
    record_sz = size_of(block + at, sz - at);
    bool whole = record_sz && is_whole(block + at, record_sz);
    bool begins = block[at + 6] == TYPE_FULL || block[at + 6] == TYPE_FIRST;
    if (!whole && f->damaged_at == UINT64_MAX) f->damaged_at = offset + at;
    if (whole && begins && f->damaged_at != UINT64_MAX) f->followed = true;
    if (!record_sz) return;
  }
}

static int check_file(const char *path, findings_t *f) {
  uint8_t *buf = malloc(READ_SZ);
  int fd = buf ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  int err = buf ? fd < 0 ? QR_ERR_IO : QR_OK : QR_ERR_NOMEM;
  *f = (findings_t){.damaged_at = UINT64_MAX};
  for (uint64_t offset = 0; !err && !f->followed;) {
    ssize_t n = pread(fd, buf, READ_SZ, (off_t)offset);
    if (n < 0) err = QR_ERR_IO;
    if (n <= 0) break;
    for (size_t at = 0; at < (size_t)n && !f->followed; at += LOG_BLOCK_SZ) {
      size_t sz = (size_t)n - at < LOG_BLOCK_SZ ? (size_t)n - at : LOG_BLOCK_SZ;
      check_block(buf + at, sz, offset + at, f);
    }
    offset += (uint64_t)n;
    if (n % LOG_BLOCK_SZ) break; /* the end */
  }
  if (fd >= 0) close(fd);
  free(buf);
  return err;
}

static bool is_log(const char *name) {
  size_t n = strlen(name), digits = strspn(name, "0123456789");
  return digits && digits + 4 == n && !strcmp(name + digits, ".log");
}

int rocks_log_check(const char *dir, char *why, size_t why_sz) {
  DIR *d = rocks_crc32c_usable() ? opendir(dir) : NULL;
  int err = QR_OK;
  if (!d) return QR_OK; /* nothing to check, or not with what this processor has */
  for (struct dirent *e; !err && (e = readdir(d));) {
    char path[4096];
    findings_t f;
    if (!is_log(e->d_name)) continue;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    err = check_file(path, &f);
    if (err) {
      snprintf(why, why_sz, "cannot read the store's log %s: %s; check the disk", path,
               err == QR_ERR_IO ? strerror(errno) : qr_err_str(err));
    } else if (f.followed) {
      snprintf(why, why_sz,
               "the store's log %s is damaged at byte %llu, and commits that were durable lie "
               "behind: restore a backup (quarry restore), or start once with store option "
               "damaged_log=cut; then the store goes back to before the damage, and the node syncs "
               "the rest again",
               path, (unsigned long long)f.damaged_at);
      err = QR_ERR_CORRUPT;
    }
  }
  closedir(d);
  return err;
}
