/* Parameters: the profiles hold, every limit is refused by name, and the rules hash sees every
 * parameter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "chain/params.h"
#include "chain/target.h"
#include "wire/block.h"

static const char *const profiles[] = {"devnet", "regtest", "main", "regtest-catch",
                                       "regtest-cartpole"};

static qr_params_t profile(const char *name) {
  qr_params_t p;
  assert_true(qr_params_profile(name, &p));
  return p;
}

static qr_hash_t rules_of(const qr_params_t *p) {
  static qr_chain_cfg_t cfg;
  char why[256] = "";
  int err = qr_params_init(p, &cfg, why, sizeof why);
  if (err) fail_msg("refused: %s", why);
  return cfg.rules;
}

static void test_profiles(void **state) {
  (void)state;
  qr_hash_t rules[QR_ARRAY_CNT(profiles)];
  uint64_t ids[QR_ARRAY_CNT(profiles)];
  for (size_t i = 0; i < QR_ARRAY_CNT(profiles); i++) {
    qr_params_t p = profile(profiles[i]);
    assert_string_equal(p.name, profiles[i]);
    assert_int_equal(p.genesis_time_ms, 0);
    rules[i] = rules_of(&p);
    ids[i] = p.chain_id;
    for (size_t j = 0; j < i; j++) {
      assert_false(qr_hash_eq(&rules[i], &rules[j]));
      assert_int_not_equal(ids[i], ids[j]);
    }
  }
  qr_params_t p;
  assert_false(qr_params_profile("", &p));
  assert_false(qr_params_profile("Devnet", &p));
  assert_false(qr_params_profile("devnet2", &p));
}

/* The cost that a task claims is the cost of its products, within one part in 1000. */
static void test_work_is_cost(void **state) {
  (void)state;
  static const char *const two[] = {"devnet", "main", "regtest"};
  for (size_t i = 0; i < QR_ARRAY_CNT(two); i++) {
    static qr_chain_cfg_t cfg;
    char why[256];
    qr_params_t p = profile(two[i]);
    assert_int_equal(qr_params_init(&p, &cfg, why, sizeof why), QR_OK);
    assert_int_equal(p.tasks[0].work_q16, 65536);
    double ratio = (double)cfg.nets[1].mac_cnt_step / (double)cfg.nets[0].mac_cnt_step;
    double claimed = p.tasks[1].work_q16 / 65536.0;
    assert_true(claimed > ratio * 0.999 && claimed < ratio * 1.001);
  }
}

static void test_profile_targets(void **state) {
  (void)state;
  qr_params_t dev = profile("devnet"), reg = profile("regtest");
  qr_u256_t t, sixteenth = qr_u256_from_u64(1);
  assert_true(qr_target_expand(dev.max_target, &t));
  sixteenth = qr_u256_shl_sat(&sixteenth, 252);
  assert_memory_equal(&t, &sixteenth, sizeof t);
  assert_true(qr_target_expand(reg.max_target, &t));
  assert_int_equal(t.w[3] >> 48, 0xffff); /* all but one ticket in 65536 */
  assert_int_equal(reg.asert_halflife_ms, 0);
}

/* ---- refusals: one change, and the sentence must name what was changed ---- */

typedef void (*change_fn)(qr_params_t *p);
#define CHANGE(fn, code)                                                                           \
  static void fn(qr_params_t *p) { code; }

