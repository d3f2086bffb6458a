#include "app/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "app/config_keys.h"
#include "base/err.h"
#include "chain/mempool.h"

/* A Unix socket's path must fit here, with its NUL. */
#define SOCKET_PATH_SZ sizeof(((struct sockaddr_un *)0)->sun_path)

void qr_config_defaults(qr_config_t *c) {
  memset(c, 0, sizeof *c);
  const char *home = getenv("HOME");
  if (home && *home) {
    snprintf(c->dir, sizeof c->dir, "%s/.quarry", home);
  } else {
    snprintf(c->dir, sizeof c->dir, "/var/lib/quarry");
  }
  snprintf(c->genesis, sizeof c->genesis, "main");
  snprintf(c->link, sizeof c->link, "dpdk");
  snprintf(c->store, sizeof c->store, "rocksdb");
  c->store_reserve_mb = 160; /* a log, up to 128 MiB, becomes tables when a store is opened */
  snprintf(c->accel, sizeof c->accel, "cpu");
  c->listen.ip[10] = c->listen.ip[11] = 0xff;
  c->listen.port = QR_CONFIG_PORT;
  c->peer_max_cnt = 24;
  c->exchange = c->private_addrs = true;
  c->outbound_cnt = 8;
  c->per_ip_cnt = 3;
  c->per_group_cnt = 4;
  c->pool_max_cnt = QR_MEMPOOL_MAX_CNT;
  c->pool_fee_min = 1;
  c->pool_keep_h = 336;
  c->mine = true;
  c->adopt_margin = 4096;
  c->accel_check = 64;
  c->thread_mine = 1;
  c->verify.cnt = 2;
  c->verify.threads[0] = 1;
  c->verify.threads[1] = 2;
  for (size_t i = 0; i < QR_ARRAY_CNT(c->core); i++) c->core[i] = -1;
  c->spin_us = 20;
  c->sleep_us = 1000;
  c->log_level = QR_LOG_INFO;
}

/* ---- the file ---- */

typedef struct {
  qr_config_t *c;
  FILE *f;
  const char *path;
  unsigned line;                        /* of the file, 1-based */
  unsigned seen[QR_CONFIG_KEY_MAX_CNT]; /* line that set a key, 0 for none */
  int err;
  char *why;
  size_t why_sz;
} reader_t;

/* A line reader that counts, so that errors found by the handler can name the line. */
static char *next_line(char *out, int out_sz, void *stream) {
  reader_t *r = stream;
  char *s = fgets(out, out_sz, r->f);
  if (s) r->line++;
  return s;
}

static int take(void *user, const char *section, const char *name, const char *value) {
  reader_t *r = user;
  char key[QR_CONFIG_KEY_SZ], reason[384];
  snprintf(key, sizeof key, "%s.%s", section, name);
  int idx = qr_config_key_find(key);
  if (idx < 0) {
    char hint[QR_CONFIG_KEY_SZ + 32] = "";
    qr_config_key_suggest(key, hint, sizeof hint);
    snprintf(r->why, r->why_sz, "%s:%u: unknown key '%s' %s%s%s%s", r->path, r->line, name,
             *section ? "in section [" : "before any [section", section, "]", hint);
    r->err = QR_ERR_FORMAT;
    return 0;
  }
  if (r->seen[idx] && !qr_config_key_repeats(idx)) {
    snprintf(r->why, r->why_sz, "%s:%u: %s was already set on line %u; keep one of them", r->path,
             r->line, key, r->seen[idx]);
    r->err = QR_ERR_FORMAT;
    return 0;
  }
  r->seen[idx] = r->line;
  if (qr_config_set(r->c, key, value, reason, sizeof reason)) {
    snprintf(r->why, r->why_sz, "%s:%u: %s", r->path, r->line, reason);
    r->err = QR_ERR_FORMAT;
    return 0;
  }
  return 1;
}

