#include "card.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "emu_kernel.h"

#define UNIT_MAX_CNT 16u
#define NAME_SZ 64u
#define XML_MAX_SZ (1 << 20)
#define MEMORY_MAX_SZ (1ull << 38)
#define AP_START 1u
#define AP_DONE 2u
#define AP_IDLE 4u
#define READ_WAIT_NS 500000L /* a read of a busy unit's control word takes so long at most */
#define NICENESS 10          /* a card would not take the host's cores */

typedef struct {
  char kernel[NAME_SZ], name[NAME_SZ];
  uint64_t base;
  const qr_emu_kernel_t *code;
  qr_emu_card_t *card;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  bool must_run, is_running, must_end;
  uint64_t run_cnt;
  uint8_t regs[QR_EMU_WINDOW_SZ];
} unit_t;

struct qr_emu_card {
  uint8_t *mem;
  uint64_t mem_sz;
  void *so;
  uint32_t unit_cnt;
  unit_t units[UNIT_MAX_CNT];
  char fault; /* w, h, d or 0 */
  uint64_t fault_every;
  uint64_t wrong_at; /* card address that the last run's fault hits */
};

/* ---- memory ---- */

qr_emu_card_t *qr_emu_card_make(const char *fault) {
  static const char *const known[] = {"wrong:", "hang:", "die:"};
  qr_emu_card_t *c = calloc(1, sizeof *c);
  if (!c || !fault || !*fault) return c;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t n = strlen(known[i]);
    if (strncmp(fault, known[i], n)) continue;
    c->fault = *fault;
    c->fault_every = strtoull(fault + n, NULL, 10);
  }
  if (c->fault_every) return c;
  free(c);
  return NULL;
}

