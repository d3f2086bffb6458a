/* The step engine's outside: the kernel that executes step programs (qr_step_abi.h) on a card, as
   its driver and the emulated card see it. Plain C99: arguments and registers, the buffers in card
   memory, modes, status codes. What is computed, to the bit, is host/step/README.md.

   Units: a "word" is a uint32_t, little-endian. Every buffer of card memory starts on a multiple of
   64 bytes and its size is one too; the host owns all of them, the kernel touches only what the
   window registers (QR_ENGINE_ARG_*_CNT) grant and answers with a status instead of leaving them. A
   buffer must not be changed by the host while a launch that was given it runs, but for rows of
   POOL that are in none of the launch's segments. */
#ifndef QR_ENGINE_ABI_H
#define QR_ENGINE_ABI_H

#include "hls/common/qr_step_abi.h"

#define QR_ENGINE_ABI_VERSION 2u
#define QR_ENGINE_KERNEL_NAME "qr_step_engine"
#define QR_ENGINE_ALIGN 64u /* bytes */

/* Registers, as Vitis HLS lays them out (s_axilite, one bundle): a pointer takes 12 bytes (64-bit
   address, low half first), a 32-bit scalar 8. Argument numbers are those of xrtRunSetArg. */
enum qr_engine_arg {
  QR_ENGINE_ARG_PROG = 0,  /* uint32_t, read: a qr_step_prog_t, QR_ENGINE_PROG_CNT words */
  QR_ENGINE_ARG_JOB,       /* uint32_t, read: a job block, below */
  QR_ENGINE_ARG_POOL,      /* int8_t, read: rows of observations */
  QR_ENGINE_ARG_TABLE,     /* uint32_t, read: actions and targets of POOL's rows; for DRAW */
  QR_ENGINE_ARG_MODEL_IN,  /* int16_t, read: a model's bytes; only with QR_ENGINE_COPY_MODEL */
  QR_ENGINE_ARG_MODEL,     /* int16_t, read and written: the model worked on, its canonical bytes */
  QR_ENGINE_ARG_S8,        /* int8_t, read and written: scratch of bytes */
  QR_ENGINE_ARG_A8,        /* int8_t, read: the same buffer as S8 */
  QR_ENGINE_ARG_B8,        /* int8_t, read: the same buffer as S8 */
  QR_ENGINE_ARG_S32,       /* int32_t, read and written: scratch of words */
  QR_ENGINE_ARG_OUT,       /* uint32_t, written: a result block, below */
  QR_ENGINE_ARG_JOB_CNT,   /* words of JOB */
  QR_ENGINE_ARG_POOL_ROWS, /* rows of POOL */
  QR_ENGINE_ARG_ROW_STRIDE, /* bytes from one row of POOL to the next: a multiple of 64, >= obs_sz
                             */
  QR_ENGINE_ARG_TABLE_CNT,  /* words of TABLE */
  QR_ENGINE_ARG_MODEL_CNT,  /* int16 elements of MODEL, and of MODEL_IN if that is read */
  QR_ENGINE_ARG_S8_CNT,     /* bytes of S8 */
  QR_ENGINE_ARG_S32_CNT,    /* words of S32 */
  QR_ENGINE_ARG_OUT_CNT,    /* words of OUT */
  QR_ENGINE_ARG_CNT
};

#define QR_ENGINE_POINTER_CNT 11u   /* arguments 0..10 */
#define QR_ENGINE_REG_PROG 0x10u    /* the first argument; pointers are 12 bytes apart */
#define QR_ENGINE_REG_JOB_CNT 0x94u /* the first number; 8 bytes apart */

/* Offset of an argument's register; the control register is at 0. */
static inline uint32_t qr_engine_reg(uint32_t arg) {
  return arg < QR_ENGINE_POINTER_CNT ? QR_ENGINE_REG_PROG + 12u * arg
                                     : QR_ENGINE_REG_JOB_CNT + 8u * (arg - QR_ENGINE_POINTER_CNT);
}

/* PROG: the program's bytes as words; only the buffers and ops it counts are read. */
#define QR_ENGINE_PROG_CNT ((uint32_t)(sizeof(qr_step_prog_t) / 4))

/* Where a program's buffers lie: those of int8 (scratch, and the observations) in S8, scratch of
   int32 in S32, one after the other in the order of their numbers, each on a multiple of 64 bytes.
   Masters and biases lie in MODEL at their offset; masters on a multiple of 64 bytes, which every
   network of this protocol gives. Actions and targets lie in the job block. */
#define QR_ENGINE_NO_PLACE UINT32_MAX

