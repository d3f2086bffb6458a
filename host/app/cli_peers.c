/* quarry peers, ban, unban: who a node is connected to, and whom it shall not be. */
#include <inttypes.h>
#include <stdio.h>

#include "app/cli.h"
#include "base/log.h"
#include "port/link.h"
#include "tile/query.h"

#define ROUND_CNT 32u /* pages of one list, more than a node has */
#define BAN_HOURS 24u

enum { OPT_HOURS };

static bool flag(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }

/* All peers: the node tells of them page by page. NULL: it has told the user why. */
static json_t *ask_all(const qr_cli_t *cli) {
  json_t *all = qr_cli_ask(cli, "peers", NULL);
  if (!all) return NULL;
  json_t *list = json_object_get(all, "peers");
  for (uint32_t i = 0; i < ROUND_CNT && json_array_size(list) < qr_cli_num(all, "total"); i++) {
    json_t *params = json_object();
    json_object_set_new(params, "first", json_integer((json_int_t)json_array_size(list)));
    json_t *more = qr_cli_ask(cli, "peers", params);
    if (!more) {
      json_decref(all);
      return NULL;
    }
    json_t *page = json_object_get(more, "peers");
    bool end = !json_array_size(page);
    json_array_extend(list, page);
    json_decref(more);
    if (end) break;
  }
  json_object_set_new(all, "total", json_integer((json_int_t)json_array_size(list)));
  json_object_del(all, "first");
  return all;
}

static double kib(const json_t *p, const char *way, const char *class) {
  return (double)qr_cli_num(json_object_get(p, way), class) / 1024.0;
}

static void print_peer(const json_t *p) {
  char age[32], traffic[4][32];
  static const char *const classes[] = {"control", "block", "tx", "sync"};
  uint64_t s = qr_cli_num(p, "connected_ms") / 1000;
  snprintf(age, sizeof age, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
  for (int i = 0; i < 4; i++)
    snprintf(traffic[i], sizeof traffic[i], "%.1f/%.1f", kib(p, "rx_class", classes[i]),
             kib(p, "tx_class", classes[i]));
  printf("%-22s %.16s %-10s %-16s %9s %8" PRIu64 " %8.2f %15s %17s %15s %17s %4" PRIu64 " %s\n",
         qr_cli_text(p, "addr"), qr_cli_text(p, "identity"), qr_cli_text(p, "role"),
         qr_cli_text(p, "group"), age, qr_cli_num(p, "height"),
         (double)qr_cli_num(p, "rtt_ns") / 1e6, traffic[0], traffic[1], traffic[2], traffic[3],
         qr_cli_num(p, "misbehaviour"), flag(p, "pruned") ? "newest" : "all");
}

static int run_peers(const qr_cli_t *cli) {
  json_t *o = ask_all(cli), *p;
  if (!o) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(o);
  const json_t *list = json_object_get(o, "peers");
  size_t i;
  printf("%-22s %-16s %-10s %-16s %9s %8s %8s %15s %17s %15s %17s %4s %s\n", "address", "identity",
         "way", "network", "age", "height", "ping ms", "control in/out", "block in/out",
         "tx in/out", "sync in/out", "bad", "holds");
  json_array_foreach(list, i, p) print_peer(p);
  if (!json_array_size(list)) puts("(no peer is connected)");
  printf("\nknown addresses  %" PRIu64 " met, %" PRIu64 " told; bans %" PRIu64 "\n",
         qr_cli_num(o, "book_tried"), qr_cli_num(o, "book_new"), qr_cli_num(o, "bans"));
  printf("places           %" PRIu64 " came in, %" PRIu64 " turned away, %" PRIu64
         " gave their place to others\n",
         qr_cli_num(o, "inbound_cnt"), qr_cli_num(o, "inbound_refused"), qr_cli_num(o, "evicted"));
  json_decref(o);
  return QR_CLI_OK;
}

const qr_cli_command_t qr_cli_peers = {
    .name = "peers",
    .args = "",
    .help = "who the node is connected to\n\n"
            "way: inbound (it came to us), configured (link.peer) or book (found by ourselves). "
            "network: whom places are shared\nout by. height: what the peer claims. KiB of "
            "messages, in and out, by class. bad: strikes, 100 are a ban.",
    .run = run_peers,
};

static int ask_ban(const qr_cli_t *cli, uint64_t hours) {
  const char *who = cli->args[0];
  qr_link_addr_t a;
  uint8_t pk[QR_PUBKEY_SZ];
  if (!qr_unhex(pk, sizeof pk, who) && !qr_link_addr_parse(who, 1, &a))
    return qr_cli_usage("'%s' is neither an identity of 64 hex digits nor an IP address", who);
  json_t *params = json_object();
  json_object_set_new(params, "who", json_string(who));
  json_object_set_new(params, "hours", json_integer((json_int_t)hours));
  json_t *o = qr_cli_ask(cli, "ban", params);
  if (!o) return QR_CLI_FAILED;
  if (cli->json) return qr_cli_print_json(o);
  json_decref(o);
  if (hours)
    printf("banned for %" PRIu64 " hours\n", hours);
  else
    puts("no longer banned");
  return QR_CLI_OK;
}

static int run_ban(const qr_cli_t *cli) {
  uint64_t hours = BAN_HOURS;
  const char *text = cli->values[OPT_HOURS];
  if (text && (!qr_cli_parse_u64(text, QR_QUERY_BAN_MAX_HOURS, &hours) || !hours))
    return qr_cli_usage("--hours '%s' is not a number from 1 to %u", text, QR_QUERY_BAN_MAX_HOURS);
  return ask_ban(cli, hours);
}

static int run_unban(const qr_cli_t *cli) { return ask_ban(cli, 0); }

const qr_cli_command_t qr_cli_ban = {
    .name = "ban",
    .args = "IDENTITY|IP",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .options = {{"hours", "N", "for so long (24)"}},
    .run = run_ban,
    .help = "connect no more to an identity, or to whoever is at an IP address\n\n"
            "Who is connected is disconnected. Holds over restarts, for configured peers too.",
};

const qr_cli_command_t qr_cli_unban = {
    .name = "unban",
    .args = "IDENTITY|IP",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_unban,
    .help = "lift a ban, an operator's or an offender's",
};
