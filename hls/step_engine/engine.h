/* Inside the step engine: sizes of the hardware, the decoded program, and one function per unit.
   Everything here is C11 that Vitis HLS takes: no allocation, no recursion, no pointer casts, loops
   with a bound. Natively compiled it is the emulation of the card.

   A product runs over macro tiles of QR_ENG_PANEL x QR_ENG_PANEL results: two panels are loaded
   (panel.c, conv.c), the T x T array walks over the macro tile in (64 / T)^2 sub-tiles (array.c),
   and the drain takes the sums away (drain.c) while the array is on the next macro tile (gemm.c).
 */
#ifndef QR_ENG_ENGINE_H
#define QR_ENG_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "hls/common/qr_engine_abi.h"
#include "fixed.h"

#ifndef QR_ENGINE_T
#define QR_ENGINE_T 16 /* the array is T x T accumulators on T*T/2 DSPs: 16 or 32 */
#endif
#if QR_ENGINE_T != 16 && QR_ENGINE_T != 32
#error "QR_ENGINE_T is 16 or 32"
#endif

#define QR_ENG_T ((uint32_t)QR_ENGINE_T)
#define QR_ENG_PANEL 64u          /* rows of a panel of A, columns of one of B; bytes of a line */
#define QR_ENG_DEPTH 1024u        /* inner positions that a panel holds */
#define QR_ENG_SAMPLE_MAX 65536u  /* elements of an activation sample under a convolution */
#define QR_ENG_LANES 16u          /* results that the drain takes per cycle: a line of int32 */
#define QR_ENG_DIM_MAX (1u << 24) /* m, n, k of an op */
#define QR_ENG_BAND 8u            /* rows that share a digest factor */

/* STATE: a unit's memory that lives from one call to the next. CHANNEL: an array between processes
   of a data flow, doubled by the tool. Natively a thread is a card. */
#ifdef __SYNTHESIS__
#define QR_ENG_STATE static
#define QR_ENG_CHANNEL
#else
#define QR_ENG_STATE static _Thread_local
#define QR_ENG_CHANNEL static _Thread_local
#endif

/* The program, decoded and checked. */
typedef struct {
  uint32_t type, role, cnt;
  uint32_t off; /* elements: in S8 or S32; int16 elements in MODEL for masters and biases */
} qr_eng_buf_t;

typedef struct {
  uint32_t h, w, c, out_h, out_w, sy, sx;
} qr_eng_geo_t;

typedef struct {
  uint32_t kind, layer, src0, src1, dst, aux, flags, digest, m, n, k;
  int32_t p0, p1;
  qr_eng_geo_t geo;
} qr_eng_op_t;

typedef struct {
  uint32_t op_cnt, buf_cnt, digest_cnt, batch, obs_sz, model_sz;
  uint32_t obs_buf, td_op; /* UINT32_MAX: none */
  qr_eng_buf_t bufs[QR_STEP_BUF_MAX_CNT];
  qr_eng_op_t ops[QR_STEP_OP_MAX_CNT];
} qr_eng_prog_t;

/* The window registers. */
typedef struct {
  uint32_t job_cnt, pool_rows, row_stride, table_cnt, model_cnt, s8_cnt, s32_cnt, out_cnt;
} qr_eng_win_t;

/* What the result block says of a launch. */
typedef struct {
  uint32_t status, done, op, detail;
} qr_eng_result_t;

/* Which op of the program is done along with which. */
#define QR_ENG_ALONE UINT32_MAX
typedef struct {
  uint32_t post[QR_STEP_OP_MAX_CNT]; /* op done at this op's drain, or QR_ENG_ALONE */
  bool skip[QR_STEP_OP_MAX_CNT];     /* done at an earlier op's drain */
  bool store[QR_STEP_OP_MAX_CNT];    /* the drain writes the sums themselves too */
} qr_eng_plan_t;

/* A minibatch on chip. */
typedef struct {
  uint32_t row[QR_ENGINE_BATCH_MAX];                              /* of POOL */
  uint32_t act[QR_ENGINE_BATCH_MAX], target[QR_ENGINE_BATCH_MAX]; /* targets: int32 as bits */
  uint32_t number[QR_ENGINE_BATCH_MAX];                           /* of the replay, if drawn */
} qr_eng_batch_t;

