/* quarry bench step --json: everything that was measured. */
#include "app/cli_bench_step.h"

static void set_text(json_t *o, const char *key, const char *text) {
  json_object_set_new(o, key, *text ? json_string(text) : json_null());
}

/* Either what a library says of itself or why it is not there. */
static json_t *rival_json(const char *about, const char *why) {
  json_t *o = json_object();
  set_text(o, "library", about);
  set_text(o, "missing", why);
  return o;
}

static const char *source_of(const qr_bench_step_t *b, uint32_t v) {
  return b->emulated[v] ? "emulated" : "measured";
}

static json_t *kernel_json(const qr_bench_step_t *b, uint32_t t, uint32_t v) {
  const qr_bench_case_t *c = &b->cases[t][v];
  json_t *k = json_object(), *phases = json_array();
  json_object_set_new(k, "kernel", json_string(b->variants[v].name));
  json_object_set_new(k, "driver", json_string(b->drivers[v]->name));
  set_text(k, "detail", b->variants[v].detail);
  json_object_set_new(k, "source", json_string(source_of(b, v)));
  for (uint32_t m = 0; m < QR_BENCH_METRIC_CNT; m++)
    json_object_set_new(k, qr_bench_metric_keys[m], qr_cli_bench_stat_json(&c->metrics[m]));
  for (uint32_t i = 0; i < b->phase_cnt && (!v || v != b->cpu); i++) {
    json_t *p = json_object();
    json_object_set_new(p, "phase", json_string(b->phases[i]));
    json_object_set_new(p, "phase_step_ms", qr_cli_bench_stat_json(&c->phase_ms[i]));
    json_array_append_new(phases, p);
  }
  json_object_set_new(k, "phases", phases);
  return k;
}

static json_t *way_json(const qr_bench_rival_t *r) {
  json_t *o = json_object();
  json_object_set_new(o, "primitive", json_string(r->primitive));
  json_object_set_new(o, "operands", json_string(qr_cli_bench_operands(r->form)));
  json_object_set_new(o, "layout", json_string(qr_cli_bench_layout(r->form)));
  set_text(o, "implementation", r->implementation);
  json_object_set_new(o, "equal", json_boolean(r->equal));
  set_text(o, "missing", r->why);
  json_object_set_new(o, "rival_gmac_per_s", qr_cli_bench_stat_json(&r->gmac_per_s));
  return o;
}

static json_t *products_json(const qr_bench_step_t *b, uint32_t task) {
  json_t *list = json_array();
  for (uint32_t i = 0; i < b->products.cnt; i++) {
    const qr_bench_product_t *p = &b->products.list[i];
    if (p->task != task) continue;
    json_t *o = json_object(), *ways = json_array();
    json_object_set_new(o, "product", json_string(p->name));
    json_object_set_new(o, "m", json_integer(p->op.m));
    json_object_set_new(o, "n", json_integer(p->op.n));
    json_object_set_new(o, "k", json_integer(p->op.k));
    json_object_set_new(o, "a_transposed", json_boolean(p->op.flags & QR_GEMM_A_TRANS));
    json_object_set_new(o, "b_transposed", json_boolean(p->op.flags & QR_GEMM_B_TRANS));
    json_object_set_new(o, "convolution", json_boolean(p->geo.c));
    json_object_set_new(o, "a_is_image", json_boolean(p->image));
    set_text(o, "missing", p->why);
    for (uint32_t f = 0; f < QR_BENCH_PRODUCT_FIGURE_CNT; f++)
      json_object_set_new(o, qr_bench_product_keys[f], qr_cli_bench_stat_json(&p->figures[f]));
    for (uint32_t r = 0; r < p->rival_cnt; r++)
      json_array_append_new(ways, way_json(&p->rivals[r]));
    json_object_set_new(o, "rival", ways);
    set_text(o, "rival_missing", p->rival_why ? p->rival_why : "");
    json_array_append_new(list, o);
  }
  return list;
}

