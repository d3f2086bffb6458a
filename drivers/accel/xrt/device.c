#include "device.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include "port/clock.h"

#define INFO_WAIT_NS 60000000000ull
#define POLL_NS 200000L
#define PROBE_SZ 4096u
#define RESET_WAIT_S 2

typedef struct {
  xrtBufferHandle pool, job, out;
  xrtRunHandle run;
} part_t;

typedef struct {
  xrtKernelHandle kernel; /* the engine's */
  xrtBufferHandle custom, model_in, model, s8, s32;
  xrtBufferHandle no_table, table[QR_XRT_PROG_MAX_CNT];
  part_t part[QR_XRT_PART_CNT];
} slot_t;

struct qr_xrt_device {
  xrtDeviceHandle dev;
  uint32_t engine_cnt;
  xrtKernelHandle kernels[QR_XRT_ENGINE_MAX_CNT]; /* each may have memory banks of its own */
  uint8_t *base;
  const qr_xrt_share_t *share;
  qr_xrt_layout_t at;
  qr_xrt_sizes_t sizes;
  xrtBufferHandle prog[QR_XRT_ENGINE_MAX_CNT][QR_XRT_PROG_MAX_CNT];
  xrtBufferHandle keep[QR_XRT_ENGINE_MAX_CNT][QR_XRT_PROG_MAX_CNT]; /* rows of replays */
  bool keeps, syncs_from_start;
  uint64_t moved[2];
  slot_t slot[QR_XRT_SLOT_MAX_CNT];
};

static int fail(char *why, size_t why_sz, const char *what) {
  snprintf(why, why_sz, "%s (XRT says: %s)", what, errno ? strerror(errno) : "nothing");
  return -1;
}

/* ---- opening ---- */

/* XRT opened its library with global names, so its older entry points can be found there. */
static void *entry(const char *name) { return dlsym(RTLD_DEFAULT, name); }

static xrtDeviceHandle open_card(const char *card) {
  errno = 0;
  char *end;
  unsigned long idx = strtoul(card, &end, 10);
  return *end ? xrtDeviceOpenByBDF(card) : xrtDeviceOpen((unsigned)idx);
}

/* The entry points' types are XRT's: ISO C has no conversion from a data pointer. */
static int reset_card(xrtDeviceHandle dev) {
  int (*reset)(xclDeviceHandle, enum xclResetKind);
  void *p = entry("xclResetDevice");
  memcpy(&reset, &p, sizeof reset);
  return p ? reset(xrtDeviceToXclDevice(dev), XCL_USER_RESET) : -ENOSYS;
}

static bool device_info(xrtDeviceHandle dev, struct xclDeviceInfo2 *out) {
  int (*get)(xclDeviceHandle, struct xclDeviceInfo2 *);
  void *p = entry("xclGetDeviceInfo2");
  memcpy(&get, &p, sizeof get);
  memset(out, 0, sizeof *out);
  return p && !get(xrtDeviceToXclDevice(dev), out);
}

int qr_xrt_device_open(const qr_xrt_device_cfg_t *cfg, bool reset, qr_xrt_info_t *info,
                       qr_xrt_device_t **out, char *why, size_t why_sz) {
  qr_xrt_device_t *d = calloc(1, sizeof *d);
  if (!d) return fail(why, why_sz, "no memory");
  d->syncs_from_start = cfg->syncs_from_start;
  d->dev = open_card(cfg->card);
  if (d->dev && reset && !cfg->is_emulated) {
    int err = reset_card(d->dev);
    xrtDeviceClose(d->dev);
    struct timespec ts = {RESET_WAIT_S, 0};
    nanosleep(&ts, NULL);
    d->dev = err ? NULL : open_card(cfg->card);
    if (err) {
      free(d);
      errno = -err;
      return fail(why, why_sz, "the card cannot be reset by this user");
    }
  }
  if (!d->dev) {
    free(d);
    return fail(why, why_sz, "the card cannot be opened");
  }
  struct xclDeviceInfo2 told;
  if (device_info(d->dev, &told)) snprintf(info->name, sizeof info->name, "%.63s", told.mName);
  *out = d;
  return 0;
}

/* ---- the engine ---- */

