/* quarry device: units of accelerators. list and examine show what this machine has and, if a node
   runs, how the node sees it; reset asks the node, or does it itself. */
#include "app/cli_device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "app/rpc_json.h"
#include "base/err.h"
#include "base/log.h"
#include "port/drivers.h"
#include "port/option.h"

#define NODE_WAIT_MS 5000u
#define RESET_WAIT_S 60
#define WHY_SZ 512u

/* ---- choosing ---- */

/* The option by which a driver is told which of its units to use. */
static const char *unit_option(const qr_accel_ops_t *ops) {
  return !strcmp(ops->name, "opencl") ? "device" : "card";
}

/* Adds a unit, by its number in the driver's list. */
static int choose_unit(const qr_cli_t *cli, const char *unit, qr_device_choice_t *c) {
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  char why[WHY_SZ] = "", known[256] = "";
  size_t n = strlen(c->options), at = 0;
  if (!c->ops->find)
    return qr_cli_usage("the driver %s has no units to choose among: leave out '%s'", c->ops->name,
                        unit);
  int cnt = c->ops->find(c->options, units, QR_ACCEL_UNIT_MAX_CNT, why, sizeof why);
  for (int i = 0; i < cnt; i++) {
    at += (size_t)snprintf(known + at, sizeof known - at, " %s", units[i].id);
    if (at >= sizeof known) at = sizeof known - 1;
    if (strcmp(units[i].id, unit)) continue;
    int more = snprintf(c->options + n, sizeof c->options - n, "%s%s=%d", n ? "," : "",
                        unit_option(c->ops), i);
    return (size_t)more < sizeof c->options - n ? QR_CLI_OK : qr_cli_usage("--accel is too long");
  }
  if (cnt > 0) snprintf(why, sizeof why, "there is no unit %.60s; there are:%s", unit, known);
  return qr_cli_fail(cli, cnt < 0 ? cnt : QR_ERR_NOTFOUND, why);
}

int qr_device_choose(const qr_cli_t *cli, const char *fallback, const char *unit,
                     qr_device_choice_t *out) {
  const char *text = cli->values[QR_DEVICE_ACCEL] ? cli->values[QR_DEVICE_ACCEL] : fallback;
  const char *colon = strchr(text, ':');
  char name[64];
  snprintf(name, sizeof name, "%.*s", colon ? (int)(colon - text) : 63, text);
  out->ops = qr_accel_driver(name);
  if (!out->ops) {
    fprintf(stderr, "quarry: --accel: this build has no driver '%s'; there are", name);
    for (size_t i = 0; qr_accel_drivers[i]; i++) fprintf(stderr, " %s", qr_accel_drivers[i]->name);
    fputs("\n", stderr);
    return QR_CLI_USAGE;
  }
  int n = snprintf(out->options, sizeof out->options, "%s", colon ? colon + 1 : "");
  if (n < 0 || (size_t)n >= sizeof out->options) return qr_cli_usage("--accel is too long");
  qr_log_init(QR_LOG_ERROR, 2);
  return unit ? choose_unit(cli, unit, out) : QR_CLI_OK;
}

bool qr_device_names_unit(const qr_device_choice_t *c) {
  const char *p = c->options;
  qr_option_t item;
  while (qr_option_next(&p, ',', &item) > 0) {
    if (!strcmp(item.key, unit_option(c->ops))) return true;
  }
  return false;
}

/* ---- units as JSON, from a node or from here ---- */

/* All that the node knows; NULL if none answers. */
static json_t *ask_node(const qr_cli_t *cli) {
  char why[WHY_SZ];
  json_t *all = NULL;
  uint64_t total = 1;
  for (uint64_t first = 0; first < total;) {
    int code;
    json_t *params = json_object();
    json_object_set_new(params, "first", json_integer((json_int_t)first));
    json_t *part =
        qr_cli_call(cli->socket, "devices", params, NODE_WAIT_MS, &code, why, sizeof why);
    size_t cnt = json_array_size(json_object_get(part, "units"));
    if (!part) break;
    total = qr_cli_num(part, "total");
    first += cnt;
    if (all) {
      json_array_extend(json_object_get(all, "units"), json_object_get(part, "units"));
      json_decref(part);
    } else {
      all = part;
    }
    if (!cnt) break;
  }
  return all;
}

