/* quarry bench adversary: what a miner gains who chooses its model and leaves out what it knows. */
#include <stdio.h>
#include <stdlib.h>

#include "app/bench_adversary.h"
#include "app/cli_bench.h"
#include "base/err.h"

/* ---- for programs ---- */

static json_t *products_json(const qr_adversary_case_t *c) {
  json_t *a = json_array();
  for (uint32_t i = 0; i < c->lookup_cnt; i++) {
    const qr_adversary_lookup_t *l = &c->lookups[i];
    json_t *o = json_object();
    json_object_set_new(o, "product", json_string(c->operands.list[l->slot].name));
    json_object_set_new(o, "lookup_exact", json_boolean(l->exact));
    json_object_set_new(o, "product_us", qr_cli_bench_stat_json(&l->product_us));
    json_object_set_new(o, "lookup_us", qr_cli_bench_stat_json(&l->lookup_us));
    json_object_set_new(o, "strassen_exact", json_boolean(l->strassen_exact));
    json_object_set_new(o, "strassen_us", qr_cli_bench_stat_json(&l->strassen_us));
    json_array_append_new(a, o);
  }
  return a;
}

static json_t *operand_json(const qr_bench_operand_product_t *p) {
  json_t *o = json_object(), *left = json_object();
  json_object_set_new(o, "product", json_string(p->name));
  json_object_set_new(o, "m", json_integer(p->m));
  json_object_set_new(o, "n", json_integer(p->n));
  json_object_set_new(o, "k", json_integer(p->k));
  json_object_set_new(o, "a_min", json_integer(p->a_min));
  json_object_set_new(o, "a_max", json_integer(p->a_max));
  json_object_set_new(o, "a_variance", json_real(p->a_var));
  json_object_set_new(o, "b_min", json_integer(p->b_min));
  json_object_set_new(o, "b_max", json_integer(p->b_max));
  json_object_set_new(o, "b_variance", json_real(p->b_var));
  json_object_set_new(o, "rank_of", json_integer(p->rank_of));
  json_object_set_new(o, "a_rank", json_integer(p->a_rank));
  json_object_set_new(o, "b_rank", json_integer(p->b_rank));
  for (uint32_t i = 0; i < QR_BENCH_SAVE_CNT; i++)
    json_object_set_new(left, qr_bench_saving_keys[i], json_real(p->left[i]));
  json_object_set_new(o, "share_left", left);
  return o;
}

static json_t *bounds_json(const qr_adversary_case_t *c) {
  json_t *o = json_object();
  json_object_set_new(o, "source", json_string("bound from measured operands"));
  for (uint32_t i = 0; i < QR_BENCH_SAVE_CNT; i++) {
    json_t *b = json_object();
    double bound = qr_adversary_bound(c, c->operands.left[i]);
    json_object_set_new(b, "products_left", json_real(c->operands.left[i]));
    json_object_set_new(b, "ticket_ratio", bound > 0 ? json_real(bound) : json_null());
    json_object_set_new(o, qr_bench_saving_keys[i], b);
  }
  return o;
}

static json_t *case_json(const qr_adversary_case_t *c) {
  json_t *o = json_object(), *operands = json_array();
  json_object_set_new(o, "trick", json_string(c->name));
  json_object_set_new(o, "model", json_string(c->what));
  json_object_set_new(o, "source", json_string("measured"));
  json_object_set_new(o, "left_out", json_string(c->removed));
  json_object_set_new(o, "attempt_cnt", json_integer(c->attempt_cnt));
  json_object_set_new(o, "exact_cnt", json_integer(c->exact_cnt));
  json_object_set_new(o, "exact", json_boolean(c->exact_cnt == c->attempt_cnt));
  json_object_set_new(o, "attempts_per_s", qr_cli_bench_stat_json(&c->attempts_per_s));
  json_object_set_new(o, "honest_attempts_per_s", qr_cli_bench_stat_json(&c->honest_per_s));
  json_object_set_new(o, "attempt_ratio", qr_cli_bench_stat_json(&c->ratio));
  json_object_set_new(o, "ticket_ratio", json_real(qr_adversary_ticket_ratio(c)));
  json_object_set_new(o, "outside_share", qr_cli_bench_stat_json(&c->outside_share));
  json_object_set_new(o, "product_share", qr_cli_bench_stat_json(&c->product_share));
  json_object_set_new(o, "attempt_ratio_with_those_that_pay",
                      qr_cli_bench_stat_json(&c->ratio_lookups));
  json_object_set_new(o, "products", products_json(c));
  json_object_set_new(o, "bounds", bounds_json(c));
  for (uint32_t i = 0; i < c->operands.cnt; i++)
    json_array_append_new(operands, operand_json(&c->operands.list[i]));
  json_object_set_new(o, "operands", operands);
  return o;
}

static int print_json(const qr_bench_adversary_t *b, const qr_bench_machine_t *m) {
  json_t *o = json_object(), *tasks = json_array();
  json_object_set_new(o, "bench", json_string("adversary"));
  json_object_set_new(o, "chain", json_string(b->chain.p.name));
  json_object_set_new(o, "device", json_string(b->device.name));
  json_object_set_new(o, "machine", qr_cli_bench_machine_json(m));
  json_object_set_new(o, "seconds", json_real(b->seconds));
  json_object_set_new(o, "round_cnt", json_integer(b->round_cnt));
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (!b->with_task[t]) continue;
    json_t *task = json_object(), *cases = json_array();
    json_object_set_new(task, "task", json_string(b->chain.p.tasks[t].name));
    for (uint32_t i = 0; i < b->trick_cnt; i++)
      json_array_append_new(cases, case_json(&b->cases[t][i]));
    json_object_set_new(task, "tricks", cases);
    json_array_append_new(tasks, task);
  }
  json_object_set_new(o, "tasks", tasks);
  return qr_cli_print_json(o);
}

