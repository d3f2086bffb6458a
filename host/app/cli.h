/* quarry, the command line: what its commands share. Exit codes: 0 done, 1 the operation failed, 2
 * wrong usage; those of long work in cli_work.h. */
#ifndef QR_APP_CLI_H
#define QR_APP_CLI_H

#include <jansson.h>

#include "base/types.h"

#define QR_CLI_OK 0
#define QR_CLI_FAILED 1
#define QR_CLI_USAGE 2

#define QR_CLI_OPTION_MAX_CNT 14u
#define QR_CLI_ARG_MAX_CNT 2u
#define QR_CLI_CALL_MS 20000u
#define QR_CLI_VERIFY_MS 200000u
#define QR_CLI_BACKUP_MS 1800000u

/* A command's own option: "--name VALUE"; with an empty meta "--name" alone, whose value is "". */
typedef struct {
  const char *name, *meta, *help;
} qr_cli_option_t;

/* The command line as parsed. Everything is borrowed from argv. */
typedef struct {
  const char *socket; /* of the node to talk to */
  const char *dir;    /* data directory, for what needs no node */
  bool json;
  uint32_t arg_cnt;
  const char *args[QR_CLI_ARG_MAX_CNT];
  const char
      *values[QR_CLI_OPTION_MAX_CNT]; /* parallel to the command's options, NULL if not given */
} qr_cli_t;

typedef struct {
  const char *name, *args, *help; /* help: paragraphs, the first line is the summary */
  uint32_t arg_min_cnt, arg_max_cnt;
  qr_cli_option_t options[QR_CLI_OPTION_MAX_CNT]; /* ends with a NULL name if shorter */
  int (*run)(const qr_cli_t *cli);
  void (*print_more)(void); /* help that comes from a table of its own; NULL: none */
} qr_cli_command_t;

extern const qr_cli_command_t qr_cli_status, qr_cli_block, qr_cli_peers, qr_cli_account, qr_cli_key,
    qr_cli_send, qr_cli_verify, qr_cli_mining, qr_cli_watch, qr_cli_genesis, qr_cli_stop,
    qr_cli_ban, qr_cli_unban, qr_cli_bench, qr_cli_db, qr_cli_backup, qr_cli_restore,
    qr_cli_snapshot, qr_cli_bitstream, qr_cli_device, qr_cli_net;

/* ---- cli_call.c: talking to a node ---- */

/* One request and its answer over socket, waiting at most timeout_ms. params may be NULL and is
   taken. Returns the result, to be released by the caller, or NULL with a sentence in why and an
   enum qr_err in *code. */
json_t *qr_cli_call(const char *socket, const char *method, json_t *params, uint32_t timeout_ms,
                    int *code, char *why, size_t why_sz) QR_WARN_UNUSED;
/* The same for a command: on failure it has told the user, and the command ends with QR_CLI_FAILED.
 */
json_t *qr_cli_ask(const qr_cli_t *cli, const char *method, json_t *params) QR_WARN_UNUSED;

/* Fields of an answer; a missing one reads as "" or 0. Numbers beyond 63 bits come as text and are
 * read all the same. */
const char *qr_cli_text(const json_t *o, const char *key);
uint64_t qr_cli_num(const json_t *o, const char *key);

/* ---- cli.c ---- */

/* Tells the user why the operation failed: on stderr, and with --json also as {"error":..} on
 * stdout. Returns QR_CLI_FAILED. */
int qr_cli_fail(const qr_cli_t *cli, int code, const char *why);
/* Tells what is wrong with the command line. Returns QR_CLI_USAGE. */
int qr_cli_usage(const char *fmt, ...) QR_PRINTF(1, 2);
/* Prints o on one line and releases it. Returns QR_CLI_OK. */
int qr_cli_print_json(json_t *o);
/* A decimal number of at most max; false otherwise. */
bool qr_cli_parse_u64(const char *s, uint64_t max, uint64_t *out);

#endif