/* What one driver finds without opening anything. */
static json_t *found_json(const qr_accel_ops_t *ops, const qr_accel_unit_t *units, int cnt,
                          const char *why) {
  json_t *o = json_object();
  json_object_set_new(o, "driver", json_string(ops->name));
  json_object_set_new(o, "units", qr_rpc_units_json(units, cnt > 0 ? (uint32_t)cnt : 0));
  if (*why) json_object_set_new(o, "why", json_string(why));
  return o;
}

/* The units of the driver that --accel names. Returns QR_CLI_OK or has told the user. */
static int find_wanted(const qr_cli_t *cli, json_t *list) {
  qr_device_choice_t c;
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  char why[WHY_SZ] = "this driver has none; it is used as it is";
  int rc = qr_device_choose(cli, "", NULL, &c), cnt = 0;
  if (rc) return rc;
  if (c.ops->find) {
    why[0] = 0;
    cnt = c.ops->find(c.options, units, QR_ACCEL_UNIT_MAX_CNT, why, sizeof why);
  }
  if (cnt < 0) return qr_cli_fail(cli, cnt, why);
  json_array_append_new(list, found_json(c.ops, units, cnt, why));
  return QR_CLI_OK;
}

/* Those of all drivers that have something to find and can look. The one for tests wraps others,
   which speak for themselves. */
static void find_all(json_t *list) {
  for (size_t i = 0; qr_accel_drivers[i]; i++) {
    const qr_accel_ops_t *ops = qr_accel_drivers[i];
    qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
    char why[WHY_SZ] = "";
    if (!ops->find || !strcmp(ops->name, "error")) continue;
    int cnt = ops->find("", units, QR_ACCEL_UNIT_MAX_CNT, why, sizeof why);
    if (cnt >= 0) json_array_append_new(list, found_json(ops, units, cnt, why));
  }
}

/* ---- for people ---- */

static void print_ago(const json_t *u) {
  const json_t *ms = json_object_get(u, "valid_ago_ms");
  if (ms)
    printf("%7.1f s ago", (double)json_integer_value(ms) / 1e3);
  else
    printf("%13s", "never");
}

static void print_row(const json_t *u) {
  printf("  %-14s %-12s %7" PRIu64 " %6" PRIu64 " %8" PRIu64 " %6" PRIu64 " ", qr_cli_text(u, "id"),
         qr_cli_text(u, "state"), qr_cli_num(u, "jobs_done"), qr_cli_num(u, "jobs_failed"),
         qr_cli_num(u, "checked"), qr_cli_num(u, "hw_errors"));
  print_ago(u);
  printf("  %s\n", qr_cli_text(u, "name"));
  if (*qr_cli_text(u, "why")) printf("  %-14s %s\n", "", qr_cli_text(u, "why"));
}

static void print_node(const json_t *node) {
  size_t i;
  json_t *u;
  printf("the running node uses %s (driver %s)\n", qr_cli_text(node, "device"),
         qr_cli_text(node, "driver"));
  if (!json_array_size(json_object_get(node, "units"))) return;
  printf("  %-14s %-12s %7s %6s %8s %6s %13s  %s\n", "unit", "state", "jobs", "failed", "checked",
         "wrong", "last valid", "shell");
  json_array_foreach(json_object_get(node, "units"), i, u) print_row(u);
}

static void print_found(const json_t *found) {
  size_t i, k;
  json_t *d, *u;
  json_array_foreach(found, i, d) {
    printf("driver %s finds:\n", qr_cli_text(d, "driver"));
    json_array_foreach(json_object_get(d, "units"), k, u) {
      printf("  %-14s %s%s%s\n", qr_cli_text(u, "id"), qr_cli_text(u, "name"),
             json_is_true(json_object_get(u, "emulated")) ? "emulated" : "",
             *qr_cli_text(u, "why") ? "" : "  usable");
      if (*qr_cli_text(u, "why")) printf("  %-14s %s\n", "", qr_cli_text(u, "why"));
    }
    if (*qr_cli_text(d, "why")) printf("  no unit that can be used: %s\n", qr_cli_text(d, "why"));
  }
}

