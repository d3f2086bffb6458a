/* oneDNN's int8 products behind the bench's interface: matmul, convolution forward, and for a
   convolution's errors deconvolution, which is the same sum as backward data and runs faster.
   Through its C API. Borders, copies and the offset of unsigned operands are made outside of run().
 */
#include <dlfcn.h>
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_rivals.h"
#include "base/err.h"

#define OFFSET 64 /* from signed operands to unsigned ones */

enum { ARG_A, ARG_B, ARG_C, ARG_CNT };

struct qr_rival_job {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_t main, reorders[ARG_C];    /* reorders: NULL where none is needed */
  dnnl_memory_t given[ARG_CNT], used[ARG_C]; /* used: what main reads, given itself or a copy */
  void *mem[ARG_CNT];
  size_t sz[ARG_CNT];
  bool each_run;   /* the reorders belong to run() */
  int32_t *offset; /* what OFFSET adds to each element of C; NULL: nothing */
  char implementation[64];
  /* convolution backward: C is the image with its border, which is to be folded */
  bool fold;
  qr_step_geo_t geo;
  uint32_t batch, border_h, border_w;
};

static const struct {
  dnnl_cpu_isa_t isa;
  const char *name;
} isas[] = {{dnnl_cpu_isa_sse41, "SSE4.1"},
            {dnnl_cpu_isa_avx, "AVX"},
            {dnnl_cpu_isa_avx2, "AVX2"},
            {dnnl_cpu_isa_avx2_vnni, "AVX2 VNNI"},
            {dnnl_cpu_isa_avx512_core, "AVX-512"},
            {dnnl_cpu_isa_avx512_core_vnni, "AVX-512 VNNI"},
            {dnnl_cpu_isa_avx512_core_bf16, "AVX-512 VNNI and BF16"},
            {dnnl_cpu_isa_avx512_core_amx, "AMX"}};

/* The library's threads are OpenMP's, which is its dependency and not ours. */
static void about(char *out, size_t out_sz) {
  void (*set_threads)(int);
  int (*get_threads)(void);
  *(void **)&set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
  *(void **)&get_threads = dlsym(RTLD_DEFAULT, "omp_get_max_threads");
  const dnnl_version_t *v = dnnl_version();
  const char *isa = "instruction set unknown";
  for (size_t i = 0; i < QR_ARRAY_CNT(isas); i++) {
    if (isas[i].isa == dnnl_get_effective_cpu_isa()) isa = isas[i].name;
  }
  if (set_threads) set_threads(1);
  snprintf(out, out_sz, "oneDNN %d.%d.%d, %s, threads %d", v->major, v->minor, v->patch, isa,
           get_threads ? get_threads() : 1);
}

static void job_free(qr_rival_job_t *j) {
  if (!j) return;
  for (int i = 0; i < ARG_CNT; i++) {
    if (i < ARG_C && j->reorders[i]) dnnl_primitive_destroy(j->reorders[i]);
    if (i < ARG_C && j->used[i] && j->used[i] != j->given[i]) dnnl_memory_destroy(j->used[i]);
    if (j->given[i]) dnnl_memory_destroy(j->given[i]);
    free(j->mem[i]);
  }
  if (j->main) dnnl_primitive_destroy(j->main);
  if (j->stream) dnnl_stream_destroy(j->stream);
  if (j->engine) dnnl_engine_destroy(j->engine);
  free(j->offset);
  free(j);
}

/* A job with an engine, and memory for both operands and the result. */
static int job_new(size_t a_sz, size_t b_sz, size_t c_sz, qr_rival_job_t **out) {
  const size_t sz[ARG_CNT] = {a_sz, b_sz, c_sz};
  qr_rival_job_t *j = calloc(1, sizeof *j);
  bool ok = j && !dnnl_engine_create(&j->engine, dnnl_cpu, 0) &&
            !dnnl_stream_create(&j->stream, j->engine, dnnl_stream_default_flags);
  for (int i = 0; i < ARG_CNT && ok; i++) {
    j->sz[i] = sz[i];
    j->mem[i] = aligned_alloc(QR_CACHE_LINE, qr_align_up(sz[i], QR_CACHE_LINE));
    ok = j->mem[i];
  }
  if (!ok) {
    job_free(j);
    return QR_ERR_NOMEM;
  }
  *out = j;
  return QR_OK;
}

/* In place: bit for bit, s8 plus OFFSET is u8. */
static void to_unsigned(uint8_t *x, size_t cnt) {
  for (size_t i = 0; i < cnt; i++) x[i] = (uint8_t)(x[i] + OFFSET);
}

