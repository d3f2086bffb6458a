/* Files of backups: their names, sizes and hashes, and copies that are on the disk when they are
   said to be. */
#ifndef QR_APP_CLI_FILES_H
#define QR_APP_CLI_FILES_H

#include <limits.h>

#include "base/types.h"

typedef struct {
  char name[NAME_MAX + 1];
  uint64_t sz;
  qr_hash_t hash; /* H("quarry.file" | bytes), once it was computed */
} qr_cli_file_t;

typedef struct {
  qr_cli_file_t *files;
  uint32_t cnt;
  uint64_t byte_sz; /* of all together */
} qr_cli_files_t;

/* How far a pass over files is; shown as it goes. */
typedef struct {
  const char *what;
  uint64_t done, total;
} qr_cli_pass_t;

/* The regular files of a directory by name, without their hashes; anything else in it is
   QR_ERR_FORMAT, but for what skip names (NULL: nothing). Returns 0 or a negative code with a
   sentence in why. */
int qr_cli_files_list(const char *dir, const char *skip, qr_cli_files_t *out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;
void qr_cli_files_free(qr_cli_files_t *f);

/* Reads a file for its hash; with to_dir it is copied there too, and synced. QR_ERR_CANCELLED if
   the user wants no more. */
int qr_cli_file_read(const char *dir, qr_cli_file_t *f, const char *to_dir, qr_cli_pass_t *pass,
                     char *why, size_t why_sz) QR_WARN_UNUSED;

/* Makes what was created, renamed or removed in dir durable. */
int qr_cli_sync_dir(const char *dir) QR_WARN_UNUSED;
/* The directory in which path stands, as text. */
void qr_cli_parent(const char *path, char *out, size_t out_sz);
/* Removes a directory with all files in it, two levels deep at most: backups and stores are no
   deeper, and nothing deeper is ours. 0 also if there is none. */
int qr_cli_remove_dir(const char *path);

#endif