static xrtBufferHandle take_buffer(qr_xrt_device_t *d, xrtKernelHandle kernel, uint32_t arg,
                                   uint64_t sz) {
  int group = xrtKernelArgGroupId(kernel, (int)arg);
  return group < 0 ? NULL : xrtBOAlloc(d->dev, sz, XRT_BO_FLAGS_NONE, (xrtMemoryGroup)group);
}

static int put_at(qr_xrt_device_t *d, xrtBufferHandle b, uint64_t at, const void *p, uint64_t sz) {
  d->moved[0] += sz;
  if (xrtBOWrite(b, p, sz, at)) return -1;
  if (d->syncs_from_start) { /* what lies before is written again as it is */
    sz += at;
    at = 0;
  }
  return xrtBOSync(b, XCL_BO_SYNC_BO_TO_DEVICE, sz, at) ? -1 : 0;
}

static int put(qr_xrt_device_t *d, xrtBufferHandle b, const void *p, uint64_t sz) {
  return put_at(d, b, 0, p, sz);
}

static int get(qr_xrt_device_t *d, xrtBufferHandle b, void *p, uint64_t sz) {
  d->moved[1] += sz;
  return xrtBOSync(b, XCL_BO_SYNC_BO_FROM_DEVICE, sz, 0) || xrtBORead(b, p, sz, 0) ? -1 : 0;
}

static void give(xrtBufferHandle b) {
  if (b) xrtBOFree(b);
}

/* A launch that has been started: 1 over, 0 under way, -1 failed. */
static int run_state(xrtRunHandle run, char *why, size_t why_sz) {
  enum ert_cmd_state s = xrtRunState(run);
  if (s < ERT_CMD_STATE_COMPLETED) return 0;
  if (s == ERT_CMD_STATE_COMPLETED) return 1;
  if (s == ERT_CMD_STATE_SUBMITTED) return 0;
  snprintf(why, why_sz, "the engine's run ended in XRT's state %d", (int)s);
  return -1;
}

static int await(xrtRunHandle run, uint64_t wait_ns, char *why, size_t why_sz) {
  uint64_t end_ns = qr_clock_mono_ns() + wait_ns;
  int state;
  while (!(state = run_state(run, why, why_sz)) && qr_clock_mono_ns() < end_ns) {
    struct timespec ts = {0, POLL_NS};
    nanosleep(&ts, NULL);
  }
  if (!state) snprintf(why, why_sz, "the engine does not answer");
  return state > 0 ? 0 : -1;
}

/* Launches an engine's INFO with a small buffer for every pointer. */
static int ask_engine(qr_xrt_device_t *d, xrtKernelHandle kernel,
                      uint32_t out[QR_ENGINE_OUT_HEAD_CNT], char *why, size_t why_sz) {
  static const uint32_t counts[QR_ENGINE_ARG_CNT] = {
      [QR_ENGINE_ARG_JOB_CNT] = QR_ENGINE_JOB_HEAD_CNT,
      [QR_ENGINE_ARG_ROW_STRIDE] = QR_ENGINE_ALIGN,
      [QR_ENGINE_ARG_OUT_CNT] = QR_ENGINE_OUT_HEAD_CNT};
  uint32_t head[QR_ENGINE_JOB_HEAD_CNT] = {
      [QR_ENGINE_JOB_ABI] = QR_ENGINE_ABI_VERSION, [QR_ENGINE_JOB_MODE] = QR_ENGINE_INFO};
  xrtBufferHandle b[QR_ENGINE_POINTER_CNT] = {0};
  xrtRunHandle run = xrtRunOpen(kernel);
  int err = run ? 0 : -1;
  memset(out, 0, QR_ENGINE_OUT_HEAD_CNT * sizeof *out);
  for (uint32_t i = 0; i < QR_ENGINE_POINTER_CNT && !err; i++) {
    uint64_t sz = i == QR_ENGINE_ARG_PROG ? qr_xrt_page_up(sizeof(qr_step_prog_t)) : PROBE_SZ;
    b[i] = take_buffer(d, kernel, i, sz);
    err = !b[i] || xrtRunSetArg(run, (int)i, b[i]) ? -1 : 0;
  }
  for (uint32_t i = QR_ENGINE_POINTER_CNT; i < QR_ENGINE_ARG_CNT && !err; i++)
    err = xrtRunSetArg(run, (int)i, counts[i]) ? -1 : 0;
  if (!err) err = put(d, b[QR_ENGINE_ARG_JOB], head, sizeof head);
  if (!err) err = put(d, b[QR_ENGINE_ARG_OUT], out, QR_ENGINE_OUT_HEAD_CNT * sizeof *out);
  if (!err) err = xrtRunStart(run) ? -1 : 0;
  if (err)
    fail(why, why_sz, "the engine cannot be started");
  else
    err = await(run, INFO_WAIT_NS, why, why_sz);
  if (!err && get(d, b[QR_ENGINE_ARG_OUT], out, QR_ENGINE_OUT_HEAD_CNT * sizeof *out))
    err = fail(why, why_sz, "the engine's answer cannot be read");
  if (run) xrtRunClose(run);
  for (uint32_t i = 0; i < QR_ENGINE_POINTER_CNT; i++) {
    if (b[i]) xrtBOFree(b[i]);
  }
  return err;
}