static int run_list(const qr_cli_t *cli) {
  json_t *found = json_array(), *node;
  int rc = QR_CLI_OK;
  if (cli->values[QR_DEVICE_ACCEL])
    rc = find_wanted(cli, found);
  else
    find_all(found);
  if (rc) {
    json_decref(found);
    return rc;
  }
  node = ask_node(cli);
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "node", node ? node : json_null());
    json_object_set_new(o, "found", found);
    return qr_cli_print_json(o);
  }
  if (node) print_node(node);
  print_found(found);
  json_decref(node);
  json_decref(found);
  return QR_CLI_OK;
}

/* ---- examine ---- */

static void print_told(const char *label, const json_t *v, const char *unit) {
  if (v)
    printf("  %-12s %" JSON_INTEGER_FORMAT " %s\n", label, json_integer_value(v), unit);
  else
    printf("  %-12s not available\n", label);
}

/* Volts and amperes as the card gives them. Their product is printed only where both are told. */
static void print_rails(const json_t *u) {
  const json_t *rails = json_object_get(u, "rails");
  size_t i;
  json_t *r;
  if (!json_array_size(rails)) printf("  %-12s not available\n", "power rails");
  json_array_foreach(rails, i, r) {
    const json_t *mv = json_object_get(r, "mv"), *ma = json_object_get(r, "ma");
    printf("  %-12s %.3f V", qr_cli_text(r, "name"), (double)json_integer_value(mv) / 1e3);
    if (ma) {
      double a = (double)json_integer_value(ma) / 1e3;
      printf(", %.3f A, %.2f W", a, a * (double)json_integer_value(mv) / 1e3);
    }
    puts("");
  }
}

static void print_unit(const json_t *u) {
  const char *serial = qr_cli_text(u, "serial"), *kernel = qr_cli_text(u, "kernel"),
             *why = qr_cli_text(u, "why");
  printf("%s: %s%s\n", qr_cli_text(u, "id"), qr_cli_text(u, "state"),
         json_is_true(json_object_get(u, "emulated")) ? ", emulated" : "");
  printf("  %-12s %s\n", "shell", *qr_cli_text(u, "name") ? qr_cli_text(u, "name") : "not told");
  printf("  %-12s %s\n", "serial", *serial ? serial : "not told");
  printf("  %-12s %s\n", "kernel", *kernel ? kernel : "none loaded by this program");
  print_told("temperature", json_object_get(u, "temp_c"), "C");
  print_rails(u);
  printf("  %-12s %" PRIu64 " done, %" PRIu64 " failed; last valid work ", "jobs",
         qr_cli_num(u, "jobs_done"), qr_cli_num(u, "jobs_failed"));
  print_ago(u);
  printf("\n  %-12s %" PRIu64 " results repeated on the CPU, %" PRIu64 " of them wrong\n", "checks",
         qr_cli_num(u, "checked"), qr_cli_num(u, "hw_errors"));
  printf("  %-12s %" PRIu64 " retries, %" PRIu64 " reloads, %" PRIu64 " resets\n", "recovery",
         qr_cli_num(u, "retries"), qr_cli_num(u, "reloads"), qr_cli_num(u, "resets"));
  if (*why) printf("  %-12s %s\n", "last trouble", why);
}

/* Adds the option that opens a device to see its units and loads nothing. */
static int open_to_look(const qr_cli_t *cli, const char *unit, qr_device_choice_t *c,
                        qr_accel_t **out) {
  char why[WHY_SZ] = "";
  int rc = qr_device_choose(cli, "xrt", unit, c);
  if (rc) return rc;
  if (!c->ops->units) {
    snprintf(why, sizeof why, "the driver %s has no units", c->ops->name);
    return qr_cli_fail(cli, QR_ERR_UNSUPPORTED, why);
  }
  size_t n = strlen(c->options);
  if ((size_t)snprintf(c->options + n, sizeof c->options - n, "%slook", n ? "," : "") >=
      sizeof c->options - n)
    return qr_cli_usage("--accel is too long");
  int err = c->ops->open(c->options, out, why, sizeof why);
  return err ? qr_cli_fail(cli, err, why) : QR_CLI_OK;
}

