/* Configuration: every refusal names the place and the cure, and what is accepted is what is used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include "app/config.h"
#include "app/config_keys.h"
#include "base/err.h"
#include "port/drivers.h"

static char g_why[512];

static int read_text(const char *text, qr_config_t *c) {
  char path[] = "/tmp/quarry-test-config-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
  qr_config_defaults(c);
  g_why[0] = 0;
  int rc = qr_config_read(path, c, g_why, sizeof g_why);
  unlink(path);
  return rc;
}

static int args(qr_config_t *c, int argc, const char *const *argv) {
  qr_config_defaults(c);
  g_why[0] = 0;
  return qr_config_args(argc, (char **)argv, c, g_why, sizeof g_why);
}
#define ARGS(c, ...)                                                                               \
  args(c, (int)QR_ARRAY_CNT(((const char *[]){"quarryd", __VA_ARGS__})),                           \
       (const char *[]){"quarryd", __VA_ARGS__})

static void assert_why(const char *part) {
  if (strstr(g_why, part)) return;
  fail_msg("'%s' does not say '%s'", g_why, part);
}

static void test_file(void **state) {
  (void)state;
  qr_config_t c;
  assert_int_equal(
      read_text("# note\n[node]\ndir = /a b\n; note\nlog_level=debug\n[link]\noptions = "
                "iface=n0;mtu=9000\n"
                "peer = 10.80.0.11\npeer=10.80.0.12:9\npeer=10.80.0.11\n[mine]\nenable = off\n"
                "[tile]\ncore0 = -1\ncore3=7\nverify = 3,1,3\n[node]\nstop_height=9000000000\n",
                &c),
      0);
  assert_string_equal(c.dir, "/a b");
  assert_int_equal(c.log_level, QR_LOG_DEBUG);
  assert_string_equal(c.link_options, "iface=n0;mtu=9000");
  assert_int_equal(c.peer_cnt, 2); /* the same address twice is one peer */
  assert_int_equal(c.peers[0].port, QR_CONFIG_PORT);
  assert_int_equal(c.peers[1].port, 9);
  assert_false(c.mine);
  assert_int_equal(c.core[0], -1);
  assert_int_equal(c.core[3], 7);
  assert_int_equal(c.verify.cnt, 3);
  assert_int_equal(c.verify.threads[0], 3);
  assert_int_equal(c.verify.threads[1], 1);
  assert_int_equal(c.verify.threads[2], 3);
  assert_true(c.stop_height == 9000000000u);
}

static void test_file_refusals(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } rows[] = {
      {"[link]\nlisen = 1.2.3.4\n",
       ":2: unknown key 'lisen' in section [link]; did you mean 'link.listen'?"},
      {"[lnk]\nlisten = 1.2.3.4\n", "did you mean 'link.listen'?"},
      {"[zzzzzzz]\nqqqqqqqqqqq = 1\n", ":2: unknown key 'qqqqqqqqqqq' in section [zzzzzzz]"},
      {"dir = x\n", ":1: unknown key 'dir' before any [section]; did you mean 'node.dir'?"},
      {"[node]\ndir = a\ndir = b\n", ":3: node.dir was already set on line 2"},
      {"[node]\n\nnonsense\n", ":3: neither"},
      {"[node]\ndir = a\n  folded = b\n", ":3: unknown key 'folded'"},
      {"[node]\ndir =\n", ":2: node.dir: '' is not a path"},
      {"[node]\nlog_level = loud\n", "is not error, warn, info or debug"},
      {"[mine]\nenable = maybe\n", "is not true or false"},
      {"[mine]\nenable = true ; why not\n", "is not true or false"},
      {"[mine]\nadopt_margin = 65537\n", "a number from 0 to 65536"},
      {"[mine]\nadopt_margin = 0x10\n", "a number from"},
      {"[mine]\nadopt_margin = 99999999999999999999\n", "a number from"},
      {"[tile]\ncore0 = -2\n", "a number from -1 to"},
      {"[tile]\nnet = 8\n", "a number from 0 to 7"},
      {"[tile]\nverify =\n", "a list such as 1,2"},
      {"[tile]\nverify = 1,\n", "a list such as 1,2"},
      {"[tile]\nverify = 1,8\n", "numbers from 0 to 7"},
      {"[tile]\nverify = 1,1,1,1,1,1,1,1,1\n", "at most 8 numbers"},
      {"[link]\nlisten = localhost\n", "is not an address"},
      {"[link]\npeer = 1.2.3.4:0\n", "is not an address"},
      {"[link]\ndriver = pigeon\n", "this build has no driver 'pigeon'"},
  };
  qr_config_t c;
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    assert_int_equal(read_text(rows[i].text, &c), QR_ERR_FORMAT);
    assert_why(rows[i].says);
  }
  qr_config_defaults(&c);
  assert_int_equal(qr_config_read("/nonexistent/q.ini", &c, g_why, sizeof g_why), QR_ERR_NOTFOUND);
  assert_int_equal(qr_config_read("/", &c, g_why, sizeof g_why), QR_ERR_IO);
}

