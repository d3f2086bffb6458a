/* An eclipse: 200 identities in few networks want a node for themselves. They tell it of nobody
   else, by the thousand, come in whenever there is a place, answer at once, hand on every block
   first and transactions besides; then they announce blocks and do not give them; then they fall
   silent. The node's own connections to honest peers end again and again, for those come and go,
   and it is started anew, once out of a file that is minutes old. Always some of those whom it
   dialled are honest, and it follows their chain. */
#define SIM_NODE_MAX 16
#define SIM_CONN_MAX 40
#define SIM_NET "20.%u"
#include "peer_sim.h"

#include "base/splitmix.h"
#include "peer/netaddr.h"

#define HONEST_CNT 12u /* the first is who is to be eclipsed */
#define FOE_CNT 200u
#define FOE_NET_CNT 5u
#define FOE_CONN_CNT 4u
#define STEP_MS 20u
#define BLOCK_MS 4000u
#define CUT_MS 10000u
#define AWAY_MS 4000u
#define WALL_MS 1800000000000ull
#define NONE UINT32_MAX

typedef struct {
  qr_link_conn_t conn;
  bool up, ready, to_victim;
  uint64_t tell_at;
  uint32_t in_sz;
  uint8_t in[8192];
} foe_conn_t;

typedef struct {
  qr_link_t *link;
  qr_key_t key;
  qr_link_addr_t addr;
  uint64_t dial_at;
  foe_conn_t conns[FOE_CONN_CNT];
} foe_t;

static sim_t sim;
static foe_t foes[FOE_CNT];
static uint64_t rng;
static enum { HELP, STALL, MUTE } mood; /* the foes hand on blocks; only say so; do neither */
static uint64_t calm_at;
static uint8_t *image, *old_image;
static uint8_t *away_image;
static size_t image_sz, old_image_sz, away_sz;
static uint32_t away; /* an honest node that is being started anew */

static uint32_t draw(uint32_t below) { return (uint32_t)(qr_splitmix_next(&rng) % below); }

/* ---- the foes ---- */

static qr_link_addr_t foe_addr(uint32_t i) {
  char text[32];
  qr_link_addr_t a;
  snprintf(text, sizeof text, "40.%u.%u.%u", i % FOE_NET_CNT, i / 100, 1 + i % 100);
  assert_true(qr_link_addr_parse(text, 4040, &a));
  return a;
}

static void foe_open(uint32_t i) {
  foe_t *f = &foes[i];
  uint8_t seed[32] = {(uint8_t)i, 77};
  char options[128], why[200] = "";
  memset(f, 0, sizeof *f);
  f->addr = foe_addr(i);
  qr_key_from_seed(seed, &f->key);
  snprintf(options, sizeof options, "hub=%s;buf_kib=16", sim.hub);
  qr_link_cfg_t cfg = {
      .options = options, .local = f->addr, .identity = &f->key, .conn_max_cnt = FOE_CONN_CNT};
  assert_int_equal(qr_link_mem_ops.open(&cfg, &f->link, why, sizeof why), QR_OK);
}

static void foe_say(foe_t *f, foe_conn_t *c, const qr_msg_t *m) {
  static uint8_t frame[QR_MSG_FRAME_MAX_SZ];
  size_t sz = qr_msg_encode(m, frame);
  qr_link_mem_ops.send(f->link, c->conn, (enum qr_link_class)qr_msg_class_of(m->type), frame, sz);
}

/* Addresses of the foes, or that nobody has, in their networks. */
static void foe_tell(foe_t *f, foe_conn_t *c, uint32_t cnt) {
  uint8_t bytes[QR_MSG_ADDRS_MAX_CNT * QR_MSG_ADDR_SZ];
  for (uint32_t i = 0; i < cnt; i++) {
    qr_link_addr_t to = foe_addr(draw(FOE_CNT));
    if (draw(2)) to.ip[15] = (uint8_t)draw(256), to.port = (uint16_t)(1024 + draw(60000));
    qr_msg_addr_t a = {.port = to.port};
    memcpy(a.ip, to.ip, sizeof a.ip);
    qr_msg_addr_put(&a, bytes + (size_t)i * QR_MSG_ADDR_SZ);
  }
  foe_say(f, c, &(qr_msg_t){.type = QR_MSG_ADDRS, .addrs = {cnt, bytes}});
}

static const sim_block_t *honest_tip(void) {
  const sim_node_t *best = sim.nodes[1];
  for (uint32_t i = 2; i < HONEST_CNT; i++) {
    if (sim_height(sim.nodes[i]) > sim_height(best)) best = sim.nodes[i];
  }
  return &best->blocks[best->tip];
}

