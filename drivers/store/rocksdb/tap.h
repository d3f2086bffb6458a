/* Tap: an observer between the store's own file system (io=uring) and the disk, for tests. It sees
   every operation that changes what a disk holds, and every read, when it is submitted and when it
   has ended, and may make it fail. Without one each operation costs one branch.

   What a test may conclude about durability:
    - A write is in flight between its before and its after: a power cut then leaves any part of it.
    - After its after it stands in a volatile cache: a power cut may drop it, whole or in parts.
    - A SYNC that ended with 0 makes durable all writes, the allocation and the length of that file
      whose after came before the SYNC's before. A DIR_SYNC does so for the names in that directory:
      CREATE, RENAME, LINK, UNLINK and MKDIR. Both do nothing else.
    - A sector of 512 bytes is written whole or not at all. Where a write goes over bytes that were
      durable already, each of its sectors is afterwards the old one or the new one, never zeros:
   the last block of the write-ahead log is written again, with the same bytes and more behind them,
      whenever a commit ends inside of it. */
#ifndef QR_STORE_ROCKS_TAP_H
#define QR_STORE_ROCKS_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum rocks_tap_kind {
  ROCKS_TAP_CREATE = 0, /* a new file, or an existing one emptied */
  ROCKS_TAP_OPEN,       /* an existing file, left as it is */
  ROCKS_TAP_WRITE,      /* data, offset, sz */
  ROCKS_TAP_TRUNCATE,   /* offset: the new length, shorter or longer */
  ROCKS_TAP_ALLOCATE,   /* offset, sz: space without a change of length or contents */
  ROCKS_TAP_SYNC,       /* fsync or fdatasync of a file */
  ROCKS_TAP_DIR_SYNC,   /* path: the directory */
  ROCKS_TAP_RENAME,     /* to: the new name; replaces what has it */
  ROCKS_TAP_LINK,       /* to: the second name */
  ROCKS_TAP_UNLINK,
  ROCKS_TAP_MKDIR,
  ROCKS_TAP_RMDIR,
  ROCKS_TAP_READ, /* data, offset, sz; in after, data holds what was read */
  ROCKS_TAP_KIND_CNT
};

typedef struct {
  enum rocks_tap_kind kind;
  const char *path; /* as the file is named now, <store directory>/<name> */
  const char *to;   /* RENAME and LINK, else NULL */
  uint64_t offset;
  size_t sz;
  void *
      data; /* WRITE and READ, else NULL; lent for the call, to be changed only by a READ's after */
} rocks_tap_op_t;

/* Answers of before, besides these: -errno fails the operation without doing it, and for WRITE and
   READ a count below sz does only so many bytes (a short write or read, which the file system must
   make up for). */
#define ROCKS_TAP_GO INT64_MAX
#define ROCKS_TAP_PRETEND INT64_MIN /* not done, and reported as done: a lying disk */

typedef struct {
  void *ctx;
  /* A sync that the kernel begins by itself behind a write (linked to it) is told when that write
     has ended: by then it is under way, and its before cannot keep it from being done, only from
     being reported as it was. apart: no sync is linked, each is told before the kernel has it. */
  bool apart;
  /* Both are called from any thread, several at once, and must not call the store. Either may be
     NULL. */
  int64_t (*before)(void *ctx, const rocks_tap_op_t *op);
  /* result: bytes done for WRITE and READ, 0 for the others, or -errno. What is returned takes its
     place. Called once for each before, also for what before failed or pretended. */
  int64_t (*after)(void *ctx, const rocks_tap_op_t *op, int64_t result);
} rocks_tap_t;

/* Sets or, with NULL, removes the tap of this process; lends tap until then. Only while no store is
   open. */
void rocks_tap_set(const rocks_tap_t *tap);

#ifdef __cplusplus
}
#endif

#endif
