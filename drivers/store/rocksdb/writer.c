/* Files that are written front to back. What is appended is gathered in a buffer, the buffer goes
   to the kernel as one write, and the next one is filled meanwhile.

   The log and the tables are written around the page cache. Their writes are whole blocks: where
   the bytes end inside of a block, the rest of it is zeros, and the block is written again with
   what follows. A reader of the log takes zeros for its end. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io_impl.h"
#include "port/clock.h"

#define BUF_MAX_CNT 4u
#define TRY_MAX_CNT 100u

struct rocks_writer {
  rocks_io_t *io;
  rocks_writer_t *next_log; /* of io->logs */
  enum rocks_class cls;
  char *path;
  int fd;
  bool direct;

  pthread_mutex_t lock; /* of all below */
  rocks_ring_t *ring;
  rocks_op_t writes[BUF_MAX_CNT]; /* of each buffer, its one write */
  bool busy[BUF_MAX_CNT];         /* that write is not settled */
  rocks_op_t sync;
  bool sync_busy;     /* a sync was started behind a write */
  uint64_t sync_size; /* what it makes durable, if the writes end well */
  uint32_t cur;       /* buffer that is being filled */
  uint64_t base;      /* its place in the file */
  size_t fill;
  bool fresh;        /* it holds bytes that were not handed to the kernel */
  bool sealed;       /* it was handed to the kernel: what comes goes into the next */
  bool made_up;      /* a write came short and was completed by another one */
  uint64_t size;     /* what was appended */
  uint64_t reserved; /* blocks of the file reach so far */
  bool spare_asked;
  int err; /* the first failure; nothing is done after it */
};

/* A log that outgrows its zeros takes space by so much. */
#define LOG_STEP_SZ (8u << 20)
/* Where a log is so long, the next one is prepared. A store that hardly writes needs none. */
#define SPARE_AT_SZ (256u << 10)

/* After a failed write or sync nobody knows what of the file is on the disk; that a later sync
   returns 0 would say nothing about the pages that the first one lost. */
static int fail(rocks_writer_t *w, int err) {
  if (!w->err) w->err = err;
  return w->err;
}

/* Waits for the write of buffer i, and writes what it left out. */
static void settle(rocks_writer_t *w, uint32_t i) {
  rocks_op_t *op = &w->writes[i];
  if (!w->busy[i]) return;
  w->busy[i] = false;
  rocks_ring_wait(w->ring, op);
  for (uint32_t tries = 0; !w->err && op->result != (int64_t)op->what.sz; tries++) {
    if (op->result < 0 && !rocks_interrupted(op->result)) {
      (void)fail(w, (int)op->result);
      return;
    }
    if (tries == TRY_MAX_CNT) {
      (void)fail(w, -EIO);
      return;
    }
    size_t done_sz = op->result > 0 ? (size_t)op->result : 0;
    if (w->direct) done_sz -= done_sz % BLOCK_SZ;
    op->what.data = (uint8_t *)op->what.data + done_sz;
    op->what.offset += done_sz;
    op->what.sz -= done_sz;
    op->linked = false;
    w->made_up = true;
    w->io->write_cnt++;
    rocks_ring_add(w->ring, op);
    rocks_ring_wait(w->ring, op);
  }
}

static void settle_all(rocks_writer_t *w) {
  for (uint32_t i = 0; i < rocks_shapes[w->cls].buf_cnt; i++) settle(w, i);
}

/* Gives the buffer's bytes to the ring. */
static void start_write(rocks_writer_t *w, bool linked) {
  uint8_t *buf = rocks_ring_buf(w->ring, w->cur);
  size_t sz = w->fill;
  if (w->direct && sz % BLOCK_SZ) {
    size_t whole_sz = sz - sz % BLOCK_SZ + BLOCK_SZ;
    memset(buf + sz, 0, whole_sz - sz);
    sz = whole_sz;
  }
  w->writes[w->cur] = (rocks_op_t){
      .what = {.kind = ROCKS_TAP_WRITE, .path = w->path, .offset = w->base, .sz = sz, .data = buf},
      .fd = w->fd,
      .fixed = rocks_ring_fixed(w->ring),
      .linked = linked};
  w->busy[w->cur] = true;
  w->fresh = false;
  w->sealed = true;
  uint64_t end = w->base + sz;
  if (w->cls == ROCKS_WAL && w->direct && end > w->reserved) {
    /* If there is no room for so much, there may still be for the write. */
    if (!rocks_io_allocate(w->fd, w->path, w->reserved, end - w->reserved + LOG_STEP_SZ))
      end += LOG_STEP_SZ;
  }
  if (end > w->reserved) w->reserved = end;
  w->io->write_cnt++;
  rocks_ring_add(w->ring, &w->writes[w->cur]);
}

/* Waits for a sync that was started behind a write. True if it made everything durable. */
static bool settle_sync(rocks_writer_t *w) {
  if (!w->sync_busy) return false;
  w->sync_busy = false;
  rocks_ring_wait_all(w->ring);
  settle_all(w);
  if (w->sync.result < 0 && !rocks_interrupted(w->sync.result)) (void)fail(w, (int)w->sync.result);
  return !w->err && !w->sync.result && !w->made_up && w->sync_size == w->size;
}

