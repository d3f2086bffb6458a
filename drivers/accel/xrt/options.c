#include "options.h"

#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "port/bitstream.h"
#include "port/option.h"
#include "share.h"

#define STEPS_CARD 8u     /* some milliseconds of a card */
#define STEPS_EMULATED 2u /* an emulated step is slow, and a new tip should not wait for many */
#define CARD_MAX_CNT 16u
#define KEEP_ROWS_CARD 81920u     /* a quarter more than a replay of devnet */
#define KEEP_ROWS_EMULATED 20480u /* of regtest: it is this machine's memory */
#define KEEP_ROWS_UNSAID UINT32_MAX
#define KEEP_MAX_ROWS (QR_XRT_TABLE_MAX_SZ / 8)

enum kind {
  CARD,
  CARDS,
  EMULATE,
  MODE,
  BITSTREAM,
  KEYS,
  WORKER,
  SYSFS,
  FAULT,
  ACCEPT,
  LOOK,
  TIMEOUT,
  STEPS,
  REPLAY
};

static const struct {
  const char *name;
  enum kind kind;
} known[] = {{"card", CARD},           {"cards", CARDS},
             {"emulate", EMULATE},     {"mode", MODE},
             {"bitstream", BITSTREAM}, {"keys", KEYS},
             {"worker", WORKER},       {"sysfs", SYSFS},
             {"fault", FAULT},         {"accept_unsigned", ACCEPT},
             {"look", LOOK},           {"timeout_ms", TIMEOUT},
             {"steps", STEPS},         {"replay_rows", REPLAY}};

static bool copy(char *out, size_t out_sz, const char *value) {
  if (!*value || strlen(value) >= out_sz) return false;
  memcpy(out, value, strlen(value) + 1);
  return true;
}

static bool number(const char *value, uint64_t lo, uint64_t hi, uint32_t *out) {
  uint64_t v;
  if (!qr_option_u64(value, lo, hi, &v)) return false;
  *out = (uint32_t)v;
  return true;
}

/* Returns what the value must be if it is not that, else NULL. */
static const char *set(qr_xrt_options_t *o, enum kind kind, const char *v) {
  switch (kind) {
  case CARD: return copy(o->card, sizeof o->card, v) ? NULL : "an index, a PCI address, or all";
  case CARDS: return number(v, 1, CARD_MAX_CNT, &o->card_cnt) ? NULL : "a number from 1 to 16";
  case EMULATE:
    o->emulate = true;
    return !*v || copy(o->tree, sizeof o->tree, v) ? NULL : "the folder emu of a build";
  case MODE:
    return (!strcmp(v, "sw_emu") || !strcmp(v, "hw_emu")) && copy(o->mode, sizeof o->mode, v)
               ? NULL
               : "sw_emu or hw_emu";
  case BITSTREAM: return copy(o->bitstream, sizeof o->bitstream, v) ? NULL : "a file";
  case KEYS: return copy(o->keys, sizeof o->keys, v) ? NULL : "a file";
  case WORKER: return copy(o->worker, sizeof o->worker, v) ? NULL : "a file";
  case SYSFS: return copy(o->sysfs, sizeof o->sysfs, v) ? NULL : "a folder";
  case FAULT: return copy(o->fault, sizeof o->fault, v) ? NULL : "wrong:N, hang:N or die:N";
  case ACCEPT:
    o->accept_unsigned = !strcmp(v, QR_BITSTREAM_ACCEPT);
    return o->accept_unsigned ? NULL : QR_BITSTREAM_ACCEPT;
  case LOOK: o->look = true; return !*v ? NULL : "without a value";
  case TIMEOUT:
    return qr_option_u64(v, 1, 3600000, &o->timeout_ms) ? NULL : "a number of milliseconds";
  case REPLAY: return number(v, 0, KEEP_MAX_ROWS, &o->keep_rows) ? NULL : "from 0 to 1048576";
  default: return number(v, 1, 1024, &o->launch_steps) ? NULL : "a number from 1 to 1024";
  }
}

/* The build's folder: the program lies in bin/ or test/ below it. */
static void build_path(char *out, size_t out_sz, const char *below) {
  char self[QR_XRT_PATH_SZ];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  self[n > 0 ? n : 0] = 0;
  for (int i = 0; i < 2; i++) {
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
  }
  snprintf(out, out_sz, "%.200s%s", self, below);
}

static void fill_in(qr_xrt_options_t *o) {
  if (!*o->tree) build_path(o->tree, sizeof o->tree, "/emu");
  if (!*o->worker) build_path(o->worker, sizeof o->worker, "/bin/quarry-card");
  if (o->emulate && !*o->bitstream)
    snprintf(o->bitstream, sizeof o->bitstream, "%.200s/engine.%s.xclbin", o->tree, o->mode);
  if (o->keep_rows == KEEP_ROWS_UNSAID)
    o->keep_rows = o->emulate ? KEEP_ROWS_EMULATED : KEEP_ROWS_CARD;
  if (!o->launch_steps) o->launch_steps = o->emulate ? STEPS_EMULATED : STEPS_CARD;
}

int qr_xrt_options_parse(const char *text, qr_xrt_options_t *out, char *why, size_t why_sz) {
  qr_option_t item;
  int r;
  *out = (qr_xrt_options_t){.card = "all",
                            .card_cnt = 1,
                            .mode = "sw_emu",
                            .sysfs = "/sys",
                            .keep_rows = KEEP_ROWS_UNSAID};
  while ((r = qr_option_next(&text, ',', &item)) > 0) {
    size_t i = 0;
    while (i < QR_ARRAY_CNT(known) && strcmp(known[i].name, item.key)) i++;
    if (i == QR_ARRAY_CNT(known)) {
      snprintf(why, why_sz,
               "accel xrt: unknown option %s; there are card, cards, emulate, mode, bitstream, "
               "keys, accept_unsigned, timeout_ms, steps, replay_rows, worker",
               item.key);
      return QR_ERR_ARG;
    }
    const char *wanted = set(out, known[i].kind, item.value);
    if (!wanted) continue;
    snprintf(why, why_sz, "accel xrt: %s must be %s", item.key, wanted);
    return QR_ERR_ARG;
  }
  if (r < 0) {
    snprintf(why, why_sz, "accel xrt: options must be key=value,...");
    return QR_ERR_ARG;
  }
  if (*out->fault && !out->emulate) {
    snprintf(why, why_sz, "accel xrt: fault is for emulated cards");
    return QR_ERR_ARG;
  }
  fill_in(out);
  return QR_OK;
}