CHANGE(no_name, p->name[0] = 0)
CHANGE(open_name, memset(p->name, 'a', 32))
CHANGE(bad_name, p->name[1] = 'X')
CHANGE(chain_zero, p->chain_id = 0)
CHANGE(chain_big, p->chain_id = UINT64_MAX)
CHANGE(time_big, p->genesis_time_ms = UINT64_C(253402300800000))
CHANGE(tasks_none, p->task_cnt = 0)
CHANGE(tasks_many, p->task_cnt = QR_TASK_MAX_CNT + 1)
CHANGE(task_name, p->tasks[1].name[0] = ' ')
CHANGE(task_twice, memcpy(p->tasks[1].name, p->tasks[0].name, 32))
CHANGE(env_unknown, p->tasks[0].env = QR_ENV_CNT)
CHANGE(env_huge, p->tasks[0].env = UINT32_MAX)
CHANGE(env_other, p->tasks[0].env = QR_ENV_CATCH)
CHANGE(in_c, p->tasks[0].net.in_c = 64)
CHANGE(in_h, p->tasks[1].net.in_h = 8)
CHANGE(in_w, p->tasks[1].net.in_w = 12)
CHANGE(actions, p->tasks[0].net.action_cnt = 4)
CHANGE(layers_none, p->tasks[0].net.layer_cnt = 0)
CHANGE(layers_many, p->tasks[0].net.layer_cnt = 100)
CHANGE(layer_odd, p->tasks[0].net.layers[1].out = 100)
CHANGE(layer_kind, p->tasks[0].net.layers[1].kind = 7)
CHANGE(layer_stride, p->tasks[0].net.layers[1].stride_x = 1)
CHANGE(layer_lr, p->tasks[0].net.layers[1].lr_shift = 17)
CHANGE(model_big, p->tasks[0].net.layers[0].out = p->tasks[0].net.layers[1].out = 1008)
CHANGE(batch, p->tasks[0].net.batch = 100)
CHANGE(gamma_one, p->tasks[0].gamma_q16 = 65536)
CHANGE(q_clip_zero, p->tasks[0].q_clip = 0)
CHANGE(q_clip_neg, p->tasks[0].q_clip = -1)
CHANGE(q_clip_big, p->tasks[0].q_clip = INT32_MAX)
CHANGE(eps_start, p->tasks[0].eps_start_q16 = 65537)
CHANGE(eps_end, p->tasks[0].eps_end_q16 = p->tasks[0].eps_start_q16 + 1)
CHANGE(eps_blocks, p->tasks[0].eps_blocks = 1000001)
CHANGE(lr_blocks, p->tasks[1].lr_halve_blocks = 1000001)
CHANGE(lr_max_none, p->tasks[1].lr_halve_max = 0)
CHANGE(lr_max_big, p->tasks[1].lr_halve_max = 17)
CHANGE(lr_max_idle, p->tasks[0].lr_halve_blocks = 0)
CHANGE(work_low, p->tasks[0].work_q16 = 255)
CHANGE(work_high, p->tasks[0].work_q16 = (1u << 24) + 1)
CHANGE(scale_zero, p->tasks[0].reward_scale = 0)
CHANGE(scale_neg, p->tasks[0].reward_scale = INT64_MIN)
CHANGE(scale_big, p->tasks[0].reward_scale = (INT64_C(1) << 47) + 1)
CHANGE(steps_none, p->step_cnt = 0)
CHANGE(steps_many, p->step_cnt = QR_BLOCK_STEP_MAX_CNT + 1)
CHANGE(rows_none, p->segment_rows = 0)
CHANGE(rows_odd, p->segment_rows = 1000)
CHANGE(rows_many, p->segment_rows = QR_BLOCK_ACTION_MAX_CNT + 16)
CHANGE(eval_odd, p->eval_rows = 8)
CHANGE(eval_many, p->eval_rows = UINT32_MAX - 15)
CHANGE(replay_odd, p->replay_rows += 16)
CHANGE(replay_none, p->replay_rows = 0)
CHANGE(replay_many, p->replay_rows = p->segment_rows * (QR_REPLAY_SEGMENT_MAX_CNT + 1))
CHANGE(warmup_none, p->warmup_segments = 0)
CHANGE(warmup_many, p->warmup_segments = p->replay_rows / p->segment_rows + 1)
CHANGE(warmup_few, p->segment_rows = 64; p->replay_rows = 1024; p->warmup_segments = 3)
CHANGE(window_none, p->target_window = 0)
CHANGE(window_many, p->target_window = 65)
CHANGE(witness_many, p->witness_window = 1025)
CHANGE(reorg_none, p->reorg_limit = 0)
CHANGE(reorg_many, p->reorg_limit = 65537)
CHANGE(target_zero, p->max_target = 0)
CHANGE(target_form, p->max_target = 0x20800000)
CHANGE(block_none, p->block_ms = 0)
CHANGE(block_long, p->block_ms = 86400001)
CHANGE(halflife_short, p->asert_halflife_ms = p->block_ms - 1)
CHANGE(tie_rule, p->tie_rule = 3)
CHANGE(tie_window, p->tie_window_ms = 600001)
CHANGE(subsidy_big, p->subsidy = (UINT64_C(1) << 62) + 1)
CHANGE(premine_many, p->premine_cnt = QR_PREMINE_MAX_CNT + 1)
CHANGE(premine_zero, p->premine_cnt = 1)
CHANGE(premine_big, p->premine_cnt = 1; p->premine[0].amount = (UINT64_C(1) << 62) + 1)
CHANGE(premine_sum, p->premine_cnt = 2; p->premine[1].to.b[0] = 1;
       p->premine[0].amount = UINT64_C(1) << 62; p->premine[1].amount = 1)
