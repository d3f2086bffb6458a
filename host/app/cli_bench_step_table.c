/* quarry bench step: the figures as tables of 100 columns, every one of them measured. */
#include <stdio.h>

#include "app/cli_bench_step.h"

#define LABEL 28
#define COLUMN_MAX_CNT 4u /* kernels side by side */

/* One row of a task's table, a column for each kernel. */
static const struct {
  const char *name;
  uint32_t metric; /* enum qr_bench_metric */
} rows[] = {
    {"training step, ms", QR_BENCH_STEP_MS},
    {"  over the CPU driver's", QR_BENCH_STEP_OF_CPU},
    {"attempt, ms", QR_BENCH_ATTEMPT_MS},
    {"  over the CPU driver's", QR_BENCH_ATTEMPT_OF_CPU},
    {"attempts/s, one core", QR_BENCH_ATTEMPTS_PER_S},
    {"  time over first kernel's", QR_BENCH_ATTEMPT_OF_FIRST},
    {"whole step, GMAC/s", QR_BENCH_STEP_GMAC},
    {"  over its own peak", QR_BENCH_OF_OWN_PEAK},
    {"  over the best peak", QR_BENCH_OF_BEST_PEAK},
    {"products alone, GMAC/s", QR_BENCH_PRODUCTS_GMAC},
    {"  over their own peak", QR_BENCH_PRODUCTS_OF_PEAK},
    {"attempt/products at peak", QR_BENCH_ATTEMPT_OF_GEMM},
    {"share of an attempt:", QR_BENCH_METRIC_CNT},
    {"  all but products", QR_BENCH_NOT_PRODUCT_SHARE},
    {"  dither and digest", QR_BENCH_DRAW_SHARE},
    {"instructions a MAC", QR_BENCH_INSTR_PER_MAC},
    {"cycles a MAC", QR_BENCH_CYCLES_PER_MAC},
    {"forward, 16 rows, us", QR_BENCH_FORWARD_16_US},
    {"forward, 4096 rows, ms", QR_BENCH_FORWARD_4096_MS},
    {"  over the CPU driver's", QR_BENCH_FORWARD_OF_CPU},
    {"attempt that wins, ms", QR_BENCH_BLOCK_MS},
    {"verify a block, ms", QR_BENCH_VERIFY_MS},
    {"  no target value known", QR_BENCH_VERIFY_COLD_MS},
    {"  over an attempt", QR_BENCH_VERIFY_ATTEMPT},
    {"  over one that wins", QR_BENCH_VERIFY_BLOCK},
};

static void print_label(const char *label) { printf("  %-*s", LABEL - 2, label); }

static void print_one(const char *label, const qr_bench_series_t *s) {
  if (!s->cnt) return;
  print_label(label);
  qr_cli_bench_print_stat(s);
  putchar('\n');
}

/* Kernels side by side. */
typedef struct {
  uint32_t from, to;
} columns_t;

static void print_kernels(const qr_bench_step_t *b, columns_t c, const char *label) {
  print_label(label);
  for (uint32_t v = c.from; v < c.to; v++)
    printf(" %*.*s", QR_CLI_BENCH_CELL - 1, QR_CLI_BENCH_CELL - 1, b->variants[v].name);
  putchar('\n');
}

static bool any_sample(const qr_bench_step_t *b, columns_t c, uint32_t t, uint32_t metric) {
  for (uint32_t v = c.from; v < c.to; v++) {
    if (b->cases[t][v].metrics[metric].cnt) return true;
  }
  return false;
}

static void print_metrics(const qr_bench_step_t *b, columns_t c, uint32_t t) {
  print_kernels(b, c, "");
  for (size_t i = 0; i < QR_ARRAY_CNT(rows); i++) {
    uint32_t metric = rows[i].metric;
    if (metric == QR_BENCH_METRIC_CNT) {
      if (b->phase_cnt) printf("  %s\n", rows[i].name);
      continue;
    }
    if (!any_sample(b, c, t, metric) ||
        (metric == QR_BENCH_ATTEMPT_OF_FIRST && b->variant_cnt == 1))
      continue;
    print_label(b->cpu && metric == QR_BENCH_ATTEMPTS_PER_S ? "attempts/s, one at a time"
                                                            : rows[i].name);
    for (uint32_t v = c.from; v < c.to; v++)
      qr_cli_bench_print_stat(&b->cases[t][v].metrics[metric]);
    putchar('\n');
  }
}

