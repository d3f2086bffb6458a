#include "app/config_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "chain/mempool.h"
#include "port/drivers.h"

enum kind { PATH, TEXT, U32, U64, I32, BOOL, LEVEL, ADDR, PEER, OWN, THREADS, LINK, STORE, ACCEL };

typedef struct {
  const char *name; /* section.key */
  enum kind kind;
  size_t off, sz; /* of the member */
  int64_t lo, hi; /* numbers */
  const char *help;
} config_key_t;

#define MEMBER(m) offsetof(qr_config_t, m), sizeof(((qr_config_t *)0)->m)
#define THREAD_MAX ((int64_t)QR_CONFIG_THREAD_MAX_CNT - 1)
#define CORE_MAX 1023

static const config_key_t keys[] = {
    {"node.dir", PATH, MEMBER(dir), 0, 0, "data directory: identity, blocks, socket"},
    {"node.genesis", PATH, MEMBER(genesis), 0, 0,
     "genesis file, or a profile: main, devnet, regtest"},
    {"node.log_level", LEVEL, MEMBER(log_level), 0, 0, "error, warn, info or debug"},
    {"node.stop_height", U64, MEMBER(stop_height), 0, INT64_MAX,
     "stop mining at this height; 0: never"},
    {"rpc.socket", PATH, MEMBER(rpc_socket), 0, 0,
     "control socket; empty: quarryd.sock in the data directory"},
    {"link.driver", LINK, MEMBER(link), 0, 0, "how packets come and go; none: no network"},
    {"link.options", TEXT, MEMBER(link_options), 0, 0,
     "the link driver's own settings, key=value;..."},
    {"link.listen", ADDR, MEMBER(listen), 0, 0, "own address, IP or IP:PORT"},
    {"link.peer", PEER, MEMBER(peers), 0, 0,
     "peer to dial and keep, IP or IP:PORT; may be repeated"},
    {"link.peer_max", U32, MEMBER(peer_max_cnt), 1, 256, "connections in both directions together"},
    {"peers.exchange", BOOL, MEMBER(exchange), 0, 0,
     "exchange addresses with peers and dial out of them; false: only link.peer"},
    {"peers.outbound", U32, MEMBER(outbound_cnt), 0, 16,
     "learnt peers to dial and keep, each in a network of its own"},
    {"peers.inbound", U32, MEMBER(inbound_cnt), 0, 256,
     "most who may come in; 0: what link.peer_max leaves"},
    {"peers.per_ip", U32, MEMBER(per_ip_cnt), 0, 256, "of them from one IP address; 0: no limit"},
    {"peers.per_group", U32, MEMBER(per_group_cnt), 0, 256,
     "of them from one network (IPv4 /16, IPv6 /32); 0: no limit"},
    {"peers.announce", OWN, MEMBER(announce), 0, 0,
     "own address as others reach it; empty: link.listen; none"},
    {"peers.private", BOOL, MEMBER(private_addrs), 0, 0,
     "take addresses of private networks from neighbours there"},
    {"pool.max", U32, MEMBER(pool_max_cnt), 1, QR_MEMPOOL_MAX_CNT,
     "transactions that may wait for a block here; the cheapest give way"},
    {"pool.fee_min", U64, MEMBER(pool_fee_min), 0, INT64_MAX,
     "least fee of a transaction that is taken and relayed"},
    {"pool.keep_h", U32, MEMBER(pool_keep_h), 0, 87600,
     "hours after which one that waits is dropped; 0: never"},
    {"sync.pin", TEXT, MEMBER(sync_pin), 0, 0,
     "without a store begin with a snapshot that the block of this hash settles; empty: with "
     "genesis"},
    {"sync.serve", TEXT, MEMBER(sync_serve), 0, 0,
     "give peers this snapshot, a file of 'quarry snapshot export'; empty: none"},
    {"store.driver", STORE, MEMBER(store), 0, 0, "where blocks and models are kept"},
    {"store.options", TEXT, MEMBER(store_options), 0, 0,
     "the store driver's own settings, key=value;..."},
    {"store.prune_depth", U64, MEMBER(prune_depth), 0, INT64_MAX,
     "keep so many of the newest blocks and their models; 0: all of them"},
    {"store.reserve_mb", U32, MEMBER(store_reserve_mb), 0, 65536,
     "MiB of the store's disk kept for recovery when it is full; 0: the disk is not looked at"},
    {"accel.driver", ACCEL, MEMBER(accel), 0, 0, "what executes the training steps"},
    {"accel.options", TEXT, MEMBER(accel_options), 0, 0,
     "the accelerator driver's own settings, key=value,..."},
    {"accel.check", U32, MEMBER(accel_check), 0, 1000000,
     "of attempts not done on the CPU, repeat one in so many there; 0: only those that win"},
    {"mine.enable", BOOL, MEMBER(mine), 0, 0,
     "mine; 'quarry mining on|off' changes it while running"},
    {"mine.task", TEXT, MEMBER(mine_task), 0, 0,
     "mine only this task's blocks; empty: every task's"},
    {"mine.lanes", U32, MEMBER(mine_lane_cnt), 0, 32,
     "attempts side by side; 0: as many as the accelerator likes"},
    {"mine.adopt_margin", U32, MEMBER(adopt_margin), 0, 65536,
     "reward units (of 65536) by which the chain's model replaces the own"},
    {"tile.net", U32, MEMBER(thread_net), 0, THREAD_MAX, "thread of the network tile"},
    {"tile.chain", U32, MEMBER(thread_chain), 0, THREAD_MAX, "thread of the chain tile"},
    {"tile.verify", THREADS, MEMBER(verify), 0, THREAD_MAX,
     "threads of the verify tiles, a tile for each; the first one is busy first"},
    {"tile.mine", U32, MEMBER(thread_mine), 0, THREAD_MAX, "thread of the mining tile"},
    {"tile.rpc", U32, MEMBER(thread_rpc), 0, THREAD_MAX, "thread of the control socket"},
    {"tile.core0", I32, MEMBER(core[0]), -1, CORE_MAX, "core of thread 0; -1: not pinned"},
    {"tile.core1", I32, MEMBER(core[1]), -1, CORE_MAX, "core of thread 1"},
    {"tile.core2", I32, MEMBER(core[2]), -1, CORE_MAX, "core of thread 2"},
    {"tile.core3", I32, MEMBER(core[3]), -1, CORE_MAX, "core of thread 3"},
    {"tile.core4", I32, MEMBER(core[4]), -1, CORE_MAX, "core of thread 4"},
    {"tile.core5", I32, MEMBER(core[5]), -1, CORE_MAX, "core of thread 5"},
    {"tile.core6", I32, MEMBER(core[6]), -1, CORE_MAX, "core of thread 6"},
    {"tile.core7", I32, MEMBER(core[7]), -1, CORE_MAX, "core of thread 7"},
    {"tile.spin_us", U32, MEMBER(spin_us), 0, 1000000,
     "idle: keep polling so long after the last work"},
    {"tile.sleep_us", U32, MEMBER(sleep_us), 0, 100000,
     "idle: then sleep, from 50 us doubling up to this; 0: never sleep"},
};
_Static_assert(QR_ARRAY_CNT(keys) <= QR_CONFIG_KEY_MAX_CNT,
               "room to remember which keys a file set");

