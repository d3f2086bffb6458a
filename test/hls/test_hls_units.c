/* The units of the step engine, each against plain arithmetic or the reference of host/step. */
#include "hls_rig.h"

#include "base/ars.h"
#include "base/philox.h"
#include "hls/step_engine/engine.h"
#include "step/fixed.h"
#include "step/program.h"

static qr_eng_panel_t panel, panel_b;

/* Element (k, r) of a skewed panel. */
static int8_t at(qr_eng_panel_t p, uint32_t k, uint32_t r) { return p[k][(r + k) & 63]; }

static void fill(gen_t *g, enum gen_mode mode, void *to, size_t cnt) {
  int8_t *p = to;
  for (size_t i = 0; i < cnt; i++) p[i] = (int8_t)gen_value(g, mode, -64, 63);
}

static void rotation_turns_every_way(void **state) {
  (void)state;
  int8_t in[64], out[64];
  for (int i = 0; i < 64; i++) in[i] = (int8_t)i;
  for (uint32_t by = 0; by < 64; by++) {
    qr_eng_rotate(in, by, out);
    for (uint32_t s = 0; s < 64; s++) assert_int_equal(out[s], (s - by) & 63);
  }
}

static void puts_touch_what_they_are_given(void **state) {
  (void)state;
  gen_t g = {11};
  int8_t line[64];
  fill(&g, GEN_UNIFORM, line, 64);
  for (int n = 0; n < 2000; n++) {
    uint32_t cnt = (uint32_t)gen_range(&g, 1, 64), from = (uint32_t)gen_range(&g, 0, 64 - cnt);
    bool along = gen_range(&g, 0, 1);
    uint32_t k = (uint32_t)gen_range(&g, 0, along ? 200 - cnt : 199);
    uint32_t r = (uint32_t)gen_range(&g, 0, along ? 63 : 64 - cnt);
    memset(panel, 0x55, sizeof panel);
    qr_eng_put(panel, line, from, cnt, k, r, along);
    for (uint32_t kk = 0; kk < 200; kk++)
      for (uint32_t rr = 0; rr < 64; rr++) {
        uint32_t i = along ? kk - k : rr - r;
        bool hit = along ? rr == r && i < cnt : kk == k && i < cnt;
        assert_int_equal(at(panel, kk, rr), hit ? line[from + i] : 0x55);
      }
  }
}

static void draws_are_those_of_the_reference(void **state) {
  (void)state;
  gen_t g = {12};
  for (int n = 0; n < 3000; n++) {
    qr_hash_t sigma = gen_hash(&g);
    uint32_t words[6], stream = (uint32_t)gen_u64(&g), idx = (uint32_t)gen_u64(&g), got[4], want[4];
    memcpy(words, sigma.b, sizeof words);
    qr_eng_ars_t ars;
    qr_eng_ars_init(words, &ars);
    qr_ars_t ref = qr_ars_init(&sigma, stream);
    qr_eng_ars_block(&ars, stream, idx, got);
    qr_ars_block(&ref, idx, want);
    assert_memory_equal(got, want, sizeof got);
    qr_eng_ars_block(&ars, stream, idx >> 4, got);
    assert_int_equal(qr_eng_byte(got, idx & 15), qr_ars_byte(&ref, idx));
  }
}

static void check_rounding(int32_t x, int64_t s, uint8_t draw) {
  int64_t want = qr_step_sr(x, s, draw);
  assert_int_equal(qr_eng_sr(x, s, draw), want);
  int32_t got = qr_eng_round(x, qr_eng_round_of(s), draw);
  if (want < -65536 || want > 65536) { /* all that its users tell apart */
    assert_true(want < 0 ? got < -65536 : got > 65536);
    return;
  }
  assert_int_equal(got, want);
}

static void rounding_is_that_of_the_reference(void **state) {
  (void)state;
  static const int32_t ends[] = {0,         1,
                                 -1,        2,
                                 -2,        127,
                                 128,       255,
                                 256,       -255,
                                 -256,      65535,
                                 65536,     -65536,
                                 1 << 30,   -(1 << 30),
                                 INT32_MAX, INT32_MAX - 1,
                                 INT32_MIN, INT32_MIN + 1};
  gen_t g = {13};
  for (int64_t s = -80; s <= 80; s++)
    for (int draw = 0; draw < 256; draw += 15)
      for (size_t i = 0; i < QR_ARRAY_CNT(ends); i++) check_rounding(ends[i], s, (uint8_t)draw);
  for (int n = 0; n < 300000; n++)
    check_rounding((int32_t)gen_u64(&g) >> gen_range(&g, 0, 31), gen_range(&g, -5000, 9000) >> 7,
                   (uint8_t)gen_u64(&g));
  check_rounding(INT32_MIN, (int64_t)UINT32_MAX + 40000, 255);
  check_rounding(1, -40000, 0);
}

