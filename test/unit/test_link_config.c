/* link/dpdk's options and the devices that are made of them: pure code, compiled in here so that it
   is tested on systems without DPDK, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/splitmix.h"
#include "drivers/link/dpdk/config.c"
#include "drivers/link/dpdk/device.c"
#include "drivers/link/dpdk/frame.c"
#include "drivers/link/dpdk/route.c"
#include "drivers/link/quic/options.c"

static char why[512];

static int config_at(const char *local, const char *options, qr_dpdk_config_t *out) {
  qr_link_cfg_t cfg = {.options = options, .conn_max_cnt = 8};
  if (!qr_link_addr_parse(local, 0, &cfg.local)) fail_msg("%s", local);
  why[0] = 0;
  return qr_dpdk_config(&cfg, out, why, sizeof why);
}

static void expect_device(const char *options, uint32_t mtu, const char *want) {
  qr_dpdk_config_t c;
  char text[512];
  if (config_at("10.80.0.1:1", options, &c)) fail_msg("%s: %s", options, why);
  c.port.mtu = mtu;
  assert_true(qr_device_text(&c.port, text, sizeof text));
  assert_string_equal(text, want);
}

static void test_devices(void **state) {
  (void)state;
  expect_device("iface=n0", 1500, "net_af_packet0,iface=n0,qpairs=1");
  expect_device(" iface = n0 ; queues = 8 ", 1400, "net_af_packet0,iface=n0,qpairs=8");
  expect_device("iface=n0", 9000,
                "net_af_packet0,iface=n0,qpairs=1,framesz=9216,blocksz=36864,framecnt=256");
  expect_device("xdp=n0;queues=2", 1500, "net_af_xdp0,iface=n0,start_queue=0,queue_count=2");
  expect_device("tap=q0", 1500, "net_tap0,iface=q0");
  expect_device("memif=/run/m;role=server", 1500,
                "net_memif0,role=server,id=0,socket-abstract=no,socket=/run/m");
  expect_device("role=client;memif=/run/m", 1500,
                "net_memif0,role=client,id=0,socket-abstract=no,socket=/run/m");
  expect_device("virtio=/run/v", 1500, "net_virtio_user0,path=/run/v,queues=1,queue_size=1024");
  expect_device("vdev=net_vhost0,iface=/run/v", 1500, "net_vhost0,iface=/run/v");
  qr_dpdk_config_t c;
  char small[16];
  assert_int_equal(config_at("10.80.0.1:1", "iface=n0", &c), 0);
  assert_false(qr_device_text(&c.port, small, sizeof small));
}

static void test_values(void **state) {
  (void)state;
  qr_dpdk_config_t c;
  assert_int_equal(
      config_at("10.80.0.1:1", "pci=0000:03:00.0;huge=1;telemetry=1;mtu=9000;eal=-v x", &c), 0);
  assert_int_equal(c.port.kind, QR_PORT_PCI);
  assert_true(c.port.huge && c.port.telemetry);
  assert_int_equal(c.port.mtu, 9000);
  assert_string_equal(c.port.eal, "-v x");
  assert_int_equal(c.routes.v4.prefix_bits, 96 + 24);
  assert_false(c.routes.v6.present || c.routes.v4.has_gateway);
  assert_int_equal(
      config_at("[fd80::1]:1",
                "iface=a;also=10.80.0.1;prefix=16;gateway=10.80.255.254;gateway6=fe80::9", &c),
      0);
  assert_true(c.routes.v4.present && c.routes.v4.has_gateway);
  assert_int_equal(c.routes.v4.prefix_bits, 96 + 16);
  assert_true(c.routes.v6.present && c.routes.v6.has_gateway);
  assert_int_equal(c.routes.v6.prefix_bits, 64);
  assert_false(c.port.huge);
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *local, *options, *said;
  } bad[] = {
      {"10.80.0.1:1", "", "needs one port"},
      {"10.80.0.1:1", "iface=a;tap=b", "needs one port"},
      {"10.80.0.1:1", "iface=a;iface=b", "needs one port"},
      {"10.80.0.1:1", "iface=", "does not understand"},
      {"10.80.0.1:1", "iface=a,qpairs=9",
       "does not understand"}, /* another argument of the device */
      {"10.80.0.1:1", "memif=/a", "role=server or role=client"},
      {"10.80.0.1:1", "memif=/a;role=master", "does not understand"},
      {"10.80.0.1:1", "iface=a;role=server", "memif= alone"},
      {"10.80.0.1:1", "iface=a;mtu=1279", "mtu=1279"},
      {"10.80.0.1:1", "iface=a;mtu=9001", "mtu=9001"},
      {"10.80.0.1:1", "iface=a;queues=0", "queues=0"},
      {"10.80.0.1:1", "iface=a;queues=9", "queues=9"},
      {"10.80.0.1:1", "iface=a;huge=2", "huge=2"},
      {"10.80.0.1:1", "iface=a;prefix=33", "prefix=33"},
      {"10.80.0.1:1", "iface=a;prefix6=129", "prefix6=129"},
      {"10.80.0.1:1", "iface=a;gateway=10.80.1.1", "another host of the own network"},
      {"10.80.0.1:1", "iface=a;gateway=10.80.0.1", "another host of the own network"},
      {"10.80.0.1:1", "iface=a;gateway=224.0.0.1", "gateway=224.0.0.1"},
      {"10.80.0.1:1", "iface=a;gateway6=fe80::1", "no address (option also)"},
      {"10.80.0.1:1", "iface=a;also=10.80.0.2", "the other family"},
      {"10.80.0.1:1", "iface=a;also=ff02::1", "that peers can reach"},
      {"127.0.0.1:1", "iface=a", "that peers can reach"},
      {"[::1]:1", "iface=a", "that peers can reach"},
      {"10.80.0.1:1", "iface=a;nonsense", "nonsense"},
      {"10.80.0.1:1", "=", "cannot read its options"},
  };
  qr_dpdk_config_t c;
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    assert_int_equal(config_at(bad[i].local, bad[i].options, &c), QR_ERR_ARG);
    if (!strstr(why, bad[i].said)) fail_msg("'%s' says '%s'", bad[i].options, why);
  }
}