/* ms of a step, ms of an attempt, and the share of the step's. The CPU driver beside another one
   has phases of its own, which are not asked for. */
static void print_phases(const qr_bench_step_t *b, columns_t c, uint32_t t) {
  if (!b->phase_cnt) return;
  if (b->cpu && c.to > b->cpu) c.to = b->cpu;
  print_kernels(b, c, "ms a step, an attempt, %");
  for (uint32_t i = 0; i < b->phase_cnt; i++) {
    char label[LABEL];
    snprintf(label, sizeof label, "  %.*s", LABEL - 5, b->phases[i]);
    print_label(label);
    for (uint32_t v = c.from; v < c.to; v++) {
      char cell[64] = "-";
      double ms = qr_bench_stat(&b->cases[t][v].phase_ms[i]).median, all = 0;
      for (uint32_t j = 0; j < b->phase_cnt; j++)
        all += qr_bench_stat(&b->cases[t][v].phase_ms[j]).median;
      if (all > 0) {
        double attempt = ms * b->chain.p.step_cnt;
        snprintf(cell, sizeof cell, "%.3f %.*f %4.1f", ms, attempt < 100 ? 2 : 0, attempt,
                 100 * ms / all);
      }
      printf(" %*s", QR_CLI_BENCH_CELL - 1, cell);
    }
    putchar('\n');
  }
}

static void print_comparisons(const qr_bench_step_t *b, uint32_t t) {
  const qr_bench_series_t *scaling = b->scaling[t];
  char label[LABEL];
  print_one("attempts/s, 1 thread", &scaling[QR_BENCH_ONE_THREAD]);
  snprintf(label, sizeof label, "attempts/s, %u thread%s", b->thread_cnt,
           b->thread_cnt == 1 ? "" : "s");
  print_one(label, &scaling[QR_BENCH_ALL_THREADS]);
  print_one("  ratio", &scaling[QR_BENCH_SCALING]);
  snprintf(label, sizeof label, "an attempt on %u, ms", b->thread_cnt);
  print_one(label, &scaling[QR_BENCH_SHARED_MS]);
  print_one("  one thread's over it", &scaling[QR_BENCH_SHARED_OF_ONE]);
  snprintf(label, sizeof label, "attempts/s, %u at a time", b->lane_cnt);
  print_one(label, &scaling[QR_BENCH_LANES]);
  print_one("the step in float32, ms", &b->floats[t][QR_BENCH_FLOAT_MS]);
  print_one("  ours over it", &b->floats[t][QR_BENCH_OURS_OF_FLOAT]);
}

static void print_task(const qr_bench_step_t *b, uint32_t t) {
  const qr_net_t *net = &b->chain.nets[t];
  double long_ms = b->long_ms[t];
  printf("\n%s: K %u, batch %u, %.1f million MACs a step, model %u bytes\n",
         b->chain.p.tasks[t].name, b->chain.p.step_cnt, net->spec.batch,
         (double)net->mac_cnt_step * 1e-6, net->model_sz);
  if (long_ms > 0)
    printf("  no attempts: one takes about %.1f s, more than there is room for; --seconds\n",
           long_ms * 1e-3);
  for (columns_t c = {0}; c.from < b->variant_cnt; c.from = c.to) {
    c.to = c.from + COLUMN_MAX_CNT;
    if (c.to > b->variant_cnt) c.to = b->variant_cnt;
    print_metrics(b, c, t);
    if (!c.from) print_comparisons(b, t);
    print_phases(b, c, t);
  }
}

/* ---- products ---- */

static void print_number(int width, int digits, double v) {
  if (v > 0)
    printf(" %*.*f", width, digits, v);
  else
    printf(" %*s", width, "-");
}

static void print_speed(int width, const qr_bench_series_t *s) {
  print_number(width, 0, qr_bench_stat(s).median);
}

