#include "app/topology.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/rpc.h"
#include "base/assert.h"
#include "base/err.h"
#include "tile/mine.h"
#include "tile/net.h"
#include "tile/verify.h"

#define THREAD_MAX_CNT 5u
#define COMPUTE_NICENESS 10
#define WATCH_NS 50000000L
#define PEER_WAIT_MS 5000u

/* Every ring of a node. One producer, one consumer, and what happens when it is full. */
enum ring_id {
  NET_CHAIN,
  CHAIN_NET,
  CHAIN_VERIFY,
  VERIFY_CHAIN,
  CHAIN_MINE,
  MINE_CHAIN,
  ASKED,
  ASK_CHAIN,
  ASK_NET,
  CHAIN_SAYS,
  NET_SAYS,
  SAID,
  RING_CNT
};
static const struct {
  uint32_t depth, item_sz;
  const char *name, *producer, *consumer, *when_full;
} rings[RING_CNT] = {
    [NET_CHAIN] = {256, sizeof(qr_inbound_t), "net-chain", "net", "chain",
                   "peer keeps the item and offers it again"},
    [CHAIN_NET] = {256, sizeof(qr_outbound_t), "chain-net", "chain", "net",
                   "chain takes nothing in"},
    [CHAIN_VERIFY] = {8, sizeof(qr_verify_order_t), "chain-verify", "chain", "verify",
                      "candidate stays ready"},
    [VERIFY_CHAIN] = {8, sizeof(qr_verify_result_t), "verify-chain", "verify", "chain",
                      "verify holds the result"},
    [CHAIN_MINE] = {4, sizeof(qr_mine_order_t), "chain-mine", "chain", "mine",
                    "order is made later"},
    [MINE_CHAIN] = {16, sizeof(qr_inbound_t), "mine-chain", "mine", "chain",
                    "miner holds the block"},
    [ASKED] = {32, sizeof(qr_query_t), "asked", "rpc", "router", "client is told to try again"},
    [ASK_CHAIN] = {32, sizeof(qr_query_t), "ask-chain", "router", "chain", "question waits"},
    [ASK_NET] = {32, sizeof(qr_query_t), "ask-net", "router", "net", "question waits"},
    [CHAIN_SAYS] = {64, sizeof(qr_reply_t), "chain-says", "chain", "router", "question waits"},
    [NET_SAYS] = {32, sizeof(qr_reply_t), "net-says", "net", "router", "question waits"},
    [SAID] = {64, sizeof(qr_reply_t), "said", "router", "rpc", "answer waits"},
};

enum tile_id { TILE_RPC, TILE_NET, TILE_CHAIN, TILE_VERIFY, TILE_MINE, TILE_CNT };

struct qr_topology {
  qr_topology_cfg_t cfg;
  qr_objects_t objects;
  bool has_objects;
  qr_ring_t *rings[RING_CNT];
  uint32_t prog_ids[QR_TASK_MAX_CNT];
  qr_executor_t *verify_executor, *mine_executor;
  qr_net_tile_t *net;
  qr_chain_tile_t *chain;
  qr_verify_tile_t *verify;
  qr_mine_tile_t *mine;
  qr_rpc_t *rpc;
  qr_mine_stats_t mine_stats;
  qr_net_stats_t net_stats;
  _Atomic bool verify_busy;
  bool has_held; /* a question of the router that waits for room */
  qr_query_t held_query;
  qr_tile_t tiles[TILE_CNT];
  qr_tile_loop_t loops[THREAD_MAX_CNT], all;
  atomic_bool stop;
  char accel_name[32];
};

