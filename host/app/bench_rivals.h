/* What the bench compares itself with: libraries that others use for the same work. Each sits in a
   shared object of its own (test/bench), built if its package is there and loaded at run time, so
   that neither quarry nor quarryd is linked to it. All of them run on the calling thread alone. */
#ifndef QR_APP_BENCH_RIVALS_H
#define QR_APP_BENCH_RIVALS_H

#include "hls/common/qr_step_abi.h"
#include "step/net.h"

/* ---- int8 products: shared object quarry_rival_onednn, symbol qr_rival_int8 ---- */

/* What the first operand is. U8: the same numbers plus 64, which is what the instructions want; the
   product is another one, and result() takes the difference off, outside of what is timed. */
enum qr_rival_operand { QR_RIVAL_S8, QR_RIVAL_U8, QR_RIVAL_OPERAND_CNT };

/* LIES: both operands as they are given, whatever the library has to rearrange is part of run().
   PACKED: both are brought into the layout that the library likes best before that. */
enum qr_rival_layout { QR_RIVAL_LIES, QR_RIVAL_PACKED, QR_RIVAL_LAYOUT_CNT };

typedef struct {
  enum qr_rival_operand operand;
  enum qr_rival_layout layout;
} qr_rival_form_t;

/* c [m][n] = A . B; a is [m][k], or [k][m] if a_trans, b is [k][n], or [n][k] if b_trans. */
typedef struct {
  uint32_t m, n, k;
  bool a_trans, b_trans;
  const int8_t *a, *b;
} qr_rival_matmul_t;

/* A 3x3 convolution of geometry geo over batch samples, n output channels, weights [9c][n].
   Forward: a is the image [batch][h][w][c], the result [batch][out_h][out_w][n]. Backward: a is the
   errors [batch][out_h][out_w][n], the result the errors of the image. The border is brought around
   the image outside of what is timed; only the weights' layout differs between forms. */
typedef struct {
  qr_step_geo_t geo;
  uint32_t batch, n;
  bool backward;
  const int8_t *a, *weights;
} qr_rival_conv_t;

typedef struct qr_rival_job qr_rival_job_t;

typedef struct {
  /* Name, version, instruction set, threads. */
  void (*about)(char *out, size_t out_sz);
  /* Operands are copied. Both return 0, QR_ERR_UNSUPPORTED if the library has no such thing (why
     has a sentence), or another negative code. */
  int (*matmul)(const qr_rival_matmul_t *p, qr_rival_form_t form, qr_rival_job_t **out, char *why,
                size_t why_sz);
  int (*conv)(const qr_rival_conv_t *p, qr_rival_form_t form, qr_rival_job_t **out, char *why,
              size_t why_sz);
  int (*run)(qr_rival_job_t *j);
  /* The numbers that the last run made, as of signed operands, to out. */
  int (*result)(qr_rival_job_t *j, int32_t *out);
  const char *(*implementation)(const qr_rival_job_t *j); /* as the library calls it */
  void (*free)(qr_rival_job_t *j);
} qr_rival_int8_t;

/* ---- a float32 training step: shared object quarry_rival_openblas, symbol qr_rival_f32 ---- */

typedef struct qr_rival_step qr_rival_step_t;

typedef struct {
  void (*about)(char *out, size_t out_sz);
  /* The same network in float32, with the real values of a model's weights and biases. */
  int (*init)(const qr_net_t *net, const uint8_t *model, qr_rival_step_t **out);
  void (*fini)(qr_rival_step_t *s);
  /* One step of stochastic gradient descent on obs [batch][in_sz], act and target [batch], all real
     values; learning rates as of the network, their shifts plus lr_shift. Returns the sum of the
     absolute clipped errors. */
  double (*step)(qr_rival_step_t *s, const float *obs, const uint8_t *act, const float *target,
                 uint32_t lr_shift);
  /* For checks. Q values [batch][action_cnt] of a forward pass, valid until the next call; the mean
     loss whose gradient a step follows, half the square within the clip and linear beyond; and a
     layer's weights [k][n], which may be written, with its biases [n]. */
  const float *(*forward)(qr_rival_step_t *s, const float *obs);
  double (*loss)(qr_rival_step_t *s, const float *obs, const uint8_t *act, const float *target);
  float *(*weights)(qr_rival_step_t *s, uint32_t layer);
  float *(*biases)(qr_rival_step_t *s, uint32_t layer);
} qr_rival_f32_t;

/* ---- loading ---- */

typedef struct {
  const qr_rival_int8_t *int8; /* NULL: not there, and int8_why says what is missing */
  const qr_rival_f32_t *f32;
  char int8_why[256], f32_why[256];
  char int8_about[128], f32_about[128];
  void *handles[2];
} qr_rivals_t;

/* Loads from folder, or if that is NULL from the folder of this program. isa: "avx2" or
   "avxvnni" hold them to that instruction set, anything else or NULL leaves them the best. Sets
   environment variables that the libraries read while they load, so the process should have one
   thread. */
void qr_rivals_load(qr_rivals_t *r, const char *folder, const char *isa);
void qr_rivals_unload(qr_rivals_t *r);

#endif
