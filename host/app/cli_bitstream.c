/* quarry bitstream: sign, verify and list the manifests of bitstreams. Needs no node and no card.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/cli.h"
#include "base/err.h"
#include "base/log.h"
#include "hls/common/qr_engine_abi.h"
#include "port/bitstream.h"

enum { OPT_KEY, OPT_PART, OPT_TOOL, OPT_CLOCK, OPT_ABI, OPT_KEYS };

#define FILE_SUFFIX ".xclbin"
#define CLOCK_MAX_MHZ 2000u

/* ---- sign ---- */

static int copy_word(const qr_cli_t *cli, int option, const char *name,
                     char out[QR_MANIFEST_WORD_SZ]) {
  const char *text = cli->values[option];
  if (!text)
    return qr_cli_usage("--%s must be given, a word of letters, digits and . _ : + - /", name);
  if (strlen(text) >= QR_MANIFEST_WORD_SZ || !qr_xclbin_word(text))
    return qr_cli_usage("--%s '%s' is not a word of 1 to 64 letters, digits and . _ : + - /", name,
                        text);
  memcpy(out, text, strlen(text) + 1);
  return QR_CLI_OK;
}

static int load_key(const qr_cli_t *cli, qr_key_t *out) {
  const char *path = cli->values[OPT_KEY];
  if (!path) {
    return qr_cli_usage("--key FILE must be given; 'quarry key new FILE' makes one, and '--key "
                        "development' signs for emulation");
  }
  if (!strcmp(path, "development")) {
    qr_bitstream_dev_key(out);
    return QR_CLI_OK;
  }
  int err = qr_key_load(path, out);
  const char *cause = err == QR_ERR_NOTFOUND ? "no such file; 'quarry key new FILE' makes one"
                      : err == QR_ERR_FORMAT
                          ? "not a key file (64 hex digits)"
                          : "cannot be read, or others may read it: chmod 600 it";
  char why[640];
  snprintf(why, sizeof why, "key %.500s: %s", path, cause);
  return err ? qr_cli_fail(cli, err, why) : QR_CLI_OK;
}

static int write_manifest(const qr_cli_t *cli, const char *path, const qr_manifest_t *m) {
  char file[1024], text[QR_MANIFEST_MAX_SZ], why[1200];
  size_t n = qr_manifest_encode(m, text);
  snprintf(file, sizeof file, "%.1000s%s", path, QR_BITSTREAM_SUFFIX);
  FILE *f = fopen(file, "we");
  bool ok = f && fwrite(text, 1, n, f) == n;
  if (f && fclose(f)) ok = false;
  snprintf(why, sizeof why, "%s cannot be written: %s", file, strerror(errno));
  if (!ok) return qr_cli_fail(cli, QR_ERR_IO, why);
  if (!cli->json) printf("%s\n", file);
  return QR_CLI_OK;
}

static json_t *manifest_json(const qr_manifest_t *m) {
  char hex[2 * QR_MANIFEST_SHA256_SZ + 1];
  json_t *o = json_object(), *kernels = json_object();
  json_object_set_new(o, "platform", json_string(m->platform));
  json_object_set_new(o, "part", json_string(m->part));
  json_object_set_new(o, "target", json_string(qr_xclbin_target_str(m->target)));
  json_object_set_new(o, "engine_abi", json_integer(m->engine_abi));
  json_object_set_new(o, "step_abi", json_integer(m->step_abi));
  for (uint32_t i = 0; i < m->kernel_cnt; i++)
    json_object_set_new(kernels, m->kernels[i].name, json_integer(m->kernels[i].cu_cnt));
  json_object_set_new(o, "kernels", kernels);
  json_object_set_new(o, "tool", json_string(m->tool));
  json_object_set_new(o, "clock_khz", json_integer(m->clock_khz));
  json_object_set_new(o, "size", json_integer((json_int_t)m->file_sz));
  json_object_set_new(o, "sha256", json_string(qr_hex(hex, m->sha256, sizeof m->sha256)));
  json_object_set_new(o, "key", json_string(qr_hex(hex, m->key.b, sizeof m->key.b)));
  return o;
}

