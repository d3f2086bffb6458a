/* Many peers in one process, each with an identity and an address of its own, that do to a node
   what no peer should, or, as light ones, what they may: for test_hostile.sh.

   peer_hostile <genesis file> <victim's address> <mode> <count> <seconds> <first own a.b.c.d>
   <seed>

   Each peer is a link/udp on an address of its own; one that is thrown out comes again with another
   address and another identity, until the time is over. Prints one line of what it has seen. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"
#include "chain/tree.h"
#include "crypto/hash.h"
#include "port/clock.h"
#include "port/drivers.h"
#include "wire/msg.h"

#define AGENT_MAX_CNT 400u
#define PORT 4200u
#define EV_CNT 16
#define IN_SZ 65536u
#define MS UINT64_C(1000000)
#define SEC (1000 * MS)
#define OPTIONS "window_kib=64;send_kib=128;handshake_ms=8000"

typedef struct {
  qr_link_t *link;
  qr_link_conn_t conn;
  qr_key_t key;
  uint32_t number, life; /* life: how often it came */
  bool up, greeted, ready;
  uint64_t next_ns, up_ns, from_ns; /* acts next; came up; may come */
  uint8_t in[IN_SZ];                /* of the control stream, for those that listen */
  uint32_t in_sz, skip;
  qr_hash_t tip;
  uint64_t asked, got, announced;
} agent_t;

typedef struct {
  const char *name;
  void (*act)(agent_t *a); /* when it is time, after the greeting if greets */
  bool greets, listens;
  uint32_t every_ms; /* between acts */
  uint32_t poll_ms;  /* between looks at the link; 0: as soon as possible */
} manner_t;

static agent_t *agents[AGENT_MAX_CNT];
static qr_chain_cfg_t chain;
static qr_hash_t genesis;
static const qr_link_ops_t *ops;
static qr_link_addr_t victim, first;
static const manner_t *mode;
static uint64_t now_ns, draws, seed, ups, downs, refused;
static volatile sig_atomic_t stopped;
static void on_signal(int sig) { stopped = sig; }

static uint64_t draw(uint64_t below) {
  draws = draws * 6364136223846793005u + 1442695040888963407u;
  return (draws >> 33) % below;
}
static void fill(uint8_t *p, size_t sz) {
  for (size_t i = 0; i < sz; i++) p[i] = (uint8_t)draw(256);
}
static void die(const char *what) {
  fprintf(stderr, "peer_hostile: %s\n", what);
  exit(1);
}

/* ---- saying things ---- */

static void put(agent_t *a, enum qr_link_class cls, const void *p, size_t sz) {
  if (a->up && sz) (void)ops->send(a->link, a->conn, cls, p, sz); /* what is not taken is lost */
}
static void say(agent_t *a, const qr_msg_t *m) {
  static uint8_t f[QR_MSG_FRAME_MAX_SZ];
  put(a, (enum qr_link_class)qr_msg_class_of(m->type), f, qr_msg_encode(m, f));
}
static void say_hello(agent_t *a, uint64_t height, uint64_t work) {
  qr_msg_t m = {.type = QR_MSG_HELLO,
                .hello = {.version = QR_MSG_VERSION,
                          .chain_id = chain.p.chain_id,
                          .rules = chain.rules,
                          .genesis = genesis,
                          .tip = genesis,
                          .height = height,
                          .work = qr_u256_shl_sat(&(qr_u256_t){{work}}, 200 * (work > 1)),
                          .listen_port = PORT,
                          .features = QR_MSG_FEATURE_ADDRS,
                          .agent_sz = 1,
                          .agent = "h"}};
  if (work <= 1) m.hello.work = qr_u256_from_u64(work);
  say(a, &m);
}
static void ask_block(agent_t *a, const qr_hash_t *hash) {
  say(a, &(qr_msg_t){.type = QR_MSG_GET_BLOCK, .get_block = {*hash}});
}
static void ask_headers(agent_t *a) {
  say(a, &(qr_msg_t){.type = QR_MSG_GET_HEADERS, .get_headers = {1, &genesis, 128}});
}

/* ---- what each mode does ---- */

static void act_light(agent_t *a) { (void)a; }

