/* base: ring, pool, 256-bit integers, the generators, text and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/ars.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/ring.h"
#include "base/splitmix.h"
#include "base/u256.h"
#include "base/verdict.h"
#include "net_gen.h"

/* True if fn ends in an assertion. It runs in a child of its own, whose message is not shown. */
static bool aborts(void (*fn)(void)) {
  pid_t pid = fork();
  if (!pid) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    fn();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* ---- ring ---- */

typedef struct {
  uint32_t n, check;
  uint8_t tail[8]; /* no padding: items are compared as bytes */
} item_t;

static item_t item_of(uint32_t n) {
  item_t it = {n, ~n, {0}};
  memset(it.tail, (int)(n & 255), sizeof it.tail);
  return it;
}

static qr_ring_t *new_ring(uint32_t depth, uint32_t item_sz) {
  size_t sz = qr_ring_footprint(depth, item_sz);
  assert_true(sz > (size_t)depth * item_sz && sz % QR_CACHE_LINE == 0);
  void *mem = aligned_alloc(QR_CACHE_LINE, sz);
  assert_non_null(mem);
  return qr_ring_init(mem, depth, item_sz);
}

static void test_ring_sizes(void **state) {
  (void)state;
  assert_int_equal(qr_ring_footprint(0, 8), 0);
  assert_int_equal(qr_ring_footprint(3, 8), 0);
  assert_int_equal(qr_ring_footprint(8, 0), 0);
  assert_int_equal(qr_ring_footprint(8, 4097), 0);
  assert_int_equal(qr_ring_footprint(1u << 21, 8), 0);
  assert_true(qr_ring_footprint(1, 4096) > 0);
  assert_true(qr_ring_footprint(1u << 20, 1) > 0);
}

static void test_ring_order(void **state) {
  (void)state;
  gen_t g = {1};
  for (uint32_t depth = 1; depth <= 16; depth *= 2) {
    qr_ring_t *r = new_ring(depth, sizeof(item_t));
    uint32_t in = 0, out = 0;
    for (uint32_t i = 0; i < 20000; i++) {
      item_t it = item_of(in);
      if (gen_u64(&g) & 1) {
        bool pushed = qr_ring_push(r, &it);
        assert_int_equal(pushed, in - out < depth);
        in += pushed;
      } else {
        bool popped = qr_ring_pop(r, &it);
        assert_int_equal(popped, in != out);
        item_t want = item_of(out);
        if (popped) assert_memory_equal(&it, &want, sizeof it);
        out += popped;
      }
      assert_int_equal(qr_ring_cnt(r), in - out);
      assert_int_equal(qr_ring_room(r), depth - (in - out));
    }
    assert_true(in > 1000);
    free(r);
  }
}

#define CROSS_CNT 200000u

static void *produce(void *arg) {
  for (uint32_t n = 0; n < CROSS_CNT;) {
    item_t it = item_of(n);
    if (qr_ring_push(arg, &it))
      n++;
    else
      sched_yield();
  }
  return NULL;
}

static void test_ring_threads(void **state) {
  (void)state;
  qr_ring_t *r = new_ring(64, sizeof(item_t));
  pthread_t t;
  assert_int_equal(pthread_create(&t, NULL, produce, r), 0);
  for (uint32_t n = 0; n < CROSS_CNT;) {
    item_t it, want = item_of(n);
    if (!qr_ring_pop(r, &it)) {
      sched_yield();
      continue;
    }
    assert_memory_equal(&it, &want, sizeof it);
    n++;
  }
  pthread_join(t, NULL);
  assert_int_equal(qr_ring_cnt(r), 0);
  free(r);
}

static void misuse_ring(void) {
  static _Alignas(QR_CACHE_LINE) uint8_t mem[4096];
  qr_ring_init(mem, 3, 8);
}

/* ---- pool ---- */

static void *dropped[64];
static uint32_t dropped_cnt;
static void note_drop(void *obj) { dropped[dropped_cnt++ % 64] = obj; }

static void test_pool(void **state) {
  (void)state;
  enum { CNT = 8, SZ = 100 };
  qr_pool_t *p = qr_pool_init("test", SZ, CNT, note_drop);
  uint8_t *obj[CNT];
  dropped_cnt = 0;
  for (uint32_t i = 0; i < CNT; i++) {
    assert_int_equal(qr_pool_free_cnt(p), CNT - i);
    obj[i] = qr_pool_get(p);
    assert_non_null(obj[i]);
    assert_int_equal((uintptr_t)obj[i] % QR_CACHE_LINE, 0);
    memset(obj[i], (int)i, SZ);
  }
  assert_null(qr_pool_get(p));
  for (uint32_t i = 0; i < CNT; i++) {
    for (uint32_t j = 0; j < SZ; j++) assert_int_equal(obj[i][j], i);
  }
  assert_ptr_equal(qr_pool_ref(obj[3]), obj[3]);
  qr_pool_unref(obj[3]);
  assert_int_equal(dropped_cnt, 0);
  assert_int_equal(qr_pool_free_cnt(p), 0);
  qr_pool_unref(obj[3]);
  assert_int_equal(dropped_cnt, 1);
  assert_ptr_equal(dropped[0], obj[3]);
  assert_int_equal(qr_pool_free_cnt(p), 1);
  assert_ptr_equal(qr_pool_get(p), obj[3]);
  qr_pool_unref(NULL);
  for (uint32_t i = 0; i < CNT; i++) qr_pool_unref(obj[i]);
  assert_int_equal(dropped_cnt, 1 + CNT);
  qr_pool_fini(p);
  qr_pool_fini(NULL);
}

#define SHARERS 4u
#define TURNS 20000u
typedef struct {
  qr_pool_t *p;
  void *shared;
} share_t;

static void *take_and_return(void *arg) {
  share_t *s = arg;
  for (uint32_t i = 0; i < TURNS; i++) {
    uint64_t *own = qr_pool_get(s->p);
    void *other = qr_pool_ref(s->shared);
    if (own) {
      *own = i;
      if (*own != i) return s; /* somebody else has the same object */
      qr_pool_unref(own);
    }
    qr_pool_unref(other);
  }
  return NULL;
}

static void test_pool_threads(void **state) {
  (void)state;
  share_t s = {.p = qr_pool_init("test", sizeof(uint64_t), 3, NULL)};
  s.shared = qr_pool_get(s.p);
  pthread_t t[SHARERS];
  for (uint32_t i = 0; i < SHARERS; i++) pthread_create(&t[i], NULL, take_and_return, &s);
  for (uint32_t i = 0; i < SHARERS; i++) {
    void *bad;
    pthread_join(t[i], &bad);
    assert_null(bad);
  }
  assert_int_equal(qr_pool_free_cnt(s.p), 2);
  qr_pool_unref(s.shared);
  qr_pool_fini(s.p);
}

static void misuse_pool_twice(void) {
  qr_pool_t *p = qr_pool_init("test", 8, 1, NULL);
  void *obj = qr_pool_get(p);
  qr_pool_unref(obj);
  qr_pool_unref(obj);
}

static void misuse_pool_out(void) {
  qr_pool_t *p = qr_pool_init("test", 8, 1, NULL);
  if (qr_pool_get(p)) qr_pool_fini(p);
}

/* ---- 256-bit integers against bits on paper: 600 of them, so that nothing overflows ---- */

#define BITS 600
typedef struct {
  uint8_t b[BITS];
} bits_t;

static bits_t bits_of(const qr_u256_t *a) {
  bits_t r = {{0}};
  for (int i = 0; i < 256; i++) r.b[i] = a->w[i / 64] >> (i % 64) & 1;
  return r;
}

static void bits_add(bits_t *a, const bits_t *b, int shift) {
  int carry = 0;
  for (int i = 0; i + shift < BITS; i++) {
    int s = a->b[i + shift] + b->b[i] + carry;
    a->b[i + shift] = s & 1;
    carry = s >> 1;
  }
}

/* The value saturated to 256 bits. */
static qr_u256_t bits_sat(const bits_t *a) {
  qr_u256_t r = {{0}};
  for (int i = BITS - 1; i >= 256; i--) {
    if (a->b[i]) return (qr_u256_t){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
  }
  for (int i = 0; i < 256; i++) r.w[i / 64] |= (uint64_t)a->b[i] << (i % 64);
  return r;
}

static bits_t bits_mul(const bits_t *a, const bits_t *b) {
  bits_t r = {{0}};
  for (int i = 0; i < 257; i++) {
    if (b->b[i]) bits_add(&r, a, i);
  }
  return r;
}

/* Numbers of every length, with runs of ones and zeros. */
static qr_u256_t gen_u256(gen_t *g) {
  qr_u256_t a;
  for (int i = 0; i < 4; i++) {
    a.w[i] = gen_u64(g);
    if (gen_u64(g) % 4 == 0) a.w[i] = gen_u64(g) & 1 ? UINT64_MAX : 0;
  }
  return qr_u256_shr(&a, (unsigned)gen_range(g, 0, 256));
}

#define assert_u256_equal(a, b) assert_memory_equal(&(a), &(b), sizeof(qr_u256_t))

static void test_u256_arithmetic(void **state) {
  (void)state;
  gen_t g = {2};
  for (int turn = 0; turn < 3000; turn++) {
    qr_u256_t a = gen_u256(&g), b = gen_u256(&g);
    bits_t ba = bits_of(&a), bb = bits_of(&b), sum = ba;
    bits_add(&sum, &bb, 0);
    qr_u256_t want = bits_sat(&sum), got = qr_u256_add_sat(&a, &b);
    assert_u256_equal(got, want);
    if (!memcmp(&got, &(qr_u256_t){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}}, sizeof got)) {
      got = a; /* saturated: the sum cannot be taken apart again */
    } else {
      got = qr_u256_sub(&got, &b);
    }
    assert_u256_equal(got, a);

    uint64_t m = gen_u64(&g) >> gen_range(&g, 0, 63);
    qr_u256_t wide = qr_u256_from_u64(m);
    bits_t bm = bits_of(&wide), product = bits_mul(&ba, &bm);
    want = bits_sat(&product);
    got = qr_u256_mul_u64_sat(&a, m);
    assert_u256_equal(got, want);
  }
}

static void test_u256_shifts(void **state) {
  (void)state;
  gen_t g = {3};
  for (int turn = 0; turn < 3000; turn++) {
    qr_u256_t a = gen_u256(&g), got;
    unsigned n = (unsigned)gen_range(&g, 0, 300);
    bits_t ba = bits_of(&a), up = {{0}}, down = {{0}};
    bits_add(&up, &ba, (int)n);
    for (unsigned i = n; i < BITS; i++) down.b[i - n] = ba.b[i];
    qr_u256_t want = bits_sat(&up);
    got = qr_u256_shl_sat(&a, n);
    assert_u256_equal(got, want);
    want = bits_sat(&down);
    got = qr_u256_shr(&a, n);
    assert_u256_equal(got, want);
    int len = 256;
    while (len && !ba.b[len - 1]) len--;
    assert_int_equal(qr_u256_bitlen(&a), len);
  }
}

/* q = floor(a / b) iff q * b <= a < (q + 1) * b. */
static void test_u256_division(void **state) {
  (void)state;
  gen_t g = {4};
  for (int turn = 0; turn < 1500; turn++) {
    qr_u256_t a = gen_u256(&g), b = gen_u256(&g), one = qr_u256_from_u64(1);
    if (!qr_u256_bitlen(&b)) b = one;
    qr_u256_t q = qr_u256_div(&a, &b);
    bits_t bq = bits_of(&q), bb = bits_of(&b), ba = bits_of(&a), low = bits_mul(&bb, &bq),
           high = low;
    bits_add(&high, &bb, 0);
    int i = BITS - 1, j = BITS - 1;
    while (i >= 0 && low.b[i] == ba.b[i]) i--;
    while (j >= 0 && high.b[j] == ba.b[j]) j--;
    assert_true(i < 0 || low.b[i] < ba.b[i]);
    assert_true(j >= 0 && high.b[j] > ba.b[j]);
  }
}

static void test_u256_bytes(void **state) {
  (void)state;
  gen_t g = {5};
  for (int turn = 0; turn < 500; turn++) {
    qr_u256_t a = gen_u256(&g), b = gen_u256(&g);
    uint8_t le[32], lf[32];
    qr_u256_to_le(&a, le);
    qr_u256_to_le(&b, lf);
    qr_u256_t back = qr_u256_from_le(le);
    assert_u256_equal(back, a);
    int order = 0;
    for (int i = 31; i >= 0 && !order; i--) order = le[i] - lf[i];
    int got = qr_u256_cmp(&a, &b);
    assert_int_equal((got > 0) - (got < 0), (order > 0) - (order < 0));
    assert_int_equal(qr_u256_cmp(&a, &a), 0);
  }
  qr_u256_t big = {{0, 0, 0, 1}};
  assert_true(qr_u256_to_double(&big) ==
              6277101735386680763835789423207666416102355444464034512896.0);
}

static void misuse_sub(void) {
  qr_u256_t a = qr_u256_from_u64(1), b = qr_u256_from_u64(2);
  qr_u256_sub(&a, &b);
}

static void misuse_div(void) {
  qr_u256_t a = qr_u256_from_u64(1), zero = qr_u256_from_u64(0);
  qr_u256_div(&a, &zero);
}

static void test_misuse(void **state) {
  (void)state;
  assert_true(aborts(misuse_ring));
  assert_true(aborts(misuse_pool_twice));
  assert_true(aborts(misuse_pool_out));
  assert_true(aborts(misuse_sub));
  assert_true(aborts(misuse_div));
}

/* ---- Philox: the known answers of Random123 1.14 (kat_vectors, philox4x32 10) ---- */

static void test_philox_known(void **state) {
  (void)state;
  static const struct {
    uint32_t ctr[4], key[2], out[4];
  } kat[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(kat); i++) {
    qr_hash_t seed;
    memset(&seed, 0xee, sizeof seed); /* bytes from 16 on take no part */
    qr_st32(seed.b, kat[i].key[0]);
    qr_st32(seed.b + 4, kat[i].key[1]);
    qr_st32(seed.b + 8, kat[i].ctr[2]);
    qr_st32(seed.b + 12, kat[i].ctr[3]);
    qr_philox_t p = qr_philox_init(&seed, kat[i].ctr[1]);
    uint32_t out[4];
    qr_philox_block(&p, kat[i].ctr[0], out);
    assert_memory_equal(out, kat[i].out, sizeof out);
  }
}

/* ---- splitmix64: what the published splitmix64.c gives ---- */

static void test_splitmix_known(void **state) {
  (void)state;
  static const uint64_t want[] = {UINT64_C(6457827717110365317), UINT64_C(3203168211198807973),
                                  UINT64_C(9817491932198370423), UINT64_C(4593380528125082431),
                                  UINT64_C(16408922859458223821)};
  uint64_t s = 1234567;
  for (size_t i = 0; i < QR_ARRAY_CNT(want); i++) assert_true(qr_splitmix_next(&s) == want[i]);
  s = 0;
  assert_true(qr_splitmix_next(&s) == UINT64_C(0xe220a8397b1dcdaf));
  assert_true(qr_splitmix_next(&s) == UINT64_C(0x6e789e6aa1b965f4));
}

/* ---- ARS: the known answers of Random123 (kat_vectors, ars4x32 10), then addressing ---- */

static void test_ars_known(void **state) {
  (void)state;
  static const struct {
    uint32_t ctr[4], key[4], out[4];
  } kat[] = {
      {{0, 0, 0, 0}, {0, 0, 0, 0}, {0x8d73ee19, 0x506401ef, 0x13c2dbe4, 0x0cbe9c0d}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u, 0, 0}, {0xbb3743b1, 0x9f635551, 0xecbc87fc, 0xa19478a9}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89},
       {0xa516e7d6, 0x8357ad74, 0x5b59b3ec, 0x8763fff3}},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(kat); i++) {
    const uint32_t *k = kat[i].key;
    const uint64_t key[2] = {k[0] | (uint64_t)k[1] << 32, k[2] | (uint64_t)k[3] << 32};
    uint32_t out[4];
    qr_ars_rounds(kat[i].ctr, key, 10, out);
    assert_memory_equal(out, kat[i].out, sizeof out);
  }
}