static void fixed_point_is_that_of_the_reference(void **state) {
  (void)state;
  gen_t g = {14};
  for (int n = 0; n < 200000; n++) {
    int32_t x = (int32_t)gen_u64(&g) >> gen_range(&g, 0, 31), s = (int32_t)gen_range(&g, 1, 31);
    assert_int_equal(qr_eng_half(x, s), qr_step_half(x, s));
    int32_t t = (int32_t)gen_range(&g, -31, 31);
    assert_int_equal(qr_eng_bias_at(x, t), qr_step_bias_at(x, t));
    assert_int_equal(qr_eng_bitlen((uint32_t)x), qr_bitlen32((uint32_t)x));
    assert_int_equal(qr_eng_abs(x), qr_step_abs32(x));
    int16_t pair[2] = {(int16_t)x, (int16_t)(x >> 16)};
    assert_int_equal(qr_eng_bias_load(pair, 0, 0), x);
  }
  for (int32_t s = 1; s <= 31; s++) {
    assert_int_equal(qr_eng_half(INT32_MIN, s), qr_step_half(INT32_MIN, s));
    assert_int_equal(qr_eng_half(INT32_MAX, s), qr_step_half(INT32_MAX, s));
  }
}

/* The array */

static int64_t plain_sum(uint32_t k0, uint32_t k_cnt, uint32_t i, uint32_t j) {
  int64_t sum = 0;
  for (uint32_t k = k0; k < k0 + k_cnt; k++) sum += at(panel, k, i) * at(panel_b, k, j);
  return sum;
}

static void check_tile(qr_eng_tile_t tile, uint32_t k_cnt, uint32_t r_cnt, uint32_t c_cnt,
                       uint32_t times) {
  for (uint32_t i = 0; i < r_cnt; i++)
    for (uint32_t j = 0; j < c_cnt; j++)
      assert_int_equal((int32_t)tile[i][j], times * plain_sum(0, k_cnt, i, j));
}

typedef void array_fn(qr_eng_panel_t a, qr_eng_panel_t b, uint32_t k_cnt, uint32_t r_cnt,
                      uint32_t c_cnt, bool first, qr_eng_tile_t out);

/* Sizes around sub-tiles and groups, values at their ends, a second chunk onto the first. */
static void check_array(array_fn *array, gen_t *g, enum gen_mode a, enum gen_mode b) {
  static const uint32_t sizes[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64};
  static const uint32_t depths[] = {1, 3, 15, 16, 17, 32, 33, 63, 65, 128, 383, 1024};
  static qr_eng_tile_t tile;
  fill(g, a, panel, sizeof panel);
  fill(g, b, panel_b, sizeof panel_b);
  for (size_t n = 0; n < QR_ARRAY_CNT(depths); n++) {
    uint32_t r = sizes[gen_range(g, 0, QR_ARRAY_CNT(sizes) - 1)];
    uint32_t c = sizes[gen_range(g, 0, QR_ARRAY_CNT(sizes) - 1)], k = depths[n];
    memset(tile, 0x5a, sizeof tile);
    array(panel, panel_b, k, r, c, true, tile);
    check_tile(tile, k, r, c, 1);
    array(panel, panel_b, k, r, c, false, tile);
    check_tile(tile, k, r, c, 2);
  }
}

static void arrays_are_exact(void **state) {
  (void)state;
  gen_t g = {15};
  array_fn *forms[] = {qr_eng_array_packed, qr_eng_array_plain, qr_eng_array};
  for (size_t i = 0; i < QR_ARRAY_CNT(forms); i++)
    for (enum gen_mode a = GEN_UNIFORM; a <= GEN_ZERO; a++)
      for (enum gen_mode b = GEN_UNIFORM; b <= GEN_ZERO; b++) check_array(forms[i], &g, a, b);
}

