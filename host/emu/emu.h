/* Link emulator: a switch of Ethernet frames between ports, each of which has two lines with a
   fate: what comes from the node, and what goes to the node. For tests and benches: lost, late,
   twice, out of order, too fast for the line, or cut off, on a kernel without means for it. It
   sleeps when nothing is to be done, and is late by the kernel's wake-up, about 0.1 ms. Memory is
   bounded and taken at open. Commands and figures: README.md. */
#ifndef QR_EMU_EMU_H
#define QR_EMU_EMU_H

#include <signal.h>
#include <stdio.h>

#include "base/types.h"

#define QR_EMU_PORT_MAX_CNT 64u
#define QR_EMU_FRAME_MAX_SZ 1518u /* default: MTU 1500 with Ethernet header, and a tag's bytes */
#define QR_EMU_FRAME_LIMIT_SZ 16000u
#define QR_EMU_ROOM_MIB 64u

typedef struct qr_emu qr_emu_t;

typedef struct {
  uint64_t seed;         /* of all chance */
  uint32_t frame_max_sz; /* 0: QR_EMU_FRAME_MAX_SZ */
  uint32_t room_mib;     /* of frames under way; 0: QR_EMU_ROOM_MIB */
  uint64_t spin_ns;      /* stays awake so long after the last frame: quicker, for a core's time */
} qr_emu_cfg_t;

/* A switch without ports, or NULL and a sentence in why. */
qr_emu_t *qr_emu_open(const qr_emu_cfg_t *cfg, char *why, size_t why_sz);
void qr_emu_close(qr_emu_t *e);

/* Adds the port that text says: INTERFACE (a packet socket; a veth's end), memif:PATH (a server's
   socket for one memif client), either with NAME= before it. The name is the interface's, or the
   last part of the path. Returns 0 or a negative code with a sentence in why. */
int qr_emu_add_port(qr_emu_t *e, const char *text, char *why, size_t why_sz) QR_WARN_UNUSED;

/* Obeys a line such as "set s0 to delay=10ms loss=1%". Returns 0, or a negative code with a
   sentence in why; then nothing has changed. */
int qr_emu_command(qr_emu_t *e, const char *line, char *why, size_t why_sz) QR_WARN_UNUSED;

/* Moves frames until *stop, or until "quit" comes from in_fd (-1: no commands; it may end). Each
   command is answered on out with "ok" or "error: ..."; "show" with the figures. */
void qr_emu_run(qr_emu_t *e, int in_fd, FILE *out, const volatile sig_atomic_t *stop);

/* Writes the figures as one line of JSON. */
void qr_emu_report(qr_emu_t *e, FILE *out);

#endif