/* A replay: where its segments start in POOL and TABLE. */
typedef struct {
  uint32_t segment_cnt, segment_rows, start[QR_ENGINE_SEGMENT_MAX];
} qr_eng_replay_t;

/* A bit for each row of a replay: taken. */
typedef uint64_t qr_eng_marks_t[QR_ENGINE_REPLAY_MAX / 64];

/* ARS4x32-5 under the key of the launch: round keys made once. */
#define QR_ENG_ARS_ROUNDS 5u
typedef struct {
  uint32_t rk[QR_ENG_ARS_ROUNDS + 1][4];
  uint32_t ctr2, ctr3;
} qr_eng_ars_t;

/* What the drain does with the sums of a product, or of one that lies in S32 already. */
typedef struct {
  uint32_t kind; /* QR_OP_BIAS_ACT, _Q_OUT, _WEIGHT_UPD, _MASK, or QR_OP_END: nothing */
  bool store, digest;
  uint32_t m, n;
  uint32_t acc_off;     /* where the sums go in S32 */
  uint32_t dst_off;     /* of the post op's result: S8, S32 or MODEL */
  uint32_t src_off;     /* biases (MODEL), or the activations that mask (S8) */
  int32_t p0, p1;       /* of the post op */
  qr_eng_round_t round; /* of a weight update */
  uint32_t round_stream, key_stream, factor_stream;
} qr_eng_drain_t;

/* An operand as it lies in card memory. */
typedef struct {
  uint32_t off, ld; /* bytes: of element 0, from one stored row to the next */
  bool along_k;     /* stored rows run along k: the panel is transposed while it is loaded */
  bool conv;        /* addressed through geo; along_k as if the row matrix were stored */
  qr_eng_geo_t geo;
} qr_eng_operand_t;

typedef int8_t qr_eng_panel_t[QR_ENG_DEPTH][QR_ENG_PANEL];
typedef uint32_t qr_eng_tile_t[QR_ENG_PANEL][QR_ENG_PANEL];

/* decode.c: fetches and checks the program; no access that it permits leaves a window. */
qr_eng_result_t qr_eng_decode(const uint32_t *prog, const qr_eng_win_t *win, qr_eng_prog_t *out);
/* plan.c: which ops can share a pass. limit: ops from there on are not run. */
void qr_eng_plan(const qr_eng_prog_t *p, uint32_t limit, bool fuse, qr_eng_plan_t *plan);

/* ars.c */
void qr_eng_ars_init(const uint32_t sigma[6], qr_eng_ars_t *ars);
void qr_eng_ars_block(const qr_eng_ars_t *ars, uint32_t stream, uint32_t idx, uint32_t out[4]);

/* philox.c: block idx of a stream, keyed by the first words of sigma. */
#define QR_ENG_PHILOX_ROUNDS 10u
void qr_eng_philox_block(const uint32_t sigma[4], uint32_t stream, uint32_t idx, uint32_t out[4]);

/* batch.c. Of words that have to be below limit, a result below cnt is the first that is not. */
uint32_t qr_eng_take(const uint32_t *job, uint32_t off, uint32_t cnt, uint64_t limit,
                     uint32_t out[QR_ENGINE_BATCH_MAX]);
/* Checks the replay whose counts out has, fetches where its segments start, and clears marks. */
qr_eng_result_t qr_eng_replay(const uint32_t *job, const qr_eng_win_t *win, uint32_t batch,
                              qr_eng_replay_t *out, qr_eng_marks_t marks);
/* Draws rows, marks those of the replay and returns how many it found: cnt, or the draws are not
   random. marks: none. */
uint32_t qr_eng_draw(const uint32_t sigma[4], uint32_t stream, const qr_eng_replay_t *replay,
                     uint32_t cnt, qr_eng_marks_t marks, qr_eng_batch_t *out);
/* Looks up what belongs to the rows drawn, and unmarks them. */
uint32_t qr_eng_look_up(const uint32_t *table, uint32_t cnt, uint64_t limit, qr_eng_marks_t marks,
                        qr_eng_batch_t *batch);

/* Panels are skewed: element (k, r) lies in bank (r + k) & 63, so that rows and columns are both
   written in one cycle, and a column is read in one. */
void qr_eng_rotate(const int8_t in[QR_ENG_PANEL], uint32_t by, int8_t out[QR_ENG_PANEL]);
/* Bytes from .. from + cnt - 1 of a line are elements (k, r), (k + 1, r) .. of the panel, or (k,
   r), (k, r + 1) .. */