static int look(const qr_cli_t *cli, const char *unit, json_t **out) {
  qr_device_choice_t c;
  qr_accel_unit_t units[QR_ACCEL_UNIT_MAX_CNT];
  qr_accel_t *a;
  int rc = open_to_look(cli, unit, &c, &a);
  if (rc) return rc;
  *out = qr_rpc_units_json(units, c.ops->units(a, units, QR_ACCEL_UNIT_MAX_CNT));
  c.ops->close(a);
  return QR_CLI_OK;
}

static int run_examine(const qr_cli_t *cli, const char *unit) {
  size_t i, shown = 0;
  json_t *u, *node = cli->values[QR_DEVICE_ACCEL] ? NULL : ask_node(cli), *units = NULL;
  int rc = QR_CLI_OK;
  if (node)
    units = json_incref(json_object_get(node, "units"));
  else
    rc = look(cli, unit, &units);
  if (rc) return rc;
  json_t *wanted = json_array();
  json_array_foreach(units, i, u) {
    if (unit && strcmp(unit, qr_cli_text(u, "id")) && node) continue;
    json_array_append(wanted, u);
    if (!cli->json) print_unit(u);
    shown++;
  }
  json_decref(units);
  json_decref(node);
  if (shown && cli->json) return qr_cli_print_json(wanted);
  json_decref(wanted);
  if (shown) return QR_CLI_OK;
  return qr_cli_fail(cli, QR_ERR_NOTFOUND,
                     unit
                         ? "the running node has no such unit; 'quarry device list' shows its own, "
                           "--accel NAME looks past the node"
                         : "what the running node uses has no units; --accel NAME looks at another "
                           "driver's");
}

/* ---- reset ---- */

static int reset_at_node(const qr_cli_t *cli, const json_t *node, const char *unit) {
  size_t i;
  json_t *u;
  json_array_foreach(json_object_get(node, "units"), i, u) {
    if (strcmp(unit, qr_cli_text(u, "id"))) continue;
    json_t *params = json_object();
    json_object_set_new(params, "unit", json_integer((json_int_t)i));
    json_t *r = qr_cli_ask(cli, "reset", params);
    if (!r) return QR_CLI_FAILED;
    if (cli->json) return qr_cli_print_json(r);
    printf("%s is being reset by the node; 'quarry device list' shows when it is ready\n", unit);
    json_decref(r);
    return QR_CLI_OK;
  }
  return qr_cli_fail(cli, QR_ERR_NOTFOUND,
                     "the node has no such unit; 'quarry device list' shows its own, "
                     "--accel NAME resets past the node");
}

static int await_ready(const qr_device_choice_t *c, qr_accel_t *a, char *why, size_t why_sz) {
  qr_accel_unit_t u = {0};
  for (int i = 0; i < RESET_WAIT_S * 10; i++) {
    struct timespec ts = {0, 100000000};
    c->ops->units(a, &u, 1);
    if (u.state == QR_ACCEL_UNIT_READY) return QR_OK;
    nanosleep(&ts, NULL);
  }
  snprintf(why, why_sz, "it does not come back: %s", u.why);
  return QR_ERR_IO;
}

/* Opened to look, reset, and waited for. */
static int reset_here(const qr_cli_t *cli, const char *unit) {
  qr_device_choice_t c;
  qr_accel_t *a;
  char why[WHY_SZ] = "the driver cannot reset its units";
  int rc = open_to_look(cli, unit, &c, &a);
  if (rc) return rc;
  int err = c.ops->reset ? c.ops->reset(a, 0, why, sizeof why) : QR_ERR_UNSUPPORTED;
  if (!err) err = await_ready(&c, a, why, sizeof why);
  c.ops->close(a);
  if (err) return qr_cli_fail(cli, err, why);
  if (cli->json) {
    json_t *o = json_object();
    json_object_set_new(o, "unit", json_string(unit));
    json_object_set_new(o, "reset", json_true());
    return qr_cli_print_json(o);
  }
  printf("%s was reset and answers again\n", unit);
  return QR_CLI_OK;
}

