#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "io_impl.h"

#define RING_DEPTH 16u
#define AHEAD_DEPTH 64u

/* A log's buffer takes a block with its model whole, so that a commit is one write. */
const rocks_shape_t rocks_shapes[CLASS_CNT] = {
    [ROCKS_WAL] = {3, 1u << 20}, [ROCKS_TABLE] = {4, 256u << 10}, [ROCKS_SMALL] = {2, 64u << 10}};

rocks_io_t *rocks_io_open(bool direct) {
  rocks_io_t *io = calloc(1, sizeof *io);
  if (!io) return NULL;
  io->direct = direct;
  io->spare_fd = -1;
  io->ahead = rocks_ring_make(AHEAD_DEPTH, 0, 0, &io->refused_cnt);
  if (!io->ahead) {
    free(io);
    return NULL;
  }
  pthread_mutex_init(&io->lock, NULL);
  pthread_mutex_init(&io->ahead_lock, NULL);
  pthread_cond_init(&io->spare_wanted, NULL);
  return io;
}

void rocks_io_close(rocks_io_t *io) {
  rocks_spare_stop(io);
  for (uint32_t c = 0; c < CLASS_CNT; c++) {
    while (io->pool_cnt[c]) rocks_ring_free(io->pool[c][--io->pool_cnt[c]]);
  }
  rocks_gather_free_all(io);
  rocks_ring_free(io->ahead);
  pthread_cond_destroy(&io->spare_wanted);
  pthread_mutex_destroy(&io->ahead_lock);
  pthread_mutex_destroy(&io->lock);
  free(io);
}

void rocks_io_stats(const rocks_io_t *io, rocks_io_stats_t *out) {
  *out = (rocks_io_stats_t){.write_cnt = io->write_cnt,
                            .read_cnt = io->read_cnt,
                            .sync_cnt = io->sync_cnt,
                            .sync_ns_sum = io->sync_ns_sum,
                            .refused_cnt = io->refused_cnt,
                            .zeroed_cnt = io->zeroed_cnt,
                            .unzeroed_cnt = io->unzeroed_cnt};
}

rocks_ring_t *rocks_io_take_ring(rocks_io_t *io, enum rocks_class cls) {
  rocks_ring_t *r = NULL;
  pthread_mutex_lock(&io->lock);
  if (io->pool_cnt[cls]) r = io->pool[cls][--io->pool_cnt[cls]];
  pthread_mutex_unlock(&io->lock);
  const rocks_shape_t *s = &rocks_shapes[cls];
  return r ? r : rocks_ring_make(RING_DEPTH, s->buf_cnt, s->buf_sz, &io->refused_cnt);
}

void rocks_io_give_ring(rocks_io_t *io, enum rocks_class cls, rocks_ring_t *r) {
  pthread_mutex_lock(&io->lock);
  bool keep = io->pool_cnt[cls] < POOL_CNT;
  if (keep) io->pool[cls][io->pool_cnt[cls]++] = r;
  pthread_mutex_unlock(&io->lock);
  if (!keep) rocks_ring_free(r);
}

int rocks_io_open_file(const char *path, int flags) {
  rocks_tap_op_t op = {.kind = flags & O_CREAT ? ROCKS_TAP_CREATE : ROCKS_TAP_OPEN, .path = path};
  int go = rocks_tap_ask(&op), fd = -1;
  /* Nothing can be done with a file that is only said to be open. */
  int rc = go < 0 ? go : 0;
  if (!rc) {
    do fd = open(path, flags | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) rc = -errno;
  }
  rc = rocks_tap_tell(&op, rc);
  if (rc && fd >= 0) close(fd);
  return rc ? rc : fd;
}

int rocks_io_truncate(int fd, const char *path, uint64_t sz) {
  rocks_tap_op_t op = {.kind = ROCKS_TAP_TRUNCATE, .path = path, .offset = sz};
  int rc = rocks_tap_ask(&op);
  if (rc > 0) rc = ftruncate(fd, (off_t)sz) ? -errno : 0;
  return rocks_tap_tell(&op, rc);
}

int rocks_io_allocate(int fd, const char *path, uint64_t offset, uint64_t sz) {
  rocks_tap_op_t op = {.kind = ROCKS_TAP_ALLOCATE, .path = path, .offset = offset, .sz = sz};
  int rc = rocks_tap_ask(&op);
  if (rc > 0) rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)sz) ? -errno : 0;
  return rocks_tap_tell(&op, rc);
}

int rocks_dir_sync(rocks_io_t *io, int fd, const char *path) {
  rocks_op_t op = {.what = {.kind = ROCKS_TAP_DIR_SYNC, .path = path}, .fd = fd};
  rocks_ring_t *r = rocks_ring_of_thread();
  if (!r) return -ENOMEM;
  io->sync_cnt++;
  return (int)rocks_ring_do(r, &op);
}
