/* A node whose disk is full: it takes no new block, says so, serves all it has, loses nothing, and
   goes on by itself when there is room again. The disk is a small one in memory, mounted where
   nobody else sees it; where that is not permitted the tests are skipped. */
#include "sim/world.h"

#include <sys/stat.h>

#include "small_disk.h"

#define ROUNDS 2000000u
#define DISK_MIB 160u
#define RESERVE_SZ ((uint64_t)16 << 20)

static bool can_mount;

typedef struct {
  world_t w;
  world_node_t *a, *b;
  qr_reserve_file_t file;
  qr_reserve_t reserve;
} full_t;

static int begin(void **state) {
  static full_t f;
  char dir[64];
  if (!qr_store_driver("rocksdb") || !can_mount) {
    print_message("skipped: this user may not mount a disk of his own here\n");
    skip();
  }
  assert_true(small_disk_mount(DISK_MIB));
  memset(&f, 0, sizeof f);
  qr_params_t p;
  world_params(&p, 3);
  world_init(&f.w, "disk-full", &p);
  qr_log_init(QR_LOG_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
  f.a = world_add(&f.w, true);
  f.b = world_add(&f.w, false);
  small_disk_path("store", dir);
  f.reserve = qr_reserve_file(&f.file, dir, RESERVE_SZ);
  f.b->reserve = &f.reserve;
  world_restart_on(&f.w, f.b, "rocksdb", dir, "");
  world_until_height(&f.w, f.b, 5, ROUNDS);
  *state = &f;
  return 0;
}

static int end(void **state) {
  full_t *f = *state;
  world_fini(&f->w);
  assert_true(small_disk_unmount());
  return 0;
}

static void until(full_t *f, enum qr_writing wanted) {
  for (int i = 0; i < 20000; i++) {
    if (world_status(&f->w, f->b).writing == wanted) return;
    world_rounds(&f->w, 20);
    usleep(100); /* the store's own thread */
  }
  fail_msg("the store's state is %d instead of %d", world_status(&f->w, f->b).writing, wanted);
}

/* It answers, does not fall over, and does not come on. */
static void check_serves(full_t *f) {
  uint64_t height = world_height(f->b), before = world_height(f->a);
  world_mine_to(&f->w, f->a, before + 10, ROUNDS);
  assert_in_range(world_height(f->b), height, height + 1);
  assert_false(qr_chain_tile_failed(qr_topology_chain(f->b->topology)));
  qr_reply_t r = world_ask(&f->w, f->b, (qr_query_t){.kind = QR_QUERY_BLOCK, .height = 3});
  assert_int_equal(r.err, 0);
  r = world_ask(&f->w, f->b, (qr_query_t){.kind = QR_QUERY_VERIFY, .height = 3});
  assert_int_equal(r.err, 0);
  assert_int_equal(r.verify.verdict, QR_VERDICT_OK);
}

static void check_goes_on(full_t *f) {
  char path[80];
  struct stat st;
  assert_true(small_disk_empty());
  until(f, QR_WRITING_ON);
  world_stop_all(&f->w);
  for (uint32_t i = 0; i < 20000 && !world_agree(&f->w); i++) {
    world_rounds(&f->w, 100);
    usleep(100);
  }
  world_until_agree(&f->w, 1);
  snprintf(path, sizeof path, "%s/" QR_RESERVE_FILE_NAME, f->b->store_dir);
  assert_int_equal(lstat(path, &st), 0);
  assert_int_equal(st.st_size, RESERVE_SZ);
  world_restart(&f->w, f->b);
  world_until_agree(&f->w, ROUNDS);
}

/* The node sees it come: not one write fails. */
static void test_seen_in_time(void **state) {
  full_t *f = *state;
  assert_true(small_disk_fill());
  until(f, QR_WRITING_DISK_FULL);
  check_serves(f);
  assert_int_equal(world_status(&f->w, f->b).commit_failures, 0);
  check_goes_on(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_seen_in_time, begin, end),
  };
  can_mount = small_disk_prepare();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rmdir(small_disk);
  return failed;
}
