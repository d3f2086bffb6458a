#include "crypto/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

#define KEY_FILE_SZ 65 /* 64 hex digits and a newline */

void qr_key_from_seed(const uint8_t seed[32], qr_key_t *out) {
  uint8_t sk[crypto_sign_SECRETKEYBYTES];
  memcpy(out->seed, seed, 32);
  crypto_sign_seed_keypair(out->pk.b, sk, seed);
  sodium_memzero(sk, sizeof sk);
}

void qr_key_generate(qr_key_t *out) {
  uint8_t seed[32];
  randombytes_buf(seed, sizeof seed);
  qr_key_from_seed(seed, out);
  sodium_memzero(seed, sizeof seed);
}

void qr_sign(const qr_key_t *key, const void *msg, size_t sz, qr_sig_t *out) {
  uint8_t sk[crypto_sign_SECRETKEYBYTES];
  memcpy(sk, key->seed, 32);
  memcpy(sk + 32, key->pk.b, 32);
  crypto_sign_detached(out->b, NULL, msg, sz, sk);
  sodium_memzero(sk, sizeof sk);
}

bool qr_sign_verify(const qr_pubkey_t *pk, const void *msg, size_t sz, const qr_sig_t *sig) {
  return crypto_sign_verify_detached(sig->b, msg, sz, pk->b) == 0;
}

int qr_key_load(const char *path, qr_key_t *out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? QR_ERR_NOTFOUND : QR_ERR_IO;
  struct stat st;
  char text[KEY_FILE_SZ + 1] = {0};
  int err = QR_OK;
  if (fstat(fd, &st) || st.st_mode & 077)
    err = QR_ERR_IO;
  else if (read(fd, text, sizeof text) != KEY_FILE_SZ || text[64] != '\n')
    err = QR_ERR_FORMAT;
  close(fd);
  if (!err) {
    uint8_t seed[32];
    text[64] = 0;
    if (qr_unhex(seed, sizeof seed, text))
      qr_key_from_seed(seed, out);
    else
      err = QR_ERR_FORMAT;
    sodium_memzero(seed, sizeof seed);
  }
  sodium_memzero(text, sizeof text);
  return err;
}

int qr_key_save(const char *path, const qr_key_t *key) {
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno == EEXIST ? QR_ERR_BUSY : QR_ERR_IO;
  char text[KEY_FILE_SZ + 1];
  qr_hex(text, key->seed, 32);
  text[64] = '\n';
  bool ok = write(fd, text, KEY_FILE_SZ) == KEY_FILE_SZ && fsync(fd) == 0;
  ok = close(fd) == 0 && ok;
  sodium_memzero(text, sizeof text);
  if (!ok) unlink(path);
  return ok ? QR_OK : QR_ERR_IO;
}
