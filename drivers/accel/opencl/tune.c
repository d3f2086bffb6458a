/* What suits a device is tried out on it: a few shapes for each kernel, on work of the size that
   the training step has, with results compared to plain arithmetic. What computes wrongly, does not
   build or does not fit is passed over. */
#include "tune.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/ars.h"
#include "base/err.h"
#include "base/log.h"
#include "cache.h"
#include "port/clock.h"
#include "step/fixed.h"
#include "step/ref_gemm.h"

#define BUDGET_NS UINT64_C(25000000000) /* no further candidate is begun after this */
#define TRIAL_NS 60000000u              /* of one candidate's measurement */
#define TRIAL_MIN_CNT 3u
#define NEVER UINT64_MAX

/* Shapes of products. */
static const struct {
  uint8_t vector, rows, tile_x, tile_y;
} shapes[] = {{1, 8, 64, 64}, {1, 4, 64, 64}, {1, 16, 64, 64}, {0, 4, 64, 64},
              {0, 8, 64, 64}, {0, 4, 32, 32}, {0, 8, 64, 128}};
/* Ways to draw: sliced, local table, work-items. */
static const struct {
  uint8_t sliced, local;
  uint16_t items;
} draws[] = {{1, 0, 1}, {0, 0, 1}, {0, 1, 64}, {0, 1, 128}, {0, 1, 256}, {0, 0, 64}};
/* Element-wise work: work-items of a group, runs of each. */
static const struct {
  uint16_t items, runs;
} elements[] = {{1, 64}, {1, 16}, {1, 256}, {64, 1}, {128, 1}, {256, 1}, {64, 4}};

#define SIDE_BY_SIDE_MIN 64u /* work-items of a group, on a device that likes many */

/* A work-item is a thread there, or groups are next to nothing: wide vectors, no local memory. */
static bool is_serial(const qr_ocl_dev_t *d) { return d->cpu || d->items_max < SIDE_BY_SIDE_MIN; }

/* What a device of this kind starts from. */
static void take_default(const qr_ocl_dev_t *d, qr_ocl_tune_t *out) {
  static const qr_ocl_tune_t processor = {.vector = 1,
                                          .rows = 8,
                                          .tile_x = 64,
                                          .tile_y = 64,
                                          .sliced = 1,
                                          .draw_items = 1,
                                          .element_items = 1,
                                          .product_items = 1,
                                          .runs = 64,
                                          .pass_rows = 256};
  static const qr_ocl_tune_t other = {.rows = 4,
                                      .tile_x = 32,
                                      .tile_y = 32,
                                      .local_table = 1,
                                      .draw_items = 64,
                                      .element_items = 64,
                                      .product_items = 1,
                                      .runs = 1,
                                      .pass_rows = 2048};
  *out = is_serial(d) ? processor : other;
  out->dot = d->khr_dot ? QR_OCL_DOT_KHR : d->arm_dot ? QR_OCL_DOT_ARM : QR_OCL_DOT_PLAIN;
}

typedef struct {
  const qr_ocl_dev_t *d;
  cl_command_queue cq;
  uint64_t end_ns;
  qr_ocl_tune_t best;
  qr_ocl_kernels_t kernels; /* of the candidate in hand */
} trial_t;

static bool late(const trial_t *t) { return qr_clock_mono_ns() > t->end_ns; }

static int8_t *random_bytes(size_t cnt, uint32_t seed) {
  int8_t *p = malloc(cnt);
  for (size_t i = 0; p && i < cnt; i++) {
    seed = seed * 1664525u + 1013904223u;
    p[i] = (int8_t)((int32_t)(seed >> 24 & 127) - 64);
  }
  return p;
}

/* Runs a launch until its time is known: the shortest of some. NEVER if it fails. */
static uint64_t time_launch(trial_t *t, cl_kernel k, size_t wg_cnt, size_t items) {
  uint64_t best = NEVER, end = qr_clock_mono_ns() + TRIAL_NS;
  size_t global = wg_cnt * items;
  for (uint32_t i = 0; i < TRIAL_MIN_CNT || qr_clock_mono_ns() < end; i++) {
    uint64_t from = qr_clock_mono_ns();
    if (clEnqueueNDRangeKernel(t->cq, k, 1, NULL, &global, &items, 0, NULL, NULL) ||
        clFinish(t->cq))
      return NEVER;
    uint64_t ns = qr_clock_mono_ns() - from;
    if (ns < best) best = ns;
  }
  return best;
}

