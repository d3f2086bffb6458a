/* Operations on files over io_uring. Every operation holds its own result: whoever reaps a
   completion writes it into the operation it belongs to, so that it does not matter in which order
   they end, or who of several is waiting.

   Two kinds of ring, because a ring that only one thread may use is cheaper:
    - the thread's ring (rocks_ring_of_thread): reads, directory syncs, whatever starts and ends
      within one call. Made when a thread first needs it, gone with the thread.
    - a ring that is handed from thread to thread under a lock of its user: writers of files, whose
      writes go on while their thread does something else, and reads ahead.
   Direct writes never go through a ring of the first kind, and no operation drains a ring: the two
   together hang the kernel. */
#ifndef QR_STORE_ROCKS_RING_H
#define QR_STORE_ROCKS_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tap_call.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rocks_ring rocks_ring_t;

/* One operation; its memory, path and data stay where they are until it is done. */
typedef struct rocks_op {
  rocks_tap_op_t what; /* WRITE, READ, SYNC, DIR_SYNC */
  int fd;
  bool fixed;     /* WRITE: data lies in a registered buffer of the ring */
  bool data_only; /* SYNC: fdatasync */
  bool linked;    /* the operation added next begins when this one has ended well, and is cancelled
                     if it has not */
  bool done;
  int64_t result; /* bytes, 0, or -errno */
  /* With a tap: */
  struct rocks_op *behind; /* linked to this one, and told of when this one has ended */
  bool told;               /* the tap has been asked before it, and hears of its end */
  int64_t answer;
} rocks_op_t;

/* 0 if this kernel and this sandbox let the process use io_uring for all that is needed here, or
   -errno. */
int rocks_ring_probe(void);

/* A ring for up to depth operations at a time, with buf_cnt buffers of buf_sz bytes (a multiple of
   4096; registered with the kernel if it takes them). NULL if out of memory. Where no ring is to be
   had (no descriptors left, say) its operations are done by system calls: *refusals counts that. */
rocks_ring_t *rocks_ring_make(uint32_t depth, uint32_t buf_cnt, size_t buf_sz,
                              _Atomic uint64_t *refusals);
void rocks_ring_free(rocks_ring_t *r); /* nothing may be in flight */
uint8_t *rocks_ring_buf(rocks_ring_t *r, uint32_t idx);
bool rocks_ring_fixed(const rocks_ring_t *r); /* the buffers are registered */

/* The calling thread's own ring; NULL if out of memory. */
rocks_ring_t *rocks_ring_of_thread(void);

/* Adds an operation; it begins with the next submit or wait, or earlier. */
void rocks_ring_add(rocks_ring_t *r, rocks_op_t *op);
void rocks_ring_submit(rocks_ring_t *r);
/* Returns when op is done. */
void rocks_ring_wait(rocks_ring_t *r, rocks_op_t *op);
/* Returns when nothing is in flight. */
void rocks_ring_wait_all(rocks_ring_t *r);
/* Asks the kernel to end op early; it still has to be waited for. */
void rocks_ring_cancel(rocks_ring_t *r, rocks_op_t *op);

/* Adds an operation and waits for it, again if it was only interrupted. Returns its result. */
int64_t rocks_ring_do(rocks_ring_t *r, rocks_op_t *op);
/* True for results that say nothing about the file: try again. */
bool rocks_interrupted(int64_t result);

#ifdef __cplusplus
}
#endif

#endif
