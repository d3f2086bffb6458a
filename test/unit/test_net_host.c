/* quarry net check on made-up hosts: trees of files as /sys, /proc and /dev have them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/net_need.h"

static char root[64];
static qr_net_host_t host;

/* ---- trees ---- */

static void make_dirs(const char *path) {
  char full[1024];
  snprintf(full, sizeof full, "%s%s", root, path);
  for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
    *p = 0;
    (void)mkdir(full, 0755);
    *p = '/';
  }
}

static void put_bytes(const char *path, const void *p, size_t sz) {
  char full[1024];
  make_dirs(path);
  snprintf(full, sizeof full, "%s%s", root, path);
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, sz, f), sz);
  assert_int_equal(fclose(f), 0);
}

static void put(const char *path, const char *text) { put_bytes(path, text, strlen(text)); }

static void put_link(const char *path, const char *target) {
  char full[1024];
  make_dirs(path);
  snprintf(full, sizeof full, "%s%s", root, path);
  assert_int_equal(symlink(target, full), 0);
}

static void put_dir(const char *path) {
  char slash[512];
  snprintf(slash, sizeof slash, "%s/", path);
  make_dirs(slash);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static int setup(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/qr-net-XXXXXX");
  return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_pci(const char *pci, const char *class, const char *driver, int numa, int group) {
  char path[128], text[64];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/class", pci);
  put(path, class);
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vendor", pci);
  put(path, "0x15b3\n");
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/device", pci);
  put(path, "0x101d\n");
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/numa_node", pci);
  snprintf(text, sizeof text, "%d\n", numa);
  put(path, text);
  if (driver) {
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver", pci);
    snprintf(text, sizeof text, "../../../bus/pci/drivers/%s", driver);
    put_link(path, text);
  }
  if (group < 0) return;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", pci);
  snprintf(text, sizeof text, "../../../kernel/iommu_groups/%d", group);
  put_link(path, text);
  snprintf(path, sizeof path, "/sys/kernel/iommu_groups/%d/", group);
  put_dir(path);
}

static void put_iface(const char *pci, const char *name, const char *flags, const char *state) {
  char path[256];
  if (pci) {
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/net/%s", pci, name);
    put_dir(path);
  }
  snprintf(path, sizeof path, "/sys/class/net/%s/flags", name);
  put(path, flags);
  snprintf(path, sizeof path, "/sys/class/net/%s/operstate", name);
  put(path, state);
  snprintf(path, sizeof path, "/sys/class/net/%s/mtu", name);
  put(path, "9000\n");
}

static void put_user(const char *uid_map, const char *caps, const char *locked) {
  char text[256];
  snprintf(text, sizeof text,
           "Name:\tquarry\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t%s\n"
           "Cpus_allowed_list:\t0-15\n",
           caps);
  put("/proc/self/status", text);
  put("/proc/self/uid_map", uid_map);
  snprintf(text, sizeof text,
           "Limit                     Soft Limit           Hard Limit           Units     \n"
           "Max locked memory         %s              %s              bytes     \n",
           locked, locked);
  put("/proc/self/limits", text);
}

static void put_dpdk(void) {
  static const char *const names[] = {"af_packet", "af_xdp", "tap", "memif", "virtio", "mlx5"};
  for (size_t i = 0; i < QR_ARRAY_CNT(names); i++) {
    char path[128];
    snprintf(path, sizeof path, "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_%s.so.23.0",
             names[i]);
    put(path, "");
  }
}

static void put_rack(void) {
  put_pci("0000:3b:00.0", "0x020000\n", "mlx5_core", 0, 31);
  put_iface("0000:3b:00.0", "enp59s0f0", "0x1003\n", "up\n");
  put_iface("0000:3b:00.0", "enp59s0f0r1", "0x1002\n", "down\n");
  put_pci("0000:af:00.0", "0x020000\n", "vfio-pci", 1, 77);
  put_pci("0000:b0:00.0", "0x020000\n", "ice", 1, 78);
  put_pci("0000:d8:00.0", "0x030000\n", "nvidia", 1, 90); /* no network card */
  put_iface("0000:b0:00.0", "ens9", "0x1003\n", "up\n");
  put("/sys/class/net/ens9/speed", "100000\n");
  put("/proc/net/dev", "Inter-|   Receive\n face |bytes\n    lo: 1 2\nenp59s0f0: 3 4\n"
                       "enp59s0f0r1: 0 0\n  ens9: 5 6\n");
  put("/proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n"
                         "ens9\t00000000\t010A0A0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                         "enp59s0f0\t000A0A0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
  put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "1024\n");
  put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "1000\n");
  put("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
  put("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
  put("/proc/meminfo", "MemTotal: 1 kB\nHugepagesize:       2048 kB\n");
  put("/proc/mounts", "proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,relatime 0 0\n"
                      "none /mnt/1g hugetlbfs rw,pagesize=1024M 0 0\n");
  put("/dev/vfio/vfio", "");
  put("/dev/vfio/77", "");
  put("/dev/infiniband/uverbs0", "");
  put("/dev/net/tun", "");
  put("/sys/devices/system/node/node0/cpulist", "0-7\n");
  put("/sys/devices/system/node/node1/cpulist", "8-15\n");
  put("/sys/devices/system/cpu/isolated", "8-11\n");
  put("/sys/devices/system/cpu/nohz_full", "8-11\n");
  put("/proc/net/protocols", "protocol  size\nXDP       1088\nPACKET    1600\n");
  put("/proc/sys/user/max_user_namespaces", "1000\n");
  put_user("         0          0 4294967295\n", "0000008000007000", "unlimited");
  put_dpdk();
}

/* ---- what is found ---- */

static const qr_net_nic_t *nic(const char *pci, const char *iface) {
  for (uint32_t i = 0; i < host.nic_cnt; i++) {
    if (!strcmp(host.nics[i].pci, pci) && !strcmp(host.nics[i].iface, iface)) return &host.nics[i];
  }
  fail_msg("no card '%s' with '%s'", pci, iface);
  return NULL;
}

/* The finding whose text holds what; fails if it is not there or not in that state. */
static const qr_net_finding_t *finding(const qr_net_way_t *w, enum qr_net_state state,
                                       const char *what) {
  for (uint32_t i = 0; i < w->finding_cnt; i++) {
    if (!strstr(w->findings[i].what, what)) continue;
    if (w->findings[i].state != state)
      fail_msg("'%s' is in state %d", w->findings[i].what, w->findings[i].state);
    return &w->findings[i];
  }
  fail_msg("nothing says '%s'", what);
  return NULL;
}

static qr_net_way_t judged(const char *options) {
  qr_net_way_t w;
  char why[256];
  if (!qr_net_judge_options(&host, options, &w, why, sizeof why)) fail_msg("%s", why);
  return w;
}

static void test_rack(void **state) {
  (void)state;
  put_rack();
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, 4);
  const qr_net_nic_t *n = nic("0000:3b:00.0", "enp59s0f0");
  assert_int_equal(n->owner, QR_NET_SHARED);
  assert_int_equal(n->up, QR_NET_YES);
  assert_int_equal(n->mtu, 9000);
  assert_int_equal(n->iommu_group, 31);
  assert_string_equal(n->id, "15b3:101d");
  assert_int_equal(nic("0000:3b:00.0", "enp59s0f0r1")->up, QR_NET_NO);
  n = nic("0000:af:00.0", "");
  assert_int_equal(n->owner, QR_NET_USER);
  assert_int_equal(n->numa, 1);
  n = nic("0000:b0:00.0", "ens9");
  assert_true(n->default_route);
  assert_int_equal(n->speed_mbps, 100000);
  assert_false(nic("0000:3b:00.0", "enp59s0f0")->default_route);
  assert_int_equal(host.huge_cnt, 2);
  assert_int_equal(host.huge[0].free, 1000);
  assert_string_equal(host.huge[0].mount, "/dev/hugepages");
  assert_string_equal(host.huge[1].mount, "/mnt/1g");
  assert_int_equal(host.iommu_group_cnt, 4);
  assert_int_equal(host.numa_cnt, 2);
  assert_true(host.memlock_kb == UINT64_MAX);
  assert_true(qr_net_has_cap(&host, QR_NET_CAP_NET_RAW));
  assert_true(qr_net_has_cap(&host, QR_NET_CAP_BPF));
  assert_false(qr_net_has_cap(&host, QR_NET_CAP_SYS_ADMIN));
  assert_int_equal(host.userns, QR_NET_YES);
  assert_int_equal(host.xdp_sockets, QR_NET_YES);
  assert_string_equal(host.cpus_isolated, "8-11");
}

static void test_rack_ways(void **state) {
  (void)state;
  put_rack();
  qr_net_host_read(root, &host);
  qr_net_way_t w = judged("pci=0000:af:00.0;huge=1;prefix=24");
  assert_true(w.possible);
  finding(&w, QR_NET_OK, "bound to vfio-pci");
  finding(&w, QR_NET_OK, "1000 huge pages");
  finding(&w, QR_NET_ADVICE, "NUMA node 1");
  w = judged("pci=0000:3b:00.0;huge=1");
  assert_true(w.possible);
  finding(&w, QR_NET_OK, "mlx5_core");
  w = judged("pci=0000:b0:00.0");
  assert_false(w.possible);
  const qr_net_finding_t *f = finding(&w, QR_NET_MISSING, "belongs to the kernel's driver ice");
  assert_string_equal(f->type, "dpdk-devbind.py --bind=vfio-pci 0000:b0:00.0");
  finding(&w, QR_NET_ADVICE, "cuts the host off");
  w = judged("pci=0000:d8:00.0");
  finding(&w, QR_NET_MISSING, "no network card at 0000:d8:00.0");
  w = judged("iface=ens9");
  assert_true(w.possible);
  w = judged("vdev=net_af_packet0,iface=enp59s0f0r1");
  assert_false(w.possible);
  f = finding(&w, QR_NET_MISSING, "enp59s0f0r1 is down");
  assert_string_equal(f->type, "ip link set enp59s0f0r1 up");
  w = judged("xdp=ens9");
  assert_true(w.possible);
  qr_net_judge(&host, QR_NET_WAY_PCI, NULL, false, &w);
  finding(&w, QR_NET_OK, "0000:af:00.0 is bound"); /* the card that needs least */
  assert_true(w.possible);
}

/* One thing taken away at a time, and the sentence that names it. */
static void test_rack_lacks(void **state) {
  (void)state;
  put_rack();
  qr_net_host_t full;
  qr_net_host_read(root, &full);
  host = full;
  host.iommu_group_cnt = 0;
  qr_net_way_t w = judged("pci=0000:af:00.0");
  finding(&w, QR_NET_MISSING, "the IOMMU is off");
  host.vfio_no_iommu = true;
  w = judged("pci=0000:af:00.0");
  finding(&w, QR_NET_ADVICE, "the IOMMU is off");
  host = full;
  host.vfio = QR_NET_ABSENT;
  w = judged("pci=0000:af:00.0");
  assert_string_equal(finding(&w, QR_NET_MISSING, "vfio is not loaded")->type,
                      "modprobe vfio-pci   (and in /etc/modules, to stay)");
  host = full;
  host.huge[0].free = 31;
  w = judged("pci=0000:af:00.0;huge=1");
  finding(&w, QR_NET_MISSING, "not 64 MiB of free huge pages");
  w = judged("pci=0000:af:00.0");
  finding(&w, QR_NET_ADVICE, "not 64 MiB of free huge pages");
  assert_true(w.possible);
  host.huge[0].free = 32;
  host.huge[0].mount[0] = 0;
  w = judged("iface=ens9;huge=1");
  finding(&w, QR_NET_MISSING, "not mounted");
  host = full;
  host.memlock_kb = 8192;
  w = judged("pci=0000:af:00.0");
  finding(&w, QR_NET_OK, "locked in memory"); /* CAP_IPC_LOCK */
  host.caps = 1ull << QR_NET_CAP_NET_RAW;
  w = judged("pci=0000:af:00.0");
  finding(&w, QR_NET_MISSING, "only 8192 KiB");
  w = judged("iface=ens9");
  assert_true(w.possible);
  host.memlock_kb = 64;
  w = judged("iface=ens9");
  finding(&w, QR_NET_MISSING, "only 64 KiB");
  w = judged("xdp=ens9");
  finding(&w, QR_NET_MISSING, "lacks CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF");
  host.xdp_sockets = QR_NET_NO;
  w = judged("xdp=ens9");
  finding(&w, QR_NET_MISSING, "no XDP sockets");
  host = full;
  host.pmds[QR_NET_PMD_MEMIF] = false;
  w = judged("memif=/run/a.sock;role=client");
  finding(&w, QR_NET_MISSING, "memif is not installed");
}

static void test_laptop(void **state) {
  (void)state;
  put_pci("0000:00:14.3", "0x028000\n", "iwlwifi", -1, -1);
  put_iface("0000:00:14.3", "wlp0s20f3", "0x1003\n", "up\n");
  put_iface(NULL, "docker0", "0x1003\n", "down\n");
  put("/proc/net/dev", "h|\nlo: 0\nwlp0s20f3: 1\ndocker0:0\n");
  put("/proc/sys/user/max_user_namespaces", "1000\n");
  put("/proc/sys/kernel/unprivileged_userns_clone", "1\n");
  put_user("0 0 4294967295\n", "0000000000000000", "8388608");
  put_dpdk();
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, 2);
  assert_int_equal(nic("", "docker0")->owner, QR_NET_VIRTUAL);
  assert_int_equal(nic("", "docker0")->link, QR_NET_NO);
  assert_int_equal(host.memlock_kb, 8192);
  assert_int_equal(host.tun, QR_NET_ABSENT);
  assert_int_equal(host.xdp_sockets, QR_NET_UNKNOWN);
  qr_net_way_t w = judged("iface=wlp0s20f3");
  assert_false(w.possible);
  assert_non_null(strstr(finding(&w, QR_NET_MISSING, "lacks CAP_NET_RAW")->type, "unshare -Urn"));
  put("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
  qr_net_host_read(root, &host);
  assert_int_equal(host.userns, QR_NET_NO);
  w = judged("iface=wlp0s20f3");
  assert_null(strstr(finding(&w, QR_NET_MISSING, "lacks CAP_NET_RAW")->type, "unshare"));
  w = judged("tap=q0");
  finding(&w, QR_NET_MISSING, "no /dev/net/tun");
  put_user("0 1000 1\n", "000001ffffffffff", "8388608"); /* root of its own namespace */
  qr_net_host_read(root, &host);
  assert_true(host.own_user_ns);
  w = judged("iface=docker0");
  assert_true(w.possible);
  finding(&w, QR_NET_ADVICE, "no carrier");
  w = judged("xdp=docker0");
  finding(&w, QR_NET_MISSING, "for a user namespace");
}

/* In a network namespace of its own /sys may still show the cards of another one. */
static void test_other_namespace(void **state) {
  (void)state;
  put_pci("0000:00:03.0", "0x020000\n", "virtio-pci", -1, -1);
  put_dir("/sys/bus/pci/devices/0000:00:03.0/virtio0/net/eth0");
  put_iface(NULL, "eth0", "0x1003\n", "up\n");
  put("/proc/net/dev", "h|\nlo: 0\n");
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, 1);
  assert_string_equal(host.nics[0].iface, "");
  put("/proc/net/dev", "h|\nlo: 0\neth0: 0\nn1: 0\n");
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, 2);
  assert_int_equal(nic("0000:00:03.0", "eth0")->up, QR_NET_YES);
  assert_int_equal(nic("", "n1")->up, QR_NET_UNKNOWN);
}