/* The write of the buffer, and behind it in the same call a sync, which goes on while the caller
   does something else. */
static void start_write_and_sync(rocks_writer_t *w) {
  (void)settle_sync(w);
  for (uint32_t i = 0; i < rocks_shapes[w->cls].buf_cnt; i++) {
    if (i != w->cur) settle(w, i); /* the sync waits for one write only */
  }
  if (w->err) return;
  start_write(w, true);
  w->sync = (rocks_op_t){
      .what = {.kind = ROCKS_TAP_SYNC, .path = w->path}, .fd = w->fd, .data_only = true};
  w->sync_busy = true;
  w->sync_size = w->size;
  w->io->sync_cnt++;
  rocks_ring_add(w->ring, &w->sync);
}

/* Turns to the next buffer, when the last one is with the kernel. */
static void next_buffer(rocks_writer_t *w) {
  uint32_t next = (w->cur + 1) % rocks_shapes[w->cls].buf_cnt;
  size_t keep_sz = w->direct ? w->fill % BLOCK_SZ : 0;
  settle(w, next);
  if (keep_sz) {
    /* Its last block is written again: not before it was written the first time. */
    settle(w, w->cur);
    memcpy(rocks_ring_buf(w->ring, next), rocks_ring_buf(w->ring, w->cur) + w->fill - keep_sz,
           keep_sz);
  }
  w->base += w->fill - keep_sz;
  w->fill = keep_sz;
  w->cur = next;
  w->sealed = false;
}

int rocks_writer_append(rocks_writer_t *w, const void *data, size_t sz) {
  const uint8_t *from = data;
  size_t buf_sz = rocks_shapes[w->cls].buf_sz;
  pthread_mutex_lock(&w->lock);
  while (sz && !w->err) {
    if (w->sealed) next_buffer(w);
    size_t n = sz < buf_sz - w->fill ? sz : buf_sz - w->fill;
    memcpy(rocks_ring_buf(w->ring, w->cur) + w->fill, from, n);
    w->fresh = true;
    w->fill += n;
    w->size += n;
    from += n;
    sz -= n;
    if (w->fill == buf_sz && sz) {
      start_write(w, false);
      rocks_ring_submit(w->ring);
    }
  }
  int err = w->err;
  pthread_mutex_unlock(&w->lock);
  return err;
}

int rocks_writer_flush(rocks_writer_t *w) {
  bool ask = false;
  pthread_mutex_lock(&w->lock);
  if (w->fresh && !w->err) {
    if (w->cls == ROCKS_WAL && w->direct && rocks_tap_links()) {
      start_write_and_sync(w);
    } else {
      start_write(w, false);
    }
    rocks_ring_submit(w->ring);
    ask = w->direct && w->cls == ROCKS_WAL && w->size >= SPARE_AT_SZ && !w->spare_asked;
    w->spare_asked |= ask;
  }
  int err = w->err;
  pthread_mutex_unlock(&w->lock);
  if (ask) rocks_spare_want(w->io, w->path);
  return err;
}

/* Cuts off what was zeroed, allocated or padded. */
static void cut(rocks_writer_t *w) {
  struct stat st;
  int rc = rocks_io_truncate(w->fd, w->path, w->size);
  if (rc) (void)fail(w, rc);
  /* Some file systems keep blocks that were allocated behind the end. */
  uint64_t held_sz = (w->size + BLOCK_SZ - 1) / BLOCK_SZ * BLOCK_SZ;
  if (!fstat(w->fd, &st) && (uint64_t)st.st_blocks * 512 > held_sz && w->reserved > held_sz)
    (void)!fallocate(w->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)held_sz,
                     (off_t)(w->reserved - held_sz));
  w->reserved = w->size;
}

static int sync_locked(rocks_writer_t *w, bool data_only) {
  /* A table's length is in the manifest soon after its sync, and must be durable by then. A log may
     be longer than what is in it. */
  bool whole_length = w->cls == ROCKS_TABLE && w->direct;
  if (w->fresh && !w->err) {
    if (data_only && rocks_tap_links() && !whole_length) {
      start_write_and_sync(w);
    } else {
      start_write(w, false);
    }
  }
  if (settle_sync(w) && data_only) return 0;
  settle_all(w);
  if (whole_length && !w->err && w->reserved > w->size) cut(w);
  if (w->err) return w->err;
  w->made_up = false;
  w->sync = (rocks_op_t){
      .what = {.kind = ROCKS_TAP_SYNC, .path = w->path}, .fd = w->fd, .data_only = data_only};
  w->io->sync_cnt++;
  int64_t rc = rocks_ring_do(w->ring, &w->sync);
  return rc < 0 ? fail(w, (int)rc) : 0;
}

int rocks_writer_sync(rocks_writer_t *w, bool data_only) {
  uint64_t begin_ns = qr_clock_mono_ns();
  pthread_mutex_lock(&w->lock);
  int err = w->err ? w->err : sync_locked(w, data_only);
  pthread_mutex_unlock(&w->lock);
  w->io->sync_ns_sum += qr_clock_mono_ns() - begin_ns;
  return err;
}

