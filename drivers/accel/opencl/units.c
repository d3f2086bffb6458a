/* The device as people see it: one unit. */
#include "units.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "port/clock.h"

#define TEST_SZ (64u << 20)
#define PCI_BUS_INFO 0x410F /* CL_DEVICE_PCI_BUS_INFO_KHR: domain, bus, device, function */

static void count(_Atomic uint64_t *c) { atomic_fetch_add_explicit(c, 1, memory_order_relaxed); }
static uint64_t load(_Atomic uint64_t *c) { return atomic_load_explicit(c, memory_order_relaxed); }

void qr_ocl_count_job(qr_accel_t *a, const qr_accel_job_t *job) {
  if (job->err == QR_ERR_IO) count(&a->counts.failed);
  if (job->err) return;
  count(&a->counts.done);
  atomic_store_explicit(&a->counts.valid_ns, qr_clock_mono_ns(), memory_order_relaxed);
}

void qr_ocl_unit_fill(cl_device_id id, const char *name, uint32_t idx, qr_accel_unit_t *out) {
  cl_uint pci[4];
  memset(out, 0, sizeof *out);
  if (!clGetDeviceInfo(id, PCI_BUS_INFO, sizeof pci, pci, NULL))
    snprintf(out->id, sizeof out->id, "%04x:%02x:%02x.%x", pci[0] & 0xffff, pci[1] & 0xff,
             pci[2] & 0xff, pci[3] & 7);
  else
    snprintf(out->id, sizeof out->id, "opencl%u", idx);
  snprintf(out->name, sizeof out->name, "%.63s", name);
  out->state = QR_ACCEL_UNIT_PRESENT;
  out->valid_ago_ms = UINT64_MAX;
  out->temp_c = QR_ACCEL_UNTOLD;
}

uint32_t qr_ocl_units(qr_accel_t *a, qr_accel_unit_t *out, uint32_t max_cnt) {
  qr_accel_info_t info;
  if (!max_cnt) return 0;
  qr_ocl_unit_fill(a->dev.id, a->dev.name, a->dev.idx, out);
  qr_ocl_info(a, &info);
  if (a->kernels.programs[QR_OCL_K_PRODUCT])
    snprintf(out->kernel, sizeof out->kernel, "%.63s", info.detail);
  out->state = QR_ACCEL_UNIT_READY;
  out->jobs_done = load(&a->counts.done);
  out->jobs_failed = load(&a->counts.failed);
  out->checked = load(&a->counts.checked);
  out->hw_errors = load(&a->counts.wrong);
  uint64_t valid = load(&a->counts.valid_ns);
  if (valid) out->valid_ago_ms = (qr_clock_mono_ns() - valid) / 1000000u;
  return 1;
}

void qr_ocl_judge(qr_accel_t *a, uint32_t unit, bool right) {
  if (unit) return;
  count(&a->counts.checked);
  if (!right) count(&a->counts.wrong);
}

/* There and back, both timed, on a buffer and a queue of its own. */
static cl_int measure(cl_command_queue q, cl_mem mem, uint8_t *data, uint8_t *back, size_t sz,
                      qr_accel_bandwidth_t *out) {
  uint64_t from = qr_clock_mono_ns();
  cl_int err = clEnqueueWriteBuffer(q, mem, CL_TRUE, 0, sz, data, 0, NULL, NULL);
  uint64_t there = qr_clock_mono_ns();
  if (!err) err = clEnqueueReadBuffer(q, mem, CL_TRUE, 0, sz, back, 0, NULL, NULL);
  *out = (qr_accel_bandwidth_t){sz, there - from + 1, qr_clock_mono_ns() - there + 1};
  return err;
}

int qr_ocl_bandwidth(qr_accel_t *a, uint32_t unit, qr_accel_bandwidth_t *out, char *why,
                     size_t why_sz) {
  size_t sz = a->dev.alloc_max < TEST_SZ ? a->dev.alloc_max : TEST_SZ;
  if (unit) {
    snprintf(why, why_sz, "accel opencl: there is no unit %u, only 0", unit);
    return QR_ERR_NOTFOUND;
  }
  cl_int err;
  cl_mem mem = NULL;
  uint8_t *data = malloc(sz), *back = calloc(1, sz);
  cl_command_queue q = clCreateCommandQueue(a->dev.ctx, a->dev.id, 0, &err);
  if (!err) mem = clCreateBuffer(a->dev.ctx, CL_MEM_READ_WRITE, sz, NULL, &err);
  if (!data || !back) err = CL_OUT_OF_HOST_MEMORY;
  if (!err) {
    for (size_t i = 0; i < sz; i++) data[i] = (uint8_t)(i * 0x9E3779B1u >> 24);
    err = measure(q, mem, data, back, sz, out);
  }
  int r = qr_ocl_err(err);
  if (err) {
    snprintf(why, why_sz, "accel opencl: %s: %s", a->dev.name, qr_ocl_err_str(err));
  } else if (memcmp(data, back, sz)) {
    snprintf(why, why_sz, "accel opencl: %s: data came back changed", a->dev.name);
    r = QR_ERR_IO;
  }
  if (mem) clReleaseMemObject(mem);
  if (q) clReleaseCommandQueue(q);
  free(data);
  free(back);
  return r;
}
