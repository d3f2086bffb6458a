/* Commands that hold keys or make files: key, send, genesis. Secrets never leave this process. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/genesis.h"
#include "base/err.h"
#include "base/log.h"
#include "crypto/sign.h"
#include "port/clock.h"
#include "wire/tx.h"

/* ---- key ---- */

static int load_key(const qr_cli_t *cli, const char *path, qr_key_t *out) {
  int err = qr_key_load(path, out);
  if (!err) return QR_CLI_OK;
  char why[640];
  const char *cause = err == QR_ERR_NOTFOUND ? "no such file; 'quarry key new FILE' makes one"
                      : err == QR_ERR_FORMAT
                          ? "not a key file (64 hex digits)"
                          : "cannot be read, or others may read it: chmod 600 it";
  snprintf(why, sizeof why, "key %s: %s", path, cause);
  return qr_cli_fail(cli, err, why);
}

static int show_pk(const qr_cli_t *cli, const qr_key_t *key) {
  char hex[2 * QR_PUBKEY_SZ + 1];
  qr_hex(hex, key->pk.b, QR_PUBKEY_SZ);
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "pk", json_string(hex));
    return qr_cli_print_json(o);
  }
  puts(hex);
  return QR_CLI_OK;
}

static int run_key(const qr_cli_t *cli) {
  qr_key_t key;
  const char *path = cli->args[1];
  if (!strcmp(cli->args[0], "show")) {
    int rc = load_key(cli, path, &key);
    return rc ? rc : show_pk(cli, &key);
  }
  if (strcmp(cli->args[0], "new")) return qr_cli_usage("usage: quarry key new|show FILE");
  qr_key_generate(&key);
  int err = qr_key_save(path, &key);
  if (err) {
    char why[640];
    snprintf(why, sizeof why, "key %s: %s", path,
             err == QR_ERR_BUSY ? "the file exists; a key is never overwritten"
                                : "cannot be written");
    return qr_cli_fail(cli, err, why);
  }
  return show_pk(cli, &key);
}

const qr_cli_command_t qr_cli_key = {
    .name = "key",
    .args = "new|show FILE",
    .arg_min_cnt = 2,
    .arg_max_cnt = 2,
    .run = run_key,
    .help = "make a key, or show its public key\n\n"
            "The file holds the secret: 64 hex digits, readable by its owner only. Both forms "
            "print the public key.",
};

/* ---- send ---- */

enum { OPT_KEY, OPT_TO, OPT_AMOUNT, OPT_FEE };

/* The chain's number goes into the signature; the tip's header carries it. */
static bool ask_chain_id(const qr_cli_t *cli, uint64_t *out) {
  json_t *status = qr_cli_ask(cli, "status", NULL);
  if (!status) return false;
  json_t *params = json_object();
  json_object_set(params, "height", json_object_get(status, "height"));
  json_decref(status);
  json_t *block = qr_cli_ask(cli, "block", params);
  if (!block) return false;
  *out = qr_cli_num(block, "chain_id");
  json_decref(block);
  return true;
}

static bool ask_seq(const qr_cli_t *cli, const qr_pubkey_t *pk, uint64_t *out) {
  char hex[2 * QR_PUBKEY_SZ + 1];
  json_t *params = json_object();
  json_object_set_new(params, "pk", json_string(qr_hex(hex, pk->b, sizeof pk->b)));
  json_t *account = qr_cli_ask(cli, "account", params);
  if (!account) return false;
  *out = qr_cli_num(account, "seq");
  json_decref(account);
  return true;
}

/* What the node takes at least now. */
static bool ask_fee(const qr_cli_t *cli, uint64_t *out) {
  json_t *status = qr_cli_ask(cli, "status", NULL);
  if (!status) return false;
  *out = qr_cli_num(json_object_get(status, "pool"), "fee_floor");
  json_decref(status);
  return true;
}

