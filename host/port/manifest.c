#include "port/manifest.h"

#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"

#define DOMAIN "quarry.bitstream"

/* ---- text out ---- */

static bool fields_ok(const qr_manifest_t *m) {
  if (!qr_xclbin_word(m->platform) || !qr_xclbin_word(m->part) || !qr_xclbin_word(m->tool))
    return false;
  if ((unsigned)m->target >= QR_XCLBIN_TARGET_CNT || !m->kernel_cnt ||
      m->kernel_cnt > QR_XCLBIN_KERNEL_MAX_CNT)
    return false;
  for (uint32_t i = 0; i < m->kernel_cnt; i++) {
    if (!qr_xclbin_word(m->kernels[i].name) || !m->kernels[i].cu_cnt) return false;
    if (i && strcmp(m->kernels[i - 1].name, m->kernels[i].name) >= 0) return false;
  }
  return true;
}

/* All but the signature: what is signed. Every field is bounded, so it always fits. */
static size_t encode_signed_part(const qr_manifest_t *m, char *out, size_t out_sz) {
  char sha[2 * QR_MANIFEST_SHA256_SZ + 1], key[2 * QR_PUBKEY_SZ + 1];
  size_t n = (size_t)snprintf(
      out, out_sz,
      "quarry-bitstream %u\nplatform %s\npart %s\ntarget %s\nengine-abi %u\nstep-abi %u\n",
      QR_MANIFEST_VERSION, m->platform, m->part, qr_xclbin_target_str(m->target), m->engine_abi,
      m->step_abi);
  for (uint32_t i = 0; i < m->kernel_cnt; i++) {
    n += (size_t)snprintf(out + n, out_sz - n, "kernel %s %u\n", m->kernels[i].name,
                          m->kernels[i].cu_cnt);
  }
  n += (size_t)snprintf(
      out + n, out_sz - n, "tool %s\nclock-khz %u\nsize %llu\nsha256 %s\nkey %s\n", m->tool,
      m->clock_khz, (unsigned long long)m->file_sz, qr_hex(sha, m->sha256, sizeof m->sha256),
      qr_hex(key, m->key.b, sizeof m->key.b));
  return n;
}

size_t qr_manifest_encode(const qr_manifest_t *m, char out[QR_MANIFEST_MAX_SZ]) {
  char sig[2 * QR_SIG_SZ + 1];
  if (!fields_ok(m)) return 0;
  size_t n = encode_signed_part(m, out, QR_MANIFEST_MAX_SZ);
  return n + (size_t)snprintf(out + n, QR_MANIFEST_MAX_SZ - n, "signature %s\n",
                              qr_hex(sig, m->sig.b, sizeof m->sig.b));
}

/* ---- text in ---- */

typedef struct {
  const char *at, *end;
  uint32_t line;
  char word[2][2 * QR_SIG_SZ + 1]; /* of the line read last, after its keyword */
} cursor_t;

/* Copies the word at *p, up to a blank or the line's end. */
static bool take_word(const char **p, const char *eol, char *out, size_t out_sz) {
  size_t n = 0;
  while (*p + n < eol && (*p)[n] != ' ') n++;
  if (!n || n >= out_sz || memchr(*p, 0, n)) return false;
  memcpy(out, *p, n);
  out[n] = 0;
  *p += n;
  return true;
}

static bool at_keyword(const cursor_t *c, const char *keyword) {
  size_t n = strlen(keyword);
  return (size_t)(c->end - c->at) > n && !memcmp(c->at, keyword, n) && c->at[n] == ' ';
}

/* The next line: keyword and word_cnt words with single blanks between them. */
static bool take_line(cursor_t *c, const char *keyword, uint32_t word_cnt) {
  c->line++;
  const char *eol = memchr(c->at, '\n', (size_t)(c->end - c->at));
  if (!eol || !at_keyword(c, keyword)) return false;
  const char *p = c->at + strlen(keyword);
  for (uint32_t i = 0; i < word_cnt; i++) {
    if (p == eol || *p++ != ' ' || !take_word(&p, eol, c->word[i], sizeof c->word[i])) return false;
  }
  c->at = eol + 1;
  return p == eol;
}

static bool take_name(cursor_t *c, const char *keyword, char out[QR_MANIFEST_WORD_SZ]) {
  if (!take_line(c, keyword, 1)) return false;
  size_t n = strlen(c->word[0]);
  if (n >= QR_MANIFEST_WORD_SZ) return false;
  memcpy(out, c->word[0], n + 1);
  return qr_xclbin_word(out);
}

