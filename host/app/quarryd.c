/* quarryd: opens the drivers that the configuration names, runs the node, closes everything in
 * order. */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "app/genesis.h"
#include "app/join.h"
#include "app/offer.h"
#include "app/topology.h"
#include "base/err.h"
#include "crypto/hash.h"
#include "port/drivers.h"

#define CHECK_DRIVER "cpu"
#define SPARE_CONN_CNT 8u /* for those who come when all places are taken: one may be made free */

static atomic_bool g_stop;

static void on_signal(int sig) {
  (void)sig;
  atomic_store(&g_stop, true);
}

typedef struct {
  qr_config_t config;
  qr_params_t params;
  qr_chain_cfg_t chain;
  qr_key_t key;
  qr_clock_t clock;
  const qr_link_ops_t *link_ops;
  qr_link_t *link;
  const qr_store_ops_t *store_ops;
  qr_store_t *store;
  char store_dir[QR_CONFIG_PATH_SZ + 16];
  qr_reserve_file_t reserve_file;
  qr_reserve_t reserve;
  const qr_accel_ops_t *accel_ops, *check_ops;
  qr_accel_t *accel, *check;
  qr_offer_t offer;
  qr_net_offer_t offer_ops;
  qr_topology_t *topology;
  char rpc_path[QR_CONFIG_PATH_SZ], peers_path[QR_CONFIG_PATH_SZ + 16];
  char why[512];
} daemon_t;

static int make_dir(daemon_t *d) {
  if (!mkdir(d->config.dir, 0700) || errno == EEXIST) return QR_OK;
  snprintf(d->why, sizeof d->why, "cannot make the data directory %.400s: %s", d->config.dir,
           strerror(errno));
  return QR_ERR_IO;
}

/* The node's identity and the account that mined coins go to: made at first start. */
static int load_key(daemon_t *d) {
  char path[QR_CONFIG_PATH_SZ + 16];
  snprintf(path, sizeof path, "%s/node.key", d->config.dir);
  int err = qr_key_load(path, &d->key);
  if (err == QR_ERR_NOTFOUND) {
    qr_key_generate(&d->key);
    err = qr_key_save(path, &d->key);
    if (!err) qr_log(QR_LOG_INFO, "main", "event=key-made file=%s", path);
  }
  if (err) {
    snprintf(d->why, sizeof d->why,
             "cannot use the key %.400s (%s): it must be 64 hex digits, readable by you alone "
             "(chmod 600)",
             path, qr_err_str(err));
  }
  return err;
}

/* A full disk may keep the store from being opened: then what is kept for that is given up. */
static int open_store(daemon_t *d) {
  const qr_config_t *c = &d->config;
  struct stat st;
  d->reserve = qr_reserve_file(&d->reserve_file, d->store_dir, (uint64_t)c->store_reserve_mb << 20);
  d->store_ops = qr_store_driver(c->store);
  int err = d->store_ops->open(d->store_dir, c->store_options, &d->store, d->why, sizeof d->why);
  if (err == QR_ERR_IO && c->store_reserve_mb) {
    d->reserve.yield(d->reserve.ctx);
    err = d->store_ops->open(d->store_dir, c->store_options, &d->store, d->why, sizeof d->why);
  }
  /* A store that has no directory needs no disk. */
  if (!err && stat(d->store_dir, &st)) d->config.store_reserve_mb = 0;
  return err;
}

/* What is not done on this processor is checked on it. */
static int open_check(daemon_t *d) {
  if (!strcmp(d->config.accel, CHECK_DRIVER)) return QR_OK;
  d->check_ops = qr_accel_driver(CHECK_DRIVER);
  if (d->check_ops) return d->check_ops->open("", &d->check, d->why, sizeof d->why);
  snprintf(d->why, sizeof d->why,
           "accel.driver = %s needs the driver " CHECK_DRIVER " beside it, which this build lacks",
           d->config.accel);
  return QR_ERR_UNSUPPORTED;
}

static int open_link(daemon_t *d) {
  const qr_config_t *c = &d->config;
  const qr_link_ops_t *link = *c->link ? qr_link_driver(c->link) : NULL;
  if (!link || d->link) return QR_OK;
  qr_link_cfg_t cfg = {.options = c->link_options,
                       .local = c->listen,
                       .identity = &d->key,
                       .conn_max_cnt = c->peer_max_cnt + SPARE_CONN_CNT};
  int err = link->open(&cfg, &d->link, d->why, sizeof d->why);
  if (!err) d->link_ops = link;
  return err;
}

/* A new node may begin with a snapshot out of the network: then the store is made of it. */
static int join(daemon_t *d) {
  const qr_config_t *c = &d->config;
  if (!qr_join_wanted(c, d->store_dir)) return QR_OK;
  int err = open_link(d);
  qr_join_t j = {.config = c,
                 .chain = &d->chain,
                 .key = &d->key,
                 .link_ops = d->link_ops,
                 .link = d->link,
                 .store_ops = qr_store_driver(c->store),
                 .accel_ops = qr_accel_driver(CHECK_DRIVER),
                 .store_dir = d->store_dir,
                 .clock = &d->clock,
                 .stop = &g_stop};
  randombytes_buf(&j.seed, sizeof j.seed);
  return err ? err : qr_join_run(&j, d->why, sizeof d->why);
}