/* Every pair of ends in both halves of a multiplier, for a whole panel: what packing could spill.
 */
static void packing_does_not_spill(void **state) {
  (void)state;
  static qr_eng_tile_t tile;
  static const int8_t ends[] = {-64, 63, -1, 0};
  for (int n = 0; n < 64; n++) {
    for (uint32_t k = 0; k < QR_ENG_DEPTH; k++)
      for (uint32_t r = 0; r < 64; r++) {
        panel[k][(r + k) & 63] = ends[r & 1 ? n & 3 : n >> 2 & 3];
        panel_b[k][(r + k) & 63] = ends[n >> 4];
      }
    qr_eng_array_packed(panel, panel_b, QR_ENG_DEPTH, 64, 64, true, tile);
    for (uint32_t i = 0; i < 64; i++)
      assert_int_equal((int32_t)tile[i][63 - i],
                       1024 * ends[i & 1 ? n & 3 : n >> 2 & 3] * ends[n >> 4]);
  }
}

/* Rows that a macro tile does not have hold what an earlier panel left, even out of range: they
   must not reach the rows that it has. */
static void leftovers_stay_apart(void **state) {
  (void)state;
  static qr_eng_tile_t tile;
  gen_t g = {16};
  fill(&g, GEN_UNIFORM, panel, sizeof panel);
  fill(&g, GEN_UNIFORM, panel_b, sizeof panel_b);
  for (uint32_t r_cnt = 1; r_cnt < 64; r_cnt += 3) {
    for (uint32_t k = 0; k < 200; k++)
      for (uint32_t r = 0; r < 64; r++) {
        if (r >= r_cnt || k >= 100)
          panel[k][(r + k) & 63] = -128;
        else
          panel[k][(r + k) & 63] = (int8_t)gen_range(&g, -64, 63);
        if (k >= 100) panel_b[k][(r + k) & 63] = 127;
      }
    qr_eng_array_packed(panel, panel_b, 100, r_cnt, 64, true, tile);
    check_tile(tile, 100, r_cnt, 64, 1);
    qr_eng_array_plain(panel, panel_b, 100, r_cnt, 64, true, tile);
    check_tile(tile, 100, r_cnt, 64, 1);
  }
}

/* Loaders */

static void panels_of_plain_operands(void **state) {
  (void)state;
  gen_t g = {17};
  for (int n = 0; n < 400; n++) {
    uint32_t rows = (uint32_t)gen_range(&g, 1, n & 1 ? 200 : 1100);
    uint32_t cols = (uint32_t)gen_range(&g, 1, n & 1 ? 1100 : 200);
    rig_buf_t mem = rig_buf((size_t)rows * cols + 128);
    int8_t *p = rig_at(&mem);
    fill(&g, GEN_UNIFORM, p, mem.sz);
    qr_eng_operand_t x = {.off = 64 * (uint32_t)gen_range(&g, 0, 2), .ld = cols, .along_k = n & 1};
    uint32_t r_all = x.along_k ? rows : cols, k_all = x.along_k ? cols : rows;
    uint32_t r0 = (uint32_t)gen_range(&g, 0, r_all - 1), k0 = (uint32_t)gen_range(&g, 0, k_all - 1);
    uint32_t r_cnt = (uint32_t)gen_range(&g, 1, r_all - r0 < 64 ? r_all - r0 : 64);
    uint32_t k_cnt = (uint32_t)gen_range(&g, 1, k_all - k0 < 1024 ? k_all - k0 : 1024);
    qr_eng_load_panel(p, &x, r0, r_cnt, k0, k_cnt, panel);
    for (uint32_t k = 0; k < k_cnt; k++)
      for (uint32_t r = 0; r < r_cnt; r++) {
        size_t e = x.along_k ? (size_t)(r0 + r) * cols + k0 + k : (size_t)(k0 + k) * cols + r0 + r;
        assert_int_equal(at(panel, k, r), p[x.off + e]);
      }
    rig_buf_free(&mem);
  }
}

