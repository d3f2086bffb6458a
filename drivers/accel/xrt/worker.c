/* quarry-card: the process that holds one card. XRT and its emulation abort a process that they do
   not like, signal its whole group, change its environment and handlers, and can hang in a driver;
   here all that costs is this process, and the node starts another. It is started by the xrt driver
   alone, with a socket, a shared memory and a bitstream as descriptors 3, 4 and 5. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device.h"
#include "scratch.h"
#include "port/clock.h"

#define EXIT_CHILD 90 /* the emulated card's device process ended */
#define POLL_NS 100000L
#define SENSE_NS 2000000000ull
#define MEASURE_MAX_SZ (256u << 20)
#define PATH_SZ 512u

enum part_state { PART_EMPTY, PART_BROUGHT, PART_RUNS };

typedef struct {
  enum part_state state[QR_XRT_PART_CNT];
  uint32_t order[QR_XRT_PART_CNT], cnt; /* parts in the order in which they came */
  uint64_t brought_ns[QR_XRT_PART_CNT], started_ns[QR_XRT_PART_CNT];
} lane_t;

typedef struct {
  qr_xrt_device_cfg_t cfg;
  const char *tree, *mode; /* emulation */
  bool reset, look, is_attached, must_end;
  char scratch[QR_XRT_SCRATCH_SZ];
  uint8_t *base;
  qr_xrt_share_t *share;
  qr_xrt_device_t *dev;
  lane_t lanes[QR_XRT_SLOT_MAX_CNT];
  uint64_t sensed_ns;
} worker_t;

static worker_t g_worker;

/* ---- talking to the driver ---- */

static void say(const qr_xrt_msg_t *m) {
  while (send(QR_XRT_FD_SOCKET, m, sizeof *m, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

static void say_kind(enum qr_xrt_msg_kind kind) { say(&(qr_xrt_msg_t){.kind = kind}); }

static _Noreturn void give_up(const char *fmt, ...) QR_PRINTF(1, 2);
static _Noreturn void give_up(const char *fmt, ...) {
  qr_xrt_msg_t m = {.kind = QR_XRT_FAILED};
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(m.text, sizeof m.text, fmt, ap);
  va_end(ap);
  say(&m);
  _exit(1);
}

/* When the node is gone, however it went and whatever XRT is doing here, so is this process. */
static void *watch(void *arg) {
  struct pollfd p = {.fd = QR_XRT_FD_SOCKET, .events = POLLRDHUP};
  (void)arg;
  while (poll(&p, 1, -1) < 0 && errno == EINTR) {
  }
  qr_xrt_scratch_remove(g_worker.scratch);
  _exit(0);
}

static void on_child(int sig) {
  (void)sig;
  _exit(EXIT_CHILD);
}

/* ---- environment ---- */

static bool there(const char *fmt, ...) QR_PRINTF(1, 2);
static bool there(const char *fmt, ...) {
  char path[2 * PATH_SZ];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(path, sizeof path, fmt, ap);
  va_end(ap);
  return !access(path, R_OK);
}

static void set_path(const char *name, const char *tree, const char *sub) {
  char path[2 * PATH_SZ];
  snprintf(path, sizeof path, "%s%s", tree, sub);
  setenv(name, path, 1);
}

static void write_ini(void) {
  FILE *f = fopen("xrt.ini", "we");
  if (!f) give_up("%s cannot be written: %s", g_worker.scratch, strerror(errno));
  fputs("[Runtime]\nruntime_log=console\nverbosity=4\n[Emulation]\nprint_infos_in_console=false\n",
        f);
  fclose(f);
  setenv("XRT_INI_PATH", "xrt.ini", 1);
}

static void prepare_emulation(const char *tree, const char *mode) {
  const char *lib = strcmp(mode, "hw_emu") ? "libxrt_swemu.so.2" : "libxrt_hwemu.so.2";
  setenv("XCL_EMULATION_MODE", mode, 1);
  setenv("USER", strrchr(g_worker.scratch, '/') + 1, 1);
  setenv("EMCONFIG_PATH", tree, 1);
  set_path("XILINX_XRT", tree, "/xrt");
  set_path("XILINX_VITIS", tree, "/vitis");
  write_ini();
  if (!there("%s/xrt/lib/%s", tree, lib))
    give_up("%s/xrt/lib/%s is missing: build the target 'emu', see %s/xrt/skipped if it is there",
            tree, lib, tree);
}

/* XRT aborts the process if what it wants to load is not where XILINX_XRT says. */
static void prepare_card(void) {
  unsetenv("XCL_EMULATION_MODE");
  const char *xrt = getenv("XILINX_XRT");
  if (!xrt) {
    xrt = "/opt/xilinx/xrt";
    setenv("XILINX_XRT", xrt, 1);
  }
  if (!there("%s/lib/libxrt_core.so.2", xrt))
    give_up("XRT is not installed at %s: install the card vendor's xrt package, or set XILINX_XRT",
            xrt);
}

static void prepare(worker_t *w, int argc, char **argv) {
  static const struct option options[] = {{"card", 1, NULL, 'c'},
                                          {"emulate", 1, NULL, 'e'},
                                          {"mode", 1, NULL, 'm'},
                                          {"fault", 1, NULL, 'f'},
                                          {"reset", 0, NULL, 'r'},
                                          {"look", 0, NULL, 'l'},
                                          {0}};
  int o;
  w->mode = "sw_emu";
  while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
    switch (o) {
    case 'c': w->cfg.card = optarg; break;
    case 'e': w->tree = optarg; break;
    case 'm': w->mode = optarg; break;
    case 'f': setenv("QUARRY_EMU_FAULT", optarg, 1); break;
    case 'r': w->reset = true; break;
    case 'l': w->look = true; break;
    default: _exit(2);
    }
  }
  struct stat st;
  if (!w->cfg.card || fstat(QR_XRT_FD_SOCKET, &st) || !S_ISSOCK(st.st_mode)) {
    fprintf(stderr,
            "quarry-card is started by the node itself; see quarryd --help, accel.driver\n");
    _exit(2);
  }
  if (!getcwd(w->scratch, sizeof w->scratch)) _exit(2);
  w->cfg.is_emulated = w->tree != NULL;
  w->cfg.syncs_from_start = w->tree && !strcmp(w->mode, "hw_emu");
}

static void map_share(worker_t *w, size_t sz) {
  void *p = mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_SHARED, QR_XRT_FD_SHARE, 0);
  if (p == MAP_FAILED) give_up("no memory");
  w->base = p;
  w->share = p;
}

/* ---- opening ---- */

static void load_bitstream(worker_t *w) {
  char why[sizeof((qr_xrt_msg_t *)0)->text] = "";
  struct stat st;
  if (fstat(QR_XRT_FD_BITSTREAM, &st)) give_up("started without a bitstream");
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, QR_XRT_FD_BITSTREAM, 0);
  if (p == MAP_FAILED) give_up("no memory for the bitstream");
  if (qr_xrt_device_load(w->dev, p, w->share, why, sizeof why)) give_up("%s", why);
  munmap(p, (size_t)st.st_size);
  /* XRT's emulation put handlers of its own; from here on a lost device process ends this one */
  if (w->cfg.is_emulated) {
    static const int reset[] = {SIGSEGV, SIGFPE, SIGABRT, SIGUSR1};
    for (size_t i = 0; i < QR_ARRAY_CNT(reset); i++) signal(reset[i], SIG_DFL);
    struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGCHLD, &sa, NULL);
  }
  say_kind(QR_XRT_LOADED);
}

