/* The emulator's words: commands in, figures out. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/err.h"
#include "emu/internal.h"
#include "port/clock.h"

/* ---- values ---- */

typedef struct {
  const char *name;
  double factor;
} unit_t;

static const unit_t times[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
static const unit_t rates[] = {{"bit", 1}, {"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}};
static const unit_t sizes[] = {{"", 1}, {"k", 1024}, {"m", 1048576}};
static const unit_t shares[] = {{"%", 1e4}};
static const unit_t counts[] = {{"", 1}};

/* A number with one of the units; a bare 0 needs none. */
static bool parse(const char *s, const unit_t *units, size_t cnt, double max, double *out) {
  char *end;
  if (!strchr("0123456789.", *s) || !*s) return false;
  double v = strtod(s, &end);
  for (size_t i = 0; i < cnt; i++) {
    if (strcmp(end, units[i].name) && !(v == 0 && !*end)) continue;
    *out = v * units[i].factor;
    return *out <= max;
  }
  return false;
}

typedef struct {
  const char *key;
  const unit_t *units;
  size_t unit_cnt;
  double max;
  const char *form;
} setting_t;

enum { DELAY, JITTER, LOSS, DUP, REORDER, REPLAY, CORRUPT, TRUNCATE, HOLD, RATE, QUEUE, GROUP };

static const setting_t settings[] = {
    [DELAY] = {"delay", times, QR_ARRAY_CNT(times), 60e9, "a time up to 60s, such as 10ms"},
    [JITTER] = {"jitter", times, QR_ARRAY_CNT(times), 60e9, "a time up to 60s, such as 500us"},
    [LOSS] = {"loss", shares, 1, 1e6, "a share such as 0.1%"},
    [DUP] = {"dup", shares, 1, 1e6, "a share such as 0.1%"},
    [REORDER] = {"reorder", shares, 1, 1e6, "a share such as 0.1%"},
    [REPLAY] = {"replay", shares, 1, 1e6, "a share such as 0.1%"},
    [CORRUPT] = {"corrupt", shares, 1, 1e6, "a share such as 0.1%"},
    [TRUNCATE] = {"truncate", shares, 1, 1e6, "a share such as 0.1%"},
    [HOLD] = {"hold", times, QR_ARRAY_CNT(times), 60e9, "a time up to 60s, such as 2ms"},
    [RATE] = {"rate", rates, QR_ARRAY_CNT(rates), 1e12,
              "a rate such as 100mbit, or 0 for no limit"},
    [QUEUE] = {"queue", sizes, QR_ARRAY_CNT(sizes), 1e9, "a size such as 256k"},
    [GROUP] = {"group", counts, 1, 1e6, "a number"},
};

static void apply(qr_emu_node_t *n, bool from, bool to, size_t which, double v) {
  const bool wanted[2] = {from, to};
  if (which == GROUP) n->group = (uint32_t)v;
  for (uint32_t i = 0; i < 2; i++) {
    qr_emu_fate_t *f = &n->lines[i].fate;
    if (!wanted[i]) continue;
    switch (which) {
    case DELAY: f->delay_ns = (uint64_t)v; break;
    case JITTER: f->jitter_ns = (uint64_t)v; break;
    case LOSS: f->loss_ppm = (uint32_t)v; break;
    case DUP: f->dup_ppm = (uint32_t)v; break;
    case REORDER: f->reorder_ppm = (uint32_t)v; break;
    case REPLAY: f->replay_ppm = (uint32_t)v; break;
    case CORRUPT: f->corrupt_ppm = (uint32_t)v; break;
    case TRUNCATE: f->trunc_ppm = (uint32_t)v; break;
    case HOLD: f->hold_ns = (uint64_t)v; break;
    case RATE: f->rate_bps = (uint64_t)v; break;
    case QUEUE: f->queue_sz = (uint64_t)v; break;
    default: break;
    }
  }
}

/* ---- commands ---- */

/* Reads or, when all has been read well once, obeys one KEY=VALUE for the chosen ports. */
static int set_one(qr_emu_t *e, const char *ports, bool from, bool to, char *word, bool really,
                   char *why, size_t why_sz) {
  char *eq = strchr(word, '=');
  if (eq) *eq = 0;
  for (size_t i = 0; eq && i < QR_ARRAY_CNT(settings); i++) {
    const setting_t *s = &settings[i];
    double v = 0;
    if (strcmp(s->key, word)) continue;
    *eq = '=';
    if (!parse(eq + 1, s->units, s->unit_cnt, s->max, &v)) {
      snprintf(why, why_sz, "%s '%s' is not %s", s->key, eq + 1, s->form);
      return QR_ERR_ARG;
    }
    for (uint32_t n = 0; really && n < e->node_cnt; n++) {
      if (*ports == '*' || !strcmp(e->nodes[n].name, ports)) apply(&e->nodes[n], from, to, i, v);
    }
    return QR_OK;
  }
  snprintf(
      why, why_sz,
      "'%s' is none of delay=, jitter=, loss=, dup=, reorder=, hold=, rate=, queue=, group=", word);
  return QR_ERR_ARG;
}

static bool known_port(const qr_emu_t *e, const char *name) {
  if (!strcmp(name, "*")) return true;
  for (uint32_t i = 0; i < e->node_cnt; i++) {
    if (!strcmp(e->nodes[i].name, name)) return true;
  }
  return false;
}

static int set(qr_emu_t *e, const char *line, bool really, char *why, size_t why_sz) {
  char copy[512], *save = NULL;
  if (snprintf(copy, sizeof copy, "%s", line) >= (int)sizeof copy) {
    snprintf(why, why_sz, "the line is too long");
    return QR_ERR_ARG;
  }
  char *verb = strtok_r(copy, " \t\n", &save), *port = strtok_r(NULL, " \t\n", &save);
  if (!verb || strcmp(verb, "set") || !port) {
    snprintf(why, why_sz, "'%s' is none of: set PORT|* [from|to|both] KEY=VALUE ..., show, quit",
             line);
    return QR_ERR_ARG;
  }
  if (!known_port(e, port)) {
    snprintf(why, why_sz, "there is no port '%s'", port);
    return QR_ERR_NOTFOUND;
  }
  bool from = false, to = true;
  for (char *word; (word = strtok_r(NULL, " \t\n", &save));) {
    if (!strcmp(word, "from") || !strcmp(word, "to") || !strcmp(word, "both")) {
      from = *word != 't';
      to = *word != 'f';
      continue;
    }
    int err = set_one(e, port, from, to, word, really, why, why_sz);
    if (err) return err;
  }
  return QR_OK;
}

int qr_emu_command(qr_emu_t *e, const char *line, char *why, size_t why_sz) {
  int err = set(e, line, false, why, why_sz);
  return err ? err : set(e, line, true, why, why_sz);
}

/* ---- figures ---- */

static void report_line(FILE *out, const char *name, const qr_emu_line_stats_t *s) {
  fprintf(out,
          ",\"%s\":{\"frames\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"lost\":%" PRIu64
          ",\"queue_dropped\":%" PRIu64 ",\"duplicated\":%" PRIu64 ",\"reordered\":%" PRIu64
          ",\"replayed\":%" PRIu64 ",\"corrupted\":%" PRIu64 ",\"truncated\":%" PRIu64 "}",
          name, s->frame_cnt, s->byte_cnt, s->lost_cnt, s->queue_dropped_cnt, s->duplicated_cnt,
          s->reordered_cnt, s->replayed_cnt, s->corrupted_cnt, s->truncated_cnt);
}

void qr_emu_report(qr_emu_t *e, FILE *out) {
  fprintf(out,
          "{\"seconds\":%.3f,\"seed\":%" PRIu64 ",\"no_room\":%" PRIu64
          ",\"waiting\":%u,\"room\":%u,\"room_free_min\":%u,\"waited\":%" PRIu64
          ",\"late_us_mean\":%.1f,\"late_us_max\":%.1f,\"ports\":[",
          (double)(qr_clock_mono_ns() - e->opened_ns) / 1e9, e->cfg.seed, e->no_room_cnt,
          e->room.wait_cnt, e->room.slot_cnt, e->room.free_min_cnt, e->late_cnt,
          e->late_cnt ? (double)e->late_sum_ns / 1e3 / (double)e->late_cnt : 0.0,
          (double)e->late_max_ns / 1e3);
  for (uint32_t i = 0; i < e->node_cnt; i++) {
    qr_emu_node_t *n = &e->nodes[i];
    const qr_emu_port_stats_t *s = n->ops->stats(n->port);
    fprintf(out,
            "%s{\"name\":\"%s\",\"group\":%u,\"cut\":%" PRIu64 ",\"rx_frames\":%" PRIu64
            ",\"rx_bytes\":%" PRIu64 ",\"rx_missed\":%" PRIu64 ",\"rx_bad\":%" PRIu64
            ",\"tx_frames\":%" PRIu64 ",\"tx_bytes\":%" PRIu64 ",\"tx_failed\":%" PRIu64,
            i ? "," : "", n->name, n->group, n->cut_cnt, s->rx_frames, s->rx_bytes, s->rx_missed,
            s->rx_bad, s->tx_frames, s->tx_bytes, s->tx_failed);
    report_line(out, "from", &n->lines[QR_EMU_FROM].stats);
    report_line(out, "to", &n->lines[QR_EMU_TO].stats);
    fputc('}', out);
  }
  fputs("]}\n", out);
  fflush(out);
}