static void test_ars_addressing(void **state) {
  (void)state;
  gen_t g = {7};
  qr_hash_t seed = gen_hash(&g);
  qr_ars_t p = qr_ars_init(&seed, qr_stream_word(QR_STREAM_DITHER_GE, 3, 0x1234));
  assert_int_equal(p.stream, 5u << 24 | 3u << 16 | 0x1234);
  for (uint32_t i = 0; i < 512; i++) {
    uint32_t block[4], direct[4];
    const uint32_t ctr[4] = {i / 4, p.stream, qr_ld32(seed.b + 16), qr_ld32(seed.b + 20)};
    const uint64_t key[2] = {qr_ld64(seed.b), qr_ld64(seed.b + 8)};
    qr_ars_block(&p, i / 4, block);
    qr_ars_rounds(ctr, key, 5, direct);
    assert_memory_equal(block, direct, sizeof block);
    assert_int_equal(qr_ars_word(&p, i), block[i % 4]);
    qr_ars_block(&p, i / 16, block);
    assert_int_equal(qr_ars_byte(&p, i), ((uint8_t *)block)[i % 16]);
    uint8_t byte = qr_ars_byte(&p, i / 128 * 64 + i % 64);
    assert_int_equal(qr_ars_nibble(&p, i), i % 128 < 64 ? byte & 15 : byte >> 4);
  }
}