int qr_config_read(const char *path, qr_config_t *c, char *why, size_t why_sz) {
  /* Values hold ';' (driver options), so comments have lines of their own; a line is one setting.
   */
  ini_use_stack = false;
  ini_max_line = ini_initial_alloc = QR_CONFIG_OPTIONS_SZ + 256;
  ini_allow_multiline = false;
  ini_allow_inline_comments = false;
  ini_stop_on_first_error = true;
  reader_t r = {.c = c, .path = path, .why = why, .why_sz = why_sz};
  r.f = fopen(path, "re");
  if (!r.f) {
    int err = errno;
    snprintf(why, why_sz, "%s: %s", path, strerror(err));
    return err == ENOENT ? QR_ERR_NOTFOUND : QR_ERR_IO;
  }
  int line = ini_parse_stream(next_line, &r, take, &r);
  bool broken = ferror(r.f);
  fclose(r.f);
  if (broken) {
    snprintf(why, why_sz, "%s: cannot be read (is it a directory?)", path);
    return QR_ERR_IO;
  }
  if (r.err) return r.err;
  if (line) {
    snprintf(
        why, why_sz,
        "%s:%u: neither '[section]' nor 'key = value' nor a comment (# or ;) of at most %d bytes",
        path, r.line, ini_max_line - 3);
    return QR_ERR_FORMAT;
  }
  return QR_OK;
}

/* ---- the command line ---- */

static const struct {
  const char *flag, *key, *value;
} aliases[] = {
    {"dir", "node.dir", 0},
    {"genesis", "node.genesis", 0},
    {"log-level", "node.log_level", 0},
    {"listen", "link.listen", 0},
    {"peer", "link.peer", 0},
    {"link", "link.driver", 0},
    {"store", "store.driver", 0},
    {"sync-pin", "sync.pin", 0},
    {"accel", "accel.driver", 0},
    {"task", "mine.task", 0},
    {"mine", "mine.enable", "true"},
    {"no-mine", "mine.enable", "false"},
};

static void suggest_flag(const char *name, char *out, size_t out_sz) {
  for (size_t i = 0; i < QR_ARRAY_CNT(aliases); i++) {
    if (qr_config_key_distance(name, aliases[i].flag) > 2) continue;
    snprintf(out, out_sz, "; did you mean '--%s'?", aliases[i].flag);
    return;
  }
  qr_config_key_suggest(name, out, out_sz);
}

static int set_flag(qr_config_t *c, const char *name, const char *value, char *why, size_t why_sz) {
  char reason[384];
  int err = qr_config_set(c, name, value, reason, sizeof reason);
  if (err) snprintf(why, why_sz, "command line: %s", reason);
  return err ? QR_ERR_ARG : QR_OK;
}

/* One "--name[=value]" or "--name value"; *i moves over a value of its own. */
static int take_flag(int argc, char **argv, int *i, qr_config_t *c, char *why, size_t why_sz) {
  const char *arg = argv[*i];
  if (strncmp(arg, "--", 2) || !arg[2]) {
    snprintf(why, why_sz,
             "command line: '%s' is not a flag; flags begin with --, see quarryd --help", arg);
    return QR_ERR_ARG;
  }
  const char *eq = strchr(arg, '=');
  char name[QR_CONFIG_KEY_SZ];
  size_t n = eq ? (size_t)(eq - arg - 2) : strlen(arg + 2);
  if (n >= sizeof name) n = sizeof name - 1;
  memcpy(name, arg + 2, n);
  name[n] = 0;
  const char *key = name;
  for (size_t k = 0; k < QR_ARRAY_CNT(aliases); k++) {
    if (strcmp(name, aliases[k].flag)) continue;
    if (aliases[k].value && eq) {
      snprintf(why, why_sz, "command line: --%s takes no value", name);
      return QR_ERR_ARG;
    }
    if (aliases[k].value) return set_flag(c, aliases[k].key, aliases[k].value, why, why_sz);
    key = aliases[k].key;
  }
  if (qr_config_key_find(key) < 0) {
    char hint[QR_CONFIG_KEY_SZ + 32] = "";
    suggest_flag(name, hint, sizeof hint);
    snprintf(why, why_sz, "command line: unknown flag --%s%s; see quarryd --help", name, hint);
    return QR_ERR_ARG;
  }
  const char *value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
  if (!value || (!eq && !strncmp(value, "--", 2))) {
    snprintf(why, why_sz, "command line: --%s needs a value", name);
    return QR_ERR_ARG;
  }
  return set_flag(c, key, value, why, why_sz);
}

