/* crypto: hashes with domains, Merkle roots, signatures and key files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "crypto/sign.h"
#include "net_gen.h"

static void assert_hash(const qr_hash_t *h, const char *hex) {
  char text[65];
  assert_string_equal(qr_hex(text, h->b, QR_HASH_SZ), hex);
}

/* The library's BLAKE2b-256 without any of our framing: RFC 7693 style answers for "" and "abc". */
static void test_blake2b(void **state) {
  (void)state;
  qr_hash_t h;
  crypto_generichash(h.b, QR_HASH_SZ, NULL, 0, NULL, 0);
  assert_hash(&h, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  crypto_generichash(h.b, QR_HASH_SZ, (const uint8_t *)"abc", 3, NULL, 0);
  assert_hash(&h, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

/* With domains; answers made with Python's hashlib over len | domain | data. */
static void test_domains(void **state) {
  (void)state;
  qr_hash_t h = qr_hash("", "", 0);
  assert_hash(&h, "03170a2e7597b7b7e3d84c05391d139a62b157e78786d8c082f29dcf4c111314");
  h = qr_hash("quarry.test", "abc", 3);
  assert_hash(&h, "6e67ba7ff8ee07b6da6364238db74d1b0b0de34c56a9d16cbcd9acffbb97c7fa");
  uint8_t data[1280];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)i;
  h = qr_hash("quarry.test", data, sizeof data);
  assert_hash(&h, "2e2c5f3b0dc4de0b4dda50078bc07ec5242b226ba4a4105c6b4410f1646a7ab5");
  qr_hash_t a = qr_hash("ab", "c", 1), b = qr_hash("a", "bc", 2);
  assert_false(qr_hash_eq(&a, &b));
}

static void test_parts(void **state) {
  (void)state;
  uint8_t data[12];
  qr_st32(data, 0x01020304);
  qr_st64(data + 4, UINT64_C(0x1112131415161718));
  qr_hash_t want = qr_hash("quarry.test", data, sizeof data), got;
  qr_hasher_t h;
  qr_hash_init(&h, "quarry.test");
  qr_hash_add_u32(&h, 0x01020304);
  qr_hash_add(&h, data, 0);
  qr_hash_add_u64(&h, UINT64_C(0x1112131415161718));
  qr_hash_end(&h, &got);
  assert_memory_equal(&got, &want, sizeof got);
}

/* ---- Merkle ---- */

/* The definition, recursively: the left subtree is the largest power of two that leaves something
 * to the right. */
static qr_hash_t top_of(const qr_hash_t *leaves, uint32_t cnt) {
  if (cnt == 1) return leaves[0];
  uint32_t left = 1;
  while (2 * left < cnt) left *= 2;
  qr_hash_t two[2] = {top_of(leaves, left), top_of(leaves + left, cnt - left)};
  return qr_hash("quarry.node", two, sizeof two);
}

static qr_hash_t root_by_hand(const uint8_t *p, size_t sz, uint32_t chunk_sz) {
  qr_hash_t leaves[64];
  uint32_t cnt = 0;
  size_t at = 0;
  do {
    uint8_t leaf[4 + 64];
    size_t n = sz - at < chunk_sz ? sz - at : chunk_sz;
    qr_st32(leaf, cnt);
    memcpy(leaf + 4, p + at, n);
    leaves[cnt++] = qr_hash("quarry.leaf", leaf, 4 + n);
    at += n;
  } while (at < sz);
  uint8_t end[12 + QR_HASH_SZ];
  qr_hash_t top = top_of(leaves, cnt);
  qr_st64(end, sz);
  qr_st32(end + 8, chunk_sz);
  memcpy(end + 12, top.b, QR_HASH_SZ);
  return qr_hash("quarry.root", end, sizeof end);
}

static void test_merkle_definition(void **state) {
  (void)state;
  gen_t g = {1};
  uint8_t data[600];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)gen_u64(&g);
  for (uint32_t chunk_sz = 16; chunk_sz <= 64; chunk_sz += 24) {
    for (size_t sz = 0; sz <= sizeof data; sz++) {
      qr_hash_t got = qr_merkle_root(data, sz, chunk_sz), want = root_by_hand(data, sz, chunk_sz);
      assert_memory_equal(&got, &want, sizeof got);
    }
  }
}

/* Any flipped byte, swapped or repeated chunk, cut or added byte, other chunk size: another root.
 */
static void test_merkle_binding(void **state) {
  (void)state;
  enum { CHUNK = 32, CNT = 7, SZ = CHUNK * CNT };
  gen_t g = {2};
  uint8_t data[SZ + 1] = {0}, other[SZ + 1];
  for (size_t i = 0; i < SZ; i++) data[i] = (uint8_t)gen_u64(&g);
  qr_hash_t root = qr_merkle_root(data, SZ, CHUNK), got;
  for (size_t i = 0; i < SZ; i++) {
    memcpy(other, data, SZ);
    other[i] ^= (uint8_t)(1u << (i % 8));
    got = qr_merkle_root(other, SZ, CHUNK);
    assert_false(qr_hash_eq(&got, &root));
  }
  for (size_t i = 0; i < CNT; i++) {
    for (size_t j = 0; j < i; j++) {
      memcpy(other, data, SZ);
      memcpy(other + i * CHUNK, data + j * CHUNK, CHUNK);
      got = qr_merkle_root(other, SZ, CHUNK);
      assert_false(qr_hash_eq(&got, &root));
      memcpy(other + j * CHUNK, data + i * CHUNK, CHUNK);
      got = qr_merkle_root(other, SZ, CHUNK);
      assert_false(qr_hash_eq(&got, &root));
    }
  }
  for (size_t sz = 0; sz <= SZ + 1; sz++) {
    got = qr_merkle_root(data, sz, CHUNK);
    assert_int_equal(qr_hash_eq(&got, &root), sz == SZ);
  }
  got = qr_merkle_root(data, SZ, CHUNK + 1);
  assert_false(qr_hash_eq(&got, &root));
  /* a node is no leaf: the two halves of a tree are not a two-chunk object */
  qr_hash_t leaves[2] = {qr_merkle_leaf(0, data, CHUNK), qr_merkle_leaf(1, data + CHUNK, CHUNK)};
  qr_hash_t as_data = qr_merkle_root(leaves, sizeof leaves, QR_HASH_SZ), scratch[2];
  qr_hash_t as_tree = qr_merkle_root_of_leaves(leaves, 2, sizeof leaves, QR_HASH_SZ, scratch);
  assert_false(qr_hash_eq(&as_data, &as_tree));
}

static void test_merkle_leaves(void **state) {
  (void)state;
  qr_hash_t leaves[9], scratch[9], kept[9];
  uint8_t data[9 * 16];
  memset(data, 7, sizeof data);
  for (uint32_t i = 0; i < 9; i++) leaves[i] = qr_merkle_leaf(i, data + 16 * i, 16);
  memcpy(kept, leaves, sizeof leaves);
  qr_hash_t want = qr_merkle_root(data, sizeof data, 16);
  qr_hash_t got = qr_merkle_root_of_leaves(leaves, 9, sizeof data, 16, scratch);
  assert_memory_equal(&got, &want, sizeof got);
  assert_memory_equal(kept, leaves, sizeof leaves);
  got = qr_merkle_root_of_leaves(leaves, 9, sizeof data, 16, leaves);
  assert_memory_equal(&got, &want, sizeof got);
}

/* ---- signatures ---- */

/* RFC 8032, 7.1, TEST 1 and TEST 2. */
static void test_ed25519(void **state) {
  (void)state;
  static const struct {
    const char *seed, *pk, *sig;
    size_t sz;
    uint8_t msg[1];
  } kat[] = {
      {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf"
       "9b4"
       "6bd25bf5f0595bbe24655141438e7a100b",
       0,
       {0}},
      {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f"
       "11d"
       "8c387b2eaeb4302aeeb00d291612bb0c00",
       1,
       {0x72}},
  };
  for (size_t i = 0; i < QR_ARRAY_CNT(kat); i++) {
    uint8_t seed[32];
    qr_key_t key;
    qr_sig_t sig;
    char text[129];
    assert_true(qr_unhex(seed, 32, kat[i].seed));
    qr_key_from_seed(seed, &key);
    assert_string_equal(qr_hex(text, key.pk.b, 32), kat[i].pk);
    qr_sign(&key, kat[i].msg, kat[i].sz, &sig);
    assert_string_equal(qr_hex(text, sig.b, 64), kat[i].sig);
    assert_true(qr_sign_verify(&key.pk, kat[i].msg, kat[i].sz, &sig));
  }
}

static void test_signature_binding(void **state) {
  (void)state;
  qr_key_t key, other;
  qr_sig_t sig, bad;
  uint8_t msg[40] = "transfer";
  qr_key_generate(&key);
  qr_key_generate(&other);
  assert_memory_not_equal(key.seed, other.seed, 32);
  qr_sign(&key, msg, sizeof msg, &sig);
  assert_true(qr_sign_verify(&key.pk, msg, sizeof msg, &sig));
  assert_false(qr_sign_verify(&other.pk, msg, sizeof msg, &sig));
  assert_false(qr_sign_verify(&key.pk, msg, sizeof msg - 1, &sig));
  for (size_t i = 0; i < 8 * sizeof msg; i++) {
    msg[i / 8] ^= (uint8_t)(1u << (i % 8));
    assert_false(qr_sign_verify(&key.pk, msg, sizeof msg, &sig));
    msg[i / 8] ^= (uint8_t)(1u << (i % 8));
  }
  for (size_t i = 0; i < 8 * sizeof sig.b; i++) {
    bad = sig;
    bad.b[i / 8] ^= (uint8_t)(1u << (i % 8));
    assert_false(qr_sign_verify(&key.pk, msg, sizeof msg, &bad));
  }
}

/* ---- key files ---- */

static char dir[] = "/tmp/quarry-crypto-XXXXXX";
static char path[64];

static int make_dir(void **state) {
  (void)state;
  if (qr_crypto_init() || !mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/key", dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  return rmdir(dir);
}

static void put_file(const char *text, size_t sz, mode_t mode) {
  unlink(path);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, sz, f), sz);
  fclose(f);
  assert_int_equal(chmod(path, mode), 0);
}

