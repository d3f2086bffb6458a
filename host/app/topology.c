#include "app/topology.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/genesis.h"
#include "app/peers_cfg.h"
#include "app/rpc.h"
#include "base/assert.h"
#include "base/err.h"
#include "peer/netaddr.h"
#include "tile/mine.h"
#include "tile/net.h"
#include "tile/verify.h"

#define THREAD_MAX_CNT QR_CONFIG_THREAD_MAX_CNT
_Static_assert(QR_CONFIG_VERIFY_MAX_CNT == QR_VERIFY_MAX_CNT, "a tile for each configured thread");
#define COMPUTE_NICENESS 10
#define WATCH_NS 50000000L
#define PEER_WAIT_MS 5000u

/* The router, which brings an operator's question to whom it concerns, is part of the rpc tile. */
enum tile_id { TILE_RPC, TILE_NET, TILE_CHAIN, TILE_MINE, TILE_VERIFY, TILE_CNT };

/* Every ring of a node. One producer, one consumer, and what happens when it is full. */
enum ring_id {
  NET_CHAIN,
  CHAIN_NET,
  CHAIN_MINE,
  MINE_CHAIN,
  ASKED,
  ASK_CHAIN,
  ASK_NET,
  CHAIN_SAYS,
  NET_SAYS,
  SAID,
  RING_CNT,
  CHAIN_VERIFY = RING_CNT, /* these once for each verify tile */
  VERIFY_CHAIN,
  RING_KIND_CNT
};
static const struct {
  uint32_t depth, item_sz;
  const char *name;
  enum tile_id producer, consumer; /* who pushes wakes who takes */
  const char *when_full;
} rings[RING_KIND_CNT] = {
    [NET_CHAIN] = {256, sizeof(qr_inbound_t), "net-chain", TILE_NET, TILE_CHAIN,
                   "peer keeps the item and offers it again"},
    [CHAIN_NET] = {256, sizeof(qr_outbound_t), "chain-net", TILE_CHAIN, TILE_NET,
                   "chain takes nothing in"},
    [CHAIN_VERIFY] = {4, sizeof(qr_verify_order_t), "chain-verify", TILE_CHAIN, TILE_VERIFY,
                      "candidate stays ready"},
    [VERIFY_CHAIN] = {4, sizeof(qr_verify_result_t), "verify-chain", TILE_VERIFY, TILE_CHAIN,
                      "verify tells it later"},
    [CHAIN_MINE] = {4, sizeof(qr_mine_order_t), "chain-mine", TILE_CHAIN, TILE_MINE,
                    "order is made later"},
    [MINE_CHAIN] = {16, sizeof(qr_inbound_t), "mine-chain", TILE_MINE, TILE_CHAIN,
                    "miner holds the block"},
    [ASKED] = {32, sizeof(qr_query_t), "asked", TILE_RPC, TILE_RPC, "client is told to try again"},
    [ASK_CHAIN] = {32, sizeof(qr_query_t), "ask-chain", TILE_RPC, TILE_CHAIN, "question waits"},
    [ASK_NET] = {32, sizeof(qr_query_t), "ask-net", TILE_RPC, TILE_NET, "question waits"},
    [CHAIN_SAYS] = {64, sizeof(qr_reply_t), "chain-says", TILE_CHAIN, TILE_RPC, "question waits"},
    [NET_SAYS] = {32, sizeof(qr_reply_t), "net-says", TILE_NET, TILE_RPC, "question waits"},
    [SAID] = {64, sizeof(qr_reply_t), "said", TILE_RPC, TILE_RPC, "answer waits"},
};

/* One verify tile and what belongs to it alone. */
typedef struct {
  qr_ring_t *orders, *results;
  qr_executor_t *executor;
  qr_verify_tile_t *verify;
  qr_tile_t tile;
} verifier_t;

struct qr_topology {
  qr_topology_cfg_t cfg;
  qr_objects_t objects;
  bool has_objects;
  qr_ring_t *rings[RING_CNT];
  uint32_t prog_ids[QR_TASK_MAX_CNT], check_prog_ids[QR_TASK_MAX_CNT];
  uint32_t lane_cnt;
  qr_executor_t *mine_executors[QR_MINE_LANE_MAX_CNT];
  verifier_t verifiers[QR_VERIFY_MAX_CNT];
  qr_net_tile_t *net;
  qr_chain_tile_t *chain;
  qr_mine_tile_t *mine;
  qr_rpc_t *rpc;
  qr_mine_stats_t mine_stats;
  qr_net_stats_t net_stats;
  qr_verify_stats_t verify_stats;   /* of all verify tiles together */
  _Atomic uint32_t verify_busy_cnt; /* of those on the miner's thread */
  bool has_held;                    /* a question of the router that waits for room */
  qr_query_t held_query;
  qr_tile_t tiles[TILE_CNT];
  qr_tile_loop_t loops[THREAD_MAX_CNT], all;
  atomic_bool stop;
  char accel_name[32];
  char *params_text; /* of the chain, as a genesis file */
};