void qr_eng_put(qr_eng_panel_t panel, const int8_t line[QR_ENG_PANEL], uint32_t from, uint32_t cnt,
                uint32_t k, uint32_t r, bool along_k);
/* panel.c: r_cnt rows from r0, k_cnt inner positions from k0. What lies beyond is left as it is. */
void qr_eng_load_panel(const int8_t *mem, const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt,
                       uint32_t k0, uint32_t k_cnt, qr_eng_panel_t panel);
/* conv.c: the same of a convolution's row matrix. */
void qr_eng_load_conv(const int8_t *mem, const qr_eng_operand_t *x, uint32_t r0, uint32_t r_cnt,
                      uint32_t k0, uint32_t k_cnt, qr_eng_panel_t panel);

/* array.c: sums over k_cnt inner positions of the sub-tiles that hold r_cnt rows and c_cnt columns,
   onto those of the panels before unless first. Elements in [-64, 63]. The two forms are equal:
   _packed is the hardware, two products per DSP; _plain is for processors and not synthesised. */
void qr_eng_array(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                  uint32_t c_cnt, bool first, qr_eng_tile_t out);
void qr_eng_array_packed(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                         uint32_t c_cnt, bool first, qr_eng_tile_t out);
void qr_eng_array_plain(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                        uint32_t c_cnt, bool first, qr_eng_tile_t out);

/* drain.c: the macro tile at (m0, n0). Columns of macro tiles follow one another, each from m0 = 0
   on; digest and largest magnitude are of all since (0, 0). */
void qr_eng_drain(qr_eng_tile_t acc, const qr_eng_drain_t *d, const qr_eng_ars_t *ars, uint32_t m0,
                  uint32_t n0, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                  uint32_t *max_abs);

/* gemm.c: a product with its drain; and the drain alone, over sums in S32 at acc_off. */
void qr_eng_gemm(const qr_eng_operand_t *a, const qr_eng_operand_t *b, uint32_t k,
                 const qr_eng_drain_t *d, const qr_eng_ars_t *ars, const int8_t *a8,
                 const int8_t *b8, int8_t *s8, int32_t *s32, int16_t *model, uint64_t *digest,
                 uint32_t *max_abs);
void qr_eng_pass(const qr_eng_drain_t *d, const qr_eng_ars_t *ars, int8_t *s8, int32_t *s32,
                 int16_t *model, uint32_t *max_abs);

/* stream.c: units over whole tensors, a line a cycle. Offsets in elements. */
void qr_eng_w7(const int16_t *model, uint32_t src, int8_t *s8, uint32_t dst, uint32_t cnt);
void qr_eng_dither(const qr_eng_ars_t *ars, uint32_t stream, int32_t d, int8_t *s8, uint32_t src,
                   uint32_t dst, uint32_t cnt);
uint32_t qr_eng_max(const int32_t *s32, uint32_t src, uint32_t cnt);
void qr_eng_quant(const qr_eng_ars_t *ars, uint32_t stream, int32_t shift, const int32_t *s32,
                  uint32_t src, int8_t *s8, uint32_t dst, uint32_t cnt);
void qr_eng_copy_model(const int16_t *from, int16_t *to, uint32_t cnt);

/* sample.c: units that go by samples or columns. */
void qr_eng_gather(const uint32_t row[QR_ENGINE_BATCH_MAX], uint32_t cnt, const int8_t *pool,
                   uint32_t stride, uint32_t obs_sz, int8_t *s8, uint32_t dst);
uint64_t qr_eng_td(const uint32_t act[QR_ENGINE_BATCH_MAX],
                   const uint32_t target[QR_ENGINE_BATCH_MAX], const qr_eng_op_t *op, int32_t *s32,
                   uint32_t q, uint32_t e, uint32_t *max_abs);
void qr_eng_bias_update(const qr_eng_ars_t *ars, uint32_t stream, const qr_eng_op_t *op,
                        int64_t shift, const int8_t *s8, uint32_t src, int16_t *model,
                        uint32_t dst);
/* mask: activations in S8, or QR_ENG_ALONE. */
void qr_eng_col2im(const qr_eng_op_t *op, int32_t *s32, uint32_t src, uint32_t dst,
                   const int8_t *s8, uint32_t mask, uint32_t *max_abs);

#endif
