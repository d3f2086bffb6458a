/* Bitstreams: the container's reader, the manifest's canonical text and signature, trusted keys,
   and that nothing is loaded that was changed, is for something else, or has no trusted signer. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "hls/common/qr_engine_abi.h"
#include "hls/common/qr_step_abi.h"
#include "port/bitstream.h"

#define BOX_SZ 4096u

static char g_dir[64], g_why[512];

/* ---- a container by hand ---- */

static void box_section(uint8_t *p, uint32_t idx, uint32_t kind, uint64_t off, uint64_t sz) {
  uint8_t *s = p + 456 + 40 * idx;
  qr_st32(s, kind);
  qr_st64(s + 24, off);
  qr_st64(s + 32, sz);
}

static void box_ip(uint8_t *p, uint32_t idx, uint32_t type, const char *name) {
  uint8_t *ip = p + 1024 + 8 + 80 * idx;
  qr_st32(ip, type);
  strcpy((char *)ip + 16, name);
}

/* Two units of one kernel, one of another, and something that is no kernel. */
static void box_make(uint8_t *p, uint16_t mode) {
  memset(p, 0, BOX_SZ);
  memcpy(p, "xclbin2", 8);
  qr_st64(p + 304, BOX_SZ);
  qr_st16(p + 304 + 28, mode);
  strcpy((char *)p + 304 + 48, "xilinx_u55n_gen3x4_xdma_2_202110_1");
  memset(p + 304 + 112, 0xab, 16);
  qr_st32(p + 304 + 144, 2);
  box_section(p, 0, 0, 2048, 2048);
  box_section(p, 1, 8, 1024, 8 + 4 * 80);
  qr_st32(p + 1024, 4);
  box_ip(p, 0, 1, "step_engine:step_engine_1");
  box_ip(p, 1, 1, "copy:copy_1");
  box_ip(p, 2, 3, "ddr");
  box_ip(p, 3, 1, "step_engine:step_engine_2");
}

static void test_container(void **st) {
  (void)st;
  uint8_t p[BOX_SZ];
  qr_xclbin_t x;
  box_make(p, 0);
  assert_int_equal(qr_xclbin_read(p, sizeof p, &x, g_why, sizeof g_why), 0);
  assert_int_equal(x.target, QR_XCLBIN_HW);
  assert_string_equal(x.platform, "xilinx_u55n_gen3x4_xdma_2_202110_1");
  assert_int_equal(x.kernel_cnt, 2);
  assert_string_equal(x.kernels[0].name, "copy");
  assert_int_equal(x.kernels[0].cu_cnt, 1);
  assert_string_equal(x.kernels[1].name, "step_engine");
  assert_int_equal(x.kernels[1].cu_cnt, 2);
  box_make(p, 4);
  assert_int_equal(qr_xclbin_read(p, sizeof p, &x, g_why, sizeof g_why), 0);
  assert_int_equal(x.target, QR_XCLBIN_HW_EMU);
  box_make(p, 5);
  assert_int_equal(qr_xclbin_read(p, sizeof p, &x, g_why, sizeof g_why), 0);
  assert_int_equal(x.target, QR_XCLBIN_SW_EMU);
}

/* Every cut, and every kind of lie, is an error with a sentence. */
static void test_container_lies(void **st) {
  (void)st;
  uint8_t good[BOX_SZ], p[BOX_SZ];
  qr_xclbin_t x;
  box_make(good, 0);
  for (size_t sz = 0; sz < BOX_SZ; sz += sz < 512 ? 1 : 64)
    assert_int_equal(qr_xclbin_read(good, sz, &x, g_why, sizeof g_why), QR_ERR_FORMAT);
  for (int what = 0; what < 12; what++) {
    memcpy(p, good, sizeof p);
    if (what == 0) p[6] = '1';
    if (what == 1) qr_st64(p + 304, BOX_SZ + 1);
    if (what == 2) qr_st16(p + 304 + 28, 7);
    if (what == 3) p[304 + 48] = ' ';
    if (what == 4) qr_st32(p + 304 + 144, UINT32_MAX);
    if (what == 5) box_section(p, 0, 0, UINT64_MAX, 16);
    if (what == 6) box_section(p, 0, 0, 16, UINT64_MAX);
    if (what == 7) box_section(p, 0, 8, 1024, 8 + 4 * 80);
    if (what == 8) qr_st32(p + 1024, 5);
    if (what == 9) qr_st32(p + 1024, UINT32_MAX);
    if (what == 10) memset(p + 1024 + 8 + 16, 'k', 64);
    if (what == 11) qr_st32(p + 1024, 0);
    g_why[0] = 0;
    assert_int_equal(qr_xclbin_read(p, sizeof p, &x, g_why, sizeof g_why), QR_ERR_FORMAT);
    assert_non_null(strstr(g_why, "not a usable xclbin"));
  }
}