static void test_long_lines(void **state) {
  (void)state;
  qr_config_t c;
  char text[4096] = "[link]\noptions = ";
  size_t head = strlen(text);
  memset(text + head, 'x', QR_CONFIG_OPTIONS_SZ - 1);
  assert_int_equal(read_text(text, &c), 0);
  assert_int_equal(strlen(c.link_options), QR_CONFIG_OPTIONS_SZ - 1);
  text[head + QR_CONFIG_OPTIONS_SZ - 1] = 'x';
  assert_int_equal(read_text(text, &c), QR_ERR_FORMAT);
  assert_why("longer than");
  memset(text + head, 'x', 3000);
  assert_int_equal(read_text(text, &c), QR_ERR_FORMAT);
  assert_why(":2:");
}

static void test_too_many_peers(void **state) {
  (void)state;
  qr_config_t c;
  char why[128], peer[32];
  qr_config_defaults(&c);
  for (unsigned i = 0; i < QR_CONFIG_PEER_MAX_CNT; i++) {
    snprintf(peer, sizeof peer, "10.0.0.%u", i + 1);
    assert_int_equal(qr_config_set(&c, "link.peer", peer, why, sizeof why), 0);
  }
  assert_int_equal(qr_config_set(&c, "link.peer", "10.0.1.1", why, sizeof why), QR_ERR_ARG);
  assert_int_equal(qr_config_set(&c, "link.peers", "10.0.1.1", why, sizeof why), QR_ERR_NOTFOUND);
}

static void test_flags(void **state) {
  (void)state;
  qr_config_t c;
  assert_int_equal(ARGS(&c, "--dir", "/d", "--peer=10.0.0.1", "--peer", "10.0.0.2:5", "--no-mine",
                        "--mine", "--tile.core1=3", "--mine.adopt_margin", "77", "--listen",
                        "10.0.0.9"),
                   0);
  assert_string_equal(c.dir, "/d");
  assert_string_equal(c.rpc_socket, "/d/quarryd.sock");
  assert_int_equal(c.peer_cnt, 2);
  assert_true(c.mine);
  assert_int_equal(c.core[1], 3);
  assert_int_equal(c.adopt_margin, 77);
  assert_int_equal(c.listen.ip[15], 9);
  assert_int_equal(ARGS(&c, "--rpc.socket", "/s"), 0);
  assert_string_equal(c.rpc_socket, "/s");
}

static void test_flag_refusals(void **state) {
  (void)state;
  qr_config_t c;
  char deep[200];
  memset(deep, 'x', sizeof deep - 1);
  deep[sizeof deep - 1] = 0;
  const struct {
    const char *a, *b, *says;
  } rows[] = {
      {"--lisen", "1.2.3.4", "did you mean '--listen'?"},
      {"--core0", "1", "did you mean 'tile.core0'?"},
      {"--peer", "--mine", "--peer needs a value"},
      {"--mine", "--peer", "--peer needs a value"},
      {"--mine=yes", "--mine", "takes no value"},
      {"stray", "--mine", "'stray' is not a flag"},
      {"--config", "/nonexistent/q.ini", "No such file"},
      {"--mine", "--config", "needs a file"},
      {"--dir", deep, "choose a shorter --dir"},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    assert_int_equal(ARGS(&c, rows[i].a, rows[i].b), QR_ERR_ARG);
    assert_why(rows[i].says);
  }
}

/* A flag overrides the file wherever it stands. */
static void test_flag_over_file(void **state) {
  (void)state;
  qr_config_t c;
  char path[] = "/tmp/quarry-test-config-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, "[mine]\nadopt_margin=5\ntask=catch\n", 33) == 33);
  close(fd);
  assert_int_equal(ARGS(&c, "--mine.adopt_margin=6", "--config", path), 0);
  assert_int_equal(c.adopt_margin, 6);
  assert_string_equal(c.mine_task, "catch");
  unlink(path);
}

static void test_drivers(void **state) {
  (void)state;
  qr_config_t c;
  char why[128];
  qr_config_defaults(&c);
  for (size_t i = 0; qr_accel_drivers[i]; i++) {
    assert_int_equal(qr_config_set(&c, "accel.driver", qr_accel_drivers[i]->name, why, sizeof why),
                     0);
    assert_string_equal(c.accel, qr_accel_drivers[i]->name);
  }
  assert_int_equal(qr_config_set(&c, "link.driver", "none", why, sizeof why), 0);
  assert_string_equal(c.link, "");
  assert_int_equal(qr_config_set(&c, "accel.driver", "none", why, sizeof why), QR_ERR_ARG);
  assert_int_equal(qr_config_key_distance("kitten", "sitting"), 3);
  assert_int_equal(qr_config_key_distance("", "abc"), 3);
}

/* The documented example is accepted whole and states the defaults. */
static void test_example(void **state) {
  (void)state;
  qr_config_t c, d;
  qr_config_defaults(&c);
  qr_config_defaults(&d);
  int rc = qr_config_read(QR_TEST_DIR "/../tools/quarryd.example.ini", &c, g_why, sizeof g_why);
  if (rc) fail_msg("%s", g_why);
  assert_memory_equal(&c, &d, sizeof c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_file),           cmocka_unit_test(test_file_refusals),
      cmocka_unit_test(test_long_lines),     cmocka_unit_test(test_too_many_peers),
      cmocka_unit_test(test_flags),          cmocka_unit_test(test_flag_refusals),
      cmocka_unit_test(test_flag_over_file), cmocka_unit_test(test_drivers),
      cmocka_unit_test(test_example),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