/* Questions about the accelerator, whose driver answers any thread. */
static void ask_accel(const qr_topology_t *t, const qr_query_t *q, qr_reply_t *r) {
  const qr_accel_ops_t *ops = t->cfg.accel_ops;
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  if (q->kind == QR_QUERY_RESET) {
    snprintf(r->why, sizeof r->why, "the accelerator %s has nothing to reset", ops->name);
    r->err =
        ops->reset ? ops->reset(t->cfg.accel, q->unit, r->why, sizeof r->why) : QR_ERR_UNSUPPORTED;
    return;
  }
  qr_reply_devices_t *d = &r->devices;
  snprintf(d->driver, sizeof d->driver, "%s", ops->name);
  memcpy(d->device, t->accel_name, sizeof d->device);
  d->total = ops->units ? ops->units(t->cfg.accel, units, QR_ACCEL_UNIT_MAX_CNT) : 0;
  d->first = q->unit;
  for (uint32_t i = q->unit; i < d->total && d->cnt < QR_REPLY_UNIT_MAX_CNT; i++)
    d->units[d->cnt++] = units[i];
}

/* Sends a question on to who answers it, or answers it; false if there is no room for that. */
static bool route(qr_topology_t *t, const qr_query_t *q) {
  if (q->kind == QR_QUERY_DEVICES || q->kind == QR_QUERY_RESET) {
    qr_reply_t r = {.id = q->id, .kind = q->kind};
    if (!qr_ring_room(t->rings[SAID])) return false;
    ask_accel(t, q, &r);
    return qr_ring_push(t->rings[SAID], &r);
  }
  bool of_net = q->kind == QR_QUERY_PEERS || q->kind == QR_QUERY_BAN;
  enum ring_id to = of_net && t->net ? ASK_NET : ASK_CHAIN;
  return qr_ring_push(t->rings[to], q);
}

