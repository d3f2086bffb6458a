/* What emu's own files share. */
#ifndef QR_EMU_INTERNAL_H
#define QR_EMU_INTERNAL_H

#include "emu/emu.h"
#include "emu/fate.h"
#include "emu/port.h"
#include "emu/room.h"
#include "emu/station.h"

#define QR_EMU_NAME_SZ 32u

enum { QR_EMU_FROM, QR_EMU_TO }; /* from the node, to the node */

typedef struct {
  char name[QR_EMU_NAME_SZ];
  const qr_emu_port_ops_t *ops;
  void *port;
  qr_emu_line_t lines[2];
  uint32_t group;                      /* frames pass only within a group */
  uint64_t cut_cnt;                    /* frames that were for a port of another group */
  uint32_t out[QR_EMU_BURST], out_cnt; /* slots to be sent */
} qr_emu_node_t;

struct qr_emu {
  qr_emu_cfg_t cfg;
  qr_emu_node_t nodes[QR_EMU_PORT_MAX_CNT];
  uint32_t node_cnt;
  qr_emu_room_t room;
  qr_emu_stations_t stations;
  uint64_t opened_ns, now_ns, heard_ns; /* heard: when a frame came or went last */
  uint64_t no_room_cnt;                 /* frames dropped for lack of memory */
  uint64_t late_cnt, late_sum_ns,
      late_max_ns; /* frames that waited, and how much beyond their time */
};

#endif