CHANGE(premine_twice, p->premine_cnt = 2; p->premine[0].amount = p->premine[1].amount = 1)

static const struct {
  change_fn change;
  const char *named;
} refused[] = {
    {no_name, "name"},
    {open_name, "name"},
    {bad_name, "name"},
    {chain_zero, "chain_id"},
    {chain_big, "chain_id"},
    {time_big, "genesis_time_ms"},
    {tasks_none, "task_cnt"},
    {tasks_many, "task_cnt"},
    {task_name, "tasks[1].name"},
    {task_twice, "tasks[1].name"},
    {env_unknown, "tasks[0].env"},
    {env_huge, "tasks[0].env"},
    {env_other, "tasks[0].net.in"},
    {in_c, "tasks[0].net.in"},
    {in_h, "tasks[1].net.in"},
    {in_w, "tasks[1].net.in"},
    {actions, "tasks[0].net.action_cnt"},
    {layers_none, "tasks[0].net"},
    {layers_many, "tasks[0].net"},
    {layer_odd, "tasks[0].net"},
    {layer_kind, "tasks[0].net"},
    {layer_stride, "tasks[0].net.layers[1].stride"},
    {layer_lr, "tasks[0].net"},
    {model_big, "tasks[0].net"},
    {batch, "tasks[0].net"},
    {gamma_one, "tasks[0].gamma_q16"},
    {q_clip_zero, "tasks[0].q_clip"},
    {q_clip_neg, "tasks[0].q_clip"},
    {q_clip_big, "tasks[0].q_clip"},
    {eps_start, "tasks[0].eps_start_q16"},
    {eps_end, "tasks[0].eps_end_q16"},
    {eps_blocks, "tasks[0].eps_blocks"},
    {lr_blocks, "tasks[1].lr_halve_blocks"},
    {lr_max_none, "tasks[1].lr_halve_max"},
    {lr_max_big, "tasks[1].lr_halve_max"},
    {lr_max_idle, "tasks[0].lr_halve_max"},
    {work_low, "tasks[0].work_q16"},
    {work_high, "tasks[0].work_q16"},
    {scale_zero, "tasks[0].reward_scale"},
    {scale_neg, "tasks[0].reward_scale"},
    {scale_big, "tasks[0].reward_scale"},
    {steps_none, "step_cnt"},
    {steps_many, "step_cnt"},
    {rows_none, "segment_rows"},
    {rows_odd, "segment_rows"},
    {rows_many, "segment_rows"},
    {eval_odd, "eval_rows"},
    {eval_many, "eval_rows"},
    {replay_odd, "replay_rows"},
    {replay_none, "replay_rows"},
    {replay_many, "replay_rows"},
    {warmup_none, "warmup_segments"},
    {warmup_many, "warmup_segments"},
    {warmup_few, "warmup_segments"},
    {window_none, "target_window"},
    {window_many, "target_window"},
    {witness_many, "witness_window"},
    {reorg_none, "reorg_limit"},
    {reorg_many, "reorg_limit"},
    {target_zero, "max_target"},
    {target_form, "max_target"},
    {block_none, "block_ms"},
    {block_long, "block_ms"},
    {halflife_short, "asert_halflife_ms"},
    {tie_rule, "tie_rule"},
    {tie_window, "tie_window_ms"},
    {subsidy_big, "subsidy"},
    {premine_many, "premine_cnt"},
    {premine_zero, "premine[0].amount"},
    {premine_big, "premine[0].amount"},
    {premine_sum, "premine[1].amount"},
    {premine_twice, "premine[1].to"},
};

