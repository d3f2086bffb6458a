/* What the commands on stores at rest share: finding one, opening it for reading, knowing its
   chain, and looking through all of it. */
#ifndef QR_APP_CLI_STORE_H
#define QR_APP_CLI_STORE_H

#include "app/cli.h"
#include "app/config.h"
#include "chain/params.h"
#include "tile/audit.h"

typedef struct {
  char path[QR_CONFIG_PATH_SZ + 16]; /* of the store itself */
  const qr_store_ops_t *ops;         /* for reading only */
  qr_store_t *store;
  uint32_t schema;
  bool has_chain; /* the parameters are known; not of a store from before they were kept in it */
  qr_chain_cfg_t chain;
} qr_cli_store_t;

/* Where the store of `where` lies, which may be a store, a node's data directory or a backup. */
void qr_cli_store_path(const char *where, char *out, size_t out_sz);

/* Opens it. genesis names the parameters if the store does not hold them (NULL: it does, or they
   are a built-in profile's). Returns 0 or a negative code with a sentence in why. */
int qr_cli_store_open(const char *where, const char *genesis, qr_cli_store_t **out, char *why,
                      size_t why_sz) QR_WARN_UNUSED;
void qr_cli_store_close(qr_cli_store_t *s); /* NULL is allowed */

/* Finds as told, for people and for programs. */
#define QR_CLI_FIND_MAX_CNT 1000u /* beyond it they are only counted */
typedef struct {
  qr_audit_result_t result;
  json_t *finds; /* of {table, key, what} */
} qr_cli_audit_t;

/* Audits s with progress on stderr. Without json each find is printed as it comes. Returns what
   qr_audit_run does. finds is to be released. */
int qr_cli_store_audit(const qr_cli_store_t *s, bool json, qr_cli_audit_t *out) QR_WARN_UNUSED;

/* What was looked at, as text or as members of o. */
void qr_cli_audit_print(const qr_cli_store_t *s, const qr_cli_audit_t *a);
void qr_cli_audit_json(const qr_cli_store_t *s, const qr_cli_audit_t *a, json_t *o);

#endif