/* ---- the text ---- */

static qr_manifest_t sample(void) {
  qr_manifest_t m = {.platform = "xilinx_u55n_gen3x4_xdma_2_202110_1",
                     .part = "xcu55n-fsvh2892-2L-e",
                     .target = QR_XCLBIN_HW,
                     .engine_abi = 3,
                     .step_abi = QR_STEP_ABI_VERSION,
                     .kernel_cnt = 2,
                     .kernels = {{"copy", 1}, {"step_engine", 2}},
                     .tool = "v++-2022.1",
                     .clock_khz = 300000,
                     .file_sz = BOX_SZ};
  for (uint32_t i = 0; i < sizeof m.sha256; i++) m.sha256[i] = (uint8_t)i;
  return m;
}

static void test_text(void **st) {
  (void)st;
  qr_manifest_t m = sample(), back;
  qr_key_t key;
  char text[QR_MANIFEST_MAX_SZ], again[QR_MANIFEST_MAX_SZ];
  qr_key_from_seed((const uint8_t *)"0123456789abcdef0123456789abcdef", &key);
  assert_int_equal(qr_manifest_sign(&m, &key), 0);
  size_t n = qr_manifest_encode(&m, text);
  assert_int_equal(n, strlen(text));
  static const char head[] = "quarry-bitstream 1\n"
                             "platform xilinx_u55n_gen3x4_xdma_2_202110_1\n"
                             "part xcu55n-fsvh2892-2L-e\n"
                             "target hw\n"
                             "engine-abi 3\n"
                             "step-abi 1\n"
                             "kernel copy 1\n"
                             "kernel step_engine 2\n"
                             "tool v++-2022.1\n"
                             "clock-khz 300000\n"
                             "size 4096\n"
                             "sha256 000102030405060708090a0b0c0d0e0f"
                             "101112131415161718191a1b1c1d1e1f\n"
                             "key ";
  assert_memory_equal(text, head, sizeof head - 1);
  assert_int_equal(qr_manifest_parse(text, n, &back, g_why, sizeof g_why), 0);
  assert_true(qr_manifest_signed(&back));
  assert_int_equal(qr_manifest_encode(&back, again), n);
  assert_memory_equal(text, again, n);
}

/* No byte may be changed, added or taken away unseen: it does not parse, or the signature fails. */
static void test_every_byte_counts(void **st) {
  (void)st;
  qr_manifest_t m = sample(), back;
  qr_key_t key;
  char text[QR_MANIFEST_MAX_SZ], bad[QR_MANIFEST_MAX_SZ + 1];
  uint32_t parsed = 0;
  qr_key_from_seed((const uint8_t *)"0123456789abcdef0123456789abcdef", &key);
  assert_int_equal(qr_manifest_sign(&m, &key), 0);
  size_t n = qr_manifest_encode(&m, text);
  for (size_t i = 0; i < n; i++) {
    for (int bit = 0; bit < 8; bit++) {
      memcpy(bad, text, n);
      bad[i] ^= (char)(1 << bit);
      if (qr_manifest_parse(bad, n, &back, g_why, sizeof g_why)) continue;
      parsed++;
      assert_false(qr_manifest_signed(&back));
    }
    assert_int_equal(qr_manifest_parse(text, i, &back, g_why, sizeof g_why), QR_ERR_FORMAT);
    memcpy(bad, text, i);
    memcpy(bad + i + 1, text + i, n - i);
    for (const char *c = "\n a0"; *c; c++) {
      bad[i] = *c;
      if (!qr_manifest_parse(bad, n + 1, &back, g_why, sizeof g_why))
        assert_false(qr_manifest_signed(&back));
    }
  }
  assert_true(parsed > 100); /* the signature was what caught these */
}