static void print_ratio(const qr_bench_series_t *s) { print_number(4, 2, qr_bench_stat(s).median); }

static void print_percent(const qr_bench_series_t *s) {
  double v = qr_bench_stat(s).median;
  if (v > 0)
    printf("%4.0f%%", 100 * v);
  else
    printf("%5s", "");
}

/* The four ways of a primitive that adds up errors, or of those that do not: s8 and u8, as they lie
   and packed. */
static void print_ways(const qr_bench_product_t *p, bool adds_up) {
  for (int way = 0; way < 4; way++) {
    const qr_bench_series_t *s = NULL;
    for (uint32_t r = 0; r < p->rival_cnt; r++) {
      const qr_bench_rival_t *x = &p->rivals[r];
      bool wanted = !strcmp(x->primitive, "deconvolution") == adds_up &&
                    (x->form.operand == QR_RIVAL_U8) == way / 2 &&
                    (x->form.layout == QR_RIVAL_PACKED) == way % 2;
      if (wanted) s = &x->gmac_per_s;
    }
    print_number(way % 2 ? 4 : 6, 0, s ? qr_bench_stat(s).median : 0);
  }
}

static void print_product(const qr_bench_product_t *p, bool compared) {
  char shape[40];
  snprintf(shape, sizeof shape, "%ux%ux%u", p->op.m, p->op.n, p->op.k);
  if (p->image)
    printf("  %-33s", "  the same from the image");
  else
    printf("  %-18s %14s", p->name, shape);
  print_speed(5, &p->figures[QR_BENCH_WHOLE_GMAC]);
  print_percent(&p->figures[QR_BENCH_WHOLE_OF_PEAK]);
  print_speed(5, &p->figures[QR_BENCH_ALONE_GMAC]);
  print_percent(&p->figures[QR_BENCH_ALONE_OF_PEAK]);
  if (compared) {
    print_ways(p, false);
    printf("  ");
    print_ratio(&p->figures[QR_BENCH_WHOLE_OF_S8]);
    print_ratio(&p->figures[QR_BENCH_WHOLE_OF_RIVAL]);
    print_ratio(&p->figures[QR_BENCH_ALONE_OF_RIVAL]);
  }
  putchar('\n');
  for (uint32_t r = 0; r < p->rival_cnt; r++) {
    const qr_bench_rival_t *x = &p->rivals[r];
    if (!x->equal)
      printf("    %s, %s %s: %s\n", x->primitive, qr_cli_bench_operands(x->form),
             qr_cli_bench_layout(x->form), x->why);
  }
  if (!p->geo.c || !(p->op.flags & QR_GEMM_B_TRANS) || !p->rival_cnt) return;
  printf("    %-53s", "and added up: its deconvolution");
  print_ways(p, true);
  putchar('\n');
}

static void print_heads(const char *title, bool compared) {
  printf("\n%-35s %s", title, "this driver's");
  if (compared) printf("%9s  %-22s %s", "", "oneDNN's s8 and u8", "ours over its");
  printf("\n  %-18s %14s %10s %10s", "", "m x n x k", "whole", "alone");
  if (compared)
    printf(" %6s %4s %6s %4s   %4s %4s %4s", "lies", "pack", "lies", "pack", "s8", "lies", "pack");
  putchar('\n');
}

static void print_sum(const qr_bench_series_t *s, bool compared) {
  printf("  %-33s", "all of a step");
  print_speed(5, &s[QR_BENCH_SUM_WHOLE_GMAC]);
  printf("%5s", "");
  print_speed(5, &s[QR_BENCH_SUM_ALONE_GMAC]);
  if (compared) {
    printf("%5s", "");
    print_speed(6, &s[QR_BENCH_SUM_S8_GMAC]);
    printf("%5s", "");
    print_speed(6, &s[QR_BENCH_SUM_RIVAL_LIES_GMAC]);
    print_speed(4, &s[QR_BENCH_SUM_RIVAL_PACKED_GMAC]);
    printf("  ");
    print_ratio(&s[QR_BENCH_SUM_WHOLE_OF_S8]);
    print_ratio(&s[QR_BENCH_SUM_WHOLE_OF_RIVAL]);
    print_ratio(&s[QR_BENCH_SUM_ALONE_OF_RIVAL]);
  }
  putchar('\n');
}

