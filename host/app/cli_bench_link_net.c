/* unshare and veth pairs, as tools/run has them, but without a shell: by the ip command. */
#include "app/cli_bench_link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "emu/emu.h"

#define ARG_MAX_CNT 16

extern char **environ;

void qr_bench_fail(qr_bench_share_t *s, const char *fmt, ...) {
  if (atomic_exchange(&s->failed, 1)) return;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(s->why, sizeof s->why, fmt, ap);
  va_end(ap);
}

/* ---- commands ---- */

/* ip with words; what it says is not for the user. */
static bool ip(qr_bench_net_t *n, const char *fmt, ...) {
  char text[256], *argv[ARG_MAX_CNT + 1] = {(char *)"ip"}, *save = NULL;
  int argc = 1, status = -1;
  pid_t pid;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  char said[sizeof text];
  memcpy(said, text, sizeof said);
  for (char *w = strtok_r(text, " ", &save); w && argc < ARG_MAX_CNT;
       w = strtok_r(NULL, " ", &save))
    argv[argc++] = w;
  posix_spawn_file_actions_t to_null;
  posix_spawn_file_actions_init(&to_null);
  posix_spawn_file_actions_addopen(&to_null, 2, "/dev/null", O_WRONLY, 0);
  bool started = !posix_spawnp(&pid, "ip", &to_null, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&to_null);
  while (started && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (started && !status) return true;
  qr_bench_fail(n->share, "'ip %s' failed; the bench needs iproute2 and the kernel's veth", said);
  return false;
}

static bool switch_off(int fd, const char *iface, uint32_t what) {
  struct ethtool_value off = {.cmd = what};
  struct ifreq req = {.ifr_data = (char *)&off};
  snprintf(req.ifr_name, sizeof req.ifr_name, "%s", iface);
  return !ioctl(fd, SIOCETHTOOL, &req);
}

/* What the emulator sees is what a cable carries: frames of MTU size with their checksums. */
static bool plain(qr_bench_net_t *n, const char *iface) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool ok = fd >= 0 && switch_off(fd, iface, ETHTOOL_STSO) && switch_off(fd, iface, ETHTOOL_SGSO) &&
            switch_off(fd, iface, ETHTOOL_STXCSUM);
  if (fd >= 0) close(fd);
  if (!ok)
    qr_bench_fail(n->share, "cannot switch off the offloads of a veth (%s)", strerror(errno));
  return ok;
}

/* ---- namespaces ---- */

static bool put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0) close(fd);
  return ok;
}

static bool enter(qr_bench_net_t *n) {
  char map[64];
  unsigned uid = geteuid(), gid = getegid();
  if (!unshare(CLONE_NEWNET)) return true;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
    qr_bench_fail(
        n->share,
        "this system lets this user make no network namespace (%s); run as root, or: sudo "
        "sysctl -w kernel.unprivileged_userns_clone=1",
        strerror(errno));
    return false;
  }
  snprintf(map, sizeof map, "0 %u 1", uid);
  bool ok = put("/proc/self/setgroups", "deny") && put("/proc/self/uid_map", map);
  snprintf(map, sizeof map, "0 %u 1", gid);
  ok = ok && put("/proc/self/gid_map", map);
  if (!ok) qr_bench_fail(n->share, "cannot become root of a user namespace (%s)", strerror(errno));
  return ok;
}

/* A child with a network namespace of its own, which exists when this returns. 0 in the child. */
static pid_t fork_apart(qr_bench_net_t *n) {
  int made[2];
  char c = 0;
  if (pipe(made)) return -1;
  fflush(NULL);
  pid_t pid = fork();
  if (!pid) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWNET)) {
      qr_bench_fail(n->share, "cannot make a network namespace (%s)", strerror(errno));
      _exit(1);
    }
    c = (char)write(made[1], &c, 1);
    close(made[0]);
    close(made[1]);
    return 0;
  }
  close(made[1]);
  bool ok = pid > 0 && read(made[0], &c, 1) == 1;
  close(made[0]);
  return ok ? pid : -1;
}

/* ---- the emulator ---- */

static volatile sig_atomic_t stop_emulator;

static bool wait_for_iface(const char *name) {
  for (int i = 0; i < 5000; i++) {
    if (if_nametoindex(name)) return true;
    usleep(1000);
  }
  return false;
}

static void emulate(qr_bench_net_t *n, int in_fd, int out_fd) {
  static const char *const ifaces[] = {"e0", "e1", "e2", "e3"};
  char why[200] = "out of memory", text[160];
  qr_emu_cfg_t cfg = {.seed = 1, .room_mib = 128};
  qr_emu_t *e = qr_emu_open(&cfg, why, sizeof why);
  FILE *out = fdopen(out_fd, "w");
  bool ok = e && out;
  for (size_t i = 0; ok && i < QR_ARRAY_CNT(ifaces); i++) {
    ok = wait_for_iface(ifaces[i]) && ip(n, "link set %s up", ifaces[i]) &&
         !qr_emu_add_port(e, ifaces[i], why, sizeof why);
  }
  for (int i = 0; ok && i < 2; i++) {
    snprintf(text, sizeof text, "memif:%s/m%d", n->dir, i);
    ok = !qr_emu_add_port(e, text, why, sizeof why);
  }
  if (!ok) {
    qr_bench_fail(n->share, "the emulator does not start: %.180s", why);
    _exit(1);
  }
  fprintf(out, "ok\n");
  fflush(out);
  qr_emu_run(e, in_fd, out, &stop_emulator);
  qr_emu_close(e);
  _exit(0);
}

