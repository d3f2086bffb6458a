/* One card as the driver sees it: the process that holds it, what it is doing, and what happens
   when it fails. A fault has a rung; each takes more away from the card than the one before:

     retry    the job is launched again on the same, running process; for a launch that XRT or the
              engine itself reports as failed, once
     reload   the process is ended, and after a wait a new one opens the card and loads the
   bitstream reset    the same, and the new process resets the card first

   Waits double from a tenth of a second to a minute. The rung falls to nothing when a job of the
   chain ends well; for results that the CPU found wrong only when it finds one right. A card comes
   back after every program has given the right answer to a small question. Callers hold the
   device's lock. */
#ifndef QR_XRT_CARD_H
#define QR_XRT_CARD_H

#include <sys/types.h>

#include "options.h"
#include "scratch.h"
#include "task.h"

enum qr_xrt_card_state {
  QR_XRT_CARD_DOWN,      /* no process; a new one at until_ns */
  QR_XRT_CARD_OPENING,   /* the process opens the card and loads the bitstream */
  QR_XRT_CARD_LOADED,    /* waits for programs */
  QR_XRT_CARD_ATTACHING, /* takes buffers */
  QR_XRT_CARD_TESTING,
  QR_XRT_CARD_READY
};

enum qr_xrt_part_state { QR_XRT_PART_FREE, QR_XRT_PART_SENT, QR_XRT_PART_DONE, QR_XRT_PART_BAD };

/* A place for a job. Whoever takes it remembers epoch: another number later means that the card
   failed and the job is no longer there. */
typedef struct {
  bool is_taken, is_resident; /* resident: the card's model is that of the shared memory */
  uint32_t has_table;         /* the same of the programs' tables, a bit for each */
  uint32_t epoch;
  enum qr_xrt_part_state part[QR_XRT_PART_CNT];
  uint64_t oldest_ns; /* since when the oldest launch could run */
  uint64_t limit_ns;  /* how long it may take */
  uint64_t run_ns;    /* of the launch that ended last */
} qr_xrt_slot_t;

/* A program's question, one training step, with its answer by the reference. */
typedef struct {
  qr_accel_job_t job; /* its inputs are owned here */
  uint8_t *want_model;
  uint64_t want_digests[QR_STEP_GEMM_MAX_CNT], want_td;
} qr_xrt_question_t;

/* What cards of a device share; borrowed. */
typedef struct {
  qr_xrt_options_t options;
  int bitstream_fd; /* -1: none, only to look */
  bool is_unsigned; /* nobody trusted vouches for it, and it was accepted all the same */
  uint32_t engine_cnt;
  char engines[QR_XRT_ENGINE_MAX_CNT][48]; /* names of their instances */
  bool has_sizes;                          /* set, with programs, when the first queue is opened */
  qr_xrt_sizes_t sizes;
  uint32_t prog_cnt;
  qr_xrt_prog_t progs[QR_XRT_PROG_MAX_CNT];
  qr_xrt_question_t questions[QR_XRT_PROG_MAX_CNT];
} qr_xrt_common_t;

typedef struct {
  qr_xrt_common_t *common;
  qr_accel_unit_t unit; /* what people see; state and time are filled in by qr_xrt_card_unit */
  char arg[24];         /* what XRT is told to open */
  enum qr_xrt_card_state state;
  uint64_t until_ns;
  uint32_t rung, wrong_rung;
  bool must_reset;
  pid_t pid;
  pid_t undead; /* a process that was killed and is still there */
  int sock, share_fd;
  uint8_t *base;
  size_t base_sz;
  qr_xrt_layout_t at;
  char scratch[QR_XRT_SCRATCH_SZ];
  int scratch_fd;
  qr_xrt_slot_t slots[QR_XRT_SLOT_MAX_CNT];
  qr_xrt_areas_t areas[QR_XRT_SLOT_MAX_CNT];
  qr_xrt_replay_t replays[QR_XRT_ENGINE_MAX_CNT][QR_XRT_PROG_MAX_CNT];
  uint64_t unit_ns[QR_XRT_PROG_MAX_CNT][2]; /* of a step, of a row; 0: not known */
  uint64_t valid_ns;                        /* when a job ended well last; 0: never */
  uint32_t asked; /* of the test in progress: question, and engine times the number of questions */
  qr_xrt_task_t test;
  qr_accel_job_t test_job;
  uint64_t test_digests[QR_STEP_GEMM_MAX_CNT], test_td;
  bool is_measuring, has_measured;
  qr_xrt_msg_t measured;
} qr_xrt_card_t;

/* Starts its process. Failing is a fault like any other. */
void qr_xrt_card_start(qr_xrt_card_t *c, uint64_t now_ns);
/* Takes messages, starts anew what is due, notices what takes too long. */
void qr_xrt_card_pump(qr_xrt_card_t *c, uint64_t now_ns);
/* Gives the card back, ends the process, releases what it took. */
void qr_xrt_card_free(qr_xrt_card_t *c);
/* Something went wrong. is_hard: the process cannot be gone on with. */
void qr_xrt_card_fault(qr_xrt_card_t *c, bool is_hard, const char *why, uint64_t now_ns);
/* The operator asks for a reset, or the card's result was right or wrong. */
void qr_xrt_card_reset(qr_xrt_card_t *c, uint64_t now_ns);
void qr_xrt_card_judge(qr_xrt_card_t *c, bool right, uint64_t now_ns);
/* Begins to move sz bytes to the card and back, if it is ready; has_measured tells the end. */
bool qr_xrt_card_measure(qr_xrt_card_t *c, uint64_t sz);

/* Slots. take: the card is ready and the slot free. send: part was laid out, units of a kind tell
   how long it may take. collected: the oldest part's answer was taken. */
void qr_xrt_card_take(qr_xrt_card_t *c, uint32_t slot);
/* What the slot's engine keeps of a program's replay. */
qr_xrt_replay_t *qr_xrt_card_replay(qr_xrt_card_t *c, uint32_t slot, uint32_t prog);
void qr_xrt_card_send(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, int part,
                      uint64_t now_ns);
void qr_xrt_card_collected(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, uint32_t part,
                           uint32_t units, uint64_t now_ns);
/* The job in the slot is over: gives the slot back. */
void qr_xrt_card_leave(qr_xrt_card_t *c, uint32_t slot, const qr_xrt_task_t *t, bool ended_well,
                       uint64_t now_ns);

/* What people see of it. */
void qr_xrt_card_unit(const qr_xrt_card_t *c, uint64_t now_ns, qr_accel_unit_t *out);

/* process.c: starts and ends the process; 0 or QR_ERR_IO with a sentence in why. */
int qr_xrt_process_start(qr_xrt_card_t *c, char *why, size_t why_sz) QR_WARN_UNUSED;
void qr_xrt_process_end(qr_xrt_card_t *c, bool in_order);
/* Whether the one before has really ended, so that the card is free. */
bool qr_xrt_process_gone(qr_xrt_card_t *c);
/* Room in the shared memory for everything; common has sizes. */
int qr_xrt_process_share(qr_xrt_card_t *c) QR_WARN_UNUSED;
void qr_xrt_process_unshare(qr_xrt_card_t *c);

#endif