static void test_text_lies(void **st) {
  (void)st;
  static const struct {
    const char *from, *to, *why;
  } lies[] = {{"bitstream 1", "bitstream 2", "line 1"},
              {"bitstream 1", "bitstream 01", "line 1"},
              {"target hw", "target HW", "line 4"},
              {"engine-abi 3", "engine-abi 03", "line 5"},
              {"engine-abi 3", "engine-abi -3", "line 5"},
              {"engine-abi 3", "engine-abi 4294967296", "line 5"},
              {"kernel copy 1", "kernel copy 0", "not in order"},
              {"kernel copy 1", "kernel zopy 1", "not in order"},
              {"kernel copy 1", "kernel step_engine 1", "not in order"},
              {"kernel copy 1\n", "", NULL},
              {"tool v++-2022.1", "tool v++ 2022.1", "line 9"},
              {"tool v++-2022.1", "tool v++-\x80", "line 9"},
              {"clock-khz 300000\n", "", "line 10"},
              {"size 4096", "size 18446744073709551616", "line 11"},
              {"size 4096", "size 4096 ", "line 11"},
              {"size 4096\n", "size 4096\n\n", "line 12"},
              {"sha256 00", "sha256 0g", "line 12"},
              {"1a1b", "1A1B", "line 12"}};
  qr_manifest_t m = sample(), back;
  char text[QR_MANIFEST_MAX_SZ], bad[3 * QR_MANIFEST_MAX_SZ];
  qr_manifest_encode(&m, text);
  for (size_t i = 0; i < QR_ARRAY_CNT(lies); i++) {
    char *at = strstr(text, lies[i].from);
    assert_non_null(at);
    snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - text), text, lies[i].to,
             at + strlen(lies[i].from));
    int err = qr_manifest_parse(bad, strlen(bad), &back, g_why, sizeof g_why);
    assert_int_equal(err, lies[i].why ? QR_ERR_FORMAT : 0);
    if (lies[i].why && !strstr(g_why, lies[i].why)) fail_msg("%s: %s", lies[i].to, g_why);
  }
  char kernels[QR_MANIFEST_MAX_SZ] = "";
  for (int i = 0; i < 9; i++) {
    char line[32];
    snprintf(line, sizeof line, "kernel k%d 1\n", i);
    strcat(kernels, line);
  }
  char *at = strstr(text, "kernel copy 1\nkernel step_engine 2\n");
  snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - text), text, kernels, strstr(text, "tool "));
  assert_int_equal(qr_manifest_parse(bad, strlen(bad), &back, g_why, sizeof g_why), QR_ERR_FORMAT);
  m.kernel_cnt = 0;
  assert_int_equal(qr_manifest_encode(&m, text), 0);
  m = sample();
  strcpy(m.part, "two words");
  assert_int_equal(qr_manifest_encode(&m, text), 0);
}

/* ---- keys ---- */

static void test_keys(void **st) {
  (void)st;
  qr_bitstream_keys_t k = {0};
  char hex[65], text[512];
  qr_key_t dev;
  qr_bitstream_dev_key(&dev);
  assert_memory_equal(dev.seed, "quarry: emulation only, no cards", 32);
  qr_hex(hex, dev.pk.b, 32);
  snprintf(text, sizeof text, "# mine\n\n%s card the lab's key\n%s emulation x", hex, hex);
  assert_int_equal(qr_bitstream_keys_parse(text, strlen(text), &k, g_why, sizeof g_why), 0);
  assert_int_equal(k.cnt, 2);
  assert_true(k.keys[0].for_cards);
  assert_string_equal(k.keys[0].label, "the lab's key");
  assert_false(k.keys[1].for_cards);
  static const char *const bad[] = {"%s",           "%s card",      "%s card ",  "%s cards x",
                                    "%.63s card x", "%s card \x7f", " %s card x"};
  for (size_t i = 0; i < QR_ARRAY_CNT(bad); i++) {
    memset(&k, 0, sizeof k);
    char format[64];
    snprintf(format, sizeof format, "\n%.60s", bad[i]);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, format, hex);
#pragma GCC diagnostic pop
    assert_int_equal(qr_bitstream_keys_parse(text, strlen(text), &k, g_why, sizeof g_why),
                     QR_ERR_FORMAT);
    assert_non_null(strstr(g_why, "line 2"));
    assert_int_equal(k.cnt, 0);
  }
}