static void test_key_file(void **state) {
  (void)state;
  qr_key_t key, back;
  struct stat st;
  qr_key_generate(&key);
  assert_int_equal(qr_key_load(path, &back), QR_ERR_NOTFOUND);
  mode_t mask = umask(0);
  assert_int_equal(qr_key_save(path, &key), QR_OK);
  umask(mask);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0600);
  assert_int_equal(st.st_size, 65);
  assert_int_equal(qr_key_load(path, &back), QR_OK);
  assert_memory_equal(back.seed, key.seed, 32);
  assert_memory_equal(back.pk.b, key.pk.b, 32);
  qr_key_t other;
  qr_key_generate(&other);
  assert_int_equal(qr_key_save(path, &other), QR_ERR_BUSY); /* a key is never overwritten */
  assert_int_equal(qr_key_load(path, &back), QR_OK);
  assert_memory_equal(back.seed, key.seed, 32);
  static const mode_t open_modes[] = {0640, 0604, 0620, 0601, 0666};
  for (size_t i = 0; i < QR_ARRAY_CNT(open_modes); i++) {
    chmod(path, open_modes[i]);
    assert_int_equal(qr_key_load(path, &back), QR_ERR_IO);
  }
  unlink(path);
  assert_int_equal(qr_key_save("/nonexistent/dir/key", &key), QR_ERR_IO);
}