uint64_t rocks_writer_size(rocks_writer_t *w) {
  pthread_mutex_lock(&w->lock);
  uint64_t size = w->size;
  pthread_mutex_unlock(&w->lock);
  return size;
}

int rocks_writer_truncate(rocks_writer_t *w, uint64_t sz) {
  /* RocksDB cuts what a writer of its own padded; here that is done in close. */
  return sz == rocks_writer_size(w) ? 0 : -ENOTSUP;
}

int rocks_writer_allocate(rocks_writer_t *w, uint64_t offset, uint64_t sz) {
  int rc = 0;
  pthread_mutex_lock(&w->lock);
  /* A log reserves for itself, in steps that fit what was zeroed of it. */
  if (offset + sz > w->reserved && !(w->cls == ROCKS_WAL && w->direct)) {
    rc = rocks_io_allocate(w->fd, w->path, offset, sz);
    if (!rc) w->reserved = offset + sz;
  }
  pthread_mutex_unlock(&w->lock);
  return rc;
}

int rocks_writer_start_writeback(rocks_writer_t *w, uint64_t offset, uint64_t sz) {
  if (w->direct) return 0;
  return sync_file_range(w->fd, (off_t)offset, (off_t)sz, SYNC_FILE_RANGE_WRITE) ? -errno : 0;
}

int rocks_writer_drop_cache(rocks_writer_t *w, uint64_t offset, uint64_t sz) {
  return -posix_fadvise(w->fd, (off_t)offset, (off_t)sz, POSIX_FADV_DONTNEED);
}

/* --- opening and closing --- */

static int open_fd(rocks_writer_t *w, bool append) {
  int flags = O_RDWR | (append ? 0 : O_CREAT | O_TRUNC);
  w->direct = w->cls != ROCKS_SMALL && w->io->direct && !append;
  if (w->direct && w->cls == ROCKS_WAL && rocks_spare_take(w->io, w->path, &w->fd, &w->reserved)) {
    w->io->zeroed_cnt++;
    return 0;
  }
  w->fd = rocks_io_open_file(w->path, flags | (w->direct ? O_DIRECT : 0));
  if (w->fd == -EINVAL && w->direct) { /* a file system without direct writes */
    w->direct = false;
    w->fd = rocks_io_open_file(w->path, flags);
  }
  if (w->fd < 0) return w->fd;
  if (w->cls == ROCKS_WAL) w->io->unzeroed_cnt++;
  struct stat st;
  if (append && !fstat(w->fd, &st)) w->base = w->size = w->reserved = (uint64_t)st.st_size;
  return 0;
}

static void free_writer(rocks_writer_t *w) {
  if (w->ring) rocks_io_give_ring(w->io, w->cls, w->ring);
  pthread_mutex_destroy(&w->lock);
  free(w->path);
  free(w);
}

int rocks_writer_open(rocks_io_t *io, const char *path, enum rocks_class cls, bool append,
                      rocks_writer_t **out) {
  rocks_writer_t *w = calloc(1, sizeof *w);
  if (!w) return -ENOMEM;
  w->io = io;
  w->cls = cls;
  pthread_mutex_init(&w->lock, NULL);
  w->path = strdup(path);
  w->ring = rocks_io_take_ring(io, cls);
  int rc = w->path && w->ring ? open_fd(w, append) : -ENOMEM;
  if (rc) {
    free_writer(w);
    return rc;
  }
  if (cls == ROCKS_WAL) {
    pthread_mutex_lock(&io->lock);
    w->next_log = io->logs;
    io->logs = w;
    pthread_mutex_unlock(&io->lock);
  }
  *out = w;
  return 0;
}

int rocks_writer_close(rocks_writer_t *w) {
  if (w->cls == ROCKS_WAL) {
    pthread_mutex_lock(&w->io->lock);
    rocks_writer_t **at = &w->io->logs;
    while (*at != w) at = &(*at)->next_log;
    *at = w->next_log;
    pthread_mutex_unlock(&w->io->lock);
    if (w->direct) rocks_spare_log_closed(w->io, w->size);
  }
  if (w->fresh && !w->err) start_write(w, false);
  (void)settle_sync(w);
  settle_all(w);
  if (w->reserved > w->size) cut(w);
  if (close(w->fd)) (void)fail(w, -errno);
  int err = w->err;
  free_writer(w);
  return err;
}

bool rocks_writer_size_of(rocks_io_t *io, const char *path, uint64_t *sz) {
  pthread_mutex_lock(&io->lock);
  rocks_writer_t *w = io->logs;
  while (w && strcmp(w->path, path)) w = w->next_log;
  if (w) {
    /* Who asks is about to read the file: all of it has to be there. */
    pthread_mutex_lock(&w->lock);
    if (w->fresh && !w->err) start_write(w, false);
    settle_all(w);
    *sz = w->size;
    pthread_mutex_unlock(&w->lock);
  }
  pthread_mutex_unlock(&io->lock);
  return w != NULL;
}
