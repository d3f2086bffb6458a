#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "card.h"

#define END_WAIT_MS 3000u /* for a card to be given back in good order */
#define END_WAIT_HW_EMU_MS 30000u
#define KILL_WAIT_MS 200u /* longer only if it hangs in the kernel's driver */
#define FD_MIN 16         /* above those that the process gets */

_Static_assert(sizeof(qr_xrt_share_t) <= QR_XRT_HEAD_SZ, "the head is mapped before the rest");

/* ---- shared memory ---- */

static int map_share(qr_xrt_card_t *c, size_t sz) {
  if (c->base) munmap(c->base, c->base_sz);
  c->base = NULL;
  if (ftruncate(c->share_fd, (off_t)sz)) return QR_ERR_NOMEM;
  void *p = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED, c->share_fd, 0);
  if (p == MAP_FAILED) return QR_ERR_NOMEM;
  c->base = p;
  c->base_sz = sz;
  return QR_OK;
}

int qr_xrt_process_share(qr_xrt_card_t *c) {
  const qr_xrt_common_t *common = c->common;
  qr_xrt_lay_out(&common->sizes, &c->at);
  int err = map_share(c, c->at.sz);
  if (err) return err;
  qr_xrt_share_t *s = (qr_xrt_share_t *)c->base;
  s->sizes = common->sizes;
  for (uint32_t i = 0; i < common->prog_cnt; i++)
    memcpy(c->base + c->at.prog[i], &common->progs[i].prog, sizeof common->progs[i].prog);
  for (uint32_t i = 0; i < common->sizes.slot_cnt; i++) {
    qr_xrt_areas_t *a = &c->areas[i];
    *a = (qr_xrt_areas_t){.launch = s->launch[i],
                          .custom = c->base + c->at.slot[i].custom,
                          .model = c->base + c->at.slot[i].model,
                          .s8 = c->base + c->at.slot[i].s8,
                          .s32 = c->base + c->at.slot[i].s32,
                          .sizes = common->sizes};
    for (uint32_t p = 0; p < common->prog_cnt; p++)
      a->table[p] = (uint32_t *)(c->base + c->at.slot[i].table[p]);
    for (uint32_t p = 0; p < QR_XRT_PART_CNT; p++) {
      a->part[p].pool = c->base + c->at.slot[i].part[p].pool;
      a->part[p].job = c->base + c->at.slot[i].part[p].job;
      a->part[p].out = c->base + c->at.slot[i].part[p].out;
    }
  }
  return QR_OK;
}

static int make_share(qr_xrt_card_t *c) {
  if (c->base) return QR_OK;
  c->share_fd = memfd_create("quarry-card", MFD_CLOEXEC);
  if (c->share_fd < 0) return QR_ERR_NOMEM;
  int err = c->common->has_sizes ? qr_xrt_process_share(c) : map_share(c, QR_XRT_HEAD_SZ);
  if (err) return err;
  qr_xrt_share_t *s = (qr_xrt_share_t *)c->base;
  s->magic = QR_XRT_MAGIC;
  s->engine_cnt = c->common->engine_cnt;
  memcpy(s->engines, c->common->engines, sizeof s->engines);
  return QR_OK;
}

void qr_xrt_process_unshare(qr_xrt_card_t *c) {
  if (c->base) munmap(c->base, c->base_sz);
  if (c->share_fd >= 0) close(c->share_fd);
  c->base = NULL;
  c->share_fd = -1;
}

/* ---- starting ---- */

static int copy_above(int fd) { return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN); }

/* Descriptors for the process, copies out of the way of the numbers that they get. */
typedef struct {
  int sock, share, lock, bits;
} files_t;