static bool set_args(cl_kernel k, cl_mem mem, cl_mem tasks, uint32_t a, uint32_t b, uint32_t c) {
  return !clSetKernelArg(k, 0, sizeof mem, &mem) && !clSetKernelArg(k, 1, sizeof tasks, &tasks) &&
         !clSetKernelArg(k, 2, 4, &a) && !clSetKernelArg(k, 3, 4, &b) &&
         !clSetKernelArg(k, 4, 4, &c);
}

static bool put(trial_t *t, cl_mem mem, uint32_t off, const void *from, size_t sz) {
  return !clEnqueueWriteBuffer(t->cq, mem, CL_TRUE, off, sz, from, 0, NULL, NULL);
}

static bool same(trial_t *t, cl_mem mem, uint32_t off, const void *want, size_t sz) {
  void *got = malloc(sz);
  bool ok = got && !clEnqueueReadBuffer(t->cq, mem, CL_TRUE, off, sz, got, 0, NULL, NULL) &&
            !memcmp(got, want, sz);
  free(got);
  return ok;
}

static cl_mem zeroed(trial_t *t, size_t sz) {
  const cl_uint zero = 0;
  cl_mem mem = clCreateBuffer(t->d->ctx, CL_MEM_READ_WRITE, sz, NULL, NULL);
  if (mem && clEnqueueFillBuffer(t->cq, mem, &zero, sizeof zero, 0, sz, 0, NULL, NULL)) {
    clReleaseMemObject(mem);
    return NULL;
  }
  return mem;
}

static void release(cl_mem mem) {
  if (mem) clReleaseMemObject(mem);
}

static cl_kernel kernel_of(const trial_t *t, enum qr_ocl_kernel which) {
  return clCreateKernel(t->kernels.programs[which], qr_ocl_kernel_names[which], NULL);
}

/* ---- products ---- */

typedef struct {
  qr_step_op_t op;
  int8_t *a, *b;
  int32_t *c;
} product_t;

static const uint32_t product_sizes[][3] = {{256, 384, 384}, {72, 32, 4096}};

static bool product_init(product_t *p, const uint32_t size[3]) {
  size_t m = size[0], n = size[1], k = size[2];
  qr_ref_pack_t pack = {malloc(m * k * 2), malloc(n * k * 2)};
  p->op = (qr_step_op_t){
      .kind = QR_OP_GEMM, .m = size[0], .n = size[1], .k = size[2], .digest = QR_STEP_NO_DIGEST};
  p->a = random_bytes(m * k, 1);
  p->b = random_bytes(n * k, 2);
  p->c = malloc(m * n * 4);
  bool ok = pack.a && pack.b && p->a && p->b && p->c;
  if (ok) qr_ref_gemm(&pack, &p->op, p->a, p->b, p->c);
  free(pack.a);
  free(pack.b);
  return ok;
}

static void product_fini(product_t *p) {
  free(p->a);
  free(p->b);
  free(p->c);
}

/* The packing launches, then the product, which is what counts. */
static uint64_t run_product(trial_t *t, const product_t *p, const qr_ocl_gemm_t *g, cl_mem mem,
                            cl_mem tasks) {
  cl_kernel k[QR_OCL_K_CNT] = {NULL};
  const qr_ocl_launch_t *last = &g->run.launches[g->run.cnt - 1];
  uint64_t ns = NEVER;
  bool ok = put(t, mem, g->a, p->a, g->a_sz) && put(t, mem, g->b, p->b, g->b_sz);
  for (uint32_t i = QR_OCL_K_ELEMENT; i < QR_OCL_K_CNT; i++)
    ok = (k[i] = kernel_of(t, (enum qr_ocl_kernel)i)) && ok;
  for (uint32_t i = 0; ok && i < g->run.cnt; i++) {
    const qr_ocl_launch_t *l = &g->run.launches[i];
    size_t items = t->kernels.items[l->kernel], global = items * l->wg_cnt;
    ok = set_args(k[l->kernel], mem, tasks, l->first, 0, 0) &&
         !clEnqueueNDRangeKernel(t->cq, k[l->kernel], 1, NULL, &global, &items, 0, NULL, NULL);
  }
  if (ok && same(t, mem, g->c, p->c, g->c_sz))
    ns = time_launch(t, k[last->kernel], last->wg_cnt, t->kernels.items[last->kernel]);
  for (uint32_t i = 0; i < QR_OCL_K_CNT; i++)
    if (k[i]) clReleaseKernel(k[i]);
  return ns;
}

