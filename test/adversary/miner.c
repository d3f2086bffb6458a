/* The adversary's miner: the CPU driver's own step and kernels, without what its owner knows. */
#include <stdio.h>
#include <stdlib.h>

#include "adversary.h"
#include "base/err.h"

struct qr_adversary_miner {
  const qr_cpu_kern_t *kern;
  qr_net_t net;
  qr_step_prog_t prog;
  qr_cpu_plan_t plan;
  qr_cpu_mem_t mem;
  qr_adversary_memo_t memo;
  uint8_t *block, *model;
};

static const qr_cpu_kern_t *find_kernel(const char *name) {
  for (uint32_t i = 0; qr_cpu_kernels[i]; i++) {
    if ((!name || !strcmp(name, qr_cpu_kernels[i]->name)) && qr_cpu_kernels[i]->supported())
      return qr_cpu_kernels[i];
  }
  return NULL;
}

static void close_miner(qr_adversary_miner_t *m) {
  qr_cpu_plan_fini(&m->plan);
  for (uint32_t i = 0; i < QR_NET_LAYER_MAX_CNT; i++) {
    free(m->memo.e7[i]);
    free(m->memo.sum[i]);
  }
  free(m->block);
  free(m);
}

static bool take_memory(qr_adversary_miner_t *m, const qr_cpu_sizes_t *sizes) {
  size_t model_sz = qr_align_up(m->net.model_sz, QR_CACHE_LINE);
  m->block = aligned_alloc(QR_CACHE_LINE, model_sz + qr_cpu_mem_place(&m->mem, sizes, NULL));
  if (!m->block) return false;
  m->model = m->block;
  qr_cpu_mem_place(&m->mem, sizes, m->block + model_sz);
  bool ok = true;
  for (uint32_t i = 0; i < m->net.layer_cnt; i++) {
    const qr_layer_t *l = &m->net.layers[i];
    m->memo.e7[i] = malloc((size_t)m->net.spec.batch * l->pos * l->n);
    m->memo.sum[i] = malloc(l->n * sizeof *m->memo.sum[i]);
    ok &= m->memo.e7[i] && m->memo.sum[i];
  }
  return ok;
}

static int open_miner(const qr_net_t *net, const char *kernel, qr_adversary_miner_t **out) {
  const qr_cpu_kern_t *kern = find_kernel(kernel);
  qr_cpu_sizes_t sizes = {0};
  if (!kern) return QR_ERR_UNSUPPORTED;
  qr_adversary_miner_t *m = calloc(1, sizeof *m);
  if (!m) return QR_ERR_NOMEM;
  m->kern = kern;
  m->net = *net;
  qr_step_lower(net, &m->prog);
  int err = qr_cpu_plan_init(&m->plan, &m->net, &m->prog, &sizes);
  if (!err && !take_memory(m, &sizes)) err = QR_ERR_NOMEM;
  if (err) {
    close_miner(m);
    return err;
  }
  m->memo.plan = &m->plan;
  m->memo.mem = &m->mem;
  m->memo.model = m->model;
  *out = m;
  return QR_OK;
}

static void step(qr_adversary_miner_t *m, const qr_accel_job_t *job, uint32_t k,
                 const qr_cpu_kern_t *kern) {
  size_t rows = (size_t)k * m->net.spec.batch;
  qr_cpu_step_t s = {.kern = kern,
                     .plan = &m->plan,
                     .mem = &m->mem,
                     .model = m->model,
                     .obs = job->obs + rows * m->net.in_sz,
                     .act = job->act + rows,
                     .target = job->target + rows,
                     .sigma = &job->sigma,
                     .k = k,
                     .lr_shift = job->lr_shift,
                     .digests = job->digests + (size_t)k * m->prog.digest_cnt,
                     .td_abs_sum = job->td_abs_sum + k};
  qr_cpu_step(&s);
}

static void watch(qr_adversary_miner_t *m, const qr_accel_job_t *job) {
  qr_cpu_kern_t kern;
  memcpy(m->model, job->model_in, m->net.model_sz);
  for (uint32_t k = 0; k < job->step_cnt; k++) {
    qr_adversary_watch_kernels(&m->memo, m->kern, &kern);
    step(m, job, k, &kern);
    qr_adversary_watch_end(&m->memo);
  }
  memcpy(job->model_out, m->model, m->net.model_sz);
}

static void attempt(qr_adversary_miner_t *m, const qr_accel_job_t *job) {
  qr_cpu_kern_t kern;
  memcpy(m->model, job->model_in, m->net.model_sz);
  for (uint32_t k = 0; k < job->step_cnt; k++) {
    qr_adversary_skip_kernels(&m->memo, m->kern, &kern);
    step(m, job, k, &kern);
  }
  memcpy(job->model_out, m->model, m->net.model_sz);
}

/* "errors 1; update 2,3" */
static void removed(const qr_adversary_miner_t *m, char *out, size_t out_sz) {
  static const char *const names[QR_ADVERSARY_PART_CNT] = {"weights to seven bits", "activation",
                                                           "errors", "update"};
  size_t at = 0;
  snprintf(out, out_sz, "nothing");
  for (uint32_t p = 0; p < QR_ADVERSARY_PART_CNT; p++) {
    const char *before = names[p];
    for (uint32_t i = 0; i < m->net.layer_cnt; i++) {
      if (!m->memo.notes[i][p].same || at + 40 > out_sz) continue;
      if (before)
        at += (size_t)snprintf(out + at, out_sz - at, "%s%s %u", at ? "; " : "", before, i);
      else
        at += (size_t)snprintf(out + at, out_sz - at, ",%u", i);
      before = NULL;
    }
  }
}

__attribute__((visibility("default"))) const qr_adversary_t qr_adversary = {
    .sz = sizeof(qr_adversary_t),
    .tricks = qr_adversary_tricks,
    .make_model = qr_adversary_make_model,
    .open = open_miner,
    .close = close_miner,
    .watch = watch,
    .attempt = attempt,
    .removed = removed,
    .multiply = qr_adversary_multiply,
    .strassen = qr_adversary_strassen,
};