static void act_garbage(agent_t *a) { /* bytes that are no frames, on every stream */
  uint8_t b[2000];
  fill(b, sizeof b);
  put(a, (enum qr_link_class)draw(QR_LINK_CLASS_CNT), b, 1 + draw(sizeof b));
}
static void act_oversize(agent_t *a) { /* a head that promises too much, and bytes for it */
  uint8_t b[8192] = {0};
  uint8_t type = (uint8_t)draw(40);
  uint32_t max = qr_msg_known(type) ? qr_msg_payload_max(type) : QR_MSG_FRAME_MAX_SZ;
  qr_msg_encode_head(type, draw(2) ? max + 1 + (uint32_t)draw(100) : (uint32_t)draw(UINT32_MAX), b);
  put(a, (enum qr_link_class)draw(QR_LINK_CLASS_CNT), b, sizeof b);
}
static void act_malformed(agent_t *a) { /* the right size and stream, but what is in it */
  static uint8_t b[QR_MSG_HEAD_SZ + (256u << 10)];
  uint8_t type;
  do type = (uint8_t)(1 + draw(QR_MSG_TYPE_END - 1));
  while (!qr_msg_known(type));
  uint32_t max = qr_msg_payload_max(type), sz = draw(2) ? max : (uint32_t)draw(max + 1ull);
  if (sz > 4096 && draw(8)) sz = (uint32_t)draw(4096);
  if (sz > (256u << 10)) sz = 256u << 10;
  qr_msg_encode_head(type, sz, b);
  fill(b + QR_MSG_HEAD_SZ, sz);
  bool right = draw(8);
  put(a, right ? (enum qr_link_class)qr_msg_class_of(type) : draw(QR_LINK_CLASS_CNT), b,
      QR_MSG_HEAD_SZ + sz);
}
static void act_truncated(agent_t *a) { /* half a frame, and then it waits or goes */
  uint8_t b[600] = {0};
  qr_msg_encode_head(QR_MSG_BLOCK, 100000, b);
  put(a, QR_LINK_BLOCK, b, 1 + draw(sizeof b));
  qr_msg_encode_head(QR_MSG_PING, 8, b);
  put(a, QR_LINK_CONTROL, b, 1 + draw(12));
  if (draw(2)) return;
  ops->disconnect(a->link, a->conn);
  a->up = false;
}
static void act_replay(agent_t *a) { /* what was right once, again and again */
  uint8_t tx[QR_TX_SZ] = {1};
  say_hello(a, 0, 0);
  say(a, &(qr_msg_t){.type = QR_MSG_READY});
  for (int i = 0; i < 20; i++) {
    say(a, &(qr_msg_t){.type = QR_MSG_PONG, .ping = {7}});
    say(a, &(qr_msg_t){.type = QR_MSG_ANNOUNCE, .announce = {a->tip, 1, qr_u256_from_u64(1)}});
    say(a, &(qr_msg_t){.type = QR_MSG_TX, .tx = {tx}});
    say(a, &(qr_msg_t){.type = QR_MSG_NOT_FOUND, .not_found = {QR_MSG_WANT_BLOCK, a->tip}});
  }
}
static void act_flood(agent_t *a) { /* questions, as many as fit */
  qr_hash_t some;
  for (int i = 0; i < 200; i++) {
    fill(some.b, sizeof some.b);
    switch (draw(6)) {
    case 0: say(a, &(qr_msg_t){.type = QR_MSG_PING, .ping = {draw(UINT64_MAX)}}); break;
    case 1: ask_block(a, draw(2) ? &some : &a->tip); break;
    case 2: ask_headers(a); break;
    case 3: say(a, &(qr_msg_t){.type = QR_MSG_GET_ADDRS}); break;
    case 4: say(a, &(qr_msg_t){.type = QR_MSG_GET_COMPACT, .get_block = {a->tip}}); break;
    default:
      say(a, &(qr_msg_t){.type = QR_MSG_GET_MODEL, .get_model = {a->tip, some, 0, 1, false}});
      break;
    }
  }
}
static void act_slow(agent_t *a) { /* many answers asked for, and hardly read */
  for (int i = 0; i < 20; i++) {
    ask_block(a, &a->tip);
    ask_headers(a);
  }
}
static void act_liar(agent_t *a) { /* much work, and headers that nobody mined */
  static uint8_t headers[128 * QR_HEADER_SZ];
  qr_msg_t m = {.type = QR_MSG_ANNOUNCE, .announce = {.height = 1 + draw(1000)}};
  fill(m.announce.hash.b, QR_HASH_SZ);
  fill((uint8_t *)m.announce.work.w, sizeof m.announce.work);
  say(a, &m);
  fill(headers, sizeof headers);
  say(a, &(qr_msg_t){.type = QR_MSG_HEADERS, .headers = {(uint32_t)draw(129), headers}});
}
static void act_addrs(agent_t *a) { /* addresses of others that are not there */
  uint8_t b[100 * QR_MSG_ADDR_SZ];
  fill(b, sizeof b);
  for (uint32_t i = 0; i < 100; i++) {
    uint8_t *ip = b + i * QR_MSG_ADDR_SZ;
    memset(ip, 0, 10);
    memset(ip + 10, 255, 2);
    if (draw(2)) ip[12] = 10, ip[13] = 90;
  }
  say(a, &(qr_msg_t){.type = QR_MSG_ADDRS, .addrs = {1 + (uint32_t)draw(100), b}});
}
static void act_churn(agent_t *a) {
  ops->disconnect(a->link, a->conn);
  a->up = false;
}

