/* Backups: a directory with store/, a copy of a node's store, and backup.json, which says of what
   chain and height it is and lists every file with size and hash. A backup under its own name is
   complete: while it is made it is called NAME.partial. */
#ifndef QR_APP_CLI_BACKUP_H
#define QR_APP_CLI_BACKUP_H

#include "app/cli_files.h"
#include "app/cli_store.h"

#define QR_BACKUP_VERSION 1
#define QR_BACKUP_FILE "backup.json"
#define QR_BACKUP_FILE_MAX_SZ (8u << 20)

typedef struct {
  char chain[32];
  qr_hash_t genesis, tip, state_root;
  uint64_t height, held_from, made_ms;
  qr_cli_files_t files; /* of store/ */
} qr_cli_backup_t;

/* Reads or writes dir/backup.json. Any bytes are safe to read. 0 or a negative code with a sentence
   in why; a backup that was read is to be freed. */
int qr_cli_backup_read(const char *dir, qr_cli_backup_t *out, char *why,
                       size_t why_sz) QR_WARN_UNUSED;
int qr_cli_backup_write(const char *dir, const qr_cli_backup_t *b, char *why,
                        size_t why_sz) QR_WARN_UNUSED;

/* Looks whether all files are there and have the size and hash of the list; to_dir: copies them
   there on the way. The first that is not whole is named in why (QR_ERR_CORRUPT). */
int qr_cli_backup_files(const char *dir, const qr_cli_backup_t *b, const char *to_dir, char *why,
                        size_t why_sz) QR_WARN_UNUSED;

/* Audits the store of a backup, and whether it is at the tip that the list names. Returns 0,
   QR_ERR_CORRUPT (finds have been told of), QR_ERR_CANCELLED or another code, with why. */
int qr_cli_backup_audit(const qr_cli_t *cli, const char *dir, const qr_cli_backup_t *b, char *why,
                        size_t why_sz) QR_WARN_UNUSED;

/* Whether a node answers on the socket. */
bool qr_cli_node_runs(const qr_cli_t *cli);
/* Has the running node copy its store to store, an absolute path that does not exist. If it was
   interrupted (QR_ERR_CANCELLED) the node goes on with it. */
int qr_cli_copy_online(const qr_cli_t *cli, const char *store, char *why,
                       size_t why_sz) QR_WARN_UNUSED;
/* The absolute path of something that does not exist yet, in a directory that does. */
int qr_cli_fresh_path(const char *arg, char *out, size_t out_sz, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

/* How the command ends that failed with err. */
int qr_cli_backup_end(const qr_cli_t *cli, int err, const char *why);

#endif