/* Row matrix of a convolution from its definition. */
static int8_t conv_at(const int8_t *x, const qr_eng_geo_t *g, uint32_t row, uint32_t col) {
  uint32_t pos = row % (g->out_h * g->out_w), sample = row / (g->out_h * g->out_w);
  uint32_t tap = col / g->c, y = pos / g->out_w * g->sy + tap / 3,
           xx = pos % g->out_w * g->sx + tap % 3;
  y = (y + 2 * g->h - 1) % g->h;
  xx = (xx + 2 * g->w - 1) % g->w;
  return x[((size_t)(sample * g->h + y) * g->w + xx) * g->c + col % g->c];
}

static void panels_of_convolutions(void **state) {
  (void)state;
  gen_t g = {18};
  for (int n = 0; n < 600; n++) {
    qr_eng_geo_t geo = {.sy = (uint32_t)gen_range(&g, 1, 3), .sx = (uint32_t)gen_range(&g, 1, 3)};
    geo.out_h = (uint32_t)gen_range(&g, 1, 4), geo.out_w = (uint32_t)gen_range(&g, 1, 6);
    geo.h = geo.out_h * geo.sy, geo.w = geo.out_w * geo.sx;
    geo.c = (uint32_t)gen_range(&g, 1, n % 3 ? 40 : 150);
    uint32_t samples = (uint32_t)gen_range(&g, 1, 6), cols = 9 * geo.c;
    uint32_t rows = samples * geo.out_h * geo.out_w, sz = geo.h * geo.w * geo.c;
    rig_buf_t mem = rig_buf((size_t)samples * sz + 64);
    int8_t *p = rig_at(&mem);
    fill(&g, GEN_UNIFORM, p, mem.sz);
    qr_eng_operand_t x = {.off = 64 * (n & 1), .along_k = n & 2, .conv = true, .geo = geo};
    uint32_t r_all = x.along_k ? rows : cols, k_all = x.along_k ? cols : rows;
    uint32_t r0 = (uint32_t)gen_range(&g, 0, r_all - 1), k0 = (uint32_t)gen_range(&g, 0, k_all - 1);
    uint32_t r_cnt = (uint32_t)gen_range(&g, 1, r_all - r0 < 64 ? r_all - r0 : 64);
    uint32_t k_cnt = (uint32_t)gen_range(&g, 1, k_all - k0 < 1024 ? k_all - k0 : 1024);
    qr_eng_load_conv(p, &x, r0, r_cnt, k0, k_cnt, panel);
    for (uint32_t k = 0; k < k_cnt; k++)
      for (uint32_t r = 0; r < r_cnt; r++)
        assert_int_equal(at(panel, k, r), x.along_k ? conv_at(p + x.off, &geo, r0 + r, k0 + k)
                                                    : conv_at(p + x.off, &geo, k0 + k, r0 + r));
    rig_buf_free(&mem);
  }
}

/* Minibatches */

static void philox_is_that_of_the_reference(void **state) {
  (void)state;
  gen_t g = {20};
  for (int n = 0; n < 3000; n++) {
    qr_hash_t sigma = gen_hash(&g);
    uint32_t words[4], stream = (uint32_t)gen_u64(&g), idx = (uint32_t)gen_u64(&g), got[4], want[4];
    memcpy(words, sigma.b, sizeof words);
    qr_philox_t ref = qr_philox_init(&sigma, stream);
    qr_eng_philox_block(words, stream, idx, got);
    qr_philox_block(&ref, idx, want);
    assert_memory_equal(got, want, sizeof got);
  }
}

static qr_eng_marks_t marks;
static qr_eng_replay_t replay;
static qr_eng_batch_t batch;

static void assert_no_marks(void) {
  for (size_t i = 0; i < QR_ARRAY_CNT(marks); i++) assert_int_equal(marks[i], 0);
}