static void test_philox_addressing(void **state) {
  (void)state;
  gen_t g = {6};
  qr_hash_t seed = gen_hash(&g);
  qr_philox_t p = qr_philox_init(&seed, qr_stream_word(QR_STREAM_ROUND_W, 3, 0x1234));
  assert_int_equal(p.stream, 9u << 24 | 3u << 16 | 0x1234);
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t block[4];
    qr_philox_block(&p, i / 4, block);
    assert_int_equal(qr_philox_word(&p, i), block[i % 4]);
    qr_philox_block(&p, i / 16, block);
    assert_int_equal(qr_philox_byte(&p, i), ((uint8_t *)block)[i % 16]);
  }
  assert_int_equal(qr_philox_bound(0, 7), 0);
  assert_int_equal(qr_philox_bound(UINT32_MAX, 7), 6);
  assert_int_equal(qr_philox_bound(UINT32_MAX, UINT32_MAX), UINT32_MAX - 1);
  assert_int_equal(qr_philox_bound(0x80000000u, 3), 1);
}

/* ---- text ---- */

static void test_hex(void **state) {
  (void)state;
  uint8_t in[5] = {0x00, 0x0f, 0xa5, 0xff, 0x80}, out[5];
  char text[11];
  assert_string_equal(qr_hex(text, in, 5), "000fa5ff80");
  assert_true(qr_unhex(out, 5, "000fA5Ff80"));
  assert_memory_equal(in, out, 5);
  assert_string_equal(qr_hex(text, in, 0), "");
  assert_true(qr_unhex(out, 0, ""));
  static const char *const bad[] = {
      "",           "0",          "000fa5ff8",  "000fa5ff801", "000fa5ff8000",
      "000fa5ff8g", " 00fa5ff80", "0x0fa5ff80", "000fa5ff 80", "\37700fa5ff8"};
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) assert_false(qr_unhex(out, 5, bad[i]));
}

