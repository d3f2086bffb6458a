/* quarry watch: the nodes of a network on one machine, seen together. cli_watch.c asks and decides,
 * cli_watch_view.c prints. */
#ifndef QR_APP_CLI_WATCH_H
#define QR_APP_CLI_WATCH_H

#include "app/cli.h"

#define QR_WATCH_NODE_MAX_CNT 32u
#define QR_WATCH_HISTORY_CNT 16u /* polls that a rate is taken over */

typedef struct {
  char name[32], socket[512];
  bool seen, up;                     /* ever; at the last poll */
  uint64_t seen_ms;                  /* of the last answer, monotonic */
  json_t *status;                    /* of the last answer; NULL before the first */
  uint64_t base_attempts, base_kept; /* at the first answer, */
  uint64_t end_attempts, end_kept;   /* and when mining was ended: rates count between them */
  uint64_t hist_ms[QR_WATCH_HISTORY_CNT], hist_attempts[QR_WATCH_HISTORY_CNT];
  uint32_t hist_cnt;
} qr_watch_node_t;

typedef struct {
  qr_watch_node_t nodes[QR_WATCH_NODE_MAX_CNT];
  uint32_t node_cnt;
  uint64_t start_ms, now_ms;        /* monotonic */
  uint64_t mined_ms;                /* when mining was ended, 0 before */
  uint64_t blocks_wanted;           /* 0: no end */
  uint64_t base_height, end_height; /* highest at the first answer and when mining was ended */
  bool agree, complete, tty;
  uint32_t lines; /* drawn in place and to be overwritten */
} qr_watch_t;

/* 0 while it does not answer. */
uint64_t qr_watch_height(const qr_watch_node_t *n);
/* Finished attempts per second over the last polls. */
double qr_watch_attempt_rate(const qr_watch_node_t *n);

/* Draws the table: over the last one on a terminal, below it otherwise. note: one line under the
 * title, or "". */
void qr_watch_draw(qr_watch_t *w, const char *note);
/* The one summary, as text or as one line of JSON. */
void qr_watch_summary(const qr_watch_t *w, bool json);

#endif