static void print_products(const qr_bench_step_t *b, uint32_t task, const char *title) {
  bool any = false, compared = *b->rivals.int8_about;
  for (uint32_t i = 0; i < b->products.cnt; i++) {
    const qr_bench_product_t *p = &b->products.list[i];
    if (p->task != task) continue;
    if (!any) print_heads(title, compared);
    any = true;
    print_product(p, compared);
  }
  if (any && task != QR_BENCH_NO_TASK) print_sum(b->products.sums[task], compared);
}

static void print_all_products(const qr_bench_step_t *b) {
  const char *why = b->products.cnt ? b->products.list[0].why : "";
  if (*why) {
    printf("\nproducts: %s\n", why);
    return;
  }
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    char title[64];
    snprintf(title, sizeof title, "%s, GMAC/s", b->chain.p.tasks[t].name);
    if (b->with_task[t]) print_products(b, t, title);
  }
  print_products(b, QR_BENCH_NO_TASK, "squares, GMAC/s");
  printf("\n  Products by %s, medians; %% of its peak. whole: operands as they lie,\n"
         "  packing included; alone: the product of packed operands.\n",
         b->variants[0].name);
  if (!*b->rivals.int8_about) return;
  puts(
      "  lies: operands as they lie; pack: laid out as oneDNN likes best before. u8: the first\n"
      "  operand offset by 64 before, the result corrected after. Last columns, speeds: whole "
      "over\n"
      "  s8 as they lie; whole over the faster of s8 and u8 as they lie; alone over the fastest\n"
      "  with packed operands. All of a step: oneDNN's fastest way of each, as they lie and "
      "packed.\n"
      "  A convolution's products: of rows that were gathered before, against matmul; from the\n"
      "  image, gathering included, against its own convolution, which has a border put around "
      "the\n"
      "  image before and packs the weights in every run if they lie. Its errors added up, as our\n"
      "  next op does, are deconvolution; backward data gives the same more slowly. It has no "
      "int8\n"
      "  backward by weights. Every result of oneDNN was compared with ours and is equal, unless "
      "a\n"
      "  line says otherwise.");
}

static void print_rival(const char *what, const char *about, const char *why) {
  printf("%s: %s\n", what, *about ? about : why);
}

/* What is behind the columns. */
static void print_drivers(const qr_bench_step_t *b) {
  for (uint32_t v = 0; v < b->variant_cnt; v++) {
    if (v != b->cpu) printf("%s: %s\n", b->variants[v].name, b->variants[v].detail);
    if (b->emulated[v])
      puts("  emulated: its times are those of a simulation on this processor and say nothing of a "
           "card");
  }
  printf("%s: the CPU driver on one core, in turns with it; in an attempt it does all but the "
         "training\n",
         b->variants[b->cpu].name);
}

int qr_cli_bench_step_table(const qr_bench_step_t *b, const qr_bench_machine_t *m) {
  qr_cli_bench_print_machine(m);
  printf("measured in %u rounds over %.1f s, in turns: median (min-max) of the rounds\n",
         b->round_cnt, b->seconds);
  if (b->cpu) print_drivers(b);
  print_rival("compared, int8", b->rivals.int8_about, b->rivals.int8_why);
  print_rival("compared, float32", b->rivals.f32_about, b->rivals.f32_why);
  if (*b->perf_why) printf("instructions and cycles not counted: %s\n", b->perf_why);
  for (uint32_t i = 0; i < b->absent_cnt; i++) printf("not on this machine: %s\n", b->absent[i]);
  puts("\npeak of one core, int8 from registers to registers, GMAC/s");
  for (uint32_t i = 0; i < b->peak_cnt; i++) {
    print_label(b->peaks[i]->name);
    qr_cli_bench_print_stat(&b->peak_gmac_per_s[i]);
    printf("  %s\n", b->peaks[i]->detail);
  }
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (b->with_task[t]) print_task(b, t);
  }
  print_all_products(b);
  return QR_CLI_OK;
}
