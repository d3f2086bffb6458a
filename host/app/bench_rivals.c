#include "app/bench_rivals.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FOLDER_SZ 1024u

/* One thread each, and the instruction set, which the libraries choose when they are loaded.
   OpenBLAS takes a processor younger than itself for an old one, so it is told what it may use,
   unless the user has. */
static void set_environment(const char *isa) {
  bool avx2_only = isa && !strcmp(isa, "avx2"), avxvnni_only = isa && !strcmp(isa, "avxvnni");
  const char *core = NULL;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) core = "Haswell";
  if (__builtin_cpu_supports("avx512bw") && !avx2_only && !avxvnni_only) core = "SkylakeX";
#endif
  setenv("OMP_NUM_THREADS", "1", 1);
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  if (core) setenv("OPENBLAS_CORETYPE", core, 0);
  if (avx2_only) setenv("DNNL_MAX_CPU_ISA", "AVX2", 0);
  if (avxvnni_only) setenv("DNNL_MAX_CPU_ISA", "AVX2_VNNI", 0);
}

static void own_folder(char *out, size_t out_sz) {
  ssize_t n = readlink("/proc/self/exe", out, out_sz - 1);
  out[n > 0 ? n : 0] = 0;
  char *slash = strrchr(out, '/');
  if (slash) *slash = 0;
}

static const void *load(const char *folder, const char *name, const char *package,
                        const char *symbol, void **handle, char *why, size_t why_sz) {
  char path[FOLDER_SZ + 64];
  snprintf(path, sizeof path, "%s/libquarry_rival_%s.so", folder, name);
  if (access(path, R_OK)) {
    snprintf(why, why_sz, "no libquarry_rival_%s.so in %.100s; tools/setup installs %s, then build",
             name, folder, package);
    return NULL;
  }
  /* Their code stays: they keep memory and thread pools that nobody else could release. */
  *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  const void *found = *handle ? dlsym(*handle, symbol) : NULL;
  if (!found) snprintf(why, why_sz, "cannot be loaded: %.200s", dlerror());
  return found;
}

void qr_rivals_load(qr_rivals_t *r, const char *folder, const char *isa) {
  char own[FOLDER_SZ];
  memset(r, 0, sizeof *r);
  set_environment(isa);
  own_folder(own, sizeof own);
  if (!folder) folder = own;
  r->int8 = load(folder, "onednn", "libdnnl-dev", "qr_rival_int8", &r->handles[0], r->int8_why,
                 sizeof r->int8_why);
  r->f32 = load(folder, "openblas", "libopenblas-dev", "qr_rival_f32", &r->handles[1], r->f32_why,
                sizeof r->f32_why);
  if (r->int8) r->int8->about(r->int8_about, sizeof r->int8_about);
  if (r->f32) r->f32->about(r->f32_about, sizeof r->f32_about);
}

void qr_rivals_unload(qr_rivals_t *r) {
  for (size_t i = 0; i < QR_ARRAY_CNT(r->handles); i++) {
    if (r->handles[i]) dlclose(r->handles[i]);
  }
  memset(r, 0, sizeof *r);
}