static int open_drivers(daemon_t *d) {
  const qr_config_t *c = &d->config;
  d->accel_ops = qr_accel_driver(c->accel);
  int err = open_store(d);
  if (!err) err = d->accel_ops->open(c->accel_options, &d->accel, d->why, sizeof d->why);
  if (!err) err = open_check(d);
  return err ? err : open_link(d);
}

static int start(daemon_t *d) {
  const qr_config_t *c = &d->config;
  snprintf(d->store_dir, sizeof d->store_dir, "%s/store", c->dir);
  int err = qr_genesis_read(c->genesis, &d->params, d->why, sizeof d->why);
  if (!err) err = qr_params_init(&d->params, &d->chain, d->why, sizeof d->why);
  if (!err) err = make_dir(d);
  if (!err) err = load_key(d);
  if (!err) err = join(d);
  if (!err) err = open_drivers(d);
  if (err) return err;
  int n = *c->rpc_socket ? snprintf(d->rpc_path, sizeof d->rpc_path, "%s", c->rpc_socket)
                         : snprintf(d->rpc_path, sizeof d->rpc_path, "%s/quarryd.sock", c->dir);
  if (n < 0 || (size_t)n >= sizeof d->rpc_path) {
    snprintf(d->why, sizeof d->why, "the path of the control socket is too long: set rpc.socket");
    return QR_ERR_ARG;
  }
  qr_offer_init(&d->offer, c->sync_serve);
  d->offer_ops = qr_offer_ops(&d->offer);
  snprintf(d->peers_path, sizeof d->peers_path, "%s/peers.dat", c->dir);
  qr_topology_cfg_t cfg = {
      .chain = &d->chain,
      .config = c,
      .key = &d->key,
      .link_ops = d->link_ops,
      .link = d->link,
      .store_ops = d->store_ops,
      .store = &d->store,
      .store_dir = d->store_dir,
      .store_options = c->store_options,
      .reserve = c->store_reserve_mb ? &d->reserve : NULL,
      .offer = *c->sync_serve ? &d->offer_ops : NULL,
      .accel_ops = d->accel_ops,
      .accel = d->accel,
      .check_ops = d->check_ops,
      .check = d->check,
      .clock = &d->clock,
      .rpc_path = d->rpc_path,
      .peers_path = d->peers_path,
  };
  randombytes_buf(&cfg.seed, sizeof cfg.seed);
  randombytes_buf(cfg.book_key, sizeof cfg.book_key);
  return qr_topology_init(&cfg, &d->topology, d->why, sizeof d->why);
}

static void shut(daemon_t *d) {
  qr_topology_fini(d->topology);
  qr_offer_fini(&d->offer);
  if (d->link) d->link_ops->close(d->link);
  if (d->accel) d->accel_ops->close(d->accel);
  if (d->check) d->check_ops->close(d->check);
  if (d->store) d->store_ops->close(d->store);
  sodium_memzero(&d->key, sizeof d->key);
}

static void announce(const daemon_t *d) {
  char hex[17], pk[65], addr[56];
  qr_log(QR_LOG_INFO, "main",
         "event=ready chain=%s rules=%s identity=%s listen=%s height=%llu socket=%s",
         d->params.name, qr_hex(hex, d->chain.rules.b, 8), qr_hex(pk, d->key.pk.b, 32),
         qr_link_addr_str(&d->config.listen, addr),
         (unsigned long long)qr_chain_tile_tip(qr_topology_chain(d->topology))->header.height,
         d->rpc_path);
}

int main(int argc, char **argv) {
  static daemon_t d;
  qr_config_defaults(&d.config);
  int err = qr_config_args(argc, argv, &d.config, d.why, sizeof d.why);
  if (err > 0) return 0;
  if (err) {
    fprintf(stderr, "quarryd: %s\n", d.why);
    return 2;
  }
  qr_log_init(d.config.log_level, 2);
  d.clock = qr_clock_system();
  struct sigaction sa = {.sa_handler = on_signal};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  sa.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &sa, NULL);
  err = qr_crypto_init();
  if (err)
    snprintf(d.why, sizeof d.why, "libsodium cannot be initialised");
  else
    err = start(&d);
  if (err == QR_ERR_CANCELLED) {
    qr_log(QR_LOG_INFO, "main", "event=stopping cause=asked");
    shut(&d);
    return 0;
  }
  if (err) {
    fprintf(stderr, "quarryd: %s\n", d.why);
    shut(&d);
    return 1;
  }
  announce(&d);
  err = qr_topology_run(d.topology, &g_stop);
  qr_log(QR_LOG_INFO, "main", "event=stopping cause=%s", err ? "failure" : "asked");
  shut(&d);
  return err ? 1 : 0;
}
