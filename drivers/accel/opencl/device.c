/* Finds the device that the operator means. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "opencl.h"
#include "units.h"

#define PLATFORM_MAX_CNT 16u
#define DEVICE_MAX_CNT 64u
#define NO_PLATFORM (-1001) /* CL_PLATFORM_NOT_FOUND_KHR of the ICD loader */

static const struct {
  cl_int code;
  int err;
  const char *name;
} errors[] = {
    {CL_DEVICE_NOT_FOUND, QR_ERR_NOTFOUND, "no such device"},
    {CL_DEVICE_NOT_AVAILABLE, QR_ERR_IO, "the device is not available"},
    {CL_COMPILER_NOT_AVAILABLE, QR_ERR_UNSUPPORTED, "the device has no compiler"},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, QR_ERR_NOMEM, "no device memory"},
    {CL_OUT_OF_RESOURCES, QR_ERR_IO, "out of resources"},
    {CL_OUT_OF_HOST_MEMORY, QR_ERR_NOMEM, "no host memory"},
    {CL_BUILD_PROGRAM_FAILURE, QR_ERR_UNSUPPORTED, "build failure"},
    {CL_INVALID_BUFFER_SIZE, QR_ERR_NOMEM, "buffer too large"},
    {CL_INVALID_WORK_GROUP_SIZE, QR_ERR_UNSUPPORTED, "work-group too large"},
    {NO_PLATFORM, QR_ERR_NOTFOUND, "no platform"},
};

const char *qr_ocl_err_str(cl_int err) {
  static _Thread_local char other[32];
  for (size_t i = 0; i < QR_ARRAY_CNT(errors); i++)
    if (errors[i].code == err) return errors[i].name;
  snprintf(other, sizeof other, "OpenCL error %d", (int)err);
  return other;
}

int qr_ocl_err(cl_int err) {
  for (size_t i = 0; i < QR_ARRAY_CNT(errors); i++)
    if (errors[i].code == err) return errors[i].err;
  return err ? QR_ERR_IO : QR_OK;
}

typedef struct {
  uint32_t cnt;
  cl_device_id ids[DEVICE_MAX_CNT];
  cl_platform_id platforms[DEVICE_MAX_CNT];
} found_t;

/* Text that a driver gives; spaces around it are not part of it. */
static void text_of(char *out, size_t out_sz, const char *s) {
  while (isspace((unsigned char)*s)) s++;
  size_t n = strlen(s);
  while (n && isspace((unsigned char)s[n - 1])) n--;
  snprintf(out, out_sz, "%.*s", (int)(n < out_sz ? n : out_sz - 1), s);
}

static void device_text(cl_device_id id, cl_device_info what, char *out, size_t out_sz) {
  char s[1024] = "";
  out[0] = 0;
  if (!clGetDeviceInfo(id, what, sizeof s - 1, s, NULL)) text_of(out, out_sz, s);
}

static void platform_text(cl_platform_id id, cl_platform_info what, char *out, size_t out_sz) {
  char s[1024] = "";
  out[0] = 0;
  if (!clGetPlatformInfo(id, what, sizeof s - 1, s, NULL)) text_of(out, out_sz, s);
}

static bool is_number(const char *s) {
  for (const char *c = s; *c; c++)
    if (!isdigit((unsigned char)*c)) return false;
  return *s;
}

/* Whether a wish, a number or part of a name in any case, means this one. */
static bool means(const char *wish, uint32_t idx, const char *name) {
  if (!wish[0]) return true;
  if (is_number(wish)) return strtoul(wish, NULL, 10) == idx;
  return strcasestr(name, wish) != NULL;
}

/* All devices of the platforms that are meant. */
static cl_int list_devices(const char *platform, found_t *f) {
  cl_platform_id platforms[PLATFORM_MAX_CNT];
  cl_uint cnt = 0;
  f->cnt = 0;
  cl_int err = clGetPlatformIDs(PLATFORM_MAX_CNT, platforms, &cnt);
  if (err) return err;
  if (cnt > PLATFORM_MAX_CNT) cnt = PLATFORM_MAX_CNT;
  for (uint32_t p = 0; p < cnt; p++) {
    char name[64];
    cl_uint n = 0;
    platform_text(platforms[p], CL_PLATFORM_NAME, name, sizeof name);
    if (!means(platform, p, name)) continue;
    if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, DEVICE_MAX_CNT - f->cnt, f->ids + f->cnt,
                       &n))
      continue;
    if (n > DEVICE_MAX_CNT - f->cnt) n = DEVICE_MAX_CNT - f->cnt;
    for (uint32_t i = 0; i < n; i++) f->platforms[f->cnt++] = platforms[p];
    if (f->cnt == DEVICE_MAX_CNT) break;
  }
  return CL_SUCCESS;
}

static cl_device_type type_of(cl_device_id id) {
  cl_device_type type = 0;
  (void)clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
  return type;
}

/* The first device that is meant; if nothing is said, one that is not the processor comes first. */
static uint32_t choose(const found_t *f, const char *wish) {
  static const cl_device_type order[] = {CL_DEVICE_TYPE_GPU, CL_DEVICE_TYPE_ACCELERATOR,
                                         CL_DEVICE_TYPE_ALL};
  char name[128];
  for (uint32_t k = wish[0] ? 2 : 0; k < QR_ARRAY_CNT(order); k++)
    for (uint32_t i = 0; i < f->cnt; i++) {
      device_text(f->ids[i], CL_DEVICE_NAME, name, sizeof name);
      if (means(wish, i, name) && (type_of(f->ids[i]) & order[k])) return i;
    }
  return f->cnt;
}

