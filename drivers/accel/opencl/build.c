/* Compiles the kernels, whose sources are part of the driver. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "opencl.h"
#include "source.h"

#define TABLE_SZ 4096u
#define LOG_LINE_CNT 3u

const char *const qr_ocl_kernel_names[QR_OCL_K_CNT] = {
    [QR_OCL_K_DRAW] = "draw", [QR_OCL_K_ELEMENT] = "element", [QR_OCL_K_PRODUCT] = "product"};

static const qr_ocl_text_t *const texts[QR_OCL_K_CNT] = {[QR_OCL_K_DRAW] = &qr_ocl_text_draw,
                                                         [QR_OCL_K_ELEMENT] = &qr_ocl_text_element,
                                                         [QR_OCL_K_PRODUCT] = &qr_ocl_text_product};

static uint64_t fnv(uint64_t h, const qr_ocl_text_t *t) {
  for (size_t i = 0; i < t->sz; i++) h = (h ^ (uint8_t)t->text[i]) * UINT64_C(0x100000001b3);
  return h;
}

uint64_t qr_ocl_source_hash(void) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  h = fnv(fnv(h, &qr_ocl_text_task), &qr_ocl_text_common);
  for (uint32_t i = 0; i < QR_OCL_K_CNT; i++) h = fnv(h, texts[i]);
  return h;
}

static uint32_t items_of(const qr_ocl_tune_t *t, enum qr_ocl_kernel which) {
  if (which == QR_OCL_K_DRAW) return t->draw_items;
  if (which == QR_OCL_K_ELEMENT) return t->element_items;
  return t->vector ? t->product_items : t->tile_x / 4 * (t->tile_y / t->rows);
}

/* Many compilers know the dot products of cl_khr_integer_dot_product in OpenCL C 3.0 only. */
static const char *const languages[] = {"CL1.2", "CL3.0"};

static uint32_t language_cnt(const qr_ocl_tune_t *t, enum qr_ocl_kernel which) {
  return which == QR_OCL_K_PRODUCT && !t->vector && t->dot == QR_OCL_DOT_KHR ? 2 : 1;
}

static void flags_of(const qr_ocl_tune_t *t, const char *language, char *out, size_t out_sz) {
  snprintf(out, out_sz,
           "-cl-std=%s -DGROUP=%u -DQR_OCL_VECTOR=%u -DQR_OCL_ROWS=%u -DQR_OCL_TILE_X=%u "
           "-DQR_OCL_TILE_Y=%u -DQR_OCL_DOT=%u -DQR_OCL_SLICED=%u -DQR_OCL_LOCAL_TABLE=%u",
           language, t->vector ? 2 : 4, t->vector, t->rows, t->tile_x, t->tile_y, t->dot, t->sliced,
           t->local_table);
}

/* The first lines of the compiler's log, in one. */
static void say_log(const qr_ocl_dev_t *d, cl_program p, char *out, size_t out_sz) {
  size_t sz = 0;
  if (clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &sz) || !sz) return;
  char *log = calloc(1, sz + 1);
  if (!log) return;
  uint32_t lines = 0;
  size_t n = 0;
  if (!clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, sz, log, NULL)) {
    for (size_t i = 0; i < sz && log[i] && n + 4 < out_sz && lines < LOG_LINE_CNT; i++) {
      if (log[i] != '\n') {
        out[n++] = log[i] == '\t' ? ' ' : log[i];
      } else if (n && out[n - 1] != '|') {
        memcpy(out + n, " |", 2);
        n += 2;
        lines++;
      }
    }
  }
  while (n && (out[n - 1] == '|' || out[n - 1] == ' ')) n--;
  out[n] = 0;
  free(log);
}

/* Whether the device takes work-groups of that size for the kernel. */
static int check_items(const qr_ocl_dev_t *d, cl_program p, enum qr_ocl_kernel which,
                       uint32_t items, char *why, size_t why_sz) {
  cl_int err;
  size_t most = 0;
  cl_kernel k = clCreateKernel(p, qr_ocl_kernel_names[which], &err);
  if (!err) {
    err = clGetKernelWorkGroupInfo(k, d->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    clReleaseKernel(k);
  }
  if (err) {
    snprintf(why, why_sz, "accel opencl: %s: no kernel %s after building it (%s)", d->name,
             qr_ocl_kernel_names[which], qr_ocl_err_str(err));
    return qr_ocl_err(err);
  }
  if (items <= most) return QR_OK;
  snprintf(
      why, why_sz,
      "accel opencl: %s: kernel %s takes %zu work-items a group, not %u; tune=force finds what "
      "fits",
      d->name, qr_ocl_kernel_names[which], most, items);
  return QR_ERR_UNSUPPORTED;
}

/* In the first language in which the device's compiler takes it. */
static cl_int compile(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, enum qr_ocl_kernel which,
                      cl_program p) {
  cl_int err = CL_SUCCESS;
  for (uint32_t i = 0; i < language_cnt(t, which); i++) {
    char flags[256];
    flags_of(t, languages[i], flags, sizeof flags);
    err = clBuildProgram(p, 1, &d->id, flags, NULL, NULL);
    if (!err) break;
  }
  return err;
}

int qr_ocl_build_one(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, enum qr_ocl_kernel which,
                     qr_ocl_kernels_t *out, char *why, size_t why_sz) {
  char table[TABLE_SZ], log[256] = "";
  const char *parts[] = {qr_ocl_text_task.text, qr_ocl_text_common.text, table, texts[which]->text};
  size_t sizes[] = {qr_ocl_text_task.sz, qr_ocl_text_common.sz, 0, texts[which]->sz};
  cl_int err;
  sizes[2] = qr_ocl_table(table, sizeof table);
  cl_program p = clCreateProgramWithSource(d->ctx, QR_ARRAY_CNT(parts), parts, sizes, &err);
  if (!err) err = compile(d, t, which, p);
  if (err) {
    if (p) say_log(d, p, log, sizeof log);
    snprintf(why, why_sz, "accel opencl: %s: kernel %s does not build (%s): %s", d->name,
             qr_ocl_kernel_names[which], qr_ocl_err_str(err), log[0] ? log : "no log");
  }
  int r = err ? qr_ocl_err(err) : check_items(d, p, which, items_of(t, which), why, why_sz);
  if (r) {
    if (p) clReleaseProgram(p);
    return r;
  }
  if (out->programs[which]) clReleaseProgram(out->programs[which]);
  out->programs[which] = p;
  out->items[which] = items_of(t, which);
  return QR_OK;
}

int qr_ocl_build(const qr_ocl_dev_t *d, const qr_ocl_tune_t *t, qr_ocl_kernels_t *out, char *why,
                 size_t why_sz) {
  for (uint32_t i = 0; i < QR_OCL_K_CNT; i++) {
    int err = qr_ocl_build_one(d, t, (enum qr_ocl_kernel)i, out, why, why_sz);
    if (err) return err;
  }
  return QR_OK;
}

void qr_ocl_kernels_free(qr_ocl_kernels_t *k) {
  for (uint32_t i = 0; i < QR_OCL_K_CNT; i++) {
    if (k->programs[i]) clReleaseProgram(k->programs[i]);
    k->programs[i] = NULL;
  }
}