/* Operand i as the library wants it: itself, or a copy in another layout and how it is made. */
static int prepare(qr_rival_job_t *j, int i, const dnnl_memory_desc_t *given,
                   const dnnl_memory_desc_t *wanted) {
  dnnl_primitive_desc_t pd;
  if (dnnl_memory_create(&j->given[i], given, j->engine, j->mem[i])) return QR_ERR_NOMEM;
  j->used[i] = j->given[i];
  if (dnnl_memory_desc_equal(given, wanted)) return QR_OK;
  j->used[i] = NULL;
  if (dnnl_memory_create(&j->used[i], wanted, j->engine, DNNL_MEMORY_ALLOCATE)) return QR_ERR_NOMEM;
  if (dnnl_reorder_primitive_desc_create(&pd, given, j->engine, wanted, j->engine, NULL))
    return QR_ERR_UNSUPPORTED;
  int err = dnnl_primitive_create(&j->reorders[i], pd) ? QR_ERR_NOMEM : QR_OK;
  dnnl_primitive_desc_destroy(pd);
  return err;
}

static int reorder(qr_rival_job_t *j) {
  for (int i = 0; i < ARG_C; i++) {
    if (!j->reorders[i]) continue;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, j->given[i]}, {DNNL_ARG_TO, j->used[i]}};
    if (dnnl_primitive_execute(j->reorders[i], j->stream, 2, args)) return QR_ERR_IO;
  }
  return QR_OK;
}

static int job_run(qr_rival_job_t *j) {
  int err = j->each_run ? reorder(j) : QR_OK;
  dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, j->used[ARG_A]},
                            {DNNL_ARG_WEIGHTS, j->used[ARG_B]},
                            {DNNL_ARG_DST, j->given[ARG_C]}};
  if (!err && dnnl_primitive_execute(j->main, j->stream, ARG_CNT, args)) err = QR_ERR_IO;
  if (!err && dnnl_stream_wait(j->stream)) err = QR_ERR_IO;
  return err;
}

/* The product of an A that is OFFSET everywhere. */
static int take_offset(qr_rival_job_t *j) {
  size_t c_sz = j->sz[ARG_C];
  void *a = malloc(j->sz[ARG_A]);
  j->offset = malloc(c_sz);
  if (!a || !j->offset) {
    free(a);
    return QR_ERR_NOMEM;
  }
  memcpy(a, j->mem[ARG_A], j->sz[ARG_A]);
  memset(j->mem[ARG_A], OFFSET, j->sz[ARG_A]);
  int err = reorder(j);
  if (!err) err = job_run(j);
  memcpy(j->offset, j->mem[ARG_C], c_sz);
  memcpy(j->mem[ARG_A], a, j->sz[ARG_A]);
  free(a);
  return err;
}

/* The primitive from its description, its operands, and what PACKED does ahead. descs: as given.
   pd is taken. */
