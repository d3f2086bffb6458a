#include "port/bitstream.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "hls/common/qr_engine_abi.h"
#include "hls/common/qr_step_abi.h"

#define FILE_MAX_SZ ((off_t)1 << 30)
#define KEYS_MAX_SZ 16384u
#define PATH_SZ 1024u

/* ---- keys ---- */

void qr_bitstream_dev_key(qr_key_t *out) {
  /* 32 bytes that say what the key is for */
  static const uint8_t seed[32] = {'q', 'u', 'a', 'r', 'r', 'y', ':', ' ', 'e', 'm', 'u',
                                   'l', 'a', 't', 'i', 'o', 'n', ' ', 'o', 'n', 'l', 'y',
                                   ',', ' ', 'n', 'o', ' ', 'c', 'a', 'r', 'd', 's'};
  qr_key_from_seed(seed, out);
}

/* "PUBKEY card|emulation LABEL": the label is the rest of the line, printable. */
static bool parse_key(const char *line, size_t n, qr_bitstream_key_t *out) {
  char text[2 * QR_PUBKEY_SZ + 16 + QR_BITSTREAM_LABEL_SZ];
  if (n >= sizeof text || memchr(line, 0, n)) return false;
  memcpy(text, line, n);
  text[n] = 0;
  char *use = strchr(text, ' ');
  char *label = use ? strchr(use + 1, ' ') : NULL;
  if (!label) return false;
  *use++ = *label++ = 0;
  if (!qr_unhex(out->pk.b, sizeof out->pk.b, text)) return false;
  out->for_cards = !strcmp(use, "card");
  if (!out->for_cards && strcmp(use, "emulation")) return false;
  size_t len = strlen(label);
  if (!len || len >= sizeof out->label) return false;
  for (size_t i = 0; i < len; i++) {
    if (label[i] < ' ' || label[i] > '~') return false;
  }
  memcpy(out->label, label, len + 1);
  return true;
}

int qr_bitstream_keys_parse(const char *text, size_t sz, qr_bitstream_keys_t *out, char *why,
                            size_t why_sz) {
  const char *end = text + sz;
  for (uint32_t line = 1; text < end; line++) {
    const char *eol = memchr(text, '\n', (size_t)(end - text));
    size_t n = (size_t)((eol ? eol : end) - text);
    if (n && *text != '#') {
      if (out->cnt == QR_BITSTREAM_KEY_MAX_CNT) {
        snprintf(why, why_sz, "line %u: more than %u keys", line, QR_BITSTREAM_KEY_MAX_CNT);
        return QR_ERR_FORMAT;
      }
      if (!parse_key(text, n, &out->keys[out->cnt])) {
        snprintf(why, why_sz, "line %u is not 'PUBKEY card|emulation LABEL'", line);
        return QR_ERR_FORMAT;
      }
      out->cnt++;
    }
    text = eol ? eol + 1 : end;
  }
  return QR_OK;
}

static int io_fail(char *why, size_t why_sz, const char *path) {
  snprintf(why, why_sz, "%.400s: %s", path, strerror(errno));
  return errno == ENOENT || errno == ENOTDIR ? QR_ERR_NOTFOUND : QR_ERR_IO;
}

/* Whether what a file says can be somebody else's word. */
static int guard(const struct stat *st, const char *path, char *why, size_t why_sz) {
  if (st->st_mode & 022)
    snprintf(why, why_sz, "%.400s: others may write it, so it says nothing: chmod go-w it", path);
  else if (st->st_uid && st->st_uid != geteuid())
    snprintf(why, why_sz, "%.400s: it is neither yours nor root's, so it says nothing: chown it",
             path);
  else
    return QR_OK;
  return QR_ERR_IO;
}

/* The whole of a small file, NUL-terminated. */
static int read_small(const char *path, char *out, size_t out_sz, size_t *sz, bool guarded,
                      char *why, size_t why_sz) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return io_fail(why, why_sz, path);
  int err = QR_OK;
  size_t n = 0;
  if (fstat(fd, &st)) {
    err = io_fail(why, why_sz, path);
  } else if (!S_ISREG(st.st_mode)) {
    snprintf(why, why_sz, "%.400s: not a file", path);
    err = QR_ERR_FORMAT;
  } else if (st.st_size >= (off_t)out_sz) {
    snprintf(why, why_sz, "%.400s: longer than %zu bytes", path, out_sz - 1);
    err = QR_ERR_FORMAT;
  } else if (guarded) {
    err = guard(&st, path, why, why_sz);
  }
  while (!err && n < out_sz - 1) {
    ssize_t r = read(fd, out + n, out_sz - 1 - n);
    if (r < 0) err = io_fail(why, why_sz, path);
    if (r <= 0) break;
    n += (size_t)r;
  }
  close(fd);
  out[n] = 0;
  *sz = n;
  return err;
}