static int open_engine(qr_xrt_device_t *d, const xuid_t uuid, const char *instance,
                       qr_xrt_info_t *info, char *why, size_t why_sz) {
  uint32_t out[QR_ENGINE_OUT_HEAD_CNT];
  char name[128];
  snprintf(name, sizeof name, "%s:{%s}", QR_ENGINE_KERNEL_NAME, instance);
  xrtKernelHandle kernel = xrtPLKernelOpen(d->dev, uuid, name);
  if (!kernel) return fail(why, why_sz, "an engine of the bitstream cannot be opened");
  d->kernels[d->engine_cnt++] = kernel;
  if (ask_engine(d, kernel, out, why, why_sz)) return -1;
  if (out[QR_ENGINE_OUT_STATUS] != QR_ENGINE_OK ||
      out[QR_ENGINE_OUT_ABI] != QR_ENGINE_ABI_VERSION) {
    snprintf(why, why_sz, "the card's engine has interface %u, this program %u",
             out[QR_ENGINE_OUT_ABI], QR_ENGINE_ABI_VERSION);
    return -1;
  }
  info->array = out[QR_ENGINE_OUT_ARRAY];
  return 0;
}

int qr_xrt_device_load(qr_xrt_device_t *d, const void *p, qr_xrt_share_t *share, char *why,
                       size_t why_sz) {
  xuid_t uuid;
  errno = 0;
  if (xrtDeviceLoadXclbin(d->dev, p) || xrtDeviceGetXclbinUUID(d->dev, uuid))
    return fail(why, why_sz, "the bitstream cannot be loaded");
  for (uint32_t i = 0; i < share->engine_cnt && i < QR_XRT_ENGINE_MAX_CNT; i++) {
    if (open_engine(d, uuid, share->engines[i], &share->info, why, why_sz)) return -1;
  }
  return 0;
}

/* ---- buffers ---- */

static int take_slot(qr_xrt_device_t *d, slot_t *s) {
  const qr_xrt_sizes_t *z = &d->sizes;
  xrtKernelHandle k = s->kernel;
  s->custom = take_buffer(d, k, QR_ENGINE_ARG_PROG, qr_xrt_page_up(sizeof(qr_step_prog_t)));
  s->model_in = take_buffer(d, k, QR_ENGINE_ARG_MODEL_IN, QR_XRT_PAGE); /* never read */
  s->model = take_buffer(d, k, QR_ENGINE_ARG_MODEL, z->model);
  s->s8 = take_buffer(d, k, QR_ENGINE_ARG_S8, z->s8);
  s->s32 = take_buffer(d, k, QR_ENGINE_ARG_S32, z->s32);
  s->no_table = take_buffer(d, k, QR_ENGINE_ARG_TABLE, QR_XRT_PAGE); /* never read */
  bool ok = s->custom && s->model_in && s->model && s->s8 && s->s32 && s->no_table;
  for (uint32_t i = 0; i < QR_XRT_PART_CNT; i++) {
    part_t *p = &s->part[i];
    p->pool = take_buffer(d, k, QR_ENGINE_ARG_POOL, z->pool);
    p->job = take_buffer(d, k, QR_ENGINE_ARG_JOB, z->job);
    p->out = take_buffer(d, k, QR_ENGINE_ARG_OUT, z->out);
    p->run = xrtRunOpen(k);
    ok = ok && p->pool && p->job && p->out && p->run;
  }
  return ok ? 0 : -1;
}