/* The rpc tile: the control socket, and the way of each question to the tile that knows. */
static int rpc_poll(void *state, uint64_t now_ns) {
  qr_topology_t *t = state;
  int work = t->rpc ? (int)qr_rpc_poll(t->rpc, now_ns) : 0;
  if (!t->has_held) t->has_held = qr_ring_pop(t->rings[ASKED], &t->held_query);
  if (t->has_held) {
    enum ring_id to = t->held_query.kind == QR_QUERY_PEERS && t->net ? ASK_NET : ASK_CHAIN;
    if (qr_ring_push(t->rings[to], &t->held_query)) {
      t->has_held = false;
      work++;
    }
  }
  static const enum ring_id from[] = {CHAIN_SAYS, NET_SAYS};
  for (size_t i = 0; i < QR_ARRAY_CNT(from); i++) {
    qr_reply_t r;
    if (!qr_ring_room(t->rings[SAID]) || !qr_ring_pop(t->rings[from[i]], &r)) continue;
    bool pushed = qr_ring_push(t->rings[SAID], &r);
    QR_ASSERT(pushed);
    work++;
  }
  return work;
}

static int make_rings(qr_topology_t *t) {
  for (uint32_t i = 0; i < RING_CNT; i++) {
    void *mem = aligned_alloc(QR_CACHE_LINE, qr_ring_footprint(rings[i].depth, rings[i].item_sz));
    if (!mem) return QR_ERR_NOMEM;
    t->rings[i] = qr_ring_init(mem, rings[i].depth, rings[i].item_sz);
  }
  return QR_OK;
}

static int make_chain(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_config_t *c = t->cfg.config;
  qr_chain_tile_cfg_t cfg = {
      .objects = &t->objects,
      .store_ops = t->cfg.store_ops,
      .store = t->cfg.store,
      .clock = t->cfg.clock,
      .verify_orders = t->rings[CHAIN_VERIFY],
      .verify_results = t->rings[VERIFY_CHAIN],
      .mine_orders = t->rings[CHAIN_MINE],
      .mine_found = t->rings[MINE_CHAIN],
      .queries = t->rings[ASK_CHAIN],
      .replies = t->rings[CHAIN_SAYS],
      .mine_stats = &t->mine_stats,
      .mine = c->mine,
      .stop_height = c->stop_height,
      .miner = t->cfg.key->pk,
      .accel_name = t->accel_name,
  };
  if (t->cfg.link_ops) {
    cfg.from_net = t->rings[NET_CHAIN];
    cfg.to_net = t->rings[CHAIN_NET];
    cfg.net_stats = &t->net_stats;
    cfg.peer_wait_ms = c->peer_cnt ? PEER_WAIT_MS : 0;
  }
  return qr_chain_tile_init(&cfg, &t->chain, why, why_sz);
}

static int make_net(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_config_t *c = t->cfg.config;
  uint32_t model_max_sz = 0;
  for (uint32_t i = 0; i < t->cfg.chain->p.task_cnt; i++) {
    if (t->cfg.chain->nets[i].model_sz > model_max_sz)
      model_max_sz = t->cfg.chain->nets[i].model_sz;
  }
  qr_net_tile_cfg_t cfg = {
      .objects = &t->objects,
      .to_chain = t->rings[NET_CHAIN],
      .from_chain = t->rings[CHAIN_NET],
      .queries = t->rings[ASK_NET],
      .replies = t->rings[NET_SAYS],
      .stats = &t->net_stats,
      .now_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx),
      .peers = {.ops = t->cfg.link_ops,
                .link = t->cfg.link,
                .chain_id = t->cfg.chain->p.chain_id,
                .rules = t->cfg.chain->rules,
                .genesis = qr_genesis_hash(t->cfg.chain),
                .self = t->cfg.key->pk,
                .listen_port = c->listen.port,
                .agent = "quarryd/0.1",
                .statics = c->peers,
                .static_cnt = c->peer_cnt,
                .peer_max_cnt = c->peer_max_cnt,
                .model_max_sz = model_max_sz,
                .seed = t->cfg.seed},
  };
  t->net = qr_net_tile_init(&cfg);
  if (t->net) return QR_OK;
  snprintf(why, why_sz, "cannot take the memory for %u peers: lower link.peer_max",
           c->peer_max_cnt);
  return QR_ERR_NOMEM;
}

