#include "app/cli_watch.h"
#include "port/clock.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 1000u
#define PRINT_MS 5000u /* between blocks of rows when nobody watches live */
#define CALL_MS 3000u
#define SETTLE_POLL_MS 250u
#define SETTLE_MS 60000u /* nodes that have not agreed by then do not agree */
#define TIE_AFTER_MS                                                                               \
  6000u /* at rest for so long and still apart: a tie that only one more block can settle */
#define TIE_BLOCK_MS 30000u
#define TIE_MAX_CNT 4u
#define LOST_MS 8000u /* a node silent for so long while settling will not agree */

static volatile sig_atomic_t g_interrupted;

static void on_signal(int sig) {
  (void)sig;
  g_interrupted++;
}

static uint64_t mono_ms(void) { return qr_clock_mono_ns() / 1000000u; }

static void pause_ms(uint32_t ms) {
  struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
  nanosleep(&ts, NULL); /* a signal ends it early, which is wanted */
}

uint64_t qr_watch_height(const qr_watch_node_t *n) {
  return n->status ? qr_cli_num(n->status, "height") : 0;
}

double qr_watch_attempt_rate(const qr_watch_node_t *n) {
  if (n->hist_cnt < 2) return 0;
  uint32_t last = (n->hist_cnt - 1) % QR_WATCH_HISTORY_CNT;
  uint32_t first = n->hist_cnt > QR_WATCH_HISTORY_CNT ? n->hist_cnt % QR_WATCH_HISTORY_CNT : 0;
  uint64_t ms = n->hist_ms[last] - n->hist_ms[first];
  if (!ms || n->hist_attempts[last] < n->hist_attempts[first])
    return 0; /* the node was restarted */
  return (double)(n->hist_attempts[last] - n->hist_attempts[first]) * 1000.0 / (double)ms;
}

static void note_status(qr_watch_node_t *n, json_t *status, uint64_t now) {
  uint64_t attempts = qr_cli_num(status, "attempts"), kept = qr_cli_num(status, "steps_kept");
  json_decref(n->status);
  n->status = status;
  if (!n->seen || attempts < n->base_attempts) { /* steps kept may shrink without a restart */
    n->base_attempts = n->seen ? 0 : attempts;
    n->base_kept = n->seen ? 0 : kept;
  }
  n->seen = n->up = true;
  n->seen_ms = now;
  n->hist_ms[n->hist_cnt % QR_WATCH_HISTORY_CNT] = now;
  n->hist_attempts[n->hist_cnt % QR_WATCH_HISTORY_CNT] = attempts;
  n->hist_cnt++;
}

static void poll_nodes(qr_watch_t *w) {
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    qr_watch_node_t *n = &w->nodes[i];
    int code;
    char why[512];
    json_t *status = qr_cli_call(n->socket, "status", NULL, CALL_MS, &code, why, sizeof why);
    n->up = false;
    if (status) note_status(n, status, mono_ms());
  }
  w->now_ms = mono_ms();
}

static bool all_reached(const qr_watch_t *w) {
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    if (!w->nodes[i].up || qr_watch_height(&w->nodes[i]) < w->blocks_wanted) return false;
  }
  return true;
}

static bool all_agree(const qr_watch_t *w) {
  static const char *const keys[] = {"genesis", "tip", "tip_model", "state_root"};
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    if (!w->nodes[i].up) return false;
    for (size_t k = 0; k < QR_ARRAY_CNT(keys); k++) {
      if (strcmp(qr_cli_text(w->nodes[i].status, keys[k]),
                 qr_cli_text(w->nodes[0].status, keys[k])))
        return false;
    }
  }
  return true;
}

static bool all_answer(const qr_watch_t *w, uint64_t within_ms) {
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    if (!w->nodes[i].seen || (!w->nodes[i].up && w->now_ms - w->nodes[i].seen_ms > within_ms))
      return false;
  }
  return true;
}

static bool set_mining(const qr_watch_node_t *n, bool on) {
  int code;
  char why[512];
  json_t *params = json_object();
  json_object_set_new(params, "enable", json_boolean(on));
  json_t *o = qr_cli_call(n->socket, "mining", params, CALL_MS, &code, why, sizeof why);
  json_decref(o);
  return o;
}

static uint64_t top_height(const qr_watch_t *w, uint32_t *who) {
  uint64_t top = 0;
  *who = 0;
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    if (!w->nodes[i].up || qr_watch_height(&w->nodes[i]) <= top) continue;
    top = qr_watch_height(&w->nodes[i]);
    *who = i;
  }
  return top;
}

static void end_mining(qr_watch_t *w) {
  uint32_t who;
  w->mined_ms = mono_ms();
  w->end_height = top_height(w, &who);
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    qr_watch_node_t *n = &w->nodes[i];
    if (!n->status) continue;
    n->end_attempts = qr_cli_num(n->status, "attempts");
    n->end_kept = qr_cli_num(n->status, "steps_kept");
    if (!set_mining(n, false) && n->up) set_mining(n, false);
  }
}

/* Lets the highest node mine one block more. */
static void break_tie(qr_watch_t *w) {
  uint32_t who;
  uint64_t top = top_height(w, &who), end = mono_ms() + TIE_BLOCK_MS;
  if (!set_mining(&w->nodes[who], true)) return;
  do {
    pause_ms(SETTLE_POLL_MS);
    poll_nodes(w);
  } while (qr_watch_height(&w->nodes[who]) <= top && mono_ms() < end && g_interrupted < 2);
  set_mining(&w->nodes[who], false);
}

