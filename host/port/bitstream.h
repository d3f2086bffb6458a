/* Loading a bitstream: FILE and FILE.manifest are read, the manifest's signature, signer, hash and
   claims are checked, and what was checked is what is handed on: a sealed copy in memory, so that
   nobody can change the file between the check and the card. */
#ifndef QR_PORT_BITSTREAM_H
#define QR_PORT_BITSTREAM_H

#include "port/manifest.h"

#define QR_BITSTREAM_SUFFIX ".manifest"
#define QR_BITSTREAM_KEY_MAX_CNT 64u
#define QR_BITSTREAM_LABEL_SZ 48u
/* What an operator must write to have a file loaded that nobody vouches for. */
#define QR_BITSTREAM_ACCEPT "yes-i-trust-this-file"

/* A key that may sign bitstreams. */
typedef struct {
  qr_pubkey_t pk;
  bool for_cards; /* else for emulation alone */
  char label[QR_BITSTREAM_LABEL_SZ];
} qr_bitstream_key_t;

typedef struct {
  uint32_t cnt;
  qr_bitstream_key_t keys[QR_BITSTREAM_KEY_MAX_CNT];
} qr_bitstream_keys_t;

typedef struct {
  const char *keys_path; /* file of trusted keys; NULL: the usual places */
  bool accept_unsigned;  /* load even if nobody trusted vouches for it */
} qr_bitstream_policy_t;

typedef struct {
  int fd; /* sealed copy of the file, owned */
  size_t sz;
  qr_xclbin_t info;
  bool has_manifest; /* manifest is parsed */
  qr_manifest_t manifest;
  bool is_trusted;                    /* signed by a trusted key, hash and claims right */
  char signer[QR_BITSTREAM_LABEL_SZ]; /* label of that key */
  char doubt[256];                    /* why it is not trusted, and what to do */
} qr_bitstream_t;

/* The development key: its seed is printed in the source, so anybody can sign with it, and it is
   trusted for emulation alone. */
void qr_bitstream_dev_key(qr_key_t *out);

/* Reads lines "PUBKEY card|emulation LABEL"; blank lines and lines that begin with # are skipped.
   Appends to out. Returns 0 or QR_ERR_FORMAT with the line in why. */
int qr_bitstream_keys_parse(const char *text, size_t sz, qr_bitstream_keys_t *out, char *why,
                            size_t why_sz) QR_WARN_UNUSED;

/* The trusted keys: the development key, then those of path, or, if path is NULL, of
   ~/.quarry/bitstream.keys and /etc/quarry/bitstream.keys where these exist. A file that others may
   write, or that is somebody else's, is refused. Returns 0 or a negative code with cause and cure
   in why. */
int qr_bitstream_keys_load(const char *path, qr_bitstream_keys_t *out, char *why,
                           size_t why_sz) QR_WARN_UNUSED;

/* Opens and checks path. Returns 0; QR_ERR_NOTFOUND or QR_ERR_IO (cannot be read), QR_ERR_FORMAT
   (not an xclbin), QR_ERR_CORRUPT (not trusted, and accept_unsigned not given), with cause and cure
   in why. */
int qr_bitstream_open(const char *path, const qr_bitstream_policy_t *policy, qr_bitstream_t *out,
                      char *why, size_t why_sz) QR_WARN_UNUSED;
void qr_bitstream_close(qr_bitstream_t *b);

/* Fills what the file itself tells: platform, target, kernels, size, hash. For whoever signs.
   Returns as open. */
int qr_bitstream_describe(const char *path, qr_manifest_t *out, char *why,
                          size_t why_sz) QR_WARN_UNUSED;

#endif
