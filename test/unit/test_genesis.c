/* Genesis files: what is written is read back as the same chain; what is not exactly a genesis file
 * is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/genesis.h"
#include "base/err.h"

static char dir[] = "/tmp/quarry-genesis-XXXXXX";
static char path[64];
static char why[256];

static int make_dir(void **state) {
  (void)state;
  if (!mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/genesis.json", dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  return rmdir(dir);
}

static qr_params_t profile(const char *name) {
  qr_params_t p;
  assert_int_equal(qr_genesis_read(name, &p, why, sizeof why), QR_OK);
  return p;
}

/* The genesis file of p as text, to be freed. */
static char *text_of(const qr_params_t *p) {
  unlink(path);
  if (qr_genesis_write(path, p, why, sizeof why)) fail_msg("not written: %s", why);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  char *text = calloc(1, QR_GENESIS_FILE_MAX_SZ);
  assert_true(fread(text, 1, QR_GENESIS_FILE_MAX_SZ - 1, f) > 100);
  fclose(f);
  unlink(path);
  return text;
}

static int parse(const char *text, qr_params_t *p) {
  why[0] = 0;
  return qr_genesis_parse(text, strlen(text), p, why, sizeof why);
}

/* text with the first occurrence of from replaced by to, to be freed. */
static char *replaced(const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  if (!at) fail_msg("the file has no %s", from);
  char *out = calloc(1, strlen(text) + strlen(to) + 1);
  memcpy(out, text, (size_t)(at - text));
  strcat(out, to);
  strcat(out, at + strlen(from));
  return out;
}

static void test_profiles_round_trip(void **state) {
  (void)state;
  static const char *const names[] = {"devnet", "regtest", "main", "regtest-catch",
                                      "regtest-cartpole"};
  for (size_t i = 0; i < QR_ARRAY_CNT(names); i++) {
    qr_params_t p = profile(names[i]), back;
    assert_int_equal(p.genesis_time_ms, QR_GENESIS_PROFILE_TIME_MS);
    memset(&back, 0x55, sizeof back);
    assert_int_equal(qr_genesis_write(path, &p, why, sizeof why), QR_OK);
    assert_int_equal(qr_genesis_read(path, &back, why, sizeof why), QR_OK);
    assert_memory_equal(&p, &back, sizeof p);
    unlink(path);
  }
}

/* Every number differs from every other, so that no two can change places unseen. */
static void test_every_parameter(void **state) {
  (void)state;
  qr_params_t p = profile("devnet"), back;
  snprintf(p.name, sizeof p.name, "a-name-of-thirty-one-characters");
  p.chain_id = INT64_MAX;
  p.genesis_time_ms = UINT64_C(253402300799999);
  memset(p.seed.b, 0xfe, sizeof p.seed.b);
  p.step_cnt = 17;
  p.segment_rows = 512;
  p.eval_rows = 2064;
  p.replay_rows = 4096;
  p.warmup_segments = 3;
  p.target_window = 9;
  p.witness_window = 65;
  p.reorg_limit = 513;
  p.max_target = 0x1fabcd00u & ~0x800000u;
  p.block_ms = 2001;
  p.asert_halflife_ms = 60001;
  p.drift_ms = UINT32_MAX;
  p.tie_rule = QR_TIE_REWARD_SUM;
  p.tie_window_ms = 1001;
  p.subsidy = UINT64_C(1) << 62;
  p.premine_cnt = QR_PREMINE_MAX_CNT;
  for (uint32_t i = 0; i < p.premine_cnt; i++) {
    memset(p.premine[i].to.b, (int)(i + 1), QR_PUBKEY_SZ);
    p.premine[i].amount = 100 + i;
  }
  qr_task_params_t *t = &p.tasks[1];
  t->gamma_q16 = 3;
  t->q_clip = 1 << 26;
  t->eps_start_q16 = 65535;
  t->eps_end_q16 = 5;
  t->eps_blocks = 31;
  t->lr_halve_blocks = 26;
  t->lr_halve_max = 16;
  t->work_q16 = 1u << 24;
  t->reward_scale = INT64_C(1) << 47;
  t->net.layers[0].init_fan = 101;
  t->net.layers[1].lr_shift = 4;
  char *text = text_of(&p);
  assert_int_equal(parse(text, &back), QR_OK);
  assert_memory_equal(&p, &back, sizeof p);
  free(text);
}

