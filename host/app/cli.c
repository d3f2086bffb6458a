#include "app/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/config.h"
#include "crypto/hash.h"

static const qr_cli_command_t *const commands[] = {
    &qr_cli_status, &qr_cli_watch,   &qr_cli_block,    &qr_cli_verify,  &qr_cli_peers,
    &qr_cli_ban,    &qr_cli_unban,   &qr_cli_mining,   &qr_cli_account, &qr_cli_send,
    &qr_cli_key,    &qr_cli_genesis, &qr_cli_stop,     &qr_cli_bench,   &qr_cli_db,
    &qr_cli_backup, &qr_cli_restore, &qr_cli_snapshot, &qr_cli_device,  &qr_cli_bitstream,
    &qr_cli_net,
};

int qr_cli_fail(const qr_cli_t *cli, int code, const char *why) {
  fflush(stdout);
  fprintf(stderr, "quarry: %s\n", why);
  if (cli->json) {
    json_t *e = json_object(), *o = json_object();
    json_object_set_new(e, "code", json_integer(code));
    json_object_set_new(e, "message", json_string(why));
    json_object_set_new(o, "error", e);
    qr_cli_print_json(o);
  }
  return QR_CLI_FAILED;
}

int qr_cli_usage(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fputs("quarry: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputs("\n", stderr);
  va_end(ap);
  return QR_CLI_USAGE;
}

int qr_cli_print_json(json_t *o) {
  json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
  putchar('\n');
  json_decref(o);
  return QR_CLI_OK;
}

bool qr_cli_parse_u64(const char *s, uint64_t max, uint64_t *out) {
  uint64_t v = 0;
  if (!*s) return false;
  for (; *s; s++) {
    if (*s < '0' || *s > '9') return false;
    if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
      return false;
  }
  *out = v;
  return v <= max;
}

static void print_overview(void) {
  puts("Usage: quarry [--dir DIR | --socket PATH] [--json] COMMAND ...\n"
       "\n"
       "Talks to a running quarryd over its control socket, and looks after what it stores.\n");
  for (size_t i = 0; i < QR_ARRAY_CNT(commands); i++) {
    char left[40];
    snprintf(left, sizeof left, "%s %s", commands[i]->name, commands[i]->args);
    printf("  %-22s %.*s\n", left, (int)strcspn(commands[i]->help, "\n"), commands[i]->help);
  }
  puts("\n  --dir DIR      the node's data directory (default ~/.quarry); its socket is "
       "DIR/quarryd.sock\n"
       "  --socket PATH  the node's control socket\n"
       "  --json         one JSON object on one line instead of text\n"
       "\n"
       "'quarry help COMMAND' or 'quarry COMMAND --help' says more. Exit codes: 0 done, 1 failed, "
       "2 usage, 3 found damage, 130 interrupted.");
}

static void print_command(const qr_cli_command_t *c) {
  printf("Usage: quarry [--dir DIR | --socket PATH] [--json] %s%s%s", c->name, *c->args ? " " : "",
         c->args);
  puts(c->options[0].name ? " [options]\n" : "\n");
  puts(c->help);
  if (c->print_more) c->print_more();
  for (size_t i = 0; i < QR_CLI_OPTION_MAX_CNT && c->options[i].name; i++) {
    char left[40];
    snprintf(left, sizeof left, "--%s %s", c->options[i].name, c->options[i].meta);
    printf("%s  %-20s %s\n", i ? "" : "\n", left, c->options[i].help);
  }
}

static const qr_cli_command_t *find(const char *name) {
  for (size_t i = 0; i < QR_ARRAY_CNT(commands); i++) {
    if (!strcmp(commands[i]->name, name)) return commands[i];
  }
  return NULL;
}

typedef struct {
  qr_cli_t cli;
  const qr_cli_command_t *command;
  const char *dir;
  bool help;
} parse_t;

/* Where the value of option --name goes, NULL if there is no such option here. */
static const char **option_slot(parse_t *p, const char *name, size_t n, bool *takes_value) {
  *takes_value = true;
  if (n == 3 && !strncmp(name, "dir", n)) return &p->dir;
  if (n == 6 && !strncmp(name, "socket", n)) return &p->cli.socket;
  for (size_t i = 0; p->command && i < QR_CLI_OPTION_MAX_CNT && p->command->options[i].name; i++) {
    const char *known = p->command->options[i].name;
    *takes_value = *p->command->options[i].meta;
    if (strlen(known) == n && !strncmp(known, name, n)) return &p->cli.values[i];
  }
  return NULL;
}

static int take_option(parse_t *p, int argc, char **argv, int *i) {
  const char *name = argv[*i] + 2, *eq = strchr(name, '=');
  size_t n = eq ? (size_t)(eq - name) : strlen(name);
  if (!strcmp(name, "json")) {
    p->cli.json = true;
    return QR_CLI_OK;
  }
  if (!strcmp(name, "help")) {
    p->help = true;
    return QR_CLI_OK;
  }
  bool takes_value;
  const char **slot = option_slot(p, name, n, &takes_value);
  if (!slot) {
    return qr_cli_usage("unknown option --%.*s; see 'quarry help%s%s'", (int)n, name,
                        p->command ? " " : "", p->command ? p->command->name : "");
  }
  if (!takes_value && !eq) {
    *slot = "";
    return QR_CLI_OK;
  }
  if (!takes_value) return qr_cli_usage("--%.*s takes no value", (int)n, name);
  *slot = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : "";
  if (!**slot) return qr_cli_usage("--%.*s needs a value", (int)n, name);
  return QR_CLI_OK;
}

static int take_word(parse_t *p, const char *word) {
  if (p->command) {
    if (p->cli.arg_cnt == p->command->arg_max_cnt) {
      return qr_cli_usage("'%s' is one word too many; usage: quarry %s %s", word, p->command->name,
                          p->command->args);
    }
    p->cli.args[p->cli.arg_cnt++] = word;
    return QR_CLI_OK;
  }
  if (!strcmp(word, "help") && !p->help) {
    p->help = true;
    return QR_CLI_OK;
  }
  p->command = find(word);
  if (!p->command) return qr_cli_usage("there is no command '%s'; 'quarry help' lists them", word);
  return QR_CLI_OK;
}

static int parse(parse_t *p, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    int rc = !strcmp(argv[i], "-h")                   ? (p->help = true, QR_CLI_OK)
             : argv[i][0] == '-' && argv[i][1] == '-' ? take_option(p, argc, argv, &i)
                                                      : take_word(p, argv[i]);
    if (rc) return rc;
  }
  if (p->help) return QR_CLI_OK;
  if (!p->command) return qr_cli_usage("say what to do; 'quarry help' lists the commands");
  if (p->cli.arg_cnt < p->command->arg_min_cnt) {
    return qr_cli_usage("usage: quarry %s %s", p->command->name, p->command->args);
  }
  if (p->dir && p->cli.socket) return qr_cli_usage("give --dir or --socket, not both");
  return QR_CLI_OK;
}

int main(int argc, char **argv) {
  parse_t p = {0};
  int rc = parse(&p, argc, argv);
  if (rc) return rc;
  if (p.help) {
    if (p.command) {
      print_command(p.command);
    } else {
      print_overview();
    }
    return QR_CLI_OK;
  }
  char socket[QR_CONFIG_PATH_SZ + 16];
  static qr_config_t defaults;
  qr_config_defaults(&defaults);
  p.cli.dir = p.dir ? p.dir : defaults.dir;
  if (!p.cli.socket) {
    snprintf(socket, sizeof socket, "%.*s/quarryd.sock", (int)QR_CONFIG_PATH_SZ - 1, p.cli.dir);
    p.cli.socket = socket;
  }
  if (qr_crypto_init())
    return qr_cli_fail(&p.cli, -3, "libsodium cannot start: the system gives no random numbers");
  rc = p.command->run(&p.cli);
  if (fflush(stdout) || ferror(stdout))
    return QR_CLI_FAILED; /* a full disk or closed pipe is not success */
  return rc;
}