int qr_config_key_find(const char *key) {
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    if (!strcmp(keys[i].name, key)) return (int)i;
  }
  return -1;
}

bool qr_config_key_repeats(int idx) { return keys[idx].kind == PEER; }

uint32_t qr_config_key_distance(const char *a, const char *b) {
  uint32_t row[QR_CONFIG_KEY_SZ + 1];
  size_t bn = strlen(b);
  for (size_t j = 0; j <= bn; j++) row[j] = (uint32_t)j;
  for (size_t i = 0; a[i]; i++) {
    uint32_t diagonal = row[0];
    row[0] = (uint32_t)i + 1;
    for (size_t j = 0; j < bn; j++) {
      uint32_t best = diagonal + (a[i] != b[j]);
      if (row[j] + 1 < best) best = row[j] + 1;
      diagonal = row[j + 1];
      if (diagonal + 1 < best) best = diagonal + 1;
      row[j + 1] = best;
    }
  }
  return row[bn];
}

void qr_config_key_suggest(const char *key, char *out, size_t out_sz) {
  uint32_t best = UINT32_MAX;
  const char *name = NULL;
  const char *dot = strchr(key, '.');
  if (strlen(key) >= QR_CONFIG_KEY_SZ) return;
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    uint32_t d = qr_config_key_distance(key, keys[i].name);
    /* A right key in the wrong (or no) section is a likelier slip than one letter in each. */
    if (!strcmp(dot ? dot + 1 : key, strchr(keys[i].name, '.') + 1)) d = 1;
    if (d < best) {
      best = d;
      name = keys[i].name;
    }
  }
  if (best <= 4) snprintf(out, out_sz, "; did you mean '%s'?", name);
}

static bool number(const char *s, int64_t lo, int64_t hi, int64_t *out) {
  const char *digits = *s == '-' ? s + 1 : s;
  if (*digits < '0' || *digits > '9') return false;
  char *end;
  errno = 0;
  long long v = strtoll(s, &end, 10);
  if (*end || errno || v < lo || v > hi) return false;
  *out = v;
  return true;
}