/* The rpc tile: the control socket, and the way of each question to the tile that knows. */
static int rpc_poll(void *state, uint64_t now_ns) {
  qr_topology_t *t = state;
  int work = t->rpc ? (int)qr_rpc_poll(t->rpc, now_ns) : 0;
  if (!t->has_held) t->has_held = qr_ring_pop(t->rings[ASKED], &t->held_query);
  if (t->has_held && route(t, &t->held_query)) {
    t->has_held = false;
    work++;
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

static qr_ring_t *make_ring(enum ring_id kind) {
  uint32_t depth = rings[kind].depth, item_sz = rings[kind].item_sz;
  void *mem = aligned_alloc(QR_CACHE_LINE, qr_ring_footprint(depth, item_sz));
  return mem ? qr_ring_init(mem, depth, item_sz) : NULL;
}

static int make_rings(qr_topology_t *t) {
  bool ok = true;
  for (uint32_t i = 0; i < RING_CNT; i++) ok = (t->rings[i] = make_ring(i)) && ok;
  for (uint32_t i = 0; i < t->cfg.config->verify.cnt; i++) {
    verifier_t *v = &t->verifiers[i];
    v->orders = make_ring(CHAIN_VERIFY);
    v->results = make_ring(VERIFY_CHAIN);
    ok = ok && v->orders && v->results;
  }
  return ok ? QR_OK : QR_ERR_NOMEM;
}

static int make_chain(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_config_t *c = t->cfg.config;
  qr_chain_tile_cfg_t cfg = {
      .objects = &t->objects,
      .store_ops = t->cfg.store_ops,
      .store = t->cfg.store,
      .store_dir = t->cfg.store_dir,
      .store_options = t->cfg.store_options,
      .reserve = t->cfg.reserve,
      .params_text = t->params_text,
      .prune_depth = c->prune_depth,
      .clock = t->cfg.clock,
      .verify_cnt = c->verify.cnt,
      .mine_orders = t->rings[CHAIN_MINE],
      .mine_found = t->rings[MINE_CHAIN],
      .queries = t->rings[ASK_CHAIN],
      .replies = t->rings[CHAIN_SAYS],
      .mine_stats = &t->mine_stats,
      .verify_stats = &t->verify_stats,
      .mine = c->mine,
      .stop_height = c->stop_height,
      .miner = t->cfg.key->pk,
      .accel_name = t->accel_name,
      .mempool = {.max_cnt = c->pool_max_cnt,
                  .fee_min = c->pool_fee_min,
                  .keep_ns = c->pool_keep_h * UINT64_C(3600000000000)},
  };
  for (uint32_t i = 0; i < c->verify.cnt; i++) {
    cfg.verify_orders[i] = t->verifiers[i].orders;
    cfg.verify_results[i] = t->verifiers[i].results;
  }
  if (t->cfg.link_ops) {
    cfg.from_net = t->rings[NET_CHAIN];
    cfg.to_net = t->rings[CHAIN_NET];
    cfg.net_stats = &t->net_stats;
    cfg.peer_wait_ms = c->peer_cnt ? PEER_WAIT_MS : 0;
  }
  return qr_chain_tile_init(&cfg, &t->chain, why, why_sz);
}

/* Where others reach this node, as far as it can know. */
static qr_link_addr_t own_addr(const qr_config_t *c) {
  qr_link_addr_t a = c->listen, none = {.port = 0};
  if (!strcmp(c->announce, "none")) return none;
  if (*c->announce && !qr_link_addr_parse(c->announce, QR_CONFIG_PORT, &a)) return none;
  return qr_netaddr_scope(&a) == QR_NETADDR_NOWHERE ? none : a;
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
      .offer = t->cfg.offer,
      .clock = t->cfg.clock,
      .now_ns = t->cfg.clock->mono_ns(t->cfg.clock->ctx),
      .peers = qr_peers_cfg_of(c, t->cfg.chain, &t->cfg.key->pk, t->cfg.clock),
      .keep_path = t->cfg.peers_path,
  };
  cfg.peers.ops = t->cfg.link_ops;
  cfg.peers.link = t->cfg.link;
  cfg.peers.offers = t->cfg.offer;
  cfg.peers.pruned = c->prune_depth || qr_chain_tile_held_from(t->chain) > 1;
  cfg.peers.own = own_addr(c);
  cfg.peers.model_max_sz = model_max_sz;
  cfg.peers.seed = t->cfg.seed;
  memcpy(cfg.peers.book_key, t->cfg.book_key, sizeof cfg.peers.book_key);
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

/* True if a verify tile runs on the miner's thread. */
static bool make_verifiers(qr_topology_t *t, bool *ok) {
  const qr_config_t *c = t->cfg.config;
  bool any = false;
  for (uint32_t i = 0; i < c->verify.cnt; i++) {
    verifier_t *v = &t->verifiers[i];
    qr_verify_tile_cfg_t cfg = {.objects = &t->objects,
                                .executor = v->executor,
                                .orders = v->orders,
                                .results = v->results,
                                .clock = t->cfg.clock,
                                .stats = &t->verify_stats};
    if (c->verify.threads[i] == c->thread_mine) {
      cfg.busy_cnt = &t->verify_busy_cnt;
      any = true;
    }
    v->verify = qr_verify_tile_init(&cfg);
    *ok = *ok && v->verify;
  }
  return any;
}

static int make_workers(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_config_t *c = t->cfg.config;
  int32_t task = only_task(t, why, why_sz);
  if (task < -1) return QR_ERR_ARG;
  bool ok = true;
  qr_mine_tile_cfg_t mine = {.objects = &t->objects,
                             .lane_cnt = t->lane_cnt,
                             .orders = t->rings[CHAIN_MINE],
                             .found = t->rings[MINE_CHAIN],
                             .miner = t->cfg.key->pk,
                             .adopt_margin = c->adopt_margin,
                             .only_task = task,
                             .nonce = t->cfg.seed,
                             .clock = t->cfg.clock,
                             .stats = &t->mine_stats};
  memcpy(mine.executors, t->mine_executors, sizeof mine.executors);
  if (make_verifiers(t, &ok)) mine.yield_to = &t->verify_busy_cnt;
  for (uint32_t i = 0; i < t->cfg.chain->p.task_cnt; i++)
    mine.genesis[i] = qr_chain_tile_genesis(t->chain, i);
  t->mine = qr_mine_tile_init(&mine);
  if (ok && t->mine) return QR_OK;
  snprintf(why, why_sz, "out of memory");
  return QR_ERR_NOMEM;
}

static void place(qr_topology_t *t, qr_tile_t *tile, const char *name,
                  int (*poll)(void *, uint64_t), void *state, uint32_t thread) {
  *tile = (qr_tile_t){name, poll, state};
  t->all.tiles[t->all.tile_cnt++] = tile;
  qr_tile_loop_t *l = &t->loops[thread];
  l->tiles[l->tile_cnt++] = tile;
}

static void place_tiles(qr_topology_t *t) {
  const qr_config_t *c = t->cfg.config;
  const uint32_t thread_of[TILE_CNT] = {[TILE_RPC] = c->thread_rpc,
                                        [TILE_NET] = c->thread_net,
                                        [TILE_CHAIN] = c->thread_chain,
                                        [TILE_MINE] = c->thread_mine};
  place(t, &t->tiles[TILE_RPC], "rpc", rpc_poll, t, c->thread_rpc);
  if (t->net) place(t, &t->tiles[TILE_NET], "net", qr_net_tile_poll, t->net, c->thread_net);
  place(t, &t->tiles[TILE_CHAIN], "chain", qr_chain_tile_poll, t->chain, c->thread_chain);
  for (uint32_t i = 0; i < c->verify.cnt; i++) {
    verifier_t *v = &t->verifiers[i];
    place(t, &v->tile, "verify", qr_verify_tile_poll, v->verify, c->verify.threads[i]);
    qr_ring_set_bell(v->orders, &t->loops[c->verify.threads[i]].bell);
    qr_ring_set_bell(v->results, &t->loops[c->thread_chain].bell);
  }
  place(t, &t->tiles[TILE_MINE], "mine", qr_mine_tile_poll, t->mine, c->thread_mine);
  for (uint32_t i = 0; i < RING_CNT; i++)
    qr_ring_set_bell(t->rings[i], &t->loops[thread_of[rings[i].consumer]].bell);
  for (uint32_t i = 0; i < THREAD_MAX_CNT; i++) {
    qr_tile_loop_t *l = &t->loops[i];
    l->core = c->core[i];
    l->spin_us = c->spin_us;
    l->sleep_us = c->sleep_us;
    l->clock = t->cfg.clock;
    l->stop = &t->stop;
    /* verify and mine tiles only: the others look at a socket, a port or a disk */
    bool computes = i != c->thread_rpc && i != c->thread_net && i != c->thread_chain;
    /* and a miner on an accelerator of its own looks at that */
    l->rings_only = computes && (!t->cfg.check_ops || i != c->thread_mine);
    l->niceness = computes ? COMPUTE_NICENESS : 0;
  }
  t->all.clock = t->cfg.clock;
}

/* Loads the programs and opens the queues of everything that executes. With an accelerator that is
   not trusted, verifiers have nothing to do with it, and miners have what they find checked. */
static int make_executors(qr_topology_t *t, char *why, size_t why_sz) {
  const qr_chain_cfg_t *chain = t->cfg.chain;
  const qr_config_t *c = t->cfg.config;
  const qr_accel_ops_t *ops = t->cfg.check_ops ? t->cfg.check_ops : t->cfg.accel_ops;
  qr_accel_t *dev = t->cfg.check_ops ? t->cfg.check : t->cfg.accel;
  qr_accel_info_t info;
  t->cfg.accel_ops->info(t->cfg.accel, &info);
  snprintf(t->accel_name, sizeof t->accel_name, "%s", info.name);
  t->lane_cnt = c->mine_lane_cnt ? c->mine_lane_cnt : info.seat_cnt ? info.seat_cnt : 1;
  if (t->lane_cnt > QR_MINE_LANE_MAX_CNT) t->lane_cnt = QR_MINE_LANE_MAX_CNT;
  int err = qr_executor_load(chain, t->cfg.accel_ops, t->cfg.accel, t->prog_ids);
  memcpy(t->check_prog_ids, t->prog_ids, sizeof t->check_prog_ids);
  if (!err && t->cfg.check_ops) err = qr_executor_load(chain, ops, dev, t->check_prog_ids);
  for (uint32_t i = 0; i < c->verify.cnt && !err; i++)
    err = qr_executor_init(&t->verifiers[i].executor, chain, ops, dev, t->check_prog_ids);
  for (uint32_t i = 0; i < t->lane_cnt && !err; i++) {
    qr_executor_t **x = &t->mine_executors[i];
    err = qr_executor_init(x, chain, t->cfg.accel_ops, t->cfg.accel, t->prog_ids);
    if (!err && t->cfg.check_ops)
      err = qr_executor_check(*x, ops, dev, t->check_prog_ids, c->accel_check);
  }
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
  t->params_text = qr_genesis_text(&cfg->chain->p);
  if (!err && !t->params_text) err = QR_ERR_NOMEM;
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
  for (uint32_t i = 0; i < QR_VERIFY_MAX_CNT; i++) qr_verify_tile_fini(t->verifiers[i].verify);
  qr_net_tile_fini(t->net);
  qr_chain_tile_fini(t->chain);
  for (uint32_t i = 0; i < QR_MINE_LANE_MAX_CNT; i++) qr_executor_fini(t->mine_executors[i]);
  if (t->has_objects) qr_objects_fini(&t->objects);
  free(t->params_text);
  for (uint32_t i = 0; i < RING_CNT; i++) free(t->rings[i]);
  for (uint32_t i = 0; i < QR_VERIFY_MAX_CNT; i++) {
    qr_executor_fini(t->verifiers[i].executor);
    free(t->verifiers[i].orders);
    free(t->verifiers[i].results);
  }
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
