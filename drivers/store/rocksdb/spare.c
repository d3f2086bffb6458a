/* The next log's file, made on a thread of its own while the present one is being written:
   allocated, written with zeros and synced. A commit into it then changes neither the length of the
   file nor its allocation, so that its sync has only the commit's own bytes to wait for and not the
   file system's journal.

   The file bears a name that RocksDB does not know until it becomes a log. One that was left behind
   by a process that died is made anew: what it holds is not known. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "io_impl.h"

#define MIB ((uint64_t)1 << 20)
#define SPARE_NAME "next-log.zeroed"
#define CHUNK_SZ ((size_t)256 << 10) /* of one write; a commit may have to wait for one */
#define FIRST_SZ (24 * MIB)
#define LEAST_SZ (4 * MIB)
#define MOST_SZ (128 * MIB)
/* Free space is left alone when there is little: what is taken ahead of need must not be what fills
   a disk. */
#define FREE_FACTOR 8u

/* As long as logs are on average: zeros that are not used cost as much as those that are. */
static uint64_t next_size(const rocks_io_t *io) {
  uint64_t sum = 0;
  uint32_t cnt = io->log_cnt < LOG_SIZE_CNT ? io->log_cnt : LOG_SIZE_CNT;
  for (uint32_t i = 0; i < cnt; i++) sum += io->log_sizes[i];
  uint64_t sz = cnt ? (sum / cnt + MIB - 1) / MIB * MIB : FIRST_SZ;
  return sz < LEAST_SZ ? LEAST_SZ : sz > MOST_SZ ? MOST_SZ : sz;
}

void rocks_spare_log_closed(rocks_io_t *io, uint64_t sz) {
  pthread_mutex_lock(&io->lock);
  /* One that was hardly written says nothing: it ended with the store. */
  if (sz >= MIB) io->log_sizes[io->log_cnt++ % LOG_SIZE_CNT] = sz;
  pthread_mutex_unlock(&io->lock);
}

static bool stops(rocks_io_t *io) {
  pthread_mutex_lock(&io->lock);
  bool stop = io->spare_stops;
  pthread_mutex_unlock(&io->lock);
  return stop;
}

static bool room_for(int fd, uint64_t sz) {
  struct statvfs v;
  return fstatvfs(fd, &v) || (uint64_t)v.f_bavail * v.f_frsize / FREE_FACTOR >= sz;
}

static int write_zeros(rocks_io_t *io, rocks_ring_t *r, int fd, const char *path, uint64_t sz) {
  rocks_op_t op = {.fd = fd, .fixed = rocks_ring_fixed(r)};
  for (uint64_t at = 0; at < sz;) {
    uint64_t left = sz - at;
    op.what = (rocks_tap_op_t){.kind = ROCKS_TAP_WRITE,
                               .path = path,
                               .offset = at,
                               .sz = left < CHUNK_SZ ? left : CHUNK_SZ,
                               .data = rocks_ring_buf(r, 0)};
    int64_t n = stops(io) ? -EINTR : rocks_ring_do(r, &op);
    io->write_cnt++;
    if (n > 0) n -= n % BLOCK_SZ;
    if (n <= 0) return n ? (int)n : -EIO;
    at += (uint64_t)n;
  }
  op = (rocks_op_t){.what = {.kind = ROCKS_TAP_SYNC, .path = path}, .fd = fd};
  io->sync_cnt++;
  return (int)rocks_ring_do(r, &op);
}

static void remove_file(const char *path) {
  rocks_tap_op_t op = {.kind = ROCKS_TAP_UNLINK, .path = path};
  int rc = rocks_tap_ask(&op);
  if (rc > 0) rc = unlink(path) ? -errno : 0;
  (void)rocks_tap_tell(&op, rc);
}

