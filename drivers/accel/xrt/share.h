/* What the driver and the process that holds a card share: a memory that both map, and messages of
   one size over a socket. The process (worker.c) is the only one that calls XRT. The driver lays
   out everything a launch of the engine needs as the engine wants it; the process moves it to the
   card, starts the engine, and moves the answer back. */
#ifndef QR_XRT_SHARE_H
#define QR_XRT_SHARE_H

#include "base/types.h"
#include "hls/common/qr_engine_abi.h"
#include "port/accel.h"

/* Jobs that a card holds at once, each with a model of its own: two for each engine on it, so that
   one is loaded while the other runs. Slot i belongs to engine i modulo their number. */
#define QR_XRT_ENGINE_MAX_CNT 8u
#define QR_XRT_SLOT_MAX_CNT (2u * QR_XRT_ENGINE_MAX_CNT)
#define QR_XRT_PART_CNT                                                                            \
  2u /* launches of a job that are under way: one runs, the next is loaded                         \
      */
#define QR_XRT_PROG_MAX_CNT 16u
#define QR_XRT_CUSTOM QR_XRT_PROG_MAX_CNT /* the slot's own program */
#define QR_XRT_MAGIC 0x35747278u          /* another one whenever something here changes */
#define QR_XRT_PAGE 4096u
#define QR_XRT_HEAD_SZ (4u * QR_XRT_PAGE) /* of the shared memory */
#define QR_XRT_RANGE_MAX_CNT 32u
#define QR_XRT_TABLE_MAX_SZ (8u << 20)

/* Descriptors that the process finds open. */
enum {
  QR_XRT_FD_SOCKET = 3,
  QR_XRT_FD_SHARE,
  QR_XRT_FD_LOCK,     /* of the scratch folder, only held */
  QR_XRT_FD_BITSTREAM /* not if the card is only looked at */
};

/* Bytes of each buffer, all multiples of a page. */
typedef struct {
  uint32_t prog_cnt, slot_cnt;
  uint64_t model, pool, job, out, s8, s32;
  uint64_t keep[QR_XRT_PROG_MAX_CNT]; /* POOL of a program's replay, in each engine's memory */
  uint64_t table;                     /* TABLE of such a one, in each slot */
} qr_xrt_sizes_t;

/* One launch. What is to be moved besides JOB and OUT is said by the *_sz fields, 0 for nothing.
   job_cnt 0: nothing is launched, only moved. */
typedef struct {
  uint32_t prog; /* number, or QR_XRT_CUSTOM */
  bool is_drawn; /* POOL is the program's replay and TABLE the slot's of it; else POOL is the
                    part's own */
  uint32_t job_cnt, pool_rows, row_stride, table_cnt, model_cnt, s8_cnt, s32_cnt, out_cnt;
  uint64_t pool_sz, model_up_sz, model_down_sz, s8_up_sz, s32_down_sz;
  uint64_t keep_at, keep_sz; /* out of the part's pool area into the program's replay, from there on
                              */
  uint32_t range_cnt;        /* of the slot's table for the program: what has changed, in bytes */
  struct {
    uint32_t at, sz;
  } ranges[QR_XRT_RANGE_MAX_CNT];
} qr_xrt_launch_t;

/* What the process tells of its card. Written by it before OPENED or LOADED is sent, the sensors at
   any time. */
typedef struct {
  char name[64];     /* shell */
  uint32_t array;    /* of the engine */
  bool keeps_replay; /* it had memory for the sizes' keep and table */
  _Atomic int32_t temp_c;
  struct {
    char name[12];
    _Atomic int32_t mv, ma;
  } rails[QR_ACCEL_RAIL_MAX_CNT];
} qr_xrt_info_t;

/* Start of the shared memory; the areas follow. */
typedef struct {
  uint32_t magic;
  uint32_t engine_cnt; /* set from the start, with the names of their instances */
  char engines[QR_XRT_ENGINE_MAX_CNT][48];
  qr_xrt_info_t info;
  qr_xrt_sizes_t sizes; /* set before ATTACH */
  qr_xrt_launch_t launch[QR_XRT_SLOT_MAX_CNT][QR_XRT_PART_CNT];
} qr_xrt_share_t;

/* Offsets from the start of the shared memory. */
typedef struct {
  uint64_t pool, job, out;
} qr_xrt_part_layout_t;

typedef struct {
  uint64_t prog[QR_XRT_PROG_MAX_CNT];
  struct {
    uint64_t custom, model, s8, s32;
    uint64_t table[QR_XRT_PROG_MAX_CNT]; /* as the card's is to be */
    qr_xrt_part_layout_t part[QR_XRT_PART_CNT];
  } slot[QR_XRT_SLOT_MAX_CNT];
  uint64_t sz;
} qr_xrt_layout_t;

static inline uint64_t qr_xrt_page_up(uint64_t v) {
  return (v + QR_XRT_PAGE - 1) / QR_XRT_PAGE * QR_XRT_PAGE;
}

static inline uint64_t qr_xrt_take(uint64_t *at, uint64_t sz) {
  uint64_t off = *at;
  *at += qr_xrt_page_up(sz);
  return off;
}

static inline void qr_xrt_lay_out(const qr_xrt_sizes_t *s, qr_xrt_layout_t *out) {
  uint64_t at = QR_XRT_HEAD_SZ;
  for (uint32_t i = 0; i < QR_XRT_PROG_MAX_CNT; i++)
    out->prog[i] = i < s->prog_cnt ? qr_xrt_take(&at, sizeof(qr_step_prog_t)) : 0;
  for (uint32_t i = 0; i < s->slot_cnt; i++) {
    out->slot[i].custom = qr_xrt_take(&at, sizeof(qr_step_prog_t));
    out->slot[i].model = qr_xrt_take(&at, s->model);
    out->slot[i].s8 = qr_xrt_take(&at, s->s8);
    out->slot[i].s32 = qr_xrt_take(&at, s->s32);
    for (uint32_t p = 0; p < QR_XRT_PROG_MAX_CNT; p++)
      out->slot[i].table[p] = p < s->prog_cnt ? qr_xrt_take(&at, s->table) : 0;
    for (uint32_t p = 0; p < QR_XRT_PART_CNT; p++) {
      out->slot[i].part[p].pool = qr_xrt_take(&at, s->pool);
      out->slot[i].part[p].job = qr_xrt_take(&at, s->job);
      out->slot[i].part[p].out = qr_xrt_take(&at, s->out);
    }
  }
  out->sz = at;
}

enum qr_xrt_msg_kind {
  /* to the process */
  QR_XRT_ATTACH = 1, /* the shared memory has its final size: take the card's buffers */
  QR_XRT_RUN,        /* slot, part: do this launch, after those of the slot that came before */
  QR_XRT_MEASURE,    /* move data to the card and back */
  QR_XRT_QUIT,       /* give the card back and end */
  /* from the process */
  QR_XRT_OPENED = 16, /* the card is open, info says what it is */
  QR_XRT_LOADED,      /* the engine has answered */
  QR_XRT_ATTACHED,    /* ready for launches */
  QR_XRT_DONE,        /* slot, part: over; err, text; ns[0]: the engine's run, ns[1]: with moving */
  QR_XRT_MEASURED,    /* ns[0] to the card, ns[1] from it, value: bytes */
  QR_XRT_FAILED       /* text says why; the process ends */
};

typedef struct {
  uint32_t kind, slot, part;
  int32_t err; /* 0 or an enum qr_err */
  uint64_t ns[2], value;
  uint64_t moved[2]; /* DONE: bytes moved to the card and back since the last one */
  char text[160];
} qr_xrt_msg_t;

#endif
