#include "app/bench_machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void read_cpu(char *out, size_t sz) {
  char line[256];
  snprintf(out, sz, "unknown");
  FILE *f = fopen("/proc/cpuinfo", "r");
  if (!f) return;
  while (fgets(line, sizeof line, f)) {
    char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) || !colon) continue;
    line[strcspn(line, "\n")] = 0;
    snprintf(out, sz, "%s", colon + strspn(colon, ": \t"));
    break;
  }
  fclose(f);
}

static uint32_t allowed_cores(uint32_t otherwise) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return otherwise; /* more than the set has room for */
  int n = CPU_COUNT(&set);
  return n > 0 ? (uint32_t)n : otherwise;
}

void qr_bench_machine(qr_bench_machine_t *m) {
  struct utsname u;
  memset(m, 0, sizeof *m);
  read_cpu(m->cpu, sizeof m->cpu);
  if (!uname(&u)) snprintf(m->os, sizeof m->os, "%.40s %.50s", u.sysname, u.release);
#if defined(__clang__)
  snprintf(m->compiler, sizeof m->compiler, "clang %s", __clang_version__);
#else
  snprintf(m->compiler, sizeof m->compiler, "gcc %s", __VERSION__);
#endif
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
  m->optimised = true;
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  m->core_cnt = online > 0 ? (uint32_t)online : 1;
  m->allowed_core_cnt = allowed_cores(m->core_cnt);
  if (getloadavg(&m->load_1min, 1) < 1) m->load_1min = 0;
}