static int finish(qr_rival_job_t *j, qr_rival_form_t form, dnnl_primitive_desc_t pd,
                  const dnnl_memory_desc_t *descs) {
  const char *name = "";
  dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
  snprintf(j->implementation, sizeof j->implementation, "%s", name);
  int err =
      prepare(j, ARG_A, &descs[ARG_A], dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
  if (!err) {
    err = prepare(j, ARG_B, &descs[ARG_B],
                  dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
  }
  if (!err && (dnnl_memory_create(&j->given[ARG_C], &descs[ARG_C], j->engine, j->mem[ARG_C]) ||
               dnnl_primitive_create(&j->main, pd)))
    err = QR_ERR_NOMEM;
  dnnl_primitive_desc_destroy(pd);
  if (!err && form.operand == QR_RIVAL_U8) err = take_offset(j);
  j->each_run = form.layout == QR_RIVAL_LIES;
  return err ? err : reorder(j);
}

static dnnl_data_type_t type_of(qr_rival_form_t form) {
  return form.operand == QR_RIVAL_U8 ? dnnl_u8 : dnnl_s8;
}

static int give(int err, qr_rival_job_t *j, qr_rival_job_t **out, char *why, size_t why_sz) {
  if (!err) {
    *out = j;
    return err;
  }
  snprintf(why, why_sz, "oneDNN %s",
           err == QR_ERR_UNSUPPORTED ? "offers no such primitive" : "took no memory or failed");
  job_free(j);
  return err;
}

static int matmul(const qr_rival_matmul_t *p, qr_rival_form_t form, qr_rival_job_t **out, char *why,
                  size_t why_sz) {
  size_t m = p->m, n = p->n, k = p->k;
  bool packed = form.layout == QR_RIVAL_PACKED;
  qr_rival_job_t *j = NULL;
  int err = job_new(m * k, k * n, m * n * sizeof(int32_t), &j);
  if (err) return give(err, NULL, out, why, why_sz);
  memcpy(j->mem[ARG_A], p->a, m * k);
  memcpy(j->mem[ARG_B], p->b, k * n);
  if (form.operand == QR_RIVAL_U8) to_unsigned(j->mem[ARG_A], m * k);
  dnnl_dims_t dims[ARG_CNT] = {{p->m, p->k}, {p->k, p->n}, {p->m, p->n}};
  dnnl_dims_t a_lies = {p->a_trans ? 1 : p->k, p->a_trans ? p->m : 1};
  dnnl_dims_t b_lies = {p->b_trans ? 1 : p->n, p->b_trans ? p->k : 1};
  dnnl_memory_desc_t descs[ARG_CNT], a, b;
  dnnl_memory_desc_init_by_strides(&descs[ARG_A], 2, dims[ARG_A], type_of(form), a_lies);
  dnnl_memory_desc_init_by_strides(&descs[ARG_B], 2, dims[ARG_B], dnnl_s8, b_lies);
  dnnl_memory_desc_init_by_tag(&descs[ARG_C], 2, dims[ARG_C], dnnl_s32, dnnl_ab);
  a = descs[ARG_A];
  b = descs[ARG_B];
  if (packed) { /* rows of A are what its fastest implementation takes, for B it may choose */
    dnnl_memory_desc_init_by_tag(&a, 2, dims[ARG_A], type_of(form), dnnl_ab);
    dnnl_memory_desc_init_by_tag(&b, 2, dims[ARG_B], dnnl_s8, dnnl_format_tag_any);
  }
  dnnl_matmul_desc_t desc;
  dnnl_primitive_desc_t pd;
  bool ok = !dnnl_matmul_desc_init(&desc, &a, &b, NULL, &descs[ARG_C]) &&
            !dnnl_primitive_desc_create(&pd, &desc, NULL, j->engine, NULL);
  return give(ok ? finish(j, form, pd, descs) : QR_ERR_UNSUPPORTED, j, out, why, why_sz);
}

/* ---- convolutions ---- */

/* dst [batch][border_h][border_w][c] = image with what its windows read beyond its edges. */
static void add_border(const qr_rival_job_t *j, int8_t *dst, const int8_t *image) {
  const qr_step_geo_t *g = &j->geo;
  for (uint32_t b = 0; b < j->batch; b++) {
    for (uint32_t y = 0; y < j->border_h; y++) {
      for (uint32_t x = 0; x < j->border_w; x++, dst += g->c) {
        uint32_t row = (y + g->h - 1) % g->h, col = (x + g->w - 1u) % g->w;
        memcpy(dst, image + (((size_t)b * g->h + row) * g->w + col) * g->c, g->c);
      }
    }
  }
}

/* The reverse: what belongs to one place of the image is added up. */
static void fold_border(const qr_rival_job_t *j, int32_t *image, const int32_t *src) {
  const qr_step_geo_t *g = &j->geo;
  memset(image, 0, (size_t)j->batch * g->h * g->w * g->c * sizeof *image);
  for (uint32_t b = 0; b < j->batch; b++) {
    for (uint32_t y = 0; y < j->border_h; y++) {
      for (uint32_t x = 0; x < j->border_w; x++, src += g->c) {
        uint32_t row = (y + g->h - 1) % g->h, col = (x + g->w - 1u) % g->w;
        int32_t *dst = image + (((size_t)b * g->h + row) * g->w + col) * g->c;
        for (uint32_t c = 0; c < g->c; c++) dst[c] += src[c];
      }
    }
  }
}

static int describe_forward(qr_rival_job_t *j, const qr_rival_conv_t *p, qr_rival_form_t form,
                            dnnl_memory_desc_t *descs, dnnl_primitive_desc_t *pd) {
  const qr_step_geo_t *g = &p->geo;
  dnnl_dims_t image = {p->batch, g->c, j->border_h, j->border_w}, weights = {p->n, g->c, 3, 3},
              result = {p->batch, p->n, g->out_h, g->out_w}, strides = {g->sy, g->sx}, none = {0};
  dnnl_memory_desc_t any;
  dnnl_convolution_desc_t desc;
  dnnl_memory_desc_init_by_tag(&descs[ARG_A], 4, image, type_of(form), dnnl_nhwc);
  dnnl_memory_desc_init_by_tag(&descs[ARG_B], 4, weights, dnnl_s8, dnnl_hwio);
  dnnl_memory_desc_init_by_tag(&descs[ARG_C], 4, result, dnnl_s32, dnnl_nhwc);
  dnnl_memory_desc_init_by_tag(&any, 4, weights, dnnl_s8, dnnl_format_tag_any);
  bool ok = !dnnl_convolution_forward_desc_init(&desc, dnnl_forward_training,
                                                dnnl_convolution_direct, &descs[ARG_A], &any, NULL,
                                                &descs[ARG_C], strides, none, none) &&
            !dnnl_primitive_desc_create(pd, &desc, NULL, j->engine, NULL);
  return ok ? QR_OK : QR_ERR_UNSUPPORTED;
}

static int describe_backward(qr_rival_job_t *j, const qr_rival_conv_t *p, qr_rival_form_t form,
                             dnnl_memory_desc_t *descs, dnnl_primitive_desc_t *pd) {
  const qr_step_geo_t *g = &p->geo;
  dnnl_dim_t n = p->n, c = g->c;
  dnnl_dims_t errors = {p->batch, n, g->out_h, g->out_w}, weights = {c, n, 3, 3},
              result = {p->batch, c, j->border_h, j->border_w}, strides = {g->sy, g->sx},
              none = {0}, weights_lie = {n, 1, 3 * c * n, c * n};
  dnnl_memory_desc_t any;
  dnnl_deconvolution_desc_t desc;
  dnnl_memory_desc_init_by_tag(&descs[ARG_A], 4, errors, type_of(form), dnnl_nhwc);
  dnnl_memory_desc_init_by_strides(&descs[ARG_B], 4, weights, dnnl_s8, weights_lie);
  dnnl_memory_desc_init_by_tag(&descs[ARG_C], 4, result, dnnl_s32, dnnl_nhwc);
  dnnl_memory_desc_init_by_tag(&any, 4, weights, dnnl_s8, dnnl_format_tag_any);
  bool ok = !dnnl_deconvolution_forward_desc_init(&desc, dnnl_forward_training,
                                                  dnnl_deconvolution_direct, &descs[ARG_A], &any,
                                                  NULL, &descs[ARG_C], strides, none, none) &&
            !dnnl_primitive_desc_create(pd, &desc, NULL, j->engine, NULL);
  return ok ? QR_OK : QR_ERR_UNSUPPORTED;
}

static int conv(const qr_rival_conv_t *p, qr_rival_form_t form, qr_rival_job_t **out, char *why,
                size_t why_sz) {
  const qr_step_geo_t *g = &p->geo;
  uint32_t border_h = (g->out_h - 1u) * g->sy + 3, border_w = (g->out_w - 1u) * g->sx + 3;
  size_t image = (size_t)p->batch * border_h * border_w * g->c,
         result = (size_t)p->batch * g->out_h * g->out_w * p->n, weights = (size_t)9 * g->c * p->n;
  qr_rival_job_t *j = NULL;
  int err = job_new(p->backward ? result : image, weights,
                    (p->backward ? image : result) * sizeof(int32_t), &j);
  if (err) return give(err, NULL, out, why, why_sz);
  j->geo = *g;
  j->batch = p->batch;
  j->border_h = border_h;
  j->border_w = border_w;
  j->fold = p->backward;
  if (p->backward)
    memcpy(j->mem[ARG_A], p->a, result);
  else
    add_border(j, j->mem[ARG_A], p->a);
  memcpy(j->mem[ARG_B], p->weights, weights);
  if (form.operand == QR_RIVAL_U8) to_unsigned(j->mem[ARG_A], j->sz[ARG_A]);
  dnnl_memory_desc_t descs[ARG_CNT];
  dnnl_primitive_desc_t pd;
  err = (p->backward ? describe_backward : describe_forward)(j, p, form, descs, &pd);
  return give(err ? err : finish(j, form, pd, descs), j, out, why, why_sz);
}

static int result(qr_rival_job_t *j, int32_t *out) {
  int32_t *c = j->mem[ARG_C];
  size_t cnt = j->sz[ARG_C] / sizeof *c;
  int32_t *plain = malloc(j->sz[ARG_C]);
  if (!plain) return QR_ERR_NOMEM;
  for (size_t i = 0; i < cnt; i++) plain[i] = c[i] - (j->offset ? j->offset[i] : 0);
  if (j->fold)
    fold_border(j, out, plain);
  else
    memcpy(out, plain, j->sz[ARG_C]);
  free(plain);
  return QR_OK;
}

static const char *implementation(const qr_rival_job_t *j) { return j->implementation; }

__attribute__((visibility("default"))) extern const qr_rival_int8_t qr_rival_int8;
const qr_rival_int8_t qr_rival_int8 = {
    .about = about,
    .matmul = matmul,
    .conv = conv,
    .run = job_run,
    .result = result,
    .implementation = implementation,
    .free = job_free,
};