/* What lines() wrote to the log, at most sz - 1 bytes. */
static size_t logged(void (*lines)(void), enum qr_log_level level, char *out, size_t sz) {
  int fd[2];
  assert_int_equal(pipe(fd), 0);
  qr_log_init(level, fd[1]);
  lines();
  qr_log_init(QR_LOG_INFO, STDERR_FILENO);
  close(fd[1]);
  size_t n = 0;
  for (ssize_t got; n < sz - 1 && (got = read(fd[0], out + n, sz - 1 - n)) > 0;) n += (size_t)got;
  close(fd[0]);
  out[n] = 0;
  return n;
}

static void log_levels(void) {
  qr_log(QR_LOG_ERROR, "t0", "lost %s=%d", "a", 1);
  qr_log(QR_LOG_INFO, "t1", "seen");
  qr_log(QR_LOG_DEBUG, "t2", "hidden");
}

static void log_long(void) {
  char text[3000];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  qr_log(QR_LOG_ERROR, "t", "%s", text);
  qr_log(QR_LOG_ERROR, "t", "next");
}

static void log_many(void) {
  qr_log_bucket_t b = {0};
  for (int i = 0; i < 25; i++) qr_log_limited(&b, QR_LOG_WARN, "t", "flood n=%d", i);
  b.window_ns = 0; /* a second later */
  qr_log_limited(&b, QR_LOG_WARN, "t", "after");
  qr_log_limited(&b, QR_LOG_DEBUG, "t", "hidden");
}

