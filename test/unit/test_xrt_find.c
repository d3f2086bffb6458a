/* What the xrt driver finds in a made-up /sys, and what it tells an operator to do about what it
   cannot use. Needs no XRT at run time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "port/drivers.h"

static const qr_accel_ops_t *g_ops;
static char g_root[64], g_options[96];

static void put_file(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%.180s", g_root, name);
  FILE *f = fopen(path, "we");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void put_dir(const char *name) {
  char path[256];
  snprintf(path, sizeof path, "%s/%.180s", g_root, name);
  assert_int_equal(mkdir(path, 0755), 0);
}

/* A PCI device; driver NULL: none is bound. */
static void put_device(const char *bdf, const char *vendor, const char *driver) {
  char name[128], path[256], to[128];
  snprintf(name, sizeof name, "bus/pci/devices/%s", bdf);
  put_dir(name);
  snprintf(name, sizeof name, "bus/pci/devices/%s/vendor", bdf);
  put_file(name, vendor);
  if (!driver) return;
  snprintf(path, sizeof path, "%s/bus/pci/devices/%s/driver", g_root, bdf);
  snprintf(to, sizeof to, "../../../bus/pci/drivers/%s", driver);
  assert_int_equal(symlink(to, path), 0);
}

static int find(qr_accel_unit_t *u, char *why, size_t why_sz) {
  why[0] = 0;
  return g_ops->find(g_options, u, QR_ACCEL_UNIT_MAX_CNT, why, why_sz);
}

static void test_nothing(void **st) {
  (void)st;
  qr_accel_unit_t u[QR_ACCEL_UNIT_MAX_CNT];
  char why[256];
  assert_int_equal(find(u, why, sizeof why), 0);
  assert_non_null(strstr(why, "no card of the vendor"));
  put_device("0000:00:1f.0", "0x8086\n", "ahci");
  assert_int_equal(find(u, why, sizeof why), 0);
  assert_int_equal(g_ops->find("sysfs=/nowhere", u, 1, why, sizeof why), 0);
  assert_non_null(strstr(why, "no PCI bus"));
  assert_int_equal(g_ops->find("card", u, 1, why, sizeof why), QR_ERR_ARG);
}

static void test_cards(void **st) {
  (void)st;
  qr_accel_unit_t u[QR_ACCEL_UNIT_MAX_CNT];
  char why[256];
  put_device("0000:01:00.0", "0x10ee\n", "xclmgmt"); /* the other half of the next one */
  put_device("0000:01:00.1", "0x10ee\n", NULL);
  assert_int_equal(find(u, why, sizeof why), 1);
  assert_string_equal(u[0].id, "0000:01:00.1");
  assert_int_equal(u[0].state, QR_ACCEL_UNIT_PRESENT);
  assert_true(u[0].temp_c == QR_ACCEL_UNTOLD);
  assert_non_null(strstr(u[0].why, "no kernel driver"));
  assert_non_null(strstr(why, "xrt package"));

  put_device("0000:02:00.1", "0x10ee\n", "vfio-pci");
  put_device("0000:03:00.1", "0x10ee\n", "xocl");
  put_dir("bus/pci/devices/0000:03:00.1/rom.u.0");
  put_file("bus/pci/devices/0000:03:00.1/rom.u.0/VBNV", "xilinx_u55n_gen3x4_xdma_2\x01\n");
  put_dir("bus/pci/devices/0000:03:00.1/xmc.u.5");
  put_file("bus/pci/devices/0000:03:00.1/xmc.u.5/serial_num", "XFL1ABCDEFGH\n");
  put_device("0000:04:00.1", "0x10ee\n", "xocl");
  put_dir("bus/pci/devices/0000:04:00.1/drm");
  put_dir("bus/pci/devices/0000:04:00.1/drm/renderD999");
  assert_int_equal(find(u, why, sizeof why), 4);
  assert_non_null(strstr(u[1].why, "vfio-pci has it"));
  assert_string_equal(u[2].name, "xilinx_u55n_gen3x4_xdma_2?");
  assert_string_equal(u[2].serial, "XFL1ABCDEFGH");
  assert_non_null(strstr(u[2].why, "no device node"));
  assert_non_null(strstr(u[3].why, "/dev/dri/renderD999"));
  assert_non_null(strstr(u[3].why, "group"));
}

static void test_open_says_the_same(void **st) {
  (void)st;
  qr_accel_t *a;
  char options[160], why[256];
  snprintf(options, sizeof options, "%s,card=0000:02:00.1", g_options);
  assert_int_equal(g_ops->open(options, &a, why, sizeof why), QR_ERR_UNSUPPORTED);
  assert_non_null(strstr(why, "vfio-pci"));
  snprintf(options, sizeof options, "%s,card=9", g_options);
  assert_int_equal(g_ops->open(options, &a, why, sizeof why), QR_ERR_NOTFOUND);
  assert_non_null(strstr(why, "quarry device list"));
}

int main(void) {
  char cmd[96];
  g_ops = qr_accel_driver("xrt");
  if (!g_ops) {
    puts("this build has no driver accel/xrt");
    return 0;
  }
  snprintf(g_root, sizeof g_root, "/tmp/quarry-sysfs.XXXXXX");
  if (!mkdtemp(g_root)) return 1;
  snprintf(g_options, sizeof g_options, "sysfs=%s", g_root);
  put_dir("bus");
  put_dir("bus/pci");
  put_dir("bus/pci/devices");
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing), cmocka_unit_test(test_cards),
                                     cmocka_unit_test(test_open_says_the_same)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  snprintf(cmd, sizeof cmd, "rm -rf %s", g_root);
  return system(cmd) || failed;
}
