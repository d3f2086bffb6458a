/* Store port: durable key-value records in named tables, written in atomic durable batches. Commits
   are asynchronous (a driver works on a thread of its own); reads are synchronous and may be made
   from any thread. Each value is stored with its own hash and checked on every read. */
#ifndef QR_PORT_STORE_H
#define QR_PORT_STORE_H

#include "base/types.h"

/* The numbers go into the records' hashes: they stay. A place is u64 big-endian height | block
   hash. Bytes of keys and values: tile/record.h. */
enum qr_store_table {
  QR_STORE_BLOCK = 0, /* key: place; value: header | body */
  QR_STORE_MODEL,     /* key: model root; value: model bytes (incoming and outgoing models) */
  QR_STORE_EXEC,      /* key: place; value: what execution found besides the header */
  QR_STORE_INDEX,     /* key: u64 big-endian height; value: the main chain's header there */
  QR_STORE_STATE,     /* key: ledger key; value: ledger record after the tip */
  QR_STORE_UNDO,      /* key: place; value: what disconnecting the block restores */
  QR_STORE_META,      /* key: text; value: tip, schema version, genesis hash */
  QR_STORE_REPLAY,    /* key: place; value: what the block's segment is rebuilt from */
  QR_STORE_TABLE_CNT
};

#define QR_STORE_KEY_MAX_SZ 64u
#define QR_STORE_VALUE_MAX_SZ (2u << 20)
#define QR_STORE_SCHEMA_VERSION 2u

typedef struct qr_store qr_store_t;

typedef struct {
  enum qr_store_table table;
  bool erase; /* value is ignored */
  const void *key;
  size_t key_sz;
  const void *value;
  size_t value_sz;
} qr_store_op_t;

typedef struct {
  uint64_t tag;
  int err;
} qr_store_done_t;

/* One value of many. */
typedef struct {
  const void *key;
  size_t key_sz;
  void *buf;
  size_t buf_sz;
  int64_t result; /* as get returns it */
} qr_store_read_t;

typedef struct {
  uint64_t commit_cnt, read_cnt, bytes_written, corrupt_cnt;
  uint64_t commit_ns_last, commit_ns_sum;
  /* Of drivers with a disk that they see to themselves, else 0: reads and writes given to the
     kernel's ring, syncs and the time that was waited for them, rings and buffers that the kernel
     refused, and logs begun in space that was not prepared. */
  uint64_t ring_op_cnt, ring_refused_cnt, sync_cnt, sync_ns_sum, unprepared_log_cnt;
} qr_store_stats_t;

/* Visits one record; key and value are lent for the call. Returns false to stop. */
typedef bool (*qr_store_visit_fn)(void *ctx, const void *key, size_t key_sz, const void *value,
                                  size_t value_sz);

/* Tells of damage: key NULL if no single record is to blame; what is a sentence. */
typedef void (*qr_store_bad_fn)(void *ctx, const void *key, size_t key_sz, const char *what);

typedef struct qr_store_ops qr_store_ops_t;
struct qr_store_ops {
  const char *name; /* folder name: "rocksdb" */
  const char *help;
  /* Opens or creates the store in directory dir. QR_ERR_BUSY if another process has it,
     QR_ERR_UNSUPPORTED for a newer schema; why gets a sentence with cause and cure. A store of an
     older schema is opened as it is, with the tables it lacks: META "schema" (u32) says which, and
     whoever knows the records brings it up to date (tile/schema.h). */
  int (*open)(const char *dir, const char *options, qr_store_t **out, char *why, size_t why_sz);
  void (*close)(qr_store_t *s); /* waits for submitted commits */
  /* Copies the ops and queues them as one atomic durable batch, applied in order of submission.
     Returns 0, QR_ERR_FULL (try again), QR_ERR_ARG for a table, key or value size outside the
     limits above, or QR_ERR_NOMEM; then nothing is queued. From one thread. */
  int (*commit)(qr_store_t *s, uint64_t tag, const qr_store_op_t *ops, uint32_t op_cnt);
  /* Commits that have become durable or failed, oldest first; returns the count. A failed commit
     may be on disk or not, so all after it fail with QR_ERR_IO too: close, open and read the tip.
     From the committing thread. */
  int (*poll)(qr_store_t *s, qr_store_done_t *done, int max);
  /* Copies a value into buf. Returns its size (which may exceed buf_sz: then nothing is copied),
     QR_ERR_NOTFOUND, QR_ERR_CORRUPT or QR_ERR_IO. Sees every commit reported by poll. */
  int64_t (*get)(qr_store_t *s, enum qr_store_table t, const void *key, size_t key_sz, void *buf,
                 size_t buf_sz);
  /* Gets cnt values of a table, each as get does; what has to come from the disk is read at the
     same time. */
  void (*get_many)(qr_store_t *s, enum qr_store_table t, qr_store_read_t *reads, uint32_t cnt);
  /* Visits records of a table in key order from first (NULL: the beginning). Returns 0 or a
   * negative code. */
  int (*scan)(qr_store_t *s, enum qr_store_table t, const void *first, size_t first_sz,
              qr_store_visit_fn fn, void *ctx);
  void (*stats)(const qr_store_t *s, qr_store_stats_t *out);
  /* Like scan of a whole table, but for a checker: a damaged record is told to bad and passed over,
     and so is whatever else of the table cannot be read. NULL: the driver has none. */
  int (*audit)(qr_store_t *s, enum qr_store_table t, qr_store_visit_fn fn, qr_store_bad_fn bad,
               void *ctx);
  /* Makes a copy of the store as it is now in a directory that does not exist, which open takes;
     commits go on meanwhile. Blocks; callable from any thread. 0 or a negative code with a sentence
     in why; then nothing is left behind. NULL: the driver has none. */
  int (*checkpoint)(qr_store_t *s, const char *dir, char *why, size_t why_sz);
  /* The same driver for reading what exists, whatever its schema version: open makes and changes
     nothing, is QR_ERR_BUSY if another process has the store open, keeps others from opening it to
     write, and takes no options; commit is QR_ERR_UNSUPPORTED. NULL: the driver has none. */
  const qr_store_ops_t *readonly;
};

#endif