static uint64_t time_product(trial_t *t, const qr_ocl_tune_t *u, const product_t *p) {
  qr_ocl_gemm_t *g = malloc(sizeof *g);
  uint64_t ns = NEVER;
  if (g && !qr_ocl_plan_gemm(g, &p->op, u, t->d->unit_cnt)) {
    cl_mem mem = zeroed(t, g->mem_sz),
           tasks = clCreateBuffer(t->d->ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                  sizeof g->tasks, g->tasks, NULL);
    if (mem && tasks) ns = run_product(t, p, g, mem, tasks);
    release(mem);
    release(tasks);
  }
  free(g);
  return ns;
}

/* Whether a device of this kind may be good at it; processors emulate local memory. */
static bool worth_shape(const qr_ocl_dev_t *d, size_t i) {
  if (shapes[i].vector || is_serial(d)) return shapes[i].vector && is_serial(d);
  uint32_t items = shapes[i].tile_x / 4u * (shapes[i].tile_y / shapes[i].rows);
  return items <= d->items_max &&
         (shapes[i].tile_x + shapes[i].tile_y) * 32u + items * 8u <= d->local_sz;
}

static void set_shape(qr_ocl_tune_t *u, size_t i) {
  u->vector = shapes[i].vector, u->rows = shapes[i].rows;
  u->tile_x = shapes[i].tile_x, u->tile_y = shapes[i].tile_y;
}

static uint64_t try_shape(trial_t *t, const qr_ocl_tune_t *u, const product_t *products) {
  char why[256];
  uint64_t sum = 0;
  if (qr_ocl_build_one(t->d, u, QR_OCL_K_ELEMENT, &t->kernels, why, sizeof why) ||
      qr_ocl_build_one(t->d, u, QR_OCL_K_PRODUCT, &t->kernels, why, sizeof why))
    return NEVER;
  for (size_t i = 0; i < QR_ARRAY_CNT(product_sizes); i++) {
    uint64_t ns = time_product(t, u, &products[i]);
    if (ns == NEVER) return NEVER;
    sum += ns;
  }
  return sum;
}

static bool tune_product(trial_t *t) {
  product_t products[QR_ARRAY_CNT(product_sizes)] = {0};
  uint64_t best = NEVER;
  bool ok = true;
  for (size_t i = 0; i < QR_ARRAY_CNT(products); i++)
    ok = product_init(&products[i], product_sizes[i]) && ok;
  for (size_t i = 0; ok && i < QR_ARRAY_CNT(shapes) && (best == NEVER || !late(t)); i++) {
    if (!worth_shape(t->d, i)) continue;
    qr_ocl_tune_t u = t->best;
    set_shape(&u, i);
    /* the device's own dot product, and plain arithmetic, which may be what it is made of */
    for (uint32_t plain = u.vector || u.dot == QR_OCL_DOT_PLAIN; plain < 2; plain++) {
      if (plain) u.dot = QR_OCL_DOT_PLAIN;
      uint64_t ns = try_shape(t, &u, products);
      if (ns >= best) continue;
      best = ns;
      t->best = u;
    }
  }
  for (size_t i = 0; i < QR_ARRAY_CNT(products); i++) product_fini(&products[i]);
  return best != NEVER;
}

/* ---- draws ---- */

#define DRAW_UNITS 64u