/* Every engine reads programs out of a bank of its own. */
static int take_programs(qr_xrt_device_t *d, uint32_t engine) {
  for (uint32_t i = 0; i < d->sizes.prog_cnt; i++) {
    xrtBufferHandle b = take_buffer(d, d->kernels[engine], QR_ENGINE_ARG_PROG,
                                    qr_xrt_page_up(sizeof(qr_step_prog_t)));
    d->prog[engine][i] = b;
    if (!b || put(d, b, d->base + d->at.prog[i], sizeof(qr_step_prog_t))) return -1;
  }
  return 0;
}

static void give_replays(qr_xrt_device_t *d) {
  for (uint32_t i = 0; i < d->sizes.prog_cnt; i++) {
    for (uint32_t e = 0; e < d->engine_cnt; e++) give(d->keep[e][i]);
    for (uint32_t s = 0; s < d->sizes.slot_cnt; s++) give(d->slot[s].table[i]);
  }
  memset(d->keep, 0, sizeof d->keep);
  for (uint32_t s = 0; s < d->sizes.slot_cnt; s++)
    memset(d->slot[s].table, 0, sizeof d->slot[s].table);
}

/* All of it or nothing: without it jobs bring their minibatches. */
static void take_replays(qr_xrt_device_t *d) {
  const qr_xrt_sizes_t *z = &d->sizes;
  d->keeps = z->table > 0;
  for (uint32_t i = 0; i < z->prog_cnt && d->keeps; i++) {
    for (uint32_t e = 0; e < d->engine_cnt && d->keeps; e++) {
      d->keep[e][i] = take_buffer(d, d->kernels[e], QR_ENGINE_ARG_POOL, z->keep[i]);
      d->keeps = d->keep[e][i] != NULL;
    }
    for (uint32_t s = 0; s < z->slot_cnt && d->keeps; s++) {
      d->slot[s].table[i] = take_buffer(d, d->slot[s].kernel, QR_ENGINE_ARG_TABLE, z->table);
      d->keeps = d->slot[s].table[i] != NULL;
    }
  }
  if (!d->keeps) give_replays(d);
}

int qr_xrt_device_attach(qr_xrt_device_t *d, uint8_t *base, const qr_xrt_layout_t *at,
                         const qr_xrt_sizes_t *sizes, char *why, size_t why_sz) {
  errno = 0;
  d->base = base;
  d->share = (const qr_xrt_share_t *)base;
  d->at = *at;
  d->sizes = *sizes;
  for (uint32_t i = 0; i < d->engine_cnt; i++) {
    if (take_programs(d, i)) return fail(why, why_sz, "the card takes no program");
  }
  for (uint32_t i = 0; i < sizes->slot_cnt; i++) {
    d->slot[i].kernel = d->kernels[i % d->engine_cnt];
    if (take_slot(d, &d->slot[i])) return fail(why, why_sz, "the card's memory is too small");
  }
  take_replays(d);
  memset(d->moved, 0, sizeof d->moved);
  return 0;
}

bool qr_xrt_device_keeps(const qr_xrt_device_t *d) { return d->keeps; }

void qr_xrt_device_moved(qr_xrt_device_t *d, uint64_t out[2]) {
  memcpy(out, d->moved, sizeof d->moved);
  memset(d->moved, 0, sizeof d->moved);
}

/* ---- launches ---- */

/* What other launches that run may be reading is never in what is written here: rows that are new,
   and the table of a slot whose job begins. */
