#include "app/net_host.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_SZ 65536u

enum qr_net_file qr_net_file_state(const qr_net_host_t *h, const char *path) {
  char full[PATH_MAX];
  int n = snprintf(full, sizeof full, "%s%s", h->root, path);
  if (n < 0 || n >= (int)sizeof full || access(full, F_OK)) return QR_NET_ABSENT;
  return access(full, R_OK | W_OK) ? QR_NET_FORBIDDEN : QR_NET_USABLE;
}

/* ---- huge pages ---- */

static bool on_huge(void *ctx, const char *name) {
  qr_net_host_t *h = ctx;
  char path[128], *end;
  if (strncmp(name, "hugepages-", 10) || strlen(name) > 40) return true;
  uint64_t kb = strtoull(name + 10, &end, 10);
  if (!kb || strcmp(end, "kB") || h->huge_cnt == QR_NET_HUGE_MAX_CNT) return true;
  qr_net_huge_t *g = &h->huge[h->huge_cnt++];
  *g = (qr_net_huge_t){.page_kb = kb};
  snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/%s/nr_hugepages", name);
  int64_t v = qr_net_read_num(h->root, path, 0);
  g->reserved = v > 0 ? (uint64_t)v : 0;
  snprintf(path, sizeof path, "/sys/kernel/mm/hugepages/%s/free_hugepages", name);
  v = qr_net_read_num(h->root, path, 0);
  g->free = v > 0 ? (uint64_t)v : 0;
  return true;
}

static int compare_huge(const void *a, const void *b) {
  const qr_net_huge_t *x = a, *y = b;
  return x->page_kb < y->page_kb ? -1 : x->page_kb > y->page_kb;
}

/* The page size of a hugetlbfs: an option of its mount, else the kernel's default. */
static uint64_t mount_page_kb(const char *options, uint64_t default_kb) {
  const char *p = strstr(options, "pagesize=");
  char *end;
  if (!p) return default_kb;
  uint64_t v = strtoull(p + 9, &end, 10);
  if (v > UINT32_MAX) return 0;
  if (*end == 'G') return v << 20;
  if (*end == 'M') return v << 10;
  return *end == 'K' || *end == 'k' ? v : v >> 10;
}

static void read_mounts(qr_net_host_t *h, char *text) {
  char line[64], *end;
  uint64_t default_kb = 2048;
  if (qr_net_read_text(h->root, "/proc/meminfo", text, TEXT_SZ) &&
      qr_net_find_line(text, "Hugepagesize:", line, sizeof line))
    default_kb = strtoull(line, &end, 10);
  if (!qr_net_read_text(h->root, "/proc/mounts", text, TEXT_SZ)) return;
  for (char *p = text, *next; p; p = next) {
    next = strchr(p, '\n');
    if (next) *next++ = 0;
    char at[QR_NET_LIST_SZ], type[32], options[256];
    if (sscanf(p, "%*s %127s %31s %255s", at, type, options) != 3 || strcmp(type, "hugetlbfs"))
      continue;
    uint64_t kb = mount_page_kb(options, default_kb);
    for (uint32_t i = 0; i < h->huge_cnt; i++) {
      if (h->huge[i].page_kb == kb) memcpy(h->huge[i].mount, at, sizeof at);
    }
  }
}

/* ---- permissions ---- */

static void read_status(qr_net_host_t *h, char *text) {
  char line[128];
  if (qr_net_read_text(h->root, "/proc/self/status", text, TEXT_SZ)) {
    if (qr_net_find_line(text, "CapEff:", line, sizeof line)) h->caps = strtoull(line, NULL, 16);
    if (qr_net_find_line(text, "Uid:", line, sizeof line))
      h->uid = (uint32_t)strtoul(line, NULL, 10);
    qr_net_find_line(text, "Cpus_allowed_list:", h->cpus_allowed, sizeof h->cpus_allowed);
  }
  if (qr_net_read_line(h->root, "/proc/self/uid_map", line, sizeof line)) {
    unsigned long inside, outside, cnt;
    h->own_user_ns = sscanf(line, "%lu %lu %lu", &inside, &outside, &cnt) != 3 || cnt != UINT32_MAX;
  }
  if (qr_net_read_text(h->root, "/proc/self/limits", text, TEXT_SZ) &&
      qr_net_find_line(text, "Max locked memory", line, sizeof line)) {
    h->memlock_kb = !strncmp(line, "unlimited", 9) ? UINT64_MAX : strtoull(line, NULL, 10) / 1024;
  }
}

