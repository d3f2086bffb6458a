/* Snapshot files: chunks in and out of them, each by its hash. */
#ifndef QR_APP_SNAPSHOT_FILE_H
#define QR_APP_SNAPSHOT_FILE_H

#include <stdio.h>

#include "chain/snapshot.h"

typedef struct {
  FILE *f;
  char path[4096];
  qr_snapshot_head_t head;
  uint64_t file_sz;
  qr_hash_t *leaves;
  uint64_t leaf_cnt, leaf_cap;
  /* writing: the chunk in the making. reading: bytes of verified chunks that were not used yet */
  uint8_t *buf;
  size_t sz;
  uint64_t chunk_idx; /* the next */
} qr_snapshot_file_t;

/* Begins a file that must not exist. */
int qr_snapshot_file_create(qr_snapshot_file_t *s, const char *path, char *why,
                            size_t why_sz) QR_WARN_UNUSED;
int qr_snapshot_file_write(qr_snapshot_file_t *s, const void *p, size_t sz) QR_WARN_UNUSED;
/* Writes what is left and syncs it, or, after err, removes the file. head and file_sz stay. */
int qr_snapshot_file_end(qr_snapshot_file_t *s, int err, char *why, size_t why_sz) QR_WARN_UNUSED;

/* Opens a file and checks its size, and its chunks' hashes against the root in its head. */
int qr_snapshot_file_open(qr_snapshot_file_t *s, const char *path, char *why,
                          size_t why_sz) QR_WARN_UNUSED;
/* What the first record says, of a file that was opened and not read yet: the first chunk is read
   for that and its hash looked at. out has no params. */
int qr_snapshot_file_about(qr_snapshot_file_t *s, qr_snapshot_about_t *out, char *why,
                           size_t why_sz) QR_WARN_UNUSED;
/* Appends the next chunk to buf, once its hash is right: QR_ERR_CORRUPT names the chunk if not.
   QR_ERR_NOTFOUND: there is none left. */
int qr_snapshot_file_read(qr_snapshot_file_t *s, char *why, size_t why_sz) QR_WARN_UNUSED;
void qr_snapshot_file_close(qr_snapshot_file_t *s);

#endif
