/* quarry db check: looks through a store at rest. */
#include <stdio.h>

#include "app/cli_store.h"
#include "app/cli_work.h"
#include "base/err.h"

static int tell(const qr_cli_t *cli, const qr_cli_store_t *s, const qr_cli_audit_t *a) {
  const qr_audit_result_t *r = &a->result;
  bool sound = !r->find_cnt;
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "sound", json_boolean(sound));
    qr_cli_audit_json(s, a, o);
    qr_cli_print_json(o);
    return sound ? QR_CLI_OK : QR_CLI_DAMAGED;
  }
  qr_cli_audit_print(s, a);
  if (sound)
    puts("sound     nothing wrong was found");
  else
    printf("DAMAGED   %llu things are wrong: restore a backup (quarry restore), or move the store "
           "away "
           "and sync again\n",
           (unsigned long long)r->find_cnt);
  return sound ? QR_CLI_OK : QR_CLI_DAMAGED;
}

static int run(const qr_cli_t *cli) {
  if (strcmp(cli->args[0], "check") != 0)
    return qr_cli_usage("there is no 'quarry db %s'; usage: quarry db check [PATH]", cli->args[0]);
  const char *where = cli->arg_cnt > 1 ? cli->args[1] : cli->dir;
  char why[1024];
  qr_cli_store_t *s = NULL;
  qr_cli_work_begin();
  int err = qr_cli_store_open(where, cli->values[0], &s, why, sizeof why);
  if (err) return qr_cli_fail(cli, err, why);
  qr_cli_audit_t a;
  err = qr_cli_store_audit(s, cli->json, &a);
  int rc;
  if (err == QR_ERR_CANCELLED) {
    fputs("quarry: interrupted; nothing was changed\n", stderr);
    rc = QR_CLI_INTERRUPTED;
  } else if (err) {
    snprintf(why, sizeof why, "the check of %s could not be finished: %s", s->path,
             qr_err_str(err));
    rc = qr_cli_fail(cli, err, why);
  } else {
    rc = tell(cli, s, &a);
  }
  json_decref(a.finds);
  qr_cli_store_close(s);
  return rc;
}

const qr_cli_command_t qr_cli_db = {
    .name = "db",
    .args = "check [PATH]",
    .help = "looks through a store that no node uses: hashes, chain, accounts, replay\n\n"
            "PATH is a node's data directory, a backup or a store; without it the data directory "
            "that --dir names.\nEvery record is read and compared with its own hash; the headers "
            "must follow from each other by the chain's\nrules; blocks, models and segments must "
            "have the roots in the headers; the accounts are taken back block by\nblock and made "
            "again, and every state root on the way must be right. What is wrong is named by table "
            "and key.\nNothing is changed. A node that runs must be stopped first; a backup can be "
            "checked at any time.\n\nExit codes: 0 sound, 1 not to be checked, 3 damaged, 130 "
            "interrupted.",
    .arg_min_cnt = 1,
    .arg_max_cnt = 2,
    .options = {{"genesis", "FILE", "the chain's genesis file, if the store does not hold it"}},
    .run = run,
};
