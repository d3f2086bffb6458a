/* Files that are read, from any place and by any thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_impl.h"

#define MANY_CNT 64u
#define TRY_MAX_CNT 100u
#define SECTOR_SZ 512u

struct rocks_ahead {
  rocks_reader_t *reader;
  rocks_op_t op;
};

int rocks_reader_open(rocks_io_t *io, const char *path, bool direct, rocks_reader_t **out) {
  int fd = rocks_io_open_file(path, O_RDONLY | (direct ? O_DIRECT : 0));
  if (fd < 0) return fd;
  rocks_reader_t *r = calloc(1, sizeof *r);
  if (r)
    *r = (rocks_reader_t){
        .io = io, .path = strdup(path), .fd = fd, .direct = direct, .holder_cnt = 1};
  if (!r || !r->path) {
    close(fd);
    free(r);
    return -ENOMEM;
  }
  *out = r;
  return 0;
}

rocks_reader_t *rocks_reader_hold(rocks_reader_t *r) {
  r->holder_cnt++;
  return r;
}

void rocks_reader_close(rocks_reader_t *r) {
  if (--r->holder_cnt) return;
  close(r->fd);
  free(r->path);
  free(r);
}

rocks_op_t rocks_reader_op(const rocks_reader_t *r, uint64_t offset, void *buf, size_t sz) {
  return (rocks_op_t){
      .what = {.kind = ROCKS_TAP_READ, .path = r->path, .offset = offset, .sz = sz, .data = buf},
      .fd = r->fd};
}

/* Goes on where a read, done_sz bytes or -errno, left off: at the end of the file, or because it
   came short. */
static int64_t complete(rocks_reader_t *r, uint64_t offset, uint8_t *buf, size_t sz,
                        int64_t done_sz) {
  rocks_ring_t *ring = rocks_ring_of_thread();
  if (!ring) return -ENOMEM;
  if (rocks_interrupted(done_sz)) done_sz = 0;
  for (uint32_t tries = 0; done_sz >= 0 && (size_t)done_sz < sz; tries++) {
    if (tries == TRY_MAX_CNT) return -EIO;
    /* A direct read that does not end with a sector has met the end of the file. */
    if (r->direct && done_sz % SECTOR_SZ) break;
    rocks_op_t op =
        rocks_reader_op(r, offset + (uint64_t)done_sz, buf + done_sz, sz - (size_t)done_sz);
    r->io->read_cnt++;
    int64_t n = rocks_ring_do(ring, &op);
    if (n < 0) return n;
    if (!n) break;
    done_sz += n;
  }
  return done_sz;
}

int64_t rocks_reader_read(rocks_reader_t *r, uint64_t offset, void *buf, size_t sz) {
  return complete(r, offset, buf, sz, 0);
}

void rocks_reader_read_many(rocks_reader_t *r, rocks_read_t *reads, size_t cnt) {
  rocks_op_t ops[MANY_CNT];
  rocks_ring_t *ring = rocks_ring_of_thread();
  for (size_t from = rocks_gather_take(r, reads, cnt); from < cnt; from += MANY_CNT) {
    size_t n = cnt - from < MANY_CNT ? cnt - from : MANY_CNT;
    rocks_read_t *part = reads + from;
    for (size_t i = 0; i < n; i++) {
      ops[i] = rocks_reader_op(r, part[i].offset, part[i].buf, part[i].sz);
      ops[i].result = -ENOMEM;
      if (ring) rocks_ring_add(ring, &ops[i]);
    }
    r->io->read_cnt += n;
    if (ring) rocks_ring_wait_all(ring);
    for (size_t i = 0; i < n; i++) {
      part[i].result = ops[i].result;
      if (part[i].result != (int64_t)part[i].sz)
        part[i].result = complete(r, part[i].offset, part[i].buf, part[i].sz, part[i].result);
    }
  }
}

int rocks_reader_will_need(rocks_reader_t *r, uint64_t offset, uint64_t sz) {
  if (r->direct) return 0;
  return -posix_fadvise(r->fd, (off_t)offset, (off_t)sz, POSIX_FADV_WILLNEED);
}

int rocks_reader_drop_cache(rocks_reader_t *r, uint64_t offset, uint64_t sz) {
  if (r->direct) return 0;
  return -posix_fadvise(r->fd, (off_t)offset, (off_t)sz, POSIX_FADV_DONTNEED);
}

void rocks_reader_advise(rocks_reader_t *r, int advice) {
  if (!r->direct) (void)!posix_fadvise(r->fd, 0, 0, advice);
}

/* --- reads ahead: on one ring of the store, for they may begin and end on different threads --- */

int rocks_ahead_begin(rocks_reader_t *r, uint64_t offset, void *buf, size_t sz,
                      rocks_ahead_t **out) {
  rocks_ahead_t *a = malloc(sizeof *a);
  if (!a) return -ENOMEM;
  *a = (rocks_ahead_t){.reader = r, .op = rocks_reader_op(r, offset, buf, sz)};
  r->io->read_cnt++;
  pthread_mutex_lock(&r->io->ahead_lock);
  rocks_ring_add(r->io->ahead, &a->op);
  rocks_ring_submit(r->io->ahead);
  pthread_mutex_unlock(&r->io->ahead_lock);
  *out = a;
  return 0;
}

static void wait_for(rocks_ahead_t *a, bool cancel) {
  rocks_io_t *io = a->reader->io;
  pthread_mutex_lock(&io->ahead_lock);
  if (cancel) rocks_ring_cancel(io->ahead, &a->op);
  rocks_ring_wait(io->ahead, &a->op);
  pthread_mutex_unlock(&io->ahead_lock);
}

int64_t rocks_ahead_end(rocks_ahead_t *a) {
  wait_for(a, false);
  const rocks_tap_op_t *what = &a->op.what;
  if (a->op.result == (int64_t)what->sz) return a->op.result;
  return complete(a->reader, what->offset, what->data, what->sz, a->op.result);
}

void rocks_ahead_stop(rocks_ahead_t *a) { wait_for(a, true); }
void rocks_ahead_free(rocks_ahead_t *a) { free(a); }