/* ---- files ---- */

static void path_of(char out[256], const char *name) {
  snprintf(out, 256, "%s/%.180s", g_dir, name);
}

static void write_file(const char *name, const void *p, size_t sz) {
  char path[256];
  path_of(path, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, sz, f), sz);
  fclose(f);
}

/* A container and a manifest of it, signed by key; change spoils one thing before signing. */
static void make_signed(const char *name, uint16_t mode, const qr_key_t *key, int change) {
  uint8_t box[BOX_SZ];
  char path[256], file[280], text[QR_MANIFEST_MAX_SZ];
  qr_manifest_t m;
  box_make(box, mode);
  write_file(name, box, sizeof box);
  path_of(path, name);
  assert_int_equal(qr_bitstream_describe(path, &m, g_why, sizeof g_why), 0);
  strcpy(m.part, "part");
  strcpy(m.tool, "tool");
  m.engine_abi = QR_ENGINE_ABI_VERSION;
  if (change == 1) m.sha256[5] ^= 1;
  if (change == 2) m.file_sz++;
  if (change == 3) strcpy(m.platform, "xilinx_u200");
  if (change == 4) m.kernels[1].cu_cnt = 9;
  if (change == 5) m.target = mode ? QR_XCLBIN_HW_EMU : QR_XCLBIN_SW_EMU;
  if (change == 6) m.step_abi++;
  if (change == 8) m.engine_abi++;
  assert_int_equal(qr_manifest_sign(&m, key), 0);
  if (change == 7) m.sig.b[3] ^= 4;
  size_t n = qr_manifest_encode(&m, text);
  snprintf(file, sizeof file, "%.200s.manifest", name);
  write_file(file, text, n);
}

static int open_it(const char *name, const char *keys, bool accept, qr_bitstream_t *b) {
  char path[256], keys_path[256];
  path_of(path, name);
  path_of(keys_path, keys);
  qr_bitstream_policy_t p = {keys_path, accept};
  g_why[0] = 0;
  return qr_bitstream_open(path, &p, b, g_why, sizeof g_why);
}

static void test_trust(void **st) {
  (void)st;
  qr_key_t dev, lab, other;
  qr_bitstream_t b;
  char hex[65], keys[128];
  qr_bitstream_dev_key(&dev);
  qr_key_generate(&lab);
  qr_key_generate(&other);
  snprintf(keys, sizeof keys, "%s card lab\n", qr_hex(hex, lab.pk.b, 32));
  write_file("keys", keys, strlen(keys));

  make_signed("emu.xclbin", 5, &dev, 0);
  assert_int_equal(open_it("emu.xclbin", "keys", false, &b), 0);
  assert_true(b.is_trusted);
  assert_non_null(strstr(b.signer, "development"));
  /* what is handed on is the file, and stays so */
  uint8_t box[BOX_SZ], copy[BOX_SZ];
  box_make(box, 5);
  assert_int_equal(b.sz, BOX_SZ);
  assert_int_equal(pread(b.fd, copy, sizeof copy, 0), BOX_SZ);
  assert_memory_equal(copy, box, BOX_SZ);
  assert_int_equal(pwrite(b.fd, copy, 1, 0), -1);
  qr_bitstream_close(&b);

  make_signed("card.xclbin", 0, &lab, 0);
  assert_int_equal(open_it("card.xclbin", "keys", false, &b), 0);
  assert_string_equal(b.signer, "lab");
  qr_bitstream_close(&b);

  make_signed("dev.xclbin", 0, &dev, 0);
  assert_int_equal(open_it("dev.xclbin", "keys", false, &b), QR_ERR_CORRUPT);
  assert_non_null(strstr(g_why, "emulation alone"));
  make_signed("other.xclbin", 0, &other, 0);
  assert_int_equal(open_it("other.xclbin", "keys", false, &b), QR_ERR_CORRUPT);
  assert_non_null(strstr(g_why, qr_hex(hex, other.pk.b, 32)));
  assert_non_null(strstr(g_why, QR_BITSTREAM_ACCEPT));

  static const char *const doubts[] = {"SHA-256 differs",    "SHA-256 differs",  "another platform",
                                       "another platform",   "another platform", "step program",
                                       "signature is wrong", "engine interface"};
  for (int change = 1; change <= (int)QR_ARRAY_CNT(doubts); change++) {
    make_signed("bad.xclbin", 0, &lab, change);
    assert_int_equal(open_it("bad.xclbin", "keys", false, &b), QR_ERR_CORRUPT);
    assert_int_equal(open_it("bad.xclbin", "keys", true, &b), 0);
    assert_false(b.is_trusted);
    if (!strstr(b.doubt, doubts[change - 1])) fail_msg("change %d: %s", change, b.doubt);
    qr_bitstream_close(&b);
  }
}