/* A step's draws against the reference, in segments that lie anywhere. */
static void check_draw(gen_t *g, uint32_t segment_cnt, uint32_t segment_rows, uint32_t cnt,
                       uint32_t k) {
  uint32_t n = segment_cnt * segment_rows;
  static uint32_t want[QR_ENGINE_BATCH_MAX], words[4];
  static uint8_t scratch[QR_ENGINE_REPLAY_MAX / 8 + 1];
  qr_hash_t sigma = gen_hash(g);
  memcpy(words, sigma.b, sizeof words);
  assert_true(n <= QR_ENGINE_REPLAY_MAX && qr_step_batch_scratch_sz(n) <= sizeof scratch);
  qr_step_batch(&sigma, k, n, cnt, want, scratch);
  replay.segment_cnt = segment_cnt, replay.segment_rows = segment_rows;
  for (uint32_t s = 0; s < segment_cnt; s++) replay.start[s] = (uint32_t)gen_u64(g) >> 1;
  memset(&batch, 0x77, sizeof batch);
  assert_int_equal(
      qr_eng_draw(words, qr_stream_word(QR_STREAM_BATCH, 0, k), &replay, cnt, marks, &batch), cnt);
  for (uint32_t b = 0; b < cnt; b++) {
    assert_int_equal(batch.number[b], want[b]);
    assert_int_equal(batch.row[b], replay.start[want[b] / segment_rows] + want[b] % segment_rows);
    assert_true(marks[want[b] >> 6] >> (want[b] & 63) & 1);
  }
  if (cnt < QR_ENGINE_BATCH_MAX) assert_int_equal(batch.row[cnt], 0x77777777);
  /* Looked up in a table of a few rows, or marks would have to be taken back by hand. */
  static uint32_t table[2 * QR_ENGINE_BATCH_MAX];
  for (uint32_t b = 0; b < cnt; b++) batch.row[b] = cnt - 1 - b;
  for (uint32_t i = 0; i < 2 * cnt; i++) table[i] = (uint32_t)gen_u64(g);
  assert_int_equal(qr_eng_look_up(table, cnt, UINT64_MAX, marks, &batch), cnt);
  for (uint32_t b = 0; b < cnt; b++) {
    assert_int_equal(batch.act[b], table[2 * (cnt - 1 - b)]);
    assert_int_equal(batch.target[b], table[2 * (cnt - 1 - b) + 1]);
  }
}

static void minibatches_are_those_of_the_reference(void **state) {
  (void)state;
  gen_t g = {21};
  static const uint32_t sizes[][2] = {{1, 1},       {1, 256},   {2, 128},    {256, 1},
                                      {1, 257},     {257, 1},   {7, 37},     {1024, 256},
                                      {1, 1 << 18}, {64, 1024}, {1023, 255}, {3, 87381}};
  for (size_t i = 0; i < QR_ARRAY_CNT(sizes); i++) {
    uint32_t n = sizes[i][0] * sizes[i][1], most = n < 1024 ? n : 1024;
    static const uint32_t cnts[] = {1, 2, 3, 4, 5, 16, 255, 256, 257, 1024};
    for (size_t j = 0; j < QR_ARRAY_CNT(cnts); j++)
      if (cnts[j] <= most) check_draw(&g, sizes[i][0], sizes[i][1], cnts[j], (uint32_t)(7 * j));
    check_draw(&g, sizes[i][0], sizes[i][1], most, 65535);
  }
  check_draw(&g, 1, 1024, 1024, 1); /* until the very last row is met */
  check_draw(&g, 205, 5, 1024, 2);
  for (int i = 0; i < 300; i++) {
    uint32_t rows = (uint32_t)gen_range(&g, 1, 300), cnt = (uint32_t)gen_range(&g, 1, 300);
    uint32_t n = rows * cnt, least = n < 1024 ? n : 1024;
    check_draw(&g, cnt, rows, (uint32_t)gen_range(&g, 1, least), (uint32_t)gen_range(&g, 0, 65535));
  }
  assert_no_marks();
}

/* More rows than there are: the draws end, with all that there are. */
static void draws_end(void **state) {
  (void)state;
  const uint32_t words[4] = {1, 2, 3, 4};
  replay = (qr_eng_replay_t){.segment_cnt = 2, .segment_rows = 3, .start = {10, 20}};
  memset(&batch, 0x77, sizeof batch);
  assert_int_equal(qr_eng_draw(words, 1u << 24, &replay, 7, marks, &batch), 6);
  assert_int_equal(batch.row[6], 0x77777777);
  assert_int_equal(marks[0], 63);
  marks[0] = 0;
}