static void foe_hello(foe_t *f, foe_conn_t *c) {
  const sim_block_t *tip = honest_tip();
  qr_msg_t m = {.type = QR_MSG_HELLO};
  m.hello = (qr_msg_hello_t){.version = QR_MSG_VERSION,
                             .chain_id = 7,
                             .genesis = sim_genesis(),
                             .tip = tip->hash,
                             .height = tip->height,
                             .work = qr_u256_from_u64(tip->height),
                             .features = QR_MSG_FEATURE_ADDRS,
                             .agent_sz = 5,
                             .agent = "sim/1"};
  foe_say(f, c, &m);
}

static void foe_hears(foe_t *f, foe_conn_t *c, const qr_msg_t *m) {
  if (m->type == QR_MSG_HELLO) foe_say(f, c, &(qr_msg_t){.type = QR_MSG_READY});
  if (m->type == QR_MSG_READY) c->ready = true;
  if (m->type == QR_MSG_PING)
    foe_say(f, c, &(qr_msg_t){.type = QR_MSG_PONG, .ping = {m->ping.nonce}});
  if (m->type == QR_MSG_GET_ADDRS) foe_tell(f, c, QR_MSG_ADDRS_MAX_CNT);
  if ((m->type != QR_MSG_GET_BLOCK && m->type != QR_MSG_GET_COMPACT) || mood != HELP) return;
  for (uint32_t i = 1; i < HONEST_CNT; i++) {
    const sim_block_t *b = sim_find(sim.nodes[i], &m->get_block.hash);
    if (!b || !b->bytes) continue;
    foe_say(f, c, &(qr_msg_t){.type = QR_MSG_BLOCK, .block = {b->bytes, (uint32_t)b->sz}});
    return;
  }
}

static foe_conn_t *foe_conn(foe_t *f, qr_link_conn_t conn) {
  for (uint32_t i = 0; i < FOE_CONN_CNT; i++) {
    if (f->conns[i].conn == conn) return &f->conns[i];
  }
  return NULL;
}

static void foe_data(foe_t *f, foe_conn_t *c, const qr_link_event_t *ev) {
  if (ev->cls != QR_LINK_CONTROL) return;
  assert_true(c->in_sz + ev->sz <= sizeof c->in);
  memcpy(c->in + c->in_sz, ev->data, ev->sz);
  c->in_sz += (uint32_t)ev->sz;
  uint32_t at = 0, sz;
  uint8_t type;
  while (c->in_sz - at >= QR_MSG_HEAD_SZ) {
    assert_int_equal(qr_msg_head(c->in + at, &sz, &type), QR_VERDICT_OK);
    if (c->in_sz - at < QR_MSG_HEAD_SZ + sz) break;
    qr_msg_t m;
    assert_int_equal(qr_msg_decode(type, c->in + at + QR_MSG_HEAD_SZ, sz, &m), QR_VERDICT_OK);
    foe_hears(f, c, &m);
    at += QR_MSG_HEAD_SZ + sz;
  }
  memmove(c->in, c->in + at, c->in_sz -= at);
}

static void foe_event(foe_t *f, const qr_link_event_t *ev) {
  foe_conn_t *c = foe_conn(f, ev->conn);
  if (ev->kind == QR_LINK_UP) {
    if (!c) c = foe_conn(f, 0);
    assert_non_null(c);
    c->conn = ev->conn;
    c->up = true;
    qr_link_addr_t victim = sim_addr(0);
    c->to_victim |= !memcmp(ev->addr.ip, victim.ip, sizeof victim.ip);
    foe_hello(f, c);
  }
  if (!c) return;
  if (ev->kind == QR_LINK_DATA) foe_data(f, c, ev);
  if (ev->kind == QR_LINK_DOWN) *c = (foe_conn_t){0};
}

static void foe_poll(foe_t *f) {
  qr_link_event_t ev[16];
  int n = qr_link_mem_ops.poll(f->link, sim.now, ev, 16);
  for (int i = 0; i < n; i++) foe_event(f, &ev[i]);
  for (uint32_t i = 0; i < FOE_CONN_CNT; i++) {
    foe_conn_t *c = &f->conns[i];
    if (!c->ready || sim.now < c->tell_at) continue;
    c->tell_at = sim.now + 10 * SIM_SEC;
    foe_tell(f, c, 1 + draw(10));
    uint8_t tx[QR_TX_SZ] = {1};
    qr_st32(tx + 4, draw(UINT32_MAX));
    if (mood == HELP && !draw(8)) foe_say(f, c, &(qr_msg_t){.type = QR_MSG_TX, .tx = {tx}});
  }
  if (sim.now < f->dial_at) return;
  f->dial_at = sim.now + SIM_SEC + draw(3000) * SIM_MS;
  bool has = false;
  for (uint32_t i = 0; i < FOE_CONN_CNT; i++) has |= f->conns[i].to_victim;
  foe_conn_t *c = foe_conn(f, 0);
  qr_link_addr_t victim = sim_addr(0);
  if (has || !c || qr_link_mem_ops.connect(f->link, &victim, NULL, &c->conn)) return;
  c->to_victim = true;
}