static void test_bad_options(void **state) {
  (void)state;
  static const char *const bad[] = {"", "prefix=24", "iface=a;pci=b", "=x"};
  qr_net_way_t w;
  char why[256];
  memset(&host, 0, sizeof host);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++)
    assert_false(qr_net_judge_options(&host, bad[i], &w, why, sizeof why));
  w = judged("vdev=net_strange0,a=b");
  finding(&w, QR_NET_UNSURE, "net_strange0,a=b");
  w = judged("vdev=net_af_packet0"); /* names no interface */
  finding(&w, QR_NET_MISSING, "no interface but lo");
}

/* ---- hostile trees ---- */

static void expect_clean(const char *s, size_t sz) {
  assert_true(strnlen(s, sz) < sz);
  for (; *s; s++) assert_true(*s >= 0x20 && *s <= 0x7e);
}

static void judge_all(void) {
  for (int k = 0; k < QR_NET_WAY_OTHER; k++) {
    qr_net_way_t w;
    qr_net_judge(&host, (enum qr_net_way_kind)k, k % 2 ? "x" : NULL, true, &w);
    for (uint32_t i = 0; i < w.finding_cnt; i++) {
      expect_clean(w.findings[i].what, sizeof w.findings[i].what);
      expect_clean(w.findings[i].type, sizeof w.findings[i].type);
    }
  }
  for (uint32_t i = 0; i < host.nic_cnt; i++) {
    expect_clean(host.nics[i].iface, QR_NET_NAME_SZ);
    expect_clean(host.nics[i].pci, QR_NET_NAME_SZ);
    expect_clean(host.nics[i].driver, QR_NET_NAME_SZ);
  }
  expect_clean(host.cpus_allowed, sizeof host.cpus_allowed);
  expect_clean(host.cpus_isolated, sizeof host.cpus_isolated);
  for (uint32_t i = 0; i < host.huge_cnt; i++) expect_clean(host.huge[i].mount, QR_NET_LIST_SZ);
}

