/* The least that a durable commit can take: one write around the page cache into a file whose
   blocks are there and written, and the sync linked behind it. By the kernel's own interface, for
   the library that spares one the barriers belongs to the store's driver. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "app/cli_bench_store.h"
#include "base/err.h"
#include "port/clock.h"

#define PAGE_SZ 4096u
#define SLOT_CNT 32u
#define ENTRY_CNT 4u

struct qr_store_floor {
  int fd, ring; /* ring -1: refused, and system calls serve */
  bool direct, fixed;
  size_t sz;
  uint8_t *buf;
  uint32_t slot;
  size_t rings_sz, sqes_sz;
  uint8_t *rings; /* MAP_FAILED: none */
  struct io_uring_sqe *sqes;
  struct io_uring_params p;
};

static double now_ms(void) { return (double)qr_clock_mono_ns() * 1e-6; }

static void ring_open(qr_store_floor_t *f) {
  f->rings = MAP_FAILED;
  f->sqes = MAP_FAILED;
  f->ring = (int)syscall(__NR_io_uring_setup, ENTRY_CNT, &f->p);
  if (f->ring < 0) return;
  size_t sq_sz = f->p.sq_off.array + f->p.sq_entries * sizeof(uint32_t);
  size_t cq_sz = f->p.cq_off.cqes + f->p.cq_entries * sizeof(struct io_uring_cqe);
  f->rings_sz = sq_sz > cq_sz ? sq_sz : cq_sz;
  f->sqes_sz = f->p.sq_entries * sizeof(struct io_uring_sqe);
  if (f->p.features & IORING_FEAT_SINGLE_MMAP) {
    f->rings = mmap(NULL, f->rings_sz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, f->ring,
                    IORING_OFF_SQ_RING);
    f->sqes = mmap(NULL, f->sqes_sz, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, f->ring,
                   IORING_OFF_SQES);
  }
  if (f->rings == MAP_FAILED || f->sqes == MAP_FAILED) {
    close(f->ring);
    f->ring = -1;
    return;
  }
  struct iovec iov = {.iov_base = f->buf, .iov_len = f->sz};
  f->fixed = !syscall(__NR_io_uring_register, f->ring, IORING_REGISTER_BUFFERS, &iov, 1);
}

static int make_file(qr_store_floor_t *f, const char *dir) {
  char path[1024];
  snprintf(path, sizeof path, "%s/floor", dir);
  f->direct = true;
  f->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
  if (f->fd < 0) {
    f->direct = false;
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  if (f->fd < 0) return QR_ERR_IO;
  for (uint32_t i = 0; i < SLOT_CNT; i++) {
    if (pwrite(f->fd, f->buf, f->sz, (off_t)(i * f->sz)) != (ssize_t)f->sz) return QR_ERR_IO;
  }
  return fsync(f->fd) ? QR_ERR_IO : QR_OK;
}

int qr_store_floor_open(const char *dir, size_t sz, qr_store_floor_t **out) {
  qr_store_floor_t *f = calloc(1, sizeof *f);
  if (!f) return QR_ERR_NOMEM;
  f->sz = (sz + PAGE_SZ - 1) / PAGE_SZ * PAGE_SZ;
  f->fd = f->ring = -1;
  f->rings = MAP_FAILED;
  f->sqes = MAP_FAILED;
  f->buf = aligned_alloc(PAGE_SZ, f->sz);
  int err = f->buf ? QR_OK : QR_ERR_NOMEM;
  if (!err) {
    memset(f->buf, 0, f->sz);
    err = make_file(f, dir);
  }
  if (err) {
    qr_store_floor_close(f);
    return err;
  }
  for (size_t i = 0; i < f->sz; i++) f->buf[i] = (uint8_t)(i * 37 >> 3);
  ring_open(f);
  *out = f;
  return QR_OK;
}

void qr_store_floor_close(qr_store_floor_t *f) {
  if (!f) return;
  if (f->sqes != MAP_FAILED) munmap(f->sqes, f->sqes_sz);
  if (f->rings != MAP_FAILED) munmap(f->rings, f->rings_sz);
  if (f->ring >= 0) close(f->ring);
  if (f->fd >= 0) close(f->fd);
  free(f->buf);
  free(f);
}

const char *qr_store_floor_way(const qr_store_floor_t *f) {
  if (f->ring < 0)
    return f->direct ? "pwrite, O_DIRECT, and fdatasync: io_uring is refused"
                     : "pwrite and fdatasync: no O_DIRECT here, and io_uring is refused";
  return f->direct ? "io_uring: one write, O_DIRECT, and a linked fdatasync"
                   : "io_uring: one write and a linked fdatasync; no O_DIRECT here";
}

static uint32_t *word(const qr_store_floor_t *f, uint32_t offset) {
  return (uint32_t *)(void *)(f->rings + offset);
}

static void add(qr_store_floor_t *f, const struct io_uring_sqe *op) {
  uint32_t tail = *word(f, f->p.sq_off.tail), idx = tail & *word(f, f->p.sq_off.ring_mask);
  f->sqes[idx] = *op;
  word(f, f->p.sq_off.array)[idx] = idx;
  __atomic_store_n(word(f, f->p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
}

/* Takes one completion. */
static int take(qr_store_floor_t *f) {
  uint32_t *head = word(f, f->p.cq_off.head);
  if (*head == __atomic_load_n(word(f, f->p.cq_off.tail), __ATOMIC_ACQUIRE)) return QR_ERR_IO;
  const struct io_uring_cqe *cqes = (const void *)(f->rings + f->p.cq_off.cqes);
  int result = cqes[*head & *word(f, f->p.cq_off.ring_mask)].res;
  __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
  return result < 0 ? QR_ERR_IO : QR_OK;
}

static int ring_write(qr_store_floor_t *f, off_t at) {
  struct io_uring_sqe op = {.opcode = f->fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE,
                            .flags = IOSQE_IO_LINK,
                            .fd = f->fd,
                            .off = (uint64_t)at,
                            .addr = (uint64_t)(uintptr_t)f->buf,
                            .len = (uint32_t)f->sz};
  add(f, &op);
  op = (struct io_uring_sqe){
      .opcode = IORING_OP_FSYNC, .fd = f->fd, .fsync_flags = IORING_FSYNC_DATASYNC};
  add(f, &op);
  if (syscall(__NR_io_uring_enter, f->ring, 2, 2, IORING_ENTER_GETEVENTS, NULL, 0) != 2)
    return QR_ERR_IO;
  int first = take(f), second = take(f);
  return first ? first : second;
}

int qr_store_floor_write(qr_store_floor_t *f, double *ms) {
  off_t at = (off_t)(f->slot++ % SLOT_CNT * f->sz);
  int err = QR_OK;
  double began = now_ms();
  if (f->ring >= 0)
    err = ring_write(f, at);
  else if (pwrite(f->fd, f->buf, f->sz, at) != (ssize_t)f->sz || fdatasync(f->fd))
    err = QR_ERR_IO;
  *ms = now_ms() - began;
  return err;
}
