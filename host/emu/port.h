/* Where frames come from and go to: a network interface, or a memif client. Internal to emu. */
#ifndef QR_EMU_PORT_H
#define QR_EMU_PORT_H

#include <poll.h>

#include "base/types.h"

#define QR_EMU_PORT_FD_MAX_CNT 3u
#define QR_EMU_BURST 64u

typedef struct {
  const uint8_t *p;
  uint32_t sz;
} qr_emu_bytes_t;

typedef struct {
  uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
  uint64_t rx_missed; /* the kernel or the client had more than we took in time */
  uint64_t rx_bad;    /* longer than a frame may be, or tagged */
  uint64_t tx_failed; /* could not be handed over */
} qr_emu_port_stats_t;

typedef struct {
  /* Opens what `where` names. On failure a sentence with cause and cure goes to why. */
  int (*open)(const char *where, uint32_t frame_max_sz, void **out, char *why, size_t why_sz);
  void (*close)(void *port);
  /* Takes up to max frames; they are lent until rx_done, which must follow. Returns how many. */
  uint32_t (*rx)(void *port, qr_emu_bytes_t *out, uint32_t max);
  void (*rx_done)(void *port);
  void (*tx)(void *port, const qr_emu_bytes_t *frames, uint32_t cnt);
  /* What to wait for; at most QR_EMU_PORT_FD_MAX_CNT. Returns how many. */
  uint32_t (*fds)(void *port, struct pollfd *out);
  qr_emu_port_stats_t *(*stats)(void *port);
} qr_emu_port_ops_t;

extern const qr_emu_port_ops_t qr_emu_packet_ops, qr_emu_memif_ops;

#endif