/* Text of any kind is taken or refused, and stays within its bounds. */
static void test_random_options(void **state) {
  (void)state;
  static const char *const words[] = {"iface", "xdp",  "tap",  "memif", "role", "virtio", "pci",
                                      "vdev",  "mtu",  "huge", "eal",   "=",    ";",      ",",
                                      "\n",    "9000", "1",    "\xff",  "also", "fe80::", "server"};
  uint64_t x = 7;
  uint32_t taken = 0;
  for (int round = 0; round < 50000; round++) {
    char options[700], text[512];
    size_t n = 0;
    for (uint64_t k = qr_splitmix_next(&x) % 40; k; k--) {
      const char *word = words[qr_splitmix_next(&x) % QR_ARRAY_CNT(words)];
      n += (size_t)snprintf(options + n, sizeof options - n, "%s", word);
    }
    options[n] = 0;
    qr_dpdk_config_t c;
    if (config_at("10.80.0.1:1", options, &c)) {
      assert_true(why[0]);
      continue;
    }
    taken++;
    assert_true(c.port.name[0] && c.port.queue_cnt);
    if (c.port.kind != QR_PORT_PCI) assert_true(qr_device_text(&c.port, text, sizeof text));
  }
  assert_true(taken > 10);
}

static void test_checks(void **state) {
  (void)state;
  char dir[] = "/tmp/qr-link-XXXXXX", path[64];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/m", dir);
  qr_port_cfg_t c = {.kind = QR_PORT_MEMIF, .memif_server = true};
  snprintf(c.name, sizeof c.name, "%s", path);
  assert_int_equal(qr_device_check(&c, why, sizeof why), 0);
  assert_int_equal(c.mtu, 1500);
  /* Somebody listens; nobody does any more. */
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
  assert_int_equal(listen(fd, 1), 0);
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_BUSY);
  close(fd);
  assert_int_equal(qr_device_check(&c, why, sizeof why), 0);
  assert_int_equal(access(path, F_OK), -1);
  FILE *f = fopen(path, "w"); /* and somebody's file is left alone */
  assert_non_null(f);
  fclose(f);
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_BUSY);
  assert_int_equal(access(path, F_OK), 0);
  c.kind = QR_PORT_VIRTIO;
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_NOTFOUND);
  unlink(path);
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_NOTFOUND);
  c.kind = QR_PORT_MEMIF;
  memset(c.name, 'x', sizeof c.name - 1);
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_ARG);
  c.kind = QR_PORT_TAP;
  assert_int_equal(qr_device_check(&c, why, sizeof why), QR_ERR_ARG);
  rmdir(dir);
  assert_int_equal(qr_device_iface_up(-1, "lo"), -1);
  int sock = socket(AF_INET, SOCK_DGRAM, 0);
  assert_int_equal(qr_device_iface_up(sock, "nosuch0"), -1);
  assert_int_equal(qr_device_iface_up(sock, "a_name_that_is_far_too_long"), -1);
  assert_int_equal(qr_device_iface_up(sock, ""), -1);
  close(sock);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_devices), cmocka_unit_test(test_values),
      cmocka_unit_test(test_refused), cmocka_unit_test(test_random_options),
      cmocka_unit_test(test_checks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
