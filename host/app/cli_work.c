#include "app/cli_work.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "port/clock.h"

#define BAR_NS 100000000ull   /* between two drawings */
#define LINE_NS 5000000000ull /* between two lines, and before the first */
#define BAR_CNT 24

static atomic_int g_signals;

static struct {
  const char *what;
  uint64_t began_ns, shown_ns;
  bool drawn;
} g_work;

static void on_signal(int sig) {
  if (atomic_fetch_add(&g_signals, 1) && sig == SIGINT) _exit(QR_CLI_INTERRUPTED);
}

void qr_cli_work_begin(void) {
  struct sigaction sa = {.sa_handler = on_signal};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
}

bool qr_cli_work_stopped(void) {
  return atomic_load_explicit(&g_signals, memory_order_relaxed) != 0;
}

const char *qr_cli_size(uint64_t sz, char out[24]) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
  double v = (double)sz;
  size_t u = 0;
  for (; v >= 1000 && u + 1 < QR_ARRAY_CNT(units); u++) v /= 1000;
  snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", v, units[u]);
  return out;
}

static void amount(uint64_t n, enum qr_cli_unit unit, char *out, size_t out_sz) {
  static const char *const names[] = {"", " blocks", " segments", " s"};
  char size[24];
  if (unit == QR_CLI_BYTES)
    snprintf(out, out_sz, "%s", qr_cli_size(n, size));
  else
    snprintf(out, out_sz, "%llu%s", (unsigned long long)n, names[unit]);
}

static void describe(uint64_t done, uint64_t total, enum qr_cli_unit unit, uint64_t took_ns,
                     char *out, size_t out_sz) {
  char now[48], all[48], left[48] = "";
  amount(done, unit, now, sizeof now);
  amount(total, unit, all, sizeof all);
  if (!total) {
    snprintf(out, out_sz, "%s", now);
    return;
  }
  if (done && took_ns > 1000000000u) {
    double s = (double)took_ns / 1e9 * (double)(total - done) / (double)done;
    snprintf(left, sizeof left, ", %.0f s left", s);
  }
  snprintf(out, out_sz, "%3.0f %%  %s of %s%s", 100.0 * (double)done / (double)total, now, all,
           left);
}

void qr_cli_work_show(const char *what, uint64_t done, uint64_t total, enum qr_cli_unit unit) {
  static int tty = -1;
  char text[160], bar[BAR_CNT + 1] = "";
  uint64_t now = qr_clock_mono_ns();
  if (tty < 0) tty = isatty(STDERR_FILENO);
  if (what != g_work.what) {
    g_work.what = what;
    g_work.began_ns = now;
    g_work.shown_ns = tty ? 0 : now;
  }
  if (now - g_work.shown_ns < (tty ? BAR_NS : LINE_NS)) return;
  g_work.shown_ns = now;
  if (total && done > total) done = total;
  describe(done, total, unit, now - g_work.began_ns, text, sizeof text);
  if (!tty) {
    fprintf(stderr, "quarry: %s: %s\n", what, text);
    return;
  }
  int full = total ? (int)((double)done / (double)total * BAR_CNT) : 0;
  for (int i = 0; i < BAR_CNT; i++) bar[i] = i < full ? '#' : '.';
  fprintf(stderr, "\r\033[K%-10s [%s] %s", what, bar, text);
  fflush(stderr);
  g_work.drawn = true;
}

static struct {
  const char *what;
  uint64_t began_ns;
} g_wait;

void qr_cli_work_wait(const char *what) {
  g_wait.what = what;
  g_wait.began_ns = qr_clock_mono_ns();
  if (!what) qr_cli_work_clear();
}

void qr_cli_work_tick(void) {
  if (g_wait.what)
    qr_cli_work_show(g_wait.what, (qr_clock_mono_ns() - g_wait.began_ns) / 1000000000u, 0,
                     QR_CLI_SECONDS);
}

void qr_cli_work_clear(void) {
  if (g_work.drawn) fputs("\r\033[K", stderr);
  fflush(stderr);
  g_work.drawn = false;
  g_work.what = NULL;
}