static void test_empty_and_absent(void **state) {
  (void)state;
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, 0);
  assert_int_equal(host.caps, 0);
  assert_int_equal(host.userns, QR_NET_UNKNOWN);
  assert_false(host.pmds_known);
  judge_all();
  char longer[600];
  memset(longer, 'a', sizeof longer);
  longer[sizeof longer - 1] = 0;
  qr_net_host_read(longer, &host);
  assert_int_equal(host.nic_cnt, 0);
}

static void test_hostile(void **state) {
  (void)state;
  char path[512], full[700];
  static char big[300000];
  memset(big, 'A', sizeof big);
  put_rack();
  for (int i = 0; i < 100; i++) { /* more cards than fit */
    snprintf(path, sizeof path, "0001:%02x:00.0", i);
    put_pci(path, "0x020000", NULL, -7, -1);
  }
  put_pci("evil\033[2J\n", "0x020000", NULL, 1 << 30, -1);
  put_pci("0000:ff:00.0", "0x020000", "dri\033ver\nname", 0, -1);
  put_dir("/sys/bus/pci/devices/0000:ff:00.0/net/bad name");
  put_dir("/sys/bus/pci/devices/0000:ff:00.0/net/an_interface_name_that_is_far_too_long_for_linux");
  put_bytes("/proc/net/dev", big, sizeof big);
  put_bytes("/proc/mounts", big, sizeof big);
  put_bytes("/proc/self/status", "CapEff:\tzz\nUid:\nCpus_allowed_list:\t\001\002\377\n", 40);
  put("/proc/self/limits", "Max locked memory");
  put("/proc/self/uid_map", "no numbers");
  put("/sys/devices/system/cpu/isolated", "1\n2\n\033[31m");
  put("/sys/kernel/mm/hugepages/hugepages-99999999999999999999kB/free_hugepages", "5");
  put("/sys/kernel/mm/hugepages/hugepages-0kB/free_hugepages", "5");
  put("/sys/kernel/mm/hugepages/hugepages-64kB/free_hugepages", "-9223372036854775808");
  put("/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages", "999999999999999999999999");
  put_link("/sys/class/net/loop0", "loop0");
  snprintf(full, sizeof full, "%s/proc/net/protocols", root);
  assert_int_equal(unlink(full), 0);
  assert_int_equal(mkfifo(full, 0644), 0); /* would keep a reader waiting */
  snprintf(full, sizeof full, "%s/proc/net/route", root);
  assert_int_equal(unlink(full), 0);
  assert_int_equal(mkdir(full, 0755), 0);
  qr_net_host_read(root, &host);
  assert_int_equal(host.nic_cnt, QR_NET_NIC_MAX_CNT);
  assert_true(host.nic_more);
  assert_int_equal(host.xdp_sockets, QR_NET_UNKNOWN);
  assert_true(host.huge_cnt <= QR_NET_HUGE_MAX_CNT);
  judge_all();
}