typedef struct {
  uint32_t off[QR_STEP_BUF_MAX_CNT]; /* elements from the start of S8 or S32; QR_ENGINE_NO_PLACE if
                                        the buffer lies in neither */
  uint64_t s8_cnt, s32_cnt;          /* least bytes of S8, least words of S32 */
} qr_engine_place_t;

/* buf_cnt at most QR_STEP_BUF_MAX_CNT. */
static inline void qr_engine_place(const qr_step_buf_t *bufs, uint32_t buf_cnt,
                                   qr_engine_place_t *out) {
  out->s8_cnt = out->s32_cnt = 0;
  for (uint32_t i = 0; i < QR_STEP_BUF_MAX_CNT; i++) {
    out->off[i] = QR_ENGINE_NO_PLACE;
    if (i >= buf_cnt) continue;
    if (bufs[i].role != QR_STEP_BUF_SCRATCH && bufs[i].role != QR_STEP_BUF_OBS) continue;
    if (bufs[i].type == QR_STEP_I8) {
      out->off[i] = (uint32_t)out->s8_cnt;
      out->s8_cnt += ((uint64_t)bufs[i].cnt + 63u) / 64u * 64u;
    } else if (bufs[i].type == QR_STEP_I32) {
      out->off[i] = (uint32_t)out->s32_cnt;
      out->s32_cnt += ((uint64_t)bufs[i].cnt + 15u) / 16u * 16u;
    }
  }
}

/* POOL, TABLE. Row r of POOL is obs_sz bytes from byte r * ROW_STRIDE on; words 2r and 2r + 1 of
   TABLE are its action and its target (Q16). Only launches with QR_ENGINE_DRAW read TABLE. */
#define QR_ENGINE_TABLE_CNT_OF(rows) (2u * (rows)) /* words */

/* JOB. A head of 16 words, then what the mode needs. */
enum qr_engine_job_word {
  QR_ENGINE_JOB_ABI = 0,    /* QR_ENGINE_ABI_VERSION */
  QR_ENGINE_JOB_MODE,       /* enum qr_engine_mode */
  QR_ENGINE_JOB_FLAGS,      /* enum qr_engine_flags */
  QR_ENGINE_JOB_STEP_CNT,   /* ATTEMPT: training steps of this launch, >= 1 */
  QR_ENGINE_JOB_FIRST_STEP, /* ATTEMPT, PROGRAM: k of the first; k stays below 2^16 */
  QR_ENGINE_JOB_LR_SHIFT,   /* ATTEMPT, PROGRAM: the schedule's shift */
  QR_ENGINE_JOB_ROW_CNT,    /* FORWARD: rows, >= 1 */
  QR_ENGINE_JOB_SEGMENT_ROWS = QR_ENGINE_JOB_ROW_CNT, /* DRAW: rows of a segment, >= 1 */
  QR_ENGINE_JOB_SEGMENT_CNT,                          /* DRAW: segments of the replay, >= 1 */
  QR_ENGINE_JOB_SIGMA,                                /* 8 words: the 32 bytes of sigma */
  QR_ENGINE_JOB_HEAD_CNT = 16
};

enum qr_engine_mode {
  /* Reads the head only and reports what the kernel is. */
  QR_ENGINE_INFO = 0,
  /* step_cnt steps on MODEL. After the head, for every step: batch words of row numbers (of POOL),
     batch words of actions, batch words of targets (Q16). The rows are gathered into the program's
     OBS buffer. A caller that wants to be able to stop early cuts an attempt into launches.
     With QR_ENGINE_DRAW the engine draws each minibatch itself, by the protocol's rule, from a
     replay of segment_cnt segments of segment_rows rows that lies in POOL and TABLE. After the
     head, nothing of the steps, but segment_cnt words: the row of POOL with which segment s starts,
     oldest segment first. Row i of the replay is row segment[i / segment_rows] + i % segment_rows
     of POOL. */
  QR_ENGINE_ATTEMPT = 1,
  /* Q values of row_cnt rows under MODEL: the program's ops before its TD, with nothing dithered,
     nothing digested. After the head: row_cnt words of row numbers. */
  QR_ENGINE_FORWARD = 2,
  /* The program's ops once, over S8 and S32 as they are: nothing is gathered, nothing fused away,
     so every scratch buffer holds afterwards what its ops gave. The route for products of a user's
     own: one QR_OP_GEMM, A and B in int8 scratch buffers, C in an int32 one, elements of A and B in
     [-64, 63]. After the head, if the program has a TD: batch words that are not read, then
     actions, then targets, as one step of an attempt. */
  QR_ENGINE_PROGRAM = 3
};

