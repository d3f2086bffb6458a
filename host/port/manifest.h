/* The manifest of a bitstream: what it is for, what made it, its hash, and who vouches for it.
   Canonical text, so that one manifest has one form; parsed strictly, for it comes with a file from
   anywhere. bitstreams/README.md is the binding text. No I/O, no malloc. */
#ifndef QR_PORT_MANIFEST_H
#define QR_PORT_MANIFEST_H

#include "crypto/sign.h"
#include "port/xclbin.h"

#define QR_MANIFEST_VERSION 1u
#define QR_MANIFEST_MAX_SZ 2048u
#define QR_MANIFEST_WORD_SZ 65u
#define QR_MANIFEST_SHA256_SZ 32u

typedef struct {
  char platform[QR_MANIFEST_WORD_SZ]; /* shell */
  char part[QR_MANIFEST_WORD_SZ];     /* device */
  enum qr_xclbin_target target;
  uint32_t engine_abi, step_abi; /* QR_ENGINE_ABI_VERSION, QR_STEP_ABI_VERSION */
  uint32_t kernel_cnt;           /* 1 .. QR_XCLBIN_KERNEL_MAX_CNT */
  qr_xclbin_kernel_t kernels[QR_XCLBIN_KERNEL_MAX_CNT]; /* sorted by name, no two the same */
  char tool[QR_MANIFEST_WORD_SZ];                       /* name and version in one word */
  uint32_t clock_khz;                                   /* kernel clock; 0: none */
  uint64_t file_sz;
  uint8_t sha256[QR_MANIFEST_SHA256_SZ]; /* of the whole file */
  qr_pubkey_t key;                       /* the signer's */
  qr_sig_t sig;
} qr_manifest_t;

/* Writes the text of m, NUL-terminated, to out (QR_MANIFEST_MAX_SZ bytes); returns its length, or 0
   if a field is not acceptable. */
size_t qr_manifest_encode(const qr_manifest_t *m, char out[QR_MANIFEST_MAX_SZ]);

/* Reads sz bytes of text. Accepts exactly what encode writes. The signature is not checked. Returns
   0, or QR_ERR_FORMAT with the line and what is expected there in why. */
int qr_manifest_parse(const char *text, size_t sz, qr_manifest_t *out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;

/* Fills key and sig; everything else is set. Returns 0 or QR_ERR_ARG (a field is not acceptable).
 */
int qr_manifest_sign(qr_manifest_t *m, const qr_key_t *key) QR_WARN_UNUSED;

/* Whether sig is key's signature of the rest. */
bool qr_manifest_signed(const qr_manifest_t *m) QR_WARN_UNUSED;

#endif
