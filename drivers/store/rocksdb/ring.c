#include "ring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

#define THREAD_DEPTH 64u
#define TRY_MAX_CNT 100u

struct rocks_ring {
  struct io_uring uring;
  bool plain; /* there is no ring: system calls */
  bool fixed;
  uint32_t depth, flight_cnt;
  uint32_t buf_cnt;
  size_t buf_sz;
  uint8_t *bufs;
  rocks_op_t *last; /* the operation added last, if the next one is linked to it */
};

/* --- making --- */

static int try_setup(struct io_uring *u, uint32_t depth, bool one_thread) {
  /* Completions are handled when their thread asks for them, instead of interrupting it. A kernel
     before 6.1 does not know that. */
  unsigned flags = one_thread ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN : 0;
  int rc = io_uring_queue_init(depth, u, flags);
  if (rc == -EINVAL && flags) rc = io_uring_queue_init(depth, u, 0);
  return rc;
}

static rocks_ring_t *make(uint32_t depth, bool one_thread, _Atomic uint64_t *refusals) {
  rocks_ring_t *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  r->depth = depth;
  r->plain = try_setup(&r->uring, depth, one_thread) != 0;
  if (r->plain && refusals) ++*refusals;
  return r;
}

rocks_ring_t *rocks_ring_make(uint32_t depth, uint32_t buf_cnt, size_t buf_sz,
                              _Atomic uint64_t *refusals) {
  rocks_ring_t *r = make(depth, false, refusals);
  if (!r || !buf_cnt) return r;
  r->buf_cnt = buf_cnt;
  r->buf_sz = buf_sz;
  void *mem =
      mmap(NULL, buf_cnt * buf_sz, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mem == MAP_FAILED) {
    rocks_ring_free(r);
    return NULL;
  }
  r->bufs = mem;
  struct iovec iov[8];
  QR_ASSERT(buf_cnt <= 8);
  for (uint32_t i = 0; i < buf_cnt; i++) iov[i] = (struct iovec){r->bufs + i * buf_sz, buf_sz};
  /* A limit on locked memory may refuse this; writes from plain memory do as well, a little slower.
   */
  r->fixed = !r->plain && io_uring_register_buffers(&r->uring, iov, buf_cnt) == 0;
  if (!r->fixed && !r->plain && refusals) ++*refusals;
  return r;
}

void rocks_ring_free(rocks_ring_t *r) {
  QR_ASSERT(!r->flight_cnt);
  if (!r->plain) io_uring_queue_exit(&r->uring);
  if (r->bufs) munmap(r->bufs, r->buf_cnt * r->buf_sz);
  free(r);
}

uint8_t *rocks_ring_buf(rocks_ring_t *r, uint32_t idx) { return r->bufs + idx * r->buf_sz; }
bool rocks_ring_fixed(const rocks_ring_t *r) { return r->fixed; }

int rocks_ring_probe(void) {
  static const int ops[] = {IORING_OP_READ,  IORING_OP_WRITE,           IORING_OP_WRITE_FIXED,
                            IORING_OP_FSYNC, IORING_OP_SYNC_FILE_RANGE, IORING_OP_ASYNC_CANCEL};
  struct io_uring u;
  int rc = try_setup(&u, 4, true);
  if (rc) return rc;
  struct io_uring_probe *p = io_uring_get_probe_ring(&u);
  if (!p) rc = -ENOSYS;
  for (size_t i = 0; p && i < sizeof ops / sizeof ops[0]; i++) {
    if (!io_uring_opcode_supported(p, ops[i])) rc = -ENOSYS;
  }
  io_uring_free_probe(p);
  if (!rc) { /* a sandbox may permit to make rings and not to use them */
    io_uring_prep_nop(io_uring_get_sqe(&u));
    int n = io_uring_submit_and_wait(&u, 1);
    rc = n < 0 ? n : 0;
  }
  io_uring_queue_exit(&u);
  return rc;
}

/* --- a ring per thread --- */

static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;

static void thread_ends(void *ring) { rocks_ring_free(ring); }
static void make_key(void) { QR_ASSERT(!pthread_key_create(&thread_key, thread_ends)); }

rocks_ring_t *rocks_ring_of_thread(void) {
  pthread_once(&thread_once, make_key);
  rocks_ring_t *r = pthread_getspecific(thread_key);
  if (r) return r;
  r = make(THREAD_DEPTH, true, NULL);
  if (r && pthread_setspecific(thread_key, r)) {
    rocks_ring_free(r);
    r = NULL;
  }
  return r;
}

/* --- operations --- */

static void ask_tap(rocks_op_t *op) {
  op->told = true;
  op->answer = rocks_tap_before(&op->what);
}

/* What becomes of result where the tap said something else than to go on. */
static int64_t overrule(const rocks_op_t *op, int64_t result) {
  bool bytes = op->what.kind == ROCKS_TAP_WRITE || op->what.kind == ROCKS_TAP_READ;
  if (op->answer == ROCKS_TAP_PRETEND) return bytes ? (int64_t)op->what.sz : 0;
  return op->answer < 0 ? op->answer : result;
}

static void finish(rocks_op_t *op, int64_t result) {
  rocks_op_t *next = op->behind;
  op->behind = NULL;
  op->result = op->told ? rocks_tap_after(&op->what, overrule(op, result)) : result;
  op->done = true;
  if (next && result == (int64_t)op->what.sz) ask_tap(next); /* else it is cancelled */
}

