/* Whatever OpenCL refuses, at whichever call: the driver answers with an error of the port and a
   sentence, finishes its jobs, and goes on when the device does. The calls of the driver go through
   this file, which makes one of them fail at a time. */
#if __has_include(<CL/cl.h>)
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#define HAVE_CL 1
#endif

#include "accel_conform.h"

#include <dlfcn.h>

#include "base/log.h"
#include "crypto/hash.h"
#include "port/drivers.h"

#define SKIPPED 77

#if HAVE_CL
static struct {
  bool armed;
  uint32_t calls, fail_at; /* from 1 */
  cl_int err;
  const char *which; /* that failed */
} g_fault;
static int g_live; /* objects that were made and not released */

static bool hit(const char *which) {
  if (!g_fault.armed || ++g_fault.calls != g_fault.fail_at) return false;
  g_fault.which = which;
  return true;
}

/* One of the library's functions with a failure in front: args in parentheses, as declared and as
   passed on. */
#define RETURNS_ERR(name, declared, passed)                                                        \
  cl_int name declared {                                                                           \
    static cl_int(*next) declared;                                                                 \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                                          \
    return hit(#name) ? g_fault.err : next passed;                                                 \
  }
#define SETS_ERR(type, name, declared, passed)                                                     \
  type name declared {                                                                             \
    static type(*next) declared;                                                                   \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                                          \
    if (!hit(#name)) {                                                                             \
      type made = next passed;                                                                     \
      g_live += made != NULL;                                                                      \
      return made;                                                                                 \
    }                                                                                              \
    if (err) *err = g_fault.err;                                                                   \
    return NULL;                                                                                   \
  }
/* Commands make an event where e is given. */
#define MAKES_EVENT(name, declared, passed)                                                        \
  cl_int name declared {                                                                           \
    static cl_int(*next) declared;                                                                 \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                                          \
    if (hit(#name)) return g_fault.err;                                                            \
    cl_int err = next passed;                                                                      \
    g_live += !err && e;                                                                           \
    return err;                                                                                    \
  }
#define RELEASES(name, type)                                                                       \
  cl_int name(type object) {                                                                       \
    static cl_int (*next)(type);                                                                   \
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                                          \
    g_live--;                                                                                      \
    return next(object);                                                                           \
  }

RELEASES(clReleaseContext, cl_context)
RELEASES(clReleaseProgram, cl_program)
RELEASES(clReleaseKernel, cl_kernel)
RELEASES(clReleaseCommandQueue, cl_command_queue)
RELEASES(clReleaseMemObject, cl_mem)
RELEASES(clReleaseEvent, cl_event)

RETURNS_ERR(clGetPlatformIDs, (cl_uint n, cl_platform_id *ids, cl_uint *cnt), (n, ids, cnt))
RETURNS_ERR(clBuildProgram,
            (cl_program p, cl_uint n, const cl_device_id *ids, const char *o,
             void(CL_CALLBACK *f)(cl_program, void *), void *d),
            (p, n, ids, o, f, d))
RETURNS_ERR(clGetKernelWorkGroupInfo,
            (cl_kernel k, cl_device_id d, cl_kernel_work_group_info w, size_t sz, void *v,
             size_t *r),
            (k, d, w, sz, v, r))
RETURNS_ERR(clSetKernelArg, (cl_kernel k, cl_uint i, size_t sz, const void *v), (k, i, sz, v))
MAKES_EVENT(clEnqueueWriteBuffer,
            (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t sz, const void *p, cl_uint n,
             const cl_event *w, cl_event *e),
            (q, m, b, o, sz, p, n, w, e))
MAKES_EVENT(clEnqueueReadBuffer,
            (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t sz, void *p, cl_uint n,
             const cl_event *w, cl_event *e),
            (q, m, b, o, sz, p, n, w, e))
MAKES_EVENT(clEnqueueFillBuffer,
            (cl_command_queue q, cl_mem m, const void *p, size_t psz, size_t o, size_t sz,
             cl_uint n, const cl_event *w, cl_event *e),
            (q, m, p, psz, o, sz, n, w, e))
MAKES_EVENT(clEnqueueNDRangeKernel,
            (cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g,
             const size_t *l, cl_uint n, const cl_event *w, cl_event *e),
            (q, k, d, o, g, l, n, w, e))
MAKES_EVENT(clEnqueueMarkerWithWaitList,
            (cl_command_queue q, cl_uint n, const cl_event *w, cl_event *e), (q, n, w, e))
RETURNS_ERR(clFlush, (cl_command_queue q), (q))
RETURNS_ERR(clFinish, (cl_command_queue q), (q))
SETS_ERR(cl_context, clCreateContext,
         (const cl_context_properties *p, cl_uint n, const cl_device_id *ids,
          void(CL_CALLBACK *f)(const char *, const void *, size_t, void *), void *d, cl_int *err),
         (p, n, ids, f, d, err))
SETS_ERR(cl_program, clCreateProgramWithSource,
         (cl_context c, cl_uint n, const char **t, const size_t *sz, cl_int *err),
         (c, n, t, sz, err))
SETS_ERR(cl_kernel, clCreateKernel, (cl_program p, const char *name, cl_int *err), (p, name, err))
SETS_ERR(cl_command_queue, clCreateCommandQueue,
         (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *err), (c, d, p, err))
SETS_ERR(cl_mem, clCreateBuffer, (cl_context c, cl_mem_flags f, size_t sz, void *p, cl_int *err),
         (c, f, sz, p, err))

/* Half of its failures are those of the question, the others what the command itself came to. */
cl_int clGetEventInfo(cl_event e, cl_event_info what, size_t sz, void *v, size_t *r) {
  static cl_int (*next)(cl_event, cl_event_info, size_t, void *, size_t *);
  if (!next) *(void **)&next = dlsym(RTLD_NEXT, "clGetEventInfo");
  if (!hit("clGetEventInfo")) return next(e, what, sz, v, r);
  if (g_fault.fail_at & 1) return g_fault.err;
  memcpy(v, &g_fault.err, sizeof g_fault.err);
  return CL_SUCCESS;
}

static const qr_accel_ops_t *g_ops;
static conform_net_t g_net;

static void arm(uint32_t at) {
  static const cl_int errs[] = {CL_OUT_OF_RESOURCES, CL_MEM_OBJECT_ALLOCATION_FAILURE,
                                CL_DEVICE_NOT_AVAILABLE, -9999};
  g_fault.calls = 0;
  g_fault.fail_at = at;
  g_fault.err = errs[at % QR_ARRAY_CNT(errs)];
  g_fault.which = NULL;
  g_fault.armed = true;
}

/* Every failure while a device is opened, a program loaded and a queue opened. */
static void test_opening(void **st) {
  (void)st;
  static const char *const options[] = {"tune=off", "product=tile,draw=table"};
  for (size_t o = 0; o < QR_ARRAY_CNT(options); o++) {
    uint32_t failed = 0;
    for (uint32_t at = 1;; at++) {
      qr_accel_t *a = NULL;
      qr_accel_queue_t *q = NULL;
      char why[512] = "";
      arm(at);
      int err = g_ops->open(options[o], &a, why, sizeof why);
      if (err) assert_non_null(strstr(why, "accel opencl: "));
      if (!err) err = g_ops->load(a, &g_net.net, &g_net.prog, &g_net.id);
      if (!err) err = g_ops->queue_open(a, &q);
      g_fault.armed = false;
      if (g_fault.which && !err) fail_msg("call %u, %s: no error", at, g_fault.which);
      if (!g_fault.which && err) fail_msg("call %u: %s", at, why);
      if (q) g_ops->queue_close(q);
      if (a) g_ops->close(a);
      if (g_live) fail_msg("call %u, %s: %d objects left", at, g_fault.which, g_live);
      if (!g_fault.which) break;
      assert_true(err < 0);
      failed++;
    }
    assert_in_range(failed, 10, 200);
  }
}

enum { ATTEMPT, TIMED, FORWARD, PRODUCT, KIND_CNT };

static qr_accel_job_t job_of(int kind, const qr_step_op_t *op, uint64_t *ns) {
  static int8_t a[70], b[70];
  static int32_t c[100];
  qr_accel_job_t job;
  for (int i = 0; i < 70; i++) a[i] = (int8_t)(i - 30), b[i] = (int8_t)(20 - i);
  switch (kind) {
  case FORWARD: return conform_forward(&g_net, 33);
  case PRODUCT: return (qr_accel_job_t){.kind = QR_ACCEL_GEMM, .gemm = op, .a = a, .b = b, .c = c};
  default:
    job = conform_attempt(&g_net, 2, 1);
    if (kind == TIMED) job.phase_ns = ns;
    return job;
  }
}

static void check(int kind, const qr_accel_job_t *job, const qr_step_op_t *op) {
  int16_t pa[70], pb[70];
  int32_t want[100];
  const qr_ref_pack_t pack = {pa, pb};
  if (kind == FORWARD) {
    conform_check_forward(&g_net, 33);
  } else if (kind == PRODUCT) {
    qr_ref_gemm(&pack, op, job->a, job->b, want);
    assert_memory_equal(job->c, want, sizeof want);
  } else {
    conform_check_attempt(&g_net, g_net.model, 2, 1);
  }
}

/* Every failure while a job of each kind runs: it finishes, with an error or right, and the next
   one on the same queue is right. */
static void test_jobs(void **st) {
  (void)st;
  const qr_step_op_t op = {.kind = QR_OP_GEMM, .m = 10, .n = 10, .k = 7};
  conform_dev_t d;
  assert_true(conform_dev_open(&d, g_ops, "tune=off", &g_net, 1));
  for (int kind = 0; kind < KIND_CNT; kind++) {
    uint32_t failed = 0;
    for (uint32_t at = 1;; at += at < 40 ? 1 : 11) {
      uint64_t ns[8] = {0};
      qr_accel_job_t job = job_of(kind, &op, ns);
      arm(at);
      assert_int_equal(g_ops->submit(d.q, &job), 0);
      conform_wait(g_ops, d.q, &job);
      g_fault.armed = false;
      assert_true(job.err == 0 || job.err == QR_ERR_IO);
      if (!job.err) check(kind, &job, &op);
      if (!g_fault.which) {
        assert_int_equal(job.err, 0);
        break;
      }
      failed += job.err != 0;
      job = job_of(kind, &op, ns);
      assert_int_equal(g_ops->submit(d.q, &job), 0);
      conform_wait(g_ops, d.q, &job);
      if (job.err) fail_msg("after call %u, %s: %s", at, g_fault.which, qr_err_str(job.err));
      check(kind, &job, &op);
      if (at > 4000) fail_msg("no end of calls");
    }
    assert_in_range(failed, 8, 500);
  }
  conform_dev_close(&d);
  assert_int_equal(g_live, 0);
}

/* Jobs behind one that fails are not part of its failure. */
static void test_jobs_behind(void **st) {
  (void)st;
  conform_dev_t d;
  assert_true(conform_dev_open(&d, g_ops, "tune=off", &g_net, 1));
  for (uint32_t at = 1; at < 200; at += 17) {
    qr_accel_job_t first = conform_attempt(&g_net, 2, 1), second = conform_forward(&g_net, 20);
    arm(at);
    assert_int_equal(g_ops->submit(d.q, &first), 0);
    assert_int_equal(g_ops->submit(d.q, &second), 0);
    conform_wait(g_ops, d.q, &first);
    g_fault.armed = false;
    conform_wait(g_ops, d.q, &second);
    assert_true(first.err == 0 || second.err == 0);
    if (!first.err) conform_check_attempt(&g_net, g_net.model, 2, 1);
    if (!second.err) conform_check_forward(&g_net, 20);
  }
  conform_dev_close(&d);
  assert_int_equal(g_live, 0);
}

/* A queue that is closed in the middle of its jobs. */
static void test_closed_early(void **st) {
  (void)st;
  conform_dev_t d;
  for (int polls = 0; polls < 3; polls++) {
    assert_true(conform_dev_open(&d, g_ops, "tune=off", &g_net, 1));
    qr_accel_job_t first = conform_attempt(&g_net, CONFORM_STEP_MAX, 1),
                   second = conform_forward(&g_net, 20);
    assert_int_equal(g_ops->submit(d.q, &first), 0);
    assert_int_equal(g_ops->submit(d.q, &second), 0);
    for (int i = 0; i < polls; i++) (void)g_ops->poll(d.q);
    conform_dev_close(&d);
    assert_int_equal(g_live, 0);
  }
}

/* The platform's own: it keeps what it compiled until the process ends. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
  return "leak:libpocl\nleak:libLLVM\nleak:libclang\nleak:libOpenCL\n";
}

int main(void) {
  qr_net_t nets[2];
  qr_accel_t *a;
  char why[512];
  gen_t g = {3};
  if (qr_crypto_init()) return 1;
  g_ops = qr_accel_driver("opencl");
  if (!g_ops) {
    fprintf(stderr, "skipped: this build has no driver accel/opencl\n");
    return SKIPPED;
  }
  if (g_ops->open("tune=off", &a, why, sizeof why)) {
    fprintf(stderr, "skipped: %s\n", why);
    return SKIPPED;
  }
  g_ops->close(a);
  qr_log_init(QR_LOG_ERROR, -1); /* what is provoked here is no news */
  conform_genesis_nets(nets);
  conform_net_open(&g_net, &nets[1]);
  conform_fill(&g_net, &g, GEN_INIT);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_opening), cmocka_unit_test(test_jobs),
                                     cmocka_unit_test(test_jobs_behind),
                                     cmocka_unit_test(test_closed_early)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  conform_net_close(&g_net);
  return rc;
}

#else

int main(void) {
  fprintf(stderr, "skipped: this system has no OpenCL headers\n");
  return SKIPPED;
}

#endif
