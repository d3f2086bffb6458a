/* quarry bench link: streams between two processes over the link drivers and over the kernel's TCP,
   in turns: straight, and through the link emulator. Each process has a network namespace of its
   own. */
#ifndef QR_APP_CLI_BENCH_LINK_H
#define QR_APP_CLI_BENCH_LINK_H

#include <stdatomic.h>
#include <sys/types.h>

#include "app/bench_series.h"
#include "crypto/hash.h"
#include "port/link.h"

/* How bytes go: the kernel's TCP first, then what is compared with it. */
enum { QR_WAY_TCP, QR_WAY_MEMIF, QR_WAY_PACKET, QR_WAY_UDP, QR_WAY_CNT };
extern const char *const qr_way_names[QR_WAY_CNT]; /* "tcp", "memif", "af_packet", "udp" */

/* What lies between the two processes. */
enum { QR_PATH_DIRECT, QR_PATH_CLEAN, QR_PATH_RARE, QR_PATH_LOSSY, QR_PATH_CNT };
typedef struct {
  const char *name;    /* "direct", "20 ms, 1 % loss" */
  const char *command; /* for the emulator; NULL: there is none */
  double loss_percent;
} qr_bench_path_t;
extern const qr_bench_path_t qr_bench_paths[QR_PATH_CNT];

/* ---- cli_bench_link_net.c: processes and what connects them ---- */

/* What two processes share. */
typedef struct {
  _Atomic uint32_t way;                 /* which one the server serves */
  _Atomic uint32_t server_ready, ended; /* listening; the run is over */
  _Atomic uint32_t done_seq;            /* of the last message that is there as a whole */
  _Atomic uint64_t done_ns;             /* when it was */
  _Atomic uint32_t failed;              /* why is set by who set this first */
  char why[256];
} qr_bench_share_t;

typedef struct {
  bool emulated;
  const char *dir;         /* for sockets */
  qr_bench_share_t *share; /* the same memory in all processes */
  pid_t server, emulator;
  int commands, answers; /* of the emulator */
} qr_bench_net_t;

/* In a fresh process: moves it into a network namespace of its own, starts the server's process,
   which calls serve and ends with it, and the emulator, and connects them. Returns 0 or a negative
   code with a sentence in share->why. */
int qr_bench_net_open(qr_bench_net_t *n, int (*serve)(qr_bench_net_t *n)) QR_WARN_UNUSED;
void qr_bench_net_close(qr_bench_net_t *n);
/* From now on frames fare like that. */
int qr_bench_net_command(qr_bench_net_t *n, const char *line) QR_WARN_UNUSED;
/* Keeps the first failure and its sentence. */
void qr_bench_fail(qr_bench_share_t *s, const char *fmt, ...) QR_PRINTF(2, 3);

/* ---- cli_bench_link_way.c: one connection, over TCP or over a link driver ---- */

typedef struct qr_way qr_way_t;
/* Bytes that came, in order within a class. */
typedef void (*qr_way_receive_fn)(void *ctx, qr_way_t *w, enum qr_link_class cls, const uint8_t *p,
                                  size_t sz);

typedef struct {
  qr_bench_net_t *net;
  uint32_t way;
  bool server;
  qr_way_receive_fn receive;
  void *ctx;
} qr_way_cfg_t;

/* Server: listens; returns before anybody has called. Client: calls, and returns when it is heard.
   NULL: share->why says why. */
qr_way_t *qr_way_open(const qr_way_cfg_t *cfg);
void qr_way_close(qr_way_t *w);
/* Sends all of it, receiving meanwhile. Returns false when the connection is gone. */
bool qr_way_send(qr_way_t *w, enum qr_link_class cls, const void *p, size_t sz);
/* Receives what is there; waits a little if that is nothing. */
bool qr_way_poll(qr_way_t *w);
/* Congestion control of the TCP connection. */
const char *qr_way_congestion(const qr_way_t *w);

/* ---- cli_bench_link_talk.c: what the two say ---- */

#define QR_TALK_PING_SZ 300u
#define QR_TALK_BLOCK_SZ 400000u

/* Serves until the end; the process's exit code. */
int qr_talk_serve(qr_bench_net_t *n);

typedef struct qr_talk qr_talk_t;
qr_talk_t *qr_talk_open(qr_bench_net_t *n); /* all ways; NULL: share->why says why */
void qr_talk_close(qr_talk_t *t);
bool qr_talk_has(const qr_talk_t *t, uint32_t way);
const char *qr_talk_congestion(const qr_talk_t *t);
/* Turns to another way. The following use it. False: share->why says why. */
bool qr_talk_turn(qr_talk_t *t, uint32_t way);
/* 300 B there and back. */
bool qr_talk_ping(qr_talk_t *t, double *us);
/* A block's 300 B announcement, the request for it, and 0.4 MB, hashed by who gets them. */
bool qr_talk_block(qr_talk_t *t, double *ms);
/* cpu_s: that both processes used. */
bool qr_talk_bulk(qr_talk_t *t, uint64_t sz, double *s, double *cpu_s);
/* Lets time pass, so that what is under way ends. */
bool qr_talk_rest(qr_talk_t *t, uint32_t ms);

/* ---- cli_bench_link_run.c: the rounds ---- */

/* Of one way over one path. Ratios are to TCP in the same round; below 1 is better than TCP but for
   bulk_ratio. */
typedef struct {
  qr_bench_series_t ping_us, block_ms, bulk_mb_s, cpu_s_gb;
  qr_bench_series_t ping_ratio, block_ratio, bulk_ratio, cpu_ratio;
} qr_bench_link_cell_t;

typedef struct {
  bool present[QR_PATH_CNT][QR_WAY_CNT];
  qr_bench_link_cell_t cells[QR_PATH_CNT][QR_WAY_CNT];
  char congestion[2][16]; /* of TCP, straight and emulated */
  uint64_t bulk_sz[QR_PATH_CNT];
  double seconds;
} qr_bench_link_t;

/* out: memory that children share (MAP_SHARED). Returns 0 or a negative code with a sentence in
   why. */
int qr_bench_link_run(uint32_t seconds, qr_bench_link_t *out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

#endif