/* A block was found: the foes have it before anybody else and tell the node at once. */
static void foes_announce(const sim_block_t *b) {
  qr_msg_t m = {.type = QR_MSG_ANNOUNCE,
                .announce = {b->hash, b->height, qr_u256_from_u64(b->height)}};
  for (uint32_t i = 0; mood != MUTE && i < FOE_CNT; i++) {
    for (uint32_t k = 0; k < FOE_CONN_CNT; k++) {
      if (foes[i].conns[k].ready) foe_say(&foes[i], &foes[i].conns[k], &m);
    }
  }
}

/* ---- the honest ---- */

static void honest_start(uint32_t i, const qr_link_addr_t *seed) {
  sim_node_t *n = sim.nodes[i];
  qr_peers_cfg_t cfg = sim_cfg(n, seed, seed ? 1 : 0);
  cfg.exchange = true;
  cfg.peer_max_cnt = 24;
  cfg.outbound_cnt = i ? 5 : 8;
  cfg.addr_max_cnt = 3;
  cfg.group_max_cnt = 4;
  cfg.own = sim_addr(i);
  cfg.book_key[0] = (uint8_t)i;
  qr_st64(cfg.book_key + 8, sim.seed);
  cfg.wall_ms = WALL_MS + sim.now / SIM_MS;
  cfg.seed += sim.now;
  sim_start(n, &cfg);
  sim_set_tip(n, n->tip);
}

static void keep(void) { image_sz = qr_peers_export(sim.nodes[0]->peers, image); }

static void node_again(sim_node_t *n, const uint8_t *from, size_t sz) {
  char why[128] = "";
  n->link = sim_link(&sim, n->idx, &n->key);
  honest_start(n->idx, NULL);
  assert_int_equal(qr_peers_import(n->peers, from, sz, why, sizeof why), QR_OK);
}

static uint32_t honest_idx(const qr_pubkey_t *pk) {
  for (uint32_t i = 1; i < HONEST_CNT; i++) {
    if (qr_pubkey_eq(&sim.nodes[i]->key.pk, pk)) return i;
  }
  return NONE;
}

typedef struct {
  uint32_t honest_out, foe_out, honest_in, foe_in;
} seats_t;

static seats_t seats(void) {
  qr_peer_info_t info[32];
  seats_t s = {0};
  uint32_t cnt = qr_peers_list(sim.nodes[0]->peers, info, 32);
  for (uint32_t i = 0; i < cnt; i++) {
    bool honest = honest_idx(&info[i].identity) != NONE;
    if (info[i].inbound)
      honest ? s.honest_in++ : s.foe_in++;
    else
      honest ? s.honest_out++ : s.foe_out++;
  }
  return s;
}

/* One of those whom the node is connected to goes away for some seconds, as machines do. */
static void stop_one(void) {
  qr_peer_info_t info[32];
  uint32_t cnt = qr_peers_list(sim.nodes[0]->peers, info, 32), from = draw(cnt + 1);
  for (uint32_t i = 0; i < cnt; i++) {
    away = honest_idx(&info[(from + i) % cnt].identity);
    if (away == NONE) continue;
    away_sz = qr_peers_export(sim.nodes[away]->peers, away_image);
    sim_stop(sim.nodes[away]);
    return;
  }
}

/* ---- the test ---- */

typedef struct {
  uint64_t samples, out_sum, foe_sum, in_sum;
  uint32_t out_min, in_max_foe, lag_max, stall_max;
} result_t;

static void mine(uint64_t nonce) {
  uint32_t who = 1 + draw(HONEST_CNT - 1);
  if (who == away) return;
  sim_node_t *n = sim.nodes[who];
  const sim_block_t *tip = honest_tip();
  if (!qr_hash_eq(&n->blocks[n->tip].hash, &tip->hash)) return; /* it has not heard of it yet */
  sim_accept(n, sim_block_make(&tip->hash, tip->height + 1, nonce, 0, false, 40));
  foes_announce(&n->blocks[n->tip]);
}

/* What most of the other honest nodes have reached: they too need their time after a start. */
static uint64_t network_height(void) {
  for (uint64_t h = honest_tip()->height;; h--) {
    uint32_t cnt = 0;
    for (uint32_t i = 1; i < HONEST_CNT; i++) cnt += sim_height(sim.nodes[i]) >= h;
    if (2 * cnt > HONEST_CNT) return h;
  }
}