static void test_no_manifest(void **st) {
  (void)st;
  uint8_t box[BOX_SZ];
  qr_bitstream_t b;
  box_make(box, 5);
  write_file("keys", "", 0);
  write_file("bare.xclbin", box, sizeof box);
  assert_int_equal(open_it("bare.xclbin", "keys", false, &b), QR_ERR_CORRUPT);
  assert_non_null(strstr(g_why, "no manifest"));
  assert_int_equal(open_it("bare.xclbin", "keys", true, &b), 0);
  assert_false(b.has_manifest);
  qr_bitstream_close(&b);
  write_file("bare.xclbin.manifest", "quarry-bitstream 1\n", 19);
  assert_int_equal(open_it("bare.xclbin", "keys", false, &b), QR_ERR_CORRUPT);
  assert_non_null(strstr(g_why, "line 2"));
}

static void test_files_that_are_not(void **st) {
  (void)st;
  qr_bitstream_t b;
  char path[256];
  write_file("keys", "", 0);
  write_file("text.xclbin", "hello", 5);
  write_file("empty.xclbin", "", 0);
  assert_int_equal(open_it("text.xclbin", "keys", true, &b), QR_ERR_FORMAT);
  assert_int_equal(open_it("empty.xclbin", "keys", true, &b), QR_ERR_FORMAT);
  assert_int_equal(open_it("none.xclbin", "keys", true, &b), QR_ERR_NOTFOUND);
  assert_int_equal(open_it(".", "keys", true, &b), QR_ERR_FORMAT);
  path_of(path, "pipe.xclbin");
  assert_int_equal(mkfifo(path, 0600), 0); /* opening it must not wait for a writer */
  assert_int_equal(open_it("pipe.xclbin", "keys", true, &b), QR_ERR_FORMAT);
  assert_non_null(strstr(g_why, "not a file"));
  assert_int_equal(open_it("text.xclbin", "nokeys", true, &b), QR_ERR_NOTFOUND);
  path_of(path, "keys");
  chmod(path, 0666);
  assert_int_equal(open_it("text.xclbin", "keys", true, &b), QR_ERR_IO);
  assert_non_null(strstr(g_why, "chmod go-w"));
  chmod(path, 0644);
  if (!geteuid()) { /* only root can give files away */
    assert_int_equal(chown(path, 54321, 54321), 0);
    assert_int_equal(open_it("text.xclbin", "keys", true, &b), QR_ERR_IO);
    assert_non_null(strstr(g_why, "neither yours nor root's"));
  }
}

int main(void) {
  if (qr_crypto_init()) return 1;
  snprintf(g_dir, sizeof g_dir, "/tmp/quarry-bitstream.XXXXXX");
  if (!mkdtemp(g_dir)) return 1;
  umask(022);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_container),
                                     cmocka_unit_test(test_container_lies),
                                     cmocka_unit_test(test_text),
                                     cmocka_unit_test(test_every_byte_counts),
                                     cmocka_unit_test(test_text_lies),
                                     cmocka_unit_test(test_keys),
                                     cmocka_unit_test(test_trust),
                                     cmocka_unit_test(test_no_manifest),
                                     cmocka_unit_test(test_files_that_are_not)};
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  char cmd[96];
  snprintf(cmd, sizeof cmd, "rm -rf %s", g_dir);
  return system(cmd) || failed;
}
