#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "app/cli_bench_store.h"
#include "base/err.h"
#include "base/splitmix.h"
#include "port/clock.h"

#define POOL_SZ (4u << 20)
#define OP_CNT (QR_STORE_LOAD_STATE_CNT + 5)
#define KEY_SZ 32u
#define PLACE_SZ 40u
#define POLL_NS 20000

const char *const qr_store_sides[QR_STORE_SIDE_CNT] = {"stock", "uring"};
const char *const qr_store_side_options[QR_STORE_SIDE_CNT] = {"io=stock", "io=uring"};

struct qr_store_load {
  uint8_t pool[POOL_SZ]; /* random: values are pieces of it */
  uint8_t state_keys[QR_STORE_LOAD_STATE_CNT][KEY_SZ];
  uint8_t model_key[KEY_SZ], place[PLACE_SZ], height[8];
  qr_store_op_t ops[OP_CNT];
  uint8_t read_keys[QR_STORE_LOAD_READ_CNT][KEY_SZ];
  uint8_t read_values[QR_STORE_LOAD_READ_CNT][QR_STORE_LOAD_STATE_SZ];
  qr_store_read_t reads[QR_STORE_LOAD_READ_CNT];
};

static uint64_t mix(uint64_t x) { return qr_splitmix_next(&x); }

static double now_ms(void) { return (double)qr_clock_mono_ns() * 1e-6; }

/* Keys are spread as hashes are. */
static void make_key(uint64_t seed, uint8_t out[KEY_SZ]) {
  for (uint32_t i = 0; i < KEY_SZ / 8; i++) {
    uint64_t v = mix(seed * (KEY_SZ / 8) + i);
    memcpy(out + 8 * i, &v, 8);
  }
}

static void make_state_key(uint64_t height, uint64_t i, uint8_t out[KEY_SZ]) {
  make_key(height * 1024 + i, out);
}

static const uint8_t *piece(const qr_store_load_t *l, uint64_t seed, size_t sz) {
  return l->pool + mix(seed) % (POOL_SZ - sz);
}

qr_store_load_t *qr_store_load_make(void) {
  qr_store_load_t *l = calloc(1, sizeof *l);
  if (!l) return NULL;
  for (uint64_t i = 0; i < POOL_SZ / 8; i++) {
    uint64_t v = mix(i);
    memcpy(l->pool + 8 * i, &v, 8);
  }
  /* Waiting for a commit sleeps in short naps, for whoever spins takes the processor from the
     commit; naps are as short as they say only without slack. */
  (void)prctl(PR_SET_TIMERSLACK, 1);
  return l;
}

void qr_store_load_free(qr_store_load_t *l) { free(l); }

static void put(qr_store_load_t *l, uint32_t *n, enum qr_store_table table, const void *key,
                size_t key_sz, const void *value, size_t value_sz) {
  l->ops[(*n)++] = (qr_store_op_t){
      .table = table, .key = key, .key_sz = key_sz, .value = value, .value_sz = value_sz};
}

static void make_block(qr_store_load_t *l, uint64_t height) {
  uint32_t n = 0;
  uint64_t seed = height * 1024 + QR_STORE_LOAD_STATE_CNT;
  for (uint32_t i = 0; i < QR_STORE_LOAD_STATE_CNT; i++) {
    make_state_key(height, i, l->state_keys[i]);
    put(l, &n, QR_STORE_STATE, l->state_keys[i], KEY_SZ,
        piece(l, height * 1024 + i, QR_STORE_LOAD_STATE_SZ), QR_STORE_LOAD_STATE_SZ);
  }
  make_key(seed, l->model_key);
  for (uint32_t i = 0; i < 8; i++) l->height[i] = (uint8_t)(height >> (56 - 8 * i));
  memcpy(l->place, l->height, 8);
  make_key(seed + 1, l->place + 8);
  put(l, &n, QR_STORE_MODEL, l->model_key, KEY_SZ, piece(l, seed, QR_STORE_LOAD_MODEL_SZ),
      QR_STORE_LOAD_MODEL_SZ);
  put(l, &n, QR_STORE_BLOCK, l->place, PLACE_SZ, piece(l, seed + 1, QR_STORE_LOAD_BLOCK_SZ),
      QR_STORE_LOAD_BLOCK_SZ);
  put(l, &n, QR_STORE_UNDO, l->place, PLACE_SZ, piece(l, seed + 2, QR_STORE_LOAD_UNDO_SZ),
      QR_STORE_LOAD_UNDO_SZ);
  put(l, &n, QR_STORE_INDEX, l->height, 8, l->place + 8, KEY_SZ);
  put(l, &n, QR_STORE_META, "tip", 3, l->height, 8);
}

size_t qr_store_load_block_sz(void) {
  return QR_STORE_LOAD_STATE_CNT * (KEY_SZ + QR_STORE_LOAD_STATE_SZ) + KEY_SZ +
         QR_STORE_LOAD_MODEL_SZ + 2 * PLACE_SZ + QR_STORE_LOAD_BLOCK_SZ + QR_STORE_LOAD_UNDO_SZ +
         8 + KEY_SZ + 3 + 8;
}

int qr_store_load_commit(qr_store_load_t *l, const qr_store_ops_t *ops, qr_store_t *s,
                         uint64_t height, double *ms) {
  make_block(l, height);
  double began = now_ms();
  int err = ops->commit(s, height, l->ops, OP_CNT);
  if (err) return err;
  qr_store_done_t done;
  while (ops->poll(s, &done, 1) != 1) nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
  *ms = now_ms() - began;
  return done.err;
}

void qr_store_load_choose(qr_store_load_t *l, uint64_t seed, uint64_t tip) {
  for (uint32_t i = 0; i < QR_STORE_LOAD_READ_CNT; i++) {
    uint64_t v = mix(seed * QR_STORE_LOAD_READ_CNT + i);
    make_state_key(1 + v % tip, (v >> 32) % QR_STORE_LOAD_STATE_CNT, l->read_keys[i]);
  }
}

int qr_store_load_read(qr_store_load_t *l, const qr_store_ops_t *ops, qr_store_t *s, double *ms) {
  for (uint32_t i = 0; i < QR_STORE_LOAD_READ_CNT; i++)
    l->reads[i] = (qr_store_read_t){.key = l->read_keys[i],
                                    .key_sz = KEY_SZ,
                                    .buf = l->read_values[i],
                                    .buf_sz = QR_STORE_LOAD_STATE_SZ};
  double began = now_ms();
  ops->get_many(s, QR_STORE_STATE, l->reads, QR_STORE_LOAD_READ_CNT);
  *ms = now_ms() - began;
  for (uint32_t i = 0; i < QR_STORE_LOAD_READ_CNT; i++) {
    if (l->reads[i].result != QR_STORE_LOAD_STATE_SZ)
      return l->reads[i].result < 0 ? (int)l->reads[i].result : QR_ERR_CORRUPT;
  }
  return QR_OK;
}

static bool count(void *ctx, const void *key, size_t key_sz, const void *value, size_t value_sz) {
  (void)key, (void)value;
  *(uint64_t *)ctx += key_sz + value_sz;
  return true;
}

int qr_store_load_scan(const qr_store_ops_t *ops, qr_store_t *s, uint64_t *sz, double *ms) {
  *sz = 0;
  double began = now_ms();
  int err = ops->scan(s, QR_STORE_BLOCK, NULL, 0, count, sz);
  if (!err) err = ops->scan(s, QR_STORE_MODEL, NULL, 0, count, sz);
  *ms = now_ms() - began;
  return err;
}