static const manner_t modes[] = {
    {"light", act_light, true, true, 1000, 0},
    {"silent", act_light, false, false, 1000, 0},
    {"halfopen", act_light, false, false, 1000, 3600000},
    {"garbage", act_garbage, false, false, 20, 0},
    {"oversize", act_oversize, true, false, 50, 0},
    {"malformed", act_malformed, true, true, 20, 0},
    {"truncated", act_truncated, true, false, 300, 0},
    {"replay", act_replay, true, true, 50, 0},
    {"flood", act_flood, true, true, 10, 0},
    {"slow", act_slow, true, true, 200, 400},
    {"liar", act_liar, true, true, 100, 0},
    {"addrs", act_addrs, true, true, 50, 0},
    {"churn", act_churn, true, false, 30, 0},
};

/* ---- listening, as far as a light peer does ---- */

static void hear(agent_t *a, const qr_msg_t *m) {
  switch (m->type) {
  case QR_MSG_HELLO:
    a->tip = m->hello.tip;
    say(a, &(qr_msg_t){.type = QR_MSG_READY});
    break;
  case QR_MSG_READY: a->ready = true; break;
  case QR_MSG_PING: say(a, &(qr_msg_t){.type = QR_MSG_PONG, .ping = m->ping}); break;
  case QR_MSG_ANNOUNCE:
    a->announced++;
    a->tip = m->announce.hash;
    if (strcmp(mode->name, "light")) break;
    a->asked++;
    ask_block(a, &a->tip);
    break;
  default: break;
  }
}

static void listen_to(agent_t *a, const uint8_t *p, size_t sz) {
  if (sz > IN_SZ - a->in_sz) sz = IN_SZ - a->in_sz;
  memcpy(a->in + a->in_sz, p, sz);
  a->in_sz += (uint32_t)sz;
  uint32_t at = 0;
  while (a->in_sz - at >= QR_MSG_HEAD_SZ) {
    uint32_t payload_sz;
    uint8_t type;
    if (qr_msg_head(a->in + at, &payload_sz, &type)) die("the victim sends what is no frame");
    if (a->in_sz - at < QR_MSG_HEAD_SZ + payload_sz) break;
    qr_msg_t m;
    if (qr_msg_known(type) && !qr_msg_decode(type, a->in + at + QR_MSG_HEAD_SZ, payload_sz, &m))
      hear(a, &m);
    at += QR_MSG_HEAD_SZ + payload_sz;
  }
  a->in_sz -= at;
  memmove(a->in, a->in + at, a->in_sz);
}

/* ---- coming and going ---- */

static void leave(agent_t *a, uint64_t wait_ns) {
  if (a->link) ops->close(a->link);
  a->link = NULL;
  a->up = a->greeted = a->ready = false;
  a->in_sz = 0;
  a->from_ns = now_ns + wait_ns;
}

static void come(agent_t *a) {
  char why[512];
  uint8_t key_seed[32] = {0};
  qr_link_addr_t own = first;
  uint32_t ip = (uint32_t)(own.ip[12] << 24 | own.ip[13] << 16 | own.ip[14] << 8 | own.ip[15]);
  ip += a->number + AGENT_MAX_CNT * (a->life % 100);
  for (int i = 0; i < 4; i++) own.ip[12 + i] = (uint8_t)(ip >> (24 - 8 * i));
  own.port = PORT;
  qr_st64(key_seed, seed);
  qr_st32(key_seed + 8, a->number);
  qr_st32(key_seed + 12, a->life++);
  qr_key_from_seed(key_seed, &a->key);
  qr_link_cfg_t cfg = {.options = OPTIONS, .local = own, .identity = &a->key, .conn_max_cnt = 1};
  if (ops->open(&cfg, &a->link, why, sizeof why)) die(why);
  if (ops->connect(a->link, &victim, NULL, &a->conn)) die("connect failed");
}