/* The descriptor, or -errno; nothing is left behind then. */
static int make_spare(rocks_io_t *io, rocks_ring_t *r, const char *path, uint64_t sz) {
  int fd = rocks_io_open_file(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT);
  if (fd < 0) return fd;
  /* Allocated at once, so that it lies in one piece. */
  int rc = room_for(fd, sz) ? rocks_io_allocate(fd, path, 0, sz) : -ENOSPC;
  if (!rc || rc == -EOPNOTSUPP) rc = write_zeros(io, r, fd, path, sz);
  if (!rc) return fd;
  close(fd);
  remove_file(path);
  return rc;
}

static void *spare_main(void *arg) {
  rocks_io_t *io = arg;
  bool told = false;
  rocks_ring_t *r = rocks_ring_make(2, 1, CHUNK_SZ, &io->refused_cnt);
  pthread_mutex_lock(&io->lock);
  while (r && !io->spare_stops) {
    if (io->spare_state != SPARE_WANTED) {
      pthread_cond_wait(&io->spare_wanted, &io->lock);
      continue;
    }
    io->spare_state = SPARE_MAKING;
    uint64_t sz = next_size(io);
    pthread_mutex_unlock(&io->lock);
    int fd = make_spare(io, r, io->spare_path, sz);
    if (fd < 0 && fd != -EINTR && !told) {
      qr_log(QR_LOG_WARN, "store",
             "event=log-not-zeroed errno=%d: %s; commits may be slower until that works", -fd,
             strerror(-fd));
      told = true;
    }
    pthread_mutex_lock(&io->lock);
    io->spare_state = fd < 0 ? SPARE_NONE : SPARE_READY;
    io->spare_fd = fd;
    io->spare_sz = sz;
  }
  pthread_mutex_unlock(&io->lock);
  if (r) rocks_ring_free(r);
  return NULL;
}

/* Under lock. */
static bool have_thread(rocks_io_t *io) {
  if (io->spare_thread_runs) return true;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to the process's own threads */
  io->spare_thread_runs = !pthread_create(&io->spare_thread, NULL, spare_main, io);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (io->spare_thread_runs) pthread_setname_np(io->spare_thread, "qr-store-next");
  return io->spare_thread_runs;
}

void rocks_spare_want(rocks_io_t *io, const char *log_path) {
  const char *slash = strrchr(log_path, '/');
  if (!slash) return;
  pthread_mutex_lock(&io->lock);
  if (!io->spare_path &&
      asprintf(&io->spare_path, "%.*s/" SPARE_NAME, (int)(slash - log_path), log_path) < 0)
    io->spare_path = NULL;
  if (io->spare_path && io->spare_state == SPARE_NONE && have_thread(io)) {
    io->spare_state = SPARE_WANTED;
    pthread_cond_signal(&io->spare_wanted);
  }
  pthread_mutex_unlock(&io->lock);
}

bool rocks_spare_take(rocks_io_t *io, const char *log_path, int *fd, uint64_t *sz) {
  pthread_mutex_lock(&io->lock);
  bool ready = io->spare_state == SPARE_READY;
  if (ready) {
    io->spare_state = SPARE_NONE;
    *fd = io->spare_fd;
    *sz = io->spare_sz;
  }
  pthread_mutex_unlock(&io->lock);
  if (!ready) return false;
  /* The new name is made durable by who makes any log durable: RocksDB syncs the directory before
     it reports the first synced commit in it. */
  rocks_tap_op_t op = {.kind = ROCKS_TAP_RENAME, .path = io->spare_path, .to = log_path};
  int rc = rocks_tap_ask(&op);
  if (rc > 0) rc = rename(io->spare_path, log_path) ? -errno : 0;
  if (!rocks_tap_tell(&op, rc)) return true;
  close(*fd);
  remove_file(io->spare_path);
  return false;
}

void rocks_spare_stop(rocks_io_t *io) {
  pthread_mutex_lock(&io->lock);
  io->spare_stops = true;
  pthread_cond_signal(&io->spare_wanted);
  pthread_mutex_unlock(&io->lock);
  if (io->spare_thread_runs) pthread_join(io->spare_thread, NULL);
  if (io->spare_state == SPARE_READY) {
    close(io->spare_fd);
    remove_file(io->spare_path);
  }
  free(io->spare_path);
}