static int run_reset(const qr_cli_t *cli, const char *unit) {
  json_t *node = cli->values[QR_DEVICE_ACCEL] ? NULL : ask_node(cli);
  int rc = node ? reset_at_node(cli, node, unit) : reset_here(cli, unit);
  json_decref(node);
  return rc;
}

/* ---- the command ---- */

static int run_device(const qr_cli_t *cli) {
  const char *what = cli->args[0], *unit = cli->arg_cnt > 1 ? cli->args[1] : NULL;
  if (!strcmp(what, "list") && !unit) return run_list(cli);
  if (!strcmp(what, "examine")) return run_examine(cli, unit);
  if (!strcmp(what, "validate")) return qr_device_validate(cli, unit);
  if (!strcmp(what, "reset") && unit) return run_reset(cli, unit);
  if (!strcmp(what, "job") && unit && !strcmp(unit, "gemm")) return qr_device_gemm(cli);
  if (!strcmp(what, "job") && unit && !strcmp(unit, "step")) return qr_device_step(cli);
  return qr_cli_usage("usage: quarry device list | examine [UNIT] | validate [UNIT] | reset UNIT | "
                      "job gemm|step; see 'quarry help device'");
}

const qr_cli_command_t qr_cli_device = {
    .name = "device",
    .args = "list|examine|validate|reset|job ...",
    .arg_min_cnt = 1,
    .arg_max_cnt = 2,
    .run = run_device,
    .help =
        "cards and other accelerators: state, health, tests, own jobs\n\n"
        "list               units that drivers find, and how the running node sees its own\n"
        "examine [UNIT]     shell, serial, kernel, temperature, power rails, errors, last valid "
        "work\n"
        "validate [UNIT]    each unit: vectors, whole training steps and a product against the "
        "CPU, "
        "and how fast\n"
        "                   data move\n"
        "reset UNIT         through the node if one uses it\n"
        "job gemm           C = A x B of raw files: A int8 [M][K], B int8 [K][N], C int32 [M][N]\n"
        "job step           S training steps of batch B: model as a chain keeps it; obs int8 "
        "[S][B][..] of\n"
        "                   -64 .. 63, act uint8 [S][B], target int32 Q16 [S][B]. The network is a "
        "task's; for one\n"
        "                   of your own: 'quarry genesis regtest > own.json', change its net, "
        "--genesis own.json\n\n"
        "UNIT is an id that list shows. validate and examine use driver xrt unless --accel says "
        "otherwise, jobs the\n"
        "CPU; a job for one card of several: --accel xrt:card=1,bitstream=FILE. What a job is not "
        "given a file for is\n"
        "random, of a fixed seed; a file of another size is refused with the size that is wanted. "
        "Nothing here needs\n"
        "privileges that opening the device does not need.",
    .options = {{"accel", "NAME[:options]", "driver, e.g. xrt:emulate or cpu"},
                {"shape", "MxNxK", "gemm: the product's size, e.g. 256x384x128"},
                {"a", "FILE", "gemm"},
                {"b", "FILE", "gemm"},
                {"genesis", "FILE", "step: file or profile whose task it is (default devnet)"},
                {"task", "NAME", "step: task of it (default: the first)"},
                {"steps", "S", "step: how many (default 1)"},
                {"sigma", "HEX", "step: the seed, 64 hex digits (default zeros)"},
                {"model", "FILE", "step: before the first step (default: the task's first)"},
                {"obs", "FILE", "step"},
                {"act", "FILE", "step"},
                {"target", "FILE", "step"},
                {"out", "FILE", "gemm: C; step: the model after the last step"},
                {"check", "", "repeat on the CPU and compare; exit code 1 if it differs"}},
};
_Static_assert(QR_DEVICE_CHECK + 1u == QR_CLI_OPTION_MAX_CNT, "the table has all options");
