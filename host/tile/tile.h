/* Tiles: state plus poll. A thread runs its tiles round-robin, to completion, without blocking;
   when all are idle it spins for a while and then sleeps ever longer, until something is pushed
   into one of their rings. Tiles talk only through rings (bus.h); counters for people are atomics.
 */
#ifndef QR_TILE_TILE_H
#define QR_TILE_TILE_H

#include <stdatomic.h>

#include "port/clock.h"
#include "base/bell.h"

#define QR_TILE_MAX_CNT 16u /* on one thread */

typedef struct {
  const char *name;
  /* A bounded piece of work; returns how many things were done, 0 for idle. */
  int (*poll)(void *state, uint64_t now_ns);
  void *state;
} qr_tile_t;

typedef struct {
  const qr_tile_t *tiles[QR_TILE_MAX_CNT]; /* run in this order */
  uint32_t tile_cnt;
  int32_t core;      /* pinned to this core; -1: not pinned */
  int niceness;      /* added to the thread's nice value; compute threads give way to the network */
  uint32_t spin_us;  /* spin so long after the last work */
  uint32_t sleep_us; /* then sleep from 50 us doubling up to this; 0: never sleep */
  bool rings_only;   /* nothing but rings brings its tiles work: it sleeps until the bell rings */
  qr_bell_t bell;    /* of every ring that one of its tiles takes from */
  const qr_clock_t *clock;
  const atomic_bool *stop;
} qr_tile_loop_t;

/* Runs until *stop. */
void qr_tile_loop(qr_tile_loop_t *loop);

/* One round of every tile, for simulators; returns the sum of their work. */
int qr_tile_round(const qr_tile_loop_t *loop);

#endif
