/* The power of a whole node is cut at some operation of its store, again and again: it starts on
   what the disk then holds, stands at least where it had told its peers that it stood, with the
   right state, and catches up. QUARRY_STORE_LOOPS says how often, QUARRY_STORE_SEED where the lots
   begin. */
#include "sim/world.h"

#include <fcntl.h>

#include "base/splitmix.h"
#include "store_image.h"
#include "tile/chain_int.h"

#define ROUNDS 2000000u
#define LOOP_CNT 5u
#define OP_CNT 160u /* operations until the cut: of starting, and of some blocks */

typedef struct {
  world_t w;
  world_node_t *a, *b;
  store_image_t *img;
  char root[64];
  uint64_t lot, told_at_cut;
  _Atomic uint64_t told; /* height that peers know of */
} power_t;

static uint64_t draw(power_t *p, uint64_t n) { return qr_splitmix_next(&p->lot) % n; }

static void at_cut(void *ctx) {
  power_t *p = ctx;
  p->told_at_cut = p->told;
}

/* The block of the main chain at a height. */
static qr_hash_t hash_at(const world_node_t *n, uint64_t height) {
  return qr_tree_ancestor(qr_tree_tip(qr_topology_chain(n->topology)->tree), height)->hash;
}

/* It starts and stands where it may. */
static void start(power_t *p, uint64_t seed) {
  world_open(&p->w, p->b);
  uint64_t height = world_height(p->b);
  if (height < p->told_at_cut || height > world_height(p->a))
    fail_msg("height %llu, told %llu; to see it again: QUARRY_STORE_SEED=%llu",
             (unsigned long long)height, (unsigned long long)p->told_at_cut,
             (unsigned long long)seed);
  qr_hash_t own = hash_at(p->b, height), theirs = hash_at(p->a, height);
  assert_memory_equal(&own, &theirs, sizeof own);
}

static void remove_dir(const char *dir) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  assert_int_equal(system(command), 0);
}

static void one_cut(power_t *p, uint64_t seed, uint64_t number) {
  char dir[sizeof p->b->store_dir];
  snprintf(dir, sizeof dir, "%.40s/%llu", p->root, (unsigned long long)number);
  store_image_begin(p->img, p->b->store_dir, (store_image_disk_t){.quick = number % 4 != 1}, at_cut,
                    p);
  p->told = p->told_at_cut;
  store_image_arm(p->img, 1 + draw(p, OP_CNT));
  start(p, seed);
  for (uint32_t i = 0; i < ROUNDS && !store_image_is_cut(p->img); i++) {
    p->told = qr_topology_chain(p->b->topology)->durable_tip->header.height;
    world_rounds(&p->w, 1);
  }
  assert_true(store_image_is_cut(p->img));
  world_close(p->b);
  store_image_write(p->img, dir, NULL);
  remove_dir(p->b->store_dir);
  memcpy(p->b->store_dir, dir, sizeof dir);
}

static void test_power_cuts(void **state) {
  static power_t p;
  const char *loops_text = getenv("QUARRY_STORE_LOOPS"), *seed_text = getenv("QUARRY_STORE_SEED");
  uint64_t loops = loops_text ? strtoull(loops_text, NULL, 10) : LOOP_CNT;
  uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1;
  qr_params_t params;
  (void)state;
  if (!qr_store_driver("rocksdb")) skip();
  world_params(&params, 3);
  world_init(&p.w, "power", &params);
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
  snprintf(p.root, sizeof p.root, "/tmp/qr-power-XXXXXX");
  assert_non_null(mkdtemp(p.root));
  p.lot = p.w.seed = seed;
  p.img = store_image_init(seed);
  p.a = world_add(&p.w, true);
  p.b = world_add(&p.w, false);
  world_close(p.b);
  qr_store_mem_forget(p.b->store_dir);
  p.b->store_ops = qr_store_driver("rocksdb");
  snprintf(p.b->store_options, sizeof p.b->store_options, "io=uring");
  snprintf(p.b->store_dir, sizeof p.b->store_dir, "%.40s/0", p.root);
  rocks_tap_set(store_image_tap(p.img));
  for (uint64_t i = 1; i <= loops; i++) one_cut(&p, seed, i);
  rocks_tap_set(NULL);
  start(&p, seed);
  world_stop_all(&p.w);
  world_until_agree(&p.w, ROUNDS);
  print_message("%llu cuts, height %llu\n", (unsigned long long)loops,
                (unsigned long long)world_height(p.b));
  world_fini(&p.w);
  store_image_fini(p.img);
  remove_dir(p.root);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_power_cuts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