static void test_refusals(void **state) {
  (void)state;
  static qr_chain_cfg_t cfg;
  for (size_t i = 0; i < QR_ARRAY_CNT(refused); i++) {
    qr_params_t p = profile("devnet");
    char why[256] = "";
    refused[i].change(&p);
    int err = qr_params_init(&p, &cfg, why, sizeof why);
    if (err != QR_ERR_ARG) fail_msg("change %zu (%s) was not refused", i, refused[i].named);
    if (strncmp(why, refused[i].named, strlen(refused[i].named)) != 0) {
      fail_msg("change %zu: \"%s\" does not begin with %s", i, why, refused[i].named);
    }
    assert_true(strlen(why) > strlen(refused[i].named) + 10);
  }
}

/* A sentence that does not fit is cut, never written beyond its buffer. */
static void test_short_why(void **state) {
  (void)state;
  static qr_chain_cfg_t cfg;
  for (size_t i = 0; i < QR_ARRAY_CNT(refused); i++) {
    for (size_t sz = 1; sz < 40; sz += 6) {
      qr_params_t p = profile("devnet");
      char why[41];
      memset(why, '#', sizeof why);
      refused[i].change(&p);
      assert_int_equal(qr_params_init(&p, &cfg, why, sz), QR_ERR_ARG);
      assert_non_null(memchr(why, 0, sz));
      assert_int_equal(why[sz], '#');
    }
  }
}

/* ---- the rules hash sees everything that is in force, and nothing that is not ---- */

CHANGE(h_name, p->name[0] = 'x')
CHANGE(h_chain, p->chain_id++)
CHANGE(h_time, p->genesis_time_ms++)
CHANGE(h_seed, p->seed.b[31] ^= 1)
CHANGE(h_tasks, p->task_cnt = 1)
CHANGE(h_order, qr_task_params_t t = p->tasks[0]; p->tasks[0] = p->tasks[1]; p->tasks[1] = t)
CHANGE(h_task_name, p->tasks[1].name[0] = 'x')
CHANGE(h_out, p->tasks[1].net.layers[2].out = 240)
CHANGE(h_stride, p->tasks[1].net.layers[1].stride_y = 1; p->tasks[1].net.layers[1].stride_x = 3)
CHANGE(h_lr, p->tasks[0].net.layers[0].lr_shift++)
CHANGE(h_fan, p->tasks[0].net.layers[0].init_fan++)
CHANGE(h_batch, p->tasks[0].net.batch = 128)
CHANGE(h_frac, p->tasks[0].net.act_frac = 4)
CHANGE(h_gamma, p->tasks[1].gamma_q16++)
CHANGE(h_clip, p->tasks[1].q_clip++)
CHANGE(h_eps_start, p->tasks[1].eps_start_q16--)
CHANGE(h_eps_end, p->tasks[1].eps_end_q16--)
CHANGE(h_eps_blocks, p->tasks[1].eps_blocks--)
CHANGE(h_lr_blocks, p->tasks[1].lr_halve_blocks--)
CHANGE(h_lr_max, p->tasks[1].lr_halve_max++)
CHANGE(h_work, p->tasks[1].work_q16++)
CHANGE(h_scale, p->tasks[1].reward_scale += INT64_C(1) << 40)
CHANGE(h_steps, p->step_cnt++)
CHANGE(h_rows, p->segment_rows *= 2)
CHANGE(h_eval, p->eval_rows += 16)
CHANGE(h_replay, p->replay_rows += p->segment_rows)
CHANGE(h_warmup, p->warmup_segments++)
CHANGE(h_window, p->target_window++)
CHANGE(h_witness, p->witness_window++)
CHANGE(h_reorg, p->reorg_limit++)
CHANGE(h_target, p->max_target++)
CHANGE(h_block, p->block_ms++)
CHANGE(h_half, p->asert_halflife_ms++)
CHANGE(h_drift, p->drift_ms++)
CHANGE(h_tie, p->tie_rule = QR_TIE_REWARD_SUM)
CHANGE(h_tie_window, p->tie_window_ms++)
CHANGE(h_subsidy, p->subsidy += UINT64_C(1) << 33)
CHANGE(h_premine, p->premine_cnt = 1; p->premine[0].amount = 1)
CHANGE(h_premine_to, p->premine_cnt = 1; p->premine[0].amount = 1; p->premine[0].to.b[0] = 1)
CHANGE(h_premine_amount, p->premine_cnt = 1; p->premine[0].amount = UINT64_C(1) << 40)

