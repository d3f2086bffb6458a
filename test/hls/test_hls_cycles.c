/* The table of cycles in hls/README.md: computed here, compared there, and checked against counts
   made by hand. QUARRY_PRINT_CYCLES=1 prints the table instead. */
#include "hls_rig.h"

#include "hls_cycles.h"
#include "net_specs.h"

#define ATTEMPT_STEPS 32u
#define MHZ 300u
#define SEGMENTS 64u /* the replay of the development chain */
#define ROWS 65536u

static qr_eng_prog_t decoded;
static qr_eng_plan_t plan;

/* The network of a ticket, decoded and planned. */
static uint64_t load(bool map) {
  static const qr_net_spec_t dense = NET_MICROGRID, conv = NET_MICROGRID_MAP;
  static qr_net_t net;
  static qr_step_prog_t prog;
  assert_int_equal(qr_net_init(map ? &conv : &dense, &net, NULL, 0), 0);
  qr_step_lower(&net, &prog);
  qr_engine_place_t place;
  qr_engine_place(prog.bufs, prog.buf_cnt, &place);
  qr_eng_win_t win = {.model_cnt = net.model_sz,
                      .s8_cnt = (uint32_t)place.s8_cnt,
                      .s32_cnt = (uint32_t)place.s32_cnt};
  static uint32_t words[QR_ENGINE_PROG_CNT];
  memcpy(words, &prog, sizeof prog);
  assert_int_equal(qr_eng_decode(words, &win, &decoded).status, QR_ENGINE_OK);
  qr_eng_plan(&decoded, decoded.op_cnt, true, &plan);
  return net.mac_cnt_step;
}

static uint64_t attempt(const cyc_t *step) {
  return ATTEMPT_STEPS * cyc_sum(step) + cyc_replay(SEGMENTS, ROWS);
}

static void print_table(FILE *f) {
  cyc_t c[4];
  uint64_t mac[2];
  for (int i = 0; i < 4; i++) {
    mac[i / 2] = load(i / 2);
    c[i] = cyc_step(&decoded, &plan, ROWS, i & 1 ? 32 : 16);
  }
  fprintf(f, "| cycles per step | microgrid T=16 | microgrid T=32 | map T=16 | map T=32 "
             "|\n|---|---|---|---|---|\n");
  for (int u = 0; u < CYC_UNIT_CNT; u++) {
    fprintf(f, "| %s |", cyc_names[u]);
    for (int i = 0; i < 4; i++) fprintf(f, " %lu |", (unsigned long)c[i].unit[u]);
    fprintf(f, "\n");
  }
  fprintf(f, "| **step** |");
  for (int i = 0; i < 4; i++) fprintf(f, " **%lu** |", (unsigned long)cyc_sum(&c[i]));
  fprintf(f, "\n| multiply-accumulates / T^2 |");
  for (int i = 0; i < 4; i++) fprintf(f, " %lu |", (unsigned long)c[i].ideal);
  fprintf(f, "\n| of a step, %% |");
  for (int i = 0; i < 4; i++)
    fprintf(f, " %lu |", (unsigned long)(100 * c[i].ideal / cyc_sum(&c[i])));
  fprintf(f, "\n| in the products: array busy |");
  for (int i = 0; i < 4; i++) fprintf(f, " %lu |", (unsigned long)c[i].array);
  fprintf(f, "\n| in the products: loaders busy |");
  for (int i = 0; i < 4; i++) fprintf(f, " %lu |", (unsigned long)c[i].load);
  fprintf(f, "\n| in the products: drain busy |");
  for (int i = 0; i < 4; i++) fprintf(f, " %lu |", (unsigned long)c[i].drain);
  fprintf(f, "\n| card memory, MB |");
  for (int i = 0; i < 4; i++) fprintf(f, " %.1f |", (double)c[i].bytes / 1e6);
  fprintf(f, "\n| **attempt of %u steps** |", ATTEMPT_STEPS);
  for (int i = 0; i < 4; i++) fprintf(f, " **%lu** |", (unsigned long)attempt(&c[i]));
  fprintf(f, "\n| ms at an assumed %u MHz |", MHZ);
  for (int i = 0; i < 4; i++) fprintf(f, " %.1f |", (double)attempt(&c[i]) / (MHZ * 1e3));
  fprintf(f, "\n| GMAC/s there |");
  for (int i = 0; i < 4; i++)
    fprintf(f, " %.0f |", (double)mac[i / 2] * MHZ / 1e3 / (double)cyc_sum(&c[i]));
  fprintf(f, "\n| GB/s of card memory there |");
  for (int i = 0; i < 4; i++)
    fprintf(f, " %.1f |", (double)c[i].bytes * MHZ / 1e3 / (double)cyc_sum(&c[i]));
  fprintf(f, "\n");
}

static void readme_has_these_numbers(void **state) {
  (void)state;
  char *table = NULL, *page = NULL;
  size_t sz = 0, cap = 0;
  FILE *f = open_memstream(&table, &sz);
  assert_non_null(f);
  print_table(f);
  fclose(f);
  if (getenv("QUARRY_PRINT_CYCLES")) {
    fputs(table, stdout);
    free(table);
    return;
  }
  f = fopen(QR_TEST_DIR "/../hls/README.md", "r");
  assert_non_null(f);
  assert_true(getdelim(&page, &cap, '\0', f) > 0);
  fclose(f);
  if (!strstr(page, table))
    fail_msg("hls/README.md has other numbers; these are computed now:\n%s", table);
  free(table), free(page);
}