static void open_card(worker_t *w) {
  char why[sizeof((qr_xrt_msg_t *)0)->text] = "";
  if (qr_xrt_device_open(&w->cfg, w->reset, &w->share->info, &w->dev, why, sizeof why))
    give_up("%s", why);
  qr_xrt_device_sense(w->dev, &w->share->info);
  say_kind(QR_XRT_OPENED);
}

static void attach(worker_t *w) {
  char why[sizeof((qr_xrt_msg_t *)0)->text] = "";
  qr_xrt_sizes_t sizes = w->share->sizes;
  qr_xrt_layout_t at;
  qr_xrt_lay_out(&sizes, &at);
  munmap(w->base, QR_XRT_HEAD_SZ);
  map_share(w, at.sz);
  if (qr_xrt_device_attach(w->dev, w->base, &at, &sizes, why, sizeof why)) give_up("%s", why);
  w->share->info.keeps_replay = qr_xrt_device_keeps(w->dev);
  w->is_attached = true;
  say_kind(QR_XRT_ATTACHED);
}

/* ---- launches ---- */

/* Launch part of slot is over: err 0, or why. The lane forgets it. */
static void conclude(worker_t *w, uint32_t slot, int err, const char *why) {
  lane_t *lane = &w->lanes[slot];
  uint32_t part = lane->order[0];
  uint64_t now_ns = qr_clock_mono_ns();
  qr_xrt_msg_t m = {.kind = QR_XRT_DONE, .slot = slot, .part = part, .err = err ? -1 : 0};
  m.ns[1] = now_ns - lane->brought_ns[part];
  m.ns[0] = lane->started_ns[part] ? now_ns - lane->started_ns[part] : 0;
  qr_xrt_device_moved(w->dev, m.moved);
  snprintf(m.text, sizeof m.text, "%s", why);
  lane->state[part] = PART_EMPTY;
  lane->cnt--;
  memmove(lane->order, lane->order + 1, lane->cnt * sizeof lane->order[0]);
  say(&m);
}