enum qr_engine_flags {
  QR_ENGINE_COPY_MODEL = 1, /* MODEL_IN is copied to MODEL first */
  QR_ENGINE_DRAW = 2        /* ATTEMPT: minibatches are drawn by the engine */
};

#define QR_ENGINE_STEP_MAX 65536u
#define QR_ENGINE_BATCH_MAX 1024u                       /* a program's minibatch */
#define QR_ENGINE_SEGMENT_MAX 1024u                     /* DRAW: segments of a replay .. */
#define QR_ENGINE_REPLAY_MAX (1u << 18)                 /* .. and rows of all of them */
#define QR_ENGINE_JOB_STEP_CNT_OF(batch) (3u * (batch)) /* words of one step */

/* OUT. A head of 16 words, written last; the host clears it before a launch. Then
     ATTEMPT, PROGRAM: QR_ENGINE_OUT_STEP_CNT words for each step: the digests by slot, each low
     word first, then from QR_ENGINE_OUT_TD on the sum of absolute TD errors, low word first; what
     the program has no use for is not written;
     FORWARD: the Q values (Q16), int32 [row_cnt][action_cnt]. */
enum qr_engine_out_word {
  QR_ENGINE_OUT_STATUS = 0, /* enum qr_engine_status */
  QR_ENGINE_OUT_DONE,       /* steps, or rows, that are finished; MODEL is that many steps on */
  QR_ENGINE_OUT_OP,         /* number of the op refused, or UINT32_MAX */
  QR_ENGINE_OUT_DETAIL,     /* what was refused, for people: a buffer, a row, a count */
  QR_ENGINE_OUT_ABI,        /* QR_ENGINE_ABI_VERSION of the kernel */
  QR_ENGINE_OUT_ARRAY,      /* T: the array has T x T accumulators */
  QR_ENGINE_OUT_PANEL,      /* depth of a panel */
  QR_ENGINE_OUT_SAMPLE_MAX, /* bytes of an activation sample that a convolution can hold */
  QR_ENGINE_OUT_HEAD_CNT = 16
};

#define QR_ENGINE_OUT_TD (2u * QR_STEP_GEMM_MAX_CNT)
#define QR_ENGINE_OUT_STEP_CNT 64u

enum qr_engine_status {
  QR_ENGINE_PENDING = 0, /* never written: the kernel has not finished */
  QR_ENGINE_OK = 1,
  QR_ENGINE_E_ABI,    /* job or program of another version */
  QR_ENGINE_E_MODE,   /* unknown mode or flag, or a count of zero or beyond its limit */
  QR_ENGINE_E_WINDOW, /* a buffer of card memory is too small or misaligned; detail: its argument */
  QR_ENGINE_E_PROG,   /* the program's counts are out of range */
  QR_ENGINE_E_BUF,    /* an op names a buffer that is not there, or of a wrong type or role */
  QR_ENGINE_E_OP,     /* unknown op, or a parameter out of range */
  QR_ENGINE_E_SHAPE,  /* an op needs more elements than its buffer has, or shapes that disagree */
  QR_ENGINE_E_LIMIT,  /* beyond the kernel's on-chip buffers */
  QR_ENGINE_E_ROW,    /* a row number not below POOL_ROWS; detail: the row */
  QR_ENGINE_E_ACTION, /* an action not below the program's; detail: the sample */
  /* DRAW: */
  QR_ENGINE_E_REPLAY, /* no segment, too many, or of no rows; more rows than QR_ENGINE_REPLAY_MAX or
                         fewer than a minibatch; detail: segments times rows, mod 2^32 */
  QR_ENGINE_E_SEGMENT, /* a segment that is not all in POOL and TABLE; detail: its number */
  QR_ENGINE_E_DRAW     /* draws that found rows taken again and again, as no seed makes them: the
                          kernel is broken; detail: rows found */
};

/* The kernel itself, for whoever links it natively; pointers as the arguments above. Calls in
   different threads do not meet unless their buffers do; a thread that calls it keeps 0.6 MiB.
 */
void qr_step_engine(const uint32_t *prog, const uint32_t *job, const int8_t *pool,
                    const uint32_t *table, const int16_t *model_in, int16_t *model, int8_t *s8,
                    const int8_t *a8, const int8_t *b8, int32_t *s32, uint32_t *out,
                    uint32_t job_cnt, uint32_t pool_rows, uint32_t row_stride, uint32_t table_cnt,
                    uint32_t model_cnt, uint32_t s8_cnt, uint32_t s32_cnt, uint32_t out_cnt);

#endif