/* Random bytes in every file that is read. */
static void test_garbage(void **state) {
  (void)state;
  static const char *const files[] = {"/proc/net/dev",
                                      "/proc/net/route",
                                      "/proc/mounts",
                                      "/proc/meminfo",
                                      "/proc/self/status",
                                      "/proc/self/limits",
                                      "/proc/self/uid_map",
                                      "/proc/net/protocols",
                                      "/sys/bus/pci/devices/0000:3b:00.0/class",
                                      "/sys/class/net/ens9/flags",
                                      "/sys/class/net/ens9/speed",
                                      "/sys/devices/system/cpu/isolated"};
  static const char alphabet[] = ":=,- \n\t0123456789abcxkM/hugetlbfs\033\377";
  uint64_t x = 42;
  put_rack();
  for (int round = 0; round < 40; round++) {
    for (size_t f = 0; f < QR_ARRAY_CNT(files); f++) {
      char text[400];
      size_t sz = (x >> 40) % sizeof text;
      for (size_t i = 0; i < sz; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        text[i] = alphabet[(x >> 33) % sizeof alphabet];
      }
      put_bytes(files[f], text, sz);
    }
    qr_net_host_read(root, &host);
    judge_all();
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_rack),
      TEST(test_rack_ways),
      TEST(test_rack_lacks),
      TEST(test_laptop),
      TEST(test_other_namespace),
      TEST(test_bad_options),
      TEST(test_empty_and_absent),
      TEST(test_hostile),
      TEST(test_garbage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