static void look(result_t *r) {
  seats_t s = seats();
  uint64_t net = network_height(), own = sim_height(sim.nodes[0]), lag = net > own ? net - own : 0;
  r->samples++;
  r->out_sum += s.honest_out;
  r->foe_sum += s.foe_out;
  r->in_sum += s.honest_in;
  if (s.honest_out < r->out_min) r->out_min = s.honest_out;
  if (s.foe_in > r->in_max_foe) r->in_max_foe = s.foe_in;
  uint32_t *most = mood == STALL || sim.now < calm_at ? &r->stall_max : &r->lag_max;
  if (lag > *most) *most = (uint32_t)lag;
}

/* settled: what is seen counts. */
static void run(uint64_t ms, result_t *settled) {
  for (uint64_t t = 0; t < ms; t += STEP_MS) {
    sim.now += STEP_MS * SIM_MS;
    uint64_t now_ms = sim.now / SIM_MS;
    for (uint32_t i = 0; i < sim.node_cnt; i++) {
      sim_node_t *n = sim.nodes[i];
      if (!n->peers) continue;
      qr_peers_poll(n->peers, sim.now);
      sim_answer(n);
      n->tx_cnt = 0; /* so many come that nobody keeps a list */
      sim_relay(n);
      sim_work(n);
    }
    for (uint32_t i = 0; i < FOE_CNT && foes[0].link; i++) foe_poll(&foes[i]);
    if (now_ms % BLOCK_MS == 0) mine(now_ms);
    if (now_ms % CUT_MS == 0 && foes[0].link && sim.nodes[0]->peers) stop_one();
    if (now_ms % CUT_MS == AWAY_MS && away != NONE) {
      node_again(sim.nodes[away], away_image, away_sz);
      away = NONE;
    }
    if (settled && now_ms % 1000 == 0) look(settled);
  }
}

static void begin(uint64_t seed) {
  sim_init(&sim, seed);
  rng = seed * 1000003;
  mood = HELP;
  calm_at = 0;
  away = NONE;
  memset(foes, 0, sizeof foes);
  qr_link_addr_t first = sim_addr(1);
  for (uint32_t i = 0; i < HONEST_CNT; i++) sim_node_bare(&sim);
  for (uint32_t i = 1; i < HONEST_CNT; i++) honest_start(i, i > 1 ? &first : NULL);
  honest_start(0, &first);
  run(30000, NULL);
  for (uint32_t i = 0; i < FOE_CNT; i++) foe_open(i);
}

static void end(void) {
  if (away != NONE) node_again(sim.nodes[away], away_image, away_sz);
  sim_end(&sim);
  for (uint32_t i = 0; i < FOE_CNT; i++) qr_link_mem_ops.close(foes[i].link);
}

static void test_eclipse(void **state) {
  (void)state;
  const char *text = getenv("QUARRY_ECLIPSE_SEEDS");
  uint64_t seed_cnt = text ? strtoull(text, NULL, 10) : 3;
  image = malloc(qr_peers_image_max_sz());
  old_image = malloc(qr_peers_image_max_sz());
  away_image = malloc(qr_peers_image_max_sz());
  for (uint64_t seed = 1; seed <= seed_cnt; seed++) {
    result_t r = {.out_min = NONE};
    begin(seed);
    run(90000, &r);
    keep(); /* as it does every ten minutes */
    memcpy(old_image, image, old_image_sz = image_sz);
    run(60000, &r);
    keep();
    sim_stop(sim.nodes[0]); /* now without the one that it was told of in the beginning */
    run(20000, NULL);
    node_again(sim.nodes[0], image, image_sz);
    run(20000, NULL);
    run(60000, &r);
    mood = STALL;
    run(40000, &r);
    mood = MUTE;
    calm_at = sim.now + 20 * SIM_SEC; /* what was begun in vain is over by then */
    run(40000, &r);
    sim_stop(sim.nodes[0]); /* as after a crash: out of the older file */
    run(20000, NULL);
    node_again(sim.nodes[0], old_image, old_image_sz);
    run(20000, NULL);
    run(90000, &r);
    double n = (double)r.samples;
    print_message("seed %2u: dialled: honest %.2f (least %u), hostile %.2f; came in: honest %.2f, "
                  "hostile at most %u; behind by at most %u blocks, %u while they stall\n",
                  (unsigned)seed, (double)r.out_sum / n, r.out_min, (double)r.foe_sum / n,
                  (double)r.in_sum / n, r.in_max_foe, r.lag_max, r.stall_max);
    assert_true(r.out_min >= 1);
    assert_true(r.lag_max <= 2);
    assert_true(r.stall_max <=
                15); /* a minute's blocks: each of them is asked for in vain at first */
    assert_true(r.foe_sum > r.samples); /* they do try */
    end();
  }
  free(image);
  free(old_image);
  free(away_image);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_eclipse),
  };
  return cmocka_run_group_tests(tests, sim_setup, NULL);
}