/* A launch that was broken off may have left any marks. */
static void marks_are_cleared(void **state) {
  (void)state;
  static uint32_t job[QR_ENGINE_JOB_HEAD_CNT + 3];
  const qr_eng_win_t win = {.job_cnt = QR_ARRAY_CNT(job), .pool_rows = 1000, .table_cnt = 2000};
  for (uint32_t rows = 1; rows < 300; rows++) {
    memset(marks, 0xff, sizeof marks);
    replay.segment_cnt = 3, replay.segment_rows = rows;
    for (uint32_t s = 0; s < 3; s++) job[QR_ENGINE_JOB_HEAD_CNT + s] = rows + s;
    assert_int_equal(qr_eng_replay(job, &win, 3, &replay, marks).status, QR_ENGINE_OK);
    for (uint32_t s = 0; s < 3; s++) assert_int_equal(replay.start[s], rows + s);
    for (uint32_t i = 0; i < 3 * rows; i++) assert_false(marks[i >> 6] >> (i & 63) & 1);
  }
  memset(marks, 0, sizeof marks);
}

/* The first word that is not below the limit is told, whatever follows. */
static void words_are_held_below_their_limit(void **state) {
  (void)state;
  gen_t g = {22};
  static uint32_t job[100], table[200], out[QR_ENGINE_BATCH_MAX];
  for (int n = 0; n < 400; n++) {
    uint32_t off = (uint32_t)gen_range(&g, 1, 30), cnt = (uint32_t)gen_range(&g, 1, 60);
    uint32_t limit = (uint32_t)gen_range(&g, 1, 9), want = cnt;
    for (uint32_t i = 0; i < 100; i++) job[i] = (uint32_t)gen_range(&g, 0, limit - 1);
    job[off - 1] = job[off + cnt] = limit; /* beside the words: no matter */
    for (int64_t i = gen_range(&g, 0, 3); i > 0; i--) {
      uint32_t at = (uint32_t)gen_range(&g, 0, cnt - 1);
      job[off + at] = gen_range(&g, 0, 1) ? limit : UINT32_MAX;
      want = at < want ? at : want;
    }
    assert_int_equal(qr_eng_take(job, off, cnt, limit, out), want);
    assert_memory_equal(out, job + off, cnt * sizeof *out);
    assert_int_equal(qr_eng_take(job, off, cnt, UINT64_MAX, out), cnt);
    for (uint32_t i = 0; i < cnt; i++) {
      batch.row[i] = i, batch.number[i] = 0;
      table[2 * i] = job[off + i], table[2 * i + 1] = UINT32_MAX;
    }
    assert_int_equal(qr_eng_look_up(table, cnt, limit, marks, &batch), want);
  }
}

/* Gather packs rows of any size without gaps. */
static void gather_packs_rows(void **state) {
  (void)state;
  gen_t g = {19};
  for (int n = 0; n < 300; n++) {
    uint32_t obs_sz = (uint32_t)gen_range(&g, 1, 300), rows = (uint32_t)gen_range(&g, 1, 40);
    uint32_t stride = (uint32_t)qr_align_up(obs_sz, 64);
    rig_buf_t pool = rig_buf((size_t)20 * stride), out = rig_buf((size_t)rows * obs_sz + 64);
    int8_t *p = rig_at(&pool), *o = rig_at(&out);
    fill(&g, GEN_UNIFORM, p, pool.sz);
    static uint32_t row[QR_ENGINE_BATCH_MAX];
    for (uint32_t b = 0; b < rows; b++) row[b] = (uint32_t)gen_range(&g, 0, 19);
    qr_eng_gather(row, rows, p, stride, obs_sz, o, 64);
    for (uint32_t b = 0; b < rows; b++)
      assert_memory_equal(o + 64 + (size_t)b * obs_sz, p + (size_t)row[b] * stride, obs_sz);
    rig_buf_free(&pool), rig_buf_free(&out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rotation_turns_every_way),
      cmocka_unit_test(puts_touch_what_they_are_given),
      cmocka_unit_test(draws_are_those_of_the_reference),
      cmocka_unit_test(rounding_is_that_of_the_reference),
      cmocka_unit_test(fixed_point_is_that_of_the_reference),
      cmocka_unit_test(arrays_are_exact),
      cmocka_unit_test(packing_does_not_spill),
      cmocka_unit_test(leftovers_stay_apart),
      cmocka_unit_test(panels_of_plain_operands),
      cmocka_unit_test(panels_of_convolutions),
      cmocka_unit_test(philox_is_that_of_the_reference),
      cmocka_unit_test(minibatches_are_those_of_the_reference),
      cmocka_unit_test(draws_end),
      cmocka_unit_test(marks_are_cleared),
      cmocka_unit_test(words_are_held_below_their_limit),
      cmocka_unit_test(gather_packs_rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