static int bring_replay(qr_xrt_device_t *d, uint32_t slot, const qr_xrt_launch_t *l,
                        const uint8_t *rows) {
  const uint8_t *table = d->base + d->at.slot[slot].table[l->prog % QR_XRT_PROG_MAX_CNT];
  int err = 0;
  if (l->keep_sz)
    err = put_at(d, d->keep[slot % d->engine_cnt][l->prog], l->keep_at, rows, l->keep_sz);
  for (uint32_t i = 0; i < l->range_cnt && !err; i++)
    err = put_at(d, d->slot[slot].table[l->prog], l->ranges[i].at, table + l->ranges[i].at,
                 l->ranges[i].sz);
  return err;
}

int qr_xrt_device_bring(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why,
                        size_t why_sz) {
  const qr_xrt_launch_t *l = &d->share->launch[slot][part];
  const part_t *p = &d->slot[slot].part[part];
  const qr_xrt_part_layout_t *at = &d->at.slot[slot].part[part];
  uint32_t head[QR_ENGINE_OUT_HEAD_CNT] = {0};
  errno = 0;
  if (bring_replay(d, slot, l, d->base + at->pool))
    return fail(why, why_sz, "a replay cannot be written to the card");
  if (!l->job_cnt) return 0;
  if (put(d, p->job, d->base + at->job, l->job_cnt * 4ull) ||
      (l->pool_sz && put(d, p->pool, d->base + at->pool, l->pool_sz)) ||
      put(d, p->out, head, sizeof head))
    return fail(why, why_sz, "data cannot be written to the card");
  return 0;
}

static int set_args(const qr_xrt_device_t *d, uint32_t slot, const part_t *p,
                    const qr_xrt_launch_t *l) {
  const slot_t *s = &d->slot[slot];
  xrtBufferHandle prog =
      l->prog == QR_XRT_CUSTOM ? s->custom : d->prog[slot % d->engine_cnt][l->prog];
  xrtBufferHandle pool = l->is_drawn ? d->keep[slot % d->engine_cnt][l->prog] : p->pool;
  xrtBufferHandle table = l->is_drawn ? s->table[l->prog] : s->no_table;
  const xrtBufferHandle b[QR_ENGINE_POINTER_CNT] = {
      prog, p->job, pool, table, s->model_in, s->model, s->s8, s->s8, s->s8, s->s32, p->out};
  const uint32_t v[] = {l->job_cnt,   l->pool_rows, l->row_stride, l->table_cnt,
                        l->model_cnt, l->s8_cnt,    l->s32_cnt,    l->out_cnt};
  int err = 0;
  for (uint32_t i = 0; i < QR_ENGINE_POINTER_CNT; i++) err |= xrtRunSetArg(p->run, (int)i, b[i]);
  for (uint32_t i = 0; i < QR_ARRAY_CNT(v); i++)
    err |= xrtRunSetArg(p->run, (int)(QR_ENGINE_POINTER_CNT + i), v[i]);
  return err;
}

int qr_xrt_device_start(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why,
                        size_t why_sz) {
  const qr_xrt_launch_t *l = &d->share->launch[slot][part];
  slot_t *s = &d->slot[slot];
  part_t *p = &s->part[part];
  errno = 0;
  if (l->model_up_sz && put(d, s->model, d->base + d->at.slot[slot].model, l->model_up_sz))
    return fail(why, why_sz, "the model cannot be written to the card");
  if (l->s8_up_sz && put(d, s->s8, d->base + d->at.slot[slot].s8, l->s8_up_sz))
    return fail(why, why_sz, "data cannot be written to the card");
  if (!l->job_cnt) return 0;
  if (l->prog == QR_XRT_CUSTOM &&
      put(d, s->custom, d->base + d->at.slot[slot].custom, sizeof(qr_step_prog_t)))
    return fail(why, why_sz, "the program cannot be written to the card");
  if (set_args(d, slot, p, l) || xrtRunStart(p->run))
    return fail(why, why_sz, "the engine cannot be started");
  return 0;
}

int qr_xrt_device_state(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why,
                        size_t why_sz) {
  if (!d->share->launch[slot][part].job_cnt) return 1;
  return run_state(d->slot[slot].part[part].run, why, why_sz);
}

