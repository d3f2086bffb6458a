/* Commands that show or change one node: status, block, verify, account, mining, stop. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "app/cli.h"
#include "base/log.h"

static double unit(uint64_t r) { return (double)r / 65536.0; }
static double q16(const json_t *o, const char *key) {
  return (double)json_integer_value(json_object_get(o, key)) / 65536.0;
}
static bool flag(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }

static void print_time(const char *label, uint64_t ms) {
  char text[40];
  time_t s = (time_t)(ms / 1000);
  struct tm tm;
  if (!gmtime_r(&s, &tm)) return; /* a year beyond what can be printed */
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
  printf("%-14s %s.%03u UTC\n", label, text, (unsigned)(ms % 1000));
}

static json_t *height_param(uint64_t height) {
  json_t *o = json_object();
  json_object_set_new(o, "height", json_integer((json_int_t)height));
  return o;
}

static bool parse_height(const char *s, uint64_t *out) {
  if (qr_cli_parse_u64(s, INT64_MAX, out)) return true;
  qr_cli_usage("'%s' is not a block height", s);
  return false;
}

/* ---- status ---- */

static void print_tasks(const json_t *s) {
  size_t i;
  json_t *t;
  printf("\n%-16s %8s %8s %10s %10s %10s\n", "task", "blocks", "reward", "score", "rule",
         "TD error");
  json_array_foreach(json_object_get(s, "tasks"), i, t) {
    printf("%-16s %8" PRIu64 " %8.3f %10.4f %10.4f %10.4f\n", qr_cli_text(t, "name"),
           qr_cli_num(t, "block_cnt"), unit(qr_cli_num(t, "reward_last")), q16(t, "score_last_q16"),
           q16(t, "baseline_last_q16"), q16(t, "td_last_q16"));
  }
  puts("reward: of the newest block, 0..1, the rule-based baseline is 0.500; score and rule: "
       "return per row on the same data");
}

static void print_held(const json_t *s) {
  uint64_t from = qr_cli_num(s, "held_from"), depth = qr_cli_num(s, "prune_depth");
  if (from <= 1)
    printf("every block is held");
  else
    printf("blocks are held from height %" PRIu64 " on", from);
  if (depth) printf(", older than the last %" PRIu64 " are pruned", depth);
  puts("");
}

static void print_sync(const json_t *s) {
  uint64_t left = qr_cli_num(s, "sync_left_s");
  if (!flag(s, "syncing")) {
    puts("");
    return;
  }
  printf(" of %" PRIu64 " (syncing from %" PRIu64 " peers, %.1f blocks/s",
         qr_cli_num(s, "sync_target"), qr_cli_num(s, "sync_peer_cnt"),
         (double)qr_cli_num(s, "sync_rate_milli") / 1000.0);
  if (left)
    printf(", %" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " left", left / 3600, left / 60 % 60,
           left % 60);
  puts(")");
}

