/* A node is fed blocks with one flipped bit, in every field of header and body, and blocks that a
   miner forged with all hashes made consistent again: each is rejected with the right verdict, and
   the honest block is still accepted afterwards. */
#include "sim/rig.h"

#define FIELD(f) #f, offsetof(forged_t, header.f), sizeof(((qr_header_t *)0)->f)

typedef struct {
  const char *name;
  size_t off, sz;
  enum qr_verdict easy; /* on a chain where every ticket wins */
  enum qr_verdict hard; /* on a chain where one ticket in 512 wins */
} field_case_t;

/* A changed prefix changes sigma, so where tickets are scarce it has lost its ticket before
 * anything else is looked at. */
static const field_case_t fields[] = {
    {FIELD(version), QR_VERDICT_VERSION, QR_VERDICT_VERSION},
    {FIELD(chain_id), QR_VERDICT_CHAIN, QR_VERDICT_CHAIN},
    {FIELD(rules), QR_VERDICT_CHAIN, QR_VERDICT_CHAIN},
    {FIELD(height), QR_VERDICT_HEIGHT, QR_VERDICT_HEIGHT},
    {FIELD(parent), QR_VERDICT_PARENT_UNKNOWN, QR_VERDICT_PARENT_UNKNOWN},
    {FIELD(time_ms), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(target), QR_VERDICT_TARGET, QR_VERDICT_TARGET},
    {FIELD(task), QR_VERDICT_TASK, QR_VERDICT_TASK},
    {FIELD(miner), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(model_in), QR_VERDICT_WITNESS_ROOT, QR_VERDICT_TICKET},
    {FIELD(tx_root), QR_VERDICT_TX_ROOT, QR_VERDICT_TICKET},
    {FIELD(state_root), QR_VERDICT_STATE_ROOT, QR_VERDICT_TICKET},
    {FIELD(nonce), QR_VERDICT_TRACE, QR_VERDICT_TICKET},
    {FIELD(model_out), QR_VERDICT_MODEL_OUT, QR_VERDICT_TICKET},
    {FIELD(trace_last), QR_VERDICT_TRACE_ROOT, QR_VERDICT_TICKET},
    {FIELD(trace_root), QR_VERDICT_TRACE_ROOT, QR_VERDICT_TRACE_ROOT},
    {FIELD(actions_root), QR_VERDICT_ACTIONS_ROOT, QR_VERDICT_ACTIONS_ROOT},
    {FIELD(reward), QR_VERDICT_REWARD, QR_VERDICT_REWARD},
    {FIELD(env_root), QR_VERDICT_ENV_ROOT, QR_VERDICT_ENV_ROOT},
    {FIELD(replay_root), QR_VERDICT_REPLAY_ROOT, QR_VERDICT_REPLAY_ROOT},
};

/* Bits of one byte of a field: all of a header's bits would be 3456 executions for no new
 * information. */
static const struct {
  size_t byte;
  unsigned bit;
} picks[] = {{0, 0}, {0, 7}, {1, 3}, {SIZE_MAX, 1}};

static void flip_every_field(rig_t *r, const forged_t *honest, bool hard, bool seen) {
  static forged_t f;
  for (size_t i = 0; i < QR_ARRAY_CNT(fields); i++) {
    for (size_t k = 0; k < QR_ARRAY_CNT(picks); k++) {
      f = *honest;
      unsigned bit =
          seen ? (picks[k].bit + 2) % 8 : picks[k].bit; /* a header once refuted stays refuted */
      size_t byte = picks[k].byte == SIZE_MAX ? fields[i].sz / 2 : picks[k].byte % fields[i].sz;
      ((uint8_t *)&f)[fields[i].off + byte] ^= (uint8_t)(1u << bit);
      enum qr_verdict v = offer(r, &f), want = hard ? fields[i].hard : fields[i].easy;
      /* Far from the honest time other time rules speak first. */
      if (!strcmp(fields[i].name, "time_ms") &&
          (v == QR_VERDICT_TIME || v == QR_VERDICT_TIME_AHEAD))
        continue;
      /* Once the honest twin was executed, its result contradicts the copy without execution. */
      if (v != want) {
        fail_msg("%s byte %zu bit %u: %s instead of %s (%s)", fields[i].name, byte, bit,
                 qr_verdict_str(v), qr_verdict_str(want),
                 seen ? "after the honest block" : "before it");
      }
    }
  }
}