static bool boolean(const char *s, bool *out) {
  static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off",
                                                                              "0"};
  for (size_t i = 0; i < QR_ARRAY_CNT(yes); i++) {
    if (!strcmp(s, yes[i]) || !strcmp(s, no[i])) {
      *out = !strcmp(s, yes[i]);
      return true;
    }
  }
  return false;
}

/* Name and help of driver i of a port; false past the end. */
static bool driver_at(enum kind port, size_t i, const char **name, const char **help) {
  if (port == LINK && qr_link_drivers[i]) {
    *name = qr_link_drivers[i]->name;
    *help = qr_link_drivers[i]->help;
    return true;
  }
  if (port == STORE && qr_store_drivers[i]) {
    *name = qr_store_drivers[i]->name;
    *help = qr_store_drivers[i]->help;
    return true;
  }
  if (port == ACCEL && qr_accel_drivers[i]) {
    *name = qr_accel_drivers[i]->name;
    *help = qr_accel_drivers[i]->help;
    return true;
  }
  return false;
}

static bool driver_known(enum kind port, const char *wanted, char *list, size_t list_sz) {
  const char *name, *help;
  size_t n = 0;
  list[0] = 0;
  for (size_t i = 0; driver_at(port, i, &name, &help); i++) {
    if (!strcmp(name, wanted)) return true;
    if (n < list_sz) n += (size_t)snprintf(list + n, list_sz - n, "%s%s", i ? ", " : "", name);
  }
  return false;
}

static int refuse(char *why, size_t why_sz, const char *key, const char *value,
                  const char *wanted) {
  snprintf(why, why_sz, "%s: '%.64s' is not %s", key, value, wanted);
  return QR_ERR_ARG;
}

static int set_text(const config_key_t *k, void *at, const char *value, char *why, size_t why_sz) {
  if (strlen(value) >= k->sz) {
    snprintf(why, why_sz, "%s: longer than %zu bytes", k->name, k->sz - 1);
    return QR_ERR_ARG;
  }
  snprintf(at, k->sz, "%s", value);
  return QR_OK;
}

static int set_number(const config_key_t *k, void *at, const char *value, char *why,
                      size_t why_sz) {
  int64_t v;
  if (!number(value, k->lo, k->hi, &v)) {
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a number from %lld to %lld", (long long)k->lo,
             (long long)k->hi);
    return refuse(why, why_sz, k->name, value, wanted);
  }
  if (k->kind == U64) {
    memcpy(at, &v, sizeof v);
  } else {
    uint32_t low = (uint32_t)v; /* the same bytes for int32_t */
    memcpy(at, &low, sizeof low);
  }
  return QR_OK;
}

/* "1,2,2": numbers with commas between them. */
static int set_threads(const config_key_t *k, qr_config_t *c, const char *value, char *why,
                       size_t why_sz) {
  uint32_t cnt = 0, threads[QR_CONFIG_VERIFY_MAX_CNT] = {0};
  for (const char *at = value; at; cnt++) {
    char word[16];
    int64_t v;
    size_t n = strcspn(at, ",");
    snprintf(word, sizeof word, "%.*s", (int)n, at);
    if (cnt == QR_CONFIG_VERIFY_MAX_CNT || n >= sizeof word || !number(word, k->lo, k->hi, &v)) {
      char wanted[96];
      snprintf(wanted, sizeof wanted, "a list such as 1,2 of at most %u numbers from %lld to %lld",
               QR_CONFIG_VERIFY_MAX_CNT, (long long)k->lo, (long long)k->hi);
      return refuse(why, why_sz, k->name, value, wanted);
    }
    threads[cnt] = (uint32_t)v;
    at = at[n] ? at + n + 1 : NULL;
  }
  c->verify.cnt = cnt;
  memcpy(c->verify.threads, threads, sizeof threads);
  return QR_OK;
}

static int set_peer(qr_config_t *c, const char *value, char *why, size_t why_sz) {
  qr_link_addr_t a;
  if (!qr_link_addr_parse(value, QR_CONFIG_PORT, &a)) {
    return refuse(
        why, why_sz, "link.peer", value,
        "an address such as 10.80.0.11:7788 or [fd00::11]:7788, the port left out or not");
  }
  for (uint32_t i = 0; i < c->peer_cnt; i++) {
    if (c->peers[i].port == a.port && !memcmp(c->peers[i].ip, a.ip, sizeof a.ip)) return QR_OK;
  }
  if (c->peer_cnt == QR_CONFIG_PEER_MAX_CNT) {
    snprintf(why, why_sz, "link.peer: more than %u peers", QR_CONFIG_PEER_MAX_CNT);
    return QR_ERR_ARG;
  }
  c->peers[c->peer_cnt++] = a;
  return QR_OK;
}