static const qr_eng_op_t *product(uint32_t layer, unsigned flags) {
  for (uint32_t i = 0; i < decoded.op_cnt; i++)
    if (decoded.ops[i].kind == QR_OP_GEMM && decoded.ops[i].layer == layer &&
        decoded.ops[i].flags == flags)
      return &decoded.ops[i];
  fail_msg("no such product");
  return NULL;
}

/* Counted on paper from the shapes and the loops. */
static void counts_made_by_hand(void **state) {
  (void)state;
  load(false);
  cyc_t c = cyc_step(&decoded, &plan, ROWS, 32), one = {0};
  /* 64 blocks for 256 rows; of 65,536 rows, half a row is met twice, which makes one block more. A
     pair of words for each row. Once a launch, 65,536 marks of 64 a word. */
  assert_int_equal(c.unit[CYC_DRAW], 65 * 16 + 2 * 70);
  assert_int_equal(c.unit[CYC_LOOK_UP], 512 + 120);
  assert_int_equal(cyc_replay(64, 65536), 64 + 120 + 1024 + 20);
  /* Sixteen times fewer rows: eight met twice, two blocks. */
  assert_int_equal(cyc_draw(256, 4096), (64 + 2) * 16 + 2 * 70);
  /* 256 rows of 128 bytes: two lines each. */
  assert_int_equal(c.unit[CYC_GATHER], 512 + 120);
  /* Masters, 32 a cycle: 128*384, 384*384, 384*3. */
  assert_int_equal(c.unit[CYC_W7], 1536 + 4608 + 36 + 3 * 120);
  /* Ten ops; elements / 64: inputs 512, w0 768, x1 1536, w1 2304; ga1 1536, ge1 1536, be1 1536,
     bw1 2304; ga0 512, ge0 1536. */
  assert_int_equal(c.unit[CYC_DITHER], 14080 + 10 * 120);
  /* Errors, sixteen a cycle: 256*384 twice, 256*3. */
  assert_int_equal(c.unit[CYC_QUANT], 2 * 6144 + 48 + 3 * 120);
  assert_int_equal(c.unit[CYC_TD], 768 + 120);
  /* Columns in panels of 64: six of 256 lines for each hidden layer; the last layer's 256 rows of 3
     bytes begin at multiples of 3, of which 8 in 256 reach over a line's end. */
  assert_int_equal(c.unit[CYC_BIAS], 12 * (256 + 120 + 128 + 120) + (264 + 120 + 6 + 120));
  /* Layer 1 forward, 256 x 384 over 384: 4 x 6 macro tiles of (4 sub-tiles x 12 groups + 1) x 32.
   */
  cyc_gemm(product(1, 0), QR_OP_BIAS_ACT, false, 32, &one);
  assert_int_equal(one.array, 24 * (49 * 32 + 20));
  assert_int_equal(one.load, 24 * (384 + 120)); /* 64 rows of six lines; 384 lines of B */
  assert_int_equal(one.drain, 24 * (256 + 20 + 24) + 6 * (128 + 20 + 2 * 64 + 120));
  /* Panels of both operands: a line of 64 bytes for each of 64 rows and six lines, and for each of
     384 inner positions; activations, a byte for each sum. */
  assert_int_equal(one.bytes, 24 * 2 * 384 * 64 + 256 * 384);
  /* and at T = 16: 16 sub-tiles x 24 groups. */
  one = (cyc_t){0};
  cyc_gemm(product(1, 0), QR_OP_BIAS_ACT, false, 16, &one);
  assert_int_equal(one.array, 24 * (385 * 16 + 20));
}

static void counts_made_by_hand_of_convolutions(void **state) {
  (void)state;
  load(true);
  cyc_t c = cyc_step(&decoded, &plan, ROWS, 32), one = {0};
  /* Forward of layer 0: a position takes a run of 24 bytes from each of three rows of the input. Of
     the twelve positions of an output row the first wraps, and x = 4 and 8 begin at byte 64 x' - 8
     of the row: two runs each. */
  qr_eng_geo_t g = product(0, QR_GEMM_A_CONV)->geo;
  assert_int_equal(cyc_runs(&g, 0, 48, 0, 72), 4 * 3 * (12 + 3));
  /* Layer 1's errors go back to its input: 12 positions x 9 taps x 2 lines, 1536 / 16 taken, for
     256 samples in seven groups of 42. */
  assert_int_equal(c.unit[CYC_COL2IM], 256 * (216 + 96) + 7 * (120 + 72 + 20 + 100));
  /* Gradient of layer 0, 72 x 32 over 12288: two macro tiles of 12 panels; sub-tiles of 32: two for
     the first 64 rows, one for the last 8. */
  cyc_gemm(product(0, QR_GEMM_A_CONV | QR_GEMM_A_TRANS), QR_OP_WEIGHT_UPD, false, 32, &one);
  assert_int_equal(one.array, 12 * ((2 * 32 + 1) * 32 + 20 + (32 + 1) * 32 + 20));
  assert_int_equal(c.unit[CYC_GATHER], 256 * 12 + 120);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counts_made_by_hand),
      cmocka_unit_test(counts_made_by_hand_of_convolutions),
      cmocka_unit_test(readme_has_these_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
