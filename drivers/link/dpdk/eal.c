#include "drivers/link/dpdk/eal.h"

#include <errno.h>
#include <pthread.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define ARG_MAX_CNT 64
#define TEXT_SZ 2048

static enum {
  EAL_DOWN,
  EAL_UP,
  EAL_FAILED
} eal_state;                  /* DPDK lives once in a process, and as long */
static char runtime_dir[256]; /* of the telemetry socket, to be removed at the end */

typedef struct {
  char text[TEXT_SZ];
  size_t used;
  char *argv[ARG_MAX_CNT + 1];
  int argc;
} args_t;

static bool args_add(args_t *a, const char *arg, size_t sz) {
  if (a->argc == ARG_MAX_CNT || a->used + sz + 1 > sizeof a->text) return false;
  char *p = a->text + a->used;
  memcpy(p, arg, sz);
  p[sz] = 0;
  a->used += sz + 1;
  a->argv[a->argc++] = p;
  return true;
}

static bool args_add_words(args_t *a, const char *words) {
  for (;;) {
    words += strspn(words, " \t");
    size_t sz = strcspn(words, " \t");
    if (!sz) return true;
    if (!args_add(a, words, sz)) return false;
    words += sz;
  }
}

/* One lcore that floats over every CPU we may use: our threads are placed by us, not by EAL. */
static bool args_add_lcores(args_t *a, const cpu_set_t *allowed) {
  char text[1024];
  int n = snprintf(text, sizeof text, "--lcores=0@(");
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, allowed)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, allowed)) last++;
    n += snprintf(text + n, sizeof text - (size_t)n, "%d-%d,", cpu, last);
    if (n >= (int)sizeof text) return false;
    cpu = last;
  }
  text[n - 1] = ')';
  return args_add(a, text, (size_t)n);
}

static bool make_args(const qr_eal_cfg_t *cfg, const cpu_set_t *allowed, args_t *a) {
  char prefix[64], mem[48];
  *a = (args_t){.used = 0};
  snprintf(prefix, sizeof prefix, "--file-prefix=quarry-%ld", (long)getpid());
  snprintf(mem, sizeof mem, "--no-huge -m %u", cfg->mem_mib);
  bool ok = args_add_words(a, "quarry --no-shconf --log-level=4") && args_add_words(a, prefix) &&
            args_add_words(a, cfg->telemetry ? "" : "--no-telemetry") &&
            args_add_lcores(a, allowed);
  if (!cfg->huge) ok = ok && args_add_words(a, mem);
  if (cfg->pci[0])
    ok = ok && args_add_words(a, "-a") && args_add_words(a, cfg->pci);
  else
    ok = ok && args_add_words(a, "--no-pci");
  return ok && args_add_words(a, cfg->args);
}

static const char runtime_name[] = "RUNTIME_DIRECTORY";

static int init_with_directory(args_t *a, const char *dir) {
  const char *given = getenv(runtime_name);
  char *before = given ? strdup(given) : NULL;
  if (dir) setenv(runtime_name, dir, 1);
  int rv = rte_eal_init(a->argc, a->argv), err = rte_errno;
  if (before)
    setenv(runtime_name, before, 1);
  else
    unsetenv(runtime_name);
  free(before);
  rte_errno = err;
  return rv;
}

/* EAL insists on a directory although nothing is shared through it. It gets one of its own, for the
   length of its start: the usual places may be missing, forbidden (root of a user namespace is
   nobody outside) or named by an empty variable. */
static int init_in_own_directory(args_t *a) {
  char dir[] = "/tmp/quarry-dpdk-XXXXXX";
  bool made = mkdtemp(dir) != NULL;
  int rv = init_with_directory(a, made ? dir : NULL), err = rte_errno;
  if (made) {
    char used[256]; /* a few levels below dir */
    snprintf(used, sizeof used, "%s", rte_eal_get_runtime_dir());
    while (!strncmp(used, dir, sizeof dir - 1)) {
      (void)rmdir(used);
      *strrchr(used, '/') = 0;
    }
    (void)rmdir(dir);
  }
  rte_errno = err;
  return rv;
}

static void remove_runtime_dir(void) { (void)rmdir(runtime_dir); }

/* The telemetry socket stays where DPDK's tools look for it. Its directory goes with the process:
   what was registered first is called last, after DPDK has removed the socket. */
static int init_with_telemetry(args_t *a) {
  const char *xdg = getenv("XDG_RUNTIME_DIR"), *dir = "/var/run";
  if (geteuid() || access(dir, W_OK)) dir = xdg && *xdg && !access(xdg, W_OK) ? xdg : "/tmp";
  atexit(remove_runtime_dir);
  int rv = init_with_directory(a, dir);
  if (rv < 0) return rv;
  snprintf(runtime_dir, sizeof runtime_dir, "%s", rte_eal_get_runtime_dir());
  qr_log(QR_LOG_INFO, "net", "event=telemetry socket=%s/dpdk_telemetry.v2", runtime_dir);
  return rv;
}

int qr_eal_start(const qr_eal_cfg_t *cfg, char *why, size_t why_sz) {
  args_t a;
  cpu_set_t allowed;
  sigset_t all, before;
  if (eal_state == EAL_UP) return QR_OK;
  if (eal_state == EAL_FAILED) {
    snprintf(why, why_sz, "DPDK failed to start before in this process; start the process again");
    return QR_ERR_IO;
  }
  pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed);
  if (!make_args(cfg, &allowed, &a)) {
    snprintf(why, why_sz, "too many EAL arguments; shorten the link option eal=");
    return QR_ERR_ARG;
  }
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all,
                  &before); /* inherited by EAL's threads: signals stay with ours */
  int rv = cfg->telemetry ? init_with_telemetry(&a) : init_in_own_directory(&a), err = rte_errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
  eal_state = rv < 0 ? EAL_FAILED : EAL_UP;
  if (rv >= 0) return QR_OK;
  snprintf(
      why, why_sz, "DPDK does not start (%s); its own messages are above; %s", rte_strerror(err),
      cfg->huge ? "reserve huge pages (vm.nr_hugepages) or drop the link option huge=1"
                : "check the link option eal= and that there is memory for the packet buffers");
  return err == EACCES || err == EPERM ? QR_ERR_IO : QR_ERR_ARG;
}
