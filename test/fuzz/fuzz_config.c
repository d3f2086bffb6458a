/* What an operator writes or pastes. By the first byte the rest is a configuration file, the
   options of link/dpdk, or an address. What is accepted has an end wherever it is text, and says
   the same when it is written and read again. The driver's part is compiled in, so that it is
   fuzzed on systems without DPDK, too. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/config.h"
#include "base/assert.h"
#include "base/err.h"
#include "drivers/link/dpdk/config.c"
#include "drivers/link/dpdk/device.c"
#include "drivers/link/dpdk/frame.c"
#include "drivers/link/dpdk/route.c"
#include "drivers/link/quic/options.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

static void check_addr(const qr_link_addr_t *a) {
  char text[QR_LINK_ADDR_STR_SZ];
  qr_link_addr_t back;
  QR_ASSERT(qr_link_addr_parse(qr_link_addr_str(a, text), 1, &back));
  QR_ASSERT(!memcmp(a->ip, back.ip, sizeof back.ip) && a->port == back.port);
}

static void check_options(const char *text, const qr_link_addr_t *local) {
  char why[512] = "", device[512];
  qr_dpdk_config_t out;
  qr_link_cfg_t cfg = {.options = text, .conn_max_cnt = 8, .local = *local};
  if (qr_dpdk_config(&cfg, &out, why, sizeof why)) {
    QR_ASSERT(*why && memchr(why, 0, sizeof why));
    return;
  }
  QR_ASSERT(memchr(out.port.name, 0, sizeof out.port.name) && out.port.name[0]);
  QR_ASSERT(memchr(out.port.eal, 0, sizeof out.port.eal));
  if (out.port.kind != QR_PORT_PCI && qr_device_text(&out.port, device, sizeof device))
    QR_ASSERT(memchr(device, 0, sizeof device));
  (void)qr_route_next_hop(&out.routes, local);
}

#define ENDS(field) QR_ASSERT(memchr(c.field, 0, sizeof c.field))

static void check_file(const char *text, size_t sz) {
  static int fd = -1;
  char path[64], why[512] = "";
  qr_config_t c;
  if (fd < 0) fd = memfd_create("fuzz", MFD_CLOEXEC);
  QR_ASSERT(fd >= 0 && !ftruncate(fd, 0) && pwrite(fd, text, sz, 0) == (ssize_t)sz);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  qr_config_defaults(&c);
  if (qr_config_read(path, &c, why, sizeof why)) {
    QR_ASSERT(*why && memchr(why, 0, sizeof why));
    return;
  }
  ENDS(dir), ENDS(genesis), ENDS(rpc_socket), ENDS(link), ENDS(link_options), ENDS(announce);
  ENDS(sync_serve), ENDS(store), ENDS(store_options), ENDS(accel), ENDS(accel_options);
  ENDS(mine_task);
  QR_ASSERT(c.peer_cnt <= QR_CONFIG_PEER_MAX_CNT && c.verify.cnt <= QR_CONFIG_VERIFY_MAX_CNT);
  for (uint32_t i = 0; i < c.peer_cnt; i++) check_addr(&c.peers[i]);
  check_options(c.link_options, &c.listen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  qr_link_addr_t own = {.ip = {[10] = 0xff, 0xff, 10, 80, 0, 1}, .port = 4100}, a;
  if (!sz) return 0;
  char *text = malloc(sz); /* the text with an end, and nothing behind it */
  QR_ASSERT(text);
  memcpy(text, data + 1, sz - 1);
  text[sz - 1] = 0;
  if (data[0] % 3 == 0)
    check_file(text, sz - 1);
  else if (data[0] % 3 == 1)
    check_options(text, &own);
  else if (qr_link_addr_parse(text, 1, &a))
    check_addr(&a);
  free(text);
  return 0;
}
