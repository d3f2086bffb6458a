/* A sandbox that forbids io_uring: the store works on RocksDB's own files, and says so in one line.
   What forbids it is a filter on a child's system calls; the child is this program again. */
#include "unit/store_numbered.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/log.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

/* io_uring_setup, enter and register follow each other on every architecture. */
static bool forbid_io_uring(int err, uint32_t first, uint32_t last) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog prog = {.len = QR_ARRAY_CNT(code), .filter = code};
  return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
         !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Child: opens the store twice under the filter, writes and reads; the log goes to fd 1. */
static int child(const char *dir, int err, bool only_enter) {
  bench_t b = {.ops = qr_store_driver("rocksdb"), .options = ""};
  char why[NUMBERED_WHY_SZ];
  uint64_t tip;
  uint32_t first = only_enter ? SYS_io_uring_enter : SYS_io_uring_setup;
  if (!ARCH || !forbid_io_uring(err, first, SYS_io_uring_register)) return 77;
  snprintf(b.dir, sizeof b.dir, "%s", dir);
  for (uint64_t round = 0; round < 2; round++) {
    if (bench_try_open(&b, b.options, why, sizeof why)) return 2;
    for (uint64_t n = round * 10 + 1; n <= round * 10 + 10; n++) {
      if (numbered_commit(&b, n) || bench_wait(&b).err) return 3;
    }
    if (!numbered_check(&b, round * 10 + 10, round * 10 + 10, &tip, why)) return 4;
    bench_close(&b);
  }
  return 0;
}

static size_t run_child(const bench_t *b, int err, bool only_enter, char *log, size_t log_sz,
                        int *status) {
  char err_text[16];
  int fds[2];
  snprintf(err_text, sizeof err_text, "%d", err);
  assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (!pid) {
    dup2(fds[1], STDOUT_FILENO);
    execl("/proc/self/exe", "self", b->dir, err_text, only_enter ? "enter" : "all", (char *)NULL);
    _exit(127);
  }
  close(fds[1]);
  size_t sz = 0;
  for (ssize_t n; (n = read(fds[0], log + sz, log_sz - 1 - sz)) > 0;) sz += (size_t)n;
  log[sz] = 0;
  close(fds[0]);
  assert_int_equal(waitpid(pid, status, 0), pid);
  return sz;
}

static uint32_t count(const char *text, const char *what) {
  uint32_t cnt = 0;
  for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) cnt++;
  return cnt;
}

static void test_refused_ring(void **state) {
  const qr_store_ops_t *ops = qr_store_driver("rocksdb");
  (void)state;
  if (!ops) skip();
  static const struct {
    int err;
    bool only_enter;
  } cases[] = {{EPERM, false}, {ENOSYS, false}, {EPERM, true}};
  for (size_t i = 0; i < QR_ARRAY_CNT(cases); i++) {
    static char log[65536];
    char why[NUMBERED_WHY_SZ];
    bench_t b;
    uint64_t tip;
    int status;
    bench_begin(&b, ops);
    run_child(&b, cases[i].err, cases[i].only_enter, log, sizeof log, &status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
      print_message("skipped: this system takes no filter of system calls\n");
      bench_remove(&b);
      skip();
    }
    if (status) fail_msg("child ended with %x; its log: %s", status, log);
    if (count(log, "event=io-uring-refused") != 2 || count(log, "\n") != 2)
      fail_msg("not one line for each open: %s", log); /* the child opens twice */
    /* what was written on the one is read on the other */
    b.options = "io=uring";
    bench_open(&b);
    if (!numbered_check(&b, 20, 20, &tip, why)) fail_msg("%s", why);
    bench_close(&b);
    bench_remove(&b);
  }
}

int main(int argc, char **argv) {
  if (argc == 4) {
    qr_log_init(QR_LOG_INFO, STDOUT_FILENO);
    return child(argv[1], atoi(argv[2]), !strcmp(argv[3], "enter"));
  }
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused_ring)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
