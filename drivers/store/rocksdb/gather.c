/* Reads that are put off, so that all which one call needs are under way together.

   RocksDB looks for many keys 32 at a time and in one table after the other, and waits for the
   reads of each step. So it is asked twice: the first time reads are begun, and it is told that
   they have failed; the second time, when all have ended, it is given what they brought. What it
   asks for then and did not before is read as ever. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io_impl.h"

#define READ_CNT 320u /* of 256 keys, some of which a filter sends to a second table */
#define BUF_SZ ((size_t)2 << 20)

typedef struct {
  rocks_reader_t *reader; /* held */
  rocks_op_t op;
} put_off_t;

struct rocks_gather {
  rocks_gather_t *next_free;
  rocks_io_t *io;
  bool gives; /* the reads have ended, and are handed out */
  uint32_t cnt, next;
  size_t used_sz;
  uint8_t *buf;
  put_off_t reads[READ_CNT];
};

static _Thread_local rocks_gather_t *of_thread;

rocks_gather_t *rocks_gather_begin(rocks_io_t *io) {
  pthread_mutex_lock(&io->lock);
  rocks_gather_t *g = io->gathers;
  if (g) io->gathers = g->next_free;
  pthread_mutex_unlock(&io->lock);
  if (!g) {
    void *buf = mmap(NULL, BUF_SZ, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g = buf == MAP_FAILED ? NULL : calloc(1, sizeof *g);
    if (g) g->buf = buf;
    if (!g && buf != MAP_FAILED) munmap(buf, BUF_SZ);
    if (!g) return NULL;
    g->io = io;
  }
  g->gives = false;
  g->cnt = g->next = 0;
  g->used_sz = 0;
  of_thread = g;
  return g;
}

bool rocks_gather_wait(rocks_gather_t *g) {
  rocks_ring_t *ring = rocks_ring_of_thread();
  if (g->cnt) rocks_ring_wait_all(ring);
  g->gives = true;
  return g->cnt > 0;
}

void rocks_gather_end(rocks_gather_t *g) {
  of_thread = NULL;
  for (uint32_t i = 0; i < g->cnt; i++) rocks_reader_close(g->reads[i].reader);
  pthread_mutex_lock(&g->io->lock);
  g->next_free = g->io->gathers;
  g->io->gathers = g;
  pthread_mutex_unlock(&g->io->lock);
}

void rocks_gather_free_all(rocks_io_t *io) {
  for (rocks_gather_t *g; (g = io->gathers);) {
    io->gathers = g->next_free;
    munmap(g->buf, BUF_SZ);
    free(g);
  }
}

static bool put_off(rocks_gather_t *g, rocks_ring_t *ring, rocks_reader_t *r, rocks_read_t *read) {
  if (g->cnt == READ_CNT || read->sz > BUF_SZ - g->used_sz) return false;
  put_off_t *p = &g->reads[g->cnt++];
  p->reader = rocks_reader_hold(r);
  p->op = rocks_reader_op(r, read->offset, g->buf + g->used_sz, read->sz);
  g->used_sz += read->sz;
  r->io->read_cnt++;
  rocks_ring_add(ring, &p->op);
  read->result = -EAGAIN;
  return true;
}

/* In the order of the first time, for the most part. One that failed is tried again as any read. */
static bool give(rocks_gather_t *g, const rocks_reader_t *r, rocks_read_t *read) {
  for (uint32_t i = 0; i < g->cnt; i++) {
    uint32_t at = (g->next + i) % g->cnt;
    const put_off_t *p = &g->reads[at];
    if (p->reader != r || p->op.what.offset != read->offset || p->op.what.sz != read->sz) continue;
    if (p->op.result != (int64_t)read->sz) return false;
    memcpy(read->buf, p->op.what.data, read->sz);
    read->result = p->op.result;
    g->next = at + 1;
    return true;
  }
  return false;
}

size_t rocks_gather_take(rocks_reader_t *r, rocks_read_t *reads, size_t cnt) {
  rocks_gather_t *g = of_thread;
  rocks_ring_t *ring = g ? rocks_ring_of_thread() : NULL;
  size_t n = 0;
  if (!ring) return 0;
  while (n < cnt && (g->gives ? give(g, r, &reads[n]) : put_off(g, ring, r, &reads[n]))) n++;
  if (n && !g->gives) rocks_ring_submit(ring);
  return n;
}