static void test_flipped_bits(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest;
  for (int hard = 0; hard < 2; hard++) {
    rig_world(&w, "flip", hard ? 9 : 0);
    rig_init(&r, &w);
    mine_first(&r, &honest, NULL, 0);
    flip_every_field(&r, &honest, hard, false);
    assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
    assert_int_equal(offer(&r, &honest), QR_VERDICT_DUPLICATE);
    flip_every_field(&r, &honest, hard, true);
    assert_int_equal(qr_chain_tile_tip(r.chain)->header.height, 1);
    rig_fini(&r);
  }
}

static void test_flipped_body(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  rig_world(&w, "body", 0);
  rig_init(&r, &w);
  mine_first(&r, &honest, NULL, 0);
  f = honest;
  f.trace[0].b[3] ^= 4;
  assert_int_equal(offer(&r, &f), QR_VERDICT_TRACE_ROOT);
  f = honest;
  f.actions[5] ^= 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS_ROOT);
  f = honest;
  f.tx_cnt = 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_TX_ROOT);
  f = honest;
  f.step_cnt = 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_SIZE);
  f = honest;
  f.action_cnt -= 16;
  assert_int_equal(offer(&r, &f), QR_VERDICT_SIZE);
  f = honest;
  f.model[7] ^= 1;
  assert_int_equal(offer(&r, &f), QR_VERDICT_WITNESS_ROOT);
  assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
  rig_fini(&r);
}

/* Forgeries whose commitments are all right, so that only execution can tell. */
static void test_forged_execution(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t honest, f;
  rig_world(&w, "forge", 0);
  rig_init(&r, &w);
  mine_first(&r, &honest, NULL, 0);
  for (uint32_t k = 0; k < honest.step_cnt; k++) {
    f = honest;
    f.trace[k].b[0] ^= 1;
    reseal(&f);
    assert_int_equal(offer(&r, &f), QR_VERDICT_TRACE);
  }
  /* One action that the model did not choose, at the start, in between and at the end of the
   * segment. */
  for (uint32_t i = 0; i < honest.action_cnt; i += 9) {
    f = honest;
    f.actions[i] = (uint8_t)((f.actions[i] + 1) % 3);
    reseal(&f);
    assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS);
  }
  f = honest;
  f.actions[0] = 3;
  reseal(&f);
  assert_int_equal(offer(&r, &f), QR_VERDICT_ACTIONS);
  assert_int_equal(offer(&r, &honest), QR_VERDICT_OK);
  rig_fini(&r);
}

static qr_tx_t transfer(uint64_t amount, uint64_t seq, uint64_t chain_id) {
  uint8_t seed[32] = {9};
  qr_key_t k;
  qr_key_from_seed(seed, &k);
  qr_tx_t tx = {.kind = QR_TX_TRANSFER, .from = k.pk, .amount = amount, .fee = 1, .seq = seq};
  tx.to.b[0] = 1;
  qr_hash_t h = qr_tx_sign_hash(&tx, chain_id);
  qr_sign(&k, &h, sizeof h, &tx.sig);
  return tx;
}

static void test_bad_transactions(void **state) {
  (void)state;
  static world_t w;
  static rig_t r;
  static forged_t f;
  rig_world(&w, "tx", 0);
  uint64_t id = w.chain.p.chain_id;
  struct {
    qr_tx_t tx;
    enum qr_verdict want;
  } cases[6] = {
      {transfer(10, 0, id), QR_VERDICT_OK},
      {transfer(10, 1, id), QR_VERDICT_TX_SEQUENCE},
      {transfer(1000, 0, id), QR_VERDICT_TX_BALANCE},
      {transfer(UINT64_MAX, 0, id), QR_VERDICT_TX_BALANCE},
      {transfer(10, 0, id + 1), QR_VERDICT_TX_SIGNATURE},
      {transfer(10, 0, id), QR_VERDICT_TX_SYNTAX},
  };
  cases[5].tx.kind = 77;
  for (size_t i = QR_ARRAY_CNT(cases); i-- > 0;) {
    rig_init(&r, &w);
    mine_first(&r, &f, &cases[i].tx, 1);
    assert_int_equal(offer(&r, &f), cases[i].want);
    assert_int_equal(qr_chain_tile_tip(r.chain)->header.height, cases[i].want ? 0 : 1);
    rig_fini(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_flipped_bits),
      cmocka_unit_test(test_flipped_body),
      cmocka_unit_test(test_forged_execution),
      cmocka_unit_test(test_bad_transactions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