bool qr_emu_card_memory(qr_emu_card_t *c, uint64_t sz) {
  if (c->mem) return sz <= c->mem_sz;
  if (!sz || sz > MEMORY_MAX_SZ) return false;
  void *p =
      mmap(NULL, sz, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  c->mem = p;
  c->mem_sz = sz;
  return true;
}

void *qr_emu_card_at(qr_emu_card_t *c, uint64_t addr, uint64_t sz) {
  return c->mem && addr <= c->mem_sz && sz <= c->mem_sz - addr ? c->mem + addr : NULL;
}

static void *at(void *ctx, uint64_t addr, uint64_t sz) {
  qr_emu_card_t *c = ctx;
  c->wrong_at = addr + sz / 2;
  return qr_emu_card_at(c, addr, sz);
}

/* ---- compute units ---- */

static void set_control(unit_t *u, uint32_t v) { memcpy(u->regs, &v, sizeof v); }

/* Before a run: whether it is one that the fault asked for falls on. */
static char fault_of(const unit_t *u) {
  const qr_emu_card_t *c = u->card;
  return c->fault && u->run_cnt % c->fault_every == 0 ? c->fault : 0;
}

/* One run, without the lock: the host does not write registers of a unit that runs. */
static void run(unit_t *u) {
  qr_emu_mem_t mem = {u->card, at};
  char fault = fault_of(u);
  if (fault == 'd') raise(SIGKILL);
  while (fault == 'h') pause();
  if (u->code->run(&mem, u->regs))
    fprintf(stderr, "emulated card: %s was given buffers outside the card's memory\n", u->name);
  else if (fault == 'w')
    *(uint8_t *)qr_emu_card_at(u->card, u->card->wrong_at, 1) ^= 4u;
}

static void *unit_thread(void *arg) {
  unit_t *u = arg;
  setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
  pthread_mutex_lock(&u->lock);
  for (;;) {
    while (!u->must_run && !u->must_end) pthread_cond_wait(&u->start, &u->lock);
    if (u->must_end) break;
    u->must_run = false;
    u->is_running = true;
    u->run_cnt++;
    pthread_mutex_unlock(&u->lock);
    run(u);
    pthread_mutex_lock(&u->lock);
    u->is_running = false;
    set_control(u, AP_DONE | AP_IDLE);
    pthread_cond_broadcast(&u->done);
  }
  pthread_mutex_unlock(&u->lock);
  return NULL;
}

void qr_emu_card_clear(qr_emu_card_t *c) {
  for (uint32_t i = 0; i < c->unit_cnt; i++) {
    unit_t *u = &c->units[i];
    pthread_mutex_lock(&u->lock);
    u->must_end = true;
    pthread_cond_signal(&u->start);
    pthread_mutex_unlock(&u->lock);
    pthread_join(u->thread, NULL);
    pthread_cond_destroy(&u->start);
    pthread_cond_destroy(&u->done);
    pthread_mutex_destroy(&u->lock);
  }
  c->unit_cnt = 0;
  if (c->so) dlclose(c->so);
  c->so = NULL;
}

static bool start_unit(qr_emu_card_t *c, const qr_emu_kernel_t *table, const unit_t *what) {
  unit_t *u = &c->units[c->unit_cnt];
  *u = *what;
  u->card = c;
  for (const qr_emu_kernel_t *k = table; k->name; k++) {
    if (!strcmp(k->name, u->kernel)) u->code = k;
  }
  if (!u->code) {
    fprintf(stderr, "emulated card: the bitstream has no kernel %s\n", u->kernel);
    return false;
  }
  set_control(u, AP_IDLE);
  pthread_mutex_init(&u->lock, NULL);
  pthread_cond_init(&u->start, NULL);
  pthread_cond_init(&u->done, NULL);
  if (pthread_create(&u->thread, NULL, unit_thread, u)) return false;
  c->unit_cnt++;
  return true;
}

/* ---- the XML that comes with a bitstream ---- */

static char *read_text(const char *path) {
  FILE *f = fopen(path, "re");
  char *text = calloc(1, XML_MAX_SZ + 1);
  size_t n = f && text ? fread(text, 1, XML_MAX_SZ, f) : 0;
  if (f) fclose(f);
  if (n && n < XML_MAX_SZ && !memchr(text, 0, n)) return text;
  free(text);
  return NULL;
}

/* Value of attribute name of the tag at s; false if it has none, or a longer one. */
static bool attribute(const char *s, const char *name, char *out, size_t out_sz) {
  char wanted[NAME_SZ];
  const char *end = strchr(s, '>');
  snprintf(wanted, sizeof wanted, " %s=\"", name);
  const char *p = strstr(s, wanted);
  if (!p || !end || p > end) return false;
  p += strlen(wanted);
  size_t n = strcspn(p, "\"");
  if (n >= out_sz || p + n > end) return false;
  memcpy(out, p, n);
  out[n] = 0;
  return true;
}

/* Starts the units of the kernel at s, which ends at end. */
static bool start_kernel(qr_emu_card_t *c, const qr_emu_kernel_t *table, const char *s,
                         const char *end) {
  unit_t u = {0};
  char base[32];
  if (!attribute(s, "name", u.kernel, sizeof u.kernel)) return false;
  while ((s = strstr(s, "<instance ")) && s < end) {
    const char *remap = strstr(s, "<addrRemap ");
    if (!attribute(s, "name", u.name, sizeof u.name) || !remap || remap > end ||
        !attribute(remap, "base", base, sizeof base) || c->unit_cnt == UNIT_MAX_CNT)
      return false;
    u.base = strtoull(base, NULL, 0);
    if (!start_unit(c, table, &u)) return false;
    s = remap;
  }
  return true;
}

bool qr_emu_card_load(qr_emu_card_t *c, const char *xml_path, const char *so_path) {
  qr_emu_card_clear(c);
  c->so = dlopen(so_path, RTLD_NOW | RTLD_LOCAL);
  const qr_emu_kernel_t *table = c->so ? dlsym(c->so, QR_EMU_KERNELS) : NULL;
  if (!table) {
    fprintf(stderr, "emulated card: %s\n", dlerror());
    return false;
  }
  char *xml = read_text(xml_path);
  bool ok = xml != NULL;
  for (const char *s = xml ? strstr(xml, "<kernel ") : NULL; s && ok; s = strstr(s, "<kernel ")) {
    const char *end = strstr(s, "</kernel>");
    ok = end && start_kernel(c, table, s, end);
    s = end ? end : s + 1;
  }
  free(xml);
  if (!ok || !c->unit_cnt) fprintf(stderr, "emulated card: %s names no unit\n", xml_path);
  return ok && c->unit_cnt;
}

/* ---- registers ---- */

static unit_t *unit_at(qr_emu_card_t *c, uint64_t addr, size_t sz, size_t *off) {
  for (uint32_t i = 0; i < c->unit_cnt; i++) {
    unit_t *u = &c->units[i];
    if (addr < u->base || addr - u->base >= QR_EMU_WINDOW_SZ) continue;
    *off = (size_t)(addr - u->base);
    return sz <= QR_EMU_WINDOW_SZ - *off ? u : NULL;
  }
  return NULL;
}

bool qr_emu_card_write(qr_emu_card_t *c, uint64_t addr, const uint8_t *p, size_t sz) {
  size_t off;
  uint32_t control;
  unit_t *u = unit_at(c, addr, sz, &off);
  if (!u || (!off && sz && sz < sizeof control)) return false;
  pthread_mutex_lock(&u->lock);
  bool busy = u->must_run || u->is_running;
  if (off) {
    if (!busy) memcpy(u->regs + off, p, sz);
  } else if (sz && !busy) { /* the control word is special */
    memcpy(&control, p, sizeof control);
    memcpy(u->regs + sizeof control, p + sizeof control, sz - sizeof control);
    if (control & AP_START) {
      set_control(u, AP_START);
      u->must_run = true;
      pthread_cond_signal(&u->start);
    }
  }
  pthread_mutex_unlock(&u->lock);
  return !busy;
}

static void wait_a_moment(unit_t *u) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += READ_WAIT_NS;
  if (until.tv_nsec >= 1000000000L) {
    until.tv_nsec -= 1000000000L;
    until.tv_sec++;
  }
  while ((u->must_run || u->is_running) &&
         pthread_cond_timedwait(&u->done, &u->lock, &until) != ETIMEDOUT) {
  }
}

bool qr_emu_card_read(qr_emu_card_t *c, uint64_t addr, uint8_t *p, size_t sz) {
  size_t off;
  memset(p, 0, sz);
  unit_t *u = unit_at(c, addr, sz, &off);
  if (!u) return false;
  pthread_mutex_lock(&u->lock);
  if (!off) wait_a_moment(u);
  memcpy(p, u->regs + off, sz);
  if (!off && sz && (p[0] & AP_DONE)) set_control(u, AP_IDLE); /* done is cleared by reading */
  pthread_mutex_unlock(&u->lock);
  return true;
}
