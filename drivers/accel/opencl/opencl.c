/* Step programs on any OpenCL device: see README.md. */
#include "opencl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "port/option.h"
#include "queue.h"
#include "units.h"

static int refuse(const qr_option_t *o, const char *wanted, char *why, size_t why_sz) {
  snprintf(why, why_sz, "accel opencl: %s: '%s' is not %s", o->key, o->value, wanted);
  return QR_ERR_ARG;
}

/* One of two words, as 0 or 1. */
static bool either(const char *value, const char *zero, const char *one, int *out) {
  *out = !strcmp(value, one);
  return *out || !strcmp(value, zero);
}

static int set_text(const qr_option_t *o, char *out, size_t out_sz, char *why, size_t why_sz) {
  if (strlen(o->value) >= out_sz) return refuse(o, "that long", why, why_sz);
  snprintf(out, out_sz, "%s", o->value);
  return QR_OK;
}

static int set_option(qr_ocl_options_t *out, const qr_option_t *o, char *why, size_t why_sz) {
  static const char *const tunes[] = {
      [QR_OCL_TUNE_AUTO] = "auto", [QR_OCL_TUNE_OFF] = "off", [QR_OCL_TUNE_FORCE] = "force"};
  if (!strcmp(o->key, "platform"))
    return set_text(o, out->platform, sizeof out->platform, why, why_sz);
  if (!strcmp(o->key, "device")) return set_text(o, out->device, sizeof out->device, why, why_sz);
  if (!strcmp(o->key, "tune")) {
    for (uint32_t i = 0; i < QR_ARRAY_CNT(tunes); i++) {
      if (strcmp(o->value, tunes[i])) continue;
      out->tune = i;
      return QR_OK;
    }
    return refuse(o, "auto, off or force", why, why_sz);
  }
  if (!strcmp(o->key, "product"))
    return either(o->value, "tile", "vector", &out->vector)
               ? QR_OK
               : refuse(o, "vector or tile", why, why_sz);
  if (!strcmp(o->key, "draw"))
    return either(o->value, "table", "sliced", &out->sliced)
               ? QR_OK
               : refuse(o, "table or sliced", why, why_sz);
  if (!strcmp(o->key, "look")) {
    out->look = true;
    return *o->value ? refuse(o, "asked for: it has no value", why, why_sz) : QR_OK;
  }
  if (!strcmp(o->key, "units"))
    return qr_option_u64(o->value, 1, 4096, &out->units) ? QR_OK
                                                         : refuse(o, "1 to 4096", why, why_sz);
  snprintf(
      why, why_sz,
      "accel opencl: unknown option %s; there are platform, device, tune, product, draw, units, "
      "look",
      o->key);
  return QR_ERR_ARG;
}

static int read_options(const char *text, qr_ocl_options_t *out, char *why, size_t why_sz) {
  qr_option_t o;
  int r;
  *out = (qr_ocl_options_t){.vector = -1, .sliced = -1};
  while ((r = qr_option_next(&text, ',', &o)) > 0) {
    r = set_option(out, &o, why, why_sz);
    if (r) return r;
  }
  if (r) snprintf(why, why_sz, "accel opencl: options must be key=value,...");
  return r;
}

static void ocl_close(qr_accel_t *a) {
  for (uint32_t i = 0; i < a->prog_cnt; i++) {
    if (a->progs[i]->tasks) clReleaseMemObject(a->progs[i]->tasks);
    if (a->progs[i]->draws) clReleaseMemObject(a->progs[i]->draws);
    free(a->progs[i]);
  }
  qr_ocl_kernels_free(&a->kernels);
  qr_ocl_dev_close(&a->dev);
  free(a);
}

static int ocl_open(const char *options, qr_accel_t **out, char *why, size_t why_sz) {
  qr_ocl_options_t o;
  int err = read_options(options, &o, why, why_sz);
  if (err) return err;
  qr_accel_t *a = calloc(1, sizeof *a);
  if (!a) {
    snprintf(why, why_sz, "accel opencl: no memory");
    return QR_ERR_NOMEM;
  }
  err = qr_ocl_dev_open(&a->dev, &o, why, why_sz);
  if (!err && o.units) a->dev.unit_cnt = (uint32_t)o.units;
  if (!err && !o.look) err = qr_ocl_tune(&a->dev, &o, &a->tune, &a->kernels, why, why_sz);
  if (err) {
    ocl_close(a);
    return err;
  }
  *out = a;
  return QR_OK;
}