static void test_key_file_malformed(void **state) {
  (void)state;
  char good[66] = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n", bad[66];
  qr_key_t key;
  put_file(good, 65, 0600);
  assert_int_equal(qr_key_load(path, &key), QR_OK);
  assert_int_equal(key.pk.b[0], 0xd7);
  put_file(good, 64, 0600);
  assert_int_equal(qr_key_load(path, &key), QR_ERR_FORMAT);
  put_file("", 0, 0600);
  assert_int_equal(qr_key_load(path, &key), QR_ERR_FORMAT);
  memcpy(bad, good, 66);
  bad[65] = '\n';
  put_file(bad, 66, 0600);
  assert_int_equal(qr_key_load(path, &key), QR_ERR_FORMAT);
  for (size_t i = 0; i < 65; i++) {
    memcpy(bad, good, 66);
    bad[i] = 'g';
    put_file(bad, 65, 0600);
    assert_int_equal(qr_key_load(path, &key), QR_ERR_FORMAT);
    bad[i] = 0;
    put_file(bad, 65, 0600);
    assert_int_equal(qr_key_load(path, &key), QR_ERR_FORMAT);
  }
  unlink(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blake2b),        cmocka_unit_test(test_domains),
      cmocka_unit_test(test_parts),          cmocka_unit_test(test_merkle_definition),
      cmocka_unit_test(test_merkle_binding), cmocka_unit_test(test_merkle_leaves),
      cmocka_unit_test(test_ed25519),        cmocka_unit_test(test_signature_binding),
      cmocka_unit_test(test_key_file),       cmocka_unit_test(test_key_file_malformed),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