static void print_help(void) {
  qr_config_t d;
  qr_config_defaults(&d);
  puts("Usage: quarryd [--config FILE] [flags]\n"
       "\n"
       "Runs one node: keeps the chain, verifies every block by doing its training steps again, "
       "talks to\n"
       "peers and, unless told otherwise, mines. Settings come from the built-in defaults, then "
       "the file,\n"
       "then the flags. Stop it with Ctrl-C, SIGTERM or 'quarry stop'; it can also be killed at "
       "any moment.\n"
       "\n"
       "  --config FILE       read settings from an INI file (tools/quarryd.example.ini explains "
       "each)\n"
       "  --dir DIR           data directory                       = --node.dir\n"
       "  --genesis FILE      genesis file or built-in profile     = --node.genesis\n"
       "  --listen IP[:PORT]  own address                          = --link.listen\n"
       "  --peer IP[:PORT]    peer to dial and keep; repeatable    = --link.peer\n"
       "  --link NAME         link driver                          = --link.driver\n"
       "  --store NAME        store driver                         = --store.driver\n"
       "  --sync-pin HASH     begin with what this block settles   = --sync.pin\n"
       "  --accel NAME        accelerator driver                   = --accel.driver\n"
       "  --mine, --no-mine   mine or only follow the chain        = --mine.enable\n"
       "  --task NAME         mine only this task's blocks         = --mine.task\n"
       "  --log-level LEVEL   error, warn, info or debug           = --node.log_level\n"
       "  --help, --version\n"
       "\n"
       "Every key of the file is also a flag, --section.key=VALUE. Keys and their defaults:");
  qr_config_key_print(&d);
  puts("\nDrivers in this build:");
  qr_config_driver_print();
  puts("\nA first node by hand:  quarryd --dir /tmp/n0 --genesis regtest --link none --store mem\n"
       "A whole network:       tools/run");
}

static int read_files(int argc, char **argv, qr_config_t *c, char *why, size_t why_sz) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
      print_help();
      return 1;
    }
    if (!strcmp(argv[i], "--version")) {
      puts("quarryd " QR_CONFIG_VERSION);
      return 1;
    }
  }
  bool found = false;
  for (int i = 1; i < argc; i++) {
    const char *path = NULL;
    if (!strncmp(argv[i], "--config=", 9)) {
      path = argv[i] + 9;
    } else if (!strcmp(argv[i], "--config")) {
      path = i + 1 < argc ? argv[++i] : "";
    } else {
      continue;
    }
    if (!*path || found) {
      snprintf(why, why_sz, "command line: --config %s",
               found ? "may be given once" : "needs a file");
      return QR_ERR_ARG;
    }
    found = true;
    if (qr_config_read(path, c, why, why_sz)) return QR_ERR_ARG;
  }
  return QR_OK;
}

static int finish(qr_config_t *c, char *why, size_t why_sz) {
  if (!c->rpc_socket[0]) {
    int n = snprintf(c->rpc_socket, sizeof c->rpc_socket, "%s/quarryd.sock", c->dir);
    if (n < 0 || (size_t)n >= sizeof c->rpc_socket) c->rpc_socket[sizeof c->rpc_socket - 1] = 0;
  }
  if (strlen(c->rpc_socket) >= SOCKET_PATH_SZ) {
    snprintf(why, why_sz,
             "rpc.socket: the path has %zu bytes, a Unix socket's may have %zu; choose a shorter "
             "--dir or give "
             "--rpc.socket",
             strlen(c->rpc_socket), SOCKET_PATH_SZ - 1);
    return QR_ERR_ARG;
  }
  /* The defaults too must be in this build. */
  const char *const drivers[][2] = {
      {"link.driver", c->link}, {"store.driver", c->store}, {"accel.driver", c->accel}};
  for (size_t i = 0; i < QR_ARRAY_CNT(drivers); i++) {
    char name[32];
    snprintf(name, sizeof name, "%s", drivers[i][1]);
    if (qr_config_set(c, drivers[i][0], name, why, why_sz)) return QR_ERR_ARG;
  }
  return QR_OK;
}

int qr_config_args(int argc, char **argv, qr_config_t *c, char *why, size_t why_sz) {
  int rc = read_files(argc, argv, c, why, why_sz);
  if (rc) return rc;
  for (int i = 1; i < argc; i++) {
    if (!strncmp(argv[i], "--config", 8) && (!argv[i][8] || argv[i][8] == '=')) {
      i += !argv[i][8]; /* read before the flags, which override it */
      continue;
    }
    rc = take_flag(argc, argv, &i, c, why, why_sz);
    if (rc) return rc;
  }
  return finish(c, why, why_sz);
}