/* Without any one key: refused, and the key is named. With one more: likewise. */
static void test_keys(void **state) {
  (void)state;
  qr_params_t p = profile("devnet"), out;
  p.premine_cnt = 1;
  p.premine[0].amount = 5;
  char *text = text_of(&p);
  uint32_t cnt = 0;
  for (const char *at = text; (at = strstr(at, "\": "));) {
    const char *begin = at;
    while (begin[-1] != '"') begin--;
    char key[64], *bad = calloc(1, strlen(text) + 2);
    snprintf(key, sizeof key, "%.*s", (int)(at - begin), begin);
    memcpy(bad, text, strlen(text));
    bad[begin - text] = 'X';
    assert_int_equal(parse(bad, &out), QR_ERR_ARG);
    if (!strstr(why, key) || !strstr(why, "missing")) fail_msg("without %s: %s", key, why);
    free(bad);
    at += 3;
    cnt++;
  }
  assert_int_equal(cnt, 21 + 2 + 2 * (12 + 7) + 3 * 4 + 2 * 6 + 2 * 4);
  free(text);
}

static const struct {
  const char *from, *to, *named;
} bad[] = {
    {"{", "{\"extra\": 1,", "extra"},
    {"\"net\": {", "\"net\": {\"extra\": 1,", "tasks[0].net has extra"},
    {"\"premine\": []", "\"premine\": [1]", "premine[0]"},
    {"\"premine\": []", "\"premine\": {}", "premine"},
    {"\"premine\": []", "\"premine\": [{\"to\": \"00\", \"amount\": 1}]", "premine[0].to"},
    {"\"tasks\": [", "\"tasks\": [[],", "tasks[0]"},
    {"\"tasks\": [", "\"tasks\": [{},{},{},{},{},", "tasks has 7 entries"},
    {"\"layers\": [", "\"layers\": [7,", "tasks[0].net.layers[0]"},
    {"\"layers\": [", "\"layers\": [7,7,7,7,", "layers has 7 entries"},
    {"\"chain_id\": 2", "\"chain_id\": 2.0", "chain_id must be a whole number"},
    {"\"chain_id\": 2", "\"chain_id\": \"2\"", "chain_id must be a whole number"},
    {"\"chain_id\": 2", "\"chain_id\": true", "chain_id must be a whole number"},
    {"\"chain_id\": 2", "\"chain_id\": null", "chain_id must be a whole number"},
    {"\"chain_id\": 2", "\"chain_id\": -1", "chain_id"},
    {"\"chain_id\": 2", "\"chain_id\": 0", "chain_id"},
    {"\"step_cnt\": 32", "\"step_cnt\": 4294967296", "step_cnt"},
    {"\"step_cnt\": 32", "\"step_cnt\": 4294967312", "step_cnt"},
    {"\"step_cnt\": 32", "\"step_cnt\": 65", "step_cnt"},
    {"\"q_clip\": 524288", "\"q_clip\": 2147483648", "q_clip"},
    {"\"q_clip\": 524288", "\"q_clip\": -2147483649", "q_clip"},
    {"\"q_clip\": 524288", "\"q_clip\": -1", "q_clip"},
    {"\"reward_scale\": ", "\"reward_scale\": -", "reward_scale"},
    {"\"tie_rule\": \"reward\"", "\"tie_rule\": \"Reward\"", "tie_rule"},
    {"\"tie_rule\": \"reward\"", "\"tie_rule\": 0", "tie_rule must be a string"},
    {"\"env\": \"microgrid\"", "\"env\": \"tetris\"", "tetris"},
    {"\"kind\": \"dense\"", "\"kind\": \"conv3\"", "stride_y is missing"},
    {"\"kind\": \"dense\"", "\"kind\": \"\"", "kind"},
    {"\"stride_y\": 1", "\"stride_y\": 3", "tasks[1].net"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": \"0x2020000\"", "max_target"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": \"0x202000000\"", "max_target"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": \"\"", "max_target"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": \"0\"", "max_target"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": \"0x20a00000\"", "max_target"},
    {"\"max_target\": \"0x20100000\"", "\"max_target\": 538968064", "max_target must be a string"},
    {"\"seed\": \"", "\"seed\": \"0", "seed"},
    {"\"name\": \"devnet\"", "\"name\": \"\"", "name"},
    {"\"name\": \"devnet\"", "\"name\": \"a name of more than thirty-one characters\"", "name"},
    {"\"name\": \"microgrid-map\"", "\"name\": \"microgrid\"", "tasks[1].name"},
};