static void watch(agent_t *a) {
  qr_link_event_t ev[EV_CNT];
  int n = ops->poll(a->link, now_ns, ev, mode->poll_ms ? 1 : EV_CNT);
  for (int i = 0; i < n; i++) {
    switch (ev[i].kind) {
    case QR_LINK_UP:
      ups++;
      a->up = true;
      a->next_ns = a->up_ns = now_ns;
      if (mode->greets) {
        bool lies = !strcmp(mode->name, "liar");
        say_hello(a, lies ? 1000000 : 0, lies ? 2 + draw(1u << 30) : 0);
        if (!mode->listens) say(a, &(qr_msg_t){.type = QR_MSG_READY});
      }
      break;
    case QR_LINK_DOWN:
      downs += a->up;
      refused += !a->up;
      leave(a, 200 * MS);
      return;
    case QR_LINK_DATA:
      if (ev[i].cls == QR_LINK_CONTROL && mode->listens) listen_to(a, ev[i].data, ev[i].sz);
      if (ev[i].cls == QR_LINK_BLOCK) a->got += ev[i].sz;
      break;
    default: break;
    }
  }
}

static void live(agent_t *a) {
  if (!a->link) {
    if (now_ns < a->from_ns) return;
    come(a);
    a->next_ns = 0;
  }
  bool slow = mode->poll_ms && (a->ready || !mode->greets);
  if (!slow || now_ns >= a->next_ns) watch(a);
  if (a->link && !a->up && slow) a->next_ns = now_ns + mode->poll_ms * MS;
  if (!a->up || now_ns < a->next_ns) return;
  a->next_ns = now_ns + (mode->poll_ms ? mode->poll_ms : mode->every_ms) * MS;
  if (mode->greets && mode->listens && !a->ready) return;
  mode->act(a);
  if (!a->up) leave(a, 50 * MS);
}

int main(int argc, char **argv) {
  static qr_params_t params;
  char why[512];
  if (argc != 8)
    die("usage: peer_hostile <genesis> <victim> <mode> <count> <seconds> <first own address> "
        "<seed>");
  if (qr_crypto_init()) die("no randomness");
  qr_log_init(QR_LOG_ERROR, 2);
  signal(SIGTERM, on_signal);
  prctl(PR_SET_TIMERSLACK, 1000);
  if (qr_genesis_read(argv[1], &params, why, sizeof why) ||
      qr_params_init(&params, &chain, why, sizeof why))
    die(why);
  genesis = qr_genesis_hash(&chain);
  for (size_t i = 0; i < QR_ARRAY_CNT(modes); i++) {
    if (!strcmp(modes[i].name, argv[3])) mode = &modes[i];
  }
  uint32_t cnt = (uint32_t)atoi(argv[4]);
  seed = draws = strtoull(argv[7], NULL, 10);
  if (!mode || !cnt || cnt > AGENT_MAX_CNT) die("no such mode, or count");
  if (!qr_link_addr_parse(argv[2], 7788, &victim) || !qr_link_addr_parse(argv[6], PORT, &first))
    die("bad address");
  if (!(ops = qr_link_driver("udp"))) die("this build has no link/udp");
  now_ns = qr_clock_mono_ns();
  const uint64_t began_ns = now_ns, end_ns = now_ns + (uint64_t)atoi(argv[5]) * SEC;
  for (uint32_t i = 0; i < cnt; i++) {
    if (!(agents[i] = calloc(1, sizeof **agents))) die("no memory");
    agents[i]->number = i;
    agents[i]->from_ns = began_ns + draw(SEC); /* not all at once */
  }
  while (!stopped && (now_ns = qr_clock_mono_ns()) < end_ns) {
    for (uint32_t i = 0; i < cnt; i++) live(agents[i]);
    usleep(1000);
  }
  uint64_t ready = 0, served = 0, asked = 0, announced_min = UINT64_MAX;
  for (uint32_t i = 0; i < cnt; i++) {
    ready += agents[i]->ready;
    served += agents[i]->got > 0;
    asked += agents[i]->asked;
    if (agents[i]->announced < announced_min) announced_min = agents[i]->announced;
    leave(agents[i], 0);
  }
  printf("mode=%s up=%lu down=%lu refused=%lu ready=%lu asked=%lu served=%lu announced_min=%lu\n",
         mode->name, ups, downs, refused, ready, asked, served, announced_min);
  return 0;
}
