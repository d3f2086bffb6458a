/* Accelerator port: what a driver that executes step programs provides. Jobs are asynchronous: a
   caller submits to a queue of its own and polls it; a driver may work inside poll (the CPU driver
   does one training step per poll) or elsewhere. One queue belongs to one thread; different queues
   of one device may be used by different threads. Results agree with host/step's reference to the
   bit or the job fails. */
#ifndef QR_PORT_ACCEL_H
#define QR_PORT_ACCEL_H

#include "hls/common/qr_step_abi.h"
#include "base/types.h"
#include "step/net.h"

typedef struct qr_accel qr_accel_t;
typedef struct qr_accel_queue qr_accel_queue_t;

enum qr_accel_job_kind {
  QR_ACCEL_ATTEMPT, /* training steps */
  QR_ACCEL_FORWARD, /* Q values without dither */
  QR_ACCEL_GEMM     /* one product of the caller's own, not digested */
};

/* A segment of a replay, row by row. The tag lets a driver keep what it has made of a segment from
   job to job: equal tags but 0 on one device promise equal observations and actions. */
typedef struct {
  uint64_t tag;
  const int8_t *obs;     /* [segment_rows][obs_sz] */
  const uint8_t *act;    /* [segment_rows] */
  const int32_t *target; /* [segment_rows], Q16; of rows that no minibatch of the job draws: any */
} qr_accel_segment_t;

/* Everything a job points to is lent by the submitter until the job is finished. */
typedef struct {
  enum qr_accel_job_kind kind;
  uint32_t prog; /* number given by load */
  /* ATTEMPT: step_cnt training steps from model_in; model_out holds the model after steps_done
   * steps when finished */
  const uint8_t *model_in; /* FORWARD reads this model too */
  /* FORWARD: equal tags but 0 on one queue promise equal bytes of the model, so that a driver may
     keep what it has made of them from job to job. 0: no promise. */
  uint64_t model_tag;
  uint8_t *model_out; /* ATTEMPT; may equal model_in */
  qr_hash_t sigma;
  uint32_t step_cnt, lr_shift;
  const int8_t *obs;     /* ATTEMPT: [step_cnt][batch][obs_sz]; FORWARD: [row_cnt][obs_sz] */
  const uint8_t *act;    /* [step_cnt][batch] */
  const int32_t *target; /* [step_cnt][batch], Q16 */
  /* ATTEMPT, in place of obs, act and target, for drivers that take replays: the replay whose
     minibatches sigma draws (qr_step_batch, step/program.h), row r being row r % segment_rows of
     segment r / segment_rows; rows are those draws, [step_cnt][batch]. NULL: dense, as above. */
  const qr_accel_segment_t *segments;
  uint32_t segment_cnt, segment_rows;
  const uint32_t *rows;
  uint64_t *digests;    /* out [step_cnt][digest_cnt], valid up to steps_done while the job runs */
  uint64_t *td_abs_sum; /* out [step_cnt] */
  uint32_t row_cnt;     /* FORWARD */
  int32_t *q;           /* FORWARD: out [row_cnt][action_cnt], Q16 */
  /* GEMM: m, n, k, flags and geo as of QR_OP_GEMM, the rest is not read. No model, and prog only
     has to be loaded. Elements in [-64, 63]; 64*64*k and m*k, m*n, n*k at most 2^31 - 1 and 2^24.
   */
  const qr_step_op_t *gemm;
  const int8_t *a, *b;
  int32_t *c; /* out [m][n] */
  /* ATTEMPT, GEMM: one per phase of the driver; the time spent in each is added. NULL: not timed */
  uint64_t *phase_ns;
  /* progress, written by the driver inside poll */
  uint32_t steps_done;
  bool finished;
  int err;       /* 0, QR_ERR_CANCELLED or QR_ERR_IO once finished */
  uint32_t unit; /* once finished without error: which unit of the device did it */
} qr_accel_job_t;

typedef struct {
  char name[32];        /* e.g. "cpu avx512-vnni" */
  char detail[96];      /* device, bus address or kernel variant, for people */
  uint32_t queue_depth; /* jobs a queue holds at once, >= 1 */
  uint32_t seat_cnt;    /* attempts that it likes to run side by side; 0 counts as 1 */
  bool takes_replay;    /* attempts may be given as segments; else only dense */
} qr_accel_info_t;

/* A unit is one piece of hardware of a device, such as one of its cards; what people see of it, and
   what its faults are counted against. */
#define QR_ACCEL_UNIT_MAX_CNT 16u
#define QR_ACCEL_RAIL_MAX_CNT 6u
#define QR_ACCEL_UNTOLD INT32_MIN /* a sensor that is absent or says nothing; never shown as 0 */

