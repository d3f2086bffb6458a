#include "find.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VENDOR_XILINX 0x10eeu
#define FILE_SZ 128u
#define PATH_SZ 600u

/* First line of a small file of a device; empty if it cannot be read. */
static void read_line(const char *dir, const char *name, char *out, size_t out_sz) {
  char path[PATH_SZ];
  out[0] = 0;
  snprintf(path, sizeof path, "%.530s/%.60s", dir, name);
  FILE *f = fopen(path, "re");
  if (!f) return;
  if (!fgets(out, (int)out_sz, f)) out[0] = 0;
  fclose(f);
  out[strcspn(out, "\n")] = 0;
  for (char *c = out; *c; c++) {
    if (*c < ' ' || *c > '~') *c = '?';
  }
}

/* The same, of the first subdevice whose name begins with prefix: its number differs by shell. */
static void read_sub(const char *dir, const char *prefix, const char *name, char *out,
                     size_t out_sz) {
  DIR *d = opendir(dir);
  out[0] = 0;
  for (struct dirent *e; d && !out[0] && (e = readdir(d));) {
    char sub[PATH_SZ];
    if (strncmp(e->d_name, prefix, strlen(prefix))) continue;
    snprintf(sub, sizeof sub, "%.250s/%.255s", dir, e->d_name);
    read_line(sub, name, out, out_sz);
  }
  if (d) closedir(d);
}

/* Last part of the path that a link leads to; empty if there is none. */
static void link_name(const char *dir, const char *name, char *out, size_t out_sz) {
  char path[PATH_SZ], to[PATH_SZ];
  snprintf(path, sizeof path, "%.500s/%.60s", dir, name);
  ssize_t n = readlink(path, to, sizeof to - 1);
  to[n > 0 ? n : 0] = 0;
  const char *slash = strrchr(to, '/');
  snprintf(out, out_sz, "%.60s", slash ? slash + 1 : to);
}

/* Whether this user may open the card's render node, and if not, the node. */
static bool may_open(const char *dir, char *node, size_t node_sz) {
  char drm[PATH_SZ];
  snprintf(drm, sizeof drm, "%.500s/drm", dir);
  DIR *d = opendir(drm);
  node[0] = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    if (!strncmp(e->d_name, "renderD", 7)) snprintf(node, node_sz, "/dev/dri/%.40s", e->d_name);
  }
  if (d) closedir(d);
  return node[0] && !access(node, R_OK | W_OK);
}

/* Fills what there is to know; returns whether it is a card for users at all. */
static bool describe(const char *dir, const char *bdf, qr_accel_unit_t *u) {
  char text[FILE_SZ], driver[64], node[64];
  read_line(dir, "vendor", text, sizeof text);
  if (strtoul(text, NULL, 16) != VENDOR_XILINX) return false;
  link_name(dir, "driver", driver, sizeof driver);
  if (!strcmp(driver, "xclmgmt")) return false; /* the other half of a card, for administrators */
  *u = (qr_accel_unit_t){.temp_c = QR_ACCEL_UNTOLD, .valid_ago_ms = UINT64_MAX};
  snprintf(u->id, sizeof u->id, "%.23s", bdf);
  read_sub(dir, "rom", "VBNV", text, sizeof text);
  if (!*text) read_line(dir, "VBNV", text, sizeof text);
  snprintf(u->name, sizeof u->name, "%.63s", text);
  read_sub(dir, "xmc", "serial_num", text, sizeof text);
  snprintf(u->serial, sizeof u->serial, "%.23s", text);
  bool has_node = may_open(dir, node, sizeof node) || *node;
  if (!*driver)
    snprintf(u->why, sizeof u->why,
             "no kernel driver: install the card vendor's xrt package, which brings xocl");
  else if (strcmp(driver, "xocl"))
    snprintf(u->why, sizeof u->why,
             "the kernel driver %.20s has it, not xocl: unbind it there (see /sys)", driver);
  else if (!has_node)
    snprintf(u->why, sizeof u->why, "the driver xocl made no device node for it: see dmesg");
  else if (access(node, R_OK | W_OK))
    snprintf(u->why, sizeof u->why,
             "%.30s may not be opened by this user: join the group that owns it (render or video)",
             node);
  return true;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static int emulated(const qr_xrt_options_t *o, qr_accel_unit_t *out, uint32_t max_cnt) {
  uint32_t n = o->card_cnt < max_cnt ? o->card_cnt : max_cnt;
  for (uint32_t i = 0; i < n; i++) {
    out[i] =
        (qr_accel_unit_t){.emulated = true, .temp_c = QR_ACCEL_UNTOLD, .valid_ago_ms = UINT64_MAX};
    snprintf(out[i].id, sizeof out[i].id, "emu:%u", i);
  }
  return (int)n;
}

int qr_xrt_find(const qr_xrt_options_t *o, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                size_t why_sz) {
  char dir[PATH_SZ];
  struct dirent **names;
  uint32_t cnt = 0, usable = 0;
  if (o->emulate) return emulated(o, out, max_cnt);
  snprintf(dir, sizeof dir, "%s/bus/pci/devices", o->sysfs);
  int n = scandir(dir, &names, NULL, by_name);
  for (int i = 0; i < n; i++) {
    snprintf(dir, sizeof dir, "%s/bus/pci/devices/%.255s", o->sysfs, names[i]->d_name);
    if (names[i]->d_name[0] != '.' && cnt < max_cnt && describe(dir, names[i]->d_name, &out[cnt])) {
      usable += !out[cnt].why[0];
      cnt++;
    }
    free(names[i]);
  }
  if (n >= 0) free(names);
  if (n < 0)
    snprintf(why, why_sz, "%s/bus/pci/devices cannot be read: no PCI bus is visible here",
             o->sysfs);
  else if (!cnt)
    snprintf(why, why_sz,
             "no card of the vendor (PCI 10ee) is in this machine; without one, try --accel "
             "xrt:emulate");
  else if (!usable)
    snprintf(why, why_sz, "%s: %s", out[0].id, out[0].why);
  return (int)cnt;
}
