/* quarry bench store: the store through its port, on RocksDB's own files and on ours over io_uring,
   in turns. Nothing here knows what a driver does with its files. */
#ifndef QR_APP_CLI_BENCH_STORE_H
#define QR_APP_CLI_BENCH_STORE_H

#include "app/bench_series.h"
#include "port/store.h"

enum { QR_STORE_STOCK, QR_STORE_URING, QR_STORE_SIDE_CNT };
extern const char *const qr_store_sides[QR_STORE_SIDE_CNT];        /* "stock", "uring" */
extern const char *const qr_store_side_options[QR_STORE_SIDE_CNT]; /* for open */

/* ---- cli_bench_store_load.c: what a block writes, and what is read of it ---- */

#define QR_STORE_LOAD_STATE_CNT 300u
#define QR_STORE_LOAD_STATE_SZ 100u
#define QR_STORE_LOAD_MODEL_SZ 400000u
#define QR_STORE_LOAD_BLOCK_SZ 60000u
#define QR_STORE_LOAD_UNDO_SZ 30000u
#define QR_STORE_LOAD_READ_CNT 256u

typedef struct qr_store_load qr_store_load_t;

qr_store_load_t *qr_store_load_make(void); /* NULL: out of memory */
void qr_store_load_free(qr_store_load_t *l);
/* Keys and values of one block. */
size_t qr_store_load_block_sz(void);
/* Commits the block of that height and waits until it is durable; ms: from commit to poll. */
int qr_store_load_commit(qr_store_load_t *l, const qr_store_ops_t *ops, qr_store_t *s,
                         uint64_t height, double *ms) QR_WARN_UNUSED;
/* Chooses the keys that the next reads get, of the blocks from 1 to tip. */
void qr_store_load_choose(qr_store_load_t *l, uint64_t seed, uint64_t tip);
int qr_store_load_read(qr_store_load_t *l, const qr_store_ops_t *ops, qr_store_t *s,
                       double *ms) QR_WARN_UNUSED;
/* What a replay reads: all blocks and all models. */
int qr_store_load_scan(const qr_store_ops_t *ops, qr_store_t *s, uint64_t *sz,
                       double *ms) QR_WARN_UNUSED;

/* ---- cli_bench_store_files.c: the directory ---- */

typedef struct {
  char path[512];
  char file_system[32];
  uint64_t free_sz;
  bool made; /* by us: goes as a whole */
} qr_store_place_t;

/* dir NULL: a fresh one where temporary files go. One that is named is made, or is empty. */
int qr_store_place_open(const char *dir, qr_store_place_t *p, char *why,
                        size_t why_sz) QR_WARN_UNUSED;
/* Leaves the directory as it was. */
void qr_store_place_close(const qr_store_place_t *p);
/* What lies in the files of dir is on the disk and no longer in the page cache. */
int qr_store_files_cool(const char *dir) QR_WARN_UNUSED;
int qr_store_files_copy(const char *from, const char *to) QR_WARN_UNUSED;
/* Bytes that this process has caused to be written to a device, as the kernel counts them; false
   if it does not tell. */
bool qr_store_files_written(uint64_t *sz);

/* ---- cli_bench_store_floor.c: the same bytes without a store ---- */

typedef struct qr_store_floor qr_store_floor_t;

/* A file of its own, zeroed beforehand; sz: of one write. */
int qr_store_floor_open(const char *dir, size_t sz, qr_store_floor_t **out) QR_WARN_UNUSED;
void qr_store_floor_close(qr_store_floor_t *f);
const char *qr_store_floor_way(const qr_store_floor_t *f); /* what one of its writes is */
int qr_store_floor_write(qr_store_floor_t *f, double *ms) QR_WARN_UNUSED;

/* ---- cli_bench_store_child.c: stores of processes of their own ---- */

typedef struct {
  int err;
  char why[256];
  bool counted;                  /* written_sz is told */
  uint64_t given_sz, written_sz; /* to commit, to the device */
} qr_store_child_t;

/* Commits block_cnt blocks to a new store in dir. killed: the process is killed then, with its logs
   unflushed, else the store is closed and opened once more, so that all of it is in tables. Not
   after this process has had a store open itself. */
void qr_store_child_run(const qr_store_ops_t *ops, const char *options, const char *dir,
                        uint32_t block_cnt, bool killed, qr_store_child_t *out);

/* ---- cli_bench_store_run.c: the rounds ---- */

#define QR_STORE_COMMIT_MAX_CNT 1024u

/* A figure of both file systems; ratio: how many times as good io=uring is, within each round. */
typedef struct {
  qr_bench_series_t sides[QR_STORE_SIDE_CNT], ratio;
} qr_bench_store_pair_t;

typedef struct {
  const qr_store_ops_t *ops;
  const char *dir;    /* NULL: a fresh one */
  uint32_t seconds;   /* about */
  uint32_t block_cnt; /* for write amplification; 0: as many as fit */
} qr_bench_store_cfg_t;

typedef struct {
  qr_store_place_t place;
  uint64_t need_sz;
  double seconds;
  size_t block_sz;
  bool ring_used; /* io=uring did its work over io_uring: the kernel has not refused */
  uint32_t commit_cnt;
  double commit_ms[QR_STORE_SIDE_CNT][QR_STORE_COMMIT_MAX_CNT]; /* ascending at the end */
  double commits_per_s[QR_STORE_SIDE_CNT];
  qr_bench_store_pair_t commit, read_cold, read_warm, scan, recover; /* ms; scan: MB/s */
  uint64_t scan_sz;
  qr_bench_series_t floor_ms, uring_to_floor;
  const char *floor_way;
  uint32_t amplify_block_cnt, recover_block_cnt;
  qr_store_child_t amplify[QR_STORE_SIDE_CNT];
} qr_bench_store_t;

/* Returns 0 or a negative code with a sentence in why (QR_ERR_CANCELLED: the user wants no more).
   out is large, not for the stack. */
int qr_bench_store_run(const qr_bench_store_cfg_t *cfg, qr_bench_store_t *out, char *why,
                       size_t why_sz) QR_WARN_UNUSED;

#endif