static uint32_t line_cnt(const char *s) {
  uint32_t n = 0;
  for (; *s; s++) n += *s == '\n';
  return n;
}

static void test_log(void **state) {
  (void)state;
  char text[8192];
  logged(log_levels, QR_LOG_INFO, text, sizeof text);
  assert_int_equal(line_cnt(text), 2);
  assert_non_null(strstr(text, "Z error t0     lost a=1\n"));
  assert_non_null(strstr(text, "Z info  t1     seen\n"));
  assert_int_equal(logged(log_levels, QR_LOG_ERROR, text, sizeof text),
                   strlen("2025-01-01T00:00:00.000Z error t0     lost a=1\n"));

  size_t n = logged(log_long, QR_LOG_ERROR, text, sizeof text);
  assert_int_equal(line_cnt(text), 2);
  assert_true(strchr(text, '\n') - text < 1024 && strchr(text, '\n') - text > 1000);
  assert_true(n < 1024 + 100);

  logged(log_many, QR_LOG_WARN, text, sizeof text);
  assert_true(line_cnt(text) >= 11 &&
              line_cnt(text) < 25); /* a second may pass between two lines */
  assert_non_null(strstr(text, "flood n=9\n"));
  assert_null(strstr(text, "hidden"));
  assert_non_null(strstr(text, "after suppressed=15\n"));
}

