/* Copies of a store that goes on being written: RocksDB's checkpoints, which are hard links where
   the file system allows it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "rocks.h"

/* All of it in files of tables: a copy then has no log that must be replayed. */
#define LOG_SZ_FOR_FLUSH 0u

/* Whether out was made, files and names, to stay. */
static int sync_dir(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return QR_ERR_IO;
  int err = fsync(fd) ? QR_ERR_IO : QR_OK;
  close(fd);
  return err;
}

int rocks_checkpoint(qr_store_t *s, const char *dir, char *why, size_t why_sz) {
  struct stat st;
  char parent[4096], *message = NULL;
  if (!lstat(dir, &st)) {
    snprintf(why, why_sz, "%s exists; name a directory that does not", dir);
    return QR_ERR_ARG;
  }
  rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(s->db, &message);
  if (!message) rocksdb_checkpoint_create(c, dir, LOG_SZ_FOR_FLUSH, &message);
  rocksdb_checkpoint_object_destroy(c);
  if (message) {
    snprintf(why, why_sz, "cannot copy the store to %s: %s", dir, message);
    return rocks_error("checkpoint", message);
  }
  snprintf(parent, sizeof parent, "%s/..", dir);
  if (sync_dir(dir) || sync_dir(parent)) {
    snprintf(why, why_sz, "cannot make %s durable: %s", dir, strerror(errno));
    return QR_ERR_IO;
  }
  return QR_OK;
}
