/* quarry net emulate: a switch between ports, on which frames are late, lost, doubled, reordered,
   slowed down or cut off. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "app/cli_net.h"
#include "base/err.h"
#include "emu/emu.h"

#define WHY_SZ 512u
#define TEXT_SZ 4096u

static volatile sig_atomic_t stop;
static void on_signal(int sig) {
  (void)sig;
  stop = 1;
}

static int number(const qr_cli_t *cli, int option, const char *name, uint64_t min, uint64_t max,
                  uint64_t *out) {
  const char *text = cli->values[option];
  if (!text || (qr_cli_parse_u64(text, max, out) && *out >= min)) return QR_CLI_OK;
  return qr_cli_usage("--%s '%s' is not a number from %" PRIu64 " to %" PRIu64, name, text, min,
                      max);
}

/* Calls use for each part of text between the separators; ends with the first failure. */
static int each(qr_emu_t *e, const char *text, const char *separator, const char *before,
                int (*use)(qr_emu_t *, const char *, char *, size_t), char *why) {
  char copy[TEXT_SZ], part[TEXT_SZ + 8], *save = NULL;
  if (!text) return QR_OK;
  if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) {
    snprintf(why, WHY_SZ, "more than %u characters", TEXT_SZ - 1);
    return QR_ERR_ARG;
  }
  for (char *p = strtok_r(copy, separator, &save); p; p = strtok_r(NULL, separator, &save)) {
    snprintf(part, sizeof part, "%s%s", before, p + strspn(p, " "));
    int err = use(e, part, why, WHY_SZ);
    if (err) return err;
  }
  return QR_OK;
}

int qr_cli_net_emulate(const qr_cli_t *cli) {
  uint64_t seed = 1, mtu = 1500, spin_us = 0, room = QR_EMU_ROOM_MIB;
  char why[WHY_SZ] = "";
  if (number(cli, QR_NET_SEED, "seed", 0, UINT64_MAX, &seed) ||
      number(cli, QR_NET_MTU, "mtu", 576, 15000, &mtu) ||
      number(cli, QR_NET_SPIN, "spin", 0, 1000000, &spin_us) ||
      number(cli, QR_NET_ROOM, "room", 1, 4096, &room))
    return QR_CLI_USAGE;
  if (!cli->values[QR_NET_PORTS]) return qr_cli_usage("net emulate needs --ports; see its --help");
  const qr_emu_cfg_t cfg = {.seed = seed,
                            .frame_max_sz = (uint32_t)mtu + 18,
                            .room_mib = (uint32_t)room,
                            .spin_ns = spin_us * 1000};
  qr_emu_t *e = qr_emu_open(&cfg, why, sizeof why);
  if (!e) return qr_cli_fail(cli, QR_ERR_NOMEM, why);
  int err = each(e, cli->values[QR_NET_PORTS], ",", "", qr_emu_add_port, why);
  if (!err) err = each(e, cli->values[QR_NET_SET], ";", "set ", qr_emu_command, why);
  if (err) {
    qr_emu_close(e);
    return qr_cli_fail(cli, err, why);
  }
  struct sigaction act = {.sa_handler = on_signal};
  sigaction(SIGINT, &act, NULL);
  sigaction(SIGTERM, &act, NULL);
  signal(SIGPIPE, SIG_IGN);
  puts("ready");
  fflush(stdout);
  qr_emu_run(e, STDIN_FILENO, stdout, &stop);
  qr_emu_report(e, stdout);
  qr_emu_close(e);
  return QR_CLI_OK;
}

void qr_cli_net_emulate_help(void) {
  puts("\nemulate: a switch of Ethernet frames with bad lines, for tests\n\n"
       "Joins interfaces (a veth's end; the other end is a node's) and memif clients (it is the "
       "server).\n"
       "Prints 'ready', obeys lines on standard input, and ends with 'quit', SIGINT or SIGTERM;\n"
       "its last line is one JSON object with what was counted.\n\n"
       "  set PORT|* [from|to|both] KEY=VALUE ...   answered with 'ok' or 'error: ...'\n"
       "  show                                      answered with the JSON object\n\n"
       "from: what the node sends; to: what it receives (this is meant if neither is said). "
       "Keys:\n"
       "  delay=10ms    jitter=1ms (more delay, up to this; order is kept)\n"
       "  loss=1%       dup=0.1%\n"
       "  reorder=1%    of frames are held for hold=2ms while others pass\n"
       "  replay=1%     come again after hold=2ms\n"
       "  corrupt=1%    have bits flipped, every other time with right checksums\n"
       "  truncate=1%   are cut, every other time with lengths and checksums that fit\n"
       "  rate=100mbit  with queue=256k bytes before it; what comes beyond is dropped\n"
       "  group=1       frames pass only between ports of the same group (0 at first)\n"
       "So --set \"* delay=10ms loss=1%\" makes round trips of 20 ms that lose 1 % each way, and\n"
       "'set s1 group=1' cuts off s1, 'set * group=0' heals. Times end in ns, us, ms or s; rates "
       "in\n"
       "bit, kbit, mbit or gbit; sizes in k or m. The same --seed gives the same frames of a "
       "line\n"
       "the same fate.");
}