static enum qr_net_tri read_userns(const qr_net_host_t *h) {
  int64_t most = qr_net_read_num(h->root, "/proc/sys/user/max_user_namespaces", -1);
  if (most < 0) return QR_NET_UNKNOWN;
  bool kept_back =
      !most || !qr_net_read_num(h->root, "/proc/sys/kernel/unprivileged_userns_clone", 1) ||
      qr_net_read_num(h->root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0);
  return kept_back ? QR_NET_NO : QR_NET_YES;
}

/* ---- DPDK's drivers ---- */

static const char *const pmd_names[QR_NET_PMD_CNT] = {"af_packet", "af_xdp", "tap", "memif",
                                                      "virtio",    "vhost",  "mlx5"};

static bool on_pmd(void *ctx, const char *name) {
  qr_net_host_t *h = ctx;
  for (int i = 0; i < QR_NET_PMD_CNT; i++) {
    char file[48];
    snprintf(file, sizeof file, "librte_net_%s.so", pmd_names[i]);
    if (strncmp(name, file, strlen(file))) continue;
    h->pmds[i] = h->pmds_known = true;
  }
  return true;
}

typedef struct {
  qr_net_host_t *host;
  char path[256];
} pmd_walk_t;

static bool on_pmd_dir(void *ctx, const char *name) {
  pmd_walk_t *w = ctx;
  char path[600];
  if (strncmp(name, "pmds-", 5)) return true;
  snprintf(path, sizeof path, "%s/%.255s", w->path, name);
  qr_net_each(w->host->root, path, on_pmd, w->host);
  return true;
}

static bool on_lib_dir(void *ctx, const char *name) {
  pmd_walk_t w = {.host = ctx};
  if (strlen(name) > 64 || !strstr(name, "-linux-")) return true;
  snprintf(w.path, sizeof w.path, "/usr/lib/%.64s/dpdk", name);
  qr_net_each(w.host->root, w.path, on_pmd_dir, &w);
  return true;
}

static bool on_numa(void *ctx, const char *name) {
  qr_net_host_t *h = ctx;
  if (!strncmp(name, "node", 4) && name[4] >= '0' && name[4] <= '9') h->numa_cnt++;
  return true;
}

static bool on_group(void *ctx, const char *name) {
  (void)name;
  ((qr_net_host_t *)ctx)->iommu_group_cnt++;
  return true;
}

void qr_net_host_read(const char *root, qr_net_host_t *out) {
  qr_net_host_t *h = out;
  *h = (qr_net_host_t){.userns = QR_NET_UNKNOWN, .xdp_sockets = QR_NET_UNKNOWN, .uid = UINT32_MAX};
  char *text = malloc(TEXT_SZ);
  if (!text || snprintf(h->root, sizeof h->root, "%s", root) >= (int)sizeof h->root) {
    free(text);
    return;
  }
  qr_net_host_read_nics(h);
  qr_net_each(root, "/sys/kernel/mm/hugepages", on_huge, h);
  qsort(h->huge, h->huge_cnt, sizeof *h->huge, compare_huge);
  read_mounts(h, text);
  qr_net_each(root, "/sys/kernel/iommu_groups", on_group, h);
  qr_net_each(root, "/sys/devices/system/node", on_numa, h);
  h->vfio = qr_net_file_state(h, "/dev/vfio/vfio");
  h->tun = qr_net_file_state(h, "/dev/net/tun");
  h->vhost_net = qr_net_file_state(h, "/dev/vhost-net");
  h->uverbs = qr_net_file_state(h, "/dev/infiniband/uverbs0");
  char flag[4];
  h->vfio_no_iommu =
      qr_net_read_text(root, "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", flag,
                       sizeof flag) &&
      *flag == 'Y';
  read_status(h, text);
  h->userns = read_userns(h);
  char rest[8]; /* the kernel lists the kinds of sockets that it has, one to a line */
  if (qr_net_read_text(root, "/proc/net/protocols", text, TEXT_SZ))
    h->xdp_sockets = qr_net_find_line(text, "XDP ", rest, sizeof rest) ? QR_NET_YES : QR_NET_NO;
  qr_net_each(root, "/usr/lib", on_lib_dir, h);
  qr_net_read_line(root, "/sys/devices/system/cpu/isolated", h->cpus_isolated,
                   sizeof h->cpus_isolated);
  if (qr_net_read_line(root, "/sys/devices/system/cpu/nohz_full", h->cpus_nohz,
                       sizeof h->cpus_nohz) &&
      strchr(h->cpus_nohz, '('))
    h->cpus_nohz[0] = 0; /* "(null)" says that there are none */
  free(text);
}
