#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "app/cli_watch.h"

#define BASELINE 0.5 /* where R stands for a model that does as well as the rule */

static double unit(const json_t *o, const char *key) {
  return (double)qr_cli_num(o, key) / 65536.0;
}
static double q16(const json_t *o, const char *key) {
  return (double)json_integer_value(json_object_get(o, key)) / 65536.0;
}

/* One line of the table, cut to the terminal, for a wrapped line could not be drawn over. */
static void line(qr_watch_t *w, const char *fmt, ...) {
  char text[256];
  struct winsize size = {0};
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (w->tty && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col &&
      size.ws_col < sizeof text)
    text[size.ws_col] = 0;
  printf(w->tty ? "%s\033[K\n" : "%s\n", text);
  w->lines++;
}

static const char *state_of(const qr_watch_t *w, const qr_watch_node_t *n, char *out,
                            size_t out_sz) {
  if (!n->seen) return "starting: no answer yet";
  if (!n->up) {
    snprintf(out, out_sz, "NO ANSWER for %" PRIu64 " s", (w->now_ms - n->seen_ms) / 1000 + 1);
    return out;
  }
  const char *store = qr_cli_text(n->status, "store");
  if (*store && strcmp(store, "writing")) return store;
  if (json_is_true(json_object_get(n->status, "syncing"))) return "syncing";
  return json_is_true(json_object_get(n->status, "mining")) ? "mining" : "following";
}

static void draw_node(qr_watch_t *w, const qr_watch_node_t *n) {
  char state[48];
  const json_t *s = n->status;
  if (!s) {
    line(w, "%-10s %7s  %-8s  %-8s  %6s  %7s  %10s  %5s  %-18s %s", n->name, "-", "-", "-", "-",
         "-", "-", "-", "-", state_of(w, n, state, sizeof state));
    return;
  }
  double reward = unit(s, "reward_last");
  line(w, "%-10s %7" PRIu64 "  %.8s  %.8s  %6.3f  %+7.3f  %10.1f  %5" PRIu64 "  %-18s %s", n->name,
       qr_watch_height(n), qr_cli_text(s, "tip"), qr_cli_text(s, "tip_model"), reward,
       reward - BASELINE, n->up ? qr_watch_attempt_rate(n) : 0.0, qr_cli_num(s, "peer_cnt"),
       qr_cli_text(s, "accel"), state_of(w, n, state, sizeof state));
}

static uint64_t highest(const qr_watch_t *w) {
  uint64_t top = 0;
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    if (qr_watch_height(&w->nodes[i]) > top) top = qr_watch_height(&w->nodes[i]);
  }
  return top;
}

/* Seconds in which blocks were made: the settling at the end is not part of it. */
static double mining_s(const qr_watch_t *w) {
  return (double)((w->mined_ms ? w->mined_ms : w->now_ms) - w->start_ms) / 1000.0;
}

static double block_rate(const qr_watch_t *w) {
  double s = mining_s(w);
  return s > 0 ? (double)((w->mined_ms ? w->end_height : highest(w)) - w->base_height) / s : 0;
}

void qr_watch_draw(qr_watch_t *w, const char *note) {
  char wanted[32] = "";
  uint64_t s = (w->now_ms - w->start_ms) / 1000;
  if (w->tty && w->lines) printf("\033[%uA", w->lines);
  w->lines = 0;
  if (w->blocks_wanted) snprintf(wanted, sizeof wanted, " of %" PRIu64, w->blocks_wanted);
  line(w, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 "  height %" PRIu64 "%s  %.2f blocks/s  %s",
       s / 3600, s / 60 % 60, s % 60, highest(w), wanted, block_rate(w), note);
  line(w, "%-10s %7s  %-8s  %-8s  %6s  %7s  %10s  %5s  %-18s %s", "node", "height", "tip", "model",
       "reward", "vs rule", "attempts/s", "peers", "accelerator", "state");
  for (uint32_t i = 0; i < w->node_cnt; i++) draw_node(w, &w->nodes[i]);
  line(w, "%s", "");
  if (w->tty) printf("\033[J");
  fflush(stdout);
}

typedef struct {
  uint64_t attempts, cancelled, steps_done, steps_kept;
  double attempts_per_s, kept_per_s;
} totals_t;

static totals_t total(const qr_watch_t *w) {
  totals_t t = {0};
  double s = mining_s(w);
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    const qr_watch_node_t *n = &w->nodes[i];
    if (!n->status) continue;
    uint64_t attempts = qr_cli_num(n->status, "attempts"),
             kept = qr_cli_num(n->status, "steps_kept");
    t.attempts += attempts;
    t.cancelled += qr_cli_num(n->status, "attempts_cancelled");
    t.steps_done += qr_cli_num(n->status, "steps_done");
    t.steps_kept += kept;
    if (s <= 0) continue;
    t.attempts_per_s += (double)(n->end_attempts - n->base_attempts) / s;
    if (n->end_kept > n->base_kept) t.kept_per_s += (double)(n->end_kept - n->base_kept) / s;
  }
  return t;
}