static int run_sign(const qr_cli_t *cli, const char *path) {
  qr_manifest_t m;
  qr_key_t key;
  char why[512];
  uint64_t mhz = 0, abi = QR_ENGINE_ABI_VERSION;
  const char *clock = cli->values[OPT_CLOCK], *abi_text = cli->values[OPT_ABI];
  if (clock && !qr_cli_parse_u64(clock, CLOCK_MAX_MHZ, &mhz))
    return qr_cli_usage("--clock-mhz '%s' is not a number up to %u", clock, CLOCK_MAX_MHZ);
  if (abi_text && !qr_cli_parse_u64(abi_text, UINT32_MAX, &abi))
    return qr_cli_usage("--engine-abi '%s' is not a number", abi_text);
  char part[QR_MANIFEST_WORD_SZ], tool[QR_MANIFEST_WORD_SZ];
  int rc = copy_word(cli, OPT_PART, "part", part);
  if (!rc) rc = copy_word(cli, OPT_TOOL, "tool", tool);
  if (!rc) rc = load_key(cli, &key);
  if (rc) return rc;
  int err = qr_bitstream_describe(path, &m, why, sizeof why);
  if (err) return qr_cli_fail(cli, err, why);
  memcpy(m.part, part, sizeof m.part);
  memcpy(m.tool, tool, sizeof m.tool);
  m.clock_khz = (uint32_t)mhz * 1000;
  m.engine_abi = (uint32_t)abi;
  if (qr_manifest_sign(&m, &key))
    return qr_cli_fail(cli, QR_ERR_ARG, "the file says something that no manifest can hold");
  rc = write_manifest(cli, path, &m);
  return rc || !cli->json ? rc : qr_cli_print_json(manifest_json(&m));
}

/* ---- verify and list ---- */

static void print_manifest(const qr_manifest_t *m) {
  char hex[2 * QR_MANIFEST_SHA256_SZ + 1];
  printf("  platform   %s, part %s, %s\n", m->platform, m->part, qr_xclbin_target_str(m->target));
  printf("  interface  engine %u, step program %u\n", m->engine_abi, m->step_abi);
  for (uint32_t i = 0; i < m->kernel_cnt; i++)
    printf("  kernel     %s, %u unit%s\n", m->kernels[i].name, m->kernels[i].cu_cnt,
           m->kernels[i].cu_cnt == 1 ? "" : "s");
  printf("  made by    %s", m->tool);
  if (m->clock_khz)
    printf(", %u.%03u MHz\n", m->clock_khz / 1000, m->clock_khz % 1000);
  else
    puts(", no clock");
  printf("  sha256     %s, %" PRIu64 " bytes\n", qr_hex(hex, m->sha256, sizeof m->sha256),
         m->file_sz);
  printf("  signed by  %s\n", qr_hex(hex, m->key.b, sizeof m->key.b));
}

/* Looks at one file whatever it is: accept_unsigned makes open tell instead of refuse. Returns what
   to print, or NULL and why if nothing can be said of it. */
static json_t *look(const qr_cli_t *cli, const char *path, bool *trusted, int *err, char *why,
                    size_t why_sz) {
  qr_bitstream_policy_t policy = {.keys_path = cli->values[OPT_KEYS], .accept_unsigned = true};
  qr_bitstream_t b;
  *trusted = false;
  *err = qr_bitstream_open(path, &policy, &b, why, why_sz);
  if (*err) return NULL;
  *trusted = b.is_trusted;
  json_t *o = json_object();
  json_object_set_new(o, "file", json_string(path));
  json_object_set_new(o, "trusted", json_boolean(b.is_trusted));
  json_object_set_new(o, b.is_trusted ? "signer" : "why",
                      json_string(b.is_trusted ? b.signer : b.doubt));
  if (b.has_manifest) json_object_set_new(o, "manifest", manifest_json(&b.manifest));
  if (!cli->json) {
    printf("%s: %s: %s\n", path, b.is_trusted ? "trusted" : "NOT TRUSTED",
           b.is_trusted ? b.signer : b.doubt);
    if (b.has_manifest) print_manifest(&b.manifest);
  }
  qr_bitstream_close(&b);
  return o;
}