static void describe_files(posix_spawn_file_actions_t *f, const qr_xrt_card_t *c,
                           const files_t *files) {
  posix_spawn_file_actions_addchdir_np(f, c->scratch);
  posix_spawn_file_actions_addopen(f, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(f, 1, QR_XRT_LOG_NAME, O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(f, 1, 2);
  posix_spawn_file_actions_adddup2(f, files->sock, QR_XRT_FD_SOCKET);
  posix_spawn_file_actions_adddup2(f, files->share, QR_XRT_FD_SHARE);
  posix_spawn_file_actions_adddup2(f, files->lock, QR_XRT_FD_LOCK);
  if (files->bits >= 0) posix_spawn_file_actions_adddup2(f, files->bits, QR_XRT_FD_BITSTREAM);
  posix_spawn_file_actions_addclosefrom_np(f, QR_XRT_FD_BITSTREAM + (files->bits >= 0));
}

static size_t make_args(const qr_xrt_card_t *c, const char *args[13]) {
  const qr_xrt_options_t *o = &c->common->options;
  size_t n = 0;
  args[n++] = o->worker;
  args[n++] = "--card";
  args[n++] = c->arg;
  if (o->emulate) {
    args[n++] = "--emulate";
    args[n++] = o->tree;
    args[n++] = "--mode";
    args[n++] = o->mode;
  }
  if (*o->fault) {
    args[n++] = "--fault";
    args[n++] = o->fault;
  }
  if (c->must_reset) args[n++] = "--reset";
  if (c->common->bitstream_fd < 0) args[n++] = "--look";
  args[n] = NULL;
  return n;
}

/* Signals as a new process has them: threads of a node block theirs. In a session of its own,
   because XRT's emulation signals its whole group. */
static int spawn(qr_xrt_card_t *c, const files_t *fds) {
  extern char **environ;
  const char *args[13];
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attr;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  if (posix_spawn_file_actions_init(&files)) return ENOMEM;
  if (posix_spawnattr_init(&attr)) {
    posix_spawn_file_actions_destroy(&files);
    return ENOMEM;
  }
  describe_files(&files, c, fds);
  make_args(c, args);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setsigdefault(&attr, &all);
  posix_spawnattr_setflags(&attr,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int err = posix_spawn(&c->pid, args[0], &files, &attr, (char *const *)args, environ);
  if (err) c->pid = 0;
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&files);
  return err;
}

int qr_xrt_process_start(qr_xrt_card_t *c, char *why, size_t why_sz) {
  int pair[2], err = make_share(c);
  if (!err) err = qr_xrt_scratch_make(c->scratch, &c->scratch_fd);
  if (err || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
    snprintf(why, why_sz, "no memory, or no folder in /tmp, for the card's process");
    return QR_ERR_IO;
  }
  files_t fds = {copy_above(pair[1]), copy_above(c->share_fd), copy_above(c->scratch_fd),
                 copy_above(c->common->bitstream_fd)};
  err = fds.sock < 0 || fds.share < 0 || fds.lock < 0 ? EMFILE : spawn(c, &fds);
  const int copies[] = {fds.sock, fds.share, fds.lock, fds.bits};
  for (size_t i = 0; i < QR_ARRAY_CNT(copies); i++) {
    if (copies[i] >= 0) close(copies[i]);
  }
  close(pair[1]);
  c->sock = pair[0];
  if (!err) return QR_OK;
  snprintf(why, why_sz, "%s cannot be started: %s", c->common->options.worker, strerror(err));
  qr_xrt_process_end(c, false);
  return QR_ERR_IO;
}

/* ---- ending ---- */

static bool reaped(pid_t pid, uint32_t wait_ms) {
  for (uint32_t ms = 0;; ms++) {
    struct timespec ts = {0, 1000000};
    if (waitpid(pid, NULL, WNOHANG)) return true;
    if (ms == wait_ms) return false;
    nanosleep(&ts, NULL);
  }
}

bool qr_xrt_process_gone(qr_xrt_card_t *c) {
  if (c->undead && reaped(c->undead, 0)) c->undead = 0;
  return !c->undead;
}

void qr_xrt_process_end(qr_xrt_card_t *c, bool in_order) {
  qr_xrt_msg_t quit = {.kind = QR_XRT_QUIT};
  bool is_slow = !strcmp(c->common->options.mode, "hw_emu");
  if (in_order && c->pid && c->sock >= 0 &&
      send(c->sock, &quit, sizeof quit, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof quit &&
      reaped(c->pid, is_slow ? END_WAIT_HW_EMU_MS : END_WAIT_MS))
    c->pid = 0;
  if (c->pid) {
    kill(-c->pid, SIGKILL); /* it leads a group of its own, the emulated card is in it */
    kill(c->pid, SIGKILL);
    if (!reaped(c->pid, KILL_WAIT_MS)) c->undead = c->pid;
    c->pid = 0;
  }
  if (c->sock >= 0) close(c->sock);
  c->sock = -1;
  if (*c->scratch) qr_xrt_scratch_remove(c->scratch);
  if (c->scratch_fd >= 0) close(c->scratch_fd);
  c->scratch_fd = -1;
  c->scratch[0] = 0;
}
