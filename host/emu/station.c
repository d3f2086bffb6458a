#include "emu/station.h"

static uint64_t mac_of(const uint8_t *p) {
  uint64_t v = 0;
  for (int i = 0; i < 6; i++) v = v << 8 | p[i];
  return v;
}

static uint32_t set_of(uint64_t mac) {
  return (uint32_t)(mac * UINT64_C(0x9E3779B97F4A7C15) >> 56) % QR_EMU_STATION_SETS;
}

void qr_emu_station_learn(qr_emu_stations_t *s, const uint8_t *frame, uint16_t port,
                          uint64_t now_ns) {
  uint64_t mac = mac_of(frame + 6);
  if (!mac || (frame[6] & 1)) return;
  uint32_t set = set_of(mac), oldest = 0;
  for (uint32_t i = 0; i < QR_EMU_STATION_WAYS; i++) {
    if (s->at[set][i].mac == mac) {
      oldest = i;
      break;
    }
    if (s->at[set][i].heard_ns < s->at[set][oldest].heard_ns) oldest = i;
  }
  s->at[set][oldest].mac = mac;
  s->at[set][oldest].heard_ns = now_ns;
  s->at[set][oldest].port = port;
}

uint16_t qr_emu_station_find(const qr_emu_stations_t *s, const uint8_t *frame) {
  uint64_t mac = mac_of(frame);
  if (!mac || (frame[0] & 1)) return QR_EMU_EVERYWHERE;
  uint32_t set = set_of(mac);
  for (uint32_t i = 0; i < QR_EMU_STATION_WAYS; i++) {
    if (s->at[set][i].mac == mac) return s->at[set][i].port;
  }
  return QR_EMU_EVERYWHERE;
}