static json_t *task_json(const qr_bench_step_t *b, uint32_t t) {
  const qr_net_t *net = &b->chain.nets[t];
  json_t *o = json_object(), *kernels = json_array(), *scaling = json_object(),
         *all = json_object();
  json_object_set_new(o, "task", json_string(b->chain.p.tasks[t].name));
  json_object_set_new(o, "steps_per_attempt", json_integer(b->chain.p.step_cnt));
  json_object_set_new(o, "batch_rows", json_integer(net->spec.batch));
  json_object_set_new(o, "step_mac_cnt", json_integer((json_int_t)net->mac_cnt_step));
  json_object_set_new(o, "model_bytes", json_integer(net->model_sz));
  json_object_set_new(o, "attempt_foreseen_ms",
                      b->long_ms[t] > 0 ? json_real(b->long_ms[t]) : json_null());
  for (uint32_t v = 0; v < b->variant_cnt; v++)
    json_array_append_new(kernels, kernel_json(b, t, v));
  json_object_set_new(o, "kernels", kernels);
  json_object_set_new(scaling, "kernel", json_string(b->variants[0].name));
  json_object_set_new(scaling, "thread_cnt", json_integer(b->thread_cnt));
  json_object_set_new(scaling, "lane_cnt", json_integer(b->lane_cnt));
  for (uint32_t i = 0; i < QR_BENCH_SCALING_CNT; i++)
    json_object_set_new(scaling, qr_bench_scaling_keys[i],
                        qr_cli_bench_stat_json(&b->scaling[t][i]));
  json_object_set_new(o, "scaling", scaling);
  for (uint32_t i = 0; i < QR_BENCH_FLOAT_CNT; i++)
    json_object_set_new(o, qr_bench_float_keys[i], qr_cli_bench_stat_json(&b->floats[t][i]));
  json_object_set_new(o, "products", products_json(b, t));
  for (uint32_t i = 0; i < QR_BENCH_SUM_FIGURE_CNT; i++)
    json_object_set_new(all, qr_bench_sum_keys[i], qr_cli_bench_stat_json(&b->products.sums[t][i]));
  json_object_set_new(o, "all_products", all);
  return o;
}

int qr_cli_bench_step_json(const qr_bench_step_t *b, const char *accel,
                           const qr_bench_machine_t *m) {
  json_t *o = json_object(), *peaks = json_array(), *tasks = json_array(), *absent = json_array(),
         *rivals = json_object();
  json_object_set_new(o, "bench", json_string("step"));
  json_object_set_new(o, "source", json_string(source_of(b, 0)));
  json_object_set_new(o, "chain", json_string(b->chain.p.name));
  json_object_set_new(o, "accel", json_string(accel));
  json_object_set_new(o, "machine", qr_cli_bench_machine_json(m));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(o, "round_cnt", json_integer(b->round_cnt));
  for (uint32_t i = 0; i < b->absent_cnt; i++)
    json_array_append_new(absent, json_string(b->absent[i]));
  json_object_set_new(o, "absent", absent);
  json_object_set_new(rivals, "int8", rival_json(b->rivals.int8_about, b->rivals.int8_why));
  json_object_set_new(rivals, "float32", rival_json(b->rivals.f32_about, b->rivals.f32_why));
  json_object_set_new(o, "rivals", rivals);
  set_text(o, "counters_missing", b->perf_why);
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    json_t *p = json_object();
    json_object_set_new(p, "kernel", json_string(b->peaks[i]->name));
    json_object_set_new(p, "instructions", json_string(b->peaks[i]->detail));
    json_object_set_new(p, "gmac_per_s", qr_cli_bench_stat_json(&b->peak_gmac_per_s[i]));
    json_array_append_new(peaks, p);
  }
  json_object_set_new(o, "peaks", peaks);
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (b->with_task[t]) json_array_append_new(tasks, task_json(b, t));
  }
  json_object_set_new(o, "tasks", tasks);
  json_object_set_new(o, "squares", products_json(b, QR_BENCH_NO_TASK));
  return qr_cli_print_json(o);
}
