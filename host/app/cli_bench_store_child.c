#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/cli_bench_store.h"
#include "app/cli_work.h"
#include "base/err.h"

static void fill(const qr_store_ops_t *ops, const char *options, const char *dir,
                 uint32_t block_cnt, bool killed, qr_store_child_t *out) {
  uint64_t before = 0, after = 0;
  double ms;
  qr_store_t *s = NULL;
  qr_store_load_t *l = qr_store_load_make();
  out->err = l ? QR_OK : QR_ERR_NOMEM;
  out->counted = qr_store_files_written(&before);
  if (!out->err) out->err = ops->open(dir, options, &s, out->why, sizeof out->why);
  for (uint64_t h = 1; !out->err && h <= block_cnt; h++) {
    qr_cli_work_show("filling", h, block_cnt, QR_CLI_BLOCKS);
    out->err = qr_cli_work_stopped() ? QR_ERR_CANCELLED : qr_store_load_commit(l, ops, s, h, &ms);
    out->given_sz += qr_store_load_block_sz();
  }
  if (killed && !out->err) return; /* as it is */
  if (s) ops->close(s);
  s = NULL;
  if (!out->err) out->err = ops->open(dir, options, &s, out->why, sizeof out->why);
  if (s) ops->close(s);
  out->counted &= qr_store_files_written(&after);
  out->written_sz = after - before;
  qr_store_load_free(l);
}

/* What the child tells; it is asked to end early if this process is. */
static ssize_t take(int fd, void *buf, size_t sz, pid_t child) {
  size_t done = 0;
  while (done < sz) {
    ssize_t n = read(fd, (uint8_t *)buf + done, sz - done);
    if (n < 0 && errno == EINTR) {
      if (qr_cli_work_stopped()) (void)kill(child, SIGTERM);
      continue;
    }
    if (n <= 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

void qr_store_child_run(const qr_store_ops_t *ops, const char *options, const char *dir,
                        uint32_t block_cnt, bool killed, qr_store_child_t *out) {
  int ends[2];
  memset(out, 0, sizeof *out);
  out->err = QR_ERR_IO;
  snprintf(out->why, sizeof out->why, "cannot start a process for a store");
  if (pipe(ends)) return;
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0) {
    close(ends[0]);
    close(ends[1]);
    return;
  }
  if (!pid) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    qr_store_child_t told = {0};
    fill(ops, options, dir, block_cnt, killed, &told);
    if (write(ends[1], &told, sizeof told) != (ssize_t)sizeof told) _exit(1);
    while (killed && !told.err) pause();
    _exit(0);
  }
  close(ends[1]);
  qr_store_child_t told;
  if (take(ends[0], &told, sizeof told, pid) == (ssize_t)sizeof told)
    *out = told;
  else
    snprintf(out->why, sizeof out->why, "the process with the store has ended early");
  if (killed) (void)kill(pid, SIGKILL);
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(ends[0]);
}