static int32_t only_task(const qr_topology_t *t, char *why, size_t why_sz) {
  const char *name = t->cfg.config->mine_task;
  if (!*name) return -1;
  for (uint32_t i = 0; i < t->cfg.chain->p.task_cnt; i++) {
    if (!strcmp(t->cfg.chain->p.tasks[i].name, name)) return (int32_t)i;
  }
  snprintf(why, why_sz, "mine.task: this chain has no task \"%s\" (its first is \"%s\")", name,
           t->cfg.chain->p.tasks[0].name);
  return QR_ERR_ARG - 1;
}

static int make_workers(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_config_t *c = t->cfg.config;
  int32_t task = only_task(t, why, why_sz);
  if (task < -1) return QR_ERR_ARG;
  qr_verify_tile_cfg_t verify = {.objects = &t->objects,
                                 .executor = t->verify_executor,
                                 .orders = t->rings[CHAIN_VERIFY],
                                 .results = t->rings[VERIFY_CHAIN],
                                 .clock = t->cfg.clock,
                                 .busy = &t->verify_busy};
  t->verify = qr_verify_tile_init(&verify);
  qr_mine_tile_cfg_t mine = {.objects = &t->objects,
                             .executor = t->mine_executor,
                             .orders = t->rings[CHAIN_MINE],
                             .found = t->rings[MINE_CHAIN],
                             .miner = t->cfg.key->pk,
                             .adopt_margin = c->adopt_margin,
                             .only_task = task,
                             .nonce = t->cfg.seed,
                             .clock = t->cfg.clock,
                             .stats = &t->mine_stats};
  if (c->thread_mine == c->thread_verify) mine.yield_to = &t->verify_busy;
  for (uint32_t i = 0; i < t->cfg.chain->p.task_cnt; i++)
    mine.genesis[i] = qr_chain_tile_genesis(t->chain, i);
  t->mine = qr_mine_tile_init(&mine);
  if (t->verify && t->mine) return QR_OK;
  snprintf(why, why_sz, "out of memory");
  return QR_ERR_NOMEM;
}

static void place(qr_topology_t *t, enum tile_id id, const char *name,
                  int (*poll)(void *, uint64_t), void *state, uint32_t thread) {
  t->tiles[id] = (qr_tile_t){name, poll, state};
  t->all.tiles[t->all.tile_cnt++] = &t->tiles[id];
  qr_tile_loop_t *l = &t->loops[thread % THREAD_MAX_CNT];
  l->tiles[l->tile_cnt++] = &t->tiles[id];
}

static void place_tiles(qr_topology_t *t) {
  const qr_config_t *c = t->cfg.config;
  place(t, TILE_RPC, "rpc", rpc_poll, t, c->thread_rpc);
  if (t->net) place(t, TILE_NET, "net", qr_net_tile_poll, t->net, c->thread_net);
  place(t, TILE_CHAIN, "chain", qr_chain_tile_poll, t->chain, c->thread_chain);
  place(t, TILE_VERIFY, "verify", qr_verify_tile_poll, t->verify, c->thread_verify);
  place(t, TILE_MINE, "mine", qr_mine_tile_poll, t->mine, c->thread_mine);
  for (uint32_t i = 0; i < THREAD_MAX_CNT; i++) {
    qr_tile_loop_t *l = &t->loops[i];
    l->core = c->core[i];
    l->spin_us = c->spin_us;
    l->sleep_us = c->sleep_us;
    l->clock = t->cfg.clock;
    l->stop = &t->stop;
    bool compute_only = i != c->thread_rpc && i != c->thread_net && i != c->thread_chain;
    l->niceness = compute_only ? COMPUTE_NICENESS : 0;
  }
  t->all.clock = t->cfg.clock;
}