static int load_keys_file(const char *path, qr_bitstream_keys_t *out, char *why, size_t why_sz) {
  char *text = malloc(KEYS_MAX_SZ), said[96] = "";
  size_t sz;
  if (!text) {
    snprintf(why, why_sz, "no memory");
    return QR_ERR_NOMEM;
  }
  int err = read_small(path, text, KEYS_MAX_SZ, &sz, true, why, why_sz);
  if (!err && (err = qr_bitstream_keys_parse(text, sz, out, said, sizeof said)))
    snprintf(why, why_sz, "%.400s: %s", path, said);
  free(text);
  return err;
}

int qr_bitstream_keys_load(const char *path, qr_bitstream_keys_t *out, char *why, size_t why_sz) {
  qr_key_t dev;
  memset(out, 0, sizeof *out);
  qr_bitstream_dev_key(&dev);
  out->keys[0] = (qr_bitstream_key_t){dev.pk, false, "development key, anybody's"};
  out->cnt = 1;
  if (path) return load_keys_file(path, out, why, why_sz);
  char own[PATH_SZ];
  const char *home = getenv("HOME");
  int err = QR_OK;
  if (home && (size_t)snprintf(own, sizeof own, "%s/.quarry/bitstream.keys", home) < sizeof own)
    err = load_keys_file(own, out, why, why_sz);
  if (!err || err == QR_ERR_NOTFOUND)
    err = load_keys_file("/etc/quarry/bitstream.keys", out, why, why_sz);
  return err == QR_ERR_NOTFOUND ? QR_OK : err;
}

/* ---- files ---- */

/* Copies path into memory that nobody can change any more, and hashes it on the way. */
static int copy_sealed(const char *path, qr_bitstream_t *b, uint8_t sha[QR_MANIFEST_SHA256_SZ],
                       char *why, size_t why_sz) {
  static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  crypto_hash_sha256_state st;
  struct stat at;
  uint8_t buf[65536];
  crypto_hash_sha256_init(&st);
  int in = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = QR_OK;
  if (in < 0) return io_fail(why, why_sz, path);
  if (fstat(in, &at)) {
    err = io_fail(why, why_sz, path);
  } else if (!S_ISREG(at.st_mode)) {
    snprintf(why, why_sz, "%.400s: not a file", path);
    err = QR_ERR_FORMAT;
  } else if ((b->fd = memfd_create("bitstream", MFD_CLOEXEC | MFD_ALLOW_SEALING)) < 0) {
    err = io_fail(why, why_sz, "memory for the bitstream");
  }
  while (!err) {
    ssize_t n = read(in, buf, sizeof buf);
    if (n < 0) err = io_fail(why, why_sz, path);
    if (n <= 0) break;
    b->sz += (size_t)n;
    if ((off_t)b->sz > FILE_MAX_SZ) {
      snprintf(why, why_sz, "%.400s: larger than 1 GiB", path);
      err = QR_ERR_FORMAT;
    } else if (write(b->fd, buf, (size_t)n) != n) {
      err = io_fail(why, why_sz, "memory for the bitstream");
    }
    crypto_hash_sha256_update(&st, buf, (size_t)n);
  }
  close(in);
  crypto_hash_sha256_final(&st, sha);
  if (!err && fcntl(b->fd, F_ADD_SEALS, seals)) err = io_fail(why, why_sz, "sealing");
  return err;
}

static int read_container(const char *path, qr_bitstream_t *b, char *why, size_t why_sz) {
  char said[128] = "it is empty";
  void *p = b->sz ? mmap(NULL, b->sz, PROT_READ, MAP_PRIVATE, b->fd, 0) : MAP_FAILED;
  int err = QR_ERR_FORMAT;
  if (p != MAP_FAILED) {
    err = qr_xclbin_read(p, b->sz, &b->info, said, sizeof said);
    munmap(p, b->sz);
  }
  if (err) snprintf(why, why_sz, "%.300s: %s", path, said);
  return err;
}

/* ---- trust ---- */

static bool same_kernels(const qr_manifest_t *m, const qr_xclbin_t *x) {
  if (m->kernel_cnt != x->kernel_cnt) return false;
  for (uint32_t i = 0; i < m->kernel_cnt; i++) {
    if (strcmp(m->kernels[i].name, x->kernels[i].name) ||
        m->kernels[i].cu_cnt != x->kernels[i].cu_cnt)
      return false;
  }
  return true;
}

static const qr_bitstream_key_t *find_key(const qr_bitstream_keys_t *keys, const qr_pubkey_t *pk) {
  const qr_bitstream_key_t *found = NULL;
  for (uint32_t i = 0; i < keys->cnt; i++) {
    if (qr_pubkey_eq(&keys->keys[i].pk, pk) && (!found || keys->keys[i].for_cards))
      found = &keys->keys[i];
  }
  return found;
}

/* What is wrong with a manifest whoever signed it, and what to do; NULL: nothing. */
static const char *wrong(const qr_bitstream_t *b, const uint8_t *sha) {
  const qr_manifest_t *m = &b->manifest;
  if (!qr_manifest_signed(m))
    return "the manifest's signature is wrong: it was changed after signing; get it anew";
  if (m->file_sz != b->sz || memcmp(m->sha256, sha, QR_MANIFEST_SHA256_SZ))
    return "the file is not the one that was signed: size or SHA-256 differs; get both anew";
  if (m->target != b->info.target || strcmp(m->platform, b->info.platform) ||
      !same_kernels(m, &b->info))
    return "the manifest names another platform, target or kernels than the file";
  return NULL;
}

