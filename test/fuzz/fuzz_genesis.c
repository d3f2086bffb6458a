/* Any text is either refused with a sentence or read as a chain that qr_params_init accepts. */
#include "app/genesis.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static qr_chain_cfg_t cfg;
  qr_params_t p;
  char why[128] = "";
  int err = qr_genesis_parse((const char *)data, sz, &p, why, sizeof why);
  if (err) {
    QR_ASSERT(memchr(why, 0, sizeof why) && why[0]);
    return 0;
  }
  QR_ASSERT(!qr_params_init(&p, &cfg, why, sizeof why));
  return 0;
}