static void test_names(void **state) {
  (void)state;
  enum qr_log_level level = QR_LOG_WARN;
  assert_true(qr_log_level_parse("debug", &level));
  assert_int_equal(level, QR_LOG_DEBUG);
  assert_false(qr_log_level_parse("Debug", &level));
  assert_false(qr_log_level_parse("", &level));
  assert_int_equal(level, QR_LOG_DEBUG);
  for (int v = 0; v < QR_VERDICT_CNT; v++) {
    assert_non_null(qr_verdict_str((enum qr_verdict)v));
    for (int w = 0; w < v; w++) {
      assert_string_not_equal(qr_verdict_str((enum qr_verdict)v),
                              qr_verdict_str((enum qr_verdict)w));
    }
  }
  assert_false(qr_verdict_is_invalid(QR_VERDICT_TOO_DEEP));
  assert_true(qr_verdict_is_invalid(QR_VERDICT_SIZE));
  for (int e = QR_ERR_BUSY; e <= 0; e++) assert_string_not_equal(qr_err_str(e), "unknown error");
  assert_string_equal(qr_err_str(QR_ERR_BUSY - 1), "unknown error");
  assert_string_equal(qr_err_str(1), "unknown error");
}

static void test_small(void **state) {
  (void)state;
  assert_int_equal(qr_bitlen32(0), 0);
  assert_int_equal(qr_bitlen32(255), 8);
  assert_int_equal(qr_bitlen32(UINT32_MAX), 32);
  assert_int_equal(qr_bitlen64(UINT64_C(1) << 32), 33);
  assert_int_equal(qr_clamp32(5, -1, 4), 4);
  assert_int_equal(qr_clamp64(INT64_MIN, -1, 4), -1);
  assert_int_equal(qr_align_up(0, 64), 0);
  assert_int_equal(qr_align_up(65, 64), 128);
  uint8_t b[8];
  qr_st64(b, UINT64_C(0x0123456789abcdef));
  assert_int_equal(b[0], 0xef);
  assert_int_equal(qr_ld16(b), 0xcdef);
  assert_int_equal(qr_ld32(b + 4), 0x01234567);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ring_sizes),    cmocka_unit_test(test_ring_order),
      cmocka_unit_test(test_ring_threads),  cmocka_unit_test(test_pool),
      cmocka_unit_test(test_pool_threads),  cmocka_unit_test(test_u256_arithmetic),
      cmocka_unit_test(test_u256_shifts),   cmocka_unit_test(test_u256_division),
      cmocka_unit_test(test_u256_bytes),    cmocka_unit_test(test_misuse),
      cmocka_unit_test(test_ars_known),     cmocka_unit_test(test_ars_addressing),
      cmocka_unit_test(test_philox_known),  cmocka_unit_test(test_philox_addressing),
      cmocka_unit_test(test_hex),           cmocka_unit_test(test_log),
      cmocka_unit_test(test_names),         cmocka_unit_test(test_small),
      cmocka_unit_test(test_splitmix_known)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