void qr_ocl_info(const qr_accel_t *a, qr_accel_info_t *out) {
  const qr_ocl_tune_t *t = &a->tune;
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "opencl %.24s", a->dev.name);
  if (!a->kernels.programs[QR_OCL_K_PRODUCT])
    snprintf(out->detail, sizeof out->detail, "%s", a->dev.platform_name);
  else if (t->vector)
    snprintf(out->detail, sizeof out->detail, "%.32s, product vector %u, draw %s",
             a->dev.platform_name, t->rows, t->sliced ? "sliced" : "table");
  else
    snprintf(out->detail, sizeof out->detail, "%.32s, product tile %ux%u, draw %s",
             a->dev.platform_name, t->tile_y, t->tile_x, t->sliced ? "sliced" : "table");
  out->queue_depth = QR_OCL_QUEUE_DEPTH;
  out->seat_cnt = a->dev.cpu ? 1 : 2; /* a card trains one while the host ends the other */
}

static cl_mem upload(const qr_accel_t *a, const void *from, size_t sz, cl_int *err) {
  return clCreateBuffer(a->dev.ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sz,
                        (void *)(uintptr_t)from, err);
}

static int plan(const qr_accel_t *a, qr_ocl_loaded_t *p, const qr_net_t *net,
                const qr_step_prog_t *prog) {
  p->net = *net;
  p->batch = prog->batch;
  p->obs_sz = prog->obs_sz;
  p->action_cnt = prog->action_cnt;
  p->model_sz = prog->model_sz;
  p->digest_cnt = prog->digest_cnt;
  int r = qr_ocl_plan(&p->plan, net, prog, &a->tune, a->dev.unit_cnt);
  if (r) return r;
  if (p->plan.mem_sz > a->dev.alloc_max) return QR_ERR_NOMEM;
  cl_int err;
  p->tasks = upload(a, p->plan.tasks, p->plan.task_cnt * sizeof *p->plan.tasks, &err);
  if (!err) p->draws = upload(a, p->plan.draws, sizeof p->plan.draws, &err);
  return qr_ocl_err(err);
}

static int ocl_load(qr_accel_t *a, const qr_net_t *net, const qr_step_prog_t *prog,
                    uint32_t *prog_id) {
  if (a->prog_cnt == QR_OCL_PROG_MAX_CNT) return QR_ERR_FULL;
  if (prog->model_sz != net->model_sz || prog->batch != net->spec.batch ||
      prog->obs_sz != net->in_sz || prog->action_cnt != net->spec.action_cnt)
    return QR_ERR_ARG;
  qr_ocl_loaded_t *p = calloc(1, sizeof *p);
  if (!p) return QR_ERR_NOMEM;
  int err = plan(a, p, net, prog);
  if (err) {
    if (p->tasks) clReleaseMemObject(p->tasks);
    free(p);
    return err;
  }
  a->progs[a->prog_cnt] = p;
  *prog_id = a->prog_cnt++;
  return QR_OK;
}

static int ocl_find(const char *options, qr_accel_unit_t *out, uint32_t max_cnt, char *why,
                    size_t why_sz) {
  qr_ocl_options_t o;
  int err = read_options(options, &o, why, why_sz);
  return err ? err : qr_ocl_dev_find(&o, out, max_cnt, why, why_sz);
}

static const char *const phases[] = {[QR_OCL_K_DRAW] = "draw",
                                     [QR_OCL_K_ELEMENT] = "element",
                                     [QR_OCL_K_PRODUCT] = "product",
                                     [QR_OCL_P_TRANSFER] = "transfer",
                                     [QR_OCL_P_CNT] = NULL};

const qr_accel_ops_t qr_accel_opencl_ops = {
    .name = "opencl",
    .help = "an OpenCL device; options: platform=, device= (number or part of the name), "
            "tune=auto|off|force",
    .phases = phases,
    .open = ocl_open,
    .close = ocl_close,
    .info = qr_ocl_info,
    .load = ocl_load,
    .queue_open = qr_ocl_queue_open,
    .queue_close = qr_ocl_queue_close,
    .submit = qr_ocl_submit,
    .poll = qr_ocl_poll,
    .cancel = qr_ocl_cancel,
    .find = ocl_find,
    .units = qr_ocl_units,
    .judge = qr_ocl_judge,
    .bandwidth = qr_ocl_bandwidth,
};