static int64_t call_plain(const rocks_op_t *op, size_t sz) {
  ssize_t n;
  switch (op->what.kind) {
  case ROCKS_TAP_WRITE: n = pwrite(op->fd, op->what.data, sz, (off_t)op->what.offset); break;
  case ROCKS_TAP_READ: n = pread(op->fd, op->what.data, sz, (off_t)op->what.offset); break;
  default: n = op->data_only ? fdatasync(op->fd) : fsync(op->fd); break;
  }
  return n < 0 ? -errno : n;
}

static void prepare(rocks_ring_t *r, struct io_uring_sqe *sqe, rocks_op_t *op, size_t sz) {
  uint64_t at = op->what.offset;
  switch (op->what.kind) {
  case ROCKS_TAP_WRITE:
    if (op->fixed) {
      uint32_t idx = (uint32_t)((size_t)((uint8_t *)op->what.data - r->bufs) / r->buf_sz);
      io_uring_prep_write_fixed(sqe, op->fd, op->what.data, (unsigned)sz, at, (int)idx);
    } else {
      io_uring_prep_write(sqe, op->fd, op->what.data, (unsigned)sz, at);
    }
    break;
  case ROCKS_TAP_READ: io_uring_prep_read(sqe, op->fd, op->what.data, (unsigned)sz, at); break;
  default: io_uring_prep_fsync(sqe, op->fd, op->data_only ? IORING_FSYNC_DATASYNC : 0); break;
  }
  if (op->linked) sqe->flags |= IOSQE_IO_LINK;
  io_uring_sqe_set_data(sqe, op);
}

/* Takes in what has ended, without waiting. */
static void reap(rocks_ring_t *r) {
  if (r->plain) return;
  struct io_uring_cqe *cqe;
  while (!io_uring_peek_cqe(&r->uring, &cqe)) {
    rocks_op_t *op = io_uring_cqe_get_data(cqe);
    int result = cqe->res;
    io_uring_cqe_seen(&r->uring, cqe);
    r->flight_cnt--;
    if (op) finish(op, result); /* a cancellation has none */
  }
}

/* Enters the kernel, for wait_cnt completions more. */
static void enter(rocks_ring_t *r, unsigned wait_cnt) {
  for (;;) {
    int n = wait_cnt ? io_uring_submit_and_wait(&r->uring, wait_cnt) : io_uring_submit(&r->uring);
    if (n >= 0) return;
    /* busy: completions have to be taken in first */
    QR_ASSERT(n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ENOMEM);
    reap(r);
    if (wait_cnt && n != -EINTR) wait_cnt = 1;
  }
}

static struct io_uring_sqe *take_sqe(rocks_ring_t *r) {
  /* As many as the completion queue certainly holds. */
  while (r->flight_cnt >= r->depth) {
    enter(r, 1);
    reap(r);
  }
  struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
  if (!sqe) {
    enter(r, 0);
    sqe = io_uring_get_sqe(&r->uring);
  }
  QR_ASSERT(sqe);
  r->flight_cnt++;
  return sqe;
}

void rocks_ring_add(rocks_ring_t *r, rocks_op_t *op) {
  size_t sz = op->what.sz;
  rocks_op_t *first = r->last;
  r->last = op->linked ? op : NULL;
  op->done = op->told = false;
  op->behind = NULL;
  if (rocks_tap && first && !first->done) {
    first->behind = op;
  } else if (rocks_tap) {
    if (first && first->result != (int64_t)first->what.sz) { /* as the kernel would */
      finish(op, -ECANCELED);
      return;
    }
    ask_tap(op);
    if (op->answer < 0) {
      finish(op, 0);
      return;
    }
    if ((uint64_t)op->answer < sz) sz = (size_t)op->answer;
  }
  if (r->plain) {
    finish(op, call_plain(op, sz));
  } else {
    prepare(r, take_sqe(r), op, sz);
  }
}

void rocks_ring_submit(rocks_ring_t *r) {
  if (!r->plain) enter(r, 0);
}

void rocks_ring_wait(rocks_ring_t *r, rocks_op_t *op) {
  for (reap(r); !op->done; reap(r)) enter(r, 1);
}

void rocks_ring_cancel(rocks_ring_t *r, rocks_op_t *op) {
  if (op->done || r->plain) return;
  struct io_uring_sqe *sqe = take_sqe(r);
  io_uring_prep_cancel(sqe, op, 0);
  io_uring_sqe_set_data(sqe, NULL);
  enter(r, 0);
}

void rocks_ring_wait_all(rocks_ring_t *r) {
  for (reap(r); r->flight_cnt; reap(r)) enter(r, r->flight_cnt);
}

bool rocks_interrupted(int64_t result) {
  return result == -EINTR || result == -EAGAIN || result == -ECANCELED;
}

int64_t rocks_ring_do(rocks_ring_t *r, rocks_op_t *op) {
  for (uint32_t i = 0; i < TRY_MAX_CNT; i++) {
    rocks_ring_add(r, op);
    rocks_ring_wait(r, op);
    if (!rocks_interrupted(op->result)) break;
  }
  return op->result;
}