static bool answer(qr_bench_net_t *n) {
  char c, line[200];
  size_t sz = 0;
  while (read(n->answers, &c, 1) == 1 && c != '\n') {
    if (sz + 1 < sizeof line) line[sz++] = c;
  }
  line[sz] = 0;
  if (!strcmp(line, "ok")) return true;
  qr_bench_fail(n->share, "the emulator says '%s'", line);
  return false;
}

int qr_bench_net_command(qr_bench_net_t *n, const char *line) {
  size_t sz = strlen(line);
  bool ok = write(n->commands, line, sz) == (ssize_t)sz && write(n->commands, "\n", 1) == 1;
  return ok && answer(n) ? QR_OK : QR_ERR_IO;
}

static bool start_emulator(qr_bench_net_t *n) {
  int in[2], out[2];
  if (pipe(in) || pipe(out)) return false;
  n->emulator = fork_apart(n);
  if (n->emulator < 0) return false;
  if (!n->emulator) {
    close(in[1]);
    close(out[0]);
    emulate(n, in[0], out[1]);
  }
  close(in[0]);
  close(out[1]);
  n->commands = in[1];
  n->answers = out[0];
  return true;
}

/* ---- all together ---- */

/* Our end of a pair stays here, the other one goes to the process. */
static bool pair(qr_bench_net_t *n, const char *own, const char *other, pid_t to) {
  return ip(n, "link add %s type veth peer name %s", own, other) &&
         ip(n, "link set %s netns %d", other, (int)to);
}

/* Straight: t0-t1 for the kernel's sockets, n0-n1 for packet sockets. Emulated: each of the four
   ends has the emulator at its other one. */
static bool connect_all(qr_bench_net_t *n) {
  bool ok;
  if (n->emulated)
    ok = pair(n, "t0", "e0", n->emulator) && pair(n, "n0", "e2", n->emulator) &&
         pair(n, "t1", "e1", n->emulator) && pair(n, "n1", "e3", n->emulator) && plain(n, "t0") &&
         plain(n, "t1") && ip(n, "link set t1 netns %d", (int)n->server) &&
         ip(n, "link set n1 netns %d", (int)n->server);
  else
    ok = pair(n, "t0", "t1", n->server) && pair(n, "n0", "n1", n->server);
  return ok && ip(n, "link set lo up") && ip(n, "addr add 10.81.0.1/24 dev t0") &&
         ip(n, "link set t0 up") && ip(n, "link set n0 up");
}

static int run_server(qr_bench_net_t *n, int (*serve)(qr_bench_net_t *n)) {
  bool ok = wait_for_iface("n1") && wait_for_iface("t1") && ip(n, "link set lo up") &&
            ip(n, "addr add 10.81.0.2/24 dev t1") && ip(n, "link set t1 up") &&
            ip(n, "link set n1 up");
  if (ok) return serve(n);
  qr_bench_fail(n->share, "the server's interfaces did not come");
  return 1;
}

int qr_bench_net_open(qr_bench_net_t *n, int (*serve)(qr_bench_net_t *n)) {
  n->server = n->emulator = -1;
  n->commands = n->answers = -1;
  if (!enter(n)) return QR_ERR_UNSUPPORTED;
  n->server = fork_apart(n);
  if (!n->server) _exit(run_server(n, serve));
  bool ok = n->server > 0 && (!n->emulated || start_emulator(n)) && connect_all(n) &&
            (!n->emulated || answer(n));
  for (int i = 0; ok && i < 10000 && !atomic_load(&n->share->server_ready); i++) {
    ok = !atomic_load(&n->share->failed);
    usleep(1000);
  }
  ok = ok && atomic_load(&n->share->server_ready);
  if (ok) return QR_OK;
  qr_bench_fail(n->share, "the bench's processes do not start");
  qr_bench_net_close(n);
  return QR_ERR_IO;
}

void qr_bench_net_close(qr_bench_net_t *n) {
  atomic_store(&n->share->ended, 1);
  if (n->commands >= 0) close(n->commands);
  if (n->answers >= 0) close(n->answers);
  pid_t pids[] = {n->server, n->emulator};
  for (int i = 0; i < 2; i++) {
    if (pids[i] <= 0) continue;
    for (int k = 0; k < 200 && waitpid(pids[i], NULL, WNOHANG) == 0; k++) {
      if (k == 100) (void)kill(pids[i], SIGKILL);
      usleep(10000);
    }
  }
}