static int run_status(const qr_cli_t *cli) {
  json_t *s = qr_cli_ask(cli, "status", NULL);
  if (!s) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(s);
  double secs = (double)qr_cli_num(s, "mining_ns") / 1e9;
  printf("chain          %s, genesis %.16s, rules %.16s\n", qr_cli_text(s, "chain"),
         qr_cli_text(s, "genesis"), qr_cli_text(s, "rules"));
  printf("height         %" PRIu64, qr_cli_num(s, "height"));
  print_sync(s);
  printf("tip            %s\n", qr_cli_text(s, "tip"));
  printf("model          %s\n", qr_cli_text(s, "tip_model"));
  printf("state          %s, supply %" PRIu64 "\n", qr_cli_text(s, "state_root"),
         qr_cli_num(s, "supply"));
  print_time("tip time", qr_cli_num(s, "tip_time_ms"));
  printf("reward         %.3f newest, %.3f first tenth, %.3f last tenth, %.3f mean\n",
         unit(qr_cli_num(s, "tip_reward")), unit(qr_cli_num(s, "reward_first")),
         unit(qr_cli_num(s, "reward_last")), unit(qr_cli_num(s, "reward_mean")));
  printf("peers          %" PRIu64 "\n", qr_cli_num(s, "peer_cnt"));
  const json_t *pool = json_object_get(s, "pool");
  printf("transactions   %" PRIu64 " of %" PRIu64 " waiting, least fee %" PRIu64 "; %" PRIu64
         " taken, %" PRIu64 " refused, %" PRIu64 " replaced, %" PRIu64 " pushed out, %" PRIu64
         " expired, %" PRIu64 " returned\n",
         qr_cli_num(s, "mempool_cnt"), qr_cli_num(pool, "max_cnt"), qr_cli_num(pool, "fee_floor"),
         qr_cli_num(pool, "taken"), qr_cli_num(pool, "refused"), qr_cli_num(pool, "replaced"),
         qr_cli_num(pool, "evicted"), qr_cli_num(pool, "expired"), qr_cli_num(pool, "returned"));
  printf("blocks         %" PRIu64 " mined here, %" PRIu64 " verified, %" PRIu64
         " rejected; %" PRIu64 " reorganisations, deepest %" PRIu64 "\n",
         qr_cli_num(s, "blocks_mined"), qr_cli_num(s, "blocks_verified"),
         qr_cli_num(s, "blocks_rejected"), qr_cli_num(s, "reorgs"),
         qr_cli_num(s, "reorg_depth_max"));
  printf("store          %s, %" PRIu64 " commits failed; ", qr_cli_text(s, "store"),
         qr_cli_num(s, "commit_failures"));
  print_held(s);
  printf("mining         %s, %s\n", flag(s, "mining") ? "on" : "off", qr_cli_text(s, "accel"));
  printf("attempts       %" PRIu64 " finished, %" PRIu64 " cut short by a new tip%s",
         qr_cli_num(s, "attempts"), qr_cli_num(s, "attempts_cancelled"), secs > 0 ? "" : "\n");
  if (secs > 0) printf("; %.1f /s\n", (double)qr_cli_num(s, "attempts") / secs);
  printf("training steps %" PRIu64 " done, %" PRIu64 " kept\n", qr_cli_num(s, "steps_done"),
         qr_cli_num(s, "steps_kept"));
  printf("miner          %s\n", qr_cli_text(s, "miner_pk"));
  printf("up             %.0f s\n", (double)qr_cli_num(s, "uptime_ms") / 1000.0);
  print_tasks(s);
  json_decref(s);
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_status = {
    .name = "status",
    .args = "",
    .help = "what the node knows, does and has done",
    .run = run_status,
};

/* ---- block ---- */

static int run_block(const qr_cli_t *cli) {
  static const char *const hashes[] = {
      "hash",       "parent",     "rules",      "miner",        "model_in", "model_out",  "tx_root",
      "state_root", "trace_last", "trace_root", "actions_root", "env_root", "replay_root"};
  uint64_t height;
  if (!parse_height(cli->args[0], &height)) return QR_CLI_USAGE;
  json_t *b = qr_cli_ask(cli, "block", height_param(height));
  if (!b) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(b);
  printf("%-14s %" PRIu64 ", %" PRIu64 " confirmations\n", "height", qr_cli_num(b, "height"),
         qr_cli_num(b, "confirmations"));
  print_time("time", qr_cli_num(b, "time_ms"));
  printf("%-14s %" PRIu64 "\n%-14s %.3f (the rule-based baseline is 0.500)\n", "task",
         qr_cli_num(b, "task"), "reward", unit(qr_cli_num(b, "reward")));
  printf("%-14s %08" PRIx64 ", cumulative work %s\n", "target", qr_cli_num(b, "target"),
         qr_cli_text(b, "work"));
  if (flag(b, "held"))
    printf("%-14s %" PRIu64 " in %" PRIu64 " bytes of body\n", "transactions",
           qr_cli_num(b, "tx_cnt"), qr_cli_num(b, "body_sz"));
  else
    puts("body           not held: this node has pruned it");
  printf("%-14s %" PRIu64 "\n", "nonce", qr_cli_num(b, "nonce"));
  for (size_t i = 0; i < QR_ARRAY_CNT(hashes); i++)
    printf("%-14s %s\n", hashes[i], qr_cli_text(b, hashes[i]));
  json_decref(b);
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_block = {
    .name = "block",
    .args = "HEIGHT",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_block,
    .help = "a block of the main chain, field by field",
};

/* ---- verify ---- */

static bool field_same(const json_t *header, const json_t *found, const char *key) {
  return json_equal(json_object_get(header, key), json_object_get(found, key));
}

static json_t *field_row(const json_t *header, const json_t *found, const char *key) {
  json_t *o = json_object();
  json_object_set(o, "header", json_object_get(header, key));
  json_object_set(o, "recomputed", json_object_get(found, key));
  json_object_set_new(o, "same", json_boolean(field_same(header, found, key)));
  return o;
}

static const char *const verified[] = {"hash",   "model_out", "trace_last", "actions_root",
                                       "reward", "env_root",  "replay_root"};

static void print_verify(const json_t *header, const json_t *found) {
  printf("block %" PRIu64 ": did its %" PRIu64
         " training steps, its acting and its evaluation again in %.1f ms\n\n",
         qr_cli_num(header, "height"), qr_cli_num(found, "step_cnt"),
         (double)qr_cli_num(found, "exec_ns") / 1e6);
  for (size_t i = 0; i < QR_ARRAY_CNT(verified); i++) {
    const char *key = verified[i];
    bool same = field_same(header, found, key), text = json_is_string(json_object_get(header, key));
    char a[72], b[72];
    if (text) {
      snprintf(a, sizeof a, "%s", qr_cli_text(header, key));
      snprintf(b, sizeof b, "%s", qr_cli_text(found, key));
    } else {
      snprintf(a, sizeof a, "%" PRIu64, qr_cli_num(header, key));
      snprintf(b, sizeof b, "%" PRIu64, qr_cli_num(found, key));
    }
    printf("%-9s %-13s %s\n", same ? "same" : "DIFFERENT", key, a);
    if (!same) printf("%-9s %-13s %s\n", "", "recomputed", b);
  }
}

static int run_verify(const qr_cli_t *cli) {
  uint64_t height;
  if (!parse_height(cli->args[0], &height)) return QR_CLI_USAGE;
  if (!height) return qr_cli_usage("block 0 is the genesis: it holds no work to verify");
  json_t *header = qr_cli_ask(cli, "block", height_param(height));
  if (!header) return QR_CLI_FAILED;
  json_t *found = qr_cli_ask(cli, "verify", height_param(height));
  if (!found) {
    json_decref(header);
    return QR_CLI_FAILED;
  }
  bool good = !strcmp(qr_cli_text(found, "verdict"), "ok");
  for (size_t i = 0; i < QR_ARRAY_CNT(verified); i++)
    good &= field_same(header, found, verified[i]);
  if (cli->json) {
    json_t *o = json_object(), *fields = json_object();
    for (size_t i = 0; i < QR_ARRAY_CNT(verified); i++) {
      json_object_set_new(fields, verified[i], field_row(header, found, verified[i]));
    }
    json_object_set_new(o, "height", json_integer((json_int_t)height));
    json_object_set_new(o, "good", json_boolean(good));
    json_object_set(o, "verdict", json_object_get(found, "verdict"));
    json_object_set(o, "step_cnt", json_object_get(found, "step_cnt"));
    json_object_set(o, "exec_ns", json_object_get(found, "exec_ns"));
    json_object_set_new(o, "fields", fields);
    qr_cli_print_json(o);
  } else {
    print_verify(header, found);
    printf("\nverdict: %s%s\n", qr_cli_text(found, "verdict"),
           good ? ", the block is right" : ", the block is WRONG");
  }
  json_decref(header);
  json_decref(found);
  return good ? QR_CLI_OK : QR_CLI_FAILED;
}

const qr_cli_command_t qr_cli_verify = {
    .name = "verify",
    .args = "HEIGHT",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_verify,
    .help = "do a block's work again and compare\n\n"
            "The node runs the block's training steps, its acting and its evaluation once more and "
            "shows what came out\n"
            "beside what the header claims. Exit code 0 only if all is the same. Takes about as "
            "long as an attempt.",
};

/* ---- account ---- */

static int run_account(const qr_cli_t *cli) {
  uint8_t pk[QR_PUBKEY_SZ];
  if (!qr_unhex(pk, sizeof pk, cli->args[0]))
    return qr_cli_usage("'%s' is not a public key of 64 hex digits", cli->args[0]);
  json_t *params = json_object();
  json_object_set_new(params, "pk", json_string(cli->args[0]));
  json_t *a = qr_cli_ask(cli, "account", params);
  if (!a) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(a);
  printf("balance        %" PRIu64 "\nnext sequence  %" PRIu64 "\n", qr_cli_num(a, "balance"),
         qr_cli_num(a, "seq"));
  if (!flag(a, "found")) puts("(the ledger has no such account yet)");
  json_decref(a);
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_account = {
    .name = "account",
    .args = "PUBKEY",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_account,
    .help = "balance and next sequence number of a public key",
};

/* ---- mining, stop ---- */

static int run_mining(const qr_cli_t *cli) {
  bool on = !strcmp(cli->args[0], "on");
  if (!on && strcmp(cli->args[0], "off")) return qr_cli_usage("usage: quarry mining on|off");
  json_t *params = json_object();
  json_object_set_new(params, "enable", json_boolean(on));
  json_t *o = qr_cli_ask(cli, "mining", params);
  if (!o) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(o);
  json_decref(o);
  printf("mining is %s until the node restarts\n", on ? "on" : "off");
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_mining = {
    .name = "mining",
    .args = "on|off",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_mining,
    .help = "start or stop mining\n\nThe node goes on keeping and verifying the chain either way. "
            "After a restart its configuration counts again.",
};

static int run_stop(const qr_cli_t *cli) {
  json_t *o = qr_cli_ask(cli, "stop", NULL);
  if (!o) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(o);
  json_decref(o);
  puts("the node is stopping");
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_stop = {
    .name = "stop",
    .args = "",
    .help = "end the node in good order",
    .run = run_stop,
};