/* Blocks of one stream against host/base/ars.h; NEVER if they differ. */
static uint64_t try_draw(trial_t *t, const qr_ocl_tune_t *u) {
  char why[256];
  uint32_t cnt = DRAW_UNITS * QR_OCL_DRAW_BLOCKS, heads[4],
           stream = qr_stream_word(QR_STREAM_ROUND_W, 1, 0);
  qr_hash_t sigma;
  qr_ocl_keys_t keys;
  if (qr_ocl_build_one(t->d, u, QR_OCL_K_DRAW, &t->kernels, why, sizeof why)) return NEVER;
  for (uint32_t i = 0; i < QR_HASH_SZ; i++) sigma.b[i] = (uint8_t)(i * 37 + 11);
  qr_ocl_keys(&sigma, &keys);
  qr_ocl_heads(&sigma, &stream, 1, 5, heads);
  uint32_t heads_off = (uint32_t)qr_align_up(sizeof keys, 128), dst = heads_off + 128;
  const qr_ocl_draw_t draw = {DRAW_UNITS, cnt, 0, dst};
  uint32_t *want = malloc(cnt * 16u);
  cl_mem mem = zeroed(t, dst + cnt * 16u),
         list = clCreateBuffer(t->d->ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof draw,
                               (void *)(uintptr_t)&draw, NULL);
  cl_kernel k = kernel_of(t, QR_OCL_K_DRAW);
  const uint32_t zero = 0;
  uint64_t ns = NEVER;
  if (want && mem && list && k && put(t, mem, 0, &keys, sizeof keys) &&
      put(t, mem, heads_off, heads, sizeof heads) && !clSetKernelArg(k, 0, sizeof mem, &mem) &&
      !clSetKernelArg(k, 1, sizeof list, &list) && !clSetKernelArg(k, 2, 4, &zero) &&
      !clSetKernelArg(k, 3, 4, &heads_off)) {
    qr_ars_t p = qr_ars_init(&sigma, stream | 5);
    for (uint32_t i = 0; i < cnt; i++) qr_ars_block(&p, i, want + 4 * i);
    ns = time_launch(t, k, DRAW_UNITS, u->draw_items);
    if (ns != NEVER && !same(t, mem, dst, want, cnt * 16u)) ns = NEVER;
  }
  if (k) clReleaseKernel(k);
  release(mem);
  release(list);
  free(want);
  return ns;
}

static bool tune_draw(trial_t *t) {
  uint64_t best = NEVER;
  bool serial = is_serial(t->d);
  for (size_t i = 0; i < QR_ARRAY_CNT(draws) && (best == NEVER || !late(t)); i++) {
    /* a circuit of 512 lanes needs the registers and caches of a processor */
    if ((draws[i].sliced && !serial) || (draws[i].local && serial) ||
        draws[i].items > t->d->items_max)
      continue;
    qr_ocl_tune_t u = t->best;
    u.sliced = draws[i].sliced, u.local_table = draws[i].local, u.draw_items = draws[i].items;
    uint64_t ns = try_draw(t, &u);
    if (ns >= best) continue;
    best = ns;
    t->best = u;
  }
  return best != NEVER;
}

/* ---- element-wise work ---- */

#define FORM_CNT 98304u
#define FORM_DITHER 4

typedef struct {
  int8_t *src, *draws, *want;
} form_t;

static bool form_init(form_t *f) {
  f->src = random_bytes(FORM_CNT, 3);
  f->draws = random_bytes(FORM_CNT / 2, 4);
  f->want = malloc(FORM_CNT);
  if (!f->src || !f->draws || !f->want) return false;
  for (uint32_t i = 0; i < FORM_CNT; i++) {
    uint8_t b = (uint8_t)f->draws[(i >> 7) * 64 + (i & 63)];
    f->want[i] = qr_step_dither(f->src[i], FORM_DITHER, i & 64 ? b >> 4 : b & 15);
  }
  return true;
}

static void form_fini(form_t *f) {
  free(f->src);
  free(f->draws);
  free(f->want);
}

static uint64_t try_element(trial_t *t, const qr_ocl_tune_t *u, const form_t *f) {
  uint32_t units = FORM_CNT / QR_OCL_RUN, items = (units + u->runs - 1) / u->runs,
           wg_cnt = (items + u->element_items - 1) / u->element_items;
  const qr_ocl_task_t task = {.kind = QR_OCL_FORM,
                              .wg_end = wg_cnt,
                              .unit_cnt = units,
                              .runs = u->runs,
                              .draw = FORM_CNT,
                              .dst = FORM_CNT * 2,
                              .p0 = FORM_DITHER,
                              .flags = QR_OCL_DITHER,
                              .aux = QR_OCL_NONE,
                              .digest = QR_OCL_NONE};
  cl_mem mem = zeroed(t, FORM_CNT * 3),
         list = clCreateBuffer(t->d->ctx, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof task,
                               (void *)(uintptr_t)&task, NULL);
  cl_kernel k = kernel_of(t, QR_OCL_K_ELEMENT);
  uint64_t ns = NEVER;
  if (mem && list && k && put(t, mem, 0, f->src, FORM_CNT) &&
      put(t, mem, FORM_CNT, f->draws, FORM_CNT / 2) && set_args(k, mem, list, 0, 0, 0))
    ns = time_launch(t, k, wg_cnt, u->element_items);
  if (ns != NEVER && !same(t, mem, FORM_CNT * 2, f->want, FORM_CNT)) ns = NEVER;
  if (k) clReleaseKernel(k);
  release(mem);
  release(list);
  return ns;
}