static int run_verify(const qr_cli_t *cli, const char *path) {
  bool trusted;
  int err;
  char why[512];
  json_t *o = look(cli, path, &trusted, &err, why, sizeof why);
  if (!o) return qr_cli_fail(cli, err, why);
  if (cli->json)
    qr_cli_print_json(o);
  else
    json_decref(o);
  return trusted ? QR_CLI_OK : QR_CLI_FAILED;
}

/* One line of the list, also for a file that is none. */
static json_t *look_in_list(const qr_cli_t *cli, const char *path) {
  bool trusted;
  int err;
  char why[512];
  json_t *o = look(cli, path, &trusted, &err, why, sizeof why);
  if (o) return o;
  if (!cli->json) printf("NOT USABLE: %s\n", why);
  o = json_object();
  json_object_set_new(o, "file", json_string(path));
  json_object_set_new(o, "trusted", json_false());
  json_object_set_new(o, "why", json_string(why));
  return o;
}

static int is_bitstream(const struct dirent *e) {
  size_t n = strlen(e->d_name), s = strlen(FILE_SUFFIX);
  return n > s && !strcmp(e->d_name + n - s, FILE_SUFFIX);
}

static int run_list(const qr_cli_t *cli, const char *dir) {
  static qr_bitstream_keys_t keys;
  struct dirent **names;
  char path[1024];
  int err = qr_bitstream_keys_load(cli->values[OPT_KEYS], &keys, path, sizeof path);
  if (err) return qr_cli_fail(cli, err, path); /* else every file would be blamed for it */
  int cnt = scandir(dir, &names, is_bitstream, alphasort);
  snprintf(path, sizeof path, "%.900s: %s", dir, strerror(errno));
  if (cnt < 0) return qr_cli_fail(cli, QR_ERR_IO, path);
  json_t *list = json_array();
  for (int i = 0; i < cnt; i++) {
    snprintf(path, sizeof path, "%.700s/%.255s", dir, names[i]->d_name);
    json_array_append_new(list, look_in_list(cli, path));
    free(names[i]);
  }
  free(names);
  if (cli->json) return qr_cli_print_json(list);
  if (!cnt) printf("%s: no file ends in " FILE_SUFFIX "\n", dir);
  json_decref(list);
  return QR_CLI_OK;
}

static int run_bitstream(const qr_cli_t *cli) {
  const char *what = cli->args[0], *path = cli->arg_cnt > 1 ? cli->args[1] : NULL;
  if (!strcmp(what, "list")) return run_list(cli, path ? path : ".");
  if (path && !strcmp(what, "sign")) return run_sign(cli, path);
  if (path && !strcmp(what, "verify")) return run_verify(cli, path);
  return qr_cli_usage("usage: quarry bitstream %s", qr_cli_bitstream.args);
}

const qr_cli_command_t qr_cli_bitstream = {
    .name = "bitstream",
    .args = "sign|verify|list PATH",
    .arg_min_cnt = 1,
    .arg_max_cnt = 2,
    .run = run_bitstream,
    .help =
        "sign, verify or list bitstreams for cards\n\n"
        "A card is only given a bitstream with a manifest (FILE" QR_BITSTREAM_SUFFIX
        ") that a trusted key has signed.\n"
        "Trusted keys: --keys, else ~/.quarry/bitstream.keys and /etc/quarry/bitstream.keys, "
        "lines\n'PUBKEY card|emulation LABEL'. Platform, target, kernels and hash of a manifest "
        "come from the file\nitself. verify ends with 1 if the file would be refused.",
    .options = {{"key", "FILE", "sign: the secret key; 'development': for emulation"},
                {"part", "NAME", "sign: the device, e.g. xcu55n-fsvh2892-2L-e"},
                {"tool", "NAME", "sign: what built it, e.g. v++-2022.1"},
                {"clock-mhz", "N", "sign: kernel clock"},
                {"engine-abi", "N", "sign: interface version (default: this program's)"},
                {"keys", "FILE", "verify, list: trusted keys"}},
};
