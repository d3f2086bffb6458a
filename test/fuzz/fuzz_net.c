/* Frames as they come from the wire. The first byte says whether the port has verified the
   checksums. A frame that is accepted must say so for a reason: its payload lies within it, and its
   sender can exist. The parser is compiled in, so that it is fuzzed on systems without DPDK, too.
 */
#include "drivers/link/dpdk/frame.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t sz) {
  static const qr_frame_self_t self = {{{2, 0, 0, 0, 0, 1}}, 0x0a500001, 4100};
  qr_frame_t f;
  if (!sz) return 0;
  const uint8_t *p = data + 1;
  switch (qr_frame_parse(p, sz - 1, &self, data[0] & 1, &f)) {
  case QR_FRAME_UDP:
    if (f.payload < p || f.payload + f.payload_sz > p + sz - 1 || !f.port) abort();
    break;
  case QR_FRAME_ARP:
    if (f.op != QR_FRAME_ARP_REQUEST && f.op != QR_FRAME_ARP_REPLY) abort();
    break;
  case QR_FRAME_OTHER:
  case QR_FRAME_BAD: return 0;
  }
  if (!ip_is_host(f.ip, self.ip) || !mac_is_unicast(f.mac.b)) abort();
  return 0;
}