static void say_list(const found_t *f, char *out, size_t out_sz) {
  size_t n = 0;
  char name[64];
  out[0] = 0;
  for (uint32_t i = 0; i < f->cnt && n < out_sz; i++) {
    device_text(f->ids[i], CL_DEVICE_NAME, name, sizeof name);
    n += (size_t)snprintf(out + n, out_sz - n, "%s%u (%s)", i ? ", " : "", i, name);
  }
}

static int refuse_list(const found_t *f, cl_int err, const qr_ocl_options_t *o, char *why,
                       size_t why_sz) {
  char list[256];
  if (err && err != NO_PLATFORM) {
    snprintf(why, why_sz, "accel opencl: the platforms cannot be listed: %s", qr_ocl_err_str(err));
    return qr_ocl_err(err);
  }
  if (!f->cnt && o->platform[0] && !err) {
    snprintf(why, why_sz, "accel opencl: no device on a platform '%s'; clinfo lists what is there",
             o->platform);
  } else if (!f->cnt) {
    snprintf(why, why_sz,
             "accel opencl: this machine has no OpenCL platform with a device; install the driver "
             "of the card, or for the processor the package pocl-opencl-icd");
  } else {
    say_list(f, list, sizeof list);
    snprintf(why, why_sz, "accel opencl: no device '%s'; device= can be %s", o->device, list);
  }
  return QR_ERR_NOTFOUND;
}

/* "OpenCL 1.2 <what the maker likes>"; functions of 1.2 that an older driver lacks must not be
   called. */
static bool is_1_2(cl_device_id id) {
  char version[64];
  unsigned major = 0, minor = 0;
  device_text(id, CL_DEVICE_VERSION, version, sizeof version);
  return sscanf(version, "OpenCL %u.%u", &major, &minor) == 2 && major * 10 + minor >= 12;
}

/* What the kernels rely on. */
static int check(const qr_ocl_dev_t *d, char *why, size_t why_sz) {
  cl_bool little = CL_FALSE, available = CL_FALSE, compiler = CL_FALSE;
  const char *lack = NULL;
  (void)clGetDeviceInfo(d->id, CL_DEVICE_ENDIAN_LITTLE, sizeof little, &little, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
  if (!available)
    lack = "is not available";
  else if (!is_1_2(d->id))
    lack = "has a driver older than OpenCL 1.2";
  else if (!compiler)
    lack = "has no compiler at run time, and the kernels come as source";
  else if (!little)
    lack = "is not little-endian";
  if (!lack) return QR_OK;
  snprintf(why, why_sz, "accel opencl: %s %s; choose another with device=", d->name, lack);
  return QR_ERR_UNSUPPORTED;
}

static void ask(qr_ocl_dev_t *d) {
  char extensions[8192] = "";
  cl_uint units = 1;
  cl_ulong most = 0, local = 0;
  device_text(d->id, CL_DEVICE_NAME, d->name, sizeof d->name);
  device_text(d->id, CL_DRIVER_VERSION, d->driver, sizeof d->driver);
  platform_text(d->platform, CL_PLATFORM_NAME, d->platform_name, sizeof d->platform_name);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_EXTENSIONS, sizeof extensions - 1, extensions, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof most, &most, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
  (void)clGetDeviceInfo(d->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof d->items_max, &d->items_max,
                        NULL);
  d->cpu = (type_of(d->id) & (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU)) == CL_DEVICE_TYPE_CPU;
  d->khr_dot = strstr(extensions, "cl_khr_integer_dot_product") != NULL;
  d->arm_dot = strstr(extensions, "cl_arm_integer_dot_product_accumulate_int8") != NULL;
  d->unit_cnt = units ? units : 1;
  d->alloc_max = most;
  d->local_sz = local;
}

int qr_ocl_dev_open(qr_ocl_dev_t *d, const qr_ocl_options_t *o, char *why, size_t why_sz) {
  found_t f;
  cl_int err = list_devices(o->platform, &f);
  uint32_t i = err ? 0 : choose(&f, o->device);
  memset(d, 0, sizeof *d);
  if (err || i == f.cnt) return refuse_list(&f, err, o, why, why_sz);
  d->id = f.ids[i];
  d->idx = i;
  d->platform = f.platforms[i];
  ask(d);
  int r = check(d, why, why_sz);
  if (r) return r;
  const cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->platform,
                                         0};
  d->ctx = clCreateContext(props, 1, &d->id, NULL, NULL, &err);
  if (!err) return QR_OK;
  snprintf(why, why_sz, "accel opencl: %s: no context: %s", d->name, qr_ocl_err_str(err));
  d->ctx = NULL;
  return qr_ocl_err(err);
}

void qr_ocl_dev_close(qr_ocl_dev_t *d) {
  if (d->ctx) clReleaseContext(d->ctx);
  d->ctx = NULL;
}

int qr_ocl_dev_find(const qr_ocl_options_t *o, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                    size_t why_sz) {
  found_t f;
  char name[128];
  uint32_t n = 0;
  cl_int err = list_devices(o->platform, &f);
  for (uint32_t i = 0; !err && i < f.cnt && n < max_cnt; i++) {
    device_text(f.ids[i], CL_DEVICE_NAME, name, sizeof name);
    if (means(o->device, i, name)) qr_ocl_unit_fill(f.ids[i], name, i, &out[n++]);
  }
  if (n) return (int)n;
  int r = refuse_list(&f, err, o, why, why_sz);
  return r == QR_ERR_NOTFOUND ? 0 : r;
}