enum qr_accel_unit_state {
  QR_ACCEL_UNIT_PRESENT,    /* found, not opened by this process */
  QR_ACCEL_UNIT_READY,      /* takes jobs */
  QR_ACCEL_UNIT_STARTING,   /* being opened or reset */
  QR_ACCEL_UNIT_QUARANTINED /* failed, gets no jobs; tried again by itself */
};

typedef struct {
  char name[12];
  int32_t mv, ma; /* QR_ACCEL_UNTOLD */
} qr_accel_rail_t;

typedef struct {
  char id[24];     /* PCI address, or what stands for it */
  char serial[24]; /* empty: not told */
  char name[64];   /* shell or device */
  char kernel[64]; /* what is loaded; empty: nothing */
  char why[128];   /* cause of the last failure; empty: none */
  enum qr_accel_unit_state state;
  bool emulated;
  uint64_t jobs_done, jobs_failed;
  uint64_t checked, hw_errors; /* results repeated on the CPU, and those of them that were wrong */
  uint64_t retries, reloads, resets;
  uint64_t up_sz, down_sz; /* bytes moved to it and back for jobs */
  uint64_t valid_ago_ms;   /* since its last job that ended well; UINT64_MAX: never */
  int32_t temp_c;          /* QR_ACCEL_UNTOLD */
  uint32_t rail_cnt;
  qr_accel_rail_t rails[QR_ACCEL_RAIL_MAX_CNT];
} qr_accel_unit_t;

typedef struct {
  uint64_t sz;             /* bytes moved in each direction */
  uint64_t to_ns, from_ns; /* host to unit and back */
} qr_accel_bandwidth_t;

typedef struct {
  const char *name; /* folder name: "cpu" */
  const char *help; /* one line for --help */
  /* Option strings that choose among its implementations, fastest first, NULL-terminated, for tools
     that compare them; open refuses those that this machine lacks. NULL if there is only one. */
  const char *const *variants;
  /* Names of the parts of a training step that the driver can time, NULL-terminated; NULL if none.
     What is fused counts where it runs. */
  const char *const *phases;
  /* Opens a device. options: "key=value,..." from the operator, may be empty. On failure a sentence
     with cause and cure goes to why. Returns 0 or a negative code. */
  int (*open)(const char *options, qr_accel_t **out, char *why, size_t why_sz);
  void (*close)(qr_accel_t *a); /* all queues closed before */
  void (*info)(const qr_accel_t *a, qr_accel_info_t *out);
  /* Uploads a program; net and prog are copied. Returns 0 and its number, or a negative code.
   * Before any queue_open. */
  int (*load)(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog, uint32_t *prog_id);
  int (*queue_open)(qr_accel_t *a, qr_accel_queue_t **out);
  /* Jobs in flight are forgotten: nothing of theirs is touched any more when this returns. */
  void (*queue_close)(qr_accel_queue_t *q);
  /* Returns 0, QR_ERR_FULL if queue_depth jobs are in flight, or QR_ERR_ARG. */
  int (*submit)(qr_accel_queue_t *q, qr_accel_job_t *job);
  /* Makes progress; returns the number of jobs that finished in this call. */
  int (*poll)(qr_accel_queue_t *q);
  /* Asks for an early end after the training step in progress; the job still finishes, through
   * poll. */
  void (*cancel)(qr_accel_queue_t *q, qr_accel_job_t *job);

  /* The rest is for drivers with hardware of their own and may be NULL. A driver that has units
     takes the option look, which opens it for these alone: nothing is loaded, no queue opened. */

  /* Lists units without opening them, or as far as options ask for. Needs no privilege. Returns how
     many, or a negative code; if none, a sentence with cause and cure goes to why. */
  int (*find)(const char *options, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
              size_t why_sz);
  /* An open device's units as they are now; returns how many. These four from any thread. */
  uint32_t (*units)(qr_accel_t *a, qr_accel_unit_t *out, uint32_t max_cnt);
  /* A result of this unit was repeated on the CPU and was right or wrong. */
  void (*judge)(qr_accel_t *a, uint32_t unit, bool right);
  /* Starts the unit anew, deeper than the driver would by itself. Returns when it is asked for. */
  int (*reset)(qr_accel_t *a, uint32_t unit, char *why, size_t why_sz);
  /* Moves data to the unit and back, and compares it. Blocks for seconds at most. */
  int (*bandwidth)(qr_accel_t *a, uint32_t unit, qr_accel_bandwidth_t *out, char *why,
                   size_t why_sz);
} qr_accel_ops_t;

#endif