static void take_in(worker_t *w, uint32_t slot, uint32_t part) {
  char why[sizeof((qr_xrt_msg_t *)0)->text] = "";
  if (!w->is_attached || slot >= w->share->sizes.slot_cnt || part >= QR_XRT_PART_CNT ||
      w->lanes[slot].state[part] != PART_EMPTY)
    give_up("a launch that cannot be");
  lane_t *lane = &w->lanes[slot];
  lane->order[lane->cnt++] = part;
  lane->brought_ns[part] = qr_clock_mono_ns();
  lane->started_ns[part] = 0;
  lane->state[part] = PART_BROUGHT;
  if (!qr_xrt_device_bring(w->dev, slot, part, why, sizeof why)) return;
  give_up("%s", why);
}

/* Starts what may start, ends what is over. Returns whether anything happened. */
static bool serve_lane(worker_t *w, uint32_t slot) {
  char why[sizeof((qr_xrt_msg_t *)0)->text] = "";
  lane_t *lane = &w->lanes[slot];
  if (!lane->cnt) return false;
  uint32_t part = lane->order[0];
  if (lane->state[part] == PART_BROUGHT) {
    lane->started_ns[part] = qr_clock_mono_ns();
    lane->state[part] = PART_RUNS;
    if (qr_xrt_device_start(w->dev, slot, part, why, sizeof why)) conclude(w, slot, -1, why);
    return true;
  }
  int state = qr_xrt_device_state(w->dev, slot, part, why, sizeof why);
  if (!state) return false;
  int err = state < 0 ? -1 : qr_xrt_device_take(w->dev, slot, part, why, sizeof why);
  conclude(w, slot, err, why);
  return true;
}

static void measure(worker_t *w, uint64_t sz) {
  qr_xrt_msg_t m = {.kind = QR_XRT_MEASURED, .value = sz};
  if (sz > MEASURE_MAX_SZ) sz = MEASURE_MAX_SZ;
  m.err = qr_xrt_device_measure(w->dev, (size_t)sz, m.ns, m.text, sizeof m.text);
  say(&m);
}

/* ---- the loop ---- */

static void handle(worker_t *w, const qr_xrt_msg_t *m) {
  switch (m->kind) {
  case QR_XRT_ATTACH: attach(w); break;
  case QR_XRT_RUN: take_in(w, m->slot, m->part); break;
  case QR_XRT_MEASURE: measure(w, m->value); break;
  case QR_XRT_QUIT: w->must_end = true; break;
  default: give_up("a message that cannot be");
  }
}

/* Waits for a message: not at all, a moment while launches run, or until the sensors are due. */
static void listen_driver(worker_t *w, bool worked, bool busy) {
  struct pollfd p = {.fd = QR_XRT_FD_SOCKET, .events = POLLIN};
  struct timespec ts = {0, worked ? 0 : POLL_NS};
  if (!busy && !worked) ts = (struct timespec){.tv_sec = (time_t)(SENSE_NS / 1000000000u)};
  if (ppoll(&p, 1, &ts, NULL) <= 0) return;
  qr_xrt_msg_t m;
  ssize_t n = recv(QR_XRT_FD_SOCKET, &m, sizeof m, MSG_DONTWAIT);
  if (n == (ssize_t)sizeof m) handle(w, &m);
}

static void loop(worker_t *w) {
  while (!w->must_end) {
    bool worked = false, busy = false;
    for (uint32_t i = 0; i < QR_XRT_SLOT_MAX_CNT; i++) {
      worked |= serve_lane(w, i);
      busy |= w->lanes[i].cnt > 0;
    }
    uint64_t now_ns = qr_clock_mono_ns();
    if (now_ns - w->sensed_ns >= SENSE_NS) {
      if (!w->cfg.is_emulated) qr_xrt_device_sense(w->dev, &w->share->info);
      w->sensed_ns = now_ns;
    }
    listen_driver(w, worked, busy);
  }
}

int main(int argc, char **argv) {
  worker_t *w = &g_worker;
  pthread_t thread;
  prepare(w, argc, argv);
  prctl(PR_SET_TIMERSLACK, 1000);
  map_share(w, QR_XRT_HEAD_SZ);
  if (w->share->magic != QR_XRT_MAGIC) give_up("started by another version");
  if (pthread_create(&thread, NULL, watch, NULL)) give_up("no thread");
  if (w->cfg.is_emulated)
    prepare_emulation(w->tree, w->mode);
  else
    prepare_card();
  open_card(w);
  if (!w->look) load_bitstream(w);
  loop(w);
  signal(SIGCHLD, SIG_DFL);
  qr_xrt_device_close(w->dev);
  _exit(0);
}