/* ---- for people ---- */

static void print_ratios(const qr_bench_adversary_t *b, uint32_t t) {
  printf("\n%s: attempts a second of a core's time, the adversary's over the honest miner's, and "
         "tickets: less the wrong ones\n  %-12s %18s %18s %18s  %-10s tickets  left out\n",
         b->chain.p.tasks[t].name, "", "honest/s", "adversary/s", "ratio", "exact");
  for (uint32_t i = 0; i < b->trick_cnt; i++) {
    const qr_adversary_case_t *c = &b->cases[t][i];
    printf("  %-12s", c->name);
    qr_cli_bench_print_stat(&c->honest_per_s);
    qr_cli_bench_print_stat(&c->attempts_per_s);
    qr_cli_bench_print_stat(&c->ratio);
    printf("  %3u of %-3u %8.3f  %s\n", c->exact_cnt, c->attempt_cnt, qr_adversary_ticket_ratio(c),
           c->removed);
  }
}

static void print_left(const qr_bench_adversary_t *b, uint32_t t) {
  printf("  %% of the products that is left, a bound from the operands of one step\n  %-12s", "");
  for (uint32_t k = 0; k < QR_BENCH_SAVE_CNT; k++) printf(" %9s", qr_bench_saving_keys[k]);
  putchar('\n');
  for (uint32_t i = 0; i < b->trick_cnt; i++) {
    const qr_adversary_case_t *c = &b->cases[t][i];
    printf("  %-12s", c->name);
    for (uint32_t k = 0; k < QR_BENCH_SAVE_CNT; k++) printf(" %9.1f", 100 * c->operands.left[k]);
    putchar('\n');
  }
}

static void print_products(const qr_bench_adversary_t *b, uint32_t t) {
  printf("  products of small operands, us: the driver's, by lookups, by one level of Strassen's; "
         "ratio of attempts if they paid\n");
  for (uint32_t i = 0; i < b->trick_cnt; i++) {
    const qr_adversary_case_t *c = &b->cases[t][i];
    for (uint32_t k = 0; k < c->lookup_cnt; k++) {
      const qr_adversary_lookup_t *l = &c->lookups[k];
      printf("  %-12s %-12s", c->name, c->operands.list[l->slot].name);
      qr_cli_bench_print_stat(&l->product_us);
      qr_cli_bench_print_stat(&l->lookup_us);
      qr_cli_bench_print_stat(&l->strassen_us);
      if (!k) qr_cli_bench_print_stat(&c->ratio_lookups);
      printf("%s%s\n", l->exact ? "" : "  lookups overflow",
             l->strassen_exact || !l->strassen_us.cnt ? "" : "  STRASSEN WRONG");
    }
  }
}

static int print_table(const qr_bench_adversary_t *b, const qr_bench_machine_t *m) {
  qr_cli_bench_print_machine(m);
  printf("%s; %u rounds over %.1f s, each trick next to its honest attempt: median (min-max)\n",
         b->device.name, b->round_cnt, b->seconds);
  for (uint32_t t = 0; t < b->chain.p.task_cnt; t++) {
    if (!b->with_task[t]) continue;
    print_ratios(b, t);
    print_left(b, t);
    print_products(b, t);
  }
  puts("\nthe models");
  for (uint32_t t = 0, done = 0; t < b->chain.p.task_cnt && !done; t++) {
    for (uint32_t i = 0; i < b->trick_cnt && b->with_task[t]; i++, done = 1)
      printf("  %-12s %s\n", b->cases[t][i].name, b->cases[t][i].what);
  }
  return QR_CLI_OK;
}

/* ---- the command ---- */

static int run_adversary(const qr_cli_t *cli, const qr_cli_bench_args_t *args) {
  char why[256] = "";
  qr_bench_machine_t machine;
  qr_bench_adversary_t *b = malloc(sizeof *b);
  if (!b) return qr_cli_fail(cli, QR_ERR_NOMEM, "cannot take the memory");
  qr_bench_machine(&machine);
  qr_bench_adversary_cfg_t cfg = {.accel = args->accel,
                                  .options = args->accel_options,
                                  .task = args->task,
                                  .folder = args->rivals,
                                  .seconds = args->seconds};
  int rc, err = qr_bench_adversary_run(&cfg, b, why, sizeof why);
  if (err)
    rc = qr_cli_fail(cli, err, why);
  else
    rc = cli->json ? print_json(b, &machine) : print_table(b, &machine);
  free(b);
  return rc;
}

const qr_cli_bench_t qr_cli_bench_adversary = {
    .name = "adversary",
    .run = run_adversary,
    .help = "tickets of a miner that brings models of its choice\n"
            "Each model makes some results of a step the same every time; the miner watches three "
            "attempts and leaves those out.\nIts traces, models and tickets must be the honest "
            "executor's, every byte, in every attempt that is counted. What tricks\non the "
            "products could add is tried (lookups) or bounded from the operands of a real step.",
};
