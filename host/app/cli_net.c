/* quarry net: the network that nodes are on. Needs no node. */
#include "app/cli_net.h"

#include <stdio.h>

static const qr_cli_net_t *const nets[] = {&qr_cli_net_emulate};

static int run_net(const qr_cli_t *cli) {
  for (size_t i = 0; i < QR_ARRAY_CNT(nets); i++) {
    if (!strcmp(nets[i]->name, cli->args[0])) return nets[i]->run(cli);
  }
  return qr_cli_usage("usage: quarry net %s", qr_cli_net.args);
}

static void print_nets(void) {
  for (size_t i = 0; i < QR_ARRAY_CNT(nets); i++)
    printf("\n%s: %s\n", nets[i]->name, nets[i]->help);
}

const qr_cli_command_t qr_cli_net = {
    .name = "net",
    .args = "emulate",
    .arg_min_cnt = 1,
    .arg_max_cnt = 1,
    .run = run_net,
    .help = "networks of links\n\n"
            "Needs no node.",
    .print_more = print_nets,
    .options = {{"ports", "P,P,...",
                 "emulate: [NAME=]INTERFACE or [NAME=]memif:PATH, 1 to 64 of them"},
                {"set", "TEXT", "emulate: what is set at first, \"PORT KEY=VALUE ...; ...\""},
                {"seed", "N", "emulate: of all chance (default 1)"},
                {"mtu", "BYTES", "emulate: longest packet, 576 to 15000 (default 1500)"},
                {"spin", "US", "emulate: stay awake so long after a frame (default 0)"},
                {"room", "MIB", "emulate: memory for frames under way (default 64)"}},
};
