/* A snapshot file that lies and whose chunks have their hashes all the same: for test_sync.sh.

   snapshot_forge <file> <forged file> state|fact

   state: an account has more than it should, and the snapshot says the root of that. fact: the
   newest block is said to have found another TD error. */
#include <stdio.h>
#include <stdlib.h>

#include "app/snapshot_file.h"
#include "base/err.h"
#include "chain/ledger.h"
#include "crypto/hash.h"
#include "tile/record.h"

#define STATE_ROOT_AT 40u /* in ABOUT */
#define TD_AT 4u          /* in an exec record */

static char why[512];

static void fail(void) {
  fprintf(stderr, "snapshot_forge: %s\n", why);
  exit(1);
}

static uint8_t *load(const char *path, size_t *sz) {
  qr_snapshot_file_t f;
  if (qr_snapshot_file_open(&f, path, why, sizeof why)) fail();
  uint8_t *all = malloc(f.head.payload_sz);
  if (!all) fail();
  for (*sz = 0; *sz < f.head.payload_sz; *sz += f.sz) {
    f.sz = 0; /* each chunk into the same place */
    if (qr_snapshot_file_read(&f, why, sizeof why)) fail();
    memcpy(all + *sz, f.buf, f.sz);
  }
  qr_snapshot_file_close(&f);
  return all;
}

static void enrich(uint8_t *root, uint8_t *accounts, uint32_t sz, qr_ledger_t *l) {
  accounts[QR_PUBKEY_SZ] ^= 1;
  for (uint32_t at = 0; at < sz; at += QR_ACCOUNT_SZ) {
    qr_account_t a;
    qr_account_decode(accounts + at, &a);
    qr_ledger_set(l, &a);
  }
  qr_hash_t other = qr_ledger_root(l);
  memcpy(root, &other, sizeof other);
}

int main(int argc, char **argv) {
  size_t sz;
  uint8_t *last = NULL;
  qr_snapshot_file_t out;
  if (argc != 4 || qr_crypto_init()) return 2;
  bool state = !strcmp(argv[3], "state");
  uint8_t *all = load(argv[1], &sz);
  qr_ledger_t *l = qr_ledger_init();
  for (size_t at = 0; l && at < sz;) {
    uint32_t type = qr_ld32(all + at), record_sz = qr_ld32(all + at + 4);
    uint8_t *bytes = all + at + QR_SNAPSHOT_RECORD_HEAD_SZ;
    if (state && type == QR_SNAPSHOT_ACCOUNTS)
      enrich(all + QR_SNAPSHOT_RECORD_HEAD_SZ + STATE_ROOT_AT, bytes, record_sz, l);
    if (type == QR_SNAPSHOT_WINDOW) last = bytes;
    at += QR_SNAPSHOT_RECORD_HEAD_SZ + record_sz;
  }
  if (!state && last) last[QR_PLACE_SZ + TD_AT] ^= 1;
  int err = qr_snapshot_file_create(&out, argv[2], why, sizeof why);
  if (!err) err = qr_snapshot_file_write(&out, all, sz);
  if (err || qr_snapshot_file_end(&out, QR_OK, why, sizeof why)) fail();
  qr_ledger_fini(l);
  free(all);
  return 0;
}
