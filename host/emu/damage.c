#include "emu/damage.h"

#include <netinet/in.h>

#define ETHERNET_SZ 14u

static uint32_t sum(const uint8_t *p, size_t sz, uint32_t start) {
  uint64_t s = start;
  for (; sz > 1; p += 2, sz -= 2) s += (uint32_t)(p[0] << 8 | p[1]);
  if (sz) s += (uint32_t)(p[0] << 8);
  while (s >> 16) s = (s & 0xffff) + (s >> 16);
  return (uint32_t)s;
}

static void put16(uint8_t *p, size_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
}

/* Where a frame's parts lie. */
typedef struct {
  size_t packet, end; /* of TCP or UDP: where it begins, where IP ends */
  size_t addr, addr_sz;
  uint8_t protocol;
  bool v4;
} parts_t;

static bool find_parts(const uint8_t *p, size_t sz, parts_t *out) {
  if (sz >= 34 && p[12] == 8 && p[13] == 0) {
    size_t packet = ETHERNET_SZ + 4u * (p[14] & 15);
    *out = (parts_t){packet, ETHERNET_SZ + (size_t)(p[16] << 8 | p[17]), 26, 8, p[23], true};
    return packet >= 34 && packet <= sz;
  }
  if (sz >= 54 && p[12] == 0x86 && p[13] == 0xdd) {
    *out = (parts_t){54, 54 + (size_t)(p[18] << 8 | p[19]), 22, 32, p[20], false};
    return true;
  }
  return false;
}

void qr_emu_checksum(uint8_t *p, size_t sz) {
  parts_t f;
  if (!find_parts(p, sz, &f)) return;
  if (f.v4) {
    put16(p + 24, 0);
    put16(p + 24, (uint16_t)~sum(p + ETHERNET_SZ, f.packet - ETHERNET_SZ, 0));
  }
  size_t field = f.protocol == IPPROTO_TCP ? 16 : f.protocol == IPPROTO_UDP ? 6 : 0;
  if (!field || f.end > sz || f.packet + field + 2 > f.end) return;
  put16(p + f.packet + field, 0);
  uint32_t s = sum(p + f.addr, f.addr_sz, (uint32_t)(f.protocol + (f.end - f.packet)));
  s = sum(p + f.packet, f.end - f.packet, s);
  uint16_t value = (uint16_t)~s;
  if (!value && f.protocol == IPPROTO_UDP) value = 0xffff;
  put16(p + f.packet + field, value);
}

void qr_emu_corrupt(uint8_t *p, size_t sz, uint64_t word) {
  if (sz <= ETHERNET_SZ) return;
  const bool repair = word & 1;
  unsigned cnt = 1 + (word >> 1 & 7);
  for (unsigned i = 0; i < cnt; i++) {
    word = word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t bit = (word >> 33) % (8 * (sz - ETHERNET_SZ));
    p[ETHERNET_SZ + bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  if (repair) qr_emu_checksum(p, sz);
}

size_t qr_emu_truncate(uint8_t *p, size_t sz, uint64_t word) {
  parts_t f;
  if (sz <= ETHERNET_SZ) return sz;
  size_t cut = ETHERNET_SZ + (size_t)((word >> 16) % (sz - ETHERNET_SZ));
  if (!(word & 1) || !find_parts(p, cut, &f)) return cut;
  if (f.v4)
    put16(p + 16, cut - ETHERNET_SZ);
  else
    put16(p + 18, cut - 54);
  if (f.protocol == IPPROTO_UDP && cut >= f.packet + 8) put16(p + f.packet + 4, cut - f.packet);
  qr_emu_checksum(p, cut);
  return cut;
}