static void test_values(void **state) {
  (void)state;
  qr_params_t p = profile("devnet"), out;
  char *text = text_of(&p);
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    char *changed = replaced(text, bad[i].from, bad[i].to);
    memset(&out, 0x77, sizeof out);
    if (parse(changed, &out) != QR_ERR_ARG) fail_msg("%s was not refused (%s)", bad[i].to, why);
    if (!strstr(why, bad[i].named))
      fail_msg("%s: \"%s\" does not name %s", bad[i].to, why, bad[i].named);
    for (size_t j = 0; j < sizeof out; j++) assert_int_equal(((uint8_t *)&out)[j], 0x77);
    free(changed);
  }
  free(text);
}

static void test_not_json(void **state) {
  (void)state;
  qr_params_t p = profile("regtest-catch"), out;
  char *text = text_of(&p);
  size_t sz = strlen(text) - 1; /* but for the newline at the end */
  for (size_t n = 0; n < sz; n++) {
    assert_int_equal(qr_genesis_parse(text, n, &out, why, sizeof why), QR_ERR_FORMAT);
  }
  assert_int_equal(qr_genesis_parse(text, sz, &out, why, sizeof why), QR_OK);
  char *more = replaced(text, "\"chain_id\": 4", "\"chain_id\": 4, \"chain_id\": 4");
  assert_int_equal(parse(more, &out), QR_ERR_FORMAT);
  free(more);
  more = replaced(text, "\"chain_id\": 4", "\"chain_id\": 99999999999999999999");
  assert_int_equal(parse(more, &out), QR_ERR_FORMAT);
  free(more);
  more = replaced(text, "\"name\": \"catch\"", "\"name\": \"ca\\u0000tch\"");
  assert_int_equal(parse(more, &out), QR_ERR_FORMAT);
  free(more);
  more = calloc(1, 100001);
  memset(more, '[', 100000);
  assert_int_equal(parse(more, &out), QR_ERR_FORMAT);
  free(more);
  static const char *const other[] = {
      "", "null", "[]x", "{} {}", "\xff\xfe", "{\"a\": \"\xc3\"}", "{\"name\"}"};
  for (size_t i = 0; i < QR_ARRAY_CNT(other); i++)
    assert_int_equal(parse(other[i], &out), QR_ERR_FORMAT);
  assert_int_equal(parse("[]", &out), QR_ERR_ARG);
  assert_string_equal(why, "the file must be an object");
  assert_int_equal(parse("{}", &out), QR_ERR_ARG);
  free(text);
}

static void test_files(void **state) {
  (void)state;
  qr_params_t p = profile("regtest"), out;
  assert_int_equal(qr_genesis_read("no-such-profile", &out, why, sizeof why), QR_ERR_NOTFOUND);
  assert_non_null(strstr(why, "regtest-cartpole"));
  assert_int_equal(qr_genesis_read(dir, &out, why, sizeof why), QR_ERR_IO);
  assert_int_equal(qr_genesis_write("/nonexistent/genesis.json", &p, why, sizeof why), QR_ERR_IO);
  assert_int_equal(qr_genesis_write(path, &p, why, sizeof why), QR_OK);
  assert_int_equal(qr_genesis_write(path, &p, why, sizeof why), QR_ERR_BUSY);
  assert_non_null(strstr(why, path));
  unlink(path);
  p.step_cnt = 0;
  assert_int_equal(qr_genesis_write(path, &p, why, sizeof why), QR_ERR_ARG);
  assert_non_null(strstr(why, "step_cnt"));
  assert_int_not_equal(access(path, F_OK), 0);

  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  for (uint32_t i = 0; i <= QR_GENESIS_FILE_MAX_SZ; i++) fputc(' ', f);
  fclose(f);
  assert_int_equal(qr_genesis_read(path, &out, why, sizeof why), QR_ERR_FORMAT);
  assert_non_null(strstr(why, "larger"));
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_profiles_round_trip),
      cmocka_unit_test(test_every_parameter),
      cmocka_unit_test(test_keys),
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_not_json),
      cmocka_unit_test(test_files),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
