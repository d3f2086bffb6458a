/* Inside of the RocksDB store: one struct, shared by open.c (options, schema), commit.c (the commit
   thread), read.c and record.c (the seal that every record carries). */
#ifndef QR_STORE_ROCKS_H
#define QR_STORE_ROCKS_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "filesystem.h"
#include "port/store_batch.h"

#define ROCKS_SPARE_CNT 4u

/* A batch between commit and poll. */
typedef struct {
  rocksdb_writebatch_t *batch; /* NULL once written */
  size_t byte_sz;
  uint64_t tag;
  int err;
} rocks_slot_t;

struct qr_store {
  rocks_io_t *io; /* NULL: the stock file system */
  rocks_fs_t *fs;
  rocksdb_t *db;
  rocksdb_column_family_handle_t
      *cf[QR_STORE_TABLE_CNT + 1]; /* one per table, then RocksDB's own default, unused */
  rocksdb_writeoptions_t *write_options;
  /* walk: of a whole table */
  rocksdb_readoptions_t *get_options, *scan_options, *walk_options;
  bool sync_apart; /* a commit's bytes go to the disk while RocksDB takes them into its memory, and
                      are waited for afterwards */

  /* Commit queue: a ring of slots with poll_seq <= done_seq <= submit_seq, all under lock. */
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t submitted;
  bool stopping;
  bool failed; /* a commit failed: what is on disk is not known until the store is opened again */
  uint64_t submit_seq, done_seq, poll_seq;
  size_t held_sz;
  rocks_slot_t slots[QR_STORE_QUEUE_CNT];
  rocksdb_writebatch_t *spares[ROCKS_SPARE_CNT];
  uint32_t spare_cnt;

  _Atomic uint64_t commit_cnt, bytes_written, commit_ns_last, commit_ns_sum;
  _Atomic uint64_t read_cnt, corrupt_cnt;
};

/* record.c: a record is seal | value. */
#define QR_RECORD_SEAL_SZ 32u
void rocks_record_seal(uint32_t table, const void *key, size_t key_sz, const void *value,
                       size_t value_sz, uint8_t seal[QR_RECORD_SEAL_SZ]);
/* True if the record of key is whole; *value leads into it. */
bool rocks_record_check(uint32_t table, const void *key, size_t key_sz, const void *record,
                        size_t record_sz, const uint8_t **value, size_t *value_sz);
/* Turns RocksDB's message into an error code (0 for NULL), writes it to the log under what, and
   frees it. */
int rocks_error(const char *what, char *message);

/* commit.c */
int rocks_commit_start(qr_store_t *s);
void rocks_commit_stop(qr_store_t *s); /* writes what is queued, then joins the thread */
int rocks_commit(qr_store_t *s, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt);
int rocks_poll(qr_store_t *s, qr_store_done_t *done, int max);
/* Writes ops by themselves and returns when they are durable; before the thread is started. */
int rocks_write(qr_store_t *s, const qr_store_op_t *ops, uint32_t op_cnt);

/* read.c */
/* RocksDB's counters of the calling thread, which nobody reads, cost a seventh of a commit. */
void rocks_count_nothing(void);
int64_t rocks_get(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz, void *buf,
                  size_t buf_sz);
void rocks_get_many(qr_store_t *s, enum qr_store_table t, qr_store_read_t *reads, uint32_t cnt);
int rocks_scan(qr_store_t *s, enum qr_store_table t, const void *first, size_t first_sz,
               qr_store_visit_fn fn, void *ctx);

/* readonly.c */
extern const qr_store_ops_t rocks_readonly_ops;

/* checkpoint.c */
int rocks_checkpoint(qr_store_t *s, const char *dir, char *why, size_t why_sz);

#endif