/* The node whose chain the summary is about: the highest that answers. */
static const qr_watch_node_t *speaker(const qr_watch_t *w) {
  const qr_watch_node_t *best = NULL;
  for (uint32_t i = 0; i < w->node_cnt; i++) {
    const qr_watch_node_t *n = &w->nodes[i];
    if (n->status && (!best || qr_watch_height(n) > qr_watch_height(best))) best = n;
  }
  return best;
}

/* Figures for people have a few digits; more would only look exact. */
static json_t *rounded(double v) {
  return json_real((double)(int64_t)(v * 10000.0 + (v < 0 ? -0.5 : 0.5)) / 10000.0);
}

static json_t *tasks_json(const json_t *status) {
  json_t *list = json_array(), *t;
  size_t i;
  json_array_foreach(json_object_get(status, "tasks"), i, t) {
    json_t *o = json_object();
    json_object_set(o, "name", json_object_get(t, "name"));
    json_object_set(o, "blocks", json_object_get(t, "block_cnt"));
    json_object_set_new(o, "score", rounded(q16(t, "score_last_q16")));
    json_object_set_new(o, "baseline", rounded(q16(t, "baseline_last_q16")));
    json_object_set_new(o, "reward", rounded(unit(t, "reward_last")));
    json_object_set_new(o, "td_error", rounded(q16(t, "td_last_q16")));
    json_array_append_new(list, o);
  }
  return list;
}

static void summary_json(const qr_watch_t *w, const json_t *s, const totals_t *t) {
  json_t *o = json_object();
  json_object_set_new(o, "nodes", json_integer(w->node_cnt));
  json_object_set_new(o, "height", json_integer((json_int_t)qr_cli_num(s, "height")));
  json_object_set_new(o, "tip", json_string(qr_cli_text(s, "tip")));
  json_object_set_new(o, "model", json_string(qr_cli_text(s, "tip_model")));
  json_object_set_new(o, "state_root", json_string(qr_cli_text(s, "state_root")));
  json_object_set_new(o, "agree", json_boolean(w->agree));
  json_object_set_new(o, "complete", json_boolean(!w->blocks_wanted || w->complete));
  json_object_set_new(o, "attempts", json_integer((json_int_t)t->attempts));
  json_object_set_new(o, "attempts_cancelled", json_integer((json_int_t)t->cancelled));
  json_object_set_new(o, "attempts_per_s", rounded(t->attempts_per_s));
  json_object_set_new(o, "blocks_per_s", rounded(block_rate(w)));
  json_object_set_new(o, "reward_first", rounded(unit(s, "reward_first")));
  json_object_set_new(o, "reward_last", rounded(unit(s, "reward_last")));
  json_object_set_new(o, "baseline", rounded(BASELINE));
  json_object_set_new(o, "steps_done", json_integer((json_int_t)t->steps_done));
  json_object_set_new(o, "steps_kept", json_integer((json_int_t)t->steps_kept));
  json_object_set_new(o, "steps_kept_per_s", rounded(t->kept_per_s));
  json_object_set_new(o, "elapsed_s", rounded(mining_s(w)));
  json_object_set_new(o, "tasks", tasks_json(s));
  qr_cli_print_json(o);
}

static void summary_text(const qr_watch_t *w, const json_t *s, const totals_t *t) {
  json_t *task;
  size_t i;
  printf("%s at height %" PRIu64 ": tip %.16s  model %.16s  state %.16s\n",
         w->agree ? "All nodes agree" : "The nodes DO NOT agree; the highest is",
         qr_cli_num(s, "height"), qr_cli_text(s, "tip"), qr_cli_text(s, "tip_model"),
         qr_cli_text(s, "state_root"));
  printf("  blocks          %.2f /s over %.1f s, %u nodes\n", block_rate(w), mining_s(w),
         w->node_cnt);
  printf("  attempts        %" PRIu64 " finished (%.1f /s), %" PRIu64 " cut short by a new tip\n",
         t->attempts, t->attempts_per_s, t->cancelled);
  printf("  training steps  %" PRIu64 " done, %" PRIu64 " kept (%.1f /s)\n", t->steps_done,
         t->steps_kept, t->kept_per_s);
  printf("  reward          %.3f over the first tenth of the blocks, %.3f over the last; the "
         "rule-based baseline is %.3f\n",
         unit(s, "reward_first"), unit(s, "reward_last"), BASELINE);
  json_array_foreach(json_object_get(s, "tasks"), i, task) {
    printf("  %-15s %" PRIu64
           " blocks; newest model's return per row %.4f, the rule's on the same data %.4f\n",
           qr_cli_text(task, "name"), qr_cli_num(task, "block_cnt"), q16(task, "score_last_q16"),
           q16(task, "baseline_last_q16"));
  }
}

void qr_watch_summary(const qr_watch_t *w, bool json) {
  const qr_watch_node_t *n = speaker(w);
  totals_t t = total(w);
  if (w->blocks_wanted && !w->complete) {
    printf("Height %" PRIu64 " was not reached by every node.\n", w->blocks_wanted);
  }
  if (!n) puts("No node ever answered; see their logs.");
  if (json) {
    summary_json(w, n ? n->status : NULL, &t);
  } else if (n) {
    summary_text(w, n->status, &t);
  }
}
