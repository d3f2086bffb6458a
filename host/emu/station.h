/* Which station sits at which port, as a switch learns it from the senders of frames. Bounded: of a
   full set, the station not heard for longest is forgotten. Pure. */
#ifndef QR_EMU_STATION_H
#define QR_EMU_STATION_H

#include "base/types.h"

#define QR_EMU_STATION_SETS 256u
#define QR_EMU_STATION_WAYS 8u
#define QR_EMU_EVERYWHERE UINT16_MAX

typedef struct {
  struct {
    uint64_t mac; /* 48 bits; 0: empty */
    uint64_t heard_ns;
    uint16_t port;
  } at[QR_EMU_STATION_SETS][QR_EMU_STATION_WAYS];
} qr_emu_stations_t;

/* Notes that the sender of frame is at port. Group addresses and zero are not learnt. */
void qr_emu_station_learn(qr_emu_stations_t *s, const uint8_t *frame, uint16_t port,
                          uint64_t now_ns);
/* The port of the frame's receiver, or QR_EMU_EVERYWHERE: a group address, or never heard. */
uint16_t qr_emu_station_find(const qr_emu_stations_t *s, const uint8_t *frame);

#endif