/* Decides is_trusted and, if not, says why in doubt. */
static void judge(qr_bitstream_t *b, const uint8_t *sha, const qr_bitstream_keys_t *keys) {
  const qr_manifest_t *m = &b->manifest;
  const qr_bitstream_key_t *key = find_key(keys, &m->key);
  const char *doubt = wrong(b, sha);
  char hex[2 * QR_PUBKEY_SZ + 1];
  if (doubt)
    snprintf(b->doubt, sizeof b->doubt, "%s", doubt);
  else if (m->step_abi != QR_STEP_ABI_VERSION || m->engine_abi != QR_ENGINE_ABI_VERSION)
    snprintf(b->doubt, sizeof b->doubt,
             "it is for step program %u and engine interface %u, this program for %u and %u: build "
             "it from the same sources",
             m->step_abi, m->engine_abi, QR_STEP_ABI_VERSION, QR_ENGINE_ABI_VERSION);
  else if (!key)
    snprintf(b->doubt, sizeof b->doubt,
             "its signer is not among the trusted keys; if you trust it, add the line '%s card "
             "NAME' to them",
             qr_hex(hex, m->key.b, sizeof m->key.b));
  else if (!key->for_cards && m->target == QR_XCLBIN_HW)
    snprintf(b->doubt, sizeof b->doubt,
             "its signer is trusted for emulation alone: among the trusted keys it lacks the word "
             "'card'");
  else
    b->is_trusted = true;
  if (b->is_trusted) memcpy(b->signer, key->label, sizeof b->signer);
}

static int read_manifest(const char *path, qr_bitstream_t *b, char *why, size_t why_sz) {
  char file[PATH_SZ], text[QR_MANIFEST_MAX_SZ], said[128];
  size_t sz;
  if ((size_t)snprintf(file, sizeof file, "%s%s", path, QR_BITSTREAM_SUFFIX) >= sizeof file) {
    snprintf(why, why_sz, "the path of the bitstream is too long");
    return QR_ERR_ARG;
  }
  int err = read_small(file, text, sizeof text, &sz, false, why, why_sz);
  if (err == QR_ERR_NOTFOUND) {
    snprintf(b->doubt, sizeof b->doubt,
             "it has no manifest: nobody vouches for it; 'quarry bitstream sign' makes one");
    return QR_OK;
  }
  if (!err && qr_manifest_parse(text, sz, &b->manifest, said, sizeof said)) {
    snprintf(b->doubt, sizeof b->doubt, "%s", said);
    return QR_OK;
  }
  b->has_manifest = !err;
  return err;
}

int qr_bitstream_open(const char *path, const qr_bitstream_policy_t *policy, qr_bitstream_t *out,
                      char *why, size_t why_sz) {
  uint8_t sha[QR_MANIFEST_SHA256_SZ];
  qr_bitstream_keys_t *keys = malloc(sizeof *keys);
  memset(out, 0, sizeof *out);
  out->fd = -1;
  snprintf(why, why_sz, "no memory");
  int err = keys ? qr_bitstream_keys_load(policy->keys_path, keys, why, why_sz) : QR_ERR_NOMEM;
  if (!err) err = copy_sealed(path, out, sha, why, why_sz);
  if (!err) err = read_container(path, out, why, why_sz);
  if (!err) err = read_manifest(path, out, why, why_sz);
  if (!err && out->has_manifest) judge(out, sha, keys);
  free(keys);
  if (!err && !out->is_trusted && !policy->accept_unsigned) {
    snprintf(why, why_sz,
             "%.300s is refused: %s. 'quarry bitstream verify' shows more; to load it all the same "
             "say accept_unsigned=%s",
             path, out->doubt, QR_BITSTREAM_ACCEPT);
    err = QR_ERR_CORRUPT;
  }
  if (err) qr_bitstream_close(out);
  return err;
}

void qr_bitstream_close(qr_bitstream_t *b) {
  if (b->fd >= 0) close(b->fd);
  b->fd = -1;
}

int qr_bitstream_describe(const char *path, qr_manifest_t *out, char *why, size_t why_sz) {
  qr_bitstream_t b = {.fd = -1};
  memset(out, 0, sizeof *out);
  int err = copy_sealed(path, &b, out->sha256, why, why_sz);
  if (!err) err = read_container(path, &b, why, why_sz);
  if (!err) {
    memcpy(out->platform, b.info.platform, sizeof out->platform);
    memcpy(out->kernels, b.info.kernels, sizeof out->kernels);
    out->kernel_cnt = b.info.kernel_cnt;
    out->target = b.info.target;
    out->step_abi = QR_STEP_ABI_VERSION;
    out->file_sz = b.sz;
  }
  qr_bitstream_close(&b);
  return err;
}