static const change_fn seen[] = {
    h_name,       h_chain,     h_time,    h_seed,       h_tasks,          h_order,  h_task_name,
    h_out,        h_stride,    h_lr,      h_fan,        h_batch,          h_frac,   h_gamma,
    h_clip,       h_eps_start, h_eps_end, h_eps_blocks, h_lr_blocks,      h_lr_max, h_work,
    h_scale,      h_steps,     h_rows,    h_eval,       h_replay,         h_warmup, h_window,
    h_witness,    h_reorg,     h_target,  h_block,      h_half,           h_drift,  h_tie,
    h_tie_window, h_subsidy,   h_premine, h_premine_to, h_premine_amount,
};

CHANGE(i_name_tail, p->name[31] = 'x')
CHANGE(i_task, p->tasks[2].gamma_q16 = 1)
CHANGE(i_layer, p->tasks[0].net.layers[5].out = 16)
CHANGE(i_premine, p->premine[0].amount = 1)
static const change_fn unseen[] = {i_name_tail, i_task, i_layer, i_premine};

static void test_rules_hash(void **state) {
  (void)state;
  qr_params_t base = profile("devnet");
  qr_hash_t hashes[QR_ARRAY_CNT(seen) + 1] = {rules_of(&base)};
  for (size_t i = 0; i < QR_ARRAY_CNT(seen); i++) {
    qr_params_t p = base;
    seen[i](&p);
    hashes[i + 1] = rules_of(&p);
    for (size_t j = 0; j <= i; j++) {
      if (qr_hash_eq(&hashes[i + 1], &hashes[j]))
        fail_msg("changes %zu and %zu hash the same", i, j);
    }
  }
  for (size_t i = 0; i < QR_ARRAY_CNT(unseen); i++) {
    qr_params_t p = base;
    unseen[i](&p);
    qr_hash_t h = rules_of(&p);
    assert_true(qr_hash_eq(&h, &hashes[0]));
  }
}

/* ---- schedules ---- */

static void test_schedules(void **state) {
  (void)state;
  qr_task_params_t t = {.eps_start_q16 = 65536,
                        .eps_end_q16 = 1311,
                        .eps_blocks = 30,
                        .lr_halve_blocks = 25,
                        .lr_halve_max = 2};
  uint32_t before = 65537;
  assert_int_equal(qr_params_eps(&t, 0), 65536);
  assert_int_equal(qr_params_eps(&t, 1), 65536 - 64225 / 30);
  assert_int_equal(qr_params_eps(&t, 15), 65536 - 64225 / 2);
  for (uint64_t n = 0; n < 30; n++) {
    assert_true(qr_params_eps(&t, n) < before);
    before = qr_params_eps(&t, n);
  }
  assert_int_equal(qr_params_eps(&t, 30), 1311);
  assert_int_equal(qr_params_eps(&t, UINT64_MAX), 1311);
  t.eps_blocks = 0;
  assert_int_equal(qr_params_eps(&t, 0), 1311);

  static const uint64_t at[] = {0, 24, 25, 49, 50, 75, UINT64_MAX};
  static const uint32_t shift[] = {0, 0, 1, 1, 2, 2, 2};
  for (size_t i = 0; i < QR_ARRAY_CNT(at); i++) {
    assert_int_equal(qr_params_lr_shift(&t, at[i]), shift[i]);
  }
  t.lr_halve_blocks = 0;
  assert_int_equal(qr_params_lr_shift(&t, 1000), 0);

  qr_params_t p = {.task_cnt = 3};
  for (uint64_t h = 1; h < 20; h++) assert_int_equal(qr_params_task_of(&p, h), (h - 1) % 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_profiles),        cmocka_unit_test(test_work_is_cost),
      cmocka_unit_test(test_profile_targets), cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_short_why),       cmocka_unit_test(test_rules_hash),
      cmocka_unit_test(test_schedules),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