static bool tune_element(trial_t *t) {
  form_t f = {0};
  char why[256];
  uint64_t best = NEVER;
  bool serial = is_serial(t->d);
  bool ok = form_init(&f) &&
            !qr_ocl_build_one(t->d, &t->best, QR_OCL_K_ELEMENT, &t->kernels, why, sizeof why);
  for (size_t i = 0; ok && i < QR_ARRAY_CNT(elements) && (best == NEVER || !late(t)); i++) {
    if ((elements[i].items == 1) != serial || elements[i].items > t->d->items_max) continue;
    qr_ocl_tune_t u = t->best;
    u.element_items = elements[i].items, u.runs = elements[i].runs;
    uint64_t ns = try_element(t, &u, &f);
    if (ns >= best) continue;
    best = ns;
    t->best = u;
  }
  form_fini(&f);
  return best != NEVER;
}

/* ---- all of it ---- */

static bool find_best(const qr_ocl_dev_t *d, qr_ocl_tune_t *out) {
  trial_t t = {.d = d, .end_ns = qr_clock_mono_ns() + BUDGET_NS, .best = *out};
  t.cq = clCreateCommandQueue(d->ctx, d->id, 0, NULL);
  if (!t.cq) return false;
  bool ok = tune_product(&t) && tune_draw(&t) && tune_element(&t);
  qr_ocl_kernels_free(&t.kernels);
  clReleaseCommandQueue(t.cq);
  if (ok) *out = t.best;
  return ok;
}

/* Without tuning; a device's own dot product that does not build is done without. */
static int build_untuned(const qr_ocl_dev_t *d, qr_ocl_tune_t *t, qr_ocl_kernels_t *kernels,
                         char *why, size_t why_sz) {
  int err = qr_ocl_build(d, t, kernels, why, why_sz);
  if (!err || t->vector || t->dot == QR_OCL_DOT_PLAIN) return err;
  t->dot = QR_OCL_DOT_PLAIN;
  return qr_ocl_build(d, t, kernels, why, why_sz);
}

int qr_ocl_tune(const qr_ocl_dev_t *d, const qr_ocl_options_t *o, qr_ocl_tune_t *out,
                qr_ocl_kernels_t *kernels, char *why, size_t why_sz) {
  take_default(d, out);
  if (o->vector >= 0 || o->sliced >= 0 || o->tune == QR_OCL_TUNE_OFF) {
    if (o->vector >= 0) out->vector = (uint32_t)o->vector;
    if (o->sliced >= 0) out->sliced = (uint32_t)o->sliced;
    if (out->sliced) out->draw_items = 1;
    return build_untuned(d, out, kernels, why, why_sz);
  }
  qr_ocl_tune_t known;
  if (o->tune == QR_OCL_TUNE_AUTO && qr_ocl_cache_read(d, &known) &&
      !qr_ocl_build(d, &known, kernels, why, why_sz)) {
    *out = known;
    return QR_OK;
  }
  qr_log(QR_LOG_INFO, "accel", "event=opencl-tuning device=\"%s\" most_s=%u", d->name,
         (unsigned)(BUDGET_NS / 1000000000u));
  if (!find_best(d, out)) {
    int err = qr_ocl_build(d, out, kernels, why, why_sz); /* the reason, if there is one */
    if (err) return err;
    snprintf(why, why_sz,
             "accel opencl: %s: no variant of the kernels gives right results on it; "
             "tune=off uses it all the same",
             d->name);
    return QR_ERR_IO;
  }
  qr_ocl_cache_write(d, out);
  return qr_ocl_build(d, out, kernels, why, why_sz);
}