static int run_send(const qr_cli_t *cli) {
  qr_tx_t tx = {.kind = QR_TX_TRANSFER};
  const char *key_path = cli->values[OPT_KEY], *to = cli->values[OPT_TO],
             *amount = cli->values[OPT_AMOUNT];
  if (!key_path || !to || !amount)
    return qr_cli_usage("usage: quarry send --key FILE --to PUBKEY --amount N [--fee N]");
  if (!qr_unhex(tx.to.b, sizeof tx.to.b, to))
    return qr_cli_usage("--to '%s' is not a public key of 64 hex digits", to);
  if (!qr_cli_parse_u64(amount, UINT64_MAX, &tx.amount) || !tx.amount) {
    return qr_cli_usage("--amount '%s' is not a number from 1 up, in the smallest unit", amount);
  }
  if (cli->values[OPT_FEE] && !qr_cli_parse_u64(cli->values[OPT_FEE], UINT64_MAX, &tx.fee)) {
    return qr_cli_usage("--fee '%s' is not a number from 0 up, in the smallest unit",
                        cli->values[OPT_FEE]);
  }
  qr_key_t key;
  uint64_t chain_id;
  int rc = load_key(cli, key_path, &key);
  if (rc) return rc;
  tx.from = key.pk;
  if (!ask_chain_id(cli, &chain_id) || !ask_seq(cli, &key.pk, &tx.seq)) return QR_CLI_FAILED;
  if (!cli->values[OPT_FEE] && !ask_fee(cli, &tx.fee)) return QR_CLI_FAILED;
  qr_hash_t signed_hash = qr_tx_sign_hash(&tx, chain_id);
  qr_sign(&key, signed_hash.b, sizeof signed_hash.b, &tx.sig);
  uint8_t bytes[QR_TX_SZ];
  char hex[2 * QR_TX_SZ + 1];
  qr_tx_encode(&tx, bytes);
  json_t *params = json_object();
  json_object_set_new(params, "tx", json_string(qr_hex(hex, bytes, sizeof bytes)));
  json_t *o = qr_cli_ask(cli, "send", params);
  if (!o) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(o);
  printf("transaction    %s\nsequence       %" PRIu64 "\nfee            %" PRIu64
         "\nIt waits for a block; 'quarry account' of the receiver shows when it is in.\n",
         qr_cli_text(o, "txid"), tx.seq, tx.fee);
  json_decref(o);
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_send = {
    .name = "send",
    .args = "",
    .run = run_send,
    .options = {{"key", "FILE", "the sender's key file; it is read here and not sent anywhere"},
                {"to", "PUBKEY", "the receiver"},
                {"amount", "N", "in the smallest unit"},
                {"fee", "N", "for the miner; default: the least that the node takes now"}},
    .help = "sign a transfer and hand it to the node\n\n"
            "The sequence number is the account's next one as the node knows it: one transfer of "
            "an account a block.",
};

/* ---- genesis ---- */

enum { OPT_TASK, OPT_PREMINE };

/* Keeps one task only: one of the profile's, or one that has a demonstration profile of its own. */
static bool keep_task(qr_params_t *p, const char *name) {
  char demo[64];
  qr_params_t other;
  for (uint32_t i = 0; i < p->task_cnt; i++) {
    if (strcmp(p->tasks[i].name, name)) continue;
    p->tasks[0] = p->tasks[i];
    p->task_cnt = 1;
    return true;
  }
  snprintf(demo, sizeof demo, "regtest-%s", name);
  if (!qr_params_profile(demo, &other)) return false;
  p->tasks[0] = other.tasks[0];
  p->task_cnt = 1;
  return true;
}

static bool add_premine(qr_params_t *p, const char *text) {
  char hex[2 * QR_PUBKEY_SZ + 1];
  const char *colon = strchr(text, ':');
  if (!colon || colon - text != 2 * QR_PUBKEY_SZ || p->premine_cnt == QR_PREMINE_MAX_CNT)
    return false;
  memcpy(hex, text, sizeof hex - 1);
  hex[sizeof hex - 1] = 0;
  if (!qr_unhex(p->premine[p->premine_cnt].to.b, QR_PUBKEY_SZ, hex)) return false;
  return qr_cli_parse_u64(colon + 1, INT64_MAX, &p->premine[p->premine_cnt++].amount);
}

static int copy_out(const char *path) {
  char block[4096];
  size_t n;
  FILE *f = fopen(path, "re");
  if (!f) return QR_ERR_IO;
  while ((n = fread(block, 1, sizeof block, f)) > 0) fwrite(block, 1, n, stdout);
  fclose(f);
  return QR_OK;
}

static int run_genesis(const qr_cli_t *cli) {
  qr_params_t p;
  char why[512], path[64], dir[] = "/tmp/quarry-genesis-XXXXXX";
  const char *name = cli->args[0], *task = cli->values[OPT_TASK],
             *premine = cli->values[OPT_PREMINE];
  if (!qr_params_profile(name, &p)) {
    return qr_cli_usage("there is no profile '%s'; there are devnet, regtest, main, regtest-catch, "
                        "regtest-cartpole",
                        name);
  }
  if (task && !keep_task(&p, task)) {
    return qr_cli_usage(
        "there is no task '%s'; there are microgrid, microgrid-map, catch, cartpole", task);
  }
  if (premine && !add_premine(&p, premine))
    return qr_cli_usage("--premine '%s' is not PUBKEY:AMOUNT", premine);
  p.genesis_time_ms = qr_clock_wall_ms();
  if (!mkdtemp(dir))
    return qr_cli_fail(cli, QR_ERR_IO, "cannot make a temporary directory in /tmp");
  snprintf(path, sizeof path, "%s/genesis.json", dir);
  int err = qr_genesis_write(path, &p, why, sizeof why);
  if (!err) err = copy_out(path);
  unlink(path);
  rmdir(dir);
  return err ? qr_cli_fail(cli, err, why) : QR_CLI_OK;
}

const qr_cli_command_t qr_cli_genesis = {
    .name = "genesis",
    .args = "PROFILE",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_genesis,
    .options = {{"task", "NAME", "a chain of this task alone"},
                {"premine", "PK:AMOUNT", "an account that has something from the start"}},
    .help = "print a genesis file of a profile, starting now\n\n"
            "Profiles: devnet, regtest, main, regtest-catch, regtest-cartpole. Every node of a "
            "chain needs the same file,\n"
            "so make it once: quarry genesis devnet > genesis.json; quarryd --genesis genesis.json",
};
