/* Node configuration: an INI file and command-line flags that override it. Nothing is ever written
 * back. */
#ifndef QR_APP_CONFIG_H
#define QR_APP_CONFIG_H

#include "base/log.h"
#include "port/link.h"

#define QR_CONFIG_PEER_MAX_CNT 32u
#define QR_CONFIG_PATH_SZ 512u
#define QR_CONFIG_OPTIONS_SZ 512u
#define QR_CONFIG_PORT 7788u /* UDP, of every address given without one */
#define QR_CONFIG_VERSION "0.1.0"
#define QR_CONFIG_THREAD_MAX_CNT 8u
#define QR_CONFIG_VERIFY_MAX_CNT 8u

typedef struct {
  char dir[QR_CONFIG_PATH_SZ];        /* data directory: key, store, socket */
  char genesis[QR_CONFIG_PATH_SZ];    /* genesis file, or a profile name such as "regtest" */
  char rpc_socket[QR_CONFIG_PATH_SZ]; /* default <dir>/quarryd.sock */
  char link[32], link_options[QR_CONFIG_OPTIONS_SZ];
  qr_link_addr_t listen;
  uint32_t peer_cnt;
  qr_link_addr_t peers[QR_CONFIG_PEER_MAX_CNT]; /* dialled and kept */
  uint32_t peer_max_cnt;
  bool exchange;      /* of addresses, and a book of them */
  bool private_addrs; /* of private networks are believed of neighbours there */
  char announce[64];  /* own address for others; empty: listen; "none" */
  uint32_t outbound_cnt,
      inbound_cnt; /* peers out of the book; those who come in, 0: what is left */
  uint32_t per_ip_cnt, per_group_cnt; /* of those who come in; 0: no limit */
  char sync_pin[QR_CONFIG_PATH_SZ];   /* hash of the block that settles the snapshot to begin
                                         with, hex; empty: none */
  char sync_serve[QR_CONFIG_PATH_SZ]; /* file of the snapshot that peers are given; empty: none */
  char store[32], store_options[QR_CONFIG_OPTIONS_SZ];
  uint64_t prune_depth;      /* newest blocks that are kept; 0: all */
  uint32_t store_reserve_mb; /* kept free of all else on the store's disk; 0: nothing */
  char accel[32], accel_options[QR_CONFIG_OPTIONS_SZ];
  uint32_t accel_check; /* one attempt in so many is repeated on the CPU; 0: those that win alone */
  bool mine;
  uint32_t mine_lane_cnt; /* attempts side by side; 0: as many as the accelerator likes */
  char mine_task[32];     /* train only for this task; empty: all that take turns */
  uint32_t
      adopt_margin; /* R units by which the chain's model must beat the own line to replace it */
  uint64_t stop_height;  /* 0: run until a signal; else stop mining at this height */
  uint32_t pool_max_cnt; /* transactions that wait here */
  uint64_t pool_fee_min; /* least fee */
  uint32_t pool_keep_h;  /* hours that one waits; 0: for ever */
  /* tiles: thread number of each; -1 core means not pinned */
  uint32_t thread_net, thread_chain, thread_mine, thread_rpc;
  struct {
    uint32_t cnt, threads[QR_CONFIG_VERIFY_MAX_CNT];
  } verify; /* a verify tile on each */
  int32_t core[QR_CONFIG_THREAD_MAX_CNT];
  uint32_t spin_us,
      sleep_us; /* idle: spin so long after the last work, then sleep so long at a time */
  enum qr_log_level log_level;
} qr_config_t;

void qr_config_defaults(qr_config_t *c);
/* Reads an INI file over c. Returns 0, QR_ERR_NOTFOUND, QR_ERR_IO or QR_ERR_FORMAT; why names line,
 * key and cure. */
int qr_config_read(const char *path, qr_config_t *c, char *why, size_t why_sz) QR_WARN_UNUSED;
/* Sets one "section.key" from text, as the file does; flags use it too. Returns 0, QR_ERR_NOTFOUND
 * (no such key) or QR_ERR_ARG. */
int qr_config_set(qr_config_t *c, const char *key, const char *value, char *why,
                  size_t why_sz) QR_WARN_UNUSED;
/* Parses quarryd's command line (argv[1..]): --config FILE and --help first, then flags. Returns 0,
   1 if help or version was printed and the caller exits 0, or QR_ERR_ARG with why filled. */
int qr_config_args(int argc, char **argv, qr_config_t *c, char *why, size_t why_sz) QR_WARN_UNUSED;

#endif