int qr_xrt_device_take(qr_xrt_device_t *d, uint32_t slot, uint32_t part, char *why, size_t why_sz) {
  const qr_xrt_launch_t *l = &d->share->launch[slot][part];
  slot_t *s = &d->slot[slot];
  errno = 0;
  if ((l->job_cnt &&
       get(d, s->part[part].out, d->base + d->at.slot[slot].part[part].out, l->out_cnt * 4ull)) ||
      (l->model_down_sz && get(d, s->model, d->base + d->at.slot[slot].model, l->model_down_sz)) ||
      (l->s32_down_sz && get(d, s->s32, d->base + d->at.slot[slot].s32, l->s32_down_sz)))
    return fail(why, why_sz, "results cannot be read from the card");
  return 0;
}

/* ---- besides ---- */

int qr_xrt_device_measure(qr_xrt_device_t *d, size_t sz, uint64_t ns[2], char *why, size_t why_sz) {
  errno = 0;
  xrtBufferHandle b = take_buffer(d, d->kernels[0], QR_ENGINE_ARG_POOL, sz);
  uint8_t *p = b ? xrtBOMap(b) : NULL;
  int err = p ? 0 : fail(why, why_sz, "the card gives no buffer to measure with");
  for (size_t i = 0; i < sz && !err; i++) p[i] = (uint8_t)(i * 167 >> 3);
  uint64_t began = qr_clock_mono_ns();
  if (!err && xrtBOSync(b, XCL_BO_SYNC_BO_TO_DEVICE, sz, 0))
    err = fail(why, why_sz, "data cannot be written to the card");
  ns[0] = qr_clock_mono_ns() - began;
  if (!err) memset(p, 0, sz);
  began = qr_clock_mono_ns();
  if (!err && xrtBOSync(b, XCL_BO_SYNC_BO_FROM_DEVICE, sz, 0))
    err = fail(why, why_sz, "data cannot be read from the card");
  ns[1] = qr_clock_mono_ns() - began;
  for (size_t i = 0; i < sz && !err; i++) {
    if (p[i] == (uint8_t)(i * 167 >> 3)) continue;
    snprintf(why, why_sz, "byte %zu came back changed from the card's memory", i);
    err = -1;
  }
  if (b) xrtBOFree(b);
  return err;
}

/* A sensor that reads 0 or all ones is absent. */
static int32_t told(unsigned long long v) {
  return !v || v == 0xffff || v > INT32_MAX ? QR_ACCEL_UNTOLD : (int32_t)v;
}

static void set_rail(qr_xrt_info_t *info, uint32_t idx, const char *name, unsigned long long mv,
                     unsigned long long ma) {
  snprintf(info->rails[idx].name, sizeof info->rails[idx].name, "%s", name);
  info->rails[idx].mv = told(mv);
  info->rails[idx].ma = told(ma);
}

void qr_xrt_device_sense(qr_xrt_device_t *d, qr_xrt_info_t *info) {
  struct xclDeviceInfo2 i;
  if (!device_info(d->dev, &i)) memset(&i, 0, sizeof i);
  info->temp_c = told(i.mOnChipTemp);
  set_rail(info, 0, "12v-pex", i.m12VPex, i.mPexCurr);
  set_rail(info, 1, "12v-aux", i.m12VAux, i.mAuxCurr);
  set_rail(info, 2, "3v3-pex", i.m3v3Pex, 0);
  set_rail(info, 3, "vccint", i.mVccIntVol, i.mVccIntCurr);
}

void qr_xrt_device_close(qr_xrt_device_t *d) {
  give_replays(d);
  for (uint32_t i = 0; i < d->sizes.slot_cnt; i++) {
    slot_t *s = &d->slot[i];
    for (uint32_t p = 0; p < QR_XRT_PART_CNT; p++) {
      if (s->part[p].run) xrtRunClose(s->part[p].run);
      give(s->part[p].pool);
      give(s->part[p].job);
      give(s->part[p].out);
    }
    give(s->custom);
    give(s->no_table);
    give(s->model_in);
    give(s->model);
    give(s->s8);
    give(s->s32);
  }
  for (uint32_t i = 0; i < d->engine_cnt; i++) {
    for (uint32_t k = 0; k < d->sizes.prog_cnt; k++) give(d->prog[i][k]);
    xrtKernelClose(d->kernels[i]);
  }
  xrtDeviceClose(d->dev);
  free(d);
}