/* Decimal without leading zeros. */
static bool number(const char *s, uint64_t max, uint64_t *out) {
  uint64_t v = 0;
  if (*s == '0' && s[1]) return false;
  for (; *s; s++) {
    if (*s < '0' || *s > '9' || __builtin_mul_overflow(v, 10u, &v) ||
        __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
      return false;
  }
  *out = v;
  return v <= max;
}

static bool take_u32(cursor_t *c, const char *keyword, uint32_t *out) {
  uint64_t v;
  if (!take_line(c, keyword, 1) || !number(c->word[0], UINT32_MAX, &v)) return false;
  *out = (uint32_t)v;
  return true;
}

/* Lower-case hex alone: upper case would be a second form of the same manifest. */
static bool take_hex(cursor_t *c, const char *keyword, void *out, size_t sz) {
  if (!take_line(c, keyword, 1) || !qr_unhex(out, sz, c->word[0])) return false;
  for (const char *s = c->word[0]; *s; s++) {
    if (*s >= 'A' && *s <= 'F') return false;
  }
  return true;
}

static bool take_target(cursor_t *c, enum qr_xclbin_target *out) {
  if (!take_line(c, "target", 1)) return false;
  for (uint32_t i = 0; i < QR_XCLBIN_TARGET_CNT; i++) {
    *out = (enum qr_xclbin_target)i;
    if (!strcmp(c->word[0], qr_xclbin_target_str(*out))) return true;
  }
  return false;
}

static bool take_kernels(cursor_t *c, qr_manifest_t *m) {
  do {
    if (m->kernel_cnt == QR_XCLBIN_KERNEL_MAX_CNT || !take_line(c, "kernel", 2)) return false;
    qr_xclbin_kernel_t *k = &m->kernels[m->kernel_cnt];
    uint64_t cus;
    size_t n = strlen(c->word[0]);
    if (n >= sizeof k->name || !number(c->word[1], UINT32_MAX, &cus)) return false;
    memcpy(k->name, c->word[0], n + 1);
    k->cu_cnt = (uint32_t)cus;
    m->kernel_cnt++;
  } while (at_keyword(c, "kernel"));
  return true;
}

/* The name of the line that is not as it must be, or NULL. */
static const char *take_all(cursor_t *c, qr_manifest_t *m) {
  if (!take_line(c, "quarry-bitstream", 1) || strcmp(c->word[0], "1")) return "quarry-bitstream 1";
  if (!take_name(c, "platform", m->platform)) return "platform";
  if (!take_name(c, "part", m->part)) return "part";
  if (!take_target(c, &m->target)) return "target hw|hw_emu|sw_emu";
  if (!take_u32(c, "engine-abi", &m->engine_abi)) return "engine-abi";
  if (!take_u32(c, "step-abi", &m->step_abi)) return "step-abi";
  if (!take_kernels(c, m)) return "kernel NAME COUNT";
  if (!take_name(c, "tool", m->tool)) return "tool";
  if (!take_u32(c, "clock-khz", &m->clock_khz)) return "clock-khz";
  if (!take_line(c, "size", 1) || !number(c->word[0], UINT64_MAX, &m->file_sz)) return "size";
  if (!take_hex(c, "sha256", m->sha256, sizeof m->sha256)) return "sha256";
  if (!take_hex(c, "key", m->key.b, sizeof m->key.b)) return "key";
  if (!take_hex(c, "signature", m->sig.b, sizeof m->sig.b)) return "signature";
  return c->at == c->end ? NULL : "the end";
}

int qr_manifest_parse(const char *text, size_t sz, qr_manifest_t *out, char *why, size_t why_sz) {
  memset(out, 0, sizeof *out);
  if (sz >= QR_MANIFEST_MAX_SZ) {
    snprintf(why, why_sz, "manifest: longer than %u bytes", QR_MANIFEST_MAX_SZ - 1);
    return QR_ERR_FORMAT;
  }
  cursor_t c = {.at = text, .end = text + sz};
  const char *wanted = take_all(&c, out);
  if (!wanted && fields_ok(out)) return QR_OK;
  if (wanted)
    snprintf(why, why_sz, "manifest: line %u is not '%s' as it must be", c.line, wanted);
  else
    snprintf(why, why_sz, "manifest: its kernels are not in order, or one has no unit");
  return QR_ERR_FORMAT;
}

/* ---- signature ---- */

static qr_hash_t signed_hash(const qr_manifest_t *m) {
  char text[QR_MANIFEST_MAX_SZ];
  return qr_hash(DOMAIN, text, encode_signed_part(m, text, sizeof text));
}

int qr_manifest_sign(qr_manifest_t *m, const qr_key_t *key) {
  if (!fields_ok(m)) return QR_ERR_ARG;
  m->key = key->pk;
  qr_hash_t h = signed_hash(m);
  qr_sign(key, h.b, sizeof h.b, &m->sig);
  return QR_OK;
}

bool qr_manifest_signed(const qr_manifest_t *m) {
  if (!fields_ok(m)) return false;
  qr_hash_t h = signed_hash(m);
  return qr_sign_verify(&m->key, h.b, sizeof h.b, &m->sig);
}
