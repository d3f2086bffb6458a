/* Inside of io.h: what writer.c, spare.c and reader.c share. */
#ifndef QR_STORE_ROCKS_IO_IMPL_H
#define QR_STORE_ROCKS_IO_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "io.h"
#include "ring.h"

#define BLOCK_SZ 4096u /* of direct writes: their offset, length and memory are multiples of it */
#define CLASS_CNT 3u
#define POOL_CNT 4u
#define LOG_SIZE_CNT 4u

typedef struct {
  uint32_t buf_cnt;
  size_t buf_sz;
} rocks_shape_t;
extern const rocks_shape_t rocks_shapes[CLASS_CNT];

enum spare_state { SPARE_NONE, SPARE_WANTED, SPARE_MAKING, SPARE_READY };

struct rocks_reader {
  rocks_io_t *io;
  char *path;
  int fd;
  bool direct;
  _Atomic uint32_t holder_cnt;
};

struct rocks_io {
  bool direct;

  pthread_mutex_t lock; /* of all down to the counters */
  rocks_ring_t *pool[CLASS_CNT][POOL_CNT];
  uint32_t pool_cnt[CLASS_CNT];
  rocks_writer_t *logs; /* those open */
  rocks_ring_t *ahead;  /* of reads ahead; used under ahead_lock */
  pthread_mutex_t ahead_lock;
  rocks_gather_t *gathers; /* unused ones */

  /* The next log's file and its thread, spare.c */
  pthread_t spare_thread;
  pthread_cond_t spare_wanted;
  bool spare_thread_runs, spare_stops;
  enum spare_state spare_state;
  char *spare_path; /* NULL before the first is wanted */
  int spare_fd;     /* in SPARE_READY */
  uint64_t spare_sz;
  uint64_t log_sizes[LOG_SIZE_CNT]; /* of the newest closed logs */
  uint32_t log_cnt;

  _Atomic uint64_t write_cnt, read_cnt, sync_cnt, sync_ns_sum, refused_cnt, zeroed_cnt,
      unzeroed_cnt;
};

/* A ring with the buffers of a class, for one user at a time; NULL if out of memory. */
rocks_ring_t *rocks_io_take_ring(rocks_io_t *io, enum rocks_class cls);
void rocks_io_give_ring(rocks_io_t *io, enum rocks_class cls, rocks_ring_t *r);

/* open(2) under the tap: the descriptor, or -errno. */
int rocks_io_open_file(const char *path, int flags);
/* ftruncate(2) and fallocate(2) under the tap. */
int rocks_io_truncate(int fd, const char *path, uint64_t sz);
int rocks_io_allocate(int fd, const char *path, uint64_t offset, uint64_t sz);

/* reader.c: r, which each holder closes. */
rocks_reader_t *rocks_reader_hold(rocks_reader_t *r);
rocks_op_t rocks_reader_op(const rocks_reader_t *r, uint64_t offset, void *buf, size_t sz);

/* gather.c: so many of the first reads have their result, or are begun and put off. */
size_t rocks_gather_take(rocks_reader_t *r, rocks_read_t *reads, size_t cnt);
void rocks_gather_free_all(rocks_io_t *io); /* none is in use */

/* spare.c. Asks for a zeroed file to be the next log, if there is none. */
void rocks_spare_want(rocks_io_t *io, const char *log_path);
/* The zeroed file under the name log_path, and how far its zeros reach. False if there is none. */
bool rocks_spare_take(rocks_io_t *io, const char *log_path, int *fd, uint64_t *sz);
void rocks_spare_log_closed(rocks_io_t *io, uint64_t sz);
void rocks_spare_stop(rocks_io_t *io); /* ends the thread, removes the file */

#endif