/* Ends mining everywhere and waits until all nodes say the same, twice in a row. */
static void settle(qr_watch_t *w) {
  uint64_t begin = mono_ms(), moved = begin, height = 0;
  uint32_t same_cnt = 0, tie_cnt = 0, who;
  end_mining(w);
  while (mono_ms() - begin < SETTLE_MS && g_interrupted < 2) {
    poll_nodes(w);
    same_cnt = all_agree(w) ? same_cnt + 1 : 0;
    if (same_cnt >= 2 || !all_answer(w, LOST_MS)) break;
    if (top_height(w, &who) != height) {
      height = top_height(w, &who);
      moved = mono_ms();
    }
    if (!same_cnt && mono_ms() - moved > TIE_AFTER_MS && tie_cnt++ < TIE_MAX_CNT) {
      break_tie(w);
      moved = mono_ms();
    }
    pause_ms(SETTLE_POLL_MS);
  }
  w->agree = same_cnt >= 2;
}

static void watch(qr_watch_t *w, uint64_t timeout_ms) {
  uint64_t printed = 0;
  bool based = false;
  while (!g_interrupted) {
    uint32_t who;
    poll_nodes(w);
    if (!based && top_height(w, &who)) {
      w->base_height = top_height(w, &who);
      based = true;
    }
    w->complete = w->blocks_wanted && all_reached(w);
    bool timeout = timeout_ms && w->now_ms - w->start_ms >= timeout_ms;
    if (w->tty || !printed || w->now_ms - printed >= PRINT_MS || w->complete || timeout) {
      qr_watch_draw(w, "");
      printed = w->now_ms;
    }
    if (w->complete || timeout) return;
    pause_ms(POLL_MS);
  }
}

enum { OPT_NODES, OPT_BLOCKS, OPT_TIMEOUT };

static int add_nodes(qr_watch_t *w, const char *list) {
  for (const char *p = list; *p;) {
    size_t n = strcspn(p, ",");
    while (n > 1 && p[n - 1] == '/') n--;
    qr_watch_node_t *node = &w->nodes[w->node_cnt];
    const char *base = memrchr(p, '/', n);
    base = base ? base + 1 : p;
    if (!n || n + 16 > sizeof node->socket)
      return qr_cli_usage("--nodes: '%.*s' is not a data directory", (int)n, p);
    if (w->node_cnt == QR_WATCH_NODE_MAX_CNT)
      return qr_cli_usage("--nodes: more than %u", QR_WATCH_NODE_MAX_CNT);
    snprintf(node->socket, sizeof node->socket, "%.*s/quarryd.sock", (int)n, p);
    snprintf(node->name, sizeof node->name, "%.*s", (int)(p + n - base), base);
    w->node_cnt++;
    p += strcspn(p, ",");
    p += *p == ',';
  }
  return QR_CLI_OK;
}

static int run_watch(const qr_cli_t *cli) {
  static qr_watch_t w;
  uint64_t timeout_s = 0;
  const char *blocks = cli->values[OPT_BLOCKS], *timeout = cli->values[OPT_TIMEOUT];
  if (!cli->values[OPT_NODES]) return qr_cli_usage("watch needs --nodes DIR[,DIR...]");
  int rc = add_nodes(&w, cli->values[OPT_NODES]);
  if (rc) return rc;
  if (blocks && (!qr_cli_parse_u64(blocks, INT64_MAX, &w.blocks_wanted) || !w.blocks_wanted)) {
    return qr_cli_usage("--blocks '%s' is not a number from 1 up", blocks);
  }
  if (timeout && (!qr_cli_parse_u64(timeout, 1u << 30, &timeout_s) || !timeout_s)) {
    return qr_cli_usage("--timeout '%s' is not a number of seconds from 1 up", timeout);
  }
  struct sigaction sa = {.sa_handler = on_signal};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  w.tty = isatty(STDOUT_FILENO);
  w.start_ms = mono_ms();
  watch(&w, timeout_s * 1000u);
  qr_watch_draw(&w, "ending: mining off, waiting until the nodes agree");
  settle(&w);
  qr_watch_draw(&w, w.agree ? "ended" : "ended; the nodes do not agree");
  qr_watch_summary(&w, cli->json);
  bool cut_short = w.blocks_wanted && !w.complete &&
                   !g_interrupted; /* time ran out first; Ctrl-C is the user's own end */
  for (uint32_t i = 0; i < w.node_cnt; i++) json_decref(w.nodes[i].status);
  return w.agree && !cut_short ? QR_CLI_OK : QR_CLI_FAILED;
}

const qr_cli_command_t qr_cli_watch = {
    .name = "watch",
    .args = "",
    .run = run_watch,
    .options = {{"nodes", "DIR[,DIR...]", "the data directories of the nodes"},
                {"blocks", "N", "end when every node has reached height N"},
                {"timeout", "S", "end after S seconds whatever the height"}},
    .help = "watch the nodes of one machine and end them together\n\n"
            "A live table on a terminal, a block of rows every five seconds otherwise. At the end "
            "(or at Ctrl-C) it turns\n"
            "mining off on all nodes, waits until they agree and prints one summary; with --json "
            "the last line is one JSON\n"
            "object. Two branches of equal work are settled by one more block. Exit code 0 only if "
            "all nodes have the same\n"
            "tip, model and state. A second Ctrl-C ends at once.",
};