int qr_config_set(qr_config_t *c, const char *key, const char *value, char *why, size_t why_sz) {
  int idx = qr_config_key_find(key);
  if (idx < 0) {
    char hint[QR_CONFIG_KEY_SZ + 32] = "";
    qr_config_key_suggest(key, hint, sizeof hint);
    snprintf(why, why_sz, "unknown key '%.64s'%s", key, hint);
    return QR_ERR_NOTFOUND;
  }
  const config_key_t *k = &keys[idx];
  void *at = (uint8_t *)c + k->off;
  char list[128];
  switch (k->kind) {
  case PATH:
    if (!*value && strcmp(k->name, "rpc.socket"))
      return refuse(why, why_sz, k->name, value, "a path");
    return set_text(k, at, value, why, why_sz);
  case TEXT: return set_text(k, at, value, why, why_sz);
  case U32:
  case U64:
  case I32: return set_number(k, at, value, why, why_sz);
  case BOOL:
    if (!boolean(value, at)) return refuse(why, why_sz, k->name, value, "true or false");
    return QR_OK;
  case LEVEL:
    if (!qr_log_level_parse(value, at))
      return refuse(why, why_sz, k->name, value, "error, warn, info or debug");
    return QR_OK;
  case ADDR:
    if (!qr_link_addr_parse(value, QR_CONFIG_PORT, at)) {
      return refuse(
          why, why_sz, k->name, value,
          "an address such as 10.80.0.10:7788 or [fd00::10]:7788, the port left out or not");
    }
    return QR_OK;
  case PEER: return set_peer(c, value, why, why_sz);
  case OWN: {
    qr_link_addr_t a;
    if (*value && strcmp(value, "none") && !qr_link_addr_parse(value, QR_CONFIG_PORT, &a))
      return refuse(why, why_sz, k->name, value, "an address such as 198.51.100.7:7788, or none");
    return set_text(k, at, value, why, why_sz);
  }
  case THREADS: return set_threads(k, c, value, why, why_sz);
  default: break;
  }
  if (k->kind == LINK && !strcmp(value, "none")) value = ""; /* a node by itself */
  if ((k->kind != LINK || *value) && !driver_known(k->kind, value, list, sizeof list)) {
    snprintf(why, why_sz, "%s: this build has no driver '%.32s'; it has: %s", k->name, value, list);
    return QR_ERR_ARG;
  }
  return set_text(k, at, value, why, why_sz);
}

static void show(const config_key_t *k, const qr_config_t *c, char *out, size_t out_sz) {
  static const char *const levels[] = {"error", "warn", "info", "debug"};
  const uint8_t *at = (const uint8_t *)c + k->off;
  char addr[56];
  switch (k->kind) {
  case U32: snprintf(out, out_sz, "%u", qr_ld32(at)); break;
  case I32: snprintf(out, out_sz, "%d", (int)qr_ld32(at)); break;
  case U64: snprintf(out, out_sz, "%llu", (unsigned long long)qr_ld64(at)); break;
  case BOOL: snprintf(out, out_sz, "%s", *(const bool *)at ? "true" : "false"); break;
  case LEVEL: snprintf(out, out_sz, "%s", levels[c->log_level]); break;
  case ADDR: snprintf(out, out_sz, "%s", qr_link_addr_str(&c->listen, addr)); break;
  case PEER: snprintf(out, out_sz, "%s", ""); break;
  case THREADS:
    for (uint32_t i = 0, n = 0; i < c->verify.cnt && n < out_sz; i++)
      n += (uint32_t)snprintf(out + n, out_sz - n, "%s%u", i ? "," : "", c->verify.threads[i]);
    break;
  default: snprintf(out, out_sz, "%s", (const char *)at); break;
  }
}

void qr_config_key_print(const qr_config_t *c) {
  char section[16] = "";
  for (size_t i = 0; i < QR_ARRAY_CNT(keys); i++) {
    const char *dot = strchr(keys[i].name, '.');
    size_t n = (size_t)(dot - keys[i].name);
    if (strncmp(section, keys[i].name, n) || section[n]) {
      snprintf(section, sizeof section, "%.*s", (int)n, keys[i].name);
      printf("\n  [%s]\n", section);
    }
    char value[QR_CONFIG_PATH_SZ];
    show(&keys[i], c, value, sizeof value);
    printf("  %-12s = %-16s %s\n", dot + 1, value, keys[i].help);
  }
}

void qr_config_driver_print(void) {
  static const struct {
    enum kind port;
    const char *name;
  } ports[] = {{LINK, "link"}, {STORE, "store"}, {ACCEL, "accel"}};
  for (size_t p = 0; p < QR_ARRAY_CNT(ports); p++) {
    const char *name, *help;
    for (size_t i = 0; driver_at(ports[p].port, i, &name, &help); i++) {
      printf("  %-6s %-10s %s\n", ports[p].name, name, help);
    }
  }
}