static int make_executors(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_chain_cfg_t *chain = t->cfg.chain;
  qr_accel_info_t info;
  t->cfg.accel_ops->info(t->cfg.accel, &info);
  snprintf(t->accel_name, sizeof t->accel_name, "%s", info.name);
  int err = qr_executor_load(chain, t->cfg.accel_ops, t->cfg.accel, t->prog_ids);
  if (!err)
    err = qr_executor_init(&t->verify_executor, chain, t->cfg.accel_ops, t->cfg.accel, t->prog_ids);
  if (!err)
    err = qr_executor_init(&t->mine_executor, chain, t->cfg.accel_ops, t->cfg.accel, t->prog_ids);
  if (err)
    snprintf(why, why_sz, "accelerator %s cannot run this chain's programs: %s", info.name,
             qr_err_str(err));
  return err;
}

int qr_topology_init(const qr_topology_cfg_t *cfg, qr_topology_t **out, char *why, size_t why_sz) {
  qr_topology_t *t = calloc(1, sizeof *t);
  if (!t) {
    snprintf(why, why_sz, "out of memory");
    return QR_ERR_NOMEM;
  }
  t->cfg = *cfg;
  qr_objects_cfg_t sizes = qr_objects_default(cfg->chain);
  int err = qr_objects_init(&t->objects, cfg->chain, &sizes);
  t->has_objects = !err;
  if (!err) err = make_rings(t);
  if (err)
    snprintf(why, why_sz,
             "out of memory: the replay of this chain needs more than this machine has");
  if (!err) err = make_executors(t, why, why_sz);
  if (!err) err = make_chain(t, why, why_sz);
  if (!err && cfg->link_ops) err = make_net(t, why, why_sz);
  if (!err) err = make_workers(t, why, why_sz);
  if (!err && cfg->rpc_path)
    err = qr_rpc_init(cfg->rpc_path, t->rings[ASKED], t->rings[SAID], &t->rpc, why, why_sz);
  if (err) {
    qr_topology_fini(t);
    return err;
  }
  place_tiles(t);
  *out = t;
  return QR_OK;
}

void qr_topology_fini(qr_topology_t *t) {
  if (!t) return;
  qr_rpc_fini(t->rpc);
  qr_mine_tile_fini(t->mine);
  qr_verify_tile_fini(t->verify);
  qr_net_tile_fini(t->net);
  qr_chain_tile_fini(t->chain);
  qr_executor_fini(t->verify_executor);
  qr_executor_fini(t->mine_executor);
  if (t->has_objects) qr_objects_fini(&t->objects);
  for (uint32_t i = 0; i < RING_CNT; i++) free(t->rings[i]);
  free(t);
}

static void *run_loop(void *arg) {
  qr_tile_loop(arg);
  return NULL;
}

int qr_topology_run(qr_topology_t *t, atomic_bool *stop) {
  pthread_t threads[THREAD_MAX_CNT];
  bool started[THREAD_MAX_CNT] = {false};
  sigset_t all, old;
  int err = QR_OK;
  /* Signals belong to the calling thread. */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  for (uint32_t i = 0; i < THREAD_MAX_CNT && !err; i++) {
    if (!t->loops[i].tile_cnt) continue;
    if (pthread_create(&threads[i], NULL, run_loop, &t->loops[i]))
      err = QR_ERR_NOMEM;
    else
      started[i] = true;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  while (!err && !atomic_load(stop)) {
    struct timespec ts = {0, WATCH_NS};
    nanosleep(&ts, NULL);
    if (t->rpc && qr_rpc_stop_asked(t->rpc)) break;
    if (qr_chain_tile_failed(t->chain)) err = QR_ERR_IO;
  }
  atomic_store(&t->stop, true);
  for (uint32_t i = 0; i < THREAD_MAX_CNT; i++) {
    if (started[i]) pthread_join(threads[i], NULL);
  }
  return err;
}

int qr_topology_round(qr_topology_t *t) { return qr_tile_round(&t->all); }
qr_chain_tile_t *qr_topology_chain(qr_topology_t *t) { return t->chain; }
qr_ring_t *qr_topology_queries(qr_topology_t *t) { return t->rings[ASKED]; }
qr_ring_t *qr_topology_replies(qr_topology_t *t) { return t->rings[SAID]; }
