/* Frames that are no longer what was sent. Pure. */
#ifndef QR_EMU_DAMAGE_H
#define QR_EMU_DAMAGE_H

#include "base/types.h"

/* Writes the checksums of an IPv4 header and of the TCP or UDP packet in a frame (IPv4, or IPv6
   without extension headers); leaves other frames alone. */
void qr_emu_checksum(uint8_t *p, size_t sz);

/* Flips one to eight bits behind the Ethernet header. By one bit of word the checksums are made
   right again, so that the damage is seen by what lies above UDP. */
void qr_emu_corrupt(uint8_t *p, size_t sz, uint64_t word);

/* The shorter size of a frame that is cut, at least its Ethernet header. By one bit of word the
   lengths and checksums of IP and UDP are made to fit. */
size_t qr_emu_truncate(uint8_t *p, size_t sz, uint64_t word);

#endif
