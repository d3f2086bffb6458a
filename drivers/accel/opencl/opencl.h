/* Private to the driver: devices, built kernels, queues. */
#ifndef QR_OCL_OPENCL_H
#define QR_OCL_OPENCL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdatomic.h>

#include "plan.h"
#include "port/accel.h"

#define QR_OCL_PROG_MAX_CNT 16u
#define QR_OCL_QUEUE_DEPTH 4u
#define QR_OCL_AHEAD 4u /* training steps or passes that wait on the device */

/* What the operator said. */
typedef struct {
  char platform[64], device[64];
  enum { QR_OCL_TUNE_AUTO, QR_OCL_TUNE_OFF, QR_OCL_TUNE_FORCE } tune;
  int vector, sliced; /* -1: as tuned */
  uint64_t units;     /* work is cut for so many compute units; 0: as the device says */
  bool look;          /* opened for its units alone */
} qr_ocl_options_t;

typedef struct {
  cl_platform_id platform;
  cl_device_id id;
  cl_context ctx;
  uint32_t idx; /* in the list that device= counts in */
  char name[128], platform_name[64], driver[64];
  bool cpu; /* shares the processor with the caller */
  bool khr_dot, arm_dot;
  uint32_t unit_cnt;
  uint64_t alloc_max, local_sz;
  size_t items_max; /* of a work-group */
} qr_ocl_dev_t;

typedef struct {
  cl_program programs[QR_OCL_K_CNT];
  uint32_t items[QR_OCL_K_CNT]; /* of a work-group */
} qr_ocl_kernels_t;

typedef struct {
  qr_net_t net;
  uint32_t batch, obs_sz, action_cnt, model_sz, digest_cnt;
  qr_ocl_plan_t plan;
  cl_mem tasks, draws;
} qr_ocl_loaded_t;

struct qr_accel {
  qr_ocl_dev_t dev;
  struct {
    _Atomic uint64_t done, failed, checked, wrong, valid_ns;
  } counts;
  qr_ocl_tune_t tune;
  qr_ocl_kernels_t kernels; /* none in a device that is only looked at */
  uint32_t prog_cnt;
  qr_ocl_loaded_t *progs[QR_OCL_PROG_MAX_CNT];
};

/* The name of an OpenCL error, never NULL. */
const char *qr_ocl_err_str(cl_int err);
/* The code of the port for it. */
int qr_ocl_err(cl_int err);

/* Finds the device and opens a context on it. */
int qr_ocl_dev_open(qr_ocl_dev_t *d, const qr_ocl_options_t *o, char *why,
                    size_t why_sz) QR_WARN_UNUSED;
void qr_ocl_dev_close(qr_ocl_dev_t *d);
/* Lists the devices that the options mean, unopened; returns how many or a negative code. */
int qr_ocl_dev_find(const qr_ocl_options_t *o, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                    size_t why_sz);

/* Builds one kernel for a device, or all three. On failure the first lines of the compiler's log
   are in why. */
int qr_ocl_build_one(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, enum qr_ocl_kernel which,
                     qr_ocl_kernels_t *out, char *why, size_t why_sz) QR_WARN_UNUSED;
int qr_ocl_build(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, qr_ocl_kernels_t *out, char *why,
                 size_t why_sz) QR_WARN_UNUSED;
void qr_ocl_kernels_free(qr_ocl_kernels_t *k);
/* Over all kernel sources: tuning of others is worth nothing. */
uint64_t qr_ocl_source_hash(void);
extern const char *const qr_ocl_kernel_names[QR_OCL_K_CNT];

/* The best known for this one, from the cache or tried out, or the default; and its kernels. */
int qr_ocl_tune(const qr_ocl_dev_t *d, const qr_ocl_options_t *o, qr_ocl_tune_t *out,
                qr_ocl_kernels_t *kernels, char *why, size_t why_sz) QR_WARN_UNUSED;

/* Keys of an attempt, and the heads of one step: [draw_cnt][4]. */
void qr_ocl_keys(const qr_hash_t *sigma, qr_ocl_keys_t *out);
void qr_ocl_heads(const qr_hash_t *sigma, const uint32_t *streams, uint32_t cnt, uint32_t k,
                  uint32_t *out);
/* The table of the draw kernel, as it is written there. Returns the characters of it. */
size_t qr_ocl_table(char *out, size_t out_sz);

#endif
